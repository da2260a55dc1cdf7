//! What the tests on greenlets share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::support::HANG;
use ropewalk::CancelToken;

/// Runs a test as the first greenlet of a hub; one that hangs is a panic.
#[track_caller]
pub(crate) fn greenlets<R>(test: impl FnOnce() -> R) -> R {
    ropewalk::run(|| CancelToken::new().with_timeout(HANG).run(test).expect("the test ends in time"))
}

/// Lets everybody run until all wait: what is ready, and what becomes ready by that.
pub(crate) fn settle() {
    (0..20).for_each(|_| ropewalk::yield_now());
}
