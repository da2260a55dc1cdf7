//! The same GET as an async task: hyper's client over tokio's sockets, one connection per task that is in flight, used
//! again. Waits are written down as everywhere: connecting, and reading what has not arrived yet.

use std::sync::{Mutex, PoisonError};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use ropewalk_profile::timeline::{Cause, Wait};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

use super::hex;
use crate::lab::usage;

type Connection = SendRequest<Empty<Bytes>>;

/// Connections that nobody uses at the moment, by authority.
static IDLE: Mutex<Vec<(String, Connection)>> = Mutex::new(Vec::new());

/// Fetches `url` and returns the SHA-256 of its body; adds what it waited for to `waits`.
pub(super) async fn get(url: &str, waits: &mut Vec<Wait>) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|error| format!("is not a URL: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("the async row speaks http:// only".to_owned());
    }
    let authority = uri.authority().ok_or("names no host")?.to_string();
    let mut connection = match idle(&authority) {
        Some(connection) => connection,
        None => clocked(waits, connect(&uri)).await?,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, &authority)
        .header(USER_AGENT, concat!("ropewalk-lab/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = clocked(waits, connection.send_request(request)).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("answered {}", answer.status()));
    }
    let body = clocked(waits, answer.into_body().collect()).await.map_err(|error| format!("broke off: {error}"))?;
    lock().push((authority, connection));
    Ok(hex(&Sha256::digest(body.to_bytes())))
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(String, Connection)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn idle(authority: &str) -> Option<Connection> {
    let mut idle = lock();
    idle.retain(|(_, connection)| !connection.is_closed());
    let at = idle.iter().position(|(to, connection)| to == authority && connection.is_ready())?;
    Some(idle.swap_remove(at).1)
}

async fn connect(uri: &Uri) -> Result<Connection, String> {
    let host = uri.host().ok_or("names no host")?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(driver);
    Ok(connection)
}

async fn clocked<R>(waits: &mut Vec<Wait>, work: impl Future<Output = R>) -> R {
    let start = usage::clock();
    let result = work.await;
    waits.push(Wait { start, end: usage::clock(), cause: Cause::Network });
    result
}
