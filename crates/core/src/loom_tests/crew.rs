//! Models of the counts of a pool: no job is left lying, no worker is one too many, and every count comes back to 0.
//!
//! A worker here is a thread of the [rehearsal](crate::task::crew_rehearsal), or a thread that plays a worker in the middle
//! of its life: the steps that led there were taken one after another before, so that the race itself stays small.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model};
use crate::model::thread;
use crate::park::EndsBy;
use crate::task::crew::{Back, Needed, Step};
use crate::task::crew_rehearsal::{Life, Pool};
use std::sync::Arc;

/// A pool of one with a number that its jobs add to.
fn pool(life: Life) -> (Arc<Pool>, Arc<Number>) {
    (Pool::new(1, life, None), Arc::new(Number::new()))
}

/// Submits a job that adds one.
fn submit(pool: &Arc<Pool>, ran: &Arc<Number>) {
    let ran = Arc::clone(ran);
    assert!(pool.submit(move |_| ran.add(1)));
}

fn play(pool: &Arc<Pool>, part: fn(&Arc<Pool>)) -> thread::JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || part(&pool))
}

/// Makes two workers runnable where one may be: the first came back, the second had taken its place.
fn hire_one_too_many(pool: &Pool) {
    pool.hire();
    assert_eq!(pool.crew.blocks(EndsBy::Others, || false), Needed::Nobody);
    pool.hire();
    assert_eq!(pool.crew.unblocks(EndsBy::Others), Back::Fits);
}

#[test]
fn notify_before_wait() {
    model("crew: notify_before_wait", || {
        let (pool, ran) = pool(Life::UntilShutdown);
        submit(&pool, &ran);
        pool.shut_down(false);
        pool.join();
        assert_eq!((ran.get(), pool.started()), (1, 1));
        assert!(pool.crew.is_square());
    });
}

