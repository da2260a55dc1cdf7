//! Models of the reentrant lock: the mutex's machine under an owner and a depth.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, race};
use crate::sync::ReentrantLock;

/// Locks twice, and changes the number under both.
fn add_nested(lock: &ReentrantLock<Number>) {
    let outer = lock.lock();
    lock.lock().add(1);
    outer.add(1);
}

fn add_one(lock: &ReentrantLock<Number>) {
    lock.lock().add(1);
}

#[test]
fn notify_before_wait() {
    model("reentrant: notify_before_wait", || {
        let lock = race(ReentrantLock::new(Number::new()), &[], add_nested);
        let lock = race(lock, &[|lock| add_nested(lock)], |_| ());
        assert!(!lock.is_held());
        assert_eq!(lock.lock().get(), 4);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("reentrant: notify_between_check_and_park", || {
        let lock = race(ReentrantLock::new(Number::new()), &[add_nested], add_nested);
        assert_eq!(lock.lock().get(), 4);
    });
}

#[test]
fn two_waiters_one_notification() {
    model("reentrant: two_waiters_one_notification", || {
        let lock = race(ReentrantLock::new(Number::new()), &[add_one, add_one], add_nested);
        assert_eq!(lock.lock().get(), 4);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("reentrant: timeout_races_with_notify", || {
        let timed = |lock: &ReentrantLock<Number>| {
            if let Some(number) = lock.lock_timeout(A_WHILE) {
                number.add(10);
            }
        };
        let lock = race(ReentrantLock::new(Number::new()), &[timed], add_nested);
        assert!([2, 12].contains(&lock.try_lock().expect("nobody holds it").get()));
    });
}

#[test]
fn dropped_waiter_hands_on() {
    model("reentrant: dropped_waiter_hands_on", || {
        let timed = |lock: &ReentrantLock<Number>| drop(lock.lock_timeout(A_WHILE));
        let lock = race(ReentrantLock::new(Number::new()), &[timed], |lock| {
            add_one(lock);
            add_one(lock);
        });
        assert_eq!(lock.try_lock().expect("nobody holds it").get(), 2);
    });
}
