//! CPython's `test_deadlock`, and what its other suites have about pools of processes: a step that crashes, exits or fails where the
//! pool did not expect it, on the way there, in the function, on the way back, ends that task and leaves the pool at work.
//! With both ways to start a worker. (CPython's pools break; ours must go on.)

#[path = "support/children.rs"]
mod children;
#[path = "support/mod.rs"]
mod support;

use ropewalk::process::{Bytes, Output, Start};
use ropewalk::{ProcessPoolExecutor, Shutdown, TaskError, TaskHandle};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::process::ExitCode;
use support::{HANG, eventually, joined};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mishap {
    Crash,
    Exit,
    Error,
    Panic,
}

impl Mishap {
    fn happen<E>(self, error: impl FnOnce(&'static str) -> E) -> Result<(), E> {
        match self {
            Mishap::Crash => loop {
                let _ = kill_process(getpid(), Signal::SEGV);
            },
            Mishap::Exit => std::process::exit(1),
            Mishap::Error => Err(error("a mishap")),
            Mishap::Panic => panic!("a mishap"),
        }
    }
}

/// Has its mishap when it is made of bytes.
#[derive(Debug, Serialize)]
struct WhenRead(Mishap);

impl<'de> Deserialize<'de> for WhenRead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mishap = Mishap::deserialize(deserializer)?;
        mishap.happen(serde::de::Error::custom)?;
        Ok(Self(mishap))
    }
}

/// Has its mishap when it becomes bytes.
#[derive(Debug, Deserialize)]
struct WhenWritten(Mishap);

impl Serialize for WhenWritten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.happen(serde::ser::Error::custom)?;
        self.0.serialize(serializer)
    }
}

fn pools() -> [ProcessPoolExecutor; 2] {
    [Start::Zygote, Start::Exec].map(|start| {
        ProcessPoolExecutor::builder().max_workers(2).start(start).output(Output::Null).build().expect("a pool")
    })
}

fn outcome<T: Send>(mut handle: TaskHandle<T>) -> TaskError {
    handle.join_timeout(HANG).err().expect("it has no result")
}

