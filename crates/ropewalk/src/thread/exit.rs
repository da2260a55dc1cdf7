//! What the process waits for before it ends.
//!
//! One counter says how many non-daemon threads live; the end of `main` waits until it is 0, then shuts down the
//! executors that are still open (whose idle workers would otherwise never end), and looks again, since either may have
//! started more.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};

static ALIVE: Mutex<usize> = Mutex::new(0);
static NOBODY: Condvar = Condvar::new();

/// std's locks, held for an instant: a thread may be started from async code, where ours would refuse to wait.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is closed, and waited for, before the process ends.
pub(crate) trait Close: Send + Sync {
    /// Ends it if it is a daemon: before anything is waited for that may wait for it.
    fn end_daemon(&self) {}
    /// Finishes what was begun and takes nothing more.
    fn close(&self);
}

static OPEN: Mutex<Vec<Weak<dyn Close>>> = Mutex::new(Vec::new());

/// A thread that the process waits for, until this is dropped.
pub(super) struct NonDaemon;

impl NonDaemon {
    pub(super) fn enter() -> Self {
        *lock(&ALIVE) += 1;
        Self
    }
}

impl Drop for NonDaemon {
    fn drop(&mut self) {
        let mut alive = lock(&ALIVE);
        *alive -= 1;
        if *alive == 0 {
            NOBODY.notify_all();
        }
    }
}

/// Registers what is to be closed at the end of `main`, should it still exist then.
pub(crate) fn close_at_exit(open: Weak<dyn Close>) {
    let mut all = lock(&OPEN);
    if all.len() == all.capacity() {
        all.retain(|open| open.strong_count() > 0);
    }
    all.push(open);
}

/// Runs the program and waits for what it started, also when it panics; behind `#[ropewalk::main]`.
pub(crate) fn run_main<R>(program: impl FnOnce() -> R) -> R {
    let result = catch_unwind(AssertUnwindSafe(program));
    loop {
        drop(NOBODY.wait_while(lock(&ALIVE), |alive| *alive > 0));
        let open = std::mem::take(&mut *lock(&OPEN));
        let open: Vec<_> = open.iter().filter_map(Weak::upgrade).collect();
        if open.is_empty() {
            return result.unwrap_or_else(|payload| resume_unwind(payload));
        }
        open.iter().for_each(|open| open.end_daemon());
        open.iter().for_each(|open| open.close());
    }
}
