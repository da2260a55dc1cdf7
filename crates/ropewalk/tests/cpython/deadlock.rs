//! The hazards behind `test_deadlock`, as far as they can happen to threads: a step that fails where the executor did
//! not expect it must end in an error, never in a wait without end. (CPython runs this suite for processes only; what
//! is about pickling and dying workers is in `known_differences.md`.)

use crate::support::{HANG, joined};
use ropewalk::{Shutdown, Submit, TaskError, ThreadPoolExecutor};

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_error_during_func_exec_on_worker
#[test]
fn panic_in_a_job_ends_only_the_job() {
    let pool = ThreadPoolExecutor::new(2);
    for _ in 0..5 {
        let mut handle = pool.submit(|| -> u32 { panic!("in a job") });
        assert!(matches!(handle.join_timeout(HANG), Err(TaskError::Panicked(_))));
    }
    assert_eq!(joined(pool.submit(|| 1)), 1);
    pool.shutdown(Shutdown::Wait);
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_shutdown_deadlock
#[test]
fn job_that_fails_after_shutdown_began() {
    let pool = ThreadPoolExecutor::new(2);
    let (sender, receiver) = ropewalk::sync::channel::rendezvous::<()>();
    let handle = pool.submit(move || -> u32 {
        let _ = receiver.recv();
        panic!("after shutdown began")
    });
    pool.shutdown(Shutdown::Detach);
    drop(sender);
    pool.shutdown(Shutdown::Wait);
    assert!(handle.join().unwrap_err().is_panic());
}

/// Far more jobs at once than anything between submitter and worker could buffer.
///
/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full
#[test]
fn burst_of_jobs_before_any_worker_runs() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(1).build().unwrap();
    let handles: Vec<_> = (0..100).map(|n| pool.submit(move || n)).collect();
    assert_eq!(handles.into_iter().map(joined).sum::<i32>(), 4950);
    assert_eq!(pool.map(|n: i32| n, 0..100).chunk(1).buffer(100).count(), 100);
}