/// A job comes between a worker's last look at the queue and its being idle.
#[test]
fn notify_between_check_and_park() {
    model("crew: notify_between_check_and_park", || {
        let (pool, ran) = pool(Life::OneJob);
        pool.hire();
        let worker = play(&pool, Pool::work);
        submit(&pool, &ran);
        worker.join().unwrap();
        assert_eq!((ran.get(), pool.started()), (1, 0), "there was a worker already");
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
}

/// One is idle and another looks at the queue; a job comes and counts on the idle one. Whoever takes it, the count is right.
#[test]
fn two_waiters_one_notification() {
    model("crew: two_waiters_one_notification", || {
        let ran = Arc::new(Number::new());
        let pool = Pool::new(2, Life::OneJob, None);
        pool.hire();
        pool.hire();
        assert_eq!(pool.crew.idles(), Step::On);
        let other = play(&pool, |pool| {
            if !pool.takes() {
                assert_eq!(pool.crew.idles(), Step::On);
            }
        });
        submit(&pool, &ran);
        other.join().unwrap();
        while pool.idle_takes() {}
        assert_eq!((ran.get(), pool.started()), (1, 0));
        assert_eq!(pool.crew.runnable_and_idle(), (2, 1), "the one that did not take it is idle");
    });
}

/// A spare has waited for long enough, and is called at that moment, or is not.
#[test]
fn timeout_races_with_notify() {
    model("crew: timeout_races_with_notify", || {
        let ran = Arc::new(Number::new());
        let pool = Pool::new(1, Life::OneJob, Some(A_WHILE));
        hire_one_too_many(&pool);
        assert_eq!(pool.crew.step(), Step::Down);
        // The other one's job waits, so somebody is needed for the next.
        assert_eq!(pool.crew.blocks(EndsBy::Others, || false), Needed::Nobody);
        let spare = play(&pool, |pool| {
            if pool.wait_as_spare() {
                pool.work();
            }
        });
        submit(&pool, &ran);
        spare.join().unwrap();
        pool.join();
        assert_eq!(ran.get(), 1);
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
        assert_eq!(pool.crew.spares(), 0);
    });
}

/// A job begins to wait while another one comes: its worker hands the queue on, to one replacement and no more.
#[test]
fn dropped_waiter_hands_on() {
    model("crew: dropped_waiter_hands_on", || {
        let (pool, ran) = pool(Life::OneJob);
        pool.hire();
        let waits = play(&pool, |pool| pool.blocked(EndsBy::Others));
        submit(&pool, &ran);
        waits.join().unwrap();
        pool.join();
        assert_eq!((ran.get(), pool.started()), (1, 1));
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
}

/// A job is taken back by a shutdown while its submit is about to start a thread for it.
#[test]
fn owner_drop_races_with_wait() {
    model("crew: owner_drop_races_with_wait", || {
        let (pool, _) = pool(Life::UntilShutdown);
        let submits = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.submit(|_| ()))
        };
        pool.shut_down(true);
        let accepted = submits.join().unwrap();
        pool.join();
        assert_eq!(pool.late(), 0, "a thread was started after the shutdown had returned");
        assert!(accepted || pool.started() == 0);
        assert!(pool.crew.is_square());
    });
}

/// The only worker begins to wait for a lock, which the job that comes may let go of.
#[test]
fn all_stuck_adds_one() {
    model("crew: all_stuck_adds_one", || {
        let (pool, ran) = pool(Life::OneJob);
        pool.hire();
        let waits = play(&pool, |pool| pool.blocked(EndsBy::Release));
        submit(&pool, &ran);
        waits.join().unwrap();
        pool.join();
        assert_eq!((ran.get(), pool.started()), (1, 1));
        assert_eq!(pool.crew.runnable_and_idle(), (2, 0));
    });
}

/// One of two workers is too many and steps down; `meanwhile` it is needed again for the job that is queued, which is run.
fn while_one_steps_down(name: &str, meanwhile: fn(&Arc<Pool>)) {
    model(name, move || {
        let (pool, ran) = pool(Life::OneJob);
        hire_one_too_many(&pool);
        let ran_there = Arc::clone(&ran);
        pool.put(move |_| ran_there.add(1));
        let second = play(&pool, |pool| {
            if pool.crew.step() == Step::On || pool.wait_as_spare() {
                pool.takes();
            }
        });
        meanwhile(&pool);
        // Whoever was called for a job that another one took is not to wait for the next.
        pool.begin_shutdown(false);
        second.join().unwrap();
        pool.join();
        assert_eq!(ran.get(), 1);
    });
}

/// Of two that may be one, the first gets stuck while the second steps down: one of them sees what is queued.
#[test]
fn stuck_while_another_steps_down() {
    while_one_steps_down("crew: stuck_while_another_steps_down", |pool| pool.blocked(EndsBy::Release));
}

/// A worker comes back while its replacement looks for work, finds none and becomes idle: it steps down, and not only when the
/// other one's job has ended.
#[test]
fn replacement_steps_down() {
    model("crew: replacement_steps_down", || {
        let (pool, _) = pool(Life::OneJob);
        pool.hire();
        assert_eq!(pool.crew.blocks(EndsBy::Others, || false), Needed::Nobody);
        pool.hire();
        let replacement = play(&pool, |pool| {
            if pool.crew.step() == Step::On {
                assert!(!pool.takes());
                let _ = pool.crew.idles();
            }
        });
        pool.unblocked(EndsBy::Others);
        replacement.join().unwrap();
        if pool.idle_takes() {
            // It was told while it was idle.
            assert_eq!(pool.crew.step(), Step::Down);
        }
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
        assert_eq!(pool.crew.spares(), 1);
    });
}

/// A worker comes back while its replacement is idle: that one steps down at once, and not only when a job has ended.
#[test]
fn idle_replacement_is_sent_home() {
    let blocked_and_replaced = || {
        let (pool, ran) = pool(Life::OneJob);
        pool.hire();
        assert_eq!(pool.crew.blocks(EndsBy::Others, || false), Needed::Nobody);
        pool.hire();
        assert_eq!(pool.crew.idles(), Step::On);
        (pool, ran)
    };
    model("crew: idle_replacement_is_sent_home", move || {
        let (pool, _) = blocked_and_replaced();
        play(&pool, |pool| pool.unblocked(EndsBy::Others)).join().unwrap();
        assert!(pool.idle_takes(), "nobody told it");
        assert_eq!(pool.crew.step(), Step::Down);
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
    model("crew: a job comes meanwhile", move || {
        let (pool, ran) = blocked_and_replaced();
        let comes_back = play(&pool, |pool| pool.unblocked(EndsBy::Others));
        // It claims the idle one, or finds nobody to claim.
        submit(&pool, &ran);
        comes_back.join().unwrap();
        assert_eq!(pool.crew.runnable_and_idle(), (2, 0), "claimed by both, or by none");
        assert!(pool.idle_takes());
        assert_eq!(pool.crew.step(), Step::Down);
        // The other one's job is done.
        while pool.takes() {}
        assert_eq!((ran.get(), pool.started()), (1, 0));
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
}

/// A shutdown comes while a worker steps down, and the other one still runs.
#[test]
fn spare_sees_the_shutdown() {
    model("crew: spare_sees_the_shutdown", || {
        let (pool, _) = pool(Life::UntilShutdown);
        hire_one_too_many(&pool);
        let second = play(&pool, |pool| {
            pool.work();
            pool.worker_ended();
        });
        pool.begin_shutdown(false);
        second.join().unwrap();
        pool.crew.ends();
        pool.worker_ended();
        pool.await_end();
        assert!(pool.crew.is_square());
    });
}

/// The pool grows while a job comes that finds it full: one of the two brings a worker for it.
#[test]
fn grows_while_a_job_comes() {
    model("crew: grows_while_a_job_comes", || {
        let (pool, ran) = pool(Life::OneJob);
        pool.hire();
        let grows = play(&pool, |pool| pool.resize(2));
        submit(&pool, &ran);
        grows.join().unwrap();
        pool.join();
        assert_eq!((ran.get(), pool.started()), (1, 1));
        assert_eq!(pool.crew.runnable_and_idle(), (2, 0));
    });
}

/// The pool shrinks while a job comes that may claim the idle worker, which is one too many: the job is run, and it steps down.
#[test]
fn shrinks_while_a_job_comes() {
    model("crew: shrinks_while_a_job_comes", || {
        let ran = Arc::new(Number::new());
        let pool = Pool::new(2, Life::OneJob, None);
        pool.hire();
        pool.hire();
        assert_eq!(pool.crew.idles(), Step::On);
        let shrinks = play(&pool, |pool| pool.resize(1));
        submit(&pool, &ran);
        shrinks.join().unwrap();
        assert!(pool.idle_takes(), "nobody told the idle one");
        assert_eq!(pool.crew.step(), Step::Down);
        // The other one's job is done.
        while pool.takes() {}
        assert_eq!((ran.get(), pool.started()), (1, 0));
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
}

/// The pool shrinks while a worker finds nothing to do: it steps down, whoever sees that it is one too many.
#[test]
fn shrinks_while_one_becomes_idle() {
    model("crew: shrinks_while_one_becomes_idle", || {
        let pool = Pool::new(2, Life::OneJob, None);
        pool.hire();
        pool.hire();
        let shrinks = play(&pool, |pool| pool.resize(1));
        let mut step = pool.crew.idles();
        shrinks.join().unwrap();
        if pool.idle_takes() {
            step = pool.crew.step();
        }
        assert_eq!(step, Step::Down);
        assert_eq!(pool.crew.runnable_and_idle(), (1, 0));
    });
}

/// The pool grows while a worker steps down that is no longer one too many: it is called back, or another one comes.
#[test]
fn grows_while_a_worker_steps_down() {
    while_one_steps_down("crew: grows_while_a_worker_steps_down", |pool| pool.resize(2));
}
