//! What holds because a greenlet never leaves its thread, and what is refused because it may leave a frame in the middle.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{greenlets, log, settle};
use ropewalk::greenlet::{self, join_all, no_switch, spawn, spawn_local};
use ropewalk::sync::{Event, Mutex, Queue, channel};
use ropewalk::{Submit, TaskHandle, ThreadPoolExecutor};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;
use support::{HANG, SHORT, ignore, joined, panic_text};

thread_local! {
    static LOCAL: Cell<u64> = const { Cell::new(0) };
    static LAZY: RefCell<String> = RefCell::new("lazy".to_owned());
}

fn places() -> (ThreadId, usize, usize) {
    let thread = std::thread::current().id();
    (thread, LOCAL.with(|local| std::ptr::from_ref(local).addr()), LAZY.with(|lazy| lazy.as_ptr().addr()))
}

/// The waits of a greenlet, each of which lets others run.
fn wait_in_every_way(event: &Event) {
    ropewalk::yield_now();
    ropewalk::sleep(Duration::from_micros(100));
    event.wait();
    ropewalk::block_on(async {
        tokio::time::sleep(Duration::from_micros(100)).await;
        tokio::task::yield_now().await;
    });
    greenlet::offload(|| std::thread::sleep(Duration::from_micros(100)));
    joined(spawn(ropewalk::yield_now));
}

#[test]
fn thread_locals_keep_their_addresses_over_waits() {
    greenlets(|| {
        let event = Arc::new(Event::new());
        let same = (0..20).map(|_| {
            let event = Arc::clone(&event);
            spawn(move || {
                let before = places();
                wait_in_every_way(&event);
                assert_eq!(before, places());
                before
            })
        });
        let same: Vec<_> = same.collect();
        event.set();
        assert!(join_all(same).unwrap().iter().all(|places_there| *places_there == places()));
    });
}

/// Values that no other thread may see live through every wait, and all greenlets count in one cell without a lock.
#[test]
fn what_is_not_send_lives_over_waits() {
    greenlets(|| {
        let (event, count) = (Arc::new(Event::new()), Rc::new(Cell::new(0)));
        let handles: Vec<_> = (0..20)
            .map(|_| {
                let (event, count) = (Arc::clone(&event), Rc::clone(&count));
                spawn_local(move || {
                    let own = Rc::new(RefCell::new(vec![1]));
                    let kept = Rc::clone(&own);
                    let borrowed = own.borrow();
                    wait_in_every_way(&event);
                    assert_eq!((*borrowed)[..], [1]);
                    drop(borrowed);
                    count.set(count.get() + 1);
                    kept
                })
            })
            .collect();
        event.set();
        for kept in join_all(handles).unwrap() {
            assert_eq!(Rc::strong_count(&kept), 1);
        }
        assert_eq!((count.get(), Rc::strong_count(&count)), (20, 1));
    });
}

/// Borrowed over a wait, a `RefCell` refuses the second greenlet as it refuses a second borrow anywhere.
#[test]
fn borrow_over_a_wait_is_seen_by_the_other_greenlet() {
    greenlets(|| {
        let cell = Rc::new(RefCell::new(0));
        let borrows = Rc::clone(&cell);
        let holder = spawn_local(move || {
            let mut borrowed = borrows.borrow_mut();
            ropewalk::sleep(SHORT);
            *borrowed += 1;
        });
        settle();
        assert!(cell.try_borrow().is_err());
        assert!(panic_text(|| drop(cell.borrow_mut())).contains("already"));
        holder.join().unwrap();
        assert_eq!(*cell.borrow(), 1);
    });
}

/// One thread, many greenlets: each has its own id, its own locks, and its own place in a wait.
#[test]
fn greenlets_of_one_thread_are_different_strands() {
    greenlets(|| {
        let lock = Arc::new(ropewalk::sync::ReentrantLock::new(Cell::new(0)));
        let handles: Vec<_> = (0..10)
            .map(|_| {
                let lock = Arc::clone(&lock);
                spawn(move || {
                    let outer = lock.lock();
                    let inner = lock.lock();
                    let before = outer.get();
                    ropewalk::yield_now();
                    inner.set(before + 1);
                })
            })
            .collect();
        join_all(handles).unwrap();
        assert_eq!(lock.lock().get(), 10, "nobody came in between");
    });
}

