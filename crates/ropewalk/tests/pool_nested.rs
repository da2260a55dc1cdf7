//! Seam 7: a job may wait for anything inside its own pool, also a pool of one, however deep.

mod support;

use ropewalk::sync::{Barrier, Condvar, Event, Mutex, Queue, channel};
use ropewalk::{ReturnWhen, Shutdown, Submit, ThreadPoolExecutor, as_completed, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{eventually, ignore, joined};

fn pool_of_one() -> Arc<ThreadPoolExecutor> {
    // A daemon, so that a failing test does not hang in the drop.
    Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a valid pool"))
}

/// Runs `job` on a pool of one, with the pool in hand.
#[track_caller]
fn nested<T: Send + 'static>(job: impl FnOnce(&Arc<ThreadPoolExecutor>) -> T + Send + 'static) -> T {
    let pool = pool_of_one();
    let inner = Arc::clone(&pool);
    joined(pool.submit(move || job(&inner)))
}

#[test]
fn join_of_a_job() {
    assert_eq!(nested(|pool| pool.submit(|| 1).join().unwrap()), 1);
    assert_eq!(nested(|pool| pool.submit(|| 2).join_timeout(Duration::MAX).unwrap()), 2);
}

#[test]
fn join_200_deep() {
    fn down(pool: &Arc<ThreadPoolExecutor>, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = Arc::clone(pool);
        1 + pool.submit(move || down(&inner, depth - 1)).join().unwrap()
    }
    assert_eq!(nested(|pool| down(pool, 200)), 200);
}

/// A worker helps with the jobs of its scope on its own stack, but not for as long as there is stack.
#[test]
fn scope_in_scope_1000_deep() {
    fn down(pool: &ThreadPoolExecutor, depth: usize) -> usize {
        let mut below = 0;
        if depth > 0 {
            pool.scope(|scope| drop(scope.submit(|| below = down(pool, depth - 1))));
        }
        below + 1
    }
    assert_eq!(nested(|pool| down(pool, 1000)), 1001);
}

#[test]
fn timed_join_200_deep() {
    fn down(pool: &Arc<ThreadPoolExecutor>, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = Arc::clone(pool);
        1 + pool.submit(move || down(&inner, depth - 1)).join_timeout(Duration::MAX).unwrap()
    }
    assert_eq!(nested(|pool| down(pool, 200)), 200);
}

#[test]
fn event_set_by_a_later_job() {
    nested(|pool| {
        let event = Arc::new(Event::new());
        let sets = Arc::clone(&event);
        drop(pool.submit(move || sets.set()));
        event.wait();
    });
}

#[test]
fn queue_filled_by_a_later_job_and_joined() {
    nested(|pool| {
        let queue = Arc::new(Queue::bounded(1));
        let other = Arc::clone(&queue);
        drop(pool.submit(move || (0..10).for_each(|n| other.put(n).unwrap())));
        (0..10).for_each(|n| assert_eq!(queue.get(), Ok(n)));
        let other = Arc::clone(&queue);
        drop(pool.submit(move || (0..10).for_each(|_| other.task_done())));
        queue.join();
    });
}

#[test]
fn condvar_notified_by_a_later_job() {
    nested(|pool| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = Arc::clone(&shared);
        drop(pool.submit(move || {
            *other.0.lock() = true;
            other.1.notify_one();
        }));
        assert!(*shared.1.wait_while(shared.0.lock(), |set| !*set));
    });
}

#[test]
fn mutex_released_by_a_later_job() {
    nested(|pool| {
        let mutex = Arc::new(Mutex::new(()));
        mutex.acquire();
        let other = Arc::clone(&mutex);
        drop(pool.submit(move || other.release()));
        mutex.acquire();
    });
}

#[test]
fn barrier_with_a_later_job() {
    nested(|pool| {
        let barrier = Arc::new(Barrier::new(3));
        for _ in 0..2 {
            let other = Arc::clone(&barrier);
            drop(pool.submit(move || other.wait().is_ok()));
        }
        barrier.wait().unwrap();
    });
}

#[test]
fn channel_and_rendezvous_with_a_later_job() {
    nested(|pool| {
        for (sender, receiver) in [channel::bounded(1), channel::rendezvous()] {
            drop(pool.submit(move || (0..5).for_each(|n| sender.send(n).unwrap())));
            assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        }
    });
}

