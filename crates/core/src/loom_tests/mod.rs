//! The loom models of this crate: six hazards for each primitive, and a negative control for each ordering.
//!
//! HEAD
#![cfg(all(test, ropewalk_loom))]

mod barrier;
mod condvar;
mod controls;
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
