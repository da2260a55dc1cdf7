//! A region that is told of each switch: it keeps a thread-local to itself, whoever runs in between.

use ropewalk::greenlet::{self, SwitchHook, spawn_local, with_switch_hook};
use ropewalk::sync::Event;
use ropewalk::{sleep, yield_now};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

thread_local! {
    /// What a library keeps while a closure of its user's runs.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

/// Puts its own away, and back.
struct Keeps(Cell<u32>);

impl Keeps {
    fn swap(&self) {
        self.0.set(CURRENT.replace(self.0.get()));
    }
}

impl SwitchHook for Keeps {
    fn leave(&self) {
        self.swap();
    }
    fn enter(&self) {
        self.swap();
    }
}

/// Runs `body` with `value` as the current one.
fn scoped<R>(value: u32, body: impl FnOnce() -> R) -> R {
    let keeps = Keeps(Cell::new(value));
    keeps.swap();
    let result = with_switch_hook(&keeps, || catch_unwind(AssertUnwindSafe(body)));
    keeps.swap();
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

#[test]
fn regions_by_turns_keep_their_thread_local() {
    ropewalk::run(|| {
        let inside = [1, 2, 3].map(|value| {
            spawn_local(move || {
                scoped(value, || {
                    for round in 0..5 {
                        assert_eq!(CURRENT.get(), value);
                        match round % 2 {
                            0 => yield_now(),
                            _ => sleep(Duration::from_millis(1)),
                        }
                    }
                    scoped(10 * value, || {
                        yield_now();
                        assert_eq!(CURRENT.get(), 10 * value);
                    });
                    yield_now();
                    assert_eq!(CURRENT.get(), value);
                });
                assert_eq!(CURRENT.get(), 0);
                yield_now(); // no hook any more
            })
        });
        greenlet::join_all(inside).unwrap();
    });
    assert_eq!(CURRENT.get(), 0);
}

#[test]
fn killed_region_is_put_back_before_it_unwinds() {
    ropewalk::run(|| {
        let seen = Rc::new(Cell::new(0));
        let inside = spawn_local({
            let seen = Rc::clone(&seen);
            move || {
                scoped(7, || {
                    struct Looks<'a>(&'a Cell<u32>);
                    impl Drop for Looks<'_> {
                        fn drop(&mut self) {
                            self.0.set(CURRENT.get());
                        }
                    }
                    let _looks = Looks(&seen);
                    Event::new().wait();
                });
            }
        });
        yield_now();
        assert_eq!(CURRENT.get(), 0);
        inside.kill();
        assert_eq!((seen.get(), CURRENT.get()), (7, 0));
    });
}

#[test]
fn hooks_nest_innermost_leaves_first() {
    struct Notes<'a>(&'a RefCell<Vec<String>>, char);
    impl SwitchHook for Notes<'_> {
        fn leave(&self) {
            self.0.borrow_mut().push(format!("-{}", self.1));
        }
        fn enter(&self) {
            self.0.borrow_mut().push(format!("+{}", self.1));
        }
    }
    ropewalk::run(|| {
        let notes = RefCell::new(Vec::new());
        let [a, b] = ['a', 'b'].map(|name| Notes(&notes, name));
        with_switch_hook(&a, || {
            with_switch_hook(&b, yield_now);
            yield_now();
        });
        yield_now();
        assert_eq!(notes.into_inner().concat(), "-b-a+a+b-a+a");
    });
}

#[test]
fn no_switch_inside_a_hooked_region_still_holds() {
    ropewalk::run(|| {
        let keeps = Keeps(Cell::new(0));
        with_switch_hook(&keeps, || {
            greenlet::no_switch(yield_now);
            let waits = catch_unwind(|| greenlet::no_switch(|| sleep(Duration::from_millis(5))));
            let text = *waits.unwrap_err().downcast::<String>().unwrap();
            assert!(text.starts_with("a greenlet waited inside no_switch"), "{text}");
        });
    });
}

#[test]
fn hook_that_waits_panics_and_the_greenlet_goes_on() {
    struct Waits;
    impl SwitchHook for Waits {
        fn leave(&self) {
            sleep(Duration::from_millis(5));
        }
        fn enter(&self) {}
    }
    ropewalk::run(|| {
        assert!(catch_unwind(|| with_switch_hook(&Waits, || sleep(Duration::from_millis(5)))).is_err());
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn plain_thread_calls_no_hook() {
    struct Never;
    impl SwitchHook for Never {
        fn leave(&self) {
            panic!("a thread does not switch");
        }
        fn enter(&self) {
            panic!("a thread does not switch");
        }
    }
    assert_eq!(with_switch_hook(&Never, || (sleep(Duration::from_millis(1)), 3).1), 3);
}
