//! How long it would take instead: a range, its assumption, or why nobody can know.
//!
//! Pure functions. Waits overlap (Little's law) until the processors, or the one thread of a runtime with a global lock, are
//! busy all the time: that bound is the short end. The long end is what a closed queue with random service does (mean value
//! analysis), plus starting the workers and the last round, which is not full. Work that divides is spread over the
//! processors that were measured. What keeps all of them busy is held against a machine with more, where the part in which one
//! thread computes alone stays as long as it was measured to be (Amdahl's law). What cannot be known is refused: how a disk takes concurrent flushes, what a
//! lock lets through after it was changed, what memory can deliver.

use serde::Serialize;

use crate::recording::{Mode, Recording};
use crate::states::{Cause, Kind, States};
use crate::verdict::{Class, Finding, Language, in_round_trips, percent};

/// Numbers in flight that are asked about; ten is one that people use.
const ASKED: [usize; 8] = [2, 4, 8, 10, 16, 32, 64, 128];
/// A setting is better than one before it when it takes less than this part of its time.
const CLEARLY: f64 = 0.87;
/// A range whose long end is more than this many times its short end says nothing: 1.3 / 0.7.
const WIDTH_MAX: f64 = 1.3 / 0.7;
/// Gains below this are noise.
const GAIN_MIN: f64 = 1.1;
/// What the short end may be missed by.
const SHORT: f64 = 0.95;
/// What threads and loops were measured to take above the queue's answer.
const LONG: f64 = 1.12;
/// The same, where a lock of the runtime hands the processor around.
const LONG_GLOBAL_LOCK: f64 = 1.3;
/// What divided computing was measured to take above its share: uneven parts, shared caches.
const LONG_DIVIDED: f64 = 1.3;

/// A range at one setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// Requests in flight, or workers; on as many processors where all that there are compute already: see [`unit`].
    pub in_flight: usize,
    /// Seconds at best.
    pub low_s: f64,
    /// Seconds at worst.
    pub high_s: f64,
}

/// What can be said about another way to do it.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Prediction {
    /// In order of the setting.
    pub ranges: Vec<Range>,
    /// The setting from which more helps little.
    pub best: Option<usize>,
    /// What must be true for it.
    pub assumption: String,
    /// Why there is none, or no more.
    pub refused: String,
}

impl Prediction {
    fn refused(why: &str) -> Prediction {
        Prediction { refused: why.to_owned(), ..Prediction::default() }
    }

    /// The range at the best setting.
    pub fn at_best(&self) -> Option<Range> {
        self.ranges.iter().copied().find(|r| Some(r.in_flight) == self.best)
    }
}

/// What the settings of a prediction count.
pub fn unit(class: Class) -> &'static str {
    match class {
        Class::CpuAllCores | Class::CpuOversubscribed => "processors",
        _ => "at once",
    }
}

/// Of a program that was watched for a while, only the while is known.
const ATTACHED: &str = "it was watched for a while and not from its start to its end, so how long all of it takes is not known: \
                        for a prediction run it with `ropewalk profile -- PROGRAM`";

/// Predicts for what was found.
pub fn predict(recording: &Recording, states: &States, finding: &Finding) -> Prediction {
    match finding.class {
        Class::Network
        | Class::Mixed
        | Class::CpuSerial
        | Class::SingleRunner
        | Class::CpuAllCores
        | Class::CpuOversubscribed
            if recording.mode == Mode::Attached =>
        {
            Prediction::refused(ATTACHED)
        }
        Class::Network | Class::Mixed => overlap(recording, states, finding),
        Class::CpuSerial | Class::SingleRunner => divide(recording, states, finding),
        Class::Disk => Prediction::refused(
            "how a disk takes requests side by side (its queue, whether flushes are grouped) cannot be known from one at a \
             time: try it, and measure",
        ),
        Class::Lock => Prediction::refused(
            "what a lock lets through after it was divided or held for less cannot be known from how it is now",
        ),
        Class::EventLoop => Prediction::refused(
            "what the connections gain depends on how they arrive; the loop itself is free for as much as is moved away",
        ),
        Class::Pipeline => Prediction::refused(
            "it becomes as fast as its second slowest stage, whose speed is not known while it waits",
        ),
        Class::CpuAllCores | Class::CpuOversubscribed => more_processors(recording, states),
        Class::CpuStarved => {
            Prediction::refused("other programs have the processors: nothing in this program changes that")
        }
        Class::Sleeping => Prediction::refused("how long a timer is set is decided in the program"),
        Class::Child | Class::Person | Class::Idle | Class::TooShort | Class::Unclear => {
            Prediction::refused("there is nothing here that another model would do sooner")
        }
    }
}

