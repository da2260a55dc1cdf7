//! A command or a pipeline that is run to its end: its processes, its pipes, and its time limit, as one operation.
//!
//! # States
//!
//! *Running* → (the limit passes, or too much is written) → *Terminating*, asked to end with SIGTERM → (the grace passes) →
//! *Killed*, ended by SIGKILL → over. From *Running* it also comes to its end by itself: every process has ended and every
//! pipe is at its end. Where a time to drain is set, the pipes may lag behind the processes by that and no more: then
//! whatever holds them open, a grandchild as a rule, is not waited for. After a kill nothing is: what is in the pipes is
//! taken, and the processes go to the reaper.
//!
//! So the limit bounds the call, whoever holds a pipe: by the limit, the grace, and the moment that a kill takes.

use super::child::Child;
use super::error::{About, Error, Reason};
use super::exchange::{Exchange, Moved};
use super::{Output, sweep};
use crate::io::descriptor::{Interest, Operation, Step};
use rustix::process::Signal;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a process that was killed may take to end before it is left to the reaper.
const DYING_MAX: Duration = Duration::from_millis(500);
/// A grace that no clock can add up.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a job is run.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) drain: Option<Duration>,
    pub(super) output: usize,
    pub(super) pipefail: bool,
    /// Names the tree where stragglers are swept up.
    pub(super) cookie: Option<String>,
}

pub(super) struct Job {
    children: Vec<Child>,
    exchange: Exchange,
    phase: Phase,
    /// Why it is being ended.
    failure: Option<Reason>,
    started: Instant,
    /// When all processes had ended.
    ended: Option<Instant>,
    limits: Limits,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Terminating { until: Instant },
    Killed { until: Instant },
}

impl Job {
    pub(super) fn new(
        children: Vec<Child>,
        exchange: Exchange,
        limits: Limits,
        about: About,
        started: Instant,
    ) -> Self {
        Self { children, exchange, phase: Phase::Running, failure: None, started, ended: None, limits, about }
    }

    fn signal(&self, signal: Signal) {
        for child in &self.children {
            // It is not there any more, or is somebody else's by now.
            let _ = child.proc().signal(signal);
        }
    }

    fn terminate(&mut self, why: Reason) {
        self.failure = Some(why);
        self.signal(Signal::TERM);
        let now = Instant::now();
        self.phase = Phase::Terminating { until: now.checked_add(self.limits.grace).unwrap_or(now + NEVER) };
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(cookie) = &self.limits.cookie {
            sweep::start(self.children.iter().map(|child| Arc::clone(child.proc())).collect(), cookie);
        }
        self.phase = Phase::Killed { until: Instant::now() + DYING_MAX };
    }

    fn has_ended(&mut self) -> bool {
        let ended = self.children.iter().all(|child| child.proc().has_ended());
        if ended {
            self.ended.get_or_insert_with(Instant::now);
        }
        ended
    }

    /// Reaps what there is and says how it went.
    fn settle(&mut self) -> Result<Output, Error> {
        let killed = matches!(self.phase, Phase::Killed { .. });
        if self.failure.is_some() && !killed {
            // The processes went on SIGTERM; what they started may not have.
            self.kill();
        }
        self.exchange.close();
        let statuses: Vec<Option<ExitStatus>> = self.children.iter().map(|child| child.proc().try_reap()).collect();
        let stages: Vec<ExitStatus> = statuses.into_iter().flatten().collect();
        let decides = |status: &&ExitStatus| self.limits.pipefail && !status.success();
        let status = stages.iter().rfind(decides).or(stages.last()).copied().unwrap_or_default();
        let (stdout, stderr) = (self.exchange.stdout.take(), self.exchange.stderr.take());
        let output = Output { status, stdout, stderr, stages };
        match self.failure.take() {
            Some(reason) => Err(Error::new(reason, &self.about, self.started.elapsed(), output)),
            None => Ok(output),
        }
    }

    /// The error of a job that ended, and not well.
    pub(super) fn check(&self, output: Output) -> Result<Output, Error> {
        if output.status.success() {
            return Ok(output);
        }
        Err(Error::new(Reason::Exit(output.status), &self.about, self.started.elapsed(), output))
    }

    /// Its output as text.
    pub(super) fn text(&self, mut output: Output) -> Result<String, Error> {
        match String::from_utf8(std::mem::take(&mut output.stdout)) {
            Ok(mut text) => {
                text.truncate(text.trim_end_matches(['\n', '\r']).len());
                Ok(text)
            }
            Err(bytes) => {
                output.stdout = bytes.into_bytes();
                Err(Error::new(Reason::NotUtf8, &self.about, self.started.elapsed(), output))
            }
        }
    }

    pub(super) fn io_error(&self, error: std::io::Error) -> Error {
        Error::new(Reason::Io(error), &self.about, self.started.elapsed(), Output::default())
    }

    fn limit_passed(&self) -> Option<Duration> {
        self.limits.timeout.filter(|timeout| self.started.elapsed() >= *timeout)
    }
}

impl Operation for Job {
    type Output = Result<Output, Error>;

    fn step(&mut self) -> Step<Self::Output> {
        let moved = match self.exchange.step() {
            Ok(moved) => moved,
            Err(error) => {
                self.failure = Some(Reason::Io(error));
                self.kill();
                return Step::Done(self.settle());
            }
        };
        if moved == Moved::TooMuch {
            self.failure.get_or_insert(Reason::TooMuchOutput(self.limits.output));
            self.kill();
            return Step::Done(self.settle());
        }
        let ended = self.has_ended();
        if ended && moved == Moved::Ended {
            return Step::Done(self.settle());
        }
        match self.phase {
            Phase::Running => {
                if let Some(limit) = self.limit_passed() {
                    self.terminate(Reason::TimedOut(limit));
                    return Step::Again;
                }
                let drained = self.ended.zip(self.limits.drain).is_some_and(|(ended, drain)| ended.elapsed() >= drain);
                if drained && moved != Moved::More {
                    return Step::Done(self.settle());
                }
            }
            Phase::Terminating { until } => {
                if ended || until <= Instant::now() {
                    self.kill();
                    return Step::Again;
                }
            }
            Phase::Killed { until } => {
                if (ended && moved != Moved::More) || until <= Instant::now() {
                    return Step::Done(self.settle());
                }
            }
        }
        if moved == Moved::More { Step::Again } else { Step::Wait }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        self.exchange.interests(name);
        if self.ended.is_none() {
            for child in self.children.iter().filter(|child| !child.proc().was_seen_to_end()) {
                name(child.proc().end(), Interest::Read);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => {
                let limit = self.limits.timeout.and_then(|timeout| self.started.checked_add(timeout));
                let drained = self.ended.zip(self.limits.drain).and_then(|(ended, drain)| ended.checked_add(drain));
                limit.into_iter().chain(drained).min()
            }
            Phase::Terminating { until } | Phase::Killed { until } => Some(until),
        }
    }
}
