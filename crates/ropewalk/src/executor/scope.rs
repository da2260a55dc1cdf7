//! Jobs that borrow, and a scope that waits for them.
//!
//! # Why this is sound
//!
//! A job in a scope may borrow what lives longer than the scope (`'scope`, the pattern of [`std::thread::scope`]). The
//! executor, which wants `'static`, is given it all the same, so the scope must not end before nothing of the job is
//! left. Each task carries a [`Member`], which the task's harness drops when the job is gone and the result is with its
//! handle or gone too; the handle itself cannot outlive what its result borrows. [`run`] counts the members and returns,
//! also when the body or a job panicked or the calling task was cancelled, only when there are none.

use super::thread_pool::Pool;
use crate::task::harness::{self, Runnable};
use crate::task::{Cancelled, Panic, TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::sync::{Event, Mutex};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Where jobs that borrow are submitted; see [`ThreadPoolExecutor::scope`](crate::ThreadPoolExecutor::scope).
pub struct Scope<'scope, 'env: 'scope> {
    pool: Arc<Pool>,
    state: Arc<State>,
    /// Both lifetimes invariant, as in std.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

#[derive(Default)]
struct Tasks {
    tasks: Vec<Weak<dyn Runnable>>,
    panic: Option<Box<dyn Any + Send>>,
    /// What is submitted from here on is cancelled too.
    cancelled: bool,
}

struct State {
    /// Members, and one for the body.
    alive: AtomicUsize,
    nobody: Event,
    tasks: Mutex<Tasks>,
}

/// One job's claim on the scope.
struct Member(Arc<State>);

impl Member {
    fn enter(state: &Arc<State>) -> Self {
        // Relaxed: the body, or a job, is counted while it submits.
        state.alive.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Release: what the job did is over. Acquire, for the last: it speaks for all.
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.nobody.set();
        }
    }
}

impl State {
    /// Remembers the first panic and cancels the others.
    fn failed(&self, payload: Box<dyn Any + Send>) {
        {
            let mut tasks = self.tasks.lock();
            if tasks.panic.is_none() {
                tasks.panic = Some(payload);
            }
        }
        self.cancel();
    }

    fn cancel(&self) {
        let tasks = {
            let mut tasks = self.tasks.lock();
            tasks.cancelled = true;
            tasks.tasks.clone()
        };
        for task in tasks.iter().filter_map(Weak::upgrade) {
            if !task.cancel(TaskError::Cancelled) {
                task.interrupt();
            }
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Submits a job that may borrow from outside the scope. Waits while the queue has reached its limit, if it has one.
    ///
    /// A panic of the job cancels the other jobs, also those submitted later, and is re-thrown when the scope ends.
    #[track_caller]
    pub fn submit<F, T>(&'scope self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.pool.take_room();
        let state = Arc::clone(&self.state);
        let job = move || match catch_unwind(AssertUnwindSafe(job)) {
            Ok(value) => Ok(value),
            Err(payload) if payload.is::<Cancelled>() => resume_unwind(payload),
            Err(payload) => {
                let panic = Panic::from_payload(payload);
                let told = TaskError::Panicked(Panic::from_payload(Box::new(panic.message().to_owned())));
                state.failed(panic.into_payload());
                Err(told)
            }
        };
        let member = Member::enter(&self.state);
        // SAFETY: `run` does not return before the member is dropped, and what the job borrows outlives `run`.
        let (task, handle) = unsafe { harness::new_borrowing_task(self.pool.identity(), job, member) };
        let too_late = {
            let mut state = self.state.tasks.lock();
            if state.tasks.len() == state.tasks.capacity() {
                state.tasks.retain(|task| task.strong_count() > 0);
            }
            state.tasks.push(Arc::downgrade(&task));
            state.cancelled
        };
        self.pool.watch(&handle);
        if too_late {
            task.cancel(TaskError::Cancelled);
        }
        self.pool.enqueue(task);
        handle
    }

    /// Submits a job for each item and waits for none of them: the end of the scope does. What `function` returns is dropped
    /// where it was made.
    ///
    /// # Panics
    ///
    /// A panic of `function` cancels the other jobs, as with [`submit`](Self::submit).
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk::ThreadPoolExecutor;
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut squares = [1, 2, 3];
    /// pool.scope(|scope| scope.for_each(|n| *n *= *n, &mut squares));
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    #[track_caller]
    pub fn for_each<F, I, R>(&'scope self, function: F, items: I)
    where
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        I: IntoIterator<Item: Send + 'scope>,
    {
        let function = Arc::new(function);
        for item in items {
            let function = Arc::clone(&function);
            drop(self.submit(move || drop(function(item))));
        }
    }

    /// Cancels all jobs of the scope that have not ended, and those submitted later: what has not started never will,
    /// what runs is asked to stop.
    pub fn cancel(&self) {
        self.state.cancel();
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Runs the body and waits for its jobs.
pub(super) fn run<'env, F, R>(pool: &Arc<Pool>, body: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let state =
        Arc::new(State { alive: AtomicUsize::new(1), nobody: Event::new(), tasks: Mutex::new(Tasks::default()) });
    let scope = Scope { pool: Arc::clone(pool), state: Arc::clone(&state), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    if result.is_err() {
        state.cancel();
    }
    drop(Member(Arc::clone(&state)));
    if park::current_executor() == pool.identity() {
        // A worker helps with what has not started: its own jobs and nobody else's.
        let tasks = state.tasks.lock().tasks.clone();
        for task in tasks.iter().rev().filter_map(Weak::upgrade) {
            task.run_nested();
        }
    }
    // Shielded: returning before the jobs have ended would free what they borrow.
    if !state.nobody.is_set() {
        park::wait_for_shielded(state.nobody.wait_async());
    }
    let panic = state.tasks.lock().panic.take();
    match (result, panic) {
        // That of a job first: the body may only have passed it on.
        (Err(payload), None) | (_, Some(payload)) => resume_unwind(payload),
        (Ok(result), None) => result,
    }
}
