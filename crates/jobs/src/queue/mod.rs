//! The submitter's side: a queue to enqueue to, and handles to wait for results.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`builder`] | a job that is configured before it is sent |
//! | [`courier`] | the one thread that hears which jobs have ended, and tells the handles |
//! | [`executor`] | the queue as an executor, as every other |
//! | [`remote`] | a call of a function that only its name tells |

mod builder;
mod courier;
mod executor;
mod remote;

pub use builder::{Enqueue, Group, JobBuilder};
pub use remote::Remote;

use crate::broker::{Broker, BrokerError, Control, Enqueued};
use crate::job::{Job, JobId, NewJob};
use courier::Courier;
use ropewalk::{TaskError, TaskHandle};
use serde::de::DeserializeOwned;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Duration;

/// A queue of jobs, for those who enqueue. Clones are the same queue.
///
/// Keep it for as long as results are waited for: when the last clone and the last [`JobHandle`] are gone, handles that
/// still wait say [`TaskError::Shutdown`]. The jobs themselves are in the broker, and stay there.
#[derive(Clone)]
pub struct JobQueue {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Arc<dyn Broker>,
    courier: Courier,
    closed: AtomicBool,
}

impl JobQueue {
    /// The queue that is kept in this broker.
    pub fn new(broker: impl Broker + 'static) -> Self {
        let broker: Arc<dyn Broker> = Arc::new(broker);
        let courier = Courier::new(Arc::clone(&broker));
        Self { inner: Arc::new(Inner { broker, courier, closed: AtomicBool::new(false) }) }
    }

    /// Where the jobs are kept.
    pub fn broker(&self) -> &dyn Broker {
        &*self.inner.broker
    }

    /// Takes a batch of jobs, all or none of them; see [`Broker::enqueue`].
    ///
    /// # Errors
    ///
    /// With nothing accepted, or uncertain: say the same again.
    #[track_caller]
    pub fn enqueue_all(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
        enqueue_surely(self.broker(), jobs)
    }

    /// The handle to a job that is in the queue, whoever enqueued it. Its result must be one that an `R` can be read from.
    pub fn handle<R: DeserializeOwned + Send + 'static>(&self, id: JobId) -> JobHandle<R> {
        JobHandle { queue: self.clone(), id, task: None }
    }

    /// Everything about one job.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn job(&self, id: &JobId) -> Result<Option<Job>, BrokerError> {
        self.broker().job(id)
    }
}

/// Says an enqueue again when its answer was lost: the ids make it the same one.
#[track_caller]
fn enqueue_surely(broker: &dyn Broker, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
    match broker.enqueue(jobs) {
        Err(error) if error.is_uncertain() => broker.enqueue(jobs),
        other => other,
    }
}

impl fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobQueue").finish_non_exhaustive()
    }
}

/// A job that was enqueued, and its result, now or later.
///
/// Wait for it with [`join`](Self::join) on a thread or greenlet, or with `.await`. It costs nothing until somebody does, and
/// dropping it leaves the job alone.
#[must_use = "the job goes on by itself; join it, or say `drop(handle)`"]
pub struct JobHandle<R> {
    queue: JobQueue,
    id: JobId,
    task: Option<TaskHandle<R>>,
}

impl<R: DeserializeOwned + Send + 'static> JobHandle<R> {
    /// The id of the job, under which every program that shares the broker knows it.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Everything that is known of the job; nothing once it was kept long enough.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn job(&self) -> Result<Option<Job>, BrokerError> {
        self.queue.job(&self.id)
    }

    fn task(&mut self) -> &mut TaskHandle<R> {
        self.task.get_or_insert_with(|| self.queue.inner.courier.wait_for(&self.id))
    }

    /// Waits for the job's end, on whichever worker, and returns its result.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: it failed for the last time, panicked, was cancelled or stopped, or is poison
    /// ([`TaskError::WorkerDied`]).
    ///
    /// # Panics
    ///
    /// In async code; use `.await` there.
    #[track_caller]
    pub fn join(mut self) -> Result<R, TaskError> {
        self.task();
        self.task.take().expect("made above").join()
    }

    /// Waits for at most `timeout`, which does not touch the job.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); after [`TaskError::TimedOut`] the handle is as before.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R, TaskError> {
        self.task().join_timeout(timeout)
    }

    /// Ends the job: it never begins, or it is asked to stop.
    ///
    /// # Errors
    ///
    /// When it has ended already, or is forgotten.
    #[track_caller]
    pub fn cancel(&self) -> Result<(), BrokerError> {
        self.queue.broker().control(&Control::End(self.id.clone())).map(|_| ())
    }
}

impl<R: DeserializeOwned + Send + 'static> Future for JobHandle<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self.task()).poll(context)
    }
}

impl<R> fmt::Debug for JobHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
