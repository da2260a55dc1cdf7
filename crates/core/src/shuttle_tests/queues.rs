//! Channels and queues between many producers and consumers, some of which go away early.
#![cfg(all(test, ropewalk_shuttle))]

use super::{A_WHILE, model, race};
use crate::model::thread;
use crate::park;
use crate::sync::Queue;
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Select, Sender};

/// Three that send, three that receive until the end, one of each kind: blocking, async, with a time limit.
fn pass_all(sender: Sender<u32>, receiver: Receiver<u32>) {
    let senders = [0, 1, 2].map(|number| {
        let sender = sender.clone();
        thread::spawn(move || {
            for value in [10 * number + 1, 10 * number + 2] {
                match number {
                    0 => sender.send(value).unwrap(),
                    1 => park::wait_for(sender.send_async(value)).unwrap(),
                    _ => {
                        let mut value = value;
                        while let Err(error) = sender.send_timeout(value, A_WHILE) {
                            value = match error {
                                channel::SendTimeoutError::TimedOut(value) => value,
                                other => panic!("{other}"),
                            };
                        }
                    }
                }
            }
        })
    });
    drop(sender);
    let receivers = [0, 1, 2].map(|number| {
        let receiver = receiver.clone();
        thread::spawn(move || {
            let mut got = Vec::new();
            loop {
                let received = match number {
                    0 => receiver.recv().ok(),
                    1 => park::wait_for(receiver.recv_async()).ok(),
                    _ => match receiver.recv_timeout(A_WHILE) {
                        Ok(value) => Some(value),
                        Err(RecvTimeoutError::TimedOut) => continue,
                        Err(_) => None,
                    },
                };
                match received {
                    Some(value) => got.push(value),
                    None => return got,
                }
            }
        })
    });
    drop(receiver);
    for sender in senders {
        sender.join().unwrap();
    }
    let mut got: Vec<u32> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 2, 11, 12, 21, 22]);
}

#[test]
fn bounded_three_and_three() {
    model("queues: bounded_three_and_three", || {
        let (sender, receiver) = channel::bounded(1);
        pass_all(sender, receiver);
    });
}

#[test]
fn unbounded_three_and_three() {
    model("queues: unbounded_three_and_three", || {
        let (sender, receiver) = channel::unbounded();
        pass_all(sender, receiver);
    });
}

#[test]
fn rendezvous_three_and_three() {
    model("queues: rendezvous_three_and_three", || {
        let (sender, receiver) = channel::rendezvous();
        pass_all(sender, receiver);
    });
}

/// Receivers go away in the middle: every send ends, and a value that was not sent comes back.
#[test]
fn receivers_that_leave() {
    model("queues: receivers_that_leave", || {
        let (sender, receiver) = channel::bounded(1);
        let receivers = [receiver.clone(), receiver].map(|receiver| thread::spawn(move || receiver.recv().is_ok()));
        let senders = [sender.clone(), sender.clone(), sender]
            .map(|sender| thread::spawn(move || (0..2).filter(|&n| sender.send(n).is_ok()).count()));
        let received = receivers.into_iter().map(|receiver| receiver.join().unwrap());
        assert!(received.collect::<Vec<_>>().iter().all(|&got| got));
        let sent: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert!(sent >= 2);
    });
}

#[test]
fn selects_over_two_channels() {
    model("queues: selects_over_two_channels", || {
        let (to_a, a) = channel::bounded(1);
        let (to_b, b) = channel::rendezvous();
        let selecting = [(a.clone(), b.clone()), (a, b)].map(|(a, b)| {
            thread::spawn(move || {
                let mut got = 0;
                let (mut a_open, mut b_open) = (true, true);
                while a_open || b_open {
                    let mut select = Select::new();
                    let sides: Vec<_> = [(a_open, &a), (b_open, &b)].into_iter().filter(|side| side.0).collect();
                    for (_, side) in &sides {
                        select.recv(side);
                    }
                    let (_, side) = sides[select.ready()];
                    match side.try_recv() {
                        Ok(value) => got += value,
                        Err(channel::TryRecvError::Empty) => {}
                        Err(channel::TryRecvError::Closed) if std::ptr::eq(side, &a) => a_open = false,
                        Err(channel::TryRecvError::Closed) => b_open = false,
                    }
                }
                got
            })
        });
        let sending = [(to_a, 1), (to_b, 10)]
            .map(|(sender, value)| thread::spawn(move || (0..2).for_each(|_| sender.send(value).unwrap())));
        for sender in sending {
            sender.join().unwrap();
        }
        let got: u32 = selecting.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(got, 22);
    });
}

/// `join` returns when everything is done, and a shutdown ends the consumers.
#[test]
fn join_task_done_and_shutdown() {
    model("queues: join_task_done_and_shutdown", || {
        fn consume((queue, done): &(Queue<u32>, Queue<u32>)) {
            for item in queue.iter() {
                done.put(item).unwrap();
                queue.task_done();
            }
        }
        let shared = race(
            (Queue::bounded(1), Queue::unbounded()),
            &[
                consume,
                consume,
                |(queue, done)| {
                    for item in 1..=3 {
                        queue.put(item).unwrap();
                    }
                    queue.join();
                    assert_eq!(done.len(), 3, "`join` returned early");
                    queue.shutdown();
                },
                |(queue, _)| {
                    let _ = queue.join_timeout(A_WHILE);
                },
            ],
        );
        assert_eq!((1..=3).map(|_| shared.1.get().unwrap()).sum::<u32>(), 6);
    });
    model("queues: shutdown_now in the middle", || {
        let put = |queue: &Queue<u32>| {
            (0..3).for_each(|n| {
                let _ = queue.put(n);
            })
        };
        let get = |queue: &Queue<u32>| {
            while queue.get().is_ok() {
                queue.task_done();
            }
        };
        race(Queue::bounded(1), &[put, get, |queue| queue.join(), get, |queue| queue.shutdown_now()]);
    });
}
