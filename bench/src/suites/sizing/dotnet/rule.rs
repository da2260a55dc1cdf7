//! .NET's rule for the number of pool threads, as its sources describe it: hill climbing, and a gate for starvation. Pure:
//! the pool tells what happened and does what comes back.
//!
//! The number of threads swings as a square wave about a setting. Of the last samples, the part of the throughput that swings
//! at the wave's frequency (Goertzel's filter) is divided by the same part of the number of threads: above 15 % of it, more
//! threads pay and the setting rises, below it falls, the further the clearer it stands out from the neighbouring
//! frequencies, by at most four threads a second. A sample counts only when jobs that were cut by its ends are few in it, and
//! nothing rises while the processors are busy. The gate adds one thread when nothing has left the queue for half a second.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Duration;

/// Samples in a swing of the number of threads.
const PERIOD: usize = 4;
/// Swings that are looked at.
const SWINGS: usize = 8;
/// The most threads that a swing adds.
const SWING_MAX: f64 = 20.0;
/// More throughput than this part of the additional threads pays.
const PAYS: f64 = 0.15;
/// A signal that so many times exceeds the noise is trusted fully.
const TRUSTED: f64 = 3.0;
const THREADS_PER_SECOND: f64 = 4.0;
const THREADS_PER_SAMPLE: f64 = 20.0;
/// What is far from the best moves fast, what is near slowly.
const GAIN_EXPONENT: i32 = 2;
/// How much of the noise's average the latest is.
const NOISE_WEIGHT: f64 = 0.01;
/// A sample in which more of the jobs than this may have been cut by its ends is continued.
const CUT_MAX: f64 = 0.15;
const SAMPLE_MS: (u64, u64) = (10, 200);
const CONTINUED_MS: u64 = 10;
/// Where fewer threads were better and there cannot be fewer, a sample lasts up to so many times as long.
const LONGER: f64 = 10.0;
const CPU_BUSY: f64 = 0.95;

/// How often the gate looks.
pub(super) const GATE_EVERY: Duration = Duration::from_millis(500);
/// Below this the processors are idle enough for a thread after one look, above it takes a second for each thread there is.
const CPU_IDLE: f64 = 0.80;

/// A part of a signal at one frequency.
#[derive(Clone, Copy, Default)]
struct Wave {
    re: f64,
    im: f64,
}

impl Wave {
    /// The part of `signal` that repeats every `period` values (Goertzel).
    fn of(signal: impl Iterator<Item = f64>, period: f64) -> Self {
        let (sin, cos) = (TAU / period).sin_cos();
        let (mut last, mut before, mut count) = (0.0, 0.0, 0.0);
        for value in signal {
            (last, before) = (2.0 * cos * last - before + value, last);
            count += 1.0;
        }
        Self { re: (last - before * cos) / count, im: before * sin / count }
    }

    fn size(self) -> f64 {
        self.re.hypot(self.im)
    }

    /// The real part of `self / by`: how much of `self` swings along with `by`.
    fn along(self, by: Self) -> f64 {
        (self.re * by.re + self.im * by.im) / (by.re * by.re + by.im * by.im)
    }
}

/// The climber.
pub(super) struct Rule {
    min: f64,
    max: f64,
    /// About which the number of threads swings.
    setting: f64,
    /// The number that was last given.
    threads: usize,
    /// Throughput and threads of each sample, latest last.
    samples: VecDeque<(f64, f64)>,
    total: usize,
    noise: f64,
    /// Of a sample that is continued: seconds and completions.
    carried: (f64, usize),
    interval_ms: u64,
    random: u64,
}

impl Rule {
    /// For at least `min` threads, and at most `max`.
    pub(super) fn new(min: usize, max: usize, seed: u64) -> Self {
        let mut rule = Self {
            min: min as f64,
            max: max as f64,
            setting: min as f64,
            threads: min,
            samples: VecDeque::with_capacity(PERIOD * SWINGS),
            total: 0,
            noise: 0.0,
            carried: (0.0, 0),
            interval_ms: 0,
            random: seed | 1,
        };
        rule.draw_interval();
        rule
    }

