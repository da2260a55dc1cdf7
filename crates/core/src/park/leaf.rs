//! The lock at the leaves: it guards a wait list or a buffer for a few dozen instructions.
//!
//! It is never held while something is woken, called back, allocated for long or suspended, so it needs no fairness, no
//! timeout and no greenlet awareness. Under contention a waiter backs off *longer* than one critical section on
//! purpose: the holder then runs a burst of operations on a cache line it owns, which is what makes a queue between two
//! busy threads fast.
//!
//! Nobody sleeps on the word, so unlocking is a plain store and not a read-modify-write (a quarter of what a message
//! through a queue costs). Should the holder have lost its core, the others offer theirs and then take short naps.

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
mod imp {
    use crate::model::cell::UnsafeCell;
    use crate::model::sync::atomic::{AtomicBool, Ordering};
    use crate::model::time::Duration;
    use crate::model::unchecked;
    use crate::park::thread::single_core;
    use std::ops::{Deref, DerefMut};

    /// How long the loser of a contended lock leaves the winner alone, in pauses (45 ns each on a Zen).
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Backoff {
        /// Before the core is offered to others.
        pauses: u32,
        /// Before the first try.
        first: u32,
        /// The most between two tries.
        between: u32,
    }

    /// The first wait is long on purpose (half a microsecond): it lets the holder run a burst. Starting with a single pause
    /// made a queue between two cores three times slower.
    pub(crate) const BURST: Backoff = Backoff { pauses: 192, first: 12, between: 32 };
    /// For a lock under which a burst may go on for as long as it likes, such as that of a queue without a bound. Each
    /// change of hands costs some cache lines of what is guarded and of what lies inside. With a bound the burst ends
    /// there, and whoever waits for longer than that only wastes time (twice as slow with a bound of 64).
    ///
    /// Four times as long makes eight threads that do nothing else a tenth faster, and two that work for a third of a microsecond
    /// between their messages a quarter slower.
    pub(crate) const LONG_BURST: Backoff = Backoff { pauses: 400, first: 100, between: 100 };
    /// Offers of the core before the first nap. The holder needs some nanoseconds once it is given a core, and a thread that
    /// comes back from a nap is put before the one that runs, which as a rule has the lock: with eight threads on two
    /// cores and 8 offers there were a hundred naps in a million messages, and a third more time.
    const YIELDS: u32 = 32;
    const NAP_FIRST: Duration = Duration::from_micros(50);
    const NAP_MAX: Duration = Duration::from_millis(1);

    /// A value behind a leaf lock.
    #[derive(Debug)]
    pub(crate) struct Leaf<T> {
        held: AtomicBool,
        value: UnsafeCell<T>,
    }

    // SAFETY: the lock hands out the value to one thread at a time.
    unsafe impl<T: Send> Send for Leaf<T> {}
    // SAFETY: as above; `&Leaf` gives access only through the lock.
    unsafe impl<T: Send> Sync for Leaf<T> {}

    impl<T> Leaf<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> LeafGuard<'_, T> {
            self.lock_with(|| BURST)
        }

        /// Asks how to back off only if it has to.
        #[inline]
        pub(crate) fn lock_with(&self, backoff: impl FnOnce() -> Backoff) -> LeafGuard<'_, T> {
            if !self.try_take() {
                self.lock_contended(backoff());
            }
            LeafGuard { leaf: self }
        }

        #[inline]
        fn try_take(&self) -> bool {
            // Acquire: pairs with the Release in the guard's drop.
            self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        }

        #[cold]
        fn lock_contended(&self, backoff: Backoff) {
            let take = || !self.held.load(Ordering::Relaxed) && self.try_take();
            if !single_core() {
                let (mut left, mut step) = (backoff.pauses, backoff.first);
                while left > 0 {
                    for _ in 0..step {
                        crate::model::hint::spin_loop();
                    }
                    if take() {
                        return;
                    }
                    left -= step.min(left);
                    step = (2 * step).min(backoff.between);
                }
            }
            for _ in 0..YIELDS {
                unchecked::yield_now();
                if take() {
                    return;
                }
            }
            let mut nap = NAP_FIRST;
            while !take() {
                unchecked::nap(nap);
                nap = (2 * nap).min(NAP_MAX);
            }
        }
    }

    /// The value while the lock is held.
    pub(crate) struct LeafGuard<'a, T> {
        leaf: &'a Leaf<T>,
    }

    impl<T> Deref for LeafGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: this guard is the only access while it lives.
            unsafe { &*self.leaf.value.get_ptr() }
        }
    }

    impl<T> DerefMut for LeafGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: this guard is the only access while it lives.
            unsafe { &mut *self.leaf.value.get_ptr() }
        }
    }

    impl<T> Drop for LeafGuard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // Release: pairs with the Acquire in `try_take`; publishes the value.
            self.leaf.held.store(false, Ordering::Release);
        }
    }
}

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
mod imp {
    use crate::model::sync::{Mutex, MutexGuard};

    /// There is no time under a checker, so nobody backs off.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Backoff;

    pub(crate) const BURST: Backoff = Backoff;
    pub(crate) const LONG_BURST: Backoff = Backoff;

    /// A value behind a leaf lock.
    #[derive(Debug)]
    pub(crate) struct Leaf<T>(Mutex<T>);

    pub(crate) type LeafGuard<'a, T> = MutexGuard<'a, T>;

    impl<T> Leaf<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LeafGuard<'_, T> {
            // No code of a user runs under a leaf lock, so a poisoned one cannot hold a half-made change.
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn lock_with(&self, _: impl FnOnce() -> Backoff) -> LeafGuard<'_, T> {
            self.lock()
        }
    }
}

pub(crate) use imp::{BURST, LONG_BURST, Leaf, LeafGuard};
