//! The workers of a thread pool, and how many of them may run.
//!
//! How many may run and who comes when one is needed is counted by the [`Crew`], whose file says why no job is lost and
//! nobody runs too much; here is what its answers lead to: the queue, the threads, and the calls for spares.
//!
//! Every look at the queue that an answer depends on goes through the queue's lock, since the counts rely on it.

use super::Stats;
use super::builder::{Builder, Initializer, OnProgress, Progress};
use super::fork;
use super::seat::{self, Seat};
use super::sizing::{self, Sizing, SizingDecision};
use super::waits::{Stamp, Waits};
use crate::executor::TrySubmitError;
use crate::executor::scope::Listener;
use crate::task::harness::{self, Runnable, drop_quietly};
use crate::task::{Panic, Shutdown, TaskError, TaskHandle};
use crate::thread;
use ropewalk_core::park::{self, Blocked, Pause, Reason};
use ropewalk_core::sync::queue::{PutError, TryGetError};
use ropewalk_core::sync::{Event, Permit, Queue, Semaphore};
use ropewalk_core::task::crew::{Back, Census, Claim, Crew, Expired, Hired, Left, Needed, Step};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread that is not needed now is kept for the next job that blocks.
const SPARE_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The same in a pool that sizes itself, which lets them go only after it has watched them for a while.
const SURPLUS_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A job in the queue, with its place under the queue's limit.
struct Queued {
    /// None for what only asks an idle worker to step down.
    task: Option<Arc<dyn Runnable>>,
    /// Where it was submitted.
    place: &'static Location<'static>,
    /// Whether this holds a permit of `Pool::room`.
    limited: bool,
    /// Whether its submit counted on an idle worker.
    claim: Claim,
    /// It is lent by a strand that runs it itself if nobody else does: it is never refused or cancelled.
    lent: bool,
    /// When it was put, for some of them.
    stamp: Stamp,
}

impl Queued {
    fn cancel(&self, error: TaskError) {
        if let Some(task) = &self.task
            && !self.lent
        {
            task.cancel(error);
        }
    }
}

pub(in crate::executor) struct Pool {
    name_prefix: String,
    stack_size: Option<usize>,
    daemon: bool,
    initializer: Option<Arc<Initializer>>,
    progress: Option<ProgressCount>,
    queue: Queue<Queued>,
    /// Free places in the queue, when it has a limit.
    room: Option<Semaphore>,
    crew: Crew,
    /// So many workers at most are busy with work that is divided among them: all, or one a core where the pool chooses how many
    /// there are, since it may have many more for jobs that wait.
    dividers_max: usize,
    /// None for a fixed number of workers.
    sizing: Option<Sizing>,
    waits: Waits,
    /// One permit calls one spare.
    call_spare: Semaphore,
    /// Not a mutex of ours: a worker takes it in its blocked hook, where it may not wait on anything of ours.
    threads: Mutex<Threads>,
    /// Set when the last worker has ended after a shutdown.
    ended: Event,
}

#[derive(Default)]
struct Threads {
    census: Census,
    handles: Vec<std::thread::JoinHandle<()>>,
    /// The workers that live.
    seats: Vec<Arc<Seat>>,
    /// How many jobs those have run that live no more.
    finished_by_gone: u64,
    /// Why no worker can be had any more.
    broken: Option<String>,
}

struct ProgressCount {
    callback: Arc<OnProgress>,
    submitted: AtomicUsize,
    finished: AtomicUsize,
    failed: AtomicUsize,
}

impl Pool {
    pub(super) fn new(builder: Builder) -> Arc<Self> {
        let daemon = builder.daemon;
        let (sizing, max_workers) = Sizing::new(builder.max_workers, builder.threads_described_in);
        let pool = Arc::new(Self {
            name_prefix: builder.thread_name_prefix,
            stack_size: builder.stack_size,
            daemon,
            initializer: builder.initializer,
            progress: builder.on_progress.map(|callback| ProgressCount {
                callback,
                submitted: AtomicUsize::new(0),
                finished: AtomicUsize::new(0),
                failed: AtomicUsize::new(0),
            }),
            queue: Queue::unbounded(),
            room: builder.queue_limit.map(Semaphore::new),
            // The monitor comes by while there is work.
            crew: if sizing.is_some() { Crew::new(max_workers).patient() } else { Crew::new(max_workers) },
            dividers_max: match sizing {
                Some(_) => std::thread::available_parallelism().map_or(1, NonZero::get),
                None => usize::MAX,
            },
            sizing,
            waits: Waits::new(),
            call_spare: Semaphore::new(0),
            threads: Mutex::new(Threads::default()),
            ended: Event::new(),
        });
        seat::list(&pool);
        if !daemon {
            let weak: std::sync::Weak<Self> = Arc::downgrade(&pool);
            thread::close_at_exit(weak);
        }
        pool
    }

