//! The time of one thread.
//!
//! The counters are exact: time on a processor and time ready for one. What is left between two samples was spent waiting,
//! in the calls that were seen at both ends. Time ready is credited by the kernel only when the thread gets its processor:
//! while a thread runs or is ready, a remainder is kept until that shows.

use std::collections::BTreeMap;

use super::{Cause, Kind};
use crate::recording::{Mode, Recording, Sample, Thread};

/// Waits that end less often than this, of a thread that computes less than [`RESTS_CPU`], are rest: a worker without work.
const RESTS_WAKES: f64 = 2.0;
/// Share of its life on a processor below which a thread can be resting.
const RESTS_CPU: f64 = 0.01;
/// A remainder below this share of its stretch is what reading the clock twice costs.
const REST_MIN: f64 = 0.05;

/// A stretch of a thread's life: how long it did what, in no particular order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stretch {
    /// Seconds since the recording began.
    pub start: f64,
    /// Seconds since the recording began.
    pub end: f64,
    /// Seconds on a processor.
    pub run: f64,
    /// Seconds ready for one.
    pub ready: f64,
    /// Seconds waiting.
    pub wait: f64,
    /// In which call, as an index of the recording's; `None` when none was seen.
    pub call: Option<u32>,
}

/// A thread and all its time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lane {
    /// Its id.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// In order of time, without gaps.
    pub stretches: Vec<Stretch>,
    /// Seconds on a processor.
    pub run: f64,
    /// Seconds ready for one.
    pub ready: f64,
    /// Seconds waiting, by cause.
    pub waits: BTreeMap<Cause, f64>,
    /// Times a second it got a processor.
    pub wakes: f64,
    /// Whether it only waited for work that hardly came.
    pub rests: bool,
}

impl Lane {
    /// Seconds from its first stretch to its last.
    pub fn length(&self) -> f64 {
        match (self.stretches.first(), self.stretches.last()) {
            (Some(first), Some(last)) => last.end - first.start,
            _ => 0.0,
        }
    }

    /// Seconds waiting for things of this kind.
    pub fn waiting(&self, kind: Kind) -> f64 {
        self.waits.iter().filter(|(c, _)| c.kind == kind).map(|(_, s)| s).sum()
    }
}

/// Seconds of so many nanoseconds.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Divides the time of `thread`. `causes` are those of the recording's calls.
pub fn lane(recording: &Recording, thread: &Thread, causes: &[Cause]) -> Lane {
    let mut lane = Lane { tid: thread.tid, pid: thread.pid, name: thread.name.clone(), ..Lane::default() };
    let Some(first) = thread.samples.first() else { return lane };
    let mut open = Open::default();
    if thread.born || recording.mode == Mode::Launched {
        // It began somewhere between the look before and this one, or earlier, if it has done more than fits in there.
        let before = recording.ticks.partition_point(|t| *t < first.at_ns);
        let before = before.checked_sub(1).map_or(0, |i| recording.ticks[i]);
        let start = before.min(first.at_ns.saturating_sub(first.run_ns + first.delay_ns));
        open.start = seconds(start);
        let zero = Sample { at_ns: start, until_ns: start, call: first.call, ..Sample::default() };
        open.step(&mut lane, &zero, first);
    } else {
        open.start = seconds(first.at_ns);
    }
    open.rest(&mut lane, first);
    for pair in thread.samples.windows(2) {
        open.step(&mut lane, &pair[0], &pair[1]);
        open.rest(&mut lane, &pair[1]);
    }
    open.close(&mut lane, None);

    for stretch in &lane.stretches {
        lane.run += stretch.run;
        lane.ready += stretch.ready;
        if stretch.wait > 0.0 {
            let cause = stretch.call.and_then(|c| causes.get(c as usize)).cloned();
            *lane.waits.entry(cause.unwrap_or_else(|| Cause::new(Kind::Unknown, ""))).or_default() += stretch.wait;
        }
    }
    settle_unknown(&mut lane, causes);
    let length = lane.length();
    let slices = thread.samples.last().map_or(0, |l| l.slices) - if thread.born { 0 } else { first.slices };
    lane.wakes = if length > 0.0 { slices as f64 / length } else { 0.0 };
    let inside = lane.waiting(Kind::Lock) + lane.waiting(Kind::Wakeup) + lane.waiting(Kind::Pipe);
    lane.rests = lane.run < RESTS_CPU * length && lane.wakes < RESTS_WAKES && inside > 0.9 * length;
    lane
}

