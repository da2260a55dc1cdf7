//! `join.fib30`: the naive Fibonacci number as 1.35 million joins with one addition each: nothing but the scheme.
//!
//! `sequential` is the plain recursion. At one addition a join no scheme beats it; a program would stop splitting earlier.

use std::hint::black_box;

use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{cores, timed};

/// The work.
pub fn work() -> Work {
    let work = Work::new("pool", "join.fib30", "ns/op", Judge::CpuBound)
        .by("sequential", |effort| repeat(effort, || sequential(black_box(N))))
        .by("rayon", |effort| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build().expect("a pool can be built");
            pool.broadcast(|_| ());
            pool.install(|| repeat(effort, || rayon_fib(N)))
        })
        .by("chili", |effort| {
            let pool = chili::ThreadPool::with_config(chili::Config {
                thread_count: std::num::NonZero::new(cores()),
                ..chili::Config::default()
            });
            let mut scope = pool.scope();
            repeat(effort, || chili_fib(N, &mut scope))
        });
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", |effort| {
        let pool = super::ours::open();
        repeat(effort, || super::ours::fib(&pool, N))
    });
    work
}

const N: u32 = 30;
const FIB_N: u64 = 832_040;
/// The calls that split: fib(n + 1) − 1.
const JOINS: u64 = 1_346_268;

fn repeat(effort: Effort, mut fib: impl FnMut() -> u64) -> Sample {
    let times = effort.pick(12, 4);
    let ((), spent) = timed(|| {
        for _ in 0..times {
            assert_eq!(fib(), FIB_N, "a wrong result");
        }
    });
    Sample::new(spent.wall_ns_per(times * JOINS), spent)
}

fn sequential(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { black_box(sequential(n - 1)) + sequential(n - 2) }
}

fn rayon_fib(n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = rayon::join(|| rayon_fib(n - 1), || rayon_fib(n - 2));
    a + b
}

fn chili_fib(n: u32, scope: &mut chili::Scope<'_>) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = scope.join(|scope| chili_fib(n - 1, scope), |scope| chili_fib(n - 2, scope));
    a + b
}
