//! The memory of a task, and its two halves: one for the executor, one for whoever waits.
//!
//! One allocation holds the state word, the interrupt that cancels its waits, who waits for it, the job and the
//! outcome. The executor holds it as [`Runnable`], the submitter as a [`TaskHandle`].
//!
//! # Who touches what
//!
//! | field | touched by | when |
//! | --- | --- | --- |
//! | `job` | whoever moved the state out of PENDING | RUNNING |
//! | `outcome` | the same, writing | RUNNING |
//! | | its callbacks, reading | TELLING |
//! | | the handle, which is not cloned | FINISHED |
//! | | whoever finished it, dropping | FINISHED, and the handle was dropped before |
//! | `waiters` | anybody, under its lock | any time |
//!
//! # Panics
//!
//! Everything of the user's that runs or is dropped here is caught: the job, its captures, the callbacks, the payload of
//! a panic. A worker never dies of a task.

use super::handle::TaskHandle;
use super::outcome::{Outcome, TaskError};
use super::state::{State, TaskId, ToFinished, ToRunning};
use crate::model::cell::UnsafeCell;
use crate::model::time::Instant;
use crate::park::leaf::Leaf;
use crate::park::{self, Interrupt, Reason, Runs};
use crate::waitlist::{Given, List, Node, Replaced};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A task as its executor sees it.
pub trait Runnable: Send + Sync {
    /// Runs the task, unless somebody else did, it was cancelled or its deadline has passed. Never panics.
    fn run(&self);
    /// The same on the strand of whoever submitted it, whose scopes reach in.
    fn run_here(&self);
    /// [`run_here`](Self::run_here) for a scope that waits for all its tasks, unless so many run inside waits on this stack
    /// already that it had better wait.
    fn run_nested(&self);
    /// Ends the task without running it. False when it has started or ended already.
    fn cancel(&self, error: TaskError) -> bool;
    /// Asks the task to stop while it runs: its waits end.
    fn interrupt(&self);
    /// Whether it has neither started nor been cancelled.
    fn is_pending(&self) -> bool;
    /// Which one it is.
    fn address(&self) -> usize;
}

/// How many tasks may run inside each other's waits before a wait really waits. Each takes a few hundred bytes of stack
/// beside what the tasks take themselves.
const INLINE_DEPTH_MAX: u32 = 24;

pub(super) fn may_run_inline() -> bool {
    park::inline_depth() < INLINE_DEPTH_MAX
}

