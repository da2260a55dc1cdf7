//! The queue that everybody shares, in the shape of Python's `queue` module.
//!
//! `task_done` and `join` tell when all that was put is also done; `shutdown` ends it for both sides (Python 3.13).

use super::buffer::{Fifo, Lifo, Priority};
use super::buffered::{Buffered, Nothing, Refused};
use crate::model::time::Duration;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::Waiting;
use std::fmt;
use std::pin::pin;

macro_rules! queue {
    ($(#[$doc:meta])* $name:ident<T $(: $bound:ident)?> over $buffer:ident) => {
        $(#[$doc])*
        pub struct $name<T $(: $bound)?> {
            inner: Buffered<$buffer<T>>,
        }

        impl<T $(: $bound)?> $name<T> {
            /// A queue that holds at most `capacity` items; a put waits while it is full.
            ///
            /// # Panics
            ///
            /// When `capacity` is 0.
            #[doc(alias = "maxsize")]
            #[track_caller]
            pub fn bounded(capacity: usize) -> Self {
                assert!(capacity > 0, "a bounded queue needs a capacity of at least 1");
                Self { inner: Buffered::new(capacity) }
            }

            /// A queue without a bound: a put never waits, and memory is the limit.
            pub fn unbounded() -> Self {
                Self { inner: Buffered::new(usize::MAX) }
            }

            /// Puts an item, waiting while the queue is full.
            ///
            /// # Errors
            ///
            /// [`PutError`] with the item when the queue was shut down.
            ///
            /// # Panics
            ///
            /// In async code when it has to wait; use [`put_async`](Self::put_async) there.
            #[inline]
            #[track_caller]
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                match self.inner.put_spinning(item) {
                    Ok(()) => Ok(()),
                    Err(Refused::Closed(item)) => Err(PutError(item)),
                    Err(Refused::Full(item)) => {
                        park::wait_for(self.inner.put(item, Waiting::Blocking)).map_err(PutError)
                    }
                }
            }

            /// Puts an item if that needs no waiting.
            ///
            /// # Errors
            ///
            /// [`TryPutError`] with the item.
            #[doc(alias = "put_nowait")]
            #[inline]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.inner.try_put(item).map_err(|refused| match refused {
                    Refused::Full(item) => TryPutError::Full(item),
                    Refused::Closed(item) => TryPutError::Shutdown(item),
                })
            }

            /// Puts an item, waiting for at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`PutTimeoutError`] with the item.
            #[track_caller]
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
                let wait = Wait::FOREVER.timeout(timeout);
                let mut put = pin!(self.inner.put(item, Waiting::Blocking));
                match park::wait_on(wait, |context| put.as_mut().poll(context)) {
                    Ok(done) => done.map_err(PutTimeoutError::Shutdown),
                    Err(interrupted) => match (put.take_back(), interrupted) {
                        (None, _) => Ok(()),
                        (Some(item), Interrupted::TimedOut) => Err(PutTimeoutError::TimedOut(item)),
                        (Some(item), Interrupted::Cancelled) => Err(PutTimeoutError::Cancelled(item)),
                    },
                }
            }

            /// Puts an item in async code.
            ///
            /// # Errors
            ///
            /// As [`put`](Self::put).
            pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
                self.inner.put(item, Waiting::Task).await.map_err(PutError)
            }

            /// Gets an item, waiting until there is one.
            ///
            /// # Errors
            ///
            /// [`GetError`] when the queue was shut down and is empty.
            ///
            /// # Panics
            ///
            /// In async code when it has to wait; use [`get_async`](Self::get_async) there.
            #[inline]
            #[track_caller]
            pub fn get(&self) -> Result<T, GetError> {
                match self.inner.get_spinning() {
                    Ok(item) => Ok(item),
                    Err(Nothing::Closed) => Err(GetError),
                    Err(Nothing::Empty) => park::wait_for(self.inner.get(Waiting::Blocking)).ok_or(GetError),
                }
            }

            /// Gets an item if there is one.
            ///
            /// # Errors
            ///
            /// [`TryGetError`].
            #[doc(alias = "get_nowait")]
            #[inline]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.inner.try_get().map_err(|nothing| match nothing {
                    Nothing::Empty => TryGetError::Empty,
                    Nothing::Closed => TryGetError::Shutdown,
                })
            }

            /// Gets an item, waiting for at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`GetTimeoutError`].
            #[track_caller]
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
                let wait = Wait::FOREVER.timeout(timeout);
                match park::wait_for_with(wait, self.inner.get(Waiting::Blocking)) {
                    Ok(item) => item.ok_or(GetTimeoutError::Shutdown),
                    Err(Interrupted::TimedOut) => Err(GetTimeoutError::TimedOut),
                    Err(Interrupted::Cancelled) => Err(GetTimeoutError::Cancelled),
                }
            }

            /// Gets an item in async code.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get).
            pub async fn get_async(&self) -> Result<T, GetError> {
                self.inner.get(Waiting::Task).await.ok_or(GetError)
            }

            /// Says that one item that was got is done with; see [`join`](Self::join).
            ///
            /// # Panics
            ///
            /// When it is called more often than items were put.
            #[track_caller]
            pub fn task_done(&self) {
                assert!(self.inner.task_done(), "task_done was called more often than items were put");
            }

            /// Waits until every item that was put has been got and [done](Self::task_done).
            #[track_caller]
            pub fn join(&self) {
                park::wait_for(self.inner.all_done(Waiting::Blocking));
            }

            /// [`join`](Self::join), at the longest for `timeout`.
            ///
            /// # Errors
            ///
            /// [`Interrupted`]: the time limit passed, or the task around this wait was cancelled.
            #[track_caller]
            pub fn join_timeout(&self, timeout: Duration) -> Result<(), Interrupted> {
                park::wait_for_with(Wait::FOREVER.timeout(timeout), self.inner.all_done(Waiting::Blocking))
            }

            /// [`join`](Self::join) in async code.
            pub async fn join_async(&self) {
                self.inner.all_done(Waiting::Task).await;
            }

            /// Lets nothing more in. What is inside can still be got; then [`get`](Self::get) ends with an error.
            pub fn shutdown(&self) {
                self.inner.close(false);
            }

            /// Lets nothing more in and drops what is inside, which counts as done. Every wait ends.
            #[doc(alias = "immediate")]
            pub fn shutdown_now(&self) {
                drop(self.inner.close(true));
            }

            /// Whether the queue was shut down.
            pub fn is_shut_down(&self) -> bool {
                self.inner.is_closed()
            }

            /// How many items are inside.
            #[doc(alias = "qsize")]
            pub fn len(&self) -> usize {
                self.inner.len()
            }

            /// Whether no item is inside.
            #[doc(alias = "empty")]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether a put would wait.
            #[doc(alias = "full")]
            pub fn is_full(&self) -> bool {
                self.inner.capacity().is_some_and(|capacity| self.len() >= capacity)
            }

            /// How many items fit; `None` for no bound.
            pub fn capacity(&self) -> Option<usize> {
                self.inner.capacity()
            }

            /// Gets items until the queue is shut down and empty, waiting in between.
            pub fn iter(&self) -> Iter<'_, T> {
                Iter { get: Box::new(move || self.get().ok()) }
            }
        }

        impl<T $(: $bound)?> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .finish_non_exhaustive()
            }
        }
    };
}

