//! UDP.

use super::addr::{ToSocketAddrs, first_of};
use super::face::{face, options, timeouts};
use super::socket::Socket;
use crate::io::descriptor::Moved;
use crate::io::handover::TokioUdpSocket;
use ropewalk_core::park;
use std::fmt;
use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A UDP socket. See the [module](super) for who may use it and what differs from std.
///
/// # Examples
///
/// ```
/// use ropewalk::{greenlet, net::UdpSocket};
///
/// ropewalk::run(|| {
///     let server = UdpSocket::bind("127.0.0.1:0").unwrap();
///     let address = server.local_addr().unwrap();
///     let echo = greenlet::spawn(move || {
///         let mut question = [0; 16];
///         let (length, from) = server.recv_from(&mut question).unwrap();
///         server.send_to(&question[..length], from).unwrap();
///     });
///
///     let client = UdpSocket::bind("127.0.0.1:0").unwrap();
///     client.send_to(b"hemp", address).unwrap();
///     let mut answer = [0; 16];
///     let (length, from) = client.recv_from(&mut answer).unwrap();
///     assert_eq!((&answer[..length], from), (&b"hemp"[..], address));
///     echo.join().unwrap();
/// });
/// ```
pub struct UdpSocket {
    socket: Socket<net::UdpSocket>,
}

face!(UdpSocket, std: net::UdpSocket, tokio: TokioUdpSocket, says: "UdpSocket");
timeouts!(UdpSocket);

impl UdpSocket {
    /// A socket at the first of the addresses that is free. Port 0 is one that the system chooses.
    ///
    /// # Errors
    ///
    /// That of the last address; that of resolving the name; `InvalidInput` if the name stands for no address.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        first_of(address, |address| Self::from_std(net::UdpSocket::bind(address)?))
    }

    /// Sets to whom [`send`](Self::send) sends; datagrams of others are not received any more.
    ///
    /// # Errors
    ///
    /// That of the last address; that of resolving the name; `InvalidInput` if the name stands for no address.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        first_of(address, |address| self.socket.io().connect(address))
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

    /// [`recv_from`](Self::recv_from) that leaves the datagram where it is.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.take(|io| io.peek_from(buffer).map(Moved::some))
    }

    /// [`recv_from`](Self::recv_from) on a connected socket.
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
    /// As [`recv_from`](Self::recv_from). Nobody at the other side is an error of the next call.
    #[track_caller]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.take(|io| io.recv(buffer).map(Moved::some))
    }

    /// [`recv`](Self::recv) that leaves the datagram where it is.
    ///
    /// # Panics
    ///
    /// In async code.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.take(|io| io.peek(buffer).map(Moved::some))
    }

    /// Sends a datagram to the first of the addresses.
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
    /// Whatever the system says; `TimedOut` after the [limit](Self::set_write_timeout); `InvalidInput` if the name stands
    /// for no address.
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, buffer: &[u8], address: A) -> io::Result<usize> {
        park::refuse_in_async();
        let address = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name stands for no address"))?;
        self.socket.give(|io| io.send_to(buffer, address).map(Moved::some))
    }

    /// Sends a datagram on a connected socket.
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
    /// As [`send_to`](Self::send_to). That an earlier datagram met nobody is an error of this call.
    #[track_caller]
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.give(|io| io.send(buffer).map(Moved::some))
    }
}

options!(UdpSocket {
    /// The address of the other side of a connected socket.
    fn peer_addr(&self) -> SocketAddr;
    /// The address of this socket.
    fn local_addr(&self) -> SocketAddr;
    /// Lets it send to a broadcast address (`SO_BROADCAST`).
    fn set_broadcast(&self, broadcast: bool) -> ();
    /// Whether it may send to a broadcast address.
    fn broadcast(&self) -> bool;
    /// Whether datagrams to a group are received here too (`IP_MULTICAST_LOOP`).
    fn set_multicast_loop_v4(&self, receives: bool) -> ();
    /// Whether datagrams to a group are received here too.
    fn multicast_loop_v4(&self) -> bool;
    /// How many routers a datagram to a group may pass (`IP_MULTICAST_TTL`).
    fn set_multicast_ttl_v4(&self, ttl: u32) -> ();
    /// How many routers a datagram to a group may pass.
    fn multicast_ttl_v4(&self) -> u32;
    /// Whether datagrams to a group are received here too (`IPV6_MULTICAST_LOOP`).
    fn set_multicast_loop_v6(&self, receives: bool) -> ();
    /// Whether datagrams to a group are received here too.
    fn multicast_loop_v6(&self) -> bool;
    /// How many routers a datagram may pass (`IP_TTL`).
    fn set_ttl(&self, ttl: u32) -> ();
    /// How many routers a datagram may pass.
    fn ttl(&self) -> u32;
    /// Receives what is sent to a group, on the interface that has this address.
    fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Receives what is sent to a group, on the interface of this index.
    fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
    /// Leaves the group.
    fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves the group.
    fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> ();
});
