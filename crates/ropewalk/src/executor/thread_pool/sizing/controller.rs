//! How many workers may run: a pure function of what was seen. No clock, no thread, no file.
//!
//! # Rules, the first that applies
//!
//! 1. **Feed forward.** While jobs wait and every worker has one: if workers want a processor for a part *r* of their time,
//!    `cores / r` keep the processors busy. Grow towards that, at most to the double in one look, so that what the new ones
//!    meet is seen before the next step: never while an eighth of them waits for locks or permits, now or on average of late (the
//!    next would wait too, and beyond the cores so would those that are ready, if half as many waited of late), while the
//!    processors are busy, or while the last ones have not begun.
//! 2. **Crowd.** More are ready to run than the cores can take: an eighth fewer.
//! 3. **Trials.** What limits the jobs may be elsewhere (ten connections, one disk), and then waiting looks like a reason for
//!    more. So, when the number has stood for a while and enough jobs have finished, try fewer. If as many jobs finish, keep
//!    that, and do not grow beyond it for some time; if not, take it back, and wait longer before the next trial. Where the
//!    system does not say what threads do, trials are all there is, and also go upwards.
//! 4. **Rest.** When the queue has been empty for a while, no more than were busy meanwhile.

use super::sample::{Sample, Seen};
use super::{SizingDecision, SizingReason};
use std::collections::VecDeque;
use std::time::Duration;

/// How many decisions are remembered.
const LOG_MAX: usize = 256;

/// How long a queue has been empty when the pool is at rest: shorter pauses are part of the work.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// After so long a rest, workers beyond those that were busy are let go.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// For so long after a change the next look comes soon.
const LIVELY: Duration = Duration::from_millis(100);

/// Workers for each processor that they would keep busy on average: by chance several wait at once.
const HEADROOM: f64 = 1.25;
/// Processors are busy when so much of their time is used.
const BUSY: f64 = 0.9;
/// Among the workers, so many that wait for locks are too many for growth.
const LOCKS_MAX: f64 = 0.125;
/// Over so long that part is averaged: for some moments nobody may seem to wait, since those that would have not got a processor.
const LOCKS_LATELY: Duration = Duration::from_millis(20);
/// Among the workers, so few that wait outside are none.
const OUTSIDE_MIN: f64 = 0.1;
/// So many ready to run for each core are a crowd.
const CROWD: f64 = 1.5;
/// Between two steps down from a crowd.
const CROWD_STEP: Duration = Duration::from_millis(50);
/// For so long nothing grows after a crowd.
const CROWD_CEILING: Duration = Duration::from_secs(1);

/// A rate is known after so long, and so many jobs, and so many for each worker.
const WINDOW_MIN: Duration = Duration::from_millis(100);
const WINDOW_JOBS_MIN: u64 = 16;
const WINDOW_ROUNDS: u64 = 3;
/// When a trial has no result by then, it is taken back: jobs that end quickly have shown by then what there is to see.
const TRIAL_MAX: Duration = Duration::from_secs(2);
/// Slow jobs get the time in which so many would end for each worker at the rate before the trial: those that began under the
/// other number, the [`WINDOW_ROUNDS`] that count, and as many as one round for what is slower.
const TRIAL_ROUNDS: u64 = WINDOW_ROUNDS + 2;
/// But no trial lasts longer than this: a wrong number does harm as long as it is tried.
const TRIAL_LONGEST: Duration = Duration::from_secs(60);
/// Fewer do as well if they finish this part of the jobs.
const AS_GOOD: f64 = 0.93;
/// Of the growth, this part at least must show in the rate of a trial upwards.
const GAIN_MIN: f64 = 0.4;
/// Until the next trial after one that was taken back, the first time and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// For how long a trial that was kept limits growth, the first time and at most.
const CEILING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Where the system says nothing, and nothing finishes, one more worker after so long.
const STALLED: Duration = Duration::from_millis(500);
/// For how long the number stays where the system refused more threads.
const REFUSED_CEILING: Duration = Duration::from_secs(60);

/// Between which numbers a pool sizes itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) cores: usize,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// When the next look is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Something changes.
    Lively,
    /// There is work, and the number stands.
    Steady,
    /// The queue has been empty for some time.
    Quiet,
    /// There is nothing to size before a job finds nobody again.
    Over,
}

