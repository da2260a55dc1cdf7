//! A pool of threads: `ThreadPoolExecutor`.
//!
//! `builder` holds what can be chosen, `pool` the workers and how many of them may run, `sizing` finds out how many that should
//! be, `seat` is what others see of a worker, `waits` how long jobs were queued, `fork` divides work among workers by `join`,
//! `par` is the maps made of it, this file the public face.

mod builder;
mod fork;
mod par;
mod pool;
mod seat;
mod sizing;
mod waits;

pub use builder::{BuildError, Builder, Progress};
pub use par::IntoParts;

use super::verbs::{own_maps, own_scope, own_verbs};
use super::{Executor, Submit, TrySubmitError};
use crate::spans::{self, On};
#[cfg(all(unix, feature = "greenlet"))]
use crate::task::harness::Runnable;
use crate::task::{Call, Shutdown, TaskHandle};
pub(super) use pool::Pool;
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

    /// Runs a task that somebody else made. A full queue is waited for.
    #[cfg(all(unix, feature = "greenlet"))]
    pub(crate) fn run(&self, task: Arc<dyn Runnable>, place: &'static Location<'static>) {
        self.pool.take_room();
        self.pool.enqueue(task, place);
    }

    fn from_pool(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    own_verbs!("ThreadPoolExecutor::new(2)", "(0..3).map(|n| move || 10 * n)");
    own_maps!("ThreadPoolExecutor::new(3)");
    own_scope!("ThreadPoolExecutor::new(2)", this => Box::new(Arc::clone(&this.pool)));

    /// Runs both functions, on two workers if one of them is idle, and returns both results.
    ///
    /// For work that divides itself, such as a recursion over a tree. A `join` costs a few nanoseconds, as no task is made
    /// unless a worker has nothing to do; still the smallest pieces should do more than an addition. Called on a worker of
    /// this pool it runs `a` right there, and `b` after it unless another worker has taken it meanwhile; called elsewhere
    /// it first goes to a worker and waits.
    ///
    /// `a` may wait in ropewalk for something that `b` does, such as an event that `b` sets: another worker takes `b` then. For
    /// a lock or a permit, which whoever has it commonly gives back without help, another worker is called only when all wait so:
    /// there `b` had better not be what gives it back. Not the other way round, and not while the pool is shut down.
    ///
    /// # Cancel safety
    ///
    /// A caller that is cancelled, or whose time is over, ends both: a wait in either unwinds, wherever it runs. Then this
    /// unwinds, when both have ended.
    ///
    /// # Panics
    ///
    /// When one of them does, after the other has ended; with the panic of `a` if both do. If `a` panics, `b` is asked to
    /// stop, and never begins if it has not. In async code (but where a runtime of tokio's own polls it on a worker of this
    /// pool, both run right there). Called from elsewhere than a worker, when the pool was shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// fn sort(pool: &ThreadPoolExecutor, numbers: &mut [u32]) {
    ///     if numbers.len() <= 1_000 {
    ///         return numbers.sort();
    ///     }
    ///     let middle = numbers.len() / 2;
    ///     let (left, _, right) = numbers.select_nth_unstable(middle);
    ///     pool.join(|| sort(pool, left), || sort(pool, right));
    /// }
    ///
    /// let mut numbers: Vec<u32> = (0..10_000).map(|n| n * 7_919 % 10_007).collect();
    /// sort(&ThreadPoolExecutor::new(2), &mut numbers);
    /// assert!(numbers.is_sorted());
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        fork::join(&self.pool, a, b)
    }

    /// Calls `function` for each item of a slice, a vector or a range, on all workers, and returns the results in order.
    ///
    /// The items are divided as workers have time: pieces whose size is measured (about ten microseconds each) stay
    /// together, and a worker that has nothing to do gets half of what another has left. Function and items may borrow.
    /// For an iterator, or for results as they come, use [`map`](Self::map).
    ///
    /// # Cancel safety
    ///
    /// As with [`join`](Self::join).
    ///
    /// # Panics
    ///
    /// With a panic of `function`, when what was under way has ended; the results that were there are dropped. In async
    /// code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::new(2);
    /// let words = ["rope", "walk", "strand"];
    /// assert_eq!(pool.par_map(|word| word.len(), &words), [4, 4, 6]);
    /// assert_eq!(pool.par_map(|n| n * n, 0..4), [0, 1, 4, 9]);
    /// ```
    #[track_caller]
    pub fn par_map<I, F, R>(&self, function: F, items: I) -> Vec<R>
    where
        I: IntoParts,
        F: Fn(I::Item) -> R + Sync,
        R: Send,
    {
        par::map(&self.pool, function, items.into_parts())
    }

    /// [`par_map`](Self::par_map) into places that are there already, which saves the memory for new ones.
    ///
    /// # Panics
    ///
    /// As [`par_map`](Self::par_map), and when there are not as many places as items.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let mut squares = [0; 5];
    /// ThreadPoolExecutor::new(2).par_map_into(|n| n * n, 0..5, &mut squares);
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// ```
    #[track_caller]
    pub fn par_map_into<I, F, R>(&self, function: F, items: I, results: &mut [R])
    where
        I: IntoParts,
        F: Fn(I::Item) -> R + Sync,
        R: Send,
    {
        par::map_into(&self.pool, function, items.into_parts(), results);
    }

    /// Calls `function` for each item of a slice, a vector or a range, on all workers; divided as by
    /// [`par_map`](Self::par_map).
    ///
    /// # Panics
    ///
    /// As [`par_map`](Self::par_map).
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let mut numbers = vec![1, 2, 3];
    /// ThreadPoolExecutor::new(2).par_for_each(|n| *n *= 10, &mut numbers);
    /// assert_eq!(numbers, [10, 20, 30]);
    /// ```
    #[track_caller]
    pub fn par_for_each<I, F>(&self, function: F, items: I)
    where
        I: IntoParts,
        F: Fn(I::Item) + Sync,
    {
        par::for_each(&self.pool, function, items.into_parts());
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
        self.pool.submit(spans::closure(On::ThreadPool, job))
    }

    #[track_caller]
    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        self.pool.try_submit(job, |job| spans::closure(On::ThreadPool, job))
    }

    #[track_caller]
    fn submit_async(&self, job: F) -> impl Future<Output = TaskHandle<T>> {
        self.pool.submit_async(spans::closure(On::ThreadPool, job), Location::caller())
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
        self.pool.submit(spans::call(On::ThreadPool, call))
    }

    #[track_caller]
    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        self.pool.try_submit(call, |call| spans::call(On::ThreadPool, call))
    }

    #[track_caller]
    fn submit_async(&self, call: Call<A, R>) -> impl Future<Output = TaskHandle<R>> {
        self.pool.submit_async(spans::call(On::ThreadPool, call), Location::caller())
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
