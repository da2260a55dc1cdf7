//! What a worker does: it takes frames from its ring, calls what they ask for, and writes the replies.
//!
//! The thread that was `main` works. A second one listens on the *lifeline*, a socket whose other end is in the pool's
//! process: it passes on that a task was cancelled, and when the socket is at its end, or that process is, because the pool is gone
//! however that happened, it kills the worker's group, and with it whatever tasks have started.

use super::call::{Job, Made};
use super::carry::Way;
use super::image::{self, Offset};
use super::ring::{self, Reader, Writer};
use super::wire::{self, Body, Head, Incoming, Outgoing, Reply};
use crate::task::TaskError;
use ropewalk_core::park::{self, Interrupt, Reason, Runs};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much likelier a worker is to be killed for memory than the pool's process; the system's scale ends at 1000.
const OOM_SCORE: &str = "500";
/// How long a worker that has nothing to do looks at its ring before it sleeps, where that has paid lately.
const SPIN: Duration = Duration::from_micros(20);

/// Contexts that a worker keeps at most.
pub(super) const CONTEXTS_MAX: usize = 4;

/// What a worker is told at its start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) limits: Vec<(Limit, u64)>,
    pub(super) may_spin: bool,
    /// No worker, but a process for one call.
    pub(super) is_single: bool,
}

/// What a worker may use; see [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Limit {
    CpuSeconds,
    AddressSpace,
    OpenFiles,
    CoreBytes,
}

/// The descriptors of a worker.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) memory: OwnedFd,
    pub(super) bell: OwnedFd,
    pub(super) lifeline: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Of the initializer's argument.
    pub(super) carried: Vec<OwnedFd>,
}

impl Ends {
    pub(super) fn as_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let own = [&self.memory, &self.bell, &self.lifeline, &self.stdout, &self.stderr];
        own.into_iter().chain(&self.carried).map(AsFd::as_fd).collect()
    }

    pub(super) fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next();
        let (memory, bell, lifeline, stdout, stderr) = (next()?, next()?, next()?, next()?, next()?);
        Some(Self { memory, bell, lifeline, stdout, stderr, carried: descriptors.collect() })
    }
}

/// A message on the lifeline: the number of a task, and why it is to stop.
pub(super) const MESSAGE_BYTES: usize = 9;

pub(super) fn stop_message(task: u64, reason: Reason) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[0] = u8::from(reason == Reason::Deadline);
    message[1..].copy_from_slice(&task.to_le_bytes());
    message
}

/// The end of a process that was started as a worker: `main` is not to go on.
pub(super) fn end(ended: Result<(), String>) -> ! {
    if let Err(error) = &ended {
        eprintln!("ropewalk worker {}: {error}", std::process::id());
    }
    exit(i32::from(ended.is_err()))
}

/// The end of this process, in the orderly way.
#[expect(clippy::disallowed_methods, reason = "`main` is the program's, and is not to go on in a worker")]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// The task that runs, and those that are to be stopped.
#[derive(Default)]
struct Current {
    task: u64,
    interrupt: Arc<Interrupt>,
    /// They had not begun when they were cancelled.
    stopped: Vec<(u64, Reason)>,
}

fn lock(current: &Mutex<Current>) -> MutexGuard<'_, Current> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the pool is gone.
pub(super) fn run(ends: Ends, setup: &Setup) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    settle_in(&ends.stdout, &ends.stderr, setup).map_err(text)?;
    let Ends { memory, bell, lifeline, carried, .. } = ends;
    let (tasks, replies) = ring::worker_ends(memory, bell).map_err(text)?;
    let current = Arc::new(Mutex::new(Current::default()));
    let (lifeline, listens) = (UnixStream::from(lifeline), Arc::clone(&current));
    let listener = std::thread::Builder::new().name("ropewalk-lifeline".to_owned());
    listener.spawn(move || listen(lifeline, &listens)).map_err(text)?;
    let contexts = VecDeque::new();
    Worker { tasks, replies, received: 0, current, carried, contexts, may_spin: setup.may_spin, spins: 0 }.work()
}

/// What every process of ours does first: a group of its own, its streams, its limits.
pub(super) fn settle_in(stdout: &OwnedFd, stderr: &OwnedFd, setup: &Setup) -> io::Result<()> {
    let _ = rustix::process::setpgid(None, None);
    // Not everywhere allowed; then it is as likely as its parent.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    setup.limits.iter().try_for_each(|(limit, value)| apply(*limit, *value))
}

/// The process at the other end of a lifeline. Its end is that of the lifeline, unless somebody else has that end as well: a process
/// that was forked from it and runs no other program.
pub(super) struct Parent(Option<OwnedFd>);

impl Parent {
    pub(super) fn behind(lifeline: impl AsFd) -> Self {
        let made_by = rustix::net::sockopt::socket_peercred(lifeline).map(|made_by| made_by.pid);
        Self(made_by.and_then(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty())).ok())
    }

    /// Waits until there is something on the lifeline, if only its end; false when the parent has ended.
    pub(super) fn is_there(&self, lifeline: impl AsFd) -> bool {
        let lifeline = PollFd::new(&lifeline, PollFlags::IN);
        match &self.0 {
            Some(parent) => {
                let mut looks = [lifeline, PollFd::new(parent, PollFlags::IN)];
                let polled = rustix::io::retry_on_intr(|| poll(&mut looks, None));
                polled.is_err() || looks[1].revents().is_empty()
            }
            None => true,
        }
    }
}

