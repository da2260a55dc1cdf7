//! How many processors this machine really gives: measured, since a shared or throttled machine has fewer than it says.

use std::sync::Barrier;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::work::cpu;

/// Processors that this process may run on.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A fixed piece of computing, on one thread and then on one thread per core at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spin {
    /// Seconds on one thread.
    pub alone_s: f64,
    /// Seconds until the last of `threads` has done the same.
    pub together_s: f64,
    /// How many did it at once.
    pub threads: usize,
}

impl Spin {
    /// How many processors did the work. A disturbed measurement can say more than there are; nobody has those.
    pub fn effective(&self) -> f64 {
        let threads = self.threads as f64;
        (threads * self.alone_s / self.together_s).min(threads)
    }
}

/// Measures one [`Spin`]; `bound` says how long the piece is.
pub fn spin(bound: u64) -> Spin {
    let threads = available();
    let run = |n: usize| {
        let gate = Barrier::new(n + 1);
        std::thread::scope(|s| {
            for _ in 0..n {
                s.spawn(|| {
                    gate.wait();
                    std::hint::black_box(cpu::sum_of_squares(std::hint::black_box(bound)));
                    gate.wait();
                });
            }
            gate.wait();
            let start = Instant::now();
            gate.wait();
            start.elapsed().as_secs_f64()
        })
    };
    // Alone before and after, and the better of the two: a moment in which others disturbed the one thread would look
    // like more cores otherwise.
    let before = run(1);
    let together_s = run(threads);
    let after = run(1);
    Spin { alone_s: before.min(after), together_s, threads }
}

/// The median of what was measured; 1 when nothing was.
pub fn median(spins: &[Spin]) -> f64 {
    let mut all: Vec<f64> = spins.iter().map(Spin::effective).collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => 1.0,
        n if n % 2 == 1 => all[n / 2],
        n => (all[n / 2 - 1] + all[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_measurement_does_not_move_the_median() {
        let spin = |together_s| Spin { alone_s: 1.0, together_s, threads: 2 };
        assert!((median(&[spin(1.0), spin(9.0), spin(1.0)]) - 2.0).abs() < 1e-9);
        assert!((median(&[]) - 1.0).abs() < 1e-9);
        assert!((median(&[spin(1.0), spin(2.0)]) - 1.5).abs() < 1e-9);
        assert!((median(&[spin(0.5)]) - 2.0).abs() < 1e-9, "two threads cannot use four processors");
    }
}
