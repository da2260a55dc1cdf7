//! A command: which program, with what, and how it is run.

use super::child::Child;
use super::error::{About, Error, Reason};
use super::pipeline::Pipeline;
use super::proc::Proc;
use super::stdio::{Kind, Stdio};
use super::{Output, sweep};
use rustix::process::Pid;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many bytes a program may write to each stream that is captured, if nothing else is said.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a program has to end after it was asked to, if nothing else is said.
pub const GRACE: Duration = Duration::from_millis(500);

/// A program with its arguments, and how it is to be run.
///
/// No shell is involved: arguments reach the program as they are. It starts by the system's fast path (`vfork`), which
/// does not get slower as this process grows.
///
/// | verb | gives | an end with a bad status is |
/// | --- | --- | --- |
/// | [`run`](Self::run) | the [`Output`] | an error |
/// | [`read`](Self::read) | standard output as text | an error |
/// | [`output`](Self::output) | the [`Output`] | in it |
/// | [`status`](Self::status) | the status; the streams are those of this process | in it |
/// | [`spawn`](Self::spawn) | a [`Child`] that runs | |
///
/// Each has a sibling in `_async`, except `spawn`, which does not wait. Starting a program takes a millisecond or so in
/// which a hub stands still.
///
/// # Cancel safety
///
/// A verb whose wait is cancelled, or whose future is dropped, kills the program.
///
/// # Examples
///
/// ```
/// use ropewalk::subprocess::Command;
/// use std::time::Duration;
///
/// let sorted = Command::new("sort").input("jute\nhemp\n").read()?;
/// assert_eq!(sorted, "hemp\njute");
///
/// let error = Command::new("sleep").arg("60").timeout(Duration::from_millis(50)).run().unwrap_err();
/// assert!(error.is_timeout());
/// # Ok::<(), ropewalk::subprocess::Error>(())
/// ```
pub struct Command {
    std: std::process::Command,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    pub(super) input: Option<Vec<u8>>,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) drain: Option<Duration>,
    pub(super) output_limit: usize,
    pub(super) kill_tree: bool,
    pub(super) sweep: bool,
}

/// What becomes of a stream about which the command says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// As those of this process.
    Inherited,
    /// Nothing to read; what is written is captured.
    Captured,
}

