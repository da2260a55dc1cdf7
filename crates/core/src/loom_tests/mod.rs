//! The loom models of this crate: six hazards for each primitive, and a negative control for each ordering.
//!
//! Every model explores all executions with at most three preemptions (`LOOM_MAX_PREEMPTIONS`) and at most three threads to
//! the end. A wait with a time limit reaches it at any point, because the checkers' clock jumps to the deadline (`model::time`);
//! an async wait is dropped by polling it once by hand. A cell of the table is a test of that hazard's name in the file of the
//! primitive, or the number of the reason below; `table_and_models_agree` holds the two together.
//!
//! | primitive | notify_before_wait | notify_between_check_and_park | two_waiters_one_notification | timeout_races_with_notify | dropped_waiter_hands_on | owner_drop_races_with_wait |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | parker | model | model | 1 | model | 2 | model |
//! | waitlist | model | model | model | model | model | model |
//! | mutex | model | model | model | model | model | model |
//! | reentrant | model | model | model | model | model | 3 |
//! | rwlock | model | model | model | model | model | 3 |
//! | condvar | model | model | model | model | model | model |
//! | semaphore | model | model | model | model | model | 3 |
//! | barrier | model | model | model | model | model | model |
//! | event | model | model | model | model | model | model |
//! | once | model | model | model | model | model | model |
//! | queue | model | model | model | model | model | model |
//! | unbounded | model | model | model | model | model | model |
//! | rendezvous | model | model | model | model | model | model |
//! | select | model | model | model | model | model | model |
//! | task | model | model | model | model | model | model |
//! | interrupt | model | model | model | model | model | model |
//! | crew | model | model | model | model | model | model |
//!
//! 1. A parker has one waiter, its thread; `two_notifications_one_waiter` turns it round.
//! 2. Its notification is for that thread alone, so there is nobody to hand it on to.
//! 3. A wait borrows the lock, so the lock cannot go away. A holder that goes away by a panic drops its guard, which is the
//!    unlock of the other models; loom cannot change threads in the middle of an unwind, so ordinary tests hold that part.
//!
//! Where nothing owns what is waited for, the last column is whoever closes it: the one that aborts a barrier, tells all of a
//! condition variable, sets an event twice, gives a mutex back on another thread, gives up an initializer, cancels a task, shuts
//! a pool down. Who waits in a pool is a worker for jobs, and what it hands on when its job waits is the queue.
//!
//! Beside the table: `strand`, the way into a hub from other threads, which nothing waits on.
//!
//! What loom does not see here: the leaf lock and the futex of Linux (it runs their generic counterparts), `std::sync::Arc`
//! in tasks and wakers, and some looks that race with a loop of compare-and-swap (`facts`).
#![cfg(all(test, ropewalk_loom))]

mod barrier;
mod condvar;
mod controls;
mod crew;
mod event;
mod facts;
mod interrupt;
mod mutex;
mod once;
mod parker;
mod queue;
mod reentrant;
mod rendezvous;
mod rwlock;
mod select;
mod semaphore;
#[cfg(feature = "strand")]
mod strand;
mod task;
mod unbounded;
mod waitlist;

use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::{self, Duration};
use crate::model::{thread, unchecked};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How many preemptions are explored where `LOOM_MAX_PREEMPTIONS` says nothing else.
const PREEMPTIONS: usize = 3;
/// As good as no bound: explored as if there were none.
const UNBOUNDED: usize = 255;
/// More than any model takes; an execution that takes more fails.
const BRANCHES_MAX: usize = 20_000;

/// Explores all executions of a model to the end.
fn model(name: &str, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        Some(builder.preemption_bound.unwrap_or(PREEMPTIONS)).filter(|&preemptions| preemptions < UNBOUNDED);
    builder.max_branches = BRANCHES_MAX;
    // Nothing else stops the exploration, so when it returns it has finished.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.checkpoint_file = None;
    let executions = Arc::new(unchecked::PlainU64::new(0));
    let counted = Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        time::reset();
        run();
    });
    println!("model {name}: executions={}", executions.load(Ordering::Relaxed));
}

/// Runs the other bodies on a thread each and `mine` on this one, and gives back what they shared.
fn race<S: Send + Sync + 'static>(shared: S, others: &[fn(&S)], mine: fn(&S)) -> Arc<S> {
    let shared = Arc::new(shared);
    let threads: Vec<_> = others
        .iter()
        .map(|&body| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || body(&shared))
        })
        .collect();
    mine(&shared);
    for thread in threads {
        thread.join().expect("a panic ends the model");
    }
    shared
}

/// Lets the others come first, so that a look (a plain load) is explored before and after them; see `facts`. What was seen
/// before a yield is not shown once more after it when there is something newer: where stale values are the point, another
/// number is set after and looked at before.
fn look_later() {
    thread::yield_now();
}

/// Polls a future once, with a waker that wakes nobody.
fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Some time. Under loom a wait with a time limit ends at any point.
const A_WHILE: Duration = Duration::from_millis(1);

/// A number that is changed in two steps, so that two strands at it lose a change, and that shows stale values to whoever
/// did not synchronize.
#[derive(Debug)]
struct Number(AtomicU32);

impl Number {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn add(&self, n: u32) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before + n, Ordering::Relaxed);
    }

    fn set(&self, n: u32) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn table_and_models_agree() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/loom_tests");
    let table: Vec<Vec<&str>> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|row| row.trim_end_matches(" |").split(" | ").collect())
        .collect();
    let [hazards, _, primitives @ ..] = table.as_slice() else { panic!("there is no table") };
    assert_eq!((hazards.len(), primitives.len()), (7, 17));
    for primitive in primitives {
        let source = std::fs::read_to_string(directory.join(format!("{}.rs", primitive[0]))).expect("a file each");
        for (hazard, cell) in hazards.iter().zip(primitive).skip(1) {
            let has_model = source.contains(&format!("#[test]\nfn {hazard}()"));
            assert_eq!(has_model, *cell == "model", "{} × {hazard}", primitive[0]);
            assert!(
                has_model || cell.parse::<u32>().is_ok(),
                "{} × {hazard} has neither a model nor a reason",
                primitive[0]
            );
        }
    }
}
