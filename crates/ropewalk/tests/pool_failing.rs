//! What a user's code can do to a pool: panics in every place where it is called or dropped, bad numbers, bad moments.

mod support;

use ropewalk::sync::{Event, Mutex};
use ropewalk::task::harness::drop_quietly;
use ropewalk::{ReturnWhen, Shutdown, Submit, TaskError, ThreadPoolExecutor, TrySubmitError, greenlet, wait};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use support::{HANG, eventually, joined, panic_text};

/// Panics when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in a destructor");
        }
    }
}

/// A waker that panics, and says that it was called.
struct Panics(AtomicUsize);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(1, Ordering::SeqCst);
        panic!("the waker");
    }
}

/// The pool works as before: each worker.
#[track_caller]
fn still_works(pool: &ThreadPoolExecutor) {
    let results = pool.run_all((0..20).map(|n| move || n));
    assert_eq!(results.into_iter().map(Result::unwrap).sum::<i32>(), 190);
}

#[test]
fn numbers_with_which_no_pool_can_work() {
    let builder = ThreadPoolExecutor::builder;
    assert!(builder().max_workers(0).build().unwrap_err().to_string().contains("max_workers is 0"));
    assert!(builder().max_workers(1 << 40).build().unwrap_err().to_string().contains("at most"));
    assert!(builder().queue_limit(0).build().unwrap_err().to_string().contains("queue_limit is 0"));
    assert!(builder().thread_name_prefix("a\0b").build().unwrap_err().to_string().contains("NUL"));
    assert!(panic_text(|| ThreadPoolExecutor::new(0)).contains("max_workers is 0"));
}

#[test]
fn stack_that_the_system_cannot_give() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).stack_size(1 << 60).build().unwrap();
    match pool.submit(|| 1).join_timeout(HANG) {
        Err(TaskError::WorkerDied { reason, .. }) => assert!(reason.contains("could not start a thread"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(pool.submit(|| 1).join(), Err(TaskError::WorkerDied { .. })));
}

#[test]
fn initializer_that_panics_once_ends_what_waits() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let fail = move || assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "first worker");
    let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(fail).build().unwrap();
    let ended: Vec<_> = (0..5).map(|n| pool.submit(move || n)).map(|mut handle| handle.join_timeout(HANG)).collect();
    assert!(ended.iter().all(|ended| matches!(ended, Err(TaskError::WorkerDied { .. }))));
    pool.shutdown(Shutdown::Wait);
}

#[test]
fn callback_that_panics() {
    let pool = ThreadPoolExecutor::new(1);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    let handle = pool.submit(move || waits.wait());
    handle.on_finish(|_| panic!("in a callback"));
    handle.on_finish(|_| panic_any(Bomb));
    go.set();
    joined(handle);
    still_works(&pool);
}

#[test]
fn progress_callback_that_panics() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .on_progress(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("in a callback");
        })
        .build()
        .unwrap();
    still_works(&pool);
    assert_eq!(calls.load(Ordering::Relaxed), 20);
}

#[test]
fn destructor_of_a_joined_result_panics_in_the_joiner() {
    let pool = ThreadPoolExecutor::new(1);
    let bomb = pool.submit(|| Bomb).join().unwrap();
    assert_eq!(panic_text(|| drop(bomb)), "in a destructor");
    still_works(&pool);
}

#[test]
fn destructor_of_a_detached_result_panics_on_the_worker() {
    let pool = ThreadPoolExecutor::new(1);
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    drop(pool.submit(move || {
        waits.wait();
        Bomb
    }));
    go.set();
    still_works(&pool);
}

#[test]
fn destructor_of_a_finished_result_panics_where_the_handle_is_dropped() {
    let pool = ThreadPoolExecutor::new(1);
    let handle = [pool.submit(|| Bomb)];
    assert_eq!(wait(&handle, ReturnWhen::AllCompleted, None).done, [0]);
    assert_eq!(panic_text(|| drop(handle)), "in a destructor");
    still_works(&pool);
}

#[test]
fn destructor_of_a_capture_panics() {
    let pool = ThreadPoolExecutor::new(1);
    let bomb = Bomb;
    assert!(pool.submit(move || drop(bomb)).join().unwrap_err().is_panic());
    // Of a job that is cancelled before it starts.
    let (go, bomb) = (Arc::new(AtomicUsize::new(0)), Bomb);
    let waits = Arc::clone(&go);
    let busy = pool.submit(move || {
        while waits.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
    });
    let pending = pool.submit(move || {
        let _bomb = &bomb;
    });
    assert!(pending.cancel());
    go.store(1, Ordering::Relaxed);
    joined(busy);
    still_works(&pool);
}

