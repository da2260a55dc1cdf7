//! Models of the wait for the first of several channels.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model};
use crate::model::thread;
use crate::sync::channel::{self, Receiver, Select, TryRecvError};

/// Which one is ready.
fn ready<A: Send, B: Send>(a: &Receiver<A>, b: &Receiver<B>) -> usize {
    let mut select = Select::new();
    select.recv(a);
    select.recv(b);
    select.ready()
}

#[test]
fn notify_before_wait() {
    model("select: notify_before_wait", || {
        let (_keep, a) = channel::unbounded::<u32>();
        let (sender, b) = channel::unbounded();
        sender.send(1).unwrap();
        assert_eq!(ready(&a, &b), 1);
        assert_eq!(b.try_recv(), Ok(1));
    });
}

#[test]
fn notify_between_check_and_park() {
    model("select: notify_between_check_and_park", || {
        let (to_a, a) = channel::bounded(1);
        let (to_b, b) = channel::bounded(1);
        let other = thread::spawn(move || {
            to_b.send(2).unwrap();
            (to_a, to_b)
        });
        assert_eq!(ready(&a, &b), 1);
        assert_eq!(b.try_recv(), Ok(2));
        let (to_a, _) = other.join().unwrap();
        to_a.send(1).unwrap();
        assert_eq!(ready(&a, &b), 0);
    });
}

#[test]
fn room_to_send_is_seen() {
    model("select: room_to_send_is_seen", || {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        let other = thread::spawn(move || {
            assert_eq!(receiver.recv(), Ok(1));
            receiver
        });
        let mut select = Select::new();
        select.send(&sender);
        assert_eq!(select.ready(), 0);
        sender.try_send(2).unwrap();
        assert_eq!(other.join().unwrap().try_recv(), Ok(2));
    });
}

#[test]
fn waiting_receiver_of_a_rendezvous_is_seen() {
    model("select: waiting_receiver_of_a_rendezvous_is_seen", || {
        let (sender, receiver) = channel::rendezvous();
        let other = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        let mut select = Select::new();
        select.send(&sender);
        assert_eq!(select.ready(), 0);
        sender.try_send(1).unwrap();
        other.join().unwrap();
    });
}

/// Two that select, one value, and a second one for whoever came too late.
#[test]
fn two_waiters_one_notification() {
    model("select: two_waiters_one_notification", || {
        let (sender, receiver) = channel::unbounded();
        let others = [receiver.clone(), receiver].map(|receiver| {
            thread::spawn(move || {
                loop {
                    let mut select = Select::new();
                    select.recv(&receiver);
                    select.ready();
                    match receiver.try_recv() {
                        Ok(()) => return,
                        Err(TryRecvError::Empty) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        sender.send(()).unwrap();
        sender.send(()).unwrap();
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn timeout_races_with_notify() {
    model("select: timeout_races_with_notify", || {
        let (sender, receiver) = channel::unbounded();
        let other = thread::spawn(move || {
            sender.send(1).unwrap();
            sender
        });
        let mut select = Select::new();
        select.recv(&receiver);
        if select.ready_timeout(A_WHILE).is_ok() {
            assert_eq!(receiver.try_recv(), Ok(1));
        } else {
            assert_eq!(receiver.recv(), Ok(1));
        }
        other.join().unwrap();
    });
}

/// A select is woken for two channels and leaves with one: who waits for the other one is told.
#[test]
fn dropped_waiter_hands_on() {
    model("select: dropped_waiter_hands_on", || {
        let (to_a, a) = channel::unbounded();
        let (to_b, b) = channel::unbounded();
        let b_too = b.clone();
        let selects = thread::spawn(move || ready(&a, &b));
        let waits = thread::spawn(move || assert_eq!(b_too.recv(), Ok(2)));
        to_b.send(2).unwrap();
        // The select may have left, and its receiver with it.
        let _ = to_a.send(1);
        waits.join().unwrap();
        selects.join().unwrap();
    });
}

/// A select that would send is told of a receiver and gives up: the other select is told.
#[test]
fn dropped_watcher_hands_on() {
    model("select: dropped_watcher_hands_on", || {
        let (sender, receiver) = channel::rendezvous();
        let gives_up = sender.clone();
        let watches = [
            thread::spawn(move || {
                let mut select = Select::new();
                select.send(&gives_up);
                let _ = select.ready_timeout(A_WHILE);
            }),
            thread::spawn(move || {
                let mut select = Select::new();
                select.send(&sender);
                select.ready();
                sender.try_send(1).unwrap();
            }),
        ];
        assert_eq!(receiver.recv(), Ok(1));
        for watch in watches {
            watch.join().unwrap();
        }
    });
}

#[test]
fn owner_drop_races_with_wait() {
    model("select: owner_drop_races_with_wait", || {
        let (_to_a, a) = channel::unbounded::<u32>();
        let (to_b, b) = channel::unbounded::<u32>();
        let other = thread::spawn(move || drop(to_b));
        assert_eq!(ready(&a, &b), 1);
        assert_eq!(b.try_recv(), Err(TryRecvError::Closed));
        other.join().unwrap();
    });
}
