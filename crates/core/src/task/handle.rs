//! What the submitter of a task holds.

use super::harness::{Flat, Header, Joinable, call_quietly, may_run_inline};
use super::outcome::{Outcome, TaskError};
use super::state::TaskId;
use crate::model::time::Duration;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Node, Waiting};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The result of a task, now or later. The same for every executor.
///
/// Wait for it with [`join`](Self::join) on a thread or greenlet, or with `.await` in async code. Dropping the handle
/// lets the task go on by itself.
///
/// # Cancel safety
///
/// An interrupted wait leaves the task running and, where the handle is still there, the result in it.
///
/// # Examples
///
/// ```
/// # use ropewalk_core::task::{harness, TaskHandle};
/// # fn submit<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
/// #     let (task, handle) = harness::new_task(0, || Ok(job()));
/// #     std::thread::spawn(move || task.run());
/// #     handle
/// # }
/// let handle = submit(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[doc(alias = "Future")]
#[doc(alias = "JoinHandle")]
#[must_use = "a dropped handle lets the task go on by itself; join it, or say `drop(handle)`"]
pub struct TaskHandle<T> {
    pub(super) task: Arc<dyn Joinable<T>>,
    /// The place in the queue of those who wait, once this was polled as a future.
    node: Option<Pin<Box<Node>>>,
    /// Whoever has the handle may take the outcome: it goes where that may go.
    outcome: PhantomData<T>,
}

// Nothing in it is pinned; the outcome is not in it.
impl<T> Unpin for TaskHandle<T> {}

// SAFETY: a shared handle gives no access to the outcome: it is taken by `join`, `&mut` or by value.
unsafe impl<T: Send> Sync for TaskHandle<T> {}

impl<T> TaskHandle<T> {
    /// Waits for the task and returns its result.
    ///
    /// Inside a task of the same executor, a task that has not started is run here and now instead of waiting for it.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: it panicked, failed, was cancelled, or never ran.
    ///
    /// # Panics
    ///
    /// In async code; use `.await` there.
    #[doc(alias = "get")]
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        park::refuse_in_async();
        self.wait_finished();
        self.task.take()
    }

    /// Waits until the outcome may be taken, running the task here if it is this executor's and has not started. For those
    /// who must still hold the handle when the wait is cancelled.
    #[doc(hidden)]
    #[track_caller]
    pub fn wait_finished(&self) {
        let header = self.task.header();
        if header.state.may_take() {
            return;
        }
        if header.executor != 0
            && header.executor == park::current_executor()
            && header.state.is_pending()
            // Under a token the wait may have to end before the task does.
            && park::only_task_can_cancel()
            && may_run_inline()
        {
            self.task.run_inline();
        } else if header.state.is_pending() {
            park::run_first(header.address());
            if header.state.may_take() {
                return;
            }
        }
        if !park::spin_until(|| header.state.may_take()) {
            park::wait_for(self.wait_as(Waiting::Blocking));
        }
    }

    /// Waits until the outcome may be taken, whatever happens: for those who may not go on before.
    #[doc(hidden)]
    pub fn wait_finished_shielded(&self) {
        if !self.task.header().state.may_take() {
            park::wait_for_shielded(self.wait_as(Waiting::Blocking));
        }
    }

    /// [`wait_finished_shielded`](Self::wait_finished_shielded) that does not even refuse async code: for those on whose
    /// stack lies what the task borrows.
    #[doc(hidden)]
    pub fn wait_finished_unconditionally(&self) {
        if !self.task.header().state.may_take() {
            park::wait_for_ready(park::Wait::UNCONDITIONAL, self.wait_as(Waiting::Blocking));
        }
    }

    /// Waits until the task has ended, without taking its result.
    pub fn finished(&self) -> Finished<'_> {
        self.wait_as(Waiting::Task)
    }

    fn wait_as(&self, waiting: Waiting) -> Finished<'_> {
        Finished { header: self.task.header(), node: Node::new(waiting) }
    }

    /// The outcome; after it is finished.
    pub(super) fn take(self) -> Result<T, TaskError> {
        self.task.take()
    }

    /// [`join`](Self::join) under its name in Python.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    #[track_caller]
    pub fn result(self) -> Result<T, TaskError> {
        self.join()
    }

    /// Waits for the task for at most `timeout`, which does not stop the task.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join). After [`TaskError::TimedOut`] with [`is_finished`](Self::is_finished) false the handle
    /// is as before; after any other answer the result is gone and a further join says [`TaskError::ResultTaken`].
    /// [`TaskError::Cancelled`] with `is_finished` false means that the *waiting* task was cancelled.
    ///
    /// # Panics
    ///
    /// In async code; use the runtime's timeout around the handle there.
    #[track_caller]
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        park::refuse_in_async();
        let header = self.task.header();
        if !header.state.may_take() {
            match park::wait_for_with(Wait::FOREVER.timeout(timeout), self.wait_as(Waiting::Blocking)) {
                Ok(()) => {}
                Err(Interrupted::TimedOut) => return Err(TaskError::TimedOut),
                Err(Interrupted::Cancelled) => return Err(TaskError::Cancelled),
            }
        }
        self.task.take()
    }

    /// [`join_timeout`](Self::join_timeout) under its name in Python.
    ///
    /// # Errors
    ///
    /// As [`join_timeout`](Self::join_timeout).
    #[track_caller]
    pub fn result_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        self.join_timeout(timeout)
    }
}

