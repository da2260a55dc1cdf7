//! The broker for many machines: a Redis server, in the form in which python-rq keeps its jobs there.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `wire` | the one thread of a process that speaks to Redis, and its pipeline |
//! | `watch` | the one that listens: how a worker is woken |
//! | `script`, `*.lua` | the steps of the trait: each is one script, which Redis runs as a whole |
//! | `row` | rq's hash of a job, with fields of ours, as a job |
//! | `look` | what is read without a step: jobs, queues, workers |
//! | `owed` | callbacks and webhooks that Python named: small jobs of Python's |
//! | `opening` | addresses, and what is said before the first word |
//! | `error` | what Redis says, in words |
//!
//! # What holds
//!
//! A step has happened as a whole or not at all, as long as the server keeps its word: with `appendfsync always` a step that was
//! answered survives the end of the server, with `everysec` all but the last second does, and a failover to a replica loses what
//! that had not been told. Times are those of the server, so machines whose clocks differ agree on what is due; a lease runs by
//! the same clock, so whoever sets the server's clock ahead ends leases early. Results count once all the same.
//!
//! # What rq knows of it
//!
//! Everything: its queues, registries, executions, results and workers are kept as rq 2 and 3 keep them, so `rq info`, dashboards
//! and Python's own workers see and run these jobs. What rq has no word for stands beside it, in fields and keys that
//! begin with `rw`:
//!
//! | ours | to rq |
//! | --- | --- |
//! | a number as priority | the place in the list: a Python worker takes them in the right order too. What Python pushes comes behind all, also behind those below 0 |
//! | a lease of any length | 90 s or more in `wip`: rq's maintenance never is faster than ours |
//! | a limit ([`Limit`](crate::job::Limit)) | nothing: a Python worker takes such a job when it comes to it |
//! | a need of another kind than `done` | the job is `deferred`, and only our workers see that its time has come |
//! | a suspended queue | nothing: rq suspends all queues or none |
//! | milliseconds | whole seconds, rounded up |
//! | a schedule | the history of what it enqueued, as of one of rq's cron; that it will go on, nothing |
//! | what Python named to be called at an end here | a small job of Python's, on the queue of the job |
//! | a lease of a job of rq's that ends without one sign of life after the claim | back to its queue, at most twice: its worker may never have heard of it. After a sign of life, rq's own rule |
//!
//! Workers take the tasks that they know and leave the others in their places, so Python workers beside them are not disturbed;
//! they look at the first 1,000 jobs of a queue.

mod error;
mod look;
mod opening;
mod owed;
mod row;
mod script;
mod watch;
mod wire;

pub use opening::Opening;
pub(crate) use opening::client;
pub use wire::ANSWER_MAX;

use super::{
    Beat, Broker, BrokerError, Claim, Clock, Command, Control, Enqueued, Filter, Held, LOG_BYTES_MAX, Passed,
    QueueCounts, Said, Settling, Slot, TICK_JOBS_MAX, Ticked, Topic, WorkerInfo,
};
use crate::job::{End, ExecId, Job, JobId, Lease, NewJob, Outcome, Time, WorkerId};
use crate::rq::data::{self, Serializer};
use crate::rq::keys::Keys;
use crate::rq::text;
use crate::state::{Settled, State};
use redis::Value;
use row::{Row, bytes_of, exec_of, items_of, millis, number_of, text_of};
use script::Step;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use watch::{Board, Heard};
use wire::{Asked, Request, Wire};

/// How far the clocks of this machine and of the server may differ before that is worth a word.
pub const SKEW_MAX: Duration = Duration::from_secs(5);
/// The name under which all schedulers of ropewalk hold rq's lock together.
const SCHEDULER: &str = "ropewalk";
/// How often somebody does what rq calls maintenance, over all processes.
const MAINTAIN_EVERY: Duration = Duration::from_secs(30);
/// How often a claim asks again about jobs whose function it had to read first.
const ROUNDS_MAX: usize = 17;
/// How many executions are kept in mind until they are settled.
const GIVEN_MAX: usize = 100_000;
/// The fields that a claim answers, in the order of its script.
const CLAIMED: [&str; 15] = [
    "status",
    "data",
    "rw_task",
    "rw_options",
    "rw_failures",
    "rw_crashes",
    "timeout",
    "rw_limit",
    "rw_at_once",
    "rw_progress",
    "rw_priority",
    "rw_seq",
    "meta",
    "rw_stop",
    "created_at",
];

