//! Greenlets that borrow: nothing is left of them when their scope has ended, however it ends.

use ropewalk::greenlet::{self, join_all};
use ropewalk::sync::Event;
use ropewalk::{ThreadPoolExecutor, sleep, yield_now};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Counts when it goes.
struct Counts<'a>(&'a Cell<u32>);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap()
}

#[test]
fn greenlets_borrow_what_is_not_sync_and_are_joined() {
    ropewalk::run(|| {
        let words = RefCell::new(Vec::new());
        let shared = Rc::new(());
        let lengths = greenlet::scope(|scope| {
            let handles: Vec<_> = ["hemp", "jute", "sisal"]
                .into_iter()
                .map(|word| {
                    let (shared, words) = (Rc::clone(&shared), &words);
                    scope.spawn(move || {
                        sleep(Duration::from_millis(2));
                        words.borrow_mut().push(word);
                        (word.len(), shared).0
                    })
                })
                .collect();
            assert!(words.borrow().is_empty(), "they begin when the body waits");
            join_all(handles).unwrap()
        });
        assert_eq!((lengths, words.into_inner()), (vec![4, 4, 5], vec!["hemp", "jute", "sisal"]));
        assert_eq!(Rc::strong_count(&shared), 1);
    });
}

#[test]
fn body_that_returns_waits_for_greenlets_of_greenlets() {
    ropewalk::run(|| {
        let ended = Cell::new(0);
        greenlet::scope(|scope| {
            for _ in 0..3 {
                drop(scope.spawn(|| {
                    sleep(Duration::from_millis(1));
                    drop(scope.spawn(|| {
                        sleep(Duration::from_millis(1));
                        ended.set(ended.get() + 1);
                    }));
                }));
            }
        });
        assert_eq!(ended.get(), 3);
    });
}

#[test]
fn panic_of_a_greenlet_kills_the_others_and_goes_on() {
    ropewalk::run(|| {
        let (gone, never) = (Cell::new(0), Event::new());
        let panic = catch_unwind(AssertUnwindSafe(|| {
            greenlet::scope(|scope| {
                for _ in 0..3 {
                    drop(scope.spawn(|| {
                        let _counts = Counts(&gone);
                        never.wait();
                    }));
                }
                drop(scope.spawn(|| {
                    yield_now();
                    panic!("frayed");
                }));
            });
        }));
        assert_eq!(message(&*panic.unwrap_err()), "frayed");
        assert_eq!(gone.get(), 3);
    });
}

#[test]
fn panic_of_the_body_kills_started_or_not() {
    ropewalk::run(|| {
        let (gone, never, ran) = (Cell::new(0), Event::new(), Cell::new(false));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            greenlet::scope(|scope| {
                drop(scope.spawn(|| {
                    let _counts = Counts(&gone);
                    never.wait();
                }));
                yield_now();
                let counts = Counts(&gone);
                let ran = &ran;
                drop(scope.spawn(move || {
                    let _counts = counts;
                    ran.set(true);
                }));
                panic!("frayed");
            });
        }));
        assert_eq!(message(&*panic.unwrap_err()), "frayed");
        assert_eq!((gone.get(), ran.get()), (2, false));
    });
}

/// In the body, and in the wait at its end.
#[test]
fn cancelled_scope_kills_its_greenlets_before_it_unwinds() {
    ropewalk::run(|| {
        for body_waits in [true, false] {
            let gone = Rc::new(Cell::new(0));
            let scoped = greenlet::spawn_local({
                let gone = Rc::clone(&gone);
                move || {
                    let _last = Counts(&gone);
                    let never = Event::new();
                    greenlet::scope(|scope| {
                        drop(scope.spawn(|| {
                            let _counts = Counts(&gone);
                            never.wait();
                        }));
                        if body_waits {
                            never.wait();
                        }
                    });
                }
            });
            yield_now();
            yield_now();
            assert_eq!(gone.get(), 0);
            scoped.kill();
            assert_eq!(gone.get(), 2, "body waits: {body_waits}");
        }
    });
}

#[test]
fn killed_scope_takes_nobody_any_more() {
    ropewalk::run(|| {
        let (ran, never) = (Cell::new(0), Event::new());
        greenlet::scope(|scope| {
            let waits = scope.spawn(|| never.wait());
            yield_now();
            scope.kill();
            let late = scope.spawn(|| ran.set(1));
            assert!(waits.join().unwrap_err().is_cancelled());
            assert!(late.join().unwrap_err().is_cancelled());
        });
        assert_eq!(ran.get(), 0);
    });
}

/// A handle that is forgotten or kept says nothing about the end.
#[test]
fn handles_may_be_dropped_forgotten_and_kept() {
    ropewalk::run(|| {
        let done = Cell::new(0);
        let kept = greenlet::scope(|scope| {
            drop(scope.spawn(|| Counts(&done)));
            std::mem::forget(scope.spawn(|| 7));
            scope.spawn(|| 42)
        });
        assert_eq!((done.get(), kept.join().unwrap()), (1, 42));
    });
}

#[test]
fn without_a_hub_a_spawn_panics_and_nothing_leaks() {
    let gone = Cell::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        greenlet::scope(|scope| {
            let counts = Counts(&gone);
            drop(scope.spawn(move || drop(counts)));
        });
    }));
    assert!(message(&*panic.unwrap_err()).starts_with("no hub runs on this thread"));
    assert_eq!(gone.get(), 1);
}

/// The same of a pool's scope: its jobs are asked to stop when the one who waits for them is.
#[test]
fn cancelled_scope_of_a_pool_cancels_its_jobs() {
    ropewalk::run(|| {
        let pool = Arc::new(ThreadPoolExecutor::new(2));
        let (never, entered) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let scoped = greenlet::spawn({
            let (pool, never, entered) = (Arc::clone(&pool), Arc::clone(&never), Arc::clone(&entered));
            move || {
                pool.scope(|scope| {
                    drop(scope.submit(|| {
                        entered.set();
                        never.wait();
                    }));
                });
            }
        });
        entered.wait();
        scoped.kill();
        assert!(scoped.is_finished());
    });
}

/// Where a greenlet may not be suspended its scope waits as the whole thread, rather than to leave what its jobs borrow.
#[test]
fn scope_inside_no_switch_outlives_its_jobs() {
    let pool = ThreadPoolExecutor::new(1);
    let over = Arc::new(AtomicBool::new(false));
    ropewalk::run(|| {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let data = vec![7_u8; 1 << 16];
            let begun = AtomicBool::new(false);
            greenlet::no_switch(|| {
                pool.scope(|jobs| {
                    drop(jobs.submit(|| {
                        begun.store(true, Ordering::SeqCst);
                        let since = Instant::now();
                        while since.elapsed() < Duration::from_millis(100) {
                            assert!(data.iter().all(|byte| *byte == 7));
                        }
                        over.store(true, Ordering::SeqCst);
                    }));
                    while !begun.load(Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                });
            });
        }));
        assert!(over.load(Ordering::SeqCst), "the job still reads what it borrowed");
        assert!(message(&*ended.unwrap_err()).contains("no_switch"));
    });
}
