//! Executors: they run tasks, each on its own model of concurrency.
//!
//! [`Submit`] says which jobs an executor can run: the *type of the job* carries what the model needs. A closure that is
//! `Send` runs on threads, on greenlets and inline; a future on the async executor. A [`Call`](crate::Call), made by
//! `#[ropewalk::task]`, runs on every model. Whatever an executor ran, the handle is the same [`TaskHandle`].
//!
//! The verbs are written once, over [`Submit`] and [`Executor`]: `run_all`, `map`, `for_each`, [`Executor::timeout`],
//! [`as_completed`], [`wait`], [`Scope`], [`Pipeline`]. The [`InlineExecutor`] is the model that the others are measured by.

pub(crate) mod borrowed;
mod completed;
mod inline;
pub(crate) mod map;
pub mod pipeline;
#[cfg_attr(
    not(all(unix, feature = "greenlet")),
    expect(dead_code, reason = "only greenlets and async tasks wait for a place, and kill")
)]
pub(crate) mod roster;
pub(crate) mod scope;
pub mod thread_pool;
mod timeout;
pub(crate) mod verbs;

pub use completed::{Completed, ReturnWhen, Waited, as_completed, wait, wait_async};
pub use inline::InlineExecutor;
pub use map::{Chunk, ChunkFuture, ChunkJob, Map, TryMap};
pub use pipeline::Pipeline;
pub use scope::Scope;
pub(crate) use thread_pool::dump;
pub use thread_pool::{
    BuildError, Builder, IntoParts, Progress, SizingDecision, SizingReason, Stats, ThreadPoolExecutor, Workers,
};
pub use timeout::WithTimeout;
pub use verbs::Maps;

use crate::task::{Shutdown, TaskError, TaskHandle};
use std::fmt;
use std::time::Duration;

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
///
/// Given an executor that cannot, the function does not compile:
///
/// ```compile_fail,E0277
/// use ropewalk::{AsyncExecutor, Submit};
///
/// fn once<E: Submit<fn() -> u32, Output = u32>>(executor: &E) -> u32 {
///     executor.submit(|| 42).join().unwrap()
/// }
///
/// once(&AsyncExecutor::new(2)); // `fn() -> u32` is not a future
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run a job of type `{J}`",
    label = "not a job for `{Self}`",
    note = "threads, greenlets and the inline executor take closures `FnOnce() -> T` that are `Send` and `'static`; \
            `AsyncExecutor` takes futures, `async move {{ .. }}`, that are `Send` and `'static`",
    note = "a `Call`, made by `#[ropewalk::task]` as `function::call(arguments)`, runs on every executor"
)]
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
///
/// Our executors have these verbs as methods of their own as well, so the trait is imported where code is to work on any of
/// them.
///
/// # Examples
///
/// One function for every executor that can run a task's calls, wherever that runs them:
///
/// ```
/// # #[cfg(feature = "macros")] {
/// use ropewalk::{Call, Executor, InlineExecutor, Submit, ThreadPoolExecutor};
///
/// #[ropewalk::task]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
///
/// fn everywhere<E: Executor + Submit<Call<double, u64>, Output = u64>>(executor: &E) -> u64 {
///     executor.run_all((1..=3).map(double::call)).into_iter().map(Result::unwrap).sum()
/// }
///
/// assert_eq!(everywhere(&ThreadPoolExecutor::new(2)), 12);
/// assert_eq!(everywhere(&InlineExecutor::new()), 12);
/// # }
/// ```
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

    /// Runs all jobs, of whichever kind this executor takes, and returns their results in order.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    fn run_all<J, T>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<T, TaskError>>
    where
        Self: Sized + Submit<J, Output = T>,
        T: Send + 'static,
    {
        verbs::run_all(self, jobs)
    }

    /// Calls `function` for each item and gives the results in order, as they are asked for; see
    /// [`ThreadPoolExecutor::map`].
    fn map<F, I, R>(&self, function: F, items: I) -> Map<'_, Self, F, I::IntoIter, R>
    where
        Self: Sized + Maps<R>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        verbs::map(self, function, items)
    }

    /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
    fn try_map<F, I, R>(&self, function: F, items: I) -> TryMap<'_, Self, F, I::IntoIter, R>
    where
        Self: Sized + Maps<R>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        verbs::try_map(self, function, items)
    }

    /// Calls `function` for each item and waits until all are done; what it returns is dropped.
    ///
    /// # Panics
    ///
    /// With the first panic of `function`, after what was under way has ended. In async code.
    #[track_caller]
    fn for_each<F, I, R>(&self, function: F, items: I)
    where
        Self: Sized + Maps<()>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
    {
        verbs::for_each(self, function, items);
    }

    /// This executor with a time limit for each job, which begins when the job is submitted.
    ///
    /// A job that has not started when its limit passes never does. One that runs is asked to stop: its waits end by
    /// unwinding, [`is_cancelled`](crate::task::is_cancelled) tells a computation, and a future is dropped. Its handle says
    /// [`TaskError::TimedOut`] then, when the job has ended or its turn comes; a job that ends well all the same is not too
    /// late. What a job submits itself has no limit of this kind.
    ///
    /// In a `map` each item has the whole limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk::{Submit, TaskError, ThreadPoolExecutor, sync::Event};
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let waits_for_ever = pool.timeout(Duration::from_millis(20)).submit(|| Event::new().wait());
    /// assert!(matches!(waits_for_ever.join(), Err(TaskError::TimedOut)));
    /// ```
    #[doc(alias = "deadline")]
    fn timeout(&self, limit: Duration) -> WithTimeout<'_, Self>
    where
        Self: Sized,
    {
        WithTimeout::new(self, limit)
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
        TaskError::WorkerDied { reason, status, stderr, likely_oom } => TaskError::WorkerDied {
            reason: reason.clone(),
            status: *status,
            stderr: stderr.clone(),
            likely_oom: *likely_oom,
        },
        _ => TaskError::Cancelled,
    }
}
