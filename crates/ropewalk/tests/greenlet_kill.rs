//! What can happen to a greenlet that is killed, and to a hub that ends: where it was, what its destructors do, who swallows it.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{Log, greenlets, log, settle, within};
use ropewalk::greenlet::{self, spawn, spawn_local};
use ropewalk::sync::{Condvar, Event, Interrupted, Mutex, Queue, RwLock, Semaphore, channel};
use ropewalk::task::{Cancelled, check_cancelled, is_cancelled};
use ropewalk::{TaskError, TaskHandle};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use support::{HANG, SHORT, eventually, ignore, joined, panic_text, text_of};

/// Notes when it is dropped, and on which thread.
struct Noisy(Arc<StdMutex<Vec<(&'static str, ThreadId)>>>, &'static str);

impl Drop for Noisy {
    fn drop(&mut self) {
        self.0.lock().unwrap().push((self.1, std::thread::current().id()));
    }
}

/// What was dropped, in order.
#[derive(Clone, Default)]
struct Drops(Arc<StdMutex<Vec<(&'static str, ThreadId)>>>);

impl Drops {
    fn noisy(&self, name: &'static str) -> Noisy {
        Noisy(Arc::clone(&self.0), name)
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }
}

#[track_caller]
fn was_cancelled<T: std::fmt::Debug>(handle: TaskHandle<T>) {
    let ended = handle.join();
    assert!(matches!(ended, Err(TaskError::Cancelled)), "{ended:?}");
}

// Where it is when it is killed.

#[test]
fn kill_before_the_first_run_drops_the_captures_at_once() {
    greenlets(|| {
        let drops = Drops::default();
        let noisy = drops.noisy("capture");
        let handle = spawn(move || drop(noisy));
        assert!(handle.cancel(), "it had not started");
        assert_eq!(drops.names(), ["capture"]);
        was_cancelled(handle);
    });
}

/// The captures of a job that stays on its thread are dropped there, when the hub comes to it.
#[test]
fn kill_from_another_thread_drops_local_captures_on_their_own() {
    greenlets(|| {
        let drops = Drops::default();
        let noisy = drops.noisy("capture");
        let stays = Rc::new(Cell::new(0));
        let counts = Rc::clone(&stays);
        let handle = Arc::new(spawn_local(move || {
            counts.set(1);
            drop(noisy);
        }));
        let cancels = Arc::clone(&handle);
        std::thread::spawn(move || assert!(!cancels.cancel())).join().unwrap();
        assert_eq!(drops.names(), [""; 0]);
        settle();
        assert_eq!(*drops.0.lock().unwrap(), [("capture", std::thread::current().id())]);
        assert_eq!((stays.get(), Rc::strong_count(&stays)), (0, 1), "it never ran");
        assert!(handle.is_cancelled());
    });
}

#[test]
fn kill_in_each_kind_of_wait() {
    type Wait = (&'static str, Box<dyn FnOnce() + Send>);
    fn waits() -> Vec<Wait> {
        let full = Arc::new(Queue::bounded(1));
        full.put(()).unwrap();
        let (sender, receiver) = channel::rendezvous::<()>();
        let kept = (sender.clone(), receiver.clone());
        let unfinished = Arc::clone(&full);
        vec![
            ("sleep", Box::new(|| ropewalk::sleep(HANG))),
            ("event", Box::new(|| Event::new().wait())),
            ("get", Box::new(|| ignore(Queue::<()>::unbounded().get()))),
            ("put", Box::new(move || ignore(full.put(())))),
            ("queue join", Box::new(move || unfinished.join())),
            ("recv", Box::new(move || ignore(receiver.recv()))),
            ("send", Box::new(move || drop((sender.send(()), kept)))),
            ("permit", Box::new(|| drop(Semaphore::new(0).acquire()))),
            ("condition", Box::new(|| drop(Condvar::new().wait(Mutex::new(()).lock())))),
            ("future", Box::new(|| ropewalk::block_on(std::future::pending()))),
            ("timer", Box::new(|| ropewalk::block_on(tokio::time::sleep(HANG)))),
            ("join", Box::new(|| drop(greenlet_support::sleeper().join()))),
            (
                "yields",
                Box::new(|| {
                    loop {
                        ropewalk::yield_now();
                    }
                }),
            ),
            (
                "computes",
                Box::new(|| {
                    loop {
                        check_cancelled();
                        ropewalk::sleep(Duration::ZERO);
                    }
                }),
            ),
        ]
    }
    greenlets(|| {
        for (name, wait) in waits() {
            let drops = Drops::default();
            let noisy = drops.noisy(name);
            let handle = spawn(move || {
                let _noisy = noisy;
                wait();
            });
            settle();
            assert!(handle.is_running(), "{name}");
            handle.kill();
            assert_eq!(drops.names(), [name]);
            was_cancelled(handle);
        }
    });
}

/// The call goes on; only the wait for it has ended.
#[test]
fn kill_while_a_call_is_offloaded() {
    greenlets(|| {
        let (go, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (waits, says) = (Arc::clone(&go), Arc::clone(&done));
        let handle = spawn(move || {
            greenlet::offload(move || {
                eventually("the test to go on", || waits.load(Ordering::Relaxed));
                says.store(true, Ordering::Relaxed);
            });
        });
        settle();
        handle.kill();
        assert!(!done.load(Ordering::Relaxed));
        was_cancelled(handle);
        go.store(true, Ordering::Relaxed);
        eventually("the call to end", || done.load(Ordering::Relaxed));
    });
}

/// A computation is not interrupted: it is told, and its next wait ends.
#[test]
fn kill_from_another_thread_while_it_runs() {
    greenlets(|| {
        let (runs, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (says, tells) = (Arc::clone(&runs), Arc::clone(&told));
        let handle = Arc::new(spawn(move || {
            says.store(true, Ordering::Relaxed);
            eventually("somebody to ask", is_cancelled);
            tells.store(true, Ordering::Relaxed);
            ropewalk::yield_now();
            unreachable!("the yield is a wait");
        }));
        let cancels = Arc::clone(&handle);
        let killer = std::thread::spawn(move || {
            eventually("it to run", || runs.load(Ordering::Relaxed));
            cancels.kill();
        });
        settle();
        killer.join().unwrap();
        assert!(told.load(Ordering::Relaxed));
        assert!(handle.is_cancelled());
    });
}

#[test]
fn greenlet_that_kills_itself_ends_there() {
    greenlets(|| {
        let own: Rc<RefCell<Option<TaskHandle<()>>>> = Rc::default();
        let (looks, reached) = (Rc::clone(&own), log());
        let notes = Rc::clone(&reached);
        let handle = spawn_local(move || {
            notes.borrow_mut().push(1);
            looks.borrow().as_ref().unwrap().kill();
            notes.borrow_mut().push(2);
        });
        *own.borrow_mut() = Some(handle);
        settle();
        assert!(own.borrow().as_ref().unwrap().is_cancelled());
        assert_eq!(*reached.borrow(), [1]);
    });
}

// Who swallows it.

#[test]
fn swallowed_kill_is_raised_again_at_the_next_wait() {
    greenlets(|| {
        let swallowed = log();
        let notes = Rc::clone(&swallowed);
        let handle = spawn_local(move || {
            for wait in [1, 2, 3] {
                let unwind = catch_unwind(AssertUnwindSafe(|| ropewalk::sleep(HANG))).unwrap_err();
                assert!(unwind.is::<Cancelled>());
                notes.borrow_mut().push(wait);
            }
            // A wait that cannot unwind says so instead.
            assert_eq!(Event::new().wait_timeout(HANG), Err(Interrupted::Cancelled));
            "survived"
        });
        settle();
        handle.kill();
        assert_eq!(*swallowed.borrow(), [1, 2, 3]);
        // It ended well all the same: a kill is a request.
        assert_eq!(handle.join().unwrap(), "survived");
    });
}

#[test]
fn panic_that_replaces_the_kill_is_the_error() {
    greenlets(|| {
        let handle = spawn(|| {
            let _ = catch_unwind(AssertUnwindSafe(|| ropewalk::sleep(HANG)));
            panic!("in its place");
        });
        settle();
        handle.kill();
        let ended: Result<(), _> = handle.join();
        assert!(matches!(ended, Err(TaskError::Panicked(panic)) if panic.message() == "in its place"));
    });
}

/// A lock must be had again whatever happens, so the wait for it is not ended.
#[test]
fn kill_in_a_wait_for_a_lock_waits_for_the_lock() {
    greenlets(|| {
        let locks = Arc::new((Mutex::new(0), RwLock::new(0)));
        let guards = (locks.0.lock(), locks.1.write());
        let wants = Arc::clone(&locks);
        let handle = spawn(move || {
            *wants.0.lock() += 1;
            *wants.1.write() += 1;
            ropewalk::yield_now();
            unreachable!("it was killed");
        });
        settle();
        handle.cancel();
        settle();
        assert!(handle.is_running());
        drop(guards);
        was_cancelled(handle);
        assert_eq!((*locks.0.lock(), *locks.1.read()), (1, 1));
    });
}

// Destructors.

#[test]
fn destructors_run_innermost_first() {
    greenlets(|| {
        let drops = Drops::default();
        let inner = drops.clone();
        let handle = spawn(move || {
            let _outer = inner.noisy("outer");
            let nested = || {
                let _first = inner.noisy("first");
                let _second = inner.noisy("second");
                ropewalk::sleep(HANG);
            };
            nested();
        });
        settle();
        handle.kill();
        assert_eq!(drops.names(), ["second", "first", "outer"]);
    });
}

/// Calls it when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// While a greenlet unwinds it does not switch: the thread waits, and no other greenlet runs meanwhile. So nobody takes its
/// unwind for a panic of his own, and a lock of std's that another holds is not poisoned.
#[test]
fn wait_in_a_destructor_is_a_wait_of_the_thread() {
    greenlets(|| {
        let (lock, order): (Rc<StdMutex<()>>, Log<&str>) = (Rc::default(), log());
        let (holds, notes) = (Rc::clone(&lock), Rc::clone(&order));
        let other = spawn_local(move || {
            let _guard = holds.lock().unwrap();
            ropewalk::yield_now();
            ropewalk::yield_now();
            assert!(!std::thread::panicking());
            notes.borrow_mut().push("other");
        });
        let notes = Rc::clone(&order);
        let killed = spawn_local(move || {
            let _waits = OnDrop(|| {
                let started = Instant::now();
                ropewalk::sleep(SHORT);
                ropewalk::yield_now();
                assert!(started.elapsed() >= SHORT, "it lasts as long as it should");
                assert_eq!(Event::new().wait_timeout(HANG), Err(Interrupted::Cancelled), "it says so where it can");
                notes.borrow_mut().push("destructor");
            });
            ropewalk::sleep(HANG);
        });
        ropewalk::yield_now();
        killed.cancel();
        greenlet::join_all([other]).unwrap();
        assert!(!lock.is_poisoned());
        was_cancelled(killed);
        assert_eq!(*order.borrow(), ["destructor", "other"]);
    });
}

#[test]
fn panic_in_a_destructor_of_a_captured_value() {
    greenlets(|| {
        let bomb = OnDrop(|| panic!("in a destructor"));
        let handle = spawn(move || drop(bomb));
        assert!(handle.cancel(), "the panic is reported, and goes no further");
        was_cancelled(handle);
        let bomb = OnDrop(|| panic!("in a destructor"));
        let ended = spawn(move || drop(bomb)).join();
        assert!(ended.unwrap_err().is_panic());
        assert_eq!(joined(spawn(|| 1)), 1, "the hub works as before");
    });
}

/// The future is dropped with the wait, and with it what it borrows from the greenlet's stack.
#[test]
fn future_is_dropped_when_its_greenlet_is_killed() {
    greenlets(|| {
        let drops = Drops::default();
        let inner = drops.clone();
        let handle = spawn(move || {
            let on_the_stack = inner.noisy("stack");
            ropewalk::block_on(async {
                let _in_the_future = inner.noisy("future");
                let _borrowed = &on_the_stack;
                std::future::pending::<()>().await;
            });
        });
        settle();
        handle.kill();
        assert_eq!(drops.names(), ["future", "stack"]);
    });
}

// The end of a hub.

#[test]
fn end_of_the_hub_unwinds_who_is_suspended() {
    let drops = Drops::default();
    let in_hub = drops.clone();
    let handles = ropewalk::run(move || {
        let waiting = (0..3).map(|_| {
            let noisy = in_hub.noisy("waiting");
            spawn(move || {
                let _noisy = noisy;
                Event::new().wait();
            })
        });
        let waiting: Vec<_> = waiting.collect();
        settle();
        let noisy = in_hub.noisy("not started");
        drop(spawn(move || drop(noisy)));
        waiting
    });
    let mut names = drops.names();
    names.sort_unstable();
    assert_eq!(names, ["not started", "waiting", "waiting", "waiting"]);
    handles.into_iter().for_each(was_cancelled);
}

/// What a destructor spawns at the end of the hub is cancelled too, whatever it does, and the hub ends.
#[test]
fn greenlet_spawned_at_the_end_of_the_hub() {
    let lives: [fn(); 2] = [
        || ropewalk::sleep(HANG),
        || loop {
            ropewalk::yield_now();
        },
    ];
    for life in lives {
        let drops = Drops::default();
        let (in_hub, started) = (drops.clone(), Instant::now());
        ropewalk::run(move || {
            drop(spawn(move || {
                let _spawns = OnDrop(|| {
                    let noisy = in_hub.noisy("late");
                    drop(spawn(move || {
                        let _noisy = noisy;
                        life();
                    }));
                });
                ropewalk::sleep(HANG);
            }));
            settle();
        });
        assert_eq!(drops.names(), ["late"]);
        assert!(started.elapsed() < HANG / 2);
    }
}

/// Each is cancelled once, not once a turn. (When it was each turn, 10, 20 and 40 thousand took 0.1, 0.4 and 1.5 s.)
#[test]
fn end_of_a_hub_with_many_greenlets() {
    const MANY: usize = 60_000;
    let ended = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&ended);
    let mut main_ended = Instant::now();
    ropewalk::run(|| {
        let never = Arc::new(Event::new());
        for _ in 0..MANY {
            let (never, counts) = (Arc::clone(&never), Arc::clone(&counts));
            drop(spawn(move || {
                let _counts = OnDrop(|| ignore(counts.fetch_add(1, Ordering::Relaxed)));
                never.wait();
            }));
        }
        ropewalk::yield_now();
        main_ended = Instant::now();
    });
    let took = main_ended.elapsed();
    assert_eq!(ended.load(Ordering::Relaxed), MANY);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn panic_of_main_unwinds_the_others_and_goes_on() {
    let drops = Drops::default();
    let in_hub = drops.clone();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        ropewalk::run(move || {
            let noisy = in_hub.noisy("other");
            drop(spawn(move || {
                let _noisy = noisy;
                ropewalk::sleep(HANG);
            }));
            settle();
            panic!("in main");
        });
    }));
    assert_eq!(text_of(&*panicked.unwrap_err()), "in main");
    assert_eq!(drops.names(), ["other"]);
    assert_eq!(ropewalk::run(|| joined(spawn(|| 1))), 1, "the thread can run another hub");
}

#[test]
fn handle_outlives_its_hub() {
    let (done, never) = ropewalk::run(|| {
        let done = spawn(|| 1);
        settle();
        (done, spawn(|| ropewalk::sleep(HANG)))
    });
    assert_eq!(done.join().unwrap(), 1);
    was_cancelled(never);
}

#[test]
fn tasks_of_the_runtime_end_with_the_hub() {
    let drops = Drops::default();
    let noisy = drops.noisy("task");
    ropewalk::run(move || {
        ropewalk::block_on(async {
            tokio::spawn(async move {
                let _noisy = noisy;
                std::future::pending::<()>().await;
            });
        });
        settle();
    });
    assert_eq!(drops.names(), ["task"]);
}

// Slots and their wakers.

/// It was woken while it ran (by the deadline that it found to have passed), and ended without another wait.
#[test]
fn woken_while_it_runs_and_ended_at_once() {
    greenlets(|| {
        for _ in 0..100 {
            let ends = (0..4).map(|_| {
                spawn(|| assert_eq!(within(Duration::ZERO, || ropewalk::sleep(HANG)), Err(Interrupted::TimedOut)))
            });
            greenlet::join_all(ends).unwrap();
            // If a slot had been let twice, two of these would share a stack.
            let stacks = (0..16).map(|number: usize| {
                spawn(move || {
                    let on_the_stack = std::hint::black_box([number; 64]);
                    ropewalk::yield_now();
                    assert_eq!(on_the_stack, [number; 64]);
                    std::ptr::from_ref(&on_the_stack).addr()
                })
            });
            let mut places = greenlet::join_all(stacks).unwrap();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 16);
        }
    });
}

/// A waker that outlived its greenlet wakes whoever has the slot then, who looks once more and waits on.
#[test]
fn waker_that_outlived_its_greenlet() {
    fn waker_of_a_greenlet() -> Waker {
        joined(spawn(|| ropewalk::block_on(poll_fn(|context| Poll::Ready(context.waker().clone())))))
    }
    greenlets(|| {
        let stale = waker_of_a_greenlet();
        stale.wake_by_ref(); // nobody is there
        let woken = Arc::new(AtomicUsize::new(0));
        let looks = Arc::clone(&woken);
        let next = spawn(move || {
            let started = Instant::now();
            let polled = poll_fn(|_| {
                looks.fetch_add(1, Ordering::Relaxed);
                Poll::<()>::Pending
            });
            assert_eq!(within(SHORT, || ropewalk::block_on(polled)), Err(Interrupted::TimedOut));
            ropewalk::sleep(SHORT);
            started.elapsed()
        });
        for _ in 0..50 {
            stale.wake_by_ref();
            ropewalk::yield_now();
        }
        let from_a_thread = stale.clone();
        std::thread::spawn(move || from_a_thread.wake()).join().unwrap();
        assert!(joined(next) >= 2 * SHORT, "no wait was shortened");
        assert!(woken.load(Ordering::Relaxed) > 2);
    });
}

#[test]
fn waker_that_outlived_its_hub() {
    let stale = ropewalk::run(|| ropewalk::block_on(poll_fn(|context| Poll::Ready(context.waker().clone()))));
    stale.wake_by_ref();
    for _ in 0..3 {
        let (stale, wakes) = (stale.clone(), stale.clone());
        let waker = std::thread::spawn(move || (0..1000).for_each(|_| wakes.wake_by_ref()));
        greenlets(|| {
            stale.wake_by_ref();
            assert_eq!(greenlet::join_all((0..10).map(|n| spawn(move || n))).unwrap().len(), 10);
        });
        waker.join().unwrap();
    }
}

/// Greenlets that start, wait in several ways, are killed and time out, at random; each ends as it should and nobody's
/// stack is another's.
#[test]
fn many_lives_at_random() {
    struct Random(u64);
    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }
    greenlets(|| {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (event, alive) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
        let mut handles: Vec<TaskHandle<u64>> = Vec::new();
        for round in 0..4000 {
            let (kind, time) = (random.below(6), Duration::from_micros(random.below(200)));
            let (event, inside) = (Arc::clone(&event), Arc::clone(&alive));
            handles.push(spawn(move || {
                inside.fetch_add(1, Ordering::Relaxed);
                let _leaves = OnDrop(|| ignore(inside.fetch_sub(1, Ordering::Relaxed)));
                let mark = std::hint::black_box([round; 32]);
                match kind {
                    0 => ropewalk::sleep(time),
                    1 => drop(event.wait_timeout(time)),
                    2 => drop(within(time, || event.wait())),
                    3 => drop(within(time, || within(time, || ropewalk::sleep(HANG)))),
                    4 => ropewalk::block_on(tokio::time::sleep(time)),
                    _ => (0..3).for_each(|_| ropewalk::yield_now()),
                }
                assert_eq!(mark, [round; 32]);
                round
            }));
            if random.below(3) == 0 {
                let place = random.below(handles.len() as u64) as usize;
                let handle = handles.swap_remove(place);
                if random.below(2) == 0 { handle.kill() } else { ignore(handle.cancel()) }
            }
            if random.below(8) == 0 {
                ropewalk::yield_now();
            }
            if handles.len() > 300 {
                let handle = handles.remove(0);
                assert!(handle.join().is_ok());
            }
        }
        for handle in handles {
            assert!(handle.join().is_ok());
        }
        settle();
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

// What is refused.

#[test]
fn run_inside_run_is_refused() {
    let text = panic_text(|| ropewalk::run(|| ropewalk::run(|| ())));
    assert!(text.starts_with("this thread runs a hub already: `ropewalk::run`"), "{text}");
    assert!(text.ends_with("cannot be nested; call the function"), "{text}");
}

#[test]
fn spawn_without_a_hub_is_refused() {
    let drops = Drops::default();
    let noisy = drops.noisy("capture");
    let spawns: [Box<dyn FnOnce()>; 5] = [
        Box::new(move || drop(spawn(move || drop(noisy)))),
        Box::new(|| drop(spawn_local(|| ()))),
        Box::new(|| drop(greenlet::spawn_later(HANG, || ()))),
        Box::new(|| drop(greenlet::Group::new().spawn(|| ()))),
        Box::new(|| drop(greenlet::Pool::new(1).spawn(|| ()))),
    ];
    for spawn in spawns {
        let text = panic_text(spawn);
        assert!(
            text.starts_with("no hub runs on this thread: start greenlets inside `ropewalk::run(|| ..)`"),
            "{text}"
        );
    }
    assert_eq!(drops.names(), ["capture"]);
}

#[test]
fn stack_that_is_too_large_is_refused() {
    greenlets(|| {
        let error = greenlet::Builder::new().stack_size(64 << 20).spawn(|| ()).unwrap_err();
        assert!(error.to_string().contains("more than the largest there is (8388608); use a thread"), "{error}");
        let deep = greenlet::Builder::new().stack_size(8 << 20).spawn(|| 1).unwrap();
        assert_eq!(joined(deep), 1);
    });
}
