//! Condition: [`Condvar`] with a [`Mutex`].

use crate::support::{Bunch, SHORT, eventually, strand};
use ropewalk::sync::{Condvar, Interrupted, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Shared<T> = Arc<(Mutex<T>, Condvar)>;

/// CPython: lock_tests.ConditionTests.test_unacquired_notify
#[test]
fn notify_without_the_mutex_wakes() {
    let shared: Shared<()> = Arc::default();
    shared.1.notify_one(); // nobody waits: no effect, and none later
    shared.1.notify_all();
    let bunch = strand({
        let shared = Arc::clone(&shared);
        move || drop(shared.1.wait(shared.0.lock()))
    });
    bunch.blocked(1);
    shared.1.notify_one();
    bunch.join();
}

/// CPython: lock_tests.ConditionTests.test_notify
#[test]
fn notify_wakes_as_many_as_it_says() {
    let shared: Shared<(Vec<u32>, Vec<u32>, u32)> = Arc::default();
    for _ in 0..2 {
        *shared.0.lock() = (Vec::new(), Vec::new(), 0);
        let bunch = Bunch::start(5, {
            let shared = Arc::clone(&shared);
            move |_| {
                let (mutex, changed) = &*shared;
                let mut guard = changed.wait(mutex.lock());
                let phase = guard.2;
                guard.0.push(phase);
                let mut guard = changed.wait(guard);
                let phase = guard.2;
                guard.1.push(phase);
            }
        });
        let notify = |phase: u32, most: usize| {
            let mut guard = shared.0.lock();
            shared.1.notify(most);
            guard.2 = phase;
        };
        let came = |first: usize, second: usize| {
            eventually("as many wake-ups as were given", || {
                let guard = shared.0.lock();
                (guard.0.len(), guard.1.len()) == (first, second)
            });
            bunch.settled();
        };
        bunch.blocked(5);
        notify(1, 3);
        came(3, 0);
        notify(2, 5);
        came(5, 3);
        notify(3, usize::MAX);
        bunch.join();
        let guard = shared.0.lock();
        assert_eq!((&guard.0[..], &guard.1[..]), (&[1, 1, 1, 2, 2][..], &[2, 2, 2, 3, 3][..]));
    }
}

/// CPython: lock_tests.ConditionTests.test_timeout
#[test]
fn time_limit_of_a_wait() {
    let shared: Shared<()> = Arc::default();
    let ended = Bunch::start(5, {
        let shared = Arc::clone(&shared);
        move |_| {
            let start = Instant::now();
            let (guard, ended) = shared.1.wait_timeout(shared.0.lock(), SHORT);
            drop(guard);
            (ended, start.elapsed())
        }
    })
    .join();
    for (ended, took) in ended {
        assert_eq!(ended, Err(Interrupted::TimedOut));
        assert!(took >= SHORT, "never early");
    }
    assert!(!shared.0.is_locked());
}

/// CPython: lock_tests.ConditionTests.test_waitfor
#[test]
fn waits_until_the_condition_holds() {
    let shared: Shared<u32> = Arc::default();
    let bunch = strand({
        let shared = Arc::clone(&shared);
        move || *shared.1.wait_while(shared.0.lock(), |state| *state != 4)
    });
    for _ in 0..4 {
        bunch.blocked(1);
        *shared.0.lock() += 1;
        shared.1.notify_one();
    }
    assert_eq!(bunch.join(), [4]);
}

/// CPython: lock_tests.ConditionTests.test_waitfor_timeout
#[test]
fn condition_that_never_holds_ends_with_the_limit() {
    let shared: Shared<u32> = Arc::default();
    let limit = Duration::from_millis(60);
    let bunch = strand({
        let shared = Arc::clone(&shared);
        move || {
            let start = Instant::now();
            let (guard, ended) = shared.1.wait_timeout_while(shared.0.lock(), limit, |state| *state != 4);
            (*guard < 4, ended, start.elapsed())
        }
    });
    for _ in 0..3 {
        *shared.0.lock() += 1;
        shared.1.notify_one();
    }
    let (never, ended, took) = bunch.join()[0];
    assert_eq!((never, ended), (true, Err(Interrupted::TimedOut)));
    assert!(took >= limit, "notifications do not shorten or restart the limit");
}

/// The condition is looked at once more when the limit has passed: data that is there wins.
#[test]
fn condition_that_holds_beats_the_limit() {
    let (mutex, changed) = (Mutex::new(1), Condvar::new());
    let (guard, ended) = changed.wait_timeout_while(mutex.lock(), Duration::ZERO, |state| *state != 1);
    assert_eq!((*guard, ended), (1, Ok(())));
}