/// Kills this process and what it has started: whoever it worked for is gone.
pub(super) fn end_group() {
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process_group(me, Signal::KILL);
    // Only where it has no group of its own.
    let _ = rustix::process::kill_process(me, Signal::KILL);
}

fn apply(limit: Limit, value: u64) -> io::Result<()> {
    let resource = match limit {
        Limit::CpuSeconds => Resource::Cpu,
        Limit::AddressSpace => Resource::As,
        Limit::OpenFiles => Resource::Nofile,
        Limit::CoreBytes => Resource::Core,
    };
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

/// Passes on what the pool says, and ends the worker when the pool is gone.
fn listen(mut lifeline: UnixStream, current: &Mutex<Current>) {
    let mut message = [0; MESSAGE_BYTES];
    let parent = Parent::behind(&lifeline);
    while parent.is_there(&lifeline) && lifeline.read_exact(&mut message).is_ok() {
        let reason = if message[0] == 1 { Reason::Deadline } else { Reason::Cancelled };
        let task = u64::from_le_bytes(message[1..].try_into().expect("eight bytes"));
        let mut current = lock(current);
        if current.task == task {
            let interrupt = Arc::clone(&current.interrupt);
            drop(current);
            interrupt.raise(reason);
        } else if current.task < task {
            current.stopped.push((task, reason));
        }
    }
    end_group();
}

struct Worker {
    tasks: Reader,
    replies: Writer,
    /// Frames so far.
    received: u64,
    current: Arc<Mutex<Current>>,
    /// The descriptors of the initializer, until it runs.
    carried: Vec<OwnedFd>,
    /// The contexts that it has, the last one last. The pool knows which.
    contexts: VecDeque<(u64, Rc<Made>)>,
    may_spin: bool,
    /// How well spinning has paid: up with each that found a task, down with each that did not.
    spins: i32,
}

impl Worker {
    fn work(mut self) -> Result<(), String> {
        let corrupt = |_| "the ring from the pool makes no sense".to_owned();
        let mut incoming = Incoming::default();
        loop {
            let frame = incoming.next(&mut self.tasks).map_err(corrupt)?;
            self.tasks.wake_writer();
            let Some((head, mut body)) = frame else {
                self.wait();
                continue;
            };
            let nth = self.received;
            self.received += 1;
            // Also of a task that was taken back: the pool counts on it.
            let context = self.context(&head, &mut body);
            let mut reply = if self.replies.begin(nth, head.task) {
                let began = Instant::now();
                let reply = self.perform(&head, context, body);
                reply.into_frame(head.task, began.elapsed())
            } else {
                Outgoing::new(Head::new(head.task, wire::SKIPPED, 0), Body::default())
            };
            while !reply.write(&mut self.replies).map_err(corrupt)? {
                self.replies.wake_reader();
                self.replies.sleep_until_room().map_err(corrupt)?;
            }
            self.replies.wake_reader();
        }
    }

    /// Sleeps until there is something to read; looks for a moment before, where that has paid.
    fn wait(&mut self) {
        if self.may_spin && self.spins > -3 {
            let until = Instant::now() + SPIN;
            while Instant::now() < until {
                if !self.tasks.is_empty() {
                    self.spins = (self.spins + 1).min(3);
                    return;
                }
                std::hint::spin_loop();
            }
            self.spins -= 1;
        }
        let slept = Instant::now();
        self.tasks.sleep_until_bytes();
        if slept.elapsed() < 4 * SPIN {
            self.spins = (self.spins + 1).min(3);
        }
    }

    /// The context that a frame names, which it brings along if this does not have it.
    fn context(&mut self, head: &Head, body: &mut Body) -> Option<Rc<Made>> {
        if head.context == 0 {
            return None;
        }
        if let Some((_, made)) = self.contexts.iter().find(|(number, _)| *number == head.context) {
            return Some(Rc::clone(made));
        }
        let sent = (!body.apart.is_empty()).then(|| body.apart.remove(0))?;
        let made = Rc::new(Made::new(sent));
        self.contexts.push_back((head.context, Rc::clone(&made)));
        if self.contexts.len() > CONTEXTS_MAX {
            self.contexts.pop_front();
        }
        Some(made)
    }

    fn perform(&mut self, head: &Head, context: Option<Rc<Made>>, mut body: Body) -> Reply {
        let task = head.task;
        let (Some(shim), Some(function)) = (Offset(head.a).address(), Offset(head.b).address()) else {
            return Reply(Some(Err(TaskError::worker_died("its frame named a function that is not in the image"))));
        };
        if task == 0 {
            body.descriptors = std::mem::take(&mut self.carried);
        }
        let interrupt = Arc::new(Interrupt::new());
        let stopped = {
            let mut current = lock(&self.current);
            current.task = task;
            current.interrupt = Arc::clone(&interrupt);
            let stopped = current.stopped.iter().find(|(number, _)| *number == task).map(|(_, reason)| *reason);
            current.stopped.retain(|(number, _)| *number > task);
            stopped
        };
        if let Some(reason) = stopped {
            interrupt.raise(reason);
            let error = if reason == Reason::Deadline { TaskError::TimedOut } else { TaskError::Cancelled };
            return Reply(Some(Err(error)));
        }
        // SAFETY: the pool wrote the offset of a shim, and runs the same image.
        let shim = unsafe { image::shim(shim) };
        let mut job = Job::new(context, Way::Pieces);
        let called = AssertUnwindSafe(|| {
            park::with_task(&interrupt, None, Runs::Apart, || shim(function, body, &mut job));
        });
        if let Err(payload) = catch_unwind(called) {
            job.reply.0 = Some(Err(TaskError::of_unwind(payload)));
        }
        job.reply
    }
}