/// What was done over and over: its seconds of waiting and computing, and how often.
#[derive(Debug, Clone, Copy)]
struct Cycles {
    /// Seconds before the first.
    start: f64,
    wait: f64,
    cpu: f64,
    count: f64,
}

fn cycles(recording: &Recording, states: &States, finding: &Finding) -> Cycles {
    let wall = &states.wall;
    let io = |kind: Kind| matches!(kind, Kind::Network | Kind::Disk);
    let wait: f64 = wall.waits.iter().filter(|(c, _)| io(c.kind)).map(|(_, s)| s).sum();
    let lanes: Vec<_> = states
        .lanes
        .iter()
        .filter(|l| {
            finding.process == Some(l.pid) && l.waiting(Kind::Network) + l.waiting(Kind::Disk) > 0.1 * l.length()
        })
        .collect();
    // The first such wait. What came before is not repeated.
    let start = lanes
        .iter()
        .filter_map(|l| {
            let outside = |call: Option<u32>| call.is_some_and(|c| io(Cause::of(&recording.calls[c as usize]).kind));
            l.stretches.iter().find(|s| s.wait > 0.5 * (s.end - s.start) && outside(s.call))
        })
        .map(|s| s.start)
        .fold(f64::INFINITY, f64::min);
    let start = if start.is_finite() { start } else { 0.0 };
    let early: f64 = wall.cells.iter().filter(|c| c.end <= start).map(|c| c.cpu).sum();
    let count: f64 = lanes.iter().map(|l| l.wakes * l.length()).sum();
    Cycles { start, wait, cpu: (wall.cpu - early).max(0.0), count: count.max(1.0) }
}

/// One setting, whether or not it is one that is usually asked about: for whoever then measures just that. `None` where
/// [`predict`] would refuse.
pub fn at(recording: &Recording, states: &States, finding: &Finding, in_flight: usize) -> Option<Range> {
    match finding.class {
        _ if recording.mode == Mode::Attached => None,
        Class::Network | Class::Mixed => Overlap::of(recording, states, finding).ok()?.range(in_flight),
        Class::CpuSerial | Class::SingleRunner => Divided::of(recording, states, finding).ok()?.range(in_flight),
        Class::CpuAllCores | Class::CpuOversubscribed => Scaled::of(recording, states).range(in_flight),
        _ => None,
    }
}

/// Waits side by side: all that a range is made of.
struct Overlap {
    cycles: Cycles,
    /// In flight now.
    now: f64,
    /// Seconds that all requests wait, added up, and that they compute.
    wait: f64,
    cpu: f64,
    /// Processors that can compute for them at once.
    k: f64,
    /// Computing is in turns, on one processor.
    global: bool,
    long: f64,
    start_one: f64,
    fixed: f64,
    wall: f64,
}

