//! A child that runs: waiting for it, talking to it, ending it.

use super::error::{About, Error, Reason};
use super::exchange::{Capture, Exchange, Feed, Moved};
use super::lines::Lines;
use super::proc::Proc;
use super::{Output, reaper, sweep};
use crate::io::descriptor::{Interest, Operation, Source, Step, drive, drive_async};
use rustix::process::Signal;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that was started.
///
/// Waits suspend a greenlet and block a thread; in async code use the verbs that end in `_async`. Dropping it kills the
/// process, and the tree below it if the command said so ([`Command::kill_tree`](super::Command::kill_tree)), and has it
/// reaped without waiting; [`detach`](Self::detach) lets it go on instead.
///
/// # Examples
///
/// ```
/// use ropewalk::subprocess::{Command, Stdio};
/// use std::io::Write;
///
/// let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut stdin = sort.stdin.take().unwrap();
/// stdin.write_all(b"jute\nhemp\n")?;
/// drop(stdin);
/// let lines: Vec<String> = sort.stdout.take().unwrap().lines().collect::<Result<_, _>>()?;
/// assert_eq!(lines, ["hemp", "jute"]);
/// assert!(sort.wait()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Popen")]
pub struct Child {
    /// The pipe to its standard input, if one was asked for.
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output, if one was asked for.
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error, if one was asked for.
    pub stderr: Option<ChildStderr>,
    /// None once it was detached.
    proc: Option<Arc<Proc>>,
    exchange: Option<Exchange>,
    output_limit: usize,
    about: Arc<About>,
    cookie: Option<String>,
    started: Instant,
}

impl Child {
    pub(super) fn new(
        proc: Proc,
        [stdin, stdout, stderr]: [Option<OwnedFd>; 3],
        output_limit: usize,
        about: Arc<About>,
        cookie: Option<String>,
        started: Instant,
    ) -> io::Result<Self> {
        let mut child = Self {
            stdin: None,
            stdout: None,
            stderr: None,
            proc: Some(Arc::new(proc)),
            exchange: None,
            output_limit,
            about,
            cookie,
            started,
        };
        // From here on an error drops the child, which ends it.
        child.stdin = stdin.map(ChildStdin::new).transpose()?;
        child.stdout = stdout.map(ChildStdout::new).transpose()?;
        child.stderr = stderr.map(ChildStderr::new).transpose()?;
        Ok(child)
    }

    pub(super) fn proc(&self) -> &Arc<Proc> {
        self.proc.as_ref().expect("a child is detached by value")
    }