/// The stretch that is being added up.
#[derive(Debug, Default)]
struct Open {
    start: f64,
    end: f64,
    run: f64,
    ready: f64,
    /// Seconds that more was credited than had passed: to be taken from what comes.
    debt: f64,
    call: Option<u32>,
}

impl Open {
    /// From the end of `a` to the beginning of `b`.
    fn step(&mut self, lane: &mut Lane, a: &Sample, b: &Sample) {
        self.end = seconds(b.at_ns);
        self.run += seconds(b.run_ns - a.run_ns);
        self.ready += seconds(b.delay_ns - a.delay_ns);
        self.call = self.call.or(a.call);
        let length = self.end - self.start;
        let left = length - self.run - self.ready - self.debt;
        match (self.call, b.call) {
            // Runs, or is ready: what is left may be time ready that is not credited yet.
            (None, None) if left > REST_MIN * length => {}
            (Some(before), Some(now)) if before != now && left > 0.0 => self.close(lane, Some((before, now))),
            (call, now) => {
                self.call = call.or(now);
                self.close(lane, None);
            }
        }
    }

    /// While every look read the same.
    fn rest(&mut self, lane: &mut Lane, at: &Sample) {
        if at.until_ns > at.at_ns {
            self.call = self.call.or(at.call);
            self.close(lane, None);
            let (start, end) = (seconds(at.at_ns), seconds(at.until_ns));
            lane.stretches.push(Stretch { start, end, wait: end - start, call: at.call, ..Stretch::default() });
            self.start = end;
            self.end = end;
        }
    }

    /// Ends the stretch; what was neither running nor ready was waiting, in halves if in two calls.
    fn close(&mut self, lane: &mut Lane, halves: Option<(u32, u32)>) {
        let length = self.end - self.start;
        if length > 0.0 {
            let left = length - self.run - self.ready - self.debt;
            self.debt = (-left).max(0.0);
            let wait = left.max(0.0);
            let whole =
                Stretch { start: self.start, end: self.end, run: self.run, ready: self.ready, wait, call: self.call };
            match halves {
                None => lane.stretches.push(whole),
                Some((before, now)) => {
                    let middle = self.start + length / 2.0;
                    let half = Stretch { run: self.run / 2.0, ready: self.ready / 2.0, wait: wait / 2.0, ..whole };
                    lane.stretches.push(Stretch { end: middle, call: Some(before), ..half });
                    lane.stretches.push(Stretch { start: middle, call: Some(now), ..half });
                }
            }
        }
        *self = Open { start: self.end, end: self.end, debt: self.debt, ..Open::default() };
    }
}

/// Waits that no look met are taken for the same as those that looks did meet.
fn settle_unknown(lane: &mut Lane, causes: &[Cause]) {
    let unknown = Cause::new(Kind::Unknown, "");
    let Some(lost) = lane.waits.remove(&unknown) else { return };
    let usual = lane.stretches.iter().filter(|s| s.call.is_some()).fold(BTreeMap::new(), |mut by, s| {
        *by.entry(s.call).or_insert(0.0) += s.wait;
        by
    });
    let Some((usual, _)) = usual.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        lane.waits.insert(unknown, lost);
        return;
    };
    for stretch in lane.stretches.iter_mut().filter(|s| s.call.is_none() && s.wait > 0.0) {
        stretch.call = usual;
    }
    if let Some(cause) = usual.and_then(|c| causes.get(c as usize)) {
        *lane.waits.entry(cause.clone()).or_default() += lost;
    }
}
