//! What the tests on greenlets share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::support::{HANG, SHORT};
use ropewalk::sync::Interrupted;
use ropewalk::{CancelToken, TaskError, TaskHandle, greenlet};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Runs a test as the first greenlet of a hub; one that hangs is a panic.
#[track_caller]
pub(crate) fn greenlets<R>(test: impl FnOnce() -> R) -> R {
    ropewalk::run(|| within(HANG, test).expect("the test ends in time"))
}

/// Lets everybody run until all wait: what is ready, and what becomes ready by that.
pub(crate) fn settle() {
    (0..20).for_each(|_| ropewalk::yield_now());
}

/// Runs `body` under a time limit.
pub(crate) fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> Result<T, Interrupted> {
    CancelToken::new().with_timeout(limit).run(body)
}

/// What happened, in order, for greenlets of one hub.
pub(crate) type Log<T> = Rc<RefCell<Vec<T>>>;

/// A log with nothing in it.
pub(crate) fn log<T>() -> Log<T> {
    Rc::default()
}

/// The wait ends at its own limit, and not before.
#[track_caller]
pub(crate) fn ends_at_its_limit(wait: impl FnOnce(Duration) -> Interrupted) {
    let started = Instant::now();
    assert_eq!(wait(SHORT), Interrupted::TimedOut);
    let took = started.elapsed();
    assert!(SHORT <= took && took < HANG, "{took:?}");
}

/// A limit around the wait that is shorter than its own ends it, and what comes after it too.
#[track_caller]
pub(crate) fn outer_limit_is_not_lost(wait: impl FnOnce(Duration) -> Interrupted) {
    let started = Instant::now();
    let ended = within(SHORT, || {
        // It was not its own limit that has passed.
        assert_eq!(wait(HANG), Interrupted::Cancelled);
        ropewalk::sleep(HANG);
    });
    assert_eq!(ended, Err(Interrupted::TimedOut));
    assert!(started.elapsed() < HANG / 2);
}

/// How a join ended that had no result.
#[track_caller]
pub(crate) fn interrupted<T>(ended: Result<T, TaskError>) -> Interrupted {
    match ended {
        Err(TaskError::TimedOut) => Interrupted::TimedOut,
        Err(TaskError::Cancelled) => Interrupted::Cancelled,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("there is a result"),
    }
}

/// A greenlet that waits until somebody ends it.
pub(crate) fn sleeper() -> TaskHandle<()> {
    greenlet::spawn(|| ropewalk::sleep(HANG))
}
