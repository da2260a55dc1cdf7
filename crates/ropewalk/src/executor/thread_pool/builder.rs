//! What can be chosen about a thread pool.

use super::ThreadPoolExecutor;
use super::pool::Pool;
use super::sizing::Workers;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// How far a pool has come; given to [`Builder::on_progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Jobs submitted so far.
    pub submitted: usize,
    /// Jobs that have ended, in whichever way.
    pub finished: usize,
    /// Those among them that did not end well.
    pub failed: usize,
}

pub(super) type Initializer = dyn Fn() + Send + Sync;
pub(super) type OnProgress = dyn Fn(Progress) + Send + Sync;

/// The most workers a pool may have: more threads than this help nothing and take the system down.
pub(super) const WORKERS_MAX: usize = 32_768;

/// Chooses what a [`ThreadPoolExecutor`] is like.
#[must_use = "nothing happens before `build`"]
pub struct Builder {
    pub(super) max_workers: Workers,
    pub(super) thread_name_prefix: String,
    pub(super) initializer: Option<Arc<Initializer>>,
    pub(super) queue_limit: Option<usize>,
    pub(super) daemon: bool,
    pub(super) stack_size: Option<usize>,
    pub(super) on_progress: Option<Arc<OnProgress>>,
    /// Another directory than the system's, for tests.
    pub(super) threads_described_in: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: Workers::Auto,
            thread_name_prefix: "ropewalk-pool".to_owned(),
            initializer: None,
            queue_limit: None,
            daemon: false,
            stack_size: None,
            on_progress: None,
            threads_described_in: None,
        }
    }

    /// How many jobs may run at once: a number, or [`Workers`]; [`Workers::Auto`] if nothing is said.
    ///
    /// # Examples
    ///
    /// A limit that what stands behind the jobs can bear, here a database with 20 connections, is one line:
    ///
    /// ```
    /// # use ropewalk::{Submit, ThreadPoolExecutor};
    /// let queries = ThreadPoolExecutor::builder().max_workers(20).build()?;
    /// # assert_eq!(queries.submit(|| 1 + 1).join()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_workers(mut self, workers: impl Into<Workers>) -> Self {
        self.max_workers = workers.into();
        self
    }

    /// Names the threads `prefix-0`, `prefix-1` and so on; panics and profilers show it.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = prefix.into();
        self
    }

    /// Runs on each worker thread before its first job.
    ///
    /// If it panics, the pool is broken, as in Python: what was submitted and what will be ends with
    /// [`TaskError::WorkerDied`](crate::TaskError::WorkerDied), which carries the panic's text.
    pub fn initializer(mut self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.initializer = Some(Arc::new(initializer));
        self
    }

    /// How many jobs may be submitted and not started; `submit` then waits and `try_submit` refuses. No limit if
    /// nothing is said.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs);
        self
    }

    /// Lets the process end while jobs run, and makes dropping the pool not wait.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// The size of each thread's stack in bytes; 2 MiB if nothing is said.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Calls `callback` whenever a job has ended, on the thread that ended it. A panic in it is reported by the panic
    /// hook and goes no further.
    pub fn on_progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(callback));
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for numbers with which it could not work.
    pub fn build(self) -> Result<ThreadPoolExecutor, BuildError> {
        let (min, max) = match self.max_workers {
            Workers::Auto => (1, 1),
            Workers::Fixed(workers) => (workers, workers),
            Workers::Between { min, max } => (min, max),
        };
        match self.max_workers {
            Workers::Fixed(0) => return Err(BuildError::NoWorkers),
            Workers::Between { min: 0, max } => return Err(BuildError::MinIsZero { max }),
            _ => {}
        }
        if min > max {
            return Err(BuildError::MinAboveMax { min, max });
        }
        if max > WORKERS_MAX {
            return Err(BuildError::TooManyWorkers(max));
        }
        if self.queue_limit == Some(0) {
            return Err(BuildError::NoQueue);
        }
        if self.thread_name_prefix.contains('\0') {
            return Err(BuildError::BadName);
        }
        crate::io::watch_for_async();
        Ok(ThreadPoolExecutor::from_pool(Pool::new(self)))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("max_workers", &self.max_workers)
            .field("thread_name_prefix", &self.thread_name_prefix)
            .field("queue_limit", &self.queue_limit)
            .field("daemon", &self.daemon)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Why a pool could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_workers` is 0.
    NoWorkers,
    /// The smallest number of workers is 0.
    MinIsZero {
        /// The greatest that was asked for.
        max: usize,
    },
    /// The smallest number of workers is greater than the greatest.
    MinAboveMax {
        /// The smallest that was asked for.
        min: usize,
        /// The greatest that was asked for.
        max: usize,
    },
    /// `max_workers` is more than any system runs.
    TooManyWorkers(usize),
    /// `queue_limit` is 0.
    NoQueue,
    /// The name prefix contains a NUL byte.
    BadName,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("max_workers is 0: a thread pool needs at least one worker"),
            Self::MinIsZero { max } => {
                write!(f, "max_workers is between 0 and {max}: min must be at least 1, since a pool keeps a worker")
            }
            Self::MinAboveMax { min, max } => {
                write!(f, "max_workers is between {min} and {max}: min must not be greater than max")
            }
            Self::TooManyWorkers(workers) => {
                write!(f, "max_workers is {workers}: a thread pool has at most {WORKERS_MAX} workers")
            }
            Self::NoQueue => f.write_str("queue_limit is 0: a job must be queued before a worker can take it"),
            Self::BadName => f.write_str("thread_name_prefix contains a NUL byte, which no thread name can"),
        }
    }
}

impl std::error::Error for BuildError {}
