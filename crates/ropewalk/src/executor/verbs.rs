//! The verbs that every executor has, written once over [`Submit`] and [`Executor`].
//!
//! They are provided methods of [`Executor`], for generic code. Each executor of ours has them as methods of its own too, so
//! that `pool.map(..)` needs no trait in scope; the macros below write those, each a line that leads here.

use super::{Chunk, ChunkJob, Executor, Map, Submit, TryMap};
use crate::task::{TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::task::harness;

/// An executor that can run the chunks of a map with results `R`: one that takes closures.
///
/// # Examples
///
/// ```
/// use ropewalk::{InlineExecutor, ThreadPoolExecutor, executor::Maps};
///
/// fn squares<E: Maps<u64>>(executor: &E) -> Vec<u64> {
///     executor.map(|n: u64| n * n, 1..4).collect()
/// }
///
/// assert_eq!(squares(&ThreadPoolExecutor::new(2)), [1, 4, 9]);
/// assert_eq!(squares(&InlineExecutor::new()), [1, 4, 9]);
/// ```
pub trait Maps<R>: Submit<ChunkJob<R>, Output = Chunk<R>> + Executor {}

impl<E, R> Maps<R> for E where E: Submit<ChunkJob<R>, Output = Chunk<R>> + Executor {}

pub(super) fn try_map<E, F, I, R>(executor: &E, function: F, items: I) -> TryMap<'_, E, F, I::IntoIter, R>
where
    E: Maps<R>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: IntoIterator<Item: Send + 'static>,
    R: Send + 'static,
{
    let map = TryMap::new(executor, function, items.into_iter());
    // A chunk runs one item after another: right for threads, which compute; greenlets wait, each for itself.
    if executor.splits_chunks() { map } else { map.chunk(1) }
}

pub(super) fn map<E, F, I, R>(executor: &E, function: F, items: I) -> Map<'_, E, F, I::IntoIter, R>
where
    E: Maps<R>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: IntoIterator<Item: Send + 'static>,
    R: Send + 'static,
{
    Map::new(try_map(executor, function, items))
}

#[track_caller]
pub(super) fn for_each<E, F, I, R>(executor: &E, function: F, items: I)
where
    E: Maps<()>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: IntoIterator<Item: Send + 'static>,
{
    park::refuse_in_async();
    let mut failed = None;
    // What the function returns is dropped where it was made.
    for done in try_map(executor, move |item| drop(function(item)), items).unordered() {
        if let Err(error) = done {
            failed.get_or_insert(error);
        }
    }
    if let Some(error) = failed {
        error.resume();
    }
}

#[track_caller]
pub(super) fn run_all<E, J, T>(executor: &E, jobs: impl IntoIterator<Item = J>) -> Vec<Result<T, TaskError>>
where
    E: Submit<J, Output = T>,
    T: Send + 'static,
{
    park::refuse_in_async();
    let handles: Vec<TaskHandle<T>> = jobs.into_iter().map(|job| executor.submit(job)).collect();
    handles.into_iter().map(TaskHandle::join).collect()
}

/// The handle of a job that came after shutdown.
pub(crate) fn refused<T: Send + 'static>() -> TaskHandle<T> {
    let (task, handle) = harness::new_task(0, || Err(TaskError::Shutdown));
    task.cancel(TaskError::Shutdown);
    handle
}

/// `run_all` and `timeout` as methods of an executor's own. `$new` makes one, `$jobs` are three jobs that give 0, 10 and 20.
macro_rules! own_verbs {
    ($new:literal, $jobs:literal) => {
        /// Runs all jobs and returns their results in order.
        ///
        /// # Panics
        ///
        /// In async code.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let executor = ropewalk::", $new, ";")]
        #[doc = concat!("let results = executor.run_all(", $jobs, ");")]
        /// let results: Result<Vec<_>, _> = results.into_iter().collect();
        /// assert_eq!(results.unwrap(), [0, 10, 20]);
        /// ```
        #[track_caller]
        pub fn run_all<J, T>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<T, $crate::TaskError>>
        where
            Self: $crate::Submit<J, Output = T>,
            T: Send + 'static,
        {
            $crate::Executor::run_all(self, jobs)
        }

        /// This executor with a time limit for each job, which begins when the job is submitted; see
        #[doc = "[`Executor::timeout`](crate::Executor::timeout)."]
        pub fn timeout(&self, limit: std::time::Duration) -> $crate::executor::WithTimeout<'_, Self> {
            $crate::Executor::timeout(self, limit)
        }
    };
}
pub(crate) use own_verbs;

