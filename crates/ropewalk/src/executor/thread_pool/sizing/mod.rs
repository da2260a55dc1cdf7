//! How many workers a pool has that sizes itself.
//!
//! # The signal
//!
//! The system says of each thread how long it ran, how long it was ready and waited for a processor, and in which system call
//! it is. So the pool need not guess by trying: if its workers want a processor for a fraction *r* of their time, *cores / r*
//! of them keep the processors busy. Our own primitives announce their waits to the [`Crew`](ropewalk_core::task::crew::Crew),
//! which replaces who waits for others at once; this room is for the waits that ropewalk does not see.
//!
//! # The parts
//!
//! * `sample`: plain data, what was seen in one look;
//! * `controller`: a pure function of samples, which says how many may run, and why; it has no clock and starts nothing;
//! * `procfs`: looks at one thread, in files that stay open; `calls`: which system call waits for what;
//! * `monitor`: the one thread that looks at all such pools while they have more jobs than workers, and ends when none has.

mod calls;
mod controller;
mod monitor;
mod procfs;
#[cfg(test)]
mod recording;
mod sample;

use super::pool::Pool;
use controller::{Controller, Limits};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most workers that [`Workers::Auto`] comes to: beyond this a task each is the better model, and threads that only wait
/// cost about 20 KiB each.
pub(super) const AUTO_WORKERS_MAX: usize = 1_024;

/// How many of the files that this process may have open there are for each worker of [`Workers::Auto`]: a job that waits
/// outside as a rule holds one (a connection), often two, and the rest of the program needs some too.
const AUTO_FILES_PER_WORKER: usize = 4;

/// The most workers that [`Workers::Auto`] comes to, where so many files may be open (None: no limit, or nobody says).
fn auto_workers_max(cores: usize, open_files: Option<usize>) -> usize {
    let bearable = open_files.map_or(AUTO_WORKERS_MAX, |files| files / AUTO_FILES_PER_WORKER);
    // Whoever computes needs no file: every core is used in any case.
    bearable.min(AUTO_WORKERS_MAX).max(cores)
}

/// How many jobs of a [`ThreadPoolExecutor`](super::ThreadPoolExecutor) may run at once.
///
/// # Examples
///
/// ```
/// use ropewalk::{ThreadPoolExecutor, Workers};
///
/// // Finds out by itself.
/// let crawler = ThreadPoolExecutor::builder().build()?;
/// // No more than the database has connections.
/// let queries = ThreadPoolExecutor::builder().max_workers(20).build()?;
/// // Finds out, within limits.
/// let uploads = ThreadPoolExecutor::builder().max_workers(Workers::Between { min: 2, max: 64 }).build()?;
/// # Ok::<(), ropewalk::executor::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workers {
    /// As many as keep the processors busy: one for each core where jobs compute, more where they wait, up to 1,024, and up to
    /// a quarter of the number of files that the process may have open (on Linux; the soft limit when the pool is made, often
    /// 1,024 and so 256 workers), but never fewer than cores.
    ///
    /// Name a number, or use [`Between`](Self::Between), for jobs of two kinds, which look like what they are not:
    ///
    /// * Jobs that run **child processes**. One that waits in `Command::output` reads from a pipe, as one does that waits for
    ///   the network, while its child may keep a core busy: the pool would start many more children than there are cores.
    /// * Jobs that wait **for something outside of the process through a lock or a channel** that is not ropewalk's, as
    ///   `reqwest::blocking` does, whose own thread talks to the network: they wait in a futex, as for a lock of this process,
    ///   for which more workers would only wait too. The pool would not grow.
    ///
    /// A limit on processor time that the system sets (a cgroup's quota) counts as so many cores, rounded down, at least one.
    #[default]
    Auto,
    /// Always so many.
    Fixed(usize),
    /// As [`Auto`](Self::Auto), but never fewer than `min` nor more than `max`: for what stands behind the jobs and bears only
    /// so much.
    Between {
        /// The fewest; idle workers beyond these end.
        min: usize,
        /// The most.
        max: usize,
    },
}

impl From<usize> for Workers {
    fn from(workers: usize) -> Self {
        Self::Fixed(workers)
    }
}

/// A change of the number of workers, and its reason; see
/// [`ThreadPoolExecutor::sizing_log`](super::ThreadPoolExecutor::sizing_log).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SizingDecision {
    /// When, since the pool was made.
    pub at: Duration,
    /// How many jobs might run before.
    pub from: usize,
    /// How many may run from then on.
    pub to: usize,
    /// Why.
    pub reason: SizingReason,
}

