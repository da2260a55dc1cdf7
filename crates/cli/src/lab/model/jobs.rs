//! A job for each unit, on a queue in a file: what it costs that work outlives its process.

use ropewalk_jobs::{Enqueue as _, Group, JobQueue, SqliteBroker, Worker};

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

/// As many as the pool of threads that the experiment on waiting shows has.
const AT_ONCE: usize = 160;

pub(super) struct JobsSqlite;

#[ropewalk::task]
fn perform(unit: Unit) -> Done {
    unit.perform()
}

/// A directory that is gone with the row.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Model for JobsSqlite {
    fn name(&self) -> &'static str {
        "jobs-sqlite"
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let scratch = Scratch(std::env::temp_dir().join(format!("ropewalk-lab-jobs-{}", std::process::id())));
        std::fs::create_dir_all(&scratch.0).expect("a directory for temporary files");
        let broker = SqliteBroker::open(scratch.0.join("jobs.db")).expect("a fresh file can be made there");
        let queue = JobQueue::new(broker.clone());
        let worker = Worker::new(broker).concurrency(AT_ONCE.min(units.len().max(1))).register::<perform>();
        let worker = worker.start().expect("threads for a worker");
        let jobs: Group<Done> = units.into_iter().map(|unit| perform::call(unit).job()).collect();
        let (handles, _) = jobs.enqueue(&queue).expect("room for the jobs");
        // A unit that panicked has no report: it is counted as lost.
        let done = handles.into_iter().filter_map(|handle| handle.join().ok()).collect();
        worker.stop();
        worker.join();
        done
    }
}
