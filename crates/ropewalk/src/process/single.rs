//! A process for one call.
//!
//! # How it lives
//!
//! Its two ends are a socket for packets. The parent sends the call, and later, if it comes to that, that the call is to stop. The
//! process sends the reply and ends. The socket is its lifeline, too: when the parent is gone, so is the process.
//!
//! In the parent one thread, the *watcher*, looks after all such processes: it takes replies and lines, passes on cancels and time
//! limits, and reaps. A call is settled when its process has ended and not before: who has joined it finds no process any more.
//! If there was a reply, that is the outcome; otherwise it is how the process died.

use super::call::{self, Job, Packed, Travels};
use super::carry::Way;
use super::executor::{BuildError, Limits, can_start};
use super::image::{self, Offset};
use super::ipc::message::{self, Message};
use super::keeper::{Bell, death, oom_kills};
use super::output::{Heard, Output, Said, Streams};
use super::pool::{Pending, error_of, lone};
use super::start::{Running, Start, Starter};
use super::system;
use super::wire::{self, Body};
use super::worker::{self, Setup};
use crate::io::descriptor::{Interest, Operation, Step};
use crate::task::{Call, Task, TaskError, TaskHandle};
use ropewalk_core::park::{self, Interrupt, Reason, Runs};
use ropewalk_core::sync::Event;
use ropewalk_core::task::promise::Promise;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long a call that was asked to stop has for it, if nothing else is said.
const GRACE: Duration = Duration::from_millis(500);
/// How long a process that has replied may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// A call in a process of its own: a function of this program with an argument, or a [`#[task]`](macro@crate::task) call.
///
/// What holds for the workers of a [pool](crate::ProcessPoolExecutor) holds here: `main` begins with `ropewalk::init()`, what goes
/// over goes by serde, and the process goes when this one does. The argument and the result may contain what processes share, of
/// [`ipc`](super::ipc).
///
/// The handle is as that of a task: it is joined on a thread or in a greenlet, or awaited, and gives what the function returned.
/// Dropping it leaves the process running, and the end of a `#[ropewalk::main]` waits for it, unless it is a
/// [daemon](ProcessBuilder::daemon). The process that such ones are forked from ([`Start::Zygote`]), and the next one, which it has
/// forked ahead, stay until the program ends.
///
/// # Cancel safety
///
/// A call that is cancelled is asked to stop: its waits end. If it does not, its process is killed after a
/// [grace](ProcessBuilder::grace).
///
/// # Examples
///
/// ```
/// use ropewalk::process::Process;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     ropewalk::init();
///     let process = Process::spawn(|n: u64| n * n, 12)?;
///     assert_ne!(process.id(), std::process::id());
///     assert_eq!(process.join()?, 144);
///
///     let crash = Process::spawn(|_: u8| -> u8 { std::process::abort() }, 0)?;
///     let status = crash.wait();
///     assert_eq!(ropewalk::process::returncode(status), Some(-6));
///     Ok(())
/// }
/// ```
#[must_use = "a process whose handle is dropped runs on, and nobody hears of its end"]
pub struct Process<R> {
    handle: TaskHandle<R>,
    child: Arc<Child>,
}

/// The status of a process as Python gives it: what it exited with, or minus the signal that ended it.
#[doc(alias = "exitcode")]
pub fn returncode(status: Option<ExitStatus>) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    status.and_then(|status| status.code().or(status.signal().map(|signal| -signal)))
}

/// Says how a [`Process`] is started.
#[derive(Debug)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct ProcessBuilder {
    daemon: bool,
    output: Output,
    grace: Duration,
    start: Start,
    setup: Setup,
}

impl<R: Travels> Process<R> {
    /// Calls a plain function in a process of its own.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says what to do.
    #[doc(alias = "start")]
    pub fn spawn<A: Travels>(function: fn(A) -> R, argument: A) -> Result<Self, BuildError> {
        ProcessBuilder::new().spawn(function, argument)
    }

    /// Makes a `#[ropewalk::task]` call in a process of its own.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says what to do.
    pub fn spawn_call<A>(call: Call<A, R>) -> Result<Self, BuildError>
    where
        A: Task<Tuple: Serialize + DeserializeOwned>,
    {
        ProcessBuilder::new().spawn_call(call)
    }
}

