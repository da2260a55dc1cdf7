//! The executor: what its users see of the pool.

use super::call::{self, Context, ItemCall, Travels};
use super::carry::Way;
use super::image;
use super::output::Output;
use super::pool::{Counts, Pool, Settings, WINDOW_MAX};
use super::start::{Start, Starter, is_initialised};
use super::worker::{Limit, Setup};
use crate::executor::map::Work;
use crate::executor::roster::Refused;
use crate::executor::verbs;
use crate::executor::{Chunk, Executor, Map, Submit, TryMap, TrySubmitError, WithTimeout};
use crate::task::{Call, Shutdown, Task, TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::sync::Mutex;
use ropewalk_core::task::harness;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// How long a task has to stop after it was asked to, if nothing else is said.
const GRACE: Duration = Duration::from_millis(500);

/// Runs work in other processes, where a crash costs the task that crashed and nothing else.
///
/// A worker is this program, started once more: `ropewalk::init()` comes first in its `main`, which `#[ropewalk::main]` sees
/// to. What runs there is a function of the program, and what it takes and gives goes over by serde: a call that a
/// [`#[task]`](macro@crate::task) makes, or a plain function with an argument. A closure may be given as long as it captures
/// nothing; one that does is refused by the compiler.
///
/// # When a worker dies
///
/// By a signal, by `exit`, or because it was killed: the task that it ran ends as
/// [`WorkerDied`](TaskError::WorkerDied). Tasks that were only on their way to it go to another one, and a new worker takes its
/// place. A task that kills workers is not tried again. When the program's process dies, its workers do too, with whatever
/// they have started.
///
/// # Signals
///
/// Each worker has a process group of its own, so Ctrl-C at a terminal reaches the program alone. A program that ends by it takes its
/// workers along; one that handles it decides what becomes of their tasks, by the kind of [`Shutdown`].
///
/// # Cancel safety
///
/// A task that is cancelled, or out of time, is asked to stop: its waits end. One that does not listen is killed with its worker
/// after a [grace](Builder::grace).
///
/// # Examples
///
/// What captures something does not compile:
///
/// ```compile_fail,E0308
/// # let pool = ropewalk::ProcessPoolExecutor::new(1).unwrap();
/// let factor = 3_u64;
/// pool.spawn(|n: u64| factor * n, 14);
/// ```
///
/// Dropping it waits for its jobs, as [`Shutdown::Wait`].
///
/// ```
/// use ropewalk::{ProcessPoolExecutor, TaskError};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     ropewalk::init();
///     let pool = ProcessPoolExecutor::new(2)?;
///
///     let squares: Vec<u64> = pool.map(|n: u64| n * n, 1..=5).collect();
///     assert_eq!(squares, [1, 4, 9, 16, 25]);
///
///     let crash = pool.spawn(|_: u8| -> u8 { std::process::abort() }, 0);
///     assert!(matches!(crash.join(), Err(TaskError::WorkerDied { .. })));
///     assert_eq!(pool.spawn(|name: String| name.len(), "hemp".to_owned()).join()?, 4);
///     Ok(())
/// }
/// ```
#[doc(alias = "Pool")]
#[doc(alias = "multiprocessing")]
pub struct ProcessPoolExecutor {
    pool: Arc<Pool>,
}

/// Why there is no pool, or no process.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// `ropewalk::init()` has not run in this process.
    NotInitialised,
    /// This program cannot send functions to another process.
    Image(String),
    /// The process could not be started.
    Start(io::Error),
    /// What the process is to begin with could not be made ready to be sent.
    Argument(TaskError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInitialised => f.write_str(
                "work in other processes starts this program once more, so `main` has to begin with `ropewalk::init();`, or to \
                 stand under `#[ropewalk::main]`; in tests put `ropewalk::test_support!();` into the test program, once",
            ),
            Self::Image(why) => f.write_str(why),
            Self::Start(error) => write!(f, "no process could be started: {error}"),
            Self::Argument(error) => write!(f, "what the process is to begin with cannot be sent: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Argument(error) => Some(error),
            _ => None,
        }
    }
}

/// What a worker may use, as the system holds it: past a limit its calls fail, or it is killed.
#[derive(Clone, Debug, Default)]
pub struct Limits(pub(super) Vec<(Limit, u64)>);

impl Limits {
    /// No limits yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seconds of processor time, over all tasks of a worker.
    pub fn cpu_seconds(self, seconds: u64) -> Self {
        self.and(Limit::CpuSeconds, seconds)
    }

