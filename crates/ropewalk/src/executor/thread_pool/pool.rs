//! The workers of a thread pool, and how many of them may run.
//!
//! # Counts
//!
//! A worker thread is in one of these conditions:
//!
//! * **running** a job, or **idle**, waiting for one: both count as *runnable*, of which there are at most
//!   `max_workers`;
//! * **blocked**: its job waits for what other tasks do (a handle, an event, an item), which may not have started. It does
//!   not count; if there is work, another takes its place;
//! * **stuck**: its job waits for a lock or a permit. As a rule that ends without any further job, so it goes on counting as
//!   runnable: replacing it would only send the next job into the same queue (4,000 jobs that compute under a semaphore of
//!   10 would become 4,000 threads). Only when *all* runnable workers are stuck is one added, since whoever holds the lock
//!   may wait for a job that has not started. (Where the holders are outside the pool, or wait for others themselves, that
//!   can still become a thread for each job.)
//! * **spare**: it came back from being blocked and there were enough runnable ones. It waits to replace the next that
//!   blocks, and ends after [`SPARE_KEEP_ALIVE`].
//!
//! # No lost job
//!
//! A submit *claims* an idle worker (takes one off the count of the idle) and puts the job, which wakes one. If there is
//! none to claim, it puts the job and then adds a worker if fewer than `max_workers` are runnable, or all are stuck. A
//! worker that blocks, is stuck or becomes a spare changes its count and then does the same if the queue is not empty. All
//! of them pass through the queue's lock between their change and their look, so of two at the same time at least one sees
//! the other.
//!
//! The count of the idle is exact because each claim is settled once: an idle worker that takes a job which claimed
//! nobody takes itself off the count; a busy worker that takes a job which claimed somebody puts that one back on it. The
//! first may come before the second of the same pair, so the count may be negative for a moment; only a positive one is
//! claimed from. (Miscounting here is how CPython's pool came to under-use its threads, cpython#115634.)
//!
//! A worker that comes back from being blocked may be one too many. If another is idle just then, it claims that one with a
//! job that is none, which makes it step down.
//!
//! # Shutdown
//!
//! Shutting the queue down ends every worker when the queue is empty. Spares are woken to see it.

use super::Stats;
use super::builder::{Builder, Initializer, OnProgress, Progress};
use crate::executor::TrySubmitError;
use crate::task::harness::{self, Runnable, drop_quietly};
use crate::task::{Panic, Shutdown, TaskError, TaskHandle};
use crate::thread;
use ropewalk_core::park::{self, Blocked, EndsBy, Interrupt, Reason};
use ropewalk_core::sync::queue::{PutError, TryGetError};
use ropewalk_core::sync::{Event, Queue, Semaphore};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread that is not needed now is kept for the next job that blocks.
const SPARE_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A job in the queue, with its place under the queue's limit.
struct Queued {
    /// None for what only asks an idle worker to step down.
    task: Option<Arc<dyn Runnable>>,
    /// Whether this holds a permit of `Pool::room`.
    limited: bool,
    /// Whether its submit counted on an idle worker; see the head of this file.
    claimed: bool,
}

impl Queued {
    fn cancel(&self, error: TaskError) {
        if let Some(task) = &self.task {
            task.cancel(error);
        }
    }
}

pub(in crate::executor) struct Pool {
    max_workers: usize,
    name_prefix: String,
    stack_size: Option<usize>,
    daemon: bool,
    initializer: Option<Arc<Initializer>>,
    progress: Option<ProgressCount>,
    queue: Queue<Queued>,
    /// Free places in the queue, when it has a limit.
    room: Option<Semaphore>,
    runnable: AtomicUsize,
    idle: AtomicIsize,
    blocked: AtomicUsize,
    stuck: AtomicUsize,
    /// Threads that wait as spares, not yet called.
    spares: AtomicUsize,
    /// One permit calls one spare.
    call_spare: Semaphore,
    /// Not a mutex of ours: a worker takes it in its blocked hook, where it may not wait on anything of ours.
    threads: Mutex<Threads>,
    /// Set when the last worker has ended after a shutdown.
    ended: Event,
}

