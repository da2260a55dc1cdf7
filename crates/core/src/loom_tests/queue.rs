//! Models of the queue with a bound: both sides wait, and `join` waits for what was put to be done.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once, race};
use crate::model::thread;
use crate::park;
use crate::sync::Queue;
use std::sync::Arc;

fn put_one(queue: &Queue<u32>) {
    queue.put(1).unwrap();
}

fn get_one(queue: &Queue<u32>) {
    assert_eq!(queue.get(), Ok(1));
}

#[test]
fn notify_before_wait() {
    model("queue: notify_before_wait", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        assert!(queue.try_put(2).is_err());
        get_one(&queue);
        put_one(&queue);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("queue: notify_between_check_and_park", || {
        race(Queue::bounded(1), &[put_one], get_one);
    });
    model("queue: a full one", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        let queue = race(queue, &[put_one], get_one);
        get_one(&queue);
    });
    model("queue: the async face", || {
        race(Queue::bounded(1), &[|queue| park::wait_for(queue.put_async(1)).unwrap()], |queue| {
            assert_eq!(park::wait_for(queue.get_async()), Ok(1));
        });
    });
}

/// Two items through room for one.
#[test]
fn items_pass_in_order() {
    model("queue: items_pass_in_order", || {
        race(
            Queue::bounded(1),
            &[|queue| {
                queue.put(1).unwrap();
                queue.put(2).unwrap();
            }],
            |queue| assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2))),
        );
    });
}

#[test]
fn two_waiters_one_notification() {
    model("queue: two_waiters_one_notification", || {
        // Who gets it puts it back for the other.
        let pass = |queue: &Queue<u32>| {
            get_one(queue);
            put_one(queue);
        };
        let queue = race(Queue::bounded(1), &[pass, pass], put_one);
        assert_eq!(queue.len(), 1);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("queue: timeout_races_with_notify", || {
        let queue = race(Queue::bounded(1), &[put_one], |queue| {
            if let Ok(item) = queue.get_timeout(A_WHILE) {
                queue.put(item).unwrap();
            }
        });
        assert_eq!(queue.len(), 1, "a get that timed out took something");
    });
    model("queue: put_timeout", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        let queue = race(queue, &[get_one], |queue| {
            if queue.put_timeout(1, A_WHILE).is_ok() {
                get_one(queue);
            }
        });
        assert_eq!(queue.len(), 0, "a put that timed out put something");
    });
}

/// A getter is woken for an item and goes away, and so does a putter that was woken for room.
#[test]
fn dropped_waiter_hands_on() {
    model("queue: dropped_waiter_hands_on", || {
        let queue = Arc::new(Queue::bounded(2));
        let mut gone = Box::pin(queue.get_async());
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || get_one(&queue))
        };
        put_one(&queue);
        drop(gone);
        other.join().unwrap();
    });
    model("queue: a dropped putter", || {
        let queue = Arc::new(Queue::bounded(1));
        put_one(&queue);
        let mut gone = Box::pin(queue.put_async(7));
        assert!(poll_once(&mut gone).is_pending());
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || put_one(&queue))
        };
        get_one(&queue);
        drop(gone);
        other.join().unwrap();
        get_one(&queue);
    });
}

#[test]
fn timeout_among_waiters() {
    model("queue: timeout_among_waiters", || {
        let timed = |queue: &Queue<u32>| {
            if let Ok(item) = queue.get_timeout(A_WHILE) {
                queue.put(item).unwrap();
            }
        };
        race(Queue::bounded(1), &[timed, get_one], put_one);
    });
}

#[test]
fn owner_drop_races_with_wait() {
    model("queue: owner_drop_races_with_wait", || {
        race(Queue::<u32>::bounded(1), &[|queue| queue.shutdown()], |queue| {
            queue.get().unwrap_err();
        });
    });
    model("queue: shutdown of a full one", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        let queue = race(queue, &[|queue| queue.shutdown()], |queue| {
            queue.put(2).unwrap_err();
        });
        get_one(&queue);
        queue.get().unwrap_err();
    });
    model("queue: shutdown of two", || {
        let ends = |queue: &Queue<u32>| assert!(queue.get().is_err());
        race(Queue::bounded(1), &[ends, ends], |queue| queue.shutdown());
    });
}

#[test]
fn join_waits_for_the_last() {
    model("queue: join_waits_for_the_last", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        race(
            queue,
            &[|queue| {
                get_one(queue);
                queue.task_done();
            }],
            |queue| {
                queue.join();
                assert!(queue.is_empty());
            },
        );
    });
    model("queue: shutdown_now ends a join", || {
        let queue = Queue::bounded(1);
        put_one(&queue);
        race(queue, &[|queue| queue.shutdown_now()], |queue| queue.join());
    });
}