impl Overlap {
    fn of(recording: &Recording, states: &States, finding: &Finding) -> Result<Overlap, &'static str> {
        let disk = states.wall.waits.iter().filter(|(c, _)| c.kind == Kind::Disk).fold(0.0, |sum, (_, s)| sum + s);
        if disk > 0.1 * states.wall.length {
            return Err(
                "how a disk takes requests side by side cannot be known from one at a time: try it, and measure",
            );
        }
        if states.wall.at_most {
            return Err(
                "it waits for several connections at once, and how many of them have a request under way cannot be seen \
                 from outside",
            );
        }
        if in_round_trips(states) {
            return Err(
                "each wait is hardly longer than the way there and back: the cost is the number of round trips, and what \
                 batching them gains depends on the service",
            );
        }
        let cycles = cycles(recording, states, finding);
        let now = states.wall.in_flight.max(1.0);
        let global = matches!(finding.language, Language::Python | Language::Node | Language::Ruby);
        let k = if global { 1.0 } else { recording.machine.effective_cores.max(1.0) };
        let (start_one, fixed) = match finding.language {
            Language::Python | Language::Ruby => (0.001, 0.02),
            // Its code is compiled while it begins to run.
            Language::Node => (0.001, 0.05),
            Language::Shell => (0.01, 0.02),
            _ => (0.000_2, 0.002),
        };
        // With `now` in flight, the waits of all add up to that many times what the wall saw.
        let (wait, cpu) = (cycles.wait * now, cycles.cpu);
        let long = if global && cpu > 0.15 * wait { LONG_GLOBAL_LOCK } else { LONG };
        Ok(Overlap { cycles, now, wait, cpu, k, global, long, start_one, fixed, wall: states.wall.length })
    }

    fn range(&self, in_flight: usize) -> Option<Range> {
        let (many, count) = (in_flight as f64, self.cycles.count);
        // More than half of all requests at once is a start and an end without a middle.
        if many < 1.5 * self.now || many > count / 2.0 {
            return None;
        }
        let bound = self.cycles.start + ((self.wait + self.cpu) / many).max(self.cpu / self.k);
        let queue = queued(count, self.wait / count, self.cpu / count, self.k, in_flight);
        let low_s = bound * SHORT;
        let last_round = (self.wait + self.cpu) / count;
        let high = self.cycles.start + queue * self.long + self.start_one * many + self.fixed + last_round;
        let high_s = high.max(low_s * 1.1);
        worth(Range { in_flight, low_s, high_s }, self.wall)
    }

    /// From how many on the processor is busy all the time.
    fn knee(&self) -> f64 {
        (self.k * (self.wait + self.cpu) / self.cpu.max(1e-6)).max(2.0)
    }
}

/// A range that is narrow enough to say something, and a gain.
fn worth(range: Range, now: f64) -> Option<Range> {
    (range.high_s <= WIDTH_MAX * range.low_s && range.high_s * GAIN_MIN < now).then_some(range)
}

fn overlap(recording: &Recording, states: &States, finding: &Finding) -> Prediction {
    let overlap = match Overlap::of(recording, states, finding) {
        Ok(overlap) => overlap,
        Err(why) => return Prediction::refused(why),
    };
    let ranges: Vec<Range> = ASKED.into_iter().filter_map(|n| overlap.range(n)).collect();
    let Some(first) = ranges.first().copied() else {
        return Prediction::refused("too little waiting is left to overlap for a range that says anything");
    };
    // The last setting that is still clearly shorter than the one before.
    let knee = 1.5 * overlap.knee();
    let best = ranges.iter().fold(first, |best, range| {
        if range.high_s < CLEARLY * best.high_s && range.in_flight as f64 <= knee { *range } else { best }
    });
    Prediction {
        ranges,
        best: Some(best.in_flight),
        assumption: format!(
            "the requests do not depend on each other, and the other side answers many as quickly as one{}",
            if overlap.global && overlap.cpu > 0.1 * overlap.wait { "; computing stays on one processor" } else { "" }
        ),
        refused: String::new(),
    }
}

/// Seconds for `count` cycles of `wait` and `cpu` seconds with `n` in flight on `k` processors: mean value analysis of a
/// closed network with a delay and one queue (several servers as one faster one and a delay).
fn queued(count: f64, wait: f64, cpu: f64, k: f64, n: usize) -> f64 {
    let demand = cpu / k;
    let delay = wait + cpu * (k - 1.0) / k;
    let mut queue = 0.0;
    let mut rate = 0.0;
    for many in 1..=n {
        let stay = demand * (1.0 + queue);
        rate = many as f64 / (delay + stay).max(1e-12);
        queue = rate * stay;
    }
    count / f64::max(rate, 1e-12)
}

/// Computing on more processors: all that a range is made of.
struct Divided {
    /// Seconds of computing, and of everything else.
    cpu: f64,
    other: f64,
    cores: f64,
    available: usize,
    start_one: f64,
    fixed: f64,
    wall: f64,
    /// No range begins below this.
    least_s: f64,
}

