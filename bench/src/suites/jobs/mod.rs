//! Suite `jobs`: a queue of jobs that do nothing.
//!
//! | file | role |
//! | --- | --- |
//! | `ours` | our systems: one line of [`ours::PLACES`] each |
//! | `server` | the Redis of a run |
//! | `bare` | the physical limits: claim and finish on the same SQLite and nothing else, and one `fdatasync` after another |
//!
//! In `noop.*` the jobs are there before the clock starts, and it stops when the last has ended. `c1` and `c50` are one worker
//! that runs so many at once (the bare loop claims and finishes so many at a time); python-rq's workers run one at a time
//! in both. `noop.4procs` is four worker processes on one store, `.fairness` the share of the one that got the least in
//! percent of an even share. In `latency` the worker is a process of its own, where the store allows that, and there is one
//! job at a time: from the enqueue to the result. All files lie beside this program, so build it on a disk.
//!
//! In `sleep.*` each job sleeps, and a worker runs 50 at once, but for python-rq's, which run one at a time.
//!
//! `ropewalk:redis` takes part where there is a `redis-server`. It and the peers share one server, which writes nothing to the disk and
//! is empty at the beginning of each sample. For each job of `noop.c1`, `roundtrips` are what a worker sends and waits for, `commands`
//! those that the server runs (in scripts too), and `broker.cpu` is its CPU time.

mod bare;
#[cfg(feature = "ours")]
mod ours;
pub mod server;

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
            .row("commands", "commands", "ops", Better::Lower)
            .row("broker.cpu", "broker.cpu", "us", Better::Lower)
            .by("bare", |effort| bare::work(effort.pick(1_500, 200), 1)),
        rate("noop.c50").by("bare", |effort| bare::work(effort.pick(50_000, 5_000), 50)),
        rate("sleep.5ms"),
        rate("sleep.200ms"),
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

/// A directory for one sample, gone after it.
struct Scratch {
    place: PathBuf,
}

impl Scratch {
    fn new() -> Scratch {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("jobs-bench-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let place = install::beside_us(&name).expect("a place beside this program");
        std::fs::create_dir(&place).expect("a directory beside this program");
        Scratch { place }
    }

    fn file(&self) -> PathBuf {
        self.place.join("jobs.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

/// How long a worker is watched that has nothing to do, in milliseconds.
#[cfg(feature = "ours")]
fn idle_ms(effort: Effort) -> u64 {
    effort.pick(3_000, 1_000)
}
