//! The verbs of a pool at their edges: map, scope, run_all, as_completed, wait, progress, parallelism, rest.

mod support;

use ropewalk::executor::wait_async;
use ropewalk::sync::{Barrier, Event, Mutex, channel};
use ropewalk::{
    CancelToken, ReturnWhen, Shutdown, Submit, TaskError, ThreadPoolExecutor, as_completed, block_on, wait,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{SHORT, eventually, joined, panic_text};

/// An endless input that counts what was taken from it.
fn counted() -> (impl Iterator<Item = usize>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    (std::iter::from_fn(move || Some(count.fetch_add(1, Ordering::Relaxed))), taken)
}

#[test]
fn map_is_lazy_and_bounded() {
    let pool = ThreadPoolExecutor::new(2);
    let (items, taken) = counted();
    let mut results = pool.map(|n| n, items).buffer(10);
    assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing is taken before the first result is asked for");
    for given in 0..100 {
        assert_eq!(results.next(), Some(given));
        assert!(taken.load(Ordering::Relaxed) <= given + 1 + 10 + 10, "the buffer, and a chunk being given out");
    }
    drop(results);
    let (items, taken) = counted();
    assert_eq!(pool.map(|n| n, items).take(1).last(), Some(0));
    assert!(taken.load(Ordering::Relaxed) < 100, "bounded also when nothing was said");
}

#[test]
fn map_unordered_gives_what_is_ready() {
    let pool = ThreadPoolExecutor::new(2);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    let slow_first = move |n: i32| {
        if n == 0 {
            waits.wait();
        }
        n
    };
    let mut results = pool.map(slow_first, 0..4).chunk(1).unordered();
    let mut early = [(); 3].map(|()| results.next().unwrap());
    early.sort_unstable();
    assert_eq!(early, [1, 2, 3]);
    go.set();
    assert_eq!((results.next(), results.next()), (Some(0), None));
}

#[test]
fn map_panics_at_its_place_and_try_map_goes_on() {
    let pool = ThreadPoolExecutor::new(2);
    let odd = |n: i32| {
        assert!(n % 3 != 2, "not {n}");
        n
    };
    for chunk in [1, 2, 100] {
        let mut results = pool.map(odd, 0..6).chunk(chunk);
        assert_eq!((results.next(), results.next()), (Some(0), Some(1)));
        assert_eq!(panic_text(|| results.next()), "not 2");
        let all: Vec<_> =
            pool.try_map(odd, 0..6).chunk(chunk).map(|result| result.map_err(|e| e.to_string())).collect();
        let failed = |n| Err(format!("task panicked: not {n}"));
        assert_eq!(all, [Ok(0), Ok(1), failed(2), Ok(3), Ok(4), failed(5)]);
    }
}

#[test]
fn map_dropped_early_cancels_and_does_not_wait() {
    let pool = ThreadPoolExecutor::new(1);
    let (go, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (waits, count) = (Arc::clone(&go), Arc::clone(&started));
    let mut results = pool
        .map(
            move |n: usize| {
                count.fetch_add(1, Ordering::Relaxed);
                // The second is busy, not waiting, until the map is gone.
                while n == 1 && !waits.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            },
            0..100,
        )
        .chunk(1)
        .buffer(50);
    results.next();
    eventually("the second to run", || started.load(Ordering::Relaxed) == 2);
    drop(results);
    go.store(true, Ordering::Relaxed);
    pool.shutdown(Shutdown::Wait);
    assert_eq!(started.load(Ordering::Relaxed), 2);
}

/// Cancelled while its input has nothing, and while the pool has no place: whoever asks again gets every item.
#[test]
fn map_cancelled_in_the_middle_loses_nothing() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let (sender, receiver) = channel::unbounded();
    let token = CancelToken::new();
    let mut results = pool.map(|n: u32| 10 * n, receiver.iter()).chunk(2);
    sender.send(1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the first item to be taken", || receiver.is_empty());
            token.cancel();
        });
        assert!(token.run(|| results.next()).is_err(), "the second one never came");
    });

    // A wait that the pool does not see, so that it replaces nobody.
    let gate = Arc::new(std::sync::Barrier::new(2));
    let block = [true, false].map(|waits| {
        let gate = Arc::clone(&gate);
        pool.submit(move || waits.then(|| gate.wait()).is_some())
    });
    sender.send(2).unwrap();
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the second item to be taken", || receiver.is_empty());
            token.cancel();
        });
        assert!(token.run(|| results.next()).is_err(), "there is no place");
    });

    gate.wait();
    assert_eq!(block.map(joined), [true, false]);
    sender.send(3).unwrap();
    drop(sender);
    assert_eq!(results.collect::<Vec<_>>(), [10, 20, 30]);
}