/// What was learnt so far.
pub(super) struct Controller {
    limits: Limits,
    target: usize,
    now: Duration,
    changed: Duration,
    /// The parts of its time in which a worker ran, and was ready to, of late.
    load: Option<(f64, f64)>,
    /// The part of the workers that waited for locks of late.
    locked: f64,
    ceiling: Option<(usize, Duration)>,
    ceiling_lasts: Duration,
    window: Window,
    trial: Option<Trial>,
    next_trial: Duration,
    backoff: Duration,
    /// Whether the next trial without sight goes upwards.
    upwards: bool,
    /// How long nothing finished.
    barren: Duration,
    /// How long the queue has been empty, and the most workers that were busy meanwhile.
    empty: Duration,
    busy_max: usize,
    over: bool,
    log: VecDeque<SizingDecision>,
}

/// Counts jobs while the number stands.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// What has to finish first, since it was begun under another number.
    skip: u64,
    skipped_for: Duration,
    time: Duration,
    finished: u64,
    /// Workers that wait for locks, times seconds.
    locked: f64,
}

/// A number that is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    from: usize,
    /// Jobs a second before.
    rate: f64,
    /// When it is taken back if it has no result.
    until: Duration,
}

/// Those who could run jobs, by what they do.
struct Crowd {
    /// Have a job that does not wait for a lock or permit of ours.
    active: f64,
    /// The part of all that waits for some lock.
    locked: f64,
    /// Of those that were looked at, how many run or are ready to.
    ready: usize,
    /// They as a part of all.
    ready_part: f64,
}

