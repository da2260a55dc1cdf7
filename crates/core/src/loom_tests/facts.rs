//! What the rest of the models relies on: facts about loom itself, so that an upgrade that changes them is noticed.
#![cfg(all(test, ropewalk_loom))]

use super::{Number, model, race};
use crate::model::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::Arc;
use std::sync::Mutex as StdMutex;

/// Two threads store and then look at what the other stored, with `handshake` in between. Which pairs are seen?
fn store_buffer(name: &str, handshake: fn()) -> Vec<(u32, u32)> {
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let collected = Arc::clone(&seen);
    model(name, move || {
        let shared = (AtomicU32::new(0), AtomicU32::new(0), Number::new(), handshake);
        let shared = race(
            shared,
            &[|(mine, other, result, handshake)| {
                mine.store(1, Ordering::Relaxed);
                handshake();
                result.set(other.load(Ordering::Relaxed) + 1);
            }],
            |(other, mine, result, handshake)| {
                mine.store(1, Ordering::Relaxed);
                handshake();
                let left = other.load(Ordering::Relaxed);
                // Both results in one number: 10 for having been here, 20 more for having seen the other.
                while result.get() == 0 {
                    crate::model::thread::yield_now();
                }
                result.set(result.get() + 10 * (left + 1));
            },
        );
        let result = shared.2.get();
        collected.lock().unwrap().push((result % 10 - 1, result / 10 - 1));
    });
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn a_fence_forbids_what_a_store_buffer_allows() {
    assert!(store_buffer("facts: store buffer", || ()).contains(&(0, 0)));
    let fenced = store_buffer("facts: store buffer with fences", || fence(Ordering::SeqCst));
    assert_eq!(fenced, [(0, 1), (1, 0), (1, 1)]);
}

#[test]
#[should_panic(expected = "a relaxed publication was seen")]
fn a_relaxed_publication_is_seen() {
    model("facts: relaxed publication", || {
        race(
            (AtomicU32::new(0), Number::new()),
            &[|(ready, number)| {
                number.set(1);
                ready.store(1, Ordering::Relaxed);
            }],
            |(ready, number)| {
                if ready.load(Ordering::Acquire) == 1 {
                    assert_eq!(number.get(), 1, "a relaxed publication was seen");
                }
            },
        );
    });
}

/// Loom explores a look (a plain load) before and after the change of another thread, but not where that thread itself
/// loads first, as a loop of compare-and-swap does: then it forgets the look. A model whose point is such a look therefore
/// yields before it, which lets the change come first and the look be moved before it.
#[test]
fn a_look_before_load_and_change_needs_a_yield() {
    fn seen(name: &str, look: fn(&AtomicU32) -> u32) -> Vec<u32> {
        let seen = Arc::new(StdMutex::new(Vec::new()));
        let collected = Arc::clone(&seen);
        model(name, move || {
            let shared = race(
                (AtomicU32::new(0), look, Number::new()),
                &[|(word, ..)| {
                    let before = word.load(Ordering::Relaxed);
                    let _ = word.compare_exchange(before, 1, Ordering::Release, Ordering::Relaxed);
                }],
                |(word, look, result)| result.set(look(word)),
            );
            collected.lock().unwrap().push(shared.2.get());
        });
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        seen.dedup();
        seen
    }
    assert_eq!(seen("facts: a look", |word| word.load(Ordering::Acquire)), [0], "loom has learned it: drop the yields");
    let yielding = seen("facts: a look after a yield", |word| {
        crate::model::thread::yield_now();
        word.load(Ordering::Acquire)
    });
    assert_eq!(yielding, [0, 1]);
}
