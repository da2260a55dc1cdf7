//! Semaphore and BoundedSemaphore: [`Semaphore::new`] and [`Semaphore::bounded`].

use crate::support::{Bunch, SHORT, eventually, ignore, panic_text, strand};
use ropewalk::sync::{Interrupted, Mutex, Semaphore};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BOTH: [fn(usize) -> Semaphore; 2] = [Semaphore::new, Semaphore::bounded];

/// A negative number cannot be written; one that is too large is refused.
///
/// CPython: lock_tests.BaseSemaphoreTests.test_constructor
#[test]
fn impossible_number_of_permits() {
    for make in BOTH {
        assert!(panic_text(|| make(Semaphore::PERMITS_MAX + 1)).contains("too many permits"));
        assert_eq!(make(Semaphore::PERMITS_MAX).available_permits(), Semaphore::PERMITS_MAX);
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_acquire
/// CPython: lock_tests.BaseSemaphoreTests.test_acquire_destroy
#[test]
fn acquire_and_release() {
    for make in BOTH {
        for permits in [1, 2] {
            let semaphore = make(permits);
            for _ in 0..permits {
                semaphore.acquire().forget();
            }
            assert_eq!(semaphore.available_permits(), 0);
            for _ in 0..permits {
                semaphore.release(1);
            }
            semaphore.acquire().forget();
            ignore(semaphore); // dropped with a permit out
        }
    }
}

/// Ten strands want two permits each; seven exist, of which we hold one. `release` says how six of them come back.
fn contended(make: fn(usize) -> Semaphore, release: fn(&Semaphore, usize)) {
    let semaphore = Arc::new(make(7));
    let phase = Arc::new(AtomicUsize::new(0));
    let log = Arc::new(Mutex::new(Vec::new()));
    semaphore.acquire().forget();
    let bunch = Bunch::start(10, {
        let (semaphore, phase, log) = (Arc::clone(&semaphore), Arc::clone(&phase), Arc::clone(&log));
        move |_| {
            for _ in 0..2 {
                semaphore.acquire().forget();
                log.lock().push(phase.load(Ordering::Relaxed));
            }
        }
    });
    let came = |count: usize| {
        eventually("as many as there were permits", || log.lock().len() == count);
        bunch.settled();
        assert_eq!(log.lock().len(), count, "no more than there were permits");
    };
    came(6);
    phase.store(1, Ordering::Relaxed);
    release(&semaphore, 7);
    came(13);
    phase.store(2, Ordering::Relaxed);
    release(&semaphore, 6);
    came(19);
    assert!(semaphore.try_acquire().is_none());
    semaphore.release(1);
    bunch.join();
    let mut phases = log.lock().clone();
    phases.sort_unstable();
    assert_eq!(phases, [[0].repeat(6), [1].repeat(7), [2].repeat(7)].concat());
}

/// CPython: lock_tests.BaseSemaphoreTests.test_acquire_contended
#[test]
fn contended_one_by_one() {
    for make in BOTH {
        contended(make, |semaphore, permits| (0..permits).for_each(|_| semaphore.release(1)));
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_multirelease
#[test]
fn contended_many_at_once() {
    for make in BOTH {
        contended(make, Semaphore::release);
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_try_acquire
#[test]
fn try_until_none_is_left() {
    for make in BOTH {
        let semaphore = make(2);
        let (_one, two) = (semaphore.try_acquire().unwrap(), semaphore.try_acquire().unwrap());
        assert!(semaphore.try_acquire().is_none());
        drop(two);
        assert!(semaphore.try_acquire().is_some());
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_try_acquire_contended
#[test]
fn try_by_many_gives_each_permit_once() {
    for make in BOTH {
        let semaphore = Arc::new(make(4));
        semaphore.acquire().forget();
        let tries = Bunch::start(5, move |_| [(); 2].map(|()| semaphore.try_acquire().map(|permit| permit.forget())));
        let got = tries.join().concat();
        assert_eq!(got.iter().flatten().count(), 3);
        assert_eq!(got.len(), 10);
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_acquire_timeout
#[test]
fn time_limit_of_an_acquire() {
    for make in BOTH {
        let semaphore = make(2);
        let first = semaphore.acquire_timeout(SHORT).unwrap();
        let _second = semaphore.acquire_timeout(SHORT).unwrap();
        assert_eq!(semaphore.acquire_timeout(SHORT).unwrap_err(), Interrupted::TimedOut);
        drop(first);
        let _third = semaphore.acquire_timeout(SHORT).unwrap();
        let start = Instant::now();
        assert!(semaphore.acquire_timeout(SHORT).is_err());
        assert!(start.elapsed() >= SHORT, "never early");
    }
}

/// There is no default number here; one permit behaves as the case says.
///
/// CPython: lock_tests.BaseSemaphoreTests.test_default_value
#[test]
fn one_permit_is_a_lock() {
    for make in BOTH {
        let semaphore = Arc::new(make(1));
        let permit = semaphore.acquire();
        let wanted = Arc::clone(&semaphore);
        let bunch = strand(move || drop(wanted.acquire()));
        bunch.blocked(1);
        assert_eq!(bunch.finished(), 0);
        drop(permit);
        bunch.join();
    }
}

/// CPython: lock_tests.BaseSemaphoreTests.test_with
#[test]
fn permits_come_back_at_the_end_and_on_panic() {
    for make in BOTH {
        let semaphore = make(2);
        let nested = |fail: bool| {
            let _outer = semaphore.acquire();
            drop(semaphore.try_acquire().expect("a second permit"));
            let _inner = semaphore.acquire();
            assert!(semaphore.try_acquire().is_none());
            assert!(!fail, "asked to fail");
        };
        nested(false);
        assert_eq!(semaphore.available_permits(), 2);
        assert!(catch_unwind(AssertUnwindSafe(|| nested(true))).is_err());
        assert_eq!(semaphore.available_permits(), 2);
    }
}

/// CPython: lock_tests.SemaphoreTests.test_release_unacquired
#[test]
fn release_may_add_permits() {
    let semaphore = Semaphore::new(1);
    semaphore.release(1);
    let both = semaphore.acquire_many(2);
    assert_eq!(both.permits(), 2);
    assert_eq!(semaphore.available_permits(), 0);
}

/// CPython: lock_tests.BoundedSemaphoreTests.test_release_unacquired
#[test]
fn bounded_release_past_the_bound_is_refused() {
    let semaphore = Semaphore::bounded(1);
    let refused = "released too many times";
    assert!(panic_text(|| semaphore.release(1)).contains(refused));
    semaphore.acquire().forget();
    semaphore.release(1);
    assert!(panic_text(|| semaphore.release(1)).contains(refused));
    assert!(panic_text(|| semaphore.release(usize::MAX)).contains(refused));
    assert_eq!(semaphore.available_permits(), 1);
}
