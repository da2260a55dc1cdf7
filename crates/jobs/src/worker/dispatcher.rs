//! The loop that takes jobs and brings back their outcomes: settles what has ended, and claims for the slots that are free.
//!
//! It knows no threads, and waits for nothing but the answers of its broker: [`Dispatcher::step`] is called when something may have
//! changed, and says what to start and when it wants to be called again. The threads of a worker call it, and the simulation calls the
//! same.
//!
//! # In which order
//!
//! As long as claims find all they ask for, a claim and a settle are asked for as one, and a broker whose settles take their time may
//! answer the claim first: what it found runs while the settle is under way. If all of that has ended before the settle is answered, the
//! next claim and settle go out behind it, so that the broker need not wait for it; then there are two that were not heard,
//! and the older one is before anything else happens. Once a claim finds less, settles go first, and are heard: what they set free, as a
//! job that needed another, may be all there is to claim. The same after one has failed.
//!
//! # What it keeps
//!
//! A slot is taken from the claim until the outcome has been settled, or is on its way, *and* the run has given its thread back. An
//! outcome whose settle failed is sent again, with pauses, until the broker answers; its execution may have lost its lease by then, and
//! the broker says so. One that the broker will never take is dropped.

use super::order::Order;
use crate::broker::{Broker, BrokerError, Claim, ErrorKind, Settling};
use crate::crash::crash_point;
use crate::job::{End, ExecId, Lease, Outcome, Time, WorkerId};
use crate::state::Settled;
use fastrand::Rng;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The longest pause after the broker refused a step.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The first one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// How many settles may be under way when a step ends.
const UNHEARD_MAX: usize = 2;

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

struct Unheard {
    sent: Vec<Outcome>,
    settling: Settling,
}

