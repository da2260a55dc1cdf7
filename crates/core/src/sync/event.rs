//! An event: a flag that strands wait for. The smallest primitive that uses everything below it.
//!
//! # States
//!
//! One word with two bits. `SET` is the flag; `WAITERS` says that the list may not be empty, and is changed under the
//! list's lock only. A waiter links itself, sets `WAITERS` and sees in the same step whether `SET` came first; `set`
//! sets `SET` only in a step in which nobody waits, or under the list's lock, where it also says whom it wakes. Both are
//! changes of one word, so one of the two sees the other, and no fence is needed.
//!
//! `set` wakes those that waited at that moment, also when `clear` follows at once: a woken waiter does not look at the
//! flag again (Python's `threading.Event` behaves the same).

use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::Duration;
use crate::model::weaken;
use crate::park::leaf::Leaf;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Given, List, Node, Waiting};
use std::pin::Pin;
use std::task::{Context, Poll};

const SET: u32 = 1;
const WAITERS: u32 = 2;

/// A flag that is set once something happened; any number of strands wait for it.
///
/// # Fairness
///
/// [`set`](Self::set) wakes all that wait, in the order in which they came.
///
/// # Cancel safety
///
/// A dropped or interrupted wait takes nothing from the others.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::Event;
///
/// let ready = Event::new();
/// std::thread::scope(|scope| {
///     for _ in 0..5 {
///         scope.spawn(|| ready.wait());
///     }
///     ready.set();
/// });
/// assert!(ready.is_set());
/// ```
#[derive(Debug)]
pub struct Event {
    state: AtomicU32,
    waiters: Leaf<List>,
}

impl Event {
    maybe_const! {
        /// An event that is not set.
        pub const fn new() -> Self {
            Self { state: AtomicU32::new(0), waiters: Leaf::new(List::new()) }
        }
    }

    /// Whether the flag is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`; what was done before `set` is visible.
        self.state.load(weaken::ordering("event.is_set", Ordering::Acquire)) & SET != 0
    }

    /// Sets the flag and wakes all that wait. Setting it twice changes nothing.
    #[inline]
    pub fn set(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITERS == 0 {
            // Release: pairs with the Acquire of whoever sees the flag. (Also when it is set already: what was done
            // before this `set` is visible to whoever sees it from now on.)
            let release = weaken::ordering("event.set", Ordering::Release);
            match self.state.compare_exchange_weak(state, state | SET, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.set_and_wake();
    }

    #[cold]
    fn set_and_wake(&self) {
        // The flag and the choice of whom to wake are one step under the lock: a wait that begins after this `set` was
        // seen and taken back is not woken by it.
        let waiters = self.waiters.lock();
        self.state.fetch_or(SET, weaken::ordering("event.set", Ordering::Release));
        List::wake_up_to(waiters, usize::MAX, Given::Woken, || self.waiters.lock(), |waiters| &mut *waiters);
        let waiters = self.waiters.lock();
        if waiters.is_empty() {
            self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }

    /// Takes the flag back. Waits that have not begun yet will wait.
    #[doc(alias = "reset")]
    pub fn clear(&self) {
        self.state.fetch_and(!SET, Ordering::Relaxed);
    }

    /// Waits until the flag is set.
    ///
    /// # Panics
    ///
    /// In async code; use [`wait_async`](Self::wait_async) there.
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        if !self.is_set() && !park::spin_until(|| self.is_set()) {
            park::wait_for(self.future(Waiting::Blocking));
        }
    }

    /// Waits until the flag is set, at the longest for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Interrupted`]: the time limit passed, or the task around this wait was cancelled.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), Interrupted> {
        if self.is_set() {
            return Ok(());
        }
        park::wait_for_with(Wait::FOREVER.timeout(timeout), self.future(Waiting::Blocking))
    }

    /// Waits until the flag is set, in async code.
    pub fn wait_async(&self) -> EventFuture<'_> {
        self.future(Waiting::Task)
    }

    fn future(&self, waiting: Waiting) -> EventFuture<'_> {
        EventFuture { event: self, node: Node::new(waiting) }
    }

    fn poll_wait(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        if self.is_set() {
            return Poll::Ready(());
        }
        let _replaced; // dropped after the lock
        let mut waiters = self.waiters.lock();
        if waiters.take(node) == Given::Woken {
            return Poll::Ready(());
        }
        _replaced = waiters.push_back(node, context);
        // Acquire: when the flag came first, what was done before `set` is visible.
        let before = self.state.fetch_or(WAITERS, weaken::ordering("event.enlist", Ordering::Acquire));
        if weaken::keep("event.recheck") && before & SET != 0 {
            waiters.remove(&node);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

/// The wait for an [`Event`], as a future.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct EventFuture<'a> {
    event: &'a Event,
    node: Node,
}

impl Future for EventFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.event.poll_wait(node, context)
    }
}

impl Drop for EventFuture<'_> {
    fn drop(&mut self) {
        if !self.node.is_fresh() {
            // Being woken by an event is news for everybody; nothing is handed on.
            self.event.waiters.lock().remove(&self.node);
        }
    }
}
