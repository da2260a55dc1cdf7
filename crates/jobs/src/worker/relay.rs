//! Runs on a pool of threads, without a wake-up for each.
//!
//! Jobs come in batches, as many as there are slots, and short ones are over before the next thread has woken up: to wake fifty
//! threads for fifty of them would cost more than to run them (5 to 10 µs each, while the broker waits for the outcomes). So the
//! runs of a batch lie in a row, and one thread is called. It takes the first, has the next thread called if there are more, and goes
//! on with the row when it has run what it took. Jobs that block have a thread each after as many wake-ups, one after the
//! other; short ones are run by the few that came in time.
//!
//! # No run is left lying
//!
//! Whoever leaves something in the row, the one that puts or a thread that takes, leaves a thread *on its way* under the lock of the
//! row. The pool has as many threads as the worker has slots, and each run that lies here or runs has a slot; so one is free.

use super::model::within;
use ropewalk::executor::ThreadPoolExecutor;
use ropewalk::{Shutdown, Submit as _, TaskHandle};
use ropewalk_core::task::harness::{self, Runnable};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// A pool, and the runs that wait for one of its threads.
pub(super) struct Relay {
    pool: Arc<ThreadPoolExecutor>,
    row: Arc<Mutex<Row>>,
}

#[derive(Default)]
struct Row {
    runs: VecDeque<Arc<dyn Runnable>>,
    /// A thread was called and has not come yet.
    on_its_way: bool,
}

impl Row {
    /// Whether a thread has to be called, by whoever asks.
    fn calls(&mut self) -> bool {
        !self.runs.is_empty() && !std::mem::replace(&mut self.on_its_way, true)
    }
}

fn lock(row: &Mutex<Row>) -> MutexGuard<'_, Row> {
    row.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// On a pool with a thread for each run that is not over.
    pub(super) fn new(pool: ThreadPoolExecutor) -> Self {
        Self { pool: Arc::new(pool), row: Arc::default() }
    }

    /// Starts a run, whose waits end at `deadline`.
    pub(super) fn start(&self, deadline: Option<Instant>, run: impl FnOnce() + Send + 'static) -> TaskHandle<()> {
        let job = move || {
            run();
            Ok(())
        };
        // The deadline is that of this run, and not of the thread that is called.
        let (run, handle) = within(deadline, || harness::new_task(0, job));
        let calls = {
            let mut row = lock(&self.row);
            row.runs.push_back(run);
            row.calls()
        };
        if calls {
            call(&self.pool, &self.row);
        }
        handle
    }

    /// Runs that have begun go on, and nobody waits for them.
    pub(super) fn let_go(&self) {
        self.pool.shutdown(Shutdown::Detach);
    }
}

fn call(pool: &Arc<ThreadPoolExecutor>, row: &Arc<Mutex<Row>>) {
    // Never the last to hold the pool: the worker does until every run is over, and whoever calls has one before it.
    let (own, row) = (Arc::downgrade(pool), Arc::clone(row));
    drop(pool.submit(move || take_turns(&own, &row)));
}

/// What a thread does that has come.
fn take_turns(pool: &Weak<ThreadPoolExecutor>, row: &Arc<Mutex<Row>>) {
    lock(row).on_its_way = false;
    loop {
        let (run, calls) = {
            let mut row = lock(row);
            let Some(run) = row.runs.pop_front() else { return };
            (run, row.calls())
        };
        if calls && let Some(pool) = pool.upgrade() {
            call(&pool, row);
        }
        run.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SLOTS: usize = 4;

    fn relay() -> Relay {
        Relay::new(ThreadPoolExecutor::new(SLOTS))
    }

    /// Each waits for all the others: with one thread too few none would end. Again and again, because who calls whom is a race.
    #[test]
    fn runs_that_wait_for_each_other_have_a_thread_each() {
        let relay = relay();
        for _ in 0..2_000 {
            let all = Arc::new(Barrier::new(SLOTS));
            let runs = [(); SLOTS].map(|()| {
                let all = Arc::clone(&all);
                relay.start(None, move || drop(all.wait()))
            });
            runs.into_iter().for_each(|run| run.join().unwrap());
        }
    }

    #[test]
    fn runs_begin_in_the_order_in_which_they_came() {
        let relay = Relay::new(ThreadPoolExecutor::new(1));
        let next = Arc::new(AtomicUsize::new(0));
        let runs: Vec<_> = (0..100)
            .map(|at| {
                let next = Arc::clone(&next);
                relay.start(None, move || assert_eq!(next.fetch_add(1, Ordering::Relaxed), at))
            })
            .collect();
        runs.into_iter().for_each(|run| run.join().unwrap());
    }

    #[test]
    fn run_that_panics_or_is_cancelled_holds_up_nobody() {
        let relay = Relay::new(ThreadPoolExecutor::new(1));
        let begun = Arc::new(Barrier::new(2));
        let first = relay.start(None, {
            let begun = Arc::clone(&begun);
            move || {
                begun.wait();
                begun.wait();
                panic!("a strand broke");
            }
        });
        begun.wait();
        let (cancelled, last) = (relay.start(None, || unreachable!("it was cancelled")), relay.start(None, || ()));
        assert!(cancelled.cancel());
        begun.wait();
        assert!(first.join().is_err() && cancelled.join().is_err() && last.join().is_ok());
    }

    /// The thread that was called for it comes for the others too.
    #[test]
    fn run_that_is_too_late_to_begin_holds_up_nobody() {
        let relay = Relay::new(ThreadPoolExecutor::new(1));
        let begun = Arc::new(Barrier::new(2));
        let first = relay.start(None, {
            let begun = Arc::clone(&begun);
            move || {
                begun.wait();
                begun.wait();
            }
        });
        begun.wait();
        let late = relay.start(Some(Instant::now()), || unreachable!("its time was over"));
        let last = relay.start(None, || ());
        begun.wait();
        assert!(first.join().is_ok() && late.join().is_err() && last.join().is_ok());
    }
}
