//! gevent's `test__event`, case by case, in our words: [`Event`] and [`AsyncResult`].
//!
//! What has no counterpart here is listed with its reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{ends_at_its_limit, greenlets, log, outer_limit_is_not_lost, settle, within};
use ropewalk::greenlet::{AlreadySet, AsyncResult, spawn, spawn_local};
use ropewalk::sync::{Event, Interrupted};
use ropewalk::{ReturnWhen, Submit, TaskError, TaskHandle, ThreadPoolExecutor, wait};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{HANG, SHORT, eventually, joined};

/// How a get ended that had no result.
#[track_caller]
fn interrupted<T>(ended: Result<T, Arc<TaskError>>) -> Interrupted {
    match ended.err().as_deref() {
        Some(TaskError::TimedOut) => Interrupted::TimedOut,
        Some(TaskError::Cancelled) => Interrupted::Cancelled,
        other => panic!("{other:?}"),
    }
}

fn never() -> AsyncResult<u32> {
    AsyncResult::new()
}

/// gevent: test__event.TestEventWait.test_returns_none_after_timeout
#[test]
fn wait_for_an_event_ends_at_its_limit() {
    greenlets(|| ends_at_its_limit(|limit| Event::new().wait_timeout(limit).unwrap_err()));
}

/// gevent: test__event.TestEventWait.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_wait_for_an_event() {
    greenlets(|| outer_limit_is_not_lost(|limit| Event::new().wait_timeout(limit).unwrap_err()));
}

/// What waits for one of several things waits for greenlets that wait for one each.
///
/// gevent: test__event.TestGeventWaitOnEvent.test_returns_none_after_timeout
/// gevent: test__event.TestWaitAsyncResult.test_returns_none_after_timeout
#[test]
fn wait_for_several_things_ends_at_its_limit() {
    greenlets(|| {
        let waits = [spawn(|| Event::new().wait()), spawn(|| drop(never().get()))];
        ends_at_its_limit(|limit| {
            assert_eq!(wait(&waits, ReturnWhen::FirstCompleted, Some(limit)).done, [0; 0]);
            Interrupted::TimedOut
        });
    });
}

/// gevent: test__event.TestGeventWaitOnEvent.test_outer_timeout_is_not_lost
/// gevent: test__event.TestWaitAsyncResult.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_wait_for_several_things() {
    greenlets(|| {
        let waits = [spawn(|| Event::new().wait()), spawn(|| drop(never().get()))];
        outer_limit_is_not_lost(|limit| {
            assert_eq!(wait(&waits, ReturnWhen::FirstCompleted, Some(limit)).done, [0; 0]);
            Interrupted::Cancelled
        });
    });
}

/// gevent: test__event.TestGeventWaitOnEvent.test_set_during_wait
#[test]
fn wait_that_begins_after_the_clear_does_not_see_the_set() {
    greenlets(|| {
        let event = Arc::new(Event::new());
        let waits = Arc::clone(&event);
        let waiter = spawn(move || {
            let sets = Arc::clone(&waits);
            let setter = spawn(move || sets.set());
            // The setter runs while this one waits, and its `set` is what ends the wait.
            waits.wait();
            assert!(waits.is_set());
            joined(setter);
            waits.clear();
            waits.wait_timeout(SHORT)
        });
        assert_eq!(joined(waiter), Err(Interrupted::TimedOut));
        assert!(!event.is_set());
    });
}

/// gevent: test__event.TestAsyncResult{Wait.test_returns_none_after_timeout,Get.test_raises_timeout_number}
#[test]
fn get_ends_at_its_limit() {
    greenlets(|| ends_at_its_limit(|limit| interrupted(never().get_timeout(limit))));
}

/// gevent: test__event.TestAsyncResult{Wait,Get}.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_get() {
    greenlets(|| outer_limit_is_not_lost(|limit| interrupted(never().get_timeout(limit))));
}

/// The limit is a thing of its own here, a token, and not an argument.
///
/// gevent: test__event.TestAsyncResultGet.test_raises_timeout_Timeout
#[test]
fn get_under_a_token_with_a_limit() {
    greenlets(|| ends_at_its_limit(|limit| within(limit, || never().get()).unwrap_err()));
}

