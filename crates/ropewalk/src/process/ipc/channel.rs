//! Channels between processes.
//!
//! A channel is a socket for packets: the system keeps what is in it, so a process that dies in the middle of a call harms
//! nobody, and it knows when the last sender, or the last receiver, is gone.

use super::super::call::Travels;
use super::super::carry::Way;
use super::super::system;
use super::super::wire::{self, Body};
use super::message::{self, Message};
use crate::io::descriptor::{Interest, Moved, Operation, Source, Step, drive_async};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a channel for values of one type, between any number of processes and strands: each value goes to one receiver.
///
/// It holds about 200 KiB of small values; a sender waits while it is full. A value that is long goes into memory of its own. A
/// value may contain what processes share: an end of another channel, for one.
///
/// # Errors
///
/// When the system has no descriptors left.
///
/// # Examples
///
/// ```
/// use ropewalk::process::{Process, ipc};
///
/// fn doubles((numbers, results): (ipc::Receiver<u32>, ipc::Sender<u32>)) {
///     for number in numbers.iter() {
///         results.send(2 * number).unwrap();
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     ropewalk::init();
///     let (numbers, to_double) = ipc::channel()?;
///     let (doubled, results) = ipc::channel()?;
///     let process = Process::spawn(doubles, (to_double, doubled))?;
///     numbers.send(21)?;
///     assert_eq!(results.recv()?, 42);
///     // The last sender is gone: so its loop ends, and with it the last sender of the results.
///     drop(numbers);
///     process.join()?;
///     assert_eq!(results.recv(), Err(ipc::RecvError::Disconnected));
///     Ok(())
/// }
/// ```
#[doc(alias = "Pipe")]
#[doc(alias = "Queue")]
pub fn channel<T: Travels>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (sends, receives) = system::packets()?;
    Ok((
        Sender { end: Arc::new(Source::new(sends)), of: PhantomData },
        Receiver { end: Arc::new(Source::new(receives)), of: PhantomData },
    ))
}

/// The end of a [`channel`] that values are sent to. Clones send to the same one.
pub struct Sender<T> {
    end: Arc<Source<OwnedFd>>,
    of: PhantomData<fn(T)>,
}

/// The end of a [`channel`] that values come from. Clones share them: each value goes to one.
pub struct Receiver<T> {
    end: Arc<Source<OwnedFd>>,
    of: PhantomData<fn() -> T>,
}

/// Why a value was not sent.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// There is no receiver any more, in whatever process.
    Disconnected(T),
    /// The time was over while the channel was full.
    TimedOut(T),
    /// It could not be serialized, or the system refused.
    Failed {
        /// The value.
        value: T,
        /// Why.
        reason: String,
    },
}

/// Why no value was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// There is none now ([`Receiver::try_recv`]).
    Empty,
    /// The time was over ([`Receiver::recv_timeout`]).
    TimedOut,
    /// There is none, and no sender any more, in whatever process.
    Disconnected,
    /// One came and makes no sense, or the system refused.
    Failed(String),
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(_) => f.write_str("the channel has no receiver any more, in whatever process"),
            Self::TimedOut(_) => f.write_str("the channel was full until the time was over"),
            Self::Failed { reason, .. } => write!(f, "the value could not be sent: {reason}"),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the channel is empty"),
            Self::TimedOut => f.write_str("the channel was empty until the time was over"),
            Self::Disconnected => f.write_str("the channel is empty and has no sender any more, in whatever process"),
            Self::Failed(reason) => write!(f, "no value could be received: {reason}"),
        }
    }
}

impl std::error::Error for RecvError {}

impl<T: Travels> Sender<T> {
    /// Sends a value; waits while the channel is full.
    ///
    /// # Cancel safety
    ///
    /// A wait that is cancelled unwinds; then nothing was sent.
    ///
    /// # Panics
    ///
    /// In async code: see [`send_async`](Self::send_async).
    ///
    /// # Errors
    ///
    /// [`SendError`], with the value.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_by(value, None)
    }

    /// [`send`](Self::send) that waits so long at most.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// [`SendError`], with the value.
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_by(value, Some(timeout))
    }

    #[track_caller]
    fn send_by(&self, value: T, timeout: Option<Duration>) -> Result<(), SendError<T>> {
        let sent = packed(&value).and_then(|message| {
            let send = |socket: &OwnedFd| message.send(socket, SendFlags::DONTWAIT).map(Moved::some);
            self.end.perform(Interest::Write, timeout, send).map_err(|error| told(&error))
        });
        sent.map_err(|failure| failure.with(value))
    }

    /// [`send`](Self::send) for async code. Dropped before it is ready, nothing was sent.
    ///
    /// # Errors
    ///
    /// [`SendError`], with the value.
    pub async fn send_async(&self, value: T) -> Result<(), SendError<T>> {
        let sent = match packed(&value) {
            Ok(message) => {
                let mut sending = Attempt {
                    socket: self.end.io(),
                    interest: Interest::Write,
                    attempt: |socket: &OwnedFd| message.send(socket, SendFlags::DONTWAIT),
                };
                drive_async(&mut sending).await.and_then(|sent| sent).map_err(|error| told(&error))
            }
            Err(failure) => Err(failure),
        };
        sent.map_err(|failure| failure.with(value))
    }
}

