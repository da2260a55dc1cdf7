//! A reader-writer lock: a semaphore with as many permits as readers may be, of which a writer takes all.
//!
//! First come, first served follows from the semaphore: a reader that comes while a writer waits, waits behind it, so
//! writers do not starve; and a batch of readers at the front is let in together.

use super::semaphore::{Permits, RawAcquire};
use crate::model::cell::UnsafeCell;
use crate::model::maybe_const;
use crate::model::time::Duration;
use crate::park::{self, Wait};
use crate::waitlist::Waiting;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How many readers fit in at once.
const READERS_MAX: usize = (u32::MAX >> 3) as usize;

/// Data that many strands may read, or one may change.
///
/// # Fairness
///
/// First come, first served: a reader does not overtake a waiting writer. A strand that reads must therefore not lock
/// for reading again: with a writer in between both would wait for ever.
///
/// # Cancel safety
///
/// [`read`](Self::read) and [`write`](Self::write) are not interrupted by cancellation; a dropped async wait hands its
/// turn on.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::RwLock;
///
/// let limits = RwLock::new(vec![1, 2, 3]);
/// assert_eq!(limits.read().len(), 3);
/// limits.write().push(4);
/// assert_eq!(limits.read().len(), 4);
/// ```
pub struct RwLock<T: ?Sized> {
    permits: Permits,
    value: UnsafeCell<T>,
}

// SAFETY: the data is sent to whoever writes.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers share the data, writers have it alone.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    maybe_const! {
        /// A lock around `value`, not held.
        pub const fn new(value: T) -> Self {
            Self { permits: Permits::new(READERS_MAX), value: UnsafeCell::new(value) }
        }
    }

    /// The data, when the lock is no longer shared.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    #[inline]
    #[track_caller]
    fn acquire(&self, permits: usize) {
        if !self.permits.try_acquire(permits) {
            park::wait_for_ready(Wait::LOCK, self.permits.future(permits, Waiting::Blocking));
        }
    }

    #[track_caller]
    fn acquire_timeout(&self, permits: usize, timeout: Duration) -> bool {
        self.permits.try_acquire(permits)
            || park::wait_for_with(Wait::LOCK.timeout(timeout), self.permits.future(permits, Waiting::Blocking)).is_ok()
    }

    fn release(&self, permits: usize) {
        let released = self.permits.release(permits, READERS_MAX);
        debug_assert!(released, "a reader-writer lock was released more often than locked");
    }

    /// Waits until no strand writes, and reads until the guard is dropped.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`read_async`](Self::read_async) there.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.acquire(1);
        RwLockReadGuard { lock: self }
    }

    /// Waits until no strand reads or writes, and has the data alone until the guard is dropped.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`write_async`](Self::write_async) there.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.acquire(READERS_MAX);
        RwLockWriteGuard { lock: self }
    }

    /// Reads if that needs no waiting.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.permits.try_acquire(1).then(|| RwLockReadGuard { lock: self })
    }

    /// Writes if that needs no waiting.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.permits.try_acquire(READERS_MAX).then(|| RwLockWriteGuard { lock: self })
    }

    /// [`read`](Self::read), at the longest waiting for `timeout`. `None` when that passed.
    #[track_caller]
    pub fn read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.acquire_timeout(1, timeout).then(|| RwLockReadGuard { lock: self })
    }

    /// [`write`](Self::write), at the longest waiting for `timeout`. `None` when that passed.
    #[track_caller]
    pub fn write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.acquire_timeout(READERS_MAX, timeout).then(|| RwLockWriteGuard { lock: self })
    }

    /// [`read`](Self::read) in async code.
    pub fn read_async(&self) -> ReadFuture<'_, T> {
        ReadFuture { lock: self, acquire: self.permits.future(1, Waiting::Task) }
    }

    /// [`write`](Self::write) in async code.
    pub fn write_async(&self) -> WriteFuture<'_, T> {
        WriteFuture { lock: self, acquire: self.permits.future(READERS_MAX, Waiting::Task) }
    }

    /// The data, without locking: `&mut` proves that nobody else can.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => out.field("value", &&*guard),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Reads an [`RwLock`] until it is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// Holds an [`RwLock`] alone until it is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

// SAFETY: sharing a guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: sharing a guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on reading without letting a writer in between.
    pub fn downgrade(self) -> RwLockReadGuard<'a, T> {
        let lock = self.lock;
        std::mem::forget(self);
        // First, so that a waker that panics costs nobody the last permit.
        let guard = RwLockReadGuard { lock };
        lock.release(READERS_MAX - 1);
        guard
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a permit is held, so nobody writes.
        unsafe { &*self.lock.value.get_shared_ptr() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: all permits are held, so this guard is the only access.
        unsafe { &*self.lock.value.get_ptr() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: all permits are held, so this guard is the only access.
        unsafe { &mut *self.lock.value.get_ptr() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.release(1);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.release(READERS_MAX);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// [`RwLock::read_async`] as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct ReadFuture<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    acquire: RawAcquire<'a>,
}

/// [`RwLock::write_async`] as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct WriteFuture<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    acquire: RawAcquire<'a>,
}

impl<'a, T: ?Sized> Future for ReadFuture<'a, T> {
    type Output = RwLockReadGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: `acquire` is pinned with the future: it is never moved out of it.
        let acquire = unsafe { self.map_unchecked_mut(|future| &mut future.acquire) };
        acquire.poll(context).map(|()| RwLockReadGuard { lock })
    }
}

impl<'a, T: ?Sized> Future for WriteFuture<'a, T> {
    type Output = RwLockWriteGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: `acquire` is pinned with the future: it is never moved out of it.
        let acquire = unsafe { self.map_unchecked_mut(|future| &mut future.acquire) };
        acquire.poll(context).map(|()| RwLockWriteGuard { lock })
    }
}

impl<T: ?Sized> fmt::Debug for ReadFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFuture").finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for WriteFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteFuture").finish_non_exhaustive()
    }
}
