//! Rounds: every system of a work takes its turn in each round, and a sample that the machine spoiled is taken again.
//!
//! # How a sample is judged
//!
//! | rule | applies to | what happens |
//! | --- | --- | --- |
//! | [`Judge::AsIs`] | work on one core, or work that mostly waits | every sample counts |
//! | [`Judge::TwoCores`] | work that meets on two cores but may sleep | before a sample two threads spin for 2 ms; while they get fewer than 1.5 cores the sample waits, at most ten times |
//! | [`Judge::CpuBound`] | work that never needs to wait | as above, and a sample whose own CPU time is below 1.5 × its wall time is taken again, at most three times in all; the one with the most CPU per wall counts |
//! | [`Judge::OneCore`] | work that keeps one core busy, wherever it runs | a sample whose own CPU time is below 0.9 × its wall time is taken again, as above |
//! | [`Judge::Pair`] | two sides on a core each, of which the slower is always busy | both: it waits for two cores, and is taken again when the busier side got less than 0.9 of its core |
//!
//! The rules look at the machine and the clock, never at the system, so each system is treated alike. A system that
//! sleeps by design keeps its low CPU per wall: it is tried three times and its best-fed try counts.
//!
//! Round 0 warms up and is thrown away. The order of the systems turns by one place each round, so none is always first.

use std::time::Duration;

use crate::measure::{self, Spent};
use crate::peer::Program;
use crate::watchdog::Watchdog;

const CORES_WANTED: f64 = 1.5;
const ONE_CORE_WANTED: f64 = 0.9;
const TRIES_MAX: u32 = 3;
const PROBES_MAX: u32 = 10;
const PROBE_PAUSE: Duration = Duration::from_millis(50);
const PROBE_LENGTH: Duration = Duration::from_millis(2);

/// How much work a sample is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Short samples.
    pub quick: bool,
    /// This amount instead of the work's own: for counters of instructions, which compare two lengths.
    pub exactly: Option<u64>,
}

impl Effort {
    /// Short samples or full ones.
    pub fn new(quick: bool) -> Effort {
        Effort { quick, exactly: None }
    }

    /// The amount for this effort.
    pub fn pick(self, full: u64, quick: u64) -> u64 {
        self.exactly.unwrap_or(if self.quick { quick } else { full })
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
    /// Those that got one core themselves.
    OneCore,
    /// Those whose busier side got its core, while the machine gives two.
    Pair,
}

/// One measurement of one system.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The figure, in the work's unit.
    pub value: f64,
    /// CPU time by wall time; of a pair, that of the busier side.
    pub cores: f64,
    /// Figures of the work's further rows, by their key.
    pub extra: Vec<(String, f64)>,
}

impl Sample {
    /// A sample of `value`.
    pub fn new(value: f64, spent: Spent) -> Sample {
        Sample { value, cores: spent.cores(), extra: Vec::new() }
    }

    /// A sample of a work whose rows are all filled by [`and`](Self::and).
    pub fn of_rows(spent: Spent) -> Sample {
        Sample::new(0.0, spent)
    }

    /// With the figure of a further row.
    pub fn and(mut self, key: &str, value: f64) -> Sample {
        self.extra.push((key.to_owned(), value));
        self
    }
}

/// A row that a work's samples fill.
#[derive(Clone, Debug)]
struct Figure {
    row: String,
    /// Empty for [`Sample::value`], else the name in [`Sample::extra`].
    key: &'static str,
    unit: &'static str,
    better: Better,
    /// The last sample's figure alone, which is about all of them.
    concludes: bool,
}

/// Takes a sample of a work from a program that is started for it.
pub type Drive = fn(&Program, &'static str, Effort) -> Sample;

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
    /// How a sample is taken where each is a process of its own; None where the systems share this process.
    pub drive: Option<Drive>,
    judge: Judge,
    figures: Vec<Figure>,
    entries: Vec<Entry>,
}

