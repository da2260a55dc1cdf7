//! Lock and RLock: [`Mutex`] and [`ReentrantLock`] in their acquire/release form and as guards.

use crate::support::{Bunch, SHORT, ignore, panic_text, strand};
use ropewalk::sync::{Event, Mutex, ReentrantLock};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What both kinds of lock can do.
trait Lock: Send + Sync + Default + Debug + 'static {
    fn acquire(&self);
    fn try_acquire(&self) -> bool;
    fn acquire_timeout(&self, timeout: Duration) -> bool;
    fn release(&self);
    fn guarded<R>(&self, body: impl FnOnce() -> R) -> R;
}

macro_rules! lock {
    ($lock:ty) => {
        impl Lock for $lock {
            fn acquire(&self) {
                self.acquire();
            }
            fn try_acquire(&self) -> bool {
                self.try_acquire()
            }
            fn acquire_timeout(&self, timeout: Duration) -> bool {
                self.acquire_timeout(timeout)
            }
            fn release(&self) {
                self.release();
            }
            fn guarded<R>(&self, body: impl FnOnce() -> R) -> R {
                let _guard = self.lock();
                body()
            }
        }
    };
}

lock!(Mutex<()>);
lock!(ReentrantLock<()>);

/// Runs a generic test for both kinds.
macro_rules! both {
    ($test:ident) => {
        $test::<Mutex<()>>();
        $test::<ReentrantLock<()>>();
    };
}

/// CPython: lock_tests.BaseLockTests.test_constructor
#[test]
fn made_and_dropped() {
    ignore(Mutex::new(()));
    ignore(ReentrantLock::new(()));
}