    /// Bytes of address space. An allocation beyond them fails, which aborts a Rust program.
    pub fn address_space(self, bytes: u64) -> Self {
        self.and(Limit::AddressSpace, bytes)
    }

    /// Open descriptors.
    pub fn open_files(self, count: u64) -> Self {
        self.and(Limit::OpenFiles, count)
    }

    /// Bytes of a core dump; 0 for none.
    pub fn core_bytes(self, bytes: u64) -> Self {
        self.and(Limit::CoreBytes, bytes)
    }

    fn and(mut self, limit: Limit, value: u64) -> Self {
        self.0.push((limit, value));
        self
    }
}

/// Makes a [`ProcessPoolExecutor`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    settings: Settings,
    start: Start,
    preload: Option<fn()>,
    /// Why there will be no pool.
    failed: Option<TaskError>,
}

impl Builder {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let setup = Setup { may_spin: cores > 1, ..Setup::default() };
        let settings = Settings {
            workers: cores,
            queue_limit: usize::MAX,
            window_max: WINDOW_MAX,
            task_timeout: None,
            grace: GRACE,
            tasks_max: None,
            rss_max: None,
            setup,
            output: Output::default(),
            initializer: None,
        };
        Self { settings, start: Start::default(), preload: None, failed: None }
    }

    /// How many workers there are; said nothing, one a core.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers.max(1);
        self
    }

    /// How many tasks may be submitted and not ended; said nothing, any number. [`submit`](Submit::submit) waits beyond it.
    pub fn queue_limit(mut self, tasks: usize) -> Self {
        self.settings.queue_limit = tasks.max(1);
        self
    }

    /// How many tasks may be with one worker at most, from 1 to 16: the one that runs, and those that were sent there because
    /// tasks have been short lately. Said nothing, 16. What has come to lie behind a long one goes to the next worker that has
    /// nothing to do. With 1 each is in the queue until a worker is free, which costs a short task the time that the next one takes
    /// to arrive.
    #[doc(alias = "prefetch")]
    pub fn window(mut self, tasks: usize) -> Self {
        self.settings.window_max = tasks.clamp(1, WINDOW_MAX);
        self
    }

    /// How workers are started.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Runs once in the process from which workers are forked, which share what it made until they change it. It must not leave a
    /// thread behind.
    #[doc(alias = "set_forkserver_preload")]
    pub fn preload(mut self, function: fn()) -> Self {
        self.preload = Some(function);
        self
    }

    /// How long each task may run, once it does. Then it is asked to stop, killed after the [grace](Self::grace), and ends as
    /// [`TimedOut`](TaskError::TimedOut). For a limit that begins with the submit, of some tasks only, there is
    /// [`timeout`](ProcessPoolExecutor::timeout).
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.settings.task_timeout = Some(timeout);
        self
    }

    /// How long a task that was asked to stop has for it. Said nothing, half a second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// After so many tasks a worker is replaced by a new one.
    #[doc(alias = "max_tasks_per_child")]
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.settings.tasks_max = Some(tasks.max(1));
        self
    }

    /// A worker that has more bytes than this in memory is replaced when it has done what it has.
    pub fn max_rss(mut self, bytes: u64) -> Self {
        self.settings.rss_max = Some(bytes);
        self
    }

    /// What each worker may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.setup.limits = limits.0;
        self
    }

    /// Where standard output and error of the workers lead. Said nothing, where those of this process do.
    pub fn output(mut self, output: Output) -> Self {
        self.settings.output = output;
        self
    }

    /// What each worker calls before its first task. A worker in which it fails is ended, and a pool in which it fails again and
    /// again gives up.
    ///
    /// Its argument may hold what processes share, of [`ipc`](super::ipc): for the tasks the function puts it into a static.
    pub fn initializer<A: Travels>(mut self, function: fn(A), argument: A) -> Self {
        match call::pack_function(function, argument, Way::Descriptors) {
            Ok(packed) => self.settings.initializer = Some((packed.asked, packed.body)),
            Err(error) => self.failed = Some(error),
        }
        self
    }

    /// Starts the pool: its first worker now, the others at once after it.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says what to do.
    pub fn build(self) -> Result<ProcessPoolExecutor, BuildError> {
        can_start()?;
        if let Some(failed) = self.failed {
            return Err(BuildError::Argument(failed));
        }
        let preload = match self.preload {
            Some(function) => {
                let offset =
                    image::Offset::of(function as usize).map_err(|error| BuildError::Image(error.to_string()))?;
                Some(offset.0)
            }
            None => None,
        };
        crate::io::watch_for_async();
        let pool = Pool::start(self.settings, Starter::new(self.start, preload)).map_err(BuildError::Start)?;
        let closes: Arc<dyn crate::thread::Close> = Arc::clone(&pool) as _;
        crate::thread::close_at_exit(Arc::downgrade(&closes));
        Ok(ProcessPoolExecutor { pool })
    }
}

