//! Models of the event.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, look_later, model, poll_once, race};
use crate::model::thread;
use crate::park;
use crate::sync::{Event, Interrupted};
use std::sync::Arc;

type Shared = (Event, Number);

fn shared() -> Shared {
    (Event::new(), Number::new())
}

fn set((event, number): &Shared) {
    number.set(1);
    event.set();
}

fn wait((event, number): &Shared) {
    event.wait();
    assert_eq!(number.get(), 1, "what was done before `set` is not visible");
}

#[test]
fn notify_before_wait() {
    model("event: notify_before_wait", || {
        let shared = shared();
        set(&shared);
        set(&shared);
        wait(&shared);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("event: notify_between_check_and_park", || {
        race(shared(), &[set], wait);
    });
    model("event: the async face", || {
        race(shared(), &[set], |(event, number)| {
            park::wait_for(event.wait_async());
            assert_eq!(number.get(), 1);
        });
    });
    model("event: a look", || {
        let set = |((event, number), later): &(Shared, Number)| {
            number.set(1);
            event.set();
            later.set(1);
        };
        race((shared(), Number::new()), &[set], |((event, number), later)| {
            later.get();
            if event.is_set() {
                assert_eq!(number.get(), 1);
            }
        });
    });
}

#[test]
fn two_waiters_one_notification() {
    model("event: two_waiters_one_notification", || {
        race(shared(), &[wait, wait], set);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("event: timeout_races_with_notify", || {
        let shared = race(shared(), &[set], |(event, number)| match event.wait_timeout(A_WHILE) {
            Ok(()) => assert_eq!(number.get(), 1),
            Err(ended) => assert_eq!(ended, Interrupted::TimedOut),
        });
        shared.0.wait();
    });
}

#[test]
fn dropped_waiter_hands_on() {
    model("event: dropped_waiter_hands_on", || {
        let shared = Arc::new(shared());
        let mut gone = Box::pin(shared.0.wait_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || wait(&shared))
        };
        set(&shared);
        drop(gone);
        other.join().unwrap();
    });
}

/// Whoever waited when it was set is woken, also when it is taken back at once.
#[test]
fn set_and_clear_wakes_who_waited() {
    model("event: set_and_clear_wakes_who_waited", || {
        let event = Arc::new(Event::new());
        let mut first = Box::pin(event.wait_async());
        let mut second = Box::pin(event.wait_async());
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        let other = {
            let event = Arc::clone(&event);
            thread::spawn(move || {
                event.set();
                event.clear();
            })
        };
        // One leaves meanwhile.
        drop(first);
        other.join().unwrap();
        assert!(poll_once(&mut second).is_ready());
        assert!(poll_once(&mut Box::pin(event.wait_async())).is_pending());
    });
}

/// Who begins to wait after the flag was taken back waits for the next time.
#[test]
fn wait_after_clear_waits() {
    model("event: wait_after_clear_waits", || {
        let event = Arc::new(Event::new());
        // Three that wait are more than one batch under a checker.
        let mut first = Box::pin(event.wait_async());
        let mut stays = Box::pin(event.wait_async());
        let mut leaves = Box::pin(event.wait_async());
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut stays).is_pending());
        assert!(poll_once(&mut leaves).is_pending());
        let other = {
            let event = Arc::clone(&event);
            thread::spawn(move || event.set())
        };
        look_later();
        let seen = event.is_set();
        event.clear();
        drop(leaves);
        let mut late = Box::pin(event.wait_async());
        let early = poll_once(&mut late).is_ready();
        other.join().unwrap();
        if seen {
            assert!(!early && poll_once(&mut late).is_pending(), "woken by a set that was over");
        }
        assert!(poll_once(&mut stays).is_ready());
    });
}

/// Two that set it, and one that waits and goes.
#[test]
fn owner_drop_races_with_wait() {
    model("event: owner_drop_races_with_wait", || {
        race(shared(), &[|(event, _)| event.set(), |(event, _)| event.set()], |(event, _)| event.wait());
    });
}
