//! Putting, getting, bounds, `task_done` and `join` of the three kinds of queue.

use crate::support::{Bunch, HANG, SHORT, panic_text, strand};
use crate::{AnyQueue, all_kinds};
use ropewalk::sync::queue::{GetTimeoutError, PutTimeoutError, TryGetError, TryPutError};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const SIZE: usize = 5;

/// CPython: test_queue.BaseQueueTestMixin.test_queue_task_done
#[test]
fn task_done_without_a_put_is_refused() {
    fn check<Q: AnyQueue>() {
        assert!(panic_text(|| Q::unbounded().task_done()).contains("more often than items were put"));
    }
    all_kinds!(check);
}

/// CPython: test_queue.BaseQueueTestMixin.test_queue_join
#[test]
fn join_waits_for_what_was_put() {
    fn check<Q: AnyQueue>() {
        let queue = Arc::new(Q::unbounded());
        queue.join(); // nothing was put
        for _ in 0..2 {
            let sum = Arc::new(AtomicI64::new(0));
            let bunch = Bunch::start(2, {
                let (queue, sum) = (Arc::clone(&queue), Arc::clone(&sum));
                move |_| loop {
                    let item = queue.get().unwrap();
                    sum.fetch_add(item.max(0), Ordering::Relaxed);
                    queue.task_done();
                    if item < 0 {
                        return;
                    }
                }
            });
            (0..100).for_each(|item| queue.put(item).unwrap());
            queue.join();
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
            (0..2).for_each(|_| queue.put(-1).unwrap());
            queue.join();
            bunch.join();
        }
        assert!(panic_text(|| queue.task_done()).contains("more often"));
    }
    all_kinds!(check);
}

/// CPython: test_queue.BaseQueueTestMixin.test_basic
#[test]
fn order_bounds_and_waits() {
    fn check<Q: AnyQueue>() {
        let queue = Arc::new(Q::bounded(SIZE));
        once(&queue);
        once(&queue);
    }
    fn once<Q: AnyQueue>(queue: &Arc<Q>) {
        assert!(queue.is_empty() && !queue.is_full());
        [111, 333, 222].into_iter().for_each(|item| queue.put(item).unwrap());
        assert_eq!([(); 3].map(|()| queue.get().unwrap()), Q::ORDER);
        for item in 1..SIZE {
            queue.put(item as i64).unwrap();
            assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (item, false, false));
        }
        queue.put(10).unwrap();
        assert!(queue.is_full());
        assert_eq!(queue.try_put(11), Err(TryPutError::Full(11)));
        assert_eq!(queue.put_timeout(11, SHORT), Err(PutTimeoutError::TimedOut(11)));
        for limit in [HANG, Duration::MAX] {
            let wants = Arc::clone(queue);
            let putter = Bunch::start(2, move |number| match number {
                0 => wants.put(30).is_ok(),
                _ => wants.put_timeout(30, limit).is_ok(),
            });
            putter.blocked(2);
            (0..2).for_each(|_| assert!(queue.get().is_ok()));
            assert_eq!(putter.join(), [true, true]);
            assert!(queue.is_full());
        }
        (0..SIZE).for_each(|_| assert!(queue.get().is_ok()));
        assert!(queue.is_empty());
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        assert_eq!(queue.get_timeout(SHORT), Err(GetTimeoutError::TimedOut));
        for limit in [HANG, Duration::MAX] {
            let wants = Arc::clone(queue);
            let getter = Bunch::start(2, move |number| match number {
                0 => wants.get().ok(),
                _ => wants.get_timeout(limit).ok(),
            });
            getter.blocked(2);
            (0..2).for_each(|_| queue.put(7).unwrap());
            assert_eq!(getter.join(), [Some(7), Some(7)]);
        }
    }
    all_kinds!(check);
}

/// CPython: test_queue.BaseQueueTestMixin.test_nowait
#[test]
fn tries_fill_and_empty_it() {
    fn check<Q: AnyQueue>() {
        let queue = Q::bounded(SIZE);
        (0..SIZE).for_each(|_| queue.try_put(1).unwrap());
        assert_eq!(queue.try_put(2), Err(TryPutError::Full(2)));
        (0..SIZE).for_each(|_| assert_eq!(queue.try_get(), Ok(1)));
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    }
    all_kinds!(check);
}

/// A capacity of 0 does not mean "no bound" here: it is refused.
#[test]
fn capacity_of_zero_is_refused() {
    fn check<Q: AnyQueue>() {
        assert!(panic_text(|| Q::bounded(0)).contains("at least 1"));
    }
    all_kinds!(check);
}

/// Equal items of a priority queue are all there, in whichever order.
#[test]
fn one_strand_gets_what_many_put() {
    fn check<Q: AnyQueue>() {
        let queue = Arc::new(Q::bounded(2));
        let putter = Arc::clone(&queue);
        let bunch = Bunch::start(4, move |number| (0..50).for_each(|_| putter.put(number as i64).unwrap()));
        let taken = Arc::clone(&queue);
        let got = strand(move || (0..200).map(|_| taken.get().unwrap()).collect::<Vec<_>>()).join().remove(0);
        bunch.join();
        (0..4).for_each(|number| assert_eq!(got.iter().filter(|item| **item == number).count(), 50));
        assert!(queue.is_empty());
    }
    all_kinds!(check);
}
