//! A job for each unit, on a queue in a file or on a server: what it costs that work outlives its process.

use ropewalk_jobs::{Broker, Enqueue as _, Group, JobQueue, SqliteBroker, Worker};

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

/// As many as the pool of threads that the experiment on waiting shows has.
const AT_ONCE: usize = 160;

pub(super) struct JobsSqlite;

/// On the server at this address, under keys of its own that are gone with the row.
#[cfg(feature = "redis")]
pub(super) struct JobsRedis {
    pub(super) url: String,
}

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
        run_on(SqliteBroker::open(scratch.0.join("jobs.db")).expect("a fresh file can be made there"), units)
    }
}

fn run_on(broker: impl Broker + Clone + 'static, units: Vec<Unit>) -> Vec<Done> {
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

#[cfg(feature = "redis")]
impl Model for JobsRedis {
    fn name(&self) -> &'static str {
        "jobs-redis"
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        // Below rq's own prefix, so that a user who may only touch those keys is enough.
        let prefix = format!("rq:trial-{}", ropewalk_jobs::JobId::random());
        let opening = ropewalk_jobs::RedisBroker::at(self.url.clone()).prefix(prefix);
        let broker = opening.open().unwrap_or_else(|error| panic!("{error}"));
        let done = run_on(broker.clone(), units);
        // A user who may not do that leaves them, as `--help` says: the row is right all the same.
        let _ = broker.remove_all();
        done
    }
}
