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

/// The lazy `map`, item by item, collected.
pub fn map(executor: &Executor, input: &'static [u64]) -> Vec<u64> {
    executor.0.map(small_hash, input.iter().copied()).collect()
}

/// A scope with a few parts a worker, each writing its own part of the output.
pub fn map_into(executor: &Executor, input: &[u64], output: &mut [u64]) {
    let part = input.len().div_ceil(4 * cores());
    executor.0.scope(|scope| {
        for (input, output) in input.chunks(part).zip(output.chunks_mut(part)) {
            drop(scope.submit(move || {
                for (out, &x) in output.iter_mut().zip(input) {
                    *out = small_hash(x);
                }
            }));
        }
    });
}

/// The lazy `map` of long tasks.
pub fn long_map(executor: &Executor, count: u64, grain: Grain) -> Vec<u64> {
    executor.0.map(move |seed| grain.work(seed), 0..count).collect()
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
