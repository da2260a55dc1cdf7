//! The executor's own verbs: `submit`, `map`, the initializer, and what it keeps.

use crate::support::{HANG, eventually, joined, panic_text, text_of};
use ropewalk::sync::{Event, Mutex, Semaphore};
use ropewalk::{Shutdown, Submit, TaskError, ThreadPoolExecutor};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_submit
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_submit_keyword
#[test]
fn submit_gives_the_result() {
    let pool = ThreadPoolExecutor::new(5);
    assert_eq!(pool.submit(|| 2_u32.pow(8)).join().unwrap(), 256);
    let (x, y) = (2, 8);
    assert_eq!(pool.submit(move || x * y).join().unwrap(), 16);
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map
#[test]
fn map_is_in_order() {
    let pool = ThreadPoolExecutor::new(5);
    let expected: Vec<_> = (0..10_u32).map(|n| n.pow(n)).collect();
    assert_eq!(pool.map(|n: u32| n.pow(n), 0..10).collect::<Vec<_>>(), expected);
    assert_eq!(pool.map(|n: u32| n.pow(n), 0..10).chunk(3).collect::<Vec<_>>(), expected);
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_exception
#[test]
fn map_throws_in_its_place() {
    let pool = ThreadPoolExecutor::new(5);
    let divide = |by: i32| (1 / by, 1 % by);
    let mut results = pool.map(divide, [2, 3, 0, 5]);
    assert_eq!((results.next(), results.next()), (Some((0, 1)), Some((0, 1))));
    assert!(panic_text(|| results.next()).contains("divide by zero"));
    assert_eq!((results.next(), results.next()), (Some((0, 1)), None), "and goes on, unlike Python's generator");
}

/// What is buffered when it is given up is cancelled, and no more is given.
///
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_close
#[test]
fn map_given_up_early() {
    let pool = ThreadPoolExecutor::new(2);
    for chunk in [1, 3] {
        let mut results = pool.map(|by: i32| 5 / by, [2, 0, 3, 5]).chunk(chunk);
        assert_eq!(results.next(), Some(2));
        drop(results);
    }
    assert_eq!(pool.submit(|| 1).join().unwrap(), 1);
}

/// A `0` means 1; anything but a number cannot be written.
///
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_value_validation
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_on_multiple_iterables
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_on_empty_iterable
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_without_iterable
#[test]
fn map_with_each_size_of_buffer() {
    let pool = ThreadPoolExecutor::new(5);
    for buffer in [0, 1, 2, 4, 8, usize::MAX] {
        let texts: Vec<_> = pool.map(|n: i32| n.to_string(), 0..4).buffer(buffer).collect();
        assert_eq!(texts, ["0", "1", "2", "3"]);
        let sums: Vec<_> = pool.map(|(a, b): (i32, i32)| a + b, (0..4).zip(0..4)).buffer(buffer).collect();
        assert_eq!(sums, [0, 2, 4, 6]);
        assert_eq!(pool.map(|n: i32| n, []).buffer(buffer).next(), None);
    }
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_on_infinite_iterable
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_on_multiple_infinite_iterables
#[test]
fn map_over_what_never_ends() {
    let pool = ThreadPoolExecutor::new(5);
    let mut texts = pool.map(|n: u32| n.to_string(), 0..).buffer(2);
    assert_eq!([(); 3].map(|()| texts.next().unwrap()), ["0", "1", "2"]);
    let sums = pool.map(|(a, b): (u32, u32)| a + b, (0..).zip(0..)).buffer(2);
    assert_eq!(sums.take(3).collect::<Vec<_>>(), [0, 2, 4]);
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_map_buffersize_when_buffer_is_full
#[test]
fn map_takes_no_more_than_its_buffer() {
    let pool = ThreadPoolExecutor::new(5);
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let items = (0..100).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = pool.map(|n: i32| n, items).buffer(2);
    assert_eq!(taken.load(Ordering::Relaxed), 0, "lazy");
    for given in 1..=4 {
        assert!(results.next().is_some());
        // Those that were given out, and the buffer.
        assert!(taken.load(Ordering::Relaxed) <= given + 2);
    }
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_no_stale_references
#[test]
fn captures_of_a_detached_job_are_dropped() {
    let pool = ThreadPoolExecutor::new(5);
    let captured = Arc::new(());
    let seen = Arc::downgrade(&captured);
    drop(pool.submit(move || drop(captured)));
    eventually("the captures to be dropped", || seen.strong_count() == 0);
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_max_workers_negative
#[test]
fn no_workers_are_refused() {
    assert!(panic_text(|| ThreadPoolExecutor::new(0)).contains("max_workers is 0"));
    assert!(ThreadPoolExecutor::builder().max_workers(0).build().is_err());
    assert!(ThreadPoolExecutor::builder().max_workers(usize::MAX).build().is_err());
}

/// CPython: test_concurrent_futures.executor.ExecutorTest.test_free_reference
#[test]
fn map_keeps_nothing_of_what_it_gave() {
    let pool = ThreadPoolExecutor::new(5);
    for result in pool.map(|_| Arc::new(()), 0..10) {
        assert_eq!(Arc::strong_count(&result), 1);
    }
}

/// Whatever the payload looks like, it arrives.
///
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_swallows_falsey_exceptions
#[test]
fn panic_with_any_payload_arrives() {
    let pool = ThreadPoolExecutor::new(1);
    match pool.submit(|| panic_any(())).join() {
        Err(TaskError::Panicked(panic)) => assert!(panic.into_payload().is::<()>()),
        other => panic!("{other:?}"),
    }
    match pool.submit(|| panic!("")).join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(text_of(&*panic.into_payload()), ""),
        other => panic!("{other:?}"),
    }
}

/// Four workers; jobs that wait are replaced, so the number of threads follows the jobs here and not `max_workers`.
///
/// CPython: test_concurrent_futures.test_thread_pool.ThreadPoolExecutorTest.test_saturation
#[test]
fn many_more_jobs_than_workers() {
    let pool = ThreadPoolExecutor::new(4);
    let permits = Arc::new(Semaphore::new(0));
    let handles: Vec<_> = (0..60)
        .map(|_| {
            let permits = Arc::clone(&permits);
            pool.submit(move || permits.acquire().forget())
        })
        .collect();
    eventually("all jobs to wait", || pool.stats().blocked == 60);
    permits.release(60);
    handles.into_iter().for_each(joined);
    pool.shutdown(Shutdown::Wait);
    assert_eq!(pool.stats().workers, 0);
}

/// CPython: test_concurrent_futures.test_thread_pool.ThreadPoolExecutorTest.test_idle_thread_reuse
#[test]
fn idle_worker_is_used_again() {
    let pool = ThreadPoolExecutor::new(8);
    for n in [21, 6, 3] {
        assert_eq!(pool.submit(move || n * 2).join().unwrap(), n * 2);
        eventually("the worker to be idle", || pool.stats().idle == 1);
    }
    assert_eq!(pool.stats().workers, 1);
}

/// Giving up a map cancels what has not started.
///
/// CPython: test_concurrent_futures.test_thread_pool.ThreadPoolExecutorTest.test_executor_map_current_future_cancel
#[test]
fn map_given_up_never_starts_the_rest() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(Event::new());
    let pool = ThreadPoolExecutor::new(1);
    let held = Arc::new(Event::new());
    let first = pool.submit({
        let (log, stop, held) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&held));
        move || {
            log.lock().push("first");
            held.set();
            // Not a wait of ours, so the only worker is really taken.
            while !stop.is_set() {
                std::thread::yield_now();
            }
        }
    });
    held.wait();
    let mut rest = pool.try_map(
        {
            let log = Arc::clone(&log);
            move |name| log.lock().push(name)
        },
        ["second", "third"],
    );
    // The map begins when it is asked; under a limit, since the only worker is taken.
    let asked = ropewalk::CancelToken::new().with_timeout(crate::support::SHORT).run(|| rest.next().is_some());
    assert!(asked.is_err());
    drop(rest);
    stop.set();
    first.join().unwrap();
    pool.shutdown(Shutdown::Wait);
    assert_eq!(*log.lock(), ["first"]);
}

/// A wait for the next result that is cancelled loses nothing: whoever goes on with the map gets all of it.
#[test]
fn map_goes_on_after_a_cancelled_wait() {
    for unordered in [false, true] {
        let go = Arc::new(Event::new());
        let waits = Arc::clone(&go);
        let pool = ThreadPoolExecutor::new(2);
        let mut results = pool.try_map(
            move |n: i32| {
                waits.wait();
                n
            },
            0..6,
        );
        if unordered {
            results = results.unordered();
        }
        let limited = ropewalk::CancelToken::new().with_timeout(crate::support::SHORT);
        assert!(limited.run(|| results.next().is_some()).is_err());
        go.set();
        let mut got: Vec<_> = results.map(Result::unwrap).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    }
}

/// CPython: test_concurrent_futures.test_init.InitializerMixin.test_initializer
#[test]
fn initializer_runs_before_the_first_job() {
    thread_local!(static STATUS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(|| STATUS.set(7)).build().unwrap();
    let results = pool.run_all((0..4).map(|_| || STATUS.get()));
    assert!(results.into_iter().all(|status| status.unwrap() == 7));
}

/// CPython: test_concurrent_futures.test_init.FailingInitializerMixin.test_initializer
#[test]
fn initializer_that_panics_breaks_the_pool() {
    let build = || ThreadPoolExecutor::builder().max_workers(2).initializer(|| panic!("error in initializer"));
    let pool = build().build().unwrap();
    for _ in 0..3 {
        match pool.submit(|| 1).join_timeout(HANG) {
            Err(TaskError::WorkerDied { reason, .. }) => assert!(reason.contains("error in initializer"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
