//! A mutex that its holder may lock again.
//!
//! The holder is known by its [execution id](crate::park::execution_id), which is that of a thread or of a greenlet. An
//! async task has no identity that a lock could ask for, so this lock has no async face.
//!
//! Only the holder ever writes its own id and the depth, so whoever reads its own id there holds the lock; any other
//! value, however stale, is not its own.

use super::mutex::RawMutex;
use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicU64, Ordering};
use crate::model::time::Duration;
use crate::park;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Shared data whose holder may lock it again.
///
/// The guard gives `&T` only, since several may be alive; put a [`Cell`] or `RefCell` inside to change the data.
///
/// # Fairness
///
/// As [`Mutex`](super::Mutex).
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::ReentrantLock;
/// use std::cell::Cell;
///
/// let balance = ReentrantLock::new(Cell::new(100));
/// let outer = balance.lock();
/// let inner = balance.lock(); // the same thread: no deadlock
/// inner.set(inner.get() + 20);
/// assert_eq!(outer.get(), 120);
/// ```
#[doc(alias = "RLock")]
pub struct ReentrantLock<T: ?Sized> {
    raw: RawMutex,
    owner: AtomicU64,
    depth: Cell<usize>,
    value: T,
}

// SAFETY: the data is used by one strand at a time.
unsafe impl<T: ?Sized + Send> Send for ReentrantLock<T> {}
// SAFETY: the data and the depth are reached by the holder only, which is one strand at a time.
unsafe impl<T: ?Sized + Send> Sync for ReentrantLock<T> {}

impl<T> ReentrantLock<T> {
    maybe_const! {
        /// A lock around `value`, not held.
        pub const fn new(value: T) -> Self {
            Self { raw: RawMutex::new(), owner: AtomicU64::new(0), depth: Cell::new(0), value }
        }
    }

    /// The data, when the lock is no longer shared.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> ReentrantLock<T> {
    fn lock_with(&self, lock: impl FnOnce(&RawMutex) -> bool) -> bool {
        let me = park::execution_id().get();
        // Relaxed: only we write our id, so reading it means that we hold the lock.
        if self.owner.load(Ordering::Relaxed) == me {
            self.depth.set(self.depth.get().checked_add(1).expect("a lock was taken 2^64 times"));
            return true;
        }
        if !lock(&self.raw) {
            return false;
        }
        self.owner.store(me, Ordering::Relaxed);
        self.depth.set(1);
        true
    }

    fn unlock(&self) {
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        if depth == 0 {
            self.owner.store(0, Ordering::Relaxed);
            self.raw.unlock();
        }
    }

    fn guard(&self) -> ReentrantLockGuard<'_, T> {
        ReentrantLockGuard { lock: self, _not_send: PhantomData }
    }

    /// Waits for the lock, unless this strand holds it already.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait.
    #[track_caller]
    pub fn lock(&self) -> ReentrantLockGuard<'_, T> {
        self.lock_with(|raw| {
            raw.lock();
            true
        });
        self.guard()
    }

    /// Takes the lock if it is free or held by this strand.
    pub fn try_lock(&self) -> Option<ReentrantLockGuard<'_, T>> {
        self.lock_with(RawMutex::try_lock).then(|| self.guard())
    }

    /// Waits for the lock, at the longest for `timeout`. `None` when the time limit passed.
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<ReentrantLockGuard<'_, T>> {
        self.lock_with(|raw| raw.lock_timeout(timeout)).then(|| self.guard())
    }

    /// Whether this strand holds the lock.
    pub fn is_held(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == park::execution_id().get()
    }
}

/// The acquire/release form; see [`Mutex::release`](super::Mutex::release) for why it is for `()` only.
impl ReentrantLock<()> {
    /// Waits for the lock, unless this strand holds it already; [`release`](Self::release) as often as acquired.
    #[track_caller]
    pub fn acquire(&self) {
        std::mem::forget(self.lock());
    }

    /// Takes the lock if it is free or held by this strand.
    pub fn try_acquire(&self) -> bool {
        self.try_lock().map(std::mem::forget).is_some()
    }

    /// Waits for the lock, at the longest for `timeout`; true when it is held now.
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.lock_timeout(timeout).map(std::mem::forget).is_some()
    }

    /// Gives back one [`acquire`](Self::acquire). Under a living guard it gives back what the guard has, which then gives back
    /// nothing.
    ///
    /// # Panics
    ///
    /// When this strand does not hold the lock.
    #[track_caller]
    pub fn release(&self) {
        assert!(self.is_held(), "release of a reentrant lock that this thread or greenlet does not hold");
        self.unlock();
    }
}

impl<T: Default> Default for ReentrantLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ReentrantLock");
        match self.try_lock() {
            Some(guard) => out.field("value", &&*guard),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Holds a [`ReentrantLock`] until it is dropped, on the thread that locked it.
///
/// ```compile_fail,E0277
/// use ropewalk_core::sync::ReentrantLock;
///
/// let lock = ReentrantLock::new(());
/// let guard = lock.lock();
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(guard)); // the holder is this thread, not that one
/// });
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReentrantLockGuard<'a, T: ?Sized> {
    lock: &'a ReentrantLock<T>,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: sharing a guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for ReentrantLockGuard<'_, T> {}

impl<T: ?Sized> Deref for ReentrantLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T: ?Sized> Drop for ReentrantLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // `release` may have given it back already, and then the depth is somebody else's.
        if self.lock.is_held() {
            self.lock.unlock();
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
