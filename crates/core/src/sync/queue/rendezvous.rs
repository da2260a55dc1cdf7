//! The channel without a buffer: a send ends when a receiver has taken the value.
//!
//! # States
//!
//! A blocked sender lays its value into `offers` and itself into `senders`, both in the same order, so the first offer
//! belongs to the first sender. A receiver takes the first offer and *grants* that sender its end. A sender that leaves
//! takes its offer with it.
//!
//! `try_send` may not wait, so it needs a receiver that waits already: it lays the value into `handed` and wakes that
//! one. Should it leave without the value, the next receiver finds it there.

use super::buffered::{Gate, Nothing, Refused};
use crate::model::weaken;
use crate::park::leaf::{Leaf, LeafGuard};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, each_in_turn};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct State<T> {
    gate: Gate,
    handed: VecDeque<T>,
    offers: VecDeque<(u64, T)>,
    last_ticket: u64,
    senders: List,
    receivers: List,
    /// Those that would send if a receiver waited (`Select`).
    watchers: List,
}

impl<T> State<T> {
    /// Nothing to receive, and more may come.
    fn is_silent(&self) -> bool {
        self.handed.is_empty() && self.offers.is_empty() && self.gate == Gate::Open
    }

    /// A receiver waits; one that would send if one did is told (the waker is to be fired after the lock).
    fn enlist_receiver(&mut self, node: Pin<&Node>, context: &Context<'_>) -> (Replaced, Option<Waker>) {
        self.receivers.take(node);
        let replaced = self.receivers.push_back(node, context);
        (replaced, self.watchers.pop_one(Given::Woken))
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Values pass from hand to hand.
#[derive(Debug)]
pub(super) struct Rendezvous<T> {
    state: Leaf<State<T>>,
}

impl<T> Rendezvous<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Leaf::new(State {
                gate: Gate::Open,
                handed: VecDeque::new(),
                offers: VecDeque::new(),
                last_ticket: 0,
                senders: List::new(),
                receivers: List::new(),
                watchers: List::new(),
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().gate == Gate::Closed
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), Refused<T>> {
        let mut state = self.state.lock();
        if state.gate == Gate::Closed {
            return Err(Refused::Closed(value));
        }
        if state.receivers.is_empty() {
            return Err(Refused::Full(value));
        }
        state.handed.push_back(value);
        let waker = state.receivers.pop_one(Given::Woken);
        drop(state);
        wake(waker);
        Ok(())
    }

    pub(super) fn try_recv(&self) -> Result<T, Nothing> {
        self.take(self.state.lock())
    }

    fn take(&self, mut state: LeafGuard<'_, State<T>>) -> Result<T, Nothing> {
        if let Some(value) = state.handed.pop_front() {
            return Ok(value);
        }
        let Some((_, value)) = state.offers.pop_front() else {
            return Err(if state.gate == Gate::Closed { Nothing::Closed } else { Nothing::Empty });
        };
        let waker = state.senders.pop_one(Given::Granted);
        drop(state);
        wake(waker);
        Ok(value)
    }

    /// Nothing passes any more; with `discard`, returns what was handed over and never fetched.
    pub(super) fn close(&self, discard: bool) -> VecDeque<T> {
        let mut state = self.state.lock();
        state.gate = Gate::Closed;
        let discarded = if discard { std::mem::take(&mut state.handed) } else { VecDeque::new() };
        drop(state);
        each_in_turn(&mut [
            &mut || self.wake_all(|state| &mut state.receivers),
            &mut || self.wake_all(|state| &mut state.senders),
            &mut || self.wake_all(|state| &mut state.watchers),
        ]);
        discarded
    }

    fn wake_all(&self, list: impl Fn(&mut State<T>) -> &mut List) {
        let state = self.state.lock();
        List::wake_up_to(state, usize::MAX, Given::Woken, || self.state.lock(), |state| list(state));
    }

    pub(super) fn send(&self, value: T, waiting: Waiting) -> Offer<'_, T> {
        Offer { channel: self, value: Some(value), ticket: 0, node: Node::new(waiting) }
    }

    pub(super) fn poll_recv(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<Option<T>> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.state.lock();
        if state.is_silent() {
            let watcher;
            (_replaced, watcher) = state.enlist_receiver(node, context);
            drop(state);
            wake(watcher);
            return Poll::Pending;
        }
        state.receivers.remove(&node);
        Poll::Ready(self.take(state).ok())
    }

    /// Ready when a receive would not wait; the node stays responsible for the wake-up it was given.
    pub(super) fn poll_can_recv(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.state.lock();
        if !state.is_silent() {
            return Poll::Ready(());
        }
        let watcher;
        (_replaced, watcher) = state.enlist_receiver(node, context);
        drop(state);
        wake(watcher);
        Poll::Pending
    }

    /// Ready when a `try_send` would find a receiver.
    pub(super) fn poll_can_send(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.state.lock();
        if !state.receivers.is_empty() || state.gate == Gate::Closed {
            return Poll::Ready(());
        }
        state.watchers.take(node);
        _replaced = state.watchers.push_back(node, context);
        Poll::Pending
    }

    pub(super) fn leave_receivers(&self, node: &Node) {
        if node.is_fresh() {
            return;
        }
        let mut state = self.state.lock();
        let given = state.receivers.remove(node);
        if given == Given::Woken
            && weaken::keep("rendezvous.recv.hand_on")
            && !(state.handed.is_empty() && state.offers.is_empty())
        {
            let waker = state.receivers.pop_one(Given::Woken);
            drop(state);
            wake(waker);
        }
    }

    pub(super) fn leave_watchers(&self, node: &Node) {
        if node.is_fresh() {
            return;
        }
        let mut state = self.state.lock();
        let given = state.watchers.remove(node);
        if given == Given::Woken && weaken::keep("rendezvous.watch.hand_on") && !state.receivers.is_empty() {
            let waker = state.watchers.pop_one(Given::Woken);
            drop(state);
            wake(waker);
        }
    }
}

/// The wait until a receiver has taken the value.
pub(super) struct Offer<'a, T> {
    channel: &'a Rendezvous<T>,
    /// The value before the first poll, and again after an interrupted wait.
    value: Option<T>,
    /// Of the offer; 0 before the first poll.
    ticket: u64,
    node: Node,
}

