//! A condition variable: a list of those who wait for a change of data under a mutex.
//!
//! # Protocol
//!
//! A waiter links itself *before* it unlocks the mutex. Whoever changes the data under the mutex and notifies therefore
//! finds it, which is also why `notify` may look at the count of waiters with a relaxed load: the mutex has ordered the
//! two. A woken waiter locks the mutex again, which no cancellation interrupts.
//!
//! A notification is news for one: a waiter that was woken and leaves without having acted on it wakes the next.

use super::mutex::MutexGuard;
use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicUsize, Ordering};
use crate::model::time::{Duration, Instant};
use crate::model::weaken;
use crate::park::leaf::Leaf;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets strands wait until data under a [`Mutex`](super::Mutex) has changed.
///
/// # Fairness
///
/// [`notify_one`](Self::notify_one) wakes who has waited longest; another strand may still take the mutex before it.
///
/// # Cancel safety
///
/// A wait that ends by timeout, cancellation or drop hands a notification it was given to the next.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::{Condvar, Mutex};
///
/// let (jobs, arrived) = (Mutex::new(Vec::new()), Condvar::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         jobs.lock().push("job");
///         arrived.notify_one();
///     });
///     let mut jobs = arrived.wait_while(jobs.lock(), |jobs| jobs.is_empty());
///     assert_eq!(jobs.pop(), Some("job"));
/// });
/// ```
#[derive(Debug)]
#[doc(alias = "Condition")]
pub struct Condvar {
    /// The length of the list, for a look without its lock.
    len: AtomicUsize,
    waiters: Leaf<List>,
}

impl Condvar {
    maybe_const! {
        /// A condition variable that nobody waits on.
        pub const fn new() -> Self {
            Self { len: AtomicUsize::new(0), waiters: Leaf::new(List::new()) }
        }
    }

    /// Unlocks, waits for a notification, and locks again. There are no other reasons to return, but the data may have
    /// changed once more in the meantime: [`wait_while`](Self::wait_while) is the safer form.
    ///
    /// # Panics
    ///
    /// In async code; use [`wait_async`](Self::wait_async) there. When the task around it is cancelled, the wait
    /// unwinds without the lock.
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = guard.mutex();
        park::wait_for(self.notified(guard, Waiting::Blocking));
        mutex.lock()
    }

    /// Waits as long as `condition` is true of the data.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    #[doc(alias = "wait_for")]
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// [`wait`](Self::wait), at the longest for `timeout`; the mutex is locked again in every case.
    ///
    /// The second value says how the wait ended: notified, or [`Interrupted`].
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, Result<(), Interrupted>) {
        let mutex = guard.mutex();
        let ended = park::wait_for_with(Wait::FOREVER.timeout(timeout), self.notified(guard, Waiting::Blocking));
        (mutex.lock(), ended)
    }

    /// [`wait_while`](Self::wait_while), at the longest for `timeout` in all. The second value is an error when the
    /// condition was still true at the end.
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, Result<(), Interrupted>) {
        let deadline = Instant::now().checked_add(timeout);
        let mut ended = Ok(());
        while condition(&mut guard) {
            if ended.is_err() {
                return (guard, ended);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            (guard, ended) = self.wait_timeout(guard, left);
        }
        (guard, Ok(()))
    }

    /// [`wait`](Self::wait) in async code.
    pub async fn wait_async<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = guard.mutex();
        self.notified(guard, Waiting::Task).await;
        let hand_on = HandOn(self);
        let guard = mutex.lock_async().await;
        std::mem::forget(hand_on);
        guard
    }

    /// [`wait_while`](Self::wait_while) in async code.
    pub async fn wait_while_async<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait_async(guard).await;
        }
        guard
    }

    fn notified<'c, 'a, T: ?Sized>(&'c self, guard: MutexGuard<'a, T>, waiting: Waiting) -> CondvarFuture<'c, 'a, T> {
        CondvarFuture { condvar: self, guard: Some(guard), node: Node::new(waiting) }
    }

    /// Wakes one that waits, if any. The mutex need not be held.
    #[doc(alias = "notify")]
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all that wait at this moment.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Wakes up to `most` that wait at this moment.
    #[inline]
    pub fn notify(&self, most: usize) {
        // Relaxed: a waiter that must be found has linked itself before it unlocked the mutex, and whoever notifies has
        // locked that mutex since, to change the data.
        if self.len.load(Ordering::Relaxed) != 0 {
            self.wake(most);
        }
    }

    #[cold]
    fn wake(&self, most: usize) {
        let waiters = self.waiters.lock();
        List::wake_up_to(waiters, most, Given::Woken, || self.waiters.lock(), |waiters| &mut *waiters);
        let waiters = self.waiters.lock();
        self.len.store(waiters.len(), Ordering::Relaxed);
    }
}

/// A notification of somebody who waits for the mutex now, and may be dropped before it has it.
struct HandOn<'a>(&'a Condvar);

impl Drop for HandOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

/// The wait for a notification of a [`Condvar`]; it unlocks the mutex when it is first polled.
#[must_use = "futures do nothing unless awaited"]
pub struct CondvarFuture<'c, 'a, T: ?Sized> {
    condvar: &'c Condvar,
    guard: Option<MutexGuard<'a, T>>,
    node: Node,
}

impl<T: ?Sized> std::fmt::Debug for CondvarFuture<'_, '_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CondvarFuture").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Future for CondvarFuture<'_, '_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `node` stays where it is; `guard` is not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let _replaced: Replaced; // dropped after the lock
        let mut waiters = this.condvar.waiters.lock();
        if waiters.take(node) == Given::Woken {
            return Poll::Ready(());
        }
        _replaced = waiters.push_back(node, context);
        this.condvar.len.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        // Only now, with the node linked, may others change the data and notify.
        this.guard = None;
        Poll::Pending
    }
}

impl<T: ?Sized> Drop for CondvarFuture<'_, '_, T> {
    fn drop(&mut self) {
        if self.node.is_fresh() {
            return;
        }
        let mut waiters = self.condvar.waiters.lock();
        let given = waiters.remove(&self.node);
        self.condvar.len.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        if given == Given::Woken && weaken::keep("condvar.hand_on") {
            self.condvar.notify_one();
        }
    }
}
