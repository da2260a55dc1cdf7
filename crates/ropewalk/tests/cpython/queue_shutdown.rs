//! Shutting a queue down: with what is inside still to be got, or at once.

use crate::support::{Bunch, HANG, strand};
use crate::{AnyQueue, all_kinds};
use ropewalk::sync::queue::{GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError};
use ropewalk::sync::{Barrier, Event};
use std::sync::Arc;

fn filled<Q: AnyQueue>(items: &[i64]) -> Arc<Q> {
    let queue = Q::bounded(2);
    items.iter().for_each(|item| queue.put(*item).unwrap());
    Arc::new(queue)
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_empty
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_nonempty
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate
#[test]
fn what_is_inside_is_got_or_dropped() {
    fn check<Q: AnyQueue>() {
        let empty = filled::<Q>(&[]);
        empty.shutdown(false);
        assert_eq!((empty.put(1), empty.get()), (Err(PutError(1)), Err(GetError)));
        let nonempty = filled::<Q>(&[1]);
        nonempty.shutdown(false);
        assert_eq!((nonempty.get(), nonempty.get()), (Ok(1), Err(GetError)));
        let dropped = filled::<Q>(&[1]);
        dropped.shutdown(true);
        assert_eq!((dropped.get(), dropped.len()), (Err(GetError), 0));
    }
    all_kinds!(check);
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_allowed_transitions
#[test]
fn shut_down_again_and_harder() {
    fn check<Q: AnyQueue>() {
        let queue = filled::<Q>(&[1, 2]);
        assert!(!queue.is_shut_down());
        for now in [false, false, true, false] {
            queue.shutdown(now);
            assert!(queue.is_shut_down());
        }
        assert!(queue.is_empty());
    }
    all_kinds!(check);
}

fn every_verb<Q: AnyQueue>(now: bool) {
    let queue = filled::<Q>(&[1, 2]);
    queue.shutdown(now);
    assert_eq!(queue.put(3), Err(PutError(3)));
    assert_eq!(queue.try_put(3), Err(TryPutError::Shutdown(3)));
    assert_eq!(queue.put_timeout(3, HANG), Err(PutTimeoutError::Shutdown(3)));
    if !now {
        for _ in 0..2 {
            assert!([1, 2].contains(&queue.get().unwrap()));
            queue.task_done();
        }
    }
    queue.join();
    assert_eq!(queue.get(), Err(GetError));
    assert_eq!(queue.try_get(), Err(TryGetError::Shutdown));
    assert_eq!(queue.get_timeout(HANG), Err(GetTimeoutError::Shutdown));
    assert!(crate::support::panic_text(|| queue.task_done()).contains("more often"));
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_all_methods_in_one_thread
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_all_methods_in_one_thread
#[test]
fn every_verb_after_shutdown() {
    for now in [false, true] {
        all_kinds!(every_verb, now);
    }
}

/// Four write, six read, two join; one of the writers has the queue shut down in the middle.
fn many_threads<Q: AnyQueue>(now: bool) {
    const ITEMS: i64 = 1500;
    let queue = Arc::new(Q::unbounded());
    let start = Arc::new(Barrier::new(12));
    let half = Arc::new(Event::new());
    let shutter = strand({
        let (queue, half) = (Arc::clone(&queue), Arc::clone(&half));
        move || {
            half.wait();
            queue.shutdown(now);
        }
    });
    let bunch = Bunch::start(12, {
        let queue = Arc::clone(&queue);
        move |number| match number {
            0..4 => {
                (0..20).for_each(|item| queue.put(item).unwrap());
                start.wait().unwrap();
                let mut put = 20;
                while put < ITEMS && queue.put(put).is_ok() {
                    put += 1;
                    if put == ITEMS / 2 {
                        half.set();
                    }
                }
                put
            }
            4..10 => {
                start.wait().unwrap();
                let mut got = 0;
                loop {
                    match queue.try_get() {
                        Ok(_) => {
                            queue.task_done();
                            got += 1;
                        }
                        Err(TryGetError::Empty) => std::thread::yield_now(),
                        Err(TryGetError::Shutdown) => return -got,
                    }
                }
            }
            _ => {
                start.wait().unwrap();
                queue.join();
                0
            }
        }
    });
    let counts = bunch.join();
    shutter.join();
    assert!(queue.is_empty() && queue.is_shut_down());
    let left: i64 = counts.iter().sum();
    assert!(if now { left >= 0 } else { left == 0 }, "what was put was got, or dropped by the shutdown");
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_all_methods_in_many_threads
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_all_methods_in_many_threads
#[test]
fn shutdown_among_many_threads() {
    for now in [false, true] {
        all_kinds!(many_threads, now);
    }
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_get
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_get
#[test]
fn getters_after_shutdown() {
    fn check<Q: AnyQueue>(now: bool) {
        let queue = filled::<Q>(&[1, 2]);
        queue.shutdown(now);
        let got = Bunch::start(3, move |_| queue.get().is_ok()).join();
        assert_eq!(got.iter().filter(|got| **got).count(), if now { 0 } else { 2 });
    }
    for now in [false, true] {
        all_kinds!(check, now);
    }
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_put
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_put
#[test]
fn putters_that_wait_get_their_items_back() {
    fn check<Q: AnyQueue>(now: bool) {
        let queue = filled::<Q>(&[1, 2]);
        let wants = Arc::clone(&queue);
        let bunch = Bunch::start(2, move |number| wants.put(number as i64));
        bunch.blocked(2);
        queue.shutdown(now);
        assert_eq!(bunch.join(), [Err(PutError(0)), Err(PutError(1))]);
        assert_eq!(queue.len(), if now { 0 } else { 2 });
    }
    for now in [false, true] {
        all_kinds!(check, now);
    }
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_join
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_join
#[test]
fn joiners_wait_for_what_is_inside_or_end_at_once() {
    fn check<Q: AnyQueue>(now: bool) {
        let queue = filled::<Q>(&[1]);
        let joins = Arc::clone(&queue);
        let bunch = Bunch::start(2, move |_| joins.join());
        bunch.blocked(2);
        queue.shutdown(now);
        if !now {
            assert_eq!(bunch.finished(), 0);
            queue.get().unwrap();
            queue.task_done();
        }
        bunch.join();
    }
    for now in [false, true] {
        all_kinds!(check, now);
    }
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_put_join
/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_immediate_put_join
#[test]
fn putter_is_refused_while_a_joiner_waits() {
    fn check<Q: AnyQueue>(now: bool) {
        let queue = filled::<Q>(&[1]);
        let joins = Arc::clone(&queue);
        let joiner = strand(move || joins.join());
        joiner.blocked(1);
        queue.shutdown(now);
        assert_eq!(queue.put(2), Err(PutError(2)));
        if now {
            assert_eq!(queue.try_get(), Err(TryGetError::Shutdown));
        } else {
            assert_eq!(queue.get(), Ok(1));
            queue.task_done();
        }
        joiner.join();
    }
    for now in [false, true] {
        all_kinds!(check, now);
    }
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_get_task_done_join
#[test]
fn joiners_end_when_the_rest_is_done_after_shutdown() {
    fn check<Q: AnyQueue>() {
        let queue = filled::<Q>(&[1, 2]);
        let shared = Arc::clone(&queue);
        let joiners = Bunch::start(2, move |_| shared.join());
        joiners.blocked(2);
        queue.shutdown(false);
        let shared = Arc::clone(&queue);
        let getters = Bunch::start(2, move |_| {
            let got = shared.get().is_ok();
            shared.task_done();
            got
        });
        assert_eq!(getters.join(), [true, true]);
        joiners.join();
    }
    all_kinds!(check);
}

/// CPython: test_queue.BaseQueueTestMixin.test_shutdown_pending_get
#[test]
fn getter_that_waits_ends() {
    fn check<Q: AnyQueue>(now: bool) {
        let queue = filled::<Q>(&[]);
        let wants = Arc::clone(&queue);
        let getter = strand(move || wants.get());
        getter.blocked(1);
        queue.shutdown(now);
        assert_eq!(getter.join(), [Err(GetError)]);
    }
    for now in [false, true] {
        all_kinds!(check, now);
    }
}

/// An item that was got and is being worked on counts until it is said to be done, also after a shutdown at once.
#[test]
fn shutdown_at_once_waits_for_what_is_under_way() {
    fn check<Q: AnyQueue>() {
        let queue = filled::<Q>(&[1, 2]);
        queue.get().unwrap();
        let joins = Arc::clone(&queue);
        let joiner = strand(move || joins.join());
        joiner.blocked(1);
        queue.shutdown(true);
        joiner.blocked(1);
        assert_eq!(joiner.finished(), 0);
        queue.task_done();
        joiner.join();
    }
    all_kinds!(check);
}
