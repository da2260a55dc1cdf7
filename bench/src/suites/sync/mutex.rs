//! Mutexes: alone, and between two and four threads.
//!
//! Alone: lock, count, unlock, on one thread. Contended: each thread repeats *lock, 50 ns of work and a count inside,
//! unlock, 50 ns of work outside* until the time is over; the threads are pinned alternately to the cores, because
//! otherwise minutes in which the scheduler runs them one after the other pass for contention. The figure is elapsed
//! time by operations of all threads; with two cores its floor is about 50 ns, the work inside, which nothing can overlap.
//! The asides: `cpu` is the CPU time of all threads for an operation, `fairness` the slowest thread's count in percent of
//! the fastest's.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Grain, Place, crew};

/// A mutex around a count.
pub trait Lock: Send + Sync {
    /// A fresh one, around 0.
    fn new() -> Self;
    /// Runs `body` with the lock held.
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R;
}

/// The works.
pub fn works() -> Vec<Work> {
    let alone = Work::new("sync", "mutex.uncontended", "ns/op", Judge::AsIs);
    let alone = alone
        .by("std", uncontended::<std::sync::Mutex<u64>>)
        .by("parking_lot", uncontended::<parking_lot::Mutex<u64>>)
        .by("usync", uncontended::<usync::Mutex<u64>>)
        .by("tokio", uncontended::<tokio::sync::Mutex<u64>>);
    #[cfg(feature = "ours")]
    let alone = alone.by("ropewalk", uncontended::<super::ours::Mutex>);
    vec![alone, among::<2>("mutex.2threads"), among::<4>("mutex.4threads")]
}

fn among<const THREADS: usize>(name: &'static str) -> Work {
    let work = Work::new("sync", name, "ns/op", Judge::CpuBound).aside("cpu", "ns/op", Better::Lower).aside(
        "fairness",
        "%",
        Better::Higher,
    );
    let work = work
        .by("std", contended::<std::sync::Mutex<u64>, THREADS>)
        .by("parking_lot", contended::<parking_lot::Mutex<u64>, THREADS>)
        .by("usync", contended::<usync::Mutex<u64>, THREADS>)
        .by("tokio", contended::<tokio::sync::Mutex<u64>, THREADS>);
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", contended::<super::ours::Mutex, THREADS>);
    work
}

fn uncontended<L: Lock>(effort: Effort) -> Sample {
    let count = effort.pick(4_000_000, 1_000_000);
    let lock = L::new();
    let run = crew(1, Place::Spread, |_| {
        for _ in 0..count {
            black_box(&lock).with(|value| *value += 1);
        }
    });
    assert_eq!(lock.with(|value| *value), count, "the lock lost updates");
    Sample::new(run.spent.wall_ns_per(count), run.spent)
}

fn contended<L: Lock, const THREADS: usize>(effort: Effort) -> Sample {
    let lock = L::new();
    let grain = Grain::of_ns(50);
    let sample = until_time_is_over(THREADS, effort, |go_on| {
        let mut count = 0;
        let mut outside = 0;
        while go_on() {
            lock.with(|value| {
                *value += 1;
                black_box(grain.work(*value));
            });
            count += 1;
            outside = black_box(grain.work(outside));
        }
        count
    });
    assert_eq!(lock.with(|value| *value), sample.1, "the lock lost updates");
    sample.0
}

/// Runs `body` on pinned threads until the sample's time is over. It asks before each operation whether to go on and
/// returns how many it did. Gives the sample, with its fairness, and the operations of all threads.
pub fn until_time_is_over(
    threads: usize,
    effort: Effort,
    body: impl Fn(&dyn Fn() -> bool) -> u64 + Sync,
) -> (Sample, u64) {
    let over = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(effort.span());
            over.store(true, Relaxed);
        });
        crew(threads, Place::Spread, |_| body(&|| !over.load(Relaxed)))
    });
    let count: u64 = run.results.iter().sum();
    let slowest = run.results.iter().min().copied().unwrap_or(0);
    let fastest = run.results.iter().max().copied().unwrap_or(0).max(1);
    let fairness = 100.0 * slowest as f64 / fastest as f64;
    let sample = Sample::new(run.spent.wall_ns_per(count), run.spent);
    (sample.and("cpu", run.spent.cpu_ns_per(count)).and("fairness", fairness), count)
}

impl Lock for std::sync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R {
        body(&mut self.lock().expect("nobody panics here"))
    }
}

impl Lock for parking_lot::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R {
        body(&mut self.lock())
    }
}

impl Lock for usync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R {
        body(&mut self.lock())
    }
}

impl Lock for tokio::sync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R {
        body(&mut self.blocking_lock())
    }
}
