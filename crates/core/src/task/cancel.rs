//! Cancelling a region of code, by hand or by a deadline, together with everything that was started under it.
//!
//! A token is a node of a tree. Cancelling one cancels those below it. A region that runs under a token has an
//! [`Interrupt`] of its own, because an interrupt wakes one strand and a token may have many.
//!
//! The links down are weak and under a leaf lock; what they lead to is interrupted after the lock is released.

use crate::model::sync::atomic::{AtomicBool, Ordering};
use crate::model::time::{Duration, Instant};
use crate::model::weaken;
use crate::park::leaf::Leaf;
use crate::park::{self, Cancelled, Interrupt, Interrupted, Reason};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};

/// Cancels whatever runs under it: by [`cancel`](Self::cancel), or when its deadline passes.
///
/// Clones are the same token. A [child](Self::child) is cancelled with its parent, not the other way round, and never
/// outlives its parent's deadline.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::Event;
/// use ropewalk_core::task::{CancelToken, Interrupted};
/// use std::time::Duration;
///
/// let never = Event::new();
/// let token = CancelToken::new().with_timeout(Duration::from_millis(20));
/// let ended = token.run(|| never.wait());
/// assert_eq!(ended, Err(Interrupted::TimedOut));
/// ```
#[derive(Clone)]
#[doc(alias = "CancelScope")]
#[doc(alias = "Timeout")]
pub struct CancelToken {
    inner: Arc<Inner>,
}

struct Inner {
    cancelled: AtomicBool,
    /// The earliest deadline of this token and those above it.
    deadline: Option<Instant>,
    parent: Option<CancelToken>,
    below: Leaf<Below>,
}

#[derive(Default)]
struct Below {
    children: Vec<Weak<Inner>>,
    regions: Vec<Weak<Interrupt>>,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::make(None, None)
    }

    fn make(parent: Option<Self>, deadline: Option<Instant>) -> Self {
        let inner =
            Arc::new(Inner { cancelled: AtomicBool::new(false), deadline, parent, below: Leaf::new(Below::default()) });
        if let Some(parent) = &inner.parent {
            let mut below = parent.inner.below.lock();
            push_live(&mut below.children, Arc::downgrade(&inner));
            // Under the lock that `cancel` takes after it has set its flag: one of the two sees the other.
            // Acquire: pairs with the Release in `cancel`. The store is relaxed: nobody else has the child yet.
            if weaken::keep("cancel.inherit")
                && parent.inner.cancelled.load(weaken::ordering("cancel.inherit_acquire", Ordering::Acquire))
            {
                inner.cancelled.store(true, Ordering::Relaxed);
            }
        }
        Self { inner }
    }

    /// A token that is cancelled with this one.
    pub fn child(&self) -> Self {
        Self::make(Some(self.clone()), self.inner.deadline)
    }

    /// A child that is also cancelled at `deadline`, if that comes before the deadlines above it.
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        let deadline = self.inner.deadline.map_or(deadline, |outer| outer.min(deadline));
        Self::make(Some(self.clone()), Some(deadline))
    }

    /// A child that is also cancelled after `timeout`. A timeout too large for the clock is no limit.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.with_deadline(deadline),
            None => self.child(),
        }
    }

    /// The deadline in force here, if any.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// Cancels everything that runs or will run under this token.
    pub fn cancel(&self) {
        // Release: what the canceller did before is visible to the cancelled.
        self.inner.cancelled.store(true, weaken::ordering("cancel.cancel", Ordering::Release));
        let below = std::mem::take(&mut *self.inner.below.lock());
        for region in below.regions.iter().filter_map(Weak::upgrade) {
            region.raise(Reason::Cancelled);
        }
        for inner in below.children.iter().filter_map(Weak::upgrade) {
            Self { inner }.cancel();
        }
    }

    /// Whether this token, or one above it, was cancelled or is past its deadline.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    fn reason(&self) -> Option<Reason> {
        // Acquire: pairs with the Release in `cancel`.
        if self.inner.cancelled.load(weaken::ordering("cancel.reason", Ordering::Acquire)) {
            return Some(Reason::Cancelled);
        }
        if self.inner.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Reason::Deadline);
        }
        None
    }

    /// Runs `body` under this token: its waits end when the token is cancelled or its deadline passes.
    ///
    /// A body that returns is not cancelled, however late it is.
    ///
    /// # Errors
    ///
    /// How the body was ended: [`Interrupted::Cancelled`], or [`Interrupted::TimedOut`] by the deadline.
    ///
    /// # Panics
    ///
    /// A panic of the body goes on.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> Result<T, Interrupted> {
        let interrupt = Arc::new(Interrupt::new());
        {
            let mut below = self.inner.below.lock();
            push_live(&mut below.regions, Arc::downgrade(&interrupt));
        }
        // After the link: a cancel that came before it left its flag.
        if weaken::keep("cancel.recheck")
            && let Some(reason) = self.reason()
        {
            interrupt.raise(reason);
        }
        let ended = catch_unwind(AssertUnwindSafe(|| park::with_scope(&interrupt, self.inner.deadline, body)));
        self.inner.below.lock().regions.retain(|region| !std::ptr::eq(region.as_ptr(), Arc::as_ptr(&interrupt)));
        match ended {
            Ok(value) => Ok(value),
            Err(payload) => match payload.downcast_ref::<Cancelled>() {
                Some(cancelled) if cancelled.is_for(&interrupt) => Err(match cancelled.reason {
                    Reason::Cancelled => Interrupted::Cancelled,
                    Reason::Deadline => Interrupted::TimedOut,
                }),
                _ => resume_unwind(payload),
            },
        }
    }
}

/// Adds a link, and drops the dead ones each time the list has doubled.
fn push_live<T>(links: &mut Vec<Weak<T>>, link: Weak<T>) {
    if links.len() == links.capacity() {
        links.retain(|link| link.strong_count() > 0);
    }
    links.push(link);
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .field("deadline", &self.inner.deadline)
            .finish()
    }
}
