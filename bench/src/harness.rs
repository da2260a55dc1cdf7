//! Rounds: every system of a work takes its turn in each round, and a sample that the machine spoiled is taken again.
//!
//! # How a sample is judged
//!
//! | rule | applies to | what happens |
//! | --- | --- | --- |
//! | [`Judge::AsIs`] | work on one core, or work that mostly waits | every sample counts |
//! | [`Judge::TwoCores`] | work that meets on two cores but may sleep | before a sample two threads spin for 2 ms; while they get fewer than 1.5 cores the sample waits, at most ten times |
//! | [`Judge::CpuBound`] | work that never needs to wait | as above, and a sample whose own CPU time is below 1.5 × its wall time is taken again, at most three times in all; the one with the most CPU per wall counts |
//!
//! The rules look at the machine and the clock, never at the system, so each system is treated alike. A system that
//! sleeps by design keeps its low CPU per wall: it is tried three times and its best-fed try counts.
//!
//! Round 0 warms up and is thrown away. The order of the systems turns by one place each round, so none is always first.

use std::time::Duration;

use crate::measure::{self, Spent};
use crate::watchdog::Watchdog;

const CORES_WANTED: f64 = 1.5;
const TRIES_MAX: u32 = 3;
const PROBES_MAX: u32 = 10;
const PROBE_PAUSE: Duration = Duration::from_millis(50);
const PROBE_LENGTH: Duration = Duration::from_millis(2);

/// How much work a sample is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Short samples.
    pub quick: bool,
}

impl Effort {
    /// The amount for this effort.
    pub fn pick(self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// The length of a sample that is bounded by time.
    pub fn span(self) -> Duration {
        Duration::from_millis(self.pick(200, 40))
    }
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A smaller figure.
    Lower,
    /// A larger figure.
    Higher,
}

impl Better {
    /// The word in the JSON lines.
    pub fn word(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
        }
    }
}

/// Which samples count; see the head of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// All.
    AsIs,
    /// Those taken while the machine gives two cores.
    TwoCores,
    /// Those that got two cores themselves.
    CpuBound,
}

/// One measurement of one system.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The figure, in the work's unit.
    pub value: f64,
    /// CPU time by wall time.
    pub cores: f64,
    /// Figures of the work's further rows, by their suffix.
    pub extra: Vec<(String, f64)>,
}

impl Sample {
    /// A sample of `value`.
    pub fn new(value: f64, spent: Spent) -> Sample {
        Sample { value, cores: spent.cores(), extra: Vec::new() }
    }

    /// With the figure of a further row.
    pub fn and(mut self, suffix: &str, value: f64) -> Sample {
        self.extra.push((suffix.to_owned(), value));
        self
    }
}

/// A further row that the same samples fill, named `WORK.SUFFIX`.
#[derive(Clone, Copy, Debug)]
pub struct Aside {
    suffix: &'static str,
    unit: &'static str,
    better: Better,
}

struct Entry {
    system: &'static str,
    run: Box<dyn FnMut(Effort) -> Sample>,
}

/// One thing to do, and everyone who does it.
pub struct Work {
    /// The suite it belongs to.
    pub suite: &'static str,
    /// Its name; scripts rely on it.
    pub name: &'static str,
    unit: &'static str,
    better: Better,
    judge: Judge,
    asides: Vec<Aside>,
    entries: Vec<Entry>,
}

impl Work {
    /// A work without systems yet.
    pub fn new(suite: &'static str, name: &'static str, unit: &'static str, judge: Judge) -> Work {
        Work { suite, name, unit, better: Better::Lower, judge, asides: Vec::new(), entries: Vec::new() }
    }

    /// A further row filled from [`Sample::and`].
    pub fn aside(mut self, suffix: &'static str, unit: &'static str, better: Better) -> Work {
        self.asides.push(Aside { suffix, unit, better });
        self
    }

    /// A system that does it.
    pub fn by(mut self, system: &'static str, run: impl FnMut(Effort) -> Sample + 'static) -> Work {
        self.add(system, run);
        self
    }

    /// A system that does it, added later.
    pub fn add(&mut self, system: &'static str, run: impl FnMut(Effort) -> Sample + 'static) {
        self.entries.push(Entry { system, run: Box::new(run) });
    }

    /// Keeps the systems that `wanted` [names].
    pub fn keep(&mut self, wanted: &[String]) {
        self.entries.retain(|entry| wanted.iter().any(|name| names(entry.system, name)));
    }

