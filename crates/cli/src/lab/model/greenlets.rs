//! One greenlet a unit, all on one thread.

use ropewalk::greenlet;

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

pub(super) struct Greenlets;

impl Model for Greenlets {
    fn name(&self) -> &'static str {
        "greenlets"
    }

    fn switching(&self) -> Switching {
        Switching::Cooperative
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        // Sums that keep the others waiting are what the CPU-bound row is about.
        greenlet::set_reports(false);
        ropewalk::run(|| {
            let handles: Vec<_> = units.into_iter().map(|unit| greenlet::spawn(move || unit.perform())).collect();
            // A unit that panicked has no report: it is counted as lost.
            handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
        })
    }
}
