//! Suite `jobs`: a queue of jobs that do nothing.
//!
//! | file | role |
//! | --- | --- |
//! | `ours` | our systems: one line of [`ours::PLACES`] each |
//! | `bare` | the physical limits: claim and finish on the same SQLite and nothing else, and one `fdatasync` after another |
//!
//! In `noop.*` the jobs are there before the clock starts, and it stops when the last has ended. `c1` and `c50` are one worker
//! that runs so many at once (the bare loop claims and finishes so many at a time); python-rq's workers run one at a time
//! in both. `noop.4procs` is four worker processes on one store, `.fairness` the share of the one that got the least in
//! percent of an even share. In `latency` the worker is a process of its own, where the store allows that, and there is one
//! job at a time: from the enqueue to the result. All files lie beside this program, so build it on a disk.
//!
//! `ropewalk:redis` takes part where there is a `redis-server`, and starts one for each sample; the peer in Python starts one of its
//! own. Both are without persistence, as their figures are best. `roundtrips` are commands
//! that the server is sent for one job of `noop.c1`, `broker.cpu` its CPU time for it: for systems that have a server.

mod bare;
#[cfg(feature = "ours")]
mod ours;

use std::any::Any;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::install;
use crate::measure::Spent;

#[cfg(feature = "ours")]
pub use ours::work_as_told;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    let rate = |name| Work::new("jobs", name, "jobs/s", Judge::AsIs).upwards();
    let works = vec![
        Work::new("jobs", "fsync", "ops/s", Judge::AsIs).upwards().by("disk", bare::syncs),
        rate("enqueue.one").by("bare", |effort| bare::enqueue(effort.pick(1_500, 200), 1)),
        rate("enqueue.batch").by("bare", |effort| bare::enqueue(effort.pick(100_000, 10_000), BATCH)),
        rate("noop.c1")
            .row("roundtrips", "roundtrips", "ops", Better::Lower)
            .row("broker.cpu", "broker.cpu", "us", Better::Lower)
            .by("bare", |effort| bare::work(effort.pick(1_500, 200), 1)),
        rate("noop.c50").by("bare", |effort| bare::work(effort.pick(50_000, 5_000), 50)),
        rate("noop.4procs").aside("fairness", "%", Better::Higher),
        Work::of_rows("jobs", "latency", Judge::AsIs).row("latency.p50", "p50", "us", Better::Lower).row(
            "latency.p99",
            "p99",
            "us",
            Better::Lower,
        ),
        Work::new("jobs", "idle.cpu", "%", Judge::AsIs),
    ];
    #[cfg(feature = "ours")]
    let works = works.into_iter().map(ours::join).collect();
    works
}

/// Jobs in one call of `enqueue.batch`.
const BATCH: u64 = 1_000;

/// The arguments of a job: what a small one has.
const PAYLOAD: &str =
    "[\"a/picture/of/something.png\", 640, 480, {\"quality\": 80, \"rotate\": false, \"owner\": \"somebody\"}]";

fn rate(jobs: u64, spent: Spent) -> Sample {
    Sample::new(jobs as f64 / spent.wall.as_secs_f64(), spent)
}

/// The percentiles of these latencies, in microseconds.
#[cfg(feature = "ours")]
fn percentiles(mut us: Vec<f64>, spent: Spent) -> Sample {
    us.sort_by(f64::total_cmp);
    let at = |share: f64| us[((us.len() - 1) as f64 * share) as usize];
    Sample::of_rows(spent).and("p50", at(0.5)).and("p99", at(0.99))
}

/// A directory for one sample, gone after it, with whatever was started there.
struct Scratch {
    place: PathBuf,
    kept: RefCell<Option<Box<dyn Any>>>,
}

impl Scratch {
    fn new() -> Scratch {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("jobs-bench-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let place = install::beside_us(&name).expect("a place beside this program");
        std::fs::create_dir(&place).expect("a directory beside this program");
        Scratch { place, kept: RefCell::default() }
    }

    fn file(&self) -> PathBuf {
        self.place.join("jobs.db")
    }

    #[cfg(feature = "ours")]
    fn place(&self) -> &std::path::Path {
        &self.place
    }

    /// Ends with this sample.
    #[cfg(feature = "ours")]
    fn keep(&self, server: impl Any) {
        *self.kept.borrow_mut() = Some(Box::new(server));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.kept.take());
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

/// How long a worker is watched that has nothing to do, in milliseconds.
#[cfg(feature = "ours")]
fn idle_ms(effort: Effort) -> u64 {
    effort.pick(3_000, 1_000)
}