impl Process<()> {
    /// For a process that is a daemon, has limits, or whose output goes elsewhere.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::new()
    }
}

impl ProcessBuilder {
    fn new() -> Self {
        let setup = Setup { is_single: true, ..Setup::default() };
        Self { daemon: false, output: Output::default(), grace: GRACE, start: Start::default(), setup }
    }

    /// A daemon is killed when the main function ends, and not waited for.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Where its standard output and error lead. Said nothing, where those of this process do.
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// How long the call has to stop after it was asked to. Said nothing, half a second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// What it may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits.0;
        self
    }

    /// How it is started.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// As [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says what to do.
    pub fn spawn<A: Travels, R: Travels>(self, function: fn(A) -> R, argument: A) -> Result<Process<R>, BuildError> {
        can_start()?;
        let packed = call::pack_function(function, argument, Way::Descriptors).map_err(BuildError::Argument)?;
        self.start_call(packed).map_err(BuildError::Start)
    }

    /// As [`Process::spawn_call`].
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says what to do.
    pub fn spawn_call<A, R: Travels>(self, call: Call<A, R>) -> Result<Process<R>, BuildError>
    where
        A: Task<Tuple: Serialize + DeserializeOwned>,
    {
        can_start()?;
        let (_, arguments, run) = call.into_parts();
        let packed = call::pack_call(arguments, run, Way::Descriptors).map_err(BuildError::Argument)?;
        self.start_call(packed).map_err(BuildError::Start)
    }

    fn start_call<R: Send + 'static>(self, packed: Packed<R>) -> io::Result<Process<R>> {
        crate::io::watch_for_async();
        let Packed { asked, mut body, unpack, .. } = packed;
        let mut bytes = asked.shim.0.to_le_bytes().to_vec();
        bytes.extend(asked.function.0.to_le_bytes());
        bytes.append(&mut body.bytes);
        let call = Message::new(Body { bytes, ..body })?;
        let (control, theirs) = system::packets()?;
        let Streams { stdout, stderr, said } = self.output.streams()?;
        let running = {
            let mut starters = lock(&STARTERS);
            let place = usize::from(self.start == Start::Exec);
            let starter = starters[place].get_or_insert_with(|| Starter::new(self.start, None));
            starter.start(&self.setup, &[theirs.as_fd(), stdout.as_fd(), stderr.as_fd()])?
        };
        drop((theirs, stdout, stderr));
        let (promise, handle) = Promise::new();
        let mut entry = lone(promise, unpack);
        entry.begin();
        let child = Arc::new(Child {
            running,
            control,
            daemon: self.daemon,
            grace: self.grace,
            ended: Event::new(),
            state: Mutex::new(ChildState {
                entry: Some(entry),
                said,
                reply: None,
                is_silent: false,
                is_reaped: false,
                stop: None,
                kill_at: None,
                status: None,
                oom_kills: oom_kills(),
            }),
        });
        // One that is gone already is found to be so by the watcher.
        let _ = call.send(&child.control, SendFlags::empty());
        if let Err(error) = watch(&child) {
            child.running.kill();
            child.running.reap();
            return Err(error);
        }
        let closes: Arc<dyn crate::thread::Close> = Arc::clone(&child) as _;
        crate::thread::close_at_exit(Arc::downgrade(&closes));
        Ok(Process { handle, child })
    }
}

