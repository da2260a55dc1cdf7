//! Our side: the queue in a file, a worker on threads, results kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ropewalk_jobs::job::NewJob;
use ropewalk_jobs::{Broker as _, Enqueue as _, JobQueue, SqliteBroker, Worker};

use super::{Place, per_second};
use crate::harness::Sample;
use crate::measure::timed;

static RAN: AtomicU64 = AtomicU64::new(0);

#[ropewalk::task]
fn noop() {
    RAN.fetch_add(1, Ordering::Relaxed);
}

fn open(place: &Place) -> SqliteBroker {
    SqliteBroker::open(place.file()).expect("a fresh file")
}

fn jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| NewJob::new(<noop as ropewalk::task::Task>::NAME, "[]")).collect()
}

fn fill(broker: &SqliteBroker, batch: usize, count: u64) {
    let mut left = count as usize;
    while left > 0 {
        let some = batch.min(left);
        broker.enqueue(&jobs(some)).expect("on the disk");
        left -= some;
    }
}

pub(super) fn enqueue(batch: usize, count: u64) -> Sample {
    let place = Place::new();
    let broker = open(&place);
    let ((), spent) = timed(|| fill(&broker, batch, count));
    Sample::new(per_second(count, spent.wall), spent)
}

pub(super) fn run(at_once: usize, count: u64) -> Sample {
    let place = Place::new();
    let broker = open(&place);
    fill(&broker, 1_000, count);
    let before = RAN.load(Ordering::Relaxed);
    let (counts, spent) = timed(|| {
        let worker = Worker::new(broker.clone()).register::<noop>().concurrency(at_once).burst();
        worker.start().expect("threads").join()
    });
    assert_eq!((counts.done, RAN.load(Ordering::Relaxed) - before), (count, count), "each job ran once");
    Sample::new(per_second(count, spent.wall), spent)
}

pub(super) fn latency(count: u64) -> Sample {
    let place = Place::new();
    let broker = open(&place);
    let queue = JobQueue::new(broker.clone());
    let _worker = Worker::new(broker).register::<noop>().start().expect("threads");
    let one = || {
        let begun = Instant::now();
        noop::call()
            .enqueue(&queue)
            .and_then(|handle| handle.join().map_err(|error| panic!("{error}")))
            .expect("a result");
        begun.elapsed().as_secs_f64() * 1e6
    };
    for _ in 0..5 {
        one();
    }
    let (mut times, spent) = timed(|| (0..count).map(|_| one()).collect::<Vec<f64>>());
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
    Sample::of_rows(spent).and("p50", at(0.5)).and("p99", at(0.99))
}