pub(super) type Callback = Box<dyn FnOnce(Outcome<'_>) + Send>;

/// Who is to be told of the end. Part of the task, which does not move: one who waits costs no allocation.
struct Waiters {
    list: List,
    /// Most tasks have none, and a vector is three words.
    #[expect(clippy::box_collection, reason = "the field is one word, not three")]
    callbacks: Option<Box<Vec<Callback>>>,
}

impl Waiters {
    const fn none() -> Self {
        Self { list: List::new(), callbacks: None }
    }
}

/// What does not depend on the job's type.
pub(super) struct Header {
    pub(super) state: State,
    pub(super) interrupt: Interrupt,
    /// Not started by then, it never is; and its waits end.
    pub(super) deadline: Option<Instant>,
    /// The executor the task was submitted to, by address.
    pub(super) executor: usize,
    /// The job never leaves the thread it was made on: only that thread runs or drops it.
    pinned: bool,
    waiters: Leaf<Waiters>,
}

impl Header {
    #[inline]
    fn new(executor: usize, pinned: bool) -> Self {
        Self {
            state: State::new(),
            interrupt: Interrupt::new(),
            deadline: park::task_deadline(),
            executor,
            pinned,
            waiters: Leaf::new(Waiters::none()),
        }
    }

    #[inline]
    fn is_too_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(super) fn id(&self) -> TaskId {
        TaskId::of_address(self.address())
    }

    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Ready when the outcome may be taken.
    pub(super) fn poll_finished(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        if self.state.may_take() {
            return Poll::Ready(());
        }
        let _replaced: Replaced; // dropped after the lock
        let mut waiters = self.waiters.lock();
        let list = &mut waiters.list;
        list.take(node);
        _replaced = list.push_back(node, context);
        if self.state.add_waiter() {
            list.remove(&node);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    pub(super) fn leave(&self, node: &Node) {
        if !node.is_fresh() {
            // "Finished" is news for everybody; nothing is handed on.
            self.waiters.lock().list.remove(node);
        }
    }

    /// Calls `callback` with the outcome when it is there; gives it back when that is now and nobody else will.
    pub(super) fn add_callback(&self, callback: Callback) -> Option<Callback> {
        let mut waiters = self.waiters.lock();
        if self.state.add_callback() {
            return Some(callback);
        }
        waiters.callbacks.get_or_insert_default().push(callback);
        None
    }

    fn wake_all(&self) {
        let mut waiters = self.waiters.lock();
        if waiters.list.len() == 1 {
            let waker = waiters.list.pop_one_for_good();
            drop(waiters);
            waker.into_iter().for_each(Waker::wake);
        } else {
            List::wake_up_to(waiters, usize::MAX, Given::Woken, || self.waiters.lock(), |waiters| &mut waiters.list);
        }
    }

    fn take_callbacks(&self) -> Vec<Callback> {
        self.waiters.lock().callbacks.take().map_or_else(Vec::new, |callbacks| *callbacks)
    }
}

/// A task as its handle sees it.
pub(super) trait Joinable<T>: Send + Sync {
    fn header(&self) -> &Header;
    /// Runs the task on the waiting strand.
    fn run_inline(&self);
    fn cancel(&self) -> bool;
    /// The outcome, once; after `may_take`.
    fn take(&self) -> Result<T, TaskError>;
    /// The handle goes away.
    fn detach(&self);
    /// Answers a question about how it ended; after `may_take`, with the handle in hand.
    fn look(&self, question: &mut dyn FnMut(Outcome<'_>) -> bool) -> bool;
    /// Whether it ended without a result, or with one that `is_failure`; after `may_take`, with the handle in hand, or in
    /// its callbacks.
    fn has_failed(&self, is_failure: &dyn Fn(&T) -> bool) -> bool;
}

pub(super) struct Task<F, T, G> {
    header: Header,
    job: UnsafeCell<Option<(F, G)>>,
    /// The error is boxed: it is large, and rare.
    outcome: UnsafeCell<Option<Result<T, Box<TaskError>>>>,
}

// SAFETY: the table at the head of this file: job and outcome are each reached by one strand at a time, and passed on
// through the state word; so both are sent, not shared. That they may be sent is a bound of the functions that make a
// task, or else the task is pinned: then its thread alone runs or drops the job and stores the outcome, and the handle,
// which takes it, is `Send` only if the outcome is.
unsafe impl<F, T, G> Sync for Task<F, T, G> {}
// SAFETY: as above.
unsafe impl<F, T, G> Send for Task<F, T, G> {}

impl<F, T, G> Task<F, T, G> {
    /// The work begins. False when it was cancelled before.
    pub(super) fn begin(&self) -> bool {
        self.header.state.to_running(false) == ToRunning::Mine
    }

    /// The work, which somebody else has done, has ended; after [`begin`](Self::begin), once.
    pub(super) fn complete(&self, outcome: Result<T, TaskError>) {
        self.finish(outcome, None);
    }

    pub(super) fn interrupt_of(&self) -> &Interrupt {
        &self.header.interrupt
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.header.deadline
    }

    fn take_job(&self) -> Option<(F, G)> {
        // SAFETY: the caller moved the state out of PENDING.
        self.job.with_mut(|job| unsafe { (*job).take() })
    }

    fn abandon(&self, error: TaskError) -> bool {
        if self.header.state.to_running(true) == ToRunning::NotPending {
            return false;
        }
        let (job, guard) = self.take_job().unzip();
        drop_quietly(job);
        self.finish(Err(error), guard);
        true
    }

    /// Publishes the outcome; `guard` is dropped when nothing of the user's is left here except what the handle holds.
    fn finish(&self, outcome: Result<T, TaskError>, guard: Option<G>) {
        let outcome = outcome.map_err(Box::new);
        // SAFETY: RUNNING, and we are the one who runs.
        self.outcome.with_mut(|place| unsafe { *place = Some(outcome) });
        loop {
            match self.header.state.to_finished() {
                ToFinished::CallbacksFirst => {
                    for callback in self.header.take_callbacks() {
                        self.tell(callback);
                    }
                }
                ToFinished::Finished { wake, detached } => {
                    // Somebody's waker that panics is its future's affair: whoever runs the task goes on, and so does a scope
                    // around it, which must not unwind before its other tasks have ended.
                    if wake {
                        quietly(|| self.header.wake_all());
                    }
                    if detached {
                        drop_quietly(self.take_outcome());
                    }
                    // It may wake somebody too.
                    quietly(|| drop(guard));
                    return;
                }
            }
        }
    }

    fn take_outcome(&self) -> Option<Result<T, Box<TaskError>>> {
        // SAFETY: FINISHED, and the state word lets one take: the handle, or whoever finished a detached task.
        self.outcome.with_mut(|outcome| unsafe { (*outcome).take() })
    }

    /// Shows how it ended; in TELLING, or in FINISHED with the handle in hand.
    fn with_outcome<R>(&self, look: impl FnOnce(Outcome<'_>) -> R) -> R {
        self.outcome.with(|outcome| {
            // SAFETY: in those phases nobody writes.
            look(match unsafe { &*outcome } {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error),
                None => Err(&TaskError::ResultTaken),
            })
        })
    }

    fn tell(&self, callback: Callback) {
        self.with_outcome(|outcome| call_quietly(callback, outcome));
    }
}

impl<F, T, G> Task<F, T, G>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    fn start(&self, runs: Runs) {
        if self.header.pinned && self.header.interrupt.reason().is_some() {
            // Cancelled from a thread that may not drop the job.
            self.abandon(TaskError::Cancelled);
            return;
        }
        if self.header.is_too_late() {
            self.abandon(TaskError::TimedOut);
            return;
        }
        if self.header.state.to_running(false) == ToRunning::NotPending {
            return;
        }
        let Some((job, guard)) = self.take_job() else { return };
        let (interrupt, deadline) = (&self.header.interrupt, self.header.deadline);
        let outcome = match catch_unwind(AssertUnwindSafe(|| park::with_task(interrupt, deadline, runs, job))) {
            Ok(outcome) => outcome,
            Err(payload) => Err(TaskError::of_unwind(payload)),
        };
        self.finish(outcome, Some(guard));
    }
}

/// Calls a callback. A panic in it was reported by the panic hook; it is the callback's own and nobody else's.
pub(super) fn call_quietly(callback: Callback, outcome: Outcome<'_>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(outcome))) {
        drop_quietly(payload);
    }
}

impl<F, T, G> Runnable for Task<F, T, G>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    fn run(&self) {
        self.start(Runs::Apart);
    }

    fn run_here(&self) {
        self.start(Runs::Here);
    }

    fn run_nested(&self) {
        if may_run_inline() {
            self.start(Runs::HereInWait);
        }
    }

    fn cancel(&self, error: TaskError) -> bool {
        self.abandon(error)
    }

    fn interrupt(&self) {
        self.header.interrupt.raise(Reason::Cancelled);
    }

    fn is_pending(&self) -> bool {
        self.header.state.is_pending()
    }

    fn address(&self) -> usize {
        self.header.address()
    }
}

impl<F, T, G> Joinable<T> for Task<F, T, G>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    fn header(&self) -> &Header {
        &self.header
    }

    fn run_inline(&self) {
        self.start(Runs::InWait);
    }

    fn cancel(&self) -> bool {
        if !self.header.pinned && self.abandon(TaskError::Cancelled) {
            return true;
        }
        if !self.header.state.is_finished() {
            self.header.interrupt.raise(Reason::Cancelled);
        }
        false
    }

    fn take(&self) -> Result<T, TaskError> {
        if !self.header.state.take() {
            return Err(TaskError::ResultTaken);
        }
        match self.take_outcome() {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(*error),
            None => Err(TaskError::ResultTaken),
        }
    }

    fn detach(&self) {
        if self.header.state.detach() {
            // The handle's holder drops a result of its own: a panic in its destructor is its own too.
            drop(self.take_outcome());
        }
    }

    fn look(&self, question: &mut dyn FnMut(Outcome<'_>) -> bool) -> bool {
        self.with_outcome(question)
    }

    fn has_failed(&self, is_failure: &dyn Fn(&T) -> bool) -> bool {
        self.outcome.with(|outcome| {
            // SAFETY: in those phases nobody writes, and this is the strand that may look.
            match unsafe { &*outcome } {
                Some(Ok(value)) => is_failure(value),
                Some(Err(_)) | None => true,
            }
        })
    }
}

/// Does what may wake somebody; a panic of a waker is reported by the panic hook and goes no further.
fn quietly(wakes: impl FnOnce()) {
    // A checker ends an execution that failed by panics in the middle of it: they must get through.
    if cfg!(any(ropewalk_loom, ropewalk_shuttle)) {
        return wakes();
    }
    drop_quietly(catch_unwind(AssertUnwindSafe(wakes)));
}

/// Drops a value of the user's; a panic in its destructor is reported by the panic hook and goes no further.
pub fn drop_quietly<T>(value: T) {
    let mut rest = catch_unwind(AssertUnwindSafe(move || drop(value)));
    // The payload may panic when it is dropped too. One that does so again is given up.
    for _ in 0..2 {
        match rest {
            Ok(()) => return,
            Err(payload) => rest = catch_unwind(AssertUnwindSafe(move || drop(payload))),
        }
    }
    std::mem::forget(rest);
}

/// Makes a task for the executor at address `executor` (0 for none): its half, and the submitter's.
///
/// Both halves are the same memory, so the task does not notice when the executor drops its half: an executor runs or
/// cancels what it was given, also where it is shut down. A task that it forgets never ends, and whoever joins it waits for
/// ever. (To notice would take a count of its own beside the one of the `Arc`, for each task that is submitted. A
/// [`Promise`](super::promise::Promise) has one owner and ends when that is dropped.)
pub fn new_task<F, T>(executor: usize, job: F) -> (Arc<dyn Runnable>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    T: Send + 'static,
{
    new_guarded_task(executor, job, ())
}

/// A task without a job, for [`Promise`](super::promise::Promise).
pub(super) fn new_promised<F, T>() -> (Arc<Task<F, T, ()>>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    T: Send + 'static,
{
    let header = Header::new(0, false);
    let task = Arc::new(Task { header, job: UnsafeCell::new(None), outcome: UnsafeCell::new(None) });
    (task.clone(), TaskHandle::new(task))
}

/// [`new_task`] with a guard that is dropped when the task has ended.
pub fn new_guarded_task<F, T, G>(executor: usize, job: F, guard: G) -> (Arc<dyn Runnable>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    T: Send + 'static,
    G: Send + 'static,
{
    // SAFETY: nothing is borrowed.
    unsafe { new_borrowing_task(executor, job, guard) }
}

/// [`new_task`] for a job that borrows.
///
/// # Safety
///
/// Whatever the job or its result borrows must live until `guard` is dropped. (That happens when the task has ended: the
/// job is gone then, and the result is with the handle, which cannot outlive what it borrows, or gone too.)
pub unsafe fn new_borrowing_task<'a, F, T, G>(executor: usize, job: F, guard: G) -> (Arc<dyn Runnable>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + Send + 'a,
    T: Send + 'a,
    G: Send + 'a,
{
    // SAFETY: the caller's promise, and everything may be sent.
    unsafe { make(executor, false, job, guard) }
}

/// [`new_task`] for a job, and a result, that stay on this thread.
///
/// Cancelling such a task by its handle never drops its job: the task ends when its thread comes to it.
///
/// # Safety
///
/// The executor's half is run or cancelled (through [`Runnable`]) on this thread only, and one of them does happen.
/// Whatever the job or its result borrows lives until `guard` is dropped, as with [`new_borrowing_task`].
pub unsafe fn new_pinned_task<'a, F, T, G>(job: F, guard: G) -> (Arc<dyn Runnable>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + 'a,
    T: 'a,
    G: 'a,
{
    // SAFETY: the caller's promise.
    unsafe { make(0, true, job, guard) }
}

/// # Safety
///
/// That of [`new_borrowing_task`], and that of [`new_pinned_task`] if it is `pinned`.
#[inline]
unsafe fn make<'a, F, T, G>(executor: usize, pinned: bool, job: F, guard: G) -> (Arc<dyn Runnable>, TaskHandle<T>)
where
    F: FnOnce() -> Result<T, TaskError> + 'a,
    T: 'a,
    G: 'a,
{
    // Written where it will be: made on the stack, it is large enough for a call of `memcpy`.
    let task = Arc::into_raw(Arc::<Task<F, T, G>>::new_uninit()).cast::<Task<F, T, G>>().cast_mut();
    // SAFETY: the memory of one task, which nobody else has yet; each field is written once.
    unsafe {
        (&raw mut (*task).header).write(Header::new(executor, pinned));
        (&raw mut (*task).job).write(UnsafeCell::new(Some((job, guard))));
        (&raw mut (*task).outcome).write(UnsafeCell::new(None));
    }
    // SAFETY: it came from `into_raw`, and all of it was written.
    let task = unsafe { Arc::from_raw(task) };
    let runnable: Arc<dyn Runnable + 'a> = task.clone();
    let joinable: Arc<dyn Joinable<T> + 'a> = task;
    // SAFETY: only the lifetime changes; the caller keeps the promise above.
    let runnable = unsafe { std::mem::transmute::<Arc<dyn Runnable + 'a>, Arc<dyn Runnable>>(runnable) };
    // SAFETY: as above.
    let joinable = unsafe { std::mem::transmute::<Arc<dyn Joinable<T> + 'a>, Arc<dyn Joinable<T>>>(joinable) };
    (runnable, TaskHandle::new(joinable))
}

/// Turns the result of a result into a result; behind [`TaskHandle::flatten`].
pub(super) struct Flat<T, E>(pub(super) Arc<dyn Joinable<Result<T, E>>>);

impl<T, E> Joinable<T> for Flat<T, E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn header(&self) -> &Header {
        self.0.header()
    }

    fn run_inline(&self) {
        self.0.run_inline();
    }

    fn cancel(&self) -> bool {
        self.0.cancel()
    }

    fn take(&self) -> Result<T, TaskError> {
        self.0.take().and_then(super::into_outcome)
    }

    fn detach(&self) {
        self.0.detach();
    }

    fn look(&self, question: &mut dyn FnMut(Outcome<'_>) -> bool) -> bool {
        self.0.look(question)
    }

    fn has_failed(&self, is_failure: &dyn Fn(&T) -> bool) -> bool {
        self.0.has_failed(&|result| result.as_ref().map_or(true, is_failure))
    }
}