/// Where such processes come from, by how they are started.
static STARTERS: Mutex<[Option<Starter>; 2]> = Mutex::new([None, None]);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> Process<R> {
    /// The number of the process.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.child.running.pid()
    }

    /// Whether it has not ended yet.
    #[doc(alias = "is_alive")]
    pub fn is_running(&self) -> bool {
        !self.child.ended.is_set()
    }

    /// How it ended; None while it runs. A call that returned ends with 0, one that panicked or failed with 1.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.child.state).status
    }

    /// Waits for its end and gives its status, which is None only if somebody else has reaped it.
    ///
    /// # Cancel safety
    ///
    /// A wait that is cancelled unwinds.
    ///
    /// # Panics
    ///
    /// In async code: await the handle there.
    #[track_caller]
    pub fn wait(&self) -> Option<ExitStatus> {
        self.child.ended.wait();
        self.exit_status()
    }

    /// [`wait`](Self::wait) for so long at most; Err if it runs on.
    ///
    /// # Errors
    ///
    /// [`TaskError::TimedOut`], or [`TaskError::Cancelled`] if the wait was cancelled.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>, TaskError> {
        match self.child.ended.wait_timeout(timeout) {
            Ok(()) => Ok(self.exit_status()),
            Err(ropewalk_core::task::Interrupted::TimedOut) => Err(TaskError::TimedOut),
            Err(_) => Err(TaskError::Cancelled),
        }
    }

    /// Waits for its end and gives the result of the call.
    ///
    /// # Panics
    ///
    /// In async code: await it there.
    ///
    /// # Errors
    ///
    /// How the call ended otherwise; [`TaskError::WorkerDied`], with the status, when the process did not get to its end.
    #[track_caller]
    pub fn join(self) -> Result<R, TaskError> {
        self.handle.join()
    }

    /// [`join`](Self::join) for so long at most, after which the handle stays usable.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`TaskError::TimedOut`] if it runs on.
    #[track_caller]
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R, TaskError> {
        self.handle.join_timeout(timeout)
    }

    /// Asks the call to stop, as [`TaskHandle::cancel`]; its process is killed after the grace.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Sends SIGTERM to the process, which ends it unless the program has a handler.
    pub fn terminate(&self) {
        self.child.running.signal(Signal::TERM);
    }

    /// Kills the process, and what it has started in its group.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// The handle of the call alone, for the verbs that work on handles.
    pub fn into_handle(self) -> TaskHandle<R> {
        self.handle
    }
}

impl<R> Future for Process<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context)
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.id()).field("exit_status", &self.exit_status()).finish()
    }
}

/// Such a process, as its watcher knows it.
struct Child {
    running: Running,
    control: OwnedFd,
    daemon: bool,
    grace: Duration,
    /// Set when it is reaped and its call is settled.
    ended: Event,
    state: Mutex<ChildState>,
}

struct ChildState {
    entry: Option<Box<dyn Pending>>,
    said: Vec<Said>,
    reply: Option<Result<Body, TaskError>>,
    /// Nothing more comes from it.
    is_silent: bool,
    /// Its number may be somebody else's.
    is_reaped: bool,
    /// It was told to stop.
    stop: Option<Reason>,
    kill_at: Option<Instant>,
    status: Option<ExitStatus>,
    oom_kills: u64,
}

impl crate::thread::Close for Child {
    fn end_daemon(&self) {
        if self.daemon {
            self.kill();
        }
    }

    fn close(&self) {
        self.end_daemon();
        self.ended.wait();
    }
}

/// What there is to tell about one when no lock is held.
type Told = (Box<dyn Pending>, Result<Body, TaskError>);

impl Child {
    fn kill(&self) {
        let state = lock(&self.state);
        // Until it is reaped, its group is its own.
        if !state.is_reaped {
            self.running.kill();
        }
    }

    /// Looks at it; true when it has ended and was settled.
    fn look(&self, wake: &mut Option<Instant>) -> bool {
        let (mut heard, mut told) = (Vec::new(), None);
        let has_ended = self.step(&mut lock(&self.state), wake, &mut heard, &mut told);
        heard.iter().for_each(Heard::tell);
        if let Some((entry, outcome)) = told {
            entry.settle(outcome);
        }
        if has_ended {
            self.ended.set();
        }
        has_ended
    }

