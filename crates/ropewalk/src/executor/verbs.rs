//! The verbs that every executor has, written once over [`Submit`] and [`Executor`].

use super::{Chunk, ChunkJob, Executor, Map, Submit, TryMap};
use crate::task::{TaskError, TaskHandle};
use ropewalk_core::park;
#[cfg(all(unix, feature = "greenlet"))]
use ropewalk_core::task::harness;

/// An executor that can run the chunks of a map with results `R`.
pub(crate) trait Maps<R>: Submit<ChunkJob<R>, Output = Chunk<R>> + Executor {}

impl<E, R> Maps<R> for E where E: Submit<ChunkJob<R>, Output = Chunk<R>> + Executor {}

pub(crate) fn try_map<E, F, I, R>(executor: &E, function: F, items: I) -> TryMap<'_, E, F, I::IntoIter, R>
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

pub(crate) fn map<E, F, I, R>(executor: &E, function: F, items: I) -> Map<'_, E, F, I::IntoIter, R>
where
    E: Maps<R>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: IntoIterator<Item: Send + 'static>,
    R: Send + 'static,
{
    Map::new(try_map(executor, function, items))
}

#[track_caller]
pub(crate) fn for_each<E, F, I, R>(executor: &E, function: F, items: I)
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
pub(crate) fn run_all<E, F, T>(executor: &E, jobs: impl IntoIterator<Item = F>) -> Vec<Result<T, TaskError>>
where
    E: Submit<F, Output = T>,
    T: Send + 'static,
{
    park::refuse_in_async();
    let handles: Vec<TaskHandle<T>> = jobs.into_iter().map(|job| executor.submit(job)).collect();
    handles.into_iter().map(TaskHandle::join).collect()
}

/// The handle of a job that came after shutdown.
#[cfg(all(unix, feature = "greenlet"))]
pub(crate) fn refused<T: Send + 'static>() -> TaskHandle<T> {
    let (task, handle) = harness::new_task(0, || Err(TaskError::Shutdown));
    task.cancel(TaskError::Shutdown);
    handle
}
