//! `futures.as_completed`: [`as_completed`].

use crate::support::{SHORT, joined};
use ropewalk::sync::Event;
use ropewalk::task::harness::new_task;
use ropewalk::{Submit, TaskHandle, ThreadPoolExecutor, as_completed};
use std::sync::Arc;
use std::time::Duration;

fn ended() -> [TaskHandle<u32>; 3] {
    let (task, successful) = new_task(0, || Ok(42));
    task.run();
    let (task, failed) = new_task(0, || panic!("failed"));
    task.run();
    let (_, cancelled) = new_task(0, || Ok(0));
    cancelled.cancel();
    [cancelled, failed, successful]
}

/// CPython: test_concurrent_futures.test_as_completed.AsCompletedTests.test_no_timeout
#[test]
fn gives_each_handle_once() {
    let pool = ThreadPoolExecutor::new(2);
    let handles = ended().into_iter().chain([pool.submit(|| 1), pool.submit(|| 2)]);
    let mut results: Vec<_> = as_completed(handles).map(|handle| handle.join().ok()).collect();
    results.sort_unstable();
    assert_eq!(results, [None, None, Some(1), Some(2), Some(42)]);
}

/// The iteration ends, and the handles that are left can be had; nothing is thrown.
///
/// CPython: test_concurrent_futures.test_as_completed.AsCompletedTests.test_future_times_out
/// CPython: test_concurrent_futures.test_as_completed.AsCompletedTests.test_correct_timeout_exception_msg
#[test]
fn time_limit_leaves_the_rest() {
    for limit in [Duration::ZERO, SHORT] {
        let pool = ThreadPoolExecutor::new(1);
        let go = Arc::new(Event::new());
        let waits = pool.submit({
            let go = Arc::clone(&go);
            move || {
                go.wait();
                7
            }
        });
        let mut completed = as_completed(ended().into_iter().chain([waits])).timeout(limit);
        assert_eq!(completed.by_ref().count(), 3, "what has ended is given, however short the limit");
        assert_eq!(completed.remaining(), 1);
        go.set();
        let rest = completed.into_remaining();
        assert_eq!(rest.into_iter().map(joined).collect::<Vec<_>>(), [7]);
    }
}

/// CPython: test_concurrent_futures.test_as_completed.AsCompletedTests.test_free_reference_yielded_future
#[test]
fn nothing_is_kept_of_a_handle_that_was_given() {
    let (tasks, handles): (Vec<_>, Vec<_>) = (0..8).map(|_| new_task(0, || Ok(Arc::new(())))).unzip();
    let mut completed = as_completed(handles);
    for task in tasks {
        task.run();
        drop(task);
        let result = completed.next().expect("one more").join().unwrap();
        let seen = Arc::downgrade(&result);
        drop(result);
        assert!(seen.upgrade().is_none());
    }
    assert!(completed.next().is_none());
}
