//! A semaphore with one permit between two threads, one a core: *acquire, 50 ns of work and a count inside, release,
//! 50 ns of work outside*, as with the mutex.
//!
//! The count inside is a plain load and store, so a semaphore that let two in would lose updates. std and parking_lot
//! have none; theirs is a count under a mutex with a condition variable. crossbeam's is a channel of one, tokio's is
//! awaited under a current-thread runtime on each thread.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};

use super::mutex::until_time_is_over;
use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::Grain;

/// A semaphore with one permit.
pub trait OnePermit: Send + Sync {
    /// A fresh one.
    fn new() -> Self;
    /// Runs `body` while holding the permit.
    fn with<R>(&self, body: impl FnOnce() -> R) -> R;
}

/// The works.
pub fn works() -> Vec<Work> {
    let work = Work::new("sync", "semaphore.2threads", "ns/op", Judge::TwoCores)
        .aside("cpu", "ns/op", Better::Lower)
        .aside("fairness", "%", Better::Higher);
    let work = work
        .by("std", two_threads::<OfStd>)
        .by("parking_lot", two_threads::<OfParkingLot>)
        .by("crossbeam", two_threads::<OfCrossbeam>)
        .by("tokio", two_threads_tokio);
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", two_threads::<super::ours::Semaphore>);
    vec![work]
}

fn two_threads<S: OnePermit>(effort: Effort) -> Sample {
    let semaphore = S::new();
    let guarded = Guarded::new();
    let (sample, count) = until_time_is_over(2, effort, |go_on| {
        let (mut count, mut outside) = (0, 0);
        while go_on() {
            semaphore.with(|| guarded.inside());
            count += 1;
            outside = black_box(guarded.grain.work(outside));
        }
        count
    });
    guarded.check(count);
    sample
}

fn two_threads_tokio(effort: Effort) -> Sample {
    let semaphore = tokio::sync::Semaphore::new(1);
    let guarded = Guarded::new();
    let (sample, count) = until_time_is_over(2, effort, |go_on| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
        runtime.block_on(async {
            let (mut count, mut outside) = (0, 0);
            while go_on() {
                let permit = semaphore.acquire().await.expect("nobody closes it");
                guarded.inside();
                drop(permit);
                count += 1;
                outside = black_box(guarded.grain.work(outside));
            }
            count
        })
    });
    guarded.check(count);
    sample
}

struct Guarded {
    count: AtomicU64,
    grain: Grain,
}

impl Guarded {
    fn new() -> Guarded {
        Guarded { count: AtomicU64::new(0), grain: Grain::of_ns(50) }
    }

    fn inside(&self) {
        let count = self.count.load(Relaxed);
        black_box(self.grain.work(count));
        self.count.store(count + 1, Relaxed);
    }

    fn check(&self, count: u64) {
        assert_eq!(self.count.load(Relaxed), count, "the semaphore let two in");
    }
}

struct OfStd(Mutex<usize>, Condvar);

impl OnePermit for OfStd {
    fn new() -> Self {
        Self(Mutex::new(1), Condvar::new())
    }
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let permits = self.0.lock().expect("nobody panics here");
        *self.1.wait_while(permits, |permits| *permits == 0).expect("nobody panics here") -= 1;
        let result = body();
        *self.0.lock().expect("nobody panics here") += 1;
        self.1.notify_one();
        result
    }
}

struct OfParkingLot(parking_lot::Mutex<usize>, parking_lot::Condvar);

impl OnePermit for OfParkingLot {
    fn new() -> Self {
        Self(parking_lot::Mutex::new(1), parking_lot::Condvar::new())
    }
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let mut permits = self.0.lock();
        self.1.wait_while(&mut permits, |permits| *permits == 0);
        *permits -= 1;
        drop(permits);
        let result = body();
        *self.0.lock() += 1;
        self.1.notify_one();
        result
    }
}

struct OfCrossbeam(crossbeam_channel::Sender<()>, crossbeam_channel::Receiver<()>);

impl OnePermit for OfCrossbeam {
    fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        Self(sender, receiver)
    }
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        self.0.send(()).expect("both ends live");
        let result = body();
        self.1.recv().expect("both ends live");
        result
    }
}
