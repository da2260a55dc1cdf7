//! An executor's scope: jobs that borrow, and an end that waits for them.

use super::borrowed::Jobs;
use super::thread_pool::Pool;
use crate::spans::{self, On};
use crate::task::harness::{self, Runnable};
use crate::task::{Outcome, TaskError, TaskHandle};
use ropewalk_core::park;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// An executor that jobs of a scope run on.
pub(crate) trait Home: Send + Sync {
    /// On what they run.
    fn on(&self) -> On;

    /// The identity by which its tasks and its workers know each other; 0 where workers do not help in a wait.
    fn identity(&self) -> usize {
        0
    }

    /// Takes a place for one more job, and waits for it if there is a limit. None after a shutdown.
    fn enter(&self) -> Option<Place>;

    /// Runs the task or cancels it, now or later, where its place was taken.
    fn launch(&self, task: Arc<dyn Runnable>, place: &'static Location<'static>);

    /// Who is told how the job ended, besides its handle.
    fn listener(&self) -> Option<Listener> {
        None
    }
}

pub(crate) type Listener = Box<dyn FnOnce(Outcome<'_>) + Send>;

/// A job's place in its executor, until the task has ended.
pub(crate) struct Place {
    _held: Option<Box<dyn Send>>,
}

impl Place {
    /// A place that is nothing to hold.
    fn free() -> Self {
        Self { _held: None }
    }

    pub(crate) fn with(held: impl Send + 'static) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

impl Home for Arc<Pool> {
    fn on(&self) -> On {
        On::ThreadPool
    }

    fn identity(&self) -> usize {
        Pool::identity(self)
    }

    fn enter(&self) -> Option<Place> {
        self.take_room();
        // The queue says whether it was shut down, when the task is put there.
        Some(Place::free())
    }

    fn launch(&self, task: Arc<dyn Runnable>, place: &'static Location<'static>) {
        self.enqueue(task, place);
    }

    fn listener(&self) -> Option<Listener> {
        self.listener()
    }
}

/// Where jobs that borrow are submitted; see [`ThreadPoolExecutor::scope`](crate::ThreadPoolExecutor::scope).
pub struct Scope<'scope, 'env: 'scope> {
    home: Box<dyn Home>,
    jobs: Arc<Jobs>,
    /// Both lifetimes invariant, as in std.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
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
        let place = self.home.enter();
        let refused = place.is_none();
        // SAFETY: `run` does not return before the member is dropped, and what the job borrows outlives `run`.
        let (task, handle) = unsafe {
            let guard = (self.jobs.enter(), place);
            let work = spans::around(self.home.on(), std::any::type_name::<F>(), self.jobs.guarded(job));
            harness::new_borrowing_task(self.home.identity(), work, guard)
        };
        if let Some(listener) = self.home.listener() {
            handle.on_finish(listener);
        }
        if refused {
            task.cancel(TaskError::Shutdown);
        } else {
            self.jobs.list(&task);
            self.home.launch(task, Location::caller());
        }
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
        self.jobs.cancel();
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Runs the body and waits for its jobs.
#[track_caller]
pub(crate) fn run<'env, F, R>(home: Box<dyn Home>, body: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    park::refuse_in_async();
    let jobs = Jobs::new();
    let identity = home.identity();
    let scope = Scope { home, jobs: Arc::clone(&jobs), scope: PhantomData, env: PhantomData };
    jobs.run(
        || body(&scope),
        || {
            if identity != 0 && park::current_executor() == identity {
                // A worker helps with what has not started: its own jobs and nobody else's.
                jobs.latest_first().for_each(|task| task.run_nested());
            }
        },
    )
}
