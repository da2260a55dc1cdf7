//! `join` and the maps made of it: every branch runs once, nothing outlives what it borrows, nobody waits for ever.

use ropewalk::sync::{Event, Semaphore};
use ropewalk::{CancelToken, Shutdown, Submit, TaskError, ThreadPoolExecutor, TrySubmitError, greenlet};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The sum of a range by halves, down to single numbers; `leaf` is called with each.
fn sum(pool: &ThreadPoolExecutor, range: std::ops::Range<u64>, leaf: &(impl Fn(u64) + Sync)) -> u64 {
    let len = range.end - range.start;
    if len == 1 {
        leaf(range.start);
        return range.start;
    }
    let middle = range.start + len / 2;
    let (left, right) = pool.join(|| sum(pool, range.start..middle, leaf), || sum(pool, middle..range.end, leaf));
    left + right
}

fn ignore<T>(_: T) {}

/// Computes for about a microsecond.
fn work() {
    for n in 0..300 {
        black_box(n);
    }
}

/// Counts how many there are.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn every_leaf_runs_once_on_any_number_of_workers() {
    for workers in [1, 2, 3, 8] {
        let pool = ThreadPoolExecutor::new(workers);
        for _ in 0..20 {
            let counts: Vec<_> = (0..2_000).map(|_| AtomicUsize::new(0)).collect();
            let total = sum(&pool, 0..2_000, &|n| {
                work();
                counts[n as usize].fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(total, 1_999_000);
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}

/// From many threads and greenlets at once, also from inside the pool's own jobs and scopes.
#[test]
fn joins_from_everywhere_share_one_pool() {
    let pool = ThreadPoolExecutor::new(2);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(sum(&pool, 0..3_000, &|_| work()), 4_498_500));
        }
        scope.spawn(|| {
            ropewalk::run(|| {
                greenlet::scope(|greenlets| {
                    for _ in 0..4 {
                        drop(greenlets.spawn(|| assert_eq!(sum(&pool, 0..1_000, &|_| work()), 499_500)));
                    }
                });
            });
        });
        pool.scope(|jobs| {
            for _ in 0..4 {
                drop(jobs.submit(|| assert_eq!(sum(&pool, 0..1_000, &|_| work()), 499_500)));
            }
        });
    });
}

/// A greenlet on a worker's thread is no worker: its branches must not get between those of the worker's own stack.
#[test]
fn hub_inside_a_job_joins_as_an_outsider() {
    let pool = ThreadPoolExecutor::new(2);
    let (inner, outer) = pool.join(
        || {
            ropewalk::run(|| {
                let greenlets: Vec<_> = (0..3).map(|n| greenlet::spawn(move || n)).collect();
                let (a, b) = pool.join(|| 1, || 2);
                a + b + greenlet::join_all(greenlets).unwrap().into_iter().sum::<i32>()
            })
        },
        || 10,
    );
    assert_eq!((inner, outer), (6, 10));
}

#[test]
fn panic_in_a_branch_comes_out_when_the_other_has_ended() {
    for workers in [1, 2] {
        let pool = ThreadPoolExecutor::new(workers);
        for (first, second) in [(true, false), (false, true), (true, true)] {
            for round in 0..50_u64 {
                let alive = AtomicUsize::new(0);
                let (pool, alive) = (&pool, &alive);
                let branch = |panics: bool, name: &'static str| {
                    let counted = Counted::new(alive);
                    move || {
                        let _counted = counted;
                        // Deep enough that idle workers take something of it.
                        sum(pool, 0..1 + round, &|_| drop(Counted::new(alive)));
                        assert!(!panics, "{name}");
                    }
                };
                let (a, b) = (branch(first, "the first"), branch(second, "the second"));
                let outcome = catch_unwind(AssertUnwindSafe(|| pool.join(a, b)));
                let message = *outcome.unwrap_err().downcast::<String>().unwrap();
                assert_eq!(message, if first { "the first" } else { "the second" });
                assert_eq!(alive.load(Ordering::Relaxed), 0, "something outlived the join");
            }
        }
        assert_eq!(pool.join(|| 1, || 2), (1, 2), "the pool lives on");
    }
}

/// With two workers a branch may wait for its sibling: it is lent when the other is about to sleep.
#[test]
fn branch_may_wait_for_its_sibling() {
    let pool = ThreadPoolExecutor::new(2);
    for _ in 0..50 {
        let event = Event::new();
        pool.join(|| event.wait(), || event.set());
        let (a, b) = (Event::new(), Event::new());
        pool.join(
            || pool.join(|| a.wait(), || b.set()),
            || {
                b.wait();
                a.set();
            },
        );
    }
}

