//! The one thread of this process that speaks to Redis, and its pipeline.
//!
//! Requests queue up while the answers to earlier ones are on their way; the next write takes all of them, up to one that goes
//! [apart](Request::apart) and begins the one after that. So many callers share
//! one round trip, a lone one waits for nobody, and a greenlet that waits for an answer lets others run.
//!
//! # When the connection breaks
//!
//! Each request says whether it may be sent twice ([`Request::again`]). Those that may are sent again, once, over a new
//! connection; the others are [uncertain](BrokerError::is_uncertain). A server that cannot be reached is left alone for a pause
//! that doubles up to [`PAUSE_MAX`]; meanwhile requests are refused at once, so nobody waits for nothing.
//!
//! Redis forgets scripts when it starts anew and when somebody flushes them. It says so before it does anything: the script is
//! sent, and the request again. Where even that does not help (a proxy before several servers), its text goes with the request.

use super::error::{broken, refused, unreachable};
use super::script::{Script, Step};
use crate::broker::{BrokerError, ErrorKind};
use crate::crash::crash_point;
use redis::{Client, Connection, RedisError, Value};
use ropewalk::sync::queue::channel::{Receiver, Sender, unbounded};
use ropewalk::{TaskError, TaskHandle};
use ropewalk_core::task::promise::Promise;
use std::collections::VecDeque;
use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The first pause after a server could not be reached.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How many requests one write takes, at most.
const REQUESTS_MAX: usize = 64;

type Answers = Result<Vec<Value>, BrokerError>;

/// A request that was sent.
#[must_use = "it is answered"]
pub(super) struct Asked(TaskHandle<Answers>);

/// Commands that are sent together.
pub(super) struct Request {
    packed: Vec<u8>,
    /// How many answers there will be.
    answers: usize,
    step: Option<Step>,
    again: bool,
    apart: bool,
}

impl Request {
    /// Commands that only look.
    pub(super) fn look(commands: &[redis::Cmd]) -> Self {
        let packed = commands.iter().flat_map(redis::Cmd::get_packed_command).collect();
        Self { packed, answers: commands.len(), step: None, again: true, apart: false }
    }

    /// One step. Whether it may be sent again if its answer is lost.
    pub(super) fn step(step: Step, command: &redis::Cmd, again: bool) -> Self {
        Self { packed: command.get_packed_command(), answers: 1, step: Some(step), again, apart: false }
    }

    /// Not in one write with those before it: of what it reads at once, the server answers nothing until it has done all.
    pub(super) fn apart(self) -> Self {
        Self { apart: true, ..self }
    }
}

/// The same request with the text of the script in the place of its hash.
fn spelled_out(packed: &[u8], step: Step) -> Option<Vec<u8>> {
    let Script { text, sha } = step.script();
    let by_hash = format!("$7\r\nEVALSHA\r\n${}\r\n{sha}\r\n", sha.len());
    let start = packed.windows(by_hash.len()).position(|window| window == by_hash.as_bytes())?;
    let by_text = format!("$4\r\nEVAL\r\n${}\r\n{text}\r\n", text.len());
    Some([&packed[..start], by_text.as_bytes(), &packed[start + by_hash.len()..]].concat())
}

struct Waiting {
    request: Request,
    sent: bool,
    /// The server did not know its script, and was given it.
    loaded: bool,
    promise: Promise<Answers>,
}

impl Waiting {
    fn answer(self, answers: Answers) {
        self.promise.complete(Ok(answers));
    }
}

/// What was sent, for figures.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) round_trips: AtomicU64,
    pub(super) requests: AtomicU64,
}

/// The way to the server.
pub(super) struct Wire {
    server: String,
    requests: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) counters: Arc<Counters>,
}

impl Wire {
    /// Connects, so that a wrong address is said at once.
    pub(super) fn new(client: Client, server: String) -> Result<Self, BrokerError> {
        let (requests, taken) = unbounded();
        let counters = std::sync::Arc::new(Counters::default());
        let mut line = Line {
            client,
            server: server.clone(),
            connection: None,
            pause: PAUSE_MIN,
            not_before: None,
            counters: std::sync::Arc::clone(&counters),
        };
        line.connection = Some(line.connect()?);
        let thread = std::thread::Builder::new()
            .name("ropewalk-jobs-redis".to_owned())
            .spawn(move || line.run(&taken))
            .map_err(|error| {
                BrokerError::new(ErrorKind::Unavailable, format!("no thread for the connection: {error}"))
            })?;
        Ok(Self { server, requests: Mutex::new(Some(requests)), thread: Mutex::new(Some(thread)), counters })
    }

