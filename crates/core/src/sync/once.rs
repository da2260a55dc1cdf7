//! A cell that is written once, by whoever comes first.
//!
//! # States
//!
//! ```text
//! EMPTY ──begin──▶ RUNNING ──value──▶ DONE
//!   ▲──panic, error, dropped future──┘
//! ```
//!
//! `RUNNING` is entered by one strand at a time. When its initializer fails, the cell is empty again and *one* waiter is
//! woken to try its own; if that one leaves, it hands the try on.

use crate::model::cell::UnsafeCell;
use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::Duration;
use crate::model::weaken;
use crate::park::leaf::Leaf;
use crate::park::{self, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, Wakes};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

const EMPTY: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;

/// A value that is computed once and then shared.
///
/// # Cancel safety
///
/// Waiting for another strand's initializer is not interrupted by cancellation. A dropped
/// [`get_or_init_async`](Self::get_or_init_async) leaves the cell empty and lets the next waiter try.
///
/// # Panics
///
/// A panicking initializer leaves the cell empty. An initializer that asks its own cell waits for ever.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::OnceCell;
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
/// assert_eq!(CONFIG.get_or_init(|| "loaded".to_owned()), "loaded");
/// assert_eq!(CONFIG.get_or_init(|| unreachable!()), "loaded");
/// ```
#[doc(alias = "OnceLock")]
pub struct OnceCell<T> {
    state: AtomicU32,
    waiters: Leaf<List>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value may be dropped or taken out by another strand.
unsafe impl<T: Send> Send for OnceCell<T> {}
// SAFETY: the value is written by one strand and shared afterwards.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    maybe_const! {
        /// An empty cell.
        pub const fn new() -> Self {
            Self { state: AtomicU32::new(EMPTY), waiters: Leaf::new(List::new()), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // Acquire: pairs with the Release in `finish`; the value is visible.
        if self.state.load(weaken::ordering("once.get", Ordering::Acquire)) != DONE {
            return None;
        }
        // SAFETY: DONE: the value was written and is not written again while the cell is shared.
        self.value.with(|value| unsafe { (*value).as_ref() })
    }

    /// Fills the cell.
    ///
    /// # Errors
    ///
    /// Gives the value back when the cell is filled, or is being filled by another strand (which is waited for).
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initializer runs once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; computes it with `init` if nobody has. Others wait meanwhile.
    ///
    /// # Panics
    ///
    /// As `init` does. In async code when the initializer of another has to be waited for; use
    /// [`get_or_init_async`](Self::get_or_init_async) there.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, std::convert::Infallible>(init())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; computes it with `init` if nobody has.
    ///
    /// # Errors
    ///
    /// That of `init`; the cell stays empty then, and the next one tries.
    #[track_caller]
    pub fn get_or_try_init<E>(&self, init: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if self.get().is_none()
            && let Some(turn) = self.begin().or_else(|| park::wait_for_ready(Wait::LOCK, self.turn(Waiting::Blocking)))
        {
            turn.finish(init()?);
        }
        Ok(self.get().expect("filled by us or by another"))
    }

    /// The value; computes it with `init` if nobody has, and waits for the initializer of another for at most `timeout`.
    /// `None` when that took longer. There is no limit to `init` itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk_core::sync::OnceCell;
    /// use std::time::Duration;
    ///
    /// let cell = OnceCell::new();
    /// cell.get_or_init(|| {
    ///     // Somebody who comes now does not wait for long.
    ///     std::thread::scope(|scope| {
    ///         let other = scope.spawn(|| cell.get_or_init_timeout(Duration::from_millis(1), || 2));
    ///         assert_eq!(other.join().unwrap(), None);
    ///     });
    ///     1
    /// });
    /// assert_eq!(cell.get_or_init_timeout(Duration::ZERO, || 2), Some(&1));
    /// ```
    #[track_caller]
    pub fn get_or_init_timeout(&self, timeout: Duration, init: impl FnOnce() -> T) -> Option<&T> {
        if self.get().is_none() {
            let turn = match self.begin() {
                None => park::wait_for_with(Wait::LOCK.timeout(timeout), self.turn(Waiting::Blocking)).ok()?,
                mine => mine,
            };
            if let Some(turn) = turn {
                turn.finish(init());
            }
        }
        self.get()
    }

    /// The value; computes it with the future of `init` if nobody has.
    pub async fn get_or_init_async<F: Future<Output = T>>(&self, init: impl FnOnce() -> F) -> &T {
        match self.get_or_try_init_async(async || Ok::<T, std::convert::Infallible>(init().await)).await {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; computes it with the future of `init` if nobody has.
    ///
    /// # Errors
    ///
    /// That of `init`; the cell stays empty then, and the next one tries.
    pub async fn get_or_try_init_async<E, F>(&self, init: impl FnOnce() -> F) -> Result<&T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        if self.get().is_none()
            && let Some(turn) = self.turn(Waiting::Task).await
        {
            turn.finish(init().await?);
        }
        Ok(self.get().expect("filled by us or by another"))
    }

    /// The value, out of the cell.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// The value, if it is there; `&mut` proves that nobody else looks.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { (*value).as_mut() })
    }

    fn turn(&self, waiting: Waiting) -> TurnFuture<'_, T> {
        TurnFuture { cell: self, node: Node::new(waiting) }
    }

