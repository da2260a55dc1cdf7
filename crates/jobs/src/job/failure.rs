//! Why a job has no result, in a form that travels.

use super::{JobId, WorkerId};
use crate::state::Event;
use ropewalk_core::task::{Panic, TaskError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of failures, each with its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The task returned an error.
    Error,
    /// The task panicked.
    Panic,
    /// It took longer than its timeout.
    TimedOut,
    /// The arguments do not fit the task.
    Payload,
    /// The result is longer than the limit, or cannot be written as JSON.
    Result,
    /// No worker that took it knows its task.
    UnknownTask,
    /// Its worker crashed too often while it ran.
    Poison,
    /// Its worker crashed, or its lease ran out otherwise.
    Crash,
    /// A job it needed ended otherwise.
    Dependency,
}

impl FailureKind {
    /// As it is written in tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::TimedOut => "timed-out",
            Self::Payload => "payload",
            Self::Result => "result",
            Self::UnknownTask => "unknown-task",
            Self::Poison => "poison",
            Self::Crash => "crash",
            Self::Dependency => "dependency",
        }
    }
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// In words.
    pub message: String,
    /// The type of the error, if the task returned one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub type_name: String,
    /// The texts of the errors behind it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

/// The longest text of a failure that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut end = MESSAGE_BYTES_MAX;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push_str(" …");
        }
        Self { kind, message, type_name: String::new(), chain: Vec::new() }
    }

    /// A job it needed ended otherwise.
    pub(crate) fn broken_need(on: &JobId) -> Self {
        Self::new(FailureKind::Dependency, format!("job {on}, which it needed, ended otherwise"))
    }

    /// Its lease ran out for the `crashes`-th time; nothing if it was to be stopped anyway.
    pub(crate) fn crashed(worker: Option<&WorkerId>, event: Event, crashes: u32) -> Option<Self> {
        let worker = worker.map_or("its worker", WorkerId::as_str);
        match event {
            Event::Poison => Some(Self::new(
                FailureKind::Poison,
                format!(
                    "its worker ended or hung while it ran it, {crashes} times (the last was {worker}): look at what the \
                         job does to its process, then requeue it"
                ),
            )),
            Event::Expire => {
                Some(Self::new(FailureKind::Crash, format!("worker {worker} ended or hung while it ran it")))
            }
            _ => None,
        }
    }

    /// What a task's end means for its job.
    pub fn of_task(error: &TaskError) -> Self {
        match error {
            TaskError::Failed { type_name, message, chain } => {
                Self { type_name: type_name.clone(), chain: chain.clone(), ..Self::new(FailureKind::Error, message) }
            }
            TaskError::Panicked(panic) => Self::new(FailureKind::Panic, panic.message()),
            TaskError::TimedOut => Self::new(FailureKind::TimedOut, "time limit passed before the task was finished"),
            other => Self::new(FailureKind::Error, other.to_string()),
        }
    }

    /// What the handle of its job says.
    pub fn into_task_error(self) -> TaskError {
        match self.kind {
            FailureKind::Panic => TaskError::Panicked(Panic::from_payload(Box::new(self.message))),
            FailureKind::TimedOut => TaskError::TimedOut,
            FailureKind::Poison | FailureKind::Crash => TaskError::worker_died(self.message),
            kind => TaskError::Failed {
                type_name: if self.type_name.is_empty() { kind.word().to_owned() } else { self.type_name },
                message: self.message,
                chain: self.chain,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.message)?;
        self.chain.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}
