//! `ropewalk lab --explain-sizing`: the experiments on a pool about which nothing is said, and why it has which size when.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ropewalk::ThreadPoolExecutor;
use ropewalk_profile::picture::curves::{self, Curves, PoolLook};
use ropewalk_profile::picture::human;
use serde::{Deserialize, Serialize};

use super::Options;
use super::child::{self, Role};
use super::experiment::{Experiment, Inputs};
use super::work::cpu::Calibration;
use super::work::{Done, Unit};
use crate::exit::Expected;
use crate::output::Out;
use crate::output::file::{self, Readers};

/// How often the pool is asked for its numbers.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Wrong answers that a message spells out.
const EXAMPLES_MAX: usize = 3;

/// What the pool was at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    at_s: f64,
    target: usize,
    running: usize,
    queued: usize,
}

/// A change of its size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    at_s: f64,
    from: usize,
    to: usize,
    reason: String,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Played {
    done: Vec<Done>,
    wall_s: f64,
    points: Vec<Point>,
    decisions: Vec<Decision>,
}

/// One experiment, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Explained {
    name: &'static str,
    unit_of_work: String,
    wall_s: f64,
    decisions: Vec<Decision>,
    points: Vec<Point>,
}

/// The child's side: runs the units, looking at the pool meanwhile.
pub fn play(units: Vec<Unit>) -> Played {
    let pool = ThreadPoolExecutor::default();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut points = Vec::new();
            loop {
                let last = over.load(Ordering::Relaxed);
                let stats = pool.stats();
                points.push(Point {
                    at_s: start.elapsed().as_secs_f64(),
                    target: stats.target,
                    running: stats.workers.saturating_sub(stats.idle),
                    queued: stats.queued,
                });
                if last {
                    return points;
                }
                ropewalk::sleep(LOOK_EVERY);
            }
        });
        let done = pool.run_all(units.into_iter().map(|unit| move || unit.perform())).into_iter().flatten().collect();
        let wall_s = start.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        let decisions = pool.sizing_log().into_iter().map(|decision| Decision {
            at_s: decision.at.as_secs_f64(),
            from: decision.from,
            to: decision.to,
            reason: decision.to_string(),
        });
        Played { done, wall_s, decisions: decisions.collect(), points: looks.join().unwrap_or_default() }
    })
}

/// Runs what was asked for, each in a process of its own, and shows it.
///
/// # Errors
/// Whatever a user can cause, and wrong results.
pub fn run(options: &Options, inputs: &Inputs, calibration: Calibration, out: Out) -> Result<(), Expected> {
    let mut reader = Ok(());
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    for which in options.experiments() {
        let mut experiment = Experiment::new(which, options, inputs, calibration, None)?;
        let played: Played = child::ask(Role::Sizing, &experiment.units)?;
        experiment.close();
        wrong.extend(failures(&experiment, &played));
        let explained = Explained {
            name: experiment.name,
            unit_of_work: experiment.unit_of_work.clone(),
            wall_s: played.wall_s,
            decisions: played.decisions,
            points: played.points,
        };
        let mut text = explained.text(experiment.title, out);
        if let Some(directory) = &options.svg {
            let path = directory.join(format!("sizing-{}.svg", experiment.name));
            let picture = curves::draw(&explained.curves(experiment.title));
            file::write("--svg", &path, Readers::AsUsual, |to| to.write_all(picture.as_bytes()))?;
            text += &format!("wrote {}\n\n", path.display());
        }
        if !options.json && reader.is_ok() {
            reader = out.text(&text);
            // Pictures are for somebody else.
            if options.svg.is_none() {
                reader.clone()?;
            }
        }
        all.push(explained);
    }
    if options.json {
        let json = serde_json::to_string_pretty(&serde_json::json!({ "version": 1, "experiments": all }))
            .map_err(|e| Expected::Unwritable(format!("cannot write JSON: {e}")))?;
        reader = out.text(&(json + "\n"));
    }
    match wrong.as_slice() {
        [] => reader,
        some => Err(Expected::Wrong(format!(
            "results were wrong or lost, so nothing above can be trusted:\n  {}",
            some.join("\n  ")
        ))),
    }
}

/// Compares every answer with what it must be.
fn failures(experiment: &Experiment, played: &Played) -> Vec<String> {
    let mut lost: Vec<String> = Vec::new();
    for (unit, expected) in experiment.units.iter().zip(&experiment.expected) {
        let answers: Vec<_> = played.done.iter().filter(|done| done.timing.id == unit.id).collect();
        let right = match answers.as_slice() {
            [Done { answer: Ok(answer), .. }] => expected.as_ref().is_none_or(|expected| expected == answer),
            _ => false,
        };
        if !right {
            let answer = answers.first().map(|done| &done.answer);
            lost.push(format!("{}: unit {} answered {answer:?}", experiment.name, unit.id));
        }
    }
    lost.truncate(EXAMPLES_MAX);
    lost
}

impl Explained {
    fn text(&self, title: &str, out: Out) -> String {
        let most = self.points.iter().map(|point| point.running).max().unwrap_or(0);
        let mut text = out.bold(&format!("{title}: {}", self.unit_of_work)) + "\n";
        let wall = human(Duration::from_secs_f64(self.wall_s));
        text += &format!("  {wall}, at most {most} jobs at once\n");
        for decision in &self.decisions {
            let at = human(Duration::from_secs_f64(decision.at_s));
            text += &format!("  {at:>8}  {}\n", decision.reason);
        }
        if self.decisions.is_empty() {
            text += "  nothing to change: a worker for each core\n";
        }
        text + "\n"
    }

    fn curves(&self, title: &str) -> Curves {
        let at = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let look = |point: &Point| PoolLook {
            at: at(point.at_s),
            target: point.target,
            running: point.running,
            queued: point.queued,
        };
        Curves::of_pool(
            format!("How a pool finds its size: {title}"),
            self.unit_of_work.clone(),
            &self.points.iter().map(look).collect::<Vec<_>>(),
            self.decisions.iter().map(|decision| (at(decision.at_s), decision.reason.clone())).collect(),
        )
    }
}
