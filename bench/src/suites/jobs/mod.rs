//! Suite `jobs`: a job queue in a file, beside a bare loop on the same SQLite and beside python-rq on a Redis of its own.
//!
//! | row | a sample |
//! | --- | --- |
//! | `enqueue.one`, `enqueue.batch` | jobs enqueued one by one, and a hundred at a time; each call returns when its jobs are on the disk |
//! | `noop.c1`, `noop.c50` | empty jobs from the first claim to the last settle, one and fifty at a time |
//! | `latency.p50`, `latency.p99` | from the enqueue to the result in hand, one after another |
//!
//! The bare loop is what nobody can do without: claim so many rows in one transaction, and finish them in another, at
//! the same durability (WAL, `synchronous=FULL`). It decodes nothing, runs nothing and keeps no lease. The file lies where the
//! system's temporary files lie: these figures are about its `fsync`.
//!
//! rq's worker is its `SimpleWorker`, the fast one; its Redis keeps nothing on disk, which is in its favour. It takes part with
//! `--with redis`: needs `redis-server` on the search path, and python3 for a venv of its own.

mod bare;
#[cfg(feature = "ours")]
mod ours;
pub(crate) mod rq;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::harness::{Better, Effort, Judge, Work};

/// Jobs of one call where they are enqueued together.
const BATCH: usize = 100;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    let rate = |name: &'static str| Work::new("jobs", name, "jobs/s", Judge::AsIs).upwards();
    let mut works = vec![
        rate("enqueue.one").by("sqlite", |effort| bare::enqueue(1, effort.pick(2_000, 300))),
        rate("enqueue.batch").by("sqlite", |effort| bare::enqueue(BATCH, effort.pick(50_000, 5_000))),
        rate("noop.c1").by("sqlite", |effort| bare::run(1, few(effort))),
        rate("noop.c50").by("sqlite", |effort| bare::run(50, many(effort))),
        Work::of_rows("jobs", "latency", Judge::AsIs).row("latency.p50", "p50", "us", Better::Lower).row(
            "latency.p99",
            "p99",
            "us",
            Better::Lower,
        ),
    ];
    #[cfg(feature = "ours")]
    for work in &mut works {
        match work.name {
            "enqueue.one" => work.add("ropewalk:sqlite", |effort| ours::enqueue(1, effort.pick(2_000, 300))),
            "enqueue.batch" => work.add("ropewalk:sqlite", |effort| ours::enqueue(BATCH, effort.pick(50_000, 5_000))),
            "noop.c1" => work.add("ropewalk:sqlite", |effort| ours::run(1, few(effort))),
            "noop.c50" => work.add("ropewalk:sqlite", |effort| ours::run(50, many(effort))),
            _ => work.add("ropewalk:sqlite", |effort| ours::latency(effort.pick(300, 50))),
        }
    }
    works
}

fn few(effort: Effort) -> u64 {
    effort.pick(1_500, 200)
}

fn many(effort: Effort) -> u64 {
    effort.pick(20_000, 2_000)
}

/// A directory for one sample; gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-bench-jobs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Place(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("jobs.db")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn per_second(jobs: u64, wall: Duration) -> f64 {
    jobs as f64 / wall.as_secs_f64()
}