    pub(super) fn max_workers(&self) -> usize {
        self.crew.max_workers()
    }

    /// The identity by which tasks and workers of this pool know each other.
    pub(in crate::executor) fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // No code of a user runs under this lock, so a poisoned one cannot hold a half-made change.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The workers that live.
    pub(super) fn seats(&self) -> Vec<Arc<Seat>> {
        self.threads().seats.clone()
    }

    /// Lets `look` see the workers that live, under the lock that a worker takes when it comes and when it goes.
    pub(super) fn with_seats<R>(&self, look: impl FnOnce(&[Arc<Seat>]) -> R) -> R {
        look(&self.threads().seats)
    }

    /// How many jobs have been run.
    pub(super) fn finished(&self) -> u64 {
        let threads = self.threads();
        threads.finished_by_gone + threads.seats.iter().map(|seat| seat.finished()).sum::<u64>()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn crew(&self) -> &Crew {
        &self.crew
    }

    pub(super) fn sizing(&self) -> Option<&Sizing> {
        self.sizing.as_ref()
    }

    pub(super) fn sizing_log(&self) -> Vec<SizingDecision> {
        self.sizing.as_ref().map(Sizing::log).unwrap_or_default()
    }

    /// Changes how many may run, as [`Crew`] says. One thread at a time.
    pub(super) fn resize(self: &Arc<Self>, max_workers: usize) {
        self.crew.set_max_workers(max_workers);
        for _ in 0..self.queue.len() {
            match self.crew.looks(|| self.work_waits()) {
                Needed::Nobody => break,
                needed => self.call(needed),
            }
        }
        for _ in 0..self.crew.sends_home() {
            self.send_one_home();
        }
    }

    /// Has an idle worker that was claimed look whether there are too many.
    fn send_one_home(&self) {
        let claim = Claim::Claimed;
        let nothing =
            Queued { task: None, place: Location::caller(), limited: false, claim, lent: false, stamp: Stamp::NONE };
        if self.queue.put(nothing).is_err() {
            // The queue was shut down: the workers end anyway.
            self.crew.refused(claim);
        }
    }

    pub(super) fn name_prefix(&self) -> &str {
        &self.name_prefix
    }

    pub(super) fn stats(&self) -> Stats {
        let [queue_wait_p50, queue_wait_p99] = self.waits.quantiles([0.5, 0.99]);
        Stats {
            workers: self.threads().census.alive(),
            target: self.crew.max_workers(),
            idle: self.crew.idle(),
            blocked: self.crew.waiting(),
            queued: self.queue.len(),
            queue_wait_p50,
            queue_wait_p99,
        }
    }

    #[track_caller]
    pub(super) fn submit<F, T>(self: &Arc<Self>, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        self.take_room();
        self.launch(job, Location::caller())
    }

    /// Waits for a place in the queue, if it has a limit.
    #[track_caller]
    pub(in crate::executor) fn take_room(&self) {
        if let Some(room) = &self.room {
            room.acquire().forget();
        }
    }

    #[track_caller]
    pub(super) fn try_submit<J, F, T>(
        self: &Arc<Self>,
        job: J,
        into_work: impl FnOnce(J) -> F,
    ) -> Result<TaskHandle<T>, TrySubmitError<J>>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        if self.queue.is_shut_down() {
            return Err(TrySubmitError::Shutdown(job));
        }
        if let Some(room) = &self.room {
            match room.try_acquire() {
                Some(permit) => permit.forget(),
                None => return Err(TrySubmitError::Full(job)),
            }
        }
        Ok(self.launch(into_work(job), Location::caller()))
    }