/// gevent: test__event.TestAsyncResult.test_set_exc
#[test]
fn error_reaches_whoever_waits() {
    greenlets(|| {
        let result = Arc::new(never());
        assert!(!result.is_ready());
        let gets = Arc::clone(&result);
        let waiter = spawn(move || gets.get().unwrap_err());
        settle();
        result.set_error("out of hemp").unwrap();
        let error = joined(waiter);
        assert!(matches!(&*error, TaskError::Failed { message, .. } if message == "out of hemp"), "{error:?}");
        assert!(result.is_ready());
    });
}

/// gevent: test__event.TestAsyncResult.test_get_repeated_does_not_accumulate_traceback
#[test]
fn error_that_is_got_again_is_the_same_error() {
    greenlets(|| {
        let result = never();
        result.set_error(TaskError::TimedOut).unwrap();
        let first = result.get().unwrap_err();
        assert!(matches!(*first, TaskError::TimedOut), "a task's error is kept as it is");
        assert!((0..3).all(|_| Arc::ptr_eq(&first, &result.get().unwrap_err())));
    });
}

/// gevent: test__event.TestAsyncResult.test_set
#[test]
fn limit_ends_a_get_before_the_value_comes() {
    greenlets(|| {
        let result = Arc::new(never());
        let sets = Arc::clone(&result);
        let setter = ropewalk::greenlet::spawn_later(SHORT, move || sets.set(1).unwrap());
        assert_eq!(within(Duration::ZERO, || result.get()).unwrap_err(), Interrupted::TimedOut);
        // It came all the same, for whoever waits longer.
        assert_eq!(result.get().unwrap(), 1);
        joined(setter);
    });
}

/// gevent: test__event.TestAsyncResult.test_set_with_timeout
#[test]
fn value_in_place_of_one_that_does_not_come() {
    greenlets(|| {
        let result = never();
        assert_eq!(within(SHORT, || result.get().unwrap()).unwrap_or(7), 7);
    });
}

/// gevent: test__event.TestAsyncResult.test_nonblocking_get
#[test]
fn try_get_does_not_wait() {
    greenlets(|| {
        let result = never();
        assert!(result.try_get().is_none());
        result.set(1).unwrap();
        assert_eq!(result.try_get().unwrap().unwrap(), 1);
    });
}

/// What is set from another thread: an event or a result. One wait can be told from the other by how it is made.
trait Settable: Send + Sync + 'static {
    fn make() -> Self;
    fn set_here(&self);
    fn wait_here(&self, limit: Option<Duration>);
}

impl Settable for Event {
    fn make() -> Self {
        Self::new()
    }
    fn set_here(&self) {
        self.set();
    }
    fn wait_here(&self, limit: Option<Duration>) {
        match limit {
            None => self.wait(),
            Some(limit) => self.wait_timeout(limit).unwrap(),
        }
        assert!(self.is_set());
    }
}

impl Settable for AsyncResult<&'static str> {
    fn make() -> Self {
        Self::new()
    }
    fn set_here(&self) {
        self.set("from elsewhere").unwrap();
    }
    fn wait_here(&self, limit: Option<Duration>) {
        let got = limit.map_or_else(|| self.get(), |limit| self.get_timeout(limit));
        assert_eq!(got.unwrap(), "from elsewhere");
    }
}

/// A hub on a thread of its own waits; this thread, which is no hub, sets.
fn hub_waits_and_a_thread_sets<S: Settable>(limit: Option<Duration>, in_background: bool) {
    let one = Arc::new(S::make());
    let waiting = Arc::new(AtomicBool::new(false));
    let (waits, is_waiting) = (Arc::clone(&one), Arc::clone(&waiting));
    let hub = ropewalk::thread::spawn(move || {
        greenlets(|| {
            // Something else to do for this hub.
            let over = Rc::new(Event::new());
            let spins = Rc::clone(&over);
            let spinner = spawn_local(move || while spins.wait_timeout(SHORT).is_err() {});
            let work = move || {
                is_waiting.store(true, Ordering::SeqCst);
                waits.wait_here(limit);
            };
            if in_background {
                joined(spawn(work))
            } else {
                work()
            }
            over.set();
            spinner.join().unwrap();
        });
    });
    eventually("the hub to wait", || waiting.load(Ordering::SeqCst));
    one.set_here();
    joined(hub);
}

/// gevent: test__event.Test{AsyncResult,Event}CrossThread.test_cross_thread_use
#[test]
fn set_from_a_thread() {
    hub_waits_and_a_thread_sets::<Event>(None, false);
    hub_waits_and_a_thread_sets::<AsyncResult<_>>(None, false);
}

