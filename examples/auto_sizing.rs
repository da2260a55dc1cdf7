//! A pool about which nothing is said: it gets many workers for jobs that wait, and one for each core for jobs that compute.
//!
//! ```text
//! cargo run --release --example auto_sizing
//! ```

use ropewalk::executor::SizingReason;
use ropewalk::{Submit, ThreadPoolExecutor};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Blocks as a socket, a file or somebody else's library does: ropewalk is not told of it, and sees it nevertheless.
fn waits() {
    sleep(Duration::from_millis(50));
}

fn computes() -> u64 {
    (0..2_000_000).fold(1, |sum: u64, n| (sum ^ (sum >> 29)).wrapping_add(n * n))
}

fn main() {
    let pool = ThreadPoolExecutor::default();

    println!("160 jobs that wait for 50 ms each");
    let start = Instant::now();
    pool.for_each(|_| waits(), 0..160);
    let stats = pool.stats();
    println!("  took {} ms and came to {} workers", start.elapsed().as_millis(), stats.target);
    println!("  half of the jobs were queued for less than {} ms", stats.queue_wait_p50.as_millis());
    let log = pool.sizing_log();
    if let Some(first) = log.first() {
        println!("  it changed its size {} times, the first time: {first}", log.len());
    }

    println!("100 jobs that compute");
    // A pool of its own: what is known of the one says little about the other.
    let pool = ThreadPoolExecutor::default();
    let start = Instant::now();
    let sums: Vec<_> = (0..100).map(|_| pool.submit(computes)).collect();
    let same = sums.into_iter().all(|sum| sum.join().unwrap() == computes());
    println!("  took {} ms with {} workers, all sums equal: {same}", start.elapsed().as_millis(), pool.stats().target);
    assert!(!pool.sizing_log().iter().any(|decision| matches!(decision.reason, SizingReason::Waits { .. })));

    // What stands behind the jobs, the pool cannot know. Where a database bears 20 connections, one line says so.
    let queries = ThreadPoolExecutor::builder().max_workers(20).build().unwrap();

    static AT_ONCE: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let [now, most] = &AT_ONCE;
    queries.for_each(
        |_| {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            waits();
            now.fetch_sub(1, Ordering::Relaxed);
        },
        0..100,
    );
    println!("100 queries to a database that bears 20 at once");
    println!("  at most {} queries were under way", most.load(Ordering::Relaxed));
}
