//! A judgement as one self-contained page.

use std::fmt::Write as _;
use std::time::Duration;

use super::html::{Claim, Page, Section, Table};
use super::lanes::{self, Lanes, Look};
use super::svg::{STYLE, text};
use super::{band, escape, html, human};
use crate::headroom::{Room, TIMES_MAX};
use crate::predict::{self, Range};
use crate::recording::Recording;
use crate::verdict::{Part, percent};
use crate::{Judgement, functions};

/// Draws the page: verdict, where the wall went, what each thread did, how long it would take instead, how sure that is.
pub fn page(recording: &Recording, judgement: &Judgement) -> String {
    let finding = &judgement.finding;
    let wall = judgement.states.wall.length;
    let lanes = Lanes::of(recording, &judgement.states);
    let seconds = |s: f64| human(Duration::from_secs_f64(s.max(0.0)));
    let range = |r: &Range| {
        vec![
            r.in_flight.to_string(),
            seconds(r.low_s),
            seconds(r.high_s),
            format!("{:.1}x to {:.1}x", wall / r.high_s, wall / r.low_s),
        ]
    };
    let mut sections = vec![
        Section {
            heading: finding.class.title().to_owned(),
            verdict: finding.sentence.clone(),
            svg: scroll(&wall_bar(&finding.causes)),
            table: Table {
                head: ["what the wall went to", "seconds", "share"].map(str::to_owned).to_vec(),
                rows: finding.causes.iter().map(|p| vec![name(p), seconds(p.seconds), percent(p.share)]).collect(),
            },
            claims: Vec::new(),
        },
        Section {
            heading: "What each thread did".to_owned(),
            verdict: functions::sentence(recording, finding),
            svg: scroll(&lanes::svg(&lanes)),
            ..Section::default()
        },
    ];
    let prediction = &judgement.prediction;
    let mut advice =
        Section { heading: "What would help".to_owned(), verdict: judgement.advice.text.clone(), ..Section::default() };
    if !judgement.advice.code.is_empty() {
        advice.svg = format!("<pre class=\"scroll\">{}</pre>", escape(&judgement.advice.code.join("\n")));
    }
    if prediction.ranges.is_empty() {
        advice.claims.push(Claim { mark: "no prediction".to_owned(), text: prediction.refused.clone() });
    } else {
        let unit = predict::unit(finding.class);
        let now = if unit == "processors" { recording.machine.cores as f64 } else { judgement.states.wall.in_flight };
        advice.svg += &scroll(&band::svg(prediction, wall, now, unit));
        advice.table = Table {
            head: [unit, "at best", "at worst", "shorter by"].map(str::to_owned).to_vec(),
            rows: prediction.ranges.iter().map(range).collect(),
        };
        advice.claims.push(Claim { mark: "provided that".to_owned(), text: prediction.assumption.clone() });
    }
    sections.push(advice);
    if !judgement.headroom.is_empty() {
        let rows = judgement.headroom.iter().map(|r| vec![r.of.clone(), percent(r.used), times(r)]);
        sections.push(Section {
            heading: "How much more would fit".to_owned(),
            table: Table {
                head: ["what fills up", "used", "full at"].map(str::to_owned).to_vec(),
                rows: rows.collect(),
            },
            claims: vec![Claim { mark: "provided that".to_owned(), text: MORE_OF_THE_SAME.to_owned() }],
            ..Section::default()
        });
    }
    let confidence = &finding.confidence;
    let mut sure = Section {
        heading: format!("How sure: {}", confidence.level),
        verdict: String::new(),
        claims: vec![Claim {
            mark: "seen".to_owned(),
            text: format!(
                "{} looks at {} threads of {} processes in {}; {} of the time unexplained",
                confidence.looks,
                recording.threads.len(),
                recording.processes.len(),
                seconds(wall),
                percent(confidence.unexplained)
            ),
        }],
        ..Section::default()
    };
    sure.claims.extend(confidence.missing.iter().map(|m| Claim { mark: "not seen".to_owned(), text: m.clone() }));
    sections.push(sure);
    html::draw(&Page {
        title: "What it waited for".to_owned(),
        lead: recording.command.join(" "),
        sections,
        footer: "Made by ropewalk profile: exact counters of the kernel, and reasons from looks at the program."
            .to_owned(),
    })
}

/// What must be true for the headroom.
pub const MORE_OF_THE_SAME: &str = "what comes then is as what came now, and whoever it waits for keeps up";

/// `2.5 times the work`.
pub fn times(room: &Room) -> String {
    let least = if room.times >= TIMES_MAX { "more than " } else { "" };
    let digits = usize::from(room.times < 10.0);
    format!("{least}{:.digits$} times the work", room.times)
}

fn name(part: &Part) -> String {
    match (part.kind.as_str(), part.what.as_str()) {
        ("cpu", _) => "computing".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, what) => format!("{kind}: {what}"),
    }
}

fn look(part: &Part) -> Look {
    let kind = serde_json::from_value(serde_json::Value::String(part.kind.clone()));
    kind.map_or(Look::Run, Look::Wait)
}

/// On a phone a picture is scrolled rather than shrunk until nobody can read it.
fn scroll(svg: &str) -> String {
    if svg.is_empty() { String::new() } else { format!("<div class=\"scroll wide\">{svg}</div>\n") }
}

/// One bar for the whole wall.
fn wall_bar(parts: &[Part]) -> String {
    const WIDTH: f64 = 960.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 44\" width=\"{WIDTH}\" height=\"44\" role=\"img\" \
         class=\"rw-text rw-wall\"><title>What the wall went to</title><style>{STYLE}</style>"
    );
    let mut x = 0.0;
    for part in parts {
        // The colours of the lanes.
        let [fill, _, ink, _] = look(part).colours();
        let width = (part.share * WIDTH).min(WIDTH - x).max(0.0);
        let _ = write!(
            out,
            "<rect fill=\"{}\" x=\"{x:.1}\" y=\"4\" width=\"{width:.1}\" height=\"36\"><title>{}</title></rect>",
            fill,
            escape(&format!("{} {}", name(part), percent(part.share)))
        );
        let label = format!("{} {}", name(part), percent(part.share));
        if width > 8.0 * label.chars().count() as f64 {
            text(&mut out, x + width / 2.0, 27.0, 13.0, "", &format!("fill=\"{ink}\" text-anchor=\"middle\""), &label);
        }
        x += width;
    }
    out + "</svg>"
}
