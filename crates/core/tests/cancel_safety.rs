//! A wait that does not end well loses nothing: cancelled at its k-th suspension for every k, timed out, or dropped; for
//! each primitive. And the order of endings: ready beats cancelled beats deadline.

mod support;

use ropewalk_core::park::{Interrupt, Interrupted, Reason};
use ropewalk_core::sync::queue::{GetTimeoutError, PutTimeoutError};
use ropewalk_core::sync::{Barrier, Condvar, Event, Mutex, OnceCell, Queue, ReentrantLock, RwLock, Semaphore, channel};
use std::cell::Cell;
use std::time::Duration;
use support::{Polled, SHORT, Script};

const SUSPENSIONS: usize = 4;

/// Waits for something that `give` provides. `wait` is the wait; after it was cancelled, what was given must still be there:
/// `wait` again returns at once.
#[track_caller]
fn cancellable<R>(wait: impl Fn() -> R, give: impl Fn()) {
    for k in 0..SUSPENSIONS {
        // Cancelled at the k-th suspension, with nothing given.
        let interrupt = Interrupt::new();
        let script = Script::new().spurious(k).then(|| interrupt.raise(Reason::Cancelled));
        assert!(script.run(&interrupt, &wait).is_none());
        assert_eq!(script.suspended(), k + 1, "the cancellation ends it at once");
        assert!(script.woken() > 0, "and wakes it");
        give();
        assert!(Script::new().run(&Interrupt::new(), &wait).is_some(), "nothing was lost");

        // Given at the same moment: ready beats cancelled, whichever came first.
        for given_first in [true, false] {
            let interrupt = Interrupt::new();
            let script = Script::new().spurious(k).then(|| {
                if given_first {
                    give();
                }
                interrupt.raise(Reason::Cancelled);
                if !given_first {
                    give();
                }
            });
            assert!(script.run(&interrupt, &wait).is_some(), "ready beats cancelled");
        }

        // Cancelled before it began.
        let interrupt = Interrupt::new();
        interrupt.raise(Reason::Cancelled);
        assert!(Script::new().run(&interrupt, &wait).is_none());
        give();
        assert!(Script::new().run(&interrupt, &wait).is_some(), "ready beats cancelled without a suspension");
    }
}

/// A wait that only `give` ends, however often it is cancelled.
#[track_caller]
fn shielded<R>(wait: impl Fn() -> R, give: impl Fn()) {
    for k in 0..SUSPENSIONS {
        let interrupt = Interrupt::new();
        let script = Script::new().spurious(k).then(|| interrupt.raise(Reason::Cancelled)).spurious(2).then(&give);
        assert!(script.run(&interrupt, &wait).is_some(), "a lock is shielded");
        assert_eq!(script.suspended(), k + 4);
    }
}

#[test]
fn event() {
    let event = Event::new();
    cancellable(
        || {
            event.wait();
            event.clear();
        },
        || event.set(),
    );
}

#[test]
fn semaphore() {
    let semaphore = Semaphore::new(0);
    cancellable(|| semaphore.acquire().forget(), || semaphore.release(1));
    cancellable(|| semaphore.acquire_many(3).forget(), || semaphore.release(3));
    assert_eq!(semaphore.available_permits(), 0);
}

#[test]
fn queue_get() {
    let queue = Queue::unbounded();
    cancellable(|| queue.get().unwrap(), || queue.put(1).unwrap());
    assert!(queue.is_empty());
}

#[test]
fn queue_put_and_join() {
    let queue = Queue::bounded(1);
    queue.put(1).unwrap();
    cancellable(|| queue.put(1).unwrap(), || assert_eq!(queue.get(), Ok(1)));
    assert_eq!(queue.len(), 1);
    let unfinished = Queue::unbounded();
    unfinished.put(1).unwrap();
    cancellable(
        || {
            unfinished.join();
            unfinished.put(1).unwrap();
        },
        || unfinished.task_done(),
    );
}

#[test]
fn channel_both_sides() {
    let (sender, receiver) = channel::bounded(1);
    cancellable(|| receiver.recv().unwrap(), || sender.send(1).unwrap());
    sender.send(1).unwrap();
    cancellable(|| sender.send(1).unwrap(), || assert_eq!(receiver.recv(), Ok(1)));
    assert_eq!(receiver.len(), 1);
}

#[test]
fn condvar() {
    // A notification goes to who waits; the condition is what "given" means.
    let (mutex, changed) = (Mutex::new(false), Condvar::new());
    cancellable(
        || *changed.wait_while(mutex.lock(), |given| !*given) = false,
        || {
            *mutex.lock() = true;
            changed.notify_one();
        },
    );
    assert!(!mutex.is_locked());
}

