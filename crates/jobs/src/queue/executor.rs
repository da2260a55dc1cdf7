//! The queue as an executor: a call that is submitted becomes a job, and its handle is the same as everywhere.

use super::{Inner, JobQueue};
use crate::broker::{BrokerError, Enqueued};
use crate::job::NewJob;
use crate::queue::{Enqueue as _, JobBuilder, enqueue_surely};
use ropewalk::executor::Executor;
use ropewalk::task::Task;
use ropewalk::{Call, Shutdown, Submit, TaskError, TaskHandle, TrySubmitError};
use ropewalk_core::task::harness;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a shutdown looks whether what it waits for has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A handle that is finished already.
fn finished<R: Send + 'static>(outcome: Result<R, TaskError>) -> TaskHandle<R> {
    let (task, handle) = harness::new_task(0, || outcome);
    task.run();
    handle
}

fn refused<R: Send + 'static>(error: &BrokerError) -> TaskHandle<R> {
    finished(Err(TaskError::Failed {
        type_name: std::any::type_name::<BrokerError>().to_owned(),
        message: error.to_string(),
        chain: Vec::new(),
    }))
}

impl Inner {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn single<R>(builder: JobBuilder<R>) -> Result<NewJob, BrokerError> {
    Ok(builder.into_jobs()?.swap_remove(0))
}

impl<A> Submit<Call<A, A::Output>> for JobQueue
where
    A: Task<Tuple: Serialize, Output: DeserializeOwned>,
{
    type Output = A::Output;

    /// Enqueues a job, as its task's options say. When this returns, the job survives the end of any process; a handle that
    /// is finished with [`TaskError::Failed`] says why it could not be enqueued.
    #[track_caller]
    fn submit(&self, call: Call<A, A::Output>) -> TaskHandle<A::Output> {
        self.try_submit(call).unwrap_or_else(|_| finished(Err(TaskError::Shutdown)))
    }

    #[track_caller]
    fn try_submit(
        &self,
        call: Call<A, A::Output>,
    ) -> Result<TaskHandle<A::Output>, TrySubmitError<Call<A, A::Output>>> {
        if self.inner.is_closed() {
            return Err(TrySubmitError::Shutdown(call));
        }
        let enqueued = single(call.job()).and_then(|job| enqueue_surely(self.broker(), &[job]));
        Ok(match enqueued {
            Ok(enqueued) => self.inner.courier.wait_for(enqueued.first().map(Enqueued::id).expect("an answer each")),
            Err(error) => refused(&error),
        })
    }

    async fn submit_async(&self, call: Call<A, A::Output>) -> TaskHandle<A::Output> {
        if self.inner.is_closed() {
            return finished(Err(TaskError::Shutdown));
        }
        let job = match single(call.job()) {
            Ok(job) => job,
            Err(error) => return refused(&error),
        };
        match self.inner.courier.enqueue(vec![job]).await {
            Ok(Ok(id)) => self.inner.courier.wait_for(&id),
            Ok(Err(error)) => refused(&error),
            Err(error) => finished(Err(error)),
        }
    }
}

impl Executor for JobQueue {
    /// Takes no more calls. The jobs stay in the broker, so this is about the handles that this queue gave: waiting means
    /// until their jobs have ended, on whichever worker; cancelling and killing ask the broker to end those jobs.
    #[track_caller]
    fn shutdown(&self, how: Shutdown) {
        self.inner.closed.store(true, Ordering::Release);
        if matches!(how, Shutdown::CancelPending | Shutdown::Kill) {
            self.inner.courier.end_all();
        }
        while how != Shutdown::Detach && self.inner.courier.waiting() > 0 {
            ropewalk::sleep(LOOK_EVERY);
        }
    }

    /// How many jobs the workers that are alive run at once; at least one.
    fn parallelism(&self) -> usize {
        let workers = self.broker().workers().unwrap_or_default();
        workers.iter().map(|worker| worker.concurrency).sum::<usize>().max(1)
    }

    fn splits_chunks(&self) -> bool {
        false
    }
}
