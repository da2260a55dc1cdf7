//! A pool of threads: `ThreadPoolExecutor`.
//!
//! `builder` holds what can be chosen, `pool` the workers and how many of them may run, `sizing` finds out how many that should
//! be, `seat` is what others see of a worker, `waits` how long jobs were queued, this file the public face.

mod builder;
mod pool;
mod seat;
mod sizing;
mod waits;

pub use builder::{BuildError, Builder, Progress};

use super::{Executor, Map, Scope, Submit, TryMap, TrySubmitError, verbs};
use crate::task::{Call, Shutdown, TaskError, TaskHandle};
pub(super) use pool::Pool;
use ropewalk_core::park;
pub(crate) use seat::dump;
pub use sizing::{SizingDecision, SizingReason, Workers};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Runs jobs on threads: as many as keep the processors busy, or as many as you say.
///
/// # How many threads
///
/// If nothing is said ([`Workers::Auto`]), the pool finds out: one for each core where jobs compute, more where they wait for
/// something outside, a socket, a file, a sleep. It looks at what the system says of its threads (on a processor, ready for
/// one, in which system call), and so needs some 50 ms to come to a hundred. It does not grow for waits on locks, tries now and
/// then whether fewer do as well, and lets go of the others when there is nothing to do. On Linux; elsewhere, and where `/proc`
/// is hidden, it only tries. It knows nothing of what stands behind the jobs: where a database bears 20 connections, say
/// `max_workers(20)`, or take a permit of a [`Semaphore`](crate::sync::Semaphore) in the job. [`Stats::target`] is the number
/// at the moment, [`sizing_log`](Self::sizing_log) says how it came to it.
///
/// At most that many jobs are under way at once. There is one exception, so that a job may wait for other jobs of its
/// own pool, however deep, and a pool of one does not deadlock: a worker whose job waits for what *others* do (a handle,
/// an event, an item of a queue, a barrier) does not count meanwhile, and another takes its place if there is work. A wait
/// for a lock or a permit, and a sleep, end by themselves; there the worker goes on counting, unless that is all of them.
/// Right after such waits there may be more running than may be, until one of them has finished its job.
///
/// Threads are started when there is work for them.
///
/// # Fairness
///
/// Jobs start in the order in which they were submitted, except that a job which waits for another one of its pool runs
/// it at once if it has not started.
///
/// # Dropping
///
/// Waits for everything that was submitted ([`Shutdown::Wait`]), as Python's `with` does; a
/// [daemon](Builder::daemon) pool is left to itself.
///
/// # Panics
///
/// A panic of a job goes into its handle and touches nothing else. Dropping the pool in async code is a panic unless it
/// was shut down before, since it would have to wait: use [`shutdown_async`](Self::shutdown_async) first.
///
/// # Examples
///
/// ```
/// use ropewalk::{Submit, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(3)
///     .thread_name_prefix("fetch")
///     .build()?;
/// let page = pool.submit(|| format!("page from {}", std::thread::current().name().unwrap()));
/// assert_eq!(page.join()?, "page from fetch-0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPoolExecutor {
    pool: Arc<Pool>,
}

/// What a pool is doing at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Threads that exist.
    pub workers: usize,
    /// How many jobs may run at once. Where the pool sizes itself, this is what it has come to.
    pub target: usize,
    /// Workers that wait for a job.
    pub idle: usize,
    /// Workers whose job waits.
    pub blocked: usize,
    /// Jobs that have not started.
    pub queued: usize,
    /// How long a job is queued before it starts, the median, to an eighth of it.
    ///
    /// From a sample: the first 64 jobs, then one in 61 that each thread submits; the latest 4,096 of the sample weigh most.
    /// Zero before the first job has started.
    pub queue_wait_p50: Duration,
    /// The same, exceeded by one job in a hundred only.
    pub queue_wait_p99: Duration,
}