#[test]
fn locks_are_shielded() {
    let mutex = Mutex::new(());
    mutex.acquire();
    shielded(|| mutex.acquire(), || mutex.release());
    let rwlock = RwLock::new(());
    let held = Cell::new(Some(rwlock.write()));
    shielded(|| held.set(Some(rwlock.write())), || drop(held.take()));
    let reader = Cell::new(Some(rwlock.try_read()));
    drop(reader.take());
    drop(held.take());
    assert!(rwlock.try_write().is_some());
    let reentrant = ReentrantLock::new(());
    let interrupt = Interrupt::new();
    interrupt.raise(Reason::Cancelled);
    Script::new().run(&interrupt, || drop(reentrant.lock())).expect("a lock is shielded");
    assert!(reentrant.try_lock().is_some());
}

#[test]
fn barrier_breaks() {
    for k in 0..SUSPENSIONS {
        let barrier = Barrier::new(2);
        let interrupt = Interrupt::new();
        let script = Script::new().spurious(k).then(|| interrupt.raise(Reason::Cancelled));
        assert!(script.run(&interrupt, || barrier.wait().is_ok()).is_none());
        assert!(barrier.is_broken() && barrier.n_waiting() == 0);
        barrier.reset();
        // Complete at the same moment: ready beats cancelled, and the barrier is whole.
        let other = Cell::new(Some(Polled::new(barrier.wait_async())));
        let interrupt = Interrupt::new();
        let script = Script::new().spurious(k).then(|| {
            interrupt.raise(Reason::Cancelled);
            assert!(other.take().expect("once").poll().is_ready());
        });
        assert_eq!(script.run(&interrupt, || barrier.wait().is_ok()), Some(true));
        assert!(!barrier.is_broken());
    }
}

#[test]
fn once_cell_initializer_that_is_cancelled_leaves_it_empty() {
    for k in 0..SUSPENSIONS {
        let (cell, never, interrupt) = (OnceCell::new(), Event::new(), Interrupt::new());
        let script = Script::new().spurious(k).then(|| interrupt.raise(Reason::Cancelled));
        let init = || {
            never.wait();
            1
        };
        assert!(script.run(&interrupt, || *cell.get_or_init(init)).is_none());
        assert_eq!(cell.get(), None);
        assert_eq!(*cell.get_or_init(|| 2), 2, "the next one tries");
    }
}

#[test]
fn timed_verbs_return_the_cancellation_and_the_item() {
    let queue = Queue::bounded(1);
    let (sender, receiver) = channel::rendezvous();
    for k in 0..SUSPENSIONS {
        let cancelled = |wait: &dyn Fn()| {
            let interrupt = Interrupt::new();
            let script = Script::new().spurious(k).then(|| interrupt.raise(Reason::Cancelled));
            script.run(&interrupt, wait).expect("no unwind from a timed verb");
        };
        cancelled(&|| assert_eq!(queue.get_timeout(Duration::MAX), Err(GetTimeoutError::Cancelled)));
        queue.put(1).unwrap();
        cancelled(&|| assert_eq!(queue.put_timeout(2, Duration::MAX), Err(PutTimeoutError::Cancelled(2))));
        assert_eq!(queue.get(), Ok(1));
        cancelled(&|| assert_eq!(receiver.recv_timeout(Duration::MAX), Err(channel::RecvTimeoutError::Cancelled)));
        cancelled(&|| assert_eq!(sender.send_timeout(3, Duration::MAX), Err(channel::SendTimeoutError::Cancelled(3))));
        cancelled(&|| assert_eq!(Event::new().wait_timeout(Duration::MAX), Err(Interrupted::Cancelled)));
        cancelled(&|| {
            assert_eq!(Semaphore::new(0).acquire_timeout(Duration::MAX).unwrap_err(), Interrupted::Cancelled)
        });
    }
    assert!(queue.is_empty());
    assert!(receiver.try_recv().is_err(), "a send that was cancelled took its offer along");
}

#[test]
fn ready_beats_cancelled_beats_deadline() {
    let event = Event::new();
    let interrupt = Interrupt::new();
    interrupt.raise(Reason::Cancelled);
    let late = || event.wait_timeout(Duration::ZERO);
    assert_eq!(Script::new().run(&interrupt, late), Some(Err(Interrupted::Cancelled)));
    assert_eq!(Script::new().run(&Interrupt::new(), late), Some(Err(Interrupted::TimedOut)));
    event.set();
    assert_eq!(Script::new().run(&interrupt, late), Some(Ok(())));
    // In the last suspension before the deadline.
    event.clear();
    let script = Script::new().then(|| {
        std::thread::sleep(2 * SHORT);
        event.set();
    });
    assert_eq!(script.run(&Interrupt::new(), || event.wait_timeout(SHORT)), Some(Ok(())));
}