/// gevent: test__event.Test{AsyncResult,Event}CrossThread.test_cross_thread_use_bg
#[test]
fn set_from_a_thread_for_a_greenlet_of_its_own() {
    hub_waits_and_a_thread_sets::<Event>(None, true);
    hub_waits_and_a_thread_sets::<AsyncResult<_>>(None, true);
}

/// gevent: test__event.Test{AsyncResult,Event}CrossThread.test_cross_thread_use_timed
#[test]
fn set_from_a_thread_before_the_limit() {
    hub_waits_and_a_thread_sets::<Event>(Some(HANG), false);
    hub_waits_and_a_thread_sets::<AsyncResult<_>>(Some(HANG), false);
}

/// gevent: test__event.Test{AsyncResult,Event}CrossThread.test_cross_thread_use_timed_bg
#[test]
fn set_from_a_thread_for_a_greenlet_of_its_own_before_the_limit() {
    hub_waits_and_a_thread_sets::<Event>(Some(HANG), true);
    hub_waits_and_a_thread_sets::<AsyncResult<_>>(Some(HANG), true);
}

/// This hub waits; a thread that it started sets, and so again and again.
fn hub_waits_for_its_thread<S: Settable>() {
    greenlets(|| {
        for _ in 0..20 {
            let one = Arc::new(S::make());
            let sets = Arc::clone(&one);
            let starter = spawn(move || ropewalk::thread::spawn(move || sets.set_here()));
            one.wait_here(Some(HANG));
            joined(joined(starter));
        }
    });
}

/// gevent: test__event.Test{AsyncResult,Event}CrossThread.test_cross_thread_use_set_in_bg{,2}
#[test]
fn thread_that_a_greenlet_started_sets() {
    hub_waits_for_its_thread::<Event>();
    hub_waits_for_its_thread::<AsyncResult<_>>();
}

/// The result that the end of a greenlet sets: always, only a value, or only an error.
fn link(handle: TaskHandle<u32>) -> [Arc<AsyncResult<u32>>; 3] {
    let results = [(); 3].map(|()| Arc::new(never()));
    let [any, value, error] = results.clone();
    drop(spawn(move || match handle.join() {
        Ok(number) => {
            any.set(number).unwrap();
            value.set(number).unwrap();
        }
        Err(failed) => {
            error.set_error(failed).unwrap();
            any.set_error("failed").unwrap();
        }
    }));
    results
}

/// gevent: test__event.TestAsyncResultAsLinkTarget.test_set
#[test]
fn value_of_a_greenlet_sets_results() {
    greenlets(|| {
        let [any, value, error] = link(spawn(|| 1));
        assert_eq!((any.get().unwrap(), value.get().unwrap()), (1, 1));
        ends_at_its_limit(|limit| interrupted(error.get_timeout(limit)));
    });
}

/// gevent: test__event.TestAsyncResultAsLinkTarget.test_set_exception
#[test]
fn panic_of_a_greenlet_sets_results() {
    greenlets(|| {
        let [any, value, error] = link(spawn(|| panic!("expected")));
        assert!(any.get().is_err());
        ends_at_its_limit(|limit| interrupted(value.get_timeout(limit)));
        assert!(error.get().unwrap_err().is_panic());
    });
}

/// gevent: test__event.TestEvent_SetThenClear{,100,1000}.test
#[test]
fn clear_right_after_the_set_strands_nobody() {
    greenlets(|| {
        for n in [1, 100, 1000] {
            let event = Arc::new(Event::new());
            let waiters: Vec<_> = (0..n)
                .map(|_| {
                    let event = Arc::clone(&event);
                    spawn(move || event.wait())
                })
                .collect();
            settle();
            assert!(waiters.iter().all(TaskHandle::is_running));
            event.set();
            event.clear();
            waiters.into_iter().for_each(joined);
        }
    });
}

