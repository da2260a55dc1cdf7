//! Commands whose outputs are the inputs of the next, and the verbs that run them to their end. A single command is a
//! pipeline of one.

use super::Output;
use super::command::{Command, Streams};
use super::error::{About, Error, Reason};
use super::exchange::{Capture, Exchange, Feed};
use super::job::{Job, Limits};
use super::sweep;
use crate::io::descriptor::{drive, drive_async};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::ops::BitOr;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Commands in a row, each reading what the one before it writes. Made by `|`; no shell is involved.
///
/// The verbs are those of a [`Command`]. What the stages write to standard error is captured together. The status is that
/// of the last stage, unless [`pipefail`](Self::pipefail) is set; those of all stages are in [`Output::stages`].
///
/// # Examples
///
/// ```
/// use ropewalk::subprocess::Command;
///
/// let count = (Command::new("printf").arg("hemp\njute\nhemp\n") | Command::new("sort") | Command::new("uniq"))
///     .pipefail(true)
///     .read()?;
/// assert_eq!(count, "hemp\njute");
/// # Ok::<(), ropewalk::subprocess::Error>(())
/// ```
pub struct Pipeline {
    stages: Vec<Command>,
    pipefail: bool,
}

impl BitOr for Command {
    type Output = Pipeline;

    fn bitor(self, next: Self) -> Pipeline {
        Pipeline { stages: vec![self, next], pipefail: false }
    }
}

impl BitOr<Command> for Pipeline {
    type Output = Self;

    fn bitor(mut self, next: Command) -> Self {
        self.stages.push(next);
        self
    }
}

impl Pipeline {
    pub(super) fn of_one(command: Command) -> Self {
        Self { stages: vec![command], pipefail: false }
    }

    /// Whether the status is that of the last stage which ended badly, if one did. A stage that wrote to one which wanted no
    /// more has ended badly too (by SIGPIPE).
    pub fn pipefail(mut self, pipefail: bool) -> Self {
        self.pipefail = pipefail;
        self
    }

    /// What the first stage reads; see [`Command::input`].
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        if let Some(first) = self.stages.first_mut() {
            first.input = Some(input.into());
        }
        self
    }

    /// How long all of it may take; see [`Command::timeout`]. All stages are one group.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.last().timeout = Some(timeout);
        self
    }

    /// How long the stages have to end after SIGTERM; see [`Command::grace`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.last().grace = grace;
        self
    }

    /// How many bytes may come out of it; see [`Command::output_limit`].
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.last().output_limit = bytes;
        self
    }

    fn last(&mut self) -> &mut Command {
        self.stages.last_mut().expect("a pipeline has a stage")
    }

    /// As [`Command::run`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn run(self) -> Result<Output, Error> {
        let mut job = self.start(Streams::Captured)?;
        let output = finish(&mut job)?;
        job.check(output)
    }

    /// As [`Command::output`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn output(self) -> Result<Output, Error> {
        finish(&mut self.start(Streams::Captured)?)
    }

    /// As [`Command::read`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn read(self) -> Result<String, Error> {
        let mut job = self.start(Streams::Captured)?;
        let output = finish(&mut job)?;
        job.text(job.check(output)?)
    }

    /// As [`Command::status`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn status(self) -> Result<ExitStatus, Error> {
        finish(&mut self.start(Streams::Inherited)?).map(|output| output.status)
    }

    /// [`run`](Self::run) in async code.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn run_async(self) -> Result<Output, Error> {
        let mut job = self.start(Streams::Captured)?;
        let output = finish_async(&mut job).await?;
        job.check(output)
    }

    /// [`output`](Self::output) in async code.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn output_async(self) -> Result<Output, Error> {
        let mut job = self.start(Streams::Captured)?;
        finish_async(&mut job).await
    }

    /// [`read`](Self::read) in async code.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_async(self) -> Result<String, Error> {
        let mut job = self.start(Streams::Captured)?;
        let output = finish_async(&mut job).await?;
        job.text(job.check(output)?)
    }

    /// [`status`](Self::status) in async code.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn status_async(self) -> Result<ExitStatus, Error> {
        let mut job = self.start(Streams::Inherited)?;
        finish_async(&mut job).await.map(|output| output.status)
    }

    fn about(&self) -> About {
        let argv = self.stages.iter().flat_map(|stage| stage.about().argv).collect();
        About { argv, current_dir: self.stages[0].about().current_dir }
    }

    /// Starts all stages. When one cannot be started, those before it are dropped and thereby ended.
    fn start(mut self, streams: Streams) -> Result<Job, Error> {
        let (started, about) = (Instant::now(), self.about());
        let failed = |error| Error::new(Reason::Io(error), &about, started.elapsed(), Output::default());
        let is_group = self.stages.iter().any(|stage| stage.kill_tree || stage.timeout.is_some());
        let cookie = self.stages.iter().any(|stage| stage.sweep).then(sweep::new_cookie);
        let last = self.stages.last().expect("a pipeline has a stage");
        let limits = Limits {
            timeout: last.timeout,
            grace: last.grace,
            drain: last.drain,
            output: last.output_limit,
            pipefail: self.pipefail,
            cookie: cookie.clone(),
        };
        let input = self.stages[0].input.clone().unwrap_or_default();
        let count = self.stages.len();
        // One pipe for what all stages write to standard error.
        let errors = (count > 1 && streams == Streams::Captured).then(io::pipe).transpose().map_err(failed)?;
        let mut group = None;
        let mut before: Option<OwnedFd> = None;
        let mut children = Vec::with_capacity(count);
        for (number, stage) in self.stages.iter_mut().enumerate() {
            let to_next = (number + 1 < count).then(io::pipe).transpose().map_err(failed)?;
            let (reads, writes) = to_next.unzip();
            let error = match &errors {
                Some((_, writes)) if !stage.names_stderr() => Some(OwnedFd::from(writes.try_clone().map_err(failed)?)),
                _ => None,
            };
            let given = [before.take(), writes.map(OwnedFd::from), error];
            let child = stage.start(streams, given, is_group.then_some(group), cookie.clone())?;
            group.get_or_insert(child.proc().pid());
            before = reads.map(OwnedFd::from);
            children.push(child);
        }
        let exchange = || -> io::Result<Exchange> {
            let stdin = children.first_mut().and_then(|first| first.stdin.take());
            let last = children.last_mut().expect("a pipeline has a stage");
            let stdout = last.stdout.take().map(super::ChildStdout::into_pipe);
            let stderr = match errors {
                Some((reads, _)) => Some(OwnedFd::from(reads)),
                None => last.stderr.take().map(super::ChildStderr::into_pipe),
            };
            Ok(Exchange {
                stdin: Feed::new(stdin.map(super::ChildStdin::into_pipe), input)?,
                stdout: Capture::new(stdout)?,
                stderr: Capture::new(stderr)?,
                limit: limits.output,
            })
        };
        let exchange = exchange().map_err(failed)?;
        Ok(Job::new(children, exchange, limits, about, started))
    }
}

#[track_caller]
fn finish(job: &mut Job) -> Result<Output, Error> {
    drive(job).unwrap_or_else(|error| Err(job.io_error(error)))
}

async fn finish_async(job: &mut Job) -> Result<Output, Error> {
    let ended = drive_async(job).await;
    ended.unwrap_or_else(|error| Err(job.io_error(error)))
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|stage| OsStr::to_owned(stage.program()))).finish()
    }
}
