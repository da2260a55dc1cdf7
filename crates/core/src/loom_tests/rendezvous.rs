//! Models of the channel without a buffer: offers and senders stay in step, and nothing handed over is lost.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, poll_once};
use crate::model::thread;
use crate::sync::channel::{self, SendTimeoutError, TrySendError};
use std::sync::Arc;
use std::task::Poll;

#[test]
fn notify_before_wait() {
    model("rendezvous: notify_before_wait", || {
        let (sender, receiver) = channel::rendezvous();
        let mut send = Box::pin(sender.send_async(1));
        assert!(poll_once(&mut send).is_pending());
        assert_eq!(receiver.recv(), Ok(1));
        assert!(matches!(poll_once(&mut send), Poll::Ready(Ok(()))));
    });
}

#[test]
fn notify_between_check_and_park() {
    model("rendezvous: notify_between_check_and_park", || {
        let (sender, receiver) = channel::rendezvous();
        let other = thread::spawn(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        receiver.recv().unwrap_err();
        other.join().unwrap();
    });
}

#[test]
fn two_waiters_one_notification() {
    model("rendezvous: two_waiters_one_notification", || {
        let (sender, receiver) = channel::rendezvous();
        let others = [receiver.clone(), receiver].map(|receiver| thread::spawn(move || receiver.recv().is_ok()));
        sender.send(1).unwrap();
        drop(sender);
        let got = others.map(|other| other.join().unwrap());
        assert!(got[0] != got[1]);
    });
    model("rendezvous: two senders", || {
        let (sender, receiver) = channel::rendezvous();
        let other_sender = sender.clone();
        let mut first = Box::pin(sender.send_async(1));
        assert!(poll_once(&mut first).is_pending());
        let other = thread::spawn(move || other_sender.send(2).unwrap());
        assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(2)));
        assert!(matches!(poll_once(&mut first), Poll::Ready(Ok(()))));
        other.join().unwrap();
    });
}

/// Both give up at some point: they agree on whether the value passed.
#[test]
fn timeout_races_with_notify() {
    model("rendezvous: timeout_races_with_notify", || {
        let (sender, receiver) = channel::rendezvous();
        let other = thread::spawn(move || receiver.recv_timeout(A_WHILE).is_ok());
        let sent = match sender.send_timeout(1, A_WHILE) {
            Ok(()) => true,
            Err(SendTimeoutError::TimedOut(1) | SendTimeoutError::Closed(1)) => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(other.join().unwrap(), sent);
    });
}

/// Among two that send one gives up: the other's offer is the one that is granted.
#[test]
fn offers_and_senders_stay_in_step() {
    model("rendezvous: offers_and_senders_stay_in_step", || {
        let (sender, receiver) = channel::rendezvous();
        let gone_sender = sender.clone();
        let mut gone = Box::pin(gone_sender.send_async(1));
        assert!(poll_once(&mut gone).is_pending());
        let other = thread::spawn(move || sender.send(2).unwrap());
        let received = thread::spawn(move || (receiver.recv(), receiver));
        drop(gone);
        let (first, receiver) = received.join().unwrap();
        if first == Ok(1) {
            assert_eq!(receiver.recv(), Ok(2));
        } else {
            assert_eq!(first, Ok(2));
        }
        other.join().unwrap();
    });
}

#[test]
fn dropped_waiter_hands_on() {
    model("rendezvous: dropped_waiter_hands_on", || {
        let (sender, receiver) = channel::rendezvous();
        let gone_receiver = receiver.clone();
        let mut gone = Box::pin(gone_receiver.recv_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        // Dropped while the value is under way to it.
        let sends = thread::spawn(move || sender.send(1).unwrap());
        drop(gone);
        other.join().unwrap();
        sends.join().unwrap();
    });
}

/// A value was handed to a waiter that goes away without it: the next one finds it.
#[test]
fn handed_value_is_found_by_the_next() {
    model("rendezvous: handed_value_is_found_by_the_next", || {
        let (sender, receiver) = channel::rendezvous();
        let gone_receiver = receiver.clone();
        let mut gone = Box::pin(gone_receiver.recv_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        sender.try_send(1).unwrap();
        drop(gone);
        other.join().unwrap();
    });
}

#[test]
fn try_send_needs_a_receiver() {
    model("rendezvous: try_send_needs_a_receiver", || {
        let (sender, receiver) = channel::rendezvous();
        let taken = Arc::new(Number::new());
        let taken_there = Arc::clone(&taken);
        let other = thread::spawn(move || taken_there.add(receiver.recv().map_or(0, |()| 1)));
        let sent = match sender.try_send(()) {
            Ok(()) => 1,
            Err(TrySendError::Full(())) => 0,
            Err(error) => panic!("{error}"),
        };
        drop(sender);
        other.join().unwrap();
        assert_eq!(taken.get(), sent);
    });
}

#[test]
fn owner_drop_races_with_wait() {
    model("rendezvous: owner_drop_races_with_wait", || {
        let (sender, receiver) = channel::rendezvous::<u32>();
        let other = thread::spawn(move || drop(sender));
        receiver.recv().unwrap_err();
        other.join().unwrap();
        let (sender, receiver) = channel::rendezvous();
        let other = thread::spawn(move || drop(receiver));
        assert_eq!(sender.send(1).unwrap_err().0, 1);
        other.join().unwrap();
    });
}
