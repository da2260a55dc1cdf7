//! Models of the wait list, through the smallest primitive that uses it: tickets, handed out one at a time.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once, race};
use crate::park::leaf::Leaf;
use crate::park::{self, Wait};
use crate::waitlist::{Given, List, Node, Replaced, Waiting, Wakes};
use std::pin::Pin;
use std::task::{Context, Poll};

struct State {
    tickets: usize,
    closed: bool,
    waiters: List,
}

struct Tickets(Leaf<State>);

impl Tickets {
    fn new() -> Self {
        Self(Leaf::new(State { tickets: 0, closed: false, waiters: List::new() }))
    }

    fn give(&self) {
        let mut wakes = Wakes::new();
        let mut state = self.0.lock();
        // Granted to whoever waits, kept for whoever comes.
        if !state.waiters.pop_front(Given::Granted, &mut wakes) {
            state.tickets += 1;
        }
        drop(state);
        wakes.wake();
    }

    fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        List::wake_up_to(state, usize::MAX, Given::Woken, || self.0.lock(), |state| &mut state.waiters);
    }

    fn take(&self) -> Take<'_> {
        Take { tickets: self, node: Box::pin(Node::new(Waiting::Blocking)) }
    }

    fn left(&self) -> usize {
        self.0.lock().tickets
    }
}

struct Take<'a> {
    tickets: &'a Tickets,
    node: Pin<Box<Node>>,
}

impl Future for Take<'_> {
    /// Whether there was a ticket; false when closed.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let _replaced: Replaced; // dropped after the lock
        let mut state = self.tickets.0.lock();
        match state.waiters.take(self.node.as_ref()) {
            Given::Granted => return Poll::Ready(true),
            Given::Woken => return Poll::Ready(false),
            _ => {}
        }
        if state.closed {
            return Poll::Ready(false);
        }
        if state.tickets > 0 {
            state.tickets -= 1;
            state.waiters.remove(&self.node);
            return Poll::Ready(true);
        }
        _replaced = state.waiters.push_back(self.node.as_ref(), context);
        Poll::Pending
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let given = self.tickets.0.lock().waiters.remove(&self.node);
        if given == Given::Granted {
            self.tickets.give();
        }
    }
}

#[test]
fn notify_before_wait() {
    model("waitlist: notify_before_wait", || {
        let tickets = Tickets::new();
        tickets.give();
        assert!(park::wait_for(tickets.take()));
    });
}

#[test]
fn notify_between_check_and_park() {
    model("waitlist: notify_between_check_and_park", || {
        race(Tickets::new(), &[|tickets| tickets.give()], |tickets| assert!(park::wait_for(tickets.take())));
    });
}

#[test]
fn two_waiters_one_notification() {
    model("waitlist: two_waiters_one_notification", || {
        // Each hands its ticket to the other.
        let pass = |tickets: &Tickets| {
            assert!(park::wait_for(tickets.take()));
            tickets.give();
        };
        let tickets = race(Tickets::new(), &[pass, pass], |tickets| tickets.give());
        assert_eq!(tickets.left(), 1);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("waitlist: timeout_races_with_notify", || {
        let tickets = race(Tickets::new(), &[|tickets| tickets.give()], |tickets| {
            if park::wait_for_with(Wait::FOREVER.timeout(A_WHILE), tickets.take()).is_ok() {
                tickets.give();
            }
        });
        assert_eq!(tickets.left(), 1);
    });
}

#[test]
fn dropped_waiter_hands_on() {
    model("waitlist: dropped_waiter_hands_on", || {
        let tickets = race(
            Tickets::new(),
            &[
                |tickets| {
                    let mut take = Box::pin(tickets.take());
                    if poll_once(&mut take).is_ready() {
                        tickets.give();
                    }
                },
                |tickets| assert!(park::wait_for(tickets.take())),
            ],
            |tickets| tickets.give(),
        );
        assert_eq!(tickets.left(), 0);
    });
}

#[test]
fn owner_drop_races_with_wait() {
    model("waitlist: owner_drop_races_with_wait", || {
        race(
            Tickets::new(),
            &[
                |tickets| {
                    park::wait_for(tickets.take());
                },
                |tickets| {
                    park::wait_for(tickets.take());
                },
            ],
            |tickets| tickets.close(),
        );
    });
}
