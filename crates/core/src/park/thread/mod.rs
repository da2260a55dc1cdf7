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
//! # Why spin
//!
//! On a virtual machine a futex wake across cores costs from 5 µs (a busy core) to 50 µs (a halted one), and a word
//! passed through the cache about 0.2 µs. So a thread spins for a moment before it sleeps; `spin` says how.

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

mod spin;
use spin::Spin;

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
            || (may_spin
                && self.spin.spin_until(spin::LOOK_EARLY, || self.state.load(Ordering::Relaxed) == NOTIFIED)
                && self.take())
        {
            return;
        }
        asleep();
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // It was NOTIFIED just now. Acquire: pairs with the Release in `unpark`.
            self.state.swap(EMPTY, weaken::ordering("parker.late", Ordering::Acquire));
            return;
        }
        self.bed.sleep(&self.state, PARKED, until);
        // Whatever the reason of the return, the caller polls again; a notification that comes now is not lost, it
        // came before that poll. Acquire: pairs with the Release in `unpark`.
        self.state.swap(EMPTY, weaken::ordering("parker.park", Ordering::Acquire));
    }

    /// Spins while that has paid lately. Only the owning thread may call this.
    pub(crate) fn spin_until(&self, ready: impl Fn() -> bool) -> bool {
        self.spin.spin_until(spin::LOOK_EARLY, ready)
    }

    /// The same for a lock that others work under.
    pub(crate) fn spin_for_lock(&self, try_lock: impl Fn() -> bool) -> bool {
        self.spin.spin_until(spin::LEAVE_ALONE, try_lock)
    }

    /// Takes a kept notification.
    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `unpark`.
        self.state.load(Ordering::Relaxed) == NOTIFIED && {
            self.state.swap(EMPTY, weaken::ordering("parker.take", Ordering::Acquire));
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

/// Whether the machine has one core only, so that spinning keeps the waker away.
///
/// This asks for the cores of the machine and not for those that the calling thread may use: the answer is kept for the
/// whole process, and the first to ask may be pinned to one. A process that is confined to one core learns it as any
/// thread does whose partner shares its core.
pub(crate) fn single_core() -> bool {
    #[cfg(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle))))]
    return linux::online_cores() == 1;
    #[cfg(not(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle)))))]
    false
}
