//! The shuttle models of this crate: what is too large for loom, under random schedules and under PCT's.
//!
//! Shuttle takes every atomic for sequentially consistent, so these models say nothing about orderings; they say that no
//! wake-up is lost and nothing counted twice with four to eight strands at once. `ROPEWALK_SHUTTLE_SCHEDULES` is the number
//! of schedules of each model and scheduler; a failure prints the schedule, which `shuttle::replay` repeats.
#![cfg(all(test, ropewalk_shuttle))]

mod locks;
mod pools;
mod queues;
#[cfg(feature = "strand")]
mod strands;
mod tasks;

use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::{self, Duration};
use crate::model::{thread, unchecked};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::sync::Arc;

/// Schedules of each model and scheduler where the environment says nothing else: under a minute for all.
const SCHEDULES: usize = 15_000;
/// How many changes of thread PCT places; it finds bugs of this depth with a known probability.
const PCT_DEPTH: usize = 3;

/// Some time. Under a checker a wait with a time limit ends at any point.
const A_WHILE: Duration = Duration::from_millis(1);

/// Runs a model under random schedules of both kinds.
fn model(name: &str, run: impl Fn() + Send + Sync + 'static) {
    let schedules = match std::env::var("ROPEWALK_SHUTTLE_SCHEDULES") {
        Ok(schedules) => schedules.parse().expect("ROPEWALK_SHUTTLE_SCHEDULES is a number"),
        Err(_) => SCHEDULES,
    };
    let run = Arc::new(run);
    let random = explore(RandomScheduler::new(schedules), Arc::clone(&run));
    let pct = explore(PctScheduler::new(PCT_DEPTH, schedules), run);
    println!("model {name}: schedules={}", random + pct);
}

fn explore(scheduler: impl Scheduler + 'static, run: Arc<impl Fn() + Send + Sync + 'static>) -> usize {
    let mut config = Config::new();
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        time::reset();
        run();
    })
}

/// Runs each body on a thread of its own to its end, and gives back what they shared.
fn race<S: Send + Sync + 'static>(shared: S, bodies: &[fn(&S)]) -> Arc<S> {
    let shared = Arc::new(shared);
    let threads: Vec<_> = bodies
        .iter()
        .map(|&body| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || body(&shared))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a panic ends the model");
    }
    shared
}

/// A fact about shuttle: it does not see a relaxed publication, so what orderings there are is loom's to judge. Should this
/// fail after an upgrade, shuttle has learned it.
#[test]
fn a_relaxed_publication_is_not_seen() {
    let unseen = Arc::new(unchecked::PlainU64::new(0));
    let stale = Arc::clone(&unseen);
    model("facts: relaxed publication", move || {
        let word = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
        let writes = Arc::clone(&word);
        let writer = thread::spawn(move || {
            writes.0.store(1, Ordering::Relaxed);
            writes.1.store(1, Ordering::Relaxed);
        });
        if word.1.load(Ordering::Relaxed) == 1 && word.0.load(Ordering::Relaxed) == 0 {
            stale.fetch_add(1, Ordering::Relaxed);
        }
        writer.join().unwrap();
    });
    assert_eq!(unseen.load(Ordering::Relaxed), 0);
}
