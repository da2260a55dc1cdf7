//! A pool's scope: jobs that borrow, and an end that waits for them.

use super::borrowed::Jobs;
use super::thread_pool::Pool;
use crate::task::TaskHandle;
use crate::task::harness;
use ropewalk_core::park;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// Where jobs that borrow are submitted; see [`ThreadPoolExecutor::scope`](crate::ThreadPoolExecutor::scope).
pub struct Scope<'scope, 'env: 'scope> {
    pool: Arc<Pool>,
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
        self.pool.take_room();
        // SAFETY: `run` does not return before the member is dropped, and what the job borrows outlives `run`.
        let (task, handle) =
            unsafe { harness::new_borrowing_task(self.pool.identity(), self.jobs.guarded(job), self.jobs.enter()) };
        self.pool.watch(&handle);
        self.jobs.list(&task);
        self.pool.enqueue(task, Location::caller());
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
pub(super) fn run<'env, F, R>(pool: &Arc<Pool>, body: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let jobs = Jobs::new();
    let scope = Scope { pool: Arc::clone(pool), jobs: Arc::clone(&jobs), scope: PhantomData, env: PhantomData };
    jobs.run(
        || body(&scope),
        || {
            if park::current_executor() == pool.identity() {
                // A worker helps with what has not started: its own jobs and nobody else's.
                jobs.latest_first().for_each(|task| task.run_nested());
            }
        },
    )
}
