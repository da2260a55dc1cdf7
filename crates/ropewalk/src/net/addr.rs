//! Names of hosts, resolved without stopping the other greenlets.

use crate::greenlet;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{iter, option, slice, vec};

/// What can be made into socket addresses: [`std::net::ToSocketAddrs`] for the same types, except that a greenlet which
/// resolves the name of a host suspends.
///
/// Literal addresses are taken as they are. A name is resolved by the system (`getaddrinfo`), which has no form that can
/// be waited for: for a greenlet on a thread of [`offload`](crate::greenlet::offload), for a plain thread in place.
///
/// # Cancel safety
///
/// A greenlet that is cancelled stops waiting. A plain thread in the middle of a resolution notices afterwards.
///
/// # Examples
///
/// ```
/// use ropewalk::net::ToSocketAddrs;
///
/// let addresses = ropewalk::run(|| "localhost:80".to_socket_addrs()).unwrap();
/// assert!(addresses.count() > 0);
/// assert_eq!(("127.0.0.1", 80).to_socket_addrs().unwrap().next().unwrap().to_string(), "127.0.0.1:80");
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they should be tried.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses.
    ///
    /// # Errors
    ///
    /// Whatever the system says about a name; `InvalidInput` for a text that is no `host:port`.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

macro_rules! as_they_are {
    ($($type:ty),+) => {
        $(
            impl ToSocketAddrs for $type {
                type Iter = option::IntoIter<SocketAddr>;

                fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                    net::ToSocketAddrs::to_socket_addrs(self)
                }
            }
        )+
    };
}

as_they_are!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if self.parse::<SocketAddr>().is_ok() || !greenlet::in_greenlet() {
            return net::ToSocketAddrs::to_socket_addrs(self);
        }
        let name = self.to_owned();
        greenlet::offload(move || net::ToSocketAddrs::to_socket_addrs(&name))
    }
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        if host.parse::<IpAddr>().is_ok() || !greenlet::in_greenlet() {
            return net::ToSocketAddrs::to_socket_addrs(self);
        }
        let host = host.to_owned();
        greenlet::offload(move || net::ToSocketAddrs::to_socket_addrs(&(host, port)))
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<A: ToSocketAddrs + ?Sized> ToSocketAddrs for &A {
    type Iter = A::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// What the first address gives with which `attempt` succeeds; otherwise the error of the last.
#[track_caller]
pub(super) fn first_of<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses.to_socket_addrs()? {
        match attempt(address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name stands for no address")))
}
