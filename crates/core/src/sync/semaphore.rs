//! A counting semaphore: permits in one word, waiters in a FIFO with what each needs.
//!
//! # States
//!
//! One word: the lowest bit says that the list may not be empty, or that permits are promised, the rest counts free permits.
//! While that bit is unset, acquire and release are one compare-and-swap each. Once it is set, nobody takes a permit except
//! through the list: whoever holds the list's lock then owns the count, so nobody overtakes, and one that needs many is not
//! starved by those that need few.
//!
//! A blocking waiter is *granted* its permits at once. An async waiter is *woken* and its permits stay in the word, *promised*:
//! its future may be dropped instead, and nothing has to be given back then. Until it is polled or dropped its turn is kept,
//! which those behind it wait for (as in tokio#6450).
//!
//! # Handing on
//!
//! A waiter that leaves *granted* releases its permits; one that leaves *woken* serves the list once more.

use crate::model::maybe_const;
use crate::model::sync::atomic::{AtomicUsize, Ordering};
use crate::model::time::Duration;
use crate::model::weaken;
use crate::park::leaf::{Leaf, LeafGuard};
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, Wakes};
use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

const WAITERS: usize = 1;
const ONE: usize = 2;

/// The most permits that fit the word.
pub(super) const PERMITS_MAX: usize = usize::MAX / ONE;

/// Permits and waiters, without a public face; the [`RwLock`](super::RwLock) stands on it too.
#[derive(Debug)]
pub(super) struct Permits {
    word: AtomicUsize,
    line: Leaf<Line>,
}

/// Who waits, and what those that were woken have not fetched yet.
#[derive(Debug)]
struct Line {
    waiters: List,
    /// Free permits, in the word, that are for woken async waiters.
    promised: usize,
}

impl Permits {
    maybe_const! {
        pub(super) const fn new(permits: usize) -> Self {
            let line = Line { waiters: List::new(), promised: 0 };
            Self { word: AtomicUsize::new(permits * ONE), line: Leaf::new(line) }
        }
    }

    pub(super) fn available(&self) -> usize {
        self.word.load(Ordering::Relaxed) / ONE
    }