#[test]
fn payload_that_panics_when_it_is_dropped() {
    let pool = ThreadPoolExecutor::new(1);
    let error = pool.submit(|| panic_any(Bomb)).join().unwrap_err();
    assert!(error.is_panic());
    assert_eq!(panic_text(|| drop(error)), "in a destructor");
    // Detached: the worker drops it.
    let go = Arc::new(Event::new());
    let waits = Arc::clone(&go);
    drop(pool.submit(move || {
        waits.wait();
        panic_any(Bomb)
    }));
    go.set();
    still_works(&pool);
    drop_quietly(Bomb);
}

#[test]
fn submit_after_each_kind_of_shutdown() {
    for how in [Shutdown::Wait, Shutdown::CancelPending, Shutdown::Detach, Shutdown::Kill] {
        let pool = ThreadPoolExecutor::new(1);
        pool.shutdown(how);
        assert!(matches!(pool.submit(|| 1).join(), Err(TaskError::Shutdown)));
        assert!(matches!(pool.try_submit(|| 1), Err(TrySubmitError::Shutdown(_))));
        assert!(panic_text(|| pool.map(|n: i32| n, 0..3).next()).contains("shut down"));
        assert!(pool.try_map(|n: i32| n, 0..3).all(|result| matches!(result, Err(TaskError::Shutdown))));
        assert!(panic_text(|| pool.for_each(|_: i32| (), 0..3)).contains("shut down"));
        pool.scope(|scope| assert!(matches!(scope.submit(|| 1).join(), Err(TaskError::Shutdown))));
    }
}

/// A pool of one with a queue of one, whose worker is busy until the returned event is set.
fn full_pool() -> (ThreadPoolExecutor, Arc<Event>) {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let (go, busy) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (waits, is_busy) = (Arc::clone(&go), Arc::clone(&busy));
    drop(pool.submit(move || {
        is_busy.set();
        while !waits.is_set() {
            std::thread::yield_now();
        }
    }));
    busy.wait();
    (pool, go)
}

#[test]
fn full_queue_refuses_a_try_and_holds_a_submit() {
    let (pool, go) = full_pool();
    let queued = pool.submit(|| 1);
    match pool.try_submit(|| 2) {
        Err(TrySubmitError::Full(job)) => assert_eq!(job(), 2, "the job comes back"),
        other => panic!("{other:?}"),
    }
    // A submitter that waits can be seen: it is a job of another pool.
    let (pool, others) = (Arc::new(pool), ThreadPoolExecutor::new(1));
    let submits = Arc::clone(&pool);
    let submitter = others.submit(move || submits.submit(|| 3).join().unwrap());
    eventually("the submitter to wait", || others.stats().blocked == 1);
    go.set();
    assert_eq!((joined(queued), joined(submitter)), (1, 3));
    eventually("room", || pool.try_submit(|| 4).is_ok());
}

/// The limit stays what it is, whatever goes through the queue: jobs of a scope too.
#[test]
fn queue_limit_holds_after_a_scope() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
    pool.scope(|scope| {
        for _ in 0..10 {
            drop(scope.submit(|| ()));
        }
    });
    let (go, busy) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (waits, is_busy) = (Arc::clone(&go), Arc::clone(&busy));
    drop(pool.submit(move || {
        is_busy.set();
        while !waits.is_set() {
            std::thread::yield_now();
        }
    }));
    busy.wait();
    let accepted = (0..5).filter(|_| pool.try_submit(|| ()).is_ok()).count();
    go.set();
    assert_eq!(accepted, 1);
}

#[test]
fn shutdown_ends_a_submit_that_waits_for_room() {
    let (pool, go) = full_pool();
    drop(pool.submit(|| ()));
    let (pool, others) = (Arc::new(pool), ThreadPoolExecutor::new(2));
    let submits = Arc::clone(&pool);
    let submitter = others.submit(move || submits.submit(|| 1).join());
    eventually("the submitter to wait", || others.stats().blocked == 1);
    let shuts = Arc::clone(&pool);
    let shutter = others.submit(move || shuts.shutdown(Shutdown::CancelPending));
    assert!(matches!(joined(submitter), Err(TaskError::Shutdown)));
    go.set();
    joined(shutter);
}

#[test]
fn kill_ends_waits_and_tells_computations() {
    let pool = ThreadPoolExecutor::new(2);
    let (computes, sleeping) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (told, falls_asleep) = (Arc::clone(&computes), Arc::clone(&sleeping));
    let (waits, computing, sleeps) = (
        pool.submit(|| Event::new().wait()),
        pool.submit(move || {
            told.set();
            while !ropewalk::task::is_cancelled() {
                std::thread::yield_now();
            }
            "saw it"
        }),
        pool.submit(move || {
            falls_asleep.set();
            ropewalk::sleep(std::time::Duration::MAX);
        }),
    );
    computes.wait();
    sleeping.wait();
    eventually("one to wait", || pool.stats().blocked == 1);
    pool.shutdown(Shutdown::Kill);
    assert!(matches!(waits.join(), Err(TaskError::Cancelled)));
    assert!(matches!(sleeps.join(), Err(TaskError::Cancelled)));
    assert_eq!(computing.join().unwrap(), "saw it");
}

