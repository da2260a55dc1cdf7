//! The life of a task at its edges: handles, callbacks, groups, cancel tokens.

mod support;

use ropewalk_core::park::{task_deadline, with_task_deadline};
use ropewalk_core::sync::Event;
use ropewalk_core::task::harness::{Runnable, new_task};
use ropewalk_core::task::{CancelToken, Interrupted, TaskError, TaskGroup, TaskHandle, is_cancelled};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{HANG, Polled, SHORT};

fn task<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Arc<dyn Runnable>, TaskHandle<T>) {
    new_task(0, move || Ok(job()))
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no number")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn flatten_makes_the_error_the_handles_own() {
    let parse = |text: &'static str| task(move || text.parse::<i32>().map_err(Outer));
    let (runs, handle) = parse("7");
    let handle = handle.flatten();
    runs.run();
    assert_eq!(handle.join().unwrap(), 7);
    let (runs, handle) = parse("seven");
    runs.run();
    match handle.flatten().join() {
        Err(TaskError::Failed { type_name, message, chain }) => {
            assert!(type_name.ends_with("Outer"));
            assert_eq!((&*message, chain.len()), ("no number", 1));
        }
        other => panic!("{other:?}"),
    }
    // Cancelled, panicked, polled before, dropped.
    let (_, handle) = parse("7");
    let handle = handle.flatten();
    assert!(handle.cancel());
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    let (runs, handle) = task(|| -> Result<i32, Outer> { panic!("test") });
    runs.run();
    assert!(handle.flatten().join().unwrap_err().is_panic());
    let (runs, handle) = parse("7");
    let mut polled = Polled::new(handle.flatten());
    assert!(polled.poll().is_pending());
    runs.run();
    assert_eq!(polled.ready().unwrap(), 7);
}

#[test]
fn timed_join_leaves_the_handle_and_takes_the_result_once() {
    let (runs, mut handle) = task(|| 7);
    for _ in 0..3 {
        assert!(matches!(handle.join_timeout(Duration::ZERO), Err(TaskError::TimedOut)));
        assert!(!handle.is_finished());
    }
    runs.run();
    assert_eq!(handle.join_timeout(SHORT).unwrap(), 7);
    assert!(matches!(handle.join_timeout(SHORT), Err(TaskError::ResultTaken)));
    assert!(handle.is_finished() && !handle.is_failed());
    assert!(matches!(handle.join(), Err(TaskError::ResultTaken)));
}

#[test]
fn wait_for_a_task_that_is_cancelled_leaves_the_result() {
    let (runs, mut handle) = task(|| 7);
    let token = CancelToken::new();
    token.cancel();
    assert!(matches!(token.run(|| handle.join_timeout(HANG)), Ok(Err(TaskError::Cancelled))));
    assert!(!handle.is_finished(), "the waiter was cancelled, not the task");
    runs.run();
    assert_eq!(handle.join().unwrap(), 7);
}

#[test]
fn callbacks_before_and_after_the_end_run_once_each() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (runs, handle) = task(|| 7);
    let note = |handle: &TaskHandle<i32>| {
        let calls = Arc::clone(&calls);
        handle.on_finish(move |outcome| {
            assert!(outcome.is_ok());
            calls.fetch_add(1, Ordering::SeqCst);
        });
    };
    note(&handle);
    note(&handle);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    runs.run();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    note(&handle);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    drop((runs, handle));
    assert_eq!(Arc::strong_count(&calls), 1, "no callback is left");
}

/// A callback that registers with another thread at the moment of the end is called too: none is lost, none runs twice.
#[test]
fn callback_registered_at_the_moment_of_the_end() {
    for _ in 0..500 {
        let calls = Arc::new(AtomicUsize::new(0));
        let (runs, handle) = task(|| 7);
        let runner = std::thread::spawn(move || runs.run());
        for _ in 0..4 {
            let calls = Arc::clone(&calls);
            handle.on_finish(move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            });
        }
        runner.join().expect("no panic");
        assert_eq!(handle.join().unwrap(), 7);
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }
}