    #[inline]
    pub(super) fn try_acquire(&self, need: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 && word / ONE >= need {
            // Acquire: pairs with the Release in `release`.
            match self.word.compare_exchange_weak(
                word,
                word - need * ONE,
                weaken::ordering("semaphore.acquire", Ordering::Acquire),
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Spins while a holder is likely to be done soon; not past those that wait. (Not under a checker, where no time passes: it
    /// is [`try_acquire`](Self::try_acquire) and nothing else.)
    #[cold]
    fn acquire_spinning(&self, need: usize) -> bool {
        !cfg!(any(ropewalk_loom, ropewalk_shuttle))
            && self.word.load(Ordering::Relaxed) & WAITERS == 0
            && park::spin_for_lock(|| self.try_acquire(need))
    }

    pub(super) fn future(&self, need: usize, waiting: Waiting) -> RawAcquire<'_> {
        RawAcquire { permits: self, need, node: Node::with_need(waiting, need) }
    }

    /// Takes under the list's lock, where the count is ours once `WAITERS` is set; not what is promised to others.
    fn take(&self, need: usize, promised: usize) -> bool {
        self.word.load(Ordering::Relaxed) / ONE >= need + promised && {
            // Acquire: pairs with the Release in `release`.
            self.word.fetch_sub(need * ONE, weaken::ordering("semaphore.take", Ordering::Acquire));
            true
        }
    }

    fn poll_acquire(&self, need: usize, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        if node.is_fresh() && self.try_acquire(need) {
            return Poll::Ready(());
        }
        let _replaced: Replaced; // dropped after the lock
        let mut line = self.line.lock();
        let given = line.waiters.take(node);
        if given == Given::Granted {
            return Poll::Ready(());
        }
        // From here on the fast paths are closed and the count is ours.
        self.word.fetch_or(WAITERS, Ordering::Relaxed);
        let my_turn = match given {
            Given::Woken => {
                line.promised -= need;
                true
            }
            Given::Idle => line.waiters.is_empty(),
            Given::Linked | Given::Granted => false,
        };
        if my_turn && self.take(need, line.promised) {
            self.note_if_empty(&line);
            return Poll::Ready(());
        }
        let waiters = &mut line.waiters;
        _replaced =
            if given == Given::Woken { waiters.push_front(node, context) } else { waiters.push_back(node, context) };
        Poll::Pending
    }

    fn note_if_empty(&self, line: &LeafGuard<'_, Line>) {
        if line.waiters.is_empty() && line.promised == 0 {
            // Relaxed: every change of the word is a read-modify-write, so what earlier releases published passes on.
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }

    /// Gives permits back and serves the waiters. False when the count would pass `limit`; nothing is changed then.
    #[inline]
    pub(super) fn release(&self, permits: usize, limit: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if permits > limit || word / ONE > limit - permits {
                return false;
            }
            // Release: pairs with the Acquire of whoever takes these permits.
            let release = weaken::ordering("semaphore.release", Ordering::Release);
            match self.word.compare_exchange_weak(word, word + permits * ONE, release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            self.serve();
        }
        true
    }

    /// Gives what there is to those who wait, in order.
    #[cold]
    fn serve(&self) {
        let mut panicked = None;
        loop {
            let mut wakes = Wakes::new();
            let mut line = self.line.lock();
            let more = self.serve_batch(&mut line, &mut wakes);
            drop(line);
            panicked = panicked.or(wakes.fire());
            if !more {
                return panicked.map_or((), |payload| resume_unwind(payload));
            }
        }
    }

    /// Serves until nothing fits or the batch is full (then true). Under the list's lock.
    fn serve_batch(&self, line: &mut LeafGuard<'_, Line>, wakes: &mut Wakes) -> bool {
        while let Some(front) = line.waiters.front() {
            if !wakes.has_room() {
                return true;
            }
            let free = self.word.load(Ordering::Relaxed) / ONE;
            // What async waiters were told of stays in the word, but is not given away.
            if free < front.need + line.promised {
                break;
            }
            match front.waiting {
                Waiting::Blocking => {
                    // Acquire: pairs with the Release in `release`, which may have been another strand's; passed on to
                    // the granted by the list's lock.
                    self.word.fetch_sub(front.need * ONE, weaken::ordering("semaphore.serve", Ordering::Acquire));
                    line.waiters.pop_front(Given::Granted, wakes);
                }
                Waiting::Task => {
                    line.promised += front.need;
                    line.waiters.pop_front(Given::Woken, wakes);
                }
            }
        }
        self.note_if_empty(line);
        false
    }

    fn leave(&self, node: &Node, need: usize) {
        let mut line = self.line.lock();
        let was_first = line.waiters.is_front(node);
        let given = line.waiters.remove(node);
        if given == Given::Woken {
            line.promised -= need;
        }
        self.note_if_empty(&line);
        drop(line);
        match given {
            Given::Granted => {
                self.release(need, PERMITS_MAX);
            }
            // The next one may need less than this one did, so it may fit now.
            Given::Linked if was_first && weaken::keep("semaphore.first_left") => self.serve(),
            Given::Woken if weaken::keep("semaphore.hand_on") => self.serve(),
            _ => {}
        }
    }
}

/// The wait for [`Permits`].
#[derive(Debug)]
pub(super) struct RawAcquire<'a> {
    permits: &'a Permits,
    need: usize,
    node: Node,
}

impl Future for RawAcquire<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.permits.poll_acquire(this.need, node, context)
    }
}

impl Drop for RawAcquire<'_> {
    fn drop(&mut self) {
        if !self.node.is_fresh() {
            self.permits.leave(&self.node, self.need);
        }
    }
}

/// Lets at most so many strands go on as it has permits.
///
/// # Fairness
///
/// First come, first served among threads and greenlets, also between those that need many permits and those that need
/// few; where nobody waits yet, a thread looks for about a microsecond before it queues. An async task is woken in its turn and keeps it until its future is
/// polled again or dropped: a future that is neither (held across another wait) holds up those behind it.
///
/// # Cancel safety
///
/// A wait that is dropped, times out or is cancelled gives back what it had been granted.
///
/// # Examples
///
/// At most two downloads at a time, however many threads there are:
///
/// ```
/// use ropewalk_core::sync::Semaphore;
///
/// let slots = Semaphore::new(2);
/// std::thread::scope(|scope| {
///     for _ in 0..8 {
///         scope.spawn(|| {
///             let _slot = slots.acquire();
///             // ... download ...
///         });
///     }
/// });
/// assert_eq!(slots.available_permits(), 2);
/// ```
#[derive(Debug)]
pub struct Semaphore {
    permits: Permits,
    limit: usize,
}

impl Semaphore {
    /// The most permits a semaphore can hold.
    pub const PERMITS_MAX: usize = PERMITS_MAX;

