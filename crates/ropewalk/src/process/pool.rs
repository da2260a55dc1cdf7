//! The pool: its queue, its workers and what is under way, and the one thread that looks after them.
//!
//! # Who does what
//!
//! Whoever submits puts the task into the queue and, under the same lock, moves what fits into the rings of workers that have
//! room in their window: no other thread takes part in that. The *keeper*, a thread, takes the replies out of the rings, learns
//! of deaths, passes on cancels and time limits, and starts workers. It sleeps on the bell that workers and cancels ring and
//! on the descriptors of its processes.
//!
//! # The states of a task
//!
//! *Queued* → *under way* (its frame is, or will be, in the ring of one worker) → *settled*. A worker says in shared memory
//! which task it has begun. When it dies, replies that were complete count; the task that was begun and not replied to has died
//! with it; all others go back to the front of the queue. So one death costs one task, and every task is settled once:
//! whoever takes it out of `under_way` or `queue` settles it, under the lock, and its end is told when the lock is gone.
//!
//! # Windows
//!
//! A worker has one task under way, or a few more where tasks have been short lately, so that it need not wait for the next. More
//! would lie behind a long one while others are idle. Whoever wants none there at all says so to the builder.

use super::ring::{self, Reader, Writer};
use super::start::{Process, Starter};
use super::wire::{self, Asked, Head, Incoming, Outgoing};
use super::worker::{Ends, Setup, stop_message};
use crate::executor::roster::{Member, Roster};
use crate::io::descriptor::{Interest, Operation, Step};
use crate::task::TaskError;
use ropewalk_core::park::{Interrupt, Reason};
use ropewalk_core::sync::Event;
use ropewalk_core::task::promise::Promise;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// After so many deaths without a task that ended in between the pool takes no more.
const DEATHS_MAX: u32 = 40;
/// The longest pause before a worker is started in the place of one that died.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Tasks under way with one worker at most.
pub(super) const WINDOW_MAX: usize = 16;
/// A window is as wide as what a worker does in this time.
const WINDOW_TIME: Duration = Duration::from_micros(200);
/// How long the keeper looks for a reply before it sleeps, where that has paid lately.
const SPIN: Duration = Duration::from_micros(30);
/// How often the memory of a worker is looked at.
const MEMORY_LOOK: Duration = Duration::from_millis(50);

/// Bytes of what a worker wrote to standard error that are told with its death.
const STDERR_BYTES_KEPT: usize = 8 * 1024;
/// How often in a row it is read from: 64 KiB in all.
const STDERR_READS: usize = 16;
/// Why a worker is ended whose initializer did not come to a good end.
const INITIALIZER: &str = "its initializer failed";

/// Why a worker is ended that has done, or grown, enough.
const DONE_ENOUGH: &str = "it has done enough";

/// How the pool is set up.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) workers: usize,
    pub(super) queue_limit: usize,
    pub(super) window_max: usize,
    pub(super) task_timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) tasks_max: Option<u64>,
    pub(super) rss_max: Option<u64>,
    pub(super) setup: Setup,
    pub(super) output: Output,
    /// What each worker does before its first task.
    pub(super) initializer: Option<(Asked, Vec<u8>)>,
}

/// Where standard output and error of the workers lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Where those of this process do.
    #[default]
    Inherited,
    /// Nowhere.
    Null,
    /// Standard output nowhere; the last of standard error is told with the death of a worker.
    Tail,
}

/// Wakes the keeper.
pub(super) struct Bell {
    descriptor: OwnedFd,
    /// A task was cancelled, or all: the queue has to be looked through.
    cancels: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        // If its count is full, it rings already.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    /// Wakes the keeper to look for what was cancelled.
    fn ring_for_cancel(&self) {
        // Release: pairs with the swap of the keeper.
        self.cancels.store(true, Ordering::Release);
        self.ring();
    }

    fn silence(&self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring_for_cancel();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring_for_cancel();
    }
}