impl Work {
    /// A work without systems yet, with a row of its own name.
    pub fn new(suite: &'static str, name: &'static str, unit: &'static str, judge: Judge) -> Work {
        let own = Figure { row: name.to_owned(), key: "", unit, better: Better::Lower, concludes: false };
        Work { figures: vec![own], ..Work::of_rows(suite, name, judge) }
    }

    /// A work without systems or rows yet: [`row`](Self::row) names each row in full.
    pub fn of_rows(suite: &'static str, name: &'static str, judge: Judge) -> Work {
        Work { suite, name, drive: None, judge, figures: Vec::new(), entries: Vec::new() }
    }

    /// A further row `NAME.SUFFIX`, filled from [`Sample::and`].
    pub fn aside(self, suffix: &'static str, unit: &'static str, better: Better) -> Work {
        let row = format!("{}.{suffix}", self.name);
        self.row(row, suffix, unit, better)
    }

    /// A further row of that name, filled from the figure `key` of [`Sample::and`].
    pub fn row(mut self, row: impl Into<String>, key: &'static str, unit: &'static str, better: Better) -> Work {
        self.figures.push(Figure { row: row.into(), key, unit, better, concludes: false });
        self
    }

    /// An [`aside`](Self::aside) that each sample computes of itself and all before it: what the last one says is the figure.
    pub fn conclusion(mut self, suffix: &'static str, unit: &'static str, better: Better) -> Work {
        let row = format!("{}.{suffix}", self.name);
        self.figures.push(Figure { row, key: suffix, unit, better, concludes: true });
        self
    }

    /// With a larger figure as the better one in its own row.
    pub fn upwards(mut self) -> Work {
        self.figures[0].better = Better::Higher;
        self
    }

    /// With samples that are processes of their own.
    pub fn driven(mut self, drive: Drive) -> Work {
        self.drive = Some(drive);
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

    /// Keeps the rows that one of `wanted` means: by the work's name, its own, or a family's of either. False when none
    /// is left.
    pub fn keep_rows(&mut self, wanted: &[String]) -> bool {
        let name = self.name;
        self.figures.retain(|figure| wanted.iter().any(|wanted| is_of(name, wanted) || is_of(&figure.row, wanted)));
        !self.figures.is_empty()
    }

    /// The names of its systems.
    pub fn systems(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.system).collect()
    }

    /// The names of its rows.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.figures.iter().map(|figure| figure.row.as_str())
    }

    /// Its name, or the names of its rows where none has the work's own.
    pub fn heads(&self) -> Vec<&str> {
        if self.rows().any(|row| row == self.name) { vec![self.name] } else { self.rows().collect() }
    }

    /// Measures every system in `rounds` rounds and returns the rows, one a system for each figure of the work.
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
                    (entry.run)(Effort::new(true));
                    continue;
                }
                let (sample, retries) = take(&mut *entry.run, effort, self.judge);
                taken[at].push(sample);
                again[at] += retries;
            }
        }
        watchdog.rest();
        let mut rows = Vec::new();
        for wanted in &self.figures {
            for (at, entry) in self.entries.iter().enumerate() {
                let all: Vec<f64> = taken[at].iter().filter_map(|sample| figure(sample, wanted.key)).collect();
                let rounds = all.len();
                let values = if wanted.concludes { all[rounds.saturating_sub(1)..].to_vec() } else { all };
                let cores: Vec<f64> = taken[at].iter().map(|sample| sample.cores).collect();
                if values.is_empty() {
                    continue;
                }
                rows.push(Row {
                    suite: self.suite,
                    work: wanted.row.clone(),
                    system: entry.system,
                    median: median(&values),
                    min: values.iter().copied().fold(f64::INFINITY, f64::min),
                    max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    unit: wanted.unit,
                    better: wanted.better,
                    rounds,
                    cpu_per_wall: median(&cores),
                    again: again[at],
                });
            }
        }
        rows
    }
}

