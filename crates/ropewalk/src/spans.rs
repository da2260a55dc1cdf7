//! What runs in a task: the user's job, and with feature `tracing` the span around it.
//!
//! Every executor makes its tasks of what [`closure`], [`call`] and [`around`] give. Without the feature that is the job and
//! nothing else.
//!
//! A span is made where the job is submitted, so it is a child of the span there, and entered where the job runs. Where the
//! subscriber does not want ours, the job runs in the submitter's span itself: a log line in a task belongs to the request
//! that submitted it in any case.
//!
//! Which spans are entered is a list in a thread-local of the subscriber's. A greenlet that waits lets others run on its
//! thread, so its spans are left and entered again around each switch ([`with_switch_hook`](crate::greenlet::with_switch_hook)).

use crate::task::{Call, TaskError};

/// On what a task runs, in the words of the lab.
#[derive(Clone, Copy)]
pub(crate) enum On {
    Thread,
    ThreadPool,
    #[cfg(all(unix, feature = "greenlet"))]
    Greenlet,
    #[cfg(all(unix, feature = "greenlet"))]
    Async,
    Inline,
}

/// The work of a closure.
#[inline]
pub(crate) fn closure<F, T>(on: On, job: F) -> impl FnOnce() -> Result<T, TaskError> + use<F, T>
where
    F: FnOnce() -> T,
{
    around(on, std::any::type_name::<F>(), move || Ok(job()))
}

/// The work of a call.
#[inline]
pub(crate) fn call<A, R>(on: On, call: Call<A, R>) -> impl FnOnce() -> Result<R, TaskError> + use<A, R> {
    let name = call.name();
    around(on, name, move || call.run())
}

/// Work that has a result already.
#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn around<F, T>(_: On, _: &'static str, work: F) -> impl FnOnce() -> Result<T, TaskError> + use<F, T>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    work
}

/// A future, polled in its span.
#[cfg(all(unix, feature = "greenlet", not(feature = "tracing")))]
pub(crate) fn future<F: Future>(_: On, future: F) -> impl Future<Output = F::Output> + use<F> {
    future
}

#[cfg(feature = "tracing")]
pub use traced::in_span;
#[cfg(feature = "tracing")]
pub(crate) use traced::*;

#[cfg(feature = "tracing")]
mod traced {
    use super::On;
    use crate::task::TaskError;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;
    use tracing::field::Empty;
    use tracing::{Span, debug_span};

    impl On {
        fn word(self) -> &'static str {
            match self {
                Self::Thread => "thread",
                Self::ThreadPool => "thread-pool",
                #[cfg(all(unix, feature = "greenlet"))]
                Self::Greenlet => "greenlet",
                #[cfg(all(unix, feature = "greenlet"))]
                Self::Async => "async",
                Self::Inline => "inline",
            }
        }
    }

    /// The span of a task, from its submission on.
    struct TaskSpan {
        /// The task's, or the submitter's where the subscriber does not want it.
        span: Span,
        /// When it was submitted, if the span says how long it waited.
        submitted: Option<Instant>,
    }

    impl TaskSpan {
        fn new(on: On, name: &'static str) -> Self {
            let span = debug_span!(
                target: "ropewalk",
                "task",
                task = name,
                on = on.word(),
                waited_us = Empty,
                outcome = Empty
            );
            if span.is_disabled() {
                Self { span: Span::current(), submitted: None }
            } else {
                Self { span, submitted: Some(Instant::now()) }
            }
        }

        fn begins(&self) {
            if let Some(submitted) = self.submitted {
                // A u64 of microseconds is half a million years.
                self.span.record("waited_us", submitted.elapsed().as_micros() as u64);
            }
        }

        fn ends(&self, outcome: &'static str) {
            if self.submitted.is_some() {
                self.span.record("outcome", outcome);
            }
        }
    }

    pub(crate) fn around<F, T>(on: On, name: &'static str, work: F) -> impl FnOnce() -> Result<T, TaskError> + use<F, T>
    where
        F: FnOnce() -> Result<T, TaskError>,
    {
        let seen = TaskSpan::new(on, name);
        move || {
            if seen.span.is_none() {
                return work();
            }
            seen.begins();
            // As the harness would: it is told the same.
            let unwound = catch_unwind(AssertUnwindSafe(|| in_span(&seen.span, work)));
            let outcome = unwound.unwrap_or_else(|payload| Err(TaskError::of_unwind(payload)));
            seen.ends(word(&outcome));
            outcome
        }
    }

    #[cfg(all(unix, feature = "greenlet"))]
    pub(crate) fn future<F: Future>(on: On, future: F) -> impl Future<Output = F::Output> + use<F> {
        use tracing::Instrument as _;
        let seen = TaskSpan::new(on, std::any::type_name::<F>());
        let span = seen.span.clone();
        let polled = async move {
            seen.begins();
            let output = future.await;
            seen.ends("done");
            output
        };
        polled.instrument(span)
    }

    fn word<T>(outcome: &Result<T, TaskError>) -> &'static str {
        match outcome {
            Ok(_) => "done",
            Err(TaskError::Cancelled) => "cancelled",
            Err(TaskError::Panicked(_)) => "panicked",
            Err(TaskError::TimedOut) => "timed out",
            Err(_) => "failed",
        }
    }

    /// Runs `f` inside `span`, also on a greenlet that waits meanwhile: [`Span::in_scope`](tracing::Span::in_scope) for
    /// every strand.
    ///
    /// A greenlet that waits inside `Span::enter` or `in_scope` leaves its span entered for the other greenlets of its
    /// thread, as an async task would. Here the span is left and entered again around each switch.
    ///
    /// # Panics
    ///
    /// When `f` does.
    ///
    /// # Examples
    ///
    /// ```
    /// let span = tracing::info_span!("request", id = 7);
    /// let answer = ropewalk::in_span(&span, || {
    ///     tracing::info!("inside");
    ///     ropewalk::sleep(std::time::Duration::from_millis(1));
    ///     42
    /// });
    /// assert_eq!(answer, 42);
    /// ```
    pub fn in_span<R>(span: &tracing::Span, f: impl FnOnce() -> R) -> R {
        #[cfg(all(unix, feature = "greenlet"))]
        {
            use ropewalk_core::strand::{SwitchHook, with_switch_hook};
            use std::cell::Cell;
            use tracing::span::Entered;

            struct Inside<'a>(&'a Span, Cell<Option<Entered<'a>>>);
            impl SwitchHook for Inside<'_> {
                fn leave(&self) {
                    drop(self.1.take());
                }
                fn enter(&self) {
                    self.1.set(Some(self.0.enter()));
                }
            }
            let inside = Inside(span, Cell::new(Some(span.enter())));
            with_switch_hook(&inside, f)
        }
        #[cfg(not(all(unix, feature = "greenlet")))]
        span.in_scope(f)
    }
}