/// What went wrong, before the value is put back into it.
enum Failure {
    Disconnected,
    TimedOut,
    Other(String),
}

impl Failure {
    fn with<T>(self, value: T) -> SendError<T> {
        match self {
            Self::Disconnected => SendError::Disconnected(value),
            Self::TimedOut => SendError::TimedOut(value),
            Self::Other(reason) => SendError::Failed { value, reason },
        }
    }
}

fn packed<T: Serialize>(value: &T) -> Result<Message, Failure> {
    use wire::Codec;
    let body = wire::Postcard::encode(value, Way::Descriptors).map_err(|error| Failure::Other(error.to_string()))?;
    Message::new(body).map_err(|error| Failure::Other(error.to_string()))
}

fn told(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Failure::Disconnected,
        ErrorKind::TimedOut => Failure::TimedOut,
        _ => Failure::Other(error.to_string()),
    }
}

impl<T: Travels> Receiver<T> {
    /// Takes the next value; waits while there is none.
    ///
    /// # Cancel safety
    ///
    /// A wait that is cancelled unwinds; then nothing was taken.
    ///
    /// # Panics
    ///
    /// In async code: see [`recv_async`](Self::recv_async).
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_by(None)
    }

    /// [`recv`](Self::recv) that waits so long at most.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_by(Some(timeout))
    }

    /// Takes the next value if there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[doc(alias = "poll")]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        match message::receive(self.end.io(), RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(RecvError::Empty),
            received => unpacked(received),
        }
    }

    /// [`recv`](Self::recv) for async code. Dropped before it is ready, nothing was taken.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        let attempt = |socket: &OwnedFd| message::receive(socket, RecvFlags::DONTWAIT);
        let mut receiving = Attempt { socket: self.end.io(), interest: Interest::Read, attempt };
        unpacked(drive_async(&mut receiving).await.and_then(|received| received))
    }

    /// The values as they come, until there is no sender any more. One that makes no sense ends it, too.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    #[track_caller]
    fn recv_by(&self, timeout: Option<Duration>) -> Result<T, RecvError> {
        let receive = |socket: &OwnedFd| message::receive(socket, RecvFlags::DONTWAIT).map(Moved::some);
        unpacked(self.end.perform(Interest::Read, timeout, receive))
    }
}

fn unpacked<T: Travels>(received: io::Result<Option<Body>>) -> Result<T, RecvError> {
    use wire::Codec;
    match received {
        Ok(Some(body)) => wire::Postcard::decode(body).map_err(|error| RecvError::Failed(error.to_string())),
        Ok(None) => Err(RecvError::Disconnected),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(RecvError::TimedOut),
        // The last sender went with something unread on its side: there is never any of that.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(RecvError::Disconnected),
        Err(error) => Err(RecvError::Failed(error.to_string())),
    }
}

/// A call on a socket, tried until it does not have to wait.
struct Attempt<'a, F> {
    socket: &'a OwnedFd,
    interest: Interest,
    attempt: F,
}

impl<R, F: FnMut(&OwnedFd) -> io::Result<R>> Operation for Attempt<'_, F> {
    type Output = io::Result<R>;

    fn step(&mut self) -> Step<io::Result<R>> {
        match (self.attempt)(self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Wait,
            ended => Step::Done(ended),
        }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.socket.as_fd(), self.interest);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// The values of a [`Receiver`].
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T: Travels> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T: Travels> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { end: Arc::clone(&self.end), of: PhantomData }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { end: Arc::clone(&self.end), of: PhantomData }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(self.end.io(), serializer)
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(self.end.io(), serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: Arc::new(Source::new(super::deserialize(deserializer)?)), of: PhantomData })
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: Arc::new(Source::new(super::deserialize(deserializer)?)), of: PhantomData })
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
