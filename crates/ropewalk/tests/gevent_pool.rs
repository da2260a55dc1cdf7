//! gevent's `test__pool` and `test__greenletset`, case by case, in our words: [`Pool`] and [`Group`].
//!
//! `apply` is a spawn and a join here, `apply_async` a spawn, `imap` is [`Pool::map`]. What has no counterpart is listed with
//! its reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{ends_at_its_limit, greenlets, log, outer_limit_is_not_lost, settle, within};
use ropewalk::greenlet::{Group, Pool, join_all, kill_all, spawn, spawn_later};
use ropewalk::sync::{Event, Interrupted, Mutex, Queue};
use ropewalk::{Submit, TaskError, TrySubmitError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{HANG, SHORT, joined, panic_text};

/// The sizes for which gevent runs the cases of `TestPool`; the last one is no bound.
const SIZES: [usize; 5] = [1, 2, 3, 10, usize::MAX];
const SMALL: u64 = 10;
const LARGE: u64 = 1000;

/// Runs a test with a pool of each size.
fn each_size(test: impl Fn(&Pool)) {
    greenlets(|| {
        for size in SIZES {
            let pool = Pool::new(size);
            test(&pool);
            pool.join();
            assert!(pool.is_empty() && pool.free() == size);
        }
    });
}

fn square(n: u64) -> u64 {
    n * n
}

fn squares(n: u64) -> Vec<u64> {
    (0..n).map(square).collect()
}

/// Squares after a nap whose length depends on the number in no obvious way.
fn square_after_a_nap(n: u64) -> u64 {
    ropewalk::sleep(Duration::from_micros(n * 7919 % 10 * 500));
    square(n)
}

fn sorted(items: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}

/// gevent: test__pool.TestCoroutinePool.test_apply_async
#[test]
fn greenlet_of_a_pool_runs_by_itself() {
    greenlets(|| {
        let done = Arc::new(Event::new());
        let sets = Arc::clone(&done);
        drop(Pool::new(2).spawn(move || sets.set()));
        done.wait();
    });
}

/// gevent: test__pool.{TestCoroutinePool,PoolBasicTests}.test_apply
#[test]
fn greenlet_of_a_pool_has_a_result() {
    greenlets(|| {
        assert_eq!(joined(Pool::new(2).spawn(|| "value")), "value");
        let one = 1;
        assert_eq!(joined(Pool::new(usize::MAX).spawn(move || ("foo", one))), ("foo", 1));
    });
}

/// gevent: test__pool.TestCoroutinePool.test_apply_raises
#[test]
fn greenlet_of_a_pool_that_panics() {
    greenlets(|| {
        let ended = Pool::new(1).spawn(|| panic!("expected")).join();
        assert!(matches!(ended, Err(TaskError::Panicked(panic)) if panic.message() == "expected"));
    });
}

/// gevent: test__pool.TestCoroutinePool.test_multiple_coros
#[test]
fn greenlets_of_a_pool_wait_for_each_other() {
    greenlets(|| {
        let (event, order) = (Arc::new(Event::new()), Arc::new(Mutex::new(Vec::new())));
        let (waits, notes) = (Arc::clone(&event), Arc::clone(&order));
        let pool = Pool::new(2);
        let consumer = pool.spawn(move || {
            notes.lock().push("waits");
            waits.wait();
            notes.lock().push("consumed");
        });
        let notes = Arc::clone(&order);
        drop(pool.spawn(move || {
            ropewalk::sleep(Duration::from_millis(1));
            notes.lock().push("produced");
            event.set();
        }));
        joined(consumer);
        assert_eq!(*order.lock(), ["waits", "produced", "consumed"]);
    });
}

/// Where gevent's cannot even print the error, here a callback fails beside the greenlet itself.
///
/// gevent: test__pool.TestCoroutinePool.test_stderr_raising
#[test]
fn place_comes_back_whatever_fails() {
    greenlets(|| {
        let pool = Pool::new(1);
        let failing = pool.spawn(|| panic!("in the greenlet"));
        failing.on_finish(|_| panic!("in the callback"));
        assert!(failing.join().unwrap_err().is_panic());
        assert_eq!(pool.free(), 1);
        within(HANG, || joined(pool.spawn(ropewalk::yield_now))).unwrap();
    });
}

/// gevent: test__pool.PoolBasicTests.test_execute_async
#[test]
fn pool_counts_its_places() {
    greenlets(|| {
        let (pool, order) = (Pool::new(2), Arc::new(Mutex::new(Vec::new())));
        let start = |n: u32| {
            let order = Arc::clone(&order);
            pool.spawn(move || order.lock().push(n))
        };
        assert_eq!(pool.free(), 2);
        let first = start(1);
        assert_eq!((pool.free(), order.lock().len()), (1, 0));
        joined(first);
        assert_eq!((pool.free(), order.lock().len()), (2, 1));
        drop((start(2), start(3)));
        assert_eq!((pool.free(), order.lock().len()), (0, 1));
        drop(start(4)); // waits for a place
        settle();
        let mut seen = order.lock().clone();
        seen.sort_unstable();
        assert_eq!((seen, pool.free()), (vec![1, 2, 3, 4], 2));
    });
}

/// A greenlet is spawned into a pool and not added to it; how a pool that is full takes one more is the same question.
///
/// gevent: test__pool.PoolBasicTests.test_{add_method,add_method_timeout,start_method_timeout}
#[test]
fn full_pool_and_a_limit() {
    greenlets(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(|| ropewalk::sleep(HANG));
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let runs = Arc::clone(&ran);
            let second = || pool.spawn(move || runs.fetch_add(1, Ordering::Relaxed));
            assert!(matches!(within(SHORT, second), Err(Interrupted::TimedOut)));
            assert_eq!((pool.free(), pool.len()), (0, 1));
        }
        first.kill();
        settle();
        assert_eq!(ran.load(Ordering::Relaxed), 0, "what did not get a place never runs");
        assert_eq!((pool.free(), pool.len()), (1, 0));
    });
}

