//! The loop that takes jobs and brings back their outcomes: settle what has ended, then claim for the slots that are free.
//!
//! It does no waiting and knows no threads: [`Dispatcher::step`] is called when something may have changed, and says what to
//! start and when it wants to be called again. The threads of a worker call it, and the simulation calls the same.
//!
//! # In which order
//!
//! A settle waits for a disk, and a claim does not. So as long as claims find all they ask for, they go first, and what they found
//! runs while the settle is on its way; its answer is heard before the next step. Once one finds less, settles go first: what they set
//! free, as a job that needed another, may be all there is to claim.
//!
//! # What it keeps
//!
//! A slot is taken from the claim until the outcome has been told *and* the run has given its thread back. An outcome whose
//! settle failed is said again, with pauses, until the broker answers; its execution may have lost its lease by then, and
//! the broker says so. One that the broker will never take is dropped.

use super::order::Order;
use crate::broker::{Broker, BrokerError, Claim, ErrorKind, Settling};
use crate::crash::crash_point;
use crate::job::{End, ExecId, Lease, Outcome, Time, WorkerId};
use crate::state::Settled;
use fastrand::Rng;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The longest pause after the broker refused a step.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The first one.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What a worker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that it took.
    pub taken: u64,
    /// Executions that ended well.
    pub done: u64,
    /// Executions that failed for the last time.
    pub failed: u64,
    /// Executions that failed and are tried again.
    pub retried: u64,
    /// Executions that were stopped.
    pub stopped: u64,
    /// Jobs that it gave back.
    pub released: u64,
    /// Jobs whose task it does not know.
    pub unknown: u64,
    /// Outcomes that did not count, because the lease was lost.
    pub lost: u64,
    /// Steps that the broker refused.
    pub refused: u64,
}

/// What a step wants.
#[derive(Debug)]
pub(crate) struct Wants {
    /// Executions to start.
    pub(crate) start: Vec<Lease>,
    /// When to call again at the latest; by news of work or of an end at any rate.
    pub(crate) again: Option<Time>,
    /// The last claim found less than it asked for: nothing is ready.
    pub(crate) drained: bool,
    /// The broker refused: why.
    pub(crate) trouble: Option<BrokerError>,
}

struct Slot {
    /// Whether its outcome has been told.
    told: bool,
    /// Whether its run still holds a thread.
    runs: bool,
    settled: bool,
}

pub(crate) struct Dispatcher {
    worker: WorkerId,
    order: Order,
    concurrency: usize,
    lease: Duration,
    slots: HashMap<ExecId, Slot>,
    ended: Vec<Outcome>,
    /// Told to the broker, which has not answered.
    settling: Option<(Vec<Outcome>, Settling)>,
    /// The last claim found all that it asked for.
    plenty: bool,
    /// The tasks that it knows, for brokers from which it takes no others.
    tasks: Option<Arc<HashSet<String>>>,
    stopping: bool,
    held: bool,
    refusals: u32,
    not_before: Option<Time>,
    dice: Rng,
    pub(crate) counts: Counts,
}

impl Dispatcher {
    pub(crate) fn new(worker: WorkerId, order: Order, concurrency: usize, lease: Duration, dice: Rng) -> Self {
        Self {
            worker,
            order,
            concurrency,
            lease,
            slots: HashMap::new(),
            ended: Vec::new(),
            settling: None,
            plenty: false,
            tasks: None,
            stopping: false,
            held: false,
            refusals: 0,
            not_before: None,
            dice,
            counts: Counts::default(),
        }
    }

    /// It knows these tasks.
    pub(crate) fn knowing(self, tasks: impl IntoIterator<Item = String>) -> Self {
        Self { tasks: Some(Arc::new(tasks.into_iter().collect())), ..self }
    }

