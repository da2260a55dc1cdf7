//! I/O-bound work: forty requests to a server that takes 50 ms for each, one by one and overlapped.
//!
//! The processor has almost nothing to do. Whoever waits for many answers at once is done sooner.
//!
//! ```text
//! cargo run --release --example io_bound
//! ```

use ropewalk::ThreadPoolExecutor;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const REQUESTS: usize = 40;
const DELAY: Duration = Duration::from_millis(50);

/// A server on this machine, so that the example needs no network: it answers each request after `DELAY`.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // A daemon, and so are the threads that it starts: they end with the program.
    let server = ropewalk::thread::Builder::new().name("server").daemon(true).spawn(move || {
        for connection in listener.incoming().flatten() {
            drop(ropewalk::thread::spawn(move || answer(connection)));
        }
    })?;
    drop(server);
    Ok(address)
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut request = [0; 256];
    let _length = connection.read(&mut request)?;
    ropewalk::sleep(DELAY);
    connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nhemp and jute\n")
}

/// Sends one request and returns the length of the answer.
fn fetch(server: SocketAddr, page: usize) -> io::Result<usize> {
    let mut connection = TcpStream::connect(server)?;
    connection.write_all(format!("GET /page/{page} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)
}

/// Prints how long `work` took and checks that nothing is missing.
fn report(
    name: &str,
    sequential: Option<f64>,
    work: impl FnOnce() -> Result<usize, Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let bytes = work()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<20} {seconds:>6.2} s  {:>5.1}x  {bytes} bytes", sequential.unwrap_or(seconds) / seconds);
    Ok(seconds)
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn Error>> {
    let server = start_server()?;
    println!("{REQUESTS} requests, each answered after {} ms", DELAY.as_millis());

    let sequential = report("one after another", None, || {
        let mut bytes = 0;
        for page in 0..REQUESTS {
            bytes += fetch(server, page)?;
        }
        Ok(bytes)
    })?;

    report("5 threads", Some(sequential), || {
        // Each thread takes every fifth page.
        let fetch_share =
            move |first| (first..REQUESTS).step_by(5).map(|page| fetch(server, page)).sum::<io::Result<usize>>();
        let threads: Vec<_> = (0..5).map(|first| ropewalk::thread::spawn(move || fetch_share(first))).collect();
        let mut bytes = 0;
        for thread in threads {
            bytes += thread.join()??;
        }
        Ok(bytes)
    })?;

    let pool = ThreadPoolExecutor::new(REQUESTS);
    report("pool of 40 threads", Some(sequential), || {
        Ok(pool.map(move |page| fetch(server, page), 0..REQUESTS).sum::<io::Result<usize>>()?)
    })?;
    Ok(())
}
