//! A job may wait for anything that a later job of its own executor brings, on every executor that has one thread, and where
//! one executor's jobs wait for another's: pools inside greenlets inside pools.

#![cfg(all(unix, feature = "greenlet"))]

mod support;

use ropewalk::executor::Maps;
use ropewalk::executor::pipeline::StageJob;
use ropewalk::sync::{Event, Queue};
use ropewalk::{
    Executor, GreenletExecutor, InlineExecutor, Pipeline, ReturnWhen, Submit, TaskHandle, ThreadPoolExecutor,
    as_completed, wait,
};
use std::sync::Arc;
use support::{ignore, joined};

type Job = StageJob<u64>;

trait Runs: Executor + Submit<Job, Output = u64> + Maps<u64> + 'static {}

impl<E: Executor + Submit<Job, Output = u64> + Maps<u64> + 'static> Runs for E {}

fn submit<E: Runs>(executor: &E, job: impl FnOnce() -> u64 + Send + 'static) -> TaskHandle<u64> {
    let job: Job = Box::new(job);
    executor.submit(job)
}

/// Each way of waiting for a later job of the same executor; all give 10.
fn every_wait<E: Runs>(executor: &Arc<E>) -> u64 {
    let handles = |n: u64| (1..=n).map(|n| submit(&**executor, move || n)).collect::<Vec<_>>();
    let ways: [u64; 7] = [
        handles(4).into_iter().map(|handle| handle.join().unwrap()).sum(),
        as_completed(handles(4)).map(|handle| handle.join().unwrap()).sum(),
        {
            let handles = handles(4);
            assert_eq!(wait(&handles, ReturnWhen::AllCompleted, None).done.len(), 4);
            handles.into_iter().map(|handle| handle.join().unwrap()).sum()
        },
        executor.map(|n: u64| n, 1..=4).sum(),
        Pipeline::from(1..=4).stage(&**executor, 2, |n: u64| n).collect::<Vec<_>>().unwrap().into_iter().sum(),
        {
            let event = Arc::new(Event::new());
            let sets = Arc::clone(&event);
            drop(submit(&**executor, move || {
                sets.set();
                0
            }));
            event.wait();
            10
        },
        {
            let queue = Arc::new(Queue::bounded(4));
            let puts = Arc::clone(&queue);
            drop(submit(&**executor, move || {
                (1..=4).for_each(|n| puts.put(n).unwrap());
                0
            }));
            (0..4).map(|_| queue.get().unwrap()).sum()
        },
    ];
    assert_eq!(ways, [10; 7]);
    10
}

/// Runs it inside of a job of `executor`, and of a job of that, and so on.
fn inside<E: Runs>(executor: &Arc<E>, depth: u32) -> u64 {
    let inner = Arc::clone(executor);
    let job = submit(&**executor, move || if depth == 0 { every_wait(&inner) } else { inside(&inner, depth - 1) });
    job.join().expect("a result")
}

fn within_bounds(work: impl FnOnce() -> u64 + Send + 'static) {
    // On a thread of its own, so that a test which hangs ends with its name.
    assert_eq!(joined(ropewalk::thread::Builder::new().daemon(true).spawn(work).expect("a thread")), 10);
}

fn pool_of_one() -> Arc<ThreadPoolExecutor> {
    Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a valid pool"))
}

fn hub_of_one() -> Arc<GreenletExecutor> {
    Arc::new(GreenletExecutor::new(1))
}

#[test]
fn each_wait_inline() {
    within_bounds(|| inside(&Arc::new(InlineExecutor::new()), 3));
}

#[test]
fn each_wait_on_a_pool_of_one() {
    within_bounds(|| inside(&pool_of_one(), 3));
}

#[test]
fn each_wait_on_one_hub() {
    within_bounds(|| inside(&hub_of_one(), 3));
}

/// Down through both in turn: each job waits for one of the other executor, which has one thread as well.
fn in_turns(pool: &Arc<ThreadPoolExecutor>, hub: &Arc<GreenletExecutor>, depth: u32) -> u64 {
    if depth == 0 {
        return every_wait(pool).min(every_wait(hub));
    }
    let (pool, hub) = (Arc::clone(pool), Arc::clone(hub));
    let on_the_hub = {
        let hub = Arc::clone(&hub);
        move || submit(&*Arc::clone(&pool), move || in_turns(&pool, &hub, depth - 1)).join().unwrap()
    };
    submit(&*hub, on_the_hub).join().unwrap()
}

#[test]
fn pools_inside_greenlets_inside_pools() {
    within_bounds(|| {
        let (pool, hub) = (pool_of_one(), hub_of_one());
        in_turns(&pool, &hub, 10)
    });
}

/// The worker of a pool is a hub for a while, and its greenlets wait for jobs of that pool.
#[test]
fn hub_on_the_only_worker_of_a_pool() {
    within_bounds(|| {
        let pool = pool_of_one();
        let inner = Arc::clone(&pool);
        let job = submit(&*pool, move || {
            ropewalk::run(|| {
                let waits = ropewalk::spawn({
                    let inner = Arc::clone(&inner);
                    move || every_wait(&inner)
                });
                every_wait(&inner).min(waits.join().unwrap())
            })
        });
        job.join().unwrap()
    });
}

/// The same, where a greenlet of a hub runs one executor after another inline.
#[test]
fn inline_inside_of_all() {
    within_bounds(|| {
        let (pool, hub, inline) = (pool_of_one(), hub_of_one(), Arc::new(InlineExecutor::new()));
        let (inner, other) = (Arc::clone(&pool), Arc::clone(&inline));
        let job = submit(&*hub, move || {
            let on_the_pool = move || inside(&other, 2).min(every_wait(&inner));
            submit(&*inline, move || submit(&*pool, on_the_pool).join().unwrap()).join().unwrap()
        });
        job.join().unwrap()
    });
}

/// What borrows is waited for as well, in a scope inside of a scope of the other executor.
#[test]
fn scopes_inside_of_scopes_of_another_executor() {
    within_bounds(|| {
        let (pool, hub) = (pool_of_one(), hub_of_one());
        let mut numbers = [1, 2, 3, 4];
        hub.scope(|outer| {
            let pool = &pool;
            drop(outer.submit(|| {
                pool.scope(|inner| {
                    let (left, right) = numbers.split_at_mut(2);
                    for half in [left, right] {
                        drop(inner.submit(move || half.iter_mut().for_each(|n| *n *= 2)));
                    }
                });
            }));
        });
        ignore(pool.run_all([|| 0_u64]));
        numbers.iter().sum::<u64>() / 2
    });
}
