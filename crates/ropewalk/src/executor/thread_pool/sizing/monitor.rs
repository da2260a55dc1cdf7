//! The one thread that looks at all pools which size themselves.
//!
//! It looks at a pool from the moment when a job finds nobody until the queue has been empty for a while, every few
//! milliseconds while the number changes and less often while it stands. When no pool is left it ends after a while; so an idle
//! program pays nothing for it.
//!
//! # No pool is forgotten
//!
//! `Sizing::watched` says whether the monitor looks often enough. It is set under the lock of the list, with the pool in the
//! list. The monitor takes it back when the queue is empty, and looks at the queue once more afterwards, through the queue's
//! lock; a submit puts its job, through the same lock, and looks at the mark afterwards. So of the two at the same time at least
//! one sees the other.
//!
//! # All stuck
//!
//! Where all workers wait for locks or permits and whoever holds them may wait for a job that has not started, one more worker is
//! needed. The crew of such a pool leaves that to this thread, which says so when it has seen it in two looks and no job was
//! finished in between.

use super::Sizing;
use super::calls::Wait;
use super::controller::Pace;
use super::procfs::Probe;
use super::sample::{Sample, Seen};
use crate::executor::thread_pool::pool::Pool;
use crate::executor::thread_pool::seat::{Seat, State};
use crate::task::harness::drop_quietly;
use crate::thread;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Between two looks at a pool whose size changes, whose size stands, and whose queue has been empty for some time.
const LOOK_LIVELY: Duration = Duration::from_millis(2);
const LOOK_STEADY: Duration = Duration::from_millis(20);
const LOOK_QUIET: Duration = Duration::from_millis(100);
/// What a thread did in its whole life counts as news when that is not longer than this.
const NEWS: Duration = Duration::from_millis(20);
/// How long the thread waits for a pool before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How many workers of a pool are looked at, two descriptors each; of more workers it is in turn.
const PROBES_MAX: usize = 24;

struct Monitor {
    list: Mutex<List>,
    /// Something was put into the list.
    news: Condvar,
}

#[derive(Default)]
struct List {
    running: bool,
    /// Pools that have work since the thread looked last.
    new: Vec<Weak<Pool>>,
}

static MONITOR: Monitor = Monitor { list: Mutex::new(List { running: false, new: Vec::new() }), news: Condvar::new() };

impl Monitor {
    fn list(&self) -> MutexGuard<'_, List> {
        // No code of a user runs under this lock.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the pool looked at from now on.
#[cold]
pub(super) fn watch(pool: &Arc<Pool>, sizing: &Sizing) {
    let mut list = MONITOR.list();
    if sizing.watched.swap(true, Ordering::Relaxed) {
        return;
    }
    list.new.push(Arc::downgrade(pool));
    if list.running {
        drop(list);
        return MONITOR.news.notify_one();
    }
    let started = thread::Builder::new().name("ropewalk-sizing").start(|| {
        thread::mark_daemon(true);
        run();
    });
    match started {
        Ok(_) => list.running = true,
        // The pool stays as it is, and the next job that finds nobody tries again.
        Err(_) => {
            list.new.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(pool)));
            sizing.watched.store(false, Ordering::Relaxed);
        }
    }
}

fn run() {
    let mut watched: Vec<Watched> = Vec::new();
    while take_over(&mut watched) {
        let now = Instant::now();
        watched.retain_mut(|pool| pool.due > now || pool.look(now));
    }
}

