//! Waiting itself: nested waits, sleeping, endless limits, destructors, threads and tasks on one primitive.

mod support;

use ropewalk_core::park::{self, Blocked, Interrupt, Interrupted, Pause, Reason, Wait};
use ropewalk_core::sync::{Barrier, Event, Mutex, OnceCell, Queue, ReentrantLock, RwLock, Semaphore, channel};
use ropewalk_core::task::CancelToken;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use support::{HANG, Polled, SHORT, Script, eventually};

/// Counts the threads that wait.
#[derive(Default)]
struct Waiting(AtomicUsize);

impl Blocked for Waiting {
    fn blocked(&self, _: &Pause) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn unblocked(&self, _: &Pause) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The wake-up of the outer wait arrives while the inner one sleeps on the same parker; the outer one must still see it.
#[test]
fn nested_wait_does_not_eat_the_outer_wake_up() {
    for _ in 0..200 {
        let (outer, inner, waiting) = (Arc::new(Event::new()), Arc::new(Event::new()), Arc::new(Waiting::default()));
        let (sees_outer, sees_inner, hook) = (Arc::clone(&outer), Arc::clone(&inner), Arc::clone(&waiting));
        let thread = std::thread::spawn(move || {
            let interrupt = Interrupt::new();
            park::with_worker(&*hook, &interrupt, 1, || {
                let mut nested = false;
                let mut wait = Box::pin(sees_outer.wait_async());
                park::wait_on(Wait::FOREVER.timeout(HANG), |context| {
                    let ended = wait.as_mut().poll(context);
                    if ended.is_pending() && !std::mem::replace(&mut nested, true) {
                        sees_inner.wait();
                    }
                    ended
                })
            })
        });
        eventually("the inner wait", || waiting.0.load(Ordering::SeqCst) == 1);
        outer.set(); // wakes the thread in its inner wait
        inner.set();
        assert_eq!(thread.join().expect("no panic"), Ok(()));
    }
}

/// A waker that panics, as a runtime's may that is being shut down: all behind it are woken, also those of later batches.
#[test]
fn waker_that_panics_costs_the_others_nothing() {
    let event = Event::new();
    let mut waiting: Vec<_> = (0..70).map(|_| Polled::waiting(event.wait_async())).collect();
    for panics in [69, 40, 3, 0] {
        // A second poll leaves another waker.
        let future = waiting[panics].future();
        assert!(future.poll(&mut Context::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
    }
    let set = catch_unwind(AssertUnwindSafe(|| event.set()));
    let payload = set.expect_err("it is not kept quiet");
    assert_eq!(payload.downcast_ref(), Some(&"a waker of somebody else"));
    assert_eq!(waiting.iter().filter(|waiter| waiter.woken() == 1).count(), 66);
    assert!(waiting.iter_mut().all(|waiter| waiter.poll().is_ready()));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of somebody else");
    }
}

/// Has it wake with a panic.
fn spoil<F: Future>(waiting: &mut Polled<F>) {
    assert!(waiting.future().poll(&mut Context::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
}

#[test]
fn waker_that_panics_costs_no_permit_and_no_end_of_a_queue() {
    let permits = Semaphore::new(0);
    let mut waiting: Vec<_> = (0..40).map(|_| Polled::waiting(permits.acquire_async())).collect();
    spoil(&mut waiting[5]);
    catch_unwind(AssertUnwindSafe(|| permits.release(40))).expect_err("it is not kept quiet");
    assert_eq!(waiting.iter().filter(|waiter| waiter.woken() == 1).count(), 39);

    let lock = RwLock::new(0);
    let writer = lock.try_write().unwrap();
    let mut reader = Polled::waiting(lock.read_async());
    spoil(&mut reader);
    catch_unwind(AssertUnwindSafe(|| drop(writer.downgrade()))).expect_err("it is not kept quiet");
    drop(reader);
    assert!(lock.try_write().is_some(), "a permit was lost");

    let queue = Queue::bounded(1);
    let mut getters = [Polled::waiting(queue.get_async()), Polled::waiting(queue.get_async())];
    spoil(&mut getters[1]);
    queue.put(1).unwrap();
    assert_eq!(getters[0].woken(), 1);
    let (putter, joiner) = (Polled::waiting(queue.put_async(2)), Polled::waiting(queue.join_async()));
    catch_unwind(AssertUnwindSafe(|| queue.shutdown_now())).expect_err("it is not kept quiet");
    assert_eq!((putter.woken(), joiner.woken()), (1, 1), "it waits for ever");
}

/// Of many, told in batches: the last are told when somebody has reset the barrier already.
#[test]
fn round_that_is_complete_is_passed_by_all_whatever_becomes_of_the_next() {
    struct Resets(Arc<Barrier>);
    impl Wake for Resets {
        fn wake(self: Arc<Self>) {
            self.0.reset();
        }
    }
    let barrier = Arc::new(Barrier::new(40));
    let mut waiting: Vec<_> = (0..39).map(|_| Polled::waiting(barrier.wait_async())).collect();
    let waker = Waker::from(Arc::new(Resets(Arc::clone(&barrier))));
    assert!(waiting[0].future().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut last = Polled::new(barrier.wait_async());
    assert!(matches!(last.poll(), Poll::Ready(Ok(leader)) if leader.is_leader()));
    for (index, wait) in waiting.iter_mut().enumerate() {
        assert!(matches!(wait.poll(), Poll::Ready(Ok(_))), "{index}");
    }
}

/// A permit that an async waiter was told of is not given to those behind it, nor to whoever comes by.
#[test]
fn woken_task_keeps_its_permit_until_it_comes() {
    let permits = Semaphore::new(0);
    let [first, second, third] = [(); 3].map(|()| Polled::waiting(permits.acquire_async()));
    permits.release(1);
    drop(second);
    permits.release(0);
    assert_eq!((first.woken(), third.woken()), (1, 0));
    assert!(permits.try_acquire().is_none(), "it is the first's");
    let permit = first.ready();
    drop(permit);
    drop(third.ready());
    assert!(permits.try_acquire().is_some());

    let lock = RwLock::new(());
    let reader = lock.try_read().unwrap();
    let writer = Polled::waiting(lock.write_async());
    drop(reader);
    assert!(lock.try_read().is_none(), "a reader overtook the writer");
    drop(writer);
    assert!(lock.try_read().is_some());
}

/// `release` under a living guard: the lock is another's by then.
#[test]
fn guard_of_a_reentrant_lock_that_was_released_unlocks_nobody() {
    let lock = ReentrantLock::new(());
    let guard = lock.lock();
    lock.release();
    let (taken, go_on) = (Event::new(), Event::new());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let _held = lock.lock();
            taken.set();
            go_on.wait();
            lock.is_held()
        });
        taken.wait();
        drop(guard);
        assert!(lock.try_lock().is_none(), "it is the other's");
        go_on.set();
        assert!(other.join().expect("no panic"));
    });
    assert!(lock.try_lock().is_some());
}

/// In async code, where nobody has to be waited for.
#[test]
fn cell_is_filled_in_async_code_by_whoever_comes_first() {
    let cell = OnceCell::new();
    assert_eq!(park::polling_tasks(|| *cell.get_or_init(|| 1)), 1);
    let cell = OnceCell::new();
    assert_eq!(park::polling_tasks(|| cell.get_or_init_timeout(SHORT, || 2).copied()), Some(2));
    assert_eq!(park::polling_tasks(|| cell.set(3)), Err(3));
}

#[test]
fn nested_wait_of_a_scripted_strand_wakes_the_outer_one() {
    let (outer, inner) = (Event::new(), Event::new());
    let script = Script::new().then(|| inner.set()).then(|| outer.set());
    let mut wait = Box::pin(outer.wait_async());
    let mut nested = false;
    script.run(&Interrupt::new(), || {
        park::wait_ready(|context| {
            let ended = wait.as_mut().poll(context);
            if ended.is_pending() && !std::mem::replace(&mut nested, true) {
                inner.wait();
            }
            ended
        });
    });
    assert!(script.woken() >= 2, "by the inner event, by the end of the inner wait");
}

/// A wait in a destructor while its strand unwinds is one of the whole thread: the waker that it leaves is not the strand's.
#[test]
fn wait_in_an_unwind_leaves_the_next_one_to_a_cancel() {
    struct Waits(Event);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(self.0.wait_timeout(Duration::from_millis(1)).is_err());
        }
    }
    let interrupt = Interrupt::new();
    let script = Script::new().then(|| interrupt.raise(Reason::Cancelled));
    let ended = script.run(&interrupt, || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _waits = Waits(Event::new());
            panic!("it unwinds");
        }));
        assert!(unwound.is_err());
        Event::new().wait();
    });
    assert!(ended.is_none());
    assert_eq!(script.woken(), 1, "the cancel did not reach it");
}