    /// The length of the first sample.
    pub(super) fn first_sample(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// At the end of a sample: how many threads from now on, and when to ask again. `cpu` is the part of the processors' time
    /// that is used.
    pub(super) fn sampled(&mut self, took: Duration, completions: usize, cpu: f64) -> (usize, Duration) {
        let seconds = took.as_secs_f64() + self.carried.0;
        let completions = completions + self.carried.1;
        let others = self.threads as f64 - 1.0;
        if self.total > 0 && others / completions as f64 >= CUT_MAX {
            self.carried = (seconds, completions);
            return (self.threads, Duration::from_millis(CONTINUED_MS));
        }
        self.carried = (0.0, 0);
        if self.samples.len() == PERIOD * SWINGS {
            self.samples.pop_front();
        }
        self.samples.push_back((completions as f64 / seconds, self.threads as f64));
        self.total += 1;

        let (slope, trust) = self.read();
        let reach = slope.clamp(-1.0, 1.0) * trust.clamp(0.0, 1.0);
        let step = reach.abs().powi(GAIN_EXPONENT).copysign(reach) * THREADS_PER_SECOND * seconds;
        let step = step.min(THREADS_PER_SAMPLE);
        self.setting += if step > 0.0 && cpu > CPU_BUSY { 0.0 } else { step };
        // Wide enough to stand out from the noise.
        let swing = (0.5 + self.setting * self.noise * TRUSTED * 2.0).trunc().clamp(1.0, SWING_MAX);
        self.setting = self.setting.min(self.max - swing).max(self.min);
        let up = (self.total / (PERIOD / 2)) % 2 == 1;
        let threads = (self.setting + if up { swing } else { 0.0 }).trunc().clamp(self.min, self.max) as usize;
        if threads != self.threads {
            self.threads = threads;
            self.draw_interval();
        }
        let longer = if slope < 0.0 && threads as f64 <= self.min { LONGER * (-slope).min(1.0) } else { 1.0 };
        (threads, Duration::from_millis((0.5 + self.interval_ms as f64 * longer) as u64))
    }

    /// Every [`GATE_EVERY`] while something is queued: the new number of threads, if the queue has stood still for `still` and
    /// `existing` threads are all there may be.
    pub(super) fn gate(&mut self, still: Duration, existing: usize, cpu: f64) -> Option<usize> {
        let patience = if cpu < CPU_IDLE { GATE_EVERY } else { 2 * GATE_EVERY * self.threads as u32 };
        if still < patience || existing < self.threads || existing as f64 >= self.max {
            return None;
        }
        self.setting += (existing + 1) as f64 - self.threads as f64;
        self.threads = existing + 1;
        self.draw_interval();
        Some(self.threads)
    }

    /// How much more throughput more threads bring, less what they must, and how far that is to be trusted.
    fn read(&mut self) -> (f64, f64) {
        let count = (self.total - 1).min(PERIOD * SWINGS) / PERIOD * PERIOD;
        if count <= PERIOD {
            return (0.0, 0.0);
        }
        let latest = || self.samples.iter().skip(self.samples.len() - count);
        let mean = |part: fn(&(f64, f64)) -> f64| latest().map(part).sum::<f64>() / count as f64;
        let (throughput, threads) = (mean(|sample| sample.0), mean(|sample| sample.1));
        if throughput <= 0.0 || threads <= 0.0 {
            return (0.0, 0.0);
        }
        let rate = |period: f64| Wave::of(latest().map(|sample| sample.0 / throughput), period);
        let swings = (count / PERIOD) as f64;
        let [faster, slower] = [swings + 1.0, swings - 1.0].map(|beside| rate(count as f64 / beside).size());
        let error = faster.max(slower);
        let effect = rate(PERIOD as f64);
        let cause = Wave::of(latest().map(|sample| sample.1 / threads), PERIOD as f64);
        self.noise = if self.noise == 0.0 { error } else { NOISE_WEIGHT * error + (1.0 - NOISE_WEIGHT) * self.noise };
        let slope = if cause.size() > 0.0 { effect.along(cause) - PAYS } else { 0.0 };
        let noise = self.noise.max(error);
        (slope, if noise > 0.0 { cause.size() / noise / TRUSTED } else { 1.0 })
    }

    /// At random, so that nothing else that repeats is mistaken for an effect (xorshift).
    fn draw_interval(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.interval_ms = SAMPLE_MS.0 + self.random % (SAMPLE_MS.1 - SAMPLE_MS.0 + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Duration = Duration::from_millis(100);

    /// Plays `samples` samples of a workload that finishes `rate(threads)` jobs a second; the numbers of threads that came.
    fn play(rule: &mut Rule, samples: usize, cpu: f64, rate: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut threads = rule.threads;
        let play_one = |_| {
            let completions = rate(threads) * SAMPLE.as_secs_f64();
            (threads, _) = rule.sampled(SAMPLE, completions.round() as usize, cpu);
            threads
        };
        (0..samples).map(play_one).collect()
    }

    fn mean(threads: &[usize]) -> f64 {
        threads.iter().sum::<usize>() as f64 / threads.len() as f64
    }

    #[test]
    fn waits_draw_it_up_but_never_faster_than_four_threads_a_second() {
        let mut rule = Rule::new(2, 1_000, 7);
        let threads = play(&mut rule, 600, 0.1, |threads| threads as f64 * 1_000.0);
        let setting = rule.setting;
        // A minute: some samples of warm-up, then all of the four a second at best.
        assert!(setting > 60.0 && setting <= 2.0 + 4.0 * 60.0, "{setting}");
        assert!(threads.windows(2).all(|pair| pair[1] as f64 <= pair[0] as f64 + SWING_MAX + 1.0), "{threads:?}");
    }

    #[test]
    fn threads_that_bring_nothing_are_given_back() {
        let mut rule = Rule::new(2, 1_000, 7);
        let grown = play(&mut rule, 100, 0.1, |threads| threads as f64 * 1_000.0);
        let before = rule.setting;
        // What they must bring and do not is 15 %, of which the square counts: slowly.
        let flat = play(&mut rule, 400, 0.1, |_| 8_000.0);
        assert!(mean(&grown[80..]) > 10.0, "{grown:?}");
        assert!(rule.setting < before - 2.0, "{before} {flat:?}");
        assert!(mean(&flat[300..]) < mean(&flat[..100]) - 1.0, "{flat:?}");
    }

    #[test]
    fn busy_processors_stop_growth() {
        let mut rule = Rule::new(2, 1_000, 7);
        play(&mut rule, 200, 0.96, |threads| threads as f64 * 1_000.0);
        assert_eq!(rule.setting, 2.0);
    }

    #[test]
    fn sample_with_too_few_jobs_is_continued() {
        let mut rule = Rule::new(8, 1_000, 7);
        let first = rule.sampled(SAMPLE, 100, 0.1).0;
        assert_eq!((first, rule.total), (8, 1));
        assert_eq!(rule.sampled(SAMPLE, 40, 0.1), (8, Duration::from_millis(CONTINUED_MS)));
        assert_eq!(rule.total, 1);
        rule.sampled(SAMPLE, 10, 0.1);
        assert_eq!((rule.total, rule.carried), (2, (0.0, 0)), "7 of 50 are under 15 %");
        assert_eq!(rule.samples[1].0, 250.0);
    }

    #[test]
    fn gate_opens_for_one_when_the_queue_stands_still() {
        let mut rule = Rule::new(2, 4, 7);
        let moment = Duration::from_millis(1);
        assert_eq!(rule.gate(GATE_EVERY - moment, 2, 0.1), None, "something left the queue");
        assert_eq!(rule.gate(GATE_EVERY, 1, 0.1), None, "a thread is on its way");
        assert_eq!(rule.gate(GATE_EVERY, 2, 0.1), Some(3));
        assert_eq!(rule.gate(GATE_EVERY, 3, 0.9), None, "busy: a second for each thread");
        assert_eq!(rule.gate(6 * GATE_EVERY, 3, 0.9), Some(4));
        assert_eq!(rule.gate(GATE_EVERY, 4, 0.1), None, "no more than the most");
    }

    #[test]
    fn filter_finds_a_swing_and_nothing_beside_it() {
        let swing = |period: usize| (0..32).map(move |i| if i / (period / 2) % 2 == 1 { 1.0 } else { 0.0 });
        assert!(Wave::of(swing(4), 4.0).size() > 0.3);
        assert!(Wave::of(swing(4), 32.0 / 9.0).size() < 1e-9);
        assert!(Wave::of(swing(16), 4.0).size() < 1e-9);
    }
}
