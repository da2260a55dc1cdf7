//! A mutex: barging, with a hand-over to whoever waited too long.
//!
//! # States
//!
//! One word. `LOCKED` is the lock; `WAITERS` says that the list may not be empty; `WOKEN` says that a blocking waiter
//! was woken and has not yet had its try, so that another unlock need not wake a second one. `WAITERS` and `WOKEN`
//! change under the list's lock only.
//!
//! * **lock**: `LOCKED` from 0 by one compare-and-swap, else a short spin, else the list: set `WAITERS` *in the same
//!   word and step* in which the lock is seen held, then wait.
//! * **unlock**: one compare-and-swap to 0 when nothing else is set. With waiters: wake the first, which tries again
//!   and queues at the front when somebody was faster (*barging*: a running thread that comes by may take a free lock;
//!   that keeps processors busy). A blocking waiter that has waited longer than [`PATIENCE`] is handed the lock while it
//!   is still held, so nobody can barge in between and nobody starves.
//!
//! An async waiter is only ever woken, never handed the lock: its future may not be polled again for a long time, and
//! a lock that it does not know it owns would stop everybody.
//!
//! # Handing on
//!
//! A waiter that leaves while *granted* unlocks; one that leaves while *woken* wakes the next if the lock is free.

use crate::model::cell::UnsafeCell;
use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::Duration;
use crate::model::weaken;
use crate::park::leaf::{Leaf, LeafGuard};
use crate::park::{self, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, Wakes};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
const WOKEN: u32 = 4;

/// How long a blocking waiter may be overtaken before it is handed the lock.
const PATIENCE: Duration = Duration::from_micros(500);

/// The lock without the data.
#[derive(Debug)]
pub(super) struct RawMutex {
    state: AtomicU32,
    waiters: Leaf<List>,
}

