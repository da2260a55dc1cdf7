//! gevent's `test__greenlet`, `test__issue330` and `test__order`, case by case, in our words: spawn, kill, callbacks.
//!
//! Joins are in `gevent_join.rs`. gevent's `link` is [`TaskHandle::on_finish`] here. What has no counterpart is listed with its
//! reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{greenlets, log, settle};
use ropewalk::greenlet::{self, AsyncResult, kill_all, spawn, spawn_later, spawn_local};
use ropewalk::sync::{Queue, channel};
use ropewalk::task::TaskGroup;
use ropewalk::{TaskError, TaskHandle};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{HANG, SHORT, joined, text_of};

/// Counts, from callbacks that may be called anywhere.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

// Callbacks.

/// gevent: test__greenlet.TestLink.test_link_to_asyncresult
#[test]
fn callback_sets_a_result_whenever_it_is_added() {
    greenlets(|| {
        let handle = spawn(|| 100);
        for _ in 0..4 {
            let told = Arc::new(AsyncResult::new());
            let tells = Arc::clone(&told);
            handle.on_finish(move |outcome| tells.set(outcome.is_ok()).unwrap());
            assert!(told.get().unwrap());
        }
        assert_eq!(joined(handle), 100);
    });
}

/// gevent: test__greenlet.TestLink.test_link_to_asyncresult_exception
#[test]
fn callback_sees_the_panic_whenever_it_is_added() {
    greenlets(|| {
        let handle = spawn(|| panic!("expected"));
        for _ in 0..4 {
            let told = Arc::new(AsyncResult::new());
            let tells = Arc::clone(&told);
            handle.on_finish(move |outcome| tells.set(outcome.unwrap_err().to_string()).unwrap());
            assert_eq!(told.get().unwrap(), "task panicked: expected");
        }
        let _: Result<(), _> = handle.join();
    });
}

/// gevent: test__greenlet.TestLink.test_link_to_queue
#[test]
fn callback_puts_into_a_queue() {
    greenlets(|| {
        let (handle, queue) = (spawn(|| 100), Arc::new(Queue::unbounded()));
        for round in 0..4 {
            let puts = Arc::clone(&queue);
            handle.on_finish(move |_| puts.put(round).unwrap());
            assert_eq!(queue.get(), Ok(round));
        }
        assert_eq!(joined(handle), 100);
    });
}

/// A callback may wait for a receiver: it is the greenlet that ends which waits.
///
/// gevent: test__greenlet.TestLink.test_link_to_channel
#[test]
fn callback_sends_through_a_rendezvous() {
    greenlets(|| {
        let (sender, receiver) = channel::rendezvous();
        let handles = [101, 102, 103].map(|number| {
            let (handle, sender) = (spawn(move || number), sender.clone());
            handle.on_finish(move |_| sender.send(number).unwrap());
            handle
        });
        drop(sender);
        let mut told: Vec<_> = receiver.iter().collect();
        told.sort_unstable();
        assert_eq!(told, [101, 102, 103]);
        assert_eq!(handles.map(joined), [101, 102, 103]);
    });
}

/// How often callbacks were called: all of them, those for a value, those for an error.
#[derive(Clone, Default)]
struct Links {
    any: Count,
    value: Count,
    error: Count,
}

impl Links {
    /// Adds ten of each kind.
    fn link<T>(&self, handle: &TaskHandle<T>) {
        for _ in 0..10 {
            let links = self.clone();
            handle.on_finish(move |outcome| {
                links.any.up();
                if outcome.is_ok() { links.value.up() } else { links.error.up() }
            });
        }
    }

    fn counts(&self) -> [usize; 3] {
        [self.any.get(), self.value.get(), self.error.get()]
    }
}

/// gevent: test__greenlet.TestReturn_link{,_value}.test_return
#[test]
fn callbacks_for_a_value() {
    greenlets(|| {
        let (handle, links) = (spawn(|| 25), Links::default());
        for round in 1..=3 {
            links.link(&handle);
            settle();
            assert_eq!(links.counts(), [10 * round, 10 * round, 0]);
        }
        assert_eq!(joined(handle), 25);
    });
}

/// A kill is an error here, where gevent has the value `GreenletExit`.
///
/// gevent: test__greenlet.TestReturn_link{,_value}.test_kill
#[test]
fn callbacks_for_a_kill() {
    greenlets(|| {
        let (handle, links) = (spawn(|| ropewalk::sleep(HANG)), Links::default());
        settle();
        for round in 1..=3 {
            links.link(&handle);
            handle.kill();
            assert_eq!(links.counts(), [10 * round, 0, 10 * round]);
        }
        assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    });
}

