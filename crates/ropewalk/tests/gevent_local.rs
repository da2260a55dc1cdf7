//! gevent's `test__local`, case by case, in our words: values of which each greenlet has its own.
//!
//! Most of gevent's cases are about attributes of Python's objects; they are listed with their reason in
//! `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{greenlets, settle};
use ropewalk::greenlet::{join_all, spawn};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{SHORT, joined};

ropewalk::greenlet_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static OTHER: Cell<u32> = const { Cell::new(0) };
    static WORDS: RefCell<Vec<&'static str>> = RefCell::new(vec!["hemp"]);
}

/// gevent: test__local.TestGeventLocal.test_local_opts_not_subclassed
#[test]
fn value_stays_what_it_was_set_to() {
    greenlets(|| {
        NUMBER.with(|number| number.set(1));
        settle();
        assert_eq!(NUMBER.with(Cell::get), 1);
    });
}

ropewalk::greenlet_local! {
    static LEAVES: Leaves = const { Leaves };
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

struct Leaves;

impl Drop for Leaves {
    fn drop(&mut self) {
        LEFT.with(|left| left.set(1));
    }
}

#[test]
fn value_that_a_destructor_leaves_is_not_the_next_greenlets() {
    greenlets(|| {
        joined(spawn(|| LEAVES.with(|_| ())));
        assert_eq!(joined(spawn(|| LEFT.with(Cell::get))), 0);
    });
}

/// gevent: test__local.TestGeventLocal.test_attribute_error
#[test]
fn value_of_another_greenlet_is_not_seen() {
    greenlets(|| {
        joined(spawn(|| NUMBER.with(|number| number.set(1))));
        assert_eq!(NUMBER.with(Cell::get), 0);
        // Nor from a slot that was used before.
        assert_eq!(joined(spawn(|| NUMBER.with(Cell::get))), 0);
    });
}

/// gevent: test__local.TestGeventLocal.test_objects
#[test]
fn two_values_are_two() {
    greenlets(|| {
        NUMBER.with(|number| number.set(123));
        OTHER.with(|other| other.set(123));
        OTHER.with(|other| other.set(321));
        assert_eq!((NUMBER.with(Cell::get), OTHER.with(Cell::get)), (123, 321));
    });
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Sentinel;

impl Drop for Sentinel {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

ropewalk::greenlet_local! {
    static SENTINEL: Sentinel = Sentinel;
}

/// gevent: test__local.TestGeventLocal.test_locals_collected_when_greenlet_dead_but_still_referenced
#[test]
fn values_go_with_their_greenlet() {
    greenlets(|| {
        let handles: Vec<_> = (0..5).map(|_| spawn(|| SENTINEL.with(|_| ()))).collect();
        let killed = spawn(|| {
            SENTINEL.with(|_| ());
            ropewalk::sleep(support::HANG);
        });
        settle();
        assert!(handles.iter().all(|handle| handle.is_finished()));
        assert_eq!(DROPPED.load(Ordering::Relaxed), 5, "though the handles are still there");
        killed.kill();
        settle();
        assert_eq!(DROPPED.load(Ordering::Relaxed), 6);
    });
}

/// A look at a value may wait, and the value may be made of others.
#[test]
fn look_that_waits() {
    greenlets(|| {
        let handles = (0..10).map(|n| {
            spawn(move || {
                WORDS.with(|words| {
                    ropewalk::sleep(SHORT / 4);
                    words.borrow_mut().push(if n % 2 == 0 { "jute" } else { "sisal" });
                    ropewalk::yield_now();
                    words.borrow().len()
                })
            })
        });
        assert_eq!(join_all(handles).unwrap(), [2; 10]);
        assert_eq!(WORDS.with(|words| words.borrow().len()), 1);
    });
    assert_eq!(WORDS.with(|words| words.borrow().len()), 1, "on a thread it is the thread's");
}
