//! One unit after the other, on one thread: what every other model is compared with.

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

pub(super) struct Sequential;

impl Model for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn switching(&self) -> Switching {
        Switching::None
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        units.iter().map(Unit::perform).collect()
    }
}