    /// Sends a request and waits for its answers, as threads and greenlets wait.
    #[track_caller]
    pub(super) fn ask(&self, request: Request) -> Answers {
        self.answers_to(self.send(request))
    }

    /// Sends a request, behind those that were sent before it.
    pub(super) fn send(&self, request: Request) -> Asked {
        let (mut promise, handle) = Promise::new();
        // It cannot be taken back: whoever gives up waiting does not know whether it happened.
        promise.begin();
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = Waiting { request, sent: false, loaded: false, promise };
        match sender {
            Some(sender) => {
                if let Err(unsent) = sender.send(waiting) {
                    unsent.0.answer(Err(self.ended()));
                }
            }
            None => waiting.answer(Err(self.ended())),
        }
        Asked(handle)
    }

    /// Waits for what a request is answered, as threads and greenlets wait.
    #[track_caller]
    pub(super) fn answers_to(&self, Asked(mut handle): Asked) -> Answers {
        match handle.join_timeout(2 * ANSWER_MAX + 2 * CONNECT_MAX) {
            Ok(answers) => answers,
            Err(TaskError::TimedOut) => Err(BrokerError::uncertain(
                ErrorKind::Busy,
                format!("Redis at {} did not answer for {:?}", self.server, 2 * ANSWER_MAX + 2 * CONNECT_MAX),
            )),
            // Whoever waits was cancelled. It unwinds here as in every wait.
            Err(TaskError::Cancelled) => {
                ropewalk_core::task::check_cancelled();
                Err(BrokerError::uncertain(ErrorKind::Unavailable, "the wait for Redis was cancelled"))
            }
            Err(_) => Err(BrokerError::uncertain(ErrorKind::Unavailable, "the thread that speaks to Redis died")),
        }
    }

