//! The servers of this binary: each tells its port on a line and serves until the process ends.
//!
//! All read into four KiB of their own, write back what came, and set `TCP_NODELAY`.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::may as may_peer;
use super::super::tasks::{CurrentThread, Kind, MultiThread};
use crate::measure::cores;

/// What each connection reads into.
pub const BUFFER_BYTES: usize = 4096;
/// Where the servers listen.
pub const ANY_PORT: &str = "127.0.0.1:0";
/// Connections at a time, for who wants to know before.
const CONNECTIONS: u64 = 1_000;

/// Tells whoever asked where to connect.
pub fn tell(address: SocketAddr) {
    println!("port {}", address.port());
}

/// tokio's current-thread runtime.
pub fn tokio_ct() {
    tokio_on::<CurrentThread>();
}

/// tokio's multi-thread runtime, with a worker a core: the server has one.
pub fn tokio_mt() {
    tokio_on::<MultiThread>();
}

fn tokio_on<K: Kind>() {
    let accepting = async {
        let listener = tokio::net::TcpListener::bind(ANY_PORT).await.expect("a port is free");
        tell(listener.local_addr().expect("it is bound"));
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection comes");
            stream.set_nodelay(true).expect("it is a TCP socket");
            tokio::spawn(async move {
                let mut buffer = vec![0; BUFFER_BYTES];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..bytes]).await.is_err() {
                        break;
                    }
                }
            });
        }
    };
    K::build().block_on(async { tokio::spawn(accepting).await.expect("nobody stops it") });
}

/// may, with a worker a core: the server has one.
pub fn may() {
    may_peer::configure(cores(), CONNECTIONS);
    let accepting = may::go!(|| {
        let listener = may::net::TcpListener::bind(ANY_PORT).expect("a port is free");
        tell(listener.local_addr().expect("it is bound"));
        loop {
            let (mut stream, _) = listener.accept().expect("a connection comes");
            stream.set_nodelay(true).expect("it is a TCP socket");
            may::go!(move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    accepting.join().expect("nobody stops it");
}

/// Greenlets that wait for tokio's sockets through `ropewalk::block_on`.
#[cfg(feature = "ours")]
pub fn block_on() {
    use ropewalk::{block_on, greenlet};

    ropewalk::run(|| {
        let listener = block_on(tokio::net::TcpListener::bind(ANY_PORT)).expect("a port is free");
        tell(listener.local_addr().expect("it is bound"));
        loop {
            let (mut stream, _) = block_on(listener.accept()).expect("a connection comes");
            stream.set_nodelay(true).expect("it is a TCP socket");
            drop(greenlet::spawn(move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                while let Ok(bytes @ 1..) = block_on(stream.read(&mut buffer)) {
                    if block_on(stream.write_all(&buffer[..bytes])).is_err() {
                        break;
                    }
                }
            }));
        }
    });
}
