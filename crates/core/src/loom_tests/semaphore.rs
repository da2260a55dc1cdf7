//! Models of the semaphore: granted threads, promised tasks, and first come, first served.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, poll_once, race};
use crate::model::thread;
use crate::park;
use crate::sync::Semaphore;
use std::sync::Arc;

/// A semaphore of one as a lock around a number.
type Shared = (Semaphore, Number);

fn shared(permits: usize) -> Shared {
    (Semaphore::new(permits), Number::new())
}

fn add_one((semaphore, number): &Shared) {
    let _permit = semaphore.acquire();
    number.add(1);
}

fn release_one((semaphore, number): &Shared) {
    number.add(1);
    semaphore.release(1);
}

#[test]
fn notify_before_wait() {
    model("semaphore: notify_before_wait", || {
        let shared = shared(0);
        release_one(&shared);
        add_one(&shared);
        assert_eq!(shared.1.get(), 2);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("semaphore: notify_between_check_and_park", || {
        let shared = race(shared(0), &[release_one], add_one);
        assert_eq!((shared.1.get(), shared.0.available_permits()), (2, 1));
    });
    model("semaphore: as a lock", || {
        let shared = race(shared(1), &[add_one], add_one);
        assert_eq!((shared.1.get(), shared.0.available_permits()), (2, 1));
    });
}

#[test]
fn two_waiters_one_notification() {
    model("semaphore: two_waiters_one_notification", || {
        let shared = race(shared(0), &[add_one, add_one], release_one);
        assert_eq!((shared.1.get(), shared.0.available_permits()), (3, 1));
    });
}

#[test]
fn timeout_races_with_notify() {
    model("semaphore: timeout_races_with_notify", || {
        let shared = race(shared(0), &[release_one], |(semaphore, _)| {
            if let Ok(permit) = semaphore.acquire_timeout(A_WHILE) {
                permit.forget();
                semaphore.release(1);
            }
        });
        assert_eq!(shared.0.available_permits(), 1);
        assert!(shared.0.try_acquire().is_some(), "nobody waits any more");
    });
}

/// One of two is granted the permit and gives up at that moment, or does not.
#[test]
fn timeout_among_waiters() {
    model("semaphore: timeout_among_waiters", || {
        let timed = |(semaphore, _): &Shared| drop(semaphore.acquire_timeout(A_WHILE));
        let shared = race(shared(0), &[timed, add_one], |(semaphore, _)| semaphore.release(1));
        assert_eq!(shared.0.available_permits(), 1);
        assert!(shared.0.try_acquire().is_some(), "nobody waits any more");
    });
}

/// A task is first in line, is promised the permit, and goes away.
#[test]
fn dropped_waiter_hands_on() {
    model("semaphore: dropped_waiter_hands_on", || {
        let shared = Arc::new(shared(0));
        let mut gone = Box::pin(shared.0.acquire_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || add_one(&shared))
        };
        shared.0.release(1);
        drop(gone);
        other.join().unwrap();
        assert_eq!(shared.0.available_permits(), 1);
    });
}

/// One that needs much is first in line and goes away; who needs little behind it fits now.
#[test]
fn dropped_first_in_line_lets_the_next_in() {
    model("semaphore: dropped_first_in_line_lets_the_next_in", || {
        let shared = Arc::new(shared(1));
        let mut gone = Box::pin(shared.0.acquire_many_async(2));
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || add_one(&shared))
        };
        drop(gone);
        other.join().unwrap();
        assert_eq!(shared.0.available_permits(), 1);
    });
}

/// Two tasks and a thread in line, and permits that come one by one while both tasks go away.
#[test]
fn promised_permits_are_handed_on() {
    model("semaphore: promised_permits_are_handed_on", || {
        let shared = Arc::new(shared(0));
        let mut first = Box::pin(shared.0.acquire_async());
        let mut second = Box::pin(shared.0.acquire_many_async(2));
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || add_one(&shared))
        };
        shared.0.release(1);
        drop(second);
        drop(first);
        other.join().unwrap();
        assert_eq!(shared.0.available_permits(), 1);
    });
}

/// A promised task comes too late, keeps its turn, and is served by the next permit.
#[test]
fn promised_task_that_is_late_keeps_its_turn() {
    model("semaphore: promised_task_that_is_late_keeps_its_turn", || {
        let add_one_async = |(semaphore, number): &Shared| {
            let _permit = park::wait_for(semaphore.acquire_async());
            number.add(1);
        };
        let shared = race(shared(0), &[add_one_async, add_one], release_one);
        assert_eq!((shared.1.get(), shared.0.available_permits()), (3, 1));
    });
}

/// A strand serves the list with permits that another one released: what that one did is passed on too.
#[test]
fn permits_of_others_bring_their_data() {
    model("semaphore: permits_of_others_bring_their_data", || {
        let shared = Arc::new((Semaphore::new(0), Number::new(), Number::new()));
        let mut gone = Box::pin(shared.0.acquire_async());
        assert!(poll_once(&mut gone).is_pending());
        let waits = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.0.acquire_many(2).forget();
                assert_eq!((shared.1.get(), shared.2.get()), (1, 1));
            })
        };
        let releases = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.set(1);
                shared.0.release(1);
            })
        };
        shared.2.set(1);
        shared.0.release(1);
        drop(gone);
        waits.join().unwrap();
        releases.join().unwrap();
    });
}
