//! The lock at the leaves: it guards a wait list or a buffer for a few dozen instructions.
//!
//! It is never held while something is woken, called back, allocated for long or suspended, so it needs no fairness, no
//! timeout and no greenlet awareness. Under contention a waiter backs off *longer* than one critical section on
//! purpose: the holder then runs a burst of operations on a cache line it owns, which is what makes a queue between two
//! busy threads fast. It sleeps on the word only when the holder has lost its core.

#[cfg(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle))))]
mod imp {
    use crate::model::cell::UnsafeCell;
    use crate::model::sync::atomic::{AtomicU32, Ordering};
    use crate::park::thread::{linux, single_core};
    use std::ops::{Deref, DerefMut};

    const FREE: u32 = 0;
    const HELD: u32 = 1;
    /// Held, and somebody may sleep on the word.
    const SLEPT_ON: u32 = 2;

    /// Pauses before the core is offered to others, and the most of them between two tries.
    const PAUSES: u32 = 127;
    const PAUSES_BETWEEN: u32 = 16;
    /// Offers of the core before sleeping.
    const YIELD_ROUNDS: u32 = 3;

    /// A value behind a leaf lock.
    #[derive(Debug)]
    pub(crate) struct Leaf<T> {
        state: AtomicU32,
        value: UnsafeCell<T>,
    }

    // SAFETY: the lock hands out the value to one thread at a time.
    unsafe impl<T: Send> Send for Leaf<T> {}
    // SAFETY: as above; `&Leaf` gives access only through the lock.
    unsafe impl<T: Send> Sync for Leaf<T> {}

    impl<T> Leaf<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> LeafGuard<'_, T> {
            // Acquire: pairs with the Release in the guard's drop.
            if self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
                self.lock_contended();
            }
            LeafGuard { leaf: self }
        }

        #[cold]
        fn lock_contended(&self) {
            if !single_core() {
                let (mut left, mut step) = (PAUSES, 1);
                while left > 0 {
                    for _ in 0..step {
                        crate::model::hint::spin_loop();
                    }
                    if self.state.load(Ordering::Relaxed) == FREE && self.try_take(HELD) {
                        return;
                    }
                    left -= step.min(left);
                    step = (2 * step).min(PAUSES_BETWEEN);
                }
            }
            for _ in 0..YIELD_ROUNDS {
                crate::model::unchecked::yield_now();
                if self.state.load(Ordering::Relaxed) == FREE && self.try_take(HELD) {
                    return;
                }
            }
            // Acquire: pairs with the Release in the guard's drop.
            while self.state.swap(SLEPT_ON, Ordering::Acquire) != FREE {
                linux::futex_wait(&self.state, SLEPT_ON, None);
            }
        }

        fn try_take(&self, as_state: u32) -> bool {
            self.state.compare_exchange(FREE, as_state, Ordering::Acquire, Ordering::Relaxed).is_ok()
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
            // Release: pairs with the Acquires in `lock`; publishes the value.
            if self.leaf.state.swap(FREE, Ordering::Release) == SLEPT_ON {
                linux::futex_wake_one(&self.leaf.state);
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", not(any(ropewalk_loom, ropewalk_shuttle)))))]
mod imp {
    use crate::model::maybe_const;
    use crate::model::sync::{Mutex, MutexGuard};

    /// A value behind a leaf lock.
    #[derive(Debug)]
    pub(crate) struct Leaf<T>(Mutex<T>);

    pub(crate) type LeafGuard<'a, T> = MutexGuard<'a, T>;

    impl<T> Leaf<T> {
        maybe_const! {
            pub(crate) const fn new(value: T) -> Self {
                Self(Mutex::new(value))
            }
        }

        pub(crate) fn lock(&self) -> LeafGuard<'_, T> {
            // No code of a user runs under a leaf lock, so a poisoned one cannot hold a half-made change.
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}

pub(crate) use imp::{Leaf, LeafGuard};
