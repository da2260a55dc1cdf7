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
use ropewalk::{Shutdown, Submit as _, TaskError, TaskHandle};
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
        // The deadline is that of this run, and not of the thread that is called.
        let (run, handle) = within(deadline, || harness::new_task(0, ropewalk::__private::pool_job(run)));
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
    let (own, theirs) = (Arc::downgrade(pool), Arc::clone(row));
    let called = pool.submit(move || take_turns(&own, &theirs));
    let row = Arc::clone(row);
    called.on_finish(move |came| {
        // No thread can be had: what it was called for ends as it would in the queue of the pool, and the next that is put calls again.
        let Err(error) = came else { return };
        let left = {
            let mut row = lock(&row);
            row.on_its_way = false;
            std::mem::take(&mut row.runs)
        };
        for run in left {
            run.cancel(match error {
                TaskError::WorkerDied { reason, .. } => TaskError::worker_died(reason),
                _ => TaskError::Shutdown,
            });
        }
    });
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
    use ropewalk::sync::{Barrier, Event};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const SLOTS: usize = 4;
    const LIMIT: Duration = Duration::from_secs(30);

    fn relay(threads: usize) -> Relay {
        Relay::new(ThreadPoolExecutor::builder().max_workers(threads).daemon(true).build().unwrap())
    }

    fn ends(mut run: TaskHandle<()>) -> Result<(), TaskError> {
        run.join_timeout(LIMIT)
    }

    /// Each waits for all the others: with one thread too few none would end. Again and again, because who calls whom is a race.
    /// Foreign code that blocks is not seen by the pool, and what waits through ropewalk is.
    #[test]
    fn runs_that_wait_for_each_other_have_a_thread_each() {
        let relay = relay(SLOTS);
        for round in 0..2_000 {
            let (ours, theirs) = (Arc::new(Barrier::new(SLOTS)), Arc::new(std::sync::Barrier::new(SLOTS)));
            let runs = [(); SLOTS].map(|()| {
                let (ours, theirs) = (Arc::clone(&ours), Arc::clone(&theirs));
                relay.start(None, move || {
                    if round % 2 == 0 {
                        ours.wait().unwrap();
                    } else {
                        theirs.wait();
                    }
                })
            });
            for run in runs {
                assert!(ends(run).is_ok(), "round {round}");
            }
        }
    }

    #[test]
    fn runs_begin_in_the_order_in_which_they_came() {
        let relay = relay(1);
        let next = Arc::new(AtomicUsize::new(0));
        let runs: Vec<_> = (0..100)
            .map(|at| {
                let next = Arc::clone(&next);
                relay.start(None, move || assert_eq!(next.fetch_add(1, Ordering::Relaxed), at))
            })
            .collect();
        runs.into_iter().for_each(|run| ends(run).unwrap());
    }

    #[test]
    fn run_that_panics_or_is_cancelled_holds_up_nobody() {
        let relay = relay(1);
        let goes = Arc::new(Event::new());
        let first = relay.start(None, {
            let goes = Arc::clone(&goes);
            move || {
                goes.wait();
                panic!("a strand broke");
            }
        });
        let (cancelled, last) = (relay.start(None, || ()), relay.start(None, || ()));
        cancelled.cancel();
        goes.set();
        assert!(matches!(ends(first), Err(TaskError::Panicked(_))));
        assert!(matches!(ends(cancelled), Ok(()) | Err(TaskError::Cancelled)));
        assert!(ends(last).is_ok());
    }

    /// The thread is called without the deadline of the run for which it is.
    #[test]
    fn run_that_is_too_late_to_begin_holds_up_nobody() {
        let relay = relay(1);
        assert!(ends(relay.start(Some(Instant::now()), || unreachable!("its time was over"))).is_err());
        assert!(ends(relay.start(None, || ())).is_ok());
    }

    /// As where the system refuses to start a thread.
    #[test]
    fn runs_end_where_no_thread_comes_for_them() {
        let relay = relay(SLOTS);
        relay.let_go();
        for _ in 0..2 {
            assert!(matches!(ends(relay.start(None, || ())), Err(TaskError::Shutdown)));
        }
    }
}