    fn begin(&self) -> Option<Turn<'_, T>> {
        // Acquire: pairs with the Release in `Turn::drop`; what a failed initializer did is visible to the next.
        self.state
            .compare_exchange(EMPTY, RUNNING, weaken::ordering("once.begin", Ordering::Acquire), Ordering::Relaxed)
            .is_ok()
            .then(|| Turn { cell: self })
    }

    fn wake_one(&self) {
        let mut wakes = Wakes::new();
        let mut waiters = self.waiters.lock();
        waiters.pop_front(Given::Woken, &mut wakes);
        drop(waiters);
        wakes.wake();
    }
}

/// The right to fill the cell; dropped without a value, it passes to the next.
struct Turn<'a, T> {
    cell: &'a OnceCell<T>,
}

impl<T> Turn<'_, T> {
    fn finish(self, value: T) {
        let cell = self.cell;
        std::mem::forget(self);
        // SAFETY: RUNNING is ours alone, and nobody reads before DONE.
        cell.value.with_mut(|place| unsafe { *place = Some(value) });
        // Release: pairs with the Acquire in `get`.
        cell.state.store(DONE, weaken::ordering("once.finish", Ordering::Release));
        // A waiter links itself only when it sees RUNNING under this lock, so whoever waits is found here.
        let waiters = cell.waiters.lock();
        List::wake_up_to(waiters, usize::MAX, Given::Woken, || cell.waiters.lock(), |waiters| &mut *waiters);
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `begin`.
        self.cell.state.store(EMPTY, weaken::ordering("once.fail", Ordering::Release));
        self.cell.wake_one();
    }
}

/// Waits until the cell is filled (then `None`) or it is our turn to fill it.
struct TurnFuture<'a, T> {
    cell: &'a OnceCell<T>,
    node: Node,
}

impl<'a, T> Future for TurnFuture<'a, T> {
    type Output = Option<Turn<'a, T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        let cell = this.get_ref().cell;
        let _replaced: Replaced; // dropped after the lock
        let mut waiters = cell.waiters.lock();
        waiters.take(node);
        loop {
            // Relaxed: `begin` and `get` acquire.
            match cell.state.load(Ordering::Relaxed) {
                DONE => return Poll::Ready(None),
                EMPTY => {
                    if let Some(turn) = cell.begin() {
                        waiters.remove(&node);
                        return Poll::Ready(Some(turn));
                    }
                }
                _ => break,
            }
        }
        _replaced = waiters.push_back(node, context);
        Poll::Pending
    }
}

impl<T> Drop for TurnFuture<'_, T> {
    fn drop(&mut self) {
        if self.node.is_fresh() {
            return;
        }
        let given = self.cell.waiters.lock().remove(&self.node);
        // Relaxed: only a hint; a wake-up too many costs one poll.
        if given == Given::Woken && weaken::keep("once.hand_on") && self.cell.state.load(Ordering::Relaxed) == EMPTY {
            self.cell.wake_one();
        }
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}