    /// No more jobs from here on.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// No more jobs for now, as there is nothing to run them on; or again.
    #[cfg(any(test, all(target_os = "linux", feature = "process")))]
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.ended.is_empty() && self.settling.is_none()
    }

    /// An execution has ended: its outcome, or none if it lost its lease. The first word counts.
    pub(crate) fn end(&mut self, outcome: Result<Outcome, ExecId>) {
        let exec = outcome.as_ref().map_or_else(|exec| *exec, |outcome| outcome.exec);
        let Some(slot) = self.slots.get_mut(&exec).filter(|slot| !slot.told) else { return };
        slot.told = true;
        match outcome {
            Ok(outcome) => self.ended.push(outcome),
            Err(exec) => {
                self.counts.lost += 1;
                slot.settled = true;
                self.leave(exec);
            }
        }
    }

    /// Its run gives its thread back, whatever was told of it before.
    pub(crate) fn gone(&mut self, exec: ExecId) {
        if let Some(slot) = self.slots.get_mut(&exec) {
            slot.runs = false;
            self.leave(exec);
        }
    }

    fn leave(&mut self, exec: ExecId) {
        if self.slots.get(&exec).is_some_and(|slot| slot.settled && !slot.runs) {
            self.slots.remove(&exec);
        }
    }

    pub(crate) fn step(&mut self, now: Time, broker: &dyn Broker) -> Wants {
        let mut wants = Wants { start: Vec::new(), again: None, drained: false, trouble: None };
        let heard = self.hear(broker);
        // The wall clock may have been set back: no pause is longer than the longest.
        if let Some(until) = self.not_before
            && heard.is_ok()
            && now < until
            && until.since(now) <= PAUSE_MAX
        {
            wants.again = Some(until);
            return wants;
        }
        self.not_before = None;
        let done = heard.and_then(|()| self.settle_and_claim(broker, &mut wants));
        match done {
            Ok(()) if self.settling.is_some() => wants.again = Some(now),
            Ok(()) => self.refusals = 0,
            Err(error) => {
                self.counts.refused += 1;
                self.refusals += 1;
                let pause = (PAUSE_MIN * 2u32.saturating_pow(self.refusals.min(16))).min(PAUSE_MAX);
                let until = now + pause.mul_f64(0.5 + self.dice.f64() / 2.0);
                self.not_before = Some(until);
                wants.again = Some(until);
                wants.trouble = Some(error);
            }
        }
        wants
    }

    /// Settles what there is to settle, whatever pause there is: the worker ends.
    pub(crate) fn settle_now(&mut self, broker: &dyn Broker) -> Result<(), BrokerError> {
        self.hear(broker)?;
        self.settle(broker)
    }

    /// Waits for the answer to what was told, if there is one to wait for. The next step hears it.
    pub(crate) fn wait_for_answer(&mut self) {
        self.settling = self.settling.take().map(|(told, settling)| (told, settling.wait()));
    }

    fn hear(&mut self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let Some((told, settling)) = self.settling.take() else { return Ok(()) };
        self.take_answers(broker, told, settling.answer())
    }

    fn settle(&mut self, broker: &dyn Broker) -> Result<(), BrokerError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let told = std::mem::take(&mut self.ended);
        crash_point!("dispatcher.before_settle");
        let answers = broker.settle(&told);
        crash_point!("dispatcher.settled");
        self.take_answers(broker, told, answers)
    }

    fn settle_and_claim(&mut self, broker: &dyn Broker, wants: &mut Wants) -> Result<(), BrokerError> {
        // Those that have ended and given their threads back leave their slots in the same go.
        let leaving = self.ended.iter().filter(|outcome| self.slots.get(&outcome.exec).is_some_and(|slot| !slot.runs));
        let free = self.concurrency.saturating_sub(self.slots.len() - leaving.count());
        let claim = (!self.stopping && !self.held && free > 0).then(|| {
            let queues = self.order.draw(&mut self.dice);
            let tasks = self.tasks.clone().filter(|_| broker.leaves_unknown());
            Claim { worker: self.worker.clone(), queues, max: free, lease: self.lease, tasks }
        });
        let Some(claim) = claim else { return self.settle(broker) };
        if self.plenty && self.refusals == 0 && !self.ended.is_empty() {
            let told = std::mem::take(&mut self.ended);
            crash_point!("dispatcher.before_settle");
            let (leases, settling) = broker.claim_and_settle(&claim, &told);
            crash_point!("dispatcher.settled");
            self.settling = Some((told, settling));
            self.take_leases(leases?, free, wants);
        } else {
            self.settle(broker)?;
            crash_point!("dispatcher.before_claim");
            self.take_leases(broker.claim(&claim)?, free, wants);
        }
        Ok(())
    }

    fn take_leases(&mut self, leases: Vec<Lease>, free: usize, wants: &mut Wants) {
        crash_point!("dispatcher.claimed");
        wants.drained = leases.len() < free;
        self.plenty = !wants.drained;
        self.counts.taken += leases.len() as u64;
        for lease in &leases {
            self.slots.insert(lease.exec, Slot { told: false, runs: true, settled: false });
        }
        wants.start = leases;
    }

    fn take_answers(
        &mut self,
        broker: &dyn Broker,
        told: Vec<Outcome>,
        answers: Result<Vec<Settled>, BrokerError>,
    ) -> Result<(), BrokerError> {
        match answers {
            Ok(answers) => {
                told.into_iter().zip(answers).for_each(|(outcome, answer)| self.settled(outcome, answer));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Refused => self.settle_each(broker, told),
            Err(error) => {
                self.ended.extend(told);
                Err(error)
            }
        }
    }

    /// One at a time, so that a bad neighbour harms nobody. To say again what is refused alone is of no use: its lease runs
    /// out, and the job is tried again or fails as one that crashed.
    fn settle_each(&mut self, broker: &dyn Broker, told: Vec<Outcome>) -> Result<(), BrokerError> {
        let mut refused = None;
        let mut left = told.into_iter();
        while let Some(outcome) = left.next() {
            match broker.settle(std::slice::from_ref(&outcome)) {
                Ok(answers) => answers.into_iter().for_each(|answer| self.settled(outcome.clone(), answer)),
                Err(error) if error.kind() == ErrorKind::Refused => {
                    self.settled(outcome, Settled::Lost);
                    refused = Some(error);
                }
                Err(error) => {
                    self.ended.push(outcome);
                    self.ended.extend(left);
                    return Err(error);
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn settled(&mut self, outcome: Outcome, answer: Settled) {
        match answer {
            Settled::Lost => self.counts.lost += 1,
            // Repeated: the first answer was lost, and this is the first that is counted.
            Settled::Recorded | Settled::Repeated => match outcome.end {
                End::Done(_) => self.counts.done += 1,
                End::Failed(_) => self.counts.failed += 1,
                End::Retry { .. } => self.counts.retried += 1,
                End::Release => self.counts.released += 1,
                End::Snooze { .. } => self.counts.unknown += 1,
                End::Stopped => self.counts.stopped += 1,
            },
        }
        if let Some(slot) = self.slots.get_mut(&outcome.exec) {
            slot.settled = true;
            self.leave(outcome.exec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BATCH_JOBS_MAX, Fault, MemoryBroker};
    use crate::job::{NewJob, RESULT_BYTES_MAX};
    use crate::state::State;

    fn dispatcher(concurrency: usize) -> Dispatcher {
        let order = Order::Strict(vec!["default".into()]);
        Dispatcher::new(WorkerId::random(), order, concurrency, Duration::from_secs(30), Rng::new())
    }

    fn all_end(dispatcher: &mut Dispatcher, started: Vec<Lease>) {
        for lease in started {
            dispatcher.end(Ok(Outcome { id: lease.id, exec: lease.exec, end: End::Done("1".into()) }));
            dispatcher.gone(lease.exec);
        }
    }

    #[test]
    fn outcome_that_is_refused_harms_no_other() {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..3).map(|_| NewJob::new("t", "[]")).collect();
        broker.enqueue(&jobs).unwrap();
        let mut dispatcher = dispatcher(4);
        for (at, lease) in dispatcher.step(broker.now(), &broker).start.into_iter().enumerate() {
            let result = "1".repeat(if at == 1 { RESULT_BYTES_MAX + 1 } else { 1 });
            dispatcher.end(Ok(Outcome { id: lease.id, exec: lease.exec, end: End::Done(result) }));
            dispatcher.gone(lease.exec);
        }
        assert_eq!(dispatcher.step(broker.now(), &broker).trouble.unwrap().kind(), ErrorKind::Refused);
        let states: Vec<State> = jobs.iter().map(|job| broker.job(&job.id).unwrap().unwrap().state).collect();
        assert_eq!(states, [State::Done, State::Leased, State::Done]);
        assert!(dispatcher.is_idle(), "it is said again for ever");
        assert_eq!((dispatcher.counts.done, dispatcher.counts.lost), (2, 1));
    }

    /// The batch is refused as a whole: its outcomes are told one by one, and what was claimed beside them runs.
    #[test]
    fn batch_that_is_too_large_is_told_one_by_one() {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..=BATCH_JOBS_MAX + 1).map(|_| NewJob::new("t", "[]")).collect();
        jobs.chunks(BATCH_JOBS_MAX).for_each(|jobs| drop(broker.enqueue(jobs).unwrap()));
        let mut dispatcher = dispatcher(BATCH_JOBS_MAX + 1);
        let started = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, started);
        let wants = dispatcher.step(broker.now(), &broker);
        assert_eq!((wants.start.len(), wants.trouble), (1, None));
        assert!(wants.again.is_some() && dispatcher.counts.done == 0, "the answer is still to be heard");
        all_end(&mut dispatcher, wants.start);
        assert_eq!(dispatcher.step(broker.now(), &broker).trouble, None);
        assert_eq!(dispatcher.counts.done, BATCH_JOBS_MAX as u64 + 2);
        assert!(dispatcher.is_idle());
    }

    /// The answer to the settle beside it counts all the same when the claim goes wrong.
    #[test]
    fn claim_goes_first_while_there_is_plenty() {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..6).map(|_| NewJob::new("t", "[]")).collect();
        broker.enqueue(&jobs).unwrap();
        let mut dispatcher = dispatcher(2);
        let first = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, first);
        broker.fail_next(Fault::LoseReply);
        // It is the claim that fails: its jobs are ours, and we do not know of them.
        let wants = dispatcher.step(broker.now(), &broker);
        assert!(wants.trouble.is_some() && wants.start.is_empty());
        let later = wants.again.unwrap();
        let wants = dispatcher.step(later, &broker);
        assert_eq!((wants.start.len(), wants.trouble), (2, None));
        assert_eq!((dispatcher.counts.done, dispatcher.counts.taken), (2, 4));
    }

    /// What a settle sets free is claimed behind it, when there is nothing else.
    #[test]
    fn settle_goes_first_when_there_is_little() {
        let broker = MemoryBroker::new();
        let first = NewJob::new("t", "[]");
        let need = crate::dependency::Need { id: first.id.clone(), when: crate::dependency::When::Done };
        let second = NewJob { needs: vec![need], ..NewJob::new("t", "[]") };
        broker.enqueue(&[first, second.clone()]).unwrap();
        let mut dispatcher = dispatcher(2);
        let started = dispatcher.step(broker.now(), &broker).start;
        assert_eq!(started.len(), 1);
        all_end(&mut dispatcher, started);
        let started = dispatcher.step(broker.now(), &broker).start;
        assert_eq!(started.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&second.id]);
        assert_eq!(dispatcher.counts.done, 1);
    }

    #[test]
    fn held_it_settles_and_claims_nothing() {
        let broker = MemoryBroker::new();
        broker.enqueue(&[NewJob::new("t", "[]"), NewJob::new("t", "[]")]).unwrap();
        let mut dispatcher = dispatcher(1);
        let lease = dispatcher.step(broker.now(), &broker).start.remove(0);
        dispatcher.hold(true);
        dispatcher.end(Ok(Outcome { id: lease.id, exec: lease.exec, end: End::Release }));
        dispatcher.gone(lease.exec);
        let wants = dispatcher.step(broker.now(), &broker);
        assert!(wants.start.is_empty() && !wants.drained && dispatcher.is_idle());
        dispatcher.hold(false);
        assert_eq!(dispatcher.step(broker.now(), &broker).start.len(), 1);
    }
}
