//! **Find the bottleneck, choose the model, run it: the same code from one thread to a fleet.**
//!
//! ropewalk lays the ways of doing many things at once into one library: threads and thread pools, greenlets and async
//! tasks, and processes; a job queue stands on it (`ropewalk-jobs`). One set of primitives blocks correctly on all of them,
//! one [`TaskHandle`] waits for work on any of them, and one [`#[task]`](macro@task) function runs on any of them.
//!
//! ```
//! use ropewalk::{ThreadPoolExecutor, Submit};
//!
//! let pool = ThreadPoolExecutor::new(4);
//!
//! // One task, one handle.
//! let answer = pool.submit(|| 6 * 7);
//! assert_eq!(answer.join().unwrap(), 42);
//!
//! // A lazy, ordered map over an endless iterator: only a few items are ever under way.
//! let squares: Vec<u64> = pool.map(|n| n * n, 1u64..).take(3).collect();
//! assert_eq!(squares, [1, 4, 9]);
//!
//! // Borrowed data, and everything finished when the scope ends.
//! let words = vec!["hemp", "jute"];
//! let total = pool.scope(|scope| {
//!     let counts: Vec<_> = words.iter().map(|word| scope.submit(|| word.len())).collect();
//!     counts.into_iter().map(|count| count.join().unwrap()).sum::<usize>()
//! });
//! assert_eq!(total, 8);
//! ```
//!
//! # Where to look
//!
//! | I want | look at |
//! | --- | --- |
//! | run work on other threads and get its results | [`ThreadPoolExecutor`], [`Submit`] |
//! | the same jobs one after another, without concurrency | [`InlineExecutor`] |
//! | producer, stages and consumer, each stage on its own executor | [`Pipeline`] |
//! | a thread of my own, daemon or not | [`thread`] |
//! | many strands that wait, on one thread | `run`, `greenlet`, `GreenletExecutor` |
//! | futures on several cores | `AsyncExecutor` |
//! | locks, events, queues, channels | [`sync`] |
//! | sockets that greenlets and threads share | [`net`] |
//! | run work in other processes, which may crash | `ProcessPoolExecutor`, `Process` |
//! | share memory, locks and channels between processes | `ipc` |
//! | run another program | `subprocess` |
//! | cancel work, set deadlines | [`CancelToken`], [`TaskHandle::cancel`] |
//! | a function that can run on every model | [`macro@task`], [`Call`] |
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `macros` | yes | [`#[ropewalk::main]`](macro@main) and [`#[ropewalk::task]`](macro@task) |
//! | `greenlet` | yes | greenlets, the async executor, and [`block_on`] for futures of any crate; on Unix |
//! | `net` | yes | blocking-style sockets for greenlets and threads; on Unix |
//! | `subprocess` | no | running other programs: deadlines, pipelines, output without a deadlock; on Unix |
//! | `process` | no | a pool of processes, in which a crash costs one task; on Linux |
//! | `tracing` | no | a `tracing` span around each task, a child of the span in which it was submitted; `in_span` for greenlets |
//! | `tokio` | with `greenlet` | recognises tokio's threads, so that a blocking call there is an error and not a stopped runtime |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod executor;
#[cfg(all(unix, feature = "greenlet"))]
pub mod greenlet;
mod here;
mod io;
#[cfg(all(unix, feature = "net"))]
pub mod net;
#[cfg(all(target_os = "linux", feature = "process"))]
pub mod process;
mod spans;
#[cfg(all(unix, feature = "subprocess"))]
pub mod subprocess;
pub mod thread;

pub use ropewalk_core::{sync, task};

pub use executor::{
    Executor, InlineExecutor, Pipeline, ReturnWhen, Submit, ThreadPoolExecutor, TrySubmitError, Waited, Workers,
    as_completed, wait, wait_async,
};
#[cfg(all(unix, feature = "greenlet"))]
pub use greenlet::{AsyncExecutor, GreenletExecutor, dump_on_sigquit, run};
pub use here::{dump, sleep, spawn, yield_now};
pub use io::block_on;
#[cfg(all(target_os = "linux", feature = "process"))]
pub use process::{Process, ProcessPoolExecutor, init, ipc};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use spans::in_span;
pub use task::{Call, CancelToken, Interrupted, JobContext, Shutdown, State, TaskError, TaskHandle};

#[cfg(feature = "macros")]
pub use ropewalk_macros::{main, task};

/// What the expansions of our macros name, and our other crates; not for others.
#[doc(hidden)]
pub mod __private {
    #[cfg(all(unix, feature = "greenlet"))]
    pub use crate::here::run_main_async;
    pub use crate::here::{init, run_main};

    /// What a thread of a pool runs that finds its work itself, with the span of a job of the pool.
    pub fn pool_job<F: FnOnce() -> T, T>(job: F) -> impl FnOnce() -> Result<T, crate::TaskError> {
        crate::spans::closure(crate::spans::On::ThreadPool, job)
    }
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub use crate::process::{has_worker_test, worker_test};
    pub use ropewalk_core::task::into_outcome;
}
