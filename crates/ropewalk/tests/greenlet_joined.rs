//! A greenlet that is joined before it has started, and would be the next to start, runs at once, switched to from whoever
//! joins. Nobody is to notice anything but the time.
//!
//! (Not under a time limit, as other tests are: whoever may be ended meanwhile waits in the usual way.)
#![cfg(all(unix, feature = "greenlet"))]

use ropewalk::greenlet::{self, Builder, no_switch, spawn, spawn_local};
use ropewalk::run;
use ropewalk::sync::Event;
use ropewalk::task::TaskError;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn who_is_ready_runs_before_the_one_that_is_joined() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let [first, second, third] = ["first", "second", "third"].map(|name| {
            let order = Rc::clone(&order);
            spawn_local(move || order.borrow_mut().push(name))
        });
        second.join().unwrap();
        assert_eq!(order.borrow()[..2], ["first", "second"]);
        first.join().unwrap();
        third.join().unwrap();
        assert_eq!(order.borrow()[..], ["first", "second", "third"]);
    });
}

#[test]
fn one_that_waits_gives_its_joiner_back() {
    run(|| {
        let (event, others) = (Arc::new(Event::new()), Rc::new(Cell::new(0)));
        let waits = spawn({
            let event = Arc::clone(&event);
            move || {
                event.wait();
                ropewalk::yield_now();
                ropewalk::sleep(Duration::from_micros(100));
                7
            }
        });
        let setter = spawn_local({
            let (event, others) = (Arc::clone(&event), Rc::clone(&others));
            move || {
                others.set(others.get() + 1);
                event.set();
            }
        });
        assert_eq!(waits.join().unwrap(), 7);
        assert_eq!(others.get(), 1, "the joiner waited, and others ran");
        setter.join().unwrap();
    });
}

/// The poll of a future happens on the hub's stack, not on that of the joiner.
#[test]
fn future_of_one_that_is_joined_is_polled() {
    run(|| {
        for _ in 0..100 {
            let slept = spawn(|| {
                ropewalk::block_on(async {
                    tokio::task::yield_now().await;
                    tokio::time::sleep(Duration::from_micros(10)).await;
                    7
                })
            });
            assert_eq!(slept.join().unwrap(), 7);
            assert_eq!(spawn(|| ropewalk::block_on(async { 8 })).join().unwrap(), 8);
        }
    });
}

/// Inside a region that nobody else may have a turn in, also where it runs inside the join of another.
#[test]
fn future_inside_no_switch_of_one_that_is_joined_lets_nobody_in() {
    run(|| {
        let inside = Rc::new(Cell::new(false));
        let region = spawn_local({
            let inside = Rc::clone(&inside);
            move || {
                no_switch(|| {
                    inside.set(true);
                    ropewalk::block_on(async {});
                    inside.set(false);
                });
            }
        });
        let other = spawn_local({
            let inside = Rc::clone(&inside);
            move || assert!(!inside.get(), "it had a turn inside the region")
        });
        region.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn panic_name_and_locals_stay_its_own() {
    ropewalk::greenlet_local! {
        static NUMBER: Cell<u32> = Cell::new(0);
    }
    run(|| {
        NUMBER.with(|number| number.set(1));
        let panics = spawn(|| panic!("its own"));
        assert!(matches!(panics.join(), Err(TaskError::Panicked(panic)) if panic.message() == "its own"));
        let inside = Builder::new().name("inside").spawn(|| {
            let before = NUMBER.with(|number| number.replace(2));
            (before, greenlet::current().and_then(|greenlet| greenlet.name().map(str::to_owned)))
        });
        let inside = inside.unwrap();
        assert_eq!(inside.join().unwrap(), (0, Some("inside".to_owned())));
        assert_eq!(NUMBER.with(Cell::get), 1);
        assert!(greenlet::current().is_some_and(|greenlet| greenlet.name() != Some("inside")));
    });
}

/// Each joins the next, far deeper than one stack would hold.
#[test]
fn chain_of_joins() {
    fn down(depth: u32) -> u32 {
        if depth == 0 { 0 } else { 1 + spawn(move || down(depth - 1)).join().unwrap() }
    }
    run(|| assert_eq!(down(2_000), 2_000));
}

/// A loop that spawns and joins never waits for long, and still lets timers, wakes from other threads and the rest have their
/// turn.
#[test]
fn loop_of_joins_starves_nobody() {
    run(|| {
        let (rang, told) = (Rc::new(Cell::new(false)), Arc::new(Event::new()));
        let timer = spawn_local({
            let rang = Rc::clone(&rang);
            move || {
                ropewalk::sleep(Duration::from_millis(15));
                rang.set(true);
            }
        });
        let thread = ropewalk::thread::spawn({
            let told = Arc::clone(&told);
            move || told.set()
        });
        let heard = Rc::new(Cell::new(false));
        let listener = spawn_local({
            let heard = Rc::clone(&heard);
            move || {
                told.wait();
                heard.set(true);
            }
        });
        while !(rang.get() && heard.get()) {
            spawn(|| ()).join().unwrap();
        }
        timer.join().unwrap();
        listener.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn killed_joiner_leaves_what_it_joined() {
    run(|| {
        let event = Arc::new(Event::new());
        let (send, inner) = ropewalk::sync::channel::bounded(1);
        let joiner = spawn({
            let event = Arc::clone(&event);
            move || {
                let inside = spawn(move || event.wait());
                send.send(inside.id()).unwrap();
                inside.join()
            }
        });
        inner.recv().unwrap();
        ropewalk::yield_now();
        joiner.kill();
        assert!(joiner.is_cancelled());
        event.set();
    });
}

/// Inside `no_switch` a join of one that has not started is refused as ever: it would have to run others.
#[test]
fn no_switch_runs_nobody() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let other = spawn_local({
            let ran = Rc::clone(&ran);
            move || ran.set(true)
        });
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| no_switch(|| other.wait_finished())));
        assert!(refused.is_err());
        assert!(!ran.get());
        other.join().unwrap();
    });
}
