//! Models of the condition variable, with its mutex.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once, race};
use crate::model::thread;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

type Shared = (Mutex<u32>, Condvar);

fn shared() -> Shared {
    (Mutex::new(0), Condvar::new())
}

fn give_one((mutex, condvar): &Shared) {
    *mutex.lock() += 1;
    condvar.notify_one();
}

fn take_one((mutex, condvar): &Shared) {
    *condvar.wait_while(mutex.lock(), |number| *number == 0) -= 1;
}

#[test]
fn notify_before_wait() {
    model("condvar: notify_before_wait", || {
        let shared = shared();
        give_one(&shared);
        take_one(&shared);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("condvar: notify_between_check_and_park", || {
        let shared = race(shared(), &[give_one], take_one);
        assert_eq!(*shared.0.lock(), 0);
    });
}

/// The notification while the mutex is held.
#[test]
fn notify_under_the_mutex() {
    model("condvar: notify_under_the_mutex", || {
        race(
            shared(),
            &[|(mutex, condvar)| {
                let mut number = mutex.lock();
                *number += 1;
                condvar.notify_one();
            }],
            take_one,
        );
    });
}

/// Two wait for one: one of them gets it.
#[test]
fn two_waiters_one_notification() {
    model("condvar: two_waiters_one_notification", || {
        let shared = Arc::new(shared());
        let mut first = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut first).is_pending());
        let mut second = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut second).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || give_one(&shared))
        };
        let early = poll_once(&mut second).is_ready();
        other.join().unwrap();
        assert!(!early && poll_once(&mut second).is_pending(), "the first one waits longer");
        assert!(poll_once(&mut first).is_ready());
    });
}

#[test]
fn timeout_races_with_notify() {
    model("condvar: timeout_races_with_notify", || {
        let shared = race(shared(), &[give_one], |(mutex, condvar)| {
            let (mut number, ended) = condvar.wait_timeout_while(mutex.lock(), A_WHILE, |number| *number == 0);
            assert_eq!(ended.is_ok(), *number == 1);
            *number += 10;
        });
        assert_eq!(*shared.0.lock(), 11);
    });
}

/// One that was notified goes away without having acted on it; the one behind it must hear of it.
#[test]
fn dropped_waiter_hands_on() {
    model("condvar: dropped_waiter_hands_on", || {
        let shared = Arc::new(shared());
        let mut gone = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || take_one(&shared))
        };
        give_one(&shared);
        drop(gone);
        other.join().unwrap();
    });
}

/// The one who closes tells everybody.
#[test]
fn owner_drop_races_with_wait() {
    model("condvar: owner_drop_races_with_wait", || {
        let until_closed = |(mutex, condvar): &Shared| drop(condvar.wait_while(mutex.lock(), |number| *number == 0));
        race(shared(), &[until_closed, until_closed], |(mutex, condvar)| {
            *mutex.lock() = 1;
            condvar.notify_all();
        });
    });
}

/// `notify_all` in batches: who begins to wait in between was not meant.
#[test]
fn all_means_those_who_waited() {
    model("condvar: all_means_those_who_waited", || {
        let shared = Arc::new(shared());
        let mut first = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut first).is_pending());
        let mut second = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut second).is_pending());
        let mut third = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut third).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.1.notify_all())
        };
        // The first one is told, leaves, and another one comes: it was not meant, and what was meant for the others is
        // not less for it.
        let told = poll_once(&mut first).is_ready();
        drop(third);
        let mut late = Box::pin(shared.1.wait_async(shared.0.lock()));
        assert!(poll_once(&mut late).is_pending());
        other.join().unwrap();
        if told {
            assert!(poll_once(&mut late).is_pending(), "who came later was woken");
        }
        assert!(poll_once(&mut second).is_ready());
    });
}