pub(crate) struct Dispatcher {
    worker: WorkerId,
    order: Order,
    concurrency: usize,
    lease: Duration,
    slots: HashMap<ExecId, Slot>,
    ended: Vec<Outcome>,
    /// The first so many of these were sent before, and are sent again.
    again: usize,
    /// Sent to the broker, whose answers were not heard yet.
    unheard: VecDeque<Unheard>,
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
            again: 0,
            unheard: VecDeque::new(),
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
        self.slots.is_empty() && self.ended.is_empty() && self.unheard.is_empty()
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
        let heard = self.hear(broker, UNHEARD_MAX - 1);
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
            Ok(()) if !self.unheard.is_empty() => wants.again = Some(now),
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
        let heard = self.hear(broker, 0);
        self.settle(broker).and(heard)
    }

    /// Waits for the answers to what was sent, if there are any to wait for. The next step hears them.
    pub(crate) fn wait_for_answers(&mut self) {
        for unheard in std::mem::take(&mut self.unheard) {
            self.unheard.push_back(Unheard { settling: unheard.settling.wait(), ..unheard });
        }
    }

    /// Hears what was answered, and waits until no more than so many are unheard. All are, whatever goes wrong with one.
    fn hear(&mut self, broker: &dyn Broker, but: usize) -> Result<(), BrokerError> {
        let mut heard = Ok(());
        while let Some(first) = self.unheard.front()
            && (self.unheard.len() > but || first.settling.is_said())
            && let Some(Unheard { sent, settling }) = self.unheard.pop_front()
        {
            let answers = settling.answer();
            crash_point!("dispatcher.heard");
            heard = heard.and(self.take_answers(broker, sent, answers));
        }
        heard
    }

    fn settle(&mut self, broker: &dyn Broker) -> Result<(), BrokerError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let sent = self.take_ended();
        crash_point!("dispatcher.before_settle");
        let answers = broker.settle(&sent);
        crash_point!("dispatcher.settled");
        self.take_answers(broker, sent, answers)
    }

    fn settle_and_claim(&mut self, broker: &dyn Broker, wants: &mut Wants) -> Result<(), BrokerError> {
        // Those that have ended and given their threads back leave their slots in the same go.
        let on_the_way = self.unheard.iter().flat_map(|unheard| &unheard.sent);
        let leaving = self.ended.iter().chain(on_the_way);
        let leaving = leaving.filter(|outcome| self.slots.get(&outcome.exec).is_some_and(|slot| !slot.runs));
        let free = self.concurrency.saturating_sub(self.slots.len() - leaving.count());
        let claim = (!self.stopping && !self.held && free > 0).then(|| {
            let queues = self.order.draw(&mut self.dice);
            let tasks = self.tasks.clone().filter(|_| broker.leaves_unknown());
            Claim { worker: self.worker.clone(), queues, max: free, lease: self.lease, tasks }
        });
        let Some(claim) = claim else { return self.hear(broker, 0).and_then(|()| self.settle(broker)) };
        if self.plenty && self.refusals == 0 && !self.ended.is_empty() {
            let sent = self.take_ended();
            crash_point!("dispatcher.before_both");
            let (leases, settling) = broker.claim_and_settle(&claim, &sent);
            crash_point!("dispatcher.under_way");
            let is_said = settling.is_said();
            self.unheard.push_back(Unheard { sent, settling });
            self.take_leases(leases?, free, wants);
            // What was claimed starts before anything else is waited for: nobody keeps its leases meanwhile.
            if !wants.start.is_empty() {
                return if is_said { self.hear(broker, UNHEARD_MAX) } else { Ok(()) };
            }
            // Nothing was there before the settle, or the claim was not tried.
            self.hear(broker, 0)?;
        } else {
            self.hear(broker, 0)?;
            self.settle(broker)?;
        }
        crash_point!("dispatcher.before_claim");
        self.take_leases(broker.claim(&claim)?, free, wants);
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
        sent: Vec<Outcome>,
        answers: Result<Vec<Settled>, BrokerError>,
    ) -> Result<(), BrokerError> {
        match answers {
            Ok(answers) => {
                sent.into_iter().zip(answers).for_each(|(outcome, answer)| self.settled(outcome, answer));
                Ok(())
            }
            Err(error) if is_for_good(&error) => self.settle_each(broker, sent),
            Err(error) => {
                self.send_again(sent);
                Err(error)
            }
        }
    }

    fn take_ended(&mut self) -> Vec<Outcome> {
        self.again = 0;
        std::mem::take(&mut self.ended)
    }

    /// Before those that have ended since.
    fn send_again(&mut self, sent: Vec<Outcome>) {
        let (at, count) = (self.again, sent.len());
        self.ended.splice(at..at, sent);
        self.again += count;
    }

    /// One at a time, so that a bad neighbour harms nobody. To send again what is refused alone, or at which the store breaks
    /// off, is of no use: its lease runs out, and the job is tried again or fails as one that crashed.
    fn settle_each(&mut self, broker: &dyn Broker, mut sent: Vec<Outcome>) -> Result<(), BrokerError> {
        let mut refused = None;
        // Backwards, as a batch is settled: so jobs that are released together keep their order at the front.
        while let Some(outcome) = sent.pop() {
            match broker.settle(std::slice::from_ref(&outcome)) {
                Ok(answers) => answers.into_iter().for_each(|answer| self.settled(outcome.clone(), answer)),
                Err(error) if is_for_good(&error) => {
                    self.settled(outcome, Settled::Lost);
                    refused = Some(error);
                }
                Err(error) => {
                    sent.push(outcome);
                    self.send_again(sent);
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

/// What does not pass by itself, and is about this outcome: something of another kind may stand where a store looks for its own.
fn is_for_good(error: &BrokerError) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BATCH_JOBS_MAX, MemoryBroker};
    use crate::job::{JobId, NewJob, RESULT_BYTES_MAX};
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

    /// Whether the settle goes first, as with a slot too many, or beside a claim.
    #[test]
    fn outcome_that_is_refused_harms_no_other() {
        for slots in [3, 4] {
            let broker = MemoryBroker::new();
            let jobs: Vec<NewJob> = (0..3).map(|_| NewJob::new("t", "[]")).collect();
            broker.enqueue(&jobs).unwrap();
            let mut dispatcher = dispatcher(slots);
            for (at, lease) in dispatcher.step(broker.now(), &broker).start.into_iter().enumerate() {
                let result = "1".repeat(if at == 1 { RESULT_BYTES_MAX + 1 } else { 1 });
                dispatcher.end(Ok(Outcome { id: lease.id, exec: lease.exec, end: End::Done(result) }));
                dispatcher.gone(lease.exec);
            }
            assert_eq!(dispatcher.step(broker.now(), &broker).trouble.unwrap().kind(), ErrorKind::Refused);
            let ids: Vec<JobId> = jobs.into_iter().map(|job| job.id).collect();
            assert_eq!(states(&broker, &ids), [State::Done, State::Leased, State::Done]);
            assert!(dispatcher.is_idle(), "it is sent again for ever");
            assert_eq!((dispatcher.counts.done, dispatcher.counts.lost), (2, 1));
        }
    }

    /// The batch is refused as a whole: its outcomes are sent one by one, and then there is a claim.
    #[test]
    fn batch_that_is_too_large_is_sent_one_by_one() {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..=BATCH_JOBS_MAX + 1).map(|_| NewJob::new("t", "[]")).collect();
        jobs.chunks(BATCH_JOBS_MAX).for_each(|jobs| drop(broker.enqueue(jobs).unwrap()));
        let mut dispatcher = dispatcher(BATCH_JOBS_MAX + 1);
        let started = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, started);
        let wants = dispatcher.step(broker.now(), &broker);
        assert_eq!((wants.start.len(), wants.trouble), (1, None));
        assert_eq!(dispatcher.counts.done, BATCH_JOBS_MAX as u64 + 1);
    }

    #[test]
    fn released_jobs_keep_their_order_when_their_batch_is_refused() {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..=BATCH_JOBS_MAX).map(|_| NewJob::new("t", "[]")).collect();
        jobs.chunks(BATCH_JOBS_MAX).for_each(|jobs| drop(broker.enqueue(jobs).unwrap()));
        let mut dispatcher = dispatcher(BATCH_JOBS_MAX + 1);
        for lease in dispatcher.step(broker.now(), &broker).start {
            dispatcher.end(Ok(Outcome { id: lease.id, exec: lease.exec, end: End::Release }));
            dispatcher.gone(lease.exec);
        }
        dispatcher.stop();
        assert_eq!(dispatcher.step(broker.now(), &broker).trouble, None);
        let again = self::dispatcher(3).step(broker.now(), &broker).start;
        assert_eq!(
            again.iter().map(|lease| &lease.id).collect::<Vec<_>>(),
            jobs[..3].iter().map(|job| &job.id).collect::<Vec<_>>()
        );
    }

    /// Claims first, and answers the settle later; as it is told to.
    struct Late {
        broker: MemoryBroker,
        fails: bool,
    }

    impl Broker for Late {
        crate::__pass_on!(|this| this.broker; now, enqueue, claim, heartbeat, settle, tick, control, job, jobs, queues, workers, ended_since,
            news, wait, ring);

        fn claim_and_settle(&self, claim: &Claim, outcomes: &[Outcome]) -> (Result<Vec<Lease>, BrokerError>, Settling) {
            let leases = self.claim(claim);
            let (broker, outcomes, fails) = (self.broker.clone(), outcomes.to_vec(), self.fails);
            let answer = move || match fails {
                true => Err(BrokerError::new(ErrorKind::Full, "no space left, for a moment")),
                false => broker.settle(&outcomes),
            };
            (leases, Settling::awaited(answer))
        }
    }

    fn late(jobs: usize, fails: bool) -> (Late, Vec<JobId>) {
        let broker = MemoryBroker::new();
        let jobs: Vec<NewJob> = (0..jobs).map(|_| NewJob::new("t", "[]")).collect();
        broker.enqueue(&jobs).unwrap();
        (Late { broker, fails }, jobs.into_iter().map(|job| job.id).collect())
    }

    /// The settle of the first is under way then, and the second has ended.
    fn two_rounds(dispatcher: &mut Dispatcher, broker: &Late) {
        for _ in 0..2 {
            let started = dispatcher.step(broker.now(), broker).start;
            all_end(dispatcher, started);
        }
    }

    fn states(broker: &dyn Broker, ids: &[JobId]) -> Vec<State> {
        ids.iter().map(|id| broker.job(id).unwrap().unwrap().state).collect()
    }

    #[test]
    fn what_was_claimed_starts_before_the_settle_is_answered() {
        let (broker, ids) = late(6, false);
        let mut dispatcher = dispatcher(2);
        let started = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, started);
        let wants = dispatcher.step(broker.now(), &broker);
        assert_eq!((wants.start.len(), wants.again), (2, Some(broker.now())));
        assert_eq!(states(&broker, &ids[..4]), [State::Leased; 4]);
        assert!(dispatcher.counts.done == 0 && !dispatcher.is_idle());
        // Nothing is free: the answer is heard, and nothing else happens.
        assert!(dispatcher.step(broker.now(), &broker).start.is_empty());
        assert_eq!(states(&broker, &ids[..4]), [State::Done, State::Done, State::Leased, State::Leased]);
        assert_eq!((dispatcher.counts.done, dispatcher.counts.taken), (2, 4));
    }

    /// With nothing free it is heard before anything else is claimed, and goes first then; what was claimed beside it has its slots.
    #[test]
    fn settle_that_fails_while_others_run_is_sent_again() {
        let (mut broker, ids) = late(6, true);
        let mut dispatcher = dispatcher(2);
        let started = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, started);
        let second = dispatcher.step(broker.now(), &broker).start;
        assert_eq!(second.len(), 2);
        let wants = dispatcher.step(broker.now(), &broker);
        assert_eq!((wants.trouble.unwrap().kind(), wants.start.len()), (ErrorKind::Full, 0));
        assert_eq!(
            states(&broker, &ids),
            [State::Leased, State::Leased, State::Leased, State::Leased, State::Ready, State::Ready]
        );
        broker.fails = false;
        all_end(&mut dispatcher, second);
        let wants = dispatcher.step(wants.again.unwrap(), &broker);
        assert_eq!((wants.start.len(), wants.trouble), (2, None));
        assert_eq!(dispatcher.counts.done, 4);
        all_end(&mut dispatcher, wants.start);
        dispatcher.step(broker.now(), &broker);
        assert_eq!(states(&broker, &ids), [State::Done; 6]);
    }

    /// Two settles are under way then, and no more.
    #[test]
    fn next_claim_goes_out_before_the_settle_is_answered() {
        let (broker, ids) = late(8, false);
        let mut dispatcher = dispatcher(2);
        for (taken, done) in [(2, 0), (4, 0), (6, 0), (8, 2)] {
            let started = dispatcher.step(broker.now(), &broker).start;
            assert_eq!((started.len(), dispatcher.counts.taken, dispatcher.counts.done), (2, taken, done));
            all_end(&mut dispatcher, started);
        }
        assert_eq!(states(&broker, &ids[..2]), [State::Done; 2]);
        assert_eq!(states(&broker, &ids[2..]), [State::Leased; 6]);
        // There is nothing more: all answers are heard.
        assert!(dispatcher.step(broker.now(), &broker).drained && dispatcher.is_idle());
        assert_eq!(states(&broker, &ids), [State::Done; 8]);
    }

    /// What was claimed behind it runs, and each outcome is sent again.
    #[test]
    fn settles_that_fail_one_behind_the_other_are_sent_again() {
        let (mut broker, ids) = late(8, true);
        let mut dispatcher = dispatcher(2);
        two_rounds(&mut dispatcher, &broker);
        // Nothing is waited for before it starts.
        let third = dispatcher.step(broker.now(), &broker);
        assert_eq!((third.trouble, third.start.len()), (None, 2));
        let mut again = broker.now();
        for sent_again in [&ids[..2], &ids[..4]] {
            let refused = dispatcher.step(again, &broker);
            assert_eq!((refused.trouble.unwrap().kind(), refused.start.len()), (ErrorKind::Full, 0));
            assert!(dispatcher.ended.iter().map(|outcome| &outcome.id).eq(sent_again), "their order");
            again = refused.again.unwrap();
        }
        assert!(states(&broker, &ids[..6]).iter().all(|state| *state == State::Leased));
        broker.fails = false;
        all_end(&mut dispatcher, third.start);
        let last = dispatcher.step(again, &broker);
        assert_eq!((last.trouble, last.start.len(), dispatcher.counts.done), (None, 2, 6));
        all_end(&mut dispatcher, last.start);
        while !dispatcher.is_idle() {
            dispatcher.step(broker.now(), &broker);
        }
        assert_eq!(states(&broker, &ids), [State::Done; 8]);
    }

    /// Both are heard, and what was claimed beside them runs on.
    #[test]
    fn stopped_with_two_settles_under_way_it_waits_for_both() {
        let (broker, ids) = late(8, false);
        let mut dispatcher = dispatcher(2);
        two_rounds(&mut dispatcher, &broker);
        let running = dispatcher.step(broker.now(), &broker).start;
        dispatcher.stop();
        assert!(dispatcher.step(broker.now(), &broker).start.is_empty() && !dispatcher.is_idle());
        assert_eq!((dispatcher.counts.done, dispatcher.counts.taken), (4, 6));
        all_end(&mut dispatcher, running);
        dispatcher.settle_now(&broker).unwrap();
        assert!(dispatcher.is_idle());
        assert_eq!(states(&broker, &ids[..6]), [State::Done; 6]);
        assert_eq!(states(&broker, &ids[6..]), [State::Ready; 2]);
    }

    /// As many as there are slots is plenty, and then there is nothing: what the settle sets free is claimed in the same step.
    #[test]
    fn chain_of_jobs_waits_for_no_second_step() {
        let (broker, ids) = late(1, false);
        let need = crate::dependency::Need { id: ids[0].clone(), when: crate::dependency::When::Done };
        let second = NewJob { needs: vec![need], ..NewJob::new("t", "[]") };
        broker.enqueue(std::slice::from_ref(&second)).unwrap();
        let mut dispatcher = dispatcher(1);
        let started = dispatcher.step(broker.now(), &broker).start;
        all_end(&mut dispatcher, started);
        let started = dispatcher.step(broker.now(), &broker).start;
        assert_eq!(started.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&second.id]);
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
