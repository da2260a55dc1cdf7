//! Whether to spin before a sleep, and how.
//!
//! Pausing for a few microseconds catches a partner that runs on another core; a few offers of the
//! core (`sched_yield`) after that hand over to a partner that needs this very core. Both are bounded, so a wait that
//! lasts costs a few microseconds of processor and then nothing.
//!
//! Two threads that both sleep are a trap: each of their waits includes the other's slow wake-up, and they would never
//! find out how fast they could be. Giving up spinning because it has not paid lately walks right into it (measured on
//! a round trip between two cores: 100 µs instead of 0.2 to 1.5 µs), and so does a spin of less than a microsecond on a
//! busy machine. So a thread goes on spinning, with one exception. That a pause was in vain *and the first yield then
//! handed over* shows that the partner shares this core, where pausing only keeps it away; with enough of that and no
//! pause that paid, the thread yields at once, and pauses again only once in [`PROBE_EVERY`] waits.

use super::single_core;
use crate::model::hint;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::thread;

/// How to spin.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Pauses before the core is offered: 45 ns each on a Zen, 10 on older Intels.
    pauses: u32,
    /// How many before the first look.
    first: u32,
    /// The most between two looks.
    between: u32,
    /// Offers of the core before a sleep.
    yields: u32,
}

/// To see the end of a wait: a look costs the partner a cache line, and a late one costs us the difference.
pub(super) const LOOK_EARLY: Manner = Manner { pauses: 127, first: 1, between: 8, yields: 4 };
/// To get a contended lock: whoever holds it is left alone, and given the core soon.
pub(super) const LEAVE_ALONE: Manner = Manner { pauses: 32, first: 4, between: 16, yields: 8 };
const PROBE_EVERY: u32 = 64;
const CREDIT_MAX: u32 = 16;

/// What this thread has learned. Written by its owner only.
#[derive(Debug)]
pub(super) struct Spin {
    /// How often the partner may still be found on this core before pausing is given up.
    credit: AtomicU32,
    waits: AtomicU32,
}

impl Spin {
    pub(super) fn new() -> Self {
        Self { credit: AtomicU32::new(CREDIT_MAX / 2), waits: AtomicU32::new(0) }
    }

    /// Spins until `ready`, or not for long.
    pub(super) fn spin_until(&self, manner: Manner, ready: impl Fn() -> bool) -> bool {
        if cfg!(any(ropewalk_loom, ropewalk_shuttle)) {
            return false;
        }
        let credit = self.credit.load(Ordering::Relaxed);
        let pauses = !single_core() && (credit > 0 || self.is_probe());
        if pauses && pause_until(manner, &ready) {
            self.credit.store((credit + 2).min(CREDIT_MAX), Ordering::Relaxed);
            return true;
        }
        for offer in 0..manner.yields {
            thread::yield_now();
            if ready() {
                if offer == 0 && pauses {
                    self.credit.store(credit.saturating_sub(1), Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    fn is_probe(&self) -> bool {
        let waits = self.waits.load(Ordering::Relaxed).wrapping_add(1);
        self.waits.store(waits, Ordering::Relaxed);
        waits.is_multiple_of(PROBE_EVERY)
    }
}

fn pause_until(manner: Manner, ready: &impl Fn() -> bool) -> bool {
    let (mut left, mut step) = (manner.pauses, manner.first);
    while left > 0 {
        for _ in 0..step {
            hint::spin_loop();
        }
        if ready() {
            return true;
        }
        left -= step.min(left);
        step = (2 * step).min(manner.between);
    }
    false
}