/// A task as the pool knows it.
trait Pending: Send {
    /// It goes to a worker. False when it was cancelled before.
    fn begin(&mut self) -> bool;
    /// Whether it was cancelled before it began: its handle knows already.
    fn is_abandoned(&self) -> bool;
    fn interrupt(&self) -> &Interrupt;
    fn deadline(&self) -> Option<Instant>;
    /// Its end. Runs code of the user: without the lock.
    fn settle(self: Box<Self>, outcome: Result<Vec<u8>, TaskError>);
}

struct Entry<R> {
    promise: Promise<R>,
    unpack: fn(&[u8]) -> Result<R, TaskError>,
    has_begun: bool,
    /// Left when the task has ended.
    _member: Member,
}

impl<R: Send + 'static> Pending for Entry<R> {
    fn begin(&mut self) -> bool {
        self.has_begun = self.promise.begin();
        self.has_begun
    }

    fn is_abandoned(&self) -> bool {
        !self.has_begun && !self.promise.runnable().is_pending()
    }

    fn interrupt(&self) -> &Interrupt {
        self.promise.interrupt()
    }

    fn deadline(&self) -> Option<Instant> {
        self.promise.deadline()
    }

    fn settle(self: Box<Self>, outcome: Result<Vec<u8>, TaskError>) {
        let Self { promise, unpack, _member, .. } = *self;
        // `Deserialize` of the user's may panic; then that is how the task ended.
        let outcome = outcome.and_then(|bytes| {
            catch_unwind(AssertUnwindSafe(|| unpack(&bytes)))
                .unwrap_or_else(|payload| Err(TaskError::of_unwind(payload)))
        });
        promise.complete(outcome);
    }
}

/// What a worker does first: no task of anybody's.
struct Initializer(Interrupt);

impl Pending for Initializer {
    fn begin(&mut self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn interrupt(&self) -> &Interrupt {
        &self.0
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn settle(self: Box<Self>, _outcome: Result<Vec<u8>, TaskError>) {}
}

/// What a worker has written to its standard error.
struct Said {
    pipe: Arc<io::PipeReader>,
    /// Nobody writes to it any more.
    is_over: bool,
    tail: VecDeque<u8>,
}

impl Said {
    /// Takes what there is, and keeps the end of it. No more than a pipe holds at a time: whoever writes for ever must not keep
    /// the others waiting.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        for _ in 0..STDERR_READS {
            match (&*self.pipe).read(&mut bytes) {
                Ok(0) => {
                    self.is_over = true;
                    return;
                }
                Ok(count) => self.tail.extend(&bytes[..count]),
                Err(_) => return,
            }
            let too_many = self.tail.len().saturating_sub(STDERR_BYTES_KEPT);
            self.tail.drain(..too_many);
        }
    }
}

struct Queued {
    entry: Box<dyn Pending>,
    asked: Asked,
    body: Vec<u8>,
}

/// A task that is with a worker.
struct UnderWay {
    number: u64,
    entry: Box<dyn Pending>,
    asked: Asked,
    frame: Outgoing,
    is_written: bool,
    /// It was told to stop, and so it ends if its worker has to be killed.
    stop: Option<Reason>,
    /// When its worker is killed.
    kill_at: Option<Instant>,
}

/// A task's end, to be told when the lock is gone.
type Settled = (Box<dyn Pending>, Result<Vec<u8>, TaskError>);

struct Worker {
    /// What it says on standard error, where that is kept.
    said: Option<Said>,
    process: Arc<Process>,
    writer: Writer,
    reader: Reader,
    incoming: Incoming,
    lifeline: UnixStream,
    under_way: VecDeque<UnderWay>,
    /// Since when the task at the front may run: since it was sent, or since the one before it has ended.
    since: Instant,
    done: u64,
    tasks_max: u64,
    /// It has grown too large: it goes when it has done what it has.
    is_leaving: bool,
    looked_at_memory: Instant,
    /// Its ring is corrupt, or it was told to go: it gets nothing more.
    condemned: Option<&'static str>,
}

struct State {
    queue: VecDeque<Queued>,
    /// The first deadline of a task in the queue, or an earlier one.
    queue_deadline: Option<Instant>,
    workers: Vec<Worker>,
    next_number: u64,
    /// What a task has taken lately.
    average: Duration,
    window_max: usize,
    deaths_in_a_row: u32,
    not_before: Option<Instant>,
    unhealthy: Option<String>,
    is_closed: bool,
    is_killed: bool,
    counts: Counts,
}