impl<T> TaskHandle<T> {
    pub(super) fn new(task: Arc<dyn Joinable<T>>) -> Self {
        Self { task, node: None, outcome: PhantomData }
    }

    /// Whether the task has ended, in whichever way.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.task.header().state.is_finished()
    }

    /// Whether the task runs at this moment.
    #[doc(alias = "running")]
    pub fn is_running(&self) -> bool {
        self.task.header().state.is_running()
    }

    /// Whether the task ended by being cancelled, before it started or in one of its waits.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.look(&mut |outcome| matches!(outcome, Err(TaskError::Cancelled)))
    }

    /// Whether the task has ended without a result: it panicked, failed, was cancelled or never ran.
    pub fn is_failed(&self) -> bool {
        self.look(&mut |outcome| outcome.is_err())
    }

    /// What `question` says of the outcome; false while there is none, and after it was taken.
    fn look(&self, question: &mut dyn FnMut(Outcome<'_>) -> bool) -> bool {
        let state = &self.task.header().state;
        state.may_take() && !state.is_taken() && self.task.look(question)
    }

    /// Cancels the task. True when it had not started: it never will.
    ///
    /// A task that runs is asked to stop: its waits on anything of ropewalk's end, and
    /// [`is_cancelled`](super::is_cancelled) tells a computation. The answer is false then, since it may still end
    /// well.
    pub fn cancel(&self) -> bool {
        self.task.cancel()
    }

    /// Cancels the task and waits until it has ended, which it may do well all the same.
    ///
    /// # Panics
    ///
    /// In async code; use [`cancel`](Self::cancel) and `.await` there.
    #[track_caller]
    pub fn kill(&self) {
        self.cancel();
        if !self.task.header().state.may_take() {
            park::wait_for(self.wait_as(Waiting::Blocking));
        }
    }

    /// Calls `callback` once the task has ended: on the thread that ended it, or here if that was before.
    ///
    /// A panic in a callback is reported by the panic hook and goes no further. A callback must not wait long: it holds
    /// up a worker, and whoever joins.
    #[doc(alias = "add_done_callback")]
    pub fn on_finish(&self, callback: impl FnOnce(Outcome<'_>) + Send + 'static) {
        if let Some(callback) = self.task.header().add_callback(Box::new(callback)) {
            let mut callback = Some(callback);
            self.task.look(&mut |outcome| {
                callback.take().into_iter().for_each(|callback| call_quietly(callback, outcome));
                true
            });
        }
    }

    /// Identifies the task among those that live.
    pub fn id(&self) -> TaskId {
        self.task.header().id()
    }
}

impl<T, E> TaskHandle<Result<T, E>>
where
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    /// Makes the error of a fallible task the error of its handle: `Err(e)` becomes [`TaskError::Failed`].
    ///
    /// That is so for whoever takes the result. [`on_finish`](Self::on_finish) and [`is_failed`](Self::is_failed) go on
    /// speaking of the task itself, which ended well when it returned an error. A `#[ropewalk::task]` that returns a
    /// `Result` fails in both senses.
    pub fn flatten(self) -> TaskHandle<T> {
        // The new handle takes the place of this one, which must not count as dropped.
        let mut this = std::mem::ManuallyDrop::new(self);
        if let Some(node) = this.node.take() {
            this.task.header().leave(&node);
        }
        // SAFETY: `this` is not dropped and not used again, so the reference is moved and not doubled.
        let task = unsafe { std::ptr::read(&raw const this.task) };
        TaskHandle::new(Arc::new(Flat(task)))
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let header = this.task.header();
        if !header.state.may_take() {
            let node = this.node.get_or_insert_with(|| Box::pin(Node::new(Waiting::Task)));
            if header.poll_finished(node.as_ref(), context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(this.task.take())
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if let Some(node) = &self.node {
            self.task.header().leave(node);
        }
        self.task.detach();
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .field("running", &self.is_running())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// The wait until a task has ended, as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct Finished<'a> {
    header: &'a Header,
    node: Node,
}

impl fmt::Debug for Finished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished").finish_non_exhaustive()
    }
}

impl Future for Finished<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.header.poll_finished(node, context)
    }
}

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.header.leave(&self.node);
    }
}
