//! Executors: they run tasks, each on its own model of concurrency.
//!
//! [`Submit`] says which jobs an executor can run: the *type of the job* carries what the model needs. A closure that is
//! `Send` runs on threads. A [`Call`](crate::Call), made by `#[ropewalk::task]`, runs on every model. Whatever an
//! executor ran, the handle is the same [`TaskHandle`].

pub(crate) mod borrowed;
mod completed;
mod map;
#[cfg(all(unix, feature = "greenlet"))]
pub(crate) mod roster;
mod scope;
pub mod thread_pool;
pub(crate) mod verbs;

pub use completed::{Completed, ReturnWhen, Waited, as_completed, wait, wait_async};
pub use map::{Chunk, ChunkJob, Map, TryMap};
pub use scope::Scope;
pub(crate) use thread_pool::dump;
pub use thread_pool::{
    BuildError, Builder, Progress, SizingDecision, SizingReason, Stats, ThreadPoolExecutor, Workers,
};

use crate::task::{Shutdown, TaskError, TaskHandle};
use std::fmt;

/// An executor that can run jobs of type `J`.
///
/// # Examples
///
/// One function for every executor that can run closures:
///
/// ```
/// use ropewalk::{Submit, ThreadPoolExecutor};
///
/// fn twice<E>(executor: &E) -> u32
/// where
///     E: Submit<fn() -> u32, Output = u32>,
/// {
///     let (a, b) = (executor.submit(|| 20), executor.submit(|| 1));
///     2 * (a.join().unwrap() + b.join().unwrap())
/// }
///
/// assert_eq!(twice(&ThreadPoolExecutor::new(2)), 42);
/// ```
pub trait Submit<J> {
    /// What the job's handle gives.
    type Output;

    /// Submits a job. Waits while the executor's queue has reached its limit, if it has one.
    ///
    /// After shutdown the handle is finished already, with [`TaskError::Shutdown`].
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait; use [`submit_async`](Self::submit_async) there.
    fn submit(&self, job: J) -> TaskHandle<Self::Output>;

    /// Submits a job if that needs no waiting.
    ///
    /// # Errors
    ///
    /// [`TrySubmitError`] with the job.
    fn try_submit(&self, job: J) -> Result<TaskHandle<Self::Output>, TrySubmitError<J>>;

    /// Submits a job in async code.
    fn submit_async(&self, job: J) -> impl Future<Output = TaskHandle<Self::Output>>;
}

/// What every executor has, whatever its jobs are.
pub trait Executor: Send + Sync {
    /// Takes no more jobs and ends the executor; waits as `how` says.
    ///
    /// A task of the executor itself cannot wait for its own end: called from there, this does not wait.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait.
    fn shutdown(&self, how: Shutdown);

    /// How many jobs can run at once.
    fn parallelism(&self) -> usize;

    /// Whether small items of a map are best sent several at a time, to run one after another. Not so where jobs wait
    /// rather than compute.
    #[doc(hidden)]
    fn splits_chunks(&self) -> bool {
        true
    }
}

/// Why a job was not submitted; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySubmitError<J> {
    /// The queue has reached its limit.
    Full(J),
    /// The executor was shut down.
    Shutdown(J),
}

impl<J> TrySubmitError<J> {
    /// The job.
    pub fn into_job(self) -> J {
        match self {
            Self::Full(job) | Self::Shutdown(job) => job,
        }
    }
}

impl<J> fmt::Display for TrySubmitError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "executor's queue has reached its limit",
            Self::Shutdown(_) => "executor was shut down",
        })
    }
}

impl<J> fmt::Debug for TrySubmitError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrySubmitError({self})")
    }
}

impl<J> std::error::Error for TrySubmitError<J> {}

/// Another error of the same kind, for the other items of one chunk.
fn same_again(error: &TaskError) -> TaskError {
    match error {
        TaskError::Shutdown => TaskError::Shutdown,
        TaskError::TimedOut => TaskError::TimedOut,
        TaskError::WorkerDied { reason } => TaskError::WorkerDied { reason: reason.clone() },
        _ => TaskError::Cancelled,
    }
}
