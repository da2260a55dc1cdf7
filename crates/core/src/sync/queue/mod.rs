//! Producer-consumer queues: one buffer under one short lock, two faces.
//!
//! * [`Queue`], [`LifoQueue`], [`PriorityQueue`]: shared by everybody, with `task_done` and `join` (Python's `queue`).
//! * [`channel`]: a sender and a receiver side, closed when one of them is gone (std's `mpsc`, for many of both).
//!
//! `buffered` holds the state machine of both, over a `buffer` that decides the order; `rendezvous` is the channel
//! without a buffer.

/// The texts of an error type; one that carries an item is shown without it, so the item needs no `Debug`.
macro_rules! error_text {
    ($($name:ident<T> { $($pattern:pat => $text:literal),+ $(,)? })+) => {$(
        impl<T> std::fmt::Display for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($pattern => $text,)+ })
            }
        }

        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl<T> std::error::Error for $name<T> {}
    )+};
    ($($name:ident { $($pattern:pat => $text:literal),+ $(,)? })+) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($pattern => $text,)+ })
            }
        }

        impl std::error::Error for $name {}
    )+};
}
use error_text;

mod buffer;
mod buffered;
pub mod channel;
mod python;
mod rendezvous;
mod select;

pub use buffer::{Buffer, Fifo, Lifo, Priority};
pub use python::{
    GetError, GetTimeoutError, Iter, LifoQueue, PriorityQueue, PutError, PutTimeoutError, Queue, TryGetError,
    TryPutError,
};