#[test]
fn for_each_waits_and_throws_the_panic() {
    let pool = ThreadPoolExecutor::new(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let each = move |n: usize| {
        count.fetch_add(1, Ordering::Relaxed);
        assert!(n != 3, "not 3");
    };
    assert_eq!(panic_text(|| pool.for_each(each, 0..50)), "not 3");
    assert_eq!(calls.load(Ordering::Relaxed), 50, "all were called");
}

#[test]
fn run_all_keeps_the_order() {
    let pool = ThreadPoolExecutor::new(3);
    let jobs = (0..50).map(|n| {
        move || {
            assert!(n != 7, "not 7");
            n
        }
    });
    let results: Vec<_> = pool.run_all(jobs).into_iter().map(Result::ok).collect();
    assert_eq!(results, (0..50).map(|n| (n != 7).then_some(n)).collect::<Vec<_>>());
}

#[test]
fn scope_borrows_and_waits_for_what_nobody_joined() {
    let pool = ThreadPoolExecutor::new(2);
    let mut numbers = vec![0; 100];
    pool.scope(|scope| {
        for (place, number) in numbers.iter_mut().enumerate() {
            drop(scope.submit(move || *number = place));
        }
    });
    assert!(numbers.into_iter().eq(0..100));
}

#[test]
fn scope_for_each_borrows_and_throws_the_panic() {
    let pool = ThreadPoolExecutor::new(2);
    let sum = AtomicUsize::new(0);
    pool.scope(|scope| scope.for_each(|n| sum.fetch_add(n, Ordering::Relaxed), 1..=100));
    assert_eq!(sum.load(Ordering::Relaxed), 5050);
    let payload = panic_text(|| pool.scope(|scope| scope.for_each(|n| assert_ne!(n, 3, "three"), 1..=5)));
    assert!(payload.contains("three"), "{payload}");
}

#[test]
fn scope_first_panic_cancels_the_others_and_is_thrown() {
    let pool = ThreadPoolExecutor::new(2);
    let ended = Mutex::new(Vec::new());
    let text = panic_text(|| {
        pool.scope(|scope| {
            let waiting = scope.submit(|| Event::new().wait()); // ended by the panic of the other
            let panics = scope.submit(|| panic!("first"));
            ended.lock().push(panics.join().unwrap_err().to_string());
            ended.lock().push(waiting.join().unwrap_err().to_string());
        });
    });
    assert_eq!(text, "first");
    assert_eq!(*ended.lock(), ["task panicked: first", "task was cancelled"]);
}

#[test]
fn scope_body_that_panics_waits_for_its_jobs() {
    let pool = ThreadPoolExecutor::new(2);
    let (started, done) = (Event::new(), AtomicBool::new(false));
    let text = panic_text(|| {
        pool.scope(|scope| {
            drop(scope.submit(|| {
                started.set();
                while !ropewalk::task::is_cancelled() {
                    std::thread::yield_now();
                }
                done.store(true, Ordering::Relaxed);
            }));
            started.wait();
            panic!("in the body");
        });
    });
    assert_eq!((&*text, done.load(Ordering::Relaxed)), ("in the body", true));
}

#[test]
fn scope_handle_that_is_forgotten_harms_nobody() {
    let pool = ThreadPoolExecutor::new(2);
    let text = String::from("lent");
    let dropped = AtomicUsize::new(0);
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    pool.scope(|scope| {
        let counts = Counts(&dropped);
        let (text, dropped) = (&text, &dropped);
        std::mem::forget(scope.submit(move || {
            let _captured = counts;
            assert_eq!(text, "lent");
            Counts(dropped)
        }));
    });
    assert!(dropped.load(Ordering::Relaxed) >= 1, "the captures are gone when the scope is");
    drop(text);
}

#[test]
fn scope_waits_also_when_the_calling_task_is_cancelled() {
    let pool = ThreadPoolExecutor::new(3);
    let (go, inside) = (Arc::new(AtomicBool::new(false)), Arc::new(Event::new()));
    let shared = Arc::new(ThreadPoolExecutor::new(1));
    let (waits, is_inside, inner) = (Arc::clone(&go), Arc::clone(&inside), Arc::clone(&shared));
    let handle = pool.submit(move || {
        let data = [1, 2, 3];
        inner.scope(|scope| {
            drop(scope.submit(|| {
                is_inside.set();
                while !waits.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                data.iter().sum::<i32>()
            }));
        });
    });
    inside.wait();
    handle.cancel();
    assert!(!handle.is_finished(), "what the job borrows is still there");
    go.store(true, Ordering::Relaxed);
    drop(handle.join());
}

#[test]
fn as_completed_with_a_limit_gives_back_the_rest() {
    let pool = ThreadPoolExecutor::new(2);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    let slow = pool.submit(move || {
        waits.wait();
        1
    });
    let mut completed = as_completed([slow, pool.submit(|| 2)]).timeout(Duration::from_millis(100));
    assert_eq!(completed.next().map(joined), Some(2));
    assert!(!completed.timed_out());
    assert!(completed.next().is_none());
    assert!(completed.timed_out(), "it says why it has ended");
    go.set();
    assert_eq!(completed.into_remaining().into_iter().map(joined).collect::<Vec<_>>(), [1]);
}

#[test]
fn as_completed_that_is_cancelled_unwinds_with_a_limit_too() {
    let pool = ThreadPoolExecutor::new(1);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    let slow = pool.submit(move || waits.wait());
    let token = CancelToken::new();
    token.cancel();
    let mut completed = as_completed([slow]).timeout(Duration::MAX);
    for _ in 0..2 {
        assert!(token.run(|| completed.next().is_none()).is_err());
        completed = completed.timeout(Duration::from_secs(1_000_000));
    }
    assert!(!completed.timed_out());
    go.set();
    completed.into_remaining().into_iter().for_each(joined);
}

#[test]
fn wait_in_async_code_sees_the_first_and_all() {
    let pool = ThreadPoolExecutor::new(2);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    let handles = [pool.submit(move || waits.wait()), pool.submit(|| ())];
    assert_eq!(block_on(wait_async(&handles, ReturnWhen::FirstCompleted)).done, [1]);
    go.set();
    assert_eq!(block_on(wait_async(&handles, ReturnWhen::AllCompleted)).done, [0, 1]);
    assert_eq!(block_on(wait_async(&handles[..0], ReturnWhen::FirstCompleted)).done, []);
}

#[test]
fn wait_with_a_limit_that_overflows_has_none() {
    let pool = ThreadPoolExecutor::new(2);
    let handles = [pool.submit(|| 1), pool.submit(|| 2)];
    assert_eq!(wait(&handles, ReturnWhen::AllCompleted, Some(Duration::MAX)).done, [0, 1]);
    assert_eq!(as_completed(handles).timeout(Duration::MAX).count(), 2);
}

#[test]
fn progress_counts_every_kind_of_end() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .on_progress(move |progress| log.lock().push((progress.finished, progress.failed)))
        .build()
        .unwrap();
    pool.submit(|| ()).join().unwrap();
    assert!(pool.submit(|| panic!("one")).join().is_err());
    pool.scope(|scope| scope.submit(|| ()).join().unwrap());
    pool.shutdown(Shutdown::Wait);
    assert!(matches!(pool.submit(|| ()).join(), Err(TaskError::Shutdown)));
    assert_eq!(*seen.lock(), [(1, 0), (2, 1), (3, 1), (4, 2)]);
}

