//! A process a core, which are this executable again.

use ropewalk::ProcessPoolExecutor;

use super::{Model, Switching};
use crate::lab::work::{self, Done, Unit};
use crate::lab::{cores, usage};

pub(super) struct Processes;

impl Model for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let pool = ProcessPoolExecutor::new(cores::available()).expect("the executable begins with `ropewalk::init`");
        // Units are few and long: one at a time, so that no worker has two while another one has none.
        let handles: Vec<_> = units.into_iter().map(|unit| pool.spawn(|unit: Unit| unit.perform(), unit)).collect();
        // A unit that panicked, or whose worker died, has no report: it is counted as lost.
        let done = handles.into_iter().filter_map(|handle| {
            let done = handle.join().ok();
            work::finished_elsewhere();
            done
        });
        let done = done.collect();
        usage::count_memory_of_children();
        // Reaped, so that their processor time is counted.
        pool.shutdown(ropewalk::Shutdown::Wait);
        done
    }
}
