//! Maps over the async executor, and maps over every executor in async code: bounded, in order, and nothing is lost.

#![cfg(all(unix, feature = "greenlet"))]

mod support;

use ropewalk::executor::Maps;
use ropewalk::sync::Event;
use ropewalk::{AsyncExecutor, InlineExecutor, TaskError, ThreadPoolExecutor, block_on};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use support::{eventually, ignore, panic_text};

/// A future that yields once: its result does not come with the first poll.
async fn later(n: u64) -> u64 {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(n * n);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn squares(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|n| n * n).collect()
}

#[test]
fn futures_give_their_results_in_order() {
    let executor = AsyncExecutor::new(2);
    assert_eq!(executor.map(later, 0..200).collect::<Vec<_>>(), squares(0..200));
    assert_eq!(executor.map(later, 0..200).chunk(7).collect::<Vec<_>>(), squares(0..200));
    let mut unordered: Vec<_> = executor.map(later, 0..200).unordered().collect();
    unordered.sort_unstable();
    assert_eq!(unordered, squares(0..200));
}

#[test]
fn endless_iterator_is_bounded() {
    let executor = AsyncExecutor::new(2);
    let taken = AtomicUsize::new(0);
    let mut map = executor.map(later, (0..).inspect(|_| ignore(taken.fetch_add(1, Ordering::Relaxed)))).buffer(8);
    assert_eq!(taken.load(Ordering::Relaxed), 0, "lazy");
    for given in 1..100 {
        assert!(map.next().is_some());
        assert!(taken.load(Ordering::Relaxed) <= given + 8);
    }
}

#[test]
fn panics_of_the_call_and_of_a_poll_have_their_places() {
    let executor = AsyncExecutor::new(1);
    let function = |n: u64| {
        assert!(n != 1, "in the call");
        async move {
            let square = later(n).await;
            assert!(n != 2, "in a poll");
            square
        }
    };
    for chunk in [1, 4] {
        let results: Vec<_> = executor.try_map(function, 0..4).chunk(chunk).collect();
        let texts: Vec<_> =
            results.iter().map(|result| result.as_ref().map_err(ToString::to_string).copied()).collect();
        let failed = |what: &str| Err(format!("task panicked: {what}"));
        assert_eq!(texts, [Ok(0), failed("in the call"), failed("in a poll"), Ok(9)]);
    }
    let mut map = executor.map(function, 0..4);
    assert_eq!((map.next(), panic_text(|| map.next())), (Some(0), "in the call".to_owned()));
}

/// What waits for ever is cancelled with the map: otherwise the drop of the executor would not end.
#[test]
fn dropped_early_cancels_the_rest() {
    let executor = AsyncExecutor::new(1);
    let (never, dropped) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let began = Arc::new(AtomicUsize::new(0));
    let function = {
        let (began, dropped) = (Arc::clone(&began), Arc::clone(&dropped));
        move |n: u64| {
            let (never, counts) = (Arc::clone(&never), Counts(Arc::clone(&dropped)));
            began.fetch_add(1, Ordering::Relaxed);
            async move {
                if n > 0 {
                    never.wait_async().await;
                }
                drop(counts);
            }
        }
    };
    let mut map = executor.map(function, 0..);
    assert_eq!(map.next(), Some(()));
    drop(map);
    executor.shutdown(ropewalk::Shutdown::Wait);
    eventually("all are gone", || dropped.load(Ordering::Relaxed) == began.load(Ordering::Relaxed));
}

/// The same results in async code, whatever executor runs the items.
#[test]
fn next_async_on_each_executor() {
    fn all(executor: &impl Maps<u64>, unordered: bool) -> Vec<u64> {
        let map = executor.try_map(|n: u64| n * n, 0..200);
        let mut map = if unordered { map.unordered() } else { map };
        let mut results = Vec::new();
        block_on(async {
            while let Some(result) = map.next_async().await {
                results.push(result.unwrap());
            }
        });
        results.sort_unstable();
        results
    }
    let limited = ThreadPoolExecutor::builder().max_workers(2).queue_limit(1).build().expect("a valid pool");
    for unordered in [false, true] {
        assert_eq!(all(&ThreadPoolExecutor::new(2), unordered), squares(0..200));
        assert_eq!(all(&InlineExecutor::new(), unordered), squares(0..200));
        assert_eq!(all(&ropewalk::GreenletExecutor::new(2), unordered), squares(0..200));
        assert_eq!(all(&limited, unordered), squares(0..200));
    }
    let executor = AsyncExecutor::new(1);
    let after_shutdown = block_on(async {
        executor.shutdown_async(ropewalk::Shutdown::Wait).await;
        executor.try_map(later, 0..1).next_async().await
    });
    assert!(matches!(after_shutdown, Some(Err(TaskError::Shutdown))));
}

/// A `next_async` that is dropped while it waits, for a result or for a place in a full queue, has lost no item.
#[test]
fn next_async_that_is_dropped_loses_nothing() {
    for unordered in [false, true] {
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().expect("a valid pool");
        let go = Arc::new(Event::new());
        let waits = {
            let go = Arc::clone(&go);
            move |n: u64| {
                go.wait();
                n
            }
        };
        let map = pool.try_map(waits, 0..20).chunk(1);
        let mut map = if unordered { map.unordered() } else { map };
        block_on(async {
            // Each of these is dropped after one poll.
            for _ in 0..10 {
                let pending = poll_fn(|context| Poll::Ready(pin!(map.next_async()).poll(context).is_pending()));
                assert!(pending.await);
            }
            go.set();
            let mut results = Vec::new();
            while let Some(result) = map.next_async().await {
                results.push(result.unwrap());
            }
            results.sort_unstable();
            assert_eq!(results, (0..20).collect::<Vec<_>>());
        });
    }
}