/// Two futures wait; one thing is given; the first is dropped instead of polled. The second must get it.
#[track_caller]
fn handed_on<'a, F: Future + 'a>(make: impl Fn() -> F, give: impl Fn()) {
    let (first, second) = (Polled::waiting(make()), Polled::waiting(make()));
    give();
    assert_eq!((first.woken(), second.woken()), (1, 0), "in their order");
    drop(first);
    drop(second.ready());
    // One that was not woken leaves nobody behind either.
    let (first, second) = (Polled::waiting(make()), Polled::waiting(make()));
    drop(first);
    give();
    drop(second.ready());
}

#[test]
fn dropped_future_hands_on() {
    let mutex = Mutex::new(());
    mutex.acquire();
    let give = || mutex.release();
    handed_on(|| async { std::mem::forget(mutex.lock_async().await) }, give);
    let semaphore = Semaphore::new(0);
    handed_on(|| async { semaphore.acquire_async().await.forget() }, || semaphore.release(1));
    let queue = Queue::unbounded();
    handed_on(|| queue.get_async(), || queue.put(1).unwrap());
    let (sender, receiver) = channel::bounded(1);
    handed_on(|| receiver.recv_async(), || sender.send(1).unwrap());
    sender.send(1).unwrap();
    handed_on(|| sender.send_async(1), || assert_eq!(receiver.recv(), Ok(1)));
}

#[test]
fn dropped_writer_lets_the_readers_behind_it_in() {
    let rwlock = RwLock::new(());
    let reader = rwlock.read();
    let writer = Polled::waiting(rwlock.write_async());
    let behind = Polled::waiting(rwlock.read_async());
    drop(writer);
    drop(behind.ready());
    let writer = Polled::waiting(rwlock.write_async());
    let behind = Polled::waiting(rwlock.read_async());
    drop(reader);
    assert_eq!((writer.woken(), behind.woken()), (1, 0), "in their order");
    drop(writer);
    drop(behind.ready());
    assert!(rwlock.try_write().is_some());
}

#[test]
fn dropped_initializer_hands_its_turn_on() {
    let cell = OnceCell::new();
    let first = Polled::waiting(cell.get_or_init_async(std::future::pending::<u8>));
    let next = Polled::waiting(cell.get_or_init_async(|| async { 7 }));
    drop(first);
    assert_eq!(*next.ready(), 7);
}

#[test]
fn dropped_rendezvous_leaves_no_offer_and_no_value_behind() {
    let (sender, receiver) = channel::rendezvous();
    drop(Polled::waiting(sender.send_async(1)));
    assert!(receiver.try_recv().is_err(), "the offer went with its sender");
    let first = Polled::waiting(receiver.recv_async());
    sender.try_send(2).unwrap(); // a receiver waits
    drop(first);
    assert_eq!(receiver.try_recv(), Ok(2), "the next receiver finds it");
    let (first, second) = (Polled::waiting(receiver.recv_async()), Polled::waiting(receiver.recv_async()));
    sender.try_send(3).unwrap();
    drop(first);
    assert_eq!(second.ready(), Ok(3));
}

#[test]
fn dropped_condvar_wait_hands_its_notification_on() {
    let (mutex, changed) = (Mutex::new(()), Condvar::new());
    let first = Polled::waiting(changed.wait_async(mutex.try_lock().unwrap()));
    let second = Polled::waiting(changed.wait_async(mutex.try_lock().unwrap()));
    changed.notify_one();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    drop(first);
    drop(second.ready());
    assert!(!mutex.is_locked());
}

/// Dropped while it waits for the mutex: it had its notification already.
#[test]
fn dropped_condvar_wait_for_the_mutex_hands_its_notification_on() {
    let (mutex, changed) = (Mutex::new(()), Condvar::new());
    let mut first = Polled::waiting(changed.wait_async(mutex.try_lock().unwrap()));
    let second = Polled::waiting(changed.wait_async(mutex.try_lock().unwrap()));
    let held = mutex.try_lock().unwrap();
    changed.notify_one();
    assert!(first.poll().is_pending(), "notified, and the mutex is held");
    assert_eq!(second.woken(), 0);
    drop(first);
    assert_eq!(second.woken(), 1);
    drop(held);
    drop(second.ready());
    assert!(!mutex.is_locked());
}
