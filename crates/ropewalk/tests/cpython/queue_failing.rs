//! Queues whose own steps fail. CPython's case overrides `_put` and `_get`; the only code of a user's that runs inside
//! a queue of ours is the comparison of a [`PriorityQueue`], so that is what fails here.

use crate::support::{Bunch, HANG, SHORT, panic_text, strand};
use ropewalk::sync::PriorityQueue;
use ropewalk::sync::queue::{GetTimeoutError, TryPutError};
use std::cmp::Ordering as Order;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

/// An item whose next comparison panics if told so.
#[derive(Debug)]
struct Picky(i64, Arc<AtomicBool>);

impl Ord for Picky {
    fn cmp(&self, other: &Self) -> Order {
        assert!(!self.1.swap(false, Ordering::Relaxed), "comparison failed");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Picky {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Picky {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Picky {}

struct Failing {
    queue: Arc<PriorityQueue<Picky>>,
    fail: Arc<AtomicBool>,
}

impl Failing {
    fn bounded(capacity: usize) -> Self {
        Self { queue: Arc::new(PriorityQueue::bounded(capacity)), fail: Arc::default() }
    }

    fn item(&self, number: i64) -> Picky {
        Picky(number, Arc::clone(&self.fail))
    }

    fn put(&self, number: i64) {
        self.queue.put(self.item(number)).unwrap();
    }

    fn fails<R>(&self, body: impl FnOnce() -> R) {
        self.fail.store(true, Ordering::Relaxed);
        assert_eq!(panic_text(body), "comparison failed");
    }

    /// Everything comes out in order, and `join` knows that it was all.
    fn drained(&self, expected: &[i64]) {
        self.drained_after(0, expected);
    }

    /// The same, after so many that were got before and not said to be done.
    fn drained_after(&self, before: usize, expected: &[i64]) {
        let got: Vec<_> = std::iter::from_fn(|| self.queue.try_get().ok()).map(|item| item.0).collect();
        assert_eq!(got, expected);
        (0..before + got.len()).for_each(|_| self.queue.task_done());
        self.queue.join_timeout(HANG).unwrap();
    }
}

/// CPython: test_queue.FailingQueueTest.test_failing_queue
#[test]
fn failing_put_and_get_change_nothing() {
    let failing = Failing::bounded(5);
    for _ in 0..2 {
        [4, 2, 3, 1].into_iter().for_each(|number| failing.put(number));
        failing.fails(|| failing.queue.try_put(failing.item(0)));
        failing.fails(|| failing.queue.put_timeout(failing.item(0), SHORT));
        failing.fails(|| failing.queue.put(failing.item(0)));
        assert_eq!(failing.queue.len(), 4);
        failing.put(5);
        assert!(failing.queue.is_full());
        failing.fails(|| failing.queue.get());
        failing.fails(|| failing.queue.get_timeout(SHORT));
        failing.fails(|| failing.queue.try_get());
        assert!(failing.queue.is_full());
        assert!(matches!(failing.queue.try_put(failing.item(6)), Err(TryPutError::Full(Picky(6, _)))));
        failing.drained(&[1, 2, 3, 4, 5]);
        assert!(matches!(failing.queue.get_timeout(SHORT), Err(GetTimeoutError::TimedOut)));
    }
}

/// A put that waited for room and then fails leaves the room to the next one that waits.
#[test]
fn room_is_handed_on_by_a_put_that_fails() {
    let failing = Failing::bounded(2);
    [1, 2].into_iter().for_each(|number| failing.put(number));
    let (queue, fail) = (Arc::clone(&failing.queue), Arc::clone(&failing.fail));
    let bunch = Bunch::start(2, move |_| {
        let item = Picky(9, Arc::clone(&fail));
        catch_unwind(AssertUnwindSafe(|| queue.put(item).unwrap())).is_ok()
    });
    bunch.blocked(2);
    // Getting one of two compares nothing, so the first putter that comes is the one that fails.
    failing.fail.store(true, Ordering::Relaxed);
    assert_eq!(failing.queue.get().unwrap().0, 1);
    let mut put = bunch.join();
    put.sort_unstable();
    assert_eq!(put, [false, true]);
    (0..2).for_each(|_| failing.queue.task_done()); // of the one that was got, and one in advance
    assert_eq!([(); 2].map(|()| failing.queue.get().unwrap().0), [2, 9]);
    failing.queue.task_done();
    failing.queue.join_timeout(HANG).unwrap();
}

/// A getter that was woken for an item and fails leaves it to the next one that waits.
#[test]
fn item_is_handed_on_by_a_get_that_fails() {
    let failing = Failing::bounded(5);
    let mut context = Context::from_waker(Waker::noop());
    // The first to wait is a future, which comes for its item only when it is polled.
    let mut first = Box::pin(failing.queue.get_async());
    assert!(first.as_mut().poll(&mut context).is_pending());
    let queue = Arc::clone(&failing.queue);
    let second = strand(move || queue.get().unwrap().0);
    second.blocked(1);
    failing.put(1); // wakes the first
    failing.put(2); // wakes the second, which takes item 1
    assert_eq!(second.join(), [1]);
    let queue = Arc::clone(&failing.queue);
    assert_eq!(strand(move || queue.get().unwrap().0).join(), [2]);
    // Again, with the first failing on what it finds: the second must come for the rest.
    assert!(first.as_mut().poll(&mut context).is_pending());
    [1, 2, 3].into_iter().for_each(|number| failing.put(number));
    failing.fails(|| first.as_mut().poll(&mut context));
    failing.drained_after(2, &[1, 2, 3]);
}