impl Controller {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            target: limits.cores.clamp(limits.min, limits.max),
            now: Duration::ZERO,
            changed: Duration::ZERO,
            load: None,
            locked: 0.0,
            ceiling: None,
            ceiling_lasts: CEILING.0,
            window: Window::default(),
            trial: None,
            next_trial: Duration::ZERO,
            backoff: BACKOFF.0,
            upwards: true,
            barren: Duration::ZERO,
            empty: Duration::ZERO,
            busy_max: 0,
            over: false,
            log: VecDeque::new(),
        }
    }

    /// How many may run.
    pub(super) fn target(&self) -> usize {
        self.target
    }

    pub(super) fn log(&self) -> Vec<SizingDecision> {
        self.log.iter().copied().collect()
    }

    pub(super) fn pace(&self) -> Pace {
        if self.over {
            Pace::Over
        } else if self.empty >= PAUSE_MAX {
            Pace::Quiet
        } else if self.now.saturating_sub(self.changed) < LIVELY {
            Pace::Lively
        } else {
            Pace::Steady
        }
    }

    /// The pool has work again, at this moment: the time until then was nobody's.
    pub(super) fn begins(&mut self, now: Duration) {
        self.now = now;
        self.changed = now;
        self.over = false;
        self.empty = Duration::ZERO;
        self.busy_max = 0;
        self.restart_window();
    }

    /// Judges a look. The target may have changed afterwards.
    pub(super) fn judge(&mut self, sample: &Sample) {
        let passed = sample.at.saturating_sub(self.now);
        self.now = sample.at;
        if sample.refused {
            self.ceiling = Some((sample.runnable.max(self.limits.min), self.now + REFUSED_CEILING));
            self.set(sample.runnable.clamp(self.limits.min, self.target), SizingReason::Refused);
        }
        if sample.queued == 0 {
            return self.rest(sample, passed);
        }
        (self.empty, self.busy_max) = (Duration::ZERO, 0);
        self.barren = if sample.finished == 0 { self.barren + passed } else { Duration::ZERO };
        let crowd = self.crowd(sample);
        let weight = 1.0 - (-passed.as_secs_f64() / LOCKS_LATELY.as_secs_f64()).exp();
        self.locked += weight * (crowd.locked - self.locked);
        self.window.add(passed, sample.finished, crowd.locked * sample.runnable as f64);
        if let Some(seen) = sample.seen.filter(|seen| seen.time_ns > 0) {
            let (ran, ready) = self.load.unwrap_or((seen.on_cpu(), seen.for_cpu()));
            self.load = Some((0.5 * (ran + seen.on_cpu()), 0.5 * (ready + seen.for_cpu())));
        }
        if self.trial.is_some() {
            return self.end_trial();
        }
        let next = self.feed_forward(sample, &crowd).or_else(|| self.thin_out(&crowd)).or_else(|| self.stalled(sample));
        match next {
            Some((to, reason)) => self.set(to, reason),
            None => self.begin_trial(sample),
        }
    }

    fn crowd(&self, sample: &Sample) -> Crowd {
        let active = sample.runnable.saturating_sub(sample.idle + sample.stuck) as f64;
        let in_lock = sample.seen.map_or(0.0, |seen| share(seen.in_lock, seen.workers));
        let of_all = |workers: f64| workers / sample.runnable.max(1) as f64;
        let locked = of_all(sample.stuck as f64 + active * in_lock);
        let ready = sample
            .seen
            .map_or(0, |seen| seen.workers - (seen.in_io + seen.in_lock + seen.in_unknown).min(seen.workers));
        let ready_part = of_all(active * sample.seen.map_or(0.0, |seen| share(ready, seen.workers)));
        Crowd { active, locked, ready, ready_part }
    }

    /// Rule 1.
    fn feed_forward(&self, sample: &Sample, crowd: &Crowd) -> Option<(usize, SizingReason)> {
        // The next ones would wait for a lock too, or those that were called have not come.
        if self.locked.max(crowd.locked) >= LOCKS_MAX || sample.idle > 0 || sample.runnable < self.target {
            return None;
        }
        let room = (self.target + sample.queued).min(self.ceiling()).min(self.limits.max);
        if self.target < self.limits.cores && room > self.target {
            return Some((self.limits.cores.min(room), SizingReason::Cores));
        }
        // Where some waited of late, those that are ready come to it next.
        if self.locked >= LOCKS_MAX / 2.0 && crowd.locked + crowd.ready_part >= LOCKS_MAX {
            return None;
        }
        let (seen, (ran, ready)) = (sample.seen?, self.load?);
        let outside = share(seen.in_io, seen.workers);
        let cores = self.limits.cores as f64;
        let processors_are_busy = crowd.active * ran >= BUSY * cores || crowd.active * seen.for_cpu() >= cores;
        // Those that are ready now are not yet in any account of the time in which they were.
        let latest_not_begun = 8 * seen.newborn > seen.workers || crowd.ready as f64 > CROWD * cores;
        if outside < OUTSIDE_MIN || processors_are_busy || latest_not_begun {
            return None;
        }
        let wanted = (HEADROOM * cores / (ran + ready).max(1e-6)) as usize;
        let to = wanted.min(2 * self.target).min(room);
        (to > self.target).then(|| {
            let ran_percent = (100.0 * (ran + ready)).round().min(100.0) as u8;
            (to, SizingReason::Waits { ran_percent, call: seen.call })
        })
    }

    /// Rule 2.
    fn thin_out(&mut self, crowd: &Crowd) -> Option<(usize, SizingReason)> {
        let least = self.limits.cores.clamp(self.limits.min, self.limits.max);
        let crowded = crowd.active * self.load?.1 > CROWD * self.limits.cores as f64;
        if !crowded || self.target <= least || self.now.saturating_sub(self.changed) < CROWD_STEP {
            return None;
        }
        let to = (self.target - (self.target / 8).max(1)).max(least);
        self.ceiling = Some((to, self.now + CROWD_CEILING));
        Some((to, SizingReason::Crowded))
    }

    /// Without sight, when nothing finishes: what the workers wait for may need another job.
    fn stalled(&mut self, sample: &Sample) -> Option<(usize, SizingReason)> {
        let stalled = sample.seen.is_none() && sample.stuck == 0 && self.barren >= STALLED;
        if !stalled || self.target >= self.limits.max.min(self.ceiling()) {
            return None;
        }
        self.barren = Duration::ZERO;
        Some((self.target + 1, SizingReason::Stalled))
    }

    /// Rule 3, its beginning.
    fn begin_trial(&mut self, sample: &Sample) {
        let Some(rate) = self.window.rate(self.target) else { return };
        if self.now < self.next_trial {
            return;
        }
        let can_see = sample.seen.as_ref().is_some_and(Seen::says_what_for);
        let (to, reason) = if !can_see && self.upwards {
            let more = self.target + (self.target / 2).max(1);
            (more.min(self.limits.max).min(self.ceiling()), SizingReason::MoreTrial)
        } else {
            let locked = self.window.locked().round() as usize;
            let (fewer, reason) = if locked > 0 {
                (self.target - locked.min(self.target / 2).max(1), SizingReason::LocksTrial)
            } else {
                (self.target - (3 * self.target / 10).max(1), SizingReason::FewerTrial)
            };
            (fewer.max(self.limits.min).max(1), reason)
        };
        if to == self.target {
            // As far as it goes: the other direction next time.
            self.upwards = !self.upwards;
            return self.restart_window();
        }
        let until = self.now + trial_time(self.target.max(to), rate);
        self.trial = Some(Trial { from: self.target, rate, until });
        self.set(to, reason);
    }

    /// Rule 3, its end, if it is time.
    fn end_trial(&mut self) {
        let Some(trial) = self.trial else { return };
        let (from, to) = (trial.from, self.target);
        let rate = self.window.rate(from.max(to));
        if rate.is_none() && self.now < trial.until {
            return;
        }
        self.trial = None;
        let Some(rate) = rate else { return self.take_back(from, SizingReason::NoResult) };
        let gained = rate / trial.rate;
        let hoped_for = if to < from { AS_GOOD } else { 1.0 + GAIN_MIN * (to as f64 / from as f64 - 1.0) };
        let rate_percent = (100.0 * gained).round().min(f64::from(u16::MAX)) as u16;
        if gained >= hoped_for {
            self.upwards = to > from;
            if to < from {
                self.ceiling = Some((to, self.now + self.ceiling_lasts));
                self.ceiling_lasts = (2 * self.ceiling_lasts).min(CEILING.1);
            }
            self.note(to, to, SizingReason::Kept { rate_percent });
            // What was measured of the trial serves as the beginning of the next one.
            self.next_trial = self.now;
        } else {
            self.take_back(from, SizingReason::Undone { rate_percent });
        }
    }

    /// The old number is back, and the next trial goes the other way, later.
    fn take_back(&mut self, from: usize, reason: SizingReason) {
        self.upwards = self.target < from;
        self.set(from, reason);
        self.next_trial = self.now + self.backoff;
        self.backoff = (2 * self.backoff).min(BACKOFF.1);
    }

    /// Rule 4.
    fn rest(&mut self, sample: &Sample, passed: Duration) {
        self.empty += passed;
        self.busy_max = self.busy_max.max(sample.runnable.saturating_sub(sample.idle));
        if self.empty < PAUSE_MAX {
            return;
        }
        // Nothing can be measured without jobs that wait.
        if let Some(trial) = self.trial.take() {
            self.set(trial.from, SizingReason::NoResult);
        }
        self.restart_window();
        self.barren = Duration::ZERO;
        if self.empty < KEEP_ALIVE {
            return;
        }
        let to = self.busy_max.clamp(self.limits.min, self.target.max(self.limits.min));
        self.set(to, SizingReason::Idle);
        self.over = self.target <= self.limits.min.max(1);
        // What comes next may be other jobs.
        (self.empty, self.busy_max) = (PAUSE_MAX, 0);
        (self.load, self.locked, self.ceiling, self.ceiling_lasts) = (None, 0.0, None, CEILING.0);
        (self.next_trial, self.backoff, self.upwards) = (self.now, BACKOFF.0, true);
    }

    fn ceiling(&self) -> usize {
        match self.ceiling {
            Some((size, until)) if self.now < until => size,
            _ => usize::MAX,
        }
    }

    fn set(&mut self, to: usize, reason: SizingReason) {
        if to == self.target {
            return;
        }
        let from = std::mem::replace(&mut self.target, to);
        self.changed = self.now;
        self.note(from, to, reason);
        self.window = Window { skip: from.max(to) as u64, ..Window::default() };
    }

    fn restart_window(&mut self) {
        self.window = Window::default();
    }

    fn note(&mut self, from: usize, to: usize, reason: SizingReason) {
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(SizingDecision { at: self.now, from, to, reason });
    }
}

