//! The thread pool, with a number of workers or with one that it finds itself.

use ropewalk::{ThreadPoolExecutor, Workers};

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

pub(super) struct Pool {
    pub(super) name: &'static str,
    pub(super) workers: Workers,
}

impl Model for Pool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let pool = ThreadPoolExecutor::builder().max_workers(self.workers).build().expect("such a pool can be built");
        let jobs = units.into_iter().map(|unit| move || unit.perform());
        // A unit that panicked has no report: it is counted as lost.
        pool.run_all(jobs).into_iter().flatten().collect()
    }
}
