//! Async tasks on tokio's multi-threaded runtime, behind the verbs and the handle of every executor.

use crate::executor::roster::{Member, Roster};
use crate::executor::verbs::{self, own_verbs};
use crate::executor::{ChunkFuture, Executor, Map, Submit, TryMap, TrySubmitError};
use crate::io::{ManyThreads, TokioHandle, polled_at, watch_for_async};
use crate::spans::{self, On};
use crate::task::{Call, Shutdown, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::task::harness::{self, Runnable};
use ropewalk_core::task::promise::{AsyncJob, FutureTask, StartAsync};
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

/// How many tasks a thread has under way at once as far as maps are concerned.
const TASKS_PER_THREAD: usize = 64;

/// Runs futures on a tokio runtime with threads of its own.
///
/// What it gives is the [`TaskHandle`] of every other executor: joined from a thread or a greenlet, awaited from a task.
/// Every primitive of [`sync`](crate::sync) has an async form, so tasks, greenlets and threads share one lock or queue.
///
/// Dropping it waits for its tasks, as [`Shutdown::Wait`].
///
/// # Examples
///
/// ```
/// use ropewalk::{AsyncExecutor, Submit, greenlet::gather};
///
/// let executor = AsyncExecutor::new(2);
/// let sum = executor.submit(async {
///     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
///     20 + 22
/// });
/// assert_eq!(sum.join().unwrap(), 42);
///
/// let all = executor.block_on(gather((0..3).map(|n| executor.submit(async move { n * n }))));
/// assert_eq!(all.unwrap(), [0, 1, 4]);
/// ```
///
/// A closure is no future, and one that blocks would stop every task of its thread: the compiler refuses it, and says so.
///
/// ```compile_fail,E0277
/// use ropewalk::{AsyncExecutor, Submit};
///
/// AsyncExecutor::new(1).submit(|| 20 + 22);
/// ```
#[doc(alias = "asyncio")]
pub struct AsyncExecutor {
    runtime: ManyThreads,
    threads: usize,
    roster: Arc<Roster>,
}

impl AsyncExecutor {
    /// An executor with `threads` threads.
    ///
    /// # Panics
    ///
    /// When `threads` is 0, or the system cannot start them; [`build`](Self::build) returns that as an error.
    #[track_caller]
    pub fn new(threads: usize) -> Self {
        Self::build(Some(threads)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// An executor with `threads` threads, or one a core.
    ///
    /// # Errors
    ///
    /// When there are to be none, or the system cannot start them.
    pub fn build(threads: Option<usize>) -> io::Result<Self> {
        watch_for_async();
        if threads == Some(0) {
            let what = "an AsyncExecutor with 0 threads could never run anything: give it at least 1";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self { runtime: ManyThreads::start(threads)?, threads, roster: Arc::default() })
    }

    own_verbs!("AsyncExecutor::new(2)", "(0..3).map(|n| async move { 10 * n })");

    /// Polls the future that `function` makes of each item, and gives the results in order, as they are asked for: lazy and
    /// bounded as [`ThreadPoolExecutor::map`](crate::ThreadPoolExecutor::map), with a task for each item.
    ///
    /// # Examples
    ///
    /// ```
    /// let executor = ropewalk::AsyncExecutor::new(2);
    /// let squares: Vec<u64> = executor.map(|n| async move { n * n }, 1..).take(3).collect();
    /// assert_eq!(squares, [1, 4, 9]);
    ///
    /// let sum = executor.block_on(async {
    ///     let (mut lengths, mut sum) = (executor.map(async |word: &str| word.len(), ["hemp", "jute"]), 0);
    ///     while let Some(length) = lengths.next_async().await {
    ///         sum += length;
    ///     }
    ///     sum
    /// });
    /// assert_eq!(sum, 8);
    /// ```
    pub fn map<F, I, U>(
        &self,
        function: F,
        items: I,
    ) -> Map<'_, Self, F, I::IntoIter, U::Output, ChunkFuture<U::Output>>
    where
        F: Fn(I::Item) -> U + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        U: Future<Output: Send + 'static> + Send + 'static,
    {
        Map::new(self.try_map(function, items))
    }

    /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
    pub fn try_map<F, I, U>(
        &self,
        function: F,
        items: I,
    ) -> TryMap<'_, Self, F, I::IntoIter, U::Output, ChunkFuture<U::Output>>
    where
        F: Fn(I::Item) -> U + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        U: Future<Output: Send + 'static> + Send + 'static,
    {
        TryMap::of_futures(self, function, items.into_iter()).chunk(1)
    }

    /// tokio's handle to the runtime, for what wants one.
    pub fn handle(&self) -> &TokioHandle {
        self.runtime.handle()
    }

    /// Waits for a future from a thread or a greenlet, polled in this runtime's context.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        crate::io::block_on(std::future::poll_fn(|context| {
            let _entered = self.runtime.handle().enter();
            future.as_mut().poll(context)
        }))
    }

    /// Runs something that blocks or computes for long on a thread where that is right; its handle can be awaited.
    ///
    /// # Examples
    ///
    /// ```
    /// let executor = ropewalk::AsyncExecutor::new(1);
    /// let length = executor.block_on(async {
    ///     executor.spawn_blocking(|| std::fs::read("Cargo.toml").map(|bytes| bytes.len())).await
    /// });
    /// assert!(length.unwrap().unwrap() > 0);
    /// ```
    pub fn spawn_blocking<F, T>(&self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        super::offload_pool().submit(job)
    }

    fn finish(&self) {
        self.roster.join();
        self.runtime.end();
    }

    /// Takes no more futures and ends the executor; waits as `how` says.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait; use [`shutdown_async`](Self::shutdown_async) there.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) {
        Executor::shutdown(self, how);
    }

    /// [`shutdown`](Self::shutdown) in async code.
    pub async fn shutdown_async(&self, how: Shutdown) {
        self.begin_shutdown(how);
        if how != Shutdown::Detach {
            self.roster.join_async().await;
            self.runtime.end();
        }
    }

    fn begin_shutdown(&self, how: Shutdown) {
        self.roster.close();
        match how {
            Shutdown::CancelPending => self.roster.cancel(false),
            Shutdown::Kill => self.roster.cancel(true),
            _ => {}
        }
    }
}