/// What has happened in a pool so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Workers that were started.
    pub started: u64,
    /// Workers that died, of themselves or by somebody else's hand.
    pub died: u64,
    /// Workers that were replaced since they had done, or grown, enough.
    pub retired: u64,
    /// Tasks that ended, however.
    pub settled: u64,
}

pub(super) struct Pool {
    state: Mutex<State>,
    bell: Arc<Bell>,
    waker: Waker,
    pub(super) roster: Arc<Roster>,
    pub(super) settings: Settings,
    /// Set when the keeper has ended and every worker is reaped.
    pub(super) ended: Event,
    keeper: OnceLock<ThreadId>,
}

impl Pool {
    /// A pool with its first worker, whose start tells whether there can be any.
    pub(super) fn start(settings: Settings, mut starter: Starter) -> io::Result<Arc<Self>> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = Arc::new(Bell { descriptor, cancels: AtomicBool::new(false) });
        let state = State {
            queue: VecDeque::new(),
            queue_deadline: None,
            workers: Vec::new(),
            next_number: 1,
            average: Duration::from_millis(1),
            window_max: settings.window_max,
            deaths_in_a_row: 0,
            not_before: None,
            unhealthy: None,
            is_closed: false,
            is_killed: false,
            counts: Counts::default(),
        };
        let pool = Arc::new(Self {
            state: Mutex::new(state),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            roster: Arc::default(),
            settings,
            ended: Event::new(),
            keeper: OnceLock::new(),
        });
        let worker = pool.start_worker(&mut starter)?;
        pool.state().workers.push(worker);
        let mut keeper = Keeper::new(Arc::clone(&pool), starter);
        std::thread::Builder::new().name("ropewalk-processes".to_owned()).spawn(move || keeper.keep())?;
        Ok(pool)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user's runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_worker(&self, starter: &mut Starter) -> io::Result<Worker> {
        let memory = ring::memory()?;
        let (writer, reader) = ring::pool_ends(&memory)?;
        let (lifeline, theirs) = UnixStream::pair()?;
        lifeline.set_nonblocking(true)?;
        let stream = |descriptor: BorrowedFd<'_>| match self.settings.output {
            Output::Inherited => descriptor.try_clone_to_owned(),
            _ => std::fs::OpenOptions::new().write(true).open("/dev/null").map(OwnedFd::from),
        };
        let (said, stderr) = match self.settings.output {
            Output::Tail => {
                let (reads, writes) = io::pipe()?;
                rustix::io::ioctl_fionbio(&reads, true)?;
                (Some(reads), writes.into())
            }
            _ => (None, stream(io::stderr().as_fd())?),
        };
        let ends = Ends {
            memory,
            bell: self.bell.descriptor.try_clone()?,
            lifeline: theirs.into(),
            stdout: stream(io::stdout().as_fd())?,
            stderr,
        };
        let process = Arc::new(starter.start(&self.settings.setup, &ends)?);
        self.state().counts.started += 1;
        let now = Instant::now();
        let mut worker = Worker {
            said: said.map(|pipe| Said { pipe: Arc::new(pipe), is_over: false, tail: VecDeque::new() }),
            process,
            writer,
            reader,
            incoming: Incoming::default(),
            lifeline,
            under_way: VecDeque::new(),
            since: now,
            done: 0,
            tasks_max: self.settings.tasks_max.unwrap_or(u64::MAX),
            is_leaving: false,
            looked_at_memory: now,
            condemned: None,
        };
        if let Some((asked, body)) = &self.settings.initializer {
            let body = body.clone();
            let frame = Outgoing::new(Head::new(0, asked.shim.0, asked.function.0, &body), body);
            let entry = Box::new(Initializer(Interrupt::new()));
            worker.under_way.push_back(UnderWay {
                number: 0,
                entry,
                asked: *asked,
                frame,
                is_written: false,
                stop: None,
                kill_at: None,
            });
            worker.write();
        }
        Ok(worker)
    }

    /// Takes a task, whose place is `member`.
    pub(super) fn submit<R: Send + 'static>(
        &self,
        member: Member,
        packed: super::call::Packed<R>,
    ) -> crate::task::TaskHandle<R> {
        let (promise, handle) = Promise::new();
        self.roster.list(&promise.runnable());
        promise.interrupt().leave_waker(&self.waker);
        let deadline = promise.deadline();
        let has_deadline = deadline.is_some() || self.settings.task_timeout.is_some();
        let entry = Box::new(Entry { promise, unpack: packed.unpack, has_begun: false, _member: member });
        let mut settled = Vec::new();
        let mut state = self.state();
        match &state.unhealthy {
            Some(reason) => settled.push((entry as _, Err(TaskError::WorkerDied { reason: reason.clone() }))),
            None => {
                state.queue.push_back(Queued { entry, asked: packed.asked, body: packed.body });
                state.queue_deadline = state.queue_deadline.into_iter().chain(deadline).min();
                state.hand_out(&mut settled);
            }
        }
        // The keeper sleeps: it has to know of the deadline, goes on with what a ring has no room for, or waits for the last
        // one to leave.
        let wakes =
            has_deadline || state.is_closed || !settled.is_empty() || state.workers.iter().any(Worker::has_unwritten);
        drop(state);
        settle(settled);
        if wakes {
            self.bell.ring();
        }
        handle
    }

    /// Somebody has left the roster whom the keeper has not settled; it may wait for the last one.
    pub(super) fn somebody_left(&self) {
        self.bell.ring();
    }

    /// Takes no more; the keeper ends it all when nothing is left. Killed, nothing that runs is waited for.
    pub(super) fn close(&self, kill: bool) {
        self.roster.close();
        let mut state = self.state();
        state.is_closed = true;
        state.is_killed |= kill;
        drop(state);
        self.bell.ring_for_cancel();
    }

    /// Whether the caller is the keeper: a callback, which cannot wait for the pool.
    pub(super) fn is_keeper(&self) -> bool {
        self.keeper.get() == Some(&std::thread::current().id())
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.state().unhealthy.is_some()
    }

    /// The processes of the workers there are.
    pub(super) fn worker_ids(&self) -> Vec<u32> {
        self.state().workers.iter().map(|worker| worker.process.pid()).collect()
    }
}

