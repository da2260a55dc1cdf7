//! Hazards of executors that take closures: maps over them, and scopes whose jobs borrow.

use crate::subject::Closures;
use crate::support::{ignore, panic_text};
use ropewalk::sync::Event;
use ropewalk::{Executor, Shutdown, TaskError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) fn map_has_the_order_of_its_items<S: Closures>() {
    let executor = S::new(3);
    let squares: Vec<u64> = executor.map(|n: u64| n * n, 0..500).collect();
    assert_eq!(squares, (0..500).map(|n| n * n).collect::<Vec<_>>());
    assert_eq!(executor.map(|n: u64| n, std::iter::empty()).count(), 0);
}

pub(crate) fn map_is_lazy<S: Closures>() {
    let (executor, calls) = (S::new(2), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&calls);
    let taken = AtomicUsize::new(0);
    let items = (0..100).inspect(|_| ignore(taken.fetch_add(1, Ordering::Relaxed)));
    let map = executor.map(move |n: u64| n + counter.fetch_add(1, Ordering::Relaxed) as u64, items);
    assert_eq!((calls.load(Ordering::Relaxed), taken.load(Ordering::Relaxed)), (0, 0));
    drop(map);
    executor.shutdown(Shutdown::Wait);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

/// A consumer that is slow for ever: what was taken is never more than was given out, one buffer, and the chunk that is being
/// given out, of which a buffer holds two at least.
pub(crate) fn map_over_an_endless_iterator_is_bounded<S: Closures>() {
    const BUFFER: usize = 8;
    let executor = S::new(2);
    let taken = AtomicUsize::new(0);
    let items = (0..).inspect(|_| ignore(taken.fetch_add(1, Ordering::Relaxed)));
    let mut map = executor.map(|n: u64| n, items).buffer(BUFFER);
    for given in 1..200 {
        assert_eq!(map.next(), Some(given as u64 - 1));
        assert!(taken.load(Ordering::Relaxed) <= given + BUFFER + BUFFER / 2, "after {given}: {taken:?}");
    }
}

pub(crate) fn map_dropped_early_cancels_the_rest<S: Closures>() {
    let (executor, began) = (S::new(1), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&began);
    let counted = move |n: u64| {
        counter.fetch_add(1, Ordering::Relaxed);
        n
    };
    let mut map = executor.map(counted, 0..).chunk(1);
    assert_eq!(map.next(), Some(0));
    let buffered = 3 * executor.parallelism();
    drop(map);
    executor.shutdown(Shutdown::Wait);
    assert!(began.load(Ordering::Relaxed) <= 1 + buffered);
}

pub(crate) fn panic_of_an_item_has_its_place<S: Closures>() {
    let executor = S::new(2);
    let third = |n: u64| if n % 3 == 2 { panic!("item {n}") } else { n };
    let results: Vec<_> = executor.try_map(third, 0..20).collect();
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(value) => assert!(value == n as u64 && n % 3 != 2),
            Err(TaskError::Panicked(panic)) => assert_eq!((panic.message(), n % 3), (&*format!("item {n}"), 2)),
            Err(other) => panic!("{other:?}"),
        }
    }
    let mut map = executor.map(third, 0..20);
    assert_eq!((map.next(), map.next()), (Some(0), Some(1)));
    assert_eq!(panic_text(|| map.next()), "item 2");
    assert_eq!(map.next(), Some(3));
}

pub(crate) fn for_each_throws_when_all_is_done<S: Closures>() {
    let (executor, done) = (S::new(2), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&done);
    let text = panic_text(|| {
        executor.for_each(
            move |n: u64| {
                assert!(n != 3, "the fourth");
                counter.fetch_add(n, Ordering::Relaxed)
            },
            0..10,
        );
    });
    assert_eq!((text.as_str(), done.load(Ordering::Relaxed)), ("the fourth", 42));
}

pub(crate) fn unordered_gives_all<S: Closures>() {
    let mut results: Vec<u64> = S::new(3).map(|n: u64| n * n, 0..100).unordered().collect();
    results.sort_unstable();
    assert_eq!(results, (0..100).map(|n| n * n).collect::<Vec<_>>());
}

pub(crate) fn map_inside_of_map<S: Closures>() {
    let executor = Arc::new(S::new(1));
    let inner = Arc::clone(&executor);
    let sums = move |n: u64| inner.map(move |m: u64| n * m, 0..10).sum::<u64>();
    assert_eq!(executor.map(sums, 0..10).sum::<u64>(), 45 * 45);
}

pub(crate) fn map_with_a_deadline_for_each_item<S: Closures>() {
    let executor = S::new(1);
    let hurried = executor.timeout(Duration::from_millis(20));
    let never = Arc::new(Event::new());
    let waits = move |n: u64| {
        if n == 1 {
            never.wait();
        }
        n
    };
    let results: Vec<_> = hurried.try_map(waits, 0..2).collect();
    assert!(matches!(results[..], [Ok(0), Err(TaskError::TimedOut)]), "{results:?}");
}

pub(crate) fn scope_lends_and_waits<S: Closures>() {
    let executor = S::new(2);
    let words = ["hemp".to_owned(), "jute".to_owned(), "sisal".to_owned()];
    let (mut lengths, letters) = ([0; 3], AtomicUsize::new(0));
    let first = S::scope(&executor, |scope| {
        for (word, length) in words.iter().zip(&mut lengths) {
            let letters = &letters;
            drop(scope.submit(move || {
                *length = word.len();
                letters.fetch_add(word.len(), Ordering::Relaxed);
            }));
        }
        scope.submit(|| words[0].as_str()).join().expect("a result")
    });
    assert_eq!((first, lengths, letters.into_inner()), ("hemp", [4, 4, 5], 13));
}

pub(crate) fn scope_throws_the_panic_when_all_have_ended<S: Closures>() {
    let executor = S::new(1);
    let ended = AtomicUsize::new(0);
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let text = panic_text(|| {
        S::scope(&executor, |scope| {
            drop(scope.submit(|| panic!("of a job")));
            for _ in 0..5 {
                // Cancelled before it starts, or in its wait: in each case gone when the scope has ended.
                let counts = Counts(&ended);
                drop(scope.submit(move || {
                    Event::new().wait();
                    drop(counts);
                }));
            }
        });
    });
    assert_eq!((text.as_str(), ended.into_inner()), ("of a job", 5));
}

pub(crate) fn scope_inside_of_scope<S: Closures>() {
    let executor = S::new(1);
    let sum = AtomicUsize::new(0);
    S::scope(&executor, |outer| {
        for n in 1..=4 {
            let (executor, sum) = (&executor, &sum);
            drop(outer.submit(move || {
                S::scope(executor, |inner| {
                    for m in 1..=4 {
                        drop(inner.submit(move || sum.fetch_add(n * m, Ordering::Relaxed)));
                    }
                });
            }));
        }
    });
    assert_eq!(sum.into_inner(), 100);
}

pub(crate) fn scope_after_shutdown_runs_nothing<S: Closures>() {
    let executor = S::new(1);
    executor.shutdown(Shutdown::Wait);
    let ran = AtomicUsize::new(0);
    let outcome = S::scope(&executor, |scope| scope.submit(|| ran.fetch_add(1, Ordering::Relaxed)).join());
    assert!(matches!(outcome, Err(TaskError::Shutdown)), "{outcome:?}");
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}