impl RawMutex {
    maybe_const! {
        pub(super) const fn new() -> Self {
            Self { state: AtomicU32::new(0), waiters: Leaf::new(List::new()) }
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            // Acquire: pairs with the Release in `unlock`; the data written under the lock is visible.
            match self.state.compare_exchange_weak(
                state,
                state | LOCKED,
                weaken::ordering("mutex.lock", Ordering::Acquire),
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline]
    fn lock_fast(&self) -> bool {
        self.state
            .compare_exchange_weak(0, LOCKED, weaken::ordering("mutex.lock", Ordering::Acquire), Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    #[track_caller]
    pub(super) fn lock(&self) {
        if !self.lock_fast() && !self.lock_spinning() {
            park::wait_for_ready(Wait::LOCK, self.future(Waiting::Blocking));
        }
    }

    /// Spins while the holder is likely to be done soon. Short: a longer one steals the core from the holder.
    #[cold]
    fn lock_spinning(&self) -> bool {
        if cfg!(any(ropewalk_loom, ropewalk_shuttle)) {
            return false;
        }
        park::spin_for_lock(|| {
            let state = self.state.load(Ordering::Relaxed);
            state & LOCKED == 0 && self.try_lock()
        })
    }

    #[track_caller]
    pub(super) fn lock_timeout(&self, timeout: Duration) -> bool {
        self.try_lock() || park::wait_for_with(Wait::LOCK.timeout(timeout), self.future(Waiting::Blocking)).is_ok()
    }

    pub(super) fn future(&self, waiting: Waiting) -> RawLock<'_> {
        RawLock { mutex: self, node: Node::new(waiting) }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LOCKED != 0
    }

    fn poll_lock(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        if node.is_fresh() && self.try_lock() {
            return Poll::Ready(());
        }
        let _replaced: Replaced; // dropped after the lock
        let mut waiters = self.waiters.lock();
        let given = waiters.take(node);
        if given == Given::Granted {
            return Poll::Ready(());
        }
        if given == Given::Woken {
            self.no_longer_woken(node.get_ref());
        }
        if !self.enlist_or_lock() {
            waiters.remove(&node);
            self.note_if_empty(&waiters);
            return Poll::Ready(());
        }
        waiters.mark_start(node);
        _replaced =
            if given == Given::Woken { waiters.push_front(node, context) } else { waiters.push_back(node, context) };
        Poll::Pending
    }

    /// Takes the lock (false) or sets `WAITERS` in the step in which it is seen held (true). Under the list's lock.
    fn enlist_or_lock(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let wanted = if state & LOCKED == 0 { state | LOCKED } else { state | WAITERS };
            // Acquire: as in `try_lock`; an unlock without waiters does not pass through the list's lock.
            let acquire = weaken::ordering("mutex.lock_queued", Ordering::Acquire);
            match self.state.compare_exchange_weak(state, wanted, acquire, Ordering::Relaxed) {
                Ok(_) => return state & LOCKED != 0,
                Err(now) => state = now,
            }
        }
    }

    fn no_longer_woken(&self, node: &Node) {
        if node.waiting() == Waiting::Blocking && weaken::keep("mutex.no_longer_woken") {
            self.state.fetch_and(!WOKEN, Ordering::Relaxed);
        }
    }

    fn note_if_empty(&self, waiters: &LeafGuard<'_, List>) {
        if waiters.is_empty() {
            self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn unlock(&self) {
        // Release: pairs with the Acquire in `lock`; publishes what was written under the lock.
        let release = weaken::ordering("mutex.unlock", Ordering::Release);
        if self.state.compare_exchange(LOCKED, 0, release, Ordering::Relaxed).is_err() {
            self.unlock_with_waiters();
        }
    }

    #[cold]
    fn unlock_with_waiters(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (WAITERS | WOKEN) != WAITERS {
            // Nobody waits any more, or one is on its way. Release: as in `unlock`.
            let release = weaken::ordering("mutex.unlock_woken", Ordering::Release);
            match self.state.compare_exchange_weak(state, state & !LOCKED, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        let mut wakes = Wakes::new();
        let mut waiters = self.waiters.lock();
        let starved = waiters.front().is_some_and(|front| {
            front.waiting == Waiting::Blocking && front.since.is_some_and(|since| since.elapsed() > PATIENCE)
        });
        if starved {
            // The lock stays held: it changes hands. The list's lock publishes the data.
            waiters.pop_front(Given::Granted, &mut wakes);
            self.note_if_empty(&waiters);
        } else {
            // Release: as in `unlock`; who takes the lock in passing does not look at the list.
            self.state.fetch_and(!LOCKED, weaken::ordering("mutex.unlock_waking", Ordering::Release));
            self.wake_next(&mut waiters, &mut wakes);
        }
        drop(waiters);
        wakes.wake();
    }

    /// Wakes the first waiter, unless one is on its way already. Under the list's lock.
    fn wake_next(&self, waiters: &mut LeafGuard<'_, List>, wakes: &mut Wakes) {
        if self.state.load(Ordering::Relaxed) & WOKEN == 0
            && let Some(front) = waiters.front()
        {
            waiters.pop_front(Given::Woken, wakes);
            if front.waiting == Waiting::Blocking {
                self.state.fetch_or(WOKEN, Ordering::Relaxed);
            }
        }
        self.note_if_empty(waiters);
    }

    /// Leaves the wait, handing on what was given.
    fn leave(&self, node: &Node) {
        let mut wakes = Wakes::new();
        let mut waiters = self.waiters.lock();
        let given = waiters.remove(node);
        if given == Given::Woken {
            self.no_longer_woken(node);
            // When the lock is held, its holder sees WAITERS and wakes; otherwise it is on us.
            if weaken::keep("mutex.hand_on") && self.state.load(Ordering::Relaxed) & LOCKED == 0 {
                self.wake_next(&mut waiters, &mut wakes);
            }
        }
        self.note_if_empty(&waiters);
        drop(waiters);
        wakes.wake();
        if given == Given::Granted {
            self.unlock();
        }
    }
}

/// The wait for a [`RawMutex`].
#[derive(Debug)]
pub(super) struct RawLock<'a> {
    mutex: &'a RawMutex,
    node: Node,
}

impl Future for RawLock<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.mutex.poll_lock(node, context)
    }
}

impl Drop for RawLock<'_> {
    fn drop(&mut self) {
        if !self.node.is_fresh() {
            self.mutex.leave(&self.node);
        }
    }
}

/// Data that one strand at a time may use.
///
/// # Fairness
///
/// A running strand may overtake the waiting ones; a thread or greenlet that was overtaken for half a millisecond is
/// handed the lock by the next unlock. Async tasks are served in order but not handed the lock.
///
/// # Cancel safety
///
/// [`lock`](Self::lock) is not interrupted by cancellation. A dropped [`lock_async`](Self::lock_async) hands its turn
/// on.
///
/// # Panics
///
/// A panic while the lock is held releases it; there is no poisoning.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::Mutex;
///
/// let balance = Mutex::new(100);
/// *balance.lock() += 20;
/// assert_eq!(*balance.lock(), 120);
/// ```
///
/// The acquire/release form of Python, without a guard:
///
/// ```
/// # use ropewalk_core::sync::Mutex;
/// let lock = Mutex::new(());
/// lock.acquire();
/// // ... critical section ...
/// lock.release();
/// ```
#[doc(alias = "Lock")]
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the data to one strand at a time, so it is only ever sent.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    maybe_const! {
        /// A mutex around `value`, not held.
        pub const fn new(value: T) -> Self {
            Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The data, when the mutex is no longer shared.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock and holds it until the guard is dropped.
    ///
    /// # Panics
    ///
    /// In async code when the lock is held; use [`lock_async`](Self::lock_async) there. Locking again what this strand
    /// holds already waits for ever; see [`ReentrantLock`](super::ReentrantLock).
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.lock();
        MutexGuard { mutex: self }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| MutexGuard { mutex: self })
    }

    /// Waits for the lock, at the longest for `timeout`. `None` when the time limit passed.
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        self.raw.lock_timeout(timeout).then(|| MutexGuard { mutex: self })
    }

