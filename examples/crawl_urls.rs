//! Fetches many pages at once: a pool of greenlets bounds how many are under way, and no page may take too long.
//!
//! Without arguments it starts a server of its own, which answers some pages slowly and one not at all.
//!
//! ```text
//! cargo run --release --example crawl_urls
//! cargo run --release --example crawl_urls http://example.org/ http://localhost:8000/
//! ```

use ropewalk::greenlet::{self, Pool, timeout};
use ropewalk::net::{SocketAddr, TcpListener, TcpStream};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

const AT_ONCE: usize = 10;
const LIMIT: Duration = Duration::from_millis(1500);

/// A server on this machine, so that the example needs no network. A greenlet, and one more for each connection.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    drop(greenlet::spawn(move || {
        for connection in listener.incoming().flatten() {
            drop(greenlet::spawn(move || answer(&connection)));
        }
    }));
    Ok(address)
}

fn answer(mut connection: &TcpStream) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(connection).read_line(&mut request)?;
    let page: u64 = request.split(['/', ' ']).find_map(|word| word.parse().ok()).unwrap_or(0);
    match page {
        7 => ropewalk::sleep(Duration::from_secs(3600)),
        13 => return connection.write_all(b"HTTP/1.0 404 Not Found\r\n\r\nno such strand\n"),
        _ => ropewalk::sleep(Duration::from_millis(20 * (page % 5))),
    }
    write!(connection, "HTTP/1.0 200 OK\r\n\r\n{}", "hemp and jute\n".repeat(page as usize + 1))
}

/// One request. Returns the status and the length of the page.
fn fetch(url: &str) -> io::Result<(String, usize)> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("only http:// is spoken here"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if host.contains(':') { "" } else { ":80" };
    // A name is resolved while the other greenlets go on.
    let mut connection = TcpStream::connect(format!("{host}{port}"))?;
    write!(connection, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| invalid("no HTTP answer"))?;
    let status = String::from_utf8_lossy(&answer).split_whitespace().nth(1).unwrap_or("?").to_owned();
    Ok((status, answer.len() - head - 4))
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn Error>> {
    let mut urls: Vec<String> = std::env::args().skip(1).collect();
    if urls.is_empty() {
        let server = start_server()?;
        urls = (0..20).map(|page| format!("http://{server}/{page}")).collect();
    }

    let (mut pages, mut bytes, mut late) = (0, 0, 0);
    // Lazy and in order; the pool starts a page when one of its ten places is free.
    let pool = Pool::new(AT_ONCE);
    let fetched = pool.map(|url: String| (timeout(LIMIT, || fetch(&url)), url), urls);
    for (ended, url) in fetched {
        let page = url.rsplit('/').next().unwrap_or("");
        match ended {
            Ok(Ok((status, length))) => {
                println!("page {page:<4} {status:>4} {length:>6} bytes");
                (pages, bytes) = (pages + 1, bytes + length);
            }
            Ok(Err(error)) => println!("page {page:<4} failed: {error}"),
            Err(_) => {
                println!("page {page:<4} took longer than {} ms", LIMIT.as_millis());
                late += 1;
            }
        }
    }
    println!("{pages} pages, {bytes} bytes, {late} too late, at most {AT_ONCE} at once");
    Ok(())
}