    /// The number of the process.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.proc().pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended. Closes its standard input first, as std does: a child that reads would wait for ever.
    ///
    /// What it writes to a pipe must be read meanwhile, or it never ends; [`communicate`](Self::communicate) does both.
    ///
    /// # Errors
    ///
    /// When the system cannot wait.
    ///
    /// # Cancel safety
    ///
    /// An interrupted wait leaves the child as it is.
    ///
    /// # Panics
    ///
    /// In async code; use [`wait_async`](Self::wait_async) there.
    #[track_caller]
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.close_stdin();
        drive(&mut Ending { proc: self.proc(), deadline: None })?;
        Ok(self.reaped())
    }

    /// Waits until it has ended, at the longest for `timeout`: None when that passed, and the child goes on.
    ///
    /// # Errors
    ///
    /// When the system cannot wait.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.close_stdin();
        let ended = drive(&mut Ending { proc: self.proc(), deadline: Instant::now().checked_add(timeout) })?;
        Ok(ended.then(|| self.reaped()))
    }

    /// Waits until it has ended, in async code.
    ///
    /// # Errors
    ///
    /// When the system cannot wait.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves the child as it is.
    pub async fn wait_async(&mut self) -> io::Result<ExitStatus> {
        self.close_stdin();
        drive_async(&mut Ending { proc: self.proc(), deadline: None }).await?;
        Ok(self.reaped())
    }

    /// How one that was seen to end has ended.
    fn reaped(&self) -> ExitStatus {
        self.proc().try_reap().expect("it was seen to end")
    }

    /// Also where `communicate` has it, which was given up.
    fn close_stdin(&mut self) {
        self.stdin = None;
        if let Some(exchange) = &mut self.exchange {
            exchange.stdin = Feed::default();
        }
    }

    /// How it ended, if it has.
    #[doc(alias = "poll")]
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.proc().try_reap()
    }

    /// Writes `input`, reads what it writes to its pipes, and waits until it has ended and its pipes are at their end; at
    /// the longest for `timeout`.
    ///
    /// When the time has passed the child goes on, and so can this: called again, with no input, it takes up where it was
    /// and nothing is lost.
    ///
    /// # Errors
    ///
    /// [`Reason::TimedOut`], with a copy of what came until then. [`Reason::TooMuchOutput`]: the child is killed.
    /// How it ended is in the output and no error.
    ///
    /// # Cancel safety
    ///
    /// As with a timeout: nothing is lost.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn communicate(
        &mut self,
        input: impl Into<Vec<u8>>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Output, Error> {
        let mut talk = self.talk(input.into(), timeout.into())?;
        drive(&mut talk).unwrap_or_else(|error| Err(self.io_error(error)))
    }

    /// [`communicate`](Self::communicate) in async code.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; it may be called again.
    pub async fn communicate_async(&mut self, input: impl Into<Vec<u8>>) -> Result<Output, Error> {
        let mut talk = self.talk(input.into(), None)?;
        let said = drive_async(&mut talk).await;
        said.unwrap_or_else(|error| Err(self.io_error(error)))
    }

    fn talk(&mut self, input: Vec<u8>, timeout: Option<Duration>) -> Result<Talk<'_>, Error> {
        if self.exchange.is_none() {
            let exchange = self.pipes(input).map_err(|error| self.io_error(error))?;
            self.exchange = Some(exchange);
        } else if !input.is_empty() {
            let again = "the input was given with the first call of communicate";
            return Err(self.io_error(io::Error::new(io::ErrorKind::InvalidInput, again)));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Talk { timeout: timeout.unwrap_or_default(), deadline, child: self })
    }

    fn pipes(&mut self, input: Vec<u8>) -> io::Result<Exchange> {
        Ok(Exchange {
            stdin: Feed::new(self.stdin.take().map(ChildStdin::into_pipe), input)?,
            stdout: Capture::new(self.stdout.take().map(ChildStdout::into_pipe))?,
            stderr: Capture::new(self.stderr.take().map(ChildStderr::into_pipe))?,
            limit: self.output_limit,
        })
    }

    fn error(&self, reason: Reason, output: Output) -> Error {
        Error::new(reason, &self.about, self.started.elapsed(), output)
    }

    fn io_error(&self, error: io::Error) -> Error {
        self.error(Reason::Io(error), Output::default())
    }

    /// Kills it, and the tree below it if the command said so. It is not reaped by this: [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// When it may not be signalled. That it has ended is none.
    pub fn kill(&mut self) -> io::Result<()> {
        self.proc().signal(Signal::KILL)?;
        self.cookie.iter().for_each(|cookie| sweep::start(vec![Arc::clone(self.proc())], cookie));
        Ok(())
    }

    /// Asks it to end, with SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`kill`](Self::kill).
    pub fn terminate(&mut self) -> io::Result<()> {
        self.proc().signal(Signal::TERM)
    }

    /// Sends a signal, by its number; to the whole tree if the command said so. One that has ended gets none.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is no signal.
    #[doc(alias = "send_signal")]
    pub fn signal(&mut self, number: i32) -> io::Result<()> {
        match Signal::from_named_raw(number) {
            Some(signal) => self.proc().signal(signal),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is no signal"))),
        }
    }

    /// Asks it to end, waits for `grace`, kills it if it has not, and says how it ended.
    ///
    /// # Errors
    ///
    /// When it may not be signalled.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.terminate()?;
        self.close_stdin();
        let deadline = Instant::now().checked_add(grace);
        let ended = drive(&mut Ending { proc: self.proc(), deadline })?;
        // It went on SIGTERM; what it started may not have. Before it is reaped: after that its group is nobody's.
        if !ended || self.proc().group().is_some() {
            self.kill()?;
        }
        self.wait()
    }

    /// Lets it go on by itself. It is reaped when it ends.
    pub fn detach(mut self) {
        self.proc.take().into_iter().for_each(reaper::reap);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(proc) = self.proc.take() else { return };
        // The group is there as long as its leader was not reaped, also when that has ended.
        if proc.is_reaped() || (proc.group().is_none() && proc.try_reap().is_some()) {
            return;
        }
        let _ = proc.signal(Signal::KILL);
        self.cookie.iter().for_each(|cookie| sweep::start(vec![Arc::clone(&proc)], cookie));
        reaper::reap(proc);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Waits for the end of a process, which is not reaped by this if it has a group.
struct Ending<'a> {
    proc: &'a Proc,
    deadline: Option<Instant>,
}

impl Operation for Ending<'_> {
    /// Whether it has ended.
    type Output = bool;

    fn step(&mut self) -> Step<bool> {
        match self.proc.has_ended() {
            true => Step::Done(true),
            false if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) => Step::Done(false),
            false => Step::Wait,
        }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.proc.end(), Interest::Read);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Communicates. What it has captured stays with the child until all of it is there.
struct Talk<'a> {
    child: &'a mut Child,
    timeout: Duration,
    deadline: Option<Instant>,
}