/// Waits until a look is due or there is a new pool. False when there was none for long: the thread ends.
fn take_over(watched: &mut Vec<Watched>) -> bool {
    let mut list = MONITOR.list();
    let end = Instant::now() + KEEP_ALIVE;
    loop {
        for pool in std::mem::take(&mut list.new) {
            // One that was quiet is in the list already.
            match watched.iter_mut().find(|known| known.pool.ptr_eq(&pool)) {
                Some(known) => (known.begins, known.due) = (true, Instant::now()),
                None => watched.push(Watched::new(pool)),
            }
        }
        let now = Instant::now();
        let due = watched.iter().map(|pool| pool.due).min().unwrap_or(end);
        if due <= now {
            list.running = !watched.is_empty();
            return list.running;
        }
        list = MONITOR.news.wait_timeout(list, due - now).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// One pool that is looked at.
struct Watched {
    pool: Weak<Pool>,
    due: Instant,
    /// It has work since the last look, and the time until then does not count.
    begins: bool,
    /// How many jobs had finished at the last look.
    finished: u64,
    /// All workers were stuck at the last look.
    stuck: bool,
    probes: Vec<Probed>,
    /// Which worker comes next, where there are more than can be looked at.
    turn: usize,
    /// Decides nothing: lets the times of looks drift, so that they do not beat with jobs of equal length.
    drift: u32,
}

/// One worker that is looked at.
struct Probed {
    seat: Arc<Seat>,
    probe: Probe,
    /// Since when its times are known, and what they were; `None` before the first look.
    last: Option<(Instant, u64, u64)>,
}

impl Watched {
    fn new(pool: Weak<Pool>) -> Self {
        let now = Instant::now();
        Self {
            pool,
            due: now,
            begins: true,
            finished: 0,
            stuck: false,
            probes: Vec::new(),
            turn: 0,
            drift: 0x9E37_79B9,
        }
    }

    /// Looks at the pool and does what the controller says. False when it need not be looked at any more.
    fn look(&mut self, now: Instant) -> bool {
        let Some(pool) = self.pool.upgrade() else { return false };
        let stays = pool.sizing().is_some_and(|sizing| self.look_at(&pool, sizing, now));
        // This may be the last reference, and a user's closure in it.
        drop_quietly(pool);
        stays
    }

    fn look_at(&mut self, pool: &Arc<Pool>, sizing: &Sizing, now: Instant) -> bool {
        if pool.is_closed() {
            return false;
        }
        if std::mem::take(&mut self.begins) {
            (self.due, self.finished) = (now + LOOK_LIVELY, pool.finished());
            let at = now.saturating_duration_since(sizing.since);
            #[cfg(test)]
            sizing.record(super::recording::Event::Begins(at));
            sizing.controller().begins(at);
            return true;
        }
        let sample = self.sample(pool, sizing, now);
        #[cfg(test)]
        sizing.record(super::recording::Event::Look(sample));
        let (target, pace) = {
            let mut controller = sizing.controller();
            controller.judge(&sample);
            (controller.target(), controller.pace())
        };
        pool.resize(target);
        let all_stuck = sample.queued > 0 && sample.stuck >= sample.runnable;
        if std::mem::replace(&mut self.stuck, all_stuck) && all_stuck && sample.finished == 0 {
            pool.long_stuck();
        }
        let after = match pace {
            Pace::Lively => LOOK_LIVELY,
            Pace::Steady => LOOK_STEADY,
            Pace::Quiet | Pace::Over => LOOK_QUIET,
        };
        self.due = now + self.drifting(after);
        if !matches!(pace, Pace::Quiet | Pace::Over) {
            return true;
        }
        // See the head of this file.
        self.probes.clear();
        sizing.watched.store(false, Ordering::Relaxed);
        if pool.work_waits() {
            watch(pool, sizing);
        }
        // One that became idle while the others were sent home is sent home next time.
        let too_many = pool.crew().runnable() > target && pool.crew().idle() > 0;
        pace == Pace::Quiet || too_many || sizing.watched.load(Ordering::Relaxed)
    }

    /// Between 7/8 and 9/8 of the time.
    fn drifting(&mut self, time: Duration) -> Duration {
        self.drift ^= self.drift << 13;
        self.drift ^= self.drift >> 17;
        self.drift ^= self.drift << 5;
        time * (224 + self.drift % 64) / 256
    }

    fn sample(&mut self, pool: &Pool, sizing: &Sizing, now: Instant) -> Sample {
        let crew = pool.crew();
        let queued = pool.queued();
        // Before and after the looks at the threads, which take a while: who waits for a lock in between counts as well.
        let stuck = crew.stuck();
        let finished = pool.finished();
        let before = std::mem::replace(&mut self.finished, finished);
        // Without jobs that wait nothing is decided by what workers do.
        let seen = if queued > 0 { self.see(pool, sizing) } else { None };
        Sample {
            at: now.saturating_duration_since(sizing.since),
            queued,
            runnable: crew.runnable(),
            idle: crew.idle(),
            stuck: crew.stuck().max(stuck),
            finished: finished.saturating_sub(before),
            refused: sizing.refused.swap(false, Ordering::Relaxed),
            seen,
        }
    }

    /// None where the directory is hidden. (Where all have ended meanwhile, the next look sees others.)
    fn see(&mut self, pool: &Pool, sizing: &Sizing) -> Option<Seen> {
        let newborn = self.choose(pool, sizing);
        let mut seen = Seen { workers: newborn, newborn, ..Seen::default() };
        let mut calls = Calls::default();
        self.probes.retain_mut(|probed| probed.see(&mut seen, &mut calls));
        seen.call = calls.most();
        (!self.probes.is_empty()).then_some(seen)
    }

    /// Opens the files of workers that are to be looked at, and closes those of others. Returns how many have not begun.
    fn choose(&mut self, pool: &Pool, sizing: &Sizing) -> usize {
        pool.with_seats(|seats| {
            self.probes.retain(|probed| !probed.seat.has_left());
            if seats.len() > PROBES_MAX && self.probes.len() == PROBES_MAX {
                self.probes.remove(0);
            }
            let mut newborn = 0;
            for _ in 0..seats.len() {
                if self.probes.len() + newborn >= PROBES_MAX.min(seats.len()) {
                    break;
                }
                self.turn = (self.turn + 1) % seats.len();
                let seat = &seats[self.turn];
                if self.probes.iter().any(|probed| Arc::ptr_eq(&probed.seat, seat)) {
                    continue;
                }
                match seat.thread() {
                    None => newborn += 1,
                    Some(thread) => {
                        if let Some(probe) = Probe::open(&sizing.threads, thread) {
                            self.probes.push(Probed { seat: Arc::clone(seat), probe, last: None });
                        }
                    }
                }
            }
            newborn
        })
    }
}

impl Probed {
    /// Adds what this worker does. False when it has ended.
    fn see(&mut self, seen: &mut Seen, calls: &mut Calls) -> bool {
        let Some(reading) = self.probe.read() else { return false };
        let now = Instant::now();
        let last = match self.last.replace((now, reading.on_cpu_ns, reading.for_cpu_ns)) {
            Some(last) => Some(last),
            // It began not long ago, so all of its time is news.
            None => Some((self.seat.since(), 0, 0)).filter(|(since, ..)| now.saturating_duration_since(*since) < NEWS),
        };
        let waits = match self.seat.state() {
            // Whoever waits for others, or for what they hold, is counted by the crew.
            State::Idle | State::WaitsForOthers => return true,
            State::Sleeps => Some(Wait::Outside("sleep")),
            State::Runs => reading.waits,
        };
        seen.workers += 1;
        match waits {
            None => {}
            Some(Wait::Outside(call)) => {
                seen.in_io += 1;
                calls.note(call);
            }
            Some(Wait::Lock) => seen.in_lock += 1,
            Some(Wait::Unknown) => seen.in_unknown += 1,
        }
        if let Some((since, on_cpu_ns, for_cpu_ns)) = last {
            let passed = now.saturating_duration_since(since).as_nanos() as u64;
            seen.time_ns += passed;
            seen.on_cpu_ns += reading.on_cpu_ns.saturating_sub(on_cpu_ns).min(passed);
            seen.for_cpu_ns += reading.for_cpu_ns.saturating_sub(for_cpu_ns).min(passed);
        }
        true
    }
}

/// Counts names; of many different ones only the first few.
#[derive(Default)]
struct Calls([(&'static str, usize); 4]);

impl Calls {
    fn note(&mut self, call: &'static str) {
        if let Some(entry) = self.0.iter_mut().find(|(name, count)| *count == 0 || *name == call) {
            *entry = (call, entry.1 + 1);
        }
    }

    fn most(&self) -> &'static str {
        self.0.iter().max_by_key(|(_, count)| *count).map_or("", |(name, _)| name)
    }
}
