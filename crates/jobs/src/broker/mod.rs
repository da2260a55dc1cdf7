//! Where jobs are kept: the trait [`Broker`], and the brokers there are.
//!
//! Each method that changes something is **one atomic step** (`claim_and_settle` is two): it happens as a whole or not at all,
//! also when the process is killed in the middle of it, and what it needs and leaves is written at the method as *before* and
//! *after*. Nothing is kept between steps but what the steps return, so the loops of a worker can be run by threads and by the
//! simulation alike.
//!
//! | broker | for |
//! | --- | --- |
//! | [`MemoryBroker`] | tests, and the model that the others are compared with |
//! | `SqliteBroker` | one file, several processes of one machine, no server (feature `sqlite`) |
//! | `RedisBroker` | a Redis server, many machines, and python-rq's programs beside ours (feature `redis`) |
//!
//! One suite holds them all: `tests/brokers.rs`.
//!
//! # Who may call
//!
//! Threads and greenlets: a step waits with ropewalk's own waits, so a greenlet that waits lets others run. Only
//! [`wait`](Broker::wait) blocks the thread itself; it is for threads of their own.

mod clock;
mod error;
mod memory;
#[macro_use]
mod pass_on;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(all(unix, feature = "sqlite"))]
pub mod sqlite;

pub use clock::{Clock, SystemClock, VirtualClock};
pub use error::{BrokerError, ErrorKind};
pub use memory::{Fault, MemoryBroker};
#[cfg(feature = "redis")]
pub use redis::RedisBroker;
#[cfg(all(unix, feature = "sqlite"))]
pub use sqlite::SqliteBroker;

use crate::job::{ExecId, Job, JobId, Lease, NewJob, Outcome, Progress, RESULT_BYTES_MAX, Time, WorkerId, ceil_char};
use crate::state::{Settled, State};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How many jobs one tick moves of each kind, at most; it says so if there are more.
pub const TICK_JOBS_MAX: usize = 1_000;
/// How many jobs one enqueue or one settle takes, at most.
pub const BATCH_JOBS_MAX: usize = 10_000;

/// What became of a job that was enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    Accepted(JobId),
    /// It was there already (the same id), or this one has its unique key; nothing was added.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that is in the queue now.
    pub fn id(&self) -> &JobId {
        match self {
            Self::Accepted(id) | Self::Duplicate(id) => id,
        }
    }
}

/// Which jobs a worker wants.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who.
    pub worker: WorkerId,
    /// From these queues, the first that has some first.
    pub queues: Vec<String>,
    /// So many.
    pub max: usize,
    /// How long the leases hold without a heartbeat.
    pub lease: Duration,
    /// Only jobs of these tasks; the others stay in their places. Without a set: all.
    pub tasks: Option<Arc<HashSet<String>>>,
}

impl Claim {
    /// Whether a job of this task is wanted.
    pub fn wants(&self, task: &str) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(task))
    }
}

/// A sign of life of a worker and of its executions.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Who.
    pub worker: WorkerId,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How many jobs it runs at once.
    pub concurrency: usize,
    /// What it runs.
    pub running: Vec<Running>,
    /// How long the leases, and the worker's own entry, hold from now on.
    pub lease: Duration,
    /// It is the last: the worker ends.
    pub leaving: bool,
}

/// One execution in a heartbeat.
#[derive(Clone, Debug)]
pub struct Running {
    /// The job.
    pub id: JobId,
    /// The execution.
    pub exec: ExecId,
    /// How far it has come, if that is news.
    pub progress: Option<Progress>,
}

/// What a heartbeat says about one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It goes on, with a fresh lease.
    Held,
    /// It goes on, and somebody asked it to stop.
    Stop,
    /// It has lost its lease: its outcome will not count.
    Lost,
}

/// What a tick did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Jobs whose time had come.
    pub due: usize,
    /// Jobs whose lease had run out, and which run again.
    pub recovered: usize,
    /// Jobs that are poison, or were to be stopped, when their lease ran out.
    pub ended: usize,
    /// Jobs that were kept long enough.
    pub forgotten: usize,
    /// There is more to do at once.
    pub more: bool,
    /// When the next job is due.
    pub next_due: Option<Time>,
}

/// What people do to jobs and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A job that has not begun never will.
    Cancel(JobId),
    /// A job that runs is asked to stop.
    Stop(JobId),
    /// Whichever of the two fits.
    End(JobId),
    /// A job that failed, was stopped or cancelled is ready again, with all its tries.
    Requeue(JobId),
    /// A job that does not run is forgotten.
    Delete(JobId),
    /// All jobs of a queue that have not begun are cancelled.
    Empty(String),
    /// No worker takes jobs of this queue; of none at all without a name.
    Suspend(Option<String>),
    /// They do again.
    Resume(Option<String>),
}

