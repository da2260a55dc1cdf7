//! Greenlets on several hubs: who takes what, and that nothing is lost when a hub is held up.

use ropewalk::greenlet::GreenletExecutor;
use ropewalk::sync::Event;
use ropewalk::{Shutdown, Submit, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Two jobs that keep their hub busy until both have begun: whether each had a hub.
fn pair(executor: &GreenletExecutor) -> bool {
    let begun = Arc::new(AtomicUsize::new(0));
    let [first, second] = [(); 2]
        .map(|()| {
            let begun = Arc::clone(&begun);
            executor.submit(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                while begun.load(Ordering::Relaxed) < 2 {
                    yield_now();
                }
                thread::current().id()
            })
        })
        .map(|handle| handle.join().unwrap());
    first != second
}

#[test]
fn busy_hub_leaves_the_second_job_to_the_one_that_wakes_up() {
    const PAIRS: usize = 40;
    const ROUNDS: usize = 20;
    let executor = GreenletExecutor::new(2);
    let apart = |_| (0..PAIRS).filter(|_| pair(&executor)).count() >= PAIRS - 4;
    // On a machine with much else to do a hub may wake up too late, but not again and again.
    assert!((0..ROUNDS).any(apart), "two busy jobs shared a hub again and again");
}

/// A hub whose greenlet blocks its thread takes nothing, so the other one does: after a while, busy as it is.
#[test]
fn jobs_of_a_hub_that_is_blocked_go_to_the_other() {
    let executor = GreenletExecutor::new(2);
    let (blocked, over) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let blocks = executor.submit({
        let (blocked, over) = (Arc::clone(&blocked), Arc::clone(&over));
        move || {
            blocked.wait();
            over.wait();
        }
    });
    blocked.wait();
    let done = Arc::new(AtomicUsize::new(0));
    let busy = executor.submit({
        let done = Arc::clone(&done);
        move || {
            while done.load(Ordering::Relaxed) < 10 {
                yield_now();
            }
        }
    });
    for _ in 0..10 {
        let done = Arc::clone(&done);
        executor.submit(move || done.fetch_add(1, Ordering::Relaxed)).join().unwrap();
    }
    busy.join().unwrap();
    over.wait();
    blocks.join().unwrap();
}

/// Ten thousand that wait for one event: each hub has taken its share, and all come back.
#[test]
fn many_waiters_are_spread_and_woken_by_a_thread() {
    const JOBS: usize = 10_000;
    let executor = GreenletExecutor::new(2);
    let (event, begun) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..JOBS)
        .map(|_| {
            let (event, begun) = (Arc::clone(&event), Arc::clone(&begun));
            executor.submit(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                event.wait();
                thread::current().id()
            })
        })
        .collect();
    while begun.load(Ordering::Relaxed) < JOBS {
        thread::yield_now();
    }
    event.set();
    let places: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    let here = places.iter().filter(|place| **place == places[0]).count();
    assert!((JOBS / 10..=JOBS - JOBS / 10).contains(&here), "{here} of {JOBS} were on one of two hubs");
}

/// The end of the last job and the shutdown meet: the hub looks whether its life is over, and goes to sleep.
#[test]
fn shutdown_between_the_last_look_and_the_sleep() {
    for _ in 0..2_000 {
        let executor = GreenletExecutor::new(1);
        drop(executor.submit(|| ()));
        executor.shutdown(Shutdown::Wait);
    }
}