/// gevent: test__greenlet.TestRaise_link{,_exception}.test_raise
#[test]
fn callbacks_for_a_panic() {
    greenlets(|| {
        let (handle, links) = (spawn(|| panic!("expected")), Links::default());
        for round in 1..=3 {
            links.link(&handle);
            settle();
            assert_eq!(links.counts(), [10 * round, 0, 10 * round]);
        }
        let _: Result<(), _> = handle.join();
    });
}

/// gevent: test__greenlet.TestStuff.test_multiple_listeners_error
#[test]
fn callback_that_panics_keeps_no_other_from_being_called() {
    greenlets(|| {
        let jobs: [fn() -> u32; 2] = [|| 5, || panic!("expected")];
        for job in jobs {
            let (handle, order) = (spawn(job), Arc::new(Mutex::new(Vec::new())));
            for number in [10, 20, 30] {
                let notes = Arc::clone(&order);
                handle.on_finish(move |_| {
                    notes.lock().unwrap().push(number);
                    panic!("in callback {number}");
                });
            }
            settle();
            assert_eq!(order.lock().unwrap_or_else(|poison| poison.into_inner()).clone(), [10, 20, 30]);
            drop(handle.join());
        }
    });
}

/// gevent: test__order.Test{,3,4,M}.test_greenlet_link
#[test]
fn callbacks_are_called_in_the_order_in_which_they_were_added() {
    greenlets(|| {
        for n in [2, 3, 4, 1000] {
            let order = Arc::new(Mutex::new(Vec::new()));
            let first = Arc::clone(&order);
            let handle = spawn(move || first.lock().unwrap().push(0));
            for number in 1..n {
                let notes = Arc::clone(&order);
                handle.on_finish(move |_| notes.lock().unwrap().push(number));
            }
            joined(handle);
            assert_eq!(*order.lock().unwrap(), (0..n).collect::<Vec<_>>());
        }
    });
}

/// gevent: test__order.TestSleep0.test
#[test]
fn greenlets_that_yield_take_turns() {
    greenlets(|| {
        let order = log();
        let handles = ["1", "2"].map(|name| {
            let order = Rc::clone(&order);
            spawn_local(move || {
                order.borrow_mut().push(format!("{name}A"));
                ropewalk::sleep(Duration::ZERO);
                order.borrow_mut().push(format!("{name}B"));
            })
        });
        greenlet::join_all(handles).unwrap();
        assert_eq!(*order.borrow(), ["1A", "2A", "1B", "2B"]);
    });
}

// The life of a greenlet.

/// What a handle says of its greenlet: whether it runs, has ended, was cancelled, has no result.
fn says<T>(handle: &TaskHandle<T>) -> [bool; 4] {
    [handle.is_running(), handle.is_finished(), handle.is_cancelled(), handle.is_failed()]
}

const NOT_STARTED: [bool; 4] = [false; 4];
const RUNS: [bool; 4] = [true, false, false, false];
const DONE: [bool; 4] = [false, true, false, false];
const FAILED: [bool; 4] = [false, true, false, true];
const CANCELLED: [bool; 4] = [false, true, true, true];

/// gevent: test__greenlet.TestBasic.{test_simple_exit,test_exc_info_no_error}
#[test]
fn life_of_a_greenlet_that_ends_well() {
    greenlets(|| {
        let told = Count::default();
        let tells = told.clone();
        let handle = spawn(|| {
            ropewalk::sleep(SHORT);
            5
        });
        handle.on_finish(move |_| tells.up());
        assert_eq!((says(&handle), told.get()), (NOT_STARTED, 0));
        settle();
        assert_eq!((says(&handle), told.get()), (RUNS, 0));
        ropewalk::sleep(4 * SHORT);
        assert_eq!((says(&handle), told.get()), (DONE, 1));
        assert_eq!(joined(handle), 5);
    });
}

/// gevent: test__greenlet.TestBasic.test_error_exit
#[test]
fn life_of_a_greenlet_that_panics() {
    greenlets(|| {
        let handle = spawn(|| {
            ropewalk::sleep(SHORT);
            std::panic::panic_any(5_u8)
        });
        settle();
        assert_eq!(says(&handle), RUNS);
        ropewalk::sleep(4 * SHORT);
        assert_eq!(says(&handle), FAILED);
        let error: Result<(), _> = handle.join();
        match error {
            Err(TaskError::Panicked(panic)) => assert_eq!(panic.into_payload().downcast_ref(), Some(&5_u8)),
            other => panic!("{other:?}"),
        }
    });
}

