//! Plain data: which worker was in which state when.
//!
//! A [`Timeline`] is made from [`Unit`]s, the reports of pieces of work: when each started and ended, on which thread, and
//! when it waited in between. Everything else follows from these: a lane per thread, the time between a thread's units as
//! idle, the wall time from the first start to the last end, how many units were in flight at once.
//!
//! All times are offsets from one origin that the writer chose; only their differences are used.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a unit waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// A socket: connecting, or bytes that have not arrived yet.
    Network,
    /// A file.
    Disk,
    /// A lock, queue or other thread of the same program.
    Lock,
    /// A timer.
    Sleep,
    /// Something the writer could not tell.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Network => "network",
            Cause::Disk => "disk",
            Cause::Lock => "lock",
            Cause::Sleep => "timer",
            Cause::Unknown => "something",
        })
    }
}

/// What a worker was doing during a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Working on a unit and not waiting: on a processor, or ready for one.
    Computing,
    /// Inside a unit, with nothing to do until something arrives.
    Waiting(Cause),
    /// Between two units, or before the first or after the last one.
    Idle,
}

/// A stretch of time in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it began, from the timeline's origin.
    #[serde(with = "nanos")]
    pub start: Duration,
    /// When it ended, from the timeline's origin; never before `start`.
    #[serde(with = "nanos")]
    pub end: Duration,
    /// What the worker was doing.
    pub state: State,
    /// The unit it was doing it for; `None` while idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<u64>,
}

impl Span {
    /// How long it lasted.
    pub fn length(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// A stretch of waiting inside a [`Unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it began.
    #[serde(with = "nanos")]
    pub start: Duration,
    /// When it ended.
    #[serde(with = "nanos")]
    pub end: Duration,
    /// What it was for.
    pub cause: Cause,
}

/// What one piece of work reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Which one.
    pub id: u64,
    /// The operating system's id of the thread that did it.
    pub thread: u64,
    /// When it started.
    #[serde(with = "nanos")]
    pub start: Duration,
    /// When it ended.
    #[serde(with = "nanos")]
    pub end: Duration,
    /// Its waits, in order, none overlapping another.
    #[serde(default)]
    pub waits: Vec<Wait>,
}

/// One worker and all its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The operating system's id of the thread. Several lanes share it when one thread had several units in flight, as
    /// an event loop has.
    pub thread: u64,
    /// In order, without gaps from the timeline's first start to its last end.
    pub spans: Vec<Span>,
}

/// Lanes of spans. See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// One per worker, in the order in which they began their first unit.
    pub lanes: Vec<Lane>,
}

/// How the time of all lanes divides; the three add up to 1, or are all 0 for an empty timeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Share of lane time spent computing.
    pub computing: f64,
    /// Share of lane time spent waiting inside a unit.
    pub waiting: f64,
    /// Share of lane time without a unit.
    pub idle: f64,
}

/// Reports that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimelineError {
    /// A unit ends before it starts.
    EndsBeforeStart {
        /// Which one.
        unit: u64,
    },
    /// A wait ends before it starts, lies outside its unit, or overlaps the wait before it.
    MisplacedWait {
        /// The unit that reported it.
        unit: u64,
    },
}

impl fmt::Display for TimelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimelineError::EndsBeforeStart { unit } => {
                write!(f, "unit {unit} reports an end before its start: its times come from different clocks")
            }
            TimelineError::MisplacedWait { unit } => {
                write!(f, "unit {unit} reports a wait outside its own start and end, or overlapping another wait")
            }
        }
    }
}

impl std::error::Error for TimelineError {}

impl Timeline {
    /// Lays the reports of units out as lanes.
    ///
    /// Units of one thread share a lane while they do not overlap; those that do (one thread, many units in flight) get
    /// as many lanes as were in flight at once.
    ///
    /// # Errors
    /// When a report contradicts itself: see [`TimelineError`].
    pub fn from_units(units: &[Unit]) -> Result<Timeline, TimelineError> {
        for unit in units {
            check(unit)?;
        }
        let (Some(first), Some(last)) = (units.iter().map(|u| u.start).min(), units.iter().map(|u| u.end).max()) else {
            return Ok(Timeline::default());
        };
        let mut ordered: Vec<&Unit> = units.iter().collect();
        ordered.sort_by_key(|u| (u.start, u.end, u.id));
        let mut lanes: Vec<Lane> = Vec::new();
        let mut of_thread: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for unit in ordered {
            let mine = of_thread.entry(unit.thread).or_default();
            let free = mine.iter().copied().find(|&l| lanes[l].spans.last().is_none_or(|s| s.end <= unit.start));
            let lane = free.unwrap_or_else(|| {
                lanes.push(Lane { thread: unit.thread, spans: Vec::new() });
                mine.push(lanes.len() - 1);
                lanes.len() - 1
            });
            append(&mut lanes[lane].spans, unit, first);
        }
        for lane in &mut lanes {
            let from = lane.spans.last().map_or(first, |s| s.end);
            push(&mut lane.spans, from, last, State::Idle, None);
        }
        Ok(Timeline { lanes })
    }

