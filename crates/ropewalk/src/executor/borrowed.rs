//! Jobs that borrow, and the wait for the last of them: what all scopes are made of.
//!
//! # Why this is sound
//!
//! A job in a scope may borrow what lives longer than the scope (`'scope`, the pattern of [`std::thread::scope`]). The
//! executor, which wants `'static`, is given it all the same, so the scope must not end before nothing of the job is
//! left. Each task carries a [`Member`], which the task's harness drops when the job is gone and the result is with its
//! handle or gone too; the handle itself cannot outlive what its result borrows. [`Jobs::run`] counts the members and
//! returns, also when the body or a job panicked or the calling task was cancelled, only when there are none. It unwinds no
//! earlier either, whatever panics in it: the wait is in a destructor ([`Leaving`]).

use crate::task::harness::Runnable;
use crate::task::{Cancelled, Panic, TaskError};
use ropewalk_core::park;
use ropewalk_core::sync::{Event, Mutex};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

#[derive(Default)]
struct Tasks {
    tasks: Vec<Weak<dyn Runnable>>,
    panic: Option<Box<dyn Any + Send>>,
    /// What is submitted from here on is cancelled too.
    cancelled: bool,
    /// A job ended as cancelled while it ran.
    cut_off: bool,
}

/// The jobs of one scope.
pub(crate) struct Jobs {
    /// Members, and one for the body.
    alive: AtomicUsize,
    nobody: Event,
    tasks: Mutex<Tasks>,
}

/// One job's claim on the scope: a guard for its harness.
pub(crate) struct Member(Arc<Jobs>);

impl Drop for Member {
    fn drop(&mut self) {
        // Release: what the job did is over. Acquire, for the last: it speaks for all.
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.nobody.set();
        }
    }
}

/// The way out of a scope: waits until nothing of its jobs is left.
struct Leaving<'a>(&'a Jobs);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.0.nobody.is_set() {
            // To be refused or cancelled would free what the jobs borrow.
            park::wait_for_ready(park::Wait::UNCONDITIONAL, self.0.nobody.wait_async());
        }
    }
}

impl Jobs {
    pub(crate) fn new() -> Arc<Self> {
        // The body's own claim, which `run` gives back.
        Arc::new(Self { alive: AtomicUsize::new(1), nobody: Event::new(), tasks: Mutex::default() })
    }

    /// A claim for one more job.
    pub(crate) fn enter(self: &Arc<Self>) -> Member {
        // Relaxed: the body, or a job, is counted while it submits.
        self.alive.fetch_add(1, Ordering::Relaxed);
        Member(Arc::clone(self))
    }

    /// The job, whose panic is kept for the end of the scope and cancels the others.
    pub(crate) fn guarded<F, T>(self: &Arc<Self>, job: F) -> impl FnOnce() -> Result<T, TaskError> + use<F, T>
    where
        F: FnOnce() -> T,
    {
        let jobs = Arc::clone(self);
        move || match catch_unwind(AssertUnwindSafe(job)) {
            Ok(value) => Ok(value),
            Err(payload) if payload.is::<Cancelled>() => {
                jobs.tasks.lock().cut_off = true;
                resume_unwind(payload)
            }
            Err(payload) => {
                let panic = Panic::from_payload(payload);
                let told = TaskError::Panicked(Panic::from_payload(Box::new(panic.message().to_owned())));
                jobs.failed(panic.into_payload());
                Err(told)
            }
        }
    }

    /// Makes the job known to [`cancel`](Self::cancel); one that comes too late is cancelled at once.
    pub(crate) fn list(&self, task: &Arc<dyn Runnable>) {
        let too_late = {
            let mut tasks = self.tasks.lock();
            if tasks.tasks.len() == tasks.tasks.capacity() {
                tasks.tasks.retain(|task| task.strong_count() > 0);
            }
            tasks.tasks.push(Arc::downgrade(task));
            tasks.cancelled
        };
        if too_late {
            task.cancel(TaskError::Cancelled);
        }
    }

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

    /// Cancels what has not ended, and what comes later.
    pub(crate) fn cancel(&self) {
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

    /// The jobs that are left, the latest first.
    pub(crate) fn latest_first(&self) -> impl Iterator<Item = Arc<dyn Runnable>> + use<> {
        let tasks = self.tasks.lock().tasks.clone();
        tasks.into_iter().rev().filter_map(|task| task.upgrade())
    }

    /// Runs the body and waits for its jobs, after `help`; whoever is cancelled meanwhile cancels them.
    pub(crate) fn run<R>(self: &Arc<Self>, body: impl FnOnce() -> R, help: impl FnOnce()) -> R {
        let leaving = Leaving(self);
        // Given back before that, also where this unwinds.
        let own = Member(Arc::clone(self));
        let mut result = catch_unwind(AssertUnwindSafe(body));
        if result.is_err() {
            self.cancel();
        }
        drop(own);
        help();
        let wait = || {
            // By what ends this strand too, if that was while it helped: then no wait is left in which it would see that.
            if self.tasks.lock().cut_off {
                park::check_cancelled();
            }
            self.nobody.wait();
        };
        if result.is_ok()
            && let Err(cancelled) = catch_unwind(AssertUnwindSafe(wait))
        {
            self.cancel();
            result = Err(cancelled);
        }
        drop(leaving);
        let panic = self.tasks.lock().panic.take();
        match (result, panic) {
            // That of a job first: the body may only have passed it on.
            (Err(payload), None) | (_, Some(payload)) => resume_unwind(payload),
            (Ok(result), None) => result,
        }
    }
}

#[cfg(all(test, not(any(ropewalk_loom, ropewalk_shuttle))))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    #[test]
    fn scope_whose_help_panics_ends_after_its_jobs() {
        let (jobs, over) = (Jobs::new(), AtomicBool::new(false));
        std::thread::scope(|threads| {
            let member = jobs.enter();
            threads.spawn(|| {
                let since = Instant::now();
                while since.elapsed() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
                over.store(true, Ordering::Relaxed);
                drop(member);
            });
            // Not by `panic!`, whose message may take longer than the job.
            let help = || resume_unwind(Box::new("the help"));
            let ended = catch_unwind(AssertUnwindSafe(|| jobs.run(|| (), help)));
            assert!(over.load(Ordering::Relaxed), "a job outlived its scope");
            assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "the help");
        });
    }
}