/// Why a pool changed the number of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizingReason {
    /// There were fewer than cores.
    Cores,
    /// The workers mostly waited, and not for each other.
    Waits {
        /// The part of the time in which they ran or were ready to, in percent.
        ran_percent: u8,
        /// The system call in which most of the others were.
        call: &'static str,
    },
    /// More workers were ready to run than there are cores for.
    Crowded,
    /// The system refused to start another thread.
    Refused,
    /// A trial: some wait for a lock or a permit, so fewer might do as well.
    LocksTrial,
    /// A trial: fewer might do as well.
    FewerTrial,
    /// A trial where the system does not say what threads do: more might do better.
    MoreTrial,
    /// The trial showed that the new number is as good, or better: it stays.
    Kept {
        /// Jobs finished a second, in percent of those before the trial.
        rate_percent: u16,
    },
    /// The trial showed that the old number was better: it is back.
    Undone {
        /// Jobs finished a second, in percent of those before the trial.
        rate_percent: u16,
    },
    /// The trial showed nothing: too few jobs ended in its time, or the queue became empty. The old number is back.
    NoResult,
    /// No job had finished for long, where the system does not say what threads do.
    Stalled,
    /// There was no more work than fewer workers could do.
    Idle,
}

/// "grow 2 -> 16: workers ran 3 % of the time, the rest in read".
impl fmt::Display for SizingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, reason, .. } = self;
        match from.cmp(to) {
            std::cmp::Ordering::Less => write!(f, "grow {from} -> {to}: {reason}"),
            std::cmp::Ordering::Greater => write!(f, "shrink {from} -> {to}: {reason}"),
            std::cmp::Ordering::Equal => write!(f, "keep {to}: {reason}"),
        }
    }
}

impl fmt::Display for SizingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores => f.write_str("fewer workers than cores"),
            Self::Waits { ran_percent, call } => {
                write!(f, "workers ran {ran_percent} % of the time, the rest in {call}")
            }
            Self::Crowded => f.write_str("more workers are ready to run than there are cores for"),
            Self::Refused => f.write_str("the system refused to start another thread"),
            Self::LocksTrial => f.write_str("some wait for a lock or a permit; trying fewer"),
            Self::FewerTrial => f.write_str("trying whether fewer do as well"),
            Self::MoreTrial => f.write_str("trying whether more do better"),
            Self::Kept { rate_percent } => write!(f, "{rate_percent} % of the rate before the trial"),
            Self::Undone { rate_percent } => {
                write!(f, "{rate_percent} % of the rate before the trial, which is not enough")
            }
            Self::NoResult => f.write_str("the trial had no result"),
            Self::Stalled => f.write_str("no job finished for long"),
            Self::Idle => f.write_str("there was too little to do for more"),
        }
    }
}

/// What a pool keeps that sizes itself.
pub(super) struct Sizing {
    /// When the pool was made.
    since: Instant,
    /// Whether the monitor looks often; see `monitor` for who changes it.
    watched: AtomicBool,
    /// A thread could not be started since the last look.
    refused: AtomicBool,
    controller: Mutex<Controller>,
    /// Where the system describes the threads of this process.
    threads: PathBuf,
    #[cfg(test)]
    recording: Mutex<Vec<recording::Event>>,
}

impl Sizing {
    /// None for a fixed number; and how many may run at first.
    pub(super) fn new(workers: Workers, threads: Option<PathBuf>) -> (Option<Self>, usize) {
        // Honours the quotas of cgroups, and the set of cores the process is bound to.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (min, max) = match workers {
            Workers::Fixed(workers) => return (None, workers),
            Workers::Auto => (cores, auto_workers_max(cores, procfs::open_files_max())),
            Workers::Between { min, max } => (min, max),
        };
        let controller = Controller::new(Limits { cores, min, max });
        let first = controller.target();
        let sizing = Self {
            since: Instant::now(),
            watched: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            controller: Mutex::new(controller),
            threads: threads.unwrap_or_else(|| PathBuf::from(procfs::THREADS)),
            #[cfg(test)]
            recording: Mutex::default(),
        };
        (Some(sizing), first)
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        // Nothing in there can be half done: a panic would be a bug of ours, and the numbers stay numbers.
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job was put and found nobody: as many as may run do.
    #[inline]
    pub(super) fn found_nobody(&self, pool: &Arc<Pool>) {
        if !self.watched.load(Ordering::Relaxed) {
            monitor::watch(pool, self);
        }
    }

    /// A thread could not be started.
    pub(super) fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// The latest decisions, oldest first.
    pub(super) fn log(&self) -> Vec<SizingDecision> {
        self.controller().log()
    }
}

/// The id by which the system knows the calling thread; 0 where it does not say.
pub(super) fn this_thread() -> u32 {
    procfs::this_thread().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_leaves_descriptors_and_uses_every_core() {
        assert_eq!(auto_workers_max(2, None), 1_024);
        assert_eq!(auto_workers_max(2, Some(1 << 20)), 1_024);
        assert_eq!(auto_workers_max(2, Some(1_024)), 256);
        assert_eq!(auto_workers_max(64, Some(20)), 64);
        assert_eq!(auto_workers_max(4_096, None), 4_096);
    }
}