queue! {
    /// A first-in-first-out queue between producers and consumers.
    ///
    /// # Fairness
    ///
    /// Items leave in the order in which they came in. The consumer that has waited longest is woken first; one that
    /// comes by may overtake it.
    ///
    /// # Cancel safety
    ///
    /// A get that does not end well has taken nothing; a put that does not end well gives its item back or drops it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk_core::sync::Queue;
    ///
    /// let queue = Queue::bounded(2);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         for job in queue.iter() {
    ///             // ... work on the job ...
    ///             let _: i32 = job;
    ///             queue.task_done();
    ///         }
    ///     });
    ///     for job in 0..10 {
    ///         queue.put(job).unwrap(); // waits when the consumer is slow
    ///     }
    ///     queue.join(); // until all ten are done
    ///     queue.shutdown(); // ends the consumer's loop
    /// });
    /// ```
    Queue<T> over Fifo
}

queue! {
    /// A [`Queue`] from which the newest item leaves first.
    ///
    /// ```
    /// use ropewalk_core::sync::LifoQueue;
    ///
    /// let queue = LifoQueue::unbounded();
    /// queue.put("old").unwrap();
    /// queue.put("new").unwrap();
    /// assert_eq!(queue.get(), Ok("new"));
    /// ```
    LifoQueue<T> over Lifo
}

queue! {
    /// A [`Queue`] from which the smallest item leaves first, as in Python. The order of equal items is not promised.
    ///
    /// Comparing runs under the queue's lock: an `Ord` that uses the queue itself waits for ever. One that panics does so
    /// in the put or get that compared, which then has changed nothing.
    ///
    /// ```
    /// use ropewalk_core::sync::PriorityQueue;
    ///
    /// let queue = PriorityQueue::unbounded();
    /// queue.put((5, "later")).unwrap();
    /// queue.put((1, "first")).unwrap();
    /// assert_eq!(queue.get(), Ok((1, "first")));
    /// ```
    PriorityQueue<T: Ord> over Priority
}

/// Gets items until the queue is shut down and empty.
pub struct Iter<'a, T> {
    get: Box<dyn FnMut() -> Option<T> + 'a>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        (self.get)()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

/// The queue was shut down; the item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "ShutDown")]
pub struct PutError<T>(pub T);

/// Why `try_put` did not put; the item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// The queue is full.
    Full(T),
    /// The queue was shut down.
    Shutdown(T),
}

/// Why `put_timeout` did not put; the item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutTimeoutError<T> {
    /// The queue stayed full.
    TimedOut(T),
    /// The task around the put was cancelled.
    Cancelled(T),
    /// The queue was shut down.
    Shutdown(T),
}

/// The queue was shut down and is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetError;

/// Why `try_get` got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// Nothing is inside.
    Empty,
    /// The queue was shut down and is empty.
    Shutdown,
}

/// Why `get_timeout` got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetTimeoutError {
    /// The time limit passed.
    TimedOut,
    /// The task around the get was cancelled.
    Cancelled,
    /// The queue was shut down and is empty.
    Shutdown,
}

super::error_text! {
    PutError<T> { PutError(_) => "queue was shut down" }
    TryPutError<T> {
        Self::Full(_) => "queue is full",
        Self::Shutdown(_) => "queue was shut down",
    }
    PutTimeoutError<T> {
        Self::TimedOut(_) => "queue stayed full until the time limit",
        Self::Cancelled(_) => "put was cancelled",
        Self::Shutdown(_) => "queue was shut down",
    }
}

super::error_text! {
    GetError { GetError => "queue was shut down and is empty" }
    TryGetError {
        Self::Empty => "queue is empty",
        Self::Shutdown => "queue was shut down and is empty",
    }
    GetTimeoutError {
        Self::TimedOut => "queue stayed empty until the time limit",
        Self::Cancelled => "get was cancelled",
        Self::Shutdown => "queue was shut down and is empty",
    }
}