/// gevent: test__pool.PoolBasicTests.test_add_method_non_blocking
#[test]
fn full_pool_and_a_try() {
    greenlets(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(|| ropewalk::sleep(HANG));
        match pool.try_submit(|| 7) {
            Err(TrySubmitError::Full(job)) => assert_eq!(job(), 7, "the job comes back"),
            other => panic!("{other:?}"),
        }
        first.kill();
        assert_eq!(joined(pool.try_submit(|| 7).unwrap()), 7);
    });
}

/// A member that spawns into its own pool, and joins, waits for a place as anybody does: with one place, for ever. It is
/// given the job back by a try, and runs it itself.
#[test]
fn member_of_a_full_pool_runs_the_job_itself() {
    fn apply<T: Send + 'static>(pool: &Pool, job: impl FnOnce() -> T + Send + 'static) -> T {
        match pool.try_submit(job) {
            Ok(handle) => joined(handle),
            Err(refused) => refused.into_job()(),
        }
    }
    greenlets(|| {
        let pool = Arc::new(Pool::new(1));
        let inner = Arc::clone(&pool);
        assert_eq!(apply(&pool, move || apply(&inner, || 5 + 1)), 6);
    });
}

/// A negative size cannot be written; one that could never run anything is refused.
///
/// gevent: test__pool.PoolBasicTests.test_init_error
#[test]
fn pool_of_no_places_is_refused() {
    assert!(panic_text(|| Pool::new(0)).contains("give it at least 1"));
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_apply
#[test]
fn one_greenlet_after_another() {
    each_size(|pool| {
        assert_eq!(joined(pool.spawn(|| square(5))), 25);
        assert_eq!(joined(pool.spawn(|| square_after_a_nap(3))), 9);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_{map,imap_list_small}
#[test]
fn map_keeps_the_order() {
    each_size(|pool| {
        for n in [SMALL, 100] {
            assert_eq!(pool.map(square, 0..n).collect::<Vec<_>>(), squares(n));
        }
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap_random
#[test]
fn map_keeps_the_order_of_naps() {
    each_size(|pool| assert_eq!(pool.map(square_after_a_nap, 0..SMALL).collect::<Vec<_>>(), squares(SMALL)));
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap_it_{small,large}
#[test]
fn map_one_by_one() {
    each_size(|pool| {
        for n in [SMALL, LARGE] {
            let mut results = pool.map(square, 0..n);
            for i in 0..n {
                assert_eq!(results.next(), Some(i * i));
            }
            assert_eq!(results.next(), None);
        }
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_{imap_unordered,imap_unordered_random}
#[test]
fn unordered_map_loses_nothing() {
    each_size(|pool| {
        for _ in 0..2 {
            assert_eq!(sorted(pool.map(square, 0..LARGE).unordered()), squares(LARGE));
        }
        assert_eq!(sorted(pool.map(square_after_a_nap, 0..SMALL).unordered()), squares(SMALL));
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_empty_{map,imap,imap_unordered}
#[test]
fn map_of_nothing() {
    each_size(|pool| {
        assert_eq!(pool.map(square, []).count(), 0);
        assert_eq!(pool.map(square, []).unordered().count(), 0);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_async
#[test]
fn join_lasts_as_long_as_the_greenlet() {
    each_size(|pool| {
        let started = Instant::now();
        let seven = pool.spawn(|| {
            ropewalk::sleep(SHORT);
            square(7)
        });
        assert_eq!(joined(seven), 49);
        assert!(started.elapsed() >= SHORT);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_async_callback
#[test]
fn callback_is_called_before_the_join_returns() {
    each_size(|pool| {
        let told = Arc::new(AtomicUsize::new(0));
        let tells = Arc::clone(&told);
        let seven = pool.spawn(|| square(7));
        seven.on_finish(move |outcome| tells.store(usize::from(outcome.is_ok()), Ordering::Relaxed));
        assert_eq!(joined(seven), 49);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_async_timeout
#[test]
fn join_with_a_limit_leaves_the_greenlet_running() {
    each_size(|pool| {
        let mut slow = pool.spawn(|| {
            ropewalk::sleep(4 * SHORT);
            square(6)
        });
        ends_at_its_limit(|limit| greenlet_support::interrupted(slow.join_timeout(limit)));
        assert_eq!(joined(slow), 36);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_terminate
#[test]
fn kill_in_the_middle_of_a_map() {
    greenlets(|| {
        for size in SIZES {
            let pool = Arc::new(Pool::new(size));
            let (maps, naps) = (Arc::clone(&pool), 2 * size.min(10));
            let mapping =
                spawn(move || maps.try_map(|()| ropewalk::sleep(HANG), vec![(); naps]).filter(Result::is_err).count());
            settle();
            assert_eq!(pool.len(), size.min(naps));
            // What the map spawns when it finds a place is killed too.
            within(HANG / 2, || pool.kill()).unwrap();
            assert_eq!(joined(mapping), naps);
            assert_eq!(joined(pool.spawn(|| 1)), 1, "the pool can be used on");
        }
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap_unordered_sleep
#[test]
fn unordered_map_gives_results_as_they_come() {
    greenlets(|| {
        for size in SIZES {
            let nap = |n: u64| {
                ropewalk::sleep(u32::try_from(n).unwrap() * SHORT);
                n
            };
            let order: Vec<_> = Pool::new(size).map(nap, [6, 0, 2]).unordered().collect();
            assert_eq!(order, if size == 1 { [6, 0, 2] } else { [0, 2, 6] });
        }
    });
}

/// The input is a queue: the map ends when that is shut down.
///
/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap{,_unordered}_no_stop
#[test]
fn map_over_an_input_that_waits() {
    each_size(|pool| {
        for unordered in [false, true] {
            let queue = Arc::new(Queue::unbounded());
            queue.put(123).unwrap();
            let ends = Arc::clone(&queue);
            drop(spawn_later(SHORT, move || ends.shutdown()));
            let results = pool.map(|n: u64| n, queue.iter());
            let results: Vec<_> = if unordered { results.unordered().collect() } else { results.collect() };
            assert_eq!(results, [123]);
        }
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap{,_unordered}_final_sleep
#[test]
fn map_over_an_input_that_sleeps_at_its_end() {
    each_size(|pool| {
        let input = || {
            (0..4).filter(|n| {
                if *n == 3 {
                    ropewalk::sleep(SHORT);
                }
                *n < 3
            })
        };
        assert_eq!(pool.map(square, input()).collect::<Vec<_>>(), [0, 1, 4]);
        assert_eq!(pool.map(square, input()).unordered().collect::<Vec<_>>(), [0, 1, 4]);
    });
}

/// gevent: test__pool.TestPool{,2,3,10,Unlimit}.test_imap_unordered_bounded_queue
#[test]
fn slow_reader_holds_the_map_back() {
    each_size(|pool| {
        for unordered in [false, true] {
            let started = Arc::new(AtomicUsize::new(0));
            let starts = Arc::clone(&started);
            let results = pool
                .map(
                    move |n: u64| {
                        starts.fetch_add(1, Ordering::Relaxed);
                        n
                    },
                    0..100,
                )
                .buffer(1);
            let mut results: Box<dyn Iterator<Item = u64>> =
                if unordered { Box::new(results.unordered()) } else { Box::new(results) };
            let mut read = Vec::new();
            for result in results.by_ref() {
                read.push(result);
                settle();
                assert!(started.load(Ordering::Relaxed) <= read.len() + 1);
            }
            drop(results);
            assert_eq!(sorted(read.into_iter()), (0..100).collect::<Vec<_>>());
        }
    });
}

fn pool_with_a_sleeper() -> Pool {
    let pool = Pool::new(usize::MAX);
    drop(pool.spawn(|| ropewalk::sleep(HANG)));
    pool
}

/// A join has no limit of its own; a token is one for everything.
///
/// gevent: test__pool.TestJoinSleep{,_raise_error}.test_returns_none_after_timeout
#[test]
fn join_of_a_pool_ends_at_a_limit() {
    greenlets(|| {
        let pool = pool_with_a_sleeper();
        ends_at_its_limit(|limit| within(limit, || pool.join()).unwrap_err());
        pool.kill();
    });
}

/// gevent: test__pool.TestJoinSleep{,_raise_error}.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_join_of_a_pool() {
    greenlets(|| {
        let pool = pool_with_a_sleeper();
        outer_limit_is_not_lost(|limit| within(limit, || pool.join()).unwrap_err());
        pool.kill();
    });
}

/// gevent: test__pool.TestJoinEmpty.test
#[test]
fn join_of_an_empty_pool() {
    greenlets(|| Pool::new(1).join());
}

/// gevent: test__pool.TestSpawn.test
#[test]
fn spawn_into_a_full_pool_waits_for_a_place() {
    greenlets(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(|| ropewalk::sleep(SHORT));
        assert_eq!(pool.len(), 1);
        let started = Instant::now();
        let second = pool.spawn(|| ropewalk::sleep(SHORT));
        assert!(first.is_finished() && started.elapsed() >= SHORT);
        assert_eq!(pool.len(), 1);
        joined(second);
        assert_eq!(pool.len(), 0);
    });
}

/// gevent: test__pool.TestSpawn.testSpawnAndWait
#[test]
fn join_of_a_pool_after_one_that_was_too_short() {
    greenlets(|| {
        let pool = Pool::new(1);
        drop(pool.spawn(|| ropewalk::sleep(4 * SHORT)));
        assert_eq!(within(SHORT, || pool.join()), Err(Interrupted::TimedOut));
        assert_eq!(pool.len(), 1);
        pool.join();
        assert_eq!(pool.len(), 0);
    });
}

/// An input of two items that panics instead of the third.
fn failing_input() -> impl Iterator<Item = u64> {
    (1..4).inspect(|n| assert!(*n < 3, "in the input"))
}

/// gevent: test__pool.TestErrorInIterator.{test,test_unordered}
#[test]
fn panic_of_the_input_is_the_panic_of_the_map() {
    greenlets(|| {
        let pool = Pool::new(3);
        assert_eq!(panic_text(|| pool.map(square, failing_input()).count()), "in the input");
        assert_eq!(panic_text(|| pool.map(square, failing_input()).unordered().count()), "in the input");
        pool.join();
        assert_eq!(pool.map(square, 0..3).sum::<u64>(), 5, "the pool works as before");
    });
}

fn invert(n: u64) -> f64 {
    assert!(n != 0, "division by zero");
    1.0 / n as f64
}

/// gevent: test__pool.TestErrorInHandler.test_map
#[test]
fn panic_of_the_function_is_the_panic_of_the_map() {
    greenlets(|| {
        let text = panic_text(|| Pool::new(3).map(invert, [1, 0, 2]).collect::<Vec<_>>());
        assert_eq!(text, "division by zero");
    });
}

/// gevent: test__pool.TestErrorInHandler.test_imap{,_unordered}
#[test]
fn map_goes_on_after_a_panic() {
    greenlets(|| {
        let pool = Pool::new(1);
        for unordered in [false, true] {
            let results = pool.map(invert, [1, 0, 2]);
            let mut results: Box<dyn Iterator<Item = f64>> =
                if unordered { Box::new(results.unordered()) } else { Box::new(results) };
            assert_eq!(results.next(), Some(1.0));
            assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
            assert_eq!(results.next(), Some(0.5));
            assert_eq!(results.next(), None);
        }
    });
}

// Groups.

/// A group whose first greenlet sleeps for a while and whose second one sleeps longer.
fn group(naps: [Duration; 2]) -> Group {
    let group = Group::new();
    naps.into_iter().for_each(|nap| drop(group.spawn(move || ropewalk::sleep(nap))));
    assert_eq!(group.len(), 2);
    group
}

/// gevent: test__greenletset.Test.test_basic
#[test]
fn member_leaves_when_it_has_ended() {
    greenlets(|| {
        let (group, goes_on) = (Group::new(), Arc::new(Event::new()));
        let (short, long) = (group.spawn(|| ropewalk::sleep(SHORT)), Arc::clone(&goes_on));
        drop(group.spawn(move || long.wait()));
        assert_eq!(group.len(), 2);
        short.join().unwrap();
        assert_eq!(group.len(), 1);
        goes_on.set();
        group.join();
        assert!(group.is_empty());
    });
}

/// gevent: test__greenletset.Test.test_waitall
#[test]
fn join_of_a_group_lasts_as_long_as_the_slowest() {
    greenlets(|| {
        let started = Instant::now();
        let group = group([SHORT, 3 * SHORT]);
        group.join();
        assert!(group.is_empty() && started.elapsed() >= 3 * SHORT);
    });
}

/// gevent: test__greenletset.Test.test_kill_block
#[test]
fn kill_of_a_group_waits_for_the_end() {
    greenlets(|| {
        let started = Instant::now();
        let group = group([HANG, HANG]);
        group.kill();
        assert!(group.is_empty() && started.elapsed() < HANG / 2);
    });
}

/// The handles are asked one by one where nobody wants to wait.
///
/// gevent: test__greenletset.Test.test_{kill_noblock,killall_iterable_argument_non_block}
#[test]
fn cancel_of_several_does_not_wait() {
    greenlets(|| {
        let group = Group::new();
        let handles: Vec<_> = (0..2).map(|_| group.spawn(|| ropewalk::sleep(HANG))).collect();
        settle();
        handles.iter().for_each(|handle| assert!(!handle.cancel(), "it runs"));
        assert_eq!(group.len(), 2);
        settle();
        assert!(group.is_empty() && handles.iter().all(|handle| handle.is_cancelled()));
    });
}

/// gevent: test__greenletset.Test.test_killall_subclass
#[test]
fn kill_of_a_group_in_which_one_has_failed() {
    greenlets(|| {
        let group = Group::new();
        let failed = group.spawn(|| panic!("expected"));
        let sleeps = group.spawn(|| ropewalk::sleep(HANG));
        settle();
        group.kill();
        assert!(failed.join().unwrap_err().is_panic());
        assert!(sleeps.join().unwrap_err().is_cancelled());
    });
}

/// gevent: test__greenletset.Test.test_killall_iterable_argument_timeout_not_started
#[test]
fn kill_of_what_has_not_started_takes_no_time() {
    greenlets(|| {
        let log = log::<u32>();
        let handles: Vec<_> = (0..2)
            .map(|_| {
                let log = Rc::clone(&log);
                ropewalk::greenlet::spawn_local(move || log.borrow_mut().push(1))
            })
            .collect();
        within(SHORT, || kill_all(&handles)).unwrap();
        assert!(handles.iter().all(|handle| handle.is_cancelled()));
        assert!(log.borrow().is_empty());
    });
}

/// A wait for a lock cannot be cancelled, so these last until they have it.
///
/// gevent: test__greenletset.Test.test_killall_iterable_argument_timeout_started
#[test]
fn kill_with_a_limit_of_what_does_not_end_in_time() {
    greenlets(|| {
        let lock = Arc::new(Mutex::new(()));
        let guard = lock.lock();
        let handles: Vec<_> = (0..2)
            .map(|_| {
                let lock = Arc::clone(&lock);
                spawn(move || drop(lock.lock()))
            })
            .collect();
        settle();
        assert_eq!(within(SHORT, || kill_all(&handles)), Err(Interrupted::TimedOut));
        assert!(handles.iter().all(|handle| handle.is_running()));
        drop(guard);
        // They have the lock now, and nothing more to wait for.
        assert!(join_all(handles).is_ok());
    });
}
