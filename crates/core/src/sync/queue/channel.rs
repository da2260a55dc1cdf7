//! Channels: a sending and a receiving side, each cloned at will; closed when one of them is gone.
//!
//! The shape is that of [`std::sync::mpsc`], for many receivers too; every verb has a blocking, a timed, a `try_` and an
//! async face, and a channel may have threads on one side and async tasks on the other.
//!
//! ```
//! use ropewalk_core::sync::channel;
//!
//! let (sender, receiver) = channel::bounded(2);
//! std::thread::scope(|scope| {
//!     scope.spawn(move || {
//!         for n in 0..5 {
//!             sender.send(n).unwrap(); // waits when two are under way
//!         }
//!     }); // the sender is dropped here, which ends the loop below
//!     assert_eq!(receiver.iter().sum::<i32>(), 10);
//! });
//! ```

use super::buffer::Fifo;
use super::buffered::{Buffered, Nothing, Put, Refused};
use super::rendezvous::{Offer, Rendezvous};
use crate::model::sync::Arc;
use crate::model::sync::atomic::{AtomicUsize, Ordering};
use crate::model::time::Duration;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Node, Waiting};
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

pub use super::select::Select;

/// A channel that holds at most `capacity` values; a send waits while it is full.
///
/// # Panics
///
/// When `capacity` is 0: that channel is called [`rendezvous`].
#[track_caller]
#[doc(alias = "sync_channel")]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a bounded channel needs a capacity of at least 1; use `rendezvous` for 0");
    sides(Flavor::Buffered(Buffered::new(capacity)))
}

/// A channel without a bound: a send never waits, and memory is the limit. Prefer [`bounded`] where a producer may be
/// faster than its consumer for long.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    sides(Flavor::Buffered(Buffered::new(usize::MAX)))
}

/// A channel without a buffer: a send ends when a receiver has taken the value.
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    sides(Flavor::Rendezvous(Rendezvous::new()))
}

fn sides<T>(flavor: Flavor<T>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { flavor, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

enum Flavor<T> {
    Buffered(Buffered<Fifo<T>>),
    Rendezvous(Rendezvous<T>),
}

struct Shared<T> {
    flavor: Flavor<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    /// `discard` when nobody is left to receive: what lies inside is dropped now, not with the last sender.
    fn close(&self, discard: bool) {
        match &self.flavor {
            Flavor::Buffered(queue) => drop(queue.close(discard)),
            Flavor::Rendezvous(channel) => drop(channel.close(discard)),
        }
    }
}

/// The sending side of a channel.
///
/// # Fairness
///
/// Values are received in the order in which they were accepted. A sender that comes by may overtake one that is
/// blocked and has just been woken.
///
/// # Cancel safety
///
/// A send that does not end well gives its value back or drops it; it is never half sent.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving side of a channel.
///
/// # Fairness
///
/// Each value goes to one receiver. The one that has waited longest is woken first; one that comes by may overtake it.
///
/// # Cancel safety
///
/// A receive that is dropped, times out or is cancelled has taken nothing.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends a value, waiting while the channel is full.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value when every receiver is gone.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`send_async`](Self::send_async) there.
    #[inline]
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => match queue.put_spinning(value) {
                Ok(()) => Ok(()),
                Err(Refused::Closed(value)) => Err(SendError(value)),
                Err(Refused::Full(value)) => self.send_waiting(value),
            },
            Flavor::Rendezvous(_) => self.send_waiting(value),
        }
    }

    /// Out of the way of [`send`](Self::send), whose usual path is as long as this one's prologue.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn send_waiting(&self, value: T) -> Result<(), SendError<T>> {
        park::wait_for(self.future(value, Waiting::Blocking))
    }

    /// Sends a value if that needs no waiting. Through a [`rendezvous`] channel that means: if a receiver waits.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] with the value.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.try_put(value),
            Flavor::Rendezvous(channel) => channel.try_send(value),
        }
        .map_err(|refused| match refused {
            Refused::Full(value) => TrySendError::Full(value),
            Refused::Closed(value) => TrySendError::Closed(value),
        })
    }

    /// Sends a value, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`] with the value.
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let wait = Wait::FOREVER.timeout(timeout);
        let mut send = pin!(self.future(value, Waiting::Blocking));
        match park::wait_on(wait, |context| send.as_mut().poll(context)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendError(value))) => Err(SendTimeoutError::Closed(value)),
            Err(interrupted) => match (send.take_back(), interrupted) {
                (None, _) => Ok(()),
                (Some(value), Interrupted::TimedOut) => Err(SendTimeoutError::TimedOut(value)),
                (Some(value), Interrupted::Cancelled) => Err(SendTimeoutError::Cancelled(value)),
            },
        }
    }

    /// Sends a value in async code.
    pub fn send_async(&self, value: T) -> SendFuture<'_, T> {
        self.future(value, Waiting::Task)
    }

    fn future(&self, value: T, waiting: Waiting) -> SendFuture<'_, T> {
        SendFuture(match &self.shared.flavor {
            Flavor::Buffered(queue) => Sending::Buffered(queue.put(value, waiting)),
            Flavor::Rendezvous(channel) => Sending::Rendezvous(channel.send(value, waiting)),
        })
    }

    /// Whether every receiver is gone.
    pub fn is_closed(&self) -> bool {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.is_closed(),
            Flavor::Rendezvous(channel) => channel.is_closed(),
        }
    }

    /// How many values lie in the channel.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no value lies in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values fit; `None` for no bound.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity()
    }

    pub(super) fn poll_ready(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.poll_can_put(node, context),
            Flavor::Rendezvous(channel) => channel.poll_can_send(node, context),
        }
    }

    pub(super) fn leave(&self, node: &Node) {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.leave_putters(node),
            Flavor::Rendezvous(channel) => channel.leave_watchers(node),
        }
    }
}