/// Tells the ends of tasks, without the lock.
fn settle(settled: Vec<Settled>) {
    for (entry, outcome) in settled {
        entry.settle(outcome);
    }
}

fn error_of(reason: Reason) -> TaskError {
    match reason {
        Reason::Deadline => TaskError::TimedOut,
        Reason::Cancelled => TaskError::Cancelled,
    }
}

impl State {
    fn window(&self) -> usize {
        let short = WINDOW_TIME.as_nanos() / self.average.as_nanos().max(1);
        usize::try_from(short).unwrap_or(WINDOW_MAX).clamp(1, self.window_max)
    }

    /// Moves tasks from the queue into the windows of workers, the emptiest first, and frames into their rings.
    fn hand_out(&mut self, settled: &mut Vec<Settled>) {
        let window = self.window();
        while !self.queue.is_empty() {
            let takes = |worker: &&mut Worker| worker.takes(window);
            let Some(worker) = self.workers.iter_mut().filter(takes).min_by_key(|worker| worker.under_way.len()) else {
                return;
            };
            let mut queued = self.queue.pop_front().expect("it is not empty");
            if !queued.entry.begin() {
                settled.push((queued.entry, Err(TaskError::Cancelled)));
                continue;
            }
            if let Some(reason) = queued.entry.interrupt().reason() {
                settled.push((queued.entry, Err(error_of(reason))));
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            let head = Head::new(number, queued.asked.shim.0, queued.asked.function.0, &queued.body);
            if worker.under_way.is_empty() {
                worker.since = Instant::now();
            }
            worker.under_way.push_back(UnderWay {
                number,
                entry: queued.entry,
                asked: queued.asked,
                frame: Outgoing::new(head, queued.body),
                is_written: false,
                stop: None,
                kill_at: None,
            });
            worker.write();
        }
    }
}

impl State {
    /// Settles what was cancelled, or is too late, in the queue.
    fn look_through_queue(&mut self, now: Instant, settled: &mut Vec<Settled>) {
        self.queue_deadline = None;
        for mut queued in std::mem::take(&mut self.queue) {
            let entry = &queued.entry;
            let late = entry.deadline().filter(|deadline| *deadline <= now).map(|_| Reason::Deadline);
            let abandoned = entry.is_abandoned().then_some(Reason::Cancelled);
            match abandoned.or(entry.interrupt().reason()).or(late) {
                Some(reason) => {
                    queued.entry.begin();
                    settled.push((queued.entry, Err(error_of(reason))));
                }
                None => {
                    self.queue_deadline = self.queue_deadline.into_iter().chain(entry.deadline()).min();
                    self.queue.push_back(queued);
                }
            }
        }
    }
}

impl Worker {
    /// Whether it is given one more.
    fn takes(&self, window: usize) -> bool {
        let count = self.under_way.len();
        self.condemned.is_none() && count < window && self.done + (count as u64) < self.tasks_max && !self.is_leaving
    }

