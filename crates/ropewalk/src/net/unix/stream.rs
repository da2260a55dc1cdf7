//! Connections within one machine.

use super::persist;
use crate::io::descriptor::Moved;
use crate::io::handover::TokioUnixStream;
use crate::net::face::{face, options, stream, timeouts};
use crate::net::socket::{self, Socket};
use ropewalk_core::park;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// A connection within one machine. See [`net`](crate::net) for who may use it and what differs from std.
///
/// # Examples
///
/// ```
/// use ropewalk::{greenlet, net::UnixStream};
/// use std::io::{Read, Write};
///
/// ropewalk::run(|| {
///     let (mut here, mut there) = UnixStream::pair().unwrap();
///     let echo = greenlet::spawn(move || {
///         let mut word = [0; 4];
///         there.read_exact(&mut word).unwrap();
///         there.write_all(&word).unwrap();
///     });
///     here.write_all(b"hemp").unwrap();
///     let mut word = String::new();
///     here.read_to_string(&mut word).unwrap();
///     assert_eq!(word, "hemp");
///     echo.join().unwrap();
/// });
/// ```
pub struct UnixStream {
    pub(super) socket: Socket<net::UnixStream>,
}

face!(UnixStream, std: net::UnixStream, tokio: TokioUnixStream, says: "UnixStream");
timeouts!(UnixStream);
// A read stops at bytes that descriptors came with, and more may lie behind them.
stream!(UnixStream, |bytes, _| Moved::some(bytes));

impl UnixStream {
    /// Connects to the socket at `path`. Waits while too many connections wait there to be accepted.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was connected.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`connect`](Self::connect) to an address, which need not be a path.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was connected.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        park::refuse_in_async();
        // A full listener has no event for those who want in.
        let begun = persist(None, || mio::net::UnixStream::connect_addr(address))?;
        let stream = Self { socket: Socket::new(OwnedFd::from(begun).into()) };
        stream.socket.connected(None)?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// Two ends of a connection without a name.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }
}

options!(UnixStream {
    /// The address of the other side.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this side.
    fn local_addr(&self) -> SocketAddr;
    /// Ends one direction or both: the other side reads to the end, and whoever waits for a direction that ended wakes.
    fn shutdown(&self, how: Shutdown) -> ();
});
