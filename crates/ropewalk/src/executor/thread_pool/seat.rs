//! What each worker does, for whoever looks from outside; and the list of all pools.
//!
//! A worker writes three words a job, and takes a lock of its own when it is about to sleep.

use super::pool::Pool;
use ropewalk_core::park::{AtomicPlace, Interrupt, Pause};
use std::fmt::Write as _;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the pool known to [`dump`].
pub(super) fn list(pool: &Arc<Pool>) {
    let mut pools = lock(&POOLS);
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(pool));
}

/// One worker, as others see it.
pub(super) struct Seat {
    name: String,
    /// Ends the waits of the job that runs.
    pub(super) interrupt: Interrupt,
    /// Where the job that runs was submitted.
    runs: AtomicPlace,
    waits: Mutex<Option<(Pause, Instant)>>,
    /// How many jobs it has run; only the worker itself writes it.
    finished: AtomicU64,
    /// The system's name for its thread: [`NOT_BEGUN`] until it runs, if it is asked for at all.
    thread: AtomicU32,
    since: Instant,
    left: AtomicBool,
}

/// No thread has this id.
const NOT_BEGUN: u32 = u32::MAX;

/// What a worker does, as far as this library knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no job.
    Idle,
    /// Its job runs, or waits in a system call.
    Runs,
    /// Its job lets time pass in our sleep.
    Sleeps,
    /// Its job waits in one of our primitives for what others do, or for what they hold.
    WaitsForOthers,
}

impl Seat {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            interrupt: Interrupt::new(),
            runs: AtomicPlace::nowhere(),
            waits: Mutex::default(),
            finished: AtomicU64::new(0),
            thread: AtomicU32::new(NOT_BEGUN),
            since: Instant::now(),
            left: AtomicBool::new(false),
        }
    }

    /// The worker runs, on the thread with this id (0 if it does not know).
    pub(super) fn arrives(&self, thread: u32) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The worker has ended.
    pub(super) fn leaves(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// The system's name for its thread; None as long as it has not begun to run.
    pub(super) fn thread(&self) -> Option<u32> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|&thread| thread != NOT_BEGUN)
    }

    /// When it was hired.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// How many jobs it has run.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> State {
        if self.runs.get().is_none() {
            return State::Idle;
        }
        match *lock(&self.waits) {
            None => State::Runs,
            Some((Pause { ends_by: None, .. }, _)) => State::Sleeps,
            Some(_) => State::WaitsForOthers,
        }
    }

    pub(super) fn begins(&self, place: &'static Location<'static>) {
        self.runs.set(Some(place));
    }

    pub(super) fn ends(&self) {
        self.runs.set(None);
        // Nobody else writes it, so this needs no exclusive access to its cache line.
        self.finished.store(self.finished.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn waits(&self, pause: &Pause) {
        *lock(&self.waits) = Some((*pause, Instant::now()));
    }

    pub(super) fn goes_on(&self) {
        *lock(&self.waits) = None;
    }
}

/// What every worker of every pool does at this moment, one a line, by pool.
pub(crate) fn dump(text: &mut String) {
    let pools: Vec<_> = lock(&POOLS).iter().filter_map(Weak::upgrade).collect();
    for pool in &pools {
        let stats = pool.stats();
        let (max, seats) = (pool.max_workers(), pool.seats());
        let _ = writeln!(text, "pool \"{}\" of {max} workers, {} jobs queued", pool.name_prefix(), stats.queued);
        for seat in seats {
            let _ = write!(text, "  worker \"{}\"", seat.name);
            let waits = *lock(&seat.waits);
            let _ = match (seat.runs.get(), waits) {
                (None, _) => writeln!(text, " is idle"),
                (Some(place), None) => writeln!(text, " (job submitted at {place}) runs"),
                (Some(place), Some((pause, since))) => {
                    let time = since.elapsed().as_secs_f64();
                    writeln!(text, " (job submitted at {place}) waits on {pause} for {time:.1} s")
                }
            };
        }
    }
}
