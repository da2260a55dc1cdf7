//! gevent's `test__timeout` and `test__sleep0`, case by case, in our words: a limit is a [`CancelToken`] around a region.
//!
//! What has no counterpart here is listed with its reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{ends_at_its_limit, greenlets, within};
use ropewalk::CancelToken;
use ropewalk::sync::{Event, Interrupted};
use std::time::{Duration, Instant};
use support::{HANG, SHORT};

/// A limit that has passed stays so; the next wait takes a new one.
///
/// gevent: test__timeout.Test.test_expires
#[test]
fn limit_ends_a_wait_again_and_again() {
    greenlets(|| {
        for _ in 0..2 {
            ends_at_its_limit(|limit| within(limit, || Event::new().wait()).unwrap_err());
        }
        let token = CancelToken::new().with_timeout(Duration::ZERO);
        for _ in 0..2 {
            assert_eq!(token.run(|| Event::new().wait()), Err(Interrupted::TimedOut));
        }
    });
}

/// gevent: test__timeout.Test.test_context_manager
#[test]
fn region_ends_with_the_error_of_its_own_limit() {
    greenlets(|| {
        let mut reached = false;
        let ended = within(HANG, || {
            ends_at_its_limit(|limit| within(limit, || Event::new().wait()).unwrap_err());
            reached = true;
        });
        assert_eq!((ended, reached), (Ok(()), true), "the outer limit has not passed");
    });
}

/// Whether the end of the region is an error is for the caller to say.
///
/// gevent: test__timeout.Test.test_context_manager_false
#[test]
fn limit_that_passes_silently() {
    greenlets(|| {
        let mut after = false;
        let _ = within(SHORT, || {
            Event::new().wait();
            after = true;
        });
        assert!(!after);
    });
}

/// gevent: test__timeout.Test.test_cancel
#[test]
fn limit_of_a_region_that_was_left_ends_nothing() {
    greenlets(|| {
        let token = CancelToken::new().with_timeout(SHORT);
        assert_eq!(token.run(|| 1), Ok(1));
        ropewalk::sleep(2 * SHORT);
        assert!(token.is_cancelled(), "its time has come, and nobody was under it");
        assert!(!ropewalk::task::is_cancelled());
    });
}

/// gevent: test__timeout.Test.test_with_timeout
#[test]
fn value_of_the_region_or_another_one() {
    greenlets(|| {
        assert_eq!(within(SHORT, || ropewalk::sleep(HANG)), Err(Interrupted::TimedOut));
        let slow = || {
            ropewalk::sleep(HANG);
            1
        };
        assert_eq!(within(SHORT, slow).unwrap_or(7), 7);
        let quick = || {
            ropewalk::sleep(Duration::from_millis(1));
            1
        };
        assert_eq!(within(HANG, quick).unwrap_or(7), 1);
    });
}

/// gevent: test__sleep0
#[test]
fn limit_ends_a_loop_that_only_yields() {
    greenlets(|| {
        let started = Instant::now();
        let ended = within(SHORT, || {
            loop {
                ropewalk::yield_now();
            }
        });
        assert_eq!(ended, Err::<(), _>(Interrupted::TimedOut));
        assert!(SHORT <= started.elapsed());
    });
}

/// Limits nest: the one that passes first ends the region it belongs to, and no other.
#[test]
fn inner_limit_leaves_the_outer_region_alone() {
    greenlets(|| {
        let ended = within(HANG, || {
            let inner = within(SHORT, || within(HANG, || Event::new().wait()));
            assert_eq!(inner, Err(Interrupted::TimedOut), "of the middle one, through the innermost");
            ropewalk::sleep(SHORT);
            3
        });
        assert_eq!(ended, Ok(3));
    });
}