#[test]
fn dropped_inside_its_own_job() {
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let (go, ended) = (Arc::new(Event::new()), Arc::new(Mutex::new(Vec::new())));
    let (own, waits, log) = (Arc::clone(&pool), Arc::clone(&go), Arc::clone(&ended));
    let handle = pool.submit(move || {
        waits.wait();
        drop(own); // the last one: must not wait for this very job
        log.lock().push("job");
    });
    let log = Arc::clone(&ended);
    let later = pool.submit(move || log.lock().push("later"));
    joined(later);
    drop(pool);
    go.set();
    joined(handle);
    assert_eq!(*ended.lock(), ["later", "job"]);
}

#[test]
fn shut_down_by_its_own_job() {
    for how in [Shutdown::Wait, Shutdown::CancelPending, Shutdown::Detach] {
        let pool = Arc::new(ThreadPoolExecutor::new(2));
        let own = Arc::clone(&pool);
        joined(pool.submit(move || own.shutdown(how)));
        assert!(matches!(pool.submit(|| 1).join(), Err(TaskError::Shutdown)));
    }
}

/// A hub in a job has the job's thread: what a greenlet of it waited for would wait for the greenlet.
#[test]
fn shut_down_and_dropped_by_a_greenlet_of_its_own_job() {
    for how in [Shutdown::Wait, Shutdown::CancelPending, Shutdown::Detach] {
        let pool = Arc::new(ThreadPoolExecutor::new(2));
        let own = Arc::clone(&pool);
        let in_a_greenlet = move || greenlet::spawn(move || own.shutdown(how)).join();
        joined(pool.submit(|| ropewalk::run(in_a_greenlet))).unwrap();
        assert!(matches!(pool.submit(|| 1).join(), Err(TaskError::Shutdown)));
    }
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let last = Arc::clone(&pool);
    let mine = Arc::new(Event::new());
    let alone = Arc::clone(&mine);
    let dropped = pool.submit(move || {
        alone.wait();
        ropewalk::run(|| greenlet::spawn(move || drop(last)).join())
    });
    drop(pool);
    mine.set();
    joined(dropped).unwrap();
}

#[test]
fn drop_waits_also_while_unwinding() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let ended = catch_unwind(AssertUnwindSafe(move || {
        let pool = ThreadPoolExecutor::new(1);
        for _ in 0..10 {
            let count = Arc::clone(&count);
            drop(pool.submit(move || count.fetch_add(1, Ordering::Relaxed)));
        }
        panic!("with an open pool");
    }));
    assert!(ended.is_err());
    assert_eq!(done.load(Ordering::Relaxed), 10);
}

/// Whoever waits for a place is told by the end of a task: a waker that panics there ends neither the hub nor the task's join.
#[test]
fn place_that_becomes_free_survives_a_waker_that_panics() {
    ropewalk::run(|| {
        let (pool, go_on) = (greenlet::Pool::new(1), Arc::new(Event::new()));
        let first = pool.submit({
            let go_on = Arc::clone(&go_on);
            move || {
                go_on.wait();
                1
            }
        });
        let panics = Arc::new(Panics(AtomicUsize::new(0)));
        let mut second = Box::pin(pool.submit_async(|| 2));
        let waker = Waker::from(Arc::clone(&panics));
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        go_on.set();
        assert_eq!(first.join().unwrap(), 1);
        assert_eq!(pool.submit(|| 3).join().unwrap(), 3, "the pool lives on");
        assert_eq!(panics.0.load(Ordering::SeqCst), 1);
    });
}

/// Somebody's waker that panics while the scope cancels its jobs: the others still borrow from the frame that unwinds.
#[test]
fn scope_waits_for_its_jobs_though_a_waker_panics() {
    let pool = ThreadPoolExecutor::new(1);
    let (begun, alive) = (&Event::new(), &AtomicUsize::new(0));
    let panics = &Arc::new(Panics(AtomicUsize::new(0)));
    let mut kept = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|jobs| {
            drop(jobs.submit(|| {
                alive.store(1, Ordering::SeqCst);
                begun.set();
                // Not a wait that could be cancelled; and a while longer than the waker takes.
                let since = Instant::now();
                while panics.0.load(Ordering::SeqCst) == 0 && since.elapsed() < HANG {
                    std::hint::spin_loop();
                }
                let since = Instant::now();
                while since.elapsed() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
                alive.store(0, Ordering::SeqCst);
            }));
            begun.wait();
            let mut pending = jobs.submit(|| 1);
            let waker = Waker::from(Arc::clone(panics));
            assert!(Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)).is_pending());
            kept = Some(pending);
            panic!("the body");
        })
    }));
    assert_eq!(alive.load(Ordering::SeqCst), 0, "a job outlived its scope");
    assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "the body");
    assert!(matches!(kept.unwrap().join(), Err(TaskError::Cancelled)));
    assert_eq!(pool.submit(|| 7).join().unwrap(), 7, "the pool lives on");
}