/// Whether `name` is `wanted`, or of the family of that name.
pub fn is_of(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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
    let two_cores = matches!(judge, Judge::TwoCores | Judge::CpuBound | Judge::Pair) && measure::cores() >= 2;
    let wanted = match judge {
        Judge::OneCore | Judge::Pair => ONE_CORE_WANTED,
        Judge::CpuBound if two_cores => CORES_WANTED,
        _ => 0.0,
    };
    let mut best: Option<Sample> = None;
    for tries in 0..TRIES_MAX {
        if two_cores {
            wait_for_cores();
        }
        let sample = run(effort);
        let fed = sample.cores >= wanted;
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

fn figure(sample: &Sample, key: &str) -> Option<f64> {
    if key.is_empty() {
        return Some(sample.value);
    }
    sample.extra.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
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
        let (kept, again) = take(&mut |_| tries.next().unwrap(), Effort::new(true), Judge::CpuBound);
        assert_eq!((kept.value, again), (5.0, 2));
    }

    #[test]
    fn one_busy_core_is_enough_where_one_is_wanted() {
        let mut tries = [sample(9.0, 0.5), sample(5.0, 0.95)].into_iter();
        let (kept, again) = take(&mut |_| tries.next().unwrap(), Effort::new(true), Judge::OneCore);
        assert_eq!((kept.value, again), (5.0, 1));
    }

    #[test]
    fn fed_sample_counts_at_once() {
        let (kept, again) = take(&mut |_| sample(3.0, 1.9), Effort::new(true), Judge::CpuBound);
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
    fn family_is_not_a_prefix_of_a_word() {
        assert!(is_of("queue.unbounded.1x1", "queue") && is_of("queue.rendezvous", "queue.rendezvous"));
        assert!(!is_of("queue.unbounded.1x1", "que"));
    }

    #[test]
    fn row_is_kept_by_its_own_name_and_by_its_works() {
        let work = || {
            Work::of_rows("greenlet", "park.1m", Judge::AsIs).row("bytes.1m", "bytes", "bytes", Better::Lower).row(
                "spawn-park.1m",
                "spawn",
                "ns/op",
                Better::Lower,
            )
        };
        let left = |wanted: &str| {
            let mut work = work();
            work.keep_rows(&[wanted.to_owned()]);
            work.rows().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(left("bytes.1m"), ["bytes.1m"]);
        assert_eq!(left("bytes"), ["bytes.1m"]);
        assert_eq!(left("park"), ["bytes.1m", "spawn-park.1m"]);
        assert!(left("wake").is_empty());
        assert_eq!(work().heads(), ["bytes.1m", "spawn-park.1m"]);
    }

    #[test]
    fn aside_gets_rows_of_its_own() {
        let work = Work::new("sync", "w", "us", Judge::AsIs)
            .aside("cpu", "us", Better::Lower)
            .by("std", |_| sample(1.0, 1.0).and("cpu", 4.0));
        let rows = work.measure(3, Effort::new(true), &Watchdog::start());
        let names: Vec<_> = rows.iter().map(|row| (row.work.as_str(), row.median, row.rounds)).collect();
        assert_eq!(names, [("w", 1.0, 3), ("w.cpu", 4.0, 3)]);
    }

    #[test]
    fn conclusion_is_what_the_last_sample_says() {
        let mut count = 0.0;
        let work =
            Work::new("sync", "w", "us", Judge::AsIs).conclusion("so_far", "us", Better::Lower).by("std", move |_| {
                count += 1.0;
                sample(1.0, 1.0).and("so_far", count)
            });
        let rows = work.measure(3, Effort::new(true), &Watchdog::start());
        // The first one warms up.
        assert_eq!((rows[1].work.as_str(), rows[1].median, rows[1].rounds), ("w.so_far", 4.0, 3));
    }
}
