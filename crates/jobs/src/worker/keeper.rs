//! The loop that lets time pass for the store: brings forward what is due, takes back what lost its lease, forgets what was
//! kept long enough.
//!
//! Every worker has one, and none is the leader: a tick is one atomic step, and one that finds nothing writes nothing.

use crate::broker::{Broker, BrokerError, Ticked};
use crate::crash::crash_point;
use crate::job::Time;
use std::time::Duration;

/// How long the store is left alone at most.
pub(crate) const TICK_EVERY: Duration = Duration::from_millis(500);

/// One tick, and when the next one is due.
pub(crate) fn step(now: Time, broker: &dyn Broker) -> (Result<Ticked, BrokerError>, Time) {
    crash_point!("keeper.before");
    let ticked = broker.tick();
    crash_point!("keeper.after");
    let again = match &ticked {
        Ok(ticked) if ticked.more => now,
        Ok(ticked) => ticked.next_due.map_or(now + TICK_EVERY, |due| due.max(now).min(now + TICK_EVERY)),
        Err(_) => now + TICK_EVERY,
    };
    (ticked, again)
}
