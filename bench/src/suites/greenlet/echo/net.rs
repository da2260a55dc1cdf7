//! Our server on our own sockets, `ropewalk::net`, which have std's shape.

use std::io::{Read, Write};

use ropewalk::greenlet;
use ropewalk::net::TcpListener;

use super::servers::{ANY_PORT, BUFFER_BYTES, tell};

/// Serves until the process ends.
pub fn serve() {
    ropewalk::run(|| {
        let listener = TcpListener::bind(ANY_PORT).expect("a port is free");
        tell(listener.local_addr().expect("it is bound"));
        loop {
            let (stream, _) = listener.accept().expect("a connection comes");
            stream.set_nodelay(true).expect("it is a TCP socket");
            drop(greenlet::spawn(move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                while let Ok(bytes @ 1..) = (&stream).read(&mut buffer) {
                    if (&stream).write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
            }));
        }
    });
}
