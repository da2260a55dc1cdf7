//! `submit-join.1m`: a million empty tasks, each with a handle that is joined, from one thread outside the pool.
//!
//! A task's result says that it ran on a worker; the harness counts them. rayon's tasks have no handle: theirs store the
//! result in a slot. threadpool's have none either: theirs send it through a channel, as its documentation does.

use std::sync::mpsc;

use super::on_worker;
use super::pools::{Pool, RustyPool, TokioBlocking, TokioSpawn, tokio_runtime, warm};
use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Spent, cores, timed};

/// The work.
pub fn work() -> Work {
    let work = Work::new("pool", "submit-join.1m", "ns/op", Judge::TwoCores).aside("cpu", "ns/op", Better::Lower);
    let work = work
        .by("rayon", |effort| rayon_scope(effort, Body::OnWorker))
        .by("rayon:in-place", |effort| rayon_scope(effort, Body::Outside))
        .by("tokio", with_handles::<TokioBlocking>)
        .by("tokio:spawn", with_handles::<TokioSpawn>)
        .by("tokio:joinset", tokio_join_set)
        .by("threadpool", threadpool)
        .by("rusty_pool", with_handles::<RustyPool>);
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", with_handles::<super::ours::Executor>);
    work
}

fn tasks(effort: Effort) -> u64 {
    effort.pick(1_000_000, 200_000)
}

fn sample(on_workers: u64, count: u64, spent: Spent) -> Sample {
    assert_eq!(on_workers, count, "each task ran once, on a worker");
    Sample::new(spent.wall_ns_per(count), spent).and("cpu", spent.cpu_ns_per(count))
}

fn with_handles<P: Pool>(effort: Effort) -> Sample {
    let count = tasks(effort);
    let pool = P::open(cores());
    warm(&pool);
    let (on_workers, spent) = timed(|| {
        let handles: Vec<_> = (0..count).map(|_| pool.submit(on_worker)).collect();
        let mut on_workers = 0;
        pool.join_all(handles, |ran_there| on_workers += u64::from(ran_there));
        on_workers
    });
    sample(on_workers, count, spent)
}

#[derive(Clone, Copy)]
enum Body {
    OnWorker,
    Outside,
}

fn rayon_scope(effort: Effort, body: Body) -> Sample {
    let count = tasks(effort);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
    pool.broadcast(|_| ());
    let (on_workers, spent) = timed(|| {
        let mut slots = vec![false; count as usize];
        match body {
            Body::OnWorker => pool.scope(|scope| {
                for slot in &mut slots {
                    scope.spawn(move |_| *slot = on_worker());
                }
            }),
            Body::Outside => pool.in_place_scope(|scope| {
                for slot in &mut slots {
                    scope.spawn(move |_| *slot = on_worker());
                }
            }),
        }
        slots.iter().filter(|&&ran_there| ran_there).count() as u64
    });
    sample(on_workers, count, spent)
}

fn tokio_join_set(effort: Effort) -> Sample {
    let count = tasks(effort);
    let runtime = tokio_runtime(cores());
    let (on_workers, spent) = timed(|| {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..count {
            set.spawn_on(async { on_worker() }, runtime.handle());
        }
        runtime.block_on(async {
            let mut on_workers = 0;
            while let Some(ran_there) = set.join_next().await {
                on_workers += u64::from(ran_there.expect("no task panics"));
            }
            on_workers
        })
    });
    sample(on_workers, count, spent)
}

fn threadpool(effort: Effort) -> Sample {
    let count = tasks(effort);
    let pool = threadpool::ThreadPool::new(cores());
    let (on_workers, spent) = timed(|| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..count {
            let sender = sender.clone();
            pool.execute(move || sender.send(on_worker()).expect("the receiver waits"));
        }
        receiver.iter().take(count as usize).filter(|&ran_there| ran_there).count() as u64
    });
    pool.join();
    sample(on_workers, count, spent)
}
