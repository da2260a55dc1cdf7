//! `map.10k-50us`: ten thousand tasks of 50 µs of computing, results in order in a `Vec`. `map.ordered-lazy`: small items
//! from an iterator, results in order from an iterator, and never more than 1,024 items ahead of who reads them.
//!
//! The lazy map's input counts how far it was read; a map that runs further ahead fails the run. Ours is told so by
//! `buffer`, pariter's own buffer is smaller. tokio has no such map: its row is a window of 64 handles, as `buffered(64)`
//! keeps one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::mpsc;

use pariter::IteratorExt as _;

use super::pools::{Pool, RustyPool, TokioBlocking, TokioSpawn, warm};
use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{Grain, cores, small_hash, timed};

/// The works.
pub fn works() -> Vec<Work> {
    let long = Work::new("pool", "map.10k-50us", "ms", Judge::CpuBound);
    let long = long
        .by("sequential", |effort| tasks(effort, |count, grain| (0..count).map(|seed| grain.work(seed)).collect()))
        .by("rayon", |effort| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
            pool.broadcast(|_| ());
            tasks(effort, |count, grain| {
                use rayon::prelude::*;
                pool.install(|| (0..count).into_par_iter().map(|seed| grain.work(seed)).collect())
            })
        })
        .by("tokio", with_handles::<TokioBlocking>)
        .by("tokio:spawn", with_handles::<TokioSpawn>)
        .by("threadpool", threadpool)
        .by("rusty_pool", with_handles::<RustyPool>)
        .by("pariter", |effort| {
            tasks(effort, |count, grain| {
                (0..count).parallel_map_custom(|o| o.threads(cores()), move |seed| grain.work(seed)).collect()
            })
        });
    #[cfg(feature = "ours")]
    let long = long
        .by("ropewalk", |effort| {
            let pool = super::ours::open();
            tasks(effort, |count, grain| super::ours::long_map(&pool, count, grain))
        })
        .by("ropewalk:map", |effort| {
            let pool = super::ours::open();
            tasks(effort, |count, grain| super::ours::long_map_lazily(&pool, count, grain))
        });

    let lazy = Work::new("pool", "map.ordered-lazy", "ns/op", Judge::TwoCores);
    let lazy = lazy
        .by("pariter", |effort| {
            lazily(effort, |input, reader| {
                input.parallel_map_custom(|o| o.threads(cores()), small_hash).for_each(reader);
            })
        })
        .by("tokio", lazy_window::<TokioBlocking>)
        .by("tokio:spawn", lazy_window::<TokioSpawn>);
    #[cfg(feature = "ours")]
    let lazy = lazy.by("ropewalk", |effort| {
        let pool = super::ours::open();
        lazily(effort, |input, reader| super::ours::lazy_map(&pool, input, reader))
    });
    vec![long, lazy]
}

const TASKS: u64 = 10_000;

/// The time for all [`TASKS`], also where a quick sample did fewer.
fn tasks(effort: Effort, run: impl FnOnce(u64, Grain) -> Vec<u64>) -> Sample {
    let count = effort.pick(TASKS, TASKS / 10);
    let grain = Grain::of_ns(50_000);
    let (results, spent) = timed(|| run(count, grain));
    assert_eq!(results.len() as u64, count, "one result a task");
    for seed in (0..count).step_by(97) {
        assert_eq!(results[seed as usize], black_box(grain).work(seed), "a wrong result, or at a wrong place");
    }
    Sample::new(spent.wall_ns_per(count) * TASKS as f64 / 1e6, spent)
}

fn with_handles<P: Pool>(effort: Effort) -> Sample {
    let pool = P::open(cores());
    warm(&pool);
    tasks(effort, |count, grain| {
        let handles: Vec<_> = (0..count).map(|seed| pool.submit(move || grain.work(seed))).collect();
        let mut results = Vec::with_capacity(count as usize);
        pool.join_all(handles, |result| results.push(result));
        results
    })
}

fn threadpool(effort: Effort) -> Sample {
    let pool = threadpool::ThreadPool::new(cores());
    tasks(effort, |count, grain| {
        let (sender, receiver) = mpsc::channel();
        for seed in 0..count {
            let sender = sender.clone();
            pool.execute(move || sender.send((seed, grain.work(seed))).expect("the receiver waits"));
        }
        let mut results = vec![0; count as usize];
        for (seed, result) in receiver.iter().take(count as usize) {
            results[seed as usize] = result;
        }
        results
    })
}

/// The input of a lazy map, which counts how far it was read.
pub struct Input<'a> {
    next: u64,
    end: u64,
    read: &'a Cell<u64>,
}

impl Iterator for Input<'_> {
    type Item = u64;
    #[inline]
    fn next(&mut self) -> Option<u64> {
        let item = (self.next < self.end).then_some(self.next)?;
        self.next += 1;
        self.read.set(self.next);
        Some(item)
    }
}

/// How far a lazy map may read ahead of its reader.
pub const AHEAD_MAX: usize = 1_024;

fn lazily(effort: Effort, run: impl FnOnce(Input<'_>, &mut dyn FnMut(u64))) -> Sample {
    let count = effort.pick(300_000, 50_000);
    let read = Cell::new(0);
    let (mut taken, mut ahead) = (0, 0);
    let ((), spent) = timed(|| {
        run(Input { next: 0, end: count, read: &read }, &mut |result| {
            assert_eq!(result, small_hash(taken), "a wrong result, or out of order");
            taken += 1;
            ahead = ahead.max(read.get() - taken);
        });
    });
    assert_eq!(taken, count, "one result an item");
    assert!(ahead <= AHEAD_MAX as u64, "not lazy: {ahead} items ahead of its reader");
    Sample::new(spent.wall_ns_per(count), spent)
}

fn lazy_window<P: Pool>(effort: Effort) -> Sample {
    const WINDOW: usize = 64;
    let pool = P::open(cores());
    warm(&pool);
    lazily(effort, |mut input, reader| {
        let mut window = VecDeque::with_capacity(WINDOW);
        let handles = std::iter::from_fn(|| {
            while window.len() < WINDOW
                && let Some(item) = input.next()
            {
                window.push_back(pool.submit(move || small_hash(item)));
            }
            window.pop_front()
        });
        pool.join_all(handles, reader);
    })
}