#[test]
fn sleep_lasts_and_ends_with_its_scope() {
    let start = Instant::now();
    park::sleep(SHORT);
    assert!(start.elapsed() >= SHORT, "never early");
    let token = CancelToken::new();
    assert_eq!(token.with_timeout(SHORT).run(|| park::sleep(HANG * 10)), Err(Interrupted::TimedOut));
    assert!(start.elapsed() >= 2 * SHORT && start.elapsed() < HANG);
    token.cancel();
    assert_eq!(token.run(|| park::sleep(Duration::MAX)), Err(Interrupted::Cancelled));
    let interrupt = Interrupt::new();
    let script = Script::new().spurious(3).then(|| interrupt.raise(Reason::Cancelled));
    assert!(script.run(&interrupt, || park::sleep(Duration::MAX)).is_none());
}

/// Each timed verb, with the largest limit there is, waits until it is given what it waits for.
#[test]
fn limit_that_overflows_is_no_limit() {
    let limit = Duration::MAX;
    let run = |give: &dyn Fn(), wait: &dyn Fn() -> bool| {
        let script = Script::new().spurious(2).then(give);
        assert_eq!(script.run(&Interrupt::new(), wait), Some(true));
        assert_eq!(script.suspended(), 3);
    };
    let event = Event::new();
    run(&|| event.set(), &|| event.wait_timeout(limit).is_ok());
    let mutex = Mutex::new(());
    mutex.acquire();
    run(&|| mutex.release(), &|| mutex.acquire_timeout(limit));
    let semaphore = Semaphore::new(0);
    run(&|| semaphore.release(1), &|| semaphore.acquire_timeout(limit).is_ok());
    let queue = Queue::bounded(1);
    run(&|| queue.put(1).unwrap(), &|| queue.get_timeout(limit).is_ok());
    queue.put(1).unwrap();
    run(&|| assert_eq!(queue.get(), Ok(1)), &|| queue.put_timeout(2, limit).is_ok());
    let (sender, receiver) = channel::bounded(1);
    run(&|| sender.send(1).unwrap(), &|| receiver.recv_timeout(limit).is_ok());
    let barrier = Barrier::new(2);
    run(&|| assert!(Polled::new(barrier.wait_async()).poll().is_ready()), &|| barrier.wait_timeout(limit).is_ok());
    assert!(CancelToken::new().with_timeout(limit).deadline().is_none());
}