/// Which jobs to list, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this queue.
    pub queue: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// So many at most.
    pub limit: usize,
}

/// How many jobs a queue has in each state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// Its name.
    pub queue: String,
    /// By state, in the order of [`State::ALL`]; serialized by their names.
    #[serde(serialize_with = "by_name")]
    pub jobs: [u64; State::ALL.len()],
    /// No worker takes its jobs.
    pub suspended: bool,
}

fn by_name<S: serde::Serializer>(jobs: &[u64; State::ALL.len()], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(State::ALL.map(State::word).into_iter().zip(jobs))
}

impl QueueCounts {
    /// How many are in `state`.
    pub fn of(&self, state: State) -> u64 {
        self.jobs[state as usize]
    }
}

/// A worker that is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Who.
    pub id: WorkerId,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How many jobs it runs at once.
    pub concurrency: usize,
    /// How many it ran at its last sign of life.
    pub running: usize,
    /// When that was.
    pub seen: Time,
}

/// What an execution says of itself, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The job.
    pub id: JobId,
    /// The execution.
    pub exec: ExecId,
    /// Whole lines.
    pub text: String,
}

/// How much is kept of what a job says of itself, in bytes: the end of it.
pub const LOG_BYTES_MAX: usize = 64 << 10;

/// A slot of a schedule that is to be passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The name of the schedule.
    pub schedule: String,
    /// The last one that was passed, as far as is known; none if there was none.
    pub after: Option<Time>,
    /// This one.
    pub at: Time,
    /// What is enqueued for it.
    pub jobs: Vec<NewJob>,
}

/// What became of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It was passed by this step.
    Here(Vec<Enqueued>),
    /// Another one was the last before this step; none if there was none.
    Elsewhere(Option<Time>),
}

/// Adds `text` to what was kept and cuts off what is too much, at the end of a line.
pub(crate) fn add_to_log(kept: &mut String, text: &str) {
    kept.push_str(text);
    if kept.len() > LOG_BYTES_MAX {
        let from = ceil_char(kept, kept.len() - LOG_BYTES_MAX);
        let from = kept[from..].find('\n').map_or(from, |end| from + end + 1);
        kept.drain(..from);
    }
}

/// What a worker is told from outside, where the jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To end, as by a signal; said again, at once.
    End,
    /// To break off what it runs, which has failed then.
    Kill,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// There may be work: a job became ready, or one that is due later was added.
    Work,
    /// Jobs may have ended.
    Ended,
    /// Somebody asked a job to stop.
    Stop,
}

/// The answer to a settle, which may still be on its way. Dropped, it is not heard, and the settle happens all the same.
#[must_use = "what was not recorded has to be said again"]
pub struct Settling(Answer);

enum Answer {
    Said(Result<Vec<Settled>, BrokerError>),
    Awaited(Box<dyn FnOnce() -> Result<Vec<Settled>, BrokerError> + Send>),
}

impl Settling {
    /// This is the answer.
    pub fn said(answer: Result<Vec<Settled>, BrokerError>) -> Self {
        Self(Answer::Said(answer))
    }

    /// The answer is what this returns, once it does.
    pub fn awaited(answer: impl FnOnce() -> Result<Vec<Settled>, BrokerError> + Send + 'static) -> Self {
        Self(Answer::Awaited(Box::new(answer)))
    }

    /// Whether nobody has to wait for the answer.
    pub fn is_said(&self) -> bool {
        matches!(self.0, Answer::Said(_))
    }

    /// Waits for the answer, which [`answer`](Self::answer) gives.
    pub fn wait(self) -> Self {
        Self::said(self.answer())
    }

    /// The answer, as [`Broker::settle`] gives it.
    ///
    /// # Errors
    ///
    /// Those of [`Broker::settle`].
    pub fn answer(self) -> Result<Vec<Settled>, BrokerError> {
        match self.0 {
            Answer::Said(answer) => answer,
            Answer::Awaited(wait) => wait(),
        }
    }
}

impl fmt::Debug for Settling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_said() { "Settling(said)" } else { "Settling(awaited)" })
    }
}

/// A place where jobs are kept.
///
/// *Before* and *after* of a step speak of all jobs that it names; see [`crate::state`] for the moves.
pub trait Broker: Send + Sync {
    /// The time of day, by the broker.
    fn now(&self) -> Time;

