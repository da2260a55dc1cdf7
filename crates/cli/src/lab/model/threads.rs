//! A fixed number of plain threads; each takes the next unit when it has finished one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Model, Switching};
use crate::lab::work::{Done, Unit};

pub(super) struct Threads {
    pub(super) name: &'static str,
    /// How many, asked when the row runs.
    pub(super) count: fn() -> usize,
}

impl Model for Threads {
    fn name(&self) -> &'static str {
        self.name
    }

    fn switching(&self) -> Switching {
        Switching::Os
    }

    fn run(&self, units: Vec<Unit>) -> Vec<Done> {
        let units = Arc::new(units);
        let next = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..(self.count)().min(units.len()))
            .map(|_| {
                let (units, next) = (Arc::clone(&units), Arc::clone(&next));
                ropewalk::thread::spawn(move || {
                    let mut done = Vec::new();
                    // Relaxed: only the count itself must be taken once; the units were there before the threads.
                    while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                        done.push(unit.perform());
                    }
                    done
                })
            })
            .collect();
        // A thread that panicked takes its reports with it: they are counted as lost.
        threads.into_iter().filter_map(|t| t.join().ok()).flatten().collect()
    }
}