/// CPython: lock_tests.BaseLockTests.test_repr
/// CPython: lock_tests.BaseLockTests.test_locked_repr
#[test]
fn debug_shows_whether_held_and_never_waits() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        assert!(!format!("{lock:?}").contains("locked"));
        lock.acquire();
        let seen = Arc::clone(&lock);
        assert!(strand(move || format!("{seen:?}")).join()[0].contains("<locked>"));
        lock.release();
        assert!(!format!("{lock:?}").contains("locked"));
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_acquire_destroy
#[test]
fn dropped_while_held() {
    fn check<L: Lock>() {
        let lock = L::default();
        lock.acquire();
        drop(lock);
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_acquire_release
/// CPython: lock_tests.BaseLockTests.test_try_acquire
#[test]
fn acquire_and_try_of_a_free_lock() {
    fn check<L: Lock>() {
        let lock = L::default();
        lock.acquire();
        lock.release();
        assert!(lock.try_acquire());
        lock.release();
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_try_acquire_contended
#[test]
fn try_of_a_held_lock() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        lock.acquire();
        let wanted = Arc::clone(&lock);
        assert_eq!(strand(move || wanted.try_acquire()).join(), [false]);
        lock.release();
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_acquire_contended
#[test]
fn five_wait_until_release() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        lock.acquire();
        let wanted = Arc::clone(&lock);
        let bunch = Bunch::start(5, move |_| {
            wanted.acquire();
            wanted.release();
        });
        bunch.blocked(5);
        assert_eq!(bunch.finished(), 0);
        lock.release();
        assert_eq!(bunch.join().len(), 5);
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_with
#[test]
fn guard_releases_at_the_end_and_on_panic() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        let free = || {
            let lock = Arc::clone(&lock);
            strand(move || {
                lock.try_acquire() && {
                    lock.release();
                    true
                }
            })
            .join()
        };
        lock.guarded(|| ());
        assert_eq!(free(), [true]);
        let panicked = catch_unwind(AssertUnwindSafe(|| lock.guarded(|| panic!("inside"))));
        assert!(panicked.is_err());
        assert_eq!(free(), [true], "no poison");
    }
    both!(check);
}

/// CPython: lock_tests.BaseLockTests.test_thread_leak
#[test]
fn foreign_threads_leave_nothing_behind() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        let threads: Vec<_> = (0..15)
            .map(|_| {
                let lock = Arc::clone(&lock);
                std::thread::spawn(move || {
                    lock.acquire();
                    lock.release();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(Arc::strong_count(&lock), 1);
        assert!(lock.try_acquire());
    }
    both!(check);
}

/// A negative limit, and a limit for a try, cannot be written here.
///
/// CPython: lock_tests.BaseLockTests.test_timeout
#[test]
fn time_limits() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        for limit in [Duration::ZERO, Duration::from_secs(5), Duration::MAX] {
            assert!(lock.acquire_timeout(limit), "free: no wait, whatever the limit");
            lock.release();
        }
        lock.acquire();
        let wanted = Arc::clone(&lock);
        let ended = strand(move || {
            let start = Instant::now();
            (wanted.acquire_timeout(Duration::ZERO), wanted.acquire_timeout(SHORT), start.elapsed())
        })
        .join();
        let (at_once, later, took) = ended[0];
        assert!(!at_once && !later && took >= SHORT);
        lock.release();
        assert!(lock.try_acquire());
    }
    both!(check);
}

/// A limit that no clock can add up is no limit: the wait goes on until the release.
#[test]
fn endless_time_limit_waits_for_the_release() {
    fn check<L: Lock>() {
        let lock = Arc::new(L::default());
        lock.acquire();
        let wanted = Arc::clone(&lock);
        let bunch = strand(move || wanted.acquire_timeout(Duration::MAX));
        bunch.blocked(1);
        lock.release();
        assert_eq!(bunch.join(), [true]);
    }
    both!(check);
}

/// CPython: lock_tests.LockTests.test_reacquire
#[test]
fn second_acquire_waits_for_the_release_by_another() {
    let lock = Arc::new(Mutex::new(()));
    let phase = Arc::new(AtomicUsize::new(0));
    let bunch = strand({
        let (lock, phase) = (Arc::clone(&lock), Arc::clone(&phase));
        move || {
            lock.acquire();
            phase.fetch_add(1, Ordering::Relaxed);
            lock.acquire();
            phase.fetch_add(1, Ordering::Relaxed);
        }
    });
    bunch.blocked(1);
    assert_eq!(phase.load(Ordering::Relaxed), 1);
    lock.release();
    bunch.join();
    assert_eq!(phase.load(Ordering::Relaxed), 2);
    assert!(lock.is_locked());
}

/// CPython: lock_tests.LockTests.test_different_thread
#[test]
fn mutex_is_released_by_another_thread() {
    let lock = Arc::new(Mutex::new(()));
    lock.acquire();
    let held = Arc::clone(&lock);
    strand(move || held.release()).join();
    assert!(lock.try_acquire());
}

/// CPython: lock_tests.LockTests.test_state_after_timeout
#[test]
fn free_after_a_wait_that_timed_out() {
    let lock = Mutex::new(());
    lock.acquire();
    assert!(!lock.acquire_timeout(SHORT));
    lock.release();
    assert!(!lock.is_locked());
    assert!(lock.try_acquire());
}

/// CPython: lock_tests.RLockTests.test_reacquire
/// CPython: lock_tests.RLockTests.test_release_unacquired
/// CPython: lock_tests.RLockTests.test_locked
#[test]
fn reentrant_release_as_often_as_acquired() {
    let lock = ReentrantLock::new(());
    let refused = "does not hold";
    assert!(panic_text(|| lock.release()).contains(refused));
    lock.acquire();
    lock.acquire();
    lock.release();
    assert!(lock.is_held());
    lock.acquire();
    lock.release();
    assert!(lock.is_held());
    lock.release();
    assert!(!lock.is_held());
    assert!(panic_text(|| lock.release()).contains(refused));
}

/// The count is not public; what it means is: so many releases until another strand may have the lock.
///
/// CPython: lock_tests.RLockTests.test_recursion_count
#[test]
fn reentrant_is_free_after_as_many_releases() {
    let lock = Arc::new(ReentrantLock::new(()));
    let free = || {
        let lock = Arc::clone(&lock);
        strand(move || lock.try_lock().is_some()).join()[0]
    };
    assert!(free());
    for _ in 0..3 {
        lock.acquire();
    }
    for _ in 0..3 {
        assert!(!free());
        lock.release();
    }
    assert!(free());
}

/// CPython: lock_tests.RLockTests.test_different_thread
#[test]
fn reentrant_is_not_released_by_another_thread() {
    let lock = Arc::new(ReentrantLock::new(()));
    let (held, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let holder = strand({
        let (lock, held, go) = (Arc::clone(&lock), Arc::clone(&held), Arc::clone(&go));
        move || {
            lock.acquire();
            held.set();
            go.wait();
            lock.release();
        }
    });
    held.wait();
    assert!(panic_text(|| lock.release()).contains("does not hold"));
    assert!(!lock.try_acquire());
    go.set();
    holder.join();
    assert!(lock.try_acquire());
}

/// CPython: lock_tests.RLockTests.test_locked_with_2threads
#[test]
fn reentrant_stays_held_by_a_thread_that_ended() {
    let lock = Arc::new(ReentrantLock::new(()));
    let other = Arc::clone(&lock);
    std::thread::spawn(move || other.acquire()).join().expect("no panic");
    assert!(!lock.try_acquire());
    assert!(!lock.is_held());
}

/// CPython: lock_tests.RLockTests.test__is_owned
#[test]
fn reentrant_knows_its_holder() {
    let lock = Arc::new(ReentrantLock::new(()));
    assert!(!lock.is_held());
    lock.acquire();
    lock.acquire();
    assert!(lock.is_held());
    let other = Arc::clone(&lock);
    assert_eq!(strand(move || other.is_held()).join(), [false]);
    lock.release();
    assert!(lock.is_held());
    lock.release();
    assert!(!lock.is_held());
}