    /// Whether others beside our workers take jobs from here, so that one whose task a worker does not know is not its
    /// business: then workers claim only what they know ([`Claim::tasks`]).
    fn leaves_unknown(&self) -> bool {
        false
    }

    /// Takes a batch of jobs.
    ///
    /// - Before: every job passes [`NewJob::check`], and every job that one of them needs is known or comes earlier in the batch.
    /// - After: all of them are in the queue and survive the end of any process, or none is. A job whose id is known, or
    ///   whose unique key is taken, is [`Duplicate`](Enqueued::Duplicate) and changed nothing. One that needs nothing is
    ///   ready, or scheduled if its time has not come; one whose need is broken already is cancelled.
    ///
    /// # Errors
    ///
    /// With nothing accepted, or [uncertain](BrokerError::is_uncertain): say the same again, with the same ids.
    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError>;

    /// Gives ready jobs to a worker; does not wait for any.
    ///
    /// - Before: nothing.
    /// - After: each job returned was ready and is leased to a fresh execution. They come queue by queue, within a queue by
    ///   priority and then in the order in which they became ready. No suspended queue is touched, no limit exceeded, and no
    ///   job touched whose task is not wanted.
    ///
    /// # Errors
    ///
    /// When uncertain, jobs may be leased to nobody: they come back when that lease runs out.
    fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, BrokerError>;

    /// Says that a worker and its executions are alive.
    ///
    /// - Before: nothing.
    /// - After: each execution that still holds its lease holds it for `lease` from now on, and its progress is kept. The
    ///   answers have the order of `running`.
    ///
    /// # Errors
    ///
    /// May be said again at any time.
    fn heartbeat(&self, beat: &Beat) -> Result<Vec<Held>, BrokerError>;

    /// Ends executions.
    ///
    /// - Before: nothing.
    /// - After: for each outcome whose execution held its lease ([`fence`](crate::state::fence)) the job has moved, and with
    ///   it every job that needed it; for the others nothing has changed. The answers have the order of the outcomes.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) as a whole when there are more than [`BATCH_JOBS_MAX`] or the result of one is longer than
    /// [`RESULT_BYTES_MAX`]: nothing has changed, and to say the same again is of no use. After any other error it may be said
    /// again: what was recorded is [`Repeated`](Settled::Repeated) as long as nobody else has taken or requeued the job since,
    /// and [`Lost`](Settled::Lost) after that.
    fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Settled>, BrokerError>;

    /// [`claim`](Self::claim) and [`settle`](Self::settle), in the order that suits the broker: two steps, each as it is alone, and
    /// each with its own answer.
    ///
    /// One whose settles take their time, for a disk or for its books, claims first, and answers that while the settle is under way: so
    /// what was claimed runs meanwhile, and a claim sees nothing that the settle sets free. One that has nothing to gain by it settles
    /// first; the claim gives nothing then if the settle has failed.
    ///
    /// The next step of the same caller may come before the answer to the settle is asked for, another one of these too: it must not need
    /// that answer, nor anything that the [`Settling`] holds.
    fn claim_and_settle(&self, claim: &Claim, outcomes: &[Outcome]) -> (Result<Vec<Lease>, BrokerError>, Settling) {
        // Nothing lies between a claim and its answer, so that no lease gets old before its job runs.
        let settled = self.settle(outcomes);
        let leases = if settled.is_ok() { self.claim(claim) } else { Ok(Vec::new()) };
        (leases, Settling::said(settled))
    }

    /// Adds to what executions say of themselves.
    ///
    /// - Before: nothing.
    /// - After: of each execution that holds its lease, the text is at the end of what is kept for its job, of which the last
    ///   [`LOG_BYTES_MAX`] bytes are; what the others say is dropped.
    ///
    /// # Errors
    ///
    /// Nothing depends on it: what was not kept is lost. A broker that keeps none drops everything, and that is no error.
    fn log(&self, _said: &[Said]) -> Result<(), BrokerError> {
        Ok(())
    }