    maybe_const! {
        /// A semaphore with `permits` permits, to which [`release`](Self::release) may add more.
        ///
        /// # Panics
        ///
        /// When `permits` exceeds [`PERMITS_MAX`](Self::PERMITS_MAX).
        pub const fn new(permits: usize) -> Self {
            assert!(permits <= PERMITS_MAX, "too many permits");
            Self { permits: Permits::new(permits), limit: PERMITS_MAX }
        }
    }

    maybe_const! {
        /// A semaphore that never holds more than `permits`: releasing what was not acquired is a panic.
        ///
        /// # Panics
        ///
        /// When `permits` exceeds [`PERMITS_MAX`](Self::PERMITS_MAX).
        #[doc(alias = "BoundedSemaphore")]
        pub const fn bounded(permits: usize) -> Self {
            assert!(permits <= PERMITS_MAX, "too many permits");
            Self { permits: Permits::new(permits), limit: permits }
        }
    }

    /// Waits for one permit, which is given back when the returned value is dropped.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`acquire_async`](Self::acquire_async) there.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Waits for `permits` permits at once.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire); and when a [bounded](Self::bounded) semaphore could never have that many.
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> Permit<'_> {
        self.check(permits);
        if !self.permits.try_acquire(permits) && !self.permits.acquire_spinning(permits) {
            park::wait_for_ready(Wait::PERMIT, self.permits.future(permits, Waiting::Blocking));
        }
        self.permit(permits)
    }

    /// Takes one permit if there is one and nobody waits before us.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits if there are as many and nobody waits before us.
    pub fn try_acquire_many(&self, permits: usize) -> Option<Permit<'_>> {
        (permits <= PERMITS_MAX && self.permits.try_acquire(permits)).then(|| self.permit(permits))
    }

    /// Waits for one permit, at the longest for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Interrupted`]: the time limit passed, or the task around this wait was cancelled.
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, Interrupted> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Waits for `permits` permits at once, at the longest for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    #[track_caller]
    pub fn acquire_many_timeout(&self, permits: usize, timeout: Duration) -> Result<Permit<'_>, Interrupted> {
        self.check(permits);
        if !self.permits.try_acquire(permits) && !self.permits.acquire_spinning(permits) {
            let wait = Wait::PERMIT.timeout(timeout);
            park::wait_for_with(wait, self.permits.future(permits, Waiting::Blocking))?;
        }
        Ok(self.permit(permits))
    }

    /// Waits for one permit in async code.
    pub fn acquire_async(&self) -> AcquireFuture<'_> {
        self.acquire_many_async(1)
    }

    /// Waits for `permits` permits at once in async code.
    #[track_caller]
    pub fn acquire_many_async(&self, permits: usize) -> AcquireFuture<'_> {
        self.check(permits);
        AcquireFuture { semaphore: self, acquire: self.permits.future(permits, Waiting::Task) }
    }

    /// Adds permits: those of a [forgotten](Permit::forget) permit, or new ones.
    ///
    /// # Panics
    ///
    /// When a [bounded](Self::bounded) semaphore would then hold more than it began with.
    #[track_caller]
    pub fn release(&self, permits: usize) {
        assert!(
            self.permits.release(permits, self.limit),
            "semaphore released too many times: it holds {} of at most {}",
            self.available_permits(),
            self.limit
        );
    }

    /// How many permits are free at this moment.
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }

    #[track_caller]
    fn check(&self, permits: usize) {
        assert!(
            permits <= self.limit,
            "{permits} permits can never be acquired from a semaphore that holds at most {}",
            self.limit
        );
    }

    fn permit(&self, permits: usize) -> Permit<'_> {
        Permit { semaphore: self, permits }
    }
}

/// Permits of a [`Semaphore`], given back when dropped.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

impl Permit<'_> {
    /// Keeps the permits taken; [`Semaphore::release`] gives them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// How many permits these are.
    pub fn permits(&self) -> usize {
        self.permits
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.release(self.permits);
        }
    }
}

/// The wait for permits, as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct AcquireFuture<'a> {
    semaphore: &'a Semaphore,
    acquire: RawAcquire<'a>,
}

impl<'a> Future for AcquireFuture<'a> {
    type Output = Permit<'a>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit<'a>> {
        let semaphore = self.semaphore;
        let permits = self.acquire.need;
        // SAFETY: `acquire` is pinned with the future: it is never moved out of it.
        let acquire = unsafe { self.map_unchecked_mut(|future| &mut future.acquire) };
        acquire.poll(context).map(|()| Permit { semaphore, permits })
    }
}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}
