//! Our side of suite `pool`.

use ropewalk::{Submit as _, TaskHandle, ThreadPoolExecutor};

use super::long_map::{AHEAD_MAX, Input};
use super::pools::{Pool, warm};
use super::scope::{Place, one};
use crate::measure::{Grain, cores, small_hash};

/// `ropewalk::ThreadPoolExecutor`.
pub struct Executor(ThreadPoolExecutor);

impl Pool for Executor {
    type Handle<T: Send + 'static> = TaskHandle<T>;
    fn open(workers: usize) -> Self {
        Self(ThreadPoolExecutor::new(workers))
    }
    fn submit<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.submit(job)
    }
    fn join_all<T: Send + 'static>(&self, handles: impl IntoIterator<Item = Self::Handle<T>>, mut each: impl FnMut(T)) {
        handles.into_iter().for_each(|handle| each(handle.join().expect("no task panics")));
    }
}

/// An executor with a worker a core, already at work.
pub fn open() -> Executor {
    let executor = Executor::open(cores());
    warm(&executor);
    executor
}

/// `par_map` into a new vector.
pub fn map(executor: &Executor, input: &[u64]) -> Vec<u64> {
    executor.0.par_map(|&x| small_hash(x), input)
}

/// The lazy `map`, item by item, collected.
pub fn map_lazily(executor: &Executor, input: &'static [u64]) -> Vec<u64> {
    executor.0.map(small_hash, input.iter().copied()).collect()
}

/// `par_map` into places that are there.
pub fn map_into(executor: &Executor, input: &[u64], output: &mut [u64]) {
    executor.0.par_map_into(|&x| small_hash(x), input, output);
}

/// `par_map` of long tasks.
pub fn long_map(executor: &Executor, count: u64, grain: Grain) -> Vec<u64> {
    executor.0.par_map(|seed| grain.work(seed), 0..count)
}

/// The lazy `map` of long tasks.
pub fn long_map_lazily(executor: &Executor, count: u64, grain: Grain) -> Vec<u64> {
    executor.0.map(move |seed| grain.work(seed), 0..count).collect()
}

/// Fibonacci by `join`.
pub fn fib(executor: &Executor, n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = executor.0.join(|| fib(executor, n - 1), || fib(executor, n - 2));
    a + b
}

/// The lazy `map` with a bound, read one by one.
pub fn lazy_map(executor: &Executor, input: Input<'_>, reader: &mut dyn FnMut(u64)) {
    executor.0.map(small_hash, input).buffer(AHEAD_MAX).for_each(reader);
}

/// A scope with a task for each item.
pub fn scope(executor: &Executor, items: &[u64], places: &mut [Place]) {
    executor.0.scope(|scope| {
        for (item, place) in items.iter().zip(places) {
            drop(scope.submit(move || *place = one(item)));
        }
    });
}