/// A sleep ends by itself: its worker goes on counting, or 2,000 sleeping jobs would be 2,000 threads.
#[test]
fn jobs_that_sleep_do_not_multiply_threads() {
    let pool = ThreadPoolExecutor::new(2);
    pool.for_each(|_| ropewalk::sleep(Duration::from_millis(1)), 0..200);
    assert_eq!(pool.stats().workers, 2);
}

/// The one that took the place of a blocked worker is idle when that one comes back; it must not go on beside it.
#[test]
fn idle_replacement_steps_down_when_the_blocked_one_comes_back() {
    for _ in 0..50 {
        let pool = Arc::new(ThreadPoolExecutor::new(1));
        let event = Arc::new(Event::new());
        let (waits, inner) = (Arc::clone(&event), Arc::clone(&pool));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let busy = {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let first = {
            let busy = busy.clone();
            pool.submit(move || {
                let sets = Arc::clone(&waits);
                drop(inner.submit(move || sets.set()));
                waits.wait();
                // The replacement has been asked to step down, or ends its job and sees it.
                eventually("the replacement is gone", || inner.stats().idle == 0);
                (0..20).for_each(|_| busy());
            })
        };
        event.wait();
        let more: Vec<_> = (0..20).map(|_| pool.submit(busy.clone())).collect();
        joined(first);
        more.into_iter().for_each(joined);
        assert!(most.load(Ordering::SeqCst) <= 2, "at the most one beside the other for a moment");
    }
}

/// A shutdown comes while a replacement waits as a spare and a job runs. (The spare was let run, found itself one too many,
/// stepped down, was let run, and so on for as long as the job ran.)
#[test]
fn spare_ends_with_the_shutdown_and_not_with_the_last_job() {
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let (done, is_done) = std::sync::mpsc::channel();
    let inner = Arc::clone(&pool);
    let runs = pool.submit(move || {
        let event = Arc::new(Event::new());
        let sets = Arc::clone(&event);
        drop(inner.submit(move || sets.set()));
        event.wait();
        // A wait that the pool does not see: this worker runs.
        is_done.recv().unwrap();
    });
    // The other is a spare by now, or will be; or it was idle a moment too late to be told, and stays so.
    eventually("one came back", || pool.stats().workers == 2 && pool.stats().blocked == 0);
    pool.shutdown(Shutdown::Detach);
    eventually("the spare to end", || pool.stats().workers == 1);
    done.send(()).unwrap();
    joined(runs);
    pool.shutdown(Shutdown::Wait);
    assert_eq!((pool.stats().workers, pool.stats().idle), (0, 0));
}

/// Submits of two threads and an idling worker interleave; whatever the count of the idle says, no job may be left lying.
#[test]
fn no_job_is_left_lying_when_submits_race_with_idling() {
    for _ in 0..300 {
        let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a valid pool"));
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || (0..20).map(|_| pool.submit(|| ())).collect::<Vec<_>>())
            })
            .collect();
        for handles in submitters {
            handles.join().expect("a submitter").into_iter().for_each(joined);
        }
        // One job waits for a later one, which nobody must believe to have a worker.
        let event = Arc::new(Event::new());
        let (waits, sets) = (Arc::clone(&event), event);
        let waiter = pool.submit(move || waits.wait());
        drop(pool.submit(move || sets.set()));
        joined(waiter);
    }
}

#[test]
fn scope_in_scope() {
    let sum = nested(|pool| {
        let numbers = [1, 2, 3];
        pool.scope(|outer| {
            let (pool, numbers) = (&pool, &numbers);
            let inner = numbers.map(|n| {
                outer.submit(move || {
                    pool.scope(|scope| numbers.map(|m| scope.submit(move || n * m)).map(|h| h.join().unwrap()))
                })
            });
            inner.into_iter().flat_map(|handle| handle.join().unwrap()).sum::<i32>()
        })
    });
    assert_eq!(sum, 36);
}

#[test]
fn scope_without_joins_in_a_job() {
    let sum = nested(|pool| {
        let sum = AtomicUsize::new(0);
        pool.scope(|scope| {
            for n in 0..100 {
                let sum = &sum;
                drop(scope.submit(move || sum.fetch_add(n, Ordering::Relaxed)));
            }
        });
        sum.into_inner()
    });
    assert_eq!(sum, 4950);
}

#[test]
fn map_in_map() {
    let pool = pool_of_one();
    let inner = Arc::clone(&pool);
    let sums = move |n: i32| inner.map(move |m: i32| n * m, 0..10).sum::<i32>();
    assert_eq!(pool.map(sums, 0..10).sum::<i32>(), 45 * 45);
}

