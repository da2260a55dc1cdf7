//! The loop that runs schedules: what is due is enqueued, each slot once however many workers do this.
//!
//! There is no leader. The broker keeps the last slot that was passed of each schedule, and passing the next one is one atomic
//! step that says which was the last before ([`Broker::pass_slot`]); of several that try, one was the first. What a step needs to know
//! between two slots it keeps here, so between them the broker is left alone.

use crate::broker::{Broker, BrokerError, Passed, Slot};
use crate::cron::Schedule;
use crate::job::Time;
use std::time::Duration;

/// How long a step waits at most: the wall clock can be set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After the broker refused.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

struct Entry {
    schedule: Schedule,
    /// The last slot that was passed, as far as is known here: not asked yet, none, one.
    last: Option<Option<Time>>,
}

pub(crate) struct Scheduler(Vec<Entry>);

/// Names of schedules, and how many of their slots were missed.
type Missed = Vec<(String, usize)>;

impl Scheduler {
    pub(crate) fn new(schedules: Vec<Schedule>) -> Self {
        Self(schedules.into_iter().map(|schedule| Entry { schedule, last: None }).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes what is due: what was missed, and how long to wait before the next call.
    pub(crate) fn step(&mut self, now: Time, broker: &dyn Broker) -> (Result<Missed, BrokerError>, Duration) {
        let mut wait = LOOK_EVERY;
        let mut missed = Vec::new();
        for entry in &mut self.0 {
            match entry.pass(now, broker) {
                Ok(0) => {}
                Ok(slots) => missed.push((entry.schedule.name().to_owned(), slots)),
                Err(error) => {
                    // What was passed is not known.
                    entry.last = None;
                    return (Err(error), AGAIN_AFTER);
                }
            }
            if let Some(next) = entry.last.flatten().and_then(|last| entry.schedule.next_after(last)) {
                wait = wait.min(next.since(now).max(Duration::from_millis(1)));
            }
        }
        (Ok(missed), wait)
    }
}

impl Entry {
    /// How many slots are not run.
    fn pass(&mut self, now: Time, broker: &dyn Broker) -> Result<usize, BrokerError> {
        /// Somebody else may pass one meanwhile, each time; then it is as well to look again later.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let after = self.last.flatten();
            let (slot, missed) = match after {
                // It begins now; or somebody else knows when it did.
                None => (self.slot(None, now, Vec::new()), 0),
                Some(last) => {
                    let Some(due) = self.schedule.due(last, now) else { return Ok(0) };
                    let mut jobs = Vec::with_capacity(due.run.len());
                    for at in &due.run {
                        jobs.push(self.schedule.job_of(*at)?);
                    }
                    (self.slot(Some(last), due.passed, jobs), due.missed)
                }
            };
            match broker.pass_slot(&slot)? {
                Passed::Here(_) => {
                    self.last = Some(Some(slot.at));
                    return Ok(missed);
                }
                Passed::Elsewhere(last) => self.last = Some(last),
            }
        }
        Ok(0)
    }

    fn slot(&self, after: Option<Time>, at: Time, jobs: Vec<crate::job::NewJob>) -> Slot {
        Slot { schedule: self.schedule.name().to_owned(), after, at, jobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobBuilder;
    use crate::broker::{Clock as _, Fault, Filter, MemoryBroker, VirtualClock};
    use crate::cron::Missed as Policy;
    use crate::job::NewJob;
    use fastrand::Rng;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const MINUTE: u64 = 60_000;
    /// Not at a slot.
    const BEGIN: Time = Time::of_millis(1_795_901_000_000);

    fn every_minute(missed: Policy) -> Schedule {
        Schedule::new("tick", "* * * * *", JobBuilder::<()>::of_data(NewJob::new("t", "[]"))).unwrap().missed(missed)
    }

    fn slots_run(broker: &MemoryBroker) -> Vec<u64> {
        let jobs = broker.jobs(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
        let slot = |job: &crate::job::Job| {
            let slot = job.options.meta.as_ref().unwrap()["slot"].as_u64().unwrap();
            assert!(job.enqueued.millis() >= slot, "{} came early, at {}", job.id, job.enqueued);
            slot
        };
        let mut all: Vec<u64> = jobs.iter().map(slot).collect();
        all.sort_unstable();
        all
    }

    /// Four schedulers on one broker, for two hours: they pause and are started anew, answers are lost, steps refused, the wall
    /// clock is set back and forth.
    #[test]
    fn each_slot_once_whoever_is_paused_or_dies() {
        for seed in 0..60 {
            let mut rng = Rng::with_seed(seed);
            let clock = Arc::new(VirtualClock::at(BEGIN));
            let broker = MemoryBroker::with_clock(Arc::clone(&clock));
            let mut fleet: Vec<(Scheduler, u64)> =
                (0..4).map(|_| (Scheduler::new(vec![every_minute(Policy::All)]), 0)).collect();
            // The first to be told the schedule begins it.
            assert!(fleet[0].0.step(clock.wall(), &broker).0.is_ok());
            let (mut latest, mut second) = (clock.wall(), 0_u64);
            while second < 7_200 {
                let by = rng.u64(1..10);
                second += by;
                clock.advance(Duration::from_secs(by));
                if rng.u32(..200) == 0 {
                    let now = clock.wall().millis();
                    clock.set_wall(Time::of_millis(if rng.bool() { now - 5 * MINUTE } else { now + 5 * MINUTE }));
                }
                latest = latest.max(clock.wall());
                for (scheduler, asleep) in &mut fleet {
                    match rng.u32(..60) {
                        0 => *asleep = second + rng.u64(..600),
                        1 => *scheduler = Scheduler::new(vec![every_minute(Policy::All)]),
                        2 => broker.fail_next(if rng.bool() { Fault::Refuse } else { Fault::LoseReply }),
                        _ => {}
                    }
                    if *asleep <= second {
                        let _ = scheduler.step(clock.wall(), &broker);
                    }
                }
            }
            // Now all goes well, after the faults that were ordered.
            clock.set_wall(latest);
            while Scheduler::new(vec![every_minute(Policy::All)]).step(latest, &broker).0.is_err() {}
            let first = BEGIN.millis() / MINUTE + 1;
            let wanted: Vec<u64> = (first..=latest.millis() / MINUTE).map(|minute| minute * MINUTE).collect();
            assert_eq!(slots_run(&broker), wanted, "seed {seed}");
        }
    }

    #[test]
    fn what_was_missed_is_run_as_it_says() {
        for (policy, wanted, missed) in
            [(Policy::Skip, vec![], 10), (Policy::Once, vec![10], 9), (Policy::All, (1..=10).collect(), 0)]
        {
            let clock = Arc::new(VirtualClock::at(BEGIN));
            let broker = MemoryBroker::with_clock(Arc::clone(&clock));
            let step = || Scheduler::new(vec![every_minute(policy)]).step(clock.wall(), &broker).0.unwrap();
            assert_eq!(step(), []);
            // To half a minute behind a whole one, so that the last was too long ago for `Skip`.
            let first = (BEGIN.millis() / MINUTE + 1) * MINUTE;
            clock.advance(Duration::from_millis(first + 9 * MINUTE + 30_000 - BEGIN.millis()));
            let told = step();
            assert_eq!(told.iter().map(|(_, slots)| *slots).sum::<usize>(), missed, "{policy:?}");
            let run: BTreeSet<u64> = slots_run(&broker).into_iter().map(|slot| (slot - first) / MINUTE + 1).collect();
            assert_eq!(run.into_iter().collect::<Vec<u64>>(), wanted, "{policy:?}");
            assert_eq!(step(), [], "{policy:?}: said again");
        }
    }
}
