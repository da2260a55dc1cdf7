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
//!
//! # Panics, and what users bring
//!
//! All pools depend on this thread, so one look that panics does not end it: that pool is looked at again later. Should it end
//! nevertheless, `Rounds` takes back all marks, and the next job that finds nobody starts another. And it drops no pool: with a
//! pool go closures of users, whose destructors may wait for whatever they like.

use super::Sizing;
use super::calls::Wait;
use super::controller::Pace;
use super::procfs::Probe;
use super::sample::{Sample, Seen};
use crate::executor::thread_pool::pool::Pool;
use crate::executor::thread_pool::seat::{Seat, State};
use crate::task::harness::drop_quietly;
use crate::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Between two looks at a pool whose size changes, whose size stands, and whose queue has been empty for some time.
const LOOK_LIVELY: Duration = Duration::from_millis(2);
const LOOK_STEADY: Duration = Duration::from_millis(20);
const LOOK_QUIET: Duration = Duration::from_millis(100);
/// After a look that panicked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What a thread did in its whole life counts as news when that is not longer than this.
const NEWS: Duration = Duration::from_millis(20);
/// A worker that has its first job, does not wait, and has run no longer than this, has yet to show what it will wait for.
const FIRST_STEPS: Duration = Duration::from_millis(1);
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

static MONITOR: Monitor = Monitor::new();

impl Monitor {
    const fn new() -> Self {
        Self { list: Mutex::new(List { running: false, new: Vec::new() }), news: Condvar::new() }
    }

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
        Rounds { monitor: &MONITOR, watched: Vec::new() }.run();
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

/// What the thread does, and what it knows.
struct Rounds<'monitor> {
    monitor: &'monitor Monitor,
    watched: Vec<Watched>,
}