impl Operation for Talk<'_> {
    type Output = Result<Output, Error>;

    fn step(&mut self) -> Step<Self::Output> {
        let child = &mut *self.child;
        let exchange = child.exchange.as_mut().expect("it was made before");
        let moved = match exchange.step() {
            Ok(moved) => moved,
            Err(error) => return Step::Done(Err(child.io_error(error))),
        };
        let status = child.proc().try_reap();
        let exchange = child.exchange.as_mut().expect("it was made before");
        if let (Moved::Ended, Some(status)) = (&moved, status) {
            let (stdout, stderr) = (exchange.stdout.take(), exchange.stderr.take());
            return Step::Done(Ok(Output { status, stdout, stderr, stages: vec![status] }));
        }
        let reason = if moved == Moved::TooMuch {
            Some(Reason::TooMuchOutput(child.output_limit))
        } else if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Some(Reason::TimedOut(self.timeout))
        } else {
            None
        };
        if let Some(reason) = reason {
            let (stdout, stderr) = (exchange.stdout.so_far().to_vec(), exchange.stderr.so_far().to_vec());
            if moved == Moved::TooMuch {
                exchange.close();
                let _ = child.kill();
            }
            return Step::Done(Err(child.error(reason, Output { stdout, stderr, ..Output::default() })));
        }
        if moved == Moved::More { Step::Again } else { Step::Wait }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        self.child.exchange.iter().for_each(|exchange| exchange.interests(name));
        if !self.child.proc().was_seen_to_end() {
            name(self.child.proc().end(), Interest::Read);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

macro_rules! pipe {
    ($(#[$attribute:meta])* $type:ident) => {
        $(#[$attribute])*
        pub struct $type(Source<OwnedFd>);

        impl $type {
            pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
                super::exchange::set_nonblocking(Some(&pipe))?;
                Ok(Self(Source::new(pipe)))
            }

            pub(super) fn into_pipe(self) -> OwnedFd {
                self.0.into_inner()
            }
        }

        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.io().as_fd()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// One read in async code.
struct Reading<'a, 'b>(&'a OwnedFd, &'b mut [u8]);

impl Operation for Reading<'_, '_> {
    type Output = io::Result<usize>;

    fn step(&mut self) -> Step<io::Result<usize>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(self.0, &mut *self.1)) {
            Err(rustix::io::Errno::AGAIN) => Step::Wait,
            read => Step::Done(read.map_err(io::Error::from)),
        }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.0.as_fd(), Interest::Read);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// One write in async code.
struct Writing<'a>(&'a OwnedFd, &'a [u8]);

impl Operation for Writing<'_> {
    type Output = io::Result<usize>;

    fn step(&mut self) -> Step<io::Result<usize>> {
        match rustix::io::retry_on_intr(|| rustix::io::write(self.0, self.1)) {
            Err(rustix::io::Errno::AGAIN) => Step::Wait,
            written => Step::Done(written.map_err(io::Error::from)),
        }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.0.as_fd(), Interest::Write);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

macro_rules! reader {
    ($type:ident, $what:literal) => {
        pipe! {
            #[doc = concat!("The pipe from a child's standard ", $what, ". Reads suspend a greenlet and block a thread.")]
            $type
        }

        impl $type {
            /// Its lines, without their ends, as they come.
            pub fn lines(self) -> Lines<Self> {
                Lines::new(self)
            }

            /// Reads in async code. Dropped before it is ready, it has read nothing.
            ///
            /// # Errors
            ///
            /// Whatever the system says.
            pub async fn read_async(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                drive_async(&mut Reading(self.0.io(), buffer)).await?
            }

            pub(super) fn into_descriptor(self) -> OwnedFd {
                let pipe = self.into_pipe();
                // It was made non-blocking before, so it can be made blocking again.
                let _ = rustix::io::ioctl_fionbio(&pipe, false);
                pipe
            }
        }

        impl Read for $type {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.perform(Interest::Read, None, |pipe| {
                    Ok(crate::io::descriptor::Moved::some(rustix::io::read(pipe, &mut *buffer)?))
                })
            }
        }
    };
}

reader!(ChildStdout, "output");
reader!(ChildStderr, "error");

pipe! {
    /// The pipe to a child's standard input; the child sees its end when this is dropped. Writes suspend a greenlet and block a
    /// thread.
    ChildStdin
}

impl ChildStdin {
    /// Writes in async code. Dropped before it is ready, it has written nothing.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when nobody reads it any more, or whatever the system says.
    pub async fn write_async(&mut self, buffer: &[u8]) -> io::Result<usize> {
        drive_async(&mut Writing(self.0.io(), buffer)).await?
    }
}

impl Write for ChildStdin {
    #[track_caller]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.perform(Interest::Write, None, |pipe| {
            Ok(crate::io::descriptor::Moved::some(rustix::io::write(pipe, buffer)?))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
