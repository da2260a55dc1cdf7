//! A round trip through one mutex and one condition variable: two threads, one a core, take turns.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::event::sample;
use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Place, crew};

/// What the mutex guards.
#[derive(Debug, Default)]
pub struct State {
    /// Whose turn it is: 0 or 1.
    pub turn: usize,
    /// No more turns.
    pub over: bool,
}

/// A mutex with a condition variable.
pub trait Turns: Send + Sync {
    /// Fresh, with the turn at 0.
    fn new() -> Self;
    /// Waits for `side`'s turn, runs `body` on the state, then wakes the other side.
    fn take_turn<R>(&self, side: usize, body: impl FnOnce(&mut State) -> R) -> R;
}

/// The works.
pub fn works() -> Vec<Work> {
    let work = Work::new("sync", "condvar.thread-thread", "us", Judge::TwoCores).aside("cpu", "us", Better::Lower);
    let work = work.by("std", ping_pong::<OfStd>).by("parking_lot", ping_pong::<OfParkingLot>);
    let work = work.by("usync", ping_pong::<OfUsync>);
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", ping_pong::<super::ours::Turn>);
    vec![work]
}

fn ping_pong<T: Turns>(effort: Effort) -> Sample {
    let turns = T::new();
    let run = crew(2, Place::Spread, |side| {
        let begin = Instant::now();
        let mut count = 0_u64;
        loop {
            // Side 0 looks at the clock; side 1 hears of the end in its turn.
            let enough = side == 0 && count.is_multiple_of(16) && begin.elapsed() >= effort.span();
            let over = turns.take_turn(side, |state| {
                state.over |= enough;
                state.turn = 1 - side;
                state.over
            });
            if over {
                return count;
            }
            count += 1;
        }
    });
    sample(&run)
}

struct OfStd(Mutex<State>, Condvar);

impl Turns for OfStd {
    fn new() -> Self {
        Self(Mutex::default(), Condvar::new())
    }
    fn take_turn<R>(&self, side: usize, body: impl FnOnce(&mut State) -> R) -> R {
        let state = self.0.lock().expect("nobody panics here");
        let mut state = self.1.wait_while(state, |state| state.turn != side).expect("nobody panics here");
        let result = body(&mut state);
        drop(state);
        self.1.notify_one();
        result
    }
}

struct OfParkingLot(parking_lot::Mutex<State>, parking_lot::Condvar);

impl Turns for OfParkingLot {
    fn new() -> Self {
        Self(parking_lot::Mutex::default(), parking_lot::Condvar::new())
    }
    fn take_turn<R>(&self, side: usize, body: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock();
        self.1.wait_while(&mut state, |state| state.turn != side);
        let result = body(&mut state);
        drop(state);
        self.1.notify_one();
        result
    }
}

struct OfUsync(usync::Mutex<State>, usync::Condvar);

impl Turns for OfUsync {
    fn new() -> Self {
        Self(usync::Mutex::default(), usync::Condvar::new())
    }
    fn take_turn<R>(&self, side: usize, body: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock();
        while state.turn != side {
            self.1.wait(&mut state);
        }
        let result = body(&mut state);
        drop(state);
        self.1.notify_one();
        result
    }
}