    pub(super) async fn submit_async<F, T>(self: &Arc<Self>, job: F, place: &'static Location<'static>) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        if let Some(room) = &self.room {
            room.acquire_async().await.forget();
        }
        self.launch(job, place)
    }

    /// Makes the task and queues it; a place under the limit is taken already.
    fn launch<F, T>(self: &Arc<Self>, job: F, place: &'static Location<'static>) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let (task, handle) = harness::new_task(self.identity(), job);
        self.watch(&handle);
        self.enqueue(task, place);
        handle
    }

    /// Has the progress reported when the task ends, if somebody wants to know.
    fn watch<T: Send>(self: &Arc<Self>, handle: &TaskHandle<T>) {
        if let Some(listener) = self.listener() {
            handle.on_finish(listener);
        }
    }

    /// Whoever reports the progress when one more task ends, if somebody wants to know.
    #[inline]
    pub(in crate::executor) fn listener(self: &Arc<Self>) -> Option<Listener> {
        self.progress.as_ref()?.submitted.fetch_add(1, Ordering::Relaxed);
        let pool = Arc::clone(self);
        Some(Box::new(move |outcome| pool.report(outcome.is_err())))
    }

    /// Queues a task; its place under the limit is taken already.
    pub(in crate::executor) fn enqueue(self: &Arc<Self>, task: Arc<dyn Runnable>, place: &'static Location<'static>) {
        self.put(task, place, false);
    }

    /// Queues a task that the strand which lends it runs itself if nobody else does. The limit is not for such.
    pub(super) fn lend(self: &Arc<Self>, task: Arc<dyn Runnable>, place: &'static Location<'static>) {
        self.put(task, place, true);
    }

    /// Whether work that is divided would find one more worker.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.crew.has_room(self.dividers_max)
    }

    #[inline]
    fn put(self: &Arc<Self>, task: Arc<dyn Runnable>, place: &'static Location<'static>, lent: bool) {
        let claim = self.crew.claim_idle();
        let limited = !lent && self.room.is_some();
        let stamp = self.waits.stamp();
        match self.queue.put(Queued { task: Some(task), place, limited, claim, lent, stamp }) {
            Ok(()) => {
                let needed = self.crew.submitted(claim);
                if claim == Claim::Nobody && needed == Needed::Nobody && !lent {
                    self.found_nobody();
                }
                self.call(needed);
            }
            Err(PutError(refused)) => {
                self.crew.refused(claim);
                let reason = self.threads().broken.clone();
                self.give_back(&refused);
                refused.cancel(match reason {
                    Some(reason) => TaskError::worker_died(reason),
                    None => TaskError::Shutdown,
                });
            }
        }
    }

    fn give_back(&self, queued: &Queued) {
        if queued.limited
            && let Some(room) = &self.room
        {
            room.release(1);
        }
    }

    fn report(&self, failed: bool) {
        let Some(progress) = &self.progress else { return };
        let failed = progress.failed.fetch_add(usize::from(failed), Ordering::Relaxed) + usize::from(failed);
        let finished = progress.finished.fetch_add(1, Ordering::Relaxed) + 1;
        let submitted = progress.submitted.load(Ordering::Relaxed);
        (progress.callback)(Progress { submitted, finished, failed });
    }

    /// Has somebody come.
    fn call(self: &Arc<Self>, needed: Needed) {
        match needed {
            Needed::Nobody => {}
            Needed::Spare => self.call_spare.release(1),
            Needed::Worker => self.start_worker(),
        }
    }

    /// There is something in the queue, and as many run as may: has that looked at, if the number may change.
    #[inline]
    fn found_nobody(self: &Arc<Self>) {
        if let Some(sizing) = &self.sizing {
            sizing.found_nobody(self);
        }
    }

    /// All workers have been stuck for a while.
    pub(super) fn long_stuck(self: &Arc<Self>) {
        self.call(self.crew.long_stuck(|| self.work_waits()));
    }

    /// Whether there is something in the queue; passes through its lock.
    pub(super) fn work_waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether there is nothing in the queue and never will be.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_shut_down() && self.queue.is_empty()
    }

    #[cold]
    fn start_worker(self: &Arc<Self>) {
        let mut threads = self.threads();
        let name = match threads.census.hires(|| self.is_closed()) {
            Hired::Number(number) => format!("{}-{number}", self.name_prefix),
            Hired::TooLate => {
                drop(threads);
                return self.crew.ends();
            }
        };
        let seat = Arc::new(Seat::new(name.clone()));
        threads.seats.push(Arc::clone(&seat));
        threads.handles.retain(|handle| !handle.is_finished());
        let pool = Arc::clone(self);
        let mut builder = thread::Builder::new().name(name);
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        match builder.start({
            let seat = Arc::clone(&seat);
            move || Worker { pool, seat }.run()
        }) {
            Ok(handle) => threads.handles.push(handle),
            Err(error) => {
                drop(threads);
                if let Some(sizing) = &self.sizing {
                    sizing.refused();
                }
                let left = self.crew.not_started();
                self.worker_ended(&seat);
                if left == Left::Nobody {
                    // Nobody else would come for what is queued, and those that are blocked may wait for just that.
                    let reason = format!("the system could not start a thread: {error}");
                    self.cancel_queued(|| TaskError::worker_died(&reason));
                }
            }
        }
    }

    /// No worker can be had: ends what waits for one, now and later.
    fn break_down(&self, reason: String) {
        self.threads().broken.get_or_insert(reason.clone());
        self.queue.shutdown();
        self.cancel_queued(|| TaskError::worker_died(&reason));
    }

    fn cancel_queued(&self, error: impl Fn() -> TaskError) {
        while let Ok(queued) = self.queue.try_get() {
            self.crew.busy_took(queued.claim);
            self.give_back(&queued);
            queued.cancel(error());
        }
    }

    fn worker_ended(&self, seat: &Arc<Seat>) {
        seat.leaves();
        {
            let mut threads = self.threads();
            threads.census.leaves();
            threads.finished_by_gone += seat.finished();
            threads.seats.retain(|other| !Arc::ptr_eq(other, seat));
        }
        self.note_end();
    }

    fn note_end(&self) {
        if self.threads().census.is_over(|| self.is_closed()) {
            self.ended.set();
        }
    }

    /// Takes no more jobs; what `how` says of those that are there is begun.
    pub(super) fn begin_shutdown(&self, how: Shutdown) {
        self.queue.shutdown();
        let first = self.threads().census.shuts_down();
        if let Some(room) = &self.room
            && first
        {
            // Whoever waits for a place is to be told now and not when the queue has drained.
            room.release(Semaphore::PERMITS_MAX / 2);
        }
        if matches!(how, Shutdown::CancelPending | Shutdown::Kill) {
            self.cancel_queued(|| TaskError::Cancelled);
        }
        // A submit that came before still has its job in the queue, or a worker for it.
        self.note_end();
        if how == Shutdown::Kill {
            for seat in self.seats() {
                seat.interrupt.raise(Reason::Cancelled);
            }
        }
        // Spares look at the queue when they are called.
        self.call_spare.release(self.crew.spares());
    }

    #[track_caller]
    pub(super) fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Detach {
            park::refuse_in_async();
        }
        self.begin_shutdown(how);
        if how != Shutdown::Detach && !park::stands_on_worker_of(self.identity()) {
            self.ended.wait();
            self.join_threads();
        }
    }

    /// Does not wait for the bare threads behind the workers: they have nothing left to do, and waiting would block.
    pub(super) async fn ended_async(&self) {
        if !park::stands_on_worker_of(self.identity()) {
            self.ended.wait_async().await;
        }
    }

    /// Waits for the threads behind the workers, which have nothing left to do but to end.
    fn join_threads(&self) {
        let handles = std::mem::take(&mut self.threads().handles);
        for handle in handles {
            // A worker catches every panic of a job; there is nothing in the result.
            drop(handle.join());
        }
    }

    #[track_caller]
    pub(super) fn close_on_drop(&self) {
        let waits = !self.daemon && !park::stands_on_worker_of(self.identity());
        self.begin_shutdown(Shutdown::Detach);
        if !waits || self.ended.is_set() {
            return;
        }
        if std::thread::panicking() && park::in_async_context() {
            return;
        }
        assert!(
            !park::in_async_context(),
            "a ThreadPoolExecutor was dropped in async context, where waiting for its jobs would stop every task of \
             this thread; call `shutdown_async(..).await` before, or make it a `daemon` pool"
        );
        // Shielded: what was submitted is waited for also where the calling task is cancelled.
        park::wait_for_shielded(self.ended.wait_async());
        self.join_threads();
    }
}