    fn step(
        &self,
        state: &mut ChildState,
        wake: &mut Option<Instant>,
        heard: &mut Vec<Heard>,
        told: &mut Option<Told>,
    ) -> bool {
        let now = Instant::now();
        let pid = self.running.pid();
        // First, so that what is found after it is all there is.
        let has_ended = self.running.has_ended();
        state.said.iter_mut().for_each(|said| said.listen(pid, heard));
        if !state.is_silent {
            match message::receive(&self.control, RecvFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => {
                    state.is_silent = true;
                    if let Ok(Some(body)) = received {
                        state.reply = Some(reply_of(body));
                        // Its work is done; it must not stay for ever.
                        state.kill_at = now.checked_add(FAREWELL);
                    }
                }
            }
        }
        if has_ended {
            state.status = self.running.reap();
            state.is_reaped = true;
            state.said.iter_mut().for_each(|said| {
                said.listen(pid, heard);
                said.end(pid, heard);
            });
            let stderr = state.said.last_mut().map(Said::tail).unwrap_or_default();
            let died = match state.stop {
                Some(reason) => error_of(reason),
                None => death(pid, state.status, None, stderr, &mut state.oom_kills),
            };
            let outcome = state.reply.take().unwrap_or(Err(died));
            *told = state.entry.take().map(|entry| (entry, outcome));
            return true;
        }
        if let Some(entry) = state.entry.as_ref().filter(|_| state.stop.is_none() && state.reply.is_none()) {
            let deadline = entry.deadline();
            let late = deadline.filter(|deadline| *deadline <= now).map(|_| Reason::Deadline);
            if let Some(reason) = entry.interrupt().reason().or(late) {
                state.stop = Some(reason);
                state.kill_at = now.checked_add(self.grace);
                // A full socket is one that nobody listens to: then the grace passes.
                let stop = Message::new(Body { bytes: vec![u8::from(reason == Reason::Deadline)], ..Body::default() });
                let _ = stop.and_then(|stop| stop.send(&self.control, SendFlags::DONTWAIT));
            } else {
                *wake = (*wake).into_iter().chain(deadline).min();
            }
        }
        if let Some(kill_at) = state.kill_at {
            if kill_at <= now {
                self.running.kill();
            } else {
                *wake = Some(wake.map_or(kill_at, |wake| wake.min(kill_at)));
            }
        }
        false
    }
}

/// What a process has replied.
fn reply_of(mut body: Body) -> Result<Body, TaskError> {
    match body.bytes.pop() {
        Some(DONE) => Ok(body),
        Some(FAILED) => Err(wire::error_of(body)),
        _ => Err(TaskError::worker_died("its reply made no sense")),
    }
}

/// The last byte of a reply.
const DONE: u8 = 0;
const FAILED: u8 = 1;

/// The thread that looks after such processes, once there is one; it lives as long as the program.
struct Watch {
    bell: Arc<Bell>,
    coming: Arc<Mutex<Vec<Arc<Child>>>>,
}

fn watch(child: &Arc<Child>) -> io::Result<()> {
    static WATCH: Mutex<Option<Watch>> = Mutex::new(None);
    let mut watch = lock(&WATCH);
    let watch = match &mut *watch {
        Some(watch) => watch,
        none => none.insert(start_watcher()?),
    };
    if let Some(entry) = &lock(&child.state).entry {
        entry.interrupt().leave_waker(&Waker::from(Arc::clone(&watch.bell)));
    }
    lock(&watch.coming).push(Arc::clone(child));
    watch.bell.ring();
    Ok(())
}

fn start_watcher() -> io::Result<Watch> {
    let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let bell = Arc::new(Bell { descriptor, cancels: AtomicBool::new(false) });
    let coming = Arc::default();
    let (rings, comes) = (Arc::clone(&bell), Arc::clone(&coming));
    let mut watcher = Watcher {
        bell: rings,
        coming: comes,
        children: Vec::new(),
        talking: Vec::new(),
        pipes: Vec::new(),
        next_look: None,
    };
    std::thread::Builder::new().name("ropewalk-children".to_owned()).spawn(move || {
        while crate::io::descriptor::drive(&mut watcher).is_err() {
            // Out of memory for a moment: there is nothing better than to try again.
            std::thread::yield_now();
        }
    })?;
    Ok(Watch { bell, coming })
}

struct Watcher {
    bell: Arc<Bell>,
    coming: Arc<Mutex<Vec<Arc<Child>>>>,
    children: Vec<Arc<Child>>,
    /// Those that have not said all yet.
    talking: Vec<Arc<Child>>,
    /// Their streams that are not at their end.
    pipes: Vec<Arc<PipeReader>>,
    next_look: Option<Instant>,
}

