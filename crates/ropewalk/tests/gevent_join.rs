//! gevent's `test__joinall`, `test__iwait`, `test__issue467` and the joins of `test__greenlet`, case by case, in our words.
//!
//! What has no counterpart here is listed with its reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{ends_at_its_limit, greenlets, interrupted, outer_limit_is_not_lost, settle, sleeper, within};
use ropewalk::greenlet::{AsyncResult, gather, iwait, join_all, spawn, wait_any};
use ropewalk::sync::{Event, Interrupted, Semaphore};
use ropewalk::task::TaskGroup;
use ropewalk::{ReturnWhen, TaskError, TaskHandle, wait};
use std::sync::Arc;
use std::time::Duration;
use support::{HANG, SHORT, joined};

/// gevent: test__greenlet.TestGet.test_raises_timeout_number
#[test]
fn join_ends_at_its_limit() {
    greenlets(|| ends_at_its_limit(|limit| interrupted(sleeper().join_timeout(limit))));
}

/// gevent: test__greenlet.TestGet.test_raises_timeout_Timeout
#[test]
fn join_under_a_token_with_a_limit() {
    greenlets(|| ends_at_its_limit(|limit| within(limit, || sleeper().join()).unwrap_err()));
}

/// gevent: test__greenlet.TestGet.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_join() {
    greenlets(|| outer_limit_is_not_lost(|limit| interrupted(sleeper().join_timeout(limit))));
}

/// Waits for the end of one greenlet, and for nothing of it.
fn ended_within(handles: &[TaskHandle<()>], limit: Duration) -> usize {
    wait(handles, ReturnWhen::AllCompleted, Some(limit)).done.len()
}

/// gevent: test__greenlet.TestJoin{,All0,All}.test_returns_none_after_timeout
#[test]
fn wait_for_the_end_ends_at_its_limit() {
    greenlets(|| {
        let handles = [sleeper()];
        ends_at_its_limit(|limit| {
            assert_eq!(ended_within(&handles, limit), 0);
            Interrupted::TimedOut
        });
        ends_at_its_limit(|limit| within(limit, || join_all([sleeper()])).unwrap_err());
    });
}

/// gevent: test__greenlet.TestJoin{,All0,All}.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_wait_for_the_end() {
    greenlets(|| {
        let handles = [sleeper()];
        outer_limit_is_not_lost(|limit| {
            assert_eq!(ended_within(&handles, limit), 0);
            Interrupted::Cancelled
        });
        outer_limit_is_not_lost(|limit| within(limit, || join_all([sleeper()])).unwrap_err());
    });
}

/// gevent: test__greenlet.TestStuff.test_wait_noerrors
#[test]
fn join_of_three() {
    greenlets(|| {
        assert_eq!(join_all([1, 2, 3].map(|n| spawn(move || n))).unwrap(), [1, 2, 3]);
        let (one, two) = (spawn(|| 1), spawn(|| "two"));
        let told = Arc::new(AsyncResult::new());
        let tells = Arc::clone(&told);
        one.on_finish(move |_| tells.set(true).unwrap());
        assert_eq!(join_all((one, two)).unwrap(), (1, "two"));
        assert!(told.get().unwrap());
    });
}

/// gevent: test__greenlet.TestStuff.test_wait_error
#[test]
fn join_in_which_one_panics() {
    greenlets(|| {
        let slow = spawn(|| {
            ropewalk::sleep(SHORT);
            1
        });
        let done = Arc::new(Event::new());
        let sets = Arc::clone(&done);
        slow.on_finish(move |_| sets.set());
        let ended = join_all([slow, spawn(|| panic!("expected"))]);
        assert!(ended.unwrap_err().is_panic());
        assert!(done.is_set(), "all have ended by then");
        assert!(join_all([spawn(|| -> u32 { panic!("expected") })]).unwrap_err().is_panic());
    });
}

