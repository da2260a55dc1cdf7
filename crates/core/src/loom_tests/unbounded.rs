//! Models of the channel without a bound, and of what closes a channel.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once};
use crate::model::thread;
use crate::sync::channel::{self, RecvTimeoutError};

#[test]
fn notify_before_wait() {
    model("unbounded: notify_before_wait", || {
        let (sender, receiver) = channel::unbounded();
        sender.send(1).unwrap();
        assert_eq!(receiver.recv(), Ok(1));
        drop(sender);
        receiver.recv().unwrap_err();
    });
}

#[test]
fn notify_between_check_and_park() {
    model("unbounded: notify_between_check_and_park", || {
        let (sender, receiver) = channel::unbounded();
        let other = thread::spawn(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        receiver.recv().unwrap_err();
        other.join().unwrap();
    });
}

#[test]
fn two_waiters_one_notification() {
    model("unbounded: two_waiters_one_notification", || {
        let (sender, receiver) = channel::unbounded();
        let others = [receiver.clone(), receiver].map(|receiver| thread::spawn(move || receiver.recv().unwrap()));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        let got = others.map(|other| other.join().unwrap());
        assert_eq!(got[0] + got[1], 3);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("unbounded: timeout_races_with_notify", || {
        let (sender, receiver) = channel::unbounded();
        let other = thread::spawn(move || sender.send(1));
        match receiver.recv_timeout(A_WHILE) {
            Ok(value) => assert_eq!(value, 1),
            Err(RecvTimeoutError::TimedOut) => assert_eq!(receiver.recv(), Ok(1)),
            Err(error) => panic!("{error}"),
        }
        other.join().unwrap().unwrap();
    });
}

#[test]
fn dropped_waiter_hands_on() {
    model("unbounded: dropped_waiter_hands_on", || {
        let (sender, receiver) = channel::unbounded();
        let gone_receiver = receiver.clone();
        let mut gone = Box::pin(gone_receiver.recv_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        sender.send(1).unwrap();
        drop(gone);
        other.join().unwrap();
    });
}

/// Every sender goes while a receiver waits, and every receiver while values lie inside.
#[test]
fn owner_drop_races_with_wait() {
    model("unbounded: owner_drop_races_with_wait", || {
        let (sender, receiver) = channel::unbounded::<u32>();
        let others = [sender.clone(), sender].map(|sender| thread::spawn(move || drop(sender)));
        receiver.recv().unwrap_err();
        for other in others {
            other.join().unwrap();
        }
    });
    model("unbounded: the last receiver", || {
        let (sender, receiver) = channel::unbounded();
        let other = thread::spawn(move || drop(receiver));
        let value = loom::sync::Arc::new(());
        let sent = sender.send(loom::sync::Arc::clone(&value)).is_ok();
        other.join().unwrap();
        // What lay inside is gone with the last receiver, not with the last sender.
        assert_eq!(loom::sync::Arc::strong_count(&value), 1, "sent: {sent}");
        assert!(sender.is_closed());
    });
}