impl Rounds<'_> {
    fn run(mut self) {
        while self.take_over() {
            let now = Instant::now();
            self.watched.retain_mut(|pool| pool.due > now || pool.look(now));
        }
    }

    /// Waits until a look is due or there is a new pool. False when there was none for long: the thread ends.
    fn take_over(&mut self) -> bool {
        let mut list = self.monitor.list();
        let end = Instant::now() + KEEP_ALIVE;
        loop {
            for pool in std::mem::take(&mut list.new) {
                // One that was quiet is in the list already.
                match self.watched.iter_mut().find(|known| known.pool.ptr_eq(&pool)) {
                    Some(known) => (known.begins, known.due) = (true, Instant::now()),
                    None => self.watched.push(Watched::new(pool)),
                }
            }
            let now = Instant::now();
            let due = self.watched.iter().map(|pool| pool.due).min().unwrap_or(end);
            if due <= now {
                list.running = !self.watched.is_empty();
                return list.running;
            }
            list = self.monitor.news.wait_timeout(list, due - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Rounds<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut list = self.monitor.list();
        let watched = self.watched.drain(..).map(|watched| watched.pool);
        let pools: Vec<_> = watched.chain(list.new.drain(..)).filter_map(|pool| pool.upgrade()).collect();
        for sizing in pools.iter().filter_map(|pool| pool.sizing()) {
            sizing.watched.store(false, Ordering::Relaxed);
        }
        // Under the same lock: whoever sets a mark from now on starts another thread.
        list.running = false;
        drop(list);
        pools.into_iter().for_each(let_go);
    }
}

/// Lets go of a pool without ever dropping it here: closures of users go with the last reference, and may take their time.
fn let_go(pool: Arc<Pool>) {
    let Some(pool) = Arc::into_inner(pool) else { return };
    // Where no thread can be had it is dropped here after all; that must not end this thread.
    drop_quietly(catch_unwind(AssertUnwindSafe(|| {
        thread::Builder::new().name("ropewalk-drop").start(move || {
            thread::mark_daemon(true);
            drop_quietly(pool);
        })
    })));
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
    /// The system describes none of its threads: that is not tried again before the pool begins again.
    blind: bool,
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
            blind: false,
            turn: 0,
            drift: 0x9E37_79B9,
        }
    }

    /// Looks at the pool and does what the controller says. False when it need not be looked at any more.
    fn look(&mut self, now: Instant) -> bool {
        let Some(pool) = self.pool.upgrade() else { return false };
        let stays = pool.sizing().is_some_and(|sizing| self.survives(now, |this| this.look_at(&pool, sizing, now)));
        let_go(pool);
        stays
    }

    /// What the look says; or, where it panicked (the panic hook has told it), that there is to be another one.
    fn survives(&mut self, now: Instant, look: impl FnOnce(&mut Self) -> bool) -> bool {
        catch_unwind(AssertUnwindSafe(|| look(self))).unwrap_or_else(|payload| {
            drop_quietly(payload);
            // Nothing that it was in the middle of is relied upon.
            self.probes.clear();
            (self.begins, self.stuck, self.due) = (true, false, now + LOOK_AGAIN);
            true
        })
    }

    fn look_at(&mut self, pool: &Arc<Pool>, sizing: &Sizing, now: Instant) -> bool {
        if pool.is_closed() {
            return false;
        }
        if std::mem::take(&mut self.begins) {
            (self.due, self.finished, self.blind) = (now + LOOK_LIVELY, pool.finished(), false);
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
        if self.blind {
            return None;
        }
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
            let (mut newborn, mut hidden) = (0, 0);
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
                    // It does not know its own id.
                    Some(0) => hidden += 1,
                    Some(thread) => match Probe::open(&sizing.threads, thread) {
                        Some(probe) => self.probes.push(Probed { seat: Arc::clone(seat), probe, last: None }),
                        None => hidden += 1,
                    },
                }
            }
            // Under this lock no worker ends, so it is not that they are gone.
            self.blind = hidden > 0 && self.probes.is_empty();
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
            None => {
                let first_steps = self.seat.finished() == 0 && reading.on_cpu_ns < FIRST_STEPS.as_nanos() as u64;
                seen.newborn += usize::from(first_steps);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Submit;
    use crate::executor::thread_pool::{ThreadPoolExecutor, Workers};
    use std::path::PathBuf;
    use std::sync::mpsc;

    /// A pool that sizes itself, with a worker whose job waits until `_end` is dropped: before the executor, which waits for it.
    struct Busy {
        _end: mpsc::Sender<()>,
        executor: ThreadPoolExecutor,
    }

    fn busy(threads: Option<PathBuf>) -> Busy {
        let mut builder = ThreadPoolExecutor::builder().max_workers(Workers::Between { min: 1, max: 1 });
        builder.threads_described_in = threads;
        let executor = builder.build().unwrap();
        let ((tell, told), (_end, ends)) = (mpsc::channel(), mpsc::channel());
        drop(executor.submit(move || {
            tell.send(()).unwrap();
            assert!(ends.recv().is_err());
        }));
        told.recv().unwrap();
        Busy { _end, executor }
    }

    #[test]
    fn closures_of_users_are_not_dropped_by_the_monitor() {
        struct Tells(mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.0.send(std::thread::current().id()).expect("the test waits for it");
            }
        }
        let (tell, told) = mpsc::channel();
        let tells = Tells(tell);
        let executor = ThreadPoolExecutor::builder().initializer(move || _ = &tells).build().unwrap();
        let pool = Arc::clone(&executor.pool);
        drop(executor);
        assert_eq!(Arc::strong_count(&pool), 1, "no worker was started");
        let_go(pool);
        assert_ne!(told.recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn look_that_panics_is_followed_by_another() {
        let Busy { executor, .. } = &busy(None);
        let mut watched = Watched::new(Arc::downgrade(&executor.pool));
        let now = watched.due;
        (watched.begins, watched.stuck) = (false, true);
        assert!(watched.survives(now, |_| panic!("in the middle of a look")));
        assert!(watched.begins && !watched.stuck && watched.due > now);
        // And that one works.
        assert!(watched.look(watched.due));
        assert!(!watched.begins);
    }

    #[test]
    fn monitor_that_unwinds_forgets_no_pool() {
        let (busy, monitor) = ([busy(None), busy(None)], Monitor::new());
        let pools = busy.each_ref().map(|busy| Arc::downgrade(&busy.executor.pool));
        let [known, new] = pools.clone();
        let is_watched = |pool: &Weak<Pool>| pool.upgrade().unwrap().sizing().unwrap().watched.load(Ordering::Relaxed);
        for pool in &pools {
            pool.upgrade().unwrap().sizing().unwrap().watched.store(true, Ordering::Relaxed);
        }
        *monitor.list() = List { running: true, new: vec![new] };
        let unwinds = catch_unwind(AssertUnwindSafe(|| {
            let _rounds = Rounds { monitor: &monitor, watched: vec![Watched::new(known)] };
            panic!("in a round");
        }));
        assert!(unwinds.is_err());
        let list = monitor.list();
        assert!(!list.running && list.new.is_empty());
        assert!(!pools.iter().any(is_watched));
    }

    /// The directory of the threads appears later: that is seen when the pool begins again, and not tried at each look.
    #[cfg(target_os = "linux")]
    #[test]
    fn hidden_threads_are_not_tried_at_each_look() {
        let threads = std::env::temp_dir().join(format!("ropewalk-threads-{}", std::process::id()));
        drop(std::fs::remove_file(&threads));
        let Busy { executor, .. } = &busy(Some(threads.clone()));
        let (pool, sizing) = (&executor.pool, executor.pool.sizing().unwrap());
        let mut watched = Watched::new(Arc::downgrade(pool));
        assert!(watched.see(pool, sizing).is_none());
        std::os::unix::fs::symlink(super::super::procfs::THREADS, &threads).unwrap();
        assert!(watched.see(pool, sizing).is_none());
        assert!(watched.look(Instant::now()));
        let seen = watched.see(pool, sizing);
        std::fs::remove_file(&threads).unwrap();
        assert!(seen.is_some_and(|seen| seen.workers == 1), "{seen:?}");
    }
}
