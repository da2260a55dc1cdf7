//! How a wait is told to end early: one flag and one waker a scope.
//!
//! An [`Interrupt`] belongs to one strand's scope (a task, or a region run under a cancel token). The strand leaves its
//! waker in it before it suspends and looks at the flag afterwards; whoever interrupts sets the flag and then takes the
//! waker. Both pass through the lock of the waker: if the waker was left in time it is woken, and if it was not, the
//! strand's own pass through the lock came later and so sees the flag.

use super::leaf::Leaf;
use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::weaken;
use std::task::Waker;

/// Why a scope was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked for it.
    Cancelled,
    /// The scope's deadline passed.
    Deadline,
}

const NOT: u32 = 0;
const CANCELLED: u32 = 1;
const DEADLINE: u32 = 2;

/// The request that the waits of one scope end.
#[derive(Debug)]
pub struct Interrupt {
    flag: AtomicU32,
    waiter: Leaf<Option<Waker>>,
}

impl Interrupt {
    maybe_const! {
        /// An interrupt that nobody asked for yet.
        pub const fn new() -> Self {
            Self { flag: AtomicU32::new(NOT), waiter: Leaf::new(None) }
        }
    }

    /// Asks for it and wakes the strand if it waits. The first reason stays.
    pub fn raise(&self, reason: Reason) {
        let wanted = match reason {
            Reason::Cancelled => CANCELLED,
            Reason::Deadline => DEADLINE,
        };
        // Release: what the canceller did before is visible to the strand that sees the flag.
        let release = weaken::ordering("interrupt.raise", Ordering::Release);
        let _ = self.flag.compare_exchange(NOT, wanted, release, Ordering::Relaxed);
        let waiter = self.waiter.lock().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// Whether and why it was asked for.
    pub fn reason(&self) -> Option<Reason> {
        // Acquire: pairs with the Release in `raise`.
        match self.flag.load(weaken::ordering("interrupt.reason", Ordering::Acquire)) {
            NOT => None,
            DEADLINE => Some(Reason::Deadline),
            _ => Some(Reason::Cancelled),
        }
    }

    /// Whether it was asked for; a hint, which says nothing of what was done before.
    #[inline]
    pub(super) fn is_raised(&self) -> bool {
        self.flag.load(Ordering::Relaxed) != NOT
    }

    /// Leaves the waker of the strand that is about to suspend. The caller looks at [`reason`](Self::reason) afterwards.
    pub fn leave_waker(&self, waker: &Waker) {
        if !weaken::keep("interrupt.leave_waker") {
            return;
        }
        let mut waiter = self.waiter.lock();
        if !waiter.as_ref().is_some_and(|left| left.will_wake(waker)) {
            let old = waiter.replace(waker.clone());
            drop(waiter);
            drop(old);
        }
    }
}

impl Default for Interrupt {
    fn default() -> Self {
        Self::new()
    }
}