impl<T> Shared<T> {
    fn len(&self) -> usize {
        match &self.flavor {
            Flavor::Buffered(queue) => queue.len(),
            Flavor::Rendezvous(_) => 0,
        }
    }

    fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            Flavor::Buffered(queue) => queue.capacity(),
            Flavor::Rendezvous(_) => Some(0),
        }
    }
}

impl<T> Receiver<T> {
    /// Receives a value, waiting until there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError`] when every sender is gone and nothing is left.
    ///
    /// # Panics
    ///
    /// In async code when it has to wait; use [`recv_async`](Self::recv_async) there.
    #[inline]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => match queue.get_spinning() {
                Ok(value) => Ok(value),
                Err(Nothing::Closed) => Err(RecvError),
                Err(Nothing::Empty) => self.recv_waiting(),
            },
            Flavor::Rendezvous(_) => self.recv_waiting(),
        }
    }

    /// Out of the way of [`recv`](Self::recv), whose usual path is as long as this one's prologue.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn recv_waiting(&self) -> Result<T, RecvError> {
        park::wait_for(self.future(Waiting::Blocking))
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.try_get(),
            Flavor::Rendezvous(channel) => channel.try_recv(),
        }
        .map_err(|nothing| match nothing {
            Nothing::Empty => TryRecvError::Empty,
            Nothing::Closed => TryRecvError::Closed,
        })
    }

    /// Receives a value, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match park::wait_for_with(Wait::FOREVER.timeout(timeout), self.future(Waiting::Blocking)) {
            Ok(received) => received.map_err(|RecvError| RecvTimeoutError::Closed),
            Err(Interrupted::TimedOut) => Err(RecvTimeoutError::TimedOut),
            Err(Interrupted::Cancelled) => Err(RecvTimeoutError::Cancelled),
        }
    }

    /// Receives a value in async code.
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        self.future(Waiting::Task)
    }

    fn future(&self, waiting: Waiting) -> RecvFuture<'_, T> {
        RecvFuture { receiver: self, node: Node::new(waiting) }
    }

    /// Receives until every sender is gone, waiting in between.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Receives until every sender is gone, as an async stream.
    pub fn stream(&self) -> RecvStream<'_, T> {
        RecvStream { next: self.recv_async() }
    }

    /// Whether every sender is gone. What lies in the channel can still be received.
    pub fn is_closed(&self) -> bool {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.is_closed(),
            Flavor::Rendezvous(channel) => channel.is_closed(),
        }
    }

    /// How many values lie in the channel.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no value lies in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values fit; `None` for no bound.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity()
    }

    fn poll_recv(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<Result<T, RecvError>> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.poll_get(node, context),
            Flavor::Rendezvous(channel) => channel.poll_recv(node, context),
        }
        .map(|value| value.ok_or(RecvError))
    }

    pub(super) fn poll_ready(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.poll_can_get(node, context),
            Flavor::Rendezvous(channel) => channel.poll_can_recv(node, context),
        }
    }

    pub(super) fn leave(&self, node: &Node) {
        match &self.shared.flavor {
            Flavor::Buffered(queue) => queue.leave_getters(node),
            Flavor::Rendezvous(channel) => channel.leave_receivers(node),
        }
    }
}