#[test]
fn daemon_pool_is_left_to_itself() {
    let (go, done) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let pool = ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().unwrap();
    let (waits, sets) = (Arc::clone(&go), Arc::clone(&done));
    drop(pool.submit(move || {
        waits.wait();
        sets.set();
    }));
    drop(pool); // does not wait
    assert!(!done.is_set());
    go.set();
    done.wait();
}

#[test]
fn stats_tell_what_the_pool_does() {
    let pool = ThreadPoolExecutor::new(2);
    let (go, stop) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
    let waits = Arc::clone(&go);
    let waiting = pool.submit(move || waits.wait());
    eventually("one to wait", || pool.stats().blocked == 1);
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            pool.submit(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    eventually("two to run and one to be queued", || {
        let stats = pool.stats();
        (stats.workers, stats.blocked, stats.queued, stats.idle) == (3, 1, 1, 0)
    });
    stop.store(true, Ordering::Relaxed);
    go.set();
    joined(waiting);
    busy.into_iter().for_each(joined);
    pool.shutdown(Shutdown::Wait);
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.blocked, stats.queued), (0, 0, 0));
}

/// Two submits in a row, one idle worker: the second must not wait behind the first. (Both meet, or neither ends.)
#[test]
fn idle_worker_is_counted_once() {
    for _ in 0..200 {
        let pool = ThreadPoolExecutor::builder().max_workers(2).daemon(true).build().unwrap();
        pool.submit(|| ()).join().unwrap();
        eventually("the worker to be idle", || pool.stats().idle == 1);
        let met = Arc::new(AtomicUsize::new(0));
        let meets = [(); 2].map(|()| {
            let met = Arc::clone(&met);
            pool.submit(move || {
                met.fetch_add(1, Ordering::SeqCst);
                // Not a wait of ours: only a second worker can help.
                eventually("the other job", || met.load(Ordering::SeqCst) == 2);
            })
        });
        meets.into_iter().for_each(joined);
    }
}

