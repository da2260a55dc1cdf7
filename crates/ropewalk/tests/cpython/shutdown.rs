//! Shutting an executor down.

use crate::support::{eventually, joined};
use ropewalk::sync::{Event, Semaphore};
use ropewalk::{Shutdown, Submit, TaskError, ThreadPoolExecutor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_run_after_shutdown
#[test]
fn submit_after_shutdown_says_so() {
    let pool = ThreadPoolExecutor::new(1);
    pool.shutdown(Shutdown::Wait);
    assert!(matches!(pool.submit(|| 1).join(), Err(TaskError::Shutdown)));
    assert!(pool.try_submit(|| 1).is_err());
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_hang_issue12364
#[test]
fn all_that_was_submitted_is_done() {
    let pool = ThreadPoolExecutor::new(5);
    let handles: Vec<_> = (0..50).map(|n| pool.submit(move || n)).collect();
    pool.shutdown(Shutdown::Wait);
    assert!(handles.iter().all(|handle| handle.is_finished()));
    assert_eq!(handles.into_iter().map(joined).sum::<i32>(), 1225);
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_cancel_futures
#[test]
fn pending_is_cancelled_and_running_is_finished() {
    let pool = Arc::new(ThreadPoolExecutor::new(5));
    let (go, running) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..50)
        .map(|_| {
            let (go, running) = (Arc::clone(&go), Arc::clone(&running));
            pool.submit(move || {
                running.fetch_add(1, Ordering::Relaxed);
                // Not a wait of ours: five workers are taken, and no more jobs start.
                while !go.is_set() {
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    eventually("five running", || running.load(Ordering::Relaxed) == 5);
    let shutter = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.shutdown(Shutdown::CancelPending)
    });
    eventually("the others cancelled", || handles.iter().filter(|handle| handle.is_cancelled()).count() == 45);
    go.set();
    shutter.join().expect("no panic");
    assert_eq!(handles.into_iter().filter_map(|handle| handle.join().ok()).count(), 5);
    assert_eq!(running.load(Ordering::Relaxed), 5);
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_hang_gh94440
#[test]
fn job_cancelled_right_before_shutdown() {
    for _ in 0..50 {
        let pool = ThreadPoolExecutor::new(1);
        pool.submit(|| ()).join().unwrap();
        pool.submit(|| ()).cancel();
        pool.shutdown(Shutdown::Wait);
    }
}

/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_threads_terminate
#[test]
fn no_worker_is_left() {
    let pool = ThreadPoolExecutor::new(5);
    let permits = Arc::new(Semaphore::new(0));
    for _ in 0..3 {
        let permits = Arc::clone(&permits);
        drop(pool.submit(move || permits.acquire().forget()));
    }
    assert_eq!(pool.stats().workers, 3);
    permits.release(3);
    pool.shutdown(Shutdown::Wait);
    assert_eq!(pool.stats().workers, 0);
    pool.shutdown(Shutdown::Wait); // again: nothing to do
}

/// Leaving the scope of the pool is Python's `with`.
///
/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_context_manager_shutdown
/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_del_shutdown
/// CPython: test_concurrent_futures.executor.ExecutorTest.test_shutdown_race_issue12456
#[test]
fn drop_waits_for_all() {
    let done = Arc::new(AtomicUsize::new(0));
    {
        let pool = ThreadPoolExecutor::new(5);
        assert_eq!(pool.map(i32::abs, -5..5).collect::<Vec<_>>(), [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]);
        for _ in 0..20 {
            let done = Arc::clone(&done);
            drop(pool.submit(move || done.fetch_add(1, Ordering::Relaxed)));
        }
    }
    assert_eq!(done.load(Ordering::Relaxed), 20);
}

/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_shutdown_no_wait
#[test]
fn detached_jobs_are_finished_too() {
    let pool = ThreadPoolExecutor::new(5);
    let go = Arc::new(Event::new());
    let handles: Vec<_> = (0..10)
        .map(|n| {
            let go = Arc::clone(&go);
            pool.submit(move || {
                go.wait();
                n
            })
        })
        .collect();
    pool.shutdown(Shutdown::Detach);
    assert!(!handles[0].is_finished());
    go.set();
    assert_eq!(handles.into_iter().map(joined).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    eventually("the workers to end", || pool.stats().workers == 0);
}

/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_thread_names_assigned
/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_thread_names_default
#[test]
fn threads_have_names() {
    let name = || std::thread::current().name().map(str::to_owned);
    for (builder, prefix) in [
        (ThreadPoolExecutor::builder().thread_name_prefix("SpecialPool"), "SpecialPool-"),
        (ThreadPoolExecutor::builder(), "ropewalk-pool-"),
    ] {
        let pool = builder.max_workers(5).build().unwrap();
        for _ in 0..10 {
            let name = pool.submit(name).join().unwrap().expect("a name");
            let number = name.strip_prefix(prefix).expect(&name).parse::<usize>();
            assert!(number.unwrap() < 5, "{name}");
        }
    }
}
