//! Where a task is: one word, changed by read-modify-write only until it is FINISHED.
//!
//! ```text
//! PENDING ──start──▶ RUNNING ──outcome stored──▶ TELLING ──callbacks ran──▶ FINISHED
//!    └───claim to cancel──▲                          (skipped without callbacks)
//! ```
//!
//! Whoever moves the word out of PENDING owns the job: a worker, a waiter that runs it itself, or a canceller, which
//! drops it. The outcome is written by that owner before it leaves RUNNING and taken by the handle after FINISHED. In
//! TELLING the outcome is lent to callbacks, so the handle may look but not take.
//!
//! Flags beside the phase: `WAITERS` (somebody is on the list), `CALLBACKS` (there are some to call), `CANCELLED` (it
//! ends without having run), `TAKEN` (the outcome has left), `DETACHED` (the handle was dropped: whoever comes second,
//! the one that finishes or the one that drops the handle, drops the outcome too, so that it never lies around in the
//! executor's half).

use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::weaken;
use std::fmt;
use std::num::NonZeroU64;

const PHASE: u32 = 3;
const PENDING: u32 = 0;
const RUNNING: u32 = 1;
const TELLING: u32 = 2;
const FINISHED: u32 = 3;
const WAITERS: u32 = 4;
const CALLBACKS: u32 = 8;
const CANCELLED: u32 = 16;
const TAKEN: u32 = 32;
const DETACHED: u32 = 64;

/// Identifies a task in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(super) fn of_address(address: usize) -> Self {
        Self(NonZeroU64::new(address as u64).expect("a task has an address"))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToRunning {
    /// The job is the caller's.
    Mine,
    /// Somebody else has it, or had it.
    NotPending,
}

#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToFinished {
    /// Callbacks must run first.
    CallbacksFirst,
    /// It is finished.
    Finished {
        /// Somebody waits.
        wake: bool,
        /// Nobody will take the outcome.
        detached: bool,
    },
}

#[derive(Debug)]
pub(super) struct State(AtomicU32);

impl State {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(PENDING))
    }

    fn phase(&self) -> u32 {
        // Acquire: whoever sees the outcome stored may look at it.
        self.0.load(weaken::ordering("task.phase", Ordering::Acquire)) & PHASE
    }

    pub(super) fn is_pending(&self) -> bool {
        self.phase() == PENDING
    }

    pub(super) fn is_running(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word & PHASE == RUNNING && word & CANCELLED == 0
    }

    /// Whether the outcome is there.
    pub(super) fn is_finished(&self) -> bool {
        self.phase() >= TELLING
    }

    /// Whether the outcome may be taken.
    pub(super) fn may_take(&self) -> bool {
        self.phase() == FINISHED
    }

    pub(super) fn to_running(&self, to_cancel: bool) -> ToRunning {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & PHASE != PENDING {
                return ToRunning::NotPending;
            }
            let wanted = word | RUNNING | if to_cancel { CANCELLED } else { 0 };
            // Relaxed: nobody writes the job after the task was made, so it came with the reference.
            match self.0.compare_exchange_weak(word, wanted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return ToRunning::Mine,
                Err(now) => word = now,
            }
        }
    }

    /// The outcome is stored: publishes it, unless callbacks must run first.
    pub(super) fn to_finished(&self) -> ToFinished {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (wanted, next) = if word & CALLBACKS != 0 {
                ((word & !PHASE & !CALLBACKS) | TELLING, ToFinished::CallbacksFirst)
            } else {
                let (wake, detached) = (word & WAITERS != 0, word & DETACHED != 0);
                (word | FINISHED, ToFinished::Finished { wake, detached })
            };
            // Release: publishes the outcome to whoever sees the new phase. (Callbacks come under their lock.)
            let ordering = weaken::ordering("task.finish", Ordering::Release);
            match self.0.compare_exchange_weak(word, wanted, ordering, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(now) => word = now,
            }
        }
    }

    /// Somebody is on the list. True when that is too late: the outcome may be taken already.
    pub(super) fn add_waiter(&self) -> bool {
        // Acquire: as in `phase`.
        self.0.fetch_or(WAITERS, weaken::ordering("task.wait", Ordering::Acquire)) & PHASE == FINISHED
    }

    /// There is a callback. True when that is too late: the outcome is there and nobody will come to call it.
    pub(super) fn add_callback(&self) -> bool {
        // Acquire: as in `phase`.
        let before = self.0.fetch_or(CALLBACKS, weaken::ordering("task.add_callback", Ordering::Acquire));
        before & PHASE == FINISHED
    }

    /// Takes the right to the outcome. False when it was taken before. Only the handle calls this, after `may_take`, and
    /// while nobody else uses the handle.
    #[inline]
    pub(super) fn take(&self) -> bool {
        // Not a read-modify-write: in FINISHED only the handle writes the word.
        let word = self.0.load(Ordering::Relaxed);
        self.0.store(word | TAKEN, Ordering::Relaxed);
        word & TAKEN == 0
    }

    /// The handle is dropped. True when the outcome is left to it.
    pub(super) fn detach(&self) -> bool {
        if self.is_taken() {
            // Taken, so finished: nobody looks at the word any more.
            return false;
        }
        // Acquire: pairs with the Release in `to_finished`; the outcome is visible.
        let before = self.0.fetch_or(DETACHED, weaken::ordering("task.detach", Ordering::Acquire));
        before & PHASE == FINISHED && before & TAKEN == 0
    }

    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) & TAKEN != 0
    }
}