/// `join_all` gives the error of the first in the order of the handles; a group gives the one that came first.
///
/// gevent: test__greenlet.TestStuff.test_joinall_exception_order
#[test]
fn earliest_of_several_panics() {
    fn both() -> [TaskHandle<()>; 2] {
        let late = spawn(|| {
            ropewalk::sleep(SHORT);
            panic!("first in order");
        });
        [late, spawn(|| panic!("first in time"))]
    }
    fn text(error: TaskError) -> String {
        error.to_string()
    }
    greenlets(|| {
        assert_eq!(text(join_all(both()).unwrap_err()), "task panicked: first in order");
        let mut group = TaskGroup::new();
        both().into_iter().for_each(|handle| group.add(handle));
        assert_eq!(text(group.join().unwrap_err()), "task panicked: first in time");
        let (earliest, _) = wait_any(both()).unwrap();
        assert_eq!(text(earliest.join().unwrap_err()), "task panicked: first in time");
    });
}

/// gevent: test__greenlet.TestStuff.test_joinall_count_raise_error
#[test]
fn wait_for_one_of_two() {
    greenlets(|| {
        let (first, rest) = wait_any([sleeper(), spawn(|| panic!("expected"))]).unwrap();
        assert!(first.join().unwrap_err().is_panic());
        assert!(rest.iter().all(TaskHandle::is_running));
        rest[0].kill();
        assert!(rest[0].is_finished());
    });
}

/// A handle is joined once, so nobody is joined twice; waiting for its end may be done again and again.
///
/// gevent: test__joinall.Test.test
#[test]
fn end_of_a_greenlet_is_waited_for_again() {
    greenlets(|| {
        let handles = [spawn(|| ()), spawn(|| ())];
        for _ in 0..2 {
            assert_eq!(ended_within(&handles, HANG), 2);
        }
        join_all(handles).unwrap();
    });
}

/// A greenlet that waits for a semaphore.
fn acquirer(semaphore: &Arc<Semaphore>) -> TaskHandle<()> {
    let semaphore = Arc::clone(semaphore);
    spawn(move || semaphore.acquire().forget())
}

/// gevent: test__iwait.Testiwait.test_noiter
#[test]
fn first_of_two_waits() {
    greenlets(|| {
        let semaphores = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let waits: Vec<_> = semaphores.iter().map(acquirer).collect();
        let id = waits[1].id();
        semaphores[1].release(1);
        assert_eq!(iwait(waits).next().unwrap().id(), id);
    });
}

/// gevent: test__iwait.Testiwait.test_iwait_partial
#[test]
fn iteration_that_is_left_before_its_end() {
    greenlets(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let mut ended = iwait([acquirer(&semaphore), acquirer(&semaphore)]).timeout(SHORT);
        joined(ended.next().unwrap());
        assert!(ended.next().is_none(), "its limit has passed");
        assert_eq!(ended.remaining(), 1);
        let rest = ended.into_remaining();
        semaphore.release(1);
        rest.into_iter().for_each(joined);
    });
}

/// Whoever waited for something that is not wanted any more is killed, and leaves nothing behind.
///
/// gevent: test__iwait.Testiwait.test_iwait_nogarbage
#[test]
fn wait_that_was_not_the_first_leaves_nothing_behind() {
    greenlets(|| {
        let semaphores = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        semaphores[0].release(1);
        let (first, rest) = wait_any(semaphores.iter().map(acquirer).collect::<Vec<_>>()).unwrap();
        joined(first);
        assert_eq!(Arc::strong_count(&semaphores[1]), 2);
        rest[0].kill();
        assert_eq!(Arc::strong_count(&semaphores[1]), 1);
        semaphores[1].release(1);
        assert!(semaphores[1].try_acquire().is_some(), "nobody took it in its stead");
    });
}

/// gevent: test__issue467.Test.test
#[test]
fn iteration_whose_body_waits() {
    greenlets(|| {
        let done = spawn(|| 9);
        settle();
        assert!(done.is_finished());
        let workers = (0..3).map(|n| {
            spawn(move || {
                assert_ne!(n, 2, "expected");
                n
            })
        });
        let mut ended = Vec::new();
        for handle in iwait(workers.chain([done])) {
            ropewalk::sleep(Duration::from_millis(1));
            ended.push(handle.join().ok());
        }
        ended.sort_unstable();
        assert_eq!(ended, [None, Some(0), Some(1), Some(9)]);
    });
}

/// The same in a future, which a greenlet waits for.
#[test]
fn join_of_three_in_async_code() {
    greenlets(|| {
        let handles = [1, 2, 3].map(|n| spawn(move || n));
        assert_eq!(ropewalk::block_on(gather(handles)).unwrap(), [1, 2, 3]);
    });
}
