//! Locks, semaphore, condition variable and barrier with more strands than loom can take.
#![cfg(all(test, ropewalk_shuttle))]

use super::{A_WHILE, model, race};
use crate::park;
use crate::sync::{Barrier, Condvar, Event, Mutex, OnceCell, RwLock, Semaphore};

fn add_one(mutex: &Mutex<u32>) {
    *mutex.lock() += 1;
}

fn add_ten_in_time(mutex: &Mutex<u32>) {
    if let Some(mut number) = mutex.lock_timeout(A_WHILE) {
        *number += 10;
    }
}

fn add_one_async(mutex: &Mutex<u32>) {
    *park::wait_for(mutex.lock_async()) += 1;
}

#[test]
fn mutex_with_timeouts() {
    model("locks: mutex_with_timeouts", || {
        let bodies: [fn(&Mutex<u32>); 6] =
            [add_one, add_ten_in_time, add_one_async, add_ten_in_time, add_one, add_one_async];
        let mutex = race(Mutex::new(0), &bodies);
        let number = *mutex.try_lock().expect("nobody holds it");
        assert!([4, 14, 24].contains(&number), "{number}");
    });
}

#[test]
fn rwlock_of_many() {
    model("locks: rwlock_of_many", || {
        let read = |lock: &RwLock<(u32, u32)>| {
            let pair = lock.read();
            assert_eq!(pair.0, pair.1);
        };
        let write = |lock: &RwLock<(u32, u32)>| {
            let mut pair = lock.write();
            pair.0 += 1;
            crate::model::thread::yield_now();
            pair.1 += 1;
        };
        let gives_up = |lock: &RwLock<(u32, u32)>| drop(lock.write_timeout(A_WHILE));
        let lock = race(RwLock::new((0, 0)), &[read, write, gives_up, read, write, read, gives_up]);
        assert_eq!(*lock.try_write().expect("nobody holds it"), (2, 2));
    });
}

/// Those that need many and those that need few, threads and tasks, with and without a time limit.
#[test]
fn semaphore_with_mixed_needs() {
    model("locks: semaphore_with_mixed_needs", || {
        let one = |semaphore: &Semaphore| drop(semaphore.acquire());
        let all = |semaphore: &Semaphore| drop(semaphore.acquire_many(3));
        let two_async = |semaphore: &Semaphore| drop(park::wait_for(semaphore.acquire_many_async(2)));
        let two_in_time = |semaphore: &Semaphore| drop(semaphore.acquire_many_timeout(2, A_WHILE));
        let semaphore = race(Semaphore::bounded(3), &[one, all, two_async, two_in_time, one, all, two_async]);
        assert_eq!(semaphore.available_permits(), 3);
        assert!(semaphore.try_acquire_many(3).is_some(), "nobody waits any more");
    });
}

type Table = (Mutex<(u32, u32)>, Condvar);

/// Two sides take turns, with two players each and an onlooker that gives up.
#[test]
fn condvar_ping_pong() {
    fn play((mutex, condvar): &Table, side: u32) {
        for _ in 0..2 {
            let mut ball = condvar.wait_while(mutex.lock(), |(turns, _)| *turns % 2 != side);
            ball.0 += 1;
            drop(ball);
            condvar.notify_all();
        }
    }
    model("locks: condvar_ping_pong", || {
        let looks_on = |(mutex, condvar): &Table| drop(condvar.wait_timeout(mutex.lock(), A_WHILE));
        let ping = |table: &Table| play(table, 0);
        let pong = |table: &Table| play(table, 1);
        let table = race((Mutex::new((0, 0)), Condvar::new()), &[ping, pong, ping, pong, looks_on]);
        assert_eq!(table.0.lock().0, 8);
    });
}

/// One notification each, no more and no less, while some give up.
#[test]
fn condvar_hands_on() {
    fn take((mutex, condvar): &Table) {
        condvar.wait_while(mutex.lock(), |(left, _)| *left == 0).0 -= 1;
    }
    fn give((mutex, condvar): &Table) {
        mutex.lock().0 += 1;
        condvar.notify_one();
    }
    fn take_in_time(table @ (mutex, condvar): &Table) {
        let (mut guard, ended) = condvar.wait_timeout_while(mutex.lock(), A_WHILE, |(left, _)| *left == 0);
        if ended.is_ok() {
            guard.0 -= 1;
            drop(guard);
            give(table);
        }
    }
    model("locks: condvar_hands_on", || {
        let table = race((Mutex::new((0, 0)), Condvar::new()), &[take, give, take_in_time, take, give, take_in_time]);
        assert_eq!(table.0.lock().0, 0);
    });
}

/// Two rounds of three parties, one of which leaves in one of them.
#[test]
fn barrier_with_a_leaver() {
    model("locks: barrier_with_a_leaver", || {
        let shared = race(
            (Barrier::new(4), Mutex::new((0_u32, 0_u32))),
            &[
                |(barrier, passed)| passed.lock().0 += u32::from(barrier.wait().is_ok()),
                |(barrier, passed)| passed.lock().0 += u32::from(barrier.wait().is_ok()),
                |(barrier, passed)| passed.lock().0 += u32::from(barrier.wait().is_ok()),
                |(barrier, passed)| passed.lock().1 += u32::from(barrier.wait_timeout(A_WHILE).is_ok()),
            ],
        );
        let passed = *shared.1.lock();
        assert!([(3, 1), (0, 0)].contains(&passed), "a round is for all or for none: {passed:?}");
        assert_eq!(shared.0.is_broken(), passed == (0, 0));
    });
}

#[test]
fn event_set_and_cleared() {
    model("locks: event_set_and_cleared", || {
        let wait = |(event, _): &(Event, Event)| event.wait();
        let gives_up = |(event, _): &(Event, Event)| {
            let _ = event.wait_timeout(A_WHILE);
        };
        race(
            (Event::new(), Event::new()),
            &[
                wait,
                wait,
                gives_up,
                |(event, again)| {
                    event.set();
                    event.clear();
                    again.wait();
                    event.set();
                },
                wait,
                |(_, again)| again.set(),
            ],
        );
    });
}

#[test]
fn once_with_failures() {
    model("locks: once_with_failures", || {
        let fail = |cell: &OnceCell<u32>| {
            let _ = cell.get_or_try_init(|| Err(()));
        };
        let init = |cell: &OnceCell<u32>| assert_eq!(*cell.get_or_init(|| 7), 7);
        let init_async = |cell: &OnceCell<u32>| {
            assert_eq!(*park::wait_for(cell.get_or_init_async(|| async { 7 })), 7);
        };
        race(OnceCell::new(), &[fail, init, fail, init_async, fail, init]);
    });
}
