//! Accepts connections within one machine.

use super::UnixStream;
use crate::io::descriptor::Moved;
use crate::io::handover::TokioUnixListener;
use crate::net::face::{face, options};
use crate::net::socket::Socket;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

/// Accepts connections within one machine. See [`net`](crate::net) for who may use it and what differs from std.
///
/// The file at its path stays when the listener is dropped, as with std.
///
/// # Examples
///
/// ```
/// use ropewalk::{greenlet, net::{UnixListener, UnixStream}};
/// use std::io::{Read, Write};
///
/// let path = std::env::temp_dir().join(format!("ropewalk-{}", std::process::id()));
/// let word = ropewalk::run(|| {
///     let listener = UnixListener::bind(&path).unwrap();
///     let server = greenlet::spawn(move || listener.accept().unwrap().0.write_all(b"hemp").unwrap());
///     let mut word = String::new();
///     UnixStream::connect(&path).unwrap().read_to_string(&mut word).unwrap();
///     server.join().unwrap();
///     word
/// });
/// std::fs::remove_file(path).unwrap();
/// assert_eq!(word, "hemp");
/// ```
pub struct UnixListener {
    // mio's, because that accepts a non-blocking connection with one system call.
    socket: Socket<mio::net::UnixListener>,
}

/// The connections of a listener; see [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'listener> {
    listener: &'listener UnixListener,
}

face!(UnixListener, std: net::UnixListener, tokio: TokioUnixListener, says: "UnixListener");

impl UnixListener {
    /// Listens at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if it exists, and whatever else the system says.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::from_std(net::UnixListener::bind(path)?)
    }

    /// [`bind`](Self::bind) to an address, which need not be a path.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(net::UnixListener::bind_addr(address)?)
    }

    /// Waits for a connection and returns it with the address of its other side, which mostly has none.
    ///
    /// Several strands may wait at once; each connection is given to one of them.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, no connection was accepted.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.socket.take(|io| io.accept().map(Moved::some))?;
        Ok((UnixStream { socket: Socket::new(OwnedFd::from(stream).into()) }, address))
    }

    /// The connections as they come, without end: [`accept`](Self::accept) as an iterator.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }
}

options!(UnixListener {
    /// The address at which it listens.
    fn local_addr(&self) -> SocketAddr;
});

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for UnixIncoming<'_> {}
