//! The state machine of every queue with a buffer.
//!
//! # States
//!
//! All under one leaf lock: the buffer, whether the queue is closed, who waits to put, who waits to get, and how many
//! items were put and not yet said to be done. A short lock beats a lock-free list here: between two busy threads the
//! loser of the lock backs off for a few operations, so each side runs bursts on a cache line it owns.
//!
//! # Rules
//!
//! * An item leaves the buffer only in the poll that returns it, so a getter that is dropped has never taken one.
//! * A put that does not end well gives its item back, since the item lies in the future until there is room.
//! * Putting wakes one getter and getting wakes one putter; both come and look (*woken*, never granted). One that leaves
//!   while woken wakes the next, if there is something for it.
//! * A comparison of a priority queue may panic. The buffer is as before then; whoever it happened to may have been woken
//!   for what it leaves behind, so it wakes the next before the panic goes on.
//! * `level` repeats outside the lock how full the buffer is, in coarse steps, so that a spinning waiter does not disturb
//!   the others.

use super::buffer::{Buffer, Panicked};
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::weaken;
use crate::park;
use crate::park::leaf::{BURST, LONG_BURST, Leaf, LeafGuard};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, each_in_turn};
use crossbeam_utils::CachePadded;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// How a queue stands to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Nothing comes in; what is inside may be taken out.
    Closed,
}

#[derive(Debug)]
struct State<B> {
    buffer: B,
    /// What `Buffered::level` says.
    level: u32,
    gate: Gate,
    putters: List,
    getters: List,
    /// Items put and not yet said to be done; counted for [`Queue`](super::Queue) only.
    unfinished: usize,
    joiners: List,
}

/// A buffer, its bound and its waiters.
#[derive(Debug)]
pub(super) struct Buffered<B> {
    capacity: usize,
    /// A hint for spinning: `EMPTY`, `SOME`, `MUCH` or `CLOSED`. On a line of its own, so that a spinner does not take the
    /// lock's line from whoever works, and coarse, so that whoever works seldom has to write it.
    level: CachePadded<AtomicU32>,
    state: Leaf<State<B>>,
}

const EMPTY: u32 = 0;
/// At most half full.
const SOME: u32 = 1;
/// More than half full.
const MUCH: u32 = 2;
const CLOSED: u32 = 3;

/// A bounded buffer is allocated at once up to so many items; a larger one grows when it is used.
const RESERVE_ITEMS_MAX: usize = 4096;

/// Why an item was not taken in.
#[derive(Debug)]
pub(super) enum Refused<T> {
    Full(T),
    Closed(T),
}

/// Why there was no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    Empty,
    Closed,
}

