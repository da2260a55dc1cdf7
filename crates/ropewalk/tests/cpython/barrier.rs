//! Barrier.

use crate::support::{Bunch, HANG, SHORT, eventually, panic_text};
use ropewalk::sync::{Barrier, BrokenBarrier, Interrupted};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const N: usize = 5;

fn bunch<T: Send + 'static>(
    barrier: &Arc<Barrier>,
    party: impl Fn(&Barrier, usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let barrier = Arc::clone(barrier);
    Bunch::start(N, move |number| party(&barrier, number)).join()
}

/// CPython: lock_tests.BarrierTests.test_constructor
#[test]
fn no_parties_is_refused() {
    assert!(panic_text(|| Barrier::new(0)).contains("at least one party"));
}

/// All are in step: nobody leaves a round before all have entered it.
fn in_step(rounds: usize) {
    let barrier = Arc::new(Barrier::new(N));
    let (entered, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    bunch(&barrier, move |barrier, _| {
        for round in 0..rounds {
            assert_eq!(left.load(Ordering::SeqCst), round * N);
            entered.fetch_add(1, Ordering::SeqCst);
            barrier.wait().unwrap();
            assert_eq!(entered.load(Ordering::SeqCst), (round + 1) * N);
            left.fetch_add(1, Ordering::SeqCst);
            barrier.wait().unwrap();
        }
    });
    assert_eq!(barrier.n_waiting(), 0);
    assert!(!barrier.is_broken());
}

/// CPython: lock_tests.BarrierTests.test_barrier
#[test]
fn one_round_in_step() {
    in_step(1);
}

/// CPython: lock_tests.BarrierTests.test_barrier_10
#[test]
fn ten_rounds_in_step() {
    in_step(10);
}

/// CPython: lock_tests.BarrierTests.test_wait_return
#[test]
fn each_party_has_its_own_index() {
    let mut indices = bunch(&Arc::new(Barrier::new(N)), |barrier, _| barrier.wait().unwrap().index());
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

/// An action is what the leader does before it meets the others again.
///
/// CPython: lock_tests.BarrierTests.test_action
#[test]
fn leader_acts_once_a_round() {
    let acted = Arc::new(AtomicUsize::new(0));
    let leaders = bunch(&Arc::new(Barrier::new(N)), move |barrier, _| {
        let leader = barrier.wait().unwrap().is_leader();
        if leader {
            acted.fetch_add(1, Ordering::SeqCst);
        }
        barrier.wait().unwrap();
        assert_eq!(acted.load(Ordering::SeqCst), 1);
        leader
    });
    assert_eq!(leaders.iter().filter(|leader| **leader).count(), 1);
}

/// One of the parties breaks the barrier instead of entering the second round.
fn one_aborts(barrier: &Barrier) -> Result<(), BrokenBarrier> {
    if barrier.wait()?.index() == N / 2 {
        barrier.abort();
        return Ok(());
    }
    barrier.wait().map(drop)
}

/// CPython: lock_tests.BarrierTests.test_abort
#[test]
fn abort_ends_all_waits() {
    let barrier = Arc::new(Barrier::new(N));
    let ended = bunch(&barrier, |barrier, _| one_aborts(barrier));
    assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), N - 1);
    assert!(ended.iter().flat_map(|ended| ended.err()).all(|error| error.by_me().is_none()));
    assert!(barrier.is_broken());
    assert!(barrier.wait().is_err(), "broken for those who come later too");
}

/// CPython: lock_tests.BarrierTests.test_reset
#[test]
fn reset_frees_those_who_wait() {
    let barrier = Arc::new(Barrier::new(N));
    let freed = bunch(&barrier, |barrier, _| {
        let freed = if barrier.wait().unwrap().index() == N / 2 {
            eventually("the others in the barrier", || barrier.n_waiting() == N - 1);
            barrier.reset();
            false
        } else {
            barrier.wait().is_err()
        };
        barrier.wait().unwrap();
        freed
    });
    assert_eq!(freed.iter().filter(|freed| **freed).count(), N - 1);
    assert!(!barrier.is_broken());
}

/// CPython: lock_tests.BarrierTests.test_abort_and_reset
#[test]
fn reset_mends_a_broken_barrier() {
    let (barrier, other) = (Arc::new(Barrier::new(N)), Barrier::new(N));
    let ended = bunch(&barrier, move |barrier, _| {
        let ended = one_aborts(barrier);
        if other.wait().unwrap().is_leader() {
            assert!(barrier.is_broken());
            barrier.reset();
        }
        other.wait().unwrap();
        barrier.wait().unwrap();
        ended
    });
    assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), N - 1);
    assert!(!barrier.is_broken());
}

/// CPython: lock_tests.BarrierTests.test_timeout
#[test]
fn time_limit_of_one_breaks_it_for_all() {
    let barrier = Arc::new(Barrier::new(N));
    let ended = bunch(&barrier, |barrier, number| {
        // The last party never comes; one of the others has a limit.
        match number {
            0 => None,
            1 => {
                eventually("the others in the barrier", || barrier.n_waiting() == N - 2);
                Some(barrier.wait_timeout(SHORT))
            }
            _ => Some(barrier.wait_timeout(HANG)),
        }
    });
    let how: Vec<_> = ended.into_iter().flatten().map(|ended| ended.unwrap_err().by_me()).collect();
    assert_eq!(how, [Some(Interrupted::TimedOut), None, None, None]);
    assert!(barrier.is_broken());
}

/// CPython: lock_tests.BarrierTests.test_single_thread
#[test]
fn one_party_never_waits() {
    let barrier = Barrier::new(1);
    for _ in 0..2 {
        assert!(barrier.wait().unwrap().is_leader());
    }
}

/// CPython: lock_tests.BarrierTests.test_repr
#[test]
fn number_of_those_who_wait_is_shown() {
    let barrier = Arc::new(Barrier::new(3));
    assert_eq!((barrier.n_waiting(), barrier.parties()), (0, 3));
    let bunch = Bunch::start(2, {
        let barrier = Arc::clone(&barrier);
        move |_| barrier.wait().is_ok()
    });
    eventually("two in the barrier", || barrier.n_waiting() == 2);
    barrier.wait().unwrap();
    assert_eq!(bunch.join(), [true, true]);
}
