//! How an OS thread waits: one futex word and a spin that is bounded in time.
//!
//! # States
//!
//! ```text
//! EMPTY ──park──▶ PARKED ──unpark──▶ NOTIFIED ──park returns──▶ EMPTY
//!   └────────────unpark────────────────▲
//! ```
//!
//! Only the owner leaves NOTIFIED and only the owner enters PARKED; anybody may enter NOTIFIED. A notification that
//! arrives before the park is kept, so a waiter that publishes itself first and parks afterwards cannot miss one.
//!
//! # Why spin, and for how long
//!
//! On a virtual machine a futex wake across cores costs about 17 µs one way and a word passed through the cache about
//! 0.2 µs. A wait that ends soon is therefore worth about a microsecond of spinning, and no more: the bound is in time,
//! not in rounds, because a `pause` takes from 4 to 140 cycles on the processors around. A thread whose spins fail
//! (its partner needs this core, or is slow) loses the credit to spin and only probes now and then.

use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::Instant;
use crate::model::weaken;

#[cfg(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle))))]
pub(crate) mod linux;
#[cfg(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle))))]
use linux::Bed;

// Always compiled, so that a change cannot break the other systems unseen; it is tested on Linux too.
#[cfg_attr(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle))), allow(dead_code))]
pub(crate) mod generic;
#[cfg(not(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle)))))]
use generic::Bed;

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// What a thread sleeps on. `sleep` returns when the word is no longer `PARKED`, at the deadline, or for no reason.
trait Sleep {
    fn sleep(&self, word: &AtomicU32, while_equal: u32, until: Option<Instant>);
    fn wake(&self, word: &AtomicU32);
}

/// One thread's parking place.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    bed: Bed,
    spin: Spin,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(EMPTY), bed: Bed::new(), spin: Spin::new() }
    }

    /// Waits until notified or until the deadline; may also return for no reason.
    ///
    /// `asleep` is called once, before the thread really sleeps, and not at all when the spin was enough.
    /// Only the owning thread may call this.
    pub(crate) fn park(&self, until: Option<Instant>, may_spin: bool, asleep: impl FnOnce()) {
        if self.take()
            || (may_spin && self.spin.spin_until(|| self.state.load(Ordering::Relaxed) == NOTIFIED) && self.take())
        {
            return;
        }
        asleep();
        // Acquire on failure: the word was NOTIFIED, which publishes what the waker did before.
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Acquire).is_err() {
            self.state.swap(EMPTY, Ordering::Acquire);
            return;
        }
        self.bed.sleep(&self.state, PARKED, until);
        // Whatever the reason of the return, the caller polls again; a notification that comes now is not lost, it
        // came before that poll. Acquire: pairs with the Release in `unpark`.
        self.state.swap(EMPTY, weaken::ordering("parker.park", Ordering::Acquire));
    }

    /// Spins while that has paid lately. Only the owning thread may call this.
    pub(crate) fn spin_until(&self, ready: impl Fn() -> bool) -> bool {
        self.spin.spin_until(ready)
    }

    /// Takes a kept notification.
    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `unpark`.
        self.state.load(Ordering::Relaxed) == NOTIFIED && {
            self.state.swap(EMPTY, Ordering::Acquire);
            true
        }
    }

    /// Notifies the owner: it is woken, or its next `park` returns at once.
    pub(crate) fn unpark(&self) {
        // Release: pairs with the Acquires in `park`; what the waker wrote is visible to the woken thread.
        if self.state.swap(NOTIFIED, weaken::ordering("parker.unpark", Ordering::Release)) == PARKED {
            self.bed.wake(&self.state);
        }
    }
}

/// A spin bounded in time that stops itself where it does not help.
#[derive(Debug)]
struct Spin {
    /// Written by the owner only: how often spinning may still fail before it is given up, and a count of waits.
    credit: AtomicU32,
    waits: AtomicU32,
}

/// The longest spin before a sleep, in nanoseconds: a few times what a word needs from core to core.
const SPIN_NS_MAX: u128 = 1_500;
/// A thread without credit tries again once in this many waits.
const SPIN_PROBE_EVERY: u32 = 32;
const SPIN_CREDIT_START: u32 = 4;
const SPIN_CREDIT_MAX: u32 = 16;

impl Spin {
    fn new() -> Self {
        Self { credit: AtomicU32::new(SPIN_CREDIT_START), waits: AtomicU32::new(0) }
    }

    /// Spins until `ready`, for at most `SPIN_NS_MAX`.
    fn spin_until(&self, ready: impl Fn() -> bool) -> bool {
        if cfg!(any(ropewalk_loom, ropewalk_shuttle)) || single_core() {
            return false;
        }
        let credit = self.credit.load(Ordering::Relaxed);
        let waits = self.waits.load(Ordering::Relaxed);
        self.waits.store(waits.wrapping_add(1), Ordering::Relaxed);
        if credit == 0 && waits % SPIN_PROBE_EVERY != 0 {
            return false;
        }
        let start = Instant::now();
        loop {
            // The clock costs about as much as a round of pauses, so it is read once a round.
            for _ in 0..16 {
                if ready() {
                    self.credit.store((credit + 2).min(SPIN_CREDIT_MAX), Ordering::Relaxed);
                    return true;
                }
                crate::model::hint::spin_loop();
            }
            if start.elapsed().as_nanos() >= SPIN_NS_MAX {
                self.credit.store(credit.saturating_sub(1), Ordering::Relaxed);
                return false;
            }
        }
    }
}

/// Whether this process may use one core only, so that spinning keeps the waker away.
pub(crate) fn single_core() -> bool {
    static CORES: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1))
}