/// How long a trial with so many workers, or fewer, may take where so many jobs a second ended before.
fn trial_time(workers: usize, rate: f64) -> Duration {
    let seconds = (TRIAL_ROUNDS * workers as u64) as f64 / rate;
    // Compared as numbers: a rate of next to nothing gives more seconds than a duration holds.
    Duration::from_secs_f64(seconds.clamp(TRIAL_MAX.as_secs_f64(), TRIAL_LONGEST.as_secs_f64()))
}

impl Window {
    fn add(&mut self, passed: Duration, finished: u64, locked: f64) {
        if self.skip > 0 && self.skipped_for < STALLED {
            self.skip = self.skip.saturating_sub(finished);
            self.skipped_for += passed;
            return;
        }
        self.time += passed;
        self.finished += finished;
        self.locked += locked * passed.as_secs_f64();
    }

    /// Jobs a second, once that is known well enough.
    fn rate(&self, workers: usize) -> Option<f64> {
        let enough = WINDOW_JOBS_MIN.max(WINDOW_ROUNDS * workers as u64);
        (self.time >= WINDOW_MIN && self.finished >= enough).then(|| self.finished as f64 / self.time.as_secs_f64())
    }

    /// How many waited for locks, on average.
    fn locked(&self) -> f64 {
        if self.time.is_zero() { 0.0 } else { self.locked / self.time.as_secs_f64() }
    }
}

impl Seen {
    /// Whether the system says what those wait for that do not run.
    fn says_what_for(&self) -> bool {
        2 * self.in_unknown <= self.workers
    }
}

fn share(of: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { of as f64 / all as f64 }
}