/// Whether this program can be started as a process of ours at all.
pub(super) fn can_start() -> Result<(), BuildError> {
    if !is_initialised() {
        return Err(BuildError::NotInitialised);
    }
    image::build_id().map(drop).map_err(|error| BuildError::Image(error.to_string()))
}

impl crate::thread::Close for Pool {
    fn close(&self) {
        Pool::close(self, false);
        self.ended.wait();
    }
}

/// A chunk of a map, as it is submitted.
pub enum ProcessChunk<A, R> {
    /// To be sent.
    Ready {
        /// What is called.
        call: Arc<ItemCall>,
        /// With each of these.
        items: Vec<A>,
        /// What it gives.
        gives: PhantomData<fn() -> R>,
    },
    /// In the slot, if it is sent at all.
    Later(Arc<Mutex<Option<Self>>>),
}

impl<A, R> fmt::Debug for ProcessChunk<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessChunk").finish_non_exhaustive()
    }
}

impl<A: Travels, R: Travels> Work for ProcessChunk<A, R> {
    fn later(slot: Arc<Mutex<Option<Self>>>) -> Self {
        Self::Later(slot)
    }
}

/// The results of [`ProcessPoolExecutor::map`].
pub type ProcessMap<'e, A, R, I> = Map<'e, ProcessPoolExecutor, ItemCall, I, R, ProcessChunk<A, R>>;

/// The results of [`ProcessPoolExecutor::try_map`].
pub type ProcessTryMap<'e, A, R, I> = TryMap<'e, ProcessPoolExecutor, ItemCall, I, R, ProcessChunk<A, R>>;

/// Packs what is submitted.
trait Packs: Sized {
    type Output: Send + 'static;

    fn pack(self) -> Result<call::Packed<Self::Output>, TaskError>;
}

impl<A, R> Packs for Call<A, R>
where
    A: Task<Tuple: Serialize + DeserializeOwned>,
    R: Travels,
{
    type Output = R;

    fn pack(self) -> Result<call::Packed<R>, TaskError> {
        let (_, arguments, run) = self.into_parts();
        call::pack_call(arguments, run, Way::Pieces)
    }
}

/// A pool, and what its calls share; see [`ProcessPoolExecutor::with`].
pub struct With<'e, C> {
    executor: &'e ProcessPoolExecutor,
    context: Context,
    of: PhantomData<fn(&C)>,
}

impl<'e, C: Travels> With<'e, C> {
    /// As [`ProcessPoolExecutor::spawn`].
    #[track_caller]
    pub fn spawn<A: Travels, R: Travels>(&self, function: fn(&C, A) -> R, argument: A) -> TaskHandle<R> {
        self.executor.send(Contextual { context: self.context.clone(), function, argument })
    }

    /// As [`ProcessPoolExecutor::map`].
    pub fn map<A, I, R>(&self, function: fn(&C, A) -> R, items: I) -> ProcessMap<'e, A, R, I::IntoIter>
    where
        A: Travels,
        I: IntoIterator<Item = A>,
        R: Travels,
    {
        Map::new(self.try_map(function, items))
    }

    /// As [`ProcessPoolExecutor::try_map`].
    pub fn try_map<A, I, R>(&self, function: fn(&C, A) -> R, items: I) -> ProcessTryMap<'e, A, R, I::IntoIter>
    where
        A: Travels,
        I: IntoIterator<Item = A>,
        R: Travels,
    {
        self.executor.map_items(ItemCall::with(&self.context, function), items)
    }
}

impl<C> fmt::Debug for With<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With").field("bytes", &self.context.bytes.len()).finish_non_exhaustive()
    }
}

/// A call with a context.
struct Contextual<C, A, R> {
    context: Context,
    function: fn(&C, A) -> R,
    argument: A,
}

impl<C: Travels, A: Travels, R: Travels> Packs for Contextual<C, A, R> {
    type Output = R;

    fn pack(self) -> Result<call::Packed<R>, TaskError> {
        call::pack_with(&self.context, self.function, self.argument)
    }
}

/// A plain function with its argument.
struct Plain<A, R>(fn(A) -> R, A);

impl<A: Travels, R: Travels> Packs for Plain<A, R> {
    type Output = R;

    fn pack(self) -> Result<call::Packed<R>, TaskError> {
        call::pack_function(self.0, self.1, Way::Pieces)
    }
}

