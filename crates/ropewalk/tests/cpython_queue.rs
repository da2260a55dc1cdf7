//! CPython's `test_queue`, case by case, in our words: Queue, LifoQueue, PriorityQueue, SimpleQueue.
//!
//! What has no counterpart here is listed with its reason in `cpython/known_differences.md`.

mod support;

#[path = "cpython/queue.rs"]
mod queue;
#[path = "cpython/queue_failing.rs"]
mod queue_failing;
#[path = "cpython/queue_shutdown.rs"]
mod queue_shutdown;
#[path = "cpython/queue_simple.rs"]
mod queue_simple;

use ropewalk::sync::queue::{GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError};
use ropewalk::sync::{LifoQueue, PriorityQueue, Queue};
use std::time::Duration;

/// What the three kinds of queue have in common.
trait AnyQueue: Send + Sync + 'static {
    /// In which order 111, 333, 222 leave it.
    const ORDER: [i64; 3];
    fn bounded(capacity: usize) -> Self;
    fn unbounded() -> Self;
    fn put(&self, item: i64) -> Result<(), PutError<i64>>;
    fn try_put(&self, item: i64) -> Result<(), TryPutError<i64>>;
    fn put_timeout(&self, item: i64, timeout: Duration) -> Result<(), PutTimeoutError<i64>>;
    fn get(&self) -> Result<i64, GetError>;
    fn try_get(&self) -> Result<i64, TryGetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<i64, GetTimeoutError>;
    fn task_done(&self);
    fn join(&self);
    fn shutdown(&self, now: bool);
    fn is_shut_down(&self) -> bool;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
}

macro_rules! any_queue {
    ($queue:ident, $order:expr) => {
        impl AnyQueue for $queue<i64> {
            const ORDER: [i64; 3] = $order;
            fn bounded(capacity: usize) -> Self {
                Self::bounded(capacity)
            }
            fn unbounded() -> Self {
                Self::unbounded()
            }
            fn put(&self, item: i64) -> Result<(), PutError<i64>> {
                self.put(item)
            }
            fn try_put(&self, item: i64) -> Result<(), TryPutError<i64>> {
                self.try_put(item)
            }
            fn put_timeout(&self, item: i64, timeout: Duration) -> Result<(), PutTimeoutError<i64>> {
                self.put_timeout(item, timeout)
            }
            fn get(&self) -> Result<i64, GetError> {
                self.get()
            }
            fn try_get(&self) -> Result<i64, TryGetError> {
                self.try_get()
            }
            fn get_timeout(&self, timeout: Duration) -> Result<i64, GetTimeoutError> {
                self.get_timeout(timeout)
            }
            fn task_done(&self) {
                self.task_done();
            }
            fn join(&self) {
                self.join();
            }
            fn shutdown(&self, now: bool) {
                if now { self.shutdown_now() } else { self.shutdown() }
            }
            fn is_shut_down(&self) -> bool {
                self.is_shut_down()
            }
            fn len(&self) -> usize {
                self.len()
            }
            fn is_empty(&self) -> bool {
                self.is_empty()
            }
            fn is_full(&self) -> bool {
                self.is_full()
            }
        }
    };
}

any_queue!(Queue, [111, 333, 222]);
any_queue!(LifoQueue, [222, 333, 111]);
any_queue!(PriorityQueue, [111, 222, 333]);

/// Runs a generic test for the three kinds.
macro_rules! all_kinds {
    ($test:ident $(, $argument:expr)?) => {
        $test::<ropewalk::sync::Queue<i64>>($($argument)?);
        $test::<ropewalk::sync::LifoQueue<i64>>($($argument)?);
        $test::<ropewalk::sync::PriorityQueue<i64>>($($argument)?);
    };
}
pub(crate) use all_kinds;
