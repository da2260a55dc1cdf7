//! CPU-bound work: twenty long sums, on one processor and on all of them.
//!
//! Nothing waits here, so more threads than processors would help nothing. One thread per processor is the whole gain,
//! and in Rust threads really run at the same time.
//!
//! ```text
//! cargo run --release --example cpu_bound
//! ```

use ropewalk::ThreadPoolExecutor;
use std::thread::available_parallelism;
use std::time::Instant;

/// Sums the squares of `0..bound`. Each step folds the sum into itself first, so it needs the step before; of a plain
/// sum of squares the compiler knows the formula, and would skip the work.
fn sum_of_squares(bound: u64) -> u64 {
    let mut sum: u64 = 0;
    for i in 0..bound {
        sum = (sum ^ (sum >> 29)).wrapping_add(i * i);
    }
    sum
}

fn main() {
    let bounds = 10_000_000..10_000_020;
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    println!("20 sums of 10 million squares, {cores} processors");

    let start = Instant::now();
    let one_by_one: Vec<u64> = bounds.clone().map(sum_of_squares).collect();
    let sequential = start.elapsed().as_secs_f64();
    println!("one after another      {sequential:>6.2} s");

    let pool = ThreadPoolExecutor::new(cores);
    let start = Instant::now();
    let on_all_cores: Vec<u64> = pool.map(sum_of_squares, bounds).collect();
    let parallel = start.elapsed().as_secs_f64();
    println!("one thread per core    {parallel:>6.2} s  {:.1}x", sequential / parallel);

    println!("same sums: {}", one_by_one == on_all_cores);
}
