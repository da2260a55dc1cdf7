//! SimpleQueue: an unbounded [`Queue`] that is only put to and got from, and an unbounded channel, which is the same
//! thing with two sides.

use crate::support::{Bunch, SHORT, strand};
use ropewalk::sync::queue::{GetTimeoutError, TryGetError};
use ropewalk::sync::{Mutex, Queue, channel};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// CPython: test_queue.BaseSimpleQueueTest.test_basic
#[test]
fn put_and_get() {
    let queue = Queue::unbounded();
    assert!(queue.is_empty());
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    queue.try_put(3).unwrap();
    queue.put(4).unwrap();
    assert_eq!((queue.len(), queue.capacity()), (4, None));
    assert_eq!((queue.get(), queue.try_get(), queue.try_get()), (Ok(1), Ok(2), Ok(3)));
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.get_timeout(SHORT), Ok(4));
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(GetTimeoutError::TimedOut));
    assert!(queue.is_empty());
}

/// Feeders share one input; each ends it with a `None`, consumers collect what `get` gives until they see one.
fn feed_and_consume(strands: usize, items: i64, get: fn(&Queue<Option<i64>>) -> Option<i64>) -> Vec<i64> {
    let queue = Arc::new(Queue::unbounded());
    let (next, results) = (AtomicI64::new(0), Arc::new(Mutex::new(Vec::new())));
    let bunch = Bunch::start(2 * strands, {
        let (queue, results) = (Arc::clone(&queue), Arc::clone(&results));
        move |number| {
            if number < strands {
                loop {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    queue.put((item < items).then_some(item)).unwrap();
                    if item >= items {
                        return;
                    }
                }
            }
            while let Some(item) = get(&queue) {
                results.lock().push(item);
            }
        }
    });
    bunch.join();
    assert!(queue.is_empty());
    std::mem::take(&mut *results.lock())
}

/// CPython: test_queue.BaseSimpleQueueTest.test_order
#[test]
fn one_to_one_keeps_the_order() {
    let got = feed_and_consume(1, 100, |queue| queue.get().unwrap());
    assert_eq!(got, (0..100).collect::<Vec<_>>());
}

fn sorted(mut got: Vec<i64>) -> Vec<i64> {
    got.sort_unstable();
    got
}

/// CPython: test_queue.BaseSimpleQueueTest.test_many_threads
#[test]
fn many_to_many_lose_nothing() {
    let got = feed_and_consume(20, 5000, |queue| queue.get().unwrap());
    assert_eq!(sorted(got), (0..5000).collect::<Vec<_>>());
}

/// CPython: test_queue.BaseSimpleQueueTest.test_many_threads_nonblock
#[test]
fn many_to_many_by_tries() {
    let got = feed_and_consume(20, 5000, |queue| {
        loop {
            match queue.try_get() {
                Ok(item) => return item,
                Err(_) => std::thread::yield_now(),
            }
        }
    });
    assert_eq!(sorted(got), (0..5000).collect::<Vec<_>>());
}

/// CPython: test_queue.BaseSimpleQueueTest.test_many_threads_timeout
#[test]
fn many_to_many_by_short_limits() {
    let got = feed_and_consume(20, 1000, |queue| {
        loop {
            if let Ok(item) = queue.get_timeout(Duration::from_micros(10)) {
                return item;
            }
        }
    });
    assert_eq!(sorted(got), (0..1000).collect::<Vec<_>>());
}

/// CPython: test_queue.BaseSimpleQueueTest.test_references
#[test]
fn nothing_of_an_item_stays_behind() {
    let queue = Queue::unbounded();
    let (sender, receiver) = channel::unbounded();
    for _ in 0..20 {
        queue.put(Arc::new(())).unwrap();
        sender.send(Arc::new(())).unwrap();
    }
    for _ in 0..20 {
        for item in [queue.get().unwrap(), receiver.recv().unwrap()] {
            let seen = Arc::downgrade(&item);
            drop(item);
            assert!(seen.upgrade().is_none());
        }
    }
}

/// Puts a number when it is dropped.
struct Rings(Arc<Queue<Thing>>);

enum Thing {
    Number(i64),
    Rings { _inside: Rings },
}

impl Drop for Rings {
    fn drop(&mut self) {
        let _ = self.0.put(Thing::Number(1));
    }
}

/// A put from inside a destructor, wherever the queue itself drops an item: no lock of the queue is held then.
///
/// CPython: test_queue.CSimpleQueueTest.test_reentrancy
#[test]
fn put_from_the_destructor_of_an_item() {
    let ended = strand(|| {
        let queue = Arc::new(Queue::unbounded());
        queue.put(Thing::Rings { _inside: Rings(Arc::clone(&queue)) }).unwrap();
        drop(queue.get().unwrap());
        assert!(matches!(queue.try_get(), Ok(Thing::Number(1))));
        queue.put(Thing::Rings { _inside: Rings(Arc::clone(&queue)) }).unwrap();
        queue.shutdown_now(); // drops the item, whose put is refused
        drop(queue.put(Thing::Rings { _inside: Rings(Arc::clone(&queue)) })); // refused, dropped, and refused again
        queue.is_empty()
    })
    .join();
    assert_eq!(ended, [true]);
}

/// The receiving end of a channel drops what lies in it; a destructor there may use the channel.
#[test]
fn send_from_the_destructor_of_an_item() {
    struct Sends(Option<channel::Sender<Sends>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.send(Self(None)).is_err());
            }
        }
    }
    let bunch = strand(|| {
        let (sender, receiver) = channel::unbounded();
        sender.send(Sends(Some(sender.clone()))).unwrap();
        drop(receiver);
        sender.is_empty()
    });
    assert_eq!(bunch.join(), [true]);
}
