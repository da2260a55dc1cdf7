//! TCP: streams and listeners.

use super::addr::{ToSocketAddrs, first_of};
use super::face::{face, options, stream, timeouts};
use super::socket::{self, Socket};
use crate::io::descriptor::{Moved, lengthen_backlog};
use crate::io::handover::{TokioTcpListener, TokioTcpStream};
use ropewalk_core::park;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A TCP connection. See the [module](super) for who may use it and what differs from std.
///
/// # Examples
///
/// One greenlet reads while another writes:
///
/// ```
/// use ropewalk::{greenlet, net::{Shutdown, TcpListener, TcpStream}};
/// use std::io::{Read, Write};
///
/// ropewalk::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
///     let address = listener.local_addr().unwrap();
///     let echo = greenlet::spawn(move || {
///         let (connection, _) = listener.accept().unwrap();
///         std::io::copy(&mut &connection, &mut &connection).unwrap()
///     });
///
///     let writes = TcpStream::connect(address).unwrap();
///     let mut reads = writes.try_clone().unwrap();
///     let reader = greenlet::spawn(move || {
///         let mut text = String::new();
///         reads.read_to_string(&mut text).unwrap();
///         text
///     });
///     (&writes).write_all(b"hemp and jute").unwrap();
///     writes.shutdown(Shutdown::Write).unwrap();
///     assert_eq!(reader.join().unwrap(), "hemp and jute");
///     assert_eq!(echo.join().unwrap(), 13);
/// });
/// ```
pub struct TcpStream {
    socket: Socket<net::TcpStream>,
}

/// Accepts TCP connections. See the [module](super) for who may use it and what differs from std.
///
/// # Examples
///
/// ```no_run
/// use ropewalk::{greenlet, net::TcpListener};
///
/// fn main() -> std::io::Result<()> {
///     ropewalk::run(|| {
///         let listener = TcpListener::bind("127.0.0.1:7000")?;
///         for connection in listener.incoming() {
///             let connection = connection?;
///             drop(greenlet::spawn(move || std::io::copy(&mut &connection, &mut &connection)));
///         }
///         Ok(())
///     })
/// }
/// ```
pub struct TcpListener {
    // mio's, because that accepts a non-blocking connection with one system call.
    socket: Socket<mio::net::TcpListener>,
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'listener> {
    listener: &'listener TcpListener,
}

face!(TcpStream, std: net::TcpStream, tokio: TokioTcpStream, says: "TcpStream");
face!(TcpListener, std: net::TcpListener, tokio: TokioTcpListener, says: "TcpListener");
timeouts!(TcpStream);
stream!(TcpStream, socket::read);

impl TcpStream {
    /// Connects to the first of the addresses that accepts.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, the connection is given up.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// That of the last address; that of resolving the name; `InvalidInput` if the name stands for no address.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        park::refuse_in_async();
        first_of(address, |address| Self::connect_to(address, None))
    }

    /// Connects to `address`, at the longest for `timeout`.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, the connection is given up, and the wait unwinds.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the limit; `InvalidInput` for a limit of zero; otherwise as [`connect`](Self::connect).
    #[track_caller]
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        park::refuse_in_async();
        if timeout.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a time limit of zero would never let anything pass",
            ));
        }
        Self::connect_to(*address, Some(timeout))
    }

    #[track_caller]
    fn connect_to(address: SocketAddr, timeout: Option<Duration>) -> io::Result<Self> {
        let begun = OwnedFd::from(mio::net::TcpStream::connect(address)?);
        let stream = Self { socket: Socket::new(begun.into()) };
        stream.socket.connected(timeout)?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// Reads without taking: the next read gets the same bytes.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing was read.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// Those of a read.
    #[track_caller]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.take(|io| io.peek(buffer).map(Moved::some))
    }
}

options!(TcpStream {
    /// The address of the other side.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this side.
    fn local_addr(&self) -> SocketAddr;
    /// Ends one direction or both: the other side reads to the end, and whoever waits for a direction that ended wakes.
    fn shutdown(&self, how: Shutdown) -> ();
    /// Sends what is written at once (`TCP_NODELAY`), and does not collect small pieces.
    fn set_nodelay(&self, nodelay: bool) -> ();
    /// Whether what is written is sent at once.
    fn nodelay(&self) -> bool;
    /// How many routers a packet may pass (`IP_TTL`).
    fn set_ttl(&self, ttl: u32) -> ();
    /// How many routers a packet may pass.
    fn ttl(&self) -> u32;
});

impl TcpListener {
    /// Listens at the first of the addresses that is free. Port 0 is one that the system chooses.
    ///
    /// As with std, the address may be one that was in use a moment ago (`SO_REUSEADDR`). Unlike with std, not 128 but
    /// 4096 connections may wait to be accepted, or as many as the system lets: a crowd of greenlets connects within one
    /// turn.
    ///
    /// # Errors
    ///
    /// That of the last address; that of resolving the name; `InvalidInput` if the name stands for no address.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        first_of(address, |address| {
            let listener = mio::net::TcpListener::bind(address)?;
            lengthen_backlog(&listener)?;
            Ok(Self { socket: Socket::new(listener) })
        })
    }

    /// Waits for a connection and returns it with the address of its other side.
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
    /// Whatever the system says. Some errors are about the one connection, or pass (no descriptor is free): a server goes
    /// on after them.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = self.socket.take(|io| io.accept().map(Moved::some))?;
        Ok((TcpStream { socket: Socket::new(OwnedFd::from(stream).into()) }, address))
    }

    /// The connections as they come, without end: [`accept`](Self::accept) as an iterator.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }
}

options!(TcpListener {
    /// The address at which it listens.
    fn local_addr(&self) -> SocketAddr;
    /// How many routers a packet of its connections may pass (`IP_TTL`).
    fn set_ttl(&self, ttl: u32) -> ();
    /// How many routers a packet of its connections may pass.
    fn ttl(&self) -> u32;
});

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
