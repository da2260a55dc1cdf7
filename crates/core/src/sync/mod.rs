//! Locks, events and queues that block whoever waits: a thread, a greenlet, an async task.
//!
//! Every primitive is one state machine with four faces: the blocking verb (`lock`), the same with a time limit
//! (`lock_timeout`), the one that never waits (`try_lock`) and the async one (`lock_async`). Threads and async tasks may
//! wait for the same primitive at the same time. No primitive poisons: a panic in a critical section releases the lock,
//! as in `parking_lot` and in Python.
//!
//! | I want | take |
//! | --- | --- |
//! | one at a time | [`Mutex`]; [`ReentrantLock`] when the holder locks again |
//! | many readers or one writer | [`RwLock`] |
//! | at most *n* at a time | [`Semaphore`] |
//! | wait until something happened | [`Event`]; [`Condvar`] when the condition is data under a mutex |
//! | all meet before they go on | [`Barrier`] |
//! | compute once | [`OnceCell`] |
//! | hand work over | [`channel`] (closed when one side is gone) or [`Queue`] (shared by all, `task_done` and `join`) |
//!
//! # Time limits
//!
//! A `_timeout` verb never returns early. A timeout too large for the clock to add up, such as
//! [`Duration::MAX`](std::time::Duration::MAX), is no limit.

mod barrier;
mod condvar;
mod event;
mod mutex;
mod once;
pub mod queue;
mod reentrant;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierFuture, BarrierWaitResult, BrokenBarrier};
pub use condvar::{Condvar, CondvarFuture};
pub use event::{Event, EventFuture};
pub use mutex::{LockFuture, Mutex, MutexGuard};
pub use once::OnceCell;
pub use queue::channel;
pub use queue::{LifoQueue, PriorityQueue, Queue};
pub use reentrant::{ReentrantLock, ReentrantLockGuard};
pub use rwlock::{ReadFuture, RwLock, RwLockReadGuard, RwLockWriteGuard, WriteFuture};
pub use semaphore::{AcquireFuture, Permit, Semaphore};

pub use crate::park::Interrupted;