/// gevent: test__greenlet.TestDeadPropertyDuringSwitch.test_dead_is_false_for_current_greenlet_during_switch
#[test]
fn greenlet_that_runs_is_not_finished() {
    greenlets(|| {
        let own: Rc<RefCell<Option<TaskHandle<()>>>> = Rc::default();
        let seen = log();
        let (looks, notes) = (Rc::clone(&own), Rc::clone(&seen));
        let handle = spawn_local(move || {
            for _ in 0..2 {
                notes.borrow_mut().push(looks.borrow().as_ref().map(says).unwrap());
                ropewalk::yield_now();
            }
        });
        *own.borrow_mut() = Some(handle);
        settle();
        assert_eq!(*seen.borrow(), [RUNS, RUNS]);
        assert_eq!(own.borrow().as_ref().map(says), Some(DONE));
    });
}

/// gevent: test__greenlet.TestStuff.test_minimal_id
#[test]
fn each_greenlet_has_a_number_of_its_own() {
    let id = || greenlet::current().map(|greenlet| greenlet.id());
    assert_eq!(id(), None, "a thread is no greenlet");
    greenlets(|| {
        let mut ids: Vec<_> = (0..10).map(|_| joined(spawn(id)).unwrap()).collect();
        ids.push(id().unwrap());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 11);
    });
}

// Kill.

/// Ways to kill a greenlet: and wait for its end, or not; by its handle, or with others.
const WAYS: [fn(&TaskHandle<()>); 4] =
    [TaskHandle::kill, cancel, |handle| kill_all([handle]), |handle| [handle].into_iter().for_each(cancel)];

fn cancel(handle: &TaskHandle<()>) {
    handle.cancel();
}

/// Kills what `start` starts in one of the ways, twice; nothing that it would have done is done.
fn killed(way: usize, start: impl Fn(Box<dyn FnOnce() + Send>) -> TaskHandle<()>) {
    greenlets(|| {
        let (ran, told) = (Count::default(), Count::default());
        let (runs, tells) = (ran.clone(), told.clone());
        let handle = start(Box::new(move || runs.up()));
        handle.on_finish(move |_| tells.up());
        for _ in 0..2 {
            WAYS[way](&handle);
            settle();
            assert_eq!((says(&handle), told.get(), ran.get()), (CANCELLED, 1, 0));
        }
        ropewalk::sleep(Duration::from_millis(2));
        assert_eq!((ran.get(), told.get()), (0, 1));
        assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    });
}

/// Every greenlet is started when it is made, so "not started" and "started, and not run yet" are one.
fn killed_before_it_runs(way: usize) {
    killed(way, |job| spawn(job));
    killed(way, |job| spawn_local(job));
}

fn killed_before_it_is_time(way: usize) {
    killed(way, |job| spawn_later(SHORT, job));
}

fn killed_in_a_wait(way: usize) {
    killed(way, |job| {
        let handle = spawn(move || {
            ropewalk::sleep(HANG);
            job();
        });
        settle();
        handle
    });
}

/// gevent: test__greenlet.TestKill{,AfterStart}.test_block
#[test]
fn kill_before_it_runs() {
    killed_before_it_runs(0);
}

/// gevent: test__greenlet.TestKill{,AfterStart}.test_non_block
#[test]
fn cancel_before_it_runs() {
    killed_before_it_runs(1);
}

/// gevent: test__greenlet.TestKill{,AfterStart}.test_block_killall
#[test]
fn kill_all_before_they_run() {
    killed_before_it_runs(2);
}

/// gevent: test__greenlet.TestKill{,AfterStart}.test_non_block_killal
#[test]
fn cancel_all_before_they_run() {
    killed_before_it_runs(3);
}

/// gevent: test__greenlet.TestKillAfterStartLater.test_block
#[test]
fn kill_before_it_is_time() {
    killed_before_it_is_time(0);
}

/// gevent: test__greenlet.TestKillAfterStartLater.test_non_block
#[test]
fn cancel_before_it_is_time() {
    killed_before_it_is_time(1);
}

/// gevent: test__greenlet.TestKillAfterStartLater.test_block_killall
#[test]
fn kill_all_before_it_is_time() {
    killed_before_it_is_time(2);
}

/// gevent: test__greenlet.TestKillAfterStartLater.test_non_block_killal
#[test]
fn cancel_all_before_it_is_time() {
    killed_before_it_is_time(3);
}

/// gevent: test__greenlet.TestKillWhileRunning.test_block
#[test]
fn kill_in_a_wait() {
    killed_in_a_wait(0);
}