/// Something to do, and what it is called.
type Named = (&'static str, Box<dyn FnOnce()>);

/// Calls that would suspend, by name.
fn waits() -> Vec<Named> {
    let mutex = Rc::new(Mutex::new(()));
    std::mem::forget(mutex.lock());
    let handle = spawn(|| ropewalk::sleep(HANG));
    let (_sender, receiver) = channel::unbounded::<()>();
    let pool = ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().unwrap();
    vec![
        ("sleep", Box::new(|| ropewalk::sleep(SHORT))),
        ("event", Box::new(|| Event::new().wait())),
        ("event with a limit", Box::new(|| ignore(Event::new().wait_timeout(SHORT)))),
        ("get", Box::new(|| ignore(Queue::<()>::unbounded().get()))),
        ("recv", Box::new(move || ignore((receiver.recv(), &_sender)))),
        ("lock", Box::new(move || drop(mutex.lock()))),
        ("join", Box::new(move || ignore(handle.join()))),
        ("join of a pool's task", Box::new(move || ignore(pool.submit(|| std::thread::sleep(HANG)).join()))),
        ("future", Box::new(|| ropewalk::block_on(std::future::pending()))),
    ]
}

#[test]
fn wait_inside_no_switch_is_refused() {
    greenlets(|| {
        for (name, wait) in waits() {
            let text = panic_text(|| no_switch(wait));
            let expected = "a greenlet waited inside no_switch, at ";
            assert!(text.starts_with(expected) && text.contains(".rs:"), "{name}: {text}");
            assert!(text.ends_with(": it would leave the region in the middle"), "{name}: {text}");
        }
        // What was refused has left nothing behind.
        ropewalk::sleep(SHORT);
    });
}

/// A wait that names its place names that of the caller.
#[test]
fn refused_wait_is_named_by_its_place() {
    greenlets(|| {
        let (line, text) = (line!(), panic_text(|| no_switch(|| Event::new().wait())));
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
    });
}

#[test]
fn no_switch_lets_nobody_run_in_the_middle() {
    greenlets(|| {
        let order = log();
        let notes = Rc::clone(&order);
        let other = spawn_local(move || notes.borrow_mut().push("other"));
        let result = no_switch(|| {
            ropewalk::yield_now();
            no_switch(ropewalk::yield_now);
            ropewalk::yield_now();
            // What needs no waiting is no wait: a free lock, an item that is there, a future that is ready.
            drop(Mutex::new(()).lock());
            let queue = Queue::unbounded();
            queue.put(1).unwrap();
            assert_eq!(queue.get(), Ok(1));
            assert_eq!(ropewalk::block_on(async { 2 }), 2);
            order.borrow_mut().push("region");
            3
        });
        assert_eq!(result, 3);
        ropewalk::yield_now();
        assert_eq!(*order.borrow(), ["region", "other"]);
        other.join().unwrap();
        assert_eq!(panic_text(|| no_switch(|| panic!("inside"))), "inside");
        ropewalk::yield_now(); // the region has ended with its panic
    });
    // On a thread it just calls.
    assert!(no_switch(|| Event::new().wait_timeout(Duration::ZERO).is_err()));
}

/// A poll runs on the hub's own stack, where blocking would stop everybody.
#[test]
fn poll_that_blocks_is_refused() {
    greenlets(|| {
        let never = Rc::new(Event::new());
        let polls: Vec<Named> = vec![
            ("wait", Box::new(move || never.wait())),
            ("sleep", Box::new(|| ropewalk::sleep(SHORT))),
            ("join", Box::new(|| ignore(spawn(|| ()).join()))),
            ("block_on", Box::new(|| ropewalk::block_on(async {}))),
            ("run", Box::new(|| ropewalk::run(|| ()))),
        ];
        for (name, poll) in polls {
            let text = panic_text(|| ropewalk::block_on(async { poll() }));
            assert!(text.contains("in async context"), "{name}: {text}");
            assert!(text.contains(".await"), "{name} names the way out: {text}");
        }
        // The same in a task of the hub's runtime.
        let text =
            ropewalk::block_on(async { tokio::spawn(async { panic_text(|| Event::new().wait()) }).await.unwrap() });
        assert!(text.contains("in async context"), "{text}");
        assert_eq!(joined(spawn(|| 1)), 1, "the hub works as before");
    });
}

/// Futures of greenlets see the hub's runtime, and their panics come back to the greenlet.
#[test]
fn poll_that_panics_panics_in_its_greenlet() {
    greenlets(|| {
        let failed: TaskHandle<()> = spawn(|| ropewalk::block_on(async { panic!("in a poll") }));
        let text = failed.join().unwrap_err().to_string();
        assert_eq!(text, "task panicked: in a poll");
        let on_time =
            spawn(|| ropewalk::block_on(async { tokio::time::timeout(SHORT, std::future::pending::<()>()).await }));
        assert!(joined(on_time).is_err());
    });
}
