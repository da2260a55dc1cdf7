//! Two hubs and plain threads, eight strands in all, that share locks, queues and events.
#![cfg(all(test, ropewalk_shuttle, feature = "strand"))]

use super::model;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::thread;
use crate::strand::Hub;
use crate::strand::rehearsal::{Greenlets, drive, spawn};
use crate::sync::{Event, Mutex, Queue};
use crate::task::TaskHandle;
use std::sync::Arc;

/// A hub on a thread of its own with three greenlets, which do `job` with what is shared.
fn hub_of_three<S: Send + Sync + 'static>(shared: &Arc<S>, job: fn(&S)) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let adopted = Hub::adopt(&Greenlets);
        let greenlets: [TaskHandle<()>; 3] = [(); 3].map(|()| {
            let shared = Arc::clone(&shared);
            spawn(adopted.hub(), move || job(&shared))
        });
        drive(adopted.hub(), || greenlets.iter().all(TaskHandle::is_finished));
        for greenlet in greenlets {
            greenlet.join().expect("a panic ends the model");
        }
    })
}

/// Six greenlets on two hubs and two threads take one lock, hold it over a yield, and count.
#[test]
fn eight_strands_share_a_mutex() {
    model("strands: eight_strands_share_a_mutex", || {
        fn counts(count: &Mutex<u32>) {
            for _ in 0..2 {
                let mut count = count.lock();
                let before = *count;
                crate::park::yield_now();
                *count = before + 1;
            }
        }
        let count = Arc::new(Mutex::new(0));
        let hubs = [(); 2].map(|()| hub_of_three(&count, counts));
        let threads = [(); 2].map(|()| {
            let count = Arc::clone(&count);
            thread::spawn(move || counts(&count))
        });
        hubs.into_iter().chain(threads).for_each(|thread| thread.join().unwrap());
        assert_eq!(*count.lock(), 16);
    });
}

/// One hub produces, the other and two threads consume, through a queue that is almost always full or empty.
#[test]
fn greenlets_produce_for_greenlets_and_threads() {
    struct Shared {
        queue: Queue<u32>,
        sum: AtomicU32,
        producing: AtomicU32,
    }
    model("strands: greenlets_produce_for_greenlets_and_threads", || {
        fn produces(shared: &Shared) {
            for n in 1..=2 {
                shared.queue.put(n).unwrap();
            }
            if shared.producing.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.queue.shutdown();
            }
        }
        fn consumes(shared: &Shared) {
            while let Ok(n) = shared.queue.get() {
                shared.sum.fetch_add(n, Ordering::Relaxed);
            }
        }
        let shared =
            Arc::new(Shared { queue: Queue::bounded(1), sum: AtomicU32::new(0), producing: AtomicU32::new(3) });
        let hubs = [hub_of_three(&shared, produces), hub_of_three(&shared, consumes)];
        let threads = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || consumes(&shared))
        });
        hubs.into_iter().chain(threads).for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.sum.load(Ordering::Relaxed), 9);
    });
}

/// Six greenlets wait for one event while a thread sets it and another kills three of them: each ends, once.
#[test]
fn waiters_are_woken_and_killed() {
    model("strands: waiters_are_woken_and_killed", || {
        let event = Arc::new(Event::new());
        let ended = Arc::new(AtomicU32::new(0));
        struct Counts(Arc<AtomicU32>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let hub = |killed: bool| {
            let (event, ended) = (Arc::clone(&event), Arc::clone(&ended));
            thread::spawn(move || {
                let adopted = Hub::adopt(&Greenlets);
                let greenlets: [TaskHandle<()>; 3] = [(); 3].map(|()| {
                    let (event, counts) = (Arc::clone(&event), Counts(Arc::clone(&ended)));
                    spawn(adopted.hub(), move || {
                        let _counts = counts;
                        event.wait();
                    })
                });
                let [a, b, c] = greenlets;
                let kills = killed.then(|| {
                    thread::spawn(move || {
                        for greenlet in [&a, &b, &c] {
                            greenlet.cancel();
                        }
                        [a, b, c]
                    })
                });
                let hub = adopted.hub();
                drive(hub, || hub.population() == 0);
                if let Some(kills) = kills {
                    assert!(kills.join().unwrap().iter().all(TaskHandle::is_finished));
                }
            })
        };
        let hubs = [hub(false), hub(true)];
        let setter = {
            let event = Arc::clone(&event);
            thread::spawn(move || event.set())
        };
        hubs.into_iter().chain([setter]).for_each(|thread| thread.join().unwrap());
        assert_eq!(ended.load(Ordering::Relaxed), 6);
    });
}

/// Greenlets join others that have not started and run from their stacks: one ends at once, one waits for what a thread does,
/// one joins another in turn. (The first yield takes them past the look at the beginning of a turn, before which nobody runs
/// others.)
#[test]
fn joined_before_they_started() {
    model("strands: joined_before_they_started", || {
        let event = Arc::new(Event::new());
        let setter = {
            let event = Arc::clone(&event);
            thread::spawn(move || event.set())
        };
        let adopted = Hub::adopt(&Greenlets);
        let hub = adopted.hub();
        let ran = Arc::new(AtomicU32::new(0));
        let joiners = [(); 2].map(|()| {
            let (event, ran) = (Arc::clone(&event), Arc::clone(&ran));
            spawn(hub, move || {
                crate::park::yield_now();
                let counts = Arc::clone(&ran);
                spawn(hub, move || drop(counts.fetch_add(1, Ordering::Relaxed))).join().unwrap();
                let counts = Arc::clone(&ran);
                let outer = spawn(hub, move || {
                    spawn(hub, move || event.wait()).join().unwrap();
                    counts.fetch_add(1, Ordering::Relaxed);
                });
                outer.join().unwrap();
            })
        });
        drive(hub, || joiners.iter().all(TaskHandle::is_finished));
        joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
        setter.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 4);
    });
}
