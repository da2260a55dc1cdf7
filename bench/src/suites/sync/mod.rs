//! Suite `sync`: locks, events, condition variables, queues and semaphores between threads.
//!
//! Each work is written once over a small trait; a peer is an implementation of it, and ours are in [`ours`]. The works
//! among greenlets (`event.greenlet-greenlet`, `event.thread-greenlet`) are written with those of suite `greenlet`.

mod condvar;
pub mod event;
mod mutex;
#[cfg(feature = "ours")]
pub mod ours;
mod queue;
mod semaphore;

use crate::harness::Work;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    let mut works = Vec::new();
    works.extend(mutex::works());
    works.extend(event::works());
    works.extend(super::greenlet::event_works());
    works.extend(condvar::works());
    works.extend(queue::works());
    works.extend(semaphore::works());
    works
}
