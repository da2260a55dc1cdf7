//! Models of the reader-writer lock. Its data lies in a cell that loom watches.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once, race};
use crate::model::thread;
use crate::park;
use crate::sync::RwLock;
use std::sync::Arc;

fn write_one(lock: &RwLock<u32>) {
    *lock.write() += 1;
}

fn read(lock: &RwLock<u32>) {
    assert!(*lock.read() < 10);
}

#[test]
fn notify_before_wait() {
    model("rwlock: notify_before_wait", || {
        let lock = RwLock::new(1);
        let writes = lock.write();
        let mut reads = Box::pin(lock.read_async());
        assert!(poll_once(&mut reads).is_pending());
        drop(writes);
        assert!(poll_once(&mut reads).is_ready());
    });
}

#[test]
fn notify_between_check_and_park() {
    model("rwlock: notify_between_check_and_park", || {
        race(RwLock::new(0), &[write_one], read);
    });
    model("rwlock: writers", || {
        let lock = race(RwLock::new(0), &[write_one], write_one);
        assert_eq!(*lock.read(), 2);
    });
}

#[test]
fn two_waiters_one_notification() {
    model("rwlock: two_waiters_one_notification", || {
        race(RwLock::new(0), &[read, read], write_one);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("rwlock: timeout_races_with_notify", || {
        let timed = |lock: &RwLock<u32>| {
            if let Some(mut number) = lock.write_timeout(A_WHILE) {
                *number += 1;
            }
        };
        let lock = race(RwLock::new(0), &[timed], read);
        assert!(lock.try_write().is_some());
        let timed = |lock: &RwLock<u32>| drop(lock.read_timeout(A_WHILE));
        let lock = race(RwLock::new(0), &[timed], write_one);
        assert!(lock.try_write().is_some());
    });
}

/// A writer that waits for a reader goes away: the reader behind it goes in beside the first one.
#[test]
fn dropped_waiter_hands_on() {
    model("rwlock: dropped_waiter_hands_on", || {
        let lock = Arc::new(RwLock::new(1));
        let reads = lock.read();
        let mut writes = Box::pin(lock.write_async());
        assert!(poll_once(&mut writes).is_pending());
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || assert_eq!(*lock.read(), 1))
        };
        drop(writes);
        other.join().unwrap();
        assert_eq!(*reads, 1);
    });
}

/// A writer that goes on reading lets readers in, and no writer.
#[test]
fn downgrade_lets_readers_in() {
    model("rwlock: downgrade_lets_readers_in", || {
        let lock = Arc::new(RwLock::new(0));
        let mut writes = lock.write();
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || assert_eq!(*lock.read(), 1))
        };
        *writes += 1;
        let reads = writes.downgrade();
        other.join().unwrap();
        assert!(lock.try_write().is_none());
        drop(reads);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn async_writers_take_turns() {
    model("rwlock: async_writers_take_turns", || {
        let write_async = |lock: &RwLock<u32>| *park::wait_for(lock.write_async()) += 1;
        let lock = race(RwLock::new(0), &[write_async], write_async);
        assert_eq!(*lock.read(), 2);
    });
}
