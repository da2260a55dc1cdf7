//! One async task a unit, on a runtime with one thread a core.

use ropewalk::{AsyncExecutor, Submit};

use super::{Model, Switching};
use crate::lab::cores;
use crate::lab::work::{Done, Unit};

pub(super) struct Tasks;

impl Model for Tasks {
    fn name(&self) -> &'static str {
        "async"
    }

    fn switching(&self) -> Switching {
        Switching::Cooperative
    }

    fn speaks_https(&self) -> bool {
        false
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let executor = AsyncExecutor::new(cores::available());
        let handles: Vec<_> =
            units.into_iter().map(|unit| executor.submit(async move { unit.perform_async().await })).collect();
        // A unit that panicked has no report: it is counted as lost.
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    }
}