impl<T> Offer<'_, T> {
    /// Leaves the wait: takes the offer back if nobody has it yet.
    pub(super) fn take_back(self: Pin<&mut Self>) -> Option<T> {
        // SAFETY: only `value` is moved out, which is not structurally pinned.
        let this = unsafe { self.get_unchecked_mut() };
        if !this.node.is_fresh() {
            let mut state = this.channel.state.lock();
            state.senders.remove(&this.node);
            let place = state.offers.iter().position(|(ticket, _)| *ticket == this.ticket);
            if let Some((_, value)) = place.and_then(|place| state.offers.remove(place)) {
                this.value = Some(value);
            }
        }
        this.value.take()
    }
}

impl<T> Future for Offer<'_, T> {
    /// The value comes back when the channel is closed.
    type Output = Result<(), T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `node` stays where it is; the other fields are not structurally pinned.
        let this = unsafe { self.as_mut().get_unchecked_mut() };
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let _replaced: Replaced; // dropped after the lock
        let mut state = this.channel.state.lock();
        if state.senders.take(node) == Given::Granted {
            return Poll::Ready(Ok(()));
        }
        if state.gate == Gate::Closed {
            drop(state);
            return Poll::Ready(self.take_back().map_or(Ok(()), Err));
        }
        let mut receiver = None;
        if let Some(value) = this.value.take() {
            state.last_ticket += 1;
            this.ticket = state.last_ticket;
            let ticket = this.ticket;
            state.offers.push_back((ticket, value));
            receiver = state.receivers.pop_one(Given::Woken);
        }
        _replaced = state.senders.push_back(node, context);
        drop(state);
        wake(receiver);
        Poll::Pending
    }
}

impl<T> Drop for Offer<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the future is dropped and not moved; `take_back` does not move the node.
        drop(unsafe { Pin::new_unchecked(self) }.take_back());
    }
}
