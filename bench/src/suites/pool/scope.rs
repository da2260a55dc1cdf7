//! `scope.borrow`: a scope of 1,000 tasks, each borrowing an item and a place for its result.
//!
//! `std` is `thread::scope`, a thread a task: what a scope without a pool costs.

use super::on_worker;
use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{cores, small_hash, timed};

/// The work.
pub fn work() -> Work {
    let work = Work::new("pool", "scope.borrow", "us", Judge::TwoCores);
    let work = work
        .by("std", |effort| {
            repeat(effort.pick(3, 1), |items, places| {
                std::thread::scope(|scope| {
                    for (item, place) in items.iter().zip(places) {
                        scope.spawn(move || *place = one(item));
                    }
                });
            })
        })
        .by("rayon", |effort| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
            pool.broadcast(|_| ());
            scopes(effort, |items, places| {
                pool.scope(|scope| {
                    for (item, place) in items.iter().zip(places) {
                        scope.spawn(move |_| *place = one(item));
                    }
                });
            })
        })
        .by("rayon:in-place", |effort| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
            pool.broadcast(|_| ());
            scopes(effort, |items, places| {
                pool.in_place_scope(|scope| {
                    for (item, place) in items.iter().zip(places) {
                        scope.spawn(move |_| *place = one(item));
                    }
                });
            })
        });
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", |effort| {
        let pool = super::ours::open();
        scopes(effort, |items, places| super::ours::scope(&pool, items, places))
    });
    work
}

/// A task's result, and whether it ran on a worker.
pub type Place = (u64, bool);

/// The task.
#[inline]
pub fn one(item: &u64) -> Place {
    (small_hash(*item), on_worker())
}

fn scopes(effort: Effort, scope: impl FnMut(&[u64], &mut [Place])) -> Sample {
    repeat(effort.pick(200, 40), scope)
}

fn repeat(times: u64, mut scope: impl FnMut(&[u64], &mut [Place])) -> Sample {
    let items: Vec<u64> = (0..1_000).collect();
    let mut places = vec![(0, false); items.len()];
    scope(&items, &mut places);
    let ((), spent) = timed(|| {
        for _ in 0..times {
            places.fill((0, false));
            scope(&items, &mut places);
            for (item, place) in items.iter().zip(&places) {
                assert_eq!(*place, (small_hash(*item), true), "each task ran, on a worker");
            }
        }
    });
    Sample::new(spent.wall_ns_per(times) / 1e3, spent)
}