/// The same on a pool of one: who waits does not count, so there is another worker for the branch.
#[test]
fn pool_of_one_survives_a_branch_that_waits_for_its_sibling() {
    let pool = ThreadPoolExecutor::new(1);
    let event = Event::new();
    pool.join(|| event.wait(), || event.set());
    let permits = Semaphore::new(0);
    pool.join(|| drop(permits.acquire()), || permits.release(1));
    assert_eq!(sum(&pool, 0..500, &|_| drop(pool.submit(|| ()).join())), 124_750);
}

#[test]
fn queue_limit_is_not_for_branches() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).queue_limit(1).build().unwrap();
    for _ in 0..50 {
        assert_eq!(sum(&pool, 0..1_000, &|_| work()), 499_500);
    }
    // Each place was given back as often as it was taken: there is one again, and not two.
    let goes_on = std::sync::Barrier::new(3);
    pool.scope(|jobs| {
        // In a way that the pool does not notice, so that nobody takes their place.
        for _ in 0..2 {
            drop(jobs.submit(|| goes_on.wait()));
        }
        // This waits until both have begun.
        let waits = jobs.submit(|| ());
        assert!(matches!(pool.try_submit(|| ()), Err(TrySubmitError::Full(_))));
        goes_on.wait();
        waits.join().unwrap();
    });
}

/// What was submitted is finished, although nothing new is taken: neither are its branches refused, nor cancelled.
#[test]
fn shutdown_loses_no_branch_of_what_runs() {
    for how in [Shutdown::Wait, Shutdown::CancelPending] {
        for _ in 0..20 {
            let pool = std::sync::Arc::new(ThreadPoolExecutor::new(2));
            let (begun, goes_on) = (std::sync::Arc::new(Event::new()), std::sync::Arc::new(Event::new()));
            let total = pool.submit({
                let (pool, begun, goes_on) = (pool.clone(), begun.clone(), goes_on.clone());
                move || {
                    let (total, ()) = pool.join(
                        || sum(&pool, 0..2_000, &|_| work()),
                        || {
                            begun.set();
                            goes_on.wait();
                        },
                    );
                    // The last reference must not go on a worker, which cannot wait for itself.
                    (total, pool)
                }
            });
            begun.wait();
            let ends = thread::spawn({
                let pool = pool.clone();
                move || pool.shutdown(how)
            });
            goes_on.set();
            assert_eq!(total.join().unwrap().0, 1_999_000);
            ends.join().unwrap();
        }
    }
}

#[test]
fn kill_ends_both_branches() {
    let pool = std::sync::Arc::new(ThreadPoolExecutor::new(2));
    let begun = std::sync::Arc::new(Semaphore::new(0));
    let job = pool.submit({
        let (pool, begun) = (pool.clone(), begun.clone());
        move || {
            let never = Event::new();
            let wait = || {
                begun.release(1);
                never.wait();
            };
            pool.join(wait, wait);
        }
    });
    begun.acquire().forget();
    begun.acquire().forget();
    pool.shutdown(Shutdown::Kill);
    assert!(matches!(job.join(), Err(TaskError::Cancelled)));
}

/// The caller's time is over while its branch waits: on another worker, or on its own because nobody else took it, or in a
/// job of a scope that it helps with.
#[test]
fn deadline_of_the_caller_ends_a_branch_wherever_it_runs() {
    for workers in [1, 2] {
        let pool = ThreadPoolExecutor::new(workers);
        let alive = AtomicUsize::new(0);
        let (never, alive) = (Event::new(), &alive);
        let wait = || {
            let _counted = Counted::new(alive);
            never.wait();
        };
        let limited = |body: &(dyn Fn() + Sync)| {
            let job = || CancelToken::new().with_timeout(Duration::from_millis(20)).run(body);
            pool.scope(|jobs| jobs.submit(job).join().unwrap())
        };
        for _ in 0..10 {
            assert!(limited(&|| ignore(pool.join(wait, wait))).is_err());
            assert!(limited(&|| ignore(pool.join(|| (), wait))).is_err());
            assert!(
                limited(&|| ignore(pool.join(|| sum(&pool, 0..100, &|_| work()), || pool.join(wait, wait)))).is_err()
            );
            assert!(limited(&|| pool.scope(|jobs| drop(jobs.submit(wait)))).is_err());
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        }
    }
}