impl Divided {
    fn of(recording: &Recording, states: &States, finding: &Finding) -> Result<Divided, &'static str> {
        let cores = recording.machine.effective_cores.max(1.0);
        let available = recording.machine.cores.max(1);
        if available < 2 || cores < 1.3 {
            return Err("hardly more than one processor is to be had here");
        }
        let wall = &states.wall;
        // Loops of a shell compute in commands that are too short to see, and as long.
        let cpu = wall.cpu_seen + wall.cpu_unseen;
        if finding.class == Class::CpuSerial && cpu > 1.2 * wall.length {
            return Err(
                "part of it runs on several processors already; the time in which one thread computes alone is the least it can \
                 take, unless that part can be divided as well, which is to be read in the program",
            );
        }
        // Starting interpreters is computing that is done once by each worker.
        let (start_one, fixed) = match finding.language {
            Language::Python | Language::Ruby => (0.03, 0.12),
            Language::Node => (0.03, 0.05),
            _ => (0.0, 0.002),
        };
        let other = (wall.length - wall.cpu).max(0.0);
        // One thread at a time cannot become quicker than the processors are many. Threads that took turns can: they
        // computed for the turns as well.
        let least_s = if finding.class == Class::CpuSerial { wall.length / available as f64 } else { 0.0 };
        Ok(Divided { cpu, other, cores, available, start_one, fixed, wall: wall.length, least_s })
    }

    fn range(&self, in_flight: usize) -> Option<Range> {
        let n = in_flight.min(self.available) as f64;
        let low_s = (self.cpu / n * SHORT + self.other * 0.5).max(self.least_s);
        let start = self.start_one * in_flight as f64 + self.fixed;
        let high = self.cpu / n.min(self.cores) * LONG_DIVIDED + self.other + start;
        worth(Range { in_flight, low_s, high_s: high.max(1.1 * low_s) }, self.wall)
    }
}

fn divide(recording: &Recording, states: &States, finding: &Finding) -> Prediction {
    let divided = match Divided::of(recording, states, finding) {
        Ok(divided) => divided,
        Err(why) => return Prediction::refused(why),
    };
    let most = divided.available;
    let asked = (2..=most).filter(|n| n.is_power_of_two() || *n == most);
    let ranges: Vec<Range> = asked.filter_map(|n| divided.range(n)).collect();
    let Some(best) = ranges.last().copied() else {
        return Prediction::refused("it is too short for more workers to pay for their own start");
    };
    Prediction {
        ranges,
        best: Some(best.in_flight),
        assumption: "the work divides into parts that do not need each other, and does not wait for memory more than for the processor"
            .to_owned(),
        refused: String::new(),
    }
}

/// The same program on more processors than it has here (Amdahl's law): all that a range is made of.
struct Scaled {
    /// Seconds in which one thread computed alone, which no number of processors shortens.
    alone: f64,
    /// Processor seconds of the rest, and seconds of neither.
    divided: f64,
    other: f64,
    available: usize,
    wall: f64,
}

impl Scaled {
    fn of(recording: &Recording, states: &States) -> Scaled {
        let wall = &states.wall;
        let cpu = wall.cpu_seen + wall.cpu_unseen;
        let alone = (wall.alone * wall.cpu).min(cpu);
        Scaled {
            alone,
            divided: cpu - alone,
            other: (wall.length - wall.cpu).max(0.0),
            available: recording.machine.cores.max(1),
            wall: wall.length,
        }
    }

    fn range(&self, processors: usize) -> Option<Range> {
        if processors <= self.available {
            return None;
        }
        let rest = self.divided / processors as f64;
        let low_s = (self.alone + rest + 0.5 * self.other) * SHORT;
        let high_s = (self.alone + rest * LONG_DIVIDED + self.other).max(1.1 * low_s);
        worth(Range { in_flight: processors, low_s, high_s }, self.wall)
    }
}

fn more_processors(recording: &Recording, states: &States) -> Prediction {
    let scaled = Scaled::of(recording, states);
    let asked = [2, 4, 8].map(|times| times * scaled.available);
    let ranges: Vec<Range> = asked.into_iter().filter_map(|n| scaled.range(n)).collect();
    let Some(first) = ranges.first().copied() else {
        return Prediction::refused(
            "the processors are busy, and more of them would gain little beside what one thread computes alone",
        );
    };
    let best = ranges.iter().fold(first, |best, r| if r.high_s < CLEARLY * best.high_s { *r } else { best });
    let share = scaled.alone / scaled.wall.max(1e-9);
    Prediction {
        ranges,
        best: Some(best.in_flight),
        assumption: format!(
            "a machine has so many processors like these, the program starts as many workers, and memory keeps up; the {:.2} s in \
             which one thread computes alone ({}) stay{}",
            scaled.alone,
            percent(share),
            if share > 0.1 { ", and are what to divide next" } else { "" }
        ),
        refused: String::new(),
    }
}