/// A result that nobody will take is dropped when both sides have said so, not with the executor's half.
#[test]
fn detached_result_is_dropped_promptly() {
    let (runs, handle) = task(|| Arc::new(()));
    runs.run();
    let result = handle.join().unwrap();
    let seen = Arc::downgrade(&result);
    let (runs, handle) = task(move || result);
    drop(handle);
    runs.run();
    assert_eq!(seen.strong_count(), 0, "dropped by the run, although its half is still here");
    drop(runs);
    let (runs, handle) = task(|| Arc::new(()));
    runs.run();
    drop(handle);
    drop(runs);
}

#[test]
fn captures_of_a_cancelled_task_are_dropped_at_once() {
    let captured = Arc::new(());
    let seen = Arc::downgrade(&captured);
    let (_runs, handle) = task(move || drop(captured));
    assert!(handle.cancel());
    assert_eq!(seen.strong_count(), 0);
}

#[test]
fn group_first_failure_cancels_the_others() {
    let mut group = TaskGroup::new();
    let (fails, failing) = task(|| -> i32 { panic!("first") });
    let (pending, pending_handle) = task(|| 1);
    let (started, ended) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (starts, ends) = (Arc::clone(&started), Arc::clone(&ended));
    let (waits, waiting) = task(move || {
        starts.set();
        while !is_cancelled() {
            std::thread::yield_now();
        }
        ends.set();
        2
    });
    [failing, pending_handle, waiting].into_iter().for_each(|handle| group.add(handle));
    let runner = std::thread::spawn(move || waits.run());
    started.wait();
    fails.run();
    ended.wait(); // the one that ran was told
    assert!(!pending.is_pending(), "the one that had not started never will");
    let (late, late_handle) = task(|| 3);
    group.add(late_handle);
    assert!(!late.is_pending(), "one that comes too late neither");
    match group.join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "first"),
        other => panic!("{other:?}"),
    }
    runner.join().expect("no panic");
}

/// An error that a task returns fails the group like a panic does, also when the task had ended before it was added.
#[test]
fn group_fails_with_an_error_that_a_task_returns() {
    for ends_before in [false, true] {
        let mut group = TaskGroup::new();
        let (_never_runs, pending) = task(|| 1);
        let (fails, failing) = task(|| "hemp".parse::<i32>().map_err(Outer));
        let (ends_well, good) = task(|| "7".parse::<i32>().map_err(Outer));
        group.add(pending);
        ends_well.run();
        group.add_fallible(good);
        if ends_before {
            fails.run();
        }
        group.add_fallible(failing);
        fails.run();
        let (late, late_handle) = task(|| 2);
        group.add(late_handle);
        assert!(!late.is_pending(), "cancelled when it was added");
        match group.join() {
            Err(TaskError::Failed { message, chain, .. }) => {
                assert_eq!((message.as_str(), chain.len()), ("no number", 1));
            }
            other => panic!("not the failure: {other:?}"),
        }
    }
    let mut group = TaskGroup::new();
    let (runs, handle) = task(|| "7".parse::<i32>().map_err(Outer));
    group.add_fallible(handle);
    runs.run();
    assert_eq!(group.join().unwrap(), [7]);
}

/// A task with a deadline does not start after it; its waits end at it; what it makes itself has none.
#[test]
fn deadline_of_a_task() {
    let at_once = Instant::now();
    let (runs, handle) = with_task_deadline(at_once, || task(|| 1));
    runs.run();
    assert!(matches!(handle.join(), Err(TaskError::TimedOut)));

    let soon = Instant::now() + SHORT;
    let (runs, handle) = with_task_deadline(soon, || task(|| Event::new().wait()));
    runs.run();
    assert!(matches!(handle.join(), Err(TaskError::TimedOut)) && Instant::now() >= soon);

    let soon = Instant::now() + SHORT;
    let (runs, handle) = with_task_deadline(soon, || {
        task(move || {
            assert!(!is_cancelled() || Instant::now() >= soon);
            while !is_cancelled() {
                std::hint::spin_loop();
            }
            task_deadline().is_none()
        })
    });
    runs.run();
    assert!(handle.join().unwrap(), "one that ends well all the same is not too late");

    // The earlier one is in force; and outside there is none.
    let later = at_once + HANG;
    let inner = with_task_deadline(at_once, || with_task_deadline(later, task_deadline));
    let outer = with_task_deadline(later, || with_task_deadline(at_once, task_deadline));
    assert_eq!((inner, outer, task_deadline()), (Some(at_once), Some(at_once), None));
}