/// Five events and five results, set by turns; how many of the ten have come by the end of a wait for `count` of them.
fn wait_for_ten(count: Option<usize>, limit: Option<Duration>) -> usize {
    const N: usize = 5;
    greenlets(|| {
        let events: Vec<_> = (0..N).map(|_| Arc::new(Event::new())).collect();
        let results: Vec<_> = (0..N).map(|_| Arc::new(never())).collect();
        let of_events = events.iter().cloned().map(|event| spawn(move || event.wait()));
        let of_results = results.iter().cloned().map(|result| spawn(move || drop(result.get())));
        let waits: Vec<_> = of_events.chain(of_results).collect();
        let sender = spawn(move || {
            for (event, result) in events.iter().zip(&results) {
                ropewalk::sleep(SHORT / 3);
                event.set();
                ropewalk::sleep(SHORT / 3);
                result.set(1).unwrap();
            }
        });
        let mut ended = ropewalk::as_completed(waits);
        if let Some(limit) = limit {
            ended = ended.timeout(limit);
        }
        let came = ended.take(count.unwrap_or(usize::MAX)).count();
        assert_eq!(sender.is_finished(), came == 2 * N);
        sender.kill();
        came
    })
}

/// gevent: test__event.TestWait{,_notimeout}.test
#[test]
fn wait_for_all_of_ten() {
    assert_eq!(wait_for_ten(None, Some(HANG)), 10);
    assert_eq!(wait_for_ten(None, None), 10);
}

/// gevent: test__event.TestWait_count{1,2}.test
#[test]
fn wait_for_some_of_ten() {
    assert_eq!(wait_for_ten(Some(1), Some(HANG)), 1);
    assert_eq!(wait_for_ten(Some(2), Some(HANG)), 2);
}

/// A wait for an event that is set needs no turn of the hub, not even a switch, so this one is the first here; in gevent it
/// is the last. Those who were woken run when the caller next waits.
///
/// gevent: test__event.TestEventBasics.test_wait_while_notifying
#[test]
fn wait_for_a_set_event_does_not_switch() {
    greenlets(|| {
        let (event, order) = (Rc::new(Event::new()), log());
        let wait_then_note = |number: u32| {
            let (event, order) = (Rc::clone(&event), Rc::clone(&order));
            move || {
                event.wait();
                order.borrow_mut().push(number);
            }
        };
        let waiters = [1, 2].map(|number| spawn_local(wait_then_note(number)));
        settle();
        event.set();
        wait_then_note(3)();
        assert_eq!(*order.borrow(), [3]);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(*order.borrow(), [3, 1, 2]);
    });
}

/// gevent: test__event.TestEventBasics.test_gevent_wait_twice_when_already_set
#[test]
fn set_event_can_be_waited_for_again() {
    greenlets(|| {
        let event = Arc::new(Event::new());
        event.set();
        for _ in 0..2 {
            let waits = Arc::clone(&event);
            assert_eq!(wait(&[spawn(move || waits.wait())], ReturnWhen::AllCompleted, Some(HANG)).done, [0]);
        }
    });
}

#[test]
fn second_set_is_refused_and_comes_back() {
    let result = AsyncResult::new();
    result.set("first".to_owned()).unwrap();
    let AlreadySet(value) = result.set("second".to_owned()).unwrap_err();
    assert_eq!(value, "second");
    let AlreadySet(error) = result.set_error("third").unwrap_err();
    assert_eq!(error.to_string(), "task failed: third (&str)");
    assert_eq!(result.get().unwrap(), "first");
    assert_eq!(result.set("fourth".to_owned()).unwrap_err().to_string(), "result was set before");

    let failed = AsyncResult::<u32>::new();
    failed.set_error(TaskError::Shutdown).unwrap();
    assert_eq!(failed.set(1).unwrap_err(), AlreadySet(1));
    assert!(matches!(*failed.get().unwrap_err(), TaskError::Shutdown));
}

/// A thread, a greenlet, an async task and a callback may all set it and get it.
#[test]
fn result_between_all_kinds_of_strands() {
    let pool = ThreadPoolExecutor::new(1);
    greenlets(|| {
        for _ in 0..50 {
            let [first, second, third] = [(); 3].map(|()| Arc::new(never()));
            let (from, to) = (Arc::clone(&first), Arc::clone(&second));
            let thread = pool.submit(move || to.set(from.get().unwrap() + 1).unwrap());
            let (from, to) = (Arc::clone(&second), Arc::clone(&third));
            let task = spawn(move || {
                ropewalk::block_on(async move {
                    let task = tokio::spawn(async move { to.set(from.get_async().await.unwrap() + 1).unwrap() });
                    task.await.unwrap();
                });
            });
            let sets = Arc::clone(&first);
            spawn(|| ()).on_finish(move |_| sets.set(1).unwrap());
            assert_eq!(third.get().unwrap(), 3);
            joined(thread);
            joined(task);
        }
    });
}
