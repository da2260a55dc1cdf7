//! The job queue as a subject of the suites, with a worker beside it.

use crate::executors::{Remote, Subject, fails, naps, panics, square};
use ropewalk::task::Task;
use ropewalk::{Call, Executor, Shutdown, Submit, TaskHandle, TrySubmitError};
use ropewalk_jobs::{Broker, JobQueue, MemoryBroker, RunningWorker, SqliteBroker, Worker};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A job queue in this broker, with a worker beside it.
pub(crate) struct JobQueueIn<B> {
    queue: JobQueue,
    _worker: RunningWorker,
    _place: Place,
    broker: PhantomData<fn() -> B>,
}

/// Where the file of a test lies, if it has one; gone when this is dropped.
pub(crate) struct Place(Option<PathBuf>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

pub(crate) type JobQueueInMemory = JobQueueIn<MemoryBroker>;
pub(crate) type JobQueueInAFile = JobQueueIn<SqliteBroker>;

/// How a broker for one test is made.
pub(crate) trait OneTest: Broker + Clone + 'static {
    fn make() -> (Self, Place);
}

impl OneTest for MemoryBroker {
    fn make() -> (Self, Place) {
        (Self::new(), Place(None))
    }
}

impl OneTest for SqliteBroker {
    fn make() -> (Self, Place) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for temporary files");
        let broker = Self::open(directory.join("jobs.db")).expect("a fresh file");
        (broker, Place(Some(directory)))
    }
}

impl<B, A> Submit<Call<A, A::Output>> for JobQueueIn<B>
where
    JobQueue: Submit<Call<A, A::Output>, Output = A::Output>,
    A: Task,
{
    type Output = A::Output;

    fn submit(&self, call: Call<A, A::Output>) -> TaskHandle<A::Output> {
        self.queue.submit(call)
    }

    fn try_submit(
        &self,
        call: Call<A, A::Output>,
    ) -> Result<TaskHandle<A::Output>, TrySubmitError<Call<A, A::Output>>> {
        self.queue.try_submit(call)
    }

    fn submit_async(&self, call: Call<A, A::Output>) -> impl Future<Output = TaskHandle<A::Output>> {
        self.queue.submit_async(call)
    }
}

impl<B> Executor for JobQueueIn<B> {
    fn shutdown(&self, how: Shutdown) {
        self.queue.shutdown(how);
    }

    fn parallelism(&self) -> usize {
        self.queue.parallelism()
    }
}

impl<B: OneTest> Subject for JobQueueIn<B> {
    type Tier = Remote;
    type Job = Call<square, u64>;
    type Executor = Self;

    fn new(at_once: usize) -> Self {
        let (broker, place) = B::make();
        let worker = Worker::new(broker.clone()).concurrency(at_once).on_notice(|_| {});
        let worker = worker.register::<square>().register::<fails>().register::<panics>().register::<naps>();
        let worker = worker.start().expect("a thread");
        Self { queue: JobQueue::new(broker), _worker: worker, _place: place, broker: PhantomData }
    }
}
