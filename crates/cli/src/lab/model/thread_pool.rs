//! The thread pool with a fixed number of workers.

use ropewalk::ThreadPoolExecutor;

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

pub(super) struct Pool {
    pub(super) name: &'static str,
    pub(super) workers: usize,
}

impl Model for Pool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let pool = ThreadPoolExecutor::new(self.workers);
        let jobs = units.into_iter().map(|unit| move || unit.perform());
        // A unit that panicked has no report: it is counted as lost.
        pool.run_all(jobs).into_iter().flatten().collect()
    }
}
