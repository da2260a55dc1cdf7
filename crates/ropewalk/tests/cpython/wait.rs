//! `futures.wait`: [`wait`].

use crate::support::{SHORT, eventually};
use ropewalk::sync::Event;
use ropewalk::task::harness::new_task;
use ropewalk::{ReturnWhen, Submit, TaskHandle, ThreadPoolExecutor, wait};
use std::sync::Arc;

/// The states with which CPython's cases begin, and a job that waits for an event.
struct Futures {
    go: Arc<Event>,
    pool: ThreadPoolExecutor,
}

impl Futures {
    fn new() -> Self {
        Self { go: Arc::default(), pool: ThreadPoolExecutor::new(5) }
    }

    fn waiting(&self) -> TaskHandle<u32> {
        let go = Arc::clone(&self.go);
        self.pool.submit(move || {
            go.wait();
            0
        })
    }

    fn successful(&self) -> TaskHandle<u32> {
        let (task, handle) = new_task(0, || Ok(42));
        task.run();
        handle
    }

    fn failed(&self) -> TaskHandle<u32> {
        let (task, handle) = new_task(0, || panic!("failed"));
        task.run();
        handle
    }

    fn cancelled(&self) -> TaskHandle<u32> {
        let (_, handle) = new_task(0, || Ok(0));
        handle.cancel();
        handle
    }
}

impl Drop for Futures {
    fn drop(&mut self) {
        self.go.set();
    }
}

/// CPython: test_concurrent_futures.test_wait.WaitTests.test_first_completed
/// CPython: test_concurrent_futures.test_wait.WaitTests.test_first_completed_some_already_completed
#[test]
fn first_completed() {
    let futures = Futures::new();
    let waited = wait(&[futures.waiting(), futures.pool.submit(|| 42)], ReturnWhen::FirstCompleted, None);
    assert_eq!((waited.done, waited.not_done), (vec![1], vec![0]));
    let some = [futures.cancelled(), futures.successful(), futures.waiting()];
    let waited = wait(&some, ReturnWhen::FirstCompleted, None);
    assert_eq!((waited.done, waited.not_done), (vec![0, 1], vec![2]));
}

/// CPython: test_concurrent_futures.test_wait.WaitTests.test_first_exception
/// CPython: test_concurrent_futures.test_wait.WaitTests.test_first_exception_some_already_complete
/// CPython: test_concurrent_futures.test_wait.WaitTests.test_first_exception_one_already_failed
#[test]
fn first_failure() {
    let futures = Futures::new();
    let go = Arc::new(Event::new());
    let well = futures.pool.submit(|| 42);
    let fails = futures.pool.submit({
        let go = Arc::clone(&go);
        move || {
            go.wait();
            panic!("failed")
        }
    });
    let handles = [well, fails, futures.waiting()];
    eventually("the first to have ended", || handles[0].is_finished());
    assert_eq!(wait(&handles, ReturnWhen::FirstFailure, Some(SHORT)).done, [0], "a success is not enough");
    go.set();
    let waited = wait(&handles, ReturnWhen::FirstFailure, None);
    assert_eq!((waited.done, waited.not_done), (vec![0, 1], vec![2]));

    let some = [futures.successful(), futures.failed(), futures.waiting()];
    let waited = wait(&some, ReturnWhen::FirstFailure, None);
    assert_eq!((waited.done, waited.not_done), (vec![0, 1], vec![2]));
    let waited = wait(&[futures.failed(), futures.waiting()], ReturnWhen::FirstFailure, None);
    assert_eq!((waited.done, waited.not_done), (vec![0], vec![1]));
}

/// CPython: test_concurrent_futures.test_wait.WaitTests.test_all_completed
#[test]
fn all_completed() {
    let futures = Futures::new();
    let handles = [
        futures.successful(),
        futures.cancelled(),
        futures.failed(),
        futures.pool.submit(|| panic!("failed")),
        futures.pool.submit(|| 42),
    ];
    let waited = wait(&handles, ReturnWhen::AllCompleted, None);
    assert_eq!((waited.done, waited.not_done), (vec![0, 1, 2, 3, 4], vec![]));
    assert_eq!(wait::<u32>(&[], ReturnWhen::AllCompleted, None).done, [0; 0]);
    assert_eq!(wait::<u32>(&[], ReturnWhen::FirstCompleted, None).done, [0; 0], "nothing to wait for");
}

/// CPython: test_concurrent_futures.test_wait.WaitTests.test_timeout
#[test]
fn time_limit() {
    let futures = Futures::new();
    let handles = [futures.cancelled(), futures.failed(), futures.successful(), futures.waiting()];
    let waited = wait(&handles, ReturnWhen::AllCompleted, Some(SHORT));
    assert_eq!((waited.done, waited.not_done), (vec![0, 1, 2], vec![3]));
}

/// CPython: test_concurrent_futures.test_wait.ThreadPoolWaitTests.test_pending_calls_race
#[test]
fn hundred_end_while_they_are_waited_for() {
    for _ in 0..20 {
        let futures = Futures::new();
        let handles: Vec<_> = (0..100).map(|_| futures.waiting()).collect();
        futures.go.set();
        assert_eq!(wait(&handles, ReturnWhen::AllCompleted, None).done.len(), 100);
    }
}
