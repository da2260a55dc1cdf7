//! How a task can end.

use crate::park::{Cancelled, Reason};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::process::ExitStatus;

/// How a task ended, as told to callbacks: the value itself goes to whoever joins.
pub type Outcome<'a> = Result<(), &'a TaskError>;

/// Why a task has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// It was cancelled: before it started, or while it waited.
    Cancelled,
    /// It panicked.
    Panicked(Panic),
    /// It returned an error.
    Failed {
        /// The type of the error.
        type_name: String,
        /// The error's text.
        message: String,
        /// The texts of the errors behind it, nearest first.
        chain: Vec<String>,
    },
    /// A time limit passed: that of the task, or that of the wait for it (then the handle stays usable).
    TimedOut,
    /// The executor was shut down before the task could start.
    Shutdown,
    /// The worker that ran it is gone.
    WorkerDied {
        /// What is known about its end, in words.
        reason: String,
        /// How its process ended; None where it is not known, and where the worker was no process.
        status: Option<ExitStatus>,
        /// The last that the process said on its standard error, where that was kept.
        stderr: String,
        /// The system was out of memory and killed a process at that time; most likely this one.
        likely_oom: bool,
    },
    /// The result was taken before by a timed join.
    ResultTaken,
}

impl TaskError {
    /// A [`WorkerDied`](Self::WorkerDied) of which there is nothing more to tell. For executors.
    #[doc(hidden)]
    pub fn worker_died(reason: impl Into<String>) -> Self {
        Self::WorkerDied { reason: reason.into(), status: None, stderr: String::new(), likely_oom: false }
    }

    /// Goes on with the panic of the task; other errors become a panic with their text.
    ///
    /// # Panics
    ///
    /// Always.
    #[track_caller]
    pub fn resume(self) -> ! {
        match self {
            Self::Panicked(panic) => std::panic::resume_unwind(panic.into_payload()),
            other => panic!("{other}"),
        }
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// What an unwind that reached the base of a task means. For executors.
    #[doc(hidden)]
    pub fn of_unwind(payload: Box<dyn Any + Send>) -> Self {
        match payload.downcast_ref::<Cancelled>() {
            Some(cancelled) => Self::of_reason(cancelled.reason),
            None => Self::Panicked(Panic::from_payload(payload)),
        }
    }

    /// What it means for a task that it was interrupted.
    pub(crate) fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::Deadline => Self::TimedOut,
            Reason::Cancelled => Self::Cancelled,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("task was cancelled"),
            Self::Panicked(panic) => write!(f, "task panicked: {}", panic.message),
            Self::Failed { type_name, message, chain } => {
                write!(f, "task failed: {message}")?;
                for cause in chain {
                    write!(f, ": {cause}")?;
                }
                write!(f, " ({type_name})")
            }
            Self::TimedOut => f.write_str("time limit passed before the task was finished"),
            Self::Shutdown => f.write_str("executor was shut down before the task could start"),
            Self::WorkerDied { reason, stderr, .. } => {
                write!(f, "worker died while it ran the task: {reason}")?;
                if stderr.is_empty() { Ok(()) } else { write!(f, "; it said last:\n{stderr}") }
            }
            Self::ResultTaken => f.write_str("task's result was taken before"),
        }
    }
}

impl Error for TaskError {}

/// A caught panic.
pub struct Panic {
    message: String,
    payload: Unshared<Box<dyn Any + Send>>,
}

/// A value that is reached by value only, so that sharing it shares nothing.
struct Unshared<T>(T);

// SAFETY: `&Unshared` gives no access to the value.
unsafe impl<T> Sync for Unshared<T> {}

impl Panic {
    /// A panic that was caught with [`std::panic::catch_unwind`].
    pub fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        Self { message: panic_message(&*payload), payload: Unshared(payload) }
    }

    /// The text of the panic, if it had one.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the task panicked with; for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.0
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message).finish()
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a payload that is not text)".to_owned()
    }
}

/// Turns what a task function returned into what its handle gives: an `Err` becomes [`TaskError::Failed`].
///
/// # Errors
///
/// [`TaskError::Failed`] with the type's name, the text and the chain of sources.
pub fn into_outcome<T, E>(result: Result<T, E>) -> Result<T, TaskError>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    result.map_err(|error| {
        let error: Box<dyn Error + Send + Sync> = error.into();
        let mut chain = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push(cause.to_string());
            source = cause.source();
        }
        TaskError::Failed { type_name: std::any::type_name::<E>().to_owned(), message: error.to_string(), chain }
    })
}
