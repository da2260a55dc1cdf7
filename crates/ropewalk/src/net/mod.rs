//! Blocking-style sockets for greenlets and threads, in the shape of [`std::net`] and [`std::os::unix::net`].
//!
//! A program that says `use ropewalk::net` where it said `use std::net` reads the same. Where std's socket blocks its
//! thread, one of these suspends the greenlet that uses it, and the thread runs others meanwhile. All implement
//! [`Read`](std::io::Read) and [`Write`](std::io::Write), for the socket and for a reference to it, so `BufReader`, TLS and
//! protocol crates written for std's sockets work on them.
//!
//! ```
//! use ropewalk::{greenlet, net::{TcpListener, TcpStream}};
//! use std::io::{Read, Write};
//!
//! ropewalk::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//!     let address = listener.local_addr().unwrap();
//!     let server = greenlet::spawn(move || {
//!         let (mut connection, _) = listener.accept().unwrap();
//!         let mut question = [0; 4];
//!         connection.read_exact(&mut question).unwrap();
//!         connection.write_all(&question).unwrap();
//!     });
//!
//!     let mut connection = TcpStream::connect(address).unwrap();
//!     connection.write_all(b"hemp").unwrap();
//!     let mut answer = String::new();
//!     connection.read_to_string(&mut answer).unwrap();
//!     assert_eq!(answer, "hemp");
//!     server.join().unwrap();
//! });
//! ```
//!
//! # Who may use a socket
//!
//! Anybody: greenlets of any hub and plain threads, one after another or at the same time. One may read while another
//! writes; several may accept from one listener. A greenlet waits by the reactor of its hub, a thread in a system call of
//! its own. A socket is closed with its last handle, wherever that is dropped.
//!
//! In async code every call here that could wait panics; hand the socket over with `into_tokio` there.
//!
//! # What differs from std
//!
//! * *Time limits.* A read or write whose limit passes fails with [`TimedOut`](std::io::ErrorKind::TimedOut). (std
//!   gives `WouldBlock` on most systems.) The limit is kept with the socket and not in the kernel.
//! * *Cancelling.* In a greenlet, a task or a [`CancelToken`](crate::CancelToken), a wait ends early by unwinding, also one
//!   with a time limit. It is never an error: `read_exact` and its like would try again. Nothing was read, written or
//!   accepted then. What does not have to wait is not cancelled, apart from a look now and then.
//! * *Interrupts.* A call that a signal interrupts goes on.
//! * *Handles.* `try_clone` makes another handle of the same descriptor: it costs no descriptor and cannot fail.
//! * *Names.* [`ToSocketAddrs`] is a trait of its own, for the same types, so that resolving a name suspends only the
//!   greenlet.
//! * *The descriptor is non-blocking.* Whoever takes it with `as_fd` must expect that, and must leave it so.
//!
//! # In a pool
//!
//! A worker of a [`ThreadPoolExecutor`](crate::ThreadPoolExecutor) that waits for a socket goes on counting, like one
//! that sleeps: a pool of 5 talks to 5 peers at once. If a peer is a job of the same pool, there must be a worker for both.

mod addr;
mod face;
mod socket;
mod tcp;
mod udp;
mod unix;

pub use addr::ToSocketAddrs;
pub use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
