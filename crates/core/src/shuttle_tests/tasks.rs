//! Tasks that are run, cancelled, waited for and forgotten at once.
#![cfg(all(test, ropewalk_shuttle))]

use super::{A_WHILE, model};
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::thread;
use crate::park;
use crate::sync::{Event, Semaphore};
use crate::task::{CancelToken, TaskError, TaskGroup, harness};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn cancel_run_and_join() {
    model("tasks: cancel_run_and_join", || {
        let (ran, called) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let ran_there = Arc::clone(&ran);
        let (task, handle) = harness::new_task(0, move || Ok(ran_there.fetch_add(1, Ordering::Relaxed)));
        let handle = Arc::new(handle);
        let runs = [Arc::clone(&task), task].map(|task| thread::spawn(move || task.run()));
        let cancels = {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle.cancel())
        };
        let waits = {
            let handle = Arc::clone(&handle);
            thread::spawn(move || park::wait_for(handle.finished()))
        };
        let registers = {
            let (handle, called) = (Arc::clone(&handle), Arc::clone(&called));
            thread::spawn(move || {
                handle.on_finish(move |_| {
                    called.fetch_add(1, Ordering::Relaxed);
                });
            })
        };
        let cancelled = cancels.join().unwrap();
        for thread in runs.into_iter().chain([waits, registers]) {
            thread.join().unwrap();
        }
        assert_eq!(called.load(Ordering::Relaxed), 1);
        assert_eq!(ran.load(Ordering::Relaxed), u32::from(!cancelled));
        let mut handle = Arc::into_inner(handle).expect("the others are gone");
        assert_eq!(matches!(handle.join_timeout(A_WHILE), Err(TaskError::Cancelled)), cancelled);
    });
}

/// Four of a group, of which one fails: all end, and the failure is the group's.
#[test]
fn group_with_a_failure() {
    model("tasks: group_with_a_failure", || {
        let event = Arc::new(Event::new());
        let mut group = TaskGroup::new();
        let mut runs = Vec::new();
        for number in 0..4 {
            let event = Arc::clone(&event);
            let (task, handle) = harness::new_task(0, move || {
                if number == 2 {
                    return Err(TaskError::TimedOut);
                }
                // Ends when the failure cancels it.
                event.wait_timeout(Duration::MAX).map_err(|_| TaskError::Cancelled)
            });
            group.add(handle);
            runs.push(thread::spawn(move || task.run()));
        }
        assert!(matches!(group.join(), Err(TaskError::TimedOut)));
        for run in runs {
            run.join().unwrap();
        }
    });
}

/// Regions under one token and its child, and permits that none of them may swallow.
#[test]
fn cancelled_regions_hand_on() {
    model("tasks: cancelled_regions_hand_on", || {
        let token = CancelToken::new();
        let child = token.child();
        let semaphore = Arc::new(Semaphore::new(0));
        let regions = [token.clone(), child.clone(), child, token.clone()].map(|token| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || {
                let _ = token.run(|| semaphore.acquire_timeout(Duration::MAX).map(drop));
            })
        });
        let cancels = thread::spawn(move || token.cancel());
        let releases = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || semaphore.release(1))
        };
        drop(semaphore.acquire());
        for thread in regions.into_iter().chain([cancels, releases]) {
            thread.join().unwrap();
        }
        assert_eq!(semaphore.available_permits(), 1);
    });
}