    /// The names of its systems.
    pub fn systems(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.system).collect()
    }

    /// The names of its rows.
    #[cfg(test)]
    pub fn rows(&self) -> impl Iterator<Item = String> {
        let asides = self.asides.iter().map(|aside| format!("{}.{}", self.name, aside.suffix));
        std::iter::once(self.name.to_owned()).chain(asides)
    }

    /// Measures every system in `rounds` rounds and returns the rows, one a system for the work and each aside.
    pub fn measure(mut self, rounds: usize, effort: Effort, watchdog: &Watchdog) -> Vec<Row> {
        let count = self.entries.len();
        let mut taken: Vec<Vec<Sample>> = vec![Vec::new(); count];
        let mut again = vec![0; count];
        for round in 0..=rounds {
            for turn in 0..count {
                let at = (turn + round) % count;
                let entry = &mut self.entries[at];
                watchdog.expect(format!("{} of {}", entry.system, self.name));
                if round == 0 {
                    (entry.run)(Effort { quick: true });
                    continue;
                }
                let (sample, retries) = take(&mut *entry.run, effort, self.judge);
                taken[at].push(sample);
                again[at] += retries;
            }
        }
        watchdog.rest();
        let mut rows = Vec::new();
        let main = Aside { suffix: "", unit: self.unit, better: self.better };
        for aside in std::iter::once(&main).chain(&self.asides) {
            for (at, entry) in self.entries.iter().enumerate() {
                let values: Vec<f64> = taken[at].iter().filter_map(|sample| figure(sample, aside.suffix)).collect();
                let cores: Vec<f64> = taken[at].iter().map(|sample| sample.cores).collect();
                if values.is_empty() {
                    continue;
                }
                let work = match aside.suffix {
                    "" => self.name.to_owned(),
                    suffix => format!("{}.{suffix}", self.name),
                };
                rows.push(Row {
                    suite: self.suite,
                    work,
                    system: entry.system,
                    median: median(&values),
                    min: values.iter().copied().fold(f64::INFINITY, f64::min),
                    max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    unit: aside.unit,
                    better: aside.better,
                    rounds: values.len(),
                    cpu_per_wall: median(&cores),
                    again: again[at],
                });
            }
        }
        rows
    }
}

/// Whether `wanted` means `system`: by its whole name, or by its family (`ropewalk` for `ropewalk:queue`).
pub fn names(system: &str, wanted: &str) -> bool {
    system.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// What was found out about one system at one work.
#[derive(Clone, Debug)]
pub struct Row {
    /// The suite.
    pub suite: &'static str,
    /// The work, with the suffix of an aside.
    pub work: String,
    /// Who did it.
    pub system: &'static str,
    /// The middle sample.
    pub median: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
    /// The unit of the three.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
    /// How many samples count.
    pub rounds: usize,
    /// The median of CPU time by wall time.
    pub cpu_per_wall: f64,
    /// How many samples were taken again because the machine gave too little.
    pub again: u32,
}

fn take(run: &mut dyn FnMut(Effort) -> Sample, effort: Effort, judge: Judge) -> (Sample, u32) {
    let judge = if measure::cores() < 2 { Judge::AsIs } else { judge };
    let mut best: Option<Sample> = None;
    for tries in 0..TRIES_MAX {
        if judge != Judge::AsIs {
            wait_for_cores();
        }
        let sample = run(effort);
        let fed = judge != Judge::CpuBound || sample.cores >= CORES_WANTED;
        if best.as_ref().is_none_or(|best| sample.cores > best.cores) {
            best = Some(sample);
        }
        if fed {
            return (best.expect("just stored"), tries);
        }
    }
    (best.expect("there is at least one try"), TRIES_MAX - 1)
}

fn wait_for_cores() {
    for _ in 0..PROBES_MAX {
        if measure::effective_cores(PROBE_LENGTH) >= CORES_WANTED {
            return;
        }
        std::thread::sleep(PROBE_PAUSE);
    }
}

fn figure(sample: &Sample, suffix: &str) -> Option<f64> {
    if suffix.is_empty() {
        return Some(sample.value);
    }
    sample.extra.iter().find(|(name, _)| name == suffix).map(|(_, value)| *value)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64, cores: f64) -> Sample {
        Sample { value, cores, extra: Vec::new() }
    }

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn starved_sample_is_taken_again_and_the_best_fed_counts() {
        if measure::cores() < 2 {
            return;
        }
        let mut tries = [sample(9.0, 0.9), sample(5.0, 1.4), sample(7.0, 1.1)].into_iter();
        let (kept, again) = take(&mut |_| tries.next().unwrap(), Effort { quick: true }, Judge::CpuBound);
        assert_eq!((kept.value, again), (5.0, 2));
    }

    #[test]
    fn fed_sample_counts_at_once() {
        let (kept, again) = take(&mut |_| sample(3.0, 1.9), Effort { quick: true }, Judge::CpuBound);
        assert_eq!((kept.value, again), (3.0, 0));
    }

    #[test]
    fn family_name_keeps_its_variants() {
        let mut work = Work::new("sync", "w", "us", Judge::AsIs)
            .by("ropewalk:queue", |_| sample(1.0, 1.0))
            .by("std", |_| sample(1.0, 1.0))
            .by("kanal", |_| sample(1.0, 1.0));
        work.keep(&["ropewalk".into(), "kanal".into()]);
        let left: Vec<_> = work.entries.iter().map(|entry| entry.system).collect();
        assert_eq!(left, ["ropewalk:queue", "kanal"]);
    }

    #[test]
    fn aside_gets_rows_of_its_own() {
        let work = Work::new("sync", "w", "us", Judge::AsIs)
            .aside("cpu", "us", Better::Lower)
            .by("std", |_| sample(1.0, 1.0).and("cpu", 4.0));
        let rows = work.measure(3, Effort { quick: true }, &Watchdog::start());
        let names: Vec<_> = rows.iter().map(|row| (row.work.as_str(), row.median, row.rounds)).collect();
        assert_eq!(names, [("w", 1.0, 3), ("w.cpu", 4.0, 3)]);
    }
}
