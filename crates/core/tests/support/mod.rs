//! A strand whose suspensions follow a script, so that every moment of a wait can be tested without a race.
#![allow(dead_code, reason = "each test binary uses its own part")]

use ropewalk_core::park::{self, Cancelled, ExecutionId, Interrupt, Pause, Suspend};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A time limit that is meant to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(10);

/// After so long, what has not come is taken for lost.
pub(crate) const HANG: Duration = Duration::from_secs(40);

#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "never came: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Counts its wake-ups.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that the test polls by hand.
pub(crate) struct Polled<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Polled<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// One that has been polled once and waits.
    #[track_caller]
    pub(crate) fn waiting(future: F) -> Self {
        let mut polled = Self::new(future);
        assert!(polled.poll().is_pending());
        polled
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// To be polled in another way.
    pub(crate) fn future(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }

    /// How often it was woken.
    pub(crate) fn woken(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// The result of one that was woken.
    #[track_caller]
    pub(crate) fn ready(mut self) -> F::Output {
        assert!(self.woken() > 0, "nobody woke it");
        match self.poll() {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("woken for nothing"),
        }
    }
}

type Step<'a> = Box<dyn FnOnce() + 'a>;

/// What happens while the strand is suspended: at each suspension the next step. After the last, only a deadline ends one.
pub(crate) struct Script<'a> {
    steps: RefCell<VecDeque<Step<'a>>>,
    suspended: Cell<usize>,
    wakes: Arc<Wakes>,
}

impl<'a> Script<'a> {
    pub(crate) fn new() -> Self {
        Self { steps: RefCell::default(), suspended: Cell::new(0), wakes: Arc::default() }
    }

    /// Adds a step.
    pub(crate) fn then(self, step: impl FnOnce() + 'a) -> Self {
        self.steps.borrow_mut().push_back(Box::new(step));
        self
    }

    /// Adds suspensions that end for no reason.
    pub(crate) fn spurious(self, times: usize) -> Self {
        (0..times).fold(self, |script, _| script.then(|| ()))
    }

    /// How often the strand was suspended.
    pub(crate) fn suspended(&self) -> usize {
        self.suspended.get()
    }

    /// How often it was woken.
    pub(crate) fn woken(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// Runs `body` as a strand of this script, in a scope that `interrupt` ends; `None` when it was ended.
    pub(crate) fn run<R>(&self, interrupt: &Interrupt, body: impl FnOnce() -> R) -> Option<R> {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            park::with_suspend(ExecutionId::next(), self, || park::with_scope(interrupt, None, body))
        }));
        match ended {
            Ok(value) => Some(value),
            Err(payload) => match payload.downcast_ref::<Cancelled>() {
                Some(cancelled) if cancelled.is_for(interrupt) => None,
                _ => resume_unwind(payload),
            },
        }
    }
}

impl Suspend for Script<'_> {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wakes))
    }

    fn suspend(&self, pause: &Pause) {
        self.suspended.set(self.suspended.get() + 1);
        let step = self.steps.borrow_mut().pop_front();
        match (step, pause.until) {
            (Some(step), _) => step(),
            (None, Some(until)) => std::thread::sleep(until.saturating_duration_since(Instant::now())),
            (None, None) => panic!("the script is at its end and the wait is not"),
        }
    }

    fn yield_now(&self) {
        panic!("no script yields");
    }
}
