//! A barrier: everybody waits until all have come, and it can break.
//!
//! # States
//!
//! All state lies under one lock: how many have come, and whether the barrier is broken. The last one to come *grants*
//! the round to those who wait and begins a new one. A waiter that leaves before the round is complete (timeout,
//! cancellation, drop) breaks the barrier, because the others would wait for ever: all are *woken*, which here means
//! "broken". `reset` makes it whole again. Rounds are numbered, so that one who leaves a round that is over, and was only
//! not told of it yet, breaks nothing; and so that the end of the next round, which may come before all of the last were told,
//! is not taken for theirs.

use crate::model::maybe_const;
use crate::model::time::Duration;
use crate::model::weaken;
use crate::park::leaf::{Leaf, LeafGuard};
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting};
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

#[derive(Debug)]
struct State {
    /// How many of this round have come.
    arrived: usize,
    /// Which round this is. One that is over may still be waking those who waited.
    round: u64,
    /// The last one to which all have come, and the last one that was broken.
    passed: Option<u64>,
    gave_up: Option<u64>,
    broken: bool,
    waiters: List,
}

/// Lets a fixed number of strands meet, again and again.
///
/// # Cancel safety
///
/// A wait that is dropped, times out or is cancelled before all have come breaks the barrier: every other wait, now and
/// later, ends with [`BrokenBarrier`] until [`reset`](Self::reset).
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// std::thread::scope(|scope| {
///     for _ in 0..3 {
///         scope.spawn(|| {
///             // ... phase one ...
///             if barrier.wait().unwrap().is_leader() {
///                 println!("everybody is here");
///             }
///             // ... phase two ...
///         });
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Barrier {
    parties: usize,
    state: Leaf<State>,
}

impl Barrier {
    maybe_const! {
        /// A barrier for `parties` strands.
        ///
        /// # Panics
        ///
        /// When `parties` is 0.
        pub const fn new(parties: usize) -> Self {
            assert!(parties > 0, "a barrier needs at least one party");
            let waiters = List::new();
            let state = State { arrived: 0, round: 0, passed: None, gave_up: None, broken: false, waiters };
            Self { parties, state: Leaf::new(state) }
        }
    }

    /// Waits until all parties have come.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`] when another party gave up or [`abort`](Self::abort) was called.
    ///
    /// # Panics
    ///
    /// In async code, also for the last party; use [`wait_async`](Self::wait_async) there.
    #[track_caller]
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        park::wait_for(self.future(Waiting::Blocking))
    }

    /// Waits until all parties have come, at the longest for `timeout`.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`]; also when the time limit passed, which breaks the barrier for all.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        let mut wait = pin!(self.future(Waiting::Blocking));
        park::wait_on(Wait::FOREVER.timeout(timeout), |context| wait.as_mut().poll(context)).unwrap_or_else(
            // The round may have ended after the last look: then this wait passed with the others, who did.
            |interrupted| {
                if wait.leave() {
                    Err(BrokenBarrier { by_me: Some(interrupted) })
                } else {
                    park::wait_for_shielded(wait)
                }
            },
        )
    }

    /// Waits until all parties have come, in async code.
    pub fn wait_async(&self) -> BarrierFuture<'_> {
        self.future(Waiting::Task)
    }

    fn future(&self, waiting: Waiting) -> BarrierFuture<'_> {
        BarrierFuture { barrier: self, index: None, round: 0, node: Node::new(waiting) }
    }

    /// Breaks the barrier: all waits, now and later, end with an error.
    pub fn abort(&self) {
        self.end_round(self.state.lock(), Given::Woken, true);
    }

    /// Makes the barrier as new. Those that wait at this moment get [`BrokenBarrier`].
    pub fn reset(&self) {
        self.end_round(self.state.lock(), Given::Woken, false);
    }

    /// Whether the barrier is broken.
    pub fn is_broken(&self) -> bool {
        self.state.lock().broken
    }

    /// How many wait at this moment.
    pub fn n_waiting(&self) -> usize {
        self.state.lock().waiters.len()
    }

    /// How many must come.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// Gives `given` to all that wait and begins a new round, which whoever comes next belongs to.
    fn end_round(&self, mut state: LeafGuard<'_, State>, given: Given, broken: bool) {
        let over = Some(state.round);
        if given == Given::Granted {
            state.passed = over
        } else {
            state.gave_up = over
        }
        state.arrived = 0;
        state.round += 1;
        state.broken = broken;
        List::wake_up_to(state, usize::MAX, given, || self.state.lock(), |state| &mut state.waiters);
    }
}

