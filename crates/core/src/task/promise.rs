//! A task whose work is done elsewhere: its executor brings the outcome.
//!
//! The state word and the handle are those of every task. The executor says when it begins, looks out for the interrupt,
//! and completes it once; a promise that is dropped without an outcome ends as [`TaskError::Shutdown`].

use super::harness::{Runnable, Task, drop_quietly, new_promised};
use super::{Call, TaskError, TaskHandle};
use crate::model::time::Instant;
use crate::park::{self, Interrupt, Reason, Runs};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The type of job that a promise does not have.
type NoJob<T> = fn() -> Result<T, TaskError>;

/// The executor's half of a task whose work is done elsewhere.
pub struct Promise<T> {
    task: Arc<Task<NoJob<T>, T, ()>>,
    begun: bool,
    done: bool,
}

impl<T: Send + 'static> Promise<T> {
    /// A promise and the handle to its outcome.
    pub fn new() -> (Self, TaskHandle<T>) {
        let (task, handle) = new_promised();
        (Self { task, begun: false, done: false }, handle)
    }

    /// The work begins. False when it was cancelled before: it must not.
    pub fn begin(&mut self) -> bool {
        self.begun = self.begun || self.task.begin();
        self.done = !self.begun;
        self.begun
    }

    /// What a cancel raises; leave a waker there and look at its reason.
    pub fn interrupt(&self) -> &Interrupt {
        self.task.interrupt_of()
    }

    /// When the work is to be over; the executor wakes it then, or ends it.
    pub fn deadline(&self) -> Option<Instant> {
        self.task.deadline()
    }

    /// The work has ended.
    pub fn complete(mut self, outcome: Result<T, TaskError>) {
        self.end(outcome);
    }

    /// For those who cancel it without its handle.
    pub fn runnable(&self) -> Arc<dyn Runnable> {
        self.task.clone()
    }

    fn end(&mut self, outcome: Result<T, TaskError>) {
        if !self.done && (self.begun || self.task.begin()) {
            self.task.complete(outcome);
        }
        self.done = true;
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if !self.done && (self.begun || self.task.begin()) {
            self.task.complete(Err(TaskError::Shutdown));
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// A job for an async executor: a future, or a [`Call`], whose function is an ordinary one and may block.
///
/// It lives beside `Call` because only this crate can know that a `Call` is no future.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no job for an async executor, which polls futures",
    label = "neither a future that is `Send` and `'static`, nor a call",
    note = "for a closure write `async move {{ .. }}`, with `.await` where it waits: a closure that blocks would stop every \
            task of its thread",
    note = "a closure that blocks or computes runs on a `ThreadPoolExecutor`, a `GreenletExecutor`, or with \
            `AsyncExecutor::spawn_blocking`",
    note = "a `Call`, made by `#[ropewalk::task]` as `function::call(arguments)`, runs on every executor"
)]
pub trait AsyncJob {
    /// What its handle gives.
    type Output: Send + 'static;

    /// Starts it, in the way that is right for it.
    fn start(self, executor: impl StartAsync) -> TaskHandle<Self::Output>;
}

/// The two ways in which an async executor starts a job.
pub trait StartAsync {
    /// On its own threads, polled.
    fn start_future<F>(self, future: F) -> TaskHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Where blocking is right.
    fn start_call<A: Send + 'static, R: Send + 'static>(self, call: Call<A, R>) -> TaskHandle<R>;
}

impl<F: Future<Output: Send + 'static> + Send + 'static> AsyncJob for F {
    type Output = F::Output;

    fn start(self, executor: impl StartAsync) -> TaskHandle<F::Output> {
        executor.start_future(self)
    }
}

impl<A: Send + 'static, R: Send + 'static> AsyncJob for Call<A, R> {
    type Output = R;

    fn start(self, executor: impl StartAsync) -> TaskHandle<R> {
        executor.start_call(self)
    }
}

/// A future as a task: what an async runtime is given to poll. Its output goes to the handle.
///
/// Cancelled through the handle, the future is dropped at its next poll, for which it is woken. A panic in a poll ends
/// the task as every panic does.
#[must_use = "futures do nothing unless polled"]
pub struct FutureTask<F: Future> {
    /// None once it has ended: dropped before the outcome is told.
    future: Option<F>,
    promise: Option<Promise<F::Output>>,
}

impl<F: Future<Output: Send + 'static>> FutureTask<F> {
    /// Makes a task of a future: what is to be polled, its half for cancelling, and the handle.
    pub fn new(future: F) -> (Self, Arc<dyn Runnable>, TaskHandle<F::Output>) {
        let (promise, handle) = Promise::new();
        let runnable = promise.runnable();
        (Self { future: Some(future), promise: Some(promise) }, runnable, handle)
    }

    /// When it is to be polled at the latest: it ends then.
    pub fn deadline(&self) -> Option<Instant> {
        self.promise.as_ref().and_then(Promise::deadline)
    }
}

impl<F: Future<Output: Send + 'static>> Future for FutureTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the future is pinned with the whole: it is dropped in its place, never moved.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(promise) = &mut this.promise else { return Poll::Ready(()) };
        let outcome = if promise.begin() {
            promise.interrupt().leave_waker(context.waker());
            if promise.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                promise.interrupt().raise(Reason::Deadline);
            }
            if let Some(reason) = promise.interrupt().reason() {
                Err(TaskError::of_reason(reason))
            } else {
                let future = this.future.as_mut().expect("it is there until it has ended");
                // SAFETY: as above.
                let future = unsafe { Pin::new_unchecked(future) };
                let (interrupt, deadline) = (promise.interrupt(), promise.deadline());
                let polled = || {
                    park::polling_tasks(|| park::with_task(interrupt, deadline, Runs::Apart, || future.poll(context)))
                };
                match catch_unwind(AssertUnwindSafe(polled)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(value)) => Ok(value),
                    Err(payload) => Err(TaskError::of_unwind(payload)),
                }
            }
        } else {
            Err(TaskError::Cancelled)
        };
        drop_in_place_quietly(&mut this.future);
        if let Some(promise) = this.promise.take() {
            promise.complete(outcome);
        }
        Poll::Ready(())
    }
}

/// Empties a pinned place without moving what is in it.
fn drop_in_place_quietly<F>(place: &mut Option<F>) {
    struct Empty<'a, F>(&'a mut Option<F>);
    impl<F> Drop for Empty<'_, F> {
        fn drop(&mut self) {
            // Assigning drops the old value where it is.
            *self.0 = None;
        }
    }
    drop_quietly(Empty(place));
}

impl<F: Future> fmt::Debug for FutureTask<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureTask").finish_non_exhaustive()
    }
}
