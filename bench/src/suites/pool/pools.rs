//! Pools whose tasks have a handle.

use std::time::Duration;

/// A pool that gives a handle for each task.
pub trait Pool: Sized {
    /// What a task is joined by.
    type Handle<T: Send + 'static>;
    /// A pool of that many workers.
    fn open(workers: usize) -> Self;
    /// Submits from outside.
    fn submit<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T>;
    /// Joins every handle, in order.
    fn join_all<T: Send + 'static>(&self, handles: impl IntoIterator<Item = Self::Handle<T>>, each: impl FnMut(T));
}

/// The result of a task that is joined at once: makes the workers exist.
pub fn warm(pool: &impl Pool) {
    let handles: Vec<_> = (0..1_000).map(|_| pool.submit(|| ())).collect();
    pool.join_all(handles, drop);
}

/// A runtime with as many workers, and as many blocking threads at most.
pub fn tokio_runtime(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(workers)
        .build()
        .expect("a runtime can be built")
}

/// `spawn_blocking`, awaited from outside.
pub struct TokioBlocking(tokio::runtime::Runtime);

impl Pool for TokioBlocking {
    type Handle<T: Send + 'static> = tokio::task::JoinHandle<T>;
    fn open(workers: usize) -> Self {
        Self(tokio_runtime(workers))
    }
    fn submit<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.spawn_blocking(job)
    }
    fn join_all<T: Send + 'static>(&self, handles: impl IntoIterator<Item = Self::Handle<T>>, each: impl FnMut(T)) {
        await_all(&self.0, handles, each);
    }
}

/// `spawn` of a task that never waits, awaited from outside.
pub struct TokioSpawn(tokio::runtime::Runtime);

impl Pool for TokioSpawn {
    type Handle<T: Send + 'static> = tokio::task::JoinHandle<T>;
    fn open(workers: usize) -> Self {
        Self(tokio_runtime(workers))
    }
    fn submit<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.spawn(async { job() })
    }
    fn join_all<T: Send + 'static>(&self, handles: impl IntoIterator<Item = Self::Handle<T>>, each: impl FnMut(T)) {
        await_all(&self.0, handles, each);
    }
}

fn await_all<T>(
    runtime: &tokio::runtime::Runtime,
    handles: impl IntoIterator<Item = tokio::task::JoinHandle<T>>,
    mut each: impl FnMut(T),
) {
    runtime.block_on(async {
        for handle in handles {
            each(handle.await.expect("no task panics"));
        }
    });
}

/// `rusty_pool::ThreadPool::evaluate`.
pub struct RustyPool(rusty_pool::ThreadPool);

impl Pool for RustyPool {
    type Handle<T: Send + 'static> = rusty_pool::JoinHandle<T>;
    fn open(workers: usize) -> Self {
        Self(rusty_pool::ThreadPool::new(workers, workers, Duration::from_secs(60)))
    }
    fn submit<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.evaluate(job)
    }
    fn join_all<T: Send + 'static>(&self, handles: impl IntoIterator<Item = Self::Handle<T>>, mut each: impl FnMut(T)) {
        handles.into_iter().for_each(|handle| each(handle.await_complete()));
    }
}

impl Drop for RustyPool {
    fn drop(&mut self) {
        self.0.clone().shutdown_join();
    }
}