/// A runtime of somebody else's on a worker: a branch that was lent could not be waited for there, so none is.
#[test]
fn join_in_foreign_async_code_keeps_both_branches_here() {
    let pool = ThreadPoolExecutor::new(2);
    let job = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let here = thread::current().id();
        runtime.block_on(async {
            let leaf = |_| {
                work();
                assert_eq!(thread::current().id(), here);
            };
            // Long enough for the other worker to be asked again and again.
            sum(&pool, 0..5_000, &leaf)
        })
    };
    assert_eq!(pool.scope(|jobs| jobs.submit(job).join().unwrap()), 12_497_500);
}

/// Where a runtime of somebody else's lets its thread block for once, a branch is lent after all.
#[test]
fn branch_that_was_lent_in_foreign_async_code_is_waited_for() {
    let pool = ThreadPoolExecutor::new(2);
    for _ in 0..20 {
        let (alive, begun) = (&AtomicUsize::new(0), &Event::new());
        let long = || {
            let _counted = Counted::new(alive);
            begun.set();
            let since = Instant::now();
            while since.elapsed() < Duration::from_millis(5) {
                work();
            }
        };
        let job = || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            runtime.block_on(async {
                let waits = || tokio::task::block_in_place(|| begun.wait());
                let outcome = catch_unwind(AssertUnwindSafe(|| pool.join(waits, long)));
                assert_eq!(alive.load(Ordering::Relaxed), 0, "the branch outlived the join");
                assert!(outcome.is_ok(), "it was waited for, so nothing is wrong");
            });
        };
        pool.scope(|jobs| jobs.submit(job).join().unwrap());
    }
}

/// What a branch runs in its wait is somebody else's work: whoever waits for the branch does not get a part of it, and
/// cannot take it along when it is cancelled.
#[test]
fn cancel_of_whoever_waits_for_a_branch_does_not_reach_what_runs_in_a_wait_of_it() {
    for _ in 0..50 {
        let pool = &Arc::new(ThreadPoolExecutor::new(2));
        let [taken, begun, go_on, ended] = &std::array::from_fn(|_| Arc::new(Event::new()));
        let well = &Arc::new(AtomicUsize::new(0));
        let stranger = {
            let (pool, begun, go_on) = (Arc::clone(pool), Arc::clone(begun), Arc::clone(go_on));
            move || {
                let until_somebody_has_it = || {
                    let since = Instant::now();
                    while !begun.is_set() && since.elapsed() < Duration::from_millis(2) {
                        work();
                    }
                };
                pool.join(until_somebody_has_it, || {
                    begun.set();
                    go_on.wait();
                });
            }
        };
        let branch = {
            let (pool, taken, ended, well) = (Arc::clone(pool), Arc::clone(taken), Arc::clone(ended), Arc::clone(well));
            move || {
                taken.set();
                let stranger = pool.submit(stranger);
                stranger.on_finish(move |outcome| {
                    well.store(usize::from(outcome.is_ok()), Ordering::SeqCst);
                    ended.set();
                });
                // As a rule nobody has begun it, and it runs right here.
                stranger.join().is_ok()
            }
        };
        let whole = pool.submit({
            let (pool, taken) = (Arc::clone(pool), Arc::clone(taken));
            move || pool.join(|| taken.wait(), branch)
        });
        begun.wait();
        whole.cancel();
        assert!(ended.wait_timeout(Duration::from_millis(2)).is_err(), "it was cut off");
        go_on.set();
        ended.wait();
        assert_eq!(well.load(Ordering::SeqCst), 1, "nobody has cancelled it");
    }
}

/// An async task of ours that a worker polls.
#[test]
fn join_in_block_on_on_a_worker_is_refused() {
    let pool = ThreadPoolExecutor::new(2);
    let refused = pool.scope(|jobs| {
        let polls = || {
            ropewalk::block_on(async {
                let join = catch_unwind(AssertUnwindSafe(|| pool.join(|| (), || ()))).is_err();
                let map = catch_unwind(AssertUnwindSafe(|| pool.par_map(|n| n, 0..10))).is_err();
                (join, map)
            })
        };
        jobs.submit(polls).join().unwrap()
    });
    assert_eq!(refused, (true, true));
}