/// How a strand passed a [`Barrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: usize,
    parties: usize,
}

impl BarrierWaitResult {
    /// True for exactly one of the parties: the last to come.
    pub fn is_leader(&self) -> bool {
        self.index + 1 == self.parties
    }

    /// In which place this strand came, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

/// The barrier is broken: not all came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "BrokenBarrierError")]
pub struct BrokenBarrier {
    by_me: Option<Interrupted>,
}

impl BrokenBarrier {
    /// How this very wait broke it, if it did.
    pub fn by_me(&self) -> Option<Interrupted> {
        self.by_me
    }
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by_me {
            None => f.write_str("barrier is broken: another party gave up; `reset` makes it whole"),
            Some(interrupted) => write!(f, "barrier is broken: this wait gave up ({interrupted})"),
        }
    }
}

impl std::error::Error for BrokenBarrier {}

/// The wait at a [`Barrier`], as a future.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct BarrierFuture<'a> {
    barrier: &'a Barrier,
    /// The place in which this strand came, once it has.
    index: Option<usize>,
    /// The round it came to.
    round: u64,
    node: Node,
}

impl Future for BarrierFuture<'_> {
    type Output = Result<BarrierWaitResult, BrokenBarrier>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `node` stays where it is; `index` is not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let barrier = this.barrier;
        let _replaced: Replaced; // dropped after the lock
        let mut state = barrier.state.lock();
        let given = state.waiters.take(node);
        match (given, this.index) {
            (Given::Linked, _) if this.round == state.round => {
                _replaced = state.waiters.push_back(node, context);
                return Poll::Pending;
            }
            (Given::Linked | Given::Woken | Given::Granted, Some(index)) => {
                return Poll::Ready(if this.has_passed(&state, given) {
                    Ok(BarrierWaitResult { index, parties: barrier.parties })
                } else {
                    Err(BrokenBarrier { by_me: None })
                });
            }
            _ if state.broken => return Poll::Ready(Err(BrokenBarrier { by_me: None })),
            _ => {}
        }
        let index = state.arrived;
        state.arrived += 1;
        this.index = Some(index);
        this.round = state.round;
        if state.arrived == barrier.parties {
            barrier.end_round(state, Given::Granted, false);
            return Poll::Ready(Ok(BarrierWaitResult { index, parties: barrier.parties }));
        }
        _replaced = state.waiters.push_back(node, context);
        Poll::Pending
    }
}

impl BarrierFuture<'_> {
    /// How the round ended to which this strand came. What it was given may be by the end of a later one.
    fn has_passed(&self, state: &State, given: Given) -> bool {
        let round = Some(self.round);
        round == state.passed || (round != state.gave_up && given == Given::Granted)
    }

    /// Breaks the barrier, unless the round is over already (then false): this strand was only not told yet.
    fn leave(&self) -> bool {
        let mut state = self.barrier.state.lock();
        if state.round != self.round {
            return false;
        }
        let waited = state.waiters.remove(&self.node) == Given::Linked;
        if waited && weaken::keep("barrier.leaver_breaks") {
            self.barrier.end_round(state, Given::Woken, true);
        }
        waited
    }
}

impl Drop for BarrierFuture<'_> {
    fn drop(&mut self) {
        if !self.node.is_fresh() && !self.leave() {
            self.barrier.state.lock().waiters.remove(&self.node);
        }
    }
}
