//! Models of the mutex. Its data lies in a cell that loom watches, so two strands inside at once are seen.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, model, poll_once, race};
use crate::model::time::{self, Duration};
use crate::park;
use crate::sync::Mutex;

fn add_one(mutex: &Mutex<u32>) {
    *mutex.lock() += 1;
}

#[test]
fn notify_before_wait() {
    model("mutex: notify_before_wait", || {
        let mutex = Mutex::new(0);
        let held = mutex.lock();
        let mut lock = Box::pin(mutex.lock_async());
        assert!(poll_once(&mut lock).is_pending());
        drop(held);
        assert!(poll_once(&mut lock).is_ready());
        add_one(&mutex);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("mutex: notify_between_check_and_park", || {
        let mutex = race(Mutex::new(0), &[add_one], add_one);
        assert_eq!(*mutex.lock(), 2);
    });
}

#[test]
fn two_waiters_one_notification() {
    model("mutex: two_waiters_one_notification", || {
        let mutex = race(Mutex::new(0), &[add_one, add_one], add_one);
        assert_eq!(*mutex.lock(), 3);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("mutex: timeout_races_with_notify", || {
        let timed = |mutex: &Mutex<u32>| {
            if let Some(mut number) = mutex.lock_timeout(A_WHILE) {
                *number += 10;
            }
        };
        let mutex = race(Mutex::new(0), &[timed], add_one);
        assert!([1, 11].contains(&*mutex.try_lock().expect("nobody holds it")));
    });
}

/// A waiter that gives up among two that do not.
#[test]
fn timeout_among_waiters() {
    model("mutex: timeout_among_waiters", || {
        let timed = |mutex: &Mutex<u32>| drop(mutex.lock_timeout(A_WHILE));
        let mutex = race(Mutex::new(0), &[timed, add_one], add_one);
        assert_eq!(*mutex.try_lock().expect("nobody holds it"), 2);
    });
}

/// An async waiter is first in line, is woken, and goes away; the thread behind it must get the lock.
#[test]
fn dropped_waiter_hands_on() {
    model("mutex: dropped_waiter_hands_on", || {
        let mutex = race(Mutex::new(0), &[], |_| ());
        let held = mutex.lock();
        let mut lock = Box::pin(mutex.lock_async());
        assert!(poll_once(&mut lock).is_pending());
        let other = {
            let mutex = std::sync::Arc::clone(&mutex);
            crate::model::thread::spawn(move || add_one(&mutex))
        };
        drop(held);
        drop(lock);
        other.join().unwrap();
        assert_eq!(*mutex.lock(), 1);
    });
}

/// Threads that wait are woken, give up, and leave the lock free and the third not waiting.
#[test]
fn dropped_blocking_waiter_hands_on() {
    model("mutex: dropped_blocking_waiter_hands_on", || {
        let polled_and_dropped = |mutex: &Mutex<u32>| {
            let mut lock = Box::pin(mutex.lock_async());
            let _ = poll_once(&mut lock).map(drop);
        };
        let mutex = race(Mutex::new(0), &[polled_and_dropped, add_one], add_one);
        assert_eq!(*mutex.try_lock().expect("nobody holds it"), 2);
    });
}

/// A waiter that was overtaken for too long is handed the lock while it is held, and may give up at that moment.
#[test]
fn handed_over_to_whoever_starves() {
    let slowly = |mutex: &Mutex<u32>| {
        let mut number = mutex.lock();
        *number += 1;
        time::advance(Duration::from_millis(2));
    };
    model("mutex: handed_over_to_whoever_starves", move || {
        let mutex = race(Mutex::new(0), &[slowly, slowly], add_one);
        assert_eq!(*mutex.lock(), 3);
    });
    model("mutex: handed_over_to_whoever_gives_up", move || {
        let timed = |mutex: &Mutex<u32>| {
            if let Some(mut number) = mutex.lock_timeout(Duration::from_millis(1)) {
                *number += 10;
            }
        };
        let mutex = race(Mutex::new(0), &[timed, slowly], slowly);
        assert!([2, 12].contains(&*mutex.try_lock().expect("nobody holds it")));
    });
}

/// The async face, driven by a thread each.
#[test]
fn async_waiters_take_turns() {
    let add_one_async = |mutex: &Mutex<u32>| *park::wait_for(mutex.lock_async()) += 1;
    model("mutex: async_waiters_take_turns", move || {
        let mutex = race(Mutex::new(0), &[add_one_async], add_one_async);
        assert_eq!(*mutex.lock(), 2);
    });
}

/// While the holder unlocks with somebody waiting, a third takes the lock in passing, without a look at the list.
#[test]
fn barging_sees_the_data() {
    model("mutex: barging_sees_the_data", || {
        let mutex = race(Mutex::new(0), &[], |_| ());
        let mut held = mutex.lock();
        let mut lock = Box::pin(mutex.lock_async());
        assert!(poll_once(&mut lock).is_pending());
        let other = {
            let mutex = std::sync::Arc::clone(&mutex);
            crate::model::thread::spawn(move || {
                if let Some(mut number) = mutex.try_lock() {
                    *number += 10;
                }
            })
        };
        *held += 1;
        drop(held);
        other.join().unwrap();
        drop(lock);
        assert!([1, 11].contains(&*mutex.lock()));
    });
}

/// The lock is given back by another thread than the one that took it.
#[test]
fn owner_drop_races_with_wait() {
    model("mutex: owner_drop_races_with_wait", || {
        let mutex = Mutex::new(());
        mutex.acquire();
        race(mutex, &[|mutex| mutex.release()], |mutex| mutex.acquire());
    });
}