impl Command {
    /// A command that runs `program`, which is looked for in `PATH` unless it is a path itself.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            std: std::process::Command::new(program),
            stdin: None,
            stdout: None,
            stderr: None,
            input: None,
            timeout: None,
            grace: GRACE,
            drain: None,
            output_limit: OUTPUT_BYTES_MAX,
            kill_tree: false,
            sweep: false,
        }
    }

    /// One argument more.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.std.arg(argument);
        self
    }

    /// Arguments more.
    pub fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.std.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.std.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs(mut self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        self.std.envs(variables);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.std.env_remove(name);
        self
    }

    /// Begins with an empty environment.
    pub fn env_clear(mut self) -> Self {
        self.std.env_clear();
        self
    }

    /// The directory it starts in.
    #[doc(alias = "cwd")]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.std.current_dir(dir);
        self
    }

    /// Where its standard input comes from. Said nothing, it is that of this process with `spawn` and `status`, and empty
    /// with the verbs that capture.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Where its standard output leads. Said nothing, it is that of this process with `spawn` and `status`, and captured
    /// otherwise.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Where its standard error leads. Said nothing, it is that of this process with `spawn` and `status`, and captured
    /// otherwise. [`Stdio::merged`] sends it where standard output goes.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// What it reads from its standard input. A program that does not read all of it is no error.
    ///
    /// For the verbs that run it to its end; a [`Child`] is given its input with
    /// [`communicate`](Child::communicate).
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// How long it may take. Then it is asked to end, killed after a [grace](Self::grace), and the verb returns
    /// [`Reason::TimedOut`]: no later than limit and grace and the moment a kill takes, whoever still holds its pipes.
    ///
    /// The program and what it starts become a process group, which is ended as a whole. So Ctrl-C on the terminal does
    /// not reach them, and they cannot read from it.
    ///
    /// For the verbs that run it to its end; waits for a [`Child`] have limits of their own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long it has to end after SIGTERM before SIGKILL. Said nothing, [`GRACE`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long its output is waited for once it has ended. Said nothing, until the pipes are at their end, which is when
    /// the last process that it started has closed them too.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = Some(drain);
        self
    }

    /// How many bytes it may write to each stream that is captured. Beyond that it is killed, and the verb returns
    /// [`Reason::TooMuchOutput`]. Said nothing, [`OUTPUT_BYTES_MAX`].
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Whether a kill reaches what the program has started, too: they become a process group, as with a
    /// [time limit](Self::timeout). One that leaves the group escapes; see [`sweep`](Self::sweep).
    #[doc(alias = "process_group")]
    pub fn kill_tree(mut self, kill_tree: bool) -> Self {
        self.kill_tree = kill_tree;
        self
    }

    /// Whether a kill of the tree also reaches processes that have left its group. On Linux.
    ///
    /// For this our process becomes the heir of orphans (`PR_SET_CHILD_SUBREAPER`), for as long as it runs: daemons that
    /// children start are its children too then, and a `wait` for any child sees them. What has cleared its environment is
    /// not found.
    pub fn sweep(mut self, sweep: bool) -> Self {
        self.sweep = sweep;
        self.kill_tree |= sweep;
        self
    }

    /// std's command, for what only that can say: `uid`, `arg0`, `pre_exec`. Its streams are set when it is started.
    ///
    /// With `uid`, `gid`, `groups` or `pre_exec` std copies the page tables of this process to start the program, which
    /// takes 40 ms where it has a gigabyte.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Reason::ProgramNotFound`], [`Reason::CurrentDirNotFound`], or [`Reason::Start`] with what the system says.
    pub fn spawn(&mut self) -> Result<Child, Error> {
        if self.input.is_some() || self.timeout.is_some() {
            let what = "`input` and `timeout` are for the verbs that run a command to its end; \
                        a child that is spawned has `communicate(input, timeout)`";
            let error = io::Error::new(io::ErrorKind::InvalidInput, what);
            return Err(Error::new(Reason::Start(error), &self.about(), Duration::ZERO, Output::default()));
        }
        let group = self.kill_tree.then_some(None);
        self.start(Streams::Inherited, [None, None, None], group, None)
    }

    /// Runs it to its end, captures what it writes, and takes a bad status for an error.
    ///
    /// # Errors
    ///
    /// [`Error`]: it could not be started, ended badly, took too long or wrote too much.
    ///
    /// # Panics
    ///
    /// In async code; use [`run_async`](Self::run_async) there.
    #[doc(alias = "check_output")]
    #[track_caller]
    pub fn run(self) -> Result<Output, Error> {
        Pipeline::from(self).run()
    }

    /// Runs it to its end and captures what it writes.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), without a bad status.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn output(self) -> Result<Output, Error> {
        Pipeline::from(self).output()
    }

    /// Runs it to its end and gives its standard output as text, without the ends of lines at its end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`Reason::NotUtf8`].
    ///
    /// # Panics
    ///
    /// In async code.
    #[doc(alias = "getoutput")]
    #[track_caller]
    pub fn read(self) -> Result<String, Error> {
        Pipeline::from(self).read()
    }

    /// Runs it to its end, with the streams of this process.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    ///
    /// # Panics
    ///
    /// In async code.
    #[doc(alias = "call")]
    #[track_caller]
    pub fn status(self) -> Result<ExitStatus, Error> {
        Pipeline::from(self).status()
    }

    /// [`run`](Self::run) in async code.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_async(self) -> Result<Output, Error> {
        Pipeline::from(self).run_async().await
    }

    /// [`output`](Self::output) in async code.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    pub async fn output_async(self) -> Result<Output, Error> {
        Pipeline::from(self).output_async().await
    }

    /// [`read`](Self::read) in async code.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_async(self) -> Result<String, Error> {
        Pipeline::from(self).read_async().await
    }

    /// [`status`](Self::status) in async code.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn status_async(self) -> Result<ExitStatus, Error> {
        Pipeline::from(self).status_async().await
    }

    pub(super) fn names_stderr(&self) -> bool {
        self.stderr.is_some()
    }

    pub(super) fn program(&self) -> &OsStr {
        self.std.get_program()
    }

    pub(super) fn about(&self) -> About {
        let program = [self.std.get_program().to_owned()].into_iter();
        let argv = program.chain(self.std.get_args().map(OsStr::to_owned)).collect();
        About { argv: vec![argv], current_dir: self.std.get_current_dir().map(Path::to_owned) }
    }

    /// Starts it, with `given` streams before those that it names itself; None as the number of a group begins one.
    pub(super) fn start(
        &mut self,
        streams: Streams,
        given: [Option<OwnedFd>; 3],
        group: Option<Option<Pid>>,
        cookie: Option<String>,
    ) -> Result<Child, Error> {
        let started = Instant::now();
        let cookie = cookie.or_else(|| self.sweep.then(sweep::new_cookie));
        let about = self.about();
        match self.try_start(streams, given, group, cookie.as_deref()) {
            Ok((proc, pipes)) => Child::new(proc, pipes, self.output_limit, Arc::new(about.clone()), cookie, started)
                .map_err(|error| Error::new(Reason::Io(error), &about, Duration::ZERO, Output::default())),
            Err(error) => Err(Error::starting(error, &self.std, &about)),
        }
    }

    fn try_start(
        &mut self,
        streams: Streams,
        given: [Option<OwnedFd>; 3],
        group: Option<Option<Pid>>,
        cookie: Option<&str>,
    ) -> io::Result<(Proc, [Option<OwnedFd>; 3])> {
        let [stdin, stdout, stderr] = given;
        let otherwise = |kind| if streams == Streams::Captured { kind } else { Kind::Inherit };
        let stdin = match (&self.input, stdin) {
            (Some(_), None) => Kind::Piped,
            (_, stdin) => Kind::choose(stdin, self.stdin.as_ref(), otherwise(Kind::Null))?,
        };
        let mut stdout = Kind::choose(stdout, self.stdout.as_ref(), otherwise(Kind::Piped))?;
        let mut stderr = Kind::choose(stderr, self.stderr.as_ref(), otherwise(Kind::Piped))?;
        let mut own_pipe = None;
        if let Kind::Merged = stderr {
            if let Kind::Piped = stdout {
                let (reads, writes) = io::pipe()?;
                own_pipe = Some(OwnedFd::from(reads));
                stdout = Kind::Descriptor(writes.into());
            }
            stderr = stdout.again()?;
        }
        self.std.stdin(stdin.into_std()).stdout(stdout.into_std()).stderr(stderr.into_std());
        if let Some(group) = group {
            self.std.process_group(group.map_or(0, |group| group.as_raw_nonzero().get()));
        }
        if let Some(cookie) = cookie {
            sweep::inherit_orphans()?;
            self.std.env(sweep::MARK, cookie);
        }
        let spawned = self.std.spawn();
        // The command is not to hold what the child has: a pipe would never be at its end.
        let null = std::process::Stdio::null;
        self.std.stdin(null()).stdout(null()).stderr(null());
        let mut child = spawned?;
        let pipes = [
            child.stdin.take().map(OwnedFd::from),
            own_pipe.or_else(|| child.stdout.take().map(OwnedFd::from)),
            child.stderr.take().map(OwnedFd::from),
        ];
        let pid = Pid::from_child(&child);
        let proc = Proc::new(child, group.map(|group| group.unwrap_or(pid)))?;
        Ok((proc, pipes))
    }
}

impl From<Command> for Pipeline {
    fn from(command: Command) -> Self {
        Self::of_one(command)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}