    fn ended(&self) -> BrokerError {
        BrokerError::new(ErrorKind::Unavailable, format!("the connection to Redis at {} was closed", self.server))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // What was asked for is answered first. (A panic there has been reported by its hook.)
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Line {
    client: Client,
    server: String,
    connection: Option<Connection>,
    pause: Duration,
    /// When the server could not be reached: until when it is left alone, and why.
    not_before: Option<(Instant, BrokerError)>,
    counters: Arc<Counters>,
}

impl Line {
    fn run(mut self, requests: &Receiver<Waiting>) {
        let mut left = None;
        while let Some(first) = left.take().or_else(|| requests.recv().ok()) {
            let mut batch = VecDeque::from([first]);
            while batch.len() < REQUESTS_MAX
                && let Ok(next) = requests.try_recv()
            {
                if next.request.apart {
                    left = Some(next);
                    break;
                }
                batch.push_back(next);
            }
            crash_point!("redis.taken");
            self.serve(batch);
        }
    }

    /// The connection there is, or a new one.
    fn connect(&mut self) -> Result<Connection, BrokerError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        if let Some((until, why)) = &self.not_before
            && Instant::now() < *until
        {
            return Err(why.clone());
        }
        let until = Instant::now() + CONNECT_MAX;
        let opened = loop {
            match open(&self.client) {
                // The process was stopped meanwhile and goes on: that ends a wait with a time limit, and says nothing of the server.
                Err(error) if is_interruption(&error) && Instant::now() < until => {}
                opened => break opened,
            }
        };
        match opened {
            Ok(connection) => {
                self.not_before = None;
                self.pause = PAUSE_MIN;
                Ok(connection)
            }
            Err(error) => {
                let why = unreachable(&self.server, &error);
                self.not_before = Some((Instant::now() + self.pause, why.clone()));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                Err(why)
            }
        }
    }

    fn serve(&mut self, mut batch: VecDeque<Waiting>) {
        while !batch.is_empty() {
            let mut connection = match self.connect() {
                Ok(connection) => connection,
                Err(error) => {
                    for waiting in batch {
                        // One that was sent before may have happened.
                        let error = if waiting.sent && waiting.request.step.is_some() {
                            BrokerError::uncertain(error.kind(), error.to_string())
                        } else {
                            error.clone()
                        };
                        waiting.answer(Err(error));
                    }
                    return;
                }
            };
            let packed: Vec<u8> = batch.iter().flat_map(|waiting| waiting.request.packed.iter().copied()).collect();
            let mut error = connection.send_packed_command(&packed).err();
            crash_point!("redis.sent");
            self.counters.round_trips.fetch_add(1, Ordering::Relaxed);
            let mut unknown = VecDeque::new();
            while error.is_none()
                && let Some(waiting) = batch.pop_front()
            {
                match read(&mut connection, &self.server, waiting.request.answers) {
                    Ok(Read::Answers(answers)) => {
                        crash_point!("redis.answered");
                        self.counters.requests.fetch_add(1, Ordering::Relaxed);
                        waiting.answer(answers);
                    }
                    Ok(Read::NoScript) => {
                        let mut waiting = waiting;
                        if waiting.loaded {
                            let step = waiting.request.step;
                            match step.and_then(|step| spelled_out(&waiting.request.packed, step)) {
                                Some(packed) => waiting.request.packed = packed,
                                None => {
                                    let why =
                                        format!("Redis at {} does not run scripts that it was given", self.server);
                                    waiting.answer(Err(BrokerError::new(ErrorKind::Unavailable, why)));
                                    continue;
                                }
                            }
                        }
                        waiting.loaded = true;
                        unknown.push_back(waiting);
                    }
                    Err(broke) => {
                        batch.push_front(waiting);
                        error = Some(broke);
                    }
                }
            }
            if let Some(error) = error {
                // That connection is not used again.
                drop(connection);
                let mut next = unknown;
                for mut waiting in batch {
                    // A second time over another connection, and not a third.
                    if waiting.request.again && !waiting.sent {
                        waiting.sent = true;
                        next.push_back(waiting);
                    } else {
                        waiting.answer(Err(broken(&self.server, &error)));
                    }
                }
                batch = next;
            } else {
                if unknown.is_empty() || load(&mut connection).is_ok() {
                    self.connection = Some(connection);
                }
                batch = unknown;
            }
        }
    }
}

enum Read {
    Answers(Answers),
    NoScript,
}

/// The answers to one request. An error is one of the connection.
fn read(connection: &mut Connection, server: &str, count: usize) -> redis::RedisResult<Read> {
    let mut answers = Vec::with_capacity(count);
    let mut bad = None;
    let mut no_script = false;
    for _ in 0..count {
        match connection.recv_response() {
            Ok(Value::ServerError(error)) if error.code() == "NOSCRIPT" => no_script = true,
            Ok(Value::ServerError(error)) => bad = bad.or(Some(refused(server, &error))),
            Ok(value) => answers.push(value),
            Err(error) => return Err(error),
        }
    }
    Ok(if no_script { Read::NoScript } else { Read::Answers(bad.map_or(Ok(answers), Err)) })
}

fn open(client: &Client) -> redis::RedisResult<Connection> {
    let mut connection = client.get_connection_with_timeout(CONNECT_MAX)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    connection.set_write_timeout(Some(ANSWER_MAX))?;
    load(&mut connection)?;
    Ok(connection)
}

fn is_interruption(error: &RedisError) -> bool {
    // The client hands out its counted pointer to what was there first.
    let source = error.source().and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

/// Gives the server all scripts.
fn load(connection: &mut Connection) -> redis::RedisResult<()> {
    let mut pipeline = redis::pipe();
    for step in Step::ALL {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&step.script().text).ignore();
    }
    pipeline.query(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_of_the_process_is_no_fault_of_the_server() {
        let of = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        assert!(is_interruption(&of(io::ErrorKind::Interrupted)));
        assert!(is_interruption(&RedisError::from(io::Error::from_raw_os_error(
            rustix::io::Errno::INTR.raw_os_error()
        ))));
        assert!(!is_interruption(&of(io::ErrorKind::ConnectionRefused)));
    }

    #[test]
    fn step_that_is_spelled_out_is_the_same_command() {
        let command = |name: &str, script: &str| {
            redis::cmd(name).arg(script).arg(1).arg("rq:rw:seq").arg("rq").arg("a\r\nb").get_packed_command()
        };
        let script = Step::Settle.script();
        assert_eq!(spelled_out(&command("EVALSHA", &script.sha), Step::Settle), Some(command("EVAL", &script.text)));
        assert_eq!(spelled_out(&command("EVAL", &script.text), Step::Settle), None);
    }
}
