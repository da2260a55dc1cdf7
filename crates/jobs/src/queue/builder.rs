//! A job that is configured before it is sent.

use super::{JobHandle, JobQueue, enqueue_surely};
use crate::broker::{BrokerError, Enqueued, ErrorKind};
use crate::dependency::{Need, When};
use crate::job::{JobId, Limit, NewJob, Time, millis_up};
use crate::registry;
use crate::retry::Retry;
use crate::unique::Unique;
use ropewalk::Call;
use ropewalk::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

/// What a call can do for whoever imports this: become a job.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{Enqueue, JobQueue, MemoryBroker, Unique};
/// use std::time::Duration;
///
/// #[ropewalk::task(queue = "img", retries = 3)]
/// fn thumb(path: String, size: u32) -> u64 {
///     path.len() as u64 * u64::from(size)
/// }
///
/// let queue = JobQueue::new(MemoryBroker::new());
/// let first = thumb::call("a.png".into(), 64).enqueue(&queue)?;
/// let later = thumb::call("a.png".into(), 128)
///     .job()
///     .after(first.id())
///     .in_(Duration::from_secs(300))
///     .unique(Unique::key("a.png"))
///     .enqueue(&queue)?;
/// assert_eq!(later.job()?.unwrap().queue, "img");
/// # Ok::<(), ropewalk_jobs::BrokerError>(())
/// ```
pub trait Enqueue: Sized {
    /// What the job gives.
    type Output;

    /// A job that can be configured further.
    fn job(self) -> JobBuilder<Self::Output>;

    /// Enqueues it as its task says.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::enqueue`].
    #[track_caller]
    fn enqueue(self, queue: &JobQueue) -> Result<JobHandle<Self::Output>, BrokerError>
    where
        Self::Output: DeserializeOwned + Send + 'static,
    {
        self.job().enqueue(queue)
    }
}

impl<A> Enqueue for Call<A, A::Output>
where
    A: Task<Tuple: Serialize>,
{
    type Output = A::Output;

    fn job(self) -> JobBuilder<A::Output> {
        JobBuilder::of_task(self)
    }
}

/// A job that is not enqueued yet.
#[must_use = "a job does nothing until it is enqueued"]
pub struct JobBuilder<R> {
    job: NewJob,
    /// Its payload could not be written.
    broken: Option<String>,
    /// How long after its enqueue it is due.
    delay: Option<Duration>,
    /// Jobs that are enqueued with it, after it, and their delays.
    callbacks: Vec<(NewJob, Option<Duration>)>,
    output: PhantomData<fn() -> R>,
}

impl<R> JobBuilder<R> {
    fn of_task<A: Task<Tuple: Serialize>>(call: Call<A, R>) -> Self {
        let (name, arguments, _) = call.into_parts();
        let (payload, broken) = match registry::payload(arguments) {
            Ok(payload) => (payload, None),
            Err(error) => (String::new(), Some(format!("the arguments of {name} cannot be written as JSON: {error}"))),
        };
        let mut job = NewJob::new(name, payload);
        let options = A::OPTIONS;
        if let Some(queue) = options.queue {
            job.queue = queue.to_owned();
        }
        job.options.retry = Retry::times(options.retries);
        job.options.timeout_ms = options.timeout_ms;
        if options.unique {
            job.unique = Some(Unique::key(arguments_key(name, &job.payload)));
        }
        Self { job, broken, delay: None, callbacks: Vec::new(), output: PhantomData }
    }

    /// A job of which only the data is there; what it gives is up to its worker.
    pub fn of_data(job: NewJob) -> Self {
        Self { job, broken: None, delay: None, callbacks: Vec::new(), output: PhantomData }
    }

    /// Nothing is enqueued if there is something to say against it.
    pub(super) fn broken(self, why: Option<String>) -> Self {
        Self { broken: self.broken.or(why), ..self }
    }

    fn with(self, change: impl FnOnce(&mut NewJob)) -> Self {
        let mut this = self;
        change(&mut this.job);
        this
    }

    /// The id that it will have.
    pub fn id(&self) -> &JobId {
        &self.job.id
    }

    /// With this id instead of a fresh one: enqueued twice, it is one job.
    pub fn with_id(self, id: JobId) -> Self {
        self.with(|job| job.id = id)
    }

