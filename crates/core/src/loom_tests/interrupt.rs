//! Models of cancelling: the interrupt of a scope, and the tokens that raise it.
//!
//! The waits here end with an error and do not unwind: a checker runs all its threads on one OS thread, and cannot change
//! from one to another in the middle of an unwind.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, race};
use crate::model::time::Duration;
use crate::park::{self, Interrupt, Reason};
use crate::sync::{Event, Interrupted, Semaphore};
use crate::task::CancelToken;

/// A wait that only cancelling ends.
fn wait(token: &CancelToken, event: &Event) -> Result<(), Interrupted> {
    token.run(|| event.wait_timeout(Duration::MAX)).unwrap_or_else(Err)
}

#[test]
fn notify_before_wait() {
    model("interrupt: notify_before_wait", || {
        let (token, never) = (CancelToken::new(), Event::new());
        token.cancel();
        assert_eq!(wait(&token, &never), Err(Interrupted::Cancelled));
        assert_eq!(wait(&token.child(), &never), Err(Interrupted::Cancelled));
    });
}

#[test]
fn notify_between_check_and_park() {
    model("interrupt: notify_between_check_and_park", || {
        race((CancelToken::new(), Event::new()), &[|(token, _)| token.cancel()], |(token, never)| {
            assert_eq!(wait(token, never), Err(Interrupted::Cancelled));
        });
    });
    model("interrupt: alone", || {
        race(
            (Interrupt::new(), Event::new()),
            &[|(interrupt, _)| interrupt.raise(Reason::Cancelled)],
            |(interrupt, never)| {
                let ended = park::with_scope(interrupt, None, || never.wait_timeout(Duration::MAX));
                assert_eq!(ended, Err(Interrupted::Cancelled));
            },
        );
    });
}

/// Two regions under one token, one cancel.
#[test]
fn two_waiters_one_notification() {
    model("interrupt: two_waiters_one_notification", || {
        let ends = |(token, never): &(CancelToken, Event)| {
            assert_eq!(wait(token, never), Err(Interrupted::Cancelled));
        };
        race((CancelToken::new(), Event::new()), &[ends, ends], |(token, _)| token.cancel());
    });
}

/// The deadline of the token, the cancel, and what is waited for, all at once.
#[test]
fn timeout_races_with_notify() {
    model("interrupt: timeout_races_with_notify", || {
        race(
            (CancelToken::new(), Event::new()),
            &[|(token, _)| token.cancel(), |(_, event)| event.set()],
            |(token, event)| {
                let _ = wait(&token.with_timeout(A_WHILE), event);
            },
        );
    });
}

/// A cancelled wait hands on what it was given.
#[test]
fn dropped_waiter_hands_on() {
    model("interrupt: dropped_waiter_hands_on", || {
        let shared = race(
            (CancelToken::new(), Semaphore::new(0)),
            &[|(token, semaphore)| {
                let _ = token.run(|| semaphore.acquire_timeout(Duration::MAX).map(drop));
            }],
            |(token, semaphore)| {
                semaphore.release(1);
                token.cancel();
                drop(semaphore.acquire());
            },
        );
        assert_eq!(shared.1.available_permits(), 1);
    });
}

/// A child is made while its parent is cancelled, or after: it is cancelled too.
#[test]
fn owner_drop_races_with_wait() {
    model("interrupt: owner_drop_races_with_wait", || {
        race((CancelToken::new(), Event::new()), &[|(token, _)| token.cancel()], |(token, never)| {
            assert_eq!(wait(&token.child(), never), Err(Interrupted::Cancelled));
        });
    });
}

/// Whoever sees the flag sees what the canceller did before.
#[test]
fn what_the_canceller_did_is_visible() {
    type Shared = (CancelToken, Number, Number);
    let cancel = |(token, number, later): &Shared| {
        number.set(1);
        token.cancel();
        later.set(1);
    };
    let shared = || (CancelToken::new(), Number::new(), Number::new());
    model("interrupt: what_the_canceller_did_is_visible", move || {
        race(shared(), &[cancel], |(token, number, later)| {
            later.get();
            if token.is_cancelled() {
                assert_eq!(number.get(), 1);
            }
        });
    });
    model("interrupt: through a child", move || {
        race(shared(), &[cancel], |(token, number, later)| {
            later.get();
            let child = token.child();
            if child.is_cancelled() {
                assert_eq!(number.get(), 1);
            }
        });
    });
    model("interrupt: without a token", || {
        race(
            (Interrupt::new(), Number::new(), Number::new()),
            &[|(interrupt, number, later)| {
                number.set(1);
                interrupt.raise(Reason::Deadline);
                later.set(1);
            }],
            |(interrupt, number, later)| {
                later.get();
                if interrupt.reason() == Some(Reason::Deadline) {
                    assert_eq!(number.get(), 1);
                }
            },
        );
    });
}
