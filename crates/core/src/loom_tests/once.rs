//! Models of the once cell. Its value lies in a cell that loom watches.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, poll_once, race};
use crate::model::thread;
use crate::park;
use crate::sync::OnceCell;
use std::sync::Arc;

type Shared = (OnceCell<u32>, Number);

fn shared() -> Shared {
    (OnceCell::new(), Number::new())
}

/// Counts how often the initializer ran; two at once would lose one.
fn init((cell, runs): &Shared) {
    let value = cell.get_or_init(|| {
        runs.add(1);
        7
    });
    assert_eq!(*value, 7);
}

fn fail((cell, runs): &Shared) {
    let _ = cell.get_or_try_init(|| {
        runs.add(10);
        Err::<u32, ()>(())
    });
}

#[test]
fn notify_before_wait() {
    model("once: notify_before_wait", || {
        let shared = shared();
        assert_eq!(shared.0.get(), None);
        init(&shared);
        init(&shared);
        assert_eq!(shared.1.get(), 1);
    });
}

#[test]
fn notify_between_check_and_park() {
    model("once: notify_between_check_and_park", || {
        let shared = race(shared(), &[init], init);
        assert_eq!(shared.1.get(), 1);
    });
    model("once: a look", || {
        let init_and_set = |(shared, later): &(Shared, Number)| {
            init(shared);
            later.set(1);
        };
        race((shared(), Number::new()), &[init_and_set], |((cell, runs), later)| {
            later.get();
            if let Some(value) = cell.get() {
                assert_eq!((*value, runs.get()), (7, 1));
            }
        });
    });
}

#[test]
fn two_waiters_one_notification() {
    model("once: two_waiters_one_notification", || {
        let shared = race(shared(), &[init, init], init);
        assert_eq!(shared.1.get(), 1);
    });
}

#[test]
fn timeout_races_with_notify() {
    model("once: timeout_races_with_notify", || {
        let shared = race(shared(), &[init], |(cell, runs)| {
            let value = cell.get_or_init_timeout(A_WHILE, || {
                runs.add(1);
                7
            });
            assert!(value.is_none_or(|value| *value == 7));
        });
        assert_eq!((shared.0.get(), shared.1.get()), (Some(&7), 1));
    });
    // It is told that it is its turn, and has waited for long enough at that moment: somebody else tries.
    model("once: timeout_among_waiters", || {
        let shared = race(shared(), &[fail, init], |(cell, _)| {
            cell.get_or_init_timeout(A_WHILE, || 7);
        });
        assert_eq!(shared.0.get(), Some(&7));
    });
}

/// An initializer that fails lets the next one try; what it did is visible to that one.
#[test]
fn failure_lets_the_next_try() {
    model("once: failure_lets_the_next_try", || {
        let shared = race(shared(), &[fail], init);
        assert!([1, 11].contains(&shared.1.get()));
    });
    model("once: two failures", || {
        let shared = race(shared(), &[fail, fail], init);
        assert!([1, 11, 21].contains(&shared.1.get()));
    });
}

/// An initializer is given up while two wait, and the first of those goes away when it is told that it is its turn.
#[test]
fn dropped_waiter_hands_on() {
    model("once: dropped_waiter_hands_on", || {
        let shared = Arc::new(shared());
        let mut begun = Box::pin(shared.0.get_or_init_async(std::future::pending));
        let mut waits = Box::pin(shared.0.get_or_init_async(std::future::pending));
        assert!(poll_once(&mut begun).is_pending() && poll_once(&mut waits).is_pending());
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || init(&shared))
        };
        drop(begun);
        drop(waits);
        other.join().unwrap();
    });
}

/// The future of the initializer is dropped while another waits.
#[test]
fn owner_drop_races_with_wait() {
    model("once: owner_drop_races_with_wait", || {
        let shared = race(
            shared(),
            &[|(cell, _)| {
                let mut begun = Box::pin(cell.get_or_init_async(std::future::pending));
                let _ = poll_once(&mut begun).map(|_| ());
            }],
            init,
        );
        assert_eq!(shared.1.get(), 1);
    });
}

#[test]
fn async_face_waits_for_the_blocking_one() {
    model("once: async_face_waits_for_the_blocking_one", || {
        let shared = race(shared(), &[init], |(cell, runs)| {
            let value = park::wait_for(cell.get_or_init_async(|| async {
                runs.add(1);
                7
            }));
            assert_eq!(*value, 7);
        });
        assert_eq!(shared.1.get(), 1);
    });
}