/// What a task holds until it is gone: the roster's weak link to it, and its place there.
struct Leaves {
    _runnable: Arc<dyn Runnable>,
    _member: Member,
}

/// How a job starts that has a place in the roster.
struct Starter<'e>(&'e AsyncExecutor, Member);

impl StartAsync for Starter<'_> {
    fn start_future<F>(self, future: F) -> TaskHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let Self(executor, member) = self;
        let (task, runnable, handle) = FutureTask::new(spans::future(On::Async, future));
        executor.roster.list(&runnable);
        let leaves = Leaves { _runnable: runnable, _member: member };
        let deadline = task.deadline();
        drop(executor.runtime.handle().spawn(async move {
            // Dropped after the task, whether it ends or the runtime drops it.
            let _leaves = leaves;
            match deadline {
                None => task.await,
                Some(deadline) => polled_at(deadline, task).await,
            }
        }));
        handle
    }

    fn start_call<A: Send + 'static, R: Send + 'static>(self, call: Call<A, R>) -> TaskHandle<R> {
        let Self(executor, member) = self;
        let (task, handle) = harness::new_guarded_task(0, spans::call(On::Async, call), member);
        executor.roster.list(&task);
        super::offload_pool().run(task, Location::caller());
        handle
    }
}

impl<J: AsyncJob> Submit<J> for AsyncExecutor {
    type Output = J::Output;

    fn submit(&self, job: J) -> TaskHandle<J::Output> {
        // There is no limit to wait for.
        match self.roster.try_enter(usize::MAX) {
            Ok(member) => job.start(Starter(self, member)),
            Err(_) => verbs::refused(),
        }
    }

    fn try_submit(&self, job: J) -> Result<TaskHandle<J::Output>, TrySubmitError<J>> {
        match self.roster.try_enter(usize::MAX) {
            Ok(member) => Ok(job.start(Starter(self, member))),
            Err(_) => Err(TrySubmitError::Shutdown(job)),
        }
    }

    async fn submit_async(&self, job: J) -> TaskHandle<J::Output> {
        self.submit(job)
    }
}

impl Executor for AsyncExecutor {
    #[track_caller]
    fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Detach {
            park::refuse_in_async();
        }
        self.begin_shutdown(how);
        if how != Shutdown::Detach {
            self.finish();
        }
    }

    /// Tasks wait rather than compute, so many more than there are threads run at once.
    fn parallelism(&self) -> usize {
        self.threads * TASKS_PER_THREAD
    }

    fn splits_chunks(&self) -> bool {
        false
    }
}

impl Drop for AsyncExecutor {
    #[track_caller]
    fn drop(&mut self) {
        self.begin_shutdown(Shutdown::Detach);
        if self.roster.alive() > 0 && !park::in_async_context() && !std::thread::panicking() {
            self.roster.join();
        }
        assert!(
            self.roster.alive() == 0 || std::thread::panicking(),
            "an AsyncExecutor was dropped in async context, where waiting for its tasks would stop every task of this \
             thread; call `shutdown_async(..).await` before"
        );
        self.runtime.end();
    }
}

impl fmt::Debug for AsyncExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncExecutor")
            .field("threads", &self.threads)
            .field("alive", &self.roster.alive())
            .finish_non_exhaustive()
    }
}
