//! An executor whose jobs have a time limit.

use super::{Executor, Submit, TrySubmitError};
use crate::task::{Shutdown, TaskHandle};
use ropewalk_core::park;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

/// An executor with a time limit for each of its jobs; made by [`Executor::timeout`].
#[derive(Debug)]
#[must_use = "it does nothing until a job is submitted to it"]
pub struct WithTimeout<'e, E> {
    executor: &'e E,
    limit: Duration,
}

impl<E> Clone for WithTimeout<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for WithTimeout<'_, E> {}

impl<'e, E> WithTimeout<'e, E> {
    pub(super) fn new(executor: &'e E, limit: Duration) -> Self {
        Self { executor, limit }
    }

    /// The deadline of a job that is submitted now; none if the clock cannot add that up.
    fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.limit)
    }
}

/// The task that `make` makes has the deadline: the one place that knows how a job gets it, whatever the job is.
fn within<R>(deadline: Option<Instant>, make: impl FnOnce() -> R) -> R {
    match deadline {
        Some(deadline) => park::with_task_deadline(deadline, make),
        None => make(),
    }
}

impl<J, E: Submit<J>> Submit<J> for WithTimeout<'_, E> {
    type Output = E::Output;

    #[track_caller]
    fn submit(&self, job: J) -> TaskHandle<E::Output> {
        let deadline = self.deadline();
        within(deadline, || self.executor.submit(job))
    }

    #[track_caller]
    fn try_submit(&self, job: J) -> Result<TaskHandle<E::Output>, TrySubmitError<J>> {
        let deadline = self.deadline();
        within(deadline, || self.executor.try_submit(job))
    }

    async fn submit_async(&self, job: J) -> TaskHandle<E::Output> {
        let deadline = self.deadline();
        let mut submitted = pin!(self.executor.submit_async(job));
        poll_fn(|context| within(deadline, || submitted.as_mut().poll(context))).await
    }
}

impl<E: Executor> Executor for WithTimeout<'_, E> {
    fn shutdown(&self, how: Shutdown) {
        self.executor.shutdown(how);
    }

    fn parallelism(&self) -> usize {
        self.executor.parallelism()
    }

    /// Each item has the whole time for itself.
    fn splits_chunks(&self) -> bool {
        false
    }
}
