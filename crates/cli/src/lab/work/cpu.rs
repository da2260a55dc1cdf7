//! The CPU-bound work: sums of squares that nobody can shorten.
//!
//! `sum(i * i)` has a closed formula, and compilers know it. Here each step first folds the sum into itself with a shift
//! and an exclusive or, which is not linear: step `i` needs the result of step `i - 1`, and no formula skips any. The
//! lab shows it by the clock: doubling the bound doubles the time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lab::usage;

/// Sums the squares of `0..bound` modulo 2^64, folding the sum at each step.
pub fn sum_of_squares(bound: u64) -> u64 {
    advance(0, 0, bound)
}

fn advance(mut sum: u64, from: u64, to: u64) -> u64 {
    for i in from..to {
        sum = (sum ^ (sum >> 29)).wrapping_add(i.wrapping_mul(i));
    }
    sum
}

/// The sums for each of `bounds`, in their order, in one pass up to the greatest: a second opinion about what the units
/// of a row report, at the price of about one of them.
pub fn sums(bounds: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..bounds.len()).collect();
    order.sort_by_key(|&i| bounds[i]);
    let mut all = vec![0; bounds.len()];
    let (mut sum, mut at) = (0, 0);
    for i in order {
        sum = advance(sum, at, bounds[i]);
        at = bounds[i];
        all[i] = sum;
    }
    all
}

/// How fast this machine sums.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The bound that takes the time asked for.
    pub bound: u64,
    /// How many times longer twice a bound took than that bound.
    pub doubling: f64,
}

/// Finds the bound that takes about `unit` while nobody disturbs it, and what doubling does.
pub fn calibrate(unit: Duration) -> Calibration {
    // Short pieces: on a shared machine some of them keep their caches and their clock speed, and the shortest one did.
    let mut piece = 1 << 14;
    while time(piece) < unit / 16 && piece < u64::MAX / 2 {
        piece *= 2;
    }
    let best = (0..PROBES).map(|_| time(piece)).min().unwrap_or_default();
    let bound = (unit.as_secs_f64() / best.as_secs_f64() * piece as f64) as u64;
    let (mut once, mut twice) = (Duration::MAX, Duration::MAX);
    for _ in 0..PROBES {
        once = once.min(time(bound / 8));
        twice = twice.min(time(bound / 4));
    }
    Calibration { bound, doubling: twice.as_secs_f64() / once.as_secs_f64() }
}

/// How often each time is measured.
const PROBES: u32 = 9;

/// Processor time, so that others on a shared machine do not count.
fn time(bound: u64) -> Duration {
    let start = usage::thread_cpu();
    std::hint::black_box(sum_of_squares(std::hint::black_box(bound)));
    usage::thread_cpu().saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_the_same_sums_as_many() {
        let bounds = [1000, 7, 1001, 0, 1000, 12_345];
        let one_by_one: Vec<u64> = bounds.iter().map(|&b| sum_of_squares(b)).collect();
        assert_eq!(sums(&bounds), one_by_one);
    }

    #[test]
    fn folding_sum_is_what_python_computes() {
        // s = 0; for i in range(n): s = ((s ^ (s >> 29)) + i*i) & 0xFFFFFFFFFFFFFFFF
        assert_eq!(sum_of_squares(4), 14);
        assert_eq!(sum_of_squares(100_000), PYTHON_100_000);
    }

    const PYTHON_100_000: u64 = 333328342608213;

    #[test]
    fn doubling_the_bound_doubles_the_time_so_nothing_was_folded() {
        let seen = calibrate(Duration::from_millis(20)).doubling;
        assert!((1.5..3.0).contains(&seen), "twice the bound took {seen:.2} times as long");
    }
}