    /// Whether its ring was too full for what it has.
    fn has_unwritten(&self) -> bool {
        self.under_way.back().is_some_and(|task| !task.is_written)
    }

    /// Writes what the ring has room for.
    fn write(&mut self) {
        for task in self.under_way.iter_mut().filter(|task| !task.is_written) {
            match task.frame.write(&mut self.writer) {
                Ok(all) => task.is_written = all,
                Err(ring::Corrupt) => self.condemned = Some("it wrote what makes no sense into its ring"),
            }
            if !task.is_written {
                break;
            }
        }
        self.writer.wake_reader();
    }

    /// Takes the replies that there are, and says how many.
    fn read(&mut self, average: &mut Duration, settled: &mut Vec<Settled>) -> usize {
        let before = settled.len();
        loop {
            match self.incoming.next(&mut self.reader) {
                Ok(Some((head, body))) => {
                    let is_next = self.under_way.front().is_some_and(|task| task.number == head.task);
                    let Some(task) = is_next.then(|| self.under_way.pop_front()).flatten() else {
                        self.condemned = Some("it replied to a task that it does not have");
                        break;
                    };
                    if task.number == 0 {
                        // Whoever begins badly never gets a task.
                        if head.a != wire::DONE {
                            self.condemned = Some(INITIALIZER);
                        }
                        self.since = Instant::now();
                        continue;
                    }
                    let outcome = match head.a {
                        wire::DONE => Ok(body),
                        // A wait that its end has reached, or one that was cancelled otherwise, is told by the worker.
                        _ => Err(wire::error_of(&body)),
                    };
                    // Seven eighths of what was known before.
                    *average = (*average * 7 + Duration::from_nanos(head.b)) / 8;
                    settled.push((task.entry, outcome));
                    self.since = Instant::now();
                    self.done += 1;
                }
                Ok(None) => break,
                Err(ring::Corrupt) => {
                    self.condemned = Some("it wrote what makes no sense into its ring");
                    break;
                }
            }
        }
        self.reader.wake_writer();
        settled.len() - before
    }

    /// Tells a task under way to stop, once.
    fn stop(&mut self, place: usize, reason: Reason, grace: Duration) {
        let task = &mut self.under_way[place];
        if task.stop.is_none() {
            task.stop = Some(reason);
            // A full socket is one that nobody listens to: then the grace passes.
            let _ = self.lifeline.write(&stop_message(task.number, reason));
        }
        // What it may still do counts from when it may run.
        if place == 0 && task.kill_at.is_none() {
            task.kill_at = Instant::now().checked_add(grace);
        }
    }

    fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.process.pid())).unwrap_or_default();
        let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }
}

/// The thread that looks after the pool.
struct Keeper {
    pool: Arc<Pool>,
    starter: Starter,
    /// What it sleeps on besides the bell.
    processes: Vec<Arc<Process>>,
    pipes: Vec<Arc<io::PipeReader>>,
    next_look: Option<Instant>,
    /// How well looking before sleeping has paid.
    spins: i32,
    oom_kills: u64,
}

/// The keeper ends. If it does by a panic, which is a bug of ours, nobody is left waiting.
struct EndOfAll(Arc<Pool>);