/// A job of which only its data tell the function.
struct Undecided {
    id: Vec<u8>,
    data: Vec<u8>,
    made: Vec<u8>,
}

/// A queue in Redis. Clones are the same one.
///
/// # Examples
///
/// ```no_run
/// use ropewalk_jobs::{Broker, NewJob, RedisBroker};
///
/// let broker = RedisBroker::open("redis://127.0.0.1/")?;
/// broker.enqueue(&[NewJob::new("app.tasks.thumb", "[7]")])?; // a Python worker can run it as well
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisBroker {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    server: String,
    client: redis::Client,
    wire: Wire,
    board: Arc<Board>,
    serializer: Serializer,
    clock: Option<Box<dyn Clock>>,
    /// When this process looks whether it is time for maintenance, by `begun`.
    maintain_at: AtomicU64,
    /// The server's time of day, less the time since `begun`, in milliseconds.
    offset: AtomicI64,
    begun: Instant,
    /// What was claimed here and is not settled: what its answer has to look like. (What is not here is looked up.)
    given: Mutex<HashMap<ExecId, (Serializer, String)>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.board.close();
    }
}

impl RedisBroker {
    /// The queues in this Redis: `redis://127.0.0.1:6379/0`, `rediss://` for TLS, `redis+unix:///path`. User and password may stand
    /// in the address, as rq has it, and so may `?ssl_ca_certs=FILE` for an authority of one's own, and `ssl_certfile` and
    /// `ssl_keyfile` for a certificate of ours.
    ///
    /// # Errors
    ///
    /// When the address is none, the server cannot be reached, or it does not let us in.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        Self::at(url).open()
    }

    /// The same, with more to say before it is opened.
    pub fn at(url: impl Into<String>) -> Opening {
        Opening::new(url.into())
    }

    /// The names of the keys.
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// How far this machine's clock is from the server's. Nothing here depends on it; other programs may.
    pub fn skew(&self) -> Duration {
        let here = Time::from(SystemTime::now());
        let there = self.server_time();
        here.since(there).max(there.since(here))
    }

    /// How many writes and requests went to the server, for figures.
    pub fn traffic(&self) -> (u64, u64) {
        let counters = &self.inner.wire.counters;
        (counters.round_trips.load(Ordering::Relaxed), counters.requests.load(Ordering::Relaxed))
    }

    fn look_at_the_clock(&self) -> Result<(), BrokerError> {
        let asked = Instant::now();
        let answers = self.inner.wire.ask(Request::look(&[redis::cmd("TIME")]))?;
        let time = items_of(answers.into_iter().next().unwrap_or_default());
        let part = |at: usize| time.get(at).and_then(number_of).unwrap_or(0);
        self.set_time(part(0) * 1_000 + part(1) / 1_000, asked);
        Ok(())
    }

    /// The server has said what time it is, at some moment between the question and now. What is known and may be true stays: an
    /// answer that was long on its way says little. Otherwise the latest that it can be, so that nothing is due early.
    fn set_time(&self, millis: i64, asked: Instant) {
        let offset_at = |said: Instant| {
            let since = said.saturating_duration_since(self.inner.begun);
            millis.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        };
        let (earliest, latest) = (offset_at(Instant::now()), offset_at(asked).saturating_add(1));
        if !(earliest..=latest).contains(&self.inner.offset.load(Ordering::Relaxed)) {
            self.inner.offset.store(latest, Ordering::Relaxed);
        }
    }

    fn server_time(&self) -> Time {
        let since = i64::try_from(self.inner.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Time::of_millis(self.inner.offset.load(Ordering::Relaxed).saturating_add(since).max(0).unsigned_abs())
    }

    /// The clock of leases, as the scripts see it.
    fn steady(&self) -> u64 {
        match &self.inner.clock {
            Some(clock) => u64::try_from(clock.steady().as_millis()).unwrap_or(u64::MAX),
            None => self.server_time().millis(),
        }
    }

    /// A step's script with what every script takes.
    fn command(&self, step: Step) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        let prefix = self.inner.keys.prefix();
        command.arg(&step.script().sha).arg(1).arg(format!("{prefix}:rw:seq")).arg(prefix);
        match &self.inner.clock {
            Some(clock) => {
                let steady = u64::try_from(clock.steady().as_millis()).unwrap_or(u64::MAX);
                command.arg(clock.wall().millis()).arg(steady);
            }
            None => {
                command.arg("").arg("");
            }
        }
        command
    }

    #[track_caller]
    fn step(&self, step: Step, command: &redis::Cmd, again: bool) -> Result<Vec<Value>, BrokerError> {
        self.answer_to(self.send(step, command, again))
    }

    fn send(&self, step: Step, command: &redis::Cmd, again: bool) -> Asked {
        self.inner.wire.send(Request::step(step, command, again))
    }

    #[track_caller]
    fn answer_to(&self, asked: Asked) -> Result<Vec<Value>, BrokerError> {
        let answers = self.inner.wire.answers_to(asked)?;
        Ok(items_of(answers.into_iter().next().unwrap_or_default()))
    }

    fn strange(&self, what: &str) -> BrokerError {
        error::strange(&self.inner.server, what)
    }

    fn given(&self) -> MutexGuard<'_, HashMap<ExecId, (Serializer, String)>> {
        self.inner.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for jobs, with what was read of others meanwhile.
    fn ask_for(&self, claim: &Claim, max: usize, read: &[Undecided]) -> Asked {
        let mut command = self.command(Step::Claim);
        let beginning = format!("{:024x}", fastrand::u128(..) >> 32);
        command.arg(claim.worker.as_str()).arg(max).arg(millis(claim.lease)).arg(beginning);
        match &claim.tasks {
            Some(tasks) => {
                command.arg(tasks.len());
                for task in tasks.iter() {
                    command.arg(task);
                }
            }
            None => {
                command.arg(-1);
            }
        }
        command.arg(read.len());
        for job in read {
            // What cannot be read is left to those who wrote it.
            let function = data::read(&job.data).map_or_else(|_| String::new(), |data| data.function);
            command.arg(&job.id).arg(&job.made).arg(function);
        }
        command.arg(claim.queues.len());
        for queue in &claim.queues {
            command.arg(queue);
        }
        self.send(Step::Claim, &command, false)
    }

    /// One round of a claim: what was taken, and which jobs it could not tell the task of.
    fn claimed(&self, asked: Asked) -> Result<(Vec<Lease>, Vec<Undecided>), BrokerError> {
        let mut answer = self.answer_to(asked)?.into_iter().map(items_of);
        let (Some(taken), Some(undecided)) = (answer.next(), answer.next()) else { return Err(self.strange("claim")) };
        let mut leases = Vec::with_capacity(taken.len());
        for job in taken {
            let job = items_of(job);
            let part = |at: usize| job.get(at).and_then(text_of).ok_or_else(|| self.strange("claim"));
            let exec = exec_of(&part(1)?).ok_or_else(|| self.strange("execution"))?;
            // The script takes no others.
            let Ok(id) = part(0)?.parse() else { continue };
            let (lease, serializer) = Row::of_some(&CLAIMED, &job[3..]).lease(id, exec, part(2)?);
            let mut given = self.given();
            if given.len() < GIVEN_MAX {
                given.insert(exec, (serializer, lease.task.clone()));
            }
            leases.push(lease);
        }
        let undecided = undecided.into_iter().filter_map(|job| {
            let job = items_of(job);
            let part = |at: usize| Some(bytes_of(job.get(at)?)?.to_vec());
            Some(Undecided { id: part(0)?, data: part(1)?, made: part(2)? })
        });
        Ok((leases, undecided.collect()))
    }

    /// What a claim is given: by its first round, and by those that follow when it is known what was found.
    fn leases_of(&self, claim: &Claim, first: Asked) -> Result<Vec<Lease>, BrokerError> {
        let (mut leases, mut undecided) = self.claimed(first)?;
        for _ in 1..ROUNDS_MAX {
            if undecided.is_empty() || leases.len() >= claim.max {
                break;
            }
            let (taken, next) = match self.claimed(self.ask_for(claim, claim.max - leases.len(), &undecided)) {
                Ok(round) => round,
                // What was taken in the rounds before has begun.
                Err(_) if !leases.is_empty() => break,
                Err(error) => return Err(error),
            };
            leases.extend(taken);
            undecided = next;
        }
        Ok(leases)
    }

    /// What the results of these executions have to look like: remembered, or looked up.
    fn forms_of(&self, outcomes: &[Outcome]) -> Result<Vec<(Serializer, String)>, BrokerError> {
        let mut forms: Vec<Option<(Serializer, String)>> = {
            let given = self.given();
            outcomes.iter().map(|outcome| given.get(&outcome.exec).cloned()).collect()
        };
        let unknown: Vec<usize> = (0..forms.len()).filter(|at| forms[*at].is_none()).collect();
        if !unknown.is_empty() {
            let commands: Vec<redis::Cmd> = unknown
                .iter()
                .map(|at| {
                    let mut command = redis::cmd("HMGET");
                    command.arg(self.inner.keys.job(&outcomes[*at].id)).arg("data").arg("rw_task");
                    command
                })
                .collect();
            for (at, answer) in unknown.into_iter().zip(self.inner.wire.ask(Request::look(&commands))?) {
                let call = Row::of_some(&["data", "rw_task"], &items_of(answer)).call();
                forms[at] = Some((call.serializer, call.function));
            }
        }
        Ok(forms.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn settle_command(&self, outcomes: &[Outcome]) -> Result<redis::Cmd, BrokerError> {
        let forms = self.forms_of(outcomes)?;
        let mut command = self.command(Step::Settle);
        command.arg(outcomes.len());
        for (outcome, (serializer, task)) in outcomes.iter().zip(&forms) {
            let (how, after, failure, text) = match &outcome.end {
                End::Done(result) => {
                    // What is no JSON is kept as the text that it is.
                    let value = data::return_value(*serializer, result).or_else(|_| {
                        data::return_value(*serializer, &serde_json::Value::String(result.clone()).to_string())
                    })?;
                    ("done", 0, None, value.unwrap_or_default())
                }
                End::Failed(failure) => ("failed", 0, Some(failure), text::exc_string(&text::traceback(task, failure))),
                End::Retry { after, failure } => ("retry", millis(*after), Some(failure), String::new()),
                End::Snooze { after, failure } => ("snooze", millis(*after), Some(failure), String::new()),
                End::Release => ("release", 0, None, String::new()),
                End::Stopped => ("stopped", 0, None, String::new()),
            };
            let failure =
                failure.map_or_else(String::new, |failure| serde_json::to_string(failure).expect("plain data"));
            command.arg(outcome.id.as_str()).arg(outcome.exec.to_string()).arg(how).arg(after).arg(failure).arg(text);
        }
        Ok(command)
    }

    #[track_caller]
    fn settled(&self, outcomes: &[Outcome], asked: Asked) -> Result<Vec<Settled>, BrokerError> {
        let mut answers = self.answer_to(asked)?;
        let owed = answers.pop().as_ref().and_then(number_of).unwrap_or(0);
        let mut given = self.given();
        for outcome in outcomes {
            given.remove(&outcome.exec);
        }
        drop(given);
        if answers.len() != outcomes.len() {
            return Err(self.strange("settle"));
        }
        if owed > 0 {
            // What cannot be done now is done with a tick, by whichever worker.
            let _ = self.pay();
        }
        answers
            .iter()
            .map(|answer| match text_of(answer).as_deref() {
                Some("recorded") => Ok(Settled::Recorded),
                Some("repeated") => Ok(Settled::Repeated),
                Some("lost") => Ok(Settled::Lost),
                _ => Err(self.strange("settle")),
            })
            .collect()
    }

    /// Takes a batch of jobs, with the slot of a schedule or without.
    fn take_in(&self, jobs: &[NewJob], slot: Option<&Slot>) -> Result<Passed, BrokerError> {
        super::check_jobs(jobs)?;
        let mut command = self.command(Step::Enqueue);
        match slot {
            Some(slot) => {
                let after = slot.after.map_or_else(String::new, |after| after.millis().to_string());
                command.arg(&slot.schedule).arg(after).arg(slot.at.millis());
            }
            None => {
                command.arg("").arg("").arg("");
            }
        }
        command.arg(jobs.len());
        for job in jobs {
            let unique = job.unique.as_ref();
            command.arg(job.id.as_str()).arg(&job.queue).arg(job.priority);
            command.arg(job.due.map_or_else(String::new, |due| due.millis().to_string()));
            command.arg(unique.map_or("", |unique| &unique.key));
            command
                .arg(unique.and_then(|unique| unique.window_ms).map_or_else(String::new, |window| window.to_string()));
            command.arg(job.needs.len());
            for need in &job.needs {
                command.arg(need.id.as_str()).arg(need.when as u8);
            }
            let fields = row::fields(job, self.inner.serializer)?;
            command.arg(fields.len() * 2);
            for (name, value) in &fields {
                command.arg(*name).arg(&value[..]);
            }
        }
        let mut answer = self.step(Step::Enqueue, &command, false)?.into_iter();
        match answer.next().as_ref().and_then(text_of).as_deref() {
            Some("ok") => {
                let answers = items_of(answer.next().unwrap_or_default());
                if answers.len() != jobs.len() {
                    return Err(self.strange("enqueue"));
                }
                jobs.iter()
                    .zip(&answers)
                    .map(|(job, answer)| match text_of(answer).filter(|id| !id.is_empty()) {
                        None => Ok(Enqueued::Accepted(job.id.clone())),
                        Some(id) => Ok(Enqueued::Duplicate(row::id_of(&id)?)),
                    })
                    .collect::<Result<_, _>>()
                    .map(Passed::Here)
            }
            Some("elsewhere") => {
                let last = answer.next().as_ref().and_then(text_of).and_then(|last| last.parse().ok());
                Ok(Passed::Elsewhere(last.map(Time::of_millis)))
            }
            Some("need") => {
                let ids: Vec<String> = answer.filter_map(|id| text_of(&id)).collect();
                match &ids[..] {
                    [id, need] => Err(BrokerError::unknown_need(&row::id_of(id)?, &row::id_of(need)?)),
                    _ => Err(self.strange("enqueue")),
                }
            }
            _ => Err(self.strange("enqueue")),
        }
    }

    /// What rq's workers do for each other, if it is time.
    fn maintain(&self) -> Result<(), BrokerError> {
        let now = self.inner.begun.elapsed().as_secs();
        if self.inner.clock.is_some() || now < self.inner.maintain_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.maintain_at.store(now + MAINTAIN_EVERY.as_secs(), Ordering::Relaxed);
        let mut command = self.command(Step::Maintain);
        command.arg(TICK_JOBS_MAX).arg(MAINTAIN_EVERY.as_secs());
        self.step(Step::Maintain, &command, true).map(|_| ())
    }

    /// Commands that came by rq's channel.
    fn obey(&self) -> Result<(), BrokerError> {
        let mut heard = self.inner.board.take_heard().into_iter();
        while let Some(Heard::StopJob(id)) = heard.next() {
            let mut command = self.command(Step::Control);
            command.arg("heard").arg(&id);
            if let Err(error) = self.step(Step::Control, &command, true) {
                // Said again with the next beat; but what Redis refuses, it would refuse again.
                let again = error.is_passing().then_some(Heard::StopJob(id));
                self.inner.board.put_heard_back(again.into_iter().chain(heard));
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Broker for RedisBroker {
    fn now(&self) -> Time {
        match &self.inner.clock {
            Some(clock) => clock.wall(),
            None => self.server_time(),
        }
    }

    fn leaves_unknown(&self) -> bool {
        true
    }

    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        match self.take_in(jobs, None)? {
            Passed::Here(enqueued) => Ok(enqueued),
            Passed::Elsewhere(_) => Err(self.strange("enqueue")),
        }
    }

    fn pass_slot(&self, slot: &Slot) -> Result<Passed, BrokerError> {
        self.take_in(&slot.jobs, Some(slot))
    }

    fn log(&self, said: &[Said]) -> Result<(), BrokerError> {
        let mut command = self.command(Step::Log);
        command.arg(LOG_BYTES_MAX).arg(said.len());
        for said in said {
            command.arg(said.id.as_str()).arg(said.exec.to_string()).arg(&said.text);
        }
        self.step(Step::Log, &command, false).map(drop)
    }

    fn logs(&self, id: &JobId) -> Result<Option<String>, BrokerError> {
        let mut command = redis::cmd("GET");
        command.arg(format!("{}:rw:log:{id}", self.inner.keys.prefix()));
        let answers = self.inner.wire.ask(Request::look(&[command]))?;
        Ok(answers.first().and_then(text_of))
    }

    fn commands(&self, worker: &WorkerId) -> Vec<Command> {
        self.inner.board.take_commands(worker.as_str())
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, BrokerError> {
        if claim.max == 0 {
            return Ok(Vec::new());
        }
        self.leases_of(claim, self.ask_for(claim, claim.max, &[]))
    }

    // The claim is answered before the server goes through its books. Both are here when it has done what was sent before, so that it
    // waits for no more than one write of ours. (The further rounds of a claim, in which we read what others wrote, come behind the settle.)
    fn claim_and_settle(&self, claim: &Claim, outcomes: &[Outcome]) -> (Result<Vec<Lease>, BrokerError>, Settling) {
        // Before the claim: it may have to ask the server, and leases get old meanwhile.
        let settle = match super::check_outcomes(outcomes).and_then(|()| self.settle_command(outcomes)) {
            Ok(settle) => settle,
            Err(error) => return (self.claim(claim), Settling::said(Err(error))),
        };
        let claimed = self.ask_for(claim, claim.max, &[]);
        let asked = self.inner.wire.send(Request::step(Step::Settle, &settle, true).apart());
        let leases = self.leases_of(claim, claimed);
        let (this, outcomes) = (self.clone(), outcomes.to_vec());
        (leases, Settling::awaited(move || this.settled(&outcomes, asked)))
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Vec<Held>, BrokerError> {
        if beat.leaving {
            self.inner.board.serves_no_more(beat.worker.as_str());
        } else {
            self.inner.board.serves(beat.worker.as_str());
        }
        self.obey()?;
        let info = WorkerInfo {
            id: beat.worker.clone(),
            queues: beat.queues.clone(),
            concurrency: beat.concurrency,
            running: beat.running.len(),
            seen: self.now(),
        };
        let mut command = self.command(Step::Heartbeat);
        command.arg(beat.worker.as_str()).arg(millis(beat.lease)).arg(u8::from(beat.leaving));
        command
            .arg(beat.queues.join(","))
            .arg(std::process::id())
            .arg(host())
            .arg(concat!("ropewalk ", env!("CARGO_PKG_VERSION")));
        command.arg(serde_json::to_string(&info).expect("plain data"));
        command.arg(beat.running.len());
        for running in &beat.running {
            let progress = running.progress.as_ref().map_or_else(String::new, |progress| {
                serde_json::to_string(progress).expect("a number that is none is written as null")
            });
            command.arg(running.id.as_str()).arg(running.exec.to_string()).arg(progress);
        }
        let asked = Instant::now();
        let mut answers = self.step(Step::Heartbeat, &command, true)?;
        if self.inner.clock.is_none()
            && let Some(now) = answers.last().and_then(number_of)
        {
            self.set_time(now, asked);
        }
        answers.truncate(beat.running.len());
        let held = answers.iter().map(|answer| match text_of(answer).as_deref() {
            Some("held") => Ok(Held::Held),
            Some("stop") => Ok(Held::Stop),
            Some("lost") => Ok(Held::Lost),
            _ => Err(self.strange("heartbeat")),
        });
        let held: Vec<Held> = held.collect::<Result<_, _>>()?;
        // They are not settled any more.
        let mut given = self.given();
        for (running, _) in beat.running.iter().zip(&held).filter(|(_, held)| **held == Held::Lost) {
            given.remove(&running.exec);
        }
        drop(given);
        Ok(held)
    }

    fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Settled>, BrokerError> {
        super::check_outcomes(outcomes)?;
        if outcomes.is_empty() {
            return Ok(Vec::new());
        }
        let command = self.settle_command(outcomes)?;
        self.settled(outcomes, self.send(Step::Settle, &command, true))
    }

    fn tick(&self) -> Result<Ticked, BrokerError> {
        let mut command = self.command(Step::Tick);
        command.arg(TICK_JOBS_MAX).arg(SCHEDULER);
        let asked = Instant::now();
        let answers = self.step(Step::Tick, &command, true)?;
        let [due, recovered, ended, forgotten, more, next_due, now, owed] = &answers[..] else {
            return Err(self.strange("tick"));
        };
        if self.inner.clock.is_none()
            && let Some(now) = number_of(now)
        {
            self.set_time(now, asked);
        }
        self.maintain()?;
        if number_of(owed).is_some_and(|owed| owed > 0) {
            // What cannot be made stays owed, and holds up nothing else that this step has done.
            if let Err(error) = self.pay()
                && error.is_passing()
            {
                return Err(error);
            }
        }
        let count = |value| number_of(value).and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        Ok(Ticked {
            due: count(due),
            recovered: count(recovered),
            ended: count(ended),
            forgotten: count(forgotten),
            more: text_of(more).is_some_and(|more| more == "1"),
            next_due: text_of(next_due).and_then(|due| due.parse().ok()).map(Time::of_millis),
        })
    }

    fn control(&self, control: &Control) -> Result<usize, BrokerError> {
        let (verb, what) = match control {
            Control::Cancel(id) => ("cancel", id.as_str()),
            Control::Stop(id) => ("stop", id.as_str()),
            Control::End(id) => ("end", id.as_str()),
            Control::Requeue(id) => ("requeue", id.as_str()),
            Control::Delete(id) => ("delete", id.as_str()),
            Control::Empty(queue) => ("empty", queue.as_str()),
            Control::Suspend(queue) => ("suspend", queue.as_deref().unwrap_or("")),
            Control::Resume(queue) => ("resume", queue.as_deref().unwrap_or("")),
        };
        let mut command = self.command(Step::Control);
        command.arg(verb).arg(what);
        let answer = self.step(Step::Control, &command, false)?;
        let word = |at: usize| answer.get(at).and_then(text_of).unwrap_or_default();
        match (&word(0)[..], control) {
            ("ok", _) => {
                Ok(answer.get(1).and_then(number_of).and_then(|moved| usize::try_from(moved).ok()).unwrap_or(0))
            }
            ("missing", _) => Err(BrokerError::not_found(&row::id_of(what)?)),
            ("state", _) => {
                let status = Row::of_some(&["status"], &answer[1..]);
                let state = status.state().unwrap_or(State::Ready);
                Err(BrokerError::wrong_state(control, state))
            }
            ("taken", Control::Requeue(id)) => Err(BrokerError::key_is_taken(id, &word(1), &row::id_of(&word(2))?)),
            _ => Err(self.strange("control")),
        }
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, BrokerError> {
        Ok(self.read_jobs(std::slice::from_ref(id))?.pop().flatten())
    }

    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, BrokerError> {
        self.list(filter)
    }

    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        self.count()
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, BrokerError> {
        self.list_workers()
    }

    fn ended_since(&self, mark: Option<u64>) -> Result<(u64, Vec<JobId>), BrokerError> {
        let prefix = self.inner.keys.prefix();
        let Some(mark) = mark else {
            let mut command = redis::cmd("GET");
            command.arg(format!("{prefix}:rw:ends"));
            let answers = self.inner.wire.ask(Request::look(&[command]))?;
            let last = answers.first().and_then(number_of).unwrap_or(0);
            return Ok((last.unsigned_abs(), Vec::new()));
        };
        let heard = self.inner.board.take_ends();
        let mut command = redis::cmd("XRANGE");
        command.arg(format!("{prefix}:rw:ended")).arg(format!("{}-0", mark + 1)).arg("+");
        let answers = match self.inner.wire.ask(Request::look(&[command])) {
            Ok(answers) => answers,
            Err(error) => {
                self.inner.board.put_ends_back(heard);
                return Err(error);
            }
        };
        let (mut last, mut ids) = (mark, Vec::new());
        for entry in answers.into_iter().flat_map(items_of) {
            let entry = items_of(entry);
            let number = entry.first().and_then(text_of);
            last = number.and_then(|id| id.split('-').next()?.parse().ok()).unwrap_or(last);
            let fields = Row::of(entry.into_iter().nth(1).unwrap_or_default());
            ids.extend(fields.text("ids").unwrap_or_default().split(' ').filter_map(|id| id.parse().ok()));
        }
        let elsewhere = self.inner.board.elsewhere(heard, &ids);
        ids.extend(elsewhere);
        Ok((last, ids))
    }

    fn news(&self, topic: Topic) -> u64 {
        self.inner.board.news(topic, &self.inner.client, &self.inner.keys)
    }

    fn wait(&self, topic: Topic, seen: u64, timeout: Duration) {
        self.inner.board.wait(topic, seen, timeout);
    }

    fn ring(&self, topic: Topic) {
        self.inner.board.ring(topic);
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("server", &self.inner.server)
            .field("prefix", &self.inner.keys.prefix())
            .finish_non_exhaustive()
    }
}

/// The name of this machine, for people.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