impl<A: Travels, R: Travels> Packs for ProcessChunk<A, R> {
    type Output = Chunk<R>;

    fn pack(self) -> Result<call::Packed<Chunk<R>>, TaskError> {
        match self {
            Self::Ready { call, items, .. } => call::pack_chunk(&call, items),
            Self::Later(slot) => {
                let job = slot.lock().take();
                job.expect("taken back only if this was not submitted").pack()
            }
        }
    }
}

/// The handle of a task that could not be sent.
fn failed<T: Send + 'static>(error: TaskError) -> TaskHandle<T> {
    let (task, handle) = harness::new_task(0, move || Err(error));
    task.run();
    handle
}

impl ProcessPoolExecutor {
    /// A pool of so many workers.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        Self::builder().max_workers(workers).build()
    }

    /// For a pool with limits, time limits, or workers that are replaced now and then.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Calls a plain function in a worker.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait for a place.
    #[track_caller]
    pub fn spawn<A: Travels, R: Travels>(&self, function: fn(A) -> R, argument: A) -> TaskHandle<R> {
        self.send(Plain(function, argument))
    }

    /// Calls `function` for each item and gives the results in order, as they are asked for.
    ///
    /// Lazy and bounded as every [map](crate::ThreadPoolExecutor::map), and small items go over in chunks whose size finds itself.
    /// When a worker dies, all items of its chunk end as [`WorkerDied`](TaskError::WorkerDied): where items may crash, say
    /// `.chunk(1)`.
    pub fn map<A, I, R>(&self, function: fn(A) -> R, items: I) -> ProcessMap<'_, A, R, I::IntoIter>
    where
        A: Travels,
        I: IntoIterator<Item = A>,
        R: Travels,
    {
        Map::new(self.try_map(function, items))
    }

    /// [`map`](Self::map) that gives a panic, or the death of a worker, as an error at its place and goes on.
    pub fn try_map<A, I, R>(&self, function: fn(A) -> R, items: I) -> ProcessTryMap<'_, A, R, I::IntoIter>
    where
        A: Travels,
        I: IntoIterator<Item = A>,
        R: Travels,
    {
        self.map_items(ItemCall::of(function), items)
    }

    fn map_items<A, I, R>(&self, call: ItemCall, items: I) -> ProcessTryMap<'_, A, R, I::IntoIter>
    where
        A: Travels,
        I: IntoIterator<Item = A>,
        R: Travels,
    {
        let chunk = |call, items| ProcessChunk::Ready { call, items, gives: PhantomData };
        TryMap::with(self, call, items.into_iter(), chunk)
    }

    /// For functions that take something besides their argument which is the same for all calls, what a closure would capture:
    /// it is encoded once, and goes to each worker once.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] when it cannot be serialized.
    ///
    /// # Examples
    ///
    /// ```
    /// ropewalk::init();
    /// let pool = ropewalk::ProcessPoolExecutor::new(1)?;
    /// let words = vec!["hemp".to_owned(), "jute".to_owned()];
    /// let known = pool.with(&words)?;
    /// let found: Vec<bool> =
    ///     known.map(|words: &Vec<String>, word: String| words.contains(&word), ["jute".to_owned(), "tow".to_owned()]).collect();
    /// assert_eq!(found, [true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "partial")]
    pub fn with<C: Travels>(&self, context: &C) -> Result<With<'_, C>, TaskError> {
        Ok(With { executor: self, context: Context::new(context)?, of: PhantomData })
    }

    /// Runs all calls and returns their results in order.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn run_all<J, T>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<T, TaskError>>
    where
        Self: Submit<J, Output = T>,
        T: Send + 'static,
    {
        Executor::run_all(self, jobs)
    }

    /// This executor with a time limit for each job, which begins when the job is submitted; see [`Executor::timeout`].
    pub fn timeout(&self, limit: Duration) -> WithTimeout<'_, Self> {
        Executor::timeout(self, limit)
    }

    /// Takes no more tasks and ends the workers; waits as `how` says. [`Shutdown::Kill`] does not wait for tasks that run: their
    /// workers are killed.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) {
        Executor::shutdown(self, how);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.pool.counts()
    }

    /// Whether so many workers have died without a task done that it starts no more: whatever is submitted ends as
    /// [`WorkerDied`](TaskError::WorkerDied), and a new pool is needed.
    #[doc(alias = "BrokenProcessPool")]
    pub fn has_given_up(&self) -> bool {
        self.pool.has_given_up()
    }

    /// The numbers of the worker processes there are.
    #[doc(alias = "pids")]
    pub fn worker_ids(&self) -> Vec<u32> {
        self.pool.worker_ids()
    }

    #[track_caller]
    fn send<J: Packs>(&self, job: J) -> TaskHandle<J::Output> {
        match self.pool.roster.enter(self.pool.settings.queue_limit) {
            Ok(member) => self.enlist(member, job),
            Err(_) => verbs::refused(),
        }
    }

    fn try_send<J: Packs>(&self, job: J) -> Result<TaskHandle<J::Output>, TrySubmitError<J>> {
        match self.pool.roster.try_enter(self.pool.settings.queue_limit) {
            Ok(member) => Ok(self.enlist(member, job)),
            Err(Refused::Full) => Err(TrySubmitError::Full(job)),
            Err(Refused::Closed) => Err(TrySubmitError::Shutdown(job)),
        }
    }

    async fn send_async<J: Packs>(&self, job: J) -> TaskHandle<J::Output> {
        match self.pool.roster.enter_async(self.pool.settings.queue_limit).await {
            Ok(member) => self.enlist(member, job),
            Err(_) => verbs::refused(),
        }
    }

    fn enlist<J: Packs>(&self, member: crate::executor::roster::Member, job: J) -> TaskHandle<J::Output> {
        // What cannot be packed, or panics then, leaves its place.
        let mut place = Place { member: Some(member), pool: &self.pool };
        let packed = job.pack();
        match (packed, place.member.take()) {
            (Ok(packed), Some(member)) => self.pool.submit(member, packed),
            (Ok(_), None) => verbs::refused(),
            (Err(error), member) => {
                place.member = member;
                failed(error)
            }
        }
    }
}

