//! What was seen of a pool in one look: plain data, so that it can be recorded and judged again.

use std::time::Duration;

/// One look at a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// When, since the pool was made.
    pub(super) at: Duration,
    /// Jobs that have not started.
    pub(super) queued: usize,
    /// Workers that count: those that run a job, are idle or are stuck.
    pub(super) runnable: usize,
    /// Workers without a job.
    pub(super) idle: usize,
    /// Workers whose job waits for a lock or a permit of ours.
    pub(super) stuck: usize,
    /// Jobs finished since the look before.
    pub(super) finished: u64,
    /// A thread could not be started since the look before.
    pub(super) refused: bool,
    /// What some of the workers did; None where the system does not say.
    pub(super) seen: Option<Seen>,
}

/// What the system said of some workers that had a job and did not wait in our primitives for others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// How many were looked at.
    pub(super) workers: usize,
    /// The time looked at, of all of them, in nanoseconds.
    pub(super) time_ns: u64,
    /// In which they ran.
    pub(super) on_cpu_ns: u64,
    /// In which they were ready to run and waited for a processor.
    pub(super) for_cpu_ns: u64,
    /// Of them, those that waited for what is outside of the pool: a device, another machine, a time.
    pub(super) in_io: usize,
    /// Those that waited for a lock of somebody else's, for memory, or for the end of a child process.
    pub(super) in_lock: usize,
    /// Those that waited, the system does not say for what.
    pub(super) in_unknown: usize,
    /// Those whose thread had not begun to run, or had only just.
    pub(super) newborn: usize,
    /// The system call in which most of `in_io` were.
    pub(super) call: &'static str,
}

impl Seen {
    /// The part of the time in which a worker ran.
    pub(super) fn on_cpu(&self) -> f64 {
        part(self.on_cpu_ns, self.time_ns)
    }

    /// The part of the time in which a worker was ready to.
    pub(super) fn for_cpu(&self) -> f64 {
        part(self.for_cpu_ns, self.time_ns)
    }
}

fn part(of: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (of as f64 / all as f64).min(1.0) }
}
