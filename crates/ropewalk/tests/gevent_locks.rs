//! gevent's `test__semaphore`, `test__lock` and `lock_tests`, case by case, in our words: locks between greenlets of one hub,
//! of several hubs, and threads.
//!
//! What has no counterpart here is listed with its reason in `gevent/known_differences.md`. The same cases of CPython's, on
//! threads, are in `cpython_locks.rs`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{Log, ends_at_its_limit, greenlets, log, settle, within};
use ropewalk::greenlet::{kill_all, spawn, spawn_local};
use ropewalk::sync::{Barrier, BrokenBarrier, Condvar, Event, Interrupted, Mutex, ReentrantLock, Semaphore};
use ropewalk::{TaskHandle, yield_now};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{HANG, SHORT, joined, panic_text};

/// Greenlets of this hub that run the same function, each with its number.
struct Bunch<T>(Vec<TaskHandle<T>>);

impl<T: 'static> Bunch<T> {
    fn start(n: usize, function: impl Fn(usize) -> T + 'static) -> Self {
        let function = Rc::new(function);
        let start = |number| {
            let function = Rc::clone(&function);
            spawn_local(move || function(number))
        };
        let bunch = Self((0..n).map(start).collect());
        settle();
        bunch
    }

    fn finished(&self) -> usize {
        self.0.iter().filter(|handle| handle.is_finished()).count()
    }

    fn join(self) -> Vec<T> {
        self.0.into_iter().map(|handle| handle.join().unwrap()).collect()
    }
}

/// What another greenlet says.
fn other<T: 'static>(function: impl FnOnce() -> T + 'static) -> T {
    spawn_local(function).join().unwrap()
}

/// What every lock can do; a semaphore of one permit is one too.
trait Lock: Send + Sync + Sized + 'static {
    fn new() -> Self;
    fn acquire(&self);
    fn try_acquire(&self) -> bool;
    fn acquire_within(&self, limit: Duration) -> bool;
    fn release(&self);
    fn guarded<R>(&self, body: impl FnOnce() -> R) -> R;
}

