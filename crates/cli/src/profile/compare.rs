//! `ropewalk profile compare BEFORE AFTER`: what a change brought, and whether the prediction held.

use std::time::Duration;

use ropewalk_profile::picture::human;
use ropewalk_profile::predict::{self, Range};
use ropewalk_profile::recording::Recording;
use ropewalk_profile::verdict::Class;
use ropewalk_profile::{Judgement, judge};
use serde::Serialize;

use crate::exit::Expected;
use crate::output::{Out, wrap};

const WIDTH: usize = 80;
/// A wall time that differs by less is the same.
const NOISE: f64 = 1.05;

/// One of the two.
#[derive(Debug, Serialize)]
struct Side {
    class: Class,
    sentence: String,
    wall_s: f64,
}

/// Both, in the form that `--json` prints.
#[derive(Debug, Serialize)]
struct Comparison {
    version: u32,
    before: Side,
    after: Side,
    speedup: f64,
    /// In flight, or processors used, after the change.
    in_flight: usize,
    /// What was predicted for that before the change.
    predicted: Option<Range>,
    held: Option<bool>,
}

impl Comparison {
    fn of(before: &Recording, after: &Recording) -> Comparison {
        let (was, is) = (judge(before), judge(after));
        let side = |j: &Judgement| Side {
            class: j.finding.class,
            sentence: j.finding.sentence.clone(),
            wall_s: j.states.wall.length,
        };
        let wall = &is.states.wall;
        // What the change did: requests side by side, or processors.
        let many = match was.finding.class {
            Class::Network | Class::Mixed => wall.in_flight,
            _ => (wall.cpu_seen + wall.cpu_unseen) / wall.length.max(1e-9),
        };
        let in_flight = many.round().max(1.0) as usize;
        let predicted = predict::at(before, &was.states, &was.finding, in_flight);
        let held = predicted.map(|r| (r.low_s..=r.high_s).contains(&wall.length));
        let speedup = was.states.wall.length / wall.length.max(1e-9);
        Comparison { version: 1, before: side(&was), after: side(&is), speedup, in_flight, predicted, held }
    }

    fn text(&self, out: Out) -> String {
        let seconds = |s: f64| human(Duration::from_secs_f64(s));
        let change = match self.speedup {
            s if s > NOISE => format!("{s:.2}x shorter"),
            s if s < 1.0 / NOISE => format!("{:.2}x longer", 1.0 / s),
            _ => "no difference beyond noise".to_owned(),
        };
        let held = match (self.predicted, self.held) {
            (Some(r), Some(held)) => format!(
                "For {} at once {} to {} was predicted: that {}.",
                self.in_flight,
                seconds(r.low_s),
                seconds(r.high_s),
                if held { "held" } else { "did not hold" }
            ),
            _ => format!("Nothing was predicted for {} at once.", self.in_flight),
        };
        let head = format!("{} before, {} after: {change}.", seconds(self.before.wall_s), seconds(self.after.wall_s));
        [
            out.bold(&head),
            wrap(&held, WIDTH, 0),
            wrap(&format!("Before: {}", self.before.sentence), WIDTH, 8),
            wrap(&format!("After:  {}", self.after.sentence), WIDTH, 8),
        ]
        .join("\n")
            + "\n"
    }
}

/// Compares two recordings.
///
/// # Errors
/// When the answer cannot be written.
pub(super) fn run(before: &Recording, after: &Recording, as_json: bool, out: Out) -> Result<(), Expected> {
    let comparison = Comparison::of(before, after);
    if as_json {
        let json = serde_json::to_string_pretty(&comparison)
            .map_err(|e| Expected::Unwritable(format!("cannot write JSON: {e}")))?;
        return out.text(&(json + "\n"));
    }
    out.text(&comparison.text(out))
}
