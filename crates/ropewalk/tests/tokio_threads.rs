//! Inside a tokio runtime nothing of ours blocks silently: each blocking call on a thread that polls tasks is a panic that
//! names the way out, on both kinds of runtime, in `block_on` and in spawned tasks; where blocking is right
//! (`spawn_blocking`, threads outside) the same calls work, and the async forms work everywhere.

mod support;

use ropewalk::sync::{Barrier, Condvar, Event, Mutex, OnceCell, Queue, ReentrantLock, RwLock, Semaphore, channel};
use ropewalk::{ReturnWhen, Shutdown, Submit, TaskHandle, ThreadPoolExecutor, as_completed, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{eventually, ignore, panic_text};
use tokio::runtime::{Builder, Runtime};

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().build().expect("a runtime"),
        Builder::new_multi_thread().worker_threads(2).build().expect("a runtime"),
    ]
}

type Calls = Vec<(&'static str, Box<dyn FnOnce() + Send>)>;

/// Calls that would block, each after what it would block on was made ready.
fn blocking_calls() -> Calls {
    let never = Arc::new(Event::new());
    let pool =
        Arc::new(ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).daemon(true).build().expect("a pool"));
    let busy = |pool: &ThreadPoolExecutor| -> TaskHandle<()> {
        let never = Arc::clone(&never);
        pool.submit(move || {
            while !never.is_set() {
                std::thread::yield_now();
            }
        })
    };
    drop(busy(&pool));
    eventually("the worker to be busy", || pool.stats().queued == 0);
    drop(pool.submit(|| ())); // the queue is full now
    let other = ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a pool");
    let handle = busy(&other);
    let mut timed = busy(&other);
    let grouped = busy(&other);
    let waited = [busy(&other)];
    let completed = as_completed([busy(&other)]);
    let held = || {
        let mutex = Box::leak(Box::new(Mutex::new(())));
        mutex.acquire();
        &*mutex
    };
    let (mutex, timed_mutex) = (held(), held());
    let reentrant: &ReentrantLock<()> = Box::leak(Box::new(ReentrantLock::new(())));
    std::thread::spawn(|| reentrant.acquire()).join().expect("no panic");
    let rwlock: &RwLock<()> = Box::leak(Box::new(RwLock::new(())));
    std::mem::forget(rwlock.write());
    let shared = Arc::new((Mutex::new(()), Condvar::new()));
    let both_sides = channel::unbounded::<()>();
    let (sender, full) = channel::bounded(1);
    sender.send(()).expect("room");
    let (offer, taker) = channel::rendezvous::<()>();
    let (queue, full_queue) = (Queue::<()>::unbounded(), Queue::bounded(1));
    full_queue.put(()).expect("room");
    let unfinished = Queue::unbounded();
    unfinished.put(()).expect("room");
    let idle = Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a pool"));
    let (shut, mapped, scoped, all, each) =
        (Arc::clone(&idle), Arc::clone(&idle), Arc::clone(&idle), Arc::clone(&idle), Arc::clone(&idle));
    let event = Arc::new(Event::new());
    let timed_event = Arc::clone(&event);
    let mut group = ropewalk::task::TaskGroup::new();
    group.add(grouped);
    vec![
        ("submit to a full queue", Box::new(move || ignore(pool.submit(|| ())))),
        ("join", Box::new(move || ignore(handle.join()))),
        ("join_timeout", Box::new(move || ignore(timed.join_timeout(Duration::from_millis(1))))),
        ("wait", Box::new(move || ignore(wait(&waited, ReturnWhen::AllCompleted, None)))),
        ("as_completed", Box::new(move || ignore({ completed }.next()))),
        ("TaskGroup::join", Box::new(move || ignore(group.join()))),
        ("shutdown", Box::new(move || shut.shutdown(Shutdown::Wait))),
        ("map", Box::new(move || ignore(mapped.map(|n: i32| n, 0..3).next()))),
        ("scope", Box::new(move || scoped.scope(|_| ()))),
        ("run_all", Box::new(move || ignore(all.run_all([|| ()])))),
        ("for_each", Box::new(move || each.for_each(drop::<i32>, 0..3))),
        ("Mutex::lock", Box::new(move || ignore(mutex.lock()))),
        ("Mutex::lock_timeout", Box::new(move || ignore(timed_mutex.lock_timeout(Duration::from_millis(1))))),
        ("ReentrantLock::lock", Box::new(move || ignore(reentrant.lock()))),
        ("RwLock::read", Box::new(move || ignore(rwlock.read()))),
        ("Condvar::wait", Box::new(move || ignore(shared.1.wait(shared.0.lock())))),
        ("Semaphore::acquire", Box::new(|| ignore(Semaphore::new(0).acquire()))),
        ("Barrier::wait", Box::new(|| ignore(Barrier::new(2).wait()))),
        ("Event::wait", Box::new(move || event.wait())),
        ("Event::wait_timeout", Box::new(move || ignore(timed_event.wait_timeout(Duration::from_millis(1))))),
        ("recv", Box::new(move || ignore({ both_sides }.1.recv()))),
        (
            "send",
            Box::new(move || {
                ignore(sender.send(()));
                ignore(full)
            }),
        ),
        (
            "rendezvous send",
            Box::new(move || {
                ignore(offer.send(()));
                ignore(taker)
            }),
        ),
        ("Queue::get", Box::new(move || ignore(queue.get()))),
        ("Queue::put", Box::new(move || ignore(full_queue.put(())))),
        ("Queue::join", Box::new(move || unfinished.join())),
        ("sleep", Box::new(|| ropewalk::sleep(Duration::from_millis(1)))),
        ("block_on", Box::new(|| ropewalk::block_on(std::future::ready(())))),
        (
            "drop of a pool",
            Box::new(|| {
                let pool = ThreadPoolExecutor::new(1);
                ignore(pool.submit(|| ()));
                drop(pool);
            }),
        ),
    ]
}