    /// To this queue.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|job| job.queue = queue.into())
    }

    /// Higher goes first, within its queue; 0 unless said otherwise.
    pub fn priority(self, priority: i32) -> Self {
        self.with(|job| job.priority = priority)
    }

    /// Not before `delay` has passed since its enqueue, by the clock of the broker: how wrong that of this machine is does
    /// not matter.
    pub fn in_(self, delay: Duration) -> Self {
        Self { delay: Some(delay), ..self }
    }

    /// Not before this time, by the clock of the broker.
    pub fn at(self, time: SystemTime) -> Self {
        Self { delay: None, ..self.with(|job| job.due = Some(Time::from(time))) }
    }

    /// Not before that job has ended well; if it ends otherwise, this one is cancelled.
    pub fn after(self, id: &JobId) -> Self {
        self.after_when(id, When::Done)
    }

    /// Not before that job has ended, in whichever way.
    pub fn after_end_of(self, id: &JobId) -> Self {
        self.after_when(id, When::Ended)
    }

    /// Not before that job has ended in this way; if it ends otherwise, this one is cancelled.
    pub fn after_when(self, id: &JobId, when: When) -> Self {
        self.with(|job| job.needs.push(Need { id: id.clone(), when }))
    }

    /// Not twice.
    pub fn unique(self, unique: Unique) -> Self {
        self.with(|job| job.unique = Some(unique))
    }

    /// Not more than so many with this key at once, over all workers.
    pub fn limit(self, key: impl Into<String>, at_once: u32) -> Self {
        self.with(|job| job.limit = Some(Limit { key: key.into(), at_once }))
    }

    /// Tried again like this after a failure.
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|job| job.options.retry = retry)
    }

    /// A run may take so long: then its waits end, and it has failed.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|job| job.options.timeout_ms = Some(millis_up(timeout)))
    }

    /// Its process may have so much memory while it runs, in bytes of addresses (`RLIMIT_AS`, which counts the program itself): beyond
    /// that the run has failed with kind [`Crash`](crate::FailureKind::Crash), as with a limit of the pool, whose is the highest there
    /// can be. Only where it runs in a process of its own ([`Worker::processes`](crate::Worker::processes)); threads share their memory, so
    /// other workers run it without.
    pub fn memory_max(self, bytes: u64) -> Self {
        self.with(|job| job.options.memory_max = Some(bytes))
    }

    /// Its result is kept for so long.
    pub fn result_ttl(self, ttl: Duration) -> Self {
        self.with(|job| job.options.result_ttl_ms = Some(millis_up(ttl)))
    }

    /// It is kept for so long when it ends otherwise.
    pub fn failure_ttl(self, ttl: Duration) -> Self {
        self.with(|job| job.options.failure_ttl_ms = Some(millis_up(ttl)))
    }

    /// Whatever you want to see beside it.
    pub fn meta(self, meta: serde_json::Value) -> Self {
        self.with(|job| job.options.meta = Some(meta))
    }

    /// This job is enqueued with it, and runs when it ended well.
    pub fn on_success<C>(self, callback: JobBuilder<C>) -> Self {
        self.then(callback, When::Done)
    }

    /// This job is enqueued with it, and runs when it failed for the last time.
    pub fn on_failure<C>(self, callback: JobBuilder<C>) -> Self {
        self.then(callback, When::Failed)
    }

    /// This job is enqueued with it, and runs when it was stopped.
    pub fn on_stopped<C>(self, callback: JobBuilder<C>) -> Self {
        self.then(callback, When::Stopped)
    }

    fn then<C>(mut self, callback: JobBuilder<C>, when: When) -> Self {
        let mut callback = callback.after_when(&self.job.id, when);
        self.broken = self.broken.take().or(callback.broken.take());
        self.callbacks.push((callback.job, callback.delay));
        self.callbacks.append(&mut callback.callbacks);
        self
    }

    /// The job as data, its callbacks behind it. A delay ([`in_`](Self::in_)) is from now on, by the clock of this machine.
    ///
    /// # Errors
    ///
    /// When the arguments cannot be written as JSON.
    pub fn into_jobs(self) -> Result<Vec<NewJob>, BrokerError> {
        self.into_jobs_at(SystemTime::now().into())
    }

    /// The same with delays from that time on.
    pub(super) fn into_jobs_at(self, now: Time) -> Result<Vec<NewJob>, BrokerError> {
        if let Some(broken) = self.broken {
            return Err(BrokerError::new(ErrorKind::Refused, broken));
        }
        let all = std::iter::once((self.job, self.delay)).chain(self.callbacks);
        let due = |(job, delay): (NewJob, Option<Duration>)| match delay {
            Some(delay) => NewJob { due: Some(now + delay), ..job },
            None => job,
        };
        Ok(all.map(due).collect())
    }

    /// Enqueues it; when this returns, the job survives the end of any process.
    ///
    /// The handle is that of the job in the queue: if its unique key is taken, of the one that took it. (Its callbacks are
    /// cancelled then.)
    ///
    /// # Errors
    ///
    /// When the job cannot be stored: nothing was enqueued, or it is uncertain; the same builder's id makes a second try safe.
    ///
    /// # Panics
    ///
    /// In async code; use [`enqueue_async`](Self::enqueue_async) there.
    #[track_caller]
    pub fn enqueue(self, queue: &JobQueue) -> Result<JobHandle<R>, BrokerError>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let enqueued = enqueue_surely(queue.broker(), &self.into_jobs_at(queue.broker().now())?)?;
        let id = enqueued.first().map(Enqueued::id).expect("an answer for each job").clone();
        Ok(queue.handle(id))
    }

    /// [`enqueue`](Self::enqueue) in async code: the thread of the queue does it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it may enqueue the job or not; the same builder's id makes a second try safe.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_async(self, queue: &JobQueue) -> Result<JobHandle<R>, BrokerError>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let enqueued = queue.inner.courier.enqueue(self.into_jobs_at(queue.broker().now())?).await;
        let ended = |error| {
            BrokerError::uncertain(ErrorKind::Unavailable, format!("the thread of the queue has ended: {error}"))
        };
        enqueued.map_err(ended)?.map(|id| queue.handle(id))
    }
}

