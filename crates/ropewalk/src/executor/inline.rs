//! The executor without concurrency: a job runs where it is submitted. The model that the others are measured by.

use super::roster::{Member, Roster};
use super::scope::{Home, Place};
use super::verbs::{self, own_maps, own_scope, own_verbs};
use super::{Executor, Submit, TrySubmitError};
use crate::spans::{self, On};
use crate::task::harness::{self, Runnable};
use crate::task::{Call, Shutdown, TaskError, TaskHandle};
use ropewalk_core::park::{self, ExecutionId};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs each job at once, on the strand that submits it: when [`submit`](Submit::submit) returns, the handle is finished.
///
/// For tests and for a look without concurrency in the way: change one word of a program, and its jobs run one after
/// another, in order, with the stack of their submitter in the backtrace. All else is as with every executor: a panic goes
/// into the handle, a job may submit others and wait for them, after a shutdown jobs are refused. It is the reference that
/// the tests compare the other executors with.
///
/// A job that waits for something its submitter would do later waits for ever, as a function would.
///
/// # Cancel safety
///
/// Whoever cancels the task that submits reaches the job too, which runs in its place: it ends as
/// [`Cancelled`](TaskError::Cancelled), and its submitter unwinds at its own next wait.
///
/// # Examples
///
/// ```
/// use ropewalk::{InlineExecutor, Submit};
///
/// let inline = InlineExecutor::new();
/// let answer = inline.submit(|| 6 * 7);
/// assert!(answer.is_finished());
/// assert_eq!(answer.join()?, 42);
///
/// let error = inline.submit(|| panic!("out of hemp")).join().unwrap_err();
/// assert_eq!(error.to_string(), "task panicked: out of hemp");
/// # Ok::<(), ropewalk::TaskError>(())
/// ```
#[derive(Default)]
#[doc(alias = "SerialExecutor")]
#[doc(alias = "CurrentThreadExecutor")]
pub struct InlineExecutor {
    inline: Arc<Inline>,
}

#[derive(Default)]
struct Inline {
    roster: Arc<Roster>,
    /// The strands that run a job at this moment, once for each: they cannot wait for the end of all jobs. (Not a mutex of
    /// ours: jobs are submitted in async code too.)
    strands: Mutex<Vec<ExecutionId>>,
}

/// A strand is among those that run a job until this is dropped.
struct Running<'a>(&'a Inline, ExecutionId);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut strands = self.0.strands();
        if let Some(place) = strands.iter().rposition(|strand| *strand == self.1) {
            strands.swap_remove(place);
        }
    }
}

impl Inline {
    fn strands(&self) -> MutexGuard<'_, Vec<ExecutionId>> {
        self.strands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, task: &Arc<dyn Runnable>) {
        let me = park::execution_id();
        self.strands().push(me);
        let _running = Running(self, me);
        self.roster.list(task);
        task.run_here();
    }

    fn submit<F, T>(&self, member: Member, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let (task, handle) = harness::new_guarded_task(0, job, member);
        self.run(&task);
        handle
    }
}

impl InlineExecutor {
    /// An executor that runs jobs where they are submitted.
    pub fn new() -> Self {
        Self::default()
    }

    own_verbs!("InlineExecutor::new()", "(0..3).map(|n| move || 10 * n)");
    own_maps!("InlineExecutor::new()");
    own_scope!("InlineExecutor::new()", this => Box::new(Arc::clone(&this.inline)));

    /// Takes no more jobs, and waits for those that other strands run at this moment, as `how` says.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) {
        Executor::shutdown(self, how);
    }
}

impl<F, T> Submit<F> for InlineExecutor
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    fn submit(&self, job: F) -> TaskHandle<T> {
        self.try_submit(job).unwrap_or_else(|_| verbs::refused())
    }

    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        match self.inline.roster.try_enter(usize::MAX) {
            Ok(member) => Ok(self.inline.submit(member, spans::closure(On::Inline, job))),
            Err(_) => Err(TrySubmitError::Shutdown(job)),
        }
    }

    async fn submit_async(&self, job: F) -> TaskHandle<T> {
        self.submit(job)
    }
}

impl<A, R> Submit<Call<A, R>> for InlineExecutor
where
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    fn submit(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.try_submit(call).unwrap_or_else(|_| verbs::refused())
    }

    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        match self.inline.roster.try_enter(usize::MAX) {
            Ok(member) => Ok(self.inline.submit(member, spans::call(On::Inline, call))),
            Err(_) => Err(TrySubmitError::Shutdown(call)),
        }
    }

    async fn submit_async(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.submit(call)
    }
}

impl Executor for InlineExecutor {
    #[track_caller]
    fn shutdown(&self, how: Shutdown) {
        let roster = &self.inline.roster;
        roster.close();
        let mine = park::execution_id();
        let waits = how != Shutdown::Detach && roster.alive() > 0 && !self.inline.strands().contains(&mine);
        if waits {
            park::refuse_in_async();
        }
        match how {
            Shutdown::Kill if waits => roster.kill(),
            Shutdown::Kill => roster.cancel(true),
            _ if waits => roster.join(),
            _ => {}
        }
    }

    /// One: the submitter waits meanwhile.
    fn parallelism(&self) -> usize {
        1
    }

    fn splits_chunks(&self) -> bool {
        false
    }
}

impl Home for Arc<Inline> {
    fn on(&self) -> On {
        On::Inline
    }

    fn enter(&self) -> Option<Place> {
        let member = self.roster.try_enter(usize::MAX).ok()?;
        Some(Place::with(member))
    }

    fn launch(&self, task: Arc<dyn Runnable>, _place: &'static Location<'static>) {
        self.run(&task);
    }
}

impl fmt::Debug for InlineExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineExecutor").field("alive", &self.inline.roster.alive()).finish_non_exhaustive()
    }
}