/// The panic says what is wrong and what to do instead.
#[track_caller]
fn refused(name: &str, call: Box<dyn FnOnce() + Send>) {
    let text = panic_text(call);
    assert!(text.contains("in async context"), "{name}: {text}");
    assert!(text.contains(".await"), "{name} names the way out: {text}");
}

#[test]
fn blocking_call_in_block_on_is_refused() {
    for runtime in runtimes() {
        for (name, call) in blocking_calls() {
            runtime.block_on(async { refused(name, call) });
        }
    }
}

#[test]
fn blocking_call_in_a_spawned_task_is_refused() {
    for runtime in runtimes() {
        for (name, call) in blocking_calls() {
            runtime.block_on(runtime.spawn(async move { refused(name, call) })).expect("refused");
        }
    }
}

/// What is free, ready or finished needs no waiting, so it is no blocking call.
#[test]
fn calls_that_need_no_waiting_work() {
    for runtime in runtimes() {
        runtime.block_on(async {
            drop(Mutex::new(()).lock());
            drop(RwLock::new(()).write());
            drop(Semaphore::new(1).acquire());
            let event = Event::new();
            event.set();
            event.wait();
            let (sender, receiver) = channel::bounded(1);
            sender.send(1).unwrap();
            assert_eq!(receiver.recv(), Ok(1));
            let pool = ThreadPoolExecutor::new(1);
            assert_eq!(pool.submit(|| 2).await.unwrap(), 2);
            pool.shutdown_async(Shutdown::Wait).await;
        });
    }
}

#[test]
fn blocking_calls_work_in_spawn_blocking() {
    for runtime in runtimes() {
        let sum = runtime.block_on(async {
            tokio::task::spawn_blocking(|| {
                let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
                let handles: Vec<_> = (0..20).map(|n| pool.submit(move || n)).collect();
                let sum: i32 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
                let (event, mutex, (sender, receiver)) =
                    (Arc::new(Event::new()), Mutex::new(()), channel::rendezvous());
                let sets = Arc::clone(&event);
                drop(pool.submit(move || sets.set()));
                event.wait();
                drop(mutex.lock());
                drop(pool.submit(move || sender.send(1)));
                assert_eq!(receiver.recv(), Ok(1));
                ropewalk::sleep(Duration::from_millis(1));
                drop(pool);
                sum
            })
            .await
            .expect("no panic")
        });
        assert_eq!(sum, 190);
    }
}

