//! A worker a core; one that has nothing to do takes half of what another has left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ropewalk::ThreadPoolExecutor;

use super::{Model, Switching};
use crate::lab::cores;
use crate::lab::work::{Done, Unit};

pub(super) struct WorkStealing;

impl Model for WorkStealing {
    fn name(&self) -> &'static str {
        "work-stealing"
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let pool = ThreadPoolExecutor::new(cores::available());
        // A unit that panicked has no report: it is counted as lost. The panic would end the others too.
        let done = pool.par_map(|unit: &Unit| catch_unwind(AssertUnwindSafe(|| unit.perform())).ok(), &units);
        done.into_iter().flatten().collect()
    }
}