    /// The earliest start of anything, zero when empty.
    pub fn start(&self) -> Duration {
        self.spans().map(|s| s.start).min().unwrap_or_default()
    }

    /// The latest end of anything, zero when empty.
    pub fn end(&self) -> Duration {
        self.spans().map(|s| s.end).max().unwrap_or_default()
    }

    /// From the first start to the last end.
    pub fn wall(&self) -> Duration {
        self.end().saturating_sub(self.start())
    }

    /// The greatest number of units that were between their start and their end at one moment.
    ///
    /// A unit that ends at the very moment at which another starts is not in flight together with it.
    pub fn peak_in_flight(&self) -> usize {
        let mut ends: BTreeMap<(usize, u64), (Duration, Duration)> = BTreeMap::new();
        for (lane, spans) in self.lanes.iter().enumerate() {
            for span in &spans.spans {
                if let Some(unit) = span.unit {
                    let entry = ends.entry((lane, unit)).or_insert((span.start, span.end));
                    entry.0 = entry.0.min(span.start);
                    entry.1 = entry.1.max(span.end);
                }
            }
        }
        let mut edges: Vec<(Duration, i64)> = Vec::with_capacity(2 * ends.len());
        for (start, end) in ends.into_values() {
            // Of no length, so in flight at no moment.
            if start < end {
                edges.push((start, 1));
                edges.push((end, -1));
            }
        }
        // Ends sort before starts of the same moment.
        edges.sort_unstable();
        let (mut now, mut peak) = (0i64, 0i64);
        for (_, step) in edges {
            now += step;
            peak = peak.max(now);
        }
        usize::try_from(peak).unwrap_or_default()
    }

    /// How the time of all lanes divides.
    pub fn shares(&self) -> Shares {
        let (mut computing, mut waiting, mut idle) = (0.0, 0.0, 0.0);
        for span in self.spans() {
            let length = span.length().as_secs_f64();
            match span.state {
                State::Computing => computing += length,
                State::Waiting(_) => waiting += length,
                State::Idle => idle += length,
            }
        }
        let whole = computing + waiting + idle;
        if whole == 0.0 {
            return Shares::default();
        }
        Shares { computing: computing / whole, waiting: waiting / whole, idle: idle / whole }
    }

    /// How many different threads did something.
    pub fn threads(&self) -> usize {
        let mut threads: Vec<u64> = self.lanes.iter().map(|l| l.thread).collect();
        threads.sort_unstable();
        threads.dedup();
        threads.len()
    }

    fn spans(&self) -> impl Iterator<Item = &Span> {
        self.lanes.iter().flat_map(|l| &l.spans)
    }
}

fn check(unit: &Unit) -> Result<(), TimelineError> {
    if unit.end < unit.start {
        return Err(TimelineError::EndsBeforeStart { unit: unit.id });
    }
    let mut at = unit.start;
    for wait in &unit.waits {
        if wait.start < at || wait.end < wait.start || wait.end > unit.end {
            return Err(TimelineError::MisplacedWait { unit: unit.id });
        }
        at = wait.end;
    }
    Ok(())
}

fn append(spans: &mut Vec<Span>, unit: &Unit, first: Duration) {
    let from = spans.last().map_or(first, |s| s.end);
    push(spans, from, unit.start, State::Idle, None);
    let mut at = unit.start;
    for wait in &unit.waits {
        push(spans, at, wait.start, State::Computing, Some(unit.id));
        push(spans, wait.start, wait.end, State::Waiting(wait.cause), Some(unit.id));
        at = wait.end;
    }
    push(spans, at, unit.end, State::Computing, Some(unit.id));
}

/// Spans of no length say nothing and are left out.
fn push(spans: &mut Vec<Span>, start: Duration, end: Duration, state: State, unit: Option<u64>) {
    if start < end {
        spans.push(Span { start, end, state, unit });
    }
}