#[test]
fn async_forms_of_a_pool() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().unwrap();
            let mut handles = Vec::new();
            for n in 0..20 {
                handles.push(pool.submit_async(move || n).await);
            }
            let mut completed = as_completed(handles);
            let mut sum = 0;
            while let Some(handle) = completed.next_async().await {
                sum += handle.await.unwrap();
            }
            assert_eq!(sum, 190);
            assert!(pool.submit(|| panic!("in a job")).await.unwrap_err().is_panic());
            pool.shutdown_async(Shutdown::Wait).await;
            assert_eq!(pool.stats().workers, 0);
            drop(pool); // shut down: nothing to wait for
        });
    }
}

/// Half of the strands are threads, half are tokio tasks; every count is exact.
#[test]
fn locks_shared_by_threads_and_tasks_stay_exact() {
    const STRANDS: usize = 4;
    const TIMES: usize = 500;
    #[derive(Default)]
    struct Shared {
        mutex: Mutex<usize>,
        rwlock: RwLock<usize>,
        inside: AtomicUsize,
        once: OnceCell<usize>,
        inits: AtomicUsize,
    }
    for runtime in runtimes() {
        let shared = Arc::new(Shared::default());
        let permits = Arc::new(Semaphore::new(2));
        let queue = Arc::new(Queue::bounded(3));
        let threads: Vec<_> = (0..STRANDS)
            .map(|_| {
                let (shared, permits, queue) = (Arc::clone(&shared), Arc::clone(&permits), Arc::clone(&queue));
                std::thread::spawn(move || {
                    for n in 0..TIMES {
                        *shared.mutex.lock() += 1;
                        *shared.rwlock.write() += 1;
                        let permit = permits.acquire();
                        assert!(shared.inside.fetch_add(1, Ordering::SeqCst) < 2);
                        shared.inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                        queue.put(n).unwrap();
                    }
                    *shared.once.get_or_init(|| shared.inits.fetch_add(1, Ordering::SeqCst))
                })
            })
            .collect();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..STRANDS)
                .map(|_| {
                    let (shared, permits, queue) = (Arc::clone(&shared), Arc::clone(&permits), Arc::clone(&queue));
                    tokio::spawn(async move {
                        let mut sum = 0;
                        for _ in 0..TIMES {
                            *shared.mutex.lock_async().await += 1;
                            *shared.rwlock.write_async().await += 1;
                            let permit = permits.acquire_async().await;
                            assert!(shared.inside.fetch_add(1, Ordering::SeqCst) < 2);
                            shared.inside.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                            sum += queue.get_async().await.unwrap();
                        }
                        shared.once.get_or_init_async(|| async { shared.inits.fetch_add(1, Ordering::SeqCst) }).await;
                        sum
                    })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.expect("no panic");
            }
            assert_eq!(sum, STRANDS * (0..TIMES).sum::<usize>());
        });
        threads.into_iter().for_each(|thread| ignore(thread.join().expect("no panic")));
        assert_eq!(*shared.mutex.lock(), 2 * STRANDS * TIMES);
        assert_eq!(*shared.rwlock.read(), 2 * STRANDS * TIMES);
        assert_eq!(shared.inits.load(Ordering::SeqCst), 1);
        assert_eq!(permits.available_permits(), 2);
    }
}

/// A task that is aborted while it waits hands on what it was given.
#[test]
fn aborted_task_loses_nothing() {
    for runtime in runtimes() {
        let mutex = Arc::new(Mutex::new(()));
        let permits = Arc::new(Semaphore::new(1));
        for _ in 0..100 {
            let (guard, permit) = (mutex.lock(), permits.acquire());
            let (wants, needs) = (Arc::clone(&mutex), Arc::clone(&permits));
            runtime.block_on(async {
                let lock = tokio::spawn(async move { drop(wants.lock_async().await) });
                let acquire = tokio::spawn(async move { drop(needs.acquire_async().await) });
                tokio::task::yield_now().await;
                drop((guard, permit));
                lock.abort();
                acquire.abort();
                drop((lock.await, acquire.await));
            });
            assert!(mutex.try_lock().is_some());
            assert!(permits.try_acquire().is_some());
        }
    }
}