impl Drop for EndOfAll {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the thread that keeps the pool has panicked; this is a bug in ropewalk".to_owned();
            let mut state = self.0.state();
            let queued = state.queue.drain(..).map(|queued| queued.entry).collect::<Vec<_>>();
            let workers = std::mem::take(&mut state.workers);
            state.unhealthy = Some(reason.clone());
            drop(state);
            workers.iter().for_each(|worker| worker.process.kill());
            let under_way = workers.into_iter().flat_map(|worker| worker.under_way).map(|task| task.entry);
            let failed = || Err(TaskError::WorkerDied { reason: reason.clone() });
            settle(queued.into_iter().chain(under_way).map(|entry| (entry, failed())).collect());
        }
        self.0.ended.set();
    }
}

impl Keeper {
    fn new(pool: Arc<Pool>, starter: Starter) -> Self {
        Self {
            pool,
            starter,
            processes: Vec::new(),
            pipes: Vec::new(),
            next_look: None,
            spins: 0,
            oom_kills: oom_kills(),
        }
    }

    fn keep(&mut self) {
        let _ = self.pool.keeper.set(std::thread::current().id());
        let _end = EndOfAll(Arc::clone(&self.pool));
        while crate::io::descriptor::drive(self).is_err() {
            // Out of memory for a moment: there is nothing better than to try again.
            std::thread::yield_now();
        }
    }

    /// Replaces the dead, kills those whose time is over, and says when to look again.
    fn look_after(&mut self, state: &mut State, settled: &mut Vec<Settled>) -> (Vec<Worker>, Option<Instant>) {
        let now = Instant::now();
        let settings = &self.pool.settings;
        let mut wake: Option<Instant> = None;
        let mut at = |when: Instant| wake = Some(wake.map_or(when, |wake| wake.min(when)));
        if state.is_killed {
            state.queue.drain(..).for_each(|queued| settled.push((queued.entry, Err(TaskError::Cancelled))));
        }
        // Acquire: pairs with the Release of whoever cancelled.
        let cancels = self.pool.bell.cancels.swap(false, Ordering::Acquire);
        if cancels || state.queue_deadline.is_some_and(|deadline| deadline <= now) {
            state.look_through_queue(now, settled);
        }
        state.queue_deadline.into_iter().for_each(&mut at);
        for worker in &mut state.workers {
            for place in 0..worker.under_way.len() {
                let task = &worker.under_way[place];
                // The initializer, which is number 0, is no task.
                let limit = settings.task_timeout.filter(|_| place == 0 && task.number != 0);
                let limit = limit.and_then(|limit| worker.since.checked_add(limit));
                let deadline = task.entry.deadline().into_iter().chain(limit).min();
                let raised = task.entry.interrupt().reason();
                let late = deadline.filter(|deadline| *deadline <= now).map(|_| Reason::Deadline);
                if let Some(reason) = raised.or(late) {
                    worker.stop(place, reason, settings.grace);
                } else {
                    deadline.into_iter().for_each(&mut at);
                }
                let kill_at = worker.under_way[place].kill_at;
                if state.is_killed || kill_at.is_some_and(|kill_at| kill_at <= now) {
                    worker.condemned.get_or_insert("its task did not stop when it was asked to");
                } else {
                    kill_at.into_iter().for_each(&mut at);
                }
            }
            if let Some(most) = settings.rss_max
                && now >= worker.looked_at_memory + MEMORY_LOOK
            {
                worker.looked_at_memory = now;
                worker.is_leaving = worker.is_leaving || worker.rss() > most;
            }
            let is_over = worker.is_leaving || worker.done >= worker.tasks_max;
            if worker.under_way.is_empty() && is_over && worker.condemned.is_none() {
                worker.condemned = Some(DONE_ENOUGH);
                state.counts.retired += 1;
            }
            if worker.condemned.is_some() {
                worker.process.kill();
            }
        }
        let mut dead = Vec::new();
        let mut place = 0;
        while place < state.workers.len() {
            if state.workers[place].process.has_ended() {
                dead.push(state.workers.swap_remove(place));
            } else {
                place += 1;
            }
        }
        (dead, wake)
    }