/// While a strand unwinds, a cancellation does not start a second unwind, and the strand is not switched away from: the wait
/// in the destructor is that of the whole thread, and runs to its end.
#[test]
fn wait_in_a_destructor_while_unwinding() {
    struct Waits<'a>(&'a Event, &'a AtomicUsize);
    impl Drop for Waits<'_> {
        fn drop(&mut self) {
            self.0.wait();
            park::sleep(Duration::from_millis(1));
            park::check_cancelled();
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (event, ended, interrupt, never) = (Event::new(), AtomicUsize::new(0), Interrupt::new(), Event::new());
    std::thread::scope(|scope| {
        // Unwinding from a cancelled wait.
        let script = Script::new().then(|| {
            interrupt.raise(Reason::Cancelled);
            scope.spawn(|| event.set());
        });
        let body = || {
            let _waits = Waits(&event, &ended);
            never.wait();
        };
        assert!(script.run(&interrupt, body).is_none());
        assert_eq!((ended.load(Ordering::SeqCst), script.suspended()), (1, 1));
    });
    // Unwinding from a panic, in a scope that was cancelled.
    let script = Script::new();
    let ended_by = catch_unwind(AssertUnwindSafe(|| {
        script.run(&interrupt, || {
            let _waits = Waits(&event, &ended);
            panic!("unwinds");
        })
    }));
    assert!(ended_by.is_err());
    assert_eq!((ended.load(Ordering::SeqCst), script.suspended()), (2, 0));
}

#[test]
fn blocking_wait_while_polling_tasks_is_refused() {
    let event = Event::new();
    let refused = catch_unwind(AssertUnwindSafe(|| park::polling_tasks(|| event.wait())));
    let text = *refused.unwrap_err().downcast::<&str>().expect("a text");
    assert!(text.contains(".await"), "{text}");
    event.set();
    park::polling_tasks(|| event.wait()); // needs no waiting
}

/// Threads block while futures are polled by hand, all on the same primitives; everything that is put arrives once, and every
/// count is exact.
#[test]
fn threads_and_polled_tasks_share_one_primitive() {
    const TIMES: usize = 300;
    let mutex = Arc::new(Mutex::new(0));
    let rwlock = Arc::new(RwLock::new(0));
    let queue = Arc::new(Queue::bounded(2));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (mutex, rwlock, queue) = (Arc::clone(&mutex), Arc::clone(&rwlock), Arc::clone(&queue));
            std::thread::spawn(move || {
                for _ in 0..TIMES {
                    *mutex.lock() += 1;
                    *rwlock.write() += 1;
                    queue.put(1).unwrap();
                }
            })
        })
        .collect();
    let task = || async {
        let mut got = 0;
        for _ in 0..TIMES {
            *mutex.lock_async().await += 1;
            *rwlock.write_async().await += 1;
            got += queue.get_async().await.unwrap();
        }
        got
    };
    let mut tasks: Vec<_> = (0..3).map(|_| Some(Polled::new(task()))).collect();
    let mut got = 0;
    let (mut seen, start) = (vec![None; tasks.len()], Instant::now());
    while tasks.iter().any(Option::is_some) {
        assert!(start.elapsed() < HANG, "a wake-up was lost");
        for (place, slot) in tasks.iter_mut().enumerate() {
            let Some(task) = slot else { continue };
            // Only a task that was woken is polled again.
            if seen[place].replace(task.woken()) == Some(task.woken()) {
                std::thread::yield_now();
                continue;
            }
            if let Poll::Ready(sum) = task.poll() {
                got += sum;
                *slot = None;
            }
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!((got, *mutex.lock(), *rwlock.read()), (3 * TIMES, 6 * TIMES, 6 * TIMES));
    assert!(queue.is_empty());
}

/// A strand that sleeps elsewhere is woken elsewhere: each of its waits leaves the waker of the place where it sleeps, in a
/// scope where another one may have been left before.
#[test]
fn waits_in_two_places_are_each_woken_in_their_own() {
    let never = || Poll::<()>::Pending;
    let caught = |body: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("it is cancelled");
        assert!(payload.is::<park::Cancelled>());
    };
    // In the parker, then through a hook.
    let interrupt = Interrupt::new();
    let script = Script::new().spurious(2).then(|| interrupt.raise(Reason::Cancelled));
    caught(&|| {
        park::with_scope(&interrupt, None, || {
            assert_eq!(Event::new().wait_timeout(SHORT), Err(park::Interrupted::TimedOut));
            park::wait_until_ready(Wait::FOREVER, "a test", Some(&script), |_| never());
        });
    });
    assert_eq!((script.suspended(), script.woken()), (3, 1));

    // Through a hook, then in the parker; the other thread cannot know when it is there.
    let interrupt = Arc::new(Interrupt::new());
    let script = Script::new().spurious(1);
    let canceller = std::thread::spawn({
        let interrupt = Arc::clone(&interrupt);
        move || {
            std::thread::sleep(SHORT);
            interrupt.raise(Reason::Cancelled);
        }
    });
    caught(&|| {
        park::with_scope(&interrupt, None, || {
            let mut polls = 0;
            let ended = park::wait_until_ready(Wait::FOREVER, "a test", Some(&script), |_| {
                polls += 1;
                if polls > 1 { Poll::Ready(7) } else { Poll::Pending }
            });
            assert_eq!(ended, Some(7));
            Event::new().wait();
        });
    });
    canceller.join().expect("no panic");

    // A limit ends it, and it is no plain thread's to be cancelled.
    let script = Script::new().spurious(1);
    let limit = Wait::FOREVER.until(Instant::now());
    assert_eq!(park::wait_until_ready(limit, "a test", Some(&script), |_| never()), None);
    assert!(!park::can_be_cancelled());
    park::with_scope(&Interrupt::new(), None, || assert!(park::can_be_cancelled()));
}
