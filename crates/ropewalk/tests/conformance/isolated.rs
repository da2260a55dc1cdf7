//! Hazards of executors whose workers can be told to stop: threads, greenlets, async tasks, other processes.

use crate::subject::{Subject, naps};
use ropewalk::{Executor, Shutdown, Submit, TaskError};
use std::thread;
use std::time::Duration;

/// Longer than anybody would wait for a test.
const FOR_EVER: u64 = 100_000;

pub(crate) fn kill_ends_a_call_that_waits<S: Subject>() {
    let executor = S::new(1);
    // The inline executor runs it where it is submitted, so that is not here.
    let outcome = thread::scope(|scope| {
        let submitter = scope.spawn(|| executor.submit(naps::call(FOR_EVER)).join());
        // It runs, waits for its turn, or comes too late: in each case the shutdown ends it.
        executor.shutdown(Shutdown::Kill);
        submitter.join().expect("no panic")
    });
    assert!(matches!(outcome, Err(TaskError::Cancelled | TaskError::Shutdown)), "{outcome:?}");
}

pub(crate) fn deadline_ends_a_call_that_waits<S: Subject>() {
    let executor = S::new(1);
    let hurried = executor.timeout(Duration::from_millis(20));
    assert!(matches!(hurried.submit(naps::call(FOR_EVER)).join(), Err(TaskError::TimedOut)));
    assert_eq!(executor.submit(naps::call(0)).join().unwrap(), 0);
}
