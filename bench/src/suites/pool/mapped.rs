//! `par-map.10m-small` (into a new `Vec`) and `par-map.into-slice` (into a slice that is already there): ten million
//! items of four instructions each.
//!
//! Such a map is bound by memory and, into a new `Vec`, by page faults. `std` is `thread::scope` with one equal part a
//! core, written by hand; `sequential` is the plain loop.

use std::sync::OnceLock;

use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{Spent, cores, small_hash, timed};

/// The items of a part that chili does not split further.
const GRAIN: usize = 1 << 14;

/// The works.
pub fn works() -> Vec<Work> {
    let fresh = Work::new("pool", "par-map.10m-small", "ms", Judge::CpuBound);
    let fresh = fresh
        .by("sequential", |effort| into_vec(effort, |input| input.iter().map(|&x| small_hash(x)).collect()))
        .by("std", |effort| {
            into_vec(effort, |input| {
                let mut output = vec![0; input.len()];
                std_halves(input, &mut output);
                output
            })
        })
        .by("rayon", |effort| {
            let pool = rayon_peer::pool();
            into_vec(effort, |input| rayon_peer::collected(&pool, input))
        })
        .by("paralight", |effort| {
            let mut pool = paralight_peer::pool();
            into_vec(effort, |input| paralight_peer::collected(&mut pool, input))
        })
        .by("chili", |effort| {
            let pool = chili_pool();
            into_vec(effort, |input| {
                let mut output = vec![0; input.len()];
                chili_split(&mut pool.scope(), input, &mut output);
                output
            })
        });
    #[cfg(feature = "ours")]
    let fresh = fresh
        .by("ropewalk", |effort| {
            let pool = super::ours::open();
            into_vec(effort, |input| super::ours::map(&pool, input))
        })
        .by("ropewalk:map", |effort| {
            let pool = super::ours::open();
            into_vec(effort, |input| super::ours::map_lazily(&pool, input))
        });

    let existing = Work::new("pool", "par-map.into-slice", "ms", Judge::CpuBound);
    let existing = existing
        .by("sequential", |effort| into_slice(effort, sequential))
        .by("std", |effort| into_slice(effort, std_halves))
        .by("rayon", |effort| {
            let pool = rayon_peer::pool();
            into_slice(effort, |input, output| rayon_peer::zipped(&pool, input, output))
        })
        .by("paralight", |effort| {
            let mut pool = paralight_peer::pool();
            into_slice(effort, |input, output| paralight_peer::zipped(&mut pool, input, output))
        })
        .by("chili", |effort| {
            let pool = chili_pool();
            into_slice(effort, |input, output| chili_split(&mut pool.scope(), input, output))
        });
    #[cfg(feature = "ours")]
    let existing = existing.by("ropewalk", |effort| {
        let pool = super::ours::open();
        into_slice(effort, |input, output| super::ours::map_into(&pool, input, output))
    });
    vec![fresh, existing]
}

const ITEMS: u64 = 10_000_000;

fn input(effort: Effort) -> &'static [u64] {
    static INPUT: OnceLock<Vec<u64>> = OnceLock::new();
    let all = INPUT.get_or_init(|| (0..ITEMS).collect());
    &all[..effort.pick(ITEMS, ITEMS / 2) as usize]
}

fn into_vec(effort: Effort, run: impl FnOnce(&'static [u64]) -> Vec<u64>) -> Sample {
    let input = input(effort);
    let (output, spent) = timed(|| run(input));
    sample(input, &output, spent)
}

fn into_slice(effort: Effort, run: impl FnOnce(&[u64], &mut [u64])) -> Sample {
    let input = input(effort);
    // Written once before, so that its pages are there.
    let mut output = vec![1; input.len()];
    let ((), spent) = timed(|| run(input, &mut output));
    sample(input, &output, spent)
}

/// The time for all [`ITEMS`], also where a quick sample did fewer.
fn sample(input: &[u64], output: &[u64], spent: Spent) -> Sample {
    assert_eq!(output.len(), input.len(), "one result an item");
    assert!(output.iter().zip(input).all(|(&out, &x)| out == small_hash(x)), "a wrong result, or at a wrong place");
    Sample::new(spent.wall_ns_per(input.len() as u64) * ITEMS as f64 / 1e6, spent)
}

fn sequential(input: &[u64], output: &mut [u64]) {
    for (out, &x) in output.iter_mut().zip(input) {
        *out = small_hash(x);
    }
}

fn std_halves(input: &[u64], output: &mut [u64]) {
    let part = input.len().div_ceil(cores());
    std::thread::scope(|scope| {
        for (input, output) in input.chunks(part).zip(output.chunks_mut(part)) {
            scope.spawn(|| sequential(input, output));
        }
    });
}

mod rayon_peer {
    //! rayon's parallel iterators.

    use rayon::prelude::*;
    use rayon::{ThreadPool, ThreadPoolBuilder};

    use crate::measure::{cores, small_hash};

    pub(super) fn pool() -> ThreadPool {
        let pool = ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
        pool.broadcast(|_| ());
        pool
    }

    pub(super) fn collected(pool: &ThreadPool, input: &[u64]) -> Vec<u64> {
        pool.install(|| input.par_iter().map(|&x| small_hash(x)).collect())
    }

    pub(super) fn zipped(pool: &ThreadPool, input: &[u64], output: &mut [u64]) {
        pool.install(|| output.par_iter_mut().zip(input).for_each(|(out, &x)| *out = small_hash(x)));
    }
}

mod paralight_peer {
    //! paralight's slices. For items of equal weight its documentation recommends the fixed strategy.

    use paralight::prelude::*;
    use paralight::threads::ThreadPool;

    use crate::measure::{cores, small_hash};

    pub(super) fn pool() -> ThreadPool {
        ThreadPoolBuilder {
            num_threads: ThreadCount::try_from(cores()).expect("there is a core"),
            range_strategy: RangeStrategy::Fixed,
            cpu_pinning: CpuPinningPolicy::No,
        }
        .build()
    }

    pub(super) fn collected(pool: &mut ThreadPool, input: &[u64]) -> Vec<u64> {
        input.par_iter().map(|&x| small_hash(x)).with_thread_pool(pool).collect()
    }

    pub(super) fn zipped(pool: &mut ThreadPool, input: &[u64], output: &mut [u64]) {
        let pairs = (output.par_iter_mut(), input.par_iter()).zip_eq();
        pairs.with_thread_pool(pool).for_each(|(out, &x)| *out = small_hash(x));
    }
}

fn chili_pool() -> chili::ThreadPool {
    chili::ThreadPool::with_config(chili::Config {
        thread_count: std::num::NonZero::new(cores()),
        ..chili::Config::default()
    })
}

fn chili_split(scope: &mut chili::Scope<'_>, input: &[u64], output: &mut [u64]) {
    if input.len() <= GRAIN {
        return sequential(input, output);
    }
    let middle = input.len() / 2;
    let (input_left, input_right) = input.split_at(middle);
    let (output_left, output_right) = output.split_at_mut(middle);
    scope.join(
        |scope| chili_split(scope, input_left, output_left),
        |scope| chili_split(scope, input_right, output_right),
    );
}