impl ThreadPoolExecutor {
    /// A pool in which at most `max_workers` jobs run at once.
    ///
    /// # Panics
    ///
    /// When `max_workers` is 0: such a pool would never run anything.
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        match Self::builder().max_workers(max_workers).build() {
            Ok(pool) => pool,
            Err(error) => panic!("{error}"),
        }
    }

    /// Chooses more than the number of workers.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn from_pool(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Runs all jobs and returns their results in order.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::new(2);
    /// let results = pool.run_all((0..3).map(|n| move || 10 * n));
    /// let results: Result<Vec<_>, _> = results.into_iter().collect();
    /// assert_eq!(results.unwrap(), [0, 10, 20]);
    /// ```
    #[track_caller]
    pub fn run_all<F, T>(&self, jobs: impl IntoIterator<Item = F>) -> Vec<Result<T, TaskError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::run_all(self, jobs)
    }

    /// Calls `function` for each item and gives the results in order, as they are asked for.
    ///
    /// Lazy and bounded: items are taken from the iterator only as far ahead as [`Map::buffer`] says, so an endless
    /// iterator is no problem. Small items are sent in chunks whose size finds itself. A panic of `function` is
    /// re-thrown at the place of its item. Dropping the map cancels what has not started, and does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::new(3);
    /// let lengths: Vec<usize> = pool.map(|word: &str| word.len(), ["one", "three", "eleven"]).collect();
    /// assert_eq!(lengths, [3, 5, 6]);
    /// ```
    pub fn map<F, I, R>(&self, function: F, items: I) -> Map<'_, Self, F, I::IntoIter, R>
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        verbs::map(self, function, items)
    }

    /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
    pub fn try_map<F, I, R>(&self, function: F, items: I) -> TryMap<'_, Self, F, I::IntoIter, R>
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        verbs::try_map(self, function, items)
    }

    /// Calls `function` for each item and waits until all are done; what it returns is dropped.
    ///
    /// # Panics
    ///
    /// With the first panic of `function`, after what was under way has ended. In async code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// static SUM: AtomicU32 = AtomicU32::new(0);
    ///
    /// ThreadPoolExecutor::new(3).for_each(|n| { SUM.fetch_add(n, Ordering::Relaxed); }, 1..=4);
    /// assert_eq!(SUM.load(Ordering::Relaxed), 10);
    /// ```
    #[track_caller]
    pub fn for_each<F, I, R>(&self, function: F, items: I)
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
    {
        verbs::for_each(self, function, items);
    }

    /// Runs `body` with a scope whose jobs may borrow, and waits for them all.
    ///
    /// # Cancel safety
    ///
    /// Whoever is cancelled in here, in the body or in the wait for the jobs, cancels the jobs, waits until they have ended, and
    /// unwinds then.
    ///
    /// # Panics
    ///
    /// When `body` or one of the jobs panicked: the first panic cancels the other jobs of the scope and is re-thrown
    /// when all have ended. In async code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut halves = [0, 0];
    /// let numbers: Vec<u32> = (1..=100).collect();
    /// let (left, right) = halves.split_at_mut(1);
    /// pool.scope(|scope| {
    ///     drop(scope.submit(|| left[0] = numbers[..50].iter().sum::<u32>()));
    ///     drop(scope.submit(|| right[0] = numbers[50..].iter().sum::<u32>()));
    /// });
    /// assert_eq!(halves, [1275, 3775]);
    /// ```
    #[track_caller]
    pub fn scope<'env, F, R>(&self, body: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    {
        park::refuse_in_async();
        super::scope::run(&self.pool, body)
    }

    /// Takes no more jobs and ends the pool; waits as `how` says.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait; use [`shutdown_async`](Self::shutdown_async) there.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) {
        self.pool.shutdown(how);
    }

    /// [`shutdown`](Self::shutdown) in async code.
    pub async fn shutdown_async(&self, how: Shutdown) {
        self.pool.begin_shutdown(how);
        if how != Shutdown::Detach {
            self.pool.ended_async().await;
        }
    }

    /// The latest changes of the number of workers and their reasons, oldest first, at most 256. Empty for a fixed number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::default();
    /// pool.for_each(|n: u64| drop((0..n).sum::<u64>()), 0..100);
    /// for decision in pool.sizing_log() {
    ///     println!("{:?} {decision}", decision.at);
    /// }
    /// ```
    pub fn sizing_log(&self) -> Vec<SizingDecision> {
        self.pool.sizing_log()
    }

    /// What the pool is doing at this moment.
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }
}

/// A pool that sizes itself: [`Workers::Auto`].
impl Default for ThreadPoolExecutor {
    fn default() -> Self {
        match Self::builder().build() {
            Ok(pool) => pool,
            Err(error) => unreachable!("nothing was chosen that could be wrong: {error}"),
        }
    }
}

impl<F, T> Submit<F> for ThreadPoolExecutor
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    #[track_caller]
    fn submit(&self, job: F) -> TaskHandle<T> {
        self.pool.submit(move || Ok(job()))
    }

    #[track_caller]
    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        self.pool.try_submit(job, |job| move || Ok(job()))
    }

    #[track_caller]
    fn submit_async(&self, job: F) -> impl Future<Output = TaskHandle<T>> {
        self.pool.submit_async(move || Ok(job()), Location::caller())
    }
}

impl<A, R> Submit<Call<A, R>> for ThreadPoolExecutor
where
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    #[track_caller]
    fn submit(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.pool.submit(move || call.run())
    }

    #[track_caller]
    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        self.pool.try_submit(call, |call| move || call.run())
    }

    #[track_caller]
    fn submit_async(&self, call: Call<A, R>) -> impl Future<Output = TaskHandle<R>> {
        self.pool.submit_async(move || call.run(), Location::caller())
    }
}

impl Executor for ThreadPoolExecutor {
    fn shutdown(&self, how: Shutdown) {
        self.pool.shutdown(how);
    }

    fn parallelism(&self) -> usize {
        self.pool.max_workers()
    }
}

impl Drop for ThreadPoolExecutor {
    #[track_caller]
    fn drop(&mut self) {
        self.pool.close_on_drop();
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.pool.max_workers())
            .field("stats", &self.stats())
            .finish()
    }
}
