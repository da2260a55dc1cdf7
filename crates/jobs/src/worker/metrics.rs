//! What a worker tells over HTTP: `/health` and `/metrics`, the latter in Prometheus' text format.
//!
//! One thread takes one connection after another, each with a time limit, and asks the broker while it answers, but not more often
//! than every two seconds, as that counts all jobs; the loops of the worker never wait for it. It knows of HTTP what such a question needs: the first line of a request, and an answer that ends with
//! its connection.

use super::crew::Shared;
use crate::broker::{Broker, BrokerError};
use crate::state::State;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long somebody who asks may keep the thread from the next one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what the broker said is said again.
const FRESH: Duration = Duration::from_secs(2);
/// After a connection that could not be had: there may be no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest head of a request that is read, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Answers until it is dropped.
pub(super) struct Serving {
    at: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Answers for a worker, if it was told where.
pub(super) fn serve(shared: &Arc<Shared>) -> io::Result<Option<Serving>> {
    let Some(listener) = shared.tells().2.metrics.clone() else { return Ok(None) };
    let at = listener.local_addr()?;
    let over = Arc::new(AtomicBool::new(false));
    let (shared, is_over) = (Arc::clone(shared), Arc::clone(&over));
    let thread = std::thread::Builder::new().name("ropewalk-jobs-metrics".to_owned()).spawn(move || {
        // Acquire: pairs with the Release of the drop, which connects to end the wait.
        let mut of_broker = None;
        while !is_over.load(Ordering::Acquire) {
            match listener.accept() {
                // Whoever asked and went away asks again.
                Ok((stream, _)) => drop(answer(&shared, &mut of_broker, Timed::new(stream))),
                Err(_) => ropewalk::sleep(PAUSE),
            }
        }
    })?;
    Ok(Some(Serving { at, over, thread: Some(thread) }))
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let mut at = self.at;
        if at.ip().is_unspecified() {
            at.set_ip(if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        let woken = TcpStream::connect_timeout(&at, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// A connection for so long, however it is spread over reads and writes.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn new(stream: TcpStream) -> Self {
        Self { stream, until: Instant::now() + PATIENCE }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl io::Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the broker said last, and when.
type OfBroker = Option<(Instant, String)>;

fn answer(shared: &Shared, of_broker: &mut OfBroker, mut stream: Timed) -> io::Result<()> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => break,
            count => head.extend_from_slice(&some[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/health")) => health(shared),
        (Some("GET" | "HEAD"), Some("/metrics")) => match metrics(shared, of_broker) {
            Ok(text) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => ("503 Service Unavailable", "text/plain; charset=utf-8", format!("{error}\n")),
        },
        (Some("GET" | "HEAD"), _) => ("404 Not Found", "text/plain", "there are /health and /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "this is only to be looked at\n".to_owned()),
    };
    let is_head = head.starts_with("HEAD");
    let length = body.len();
    // The broker may have taken its time.
    stream.until = stream.until.max(Instant::now() + PATIENCE / 4);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(if is_head { b"" } else { body.as_bytes() })
}

/// Whether the broker took a beat within a lease: without, its jobs are somebody else's.
fn health(shared: &Shared) -> (&'static str, &'static str, String) {
    let (told, running, config, _) = shared.tells();
    let since = told.beat.elapsed();
    let is_well = since <= config.lease;
    let body = serde_json::json!({
        "ok": is_well, "worker": config.worker, "running": running, "seconds_since_beat": since.as_secs_f64(),
    });
    (if is_well { "200 OK" } else { "503 Service Unavailable" }, "application/json", format!("{body}\n"))
}

/// Adds one metric, with a row for each of its labels.
fn add(text: &mut String, name: &str, kind: &str, help: &str, rows: &[(String, String)]) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in rows {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn alone(value: u64) -> [(String, String); 1] {
    [(String::new(), value.to_string())]
}

fn metrics(shared: &Shared, of_broker: &mut OfBroker) -> Result<String, BrokerError> {
    let (told, running, config, broker) = shared.tells();
    let counts = told.counts;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[_]| add(&mut text, name, kind, help, rows);
    family("ropewalk_jobs_taken_total", "counter", "Jobs that this worker took.", &alone(counts.taken));
    let outcomes = [
        ("done", counts.done),
        ("failed", counts.failed),
        ("retried", counts.retried),
        ("stopped", counts.stopped),
        ("released", counts.released),
        ("unknown", counts.unknown),
        ("lost", counts.lost),
    ];
    let outcomes = outcomes.map(|(word, count)| (format!("{{outcome=\"{word}\"}}"), count.to_string()));
    family(
        "ropewalk_jobs_settled_total",
        "counter",
        "Executions of this worker that ended, by what it told the broker. One that failed in a job that is to be stopped counts as it failed.",
        &outcomes,
    );
    family(
        "ropewalk_jobs_recovered_total",
        "counter",
        "Jobs of workers that ended or hung, taken back by this worker to run again.",
        &alone(told.recovered),
    );
    family(
        "ropewalk_jobs_not_recovered_total",
        "counter",
        "Jobs of workers that ended or hung, ended by this worker: they were poison, or to be stopped.",
        &alone(told.not_recovered),
    );
    family("ropewalk_broker_errors_total", "counter", "Steps that the broker refused.", &alone(counts.refused));
    family("ropewalk_jobs_running", "gauge", "Jobs that this worker runs.", &alone(running as u64));
    family("ropewalk_worker_concurrency", "gauge", "Jobs that it can run at once.", &alone(config.concurrency as u64));
    let beat = [(String::new(), format!("{:.3}", told.beat.elapsed().as_secs_f64()))];
    family("ropewalk_worker_seconds_since_beat", "gauge", "Since the broker last took its sign of life.", &beat);
    if of_broker.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
        *of_broker = Some((Instant::now(), of(broker)?));
    }
    text.extend(of_broker.iter().map(|(_, said)| said.as_str()));
    Ok(text)
}

/// What only the broker knows.
fn of(broker: &dyn Broker) -> Result<String, BrokerError> {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[_]| add(&mut text, name, kind, help, rows);
    let workers = broker.workers()?.len();
    family("ropewalk_workers", "gauge", "Workers of this broker that are alive.", &alone(workers as u64));
    let mut rows = Vec::new();
    for queue in broker.queues()? {
        for state in State::ALL {
            let labels = format!("{{queue=\"{}\",state=\"{state}\"}}", escaped(&queue.queue));
            rows.push((labels, queue.of(state).to_string()));
        }
    }
    family("ropewalk_queue_jobs", "gauge", "Jobs by queue and state, of all workers.", &rows);
    Ok(text)
}

/// As the format wants the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