/// A place in the roster that nobody has taken yet.
struct Place<'a> {
    member: Option<crate::executor::roster::Member>,
    pool: &'a Pool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            drop(member);
            self.pool.somebody_left();
        }
    }
}

impl<A, R> Submit<Call<A, R>> for ProcessPoolExecutor
where
    A: Task<Tuple: Serialize + DeserializeOwned>,
    R: Travels,
{
    type Output = R;

    #[track_caller]
    fn submit(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.send(call)
    }

    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        self.try_send(call)
    }

    fn submit_async(&self, call: Call<A, R>) -> impl Future<Output = TaskHandle<R>> {
        self.send_async(call)
    }
}

impl<A: Travels, R: Travels> Submit<ProcessChunk<A, R>> for ProcessPoolExecutor {
    type Output = Chunk<R>;

    #[track_caller]
    fn submit(&self, chunk: ProcessChunk<A, R>) -> TaskHandle<Chunk<R>> {
        self.send(chunk)
    }

    fn try_submit(
        &self,
        chunk: ProcessChunk<A, R>,
    ) -> Result<TaskHandle<Chunk<R>>, TrySubmitError<ProcessChunk<A, R>>> {
        self.try_send(chunk)
    }

    fn submit_async(&self, chunk: ProcessChunk<A, R>) -> impl Future<Output = TaskHandle<Chunk<R>>> {
        self.send_async(chunk)
    }
}

impl Executor for ProcessPoolExecutor {
    #[track_caller]
    fn shutdown(&self, how: Shutdown) {
        let pool = &self.pool;
        let waits = how != Shutdown::Detach && !pool.is_keeper() && !pool.ended.is_set();
        pool.roster.close();
        if waits {
            park::refuse_in_async();
        }
        if matches!(how, Shutdown::CancelPending | Shutdown::Kill) {
            pool.roster.cancel(how == Shutdown::Kill);
        }
        pool.close(how == Shutdown::Kill);
        if waits {
            pool.ended.wait();
        }
    }

    fn parallelism(&self) -> usize {
        self.pool.settings.workers
    }
}

impl Drop for ProcessPoolExecutor {
    /// Waits for what was submitted, as [`Shutdown::Wait`]. In a greenlet that unwinds, and in async code, where waiting would
    /// stop others, its jobs end by themselves.
    #[track_caller]
    fn drop(&mut self) {
        if !park::would_stop_others() {
            Executor::shutdown(self, Shutdown::Wait);
            return;
        }
        Executor::shutdown(self, Shutdown::Detach);
        assert!(
            std::thread::panicking() || self.pool.ended.is_set(),
            "a ProcessPoolExecutor was dropped in async context, where waiting for its jobs would stop every task of this thread; \
             shut it down before, with `shutdown(Shutdown::Detach)` if nothing waits for them"
        );
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor")
            .field("max_workers", &self.pool.settings.workers)
            .field("counts", &self.counts())
            .finish()
    }
}
