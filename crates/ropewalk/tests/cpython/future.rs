//! Future: [`TaskHandle`], over tasks that the test itself moves from one state to the next.

use crate::support::{SHORT, joined, strand};
use ropewalk::sync::Mutex;
use ropewalk::task::harness::{Runnable, new_task};
use ropewalk::{TaskError, TaskHandle};
use std::sync::Arc;
use std::time::Duration;

type Log = Arc<Mutex<Vec<String>>>;

fn task<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Arc<dyn Runnable>, TaskHandle<T>) {
    new_task(0, move || Ok(job()))
}

/// A callback that notes how the task ended.
fn note<T: Send>(handle: &TaskHandle<T>, log: &Log) {
    let log = Arc::clone(log);
    handle.on_finish(move |outcome| {
        log.lock().push(outcome.map_or_else(ToString::to_string, |()| "well".to_owned()));
    });
}

fn finished(value: u32) -> TaskHandle<u32> {
    let (task, handle) = task(move || value);
    task.run();
    handle
}

fn failed() -> TaskHandle<u32> {
    let (task, handle) = task(|| panic!("test"));
    task.run();
    handle
}

fn cancelled() -> TaskHandle<u32> {
    let (_, handle) = task(|| 0);
    assert!(handle.cancel());
    handle
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_with_result
/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_with_exception
/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_with_cancel
#[test]
fn callback_is_told_how_it_ended() {
    let log = Log::default();
    let (well, well_handle) = task(|| 5);
    let (ill, ill_handle) = task(|| -> u32 { panic!("test") });
    let (_never, never_handle) = task(|| 0);
    for handle in [&well_handle, &ill_handle, &never_handle] {
        note(handle, &log);
    }
    assert!(log.lock().is_empty());
    well.run();
    ill.run();
    assert!(never_handle.cancel());
    assert_eq!(*log.lock(), ["well", "task panicked: test", "task was cancelled"]);
    assert_eq!(joined(well_handle), 5);
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_raises
#[test]
fn callback_that_panics_harms_nobody() {
    let log = Log::default();
    let (task, handle) = task(|| 5);
    note(&handle, &log);
    handle.on_finish(|_| panic!("in a callback"));
    note(&handle, &log);
    task.run();
    assert_eq!(*log.lock(), ["well", "well"]);
    assert_eq!(joined(handle), 5);
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_already_successful
/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_already_failed
/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_already_cancelled
#[test]
fn callback_after_the_end_is_called_at_once() {
    let log = Log::default();
    note(&finished(5), &log);
    note(&failed(), &log);
    note(&cancelled(), &log);
    assert_eq!(*log.lock(), ["well", "task panicked: test", "task was cancelled"]);
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_done_callback_raises_already_succeeded
#[test]
fn callback_after_the_end_may_panic() {
    let handle = finished(5);
    handle.on_finish(|_| panic!("in a callback"));
    assert_eq!(joined(handle), 5);
}

/// Each state, and what the handle says of it: finished, running, cancelled, failed.
fn says<T>(handle: &TaskHandle<T>) -> [bool; 4] {
    [handle.is_finished(), handle.is_running(), handle.is_cancelled(), handle.is_failed()]
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_cancelled
/// CPython: test_concurrent_futures.test_future.FutureTests.test_done
/// CPython: test_concurrent_futures.test_future.FutureTests.test_running
/// CPython: test_concurrent_futures.test_future.FutureTests.test_repr
#[test]
fn states_are_visible() {
    let (pending, pending_handle) = task(|| 0);
    assert_eq!(says(&pending_handle), [false; 4]);
    assert!(format!("{pending_handle:?}").contains("running: false, finished: false"));
    pending.run();
    assert_eq!(says(&pending_handle), [true, false, false, false]);
    assert!(format!("{pending_handle:?}").contains("finished: true"));
    assert_eq!(says(&cancelled()), [true, false, true, true]);
    assert_eq!(says(&failed()), [true, false, false, true]);

    let place: Arc<Mutex<Option<TaskHandle<[bool; 4]>>>> = Arc::default();
    let own = Arc::clone(&place);
    let (running, handle) = task(move || says(own.lock().as_ref().expect("put there before the run")));
    *place.lock() = Some(handle);
    running.run();
    let handle = place.lock().take().expect("put there before the run");
    assert_eq!(joined(handle), [false, true, false, false]);
}

/// A running task is asked to stop where Python's `cancel` does nothing; the answer is the same.
///
/// CPython: test_concurrent_futures.test_future.FutureTests.test_cancel
#[test]
fn only_what_has_not_started_is_cancelled_for_sure() {
    let (pending, handle) = task(|| 0);
    assert!(handle.cancel());
    pending.run(); // too late: nothing happens
    assert!(handle.is_cancelled());
    assert!(!handle.cancel(), "it has ended already; Python says yes again");

    let place: Arc<Mutex<Option<TaskHandle<bool>>>> = Arc::default();
    let own = Arc::clone(&place);
    let (running, handle) = task(move || own.lock().as_ref().expect("put there before the run").cancel());
    *place.lock() = Some(handle);
    running.run();
    let handle = place.lock().take().expect("put there before the run");
    assert!(!joined(handle), "cancel of a running task");

    for ended in [finished(5), failed()] {
        assert!(!ended.cancel());
        assert!(!ended.is_cancelled());
    }
}

/// Python's `exception()` is the `Err` of the same wait.
///
/// CPython: test_concurrent_futures.test_future.FutureTests.test_result_with_timeout
/// CPython: test_concurrent_futures.test_future.FutureTests.test_exception_with_timeout
#[test]
fn result_within_a_time_limit() {
    let (pending, mut handle) = task(|| 42);
    for limit in [Duration::ZERO, SHORT] {
        assert!(matches!(handle.join_timeout(limit), Err(TaskError::TimedOut)));
    }
    pending.run();
    assert_eq!(handle.join_timeout(Duration::ZERO).unwrap(), 42);
    assert!(matches!(cancelled().join_timeout(Duration::ZERO), Err(TaskError::Cancelled)));
    match failed().join_timeout(Duration::ZERO) {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "test"),
        other => panic!("{other:?}"),
    }
    assert_eq!(finished(42).join_timeout(Duration::MAX).unwrap(), 42);
}

/// CPython: test_concurrent_futures.test_future.FutureTests.test_result_with_success
/// CPython: test_concurrent_futures.test_future.FutureTests.test_result_with_cancel
/// CPython: test_concurrent_futures.test_future.FutureTests.test_exception_with_success
#[test]
fn waiter_is_woken_by_each_way_to_end() {
    for (end, expected) in [(0, "42"), (1, "task was cancelled"), (2, "task panicked: test")] {
        let (task, handle) = task(move || if end == 2 { panic!("test") } else { 42 });
        let handle = Mutex::new(Some(handle));
        let waiter = strand(move || {
            let handle = handle.lock().take().expect("taken once");
            handle.join().map_or_else(|error| error.to_string(), |value| value.to_string())
        });
        waiter.blocked(1);
        if end == 1 {
            assert!(task.cancel(TaskError::Cancelled));
        } else {
            task.run();
        }
        assert_eq!(waiter.join(), [expected]);
    }
}

/// A task runs once, whoever asks for it again; nobody can set another result.
///
/// CPython: test_concurrent_futures.test_future.FutureTests.test_multiple_set_result
/// CPython: test_concurrent_futures.test_future.FutureTests.test_multiple_set_exception
#[test]
fn outcome_is_set_once() {
    let (task, handle) = task(|| 1);
    task.run();
    task.run();
    assert!(!task.cancel(TaskError::Shutdown));
    assert_eq!(joined(handle), 1);
}