macro_rules! lock {
    ($lock:ty) => {
        impl Lock for $lock {
            fn new() -> Self {
                Self::new(())
            }
            fn acquire(&self) {
                self.acquire();
            }
            fn try_acquire(&self) -> bool {
                self.try_acquire()
            }
            fn acquire_within(&self, limit: Duration) -> bool {
                self.acquire_timeout(limit)
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

/// A semaphore, and whether it is bounded.
struct One<const BOUNDED: bool>(Semaphore);

impl<const BOUNDED: bool> Lock for One<BOUNDED> {
    fn new() -> Self {
        Self(semaphore::<BOUNDED>(1))
    }
    fn acquire(&self) {
        self.0.acquire().forget();
    }
    fn try_acquire(&self) -> bool {
        self.0.try_acquire().map(|permit| permit.forget()).is_some()
    }
    fn acquire_within(&self, limit: Duration) -> bool {
        self.0.acquire_timeout(limit).map(|permit| permit.forget()).is_ok()
    }
    fn release(&self) {
        self.0.release(1);
    }
    fn guarded<R>(&self, body: impl FnOnce() -> R) -> R {
        let _permit = self.0.acquire();
        body()
    }
}

fn semaphore<const BOUNDED: bool>(permits: usize) -> Semaphore {
    if BOUNDED { Semaphore::bounded(permits) } else { Semaphore::new(permits) }
}

macro_rules! both_locks {
    ($test:ident) => {
        greenlets(|| {
            $test::<Mutex<()>>();
            $test::<ReentrantLock<()>>();
        })
    };
}

macro_rules! both_semaphores {
    ($test:ident) => {
        greenlets(|| {
            $test::<false>();
            $test::<true>();
        })
    };
}

// Semaphores.

/// gevent: test__semaphore.TestSemaphore.test_acquire_returns_false_after_timeout
#[test]
fn acquire_ends_at_its_limit() {
    greenlets(|| ends_at_its_limit(|limit| Semaphore::new(0).acquire_timeout(limit).unwrap_err()));
}

/// gevent: test__semaphore.TestSemaphore.test_release_twice
#[test]
fn each_release_wakes_one() {
    greenlets(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let bunch = Bunch::start(2, {
            let semaphore = Rc::clone(&semaphore);
            move |_| semaphore.acquire().forget()
        });
        for n in 1..=2 {
            semaphore.release(1);
            settle();
            assert_eq!(bunch.finished(), n);
        }
    });
}

/// gevent: test__semaphore.TestSemaphore.test_semaphore_in_class_with_del
#[test]
fn semaphore_that_its_owner_s_destructor_acquires() {
    struct Owner(Semaphore);
    impl Drop for Owner {
        fn drop(&mut self) {
            drop(self.0.acquire());
        }
    }
    greenlets(|| drop(Owner(Semaphore::new(1))));
}

/// gevent: test__semaphore.TestSemaphore.test_rawlink_on_unacquired_runs_notifiers
#[test]
fn free_semaphore_is_not_waited_for() {
    greenlets(|| {
        let semaphore = Semaphore::new(1);
        ropewalk::block_on(async { drop(semaphore.acquire_async().await) });
        drop(semaphore.acquire_timeout(Duration::ZERO).unwrap());
    });
}

/// A hub on a thread of its own; its first greenlet runs `main`.
fn hub<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
    ropewalk::thread::spawn(|| greenlets(main))
}

macro_rules! locks_of_threads {
    ($test:ident) => {
        greenlets(|| {
            $test::<One<false>>();
            $test::<One<true>>();
            $test::<ReentrantLock<()>>();
        })
    };
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_acquire_in_one_then_another
#[test]
fn lock_passes_from_one_hub_to_another() {
    fn passes<L: Lock>() {
        let lock = Arc::new(L::new());
        lock.acquire();
        let (runs, wanted) = (Arc::new(Event::new()), Arc::clone(&lock));
        let waits = hub({
            let runs = Arc::clone(&runs);
            move || {
                runs.set();
                wanted.acquire();
            }
        });
        runs.wait();
        lock.release();
        joined(waits);
        assert!(!lock.try_acquire(), "the other one has it");
    }
    locks_of_threads!(passes);
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_acquire_in_one_then_another_timed
#[test]
fn hub_that_gave_up_is_given_nothing() {
    fn gives_up<L: Lock>() {
        let lock = Arc::new(L::new());
        lock.acquire();
        let wanted = Arc::clone(&lock);
        assert!(!joined(hub(move || wanted.acquire_within(SHORT))));
        lock.release();
        assert!(lock.try_acquire());
    }
    locks_of_threads!(gives_up);
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_acquire_in_one_wait_greenlet_wait_thread_gives_up
#[test]
fn hub_that_comes_while_a_greenlet_has_it_gives_up() {
    fn gives_up<L: Lock>() {
        let lock = Arc::new(L::new());
        lock.acquire();
        let wanted = Arc::clone(&lock);
        let greenlet = spawn(move || {
            wanted.acquire();
            let also_wanted = Arc::clone(&wanted);
            let other = hub(move || also_wanted.acquire_within(SHORT));
            // It keeps the lock, and the hub busy with others, until the other one has given up.
            joined(other)
        });
        settle();
        lock.release();
        assert!(!joined(greenlet));
    }
    locks_of_threads!(gives_up);
}

/// Two threads acquire and release, each of them `TIMES` times; every moment inside is alone.
fn duel<L: Lock>(limit: Option<Duration>, on_hubs: bool) {
    const TIMES: usize = 10_000;
    let lock = Arc::new(L::new());
    let inside = Arc::new(AtomicBool::new(false));
    let duellists: Vec<_> = (0..2)
        .map(|_| {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            let fight = move || {
                for round in 0..TIMES {
                    match limit {
                        None => lock.acquire(),
                        Some(limit) => assert!(lock.acquire_within(limit)),
                    }
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    inside.store(false, Ordering::Relaxed);
                    lock.release();
                    if round % 1000 == 0 {
                        ropewalk::sleep(Duration::from_millis(1));
                    }
                }
                TIMES
            };
            if on_hubs { hub(fight) } else { ropewalk::thread::spawn(fight) }
        })
        .collect();
    assert_eq!(duellists.into_iter().map(joined).sum::<usize>(), 2 * TIMES);
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_dueling_threads
#[test]
fn duel_of_threads() {
    duel::<One<false>>(None, false);
    duel::<One<true>>(None, false);
    duel::<ReentrantLock<()>>(None, false);
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_dueling_threads_timeout
#[test]
fn duel_of_threads_with_a_limit() {
    duel::<One<false>>(Some(HANG), false);
    duel::<One<true>>(Some(HANG), false);
    duel::<ReentrantLock<()>>(Some(HANG), false);
}

/// gevent: test__{semaphore.TestSemaphore,semaphore.TestBoundedSemaphore,lock.TestRLock}MultiThread.test_dueling_threads_with_hub
#[test]
fn duel_of_hubs() {
    duel::<One<false>>(None, true);
    duel::<One<true>>(None, true);
    duel::<ReentrantLock<()>>(None, true);
}

/// Two chains of greenlets pass one permit to and fro, and a third greenlet wants it once: it is not passed over for ever.
///
/// gevent: test__semaphore.TestSemaphoreFair.test_fair_or_hangs
#[test]
fn permit_that_is_passed_to_and_fro_comes_to_everybody() {
    /// Acquires, and has the next of the chain release; or the other way round.
    fn link(permits: Rc<Semaphore>, over: Rc<Cell<bool>>, acquires: bool) {
        if acquires {
            permits.acquire().forget();
        } else {
            permits.release(1);
        }
        if !over.get() {
            spawn_local(move || link(permits, over, !acquires)).join().unwrap();
        }
    }
    greenlets(|| {
        let (permits, over) = (Rc::new(Semaphore::new(1)), Rc::new(Cell::new(false)));
        let chains: Vec<_> = (0..2)
            .map(|_| {
                let (permits, over) = (Rc::clone(&permits), Rc::clone(&over));
                spawn_local(move || link(permits, over, true))
            })
            .collect();
        let once = spawn_local({
            let (permits, over) = (Rc::clone(&permits), Rc::clone(&over));
            move || {
                permits.acquire().forget();
                over.set(true);
            }
        });
        within(HANG / 2, || once.join().unwrap()).expect("it is not passed over for ever");
        settle();
        permits.release(1);
        kill_all(&chains);
    });
}

// What both kinds of lock have in common.

/// gevent: lock_tests.BaseLockTests.test_{constructor,acquire_destroy,acquire_release,try_acquire}
#[test]
fn lock_of_one_greenlet() {
    fn works<L: Lock>() {
        drop(L::new());
        let lock = L::new();
        lock.acquire();
        lock.release();
        assert!(lock.try_acquire());
        drop(lock);
    }
    both_locks!(works);
}

/// gevent: lock_tests.BaseLockTests.test_try_acquire_contended
#[test]
fn try_of_a_lock_that_another_greenlet_holds() {
    fn fails<L: Lock>() {
        let lock = Rc::new(L::new());
        lock.acquire();
        let wanted = Rc::clone(&lock);
        assert!(!other(move || wanted.try_acquire()));
        lock.release();
    }
    both_locks!(fails);
}

/// gevent: lock_tests.BaseLockTests.test_acquire_contended
#[test]
fn greenlets_wait_until_the_release() {
    fn wait<L: Lock>() {
        let lock = Rc::new(L::new());
        lock.acquire();
        let wanted = Rc::clone(&lock);
        let bunch = Bunch::start(5, move |_| {
            wanted.acquire();
            // Not only one after another, but each with a switch inside.
            yield_now();
            wanted.release();
        });
        assert_eq!(bunch.finished(), 0);
        lock.release();
        assert_eq!(bunch.join().len(), 5);
    }
    both_locks!(wait);
}

/// gevent: lock_tests.BaseLockTests.test_with
#[test]
fn guard_releases_at_the_end_and_on_panic() {
    fn releases<L: Lock>() {
        let lock = Rc::new(L::new());
        let is_free = || {
            let lock = Rc::clone(&lock);
            other(move || {
                let free = lock.try_acquire();
                if free {
                    lock.release();
                }
                free
            })
        };
        lock.guarded(|| ());
        assert!(is_free());
        assert!(catch_unwind(AssertUnwindSafe(|| lock.guarded(|| panic!("inside")))).is_err());
        assert!(is_free());
    }
    both_locks!(releases);
}

/// gevent: lock_tests.BaseLockTests.test_thread_leak
#[test]
fn greenlets_leave_nothing_behind_in_a_lock() {
    fn leave<L: Lock>() {
        let lock = Rc::new(L::new());
        let taken = Rc::clone(&lock);
        Bunch::start(15, move |_| {
            taken.acquire();
            taken.release();
        })
        .join();
        assert_eq!(Rc::strong_count(&lock), 1);
        assert!(lock.try_acquire());
    }
    both_locks!(leave);
}

/// gevent: lock_tests.LockTests.test_reacquire
#[test]
fn second_acquire_waits_for_the_release_by_another() {
    greenlets(|| {
        let (lock, phase) = (Rc::new(Mutex::new(())), Rc::new(Cell::new(0)));
        let (taken, passed) = (Rc::clone(&lock), Rc::clone(&phase));
        let twice = spawn_local(move || {
            for _ in 0..2 {
                taken.acquire();
                passed.set(passed.get() + 1);
            }
        });
        settle();
        assert_eq!(phase.get(), 1);
        lock.release();
        twice.join().unwrap();
        assert_eq!(phase.get(), 2);
    });
}

/// gevent: lock_tests.LockTests.test_different_thread
#[test]
fn mutex_is_released_by_another_greenlet() {
    greenlets(|| {
        let lock = Rc::new(Mutex::new(()));
        lock.acquire();
        let held = Rc::clone(&lock);
        other(move || held.release());
        assert!(lock.try_acquire());
    });
}

/// gevent: lock_tests.RLockTests.test_{reacquire,release_unacquired}
#[test]
fn reentrant_lock_is_released_as_often_as_acquired() {
    greenlets(|| {
        let lock = ReentrantLock::new(());
        let refused = |lock: &ReentrantLock<()>| panic_text(|| lock.release()).contains("does not hold");
        assert!(refused(&lock));
        lock.acquire();
        lock.acquire();
        lock.release();
        lock.acquire();
        lock.release();
        lock.release();
        assert!(refused(&lock));
    });
}

/// Another greenlet of the same thread is somebody else.
///
/// gevent: lock_tests.RLockTests.test_different_thread
#[test]
fn reentrant_lock_belongs_to_its_greenlet() {
    greenlets(|| {
        let lock = Rc::new(ReentrantLock::new(()));
        let (over, taken) = (Rc::new(Event::new()), Rc::clone(&lock));
        let holder = spawn_local({
            let over = Rc::clone(&over);
            move || {
                taken.acquire();
                over.wait();
                taken.release();
            }
        });
        settle();
        assert!(panic_text(|| lock.release()).contains("does not hold"));
        assert!(!lock.try_acquire());
        over.set();
        holder.join().unwrap();
        assert!(lock.try_acquire());
    });
}

/// gevent: lock_tests.RLockTests.test__is_owned
#[test]
fn reentrant_lock_knows_its_greenlet() {
    greenlets(|| {
        let lock = Rc::new(ReentrantLock::new(()));
        let other_holds = || {
            let lock = Rc::clone(&lock);
            other(move || lock.is_held())
        };
        assert!(!lock.is_held());
        for _ in 0..2 {
            lock.acquire();
            assert!(lock.is_held() && !other_holds());
        }
        lock.release();
        assert!(lock.is_held());
        lock.release();
        assert!(!lock.is_held());
    });
}

// Events.

/// gevent: lock_tests.EventTests.test_is_set
#[test]
fn event_is_set_until_it_is_cleared() {
    greenlets(|| {
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
    });
}

/// gevent: lock_tests.EventTests.test_notify
#[test]
fn event_wakes_all() {
    greenlets(|| {
        let event = Rc::new(Event::new());
        for _ in 0..2 {
            let waits = Rc::clone(&event);
            let bunch = Bunch::start(5, move |_| {
                waits.wait();
                let first = waits.is_set();
                waits.wait();
                (first, waits.is_set())
            });
            assert_eq!(bunch.finished(), 0);
            event.set();
            assert_eq!(bunch.join(), [(true, true); 5]);
            event.clear();
        }
    });
}

/// gevent: lock_tests.EventTests.test_timeout
#[test]
fn event_and_limits() {
    greenlets(|| {
        let event = Rc::new(Event::new());
        let waits = Rc::clone(&event);
        let ended = Bunch::start(5, move |_| {
            let start = Instant::now();
            (waits.wait_timeout(Duration::ZERO), waits.wait_timeout(SHORT), start.elapsed())
        });
        for (at_once, later, took) in ended.join() {
            assert_eq!((at_once, later), (Err(Interrupted::TimedOut), Err(Interrupted::TimedOut)));
            assert!(took >= SHORT);
        }
        event.set();
        let waits = Rc::clone(&event);
        assert_eq!(Bunch::start(5, move |_| waits.wait_timeout(Duration::ZERO)).join(), [Ok(()); 5]);
    });
}

// Conditions.

/// gevent: lock_tests.ConditionTests.test_unacquired_notify
#[test]
fn notify_without_the_mutex_wakes() {
    greenlets(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        shared.1.notify_all();
        let waits = Rc::clone(&shared);
        let waiter = spawn_local(move || drop(waits.1.wait(waits.0.lock())));
        settle();
        assert!(!waiter.is_finished(), "a notification is not kept");
        shared.1.notify_one();
        waiter.join().unwrap();
    });
}

/// gevent: lock_tests.ConditionTests.test_notify
#[test]
fn notify_wakes_as_many_as_it_says() {
    struct Shared {
        phase: Mutex<u32>,
        changed: Condvar,
        came: [Log<u32>; 2],
    }
    greenlets(|| {
        for _ in 0..2 {
            let shared = Rc::new(Shared { phase: Mutex::new(0), changed: Condvar::new(), came: [log(), log()] });
            let waits = Rc::clone(&shared);
            let bunch = Bunch::start(5, move |_| {
                for came in &waits.came {
                    let phase = *waits.changed.wait(waits.phase.lock());
                    came.borrow_mut().push(phase);
                }
            });
            for (phase, most, expected) in [
                (1, 3, [&[1, 1, 1][..], &[]]),
                (2, 5, [&[1, 1, 1, 2, 2], &[2, 2, 2]]),
                (3, usize::MAX, [&[1, 1, 1, 2, 2], &[2, 2, 2, 3, 3]]),
            ] {
                let mut guard = shared.phase.lock();
                shared.changed.notify(most);
                settle();
                *guard = phase;
                drop(guard);
                settle();
                assert_eq!(shared.came.each_ref().map(|came| came.borrow().clone()), expected);
            }
            assert_eq!(bunch.join().len(), 5);
        }
    });
}

/// gevent: lock_tests.ConditionTests.test_timeout
#[test]
fn condition_ends_at_its_limit() {
    greenlets(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        Bunch::start(5, move |_| {
            ends_at_its_limit(|limit| shared.1.wait_timeout(shared.0.lock(), limit).1.unwrap_err());
        })
        .join();
    });
}

// Semaphores again, as CPython sees them.

/// gevent: lock_tests.BaseSemaphoreTests.test_{acquire,acquire_destroy}
#[test]
fn semaphore_of_one_greenlet() {
    fn works<const BOUNDED: bool>() {
        for permits in 1..=2 {
            let semaphore = semaphore::<BOUNDED>(permits);
            let held: Vec<_> = (0..permits).map(|_| semaphore.acquire()).collect();
            drop(held);
            semaphore.acquire().forget();
        }
    }
    both_semaphores!(works);
}

/// gevent: lock_tests.BaseSemaphoreTests.test_acquire_contended
#[test]
fn permits_go_to_as_many_as_there_are() {
    fn go<const BOUNDED: bool>() {
        let permits = Rc::new(semaphore::<BOUNDED>(7));
        permits.acquire().forget();
        let (phase, came) = (Rc::new(Cell::new(0)), log());
        let bunch = Bunch::start(10, {
            let (permits, phase, came) = (Rc::clone(&permits), Rc::clone(&phase), Rc::clone(&came));
            move |_| {
                for _ in 0..2 {
                    permits.acquire().forget();
                    came.borrow_mut().push(phase.get());
                }
            }
        });
        assert_eq!(*came.borrow(), [0; 6]);
        for (next, releases) in [(1, 7), (2, 6)] {
            phase.set(next);
            permits.release(releases);
            settle();
            assert_eq!(came.borrow().iter().filter(|phase| **phase == next).count(), releases);
        }
        assert!(permits.try_acquire().is_none());
        permits.release(1);
        assert_eq!(bunch.join().len(), 10);
    }
    both_semaphores!(go);
}

/// gevent: lock_tests.BaseSemaphoreTests.test_try_acquire
#[test]
fn try_takes_what_there_is() {
    fn takes<const BOUNDED: bool>() {
        let semaphore = semaphore::<BOUNDED>(2);
        let first = semaphore.try_acquire().unwrap();
        let _second = semaphore.try_acquire().unwrap();
        assert!(semaphore.try_acquire().is_none());
        drop(first);
        assert!(semaphore.try_acquire().is_some());
    }
    both_semaphores!(takes);
}

/// gevent: lock_tests.BaseSemaphoreTests.test_try_acquire_contended
#[test]
fn greenlets_try_for_the_same_permits() {
    fn try_for<const BOUNDED: bool>() {
        let permits = Rc::new(semaphore::<BOUNDED>(4));
        permits.acquire().forget();
        let tries =
            Bunch::start(5, move |_| [(); 2].map(|()| permits.try_acquire().map(|permit| permit.forget()).is_some()));
        assert_eq!(tries.join().iter().flatten().filter(|took| **took).count(), 3);
    }
    both_semaphores!(try_for);
}

/// One permit is one at a time. (There is no default number here.)
///
/// gevent: lock_tests.BaseSemaphoreTests.test_default_value
#[test]
fn one_permit_is_one_at_a_time() {
    fn is<const BOUNDED: bool>() {
        let permits = Rc::new(semaphore::<BOUNDED>(1));
        permits.acquire().forget();
        let wanted = Rc::clone(&permits);
        let other = spawn_local(move || drop(wanted.acquire()));
        settle();
        assert!(!other.is_finished());
        permits.release(1);
        other.join().unwrap();
    }
    both_semaphores!(is);
}

/// gevent: lock_tests.BaseSemaphoreTests.test_with
#[test]
fn permits_come_back_at_the_end_and_on_panic() {
    fn come_back<const BOUNDED: bool>() {
        let semaphore = semaphore::<BOUNDED>(2);
        let nested = |fails: bool| {
            let _first = semaphore.acquire();
            assert!(semaphore.try_acquire().is_some());
            let _second = semaphore.acquire();
            assert!(semaphore.try_acquire().is_none());
            assert!(!fails, "inside");
        };
        nested(false);
        assert_eq!(semaphore.available_permits(), 2);
        assert_eq!(panic_text(|| nested(true)), "inside");
        assert_eq!(semaphore.available_permits(), 2);
    }
    both_semaphores!(come_back);
}

/// gevent: lock_tests.SemaphoreTests.test_release_unacquired
#[test]
fn release_adds_permits() {
    greenlets(|| {
        let semaphore = Semaphore::new(1);
        semaphore.release(1);
        drop((semaphore.acquire(), semaphore.acquire()));
    });
}

/// gevent: lock_tests.BoundedSemaphoreTests.test_release_unacquired
#[test]
fn bounded_semaphore_refuses_what_was_not_acquired() {
    greenlets(|| {
        let semaphore = Semaphore::bounded(1);
        for _ in 0..2 {
            assert!(panic_text(|| semaphore.release(1)).contains("released too many times"));
            drop(semaphore.acquire());
        }
    });
}

// Barriers.

const PARTIES: usize = 5;

/// All parties are greenlets; what each of them says.
fn parties<T: 'static>(barrier: &Rc<Barrier>, party: impl Fn(&Barrier) -> T + 'static) -> Vec<T> {
    let barrier = Rc::clone(barrier);
    Bunch::start(PARTIES, move |_| party(&barrier)).join()
}

fn barrier() -> Rc<Barrier> {
    Rc::new(Barrier::new(PARTIES))
}

/// gevent: lock_tests.BarrierTests.test_{barrier,barrier_10}
#[test]
fn greenlets_pass_a_barrier_in_step() {
    greenlets(|| {
        for rounds in [1, 10] {
            let (barrier, entered, left) = (barrier(), Cell::new(0), Cell::new(0));
            parties(&barrier, move |barrier| {
                for round in 0..rounds {
                    assert_eq!(left.get(), round * PARTIES);
                    entered.set(entered.get() + 1);
                    barrier.wait().unwrap();
                    assert_eq!(entered.get(), (round + 1) * PARTIES);
                    left.set(left.get() + 1);
                    barrier.wait().unwrap();
                }
            });
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
        }
    });
}

/// gevent: lock_tests.BarrierTests.test_wait_return
#[test]
fn each_party_has_its_own_index() {
    greenlets(|| {
        let mut indices = parties(&barrier(), |barrier| barrier.wait().unwrap().index());
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 3, 4]);
    });
}

/// gevent: lock_tests.BarrierTests.test_action
#[test]
fn leader_acts_once() {
    greenlets(|| {
        let acted = Rc::new(Cell::new(0));
        let acts = Rc::clone(&acted);
        parties(&barrier(), move |barrier| {
            if barrier.wait().unwrap().is_leader() {
                acts.set(acts.get() + 1);
            }
            barrier.wait().unwrap();
            assert_eq!(acts.get(), 1);
        });
        assert_eq!(acted.get(), 1);
    });
}

/// One of the parties breaks the barrier instead of entering the second round.
fn one_aborts(barrier: &Barrier) -> Result<(), BrokenBarrier> {
    if barrier.wait()?.index() == PARTIES / 2 {
        barrier.abort();
        return Ok(());
    }
    barrier.wait().map(drop)
}

fn failed<T, E>(ended: &[Result<T, E>]) -> usize {
    ended.iter().filter(|ended| ended.is_err()).count()
}

/// gevent: lock_tests.BarrierTests.test_abort
#[test]
fn abort_ends_all_waits() {
    greenlets(|| {
        let barrier = barrier();
        assert_eq!(failed(&parties(&barrier, one_aborts)), PARTIES - 1);
        assert!(barrier.is_broken());
    });
}

/// gevent: lock_tests.BarrierTests.test_reset
#[test]
fn reset_frees_those_who_wait() {
    greenlets(|| {
        let barrier = barrier();
        let ended = parties(&barrier, |barrier| {
            let ended = if barrier.wait().unwrap().index() == PARTIES / 2 {
                while barrier.n_waiting() < PARTIES - 1 {
                    yield_now();
                }
                barrier.reset();
                Ok(())
            } else {
                barrier.wait().map(drop)
            };
            barrier.wait().unwrap();
            ended
        });
        assert_eq!(failed(&ended), PARTIES - 1);
        assert!(!barrier.is_broken());
    });
}

/// gevent: lock_tests.BarrierTests.test_abort_and_reset
#[test]
fn reset_mends_a_broken_barrier() {
    greenlets(|| {
        let (broken, other) = (barrier(), Barrier::new(PARTIES));
        let ended = parties(&broken, move |barrier| {
            let ended = one_aborts(barrier);
            if other.wait().unwrap().is_leader() {
                barrier.reset();
            }
            other.wait().unwrap();
            barrier.wait().unwrap();
            ended
        });
        assert_eq!(failed(&ended), PARTIES - 1);
        assert!(!broken.is_broken());
    });
}

/// gevent: lock_tests.BarrierTests.test_timeout
#[test]
fn limit_of_one_breaks_it_for_all() {
    greenlets(|| {
        let ended = parties(&barrier(), |barrier| {
            if barrier.wait().unwrap().index() == PARTIES / 2 {
                ropewalk::sleep(4 * SHORT); // late
            }
            barrier.wait_timeout(SHORT).map(drop)
        });
        assert_eq!(failed(&ended), PARTIES);
    });
}

/// gevent: lock_tests.BarrierTests.test_single_thread
#[test]
fn one_party_never_waits() {
    greenlets(|| {
        let barrier = Barrier::new(1);
        assert!((0..2).all(|_| barrier.wait().unwrap().is_leader()));
    });
}

/// Greenlets of two hubs and two threads count under one lock of each kind; every count is exact, and some waited.
#[test]
fn locks_shared_by_hubs_and_threads_stay_exact() {
    const EACH: usize = 200;
    const STRANDS: usize = 8;
    let (mutex, one) = (Arc::new(Mutex::new(0)), Arc::new(One::<true>::new()));
    let total = Arc::new(AtomicUsize::new(0));
    let count = {
        let (mutex, one, total) = (Arc::clone(&mutex), Arc::clone(&one), Arc::clone(&total));
        move || {
            for _ in 0..EACH {
                *mutex.lock() += 1;
                one.guarded(|| total.store(total.load(Ordering::Relaxed) + 1, Ordering::Relaxed));
                yield_now();
            }
        }
    };
    let hubs: Vec<_> = (0..2)
        .map(|_| {
            let count = count.clone();
            hub(move || (0..STRANDS).map(|_| spawn(count.clone())).collect::<Vec<_>>().into_iter().for_each(joined))
        })
        .collect();
    let threads: Vec<_> = (0..2).map(|_| ropewalk::thread::spawn(count.clone())).collect();
    hubs.into_iter().chain(threads).for_each(joined);
    let expected = (2 * STRANDS + 2) * EACH;
    assert_eq!((*mutex.lock(), total.load(Ordering::Relaxed)), (expected, expected));
}
