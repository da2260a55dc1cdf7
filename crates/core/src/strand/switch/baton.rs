//! Strands as threads that hand a baton to and fro, for checkers: they see every thread, and no switch of stacks.

use crate::model::sync::{Condvar, Mutex};
use crate::model::thread;
use crate::strand::hub;
use crate::strand::slot::Slot;
use crate::strand::stack::Place;
use std::cell::UnsafeCell;
use std::sync::PoisonError;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Hub,
    Strand,
    /// The hub is gone; so is the thread.
    End,
}

struct Baton {
    turn: Mutex<Turn>,
    passed: Condvar,
}

/// A checker runs all its threads on one: the lock takes the unwind of another strand for one of its holder.
fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Baton {
    fn pass(&self, to: Turn) {
        *unpoisoned(self.turn.lock()) = to;
        self.passed.notify_all();
    }

    /// Waits until it is not `of` that has the turn.
    fn wait_while(&self, of: Turn) -> Turn {
        let mut turn = unpoisoned(self.turn.lock());
        while *turn == of {
            turn = unpoisoned(self.passed.wait(turn));
        }
        *turn
    }
}

/// The switch to one slot's strand and back.
pub(in crate::strand) struct Coroutine {
    inside: UnsafeCell<Option<(&'static Baton, thread::JoinHandle<()>)>>,
}

impl Coroutine {
    pub(in crate::strand) fn empty() -> Self {
        Self { inside: UnsafeCell::new(None) }
    }

    fn baton(&self) -> &'static Baton {
        // SAFETY: written before the strand's thread begins, and by the hub when that has ended.
        unsafe { (*self.inside.get()).as_ref() }.expect("it was made").0
    }

    /// Makes it run `body(slot)` once for each strand.
    ///
    /// # Safety
    ///
    /// No strand is inside.
    pub(in crate::strand) unsafe fn make(&self, _: Place, slot: &'static Slot, body: fn(&'static Slot)) {
        let baton: &'static Baton = Box::leak(Box::new(Baton { turn: Mutex::new(Turn::Hub), passed: Condvar::new() }));
        let thread = thread::spawn(move || {
            if baton.wait_while(Turn::Hub) == Turn::End {
                return;
            }
            hub::enter_thread_of_strand(slot);
            loop {
                body(slot);
                baton.pass(Turn::Hub);
                if baton.wait_while(Turn::Hub) == Turn::End {
                    return;
                }
            }
        });
        // SAFETY: the thread waits for its turn, so nobody looks.
        unsafe { *self.inside.get() = Some((baton, thread)) };
    }

    /// Runs the strand until it suspends or has ended.
    ///
    /// # Safety
    ///
    /// On the hub's thread; it was made.
    pub(in crate::strand) unsafe fn resume(&self) {
        let baton = self.baton();
        baton.pass(Turn::Strand);
        baton.wait_while(Turn::Strand);
    }

    /// Goes back to the hub.
    ///
    /// # Safety
    ///
    /// On this coroutine's own thread.
    pub(in crate::strand) unsafe fn suspend(&self) {
        let baton = self.baton();
        baton.pass(Turn::Hub);
        baton.wait_while(Turn::Hub);
    }

    /// Ends the thread, which is between two strands.
    pub(in crate::strand) fn end(&self) {
        // SAFETY: the thread waits for its turn.
        if let Some((baton, thread)) = unsafe { (*self.inside.get()).take() } {
            baton.pass(Turn::End);
            thread.join().unwrap();
        }
    }
}