    /// What the executions of a job have said of themselves, oldest first; nothing if it is forgotten, said nothing, or this broker
    /// keeps none.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn logs(&self, _id: &JobId) -> Result<Option<String>, BrokerError> {
        Ok(None)
    }

    /// Passes a slot of a schedule: takes the jobs of it, once, whoever says so first.
    ///
    /// - Before: the jobs are as for [`enqueue`](Self::enqueue).
    /// - After: if the last slot that was passed of this schedule is [`Slot::after`], it is [`Slot::at`] from now on and the jobs
    ///   are in the queue ([`Passed::Here`]). If it is another one, nothing has changed ([`Passed::Elsewhere`]).
    ///
    /// # Errors
    ///
    /// May be said again: whoever was the first then is told that the slot was passed. [`Refused`](ErrorKind::Refused) by a broker
    /// that keeps no schedules.
    fn pass_slot(&self, slot: &Slot) -> Result<Passed, BrokerError> {
        Err(BrokerError::new(
            ErrorKind::Refused,
            format!("this broker keeps no schedules, so `{}` cannot be run by it", slot.schedule),
        ))
    }

    /// What this worker was told since the last call: by python-rq's programs, in a broker where they can. News of it is news of
    /// [`Topic::Stop`].
    fn commands(&self, _worker: &WorkerId) -> Vec<Command> {
        Vec::new()
    }

    /// Lets time pass: what is due, what has lost its lease, what was kept long enough.
    ///
    /// - Before: nothing. Anybody may, at any time.
    /// - After: up to [`TICK_JOBS_MAX`] jobs of each kind have moved; nothing moved before its time. Who held a lease that
    ///   ran out is told [`Lost`](Held::Lost) from now on.
    ///
    /// # Errors
    ///
    /// May be said again.
    fn tick(&self) -> Result<Ticked, BrokerError>;

    /// Does what a person asks for, and says how many jobs that moved.
    ///
    /// - Before: the job is there and in a state in which this can be done.
    /// - After: it is done; for `Stop`, the next heartbeat of the execution says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] says why it cannot be done.
    fn control(&self, control: &Control) -> Result<usize, BrokerError>;

    /// Everything about one job.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn job(&self, id: &JobId) -> Result<Option<Job>, BrokerError>;

    /// The jobs that match, the newest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, BrokerError>;

    /// All queues that have jobs or are suspended, by name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError>;

    /// The workers that have given a sign of life lately.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn workers(&self) -> Result<Vec<WorkerInfo>, BrokerError>;

    /// Jobs that ended after `mark`, in that order, and the mark to go on from. Without a mark: none, and the mark of now.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn ended_since(&self, mark: Option<u64>) -> Result<(u64, Vec<JobId>), BrokerError>;

    /// A number that changes with every news about `topic`.
    fn news(&self, topic: Topic) -> u64;

    /// Blocks this thread until the number is not `seen` any more, at most for `timeout`; may return early.
    fn wait(&self, topic: Topic, seen: u64, timeout: Duration);

    /// Makes every [`wait`](Self::wait) of this process on `topic` return: somebody wants to end.
    fn ring(&self, topic: Topic);
}

/// What is shared is a broker too.
impl<B: Broker + ?Sized> Broker for Arc<B> {
    __pass_on!(|this| **this; all);
}

/// Whether a batch of this size can be one step.
pub(crate) fn check_batch(jobs: usize) -> Result<(), BrokerError> {
    if jobs > BATCH_JOBS_MAX {
        return Err(BrokerError::new(
            ErrorKind::Refused,
            format!("{jobs} jobs in one batch, and {BATCH_JOBS_MAX} is the limit: send several batches"),
        ));
    }
    Ok(())
}

/// Whether each of them can be kept, before anybody looks at what they need of each other.
pub(crate) fn check_jobs(jobs: &[NewJob]) -> Result<(), BrokerError> {
    check_batch(jobs.len())?;
    jobs.iter().try_for_each(NewJob::check).map_err(BrokerError::from)
}

/// The same, where nobody knows what only python-rq has a rule for.
pub(crate) fn check_without_rq(jobs: &[NewJob]) -> Result<(), BrokerError> {
    check_jobs(jobs)?;
    match jobs.iter().find(|job| job.options.rq != crate::job::RqOptions::default()) {
        Some(job) => Err(BrokerError::new(
            ErrorKind::Refused,
            format!(
                "job {} has a repeat, a rate limit or a group of python-rq's: enqueue it to a broker on Redis",
                job.id
            ),
        )),
        None => Ok(()),
    }
}

/// Whether these outcomes can be kept.
pub(crate) fn check_outcomes(outcomes: &[Outcome]) -> Result<(), BrokerError> {
    check_batch(outcomes.len())?;
    for outcome in outcomes {
        if let crate::job::End::Done(result) = &outcome.end
            && result.len() > RESULT_BYTES_MAX
        {
            return Err(BrokerError::new(
                ErrorKind::Refused,
                format!(
                    "the result of job {} is {} bytes long, and {RESULT_BYTES_MAX} is the limit",
                    outcome.id,
                    result.len()
                ),
            ));
        }
    }
    Ok(())
}
