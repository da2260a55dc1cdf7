//! `ropewalk lab --crash`: the same work on every model, with one unit in fifty that takes its process along, and how many results
//! each model lost by it.
//!
//! A row is a process, as everywhere in the lab. A model that works in it loses everything: nobody is left who could tell what the
//! other units found out. One that works in processes of its own loses what crashed.

use serde::Serialize;

use super::Options;
use super::child::{Child, Role};
use super::model;
use super::row::{Played, Request};
use super::work::cpu::{self, Calibration};
use super::work::{Task, Unit};
use crate::exit::Expected;
use crate::output::Out;
use crate::output::table;

/// How many units there are.
const UNITS: u64 = 100;
/// One of so many crashes.
const ONE_IN: u64 = 50;

const HEAD: [&str; 4] = ["model", "results", "lost", "how it ended"];

/// One model, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    model: &'static str,
    results: u64,
    lost: u64,
    /// Lost though they did not crash.
    innocent_lost: u64,
    ended: String,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    units: u64,
    crash: u64,
    rows: Vec<Outcome>,
}

fn crashes(id: u64) -> bool {
    id % ONE_IN == ONE_IN / 2
}

fn units(bound: u64) -> Vec<Unit> {
    let task = |id| if crashes(id) { Task::Crash } else { Task::Sum { bound: bound + id } };
    (0..UNITS).map(|id| Unit { id, task: task(id) }).collect()
}

/// How many of the results are there, each once and right.
fn right(played: &Played, bound: u64) -> u64 {
    let mut there = [false; UNITS as usize];
    for done in &played.done {
        let id = done.timing.id;
        if let Some(there) = usize::try_from(id).ok().and_then(|id| there.get_mut(id)) {
            *there |= done.answer.as_ref().is_ok_and(|sum| *sum == cpu::sum_of_squares(bound + id).to_string());
        }
    }
    there.iter().map(|there| u64::from(*there)).sum()
}

/// Runs every model and shows what it lost.
///
/// # Errors
/// Whatever a user can cause.
pub fn run(options: &Options, calibration: Calibration, out: Out) -> Result<(), Expected> {
    // A fifth of a unit of the comparison: what is counted here are results.
    let bound = calibration.bound / 5;
    let crash = (0..UNITS).filter(|id| crashes(*id)).count() as u64;
    let mut rows = Vec::new();
    for model in model::all() {
        let request = Request { model: model.name().to_owned(), units: units(bound), broker: None };
        let label = format!("crash {}", model.name());
        let (results, ended) = match Child::start(Role::Row.command()?, &label, &request)?.answer::<Played>(|_| {}) {
            Ok(played) => (right(&played, bound), "to the end".to_owned()),
            Err(Expected::Process(_)) => (0, "its process crashed".to_owned()),
            Err(other) => return Err(other),
        };
        let lost = UNITS - results;
        rows.push(Outcome { model: model.name(), results, lost, innocent_lost: lost.saturating_sub(crash), ended });
    }
    let report = Report { version: 1, units: UNITS, crash, rows };
    if options.json {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|error| Expected::Unwritable(format!("cannot write JSON: {error}")))?;
        return out.text(&(json + "\n"));
    }
    let cells =
        |row: &Outcome| vec![row.model.to_owned(), row.results.to_string(), row.lost.to_string(), row.ended.clone()];
    let cells: Vec<_> = report.rows.iter().map(cells).collect();
    let title = format!("{UNITS} sums, of which {crash} crash (SIGSEGV)");
    out.text(&format!("{}\n\n{}", out.bold(&title), table::draw(&HEAD, &cells)))
}
