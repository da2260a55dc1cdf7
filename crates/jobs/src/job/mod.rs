//! What a job is: plain data, without I/O.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`NewJob`] | what is enqueued |
//! | [`Lease`] | what a worker gets: the job and the execution that may settle it |
//! | [`Outcome`] | what an execution says at its end |
//! | [`Job`] | everything the queue knows of a job |
//!
//! Ids and names are checked where they come in, so a broker never sees one that it could not store. The limits have units in
//! their names.

mod failure;
mod id;
mod time;

pub use failure::{Failure, FailureKind};
pub use id::{ExecId, JobId, Problem, WorkerId};
pub use time::Time;
pub(crate) use time::millis_up;

use crate::dependency::Need;
use crate::retry::Retry;
use crate::state::State;
use crate::unique::Unique;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest payload of a job, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// The longest result that is kept, in bytes. A job whose result is longer fails.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// The longest name of a queue, a task or a key, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// How many crashes of its worker make a job poison, unless it says otherwise.
pub const CRASHES_MAX: u32 = 3;
/// How long a result is kept, unless the job says otherwise.
pub const RESULT_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long a job that failed, was stopped or cancelled is kept, unless it says otherwise.
pub const FAILURE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// The queue of jobs that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// The last place at or before `at` where a character ends. (std has it since Rust 1.91.)
pub(crate) fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The first place at or behind `at` where a character begins.
pub(crate) fn ceil_char(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// What is seldom asked for, kept together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What happens after a failure.
    #[serde(skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// How long an execution may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long the result is kept, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ttl_ms: Option<u64>,
    /// How long the job is kept when it ends otherwise, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_ttl_ms: Option<u64>,
    /// How many crashes make it poison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crashes_max: Option<u32>,
    /// How much memory its process may have while it runs, in bytes of addresses; where it runs in a process of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Whatever its author wants to see beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
    /// What only python-rq has a rule for; a broker in its form keeps it, and others refuse it.
    #[serde(skip_serializing_if = "is_default")]
    pub rq: RqOptions,
}

/// What is kept by python-rq's rules, whoever runs the job: see [`Remote`](crate::Remote).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RqOptions {
    /// After each end that was good it runs again, so often, each time after so many seconds: the last of them counts for the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<(u32, Vec<u64>)>,
    /// At most so many with this key are in their queue or run; rq 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Limit>,
    /// It is listed in this group of rq's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Options {
    /// How long an execution may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// How long the job is kept when it has ended in `state`.
    pub fn kept(&self, state: State) -> Duration {
        match state {
            State::Done => self.result_ttl_ms.map_or(RESULT_TTL, Duration::from_millis),
            _ => self.failure_ttl_ms.map_or(FAILURE_TTL, Duration::from_millis),
        }
    }

    /// How many crashes make it poison.
    pub fn crashes_max(&self) -> u32 {
        self.crashes_max.unwrap_or(CRASHES_MAX)
    }
}

/// At most so many jobs with this key run at once, over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is compared, over all queues.
    pub key: String,
    /// How many.
    pub at_once: u32,
}

/// A job that is to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Chosen by whoever enqueues, so that an enqueue whose reply was lost can be said again.
    pub id: JobId,
    /// Where it waits for a worker.
    pub queue: String,
    /// The stable name of its task.
    pub task: String,
    /// The arguments: a JSON array.
    pub payload: String,
    /// Higher goes first, within its queue.
    pub priority: i32,
    /// Not before then.
    pub due: Option<Time>,
    /// Not before these have ended.
    pub needs: Vec<Need>,
    /// Not twice.
    pub unique: Option<Unique>,
    /// Not too many at once.
    pub limit: Option<Limit>,
    /// The rest.
    pub options: Options,
}

impl NewJob {
    /// A job of `task` with a fresh id on the default queue. The payload is a JSON array.
    pub fn new(task: impl Into<String>, payload: impl Into<String>) -> Self {
        Self {
            id: JobId::random(),
            queue: DEFAULT_QUEUE.to_owned(),
            task: task.into(),
            payload: payload.into(),
            priority: 0,
            due: None,
            needs: Vec::new(),
            unique: None,
            limit: None,
            options: Options::default(),
        }
    }