/// The pool goes on, and ends.
fn goes_on(pool: &ProcessPoolExecutor) {
    assert_eq!(joined(pool.spawn(|n: u64| n + 1, 1)), 2);
    pool.shutdown(Shutdown::Wait);
    assert!(pool.worker_ids().is_empty());
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_error_at_task_pickle
fn on_the_way_out() {
    for pool in pools() {
        assert!(matches!(
            outcome(pool.spawn(|_: WhenWritten| 1, WhenWritten(Mishap::Error))),
            TaskError::Failed { .. }
        ));
        goes_on(&pool);
    }
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_{crash,exit,error}_at_task_unpickle
fn on_arrival() {
    for pool in pools() {
        let there = |mishap| outcome(pool.spawn(|_: WhenRead| 1, WhenRead(mishap)));
        assert!(matches!(there(Mishap::Crash), TaskError::WorkerDied { .. }));
        assert!(matches!(there(Mishap::Exit), TaskError::WorkerDied { .. }));
        assert!(matches!(there(Mishap::Error), TaskError::Failed { .. }));
        assert!(there(Mishap::Panic).is_panic());
        goes_on(&pool);
    }
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_{crash,exit}_during_func_exec_on_worker
fn in_the_function() {
    for pool in pools() {
        let calls = |mishap: Mishap| mishap.happen(str::to_owned).is_ok();
        assert!(matches!(outcome(pool.spawn(calls, Mishap::Crash)), TaskError::WorkerDied { .. }));
        assert!(matches!(outcome(pool.spawn(calls, Mishap::Exit)), TaskError::WorkerDied { .. }));
        assert!(!joined(pool.spawn(calls, Mishap::Error)));
        assert!(outcome(pool.spawn(calls, Mishap::Panic)).is_panic());
        goes_on(&pool);
    }
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_{crash,exit,error}_during_result_pickle_on_worker
fn on_the_way_back() {
    for pool in pools() {
        let back = |mishap| outcome(pool.spawn(WhenWritten as fn(Mishap) -> WhenWritten, mishap));
        assert!(matches!(back(Mishap::Crash), TaskError::WorkerDied { .. }));
        assert!(matches!(back(Mishap::Exit), TaskError::WorkerDied { .. }));
        assert!(matches!(back(Mishap::Error), TaskError::Failed { .. }));
        assert!(back(Mishap::Panic).is_panic());
        goes_on(&pool);
    }
}

/// (An exit there is one of this process, in Python an exception: here a panic stands for it.)
///
/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_{error,exit}_during_result_unpickle_in_result_handler
fn at_home() {
    for pool in pools() {
        let home = |mishap| outcome(pool.spawn(WhenRead as fn(Mishap) -> WhenRead, mishap));
        assert!(matches!(home(Mishap::Error), TaskError::Failed { .. }));
        assert!(home(Mishap::Panic).is_panic());
        goes_on(&pool);
    }
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_shutdown_deadlock_pickle
fn shutdown_while_tasks_go_wrong() {
    for pool in pools() {
        let handles = [Mishap::Error, Mishap::Panic].map(|mishap| pool.spawn(|_: WhenRead| 1, WhenRead(mishap)));
        let crash = pool.spawn(|_: WhenRead| 1, WhenRead(Mishap::Crash));
        pool.shutdown(Shutdown::Detach);
        pool.shutdown(Shutdown::Wait);
        assert!(handles.iter().all(TaskHandle::is_finished));
        assert!(matches!(outcome(crash), TaskError::WorkerDied { .. }));
    }
}

/// CPython: test_concurrent_futures.test_deadlock.ExecutorDeadlockTest.test_crash_big_data
fn crash_while_much_is_on_its_way() {
    for pool in pools() {
        let crashes = |bytes: Bytes| -> usize { if bytes[0] == 1 { std::process::abort() } else { bytes.len() } };
        let handles: Vec<_> = (0..10_u8).map(|n| pool.spawn(crashes, Bytes::from(vec![n; 2_000_000]))).collect();
        for (n, handle) in handles.into_iter().enumerate() {
            match n {
                1 => assert!(matches!(outcome(handle), TaskError::WorkerDied { .. })),
                _ => assert_eq!(joined(handle), 2_000_000),
            }
        }
        goes_on(&pool);
    }
}

/// CPython: test_concurrent_futures.test_init.FailingInitializerResourcesTest.test_{spawn,forkserver}
fn initializer_that_fails_leaves_nothing() {
    for start in [Start::Zygote, Start::Exec] {
        let fails = |(): ()| panic!("no seed");
        let builder = ProcessPoolExecutor::builder().max_workers(2).start(start).output(Output::Null);
        let pool = builder.initializer(fails, ()).build().expect("the first worker starts");
        assert!(matches!(outcome(pool.spawn(|n: u64| n, 1)), TaskError::WorkerDied { .. }));
        pool.shutdown(Shutdown::Wait);
        assert!(pool.worker_ids().is_empty());
    }
}

/// CPython: test_concurrent_futures.test_shutdown.ProcessPoolShutdownTest.test_{processes_terminate,context_manager_shutdown}
/// CPython: test_concurrent_futures.test_shutdown.ProcessPoolShutdownTest.test_{del_shutdown,shutdown_no_wait}
/// CPython: test_concurrent_futures.test_shutdown.ProcessPoolShutdownTest.test_shutdown_gh_132969_case_{1,2}
fn processes_end_with_their_pool() {
    let are_gone = |ids: &[u32]| ids.iter().all(|id| !std::path::Path::new(&format!("/proc/{id}")).exists());
    for how in [Some(Shutdown::Wait), Some(Shutdown::Detach), Some(Shutdown::Kill), None] {
        for pool in pools() {
            let results: Vec<u64> = pool.map(|n: u64| n * 2, 0..30).collect();
            assert_eq!(results.len(), 30);
            // One is in the middle of something.
            let last = pool.spawn(|n: u64| (ropewalk::sleep(std::time::Duration::from_millis(n)), n).1, 30);
            let ids = pool.worker_ids();
            match how {
                Some(how) => pool.shutdown(how),
                None => drop(pool),
            }
            eventually("the processes are gone", || are_gone(&ids));
            assert!(how == Some(Shutdown::Kill) || joined(last) == 30);
        }
    }
}

fn main() -> ExitCode {
    ropewalk::init();
    children::run(&tests! {
        on_the_way_out on_arrival in_the_function on_the_way_back at_home shutdown_while_tasks_go_wrong
        crash_while_much_is_on_its_way initializer_that_fails_leaves_nothing processes_end_with_their_pool
    })
}
