//! The lab's own HTTP/1.1 server: every answer comes a fixed time after its request, and every unit has a body of its own.
//!
//! It runs in a process of its own on one thread; a connection that waits costs it a timer, so that it never becomes
//! what the experiment measures.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::work::hex;

/// Bytes of every body.
const BODY_BYTES: usize = 10_000;
/// Connections that may wait to be accepted: all threads of the largest row connect in the same millisecond.
const BACKLOG: u32 = 4096;
/// A request with more than this before its empty line is not one of ours.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What a server is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Time from the end of a request to its answer.
    pub delay_ms: u64,
    /// The unit whose body has one wrong byte, to prove that the lab notices.
    pub wrong: Option<u64>,
}

/// What it answers once it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Port of the loopback interface.
    pub port: u16,
}

/// The body of unit `id`: text that differs from that of any other unit at almost every byte.
pub fn body(id: u64) -> Vec<u8> {
    let mut state = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..BODY_BYTES)
        .map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i % 80 == 79 { b'\n' } else { b'a' + (state >> 59) as u8 % 26 }
        })
        .collect()
}

/// What a client must answer for unit `id`.
pub fn expected(id: u64) -> String {
    hex(&Sha256::digest(body(id)))
}

/// Where unit `id` is found.
pub fn url(port: u16, id: u64) -> String {
    format!("http://127.0.0.1:{port}/unit/{id}")
}

/// Serves until the process ends; `listening` is told the port once.
pub fn serve(request: Request, listening: impl FnOnce(Listening)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        listening(Listening { port: listener.local_addr()?.port() });
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(async move {
                        // A client that goes away ends its own connection and nothing else.
                        let _ = connection(stream, request).await;
                    });
                }
                // Out of descriptors, or a client gone before it was accepted: others still wait for their answer.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
}

async fn connection(mut stream: TcpStream, request: Request) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(1024);
    loop {
        let Some(end) = head_end(&input) else {
            if input.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let due = Instant::now() + Duration::from_millis(request.delay_ms);
        let answer = answer(&input[..end], request.wrong);
        input.drain(..end);
        sleep_until(due).await;
        stream.write_all(&answer).await?;
    }
}

fn head_end(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn answer(head: &[u8], wrong: Option<u64>) -> Vec<u8> {
    let unit = std::str::from_utf8(head)
        .ok()
        .and_then(|h| h.strip_prefix("GET /unit/"))
        .and_then(|h| h.split_once(' '))
        .and_then(|(id, _)| id.parse::<u64>().ok());
    let Some(id) = unit else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let mut body = body(id);
    if wrong == Some(id) {
        body[BODY_BYTES / 2] ^= 1;
    }
    let mut out =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes();
    out.append(&mut body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_swapped_with_another_units_is_noticed() {
        let all: std::collections::BTreeSet<String> = (0..200).map(expected).collect();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn one_wrong_byte_changes_what_is_expected() {
        let right = answer(b"GET /unit/3 HTTP/1.1\r\n\r\n", None);
        let wrong = answer(b"GET /unit/3 HTTP/1.1\r\n\r\n", Some(3));
        assert_eq!(right.iter().zip(&wrong).filter(|(a, b)| a != b).count(), 1);
        assert!(answer(b"GET / HTTP/1.1\r\n\r\n", None).starts_with(b"HTTP/1.1 404"));
    }

    #[test]
    fn half_a_request_is_not_answered() {
        assert_eq!(head_end(b"GET /unit/3 HTTP/1.1\r\n"), None);
        assert_eq!(head_end(b"GET /unit/3 HTTP/1.1\r\n\r\nGET"), Some(24));
    }
}