    /// Whether a store can keep it as it is.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    pub fn check(&self) -> Result<(), Problem> {
        id::check_name("queue", &self.queue)?;
        id::check_name("task", &self.task)?;
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Problem::new(format!(
                "the arguments of job {} are {} bytes long, and {PAYLOAD_BYTES_MAX} is the limit: put them into a file or \
                 a database and pass where they are",
                self.id,
                self.payload.len()
            )));
        }
        if let Some(unique) = &self.unique {
            id::check_name("unique key", &unique.key)?;
        }
        if let Some(limit) = &self.limit {
            id::check_name("limit key", &limit.key)?;
            if limit.at_once == 0 {
                return Err(Problem::new(format!("job {} could never run: its limit allows 0 at once", self.id)));
            }
        }
        if let Some(group) = &self.options.rq.group {
            id::check_name("group", group)?;
        }
        if let Some(limit) = &self.options.rq.rate_limit {
            id::check_name("rate limit key", &limit.key)?;
            if limit.at_once == 0 {
                return Err(Problem::new(format!("job {} could never run: its rate limit allows 0 at once", self.id)));
            }
        }
        if self.needs.iter().any(|need| need.id == self.id) {
            return Err(Problem::new(format!("job {} needs itself and could never run", self.id)));
        }
        Ok(())
    }
}

/// A job in the hands of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The execution, which alone may settle it.
    pub exec: ExecId,
    /// The queue it came from.
    pub queue: String,
    /// The stable name of its task.
    pub task: String,
    /// The arguments: a JSON array.
    pub payload: String,
    /// How often it failed before.
    pub failures: u32,
    /// How often its worker crashed before.
    pub crashes: u32,
    /// The rest.
    pub options: Options,
}

impl Lease {
    /// Which try this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// What an execution says about itself at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The job.
    pub id: JobId,
    /// The execution.
    pub exec: ExecId,
    /// How it ended.
    pub end: End,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Well, with this result (JSON).
    Done(String),
    /// Badly, for the last time.
    Failed(Failure),
    /// Badly, and it is to be tried again.
    Retry {
        /// How long to wait before.
        after: Duration,
        /// Why it failed.
        failure: Failure,
    },
    /// Not at all: it goes back to the front, and the attempt does not count.
    Release,
    /// Not here: it goes back for later, and the attempt does not count.
    Snooze {
        /// How long to wait before.
        after: Duration,
        /// Why.
        failure: Failure,
    },
    /// Because somebody asked it to.
    Stopped,
}

impl End {
    /// What it does to the job.
    pub fn event(&self) -> crate::state::Event {
        use crate::state::Event;
        match self {
            Self::Done(_) => Event::Succeed,
            Self::Failed(_) => Event::Fail,
            Self::Retry { .. } => Event::Retry,
            Self::Release => Event::Release,
            Self::Snooze { .. } => Event::Snooze,
            Self::Stopped => Event::Stop,
        }
    }
}

/// How far an execution has come, in its own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0 to 1.
    pub done: f64,
    /// Where it is.
    pub message: String,
}

/// Everything the queue knows of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Where it is in its life.
    pub state: State,
    /// Its queue.
    pub queue: String,
    /// The stable name of its task.
    pub task: String,
    /// The arguments: a JSON array.
    pub payload: String,
    /// Higher goes first.
    pub priority: i32,
    /// Not before then.
    pub due: Option<Time>,
    /// How many jobs it still waits for.
    pub waits_for: u32,
    /// How often it failed.
    pub failures: u32,
    /// How often its worker crashed.
    pub crashes: u32,
    /// The execution that holds its lease, or settled it last.
    pub exec: Option<ExecId>,
    /// Whose execution that is.
    pub worker: Option<WorkerId>,
    /// Somebody asked the execution to stop.
    pub stop: bool,
    /// When it was accepted.
    pub enqueued: Time,
    /// When its last execution began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// When it is forgotten.
    pub expires: Option<Time>,
    /// What it returned: JSON.
    pub result: Option<String>,
    /// Why it failed last.
    pub failure: Option<Failure>,
    /// How far it has come.
    pub progress: Option<Progress>,
    /// The rest.
    pub options: Options,
}
