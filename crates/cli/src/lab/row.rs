//! A row: one model doing the whole work once, in a process of its own, and what is known of it afterwards.

use std::process::Command;
use std::time::Duration;

use ropewalk_profile::timeline::Timeline;
use serde::{Deserialize, Serialize};

use super::child::{self, Child, Message};
use super::experiment::Experiment;
use super::model::{self, Switching};
use super::usage;
use super::work::{self, Done, Unit};
use crate::exit::Expected;
use crate::output::progress::Progress;

/// How often a row says how many units are finished.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Wrong answers that a message spells out.
const EXAMPLES_MAX: usize = 3;

/// What a row's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The model's name.
    pub model: String,
    /// What to run.
    pub units: Vec<Unit>,
    /// The broker that the user names, for the model that needs one. (Not in the arguments of a process: it may hold a password.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Played {
    /// One report for each unit that ended.
    pub done: Vec<Done>,
    /// Processor time during the run, all threads and child processes, in microseconds.
    pub cpu_us: u64,
    /// The greatest resident size, in KiB; for several processes that of the first plus what each other one has to itself.
    pub peak_rss_kib: u64,
    /// What the profile says of the reference, seen from outside.
    #[serde(default)]
    pub seen: Option<Seen>,
}

/// What `ropewalk_profile` says of the sequential row, before any other model has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What holds it up.
    pub class: String,
    /// In words.
    pub sentence: String,
    /// What it predicts.
    pub predicted: Vec<Predicted>,
}

/// A range that another model can be held to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The model that has so many in flight.
    pub model: String,
    /// How many.
    pub in_flight: usize,
    /// Seconds at best.
    pub low_s: f64,
    /// Seconds at worst.
    pub high_s: f64,
    /// Seconds that it took; unknown until that row ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_s: Option<f64>,
}

impl Predicted {
    /// Whether what was measured lies in the range.
    pub fn held(&self) -> Option<bool> {
        self.measured_s.map(|s| (self.low_s..=self.high_s).contains(&s))
    }
}

/// The figures of a row, as `--json` prints them.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The model's name.
    pub model: String,
    /// Who decides to switch.
    pub switching: Switching,
    /// Processors kept busy at once: processor time by wall time, rounded up, at least one.
    pub processors: u32,
    /// Seconds from the first start to the last end of a unit.
    pub wall_s: f64,
    /// How many times shorter than the sequential row in the same language.
    pub speedup: f64,
    /// The speedup's share of the experiment's ideal.
    pub of_ideal: f64,
    /// Processor time by wall time; 100 is one processor kept busy.
    pub cpu_percent: f64,
    /// The greatest number of units in flight at once.
    pub peak_in_flight: usize,
    /// The greatest resident size of the row's process, with what those that it started had to themselves.
    pub peak_rss_mib: f64,
    /// Units without a correct result.
    pub lost: usize,
}

/// A row after it ran.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is printed.
    pub figures: Figures,
    /// Who was in which state when.
    pub timeline: Timeline,
    /// What was wrong with some of the lost units.
    pub failures: Vec<String>,
    /// What the profile said of it, for the reference.
    pub seen: Option<Seen>,
}

/// The child's side: runs the model that `request` names.
pub fn play(request: Request) -> Result<Played, String> {
    let elsewhere = request.broker.as_deref().and_then(model::elsewhere);
    let model = elsewhere.as_deref().or_else(|| model::named(&request.model));
    let model = model.ok_or_else(|| format!("there is no model called {}", request.model))?;
    let total = request.units.len() as u64;
    std::thread::spawn(move || {
        while work::finished() < total {
            ropewalk::sleep(PROGRESS_EVERY);
            child::say(&Message::<()>::Progress(work::finished().min(total)));
        }
    });
    let before = usage::cpu();
    // The memory before anybody judges what was seen, which takes more than the row.
    let run = || (model.run(request.units), usage::peak_rss_kib());
    let ((done, peak_rss_kib), seen, watching) = watched(model.switching(), run);
    let used = (usage::cpu() - before).saturating_sub(watching);
    let cpu_us = u64::try_from(used.as_micros()).unwrap_or(u64::MAX);
    Ok(Played { done, cpu_us, peak_rss_kib, seen })
}

/// Runs the model; of the reference, also what the profile says, and the processor time that watching took.
#[cfg(target_os = "linux")]
fn watched<R>(switching: Switching, run: impl FnOnce() -> R) -> (R, Option<Seen>, Duration) {
    use ropewalk_profile::predict;
    if switching != Switching::None {
        return (run(), None, Duration::ZERO);
    }
    let ropewalk_profile::Measured { value, recording, judgement } = ropewalk_profile::measure(run);
    let asked = [("threads-5", 5), ("threads-per-core", super::cores::available())];
    let predicted = asked.into_iter().filter_map(|(model, n)| {
        let range = predict::at(&recording, &judgement.states, &judgement.finding, n)?;
        Some(Predicted {
            model: model.to_owned(),
            in_flight: n,
            low_s: range.low_s,
            high_s: range.high_s,
            measured_s: None,
        })
    });
    let finding = &judgement.finding;
    let seen = Seen {
        class: finding.class.title().to_owned(),
        sentence: finding.sentence.clone(),
        predicted: predicted.collect(),
    };
    (value, Some(seen), Duration::from_nanos(recording.own_cpu_ns))
}