/// `map`, `try_map` and `for_each` as methods of an executor's own, which takes closures. `$new` makes one.
macro_rules! own_maps {
    ($new:literal) => {
        /// Calls `function` for each item and gives the results in order, as they are asked for.
        ///
        /// Lazy and bounded: items are taken from the iterator only as far ahead as
        #[doc = "[`Map::buffer`](crate::executor::Map::buffer) says, so an endless"]
        /// iterator is no problem. Where jobs compute, small items are sent in chunks whose size finds itself. A panic of
        /// `function` is re-thrown at the place of its item. Dropping the map cancels what has not started, and does not
        /// wait.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let executor = ropewalk::", $new, ";")]
        /// let lengths: Vec<usize> = executor.map(|word: &str| word.len(), ["one", "three", "eleven"]).collect();
        /// assert_eq!(lengths, [3, 5, 6]);
        /// ```
        pub fn map<F, I, R>(&self, function: F, items: I) -> $crate::executor::Map<'_, Self, F, I::IntoIter, R>
        where
            F: Fn(I::Item) -> R + Send + Sync + 'static,
            I: IntoIterator<Item: Send + 'static>,
            R: Send + 'static,
        {
            $crate::Executor::map(self, function, items)
        }

        /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
        pub fn try_map<F, I, R>(&self, function: F, items: I) -> $crate::executor::TryMap<'_, Self, F, I::IntoIter, R>
        where
            F: Fn(I::Item) -> R + Send + Sync + 'static,
            I: IntoIterator<Item: Send + 'static>,
            R: Send + 'static,
        {
            $crate::Executor::try_map(self, function, items)
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
        /// use std::sync::atomic::{AtomicU32, Ordering};
        /// static SUM: AtomicU32 = AtomicU32::new(0);
        ///
        #[doc = concat!("let executor = ropewalk::", $new, ";")]
        /// executor.for_each(|n| { SUM.fetch_add(n, Ordering::Relaxed); }, 1..=4);
        /// assert_eq!(SUM.load(Ordering::Relaxed), 10);
        /// ```
        #[track_caller]
        pub fn for_each<F, I, R>(&self, function: F, items: I)
        where
            F: Fn(I::Item) -> R + Send + Sync + 'static,
            I: IntoIterator<Item: Send + 'static>,
        {
            $crate::Executor::for_each(self, function, items);
        }
    };
}
pub(crate) use own_maps;

/// `scope` as a method of an executor's own. `$new` makes one, `$home` is what runs its borrowed jobs.
macro_rules! own_scope {
    ($new:literal, $this:ident => $home:expr) => {
        /// Runs `body` with a scope whose jobs may borrow, and waits for them all.
        ///
        /// # Cancel safety
        ///
        /// Whoever is cancelled in here, in the body or in the wait for the jobs, cancels the jobs, waits until they have
        /// ended, and unwinds then.
        ///
        /// # Panics
        ///
        /// When `body` or one of the jobs panicked: the first panic cancels the other jobs of the scope and is re-thrown
        /// when all have ended. In async code.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let executor = ropewalk::", $new, ";")]
        /// let mut halves = [0, 0];
        /// let numbers: Vec<u32> = (1..=100).collect();
        /// let (left, right) = halves.split_at_mut(1);
        /// executor.scope(|scope| {
        ///     drop(scope.submit(|| left[0] = numbers[..50].iter().sum::<u32>()));
        ///     drop(scope.submit(|| right[0] = numbers[50..].iter().sum::<u32>()));
        /// });
        /// assert_eq!(halves, [1275, 3775]);
        /// ```
        #[track_caller]
        pub fn scope<'env, F, R>(&self, body: F) -> R
        where
            F: for<'scope> FnOnce(&'scope $crate::executor::Scope<'scope, 'env>) -> R,
        {
            let $this = self;
            $crate::executor::scope::run($home, body)
        }
    };
}
pub(crate) use own_scope;
