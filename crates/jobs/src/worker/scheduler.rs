//! The loop that runs schedules: what is due is enqueued, each slot once however many workers do this.
//!
//! There is no leader. The broker keeps the last slot that was passed of each schedule, and passing the next one is one atomic
//! step that says which was the last before ([`Broker::pass_slot`]); of several that try, one was the first. What a step needs to know
//! between two slots it keeps here, so between them the broker is left alone.

use crate::broker::{Broker, BrokerError, Enqueued, Passed, Slot};
use crate::cron::Schedule;
use crate::job::{JobId, Time};
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

/// What a step has to say of the schedules, by their names.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    /// How many slots were missed.
    pub(crate) missed: Vec<(String, usize)>,
    /// Slots that enqueued nothing, because this job is the same work.
    pub(crate) doubled: Vec<(String, JobId)>,
    /// What the broker refused.
    pub(crate) trouble: Vec<BrokerError>,
}

impl Scheduler {
    pub(crate) fn new(schedules: Vec<Schedule>) -> Self {
        Self(schedules.into_iter().map(|schedule| Entry { schedule, last: None }).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes what is due: what there is to say, and how long to wait before the next call. A schedule that cannot be passed keeps
    /// none of the others waiting.
    pub(crate) fn step(&mut self, now: Time, broker: &dyn Broker) -> (Stepped, Duration) {
        let mut wait = LOOK_EVERY;
        let mut stepped = Stepped::default();
        for entry in &mut self.0 {
            let name = entry.schedule.name().to_owned();
            match entry.pass(now, broker) {
                Ok((missed, jobs)) => {
                    if missed > 0 {
                        stepped.missed.push((name.clone(), missed));
                    }
                    let doubled = jobs.into_iter().filter_map(|job| match job {
                        Enqueued::Duplicate(id) => Some((name.clone(), id)),
                        Enqueued::Accepted(_) => None,
                    });
                    stepped.doubled.extend(doubled);
                }
                Err(error) => {
                    // What was passed is not known.
                    entry.last = None;
                    stepped.trouble.push(error);
                    wait = wait.min(AGAIN_AFTER);
                    continue;
                }
            }
            if let Some(next) = entry.last.flatten().and_then(|last| entry.schedule.next_after(last)) {
                wait = wait.min(next.since(now).max(Duration::from_millis(1)));
            }
        }
        (stepped, wait)
    }
}

impl Entry {
    /// How many slots are not run, and what became of the jobs of the others.
    fn pass(&mut self, now: Time, broker: &dyn Broker) -> Result<(usize, Vec<Enqueued>), BrokerError> {
        /// Somebody else may pass one meanwhile, each time; then it is as well to look again later.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let after = self.last.flatten();
            let (slot, missed) = match after {
                // It begins now; or somebody else knows when it did.
                None => (self.slot(None, now, Vec::new()), 0),
                Some(last) => {
                    let Some(due) = self.schedule.due(last, now) else { return Ok((0, Vec::new())) };
                    let mut jobs = Vec::with_capacity(due.run.len());
                    for at in &due.run {
                        jobs.push(self.schedule.job_of(*at)?);
                    }
                    (self.slot(Some(last), due.passed, jobs), due.missed)
                }
            };
            match broker.pass_slot(&slot)? {
                Passed::Here(jobs) => {
                    self.last = Some(Some(slot.at));
                    return Ok((missed, jobs));
                }
                Passed::Elsewhere(last) => self.last = Some(last),
            }
        }
        Ok((0, Vec::new()))
    }

    fn slot(&self, after: Option<Time>, at: Time, jobs: Vec<crate::job::NewJob>) -> Slot {
        Slot { schedule: self.schedule.name().to_owned(), after, at, jobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobBuilder;
    use crate::broker::{
        Beat, Claim, Clock as _, Control, ErrorKind, Filter, Held, MemoryBroker, QueueCounts, Ticked, Topic,
        VirtualClock, WorkerInfo,
    };
    use crate::cron::Missed as Policy;
    use crate::job::{Job, Lease, NewJob, Outcome};
    use crate::state::Settled;
    use crate::unique::Unique;
    use fastrand::Rng;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    const MINUTE: u64 = 60_000;
    /// Not at a slot.
    const BEGIN: Time = Time::of_millis(1_795_901_000_000);

    fn every_minute(missed: Policy) -> Schedule {
        Schedule::new("tick", "* * * * *", JobBuilder::<()>::of_data(NewJob::new("t", "[]"))).unwrap().missed(missed)
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fails {
        /// It does not happen.
        Refused,
        /// It happens, and nobody is told.
        Unheard,
    }

    /// What passing a slot did, whoever is told of it: an id that is refused as a duplicate would hide a slot that is passed twice.
    struct Watched {
        broker: MemoryBroker,
        /// How the next step fails.
        fails: Mutex<Option<Fails>>,
        passed: Mutex<Vec<Enqueued>>,
    }

    impl Watched {
        fn new(clock: &Arc<VirtualClock>) -> Self {
            let broker = MemoryBroker::with_clock(Arc::clone(clock));
            Self { broker, fails: Mutex::default(), passed: Mutex::default() }
        }
    }

    /// The scheduler passes slots, and asks for nothing else.
    impl Broker for Watched {
        fn pass_slot(&self, slot: &Slot) -> Result<Passed, BrokerError> {
            let lost = || BrokerError::uncertain(ErrorKind::Unavailable, "nobody heard it");
            let fails = self.fails.lock().unwrap().take();
            if fails == Some(Fails::Refused) {
                return Err(lost());
            }
            let passed = self.broker.pass_slot(slot)?;
            if let Passed::Here(jobs) = &passed {
                assert_eq!(jobs.len(), slot.jobs.len());
                self.passed.lock().unwrap().extend_from_slice(jobs);
            }
            if fails == Some(Fails::Unheard) { Err(lost()) } else { Ok(passed) }
        }

        fn now(&self) -> Time {
            self.broker.now()
        }

        fn enqueue(&self, _: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
            unreachable!()
        }

        fn claim(&self, _: &Claim) -> Result<Vec<Lease>, BrokerError> {
            unreachable!()
        }

        fn heartbeat(&self, _: &Beat) -> Result<Vec<Held>, BrokerError> {
            unreachable!()
        }

        fn settle(&self, _: &[Outcome]) -> Result<Vec<Settled>, BrokerError> {
            unreachable!()
        }

        fn tick(&self) -> Result<Ticked, BrokerError> {
            unreachable!()
        }

        fn control(&self, _: &Control) -> Result<usize, BrokerError> {
            unreachable!()
        }

        fn job(&self, _: &JobId) -> Result<Option<Job>, BrokerError> {
            unreachable!()
        }

        fn jobs(&self, _: &Filter) -> Result<Vec<Job>, BrokerError> {
            unreachable!()
        }

        fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
            unreachable!()
        }

        fn workers(&self) -> Result<Vec<WorkerInfo>, BrokerError> {
            unreachable!()
        }

        fn ended_since(&self, _: Option<u64>) -> Result<(u64, Vec<JobId>), BrokerError> {
            unreachable!()
        }

        fn news(&self, _: Topic) -> u64 {
            unreachable!()
        }

        fn wait(&self, _: Topic, _: u64, _: Duration) {
            unreachable!()
        }

        fn ring(&self, _: Topic) {
            unreachable!()
        }
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
            let broker = Watched::new(&clock);
            let mut fleet: Vec<(Scheduler, u64)> =
                (0..4).map(|_| (Scheduler::new(vec![every_minute(Policy::All)]), 0)).collect();
            // The first to be told the schedule begins it.
            assert!(fleet[0].0.step(clock.wall(), &broker).0.trouble.is_empty());
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
                        2 => {
                            let fails = if rng.bool() { Fails::Refused } else { Fails::Unheard };
                            *broker.fails.lock().unwrap() = Some(fails);
                        }
                        _ => {}
                    }
                    if *asleep <= second {
                        let _ = scheduler.step(clock.wall(), &broker);
                    }
                }
            }
            // Now all goes well, after the faults that were ordered.
            clock.set_wall(latest);
            while !Scheduler::new(vec![every_minute(Policy::All)]).step(latest, &broker).0.trouble.is_empty() {}
            let first = BEGIN.millis() / MINUTE + 1;
            let wanted: Vec<u64> = (first..=latest.millis() / MINUTE).map(|minute| minute * MINUTE).collect();
            assert_eq!(slots_run(&broker.broker), wanted, "seed {seed}");
            // Each was passed by one step, not by several of which one put its job there.
            let passed = broker.passed.into_inner().unwrap();
            assert!(passed.iter().all(|job| matches!(job, Enqueued::Accepted(_))), "seed {seed}: {passed:?}");
            assert_eq!(passed.len(), wanted.len(), "seed {seed}");
        }
    }

    #[test]
    fn what_was_missed_is_run_as_it_says() {
        for (policy, wanted, missed) in
            [(Policy::Skip, vec![], 10), (Policy::Once, vec![10], 9), (Policy::All, (1..=10).collect(), 0)]
        {
            let clock = Arc::new(VirtualClock::at(BEGIN));
            let broker = MemoryBroker::with_clock(Arc::clone(&clock));
            let step = || {
                let stepped = Scheduler::new(vec![every_minute(policy)]).step(clock.wall(), &broker).0;
                assert_eq!(stepped.trouble, []);
                stepped.missed
            };
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

    #[test]
    fn schedule_that_cannot_be_passed_keeps_no_other_waiting() {
        let clock = Arc::new(VirtualClock::at(BEGIN));
        let broker = Watched::new(&clock);
        let named =
            |name: &str| Schedule::new(name, "* * * * *", JobBuilder::<()>::of_data(NewJob::new("t", "[]"))).unwrap();
        let mut scheduler = Scheduler::new(vec![named("first"), named("second")]);
        assert_eq!(scheduler.step(clock.wall(), &broker).0.trouble, []);
        clock.advance(Duration::from_secs(60));
        *broker.fails.lock().unwrap() = Some(Fails::Refused);
        let (stepped, wait) = scheduler.step(clock.wall(), &broker);
        assert_eq!(stepped.trouble.len(), 1);
        assert!(wait <= AGAIN_AFTER);
        assert_eq!(broker.passed.lock().unwrap().len(), 1, "the second waits for the first");
    }

    #[test]
    fn slot_whose_work_is_there_already_says_so() {
        let clock = Arc::new(VirtualClock::at(BEGIN));
        let broker = Watched::new(&clock);
        let job = NewJob { unique: Some(Unique::key("k")), ..NewJob::new("t", "[]") };
        let schedule = Schedule::new("tick", "* * * * *", JobBuilder::<()>::of_data(job)).unwrap();
        let mut scheduler = Scheduler::new(vec![schedule]);
        let mut doubled = || {
            let stepped = scheduler.step(clock.wall(), &broker).0;
            clock.advance(Duration::from_secs(60));
            stepped.doubled
        };
        assert_eq!((doubled(), doubled()), (vec![], vec![]));
        let said = doubled();
        assert_eq!((said.len(), said[0].0.as_str()), (1, "tick"));
        assert!(said[0].1.as_str().starts_with("cron-tick-"));
    }
}
