//! The CPU-bound experiment in processes: one function over many numbers, on every core, each in a process of its own.
//!
//! ```text
//! cargo run --release --example process_pool_map
//! ```

use ropewalk::process::Bytes;
use ropewalk::{ProcessPoolExecutor, Submit};
use std::collections::BTreeSet;

/// The sum of the squares below `limit`.
#[ropewalk::task]
fn sum_of_squares(limit: u64) -> u64 {
    (0..limit).map(|n| n.wrapping_mul(n)).fold(0, u64::wrapping_add)
}

#[ropewalk::task]
fn root(n: i64) -> Result<f64, String> {
    if n < 0 { Err(format!("{n} has no root")) } else { Ok((n as f64).sqrt()) }
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ProcessPoolExecutor::new(2)?;

    // A function that captures nothing goes over as its place in the program; numbers go over as bytes, many at a time.
    let sums: Vec<u64> = pool.map(sum_of_squares, (0..20).map(|n| 100_000 + n)).collect();
    println!("map     : {} sums, the first is {}", sums.len(), sums[0]);

    // The same task as everywhere: its calls run on each executor.
    let same = pool.submit(sum_of_squares::call(100_000)).join()?;
    println!("submit  : the same in another process: {}", same == sums[0]);

    // Not in this process.
    let ids: BTreeSet<u32> = pool.map(|_: u32| std::process::id(), 0..100).collect();
    println!("workers : at most 2, and none is this process: {}", ids.len() <= 2 && !ids.contains(&std::process::id()));

    // Bytes go over as they are. (serde would take a `Vec<u8>` apart.)
    let picture = Bytes::from(vec![7; 1 << 20]);
    let turned = pool.spawn(|picture: Bytes| Bytes::from(picture.iter().rev().copied().collect::<Vec<u8>>()), picture);
    println!("bytes   : {} came back", turned.join()?.len());

    let error = pool.submit(root::call(-4)).join().expect_err("there is none");
    println!("error   : {}", error.to_string().contains("-4 has no root"));
    Ok(())
}