macro_rules! side {
    ($side:ident, $count:ident, $discard:expr) => {
        impl<T> Clone for $side<T> {
            fn clone(&self) -> Self {
                // Relaxed: a new side is made from one that lives, so the count is not 0 meanwhile.
                self.shared.$count.fetch_add(1, Ordering::Relaxed);
                Self { shared: Arc::clone(&self.shared) }
            }
        }

        impl<T> Drop for $side<T> {
            fn drop(&mut self) {
                // Relaxed: what the others of this side did to the channel they did under its lock, which `close` takes.
                if self.shared.$count.fetch_sub(1, Ordering::Relaxed) == 1 {
                    self.shared.close($discard);
                }
            }
        }

        impl<T> fmt::Debug for $side<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($side)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}

side!(Sender, senders, false);
side!(Receiver, receivers, true);

/// [`Sender::send_async`] as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct SendFuture<'a, T>(Sending<'a, T>);

enum Sending<'a, T> {
    Buffered(Put<'a, Fifo<T>>),
    Rendezvous(Offer<'a, T>),
}

impl<T> SendFuture<'_, T> {
    fn take_back(self: Pin<&mut Self>) -> Option<T> {
        // SAFETY: the future inside is pinned with this one: it is never moved out of it.
        unsafe {
            match &mut self.get_unchecked_mut().0 {
                Sending::Buffered(put) => Pin::new_unchecked(put).take_back(),
                Sending::Rendezvous(offer) => Pin::new_unchecked(offer).take_back(),
            }
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the future inside is pinned with this one: it is never moved out of it.
        let sent = unsafe {
            match &mut self.get_unchecked_mut().0 {
                Sending::Buffered(put) => Pin::new_unchecked(put).poll(context),
                Sending::Rendezvous(offer) => Pin::new_unchecked(offer).poll(context),
            }
        };
        sent.map(|sent| sent.map_err(SendError))
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}

/// [`Receiver::recv_async`] as a future.
#[must_use = "futures do nothing unless awaited"]
pub struct RecvFuture<'a, T> {
    receiver: &'a Receiver<T>,
    node: Node,
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref();
        // SAFETY: `node` is pinned with the future: it is never moved out of it.
        let node = unsafe { this.map_unchecked(|future| &future.node) };
        this.receiver.poll_recv(node, context)
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        self.receiver.leave(&self.node);
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").finish_non_exhaustive()
    }
}

/// [`Receiver::stream`].
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct RecvStream<'a, T> {
    next: RecvFuture<'a, T>,
}

impl<T> futures_core::Stream for RecvStream<'_, T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        // SAFETY: `next` is pinned with the stream. A receive that was ready may be polled again: its node is idle.
        let next = unsafe { self.map_unchecked_mut(|stream| &mut stream.next) };
        Poll::Ready(ready!(next.poll(context)).ok())
    }
}

/// [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

/// [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Receives until every sender is gone; owns the receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Every receiver is gone; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why [`Sender::try_send`] did not send; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full, or no receiver waits at a rendezvous.
    Full(T),
    /// Every receiver is gone.
    Closed(T),
}

/// Why [`Sender::send_timeout`] did not send; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel stayed full.
    TimedOut(T),
    /// The task around the send was cancelled.
    Cancelled(T),
    /// Every receiver is gone.
    Closed(T),
}

/// Every sender is gone and nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// Why [`Receiver::try_recv`] received nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there yet.
    Empty,
    /// Every sender is gone and nothing is left.
    Closed,
}

/// Why [`Receiver::recv_timeout`] received nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The time limit passed.
    TimedOut,
    /// The task around the receive was cancelled.
    Cancelled,
    /// Every sender is gone and nothing is left.
    Closed,
}

super::error_text! {
    SendError<T> { SendError(_) => "channel is closed: every receiver is gone" }
    TrySendError<T> {
        Self::Full(_) => "channel is full",
        Self::Closed(_) => "channel is closed: every receiver is gone",
    }
    SendTimeoutError<T> {
        Self::TimedOut(_) => "channel stayed full until the time limit",
        Self::Cancelled(_) => "send was cancelled",
        Self::Closed(_) => "channel is closed: every receiver is gone",
    }
}

super::error_text! {
    RecvError { RecvError => "channel is closed: every sender is gone and nothing is left" }
    TryRecvError {
        Self::Empty => "channel is empty",
        Self::Closed => "channel is closed: every sender is gone and nothing is left",
    }
    RecvTimeoutError {
        Self::TimedOut => "channel stayed empty until the time limit",
        Self::Cancelled => "receive was cancelled",
        Self::Closed => "channel is closed: every sender is gone and nothing is left",
    }
}