/// Elsewhere a program cannot be seen from outside.
#[cfg(not(target_os = "linux"))]
fn watched<R>(_: Switching, run: impl FnOnce() -> R) -> (R, Option<Seen>, Duration) {
    (run(), None, Duration::ZERO)
}

/// Runs `command` as the row called `name` over `units` of `experiment`.
///
/// # Errors
/// When its process fails. Wrong answers are no error yet: they are counted in the row.
pub fn run(
    command: Command,
    experiment: &Experiment,
    name: &str,
    request: &Request,
    switching: Switching,
    expected: &[Option<String>],
) -> Result<Row, Expected> {
    let label = format!("{} {name}", experiment.name);
    let progress = Progress::new(&label, request.units.len() as u64);
    let played: Played = Child::start(command, &label, request)?.answer(|n| progress.at(n))?;
    drop(progress);
    judge(&label, name, switching, &played, expected)
}

/// Compares every answer with what it must be, and works out the figures that need no other row.
fn judge(
    label: &str,
    name: &str,
    switching: Switching,
    played: &Played,
    expected: &[Option<String>],
) -> Result<Row, Expected> {
    let mut seen = vec![0u32; expected.len()];
    let mut right = 0;
    let mut failures = Vec::new();
    for done in &played.done {
        let id = done.timing.id;
        let slot = usize::try_from(id).ok().filter(|i| *i < expected.len());
        let Some(slot) = slot else {
            failures.push(format!("{label}: a result for unit {id}, which was never asked for"));
            continue;
        };
        seen[slot] += 1;
        match (&done.answer, &expected[slot]) {
            (Err(why), _) => failures.push(format!("{label}: unit {id} failed: {why}")),
            (Ok(got), Some(wanted)) if got != wanted => {
                failures.push(format!("{label}: unit {id} answered {got} instead of {wanted}"));
            }
            (Ok(_), _) if seen[slot] > 1 => failures.push(format!("{label}: unit {id} was done more than once")),
            (Ok(_), _) => right += 1,
        }
    }
    let missing = seen.iter().filter(|n| **n == 0).count();
    if missing > 0 {
        failures.push(format!("{label}: {missing} units have no result at all"));
    }
    failures.truncate(EXAMPLES_MAX);

    let timing: Vec<_> = played.done.iter().map(|d| d.timing.clone()).collect();
    let timeline = Timeline::from_units(&timing).map_err(|e| Expected::Wrong(format!("{label}: {e}")))?;
    let wall_s = timeline.wall().as_secs_f64();
    let busy = if wall_s > 0.0 { Duration::from_micros(played.cpu_us).as_secs_f64() / wall_s } else { 0.0 };
    let figures = Figures {
        model: name.to_owned(),
        switching,
        // A tenth of a processor more than a whole number is noise, not another processor.
        processors: (busy - 0.1).ceil().max(1.0) as u32,
        wall_s,
        speedup: 1.0,
        of_ideal: 0.0,
        cpu_percent: busy * 100.0,
        peak_in_flight: timeline.peak_in_flight(),
        peak_rss_mib: played.peak_rss_kib as f64 / 1024.0,
        lost: expected.len() - right.min(expected.len()),
    };
    Ok(Row { figures, timeline, failures, seen: played.seen.clone() })
}

impl Row {
    /// Fills in what follows from the reference's wall time and from the experiment's ideal.
    pub fn compare(&mut self, reference_s: f64, ideal: f64) {
        let f = &mut self.figures;
        f.speedup = if f.wall_s > 0.0 { reference_s / f.wall_s } else { 0.0 };
        f.of_ideal = if ideal > 0.0 { f.speedup / ideal } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_profile::timeline;

    fn done(id: u64, answer: Result<&str, &str>) -> Done {
        let at = Duration::from_millis(10 * id);
        let timing =
            timeline::Unit { id, thread: 1, start: at, end: at + Duration::from_millis(10), waits: Vec::new() };
        Done { timing, answer: answer.map(str::to_owned).map_err(str::to_owned) }
    }

    fn lost(done: Vec<Done>, expected: &[Option<&str>]) -> (usize, Vec<String>) {
        let expected: Vec<_> = expected.iter().map(|e| e.map(str::to_owned)).collect();
        let played = Played { done, cpu_us: 0, peak_rss_kib: 0, seen: None };
        let row = judge("x y", "y", Switching::None, &played, &expected).expect("the times are fine");
        (row.figures.lost, row.failures)
    }

    #[test]
    fn wrong_failed_missing_and_doubled_units_are_lost() {
        assert_eq!(lost(vec![done(0, Ok("a")), done(1, Ok("b"))], &[Some("a"), Some("b")]), (0, vec![]));
        assert_eq!(lost(vec![done(0, Ok("a")), done(1, Ok("a"))], &[Some("a"), Some("b")]).0, 1);
        assert_eq!(lost(vec![done(0, Ok("a")), done(1, Err("no"))], &[Some("a"), None]).0, 1);
        assert_eq!(lost(vec![done(0, Ok("a"))], &[Some("a"), Some("b")]).0, 1);
        let (_, failures) = lost(vec![done(0, Ok("a")), done(0, Ok("a"))], &[Some("a")]);
        assert_eq!(failures.len(), 1);
        let (_, failures) = lost(vec![done(0, Ok("a")), done(7, Ok("a"))], &[Some("a")]);
        assert_eq!(failures.len(), 1);
    }

    #[test]
    fn a_page_that_changes_by_itself_is_right_when_it_came() {
        assert_eq!(lost(vec![done(0, Ok("whatever"))], &[None]).0, 0);
    }
}
