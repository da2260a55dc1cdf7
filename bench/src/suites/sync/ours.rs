//! Our side of suite `sync`.

use std::sync::Arc;

use ropewalk::sync;

use super::condvar::{State, Turns};
use super::event::Flag;
use super::mutex::Lock;
use super::queue::{BOUND, Chan, Kind};
use super::semaphore::OnePermit;

/// `ropewalk::sync::Mutex`.
pub type Mutex = sync::Mutex<u64>;

impl Lock for Mutex {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut u64) -> R) -> R {
        body(&mut self.lock())
    }
}

/// `ropewalk::sync::Event`.
pub type Event = sync::Event;

impl Flag for Event {
    fn new() -> Self {
        Self::new()
    }
    fn set(&self) {
        self.set();
    }
    fn wait_and_clear(&self) {
        self.wait();
        self.clear();
    }
}

/// `ropewalk::sync::Condvar` with its mutex.
pub struct Turn(sync::Mutex<State>, sync::Condvar);

impl Turns for Turn {
    fn new() -> Self {
        Self(sync::Mutex::new(State::default()), sync::Condvar::new())
    }
    fn take_turn<R>(&self, side: usize, body: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.1.wait_while(self.0.lock(), |state| state.turn != side);
        let result = body(&mut state);
        drop(state);
        self.1.notify_one();
        result
    }
}

/// `ropewalk::sync::Semaphore` with one permit.
pub type Semaphore = sync::Semaphore;

impl OnePermit for Semaphore {
    fn new() -> Self {
        Self::new(1)
    }
    fn with<R>(&self, body: impl FnOnce() -> R) -> R {
        let _permit = self.acquire();
        body()
    }
}

/// `ropewalk::sync::channel`.
pub struct Channel;

impl Chan for Channel {
    type Sender = sync::channel::Sender<u64>;
    type Receiver = sync::channel::Receiver<u64>;
    fn open(kind: Kind) -> (Self::Sender, Self::Receiver) {
        match kind {
            Kind::Unbounded => sync::channel::unbounded(),
            Kind::Bounded => sync::channel::bounded(BOUND),
            Kind::Rendezvous => sync::channel::rendezvous(),
        }
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.send(value).expect("both ends live");
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.recv().expect("both ends live")
    }
}

/// `ropewalk::sync::Queue`, shared.
pub struct Queue;

impl Chan for Queue {
    type Sender = Arc<sync::Queue<u64>>;
    type Receiver = Arc<sync::Queue<u64>>;
    fn open(kind: Kind) -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(match kind {
            Kind::Unbounded => sync::Queue::unbounded(),
            Kind::Bounded => sync::Queue::bounded(BOUND),
            Kind::Rendezvous => unreachable!("a queue holds at least one"),
        });
        (Arc::clone(&queue), queue)
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.put(value).expect("nobody shuts it down");
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.get().expect("nobody shuts it down")
    }
}
