//! A result that one strand makes and any number of others wait for.
//!
//! The value lies in a cell of std's, which is filled without waiting for anybody, so `set` works from everywhere: a
//! greenlet, a thread, an async task, a callback. (A cell of ours would wait, which is refused in async code.) The event
//! is set after the cell, so whoever it wakes finds the value.

use crate::io::watch_for_async;
use crate::task::{TaskError, into_outcome};
use ropewalk_core::park::Interrupted;
use ropewalk_core::sync::Event;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A result, now or later: set once, got by as many as want it, each of whom gets a clone.
///
/// What a [`TaskHandle`](crate::TaskHandle) is for the result of a task, and for one getter, this is for a result that
/// comes from anywhere. Greenlets, threads and async tasks may wait for the same one. Share it in an [`Arc`].
///
/// # Fairness
///
/// Setting it wakes all that wait, in the order in which they came.
///
/// # Cancel safety
///
/// A get that is dropped or interrupted takes nothing from the others.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::{self, AsyncResult};
/// use std::sync::Arc;
///
/// ropewalk::run(|| {
///     let answer = Arc::new(AsyncResult::new());
///     let readers: Vec<_> = (0..3)
///         .map(|n| {
///             let answer = Arc::clone(&answer);
///             greenlet::spawn(move || format!("{n}: {}", answer.get().unwrap()))
///         })
///         .collect();
///     answer.set("hemp".to_owned()).unwrap();
///     assert_eq!(greenlet::join_all(readers).unwrap(), ["0: hemp", "1: hemp", "2: hemp"]);
///
///     let refused = answer.set("jute".to_owned()).unwrap_err();
///     assert_eq!(refused.0, "jute");
/// });
/// ```
#[doc(alias = "Promise")]
pub struct AsyncResult<T> {
    outcome: OnceLock<Result<T, Arc<TaskError>>>,
    ready: Event,
}

impl<T> AsyncResult<T> {
    /// A result that is not there yet.
    pub fn new() -> Self {
        watch_for_async();
        Self { outcome: OnceLock::new(), ready: Event::new() }
    }

    /// Sets the value and wakes all that wait.
    ///
    /// # Errors
    ///
    /// Gives the value back when a value, or an error, was set before; that one stays.
    pub fn set(&self, value: T) -> Result<(), AlreadySet<T>> {
        match self.outcome.set(Ok(value)) {
            Err(Ok(value)) => Err(AlreadySet(value)),
            // What comes back is what went in.
            _ => {
                self.ready.set();
                Ok(())
            }
        }
    }

    /// Sets an error in place of a value and wakes all that wait; each gets the same error.
    ///
    /// A [`TaskError`] is kept as it is, any other error becomes [`TaskError::Failed`].
    ///
    /// # Errors
    ///
    /// Gives the error back when a value, or an error, was set before; that one stays.
    #[doc(alias = "set_exception")]
    pub fn set_error<E>(&self, error: E) -> Result<(), AlreadySet<TaskError>>
    where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        match self.outcome.set(Err(Arc::new(task_error(error)))) {
            Err(Err(error)) => Err(AlreadySet(Arc::into_inner(error).expect("nobody else has seen it"))),
            _ => {
                self.ready.set();
                Ok(())
            }
        }
    }

    /// Whether a value, or an error, was set.
    #[doc(alias = "ready")]
    pub fn is_ready(&self) -> bool {
        self.outcome.get().is_some()
    }
}

impl<T: Clone> AsyncResult<T> {
    /// Waits for the value and returns a clone of it.
    ///
    /// # Errors
    ///
    /// The error that was set in its place.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`get_async`](Self::get_async) there.
    #[track_caller]
    pub fn get(&self) -> Result<T, Arc<TaskError>> {
        if let Some(outcome) = self.try_get() {
            return outcome;
        }
        self.ready.wait();
        self.outcome()
    }

    /// [`get`](Self::get), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The error that was set; or, with [`is_ready`](Self::is_ready) false, [`TaskError::TimedOut`] when the limit has
    /// passed and [`TaskError::Cancelled`] when the task around this wait was cancelled.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, Arc<TaskError>> {
        if let Some(outcome) = self.try_get() {
            return outcome;
        }
        match self.ready.wait_timeout(timeout) {
            Ok(()) => self.outcome(),
            Err(Interrupted::TimedOut) => Err(Arc::new(TaskError::TimedOut)),
            Err(Interrupted::Cancelled) => Err(Arc::new(TaskError::Cancelled)),
        }
    }

    /// A clone of the value, or the error, if one was set.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Option<Result<T, Arc<TaskError>>> {
        self.outcome.get().cloned()
    }

    /// [`get`](Self::get) in async code.
    ///
    /// # Errors
    ///
    /// The error that was set in place of the value.
    pub async fn get_async(&self) -> Result<T, Arc<TaskError>> {
        if let Some(outcome) = self.try_get() {
            return outcome;
        }
        self.ready.wait_async().await;
        self.outcome()
    }

    /// What was set; after the event.
    fn outcome(&self) -> Result<T, Arc<TaskError>> {
        self.try_get().expect("the event is set after the cell")
    }
}

/// The error as it is kept.
fn task_error<E>(error: E) -> TaskError
where
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let mut error = Some(error);
    let own = (&mut error as &mut dyn Any).downcast_mut::<Option<TaskError>>().and_then(Option::take);
    own.unwrap_or_else(|| match into_outcome(error.map_or(Ok(()), Err)) {
        Err(error) => error,
        Ok(()) => unreachable!("it is a `TaskError` or still there"),
    })
}

impl<T> Default for AsyncResult<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}

/// A result was set before; what should have been set comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AlreadySet<T>(pub T);

impl<T> fmt::Display for AlreadySet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("result was set before")
    }
}

impl<T> fmt::Debug for AlreadySet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlreadySet({self})")
    }
}

impl<T> Error for AlreadySet<T> {}
