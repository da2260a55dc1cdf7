//! The pool: its queue, its workers and what is under way, and the one thread that looks after them.
//!
//! # Who does what
//!
//! Whoever submits puts the task into the queue and, under the same lock, moves what fits into the rings of workers that have
//! room in their window: no other thread takes part in that. The *keeper*, a thread, takes the replies out of the rings, learns
//! of deaths, passes on cancels and time limits, and has workers started, by the *starter*, another thread. It sleeps on the bell that workers and cancels ring and
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
//! A worker has one task under way, or a few more where tasks have been short lately, so that it need not wait for the next. What
//! has come to lie behind a long one all the same is *taken back* as soon as another worker has nothing to do, and so is what was
//! cancelled or is too late: the ring says which of the two, worker or pool, has it. Whoever wants none there at all says so to
//! the builder.

use super::call::{Context, Packed};
use super::hand::{Sent, UnderWay, Worker};
use super::keeper::{Bell, Keeper};
use super::output::{Output, Streams};
use super::ring;
use super::start::Starter;
use super::wire::{Asked, Body, Head, Incoming, Outgoing};
use super::worker::{Ends, Setup};
use crate::executor::roster::{Member, Roster};
use crate::task::TaskError;
use ropewalk_core::park::{Interrupt, Reason};
use ropewalk_core::sync::Event;
use ropewalk_core::task::promise::Promise;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Tasks under way with one worker at most.
pub(super) const WINDOW_MAX: usize = ring::PLACES;
/// A window is as wide as what a worker does in this time.
const WINDOW_TIME: Duration = Duration::from_micros(200);
/// So long a task may run before those behind it are given to workers that have nothing to do: what a window takes, with some
/// room for a worker that has to wait for its core.
const TAKE_BACK: Duration = Duration::from_millis(1);

/// How the pool is set up.
#[derive(Debug)]
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
    pub(super) initializer: Option<(Asked, Body)>,
}

/// A task as the pool knows it.
pub(super) trait Pending: Send {
    /// It goes to a worker. False when it was cancelled before.
    fn begin(&mut self) -> bool;
    /// Whether it was cancelled before it began: its handle knows already.
    fn is_abandoned(&self) -> bool;
    fn interrupt(&self) -> &Interrupt;
    fn deadline(&self) -> Option<Instant>;
    /// Its end. Runs code of the user: without the lock.
    fn settle(self: Box<Self>, outcome: Result<Body, TaskError>);
}

struct Entry<R> {
    promise: Promise<R>,
    unpack: fn(Body) -> Result<R, TaskError>,
    has_begun: bool,
    /// Left when the task has ended.
    _member: Option<Member>,
}

