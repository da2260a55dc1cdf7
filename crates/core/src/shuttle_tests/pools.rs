//! The counts of a pool with jobs that wait for one another, spares that expire, and a shutdown in the middle of it.
#![cfg(all(test, ropewalk_shuttle))]

use super::{A_WHILE, model};
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::thread;
use crate::park::EndsBy;
use crate::sync::Event;
use crate::task::crew_rehearsal::{Life, Pool};
use std::sync::Arc;

fn pool(max_workers: usize) -> (Arc<Pool>, Arc<AtomicU32>) {
    (Pool::new(max_workers, Life::UntilShutdown, Some(A_WHILE)), Arc::new(AtomicU32::new(0)))
}

/// Submits a job that waits, and then the one it waits for, on a thread of their own.
fn submit_pair(pool: &Arc<Pool>, ran: &Arc<AtomicU32>, ends_by: EndsBy) -> thread::JoinHandle<()> {
    let (pool, ran) = (Arc::clone(pool), Arc::clone(ran));
    thread::spawn(move || {
        let event = Arc::new(Event::new());
        let (waits, counts) = (Arc::clone(&event), Arc::clone(&ran));
        assert!(pool.submit(move |pool| {
            pool.blocked(ends_by);
            waits.wait();
            pool.unblocked(ends_by);
            counts.fetch_add(1, Ordering::Relaxed);
        }));
        assert!(pool.submit(move |_| {
            event.set();
            ran.fetch_add(1, Ordering::Relaxed);
        }));
    })
}

/// Jobs that wait for jobs behind them, by two submitters, in a pool of one and in a pool of two: all run, and all counts
/// are 0 in the end.
#[test]
fn jobs_that_wait_for_jobs() {
    for max_workers in 1..=2 {
        model(&format!("pools: jobs_that_wait_for_jobs, {max_workers}"), move || {
            let (pool, ran) = pool(max_workers);
            let pairs =
                [EndsBy::Others, EndsBy::Release, EndsBy::Others].map(|ends_by| submit_pair(&pool, &ran, ends_by));
            for pair in pairs {
                pair.join().unwrap();
            }
            pool.shut_down(false);
            pool.join();
            assert_eq!((ran.load(Ordering::Relaxed), pool.late()), (6, 0));
            assert!(pool.crew.is_square());
        });
    }
}

/// Submits race with a shutdown that cancels what has not started: none starts a thread after it, and none is lost count of.
#[test]
fn submits_and_a_shutdown() {
    model("pools: submits_and_a_shutdown", || {
        let (pool, ran) = pool(2);
        let submits = [(); 3].map(|()| {
            let (pool, ran) = (Arc::clone(&pool), Arc::clone(&ran));
            thread::spawn(move || {
                for _ in 0..2 {
                    let ran = Arc::clone(&ran);
                    pool.submit(move |pool| {
                        pool.blocked(EndsBy::Others);
                        thread::yield_now();
                        pool.unblocked(EndsBy::Others);
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                }
            })
        });
        pool.shut_down(true);
        let ran_before = ran.load(Ordering::Relaxed);
        for submit in submits {
            submit.join().unwrap();
        }
        pool.join();
        assert_eq!((ran.load(Ordering::Relaxed), pool.late()), (ran_before, 0), "after the shutdown had returned");
        assert!(pool.crew.is_square());
    });
}
