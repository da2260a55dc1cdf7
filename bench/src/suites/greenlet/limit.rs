//! The physical limit of a switch: one coroutine of corosensei's, resumed and suspended by turns, and nothing else.

use corosensei::{Coroutine, CoroutineResult};

use super::{Run, amount, others_ran, turn};
use crate::harness::Sample;
use crate::measure::timed;

/// How a bare coroutine does a work.
pub fn run(work: &str) -> Option<Run> {
    if work != "yield.1" {
        return None;
    }
    Some(|effort| {
        let count = amount::yields(effort);
        let mut coroutine = Coroutine::new(move |yielder, ()| {
            let mut switched = 0;
            for _ in 0..count {
                let mine = turn();
                yielder.suspend(());
                switched += u64::from(others_ran(mine));
            }
            switched
        });
        let (switched, spent) = timed(|| {
            loop {
                if let CoroutineResult::Return(switched) = coroutine.resume(()) {
                    break switched;
                }
            }
        });
        assert_eq!(switched, 0, "nobody else is there");
        Sample::new(spent.wall_ns_per(count), spent)
    })
}