#[test]
fn join_in_async_code_is_refused() {
    let executor = greenlet::AsyncExecutor::new(1);
    let refused = executor.submit(async {
        let pool = ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().unwrap();
        catch_unwind(AssertUnwindSafe(|| pool.join(|| (), || ()))).is_err()
    });
    assert!(refused.join().unwrap());
}

/// Two workers that compute share the work: the second gets half of what the first has left, again and again.
#[test]
fn uneven_work_is_shared() {
    let pool = ThreadPoolExecutor::new(2);
    let threads = Mutex::new(std::collections::HashMap::new());
    // All the work is in the last items.
    pool.par_for_each(
        |n: u32| {
            if n >= 960 {
                let since = Instant::now();
                while since.elapsed() < Duration::from_millis(5) {
                    black_box(n);
                }
                *threads.lock().unwrap().entry(thread::current().id()).or_insert(0) += 1;
            }
        },
        0..1_000_u32,
    );
    let threads = threads.into_inner().unwrap();
    // A third may have come for one that waited for what another had of its.
    assert!(threads.values().filter(|pieces| **pieces >= 4).count() >= 2, "{threads:?}");
}

#[test]
fn par_map_keeps_the_order_whatever_the_items_cost() {
    let pool = ThreadPoolExecutor::new(3);
    let numbers: Vec<u32> = (0..10_000).collect();
    let costly = |n: &u32| {
        if n.is_multiple_of(1_000) {
            thread::sleep(Duration::from_millis(1));
        }
        n.to_string()
    };
    let texts = pool.par_map(costly, &numbers);
    assert!(texts.iter().enumerate().all(|(n, text)| *text == n.to_string()));
    let mut places = vec![String::new(); numbers.len()];
    pool.par_map_into(costly, &numbers, &mut places);
    assert_eq!(texts, places);
    let mut numbers = numbers;
    pool.par_for_each(|n| *n += 1, &mut numbers);
    assert!(numbers.into_iter().eq(1..=10_000));
}

#[test]
fn par_map_of_nothing_of_one_and_of_things_without_a_size() {
    let pool = ThreadPoolExecutor::new(2);
    assert_eq!(pool.par_map(|n: &u8| *n, &[] as &[u8]), []);
    assert_eq!(pool.par_map(|n| n, 7..7), [] as [i32; 0]);
    #[expect(clippy::reversed_empty_ranges, reason = "such a range is empty too")]
    let backwards = 7..3_i64;
    assert_eq!(pool.par_map(|n| n, backwards), [] as [i64; 0]);
    assert_eq!(pool.par_map(|n| n, -2..2), [-2, -1, 0, 1]);
    assert_eq!(pool.par_map(|n| n, u64::MAX - 2..u64::MAX), [u64::MAX - 2, u64::MAX - 1]);
    assert_eq!(pool.par_map(|unit| *unit, &[(); 3]).len(), 3);
    assert_eq!(pool.par_map(|n| assert!(n < 100_000), 0..100_000_usize).len(), 100_000);
}

/// Results that are there when an item panics are dropped, and each once.
#[test]
fn par_map_that_panics_drops_its_results() {
    for workers in [1, 2] {
        let pool = ThreadPoolExecutor::new(workers);
        let alive = AtomicUsize::new(0);
        for bad in [0, 1, 500, 998, 999] {
            let map = || {
                pool.par_map(
                    |n| {
                        work();
                        assert!(n != bad, "item {n}");
                        Counted::new(&alive)
                    },
                    0..1_000,
                )
            };
            let panic = catch_unwind(AssertUnwindSafe(map)).map(|results| results.len()).unwrap_err();
            assert_eq!(*panic.downcast::<String>().unwrap(), format!("item {bad}"));
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        }
    }
}

#[test]
#[should_panic(expected = "3 items do not fit 2 places")]
fn par_map_into_too_few_places_is_refused() {
    ThreadPoolExecutor::new(1).par_map_into(|n| n, 0..3, &mut [0; 2]);
}

/// A branch that nobody took runs where its sibling ran, so that what is in thread-locals is still there.
#[test]
fn pool_of_one_runs_both_branches_on_one_thread() {
    thread_local!(static SEEN: Cell<u32> = const { Cell::new(0) });
    let pool = ThreadPoolExecutor::new(1);
    let (first, second) = pool.join(|| SEEN.replace(1), || SEEN.replace(2));
    assert_eq!((first, second), (0, 1));
}
