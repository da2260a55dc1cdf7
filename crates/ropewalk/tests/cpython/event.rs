//! Event.

use crate::support::{Bunch, SHORT};
use ropewalk::sync::{Event, Interrupted};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// CPython: lock_tests.EventTests.test_is_set
#[test]
fn set_and_clear_are_idempotent() {
    let event = Event::new();
    assert!(!event.is_set());
    for _ in 0..2 {
        event.set();
        assert!(event.is_set());
    }
    for _ in 0..2 {
        event.clear();
        assert!(!event.is_set());
    }
}

/// CPython: lock_tests.EventTests.test_notify
#[test]
fn set_wakes_all_and_stays_set() {
    let event = Arc::new(Event::new());
    for _ in 0..2 {
        let waited = Arc::clone(&event);
        let bunch = Bunch::start(5, move |_| {
            waited.wait();
            waited.wait();
        });
        bunch.blocked(5);
        assert_eq!(bunch.finished(), 0);
        event.set();
        assert_eq!(bunch.join().len(), 5);
        event.clear();
    }
}

/// CPython: lock_tests.EventTests.test_timeout
#[test]
fn time_limit_of_a_wait() {
    let event = Arc::new(Event::new());
    let waits = |event: &Arc<Event>| {
        let event = Arc::clone(event);
        Bunch::start(5, move |_| {
            let at_once = event.wait_timeout(Duration::ZERO);
            let start = Instant::now();
            (at_once, event.wait_timeout(SHORT), start.elapsed())
        })
        .join()
    };
    for (at_once, later, took) in waits(&event) {
        assert_eq!((at_once, later), (Err(Interrupted::TimedOut), Err(Interrupted::TimedOut)));
        assert!(took >= SHORT, "never early");
    }
    event.set();
    for (at_once, later, _) in waits(&event) {
        assert_eq!((at_once, later), (Ok(()), Ok(())));
    }
}

/// CPython: lock_tests.EventTests.test_set_and_clear
#[test]
fn cleared_before_the_woken_have_run() {
    let event = Arc::new(Event::new());
    let waited = Arc::clone(&event);
    let bunch = Bunch::start(5, move |_| waited.wait_timeout(Duration::MAX));
    bunch.blocked(5);
    event.set();
    event.clear();
    assert_eq!(bunch.join(), [Ok(()); 5]);
}
