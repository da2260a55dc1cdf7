//! `idle.cpu`: what a pool costs that has nothing to do: µs of CPU of the whole process in a second.
//!
//! Each pool first does a thousand tasks and has a tenth of a second to settle. `std` is as many parked threads and no
//! pool: the cost of the measuring itself.

use std::sync::mpsc;
use std::thread::sleep;
use std::time::Duration;

use super::pools::{Pool, RustyPool, TokioBlocking, TokioSpawn, warm};
use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{cores, timed};

/// The work.
pub fn work() -> Work {
    let work = Work::new("pool", "idle.cpu", "us", Judge::AsIs);
    let work = work
        .by("std", parked)
        .by("rayon", |effort| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
            pool.scope(|scope| (0..1_000).for_each(|_| scope.spawn(|_| ())));
            watch(effort)
        })
        .by("tokio", with_handles::<TokioBlocking>)
        .by("tokio:spawn", with_handles::<TokioSpawn>)
        .by("threadpool", |effort| {
            let pool = threadpool::ThreadPool::new(cores());
            (0..1_000).for_each(|_| pool.execute(|| ()));
            pool.join();
            watch(effort)
        })
        .by("rusty_pool", with_handles::<RustyPool>);
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", with_handles::<super::ours::Executor>);
    work
}

fn with_handles<P: Pool>(effort: Effort) -> Sample {
    let pool = P::open(cores());
    warm(&pool);
    watch(effort)
}

fn parked(effort: Effort) -> Sample {
    std::thread::scope(|scope| {
        let mut bells = Vec::new();
        for _ in 0..cores() {
            let (bell, news) = mpsc::channel::<()>();
            scope.spawn(move || news.recv());
            bells.push(bell);
        }
        let sample = watch(effort);
        drop(bells);
        sample
    })
}

fn watch(effort: Effort) -> Sample {
    sleep(Duration::from_millis(100));
    let ((), spent) = timed(|| sleep(Duration::from_millis(effort.pick(1_000, 300))));
    Sample::new(spent.cpu.as_secs_f64() * 1e6 / spent.wall.as_secs_f64(), spent)
}
