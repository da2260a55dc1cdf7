//! What each worker does, for whoever looks from outside; and the list of all pools.
//!
//! A worker writes two words a job, and takes a lock of its own when it is about to sleep.

use super::pool::Pool;
use ropewalk_core::park::{AtomicPlace, Interrupt, Pause};
use std::fmt::Write as _;
use std::panic::Location;
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
}

impl Seat {
    pub(super) fn new(name: String) -> Self {
        Self { name, interrupt: Interrupt::new(), runs: AtomicPlace::nowhere(), waits: Mutex::default() }
    }

    pub(super) fn begins(&self, place: &'static Location<'static>) {
        self.runs.set(Some(place));
    }

    pub(super) fn ends(&self) {
        self.runs.set(None);
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
