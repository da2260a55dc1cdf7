//! Which reactor drives the greenlets of this thread, and how long the thread has worked without a wait.
//!
//! A hub brings a reactor with it and takes it away at its end. Each has a number that no other one ever has, so a socket
//! can keep its registrations by number and tell the dead ones from the living.

use ropewalk_core::{park, strand};
use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Operations in a row that did not have to wait, after which a greenlet lets the others run: whoever talks to a peer
/// that is always faster would keep the thread for ever.
const UNBROKEN_MAX: u32 = 128;

struct Here {
    /// 0 on a thread that is no hub.
    reactor: Cell<u64>,
    unbroken: Cell<u32>,
}

thread_local! {
    static HERE: Here = const { Here { reactor: Cell::new(0), unbroken: Cell::new(0) } };
}

static LIVE: Mutex<Vec<NonZeroU64>> = Mutex::new(Vec::new());

fn live() -> MutexGuard<'static, Vec<NonZeroU64>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread's greenlets are driven by the reactor of the runtime that the thread has entered, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reactor(NonZeroU64);

impl Reactor {
    /// Gives the reactor of this thread a number.
    pub(crate) fn of_this_thread() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = NonZeroU64::new(LAST.fetch_add(1, Ordering::Relaxed) + 1).expect("2^64 hubs outlast any program");
        live().push(number);
        HERE.with(|here| here.reactor.set(number.get()));
        Self(number)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        HERE.with(|here| here.reactor.set(0));
        live().retain(|live| *live != self.0);
    }
}

/// The reactor by which the caller has to wait; None for a plain thread, and for a greenlet that unwinds: it must not
/// switch, and its hub with the reactor stands still while it waits.
pub(super) fn current() -> Option<NonZeroU64> {
    if !strand::in_greenlet() || std::thread::panicking() {
        return None;
    }
    NonZeroU64::new(HERE.with(|here| here.reactor.get()))
}

/// Keeps those whose reactor, by `number`, still runs.
pub(super) fn retain_live<T>(registrations: &mut Vec<T>, number: impl Fn(&T) -> NonZeroU64) -> Vec<T> {
    let live = live();
    registrations.extract_if(.., |registration| !live.contains(&number(registration))).collect()
}

/// An operation begins. Now and then this lets other greenlets run, and ends a task that was cancelled and never waits.
pub(super) fn begin() {
    let unbroken = HERE.with(|here| {
        let unbroken = here.unbroken.get() + 1;
        here.unbroken.set(unbroken % UNBROKEN_MAX);
        unbroken
    });
    if unbroken == UNBROKEN_MAX {
        strand::try_yield();
        park::check_cancelled();
    }
}

/// The thread is about to wait.
pub(super) fn waits() {
    HERE.with(|here| here.unbroken.set(0));
}