    /// What became of the tasks of a worker that has died.
    fn bury(&mut self, state: &mut State, mut worker: Worker, settled: &mut Vec<Settled>) {
        // What it had replied before counts.
        worker.read(&mut state.average, settled);
        let begun = worker.reader.begun();
        let pid = worker.process.pid();
        let status = worker.process.reap();
        let is_retired = worker.condemned == Some(DONE_ENOUGH);
        if !is_retired && !state.is_killed {
            state.counts.died += 1;
            let weight = if worker.condemned == Some(INITIALIZER) { DEATHS_MAX / 4 } else { 1 };
            state.deaths_in_a_row = if worker.done > 0 { 1 } else { state.deaths_in_a_row + weight };
            let wait = Duration::from_millis(1 << state.deaths_in_a_row.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
            if state.deaths_in_a_row > 1 {
                state.not_before = Some(Instant::now() + wait);
            }
        }
        while let Some(task) = worker.under_way.pop_back() {
            if task.number == 0 {
                continue;
            }
            let has_begun = task.number == begun;
            if let Some(reason) = task.stop {
                settled.push((task.entry, Err(error_of(reason))));
            } else if state.is_killed {
                settled.push((task.entry, Err(TaskError::Cancelled)));
            } else if has_begun {
                let reason = self.obituary(pid, status, &mut worker);
                settled.push((task.entry, Err(TaskError::WorkerDied { reason })));
            } else {
                let UnderWay { entry, asked, frame, .. } = task;
                state.queue_deadline = state.queue_deadline.into_iter().chain(entry.deadline()).min();
                state.queue.push_front(Queued { entry, asked, body: frame.into_body() });
            }
        }
        if state.deaths_in_a_row > DEATHS_MAX {
            let last = self.obituary(pid, status, &mut worker);
            state.unhealthy = Some(format!(
                "the pool gave up after {DEATHS_MAX} workers had died without a task done; the last: {last}"
            ));
        }
        // Also what came back from a worker that had done something, when the pool had given up before.
        if let Some(reason) = state.unhealthy.clone() {
            let fail = |queued: Queued| (queued.entry, Err(TaskError::WorkerDied { reason: reason.clone() }));
            settled.extend(state.queue.drain(..).map(fail));
        }
    }

    /// What is known about a death.
    fn obituary(&mut self, pid: u32, status: Option<ExitStatus>, worker: &mut Worker) -> String {
        let condemned = worker.condemned;
        let status_text = status.map_or("how is not known".to_owned(), |status| status.to_string());
        let mut text = format!("process {pid}: {status_text}");
        if let Some(condemned) = condemned {
            text = format!("{text}; {condemned}");
        }
        if condemned.is_none() && status.is_some_and(|status| status.signal() == Some(9)) {
            let kills = oom_kills();
            if kills > std::mem::replace(&mut self.oom_kills, kills) {
                text.push_str("; the system was out of memory, which is why, most likely");
            }
        }
        if let Some(said) = &mut worker.said {
            said.listen();
            let said = String::from_utf8_lossy(said.tail.make_contiguous()).trim_end().to_owned();
            if !said.is_empty() {
                text = format!("{text}; it said last:\n{said}");
            }
        }
        text
    }

    /// Starts what is missing, and says when to try again, and whether tasks were given up. Without the lock: it takes a moment.
    fn start_missing(&mut self) -> (Option<Instant>, bool) {
        let mut has_settled = false;
        loop {
            let state = self.pool.state();
            let wanted = match (state.is_closed, &state.unhealthy) {
                (_, Some(_)) => 0,
                (true, None) if state.queue.is_empty() => 0,
                _ => self.pool.settings.workers,
            };
            if state.workers.len() >= wanted || state.is_killed {
                return (None, has_settled);
            }
            if let Some(when) = state.not_before.filter(|when| *when > Instant::now()) {
                return (Some(when), has_settled);
            }
            drop(state);
            let started = self.pool.start_worker(&mut self.starter);
            let mut settled = Vec::new();
            let mut state = self.pool.state();
            match started {
                Ok(worker) => {
                    self.processes.push(Arc::clone(&worker.process));
                    state.workers.push(worker);
                    state.hand_out(&mut settled);
                }
                Err(error) => {
                    state.deaths_in_a_row += 1;
                    state.not_before = Some(Instant::now() + BACK_OFF_MAX / 4);
                    if state.deaths_in_a_row > DEATHS_MAX && state.workers.is_empty() {
                        let reason = format!("the pool gave up: no worker can be started ({error})");
                        let queue = std::mem::take(&mut state.queue);
                        let fail =
                            |queued: Queued| (queued.entry, Err(TaskError::WorkerDied { reason: reason.clone() }));
                        settled.extend(queue.into_iter().map(fail));
                        state.unhealthy = Some(reason);
                    }
                }
            }
            drop(state);
            has_settled |= !settled.is_empty();
            settle(settled);
        }
    }

    /// Looks for a reply for a moment, where that has paid lately: to be woken takes longer.
    fn spin(&mut self) -> bool {
        if self.spins <= -3 || !self.pool.settings.setup.may_spin {
            return false;
        }
        let until = Instant::now() + SPIN;
        while Instant::now() < until {
            let state = self.pool.state();
            let busy = state.workers.iter().any(|worker| !worker.under_way.is_empty());
            let replied = state.workers.iter().any(|worker| !worker.reader.is_empty());
            drop(state);
            if replied {
                self.spins = (self.spins + 1).min(3);
                return true;
            }
            if !busy {
                return false;
            }
            std::hint::spin_loop();
        }
        self.spins -= 1;
        false
    }
}

impl Operation for Keeper {
    type Output = ();

