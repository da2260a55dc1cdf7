//! What a task can ask for besides its arguments: the state of its worker, and news about its own run.
//!
//! Neither is part of a call, so neither travels: whoever runs the task lends both. A task that is called outside of a worker
//! finds the context of [`JobContext::outside`]: a first attempt without a deadline, whose progress nobody sees.

use super::TaskError;
use crate::park;
use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

/// Something that all tasks of a worker share, such as a pool of database connections.
///
/// A leading parameter of a `#[ropewalk::task]` function; it is no argument of the call.
///
/// # Examples
///
/// ```
/// use ropewalk_core::task::{JobContext, State, States};
///
/// let states = States::new().with(String::from("postgres://db"));
/// let context = JobContext::outside().with_states(states.into());
/// let url: State<String> = context.state()?;
/// assert_eq!(url.as_str(), "postgres://db");
/// # Ok::<(), ropewalk_core::task::TaskError>(())
/// ```
pub struct State<T: ?Sized>(Arc<T>);

impl<T: ?Sized> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&&*self.0).finish()
    }
}

/// The states of a worker, one of each type.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this one; in the place of another of its type.
    pub fn with<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.0.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("count", &self.0.len()).finish()
    }
}

/// Who hears how a task is getting on.
pub trait Listener: Send + Sync {
    /// It has come so far, from 0 to 1, and does this now.
    fn progress(&self, done: f64, message: &str);

    /// It has this to say, for people. Said nothing, nobody keeps it.
    fn log(&self, _line: &str) {}
}

/// The run that a task is in: which attempt, until when, and a way to say how far it has come.
///
/// A leading parameter `&JobContext` of a `#[ropewalk::task]` function; it is no argument of the call.
///
/// # Examples
///
/// ```
/// use ropewalk_core::task::JobContext;
///
/// fn resize_all(job: &JobContext, names: Vec<String>) -> usize {
///     for (n, name) in names.iter().enumerate() {
///         if job.is_cancelled() {
///             break;
///         }
///         job.progress(n as f64 / names.len() as f64, name);
///     }
///     names.len()
/// }
///
/// assert_eq!(resize_all(&JobContext::outside(), vec!["a.png".into()]), 1);
/// ```
#[derive(Clone)]
pub struct JobContext {
    id: Option<Arc<str>>,
    attempt: u32,
    deadline: Option<SystemTime>,
    states: Arc<States>,
    listener: Option<Arc<dyn Listener>>,
}

impl JobContext {
    /// That of a task which no worker runs.
    pub fn outside() -> Self {
        Self { id: None, attempt: 1, deadline: None, states: Arc::default(), listener: None }
    }

    /// The same, with the states of a worker.
    #[must_use]
    pub fn with_states(self, states: Arc<States>) -> Self {
        Self { states, ..self }
    }

    /// The same, as this attempt of this job.
    #[must_use]
    pub fn of_job(self, id: &str, attempt: u32, deadline: Option<SystemTime>, listener: Arc<dyn Listener>) -> Self {
        Self { id: Some(id.into()), attempt, deadline, listener: Some(listener), ..self }
    }

    /// The id of the job, if a worker runs one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Which attempt this is, counted from 1. Above 1, an earlier one failed or its worker crashed, somewhere on its way.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When it is to be over.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.deadline
    }

    /// Whether it was asked to end: stopped by somebody, too late, or its worker shuts down. Waits on anything of ropewalk
    /// end by themselves then; a computation asks.
    pub fn is_cancelled(&self) -> bool {
        park::is_cancelled()
    }

    /// Says that it has come so far, from 0 to 1, and what it does now. Cheap: the last word is sent with the next sign of
    /// life of the worker. What is no number (a NaN of 0 / 0) or infinite says nothing.
    pub fn progress(&self, done: f64, message: &str) {
        if let Some(listener) = self.listener.as_ref().filter(|_| done.is_finite()) {
            listener.progress(done.clamp(0.0, 1.0), message);
        }
    }

    /// Says something that people may want to read later, as in `job.log(format_args!("{n} rows"))`: it is kept with the job,
    /// the end of it where it is long. Sent with the next sign of life of the worker, or with the end of the run.
    pub fn log(&self, line: impl fmt::Display) {
        if let Some(listener) = &self.listener {
            listener.log(&line.to_string());
        }
    }

    /// The worker's state of this type.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] when it has none.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<State<T>, TaskError> {
        let found = self.states.0.get(&TypeId::of::<T>()).cloned();
        found.and_then(|state| state.downcast().ok()).map(State).ok_or_else(|| TaskError::Failed {
            type_name: type_name::<State<T>>().to_owned(),
            message: format!(
                "this task needs a state of type `{0}`, and nobody gave one: run it on a worker with `.state(..)` of a `{0}`",
                type_name::<T>()
            ),
            chain: Vec::new(),
        })
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext").field("id", &self.id).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// What `#[ropewalk::task(..)]` says about jobs of a task; whoever enqueues one may say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskOptions {
    /// The queue its jobs go to.
    pub queue: Option<&'static str>,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long a run may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether a second job with the same arguments is kept out while the first has not ended.
    pub unique: bool,
}

impl TaskOptions {
    /// Those of a task that says nothing.
    pub const fn new() -> Self {
        Self { queue: None, retries: 0, timeout_ms: None, unique: false }
    }

    /// With this queue.
    #[must_use]
    pub const fn queue(self, queue: &'static str) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// With so many tries after the first.
    #[must_use]
    pub const fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// With this limit, in milliseconds.
    #[must_use]
    pub const fn timeout_ms(self, limit: u64) -> Self {
        Self { timeout_ms: Some(limit), ..self }
    }

    /// Unique by its arguments.
    #[must_use]
    pub const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }
}