impl<R> fmt::Debug for JobBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobBuilder").field("job", &self.job).finish_non_exhaustive()
    }
}

/// Jobs that are enqueued together, as one step; and one that runs when all of them have ended.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{Enqueue, Group, JobQueue, MemoryBroker};
///
/// #[ropewalk::task]
/// fn count(path: String) -> usize {
///     path.len()
/// }
/// #[ropewalk::task]
/// fn report(of: u32) {
///     println!("{of} files were counted");
/// }
///
/// let queue = JobQueue::new(MemoryBroker::new());
/// let group = ["a.txt", "b.txt"].map(|path| count::call(path.into()).job()).into_iter().collect::<Group<_>>();
/// let (counts, all) = group.when_all_ended(report::call(2).job()).enqueue(&queue)?;
/// assert_eq!((counts.len(), all.unwrap().job()?.unwrap().waits_for), (2, 2));
/// # Ok::<(), ropewalk_jobs::BrokerError>(())
/// ```
#[must_use = "a group does nothing until it is enqueued"]
pub struct Group<R, L = ()> {
    jobs: Vec<JobBuilder<R>>,
    last: Option<JobBuilder<L>>,
}

impl<R> FromIterator<JobBuilder<R>> for Group<R> {
    fn from_iter<I: IntoIterator<Item = JobBuilder<R>>>(jobs: I) -> Self {
        Self { jobs: jobs.into_iter().collect(), last: None }
    }
}

impl<R, L> Group<R, L> {
    /// Then, when all of them have ended in whichever way, this one.
    pub fn when_all_ended<M>(self, last: JobBuilder<M>) -> Group<R, M> {
        self.then(last, When::Ended)
    }

    /// Then, when all of them have ended well, this one; if one does not, it is cancelled.
    pub fn when_all_done<M>(self, last: JobBuilder<M>) -> Group<R, M> {
        self.then(last, When::Done)
    }

    fn then<M>(self, last: JobBuilder<M>, when: When) -> Group<R, M> {
        let last = self.jobs.iter().fold(last, |last, job| last.after_when(job.id(), when));
        Group { jobs: self.jobs, last: Some(last) }
    }

    /// Enqueues all of them, or none: the handles of the group, and that of the last one.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::enqueue`].
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "a pair of what it says")]
    pub fn enqueue(self, queue: &JobQueue) -> Result<(Vec<JobHandle<R>>, Option<JobHandle<L>>), BrokerError>
    where
        R: DeserializeOwned + Send + 'static,
        L: DeserializeOwned + Send + 'static,
    {
        let mut jobs = Vec::new();
        let mut firsts = Vec::new();
        let now = queue.broker().now();
        for job in self.jobs {
            firsts.push(jobs.len());
            jobs.extend(job.into_jobs_at(now)?);
        }
        let last = self.last.map(|last| (jobs.len(), last));
        let last = match last {
            Some((at, last)) => {
                jobs.extend(last.into_jobs_at(now)?);
                Some(at)
            }
            None => None,
        };
        let enqueued = enqueue_surely(queue.broker(), &jobs)?;
        let id = |at: usize| enqueued[at].id().clone();
        Ok((firsts.into_iter().map(|at| queue.handle(id(at))).collect(), last.map(|at| queue.handle(id(at)))))
    }
}

impl<R, L> fmt::Debug for Group<R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

/// The unique key of a task and its arguments: the name, and a hash that is the same in every build (FNV-1a, 128 bits).
fn arguments_key(name: &str, payload: &str) -> String {
    let hash = payload.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    let name: String = name.chars().take(400).collect();
    format!("{name}({hash:032x})")
}