/// A duration as a person reads it: three digits and a unit.
pub fn human(d: Duration) -> String {
    let s = d.as_secs_f64();
    // The limits are where rounding to the digits shown would carry into the next unit.
    match s {
        s if s >= 99.95 => format!("{s:.0} s"),
        s if s >= 9.995 => format!("{s:.1} s"),
        s if s >= 0.9995 => format!("{s:.2} s"),
        s if s >= 0.009_95 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.000_999_5 => format!("{:.1} ms", s * 1e3),
        s if s > 0.0 => format!("{:.0} us", s * 1e6),
        _ => "0 s".to_owned(),
    }
}

/// Durations as whole nanoseconds: one number, and no rounding.
mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn unit(id: u64, thread: u64, start: u64, end: u64, waits: &[(u64, u64)]) -> Unit {
        let waits = waits.iter().map(|&(s, e)| Wait { start: ms(s), end: ms(e), cause: Cause::Network }).collect();
        Unit { id, thread, start: ms(start), end: ms(end), waits }
    }

    #[test]
    fn rounding_carries_into_the_next_unit_of_time() {
        let of = |s: f64| human(Duration::from_secs_f64(s));
        assert_eq!(of(0.999_9), "1.00 s");
        assert_eq!(of(9.999), "10.0 s");
        assert_eq!(of(99.97), "100 s");
        assert_eq!(of(0.009_99), "10 ms");
        assert_eq!(of(0.071), "71 ms");
        assert_eq!(of(0.001_2), "1.2 ms");
        assert_eq!(of(0.000_034), "34 us");
        assert_eq!(of(0.0), "0 s");
    }

    #[test]
    fn nothing_reported_is_an_empty_timeline() {
        let t = Timeline::from_units(&[]).expect("no report contradicts itself");
        assert_eq!((t.wall(), t.peak_in_flight(), t.shares(), t.threads()), (ms(0), 0, Shares::default(), 0));
    }

    #[test]
    fn gaps_between_units_are_idle_and_shares_add_up() {
        let t = Timeline::from_units(&[unit(0, 7, 10, 20, &[(12, 18)]), unit(1, 7, 30, 40, &[])]).expect("good");
        assert_eq!(t.lanes.len(), 1);
        let states: Vec<_> = t.lanes[0].spans.iter().map(|s| (s.state, s.length())).collect();
        let (c, w) = (State::Computing, State::Waiting(Cause::Network));
        assert_eq!(states, [(c, ms(2)), (w, ms(6)), (c, ms(2)), (State::Idle, ms(10)), (c, ms(10))]);
        assert_eq!(t.wall(), ms(30));
        let s = t.shares();
        assert!((s.computing + s.waiting + s.idle - 1.0).abs() < 1e-9);
        assert!((s.waiting - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_lane_that_starts_late_and_ends_early_is_idle_at_both_ends() {
        let t = Timeline::from_units(&[unit(0, 1, 0, 100, &[]), unit(1, 2, 40, 60, &[])]).expect("good");
        let late = &t.lanes[1];
        assert_eq!(late.spans.len(), 3);
        assert_eq!((late.spans[0].state, late.spans[0].length()), (State::Idle, ms(40)));
        assert_eq!((late.spans[2].state, late.spans[2].length()), (State::Idle, ms(40)));
    }

    #[test]
    fn one_thread_with_many_in_flight_gets_a_lane_for_each() {
        let units: Vec<_> = (0..10).map(|i| unit(i, 1, i, 100 + i, &[])).collect();
        let t = Timeline::from_units(&units).expect("good");
        assert_eq!((t.lanes.len(), t.threads(), t.peak_in_flight()), (10, 1, 10));
    }

    #[test]
    fn end_at_the_moment_of_a_start_is_not_in_flight_together() {
        let t = Timeline::from_units(&[unit(0, 1, 0, 10, &[]), unit(1, 2, 10, 20, &[])]).expect("good");
        assert_eq!(t.peak_in_flight(), 1);
        assert_eq!(t.threads(), 2);
    }

    #[test]
    fn wait_split_by_computing_is_still_one_unit_in_flight() {
        let t = Timeline::from_units(&[unit(0, 1, 0, 10, &[(1, 3), (4, 9)])]).expect("good");
        assert_eq!(t.peak_in_flight(), 1);
    }

    #[test]
    fn contradictory_reports_are_refused() {
        let backwards = Timeline::from_units(&[unit(3, 1, 10, 5, &[])]);
        assert_eq!(backwards, Err(TimelineError::EndsBeforeStart { unit: 3 }));
        for waits in [&[(9, 12)][..], &[(21, 22)], &[(12, 11)], &[(11, 15), (14, 16)]] {
            let misplaced = Timeline::from_units(&[unit(4, 1, 10, 20, waits)]);
            assert_eq!(misplaced, Err(TimelineError::MisplacedWait { unit: 4 }), "{waits:?}");
        }
    }
}