impl<B: Buffer> Buffered<B> {
    /// `capacity` of at least 1; `usize::MAX` for no bound.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue needs room for at least one item");
        let mut buffer = B::default();
        if capacity != usize::MAX {
            buffer.reserve(capacity.min(RESERVE_ITEMS_MAX));
        }
        Self {
            capacity,
            level: CachePadded::new(AtomicU32::new(EMPTY)),
            state: Leaf::new(State {
                buffer,
                level: EMPTY,
                gate: Gate::Open,
                putters: List::new(),
                getters: List::new(),
                unfinished: 0,
                joiners: List::new(),
            }),
        }
    }

    #[inline]
    fn lock(&self) -> LeafGuard<'_, State<B>> {
        self.state.lock_with(|| if self.capacity == usize::MAX { LONG_BURST } else { BURST })
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().buffer.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().gate == Gate::Closed
    }

    #[inline]
    fn note_level(&self, state: &mut State<B>) {
        let level = match state.buffer.len() {
            _ if state.gate == Gate::Closed => CLOSED,
            0 => EMPTY,
            len if len > self.capacity / 2 => MUCH,
            _ => SOME,
        };
        if level != state.level {
            state.level = level;
            self.level.store(level, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn try_put(&self, item: B::Item) -> Result<(), Refused<B::Item>> {
        let state = self.lock();
        if state.gate == Gate::Closed {
            return Err(Refused::Closed(item));
        }
        if state.buffer.len() >= self.capacity {
            return Err(Refused::Full(item));
        }
        self.put_in(state, item);
        Ok(())
    }

    /// There is room and the gate is open.
    #[inline]
    fn put_in(&self, mut state: LeafGuard<'_, State<B>>, item: B::Item) {
        // The item of a put that failed is dropped in the unwind, after the lock.
        if let Err((_item, panicked)) = state.buffer.push(item) {
            self.failed(state, panicked);
        }
        state.unfinished += 1;
        self.note_level(&mut state);
        let waker = state.getters.pop_one(Given::Woken);
        drop(state);
        wake(waker);
    }

    /// A comparison panicked: hands on what the caller may have been woken for, then goes on with the panic.
    #[cold]
    fn failed(&self, mut state: LeafGuard<'_, State<B>>, panicked: Panicked) -> ! {
        let getter = if state.buffer.is_empty() { None } else { state.getters.pop_one(Given::Woken) };
        let putter = if state.buffer.len() < self.capacity { state.putters.pop_one(Given::Woken) } else { None };
        drop(state);
        wake(getter);
        wake(putter);
        resume_unwind(panicked)
    }

    #[inline]
    pub(super) fn try_get(&self) -> Result<B::Item, Nothing> {
        let state = self.lock();
        self.take_out(state)
    }

    #[inline]
    fn take_out(&self, mut state: LeafGuard<'_, State<B>>) -> Result<B::Item, Nothing> {
        let popped = match state.buffer.pop() {
            Ok(popped) => popped,
            Err(panicked) => self.failed(state, panicked),
        };
        let Some(item) = popped else {
            return Err(if state.gate == Gate::Closed { Nothing::Closed } else { Nothing::Empty });
        };
        self.note_level(&mut state);
        let waker = state.putters.pop_one(Given::Woken);
        drop(state);
        wake(waker);
        Ok(item)
    }

    /// Puts, waiting for room by spinning only. The item comes back when that was not enough.
    ///
    /// A spinning putter waits until the buffer is half empty, not for the first free place: it then puts a burst, where
    /// otherwise both sides would pass the lock to and fro for each item (four times slower between two cores). The spin
    /// is no longer for that, and what room there is at its end is taken.
    #[inline]
    pub(super) fn put_spinning(&self, item: B::Item) -> Result<(), Refused<B::Item>> {
        match self.try_put(item) {
            Err(Refused::Full(item)) => {
                self.spin_while(|level| level == MUCH);
                self.try_put(item)
            }
            other => other,
        }
    }

    /// Gets, waiting for an item by spinning only.
    #[inline]
    pub(super) fn get_spinning(&self) -> Result<B::Item, Nothing> {
        match self.try_get() {
            Err(Nothing::Empty) if self.spin_while(|level| level == EMPTY) => self.try_get(),
            other => other,
        }
    }

    #[cold]
    fn spin_while(&self, stuck: impl Fn(u32) -> bool) -> bool {
        !cfg!(any(ropewalk_loom, ropewalk_shuttle)) && park::spin_until(|| !stuck(self.level.load(Ordering::Relaxed)))
    }

    /// Closes the gate; with `discard`, returns what was inside. Wakes everybody.
    pub(super) fn close(&self, discard: bool) -> Option<B> {
        let mut state = self.lock();
        state.gate = Gate::Closed;
        self.note_level(&mut state);
        let discarded = discard.then(|| std::mem::take(&mut state.buffer));
        if let Some(discarded) = &discarded {
            state.unfinished = state.unfinished.saturating_sub(discarded.len());
        }
        let all_done = state.unfinished == 0;
        drop(state);
        each_in_turn(&mut [
            &mut || self.wake_all(|state| &mut state.getters),
            &mut || self.wake_all(|state| &mut state.putters),
            &mut || {
                if discard && all_done {
                    self.wake_all(|state| &mut state.joiners);
                }
            },
        ]);
        discarded
    }

    fn wake_all(&self, list: impl Fn(&mut State<B>) -> &mut List) {
        let state = self.lock();
        List::wake_up_to(state, usize::MAX, Given::Woken, || self.lock(), |state| list(state));
    }

    /// One item that was put is done. False when more were done than put.
    pub(super) fn task_done(&self) -> bool {
        let mut state = self.lock();
        if state.unfinished == 0 {
            return false;
        }
        state.unfinished -= 1;
        if state.unfinished == 0 {
            List::wake_up_to(state, usize::MAX, Given::Woken, || self.lock(), |state| &mut state.joiners);
        }
        true
    }

    pub(super) fn put(&self, item: B::Item, waiting: Waiting) -> Put<'_, B> {
        Put { queue: self, item: Some(item), node: Node::new(waiting) }
    }

    pub(super) fn get(&self, waiting: Waiting) -> Get<'_, B> {
        Get { queue: self, node: Node::new(waiting) }
    }

    pub(super) fn all_done(&self, waiting: Waiting) -> AllDone<'_, B> {
        AllDone { queue: self, node: Node::new(waiting) }
    }

    pub(super) fn poll_get(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<Option<B::Item>> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.lock();
        if state.buffer.is_empty() && state.gate == Gate::Open {
            _replaced = enlist(&mut state.getters, node, context);
            return Poll::Pending;
        }
        state.getters.remove(&node);
        Poll::Ready(self.take_out(state).ok())
    }

    /// Ready when a get would not wait; the node stays responsible for the wake-up it was given.
    pub(super) fn poll_can_get(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.lock();
        if state.buffer.is_empty() && state.gate == Gate::Open {
            _replaced = enlist(&mut state.getters, node, context);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Ready when a put would not wait; the node stays responsible for the wake-up it was given.
    pub(super) fn poll_can_put(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.lock();
        if state.buffer.len() >= self.capacity && state.gate == Gate::Open {
            _replaced = enlist(&mut state.putters, node, context);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(super) fn leave_getters(&self, node: &Node) {
        if node.is_fresh() {
            return;
        }
        let mut state = self.lock();
        if state.getters.remove(node) == Given::Woken && weaken::keep("queue.get.hand_on") && !state.buffer.is_empty() {
            let waker = state.getters.pop_one(Given::Woken);
            drop(state);
            wake(waker);
        }
    }

    pub(super) fn leave_putters(&self, node: &Node) {
        if node.is_fresh() {
            return;
        }
        let mut state = self.lock();
        if state.putters.remove(node) == Given::Woken
            && weaken::keep("queue.put.hand_on")
            && state.buffer.len() < self.capacity
        {
            let waker = state.putters.pop_one(Given::Woken);
            drop(state);
            wake(waker);
        }
    }
}

/// Queues a node, at the front when it was woken for nothing and keeps its turn.
fn enlist(list: &mut List, node: Pin<&Node>, context: &Context<'_>) -> Replaced {
    if list.take(node) == Given::Woken { list.push_front(node, context) } else { list.push_back(node, context) }
}

#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The wait for room, with the item.
pub(super) struct Put<'a, B: Buffer> {
    queue: &'a Buffered<B>,
    item: Option<B::Item>,
    node: Node,
}

impl<B: Buffer> Put<'_, B> {
    /// The item of a wait that was interrupted.
    pub(super) fn take_back(self: Pin<&mut Self>) -> Option<B::Item> {
        // SAFETY: `item` is not structurally pinned.
        unsafe { self.get_unchecked_mut() }.item.take()
    }
}

impl<B: Buffer> Future for Put<'_, B> {
    /// The item comes back when the queue is closed.
    type Output = Result<(), B::Item>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `node` stays where it is; `item` is not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let queue = this.queue;
        let _replaced: Replaced; // dropped after the lock
        let mut state = queue.lock();
        if state.gate == Gate::Open && state.buffer.len() >= queue.capacity {
            _replaced = enlist(&mut state.putters, node, context);
            return Poll::Pending;
        }
        state.putters.remove(&node);
        let item = this.item.take().expect("polled after it was ready");
        if state.gate == Gate::Closed {
            return Poll::Ready(Err(item));
        }
        queue.put_in(state, item);
        Poll::Ready(Ok(()))
    }
}

