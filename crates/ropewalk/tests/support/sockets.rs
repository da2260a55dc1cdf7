//! Sockets to test with, and who uses them.
#![allow(dead_code, reason = "each test binary uses some of these")]

use ropewalk::net::{SocketAddr, TcpListener, TcpStream};
use ropewalk::{Submit, ThreadPoolExecutor};

/// A listener and its address.
pub(crate) fn here() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the machine has a loopback");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Two streams that are each other's peers.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = here();
    let one = TcpStream::connect(address).expect("somebody listens");
    (one, listener.accept().expect("somebody connects").0)
}

/// Runs `body` as a greenlet, as a plain thread, and as a task of a pool.
pub(crate) fn everywhere(body: fn()) {
    ropewalk::run(body);
    std::thread::spawn(body).join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    ThreadPoolExecutor::new(1).submit(body).join().unwrap_or_else(|error| error.resume());
}