/// gevent: test__greenlet.TestKillWhileRunning.test_non_block
#[test]
fn cancel_in_a_wait() {
    killed_in_a_wait(1);
}

/// gevent: test__greenlet.TestKillWhileRunning.test_block_killall
#[test]
fn kill_all_in_a_wait() {
    killed_in_a_wait(2);
}

/// gevent: test__greenlet.TestKillWhileRunning.test_non_block_killal
#[test]
fn cancel_all_in_a_wait() {
    killed_in_a_wait(3);
}

/// gevent: test__issue330.TestSwitch.test_{gevent_kill,greenlet_kill}
#[test]
fn two_killed_before_they_run_never_run() {
    greenlets(|| {
        for way in WAYS {
            let ran = Count::default();
            let handles = [(); 2].map(|()| {
                let runs = ran.clone();
                spawn(move || runs.up())
            });
            handles.iter().for_each(way);
            for handle in handles {
                assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
            }
            assert_eq!(ran.get(), 0);
        }
    });
}

/// gevent: test__greenlet.TestRef.test_kill_{scheduled,started}
#[test]
fn kill_leaves_nothing_of_it_behind() {
    greenlets(|| {
        for started in [false, true] {
            let (kept, held) = (Arc::new(()), Rc::new(()));
            let (captured, local) = (Arc::clone(&kept), Rc::clone(&held));
            let handles = [
                spawn(move || {
                    ropewalk::sleep(HANG);
                    drop(captured);
                }),
                spawn_local(move || {
                    ropewalk::sleep(HANG);
                    drop(local);
                }),
            ];
            if started {
                settle();
            }
            kill_all(&handles);
            assert_eq!((Arc::strong_count(&kept), Rc::strong_count(&held)), (1, 1));
        }
    });
}

// Greenlets that do not outlive a block: where gevent has `with spawn(..)`, there is a group.

/// gevent: test__greenlet.TestContextManager.test_simple
#[test]
fn block_ends_after_its_greenlet() {
    greenlets(|| {
        let done = Count::default();
        let does = done.clone();
        let mut group = TaskGroup::new();
        group.add(spawn(move || {
            ropewalk::sleep(SHORT);
            does.up();
        }));
        assert_eq!(done.get(), 0);
        group.join().unwrap();
        assert_eq!(done.get(), 1);
    });
}

/// gevent: test__greenlet.TestContextManager.test_{wait_in_suite,greenlet_raises}
#[test]
fn panic_in_a_block_s_greenlet() {
    greenlets(|| {
        let mut group = TaskGroup::new();
        group.add(spawn(|| panic!("expected")));
        let ended: Result<Vec<()>, _> = group.join();
        assert!(ended.unwrap_err().is_panic());
    });
}

/// A block that panics cancels its greenlets. It cannot wait for them while it unwinds (it would wait as the whole thread,
/// and they need the thread to end); they have ended by the time others have had their turn.
fn panic_in_a_block(before: impl FnOnce()) {
    greenlets(|| {
        let (ended, told) = (Count::default(), Count::default());
        let (ends, tells) = (ended.clone(), told.clone());
        let handle = spawn(move || {
            ropewalk::sleep(HANG);
            ends.up();
        });
        handle.on_finish(move |outcome| {
            assert!(matches!(outcome, Err(TaskError::Cancelled)));
            tells.up();
        });
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut group = TaskGroup::new();
            group.add(handle);
            before();
            panic!("in the block");
        }));
        assert_eq!(text_of(&*panicked.unwrap_err()), "in the block");
        settle();
        assert_eq!((ended.get(), told.get()), (0, 1));
    });
}

/// gevent: test__greenlet.TestContextManager.test_suite_body_raises
#[test]
fn panic_in_a_block_at_once() {
    panic_in_a_block(|| ());
}

/// gevent: test__greenlet.TestContextManager.test_suite_body_raises_with_delay
#[test]
fn panic_in_a_block_after_a_while() {
    panic_in_a_block(|| ropewalk::sleep(SHORT));
}

/// Killed, the greenlet that owns a group cancels it, and neither waits for the other.
#[test]
fn kill_of_the_owner_of_a_group() {
    greenlets(|| {
        let told = Count::default();
        let tells = told.clone();
        let owner = spawn(move || {
            let mut group = TaskGroup::new();
            for _ in 0..3 {
                let (handle, tells) = (spawn(|| ropewalk::sleep(HANG)), tells.clone());
                handle.on_finish(move |_| tells.up());
                group.add(handle);
            }
            group.join()
        });
        settle();
        owner.kill();
        settle();
        assert_eq!(told.get(), 3);
    });
}