impl<B: Buffer> Drop for Put<'_, B> {
    fn drop(&mut self) {
        self.queue.leave_putters(&self.node);
    }
}

/// The wait for an item; `None` when the queue is closed and empty.
pub(super) struct Get<'a, B: Buffer> {
    queue: &'a Buffered<B>,
    node: Node,
}

impl<B: Buffer> Future for Get<'_, B> {
    type Output = Option<B::Item>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.queue.poll_get(node, context)
    }
}

impl<B: Buffer> Drop for Get<'_, B> {
    fn drop(&mut self) {
        self.queue.leave_getters(&self.node);
    }
}

/// The wait until every item that was put is done.
pub(super) struct AllDone<'a, B: Buffer> {
    queue: &'a Buffered<B>,
    node: Node,
}

impl<B: Buffer> Future for AllDone<'_, B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        let _replaced: Replaced; // dropped after the lock
        let mut state = this.queue.lock();
        if state.joiners.take(node) == Given::Woken || state.unfinished == 0 {
            state.joiners.remove(&node);
            return Poll::Ready(());
        }
        _replaced = state.joiners.push_back(node, context);
        Poll::Pending
    }
}

impl<B: Buffer> Drop for AllDone<'_, B> {
    fn drop(&mut self) {
        if !self.node.is_fresh() {
            // "All done" is news for everybody; nothing is handed on.
            self.queue.lock().joiners.remove(&self.node);
        }
    }
}
