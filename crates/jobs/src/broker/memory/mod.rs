//! The broker in memory: for tests, and the reference that the others are compared with.
//!
//! [`store`] is the whole truth, written to be read: maps, and the pure rules applied to them one job at a time. This file makes
//! a [`Broker`] of it: one lock a step, the clocks, the news, and the faults that a test orders ([`Fault`]).

mod store;

use super::{
    Beat, Broker, BrokerError, Claim, Clock, Control, Enqueued, ErrorKind, Filter, Held, Passed, QueueCounts, Said,
    Slot, SystemClock, Ticked, Topic, WorkerInfo,
};
use crate::job::{Job, JobId, Lease, NewJob, Outcome, Time};
use crate::state::Settled;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::{Now, Store};

/// What goes wrong with a step, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The step does not happen.
    Refuse,
    /// The step happens and its answer is lost.
    LoseReply,
}

/// A broker that forgets everything at the end of its process. Clones are the same broker.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{Broker, MemoryBroker, NewJob};
///
/// let broker = MemoryBroker::new();
/// broker.enqueue(&[NewJob::new("app::thumb", "[7]")])?;
/// assert_eq!(broker.queues()?[0].queue, "default");
/// # Ok::<(), ropewalk_jobs::BrokerError>(())
/// ```
#[derive(Clone)]
pub struct MemoryBroker {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Box<dyn Clock>,
    store: Mutex<Store>,
    faults: Mutex<VecDeque<Fault>>,
    news: Mutex<[u64; 3]>,
    rung: Condvar,
}

impl MemoryBroker {
    /// An empty broker.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An empty broker with its own idea of time.
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        let inner = Inner {
            clock: Box::new(clock),
            store: Mutex::default(),
            faults: Mutex::default(),
            news: Mutex::default(),
            rung: Condvar::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The next step that changes something goes wrong like this; the step after it like the next one that was ordered.
    pub fn fail_next(&self, fault: Fault) {
        lock(&self.inner.faults).push_back(fault);
    }

    /// No step begins before the guard is dropped.
    pub fn pause(&self) -> impl Drop + '_ {
        struct Paused<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, Store>);
        impl Drop for Paused<'_> {
            fn drop(&mut self) {}
        }
        Paused(lock(&self.inner.store))
    }

    fn now_both(&self) -> Now {
        Now { wall: self.inner.clock.wall(), steady: self.inner.clock.steady() }
    }

    /// One step that changes something.
    fn step<T>(
        &self,
        topics: &[Topic],
        act: impl FnOnce(&mut Store, Now) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let fault = lock(&self.inner.faults).pop_front();
        if fault == Some(Fault::Refuse) {
            return Err(BrokerError::new(ErrorKind::Unavailable, "the broker was told to refuse this step"));
        }
        let done = act(&mut lock(&self.inner.store), self.now_both());
        topics.iter().for_each(|topic| self.ring(*topic));
        if fault == Some(Fault::LoseReply) {
            return Err(BrokerError::uncertain(ErrorKind::Unavailable, "the broker was told to lose this answer"));
        }
        done
    }

    fn read<T>(&self, look: impl FnOnce(&Store, Now) -> T) -> T {
        look(&lock(&self.inner.store), self.now_both())
    }
}

/// A lock whose holder panicked in a test is still a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").finish_non_exhaustive()
    }
}

impl Broker for MemoryBroker {
    fn now(&self) -> Time {
        self.inner.clock.wall()
    }

    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
        super::check_without_rq(jobs)?;
        self.step(&[Topic::Work, Topic::Ended], |store, now| store.enqueue(jobs, now))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, BrokerError> {
        self.step(&[], |store, now| Ok(store.claim(claim, now)))
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Vec<Held>, BrokerError> {
        self.step(&[], |store, now| Ok(store.heartbeat(beat, now)))
    }

    fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Settled>, BrokerError> {
        super::check_outcomes(outcomes)?;
        self.step(&[Topic::Work, Topic::Ended], |store, now| Ok(store.settle(outcomes, now)))
    }

    fn log(&self, said: &[Said]) -> Result<(), BrokerError> {
        self.step(&[], |store, _| {
            store.log(said);
            Ok(())
        })
    }

    fn logs(&self, id: &JobId) -> Result<Option<String>, BrokerError> {
        Ok(self.read(|store, _| store.logs(id)))
    }

    fn pass_slot(&self, slot: &Slot) -> Result<Passed, BrokerError> {
        super::check_without_rq(&slot.jobs)?;
        self.step(&[Topic::Work], |store, now| store.pass_slot(slot, now))
    }

    fn tick(&self) -> Result<Ticked, BrokerError> {
        let ticked = self.step(&[], |store, now| Ok(store.tick(now)))?;
        if ticked.due + ticked.recovered > 0 {
            self.ring(Topic::Work);
        }
        if ticked.ended > 0 {
            self.ring(Topic::Ended);
        }
        Ok(ticked)
    }

    fn control(&self, control: &Control) -> Result<usize, BrokerError> {
        self.step(&[Topic::Work, Topic::Ended, Topic::Stop], |store, now| store.control(control, now))
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, BrokerError> {
        Ok(self.read(|store, _| store.job(id)))
    }

    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, BrokerError> {
        Ok(self.read(|store, _| store.jobs(filter)))
    }

    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        Ok(self.read(|store, _| store.queues()))
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, BrokerError> {
        Ok(self.read(Store::workers))
    }

    fn ended_since(&self, mark: Option<u64>) -> Result<(u64, Vec<JobId>), BrokerError> {
        Ok(self.read(|store, _| store.ended_since(mark)))
    }

    fn news(&self, topic: Topic) -> u64 {
        lock(&self.inner.news)[topic as usize]
    }

    fn wait(&self, topic: Topic, seen: u64, timeout: Duration) {
        // None: longer than any clock goes.
        let until = Instant::now().checked_add(timeout);
        let mut news = lock(&self.inner.news);
        while news[topic as usize] == seen {
            let left = until.map_or(Some(Duration::MAX), |until| until.checked_duration_since(Instant::now()));
            let Some(left) = left else { return };
            news = self.inner.rung.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ring(&self, topic: Topic) {
        lock(&self.inner.news)[topic as usize] += 1;
        self.inner.rung.notify_all();
    }
}
