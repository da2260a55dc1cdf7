//! Datagrams within one machine.

use super::persist;
use crate::io::descriptor::Moved;
use crate::io::handover::TokioUnixDatagram;
use crate::net::face::{face, options, timeouts};
use crate::net::socket::Socket;
use ropewalk_core::park;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// A socket for datagrams within one machine. See [`net`](crate::net) for who may use it and what differs from std.
///
/// # Examples
///
/// ```
/// use ropewalk::net::UnixDatagram;
///
/// let (here, there) = UnixDatagram::pair().unwrap();
/// here.send(b"hemp").unwrap();
/// let mut word = [0; 16];
/// assert_eq!(there.recv(&mut word).unwrap(), 4);
/// ```
pub struct UnixDatagram {
    socket: Socket<net::UnixDatagram>,
}

face!(UnixDatagram, std: net::UnixDatagram, tokio: TokioUnixDatagram, says: "UnixDatagram");
timeouts!(UnixDatagram);

impl UnixDatagram {
    /// A socket at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if it exists, and whatever else the system says.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::bind(path)?)
    }

    /// [`bind`](Self::bind) to an address, which need not be a path.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without an address.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Sets to whom [`send`](Self::send) sends; datagrams of others are not received any more.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.io().connect(path)
    }

    /// Waits for a datagram; returns its length, and who sent it. What does not fit into the buffer is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, no datagram was taken.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says; `TimedOut` after the [limit](Self::set_read_timeout).
    #[track_caller]
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.take(|io| io.recv_from(buffer).map(Moved::some))
    }

    /// [`recv_from`](Self::recv_from) without the address.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, no datagram was taken.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.take(|io| io.recv(buffer).map(Moved::some))
    }

    /// Sends a datagram to the socket at `path`. Waits while too many wait there to be received.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was sent.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says; `TimedOut` after the [limit](Self::set_write_timeout).
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, buffer: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_away(|io| io.send_to(buffer, path))
    }

    /// [`send_to`](Self::send_to) an address, which need not be a path.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was sent.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send_to_addr(&self, buffer: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.send_away(|io| io.send_to_addr(buffer, address))
    }

    /// A receiver that is full has no event for those who are not connected with it.
    #[track_caller]
    fn send_away(&self, mut send: impl FnMut(&net::UnixDatagram) -> io::Result<usize>) -> io::Result<usize> {
        park::refuse_in_async();
        if self.socket.is_nonblocking() {
            return send(self.socket.io());
        }
        persist(self.socket.write_timeout().get(), || send(self.socket.io()))
    }

    /// Sends a datagram on a connected socket. Waits while too many wait at the other side to be received.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was sent.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Whatever the system says; `TimedOut` after the [limit](Self::set_write_timeout).
    #[track_caller]
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.give(|io| io.send(buffer).map(Moved::some))
    }
}

options!(UnixDatagram {
    /// Sets to whom [`send`](Self::send) sends, as an address that need not be a path.
    fn connect_addr(&self, address: &SocketAddr) -> ();
    /// The address of the other side of a connected socket.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this socket.
    fn local_addr(&self) -> SocketAddr;
    /// Ends one direction or both, and wakes whoever waits for it.
    fn shutdown(&self, how: Shutdown) -> ();
});
