//! The report for a terminal.

use std::time::Duration;

use ropewalk_profile::picture::lanes::{self, Lanes};
use ropewalk_profile::picture::report::{MORE_OF_THE_SAME, times};
use ropewalk_profile::picture::{human, terminal};
use ropewalk_profile::predict::{self, Range};
use ropewalk_profile::recording::Recording;
use ropewalk_profile::verdict::{Part, percent};
use ropewalk_profile::{Judgement, functions};

use crate::output::{Out, wrap};

/// Columns that no line of text exceeds.
pub(super) const WIDTH: usize = 80;
/// Columns of the bar beside a cause.
const BAR: usize = 24;
/// Lanes that are drawn.
const LANES: usize = 10;
/// Settings for which a prediction is printed.
const RANGES_MAX: usize = 6;

/// Verdict, causes, prediction, advice, and how sure all that is.
pub(super) fn report(recording: &Recording, judgement: &Judgement, out: Out) -> String {
    let finding = &judgement.finding;
    let mut text = String::from("\n");
    for line in wrap(&finding.sentence, WIDTH, 0).lines() {
        text += &(out.bold(line) + "\n");
    }
    text.push('\n');
    text += &causes(&finding.causes, out);
    text += &computes_in(recording, judgement);
    text.push('\n');
    let style = terminal::Style { width: WIDTH, lanes: LANES, colour: out.colour, ascii: out.ascii };
    text += &lanes::terminal(&Lanes::of(recording, &judgement.states), style);
    text.push('\n');
    text += &predicted(judgement, recording.wall_ns, out);
    text += &room(judgement);
    text += &(wrap(&judgement.advice.text, WIDTH, 0) + "\n");
    if !judgement.advice.code.is_empty() {
        text.push('\n');
        for line in &judgement.advice.code {
            text += &(out.good(&format!("    {line}")).trim_end().to_owned() + "\n");
        }
        text.push('\n');
    }
    text += &sure(recording, judgement, out);
    text
}

fn causes(parts: &[Part], out: Out) -> String {
    let mut text = String::new();
    for part in parts {
        let (full, empty) = if out.ascii { ('#', '.') } else { ('\u{2588}', '\u{b7}') };
        let cells = ((part.share * BAR as f64).round() as usize).min(BAR);
        let bar: String = std::iter::repeat_n(full, cells).chain(std::iter::repeat_n(empty, BAR - cells)).collect();
        let name = match (part.kind.as_str(), part.what.as_str()) {
            ("cpu", _) => "computing".to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, what) => format!("{kind}: {what}"),
        };
        let name: String = name.chars().take(WIDTH - BAR - 16).collect();
        text += &format!("{bar} {:>5} {:>8}  {name}\n", percent(part.share), seconds(part.seconds));
    }
    text
}

/// The functions in which the busiest thread was met, where they say something.
fn computes_in(recording: &Recording, judgement: &Judgement) -> String {
    let sentence = functions::sentence(recording, &judgement.finding);
    if sentence.is_empty() { sentence } else { format!("\n{}\n", wrap(&sentence, WIDTH, 0)) }
}

fn seconds(s: f64) -> String {
    human(Duration::from_secs_f64(s.max(0.0)))
}

/// `1.20 to 1.50 s (6.5x to 8.2x)`.
fn range(range: Range, wall: f64) -> String {
    format!(
        "{} to {} ({:.1}x to {:.1}x)",
        seconds(range.low_s),
        seconds(range.high_s),
        wall / range.high_s,
        wall / range.low_s
    )
}

fn predicted(judgement: &Judgement, wall_ns: u64, out: Out) -> String {
    let prediction = &judgement.prediction;
    if prediction.ranges.is_empty() {
        return wrap(&format!("No prediction: {}.", prediction.refused), WIDTH, 0) + "\n\n";
    }
    let wall = wall_ns as f64 / 1e9;
    let mut text = String::new();
    let unit = predict::unit(judgement.finding.class);
    for r in prediction.ranges.iter().take(RANGES_MAX) {
        let line = format!("{:>4} {unit}: {}", r.in_flight, range(*r, wall));
        let best = prediction.best == Some(r.in_flight);
        text += &(if best { out.bold(&format!("{line}   <- more helps little")) } else { line } + "\n");
    }
    text += &(wrap(&format!("Provided that {}.", prediction.assumption), WIDTH, 0) + "\n\n");
    text
}

/// How much more a server could do.
fn room(judgement: &Judgement) -> String {
    let Some(first) = judgement.headroom.first() else { return String::new() };
    let text = format!(
        "Room for more: {} used of {}, full at {}; provided that {}.",
        percent(first.used),
        first.of,
        times(first),
        MORE_OF_THE_SAME,
    );
    wrap(&text, WIDTH, 0) + "\n\n"
}

fn sure(recording: &Recording, judgement: &Judgement, out: Out) -> String {
    let confidence = &judgement.finding.confidence;
    let own = recording.own_cpu_ns as f64 / recording.wall_ns.max(1) as f64;
    let mut text = format!(
        "Sure: {}; {} looks at {} threads of {} processes, {} of the time unexplained; looking used {:.1} % of a processor.",
        confidence.level,
        confidence.looks,
        recording.threads.len(),
        recording.processes.len(),
        percent(confidence.unexplained),
        100.0 * own,
    );
    for missing in &confidence.missing {
        text += &format!(" Not visible: {missing}.");
    }
    wrap(&text, WIDTH, 0).lines().map(|l| out.dim(l) + "\n").collect()
}