    fn step(&mut self) -> Step<()> {
        self.pool.bell.silence();
        let pool = Arc::clone(&self.pool);
        let mut settled: Vec<Settled> = Vec::new();
        let mut state = pool.state();
        let State { workers, average, .. } = &mut *state;
        workers.iter_mut().filter_map(|worker| worker.said.as_mut()).for_each(Said::listen);
        let replies: usize = workers.iter_mut().map(|worker| worker.read(average, &mut settled)).sum();
        if replies > 0 {
            state.deaths_in_a_row = 0;
        }
        let (dead, wake) = self.look_after(&mut state, &mut settled);
        for worker in dead {
            self.bury(&mut state, worker, &mut settled);
        }
        state.workers.iter_mut().for_each(Worker::write);
        state.hand_out(&mut settled);
        state.counts.settled += settled.len() as u64;
        let is_idle = state.queue.is_empty() && state.workers.iter().all(|worker| worker.under_way.is_empty());
        let ends = state.is_closed && is_idle;
        drop(state);
        let has_settled = !settled.is_empty();
        settle(settled);
        if ends && !has_settled && pool.roster.alive() == 0 {
            let workers = std::mem::take(&mut pool.state().workers);
            self.processes.clear();
            for worker in workers {
                worker.process.kill();
                worker.process.reap();
            }
            return Step::Done(());
        }
        let (later, gave_up) = self.start_missing();
        self.next_look = wake.into_iter().chain(later).min();
        if has_settled || gave_up || self.spin() {
            return Step::Again;
        }
        let state = pool.state();
        self.processes.clear();
        self.processes.extend(state.workers.iter().map(|worker| Arc::clone(&worker.process)));
        self.pipes.clear();
        self.pipes.extend(
            state.workers.iter().filter_map(|worker| {
                worker.said.as_ref().filter(|said| !said.is_over).map(|said| Arc::clone(&said.pipe))
            }),
        );
        // Says of each ring what it waits for, and looks once more.
        let mut more = false;
        for worker in &state.workers {
            more |= worker.reader.wait_for_bytes();
            if worker.has_unwritten() {
                more |= worker.writer.wait_for_room().unwrap_or(true);
            }
        }
        if more { Step::Again } else { Step::Wait }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.pool.bell.descriptor.as_fd(), Interest::Read);
        self.processes.iter().for_each(|process| name(process.end(), Interest::Read));
        self.pipes.iter().for_each(|pipe| name(pipe.as_fd(), Interest::Read));
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_look
    }
}

/// How many processes the system has killed for memory since it started.
fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