impl thread::Close for Pool {
    fn close(&self) {
        self.shutdown(Shutdown::Wait);
    }
}

/// One thread of a pool.
struct Worker {
    pool: Arc<Pool>,
    seat: Arc<Seat>,
}

/// Why a worker stopped taking jobs.
enum Stopped {
    /// More are runnable than may be.
    TooMany,
    /// The queue is empty.
    Empty,
    /// The queue is empty and was shut down.
    Closed,
}

impl Worker {
    fn run(self) {
        thread::mark_daemon(self.pool.daemon);
        if self.pool.sizing.is_some() {
            self.seat.arrives(sizing::this_thread());
        }
        if let Some(initializer) = &self.pool.initializer
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| initializer()))
        {
            let reason = Panic::from_payload(payload);
            self.pool.break_down(format!("the initializer panicked: {}", reason.message()));
            drop_quietly(reason.into_payload());
        }
        self.work();
        self.pool.worker_ended(&self.seat);
    }

    /// Takes jobs until there will be none any more, or until it is not needed.
    fn work(&self) {
        let pool = &*self.pool;
        loop {
            match park::with_worker(self, &self.seat.interrupt, pool.identity(), || self.run_jobs()) {
                Stopped::Closed => return pool.crew.ends(),
                Stopped::TooMany => {
                    if !self.wait_as_spare() {
                        return;
                    }
                }
                Stopped::Empty if pool.crew.idles() == Step::Down => {
                    if !self.wait_as_spare() {
                        return;
                    }
                }
                Stopped::Empty => match pool.queue.get() {
                    Ok(queued) => {
                        pool.crew.idle_took(queued.claim);
                        park::with_worker(self, &self.seat.interrupt, pool.identity(), || self.run_job(queued));
                    }
                    Err(_) => return pool.crew.idle_ends(),
                },
            }
        }
    }

    fn run_jobs(&self) -> Stopped {
        let pool = &*self.pool;
        loop {
            if pool.crew.step() == Step::Down {
                return Stopped::TooMany;
            }
            match pool.queue.try_get() {
                Ok(queued) => {
                    pool.crew.busy_took(queued.claim);
                    self.run_job(queued);
                }
                Err(TryGetError::Empty) => return Stopped::Empty,
                Err(TryGetError::Shutdown) => return Stopped::Closed,
            }
        }
    }

    fn run_job(&self, queued: Queued) {
        self.pool.give_back(&queued);
        // A branch that was lent and taken back is no job that ran.
        let is_job = |task: &&Arc<dyn Runnable>| !queued.lent || task.is_pending();
        if let Some(task) = queued.task.as_ref().filter(is_job) {
            // One that was cancelled has not waited for this. Few are stamped, so that is asked first.
            if queued.stamp != Stamp::NONE && task.is_pending() {
                self.pool.waits.taken(queued.stamp);
            }
            self.seat.begins(queued.place);
            task.run();
            self.seat.ends();
        }
        // The last reference may drop a result of the user's.
        drop_quietly(queued);
    }

    /// Waits to be called in for one that blocks, and counts as runnable then. False when nobody called for long.
    fn wait_as_spare(&self) -> bool {
        let pool = &self.pool;
        pool.call(pool.crew.spare_looks(|| pool.work_waits()));
        let keep_alive = if pool.sizing.is_some() { SURPLUS_KEEP_ALIVE } else { SPARE_KEEP_ALIVE };
        let called =
            !pool.queue.is_shut_down() && pool.call_spare.acquire_timeout(keep_alive).map(Permit::forget).is_ok();
        if called && !pool.queue.is_shut_down() {
            return true;
        }
        match pool.crew.spare_expires() {
            Expired::Gone => {
                if called {
                    // The call woke it to see the shutdown; or it was for one that is called in earnest.
                    pool.call_spare.release(1);
                }
                false
            }
            Expired::Called => {
                if !called {
                    pool.call_spare.acquire().forget();
                }
                true
            }
        }
    }
}

impl Blocked for Worker {
    fn blocked(&self, pause: &Pause) {
        self.seat.waits(pause);
        // Who only lets time pass needs no replacement.
        if let Some(ends_by) = pause.ends_by {
            fork::lend_all(&self.pool, pause.at);
            let needed = self.pool.crew.blocks(ends_by, || self.pool.work_waits());
            if needed == Needed::Nobody && self.pool.sizing.is_some() && self.pool.work_waits() {
                self.pool.found_nobody();
            }
            self.pool.call(needed);
        }
    }

    fn unblocked(&self, pause: &Pause) {
        self.seat.goes_on();
        match pause.ends_by.map_or(Back::Fits, |ends_by| self.pool.crew.unblocks(ends_by)) {
            Back::Fits => {}
            Back::SendOneHome => self.pool.send_one_home(),
        }
    }
}