#[test]
fn barrier_of_all_workers_again_and_again() {
    let pool = ThreadPoolExecutor::new(3);
    for _ in 0..100 {
        let barrier = Arc::new(Barrier::new(3));
        let parties = [(); 3].map(|()| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || barrier.wait().unwrap().index())
        });
        assert_eq!(parties.into_iter().map(joined).sum::<usize>(), 3);
    }
    assert!(pool.stats().workers <= 6, "replacements are used again");
}

#[test]
fn cancel_of_a_job_that_waits_ends_it() {
    let pool = ThreadPoolExecutor::new(1);
    let handle = pool.submit(|| Event::new().wait());
    eventually("it to wait", || pool.stats().blocked == 1);
    assert!(!handle.cancel());
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    let mut timed = pool.submit(|| Event::new().wait_timeout(Duration::MAX).is_err());
    eventually("it to wait", || pool.stats().blocked == 1);
    assert!(matches!(timed.join_timeout(SHORT), Err(TaskError::TimedOut)));
    timed.cancel();
    assert!(joined(timed), "a timed wait tells of the cancellation and the job goes on");
}

#[test]
fn unwinding_job_waits_in_its_destructors() {
    struct Waits(Arc<Event>, Arc<AtomicBool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.wait();
            self.1.store(true, Ordering::Relaxed);
        }
    }
    let pool = ThreadPoolExecutor::new(1);
    let (go, ran) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
    let waits = Waits(Arc::clone(&go), Arc::clone(&ran));
    let handle = pool.submit(move || {
        let _waits = waits;
        panic!("and unwinds");
    });
    eventually("the destructor to wait", || pool.stats().blocked == 1);
    handle.cancel(); // must not become a second unwind
    go.set();
    assert!(catch_unwind(AssertUnwindSafe(|| handle.join())).unwrap().unwrap_err().is_panic());
    assert!(ran.load(Ordering::Relaxed));
}

/// Dropping a pool waits for its jobs, also where the strand that drops it is cancelled.
#[test]
fn drop_waits_in_a_cancelled_region() {
    let ended = Arc::new(AtomicUsize::new(0));
    let token = ropewalk::CancelToken::new();
    token.cancel();
    let counts = Arc::clone(&ended);
    let _ = token.run(|| {
        let pool = ThreadPoolExecutor::new(1);
        for _ in 0..50 {
            let counts = Arc::clone(&counts);
            drop(pool.submit(move || {
                std::thread::yield_now();
                counts.fetch_add(1, Ordering::SeqCst);
            }));
        }
    });
    assert_eq!(ended.load(Ordering::SeqCst), 50);
}

#[test]
fn scope_job_submitted_after_the_panic_is_cancelled() {
    let pool = ThreadPoolExecutor::new(1);
    let thrown = support::panic_text(|| {
        pool.scope(|scope| {
            assert!(scope.submit(|| panic!("first")).join().is_err());
            assert!(matches!(scope.submit(|| unreachable!()).join(), Err(ropewalk::TaskError::Cancelled)));
        })
    });
    assert_eq!(thrown, "first");
}

/// A join under a deadline must not run the job here, where nothing could end it in time.
#[test]
fn join_under_a_token_ends_with_it() {
    let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a valid pool"));
    let (inner, go) = (Arc::clone(&pool), Arc::new(ropewalk::sync::Event::new()));
    let gate = Arc::clone(&go);
    let outer = pool.submit(move || {
        let slow = inner.submit(move || gate.wait());
        let token = ropewalk::CancelToken::new().with_timeout(std::time::Duration::from_millis(5));
        token.run(|| slow.join()).is_err()
    });
    assert!(support::joined(outer));
    go.set();
}