/// A task that runs on its submitter's strand ends with the scopes around it, and leaves the submitter to end with them.
#[test]
fn scope_of_the_submitter_reaches_a_task_that_runs_here() {
    let token = CancelToken::new().with_timeout(SHORT);
    let (runs, handle) = task(|| Event::new().wait());
    let ended = token.run(|| {
        runs.run_here();
        assert!(handle.is_finished());
        Event::new().wait();
    });
    assert_eq!(ended, Err(Interrupted::TimedOut));
    assert!(matches!(handle.join(), Err(TaskError::TimedOut)));

    // And none reaches one that runs apart.
    let event = Arc::new(Event::new());
    let sets = Arc::clone(&event);
    let (runs, handle) = task(move || sets.is_set() || is_cancelled());
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(token.run(|| runs.run()), Ok(()));
    assert!(!handle.join().unwrap());
}

#[test]
fn group_gives_results_in_order_and_cancels_on_drop() {
    let mut group = TaskGroup::new();
    let runs: Vec<_> = (0..5)
        .map(|n| {
            let (runs, handle) = task(move || n);
            group.add(handle);
            runs
        })
        .collect();
    runs.iter().rev().for_each(|task| task.run());
    assert_eq!(group.join().unwrap(), [0, 1, 2, 3, 4]);
    let mut group = TaskGroup::new();
    let (runs, handle) = task(|| 1);
    group.add(handle);
    drop(group);
    assert!(!runs.is_pending());
    assert_eq!(TaskGroup::<i32>::new().join().unwrap(), [0; 0]);
}

#[test]
fn token_deadlines_nest() {
    let outer = CancelToken::new().with_timeout(SHORT);
    let inner = outer.with_timeout(HANG);
    assert_eq!(inner.deadline(), outer.deadline(), "a child never outlives its parent's deadline");
    assert!(inner.with_deadline(Instant::now()).deadline() < outer.deadline());
    let never = Event::new();
    // The outer deadline ends the inner region too, and is reported by the outer one.
    let inner_ended = AtomicUsize::new(0);
    let ended = outer.run(|| {
        let inner = CancelToken::new().with_timeout(HANG).run(|| never.wait());
        inner_ended.store(1, Ordering::SeqCst);
        inner
    });
    assert_eq!(ended, Err(Interrupted::TimedOut));
    assert_eq!(inner_ended.load(Ordering::SeqCst), 0, "the unwind is for the outer region");
    // The inner deadline ends the inner region only.
    let ended =
        CancelToken::new().with_timeout(HANG).run(|| CancelToken::new().with_timeout(SHORT).run(|| never.wait()));
    assert_eq!(ended, Ok(Err(Interrupted::TimedOut)));
}

#[test]
fn token_cancels_what_is_below_and_nothing_above() {
    let root = CancelToken::new();
    let (left, right) = (root.child(), root.child());
    left.child().cancel();
    assert!(!left.is_cancelled());
    left.cancel();
    assert!(left.child().is_cancelled() && !root.is_cancelled() && !right.is_cancelled());
    root.cancel();
    assert!(right.is_cancelled() && root.clone().is_cancelled());
    assert_eq!(right.run(|| 7), Ok(7), "a body that returns is not cancelled");
    assert_eq!(right.run(|| Event::new().wait()), Err(Interrupted::Cancelled));
    let panicked = catch_unwind(AssertUnwindSafe(|| right.run(|| panic!("the body's own"))));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().expect("a text"), "the body's own");
}

#[test]
fn token_ends_waits_of_many_threads() {
    let token = CancelToken::new();
    let started = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let (token, started) = (token.child(), Arc::clone(&started));
            std::thread::spawn(move || {
                token.run(|| {
                    started.fetch_add(1, Ordering::SeqCst);
                    Event::new().wait();
                })
            })
        })
        .collect();
    support::eventually("all to have started", || started.load(Ordering::SeqCst) == 5);
    token.cancel();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), Err(Interrupted::Cancelled));
    }
}
