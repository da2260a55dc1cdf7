//! Models of a task: its state word, its handle, and who gets its outcome.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, look_later, model, poll_once};
use crate::model::thread;
use crate::park;
use crate::sync::Event;
use crate::task::harness::{self, Runnable};
use crate::task::{TaskError, TaskGroup, TaskHandle};
use std::sync::Arc;

fn new_task<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Arc<dyn Runnable>, TaskHandle<T>) {
    harness::new_task(0, || Ok(job()))
}

/// Counts how often it was dropped, each time by one strand alone.
struct Dropped(Arc<Number>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

#[test]
fn notify_before_wait() {
    model("task: notify_before_wait", || {
        let (task, handle) = new_task(|| 7);
        task.run();
        task.run();
        assert_eq!(handle.join().unwrap(), 7);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("task: notify_between_check_and_park", || {
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        assert_eq!(handle.join().unwrap(), 7);
        other.join().unwrap();
    });
    model("task: the async face", || {
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        assert_eq!(park::wait_for(handle).unwrap(), 7);
        other.join().unwrap();
    });
    model("task: a look", || {
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        look_later();
        if handle.is_finished() {
            assert!(!handle.is_failed());
        }
        assert_eq!(handle.join().unwrap(), 7);
        other.join().unwrap();
    });
}

/// Two wait for the end of one task, and then one takes its result.
#[test]
fn two_waiters_one_notification() {
    model("task: two_waiters_one_notification", || {
        let (task, handle) = new_task(|| 7);
        let handle = Arc::new(handle);
        let other_handle = Arc::clone(&handle);
        let runs = thread::spawn(move || task.run());
        let waits = thread::spawn(move || park::wait_for(other_handle.finished()));
        park::wait_for(handle.finished());
        waits.join().unwrap();
        runs.join().unwrap();
        assert_eq!(Arc::into_inner(handle).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("task: timeout_races_with_notify", || {
        let (task, mut handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        match handle.join_timeout(A_WHILE) {
            Ok(value) => {
                assert_eq!(value, 7);
                assert!(matches!(handle.join(), Err(TaskError::ResultTaken)));
            }
            Err(TaskError::TimedOut) => assert_eq!(handle.join().unwrap(), 7),
            Err(error) => panic!("{error}"),
        }
        other.join().unwrap();
    });
}

/// The handle goes away, polled or not, while the task ends: the outcome is dropped once, by one of the two.
#[test]
fn dropped_waiter_hands_on() {
    model("task: dropped_waiter_hands_on", || {
        let dropped = Arc::new(Number::new());
        let outcome = Dropped(Arc::clone(&dropped));
        let (task, handle) = new_task(move || outcome);
        let other = thread::spawn(move || task.run());
        let mut handle = Box::pin(handle);
        let polled = poll_once(&mut handle);
        drop(handle);
        drop(polled);
        other.join().unwrap();
        assert_eq!(dropped.get(), 1);
    });
    model("task: a detached outcome", || {
        let dropped = Arc::new(Number::new());
        let outcome = Dropped(Arc::clone(&dropped));
        let (task, handle) = new_task(move || outcome);
        let other = thread::spawn(move || {
            task.run();
            task
        });
        look_later();
        drop(handle);
        let task = other.join().unwrap();
        assert_eq!(dropped.get(), 1, "the outcome lies around in the executor's half");
        drop(task);
    });
}

/// Cancelled while it is about to start: it ran, or it was cancelled, and everybody agrees.
#[test]
fn owner_drop_races_with_wait() {
    model("task: owner_drop_races_with_wait", || {
        let ran = Arc::new(Number::new());
        let ran_there = Arc::clone(&ran);
        let (task, handle) = new_task(move || ran_there.add(1));
        let other = thread::spawn(move || task.run());
        let cancelled = handle.cancel();
        assert_eq!(matches!(handle.join(), Err(TaskError::Cancelled)), cancelled);
        other.join().unwrap();
        assert_eq!(ran.get(), u32::from(!cancelled));
    });
    model("task: cancelled by its executor", || {
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.cancel(TaskError::Shutdown));
        assert!(matches!(handle.join(), Err(TaskError::Shutdown)));
        assert!(other.join().unwrap());
    });
}

/// A callback that comes while the task ends is called once, before the result can be taken.
#[test]
fn callback_races_with_the_end() {
    model("task: callback_races_with_the_end", || {
        let called = Arc::new(Number::new());
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        for _ in 0..2 {
            let called = Arc::clone(&called);
            handle.on_finish(move |outcome| {
                assert!(outcome.is_ok());
                called.add(1);
            });
        }
        assert_eq!(handle.join().unwrap(), 7);
        assert_eq!(called.get(), 2);
        other.join().unwrap();
    });
}

/// The handle goes away while the outcome is lent to a callback.
#[test]
fn detached_while_callbacks_run() {
    model("task: detached_while_callbacks_run", || {
        let dropped = Arc::new(Number::new());
        let outcome = Dropped(Arc::clone(&dropped));
        let (task, handle) = new_task(move || outcome);
        handle.on_finish(|outcome| assert!(outcome.is_ok()));
        let other = thread::spawn(move || task.run());
        look_later();
        drop(handle);
        other.join().unwrap();
        assert_eq!(dropped.get(), 1);
    });
}

/// A callback that was registered too late looks at an outcome that the other thread wrote.
#[test]
fn late_callback_sees_the_outcome() {
    model("task: late_callback_sees_the_outcome", || {
        let called = Arc::new(Number::new());
        let called_there = Arc::clone(&called);
        let (task, handle) = new_task(|| 7);
        let other = thread::spawn(move || task.run());
        handle.on_finish(move |outcome| {
            assert!(outcome.is_ok());
            called_there.add(1);
        });
        other.join().unwrap();
        assert_eq!(called.get(), 1);
        assert_eq!(handle.join().unwrap(), 7);
    });
}

/// A task that waits is asked to stop, or what it waits for comes.
#[test]
fn cancel_ends_a_wait() {
    model("task: cancel_ends_a_wait", || {
        let event = Arc::new(Event::new());
        let waited_for = Arc::clone(&event);
        let (task, handle) = new_task(move || waited_for.wait_timeout(std::time::Duration::MAX));
        let other = thread::spawn(move || task.run());
        if !handle.cancel() {
            handle.join().unwrap().unwrap_err();
        }
        other.join().unwrap();
    });
}

/// The first failure of a group cancels the other.
#[test]
fn group_ends_together() {
    model("task: group_ends_together", || {
        let (fails, failing) = harness::new_task::<_, u32>(0, || Err(TaskError::TimedOut));
        let (other, handle) = new_task(|| 7);
        let mut group = TaskGroup::new();
        group.add(failing);
        let runs = thread::spawn(move || fails.run());
        group.add(handle);
        let other = thread::spawn(move || other.run());
        assert!(matches!(group.join(), Err(TaskError::TimedOut)));
        runs.join().unwrap();
        other.join().unwrap();
    });
}
