//! Models of the barrier: rounds that complete, and rounds that break.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, poll_once, race};
use crate::model::thread;
use crate::sync::Barrier;
use std::sync::Arc;
use std::task::Poll;

#[test]
fn notify_before_wait() {
    model("barrier: notify_before_wait", || {
        let barrier = Barrier::new(2);
        let mut first = Box::pin(barrier.wait_async());
        assert!(poll_once(&mut first).is_pending());
        assert!(barrier.wait().unwrap().is_leader());
        assert!(matches!(poll_once(&mut first), Poll::Ready(Ok(passed)) if !passed.is_leader()));
    });
}

/// Two rounds by two strands: each round has one leader, and what was done before a round is visible after it.
#[test]
fn notify_between_check_and_park() {
    fn rounds((barrier, leaders, number): &(Barrier, Number, Number)) {
        for round in 1..=2 {
            if barrier.wait().unwrap().is_leader() {
                leaders.add(1);
                number.set(round);
            }
            barrier.wait().unwrap();
            assert_eq!(number.get(), round);
        }
    }
    model("barrier: notify_between_check_and_park", || {
        let shared = race((Barrier::new(2), Number::new(), Number::new()), &[rounds], rounds);
        assert_eq!(shared.1.get(), 2);
    });
}

#[test]
fn two_waiters_one_notification() {
    model("barrier: two_waiters_one_notification", || {
        let meet = |barrier: &Barrier| {
            barrier.wait().unwrap();
        };
        race(Barrier::new(3), &[meet, meet], meet);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("barrier: timeout_races_with_notify", || {
        let shared = race(
            (Barrier::new(2), Number::new(), Number::new()),
            &[|(barrier, passed, _)| passed.set(barrier.wait().is_ok().into())],
            |(barrier, _, passed)| passed.set(barrier.wait_timeout(A_WHILE).is_ok().into()),
        );
        assert_eq!(shared.1.get(), shared.2.get(), "a round is for all or for none");
        assert_eq!(shared.1.get() == 0, shared.0.is_broken());
    });
}

/// One of three goes away at any point: either all the others pass or none, and only in the second case it is broken.
#[test]
fn dropped_waiter_hands_on() {
    model("barrier: dropped_waiter_hands_on", || {
        let barrier = Arc::new(Barrier::new(3));
        let mut leaves = Box::pin(barrier.wait_async());
        assert!(poll_once(&mut leaves).is_pending());
        let others = [(); 2].map(|()| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || barrier.wait().is_ok())
        });
        drop(leaves);
        let passed = others.map(|other| other.join().unwrap());
        assert_eq!(passed[0], passed[1], "a round is for all or for none");
        assert_eq!(barrier.is_broken(), !passed[0]);
    });
}

/// The last one completes the round while one of those who wait leaves: the round is complete all the same.
#[test]
fn leaver_after_the_last_came_breaks_nothing() {
    model("barrier: leaver_after_the_last_came_breaks_nothing", || {
        // Three that wait are more than one batch under a checker.
        let barrier = Arc::new(Barrier::new(4));
        let mut first = Box::pin(barrier.wait_async());
        let mut stays = Box::pin(barrier.wait_async());
        let mut leaves = Box::pin(barrier.wait_async());
        assert!(
            poll_once(&mut first).is_pending()
                && poll_once(&mut stays).is_pending()
                && poll_once(&mut leaves).is_pending()
        );
        let last = {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || barrier.wait().is_ok())
        };
        drop(leaves);
        // The next round, perhaps.
        let mut next = Box::pin(barrier.wait_async());
        let next_passed = matches!(poll_once(&mut next), Poll::Ready(Ok(_)));
        let passed = last.join().unwrap();
        assert_eq!(matches!(poll_once(&mut stays), Poll::Ready(Ok(_))), passed);
        assert!(!next_passed, "a strand passed a round that it was not counted in");
        assert_eq!(barrier.is_broken(), !passed);
        if passed {
            assert!(poll_once(&mut next).is_pending(), "the next round is not complete");
        }
    });
}

#[test]
fn owner_drop_races_with_wait() {
    model("barrier: owner_drop_races_with_wait", || {
        let barrier = race(Barrier::new(2), &[|barrier| barrier.abort()], |barrier| {
            barrier.wait().unwrap_err();
        });
        assert!(barrier.is_broken());
        assert_eq!(barrier.n_waiting(), 0);
        // A reset ends the waits too, if they have begun; the abort those that begin later.
        let barrier = race(
            Barrier::new(2),
            &[|barrier| {
                barrier.reset();
                barrier.abort();
            }],
            |barrier| {
                barrier.wait().unwrap_err();
            },
        );
        assert!(barrier.is_broken());
    });
}
