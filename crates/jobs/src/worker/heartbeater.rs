//! The loop that says "alive": for the worker, and for everything that it runs.
//!
//! On a thread it has one of its own, so that a handler which computes for an hour keeps its lease.

use crate::broker::{Beat, Broker, BrokerError, Held, Running};
use crate::crash::crash_point;
use crate::job::{ExecId, WorkerId};
use std::time::Duration;

/// A lease is renewed when this part of it has passed.
const BEATS_PER_LEASE: u32 = 3;

pub(crate) struct Heartbeater {
    worker: WorkerId,
    queues: Vec<String>,
    concurrency: usize,
    lease: Duration,
}

impl Heartbeater {
    pub(crate) fn new(worker: WorkerId, queues: Vec<String>, concurrency: usize, lease: Duration) -> Self {
        Self { worker, queues, concurrency, lease }
    }

    /// How long to wait between two beats.
    pub(crate) fn interval(&self) -> Duration {
        self.lease / BEATS_PER_LEASE
    }

    /// One beat: what it says of those executions that do not simply go on, and how long to wait before the next one.
    pub(crate) fn step(
        &self,
        broker: &dyn Broker,
        running: Vec<Running>,
        leaving: bool,
    ) -> (Result<Vec<(ExecId, Held)>, BrokerError>, Duration) {
        let execs: Vec<ExecId> = running.iter().map(|running| running.exec).collect();
        let beat = Beat {
            worker: self.worker.clone(),
            queues: self.queues.clone(),
            concurrency: self.concurrency,
            running,
            lease: self.lease,
            leaving,
        };
        crash_point!("heartbeater.before");
        let held = broker.heartbeat(&beat);
        crash_point!("heartbeater.after");
        let news = held.map(|held| execs.into_iter().zip(held).filter(|(_, held)| *held != Held::Held).collect());
        // A beat that failed is tried again soon: two more fit into the lease.
        let wait = if news.is_ok() { self.interval() } else { self.interval() / 4 };
        (news, wait)
    }
}