#[test]
fn for_each_and_run_all_in_a_job() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let sum = nested(|pool| {
        pool.for_each(|n| ignore(CALLS.fetch_add(n, Ordering::Relaxed)), 0..50);
        pool.run_all((0..10).map(|n| move || n)).into_iter().map(Result::unwrap).sum::<i32>()
    });
    assert_eq!((sum, CALLS.load(Ordering::Relaxed)), (45, 1225));
}

#[test]
fn as_completed_and_wait_in_a_job() {
    let sum = nested(|pool| {
        let handles: Vec<_> = (0..5).map(|n| pool.submit(move || n)).collect();
        assert_eq!(wait(&handles, ReturnWhen::AllCompleted, None).done.len(), 5);
        as_completed(handles).map(|handle| handle.join().unwrap()).sum::<i32>()
    });
    assert_eq!(sum, 10);
}

#[test]
fn submit_to_a_full_queue_from_its_only_worker() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).daemon(true).build().unwrap();
    let pool = Arc::new(pool);
    let inner = Arc::clone(&pool);
    let sum = joined(pool.submit(move || {
        let handles: Vec<_> = (0..20).map(|n| inner.submit(move || n)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum::<i32>()
    }));
    assert_eq!(sum, 190);
}

/// Many workers block on the same mutex while the pool starts their replacements: what the pool does in the hook of a wait
/// must not itself wait for anything of ours.
#[test]
fn replacement_is_started_inside_a_wait_without_waiting() {
    for _ in 0..30 {
        let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(4).daemon(true).build().unwrap());
        let mutex = Arc::new(Mutex::new(()));
        mutex.acquire();
        let handles: Vec<_> = (0..24)
            .map(|_| {
                let (mutex, pool) = (Arc::clone(&mutex), Arc::clone(&pool));
                pool.clone().submit(move || {
                    drop(mutex.lock());
                    drop(pool.submit(|| ()));
                })
            })
            .collect();
        eventually("all to wait", || pool.stats().blocked == 24);
        mutex.release();
        handles.into_iter().for_each(joined);
    }
}

/// A wait that is over brings its worker back; afterwards there are again as many runnable ones as may be.
#[test]
fn no_more_run_than_may_after_the_waits() {
    let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(2).daemon(true).build().unwrap());
    let go = Arc::new(Event::new());
    let waits: Vec<_> = (0..10)
        .map(|_| {
            let go = Arc::clone(&go);
            pool.submit(move || go.wait())
        })
        .collect();
    eventually("all to wait", || pool.stats().blocked == 10);
    go.set();
    waits.into_iter().for_each(joined);
    // What has come back too many steps down when it looks for its next job.
    eventually("the idle to be two at most", || pool.stats().idle <= 2 && pool.stats().blocked == 0);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..200)
        .map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            pool.submit(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    jobs.into_iter().for_each(joined);
    assert!(most.load(Ordering::SeqCst) <= 2);
}

/// Whoever holds the lock waits for a job that has not started: the stuck workers alone would never let it start.
#[test]
fn holder_of_a_lock_waits_for_a_job_behind_those_that_want_it() {
    let pool = pool_of_one();
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock();
    let wants = Arc::clone(&lock);
    let stuck = pool.submit(move || drop(wants.lock()));
    eventually("the job waits for the lock", || pool.stats().blocked == 1);
    assert_eq!(joined(pool.submit(|| 7)), 7);
    drop(held);
    joined(stuck);
}

/// Jobs that wait for a permit go on counting, so the pool does not send all the others into the same queue.
#[test]
fn jobs_that_wait_for_a_permit_do_not_multiply_threads() {
    let pool = Arc::new(ThreadPoolExecutor::new(4));
    let permits = Arc::new(ropewalk::sync::Semaphore::new(2));
    // A std channel: a holder that waits for it counts as one that runs, like one in a system call.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let jobs: Vec<_> = (0..300)
        .map(|_| {
            let (permits, gate) = (Arc::clone(&permits), Arc::clone(&gate));
            pool.submit(move || {
                let _permit = permits.acquire();
                ignore(gate.lock().map(|gate| gate.recv()));
            })
        })
        .collect();
    eventually("two hold permits and two wait for one", || pool.stats().blocked == 2);
    assert_eq!(pool.stats().workers, 4);
    drop(go); // the gate is open for all
    jobs.into_iter().for_each(joined);
    // Those to whom permits were handed count as waiting until they run, so all four may have seemed stuck for a moment.
    assert!(pool.stats().workers <= 6, "{:?}", pool.stats());
}