#[derive(Default)]
struct Threads {
    alive: usize,
    started: usize,
    handles: Vec<std::thread::JoinHandle<()>>,
    /// The interrupts of the workers that live, for `Shutdown::Kill`.
    interrupts: Vec<Arc<Interrupt>>,
    /// Why no worker can be had any more.
    broken: Option<String>,
    shut_down: bool,
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
        let pool = Arc::new(Self {
            max_workers: builder.max_workers,
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
            runnable: AtomicUsize::new(0),
            idle: AtomicIsize::new(0),
            blocked: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            spares: AtomicUsize::new(0),
            call_spare: Semaphore::new(0),
            threads: Mutex::new(Threads::default()),
            ended: Event::new(),
        });
        if !daemon {
            let weak: std::sync::Weak<Self> = Arc::downgrade(&pool);
            thread::close_at_exit(weak);
        }
        pool
    }

    pub(super) fn max_workers(&self) -> usize {
        self.max_workers
    }

    /// The identity by which tasks and workers of this pool know each other.
    pub(in crate::executor) fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // No code of a user runs under this lock, so a poisoned one cannot hold a half-made change.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            workers: self.threads().alive,
            idle: self.idle.load(Ordering::Relaxed).try_into().unwrap_or(0),
            blocked: self.blocked.load(Ordering::Relaxed) + self.stuck.load(Ordering::Relaxed),
            queued: self.queue.len(),
        }
    }

    #[track_caller]
    pub(super) fn submit<F, T>(self: &Arc<Self>, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        self.take_room();
        self.launch(job)
    }

    /// Waits for a place in the queue, if it has a limit.
    #[track_caller]
    pub(in crate::executor) fn take_room(&self) {
        if let Some(room) = &self.room {
            room.acquire().forget();
        }
    }

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
        Ok(self.launch(into_work(job)))
    }

    pub(super) async fn submit_async<F, T>(self: &Arc<Self>, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        if let Some(room) = &self.room {
            room.acquire_async().await.forget();
        }
        self.launch(job)
    }

    /// Makes the task and queues it; a place under the limit is taken already.
    fn launch<F, T>(self: &Arc<Self>, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let (task, handle) = harness::new_task(self.identity(), job);
        self.watch(&handle);
        self.enqueue(task);
        handle
    }

    /// Has the progress reported when the task ends, if somebody wants to know.
    pub(in crate::executor) fn watch<T: Send>(self: &Arc<Self>, handle: &TaskHandle<T>) {
        if let Some(progress) = &self.progress {
            progress.submitted.fetch_add(1, Ordering::Relaxed);
            let pool = Arc::clone(self);
            handle.on_finish(move |outcome| pool.report(outcome.is_err()));
        }
    }

    /// Queues a task; its place under the limit is taken already.
    pub(in crate::executor) fn enqueue(self: &Arc<Self>, task: Arc<dyn Runnable>) {
        let claimed = self.claim_idle();
        match self.queue.put(Queued { task: Some(task), limited: self.room.is_some(), claimed }) {
            Ok(()) if claimed => {}
            Ok(()) => self.add_worker(),
            Err(PutError(refused)) => {
                let reason = self.threads().broken.clone();
                self.give_back(&refused);
                refused.cancel(match reason {
                    Some(reason) => TaskError::WorkerDied { reason },
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

    /// Takes one from the count of the idle.
    fn claim_idle(&self) -> bool {
        // A count that is not positive most of the time costs no exclusive access to its cache line.
        self.idle.load(Ordering::Relaxed) > 0
            && self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| (idle > 0).then(|| idle - 1)).is_ok()
    }

    /// One worker too many is runnable: asks an idle one, if there is one, to become a spare.
    fn ask_to_step_down(&self) {
        if self.claim_idle() {
            // When the queue was shut down, the workers end anyway.
            drop(self.queue.put(Queued { task: None, limited: false, claimed: true }));
        }
    }

    /// Adds a runnable worker, unless there are as many as may be and one of them can go on.
    fn add_worker(self: &Arc<Self>) {
        // The loads come after a pass through the queue's lock; see the head of this file.
        let mut runnable = self.runnable.load(Ordering::Relaxed);
        loop {
            if runnable >= self.max_workers && self.stuck.load(Ordering::Relaxed) < runnable {
                return;
            }
            match self.runnable.compare_exchange_weak(runnable, runnable + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => runnable = now,
            }
        }
        if self.claim_spare() {
            self.call_spare.release(1);
        } else {
            self.start_worker();
        }
    }

    /// Takes one from the count of spares: by its caller, or by itself when it has waited long enough.
    fn claim_spare(&self) -> bool {
        take_one(&self.spares)
    }

    #[cold]
    fn start_worker(self: &Arc<Self>) {
        let interrupt = Arc::new(Interrupt::new());
        let mut threads = self.threads();
        let name = format!("{}-{}", self.name_prefix, threads.started);
        threads.started += 1;
        threads.alive += 1;
        threads.interrupts.push(Arc::clone(&interrupt));
        threads.handles.retain(|handle| !handle.is_finished());
        let pool = Arc::clone(self);
        let mut builder = thread::Builder::new().name(name);
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        match builder.start({
            let interrupt = Arc::clone(&interrupt);
            move || Worker { pool, interrupt }.run()
        }) {
            Ok(handle) => threads.handles.push(handle),
            Err(error) => {
                drop(threads);
                let others = self.runnable.fetch_sub(1, Ordering::Relaxed) - 1;
                self.worker_ended(&interrupt);
                if others <= self.stuck.load(Ordering::Relaxed) {
                    // Nobody else would come for what is queued, and those that are blocked may wait for just that.
                    let reason = format!("the system could not start a thread: {error}");
                    self.cancel_queued(|| TaskError::WorkerDied { reason: reason.clone() });
                }
            }
        }
    }

    /// No worker can be had: ends what waits for one, now and later.
    fn break_down(&self, reason: String) {
        self.threads().broken.get_or_insert(reason.clone());
        self.queue.shutdown();
        self.cancel_queued(|| TaskError::WorkerDied { reason: reason.clone() });
    }

    fn cancel_queued(&self, error: impl Fn() -> TaskError) {
        while let Ok(queued) = self.queue.try_get() {
            self.give_back(&queued);
            queued.cancel(error());
        }
    }

    fn worker_ended(&self, interrupt: &Arc<Interrupt>) {
        {
            let mut threads = self.threads();
            threads.alive -= 1;
            threads.interrupts.retain(|other| !Arc::ptr_eq(other, interrupt));
        }
        self.note_end();
    }

    fn note_end(&self) {
        let ended = {
            let threads = self.threads();
            threads.alive == 0 && threads.shut_down && self.queue.is_empty()
        };
        if ended {
            self.ended.set();
        }
    }

    /// Takes no more jobs; what `how` says of those that are there is begun.
    pub(super) fn begin_shutdown(&self, how: Shutdown) {
        self.queue.shutdown();
        let again = std::mem::replace(&mut self.threads().shut_down, true);
        if let Some(room) = &self.room
            && !again
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
            let running = self.threads().interrupts.clone();
            for interrupt in running {
                interrupt.raise(Reason::Cancelled);
            }
        }
        // Spares look at the queue when they are called.
        while self.claim_spare() {
            self.runnable.fetch_add(1, Ordering::Relaxed);
            self.call_spare.release(1);
        }
    }

    #[track_caller]
    pub(super) fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Detach {
            park::refuse_in_async();
        }
        self.begin_shutdown(how);
        if how != Shutdown::Detach && park::current_executor() != self.identity() {
            self.ended.wait();
            self.join_threads();
        }
    }

    /// Does not wait for the bare threads behind the workers: they have nothing left to do, and waiting would block.
    pub(super) async fn ended_async(&self) {
        if park::current_executor() != self.identity() {
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
        let waits = !self.daemon && park::current_executor() != self.identity();
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

/// Takes one from a count, if there is one.
fn take_one(count: &AtomicUsize) -> bool {
    // A count that is 0 most of the time costs no exclusive access to its cache line.
    count.load(Ordering::Relaxed) > 0
        && count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

impl thread::Close for Pool {
    fn close(&self) {
        self.shutdown(Shutdown::Wait);
    }
}

/// One thread of a pool.
struct Worker {
    pool: Arc<Pool>,
    interrupt: Arc<Interrupt>,
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
        if let Some(initializer) = &self.pool.initializer
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| initializer()))
        {
            let reason = Panic::from_payload(payload);
            self.pool.break_down(format!("the initializer panicked: {}", reason.message()));
            drop_quietly(reason.into_payload());
        }
        self.work();
        self.pool.worker_ended(&self.interrupt);
    }

    /// Takes jobs until there will be none any more, or until it is not needed.
    fn work(&self) {
        let pool = &*self.pool;
        loop {
            match park::with_worker(self, &self.interrupt, pool.identity(), || self.run_jobs()) {
                Stopped::Closed => break,
                Stopped::TooMany => {
                    if !self.wait_as_spare() {
                        return;
                    }
                }
                Stopped::Empty => {
                    pool.idle.fetch_add(1, Ordering::Relaxed);
                    match pool.queue.get() {
                        Ok(queued) => {
                            if !queued.claimed {
                                pool.idle.fetch_sub(1, Ordering::Relaxed);
                            }
                            park::with_worker(self, &self.interrupt, pool.identity(), || self.run_job(queued));
                        }
                        Err(_) => break,
                    }
                }
            }
        }
        pool.runnable.fetch_sub(1, Ordering::Relaxed);
    }

    fn run_jobs(&self) -> Stopped {
        let pool = &*self.pool;
        loop {
            if pool.runnable.load(Ordering::Relaxed) > pool.max_workers && self.step_down() {
                return Stopped::TooMany;
            }
            match pool.queue.try_get() {
                Ok(queued) => {
                    if queued.claimed {
                        pool.idle.fetch_add(1, Ordering::Relaxed);
                    }
                    self.run_job(queued);
                }
                Err(TryGetError::Empty) => return Stopped::Empty,
                Err(TryGetError::Shutdown) => return Stopped::Closed,
            }
        }
    }

    fn run_job(&self, queued: Queued) {
        self.pool.give_back(&queued);
        if let Some(task) = &queued.task {
            // The task catches what its job does; this is for a waker of a foreign runtime that panics.
            drop_quietly(catch_unwind(AssertUnwindSafe(|| task.run())));
        }
        // The last reference may drop a result of the user's.
        drop_quietly(queued);
    }

    /// Gives up being runnable, if there are too many and another can go on.
    fn step_down(&self) -> bool {
        let pool = &*self.pool;
        pool.runnable
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |runnable| {
                let others_go_on = runnable - 1 > pool.stuck.load(Ordering::Relaxed);
                (runnable > pool.max_workers && others_go_on).then(|| runnable - 1)
            })
            .is_ok()
    }

    /// Waits to be called in for one that blocks, and counts as runnable then. False when nobody called for long.
    fn wait_as_spare(&self) -> bool {
        let pool = &*self.pool;
        pool.spares.fetch_add(1, Ordering::Relaxed);
        // The others may have got stuck at the same moment. (This may call the very spare that asks.)
        if !pool.queue.is_empty() {
            self.pool.add_worker();
        }
        if pool.queue.is_shut_down() && pool.claim_spare() {
            pool.runnable.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        match pool.call_spare.acquire_timeout(SPARE_KEEP_ALIVE) {
            Ok(call) => call.forget(),
            // Nobody counts on this spare any more, so whoever needs a worker from here on starts one.
            Err(_) if pool.claim_spare() => return false,
            // The call came at the same moment.
            Err(_) => pool.call_spare.acquire().forget(),
        }
        true
    }
}

impl Blocked for Worker {
    fn blocked(&self, ends_by: EndsBy) {
        let pool = &self.pool;
        match ends_by {
            EndsBy::Others => {
                pool.blocked.fetch_add(1, Ordering::Relaxed);
                pool.runnable.fetch_sub(1, Ordering::Relaxed);
            }
            EndsBy::Release => {
                pool.stuck.fetch_add(1, Ordering::Relaxed);
            }
        }
        // `is_empty` takes the queue's lock; see the head of the file.
        if !pool.queue.is_empty() {
            pool.add_worker();
        }
    }

    fn unblocked(&self, ends_by: EndsBy) {
        match ends_by {
            EndsBy::Others => {
                self.pool.blocked.fetch_sub(1, Ordering::Relaxed);
                if self.pool.runnable.fetch_add(1, Ordering::Relaxed) >= self.pool.max_workers {
                    self.pool.ask_to_step_down();
                }
            }
            EndsBy::Release => {
                self.pool.stuck.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