    /// Waits for the lock in async code.
    pub fn lock_async(&self) -> LockFuture<'_, T> {
        LockFuture { mutex: self, lock: self.raw.future(Waiting::Task) }
    }

    /// Whether somebody holds the lock at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The data, without locking: `&mut` proves that nobody else can.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// The acquire/release form, for a lock beside the data. With data inside, a release under a living guard would let two
/// strands at it, so this form exists for `()` only.
impl Mutex<()> {
    /// Waits for the lock and holds it until [`release`](Self::release).
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock).
    #[track_caller]
    pub fn acquire(&self) {
        self.raw.lock();
    }

    /// Takes the lock if it is free, to be given back with [`release`](Self::release).
    pub fn try_acquire(&self) -> bool {
        self.raw.try_lock()
    }

    /// Waits for the lock, at the longest for `timeout`; true when it is held now.
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.raw.lock_timeout(timeout)
    }

    /// [`acquire`](Self::acquire) in async code.
    pub async fn acquire_async(&self) {
        std::mem::forget(self.lock_async().await);
    }

    /// Gives back what [`acquire`](Self::acquire) took. Any thread may do so, as with Python's `Lock`.
    ///
    /// # Panics
    ///
    /// When the lock is not held.
    #[track_caller]
    pub fn release(&self) {
        assert!(self.raw.is_locked(), "release of a mutex that is not held");
        self.raw.unlock();
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => out.field("value", &&*guard),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Holds a [`Mutex`] until it is dropped. May be dropped on another thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
}

// SAFETY: sharing a guard shares `&T`. (That a guard may be *sent* when the data may follows from its field.)
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so this guard is the only access.
        unsafe { &*self.mutex.value.get_ptr() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so this guard is the only access.
        unsafe { &mut *self.mutex.value.get_ptr() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// The wait for a [`Mutex`], as a future that ends with its guard.
#[must_use = "futures do nothing unless awaited"]
pub struct LockFuture<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    lock: RawLock<'a>,
}

impl<'a, T: ?Sized> Future for LockFuture<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mutex = self.mutex;
        // SAFETY: `lock` is pinned with the future: it is never moved out of it.
        let lock = unsafe { self.map_unchecked_mut(|future| &mut future.lock) };
        lock.poll(context).map(|()| MutexGuard { mutex })
    }
}

impl<T: ?Sized> fmt::Debug for LockFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFuture").finish_non_exhaustive()
    }
}