impl Operation for Watcher {
    type Output = ();

    fn step(&mut self) -> Step<()> {
        self.bell.silence();
        // Cancels are looked for at each step.
        self.bell.cancels.store(false, Ordering::Relaxed);
        self.children.append(&mut lock(&self.coming));
        let mut wake = None;
        self.children.retain(|child| !child.look(&mut wake));
        self.next_look = wake;
        self.pipes.clear();
        self.talking.clear();
        for child in &self.children {
            let state = lock(&child.state);
            if !state.is_silent {
                self.talking.push(Arc::clone(child));
            }
            let open = state.said.iter().filter(|said| !said.is_over);
            self.pipes.extend(open.map(|said| Arc::clone(&said.pipe)));
        }
        Step::Wait
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.bell.descriptor.as_fd(), Interest::Read);
        for child in &self.children {
            name(child.running.end(), Interest::Read);
        }
        self.talking.iter().for_each(|child| name(child.control.as_fd(), Interest::Read));
        self.pipes.iter().for_each(|pipe| name(pipe.as_fd(), Interest::Read));
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_look
    }
}

/// The descriptors of such a process.
pub(super) struct Ends {
    control: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Ends {
    pub(super) fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [control, stdout, stderr] = descriptors.try_into().ok()?;
        Some(Self { control, stdout, stderr })
    }
}

/// What such a process does until its end.
pub(super) fn run(ends: Ends, setup: &Setup) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let Ends { control, stdout, stderr } = ends;
    worker::settle_in(&stdout, &stderr, setup).map_err(text)?;
    drop((stdout, stderr));
    // Without a call: whoever started it has died before it could send one.
    let Some(mut body) = message::receive(&control, RecvFlags::empty()).map_err(text)? else { return Ok(()) };
    if body.bytes.len() < 16 {
        return Err("the call makes no sense".to_owned());
    }
    let arguments = body.bytes.split_off(16);
    let offset = |at: usize| Offset(u64::from_le_bytes(body.bytes[at..at + 8].try_into().expect("eight bytes")));
    let (shim, function) = (offset(0).address(), offset(8).address());
    let (Some(shim), Some(function)) = (shim, function) else {
        return Err("the call names a function that is not in the image".to_owned());
    };
    let body = Body { bytes: arguments, ..body };
    let interrupt = Arc::new(Interrupt::new());
    let (listens, lifeline) = (Arc::clone(&interrupt), control.try_clone().map_err(text)?);
    let listener = std::thread::Builder::new().name("ropewalk-lifeline".to_owned());
    listener.spawn(move || listen(&lifeline, &listens)).map_err(text)?;
    // SAFETY: the parent wrote the offset of a shim, and runs the same image.
    let shim = unsafe { image::shim(shim) };
    let mut job = Job::new(None, Way::Descriptors);
    let called = AssertUnwindSafe(|| {
        park::with_task(&interrupt, None, Runs::Apart, || shim(function, body, &mut job));
    });
    if let Err(payload) = catch_unwind(called) {
        job.reply.0 = Some(Err(TaskError::of_unwind(payload)));
    }
    let (kind, mut body) = match job.reply.0 {
        Some(Ok(body)) => (DONE, body),
        Some(Err(error)) => (FAILED, wire::told(&error)),
        None => (FAILED, Body::default()),
    };
    body.bytes.push(kind);
    Message::new(body).and_then(|reply| reply.send(&control, SendFlags::empty())).map_err(text)?;
    worker::exit(i32::from(kind == FAILED))
}

/// Passes on what the parent says, and ends the process when the parent is gone.
fn listen(lifeline: &OwnedFd, interrupt: &Interrupt) {
    let parent = worker::Parent::behind(lifeline);
    while parent.is_there(lifeline)
        && let Ok(Some(message)) = message::receive(lifeline, RecvFlags::empty())
    {
        interrupt.raise(if message.bytes == [1] { Reason::Deadline } else { Reason::Cancelled });
    }
    worker::end_group();
}