/// A task that is nobody's but its handle's.
pub(super) fn lone<R: Send + 'static>(
    promise: Promise<R>,
    unpack: fn(Body) -> Result<R, TaskError>,
) -> Box<dyn Pending> {
    Box::new(Entry { promise, unpack, has_begun: false, _member: None })
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

    fn settle(self: Box<Self>, outcome: Result<Body, TaskError>) {
        let Self { promise, unpack, _member, .. } = *self;
        // `Deserialize` of the user's may panic; then that is how the task ended.
        let outcome = outcome.and_then(|body| {
            catch_unwind(AssertUnwindSafe(|| unpack(body))).unwrap_or_else(|payload| Err(TaskError::of_unwind(payload)))
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

    fn settle(self: Box<Self>, _outcome: Result<Body, TaskError>) {}
}

pub(super) struct Queued {
    pub(super) entry: Box<dyn Pending>,
    pub(super) asked: Asked,
    pub(super) context: Option<Context>,
    pub(super) body: Body,
}

/// A task's end, to be told when the lock is gone.
pub(super) type Settled = (Box<dyn Pending>, Result<Body, TaskError>);

pub(super) struct State {
    pub(super) queue: VecDeque<Queued>,
    /// The first deadline of a task in the queue, or an earlier one.
    pub(super) queue_deadline: Option<Instant>,
    pub(super) workers: Vec<Worker>,
    /// Workers that are being started.
    pub(super) starting: usize,
    /// Ends that the keeper has still to tell.
    pub(super) unsettled: Vec<Settled>,
    pub(super) next_number: u64,
    /// What a task has taken lately.
    pub(super) average: Duration,
    window_max: usize,
    pub(super) deaths_in_a_row: u32,
    pub(super) not_before: Option<Instant>,
    pub(super) unhealthy: Option<String>,
    pub(super) is_closed: bool,
    pub(super) is_killed: bool,
    pub(super) counts: Counts,
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
    /// Tasks that were taken back from the worker they had been sent to: it was long with another, or they were cancelled.
    pub taken_back: u64,
}

pub(super) struct Pool {
    state: Mutex<State>,
    pub(super) bell: Arc<Bell>,
    waker: Waker,
    pub(super) roster: Arc<Roster>,
    pub(super) settings: Settings,
    /// Set when the keeper has ended and every worker is reaped.
    pub(super) ended: Event,
    pub(super) keeper: OnceLock<ThreadId>,
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
            starting: 0,
            unsettled: Vec::new(),
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
        let kept = Keeper::new(Arc::clone(&pool), starter).and_then(|mut keeper| {
            std::thread::Builder::new().name("ropewalk-processes".to_owned()).spawn(move || keeper.keep())
        });
        if let Err(error) = kept {
            for worker in std::mem::take(&mut pool.state().workers) {
                worker.process.kill();
                worker.process.reap();
            }
            return Err(error);
        }
        Ok(pool)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user's runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start_worker(&self, starter: &mut Starter) -> io::Result<Worker> {
        let memory = ring::memory()?;
        let (writer, reader) = ring::pool_ends(&memory)?;
        let (lifeline, theirs) = UnixStream::pair()?;
        lifeline.set_nonblocking(true)?;
        let Streams { stdout, stderr, said } = self.settings.output.streams()?;
        let initializer = match &self.settings.initializer {
            Some((asked, body)) => Some((*asked, body.try_clone()?)),
            None => None,
        };
        let carried = initializer.as_ref().map(|(_, body)| &body.descriptors[..]).unwrap_or_default();
        let ends = Ends {
            memory,
            bell: self.bell.descriptor.try_clone()?,
            lifeline: theirs.into(),
            stdout,
            stderr,
            carried: carried.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?,
        };
        let process = Arc::new(starter.start(&self.settings.setup, &ends.as_descriptors())?);
        self.state().counts.started += 1;
        let now = Instant::now();
        let mut worker = Worker {
            said,
            process,
            writer,
            reader,
            incoming: Incoming::default(),
            lifeline,
            contexts: VecDeque::new(),
            under_way: VecDeque::new(),
            frames: 0,
            since: now,
            done: 0,
            tasks_max: self.settings.tasks_max.unwrap_or(u64::MAX),
            is_leaving: false,
            looked_at_memory: now,
            condemned: None,
        };
        if let Some((asked, body)) = initializer {
            let frame = Outgoing::new(Head::new(0, asked.shim.0, asked.function.0), body);
            let entry = Box::new(Initializer(Interrupt::new()));
            worker.under_way.push_back(UnderWay {
                number: 0,
                sent: Some(Sent { entry, asked, context: None, frame }),
                nth: None,
                is_written: false,
                stop: None,
                kill_at: None,
            });
            worker.write();
        }
        Ok(worker)
    }

    /// Takes a task, whose place is `member`.
    pub(super) fn submit<R: Send + 'static>(&self, member: Member, packed: Packed<R>) -> crate::task::TaskHandle<R> {
        let (promise, handle) = Promise::new();
        self.roster.list(&promise.runnable());
        promise.interrupt().leave_waker(&self.waker);
        let deadline = promise.deadline();
        let has_deadline = deadline.is_some() || self.settings.task_timeout.is_some();
        let entry = Box::new(Entry { promise, unpack: packed.unpack, has_begun: false, _member: Some(member) });
        let mut settled = Vec::new();
        let mut state = self.state();
        match &state.unhealthy {
            Some(reason) => settled.push((entry as _, Err(TaskError::worker_died(reason)))),
            None => {
                let Packed { asked, context, body, .. } = packed;
                state.queue.push_back(Queued { entry, asked, context, body });
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
pub(super) fn settle(settled: Vec<Settled>) {
    for (entry, outcome) in settled {
        entry.settle(outcome);
    }
}

pub(super) fn error_of(reason: Reason) -> TaskError {
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
    pub(super) fn hand_out(&mut self, settled: &mut Vec<Settled>) {
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
            let Queued { entry, asked, context, body } = queued;
            let mut head = Head::new(number, asked.shim.0, asked.function.0);
            head.context = context.as_ref().map_or(0, |context| context.number);
            let sent = context.as_ref().filter(|context| worker.lacks(context)).map(|context| context.bytes.clone());
            let frame = Outgoing::with_context(head, sent, body);
            if worker.under_way.is_empty() {
                worker.since = Instant::now();
            }
            worker.under_way.push_back(UnderWay {
                number,
                sent: Some(Sent { entry, asked, context, frame }),
                nth: None,
                is_written: false,
                stop: None,
                kill_at: None,
            });
            worker.write();
        }
    }
}

impl State {
    /// Gives what lies behind long tasks to workers that have nothing to do, and says when to look again.
    pub(super) fn take_back(&mut self, now: Instant, settled: &mut Vec<Settled>) -> Option<Instant> {
        let is_idle = |worker: &Worker| worker.under_way.is_empty() && worker.takes(1);
        if !self.queue.is_empty() || !self.workers.iter().any(is_idle) {
            return None;
        }
        let mut later: Option<Instant> = None;
        let mut back = Vec::new();
        for worker in &mut self.workers {
            let is_long = worker.since + TAKE_BACK;
            for place in (1..worker.under_way.len()).rev() {
                let number = worker.under_way[place].number;
                if is_long > now {
                    later = later.into_iter().chain([is_long]).min();
                } else if let Some(sent) = worker.take_back(place) {
                    back.push((number, sent.into_queued()));
                }
            }
        }
        self.counts.taken_back += back.len() as u64;
        back.sort_unstable_by_key(|(number, _)| *number);
        self.queue.extend(back.into_iter().map(|(_, queued)| queued));
        self.queue_deadline = self.queue.iter().filter_map(|queued| queued.entry.deadline()).min();
        self.hand_out(settled);
        later
    }

    /// Settles what was cancelled, or is too late, in the queue.
    pub(super) fn look_through_queue(&mut self, now: Instant, settled: &mut Vec<Settled>) {
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
