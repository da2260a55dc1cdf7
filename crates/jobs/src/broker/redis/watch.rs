//! News from Redis: one connection of its own on which a thread listens, and numbers that change.
//!
//! Nothing is polled. Redis itself says when a key of a queue has changed, whoever changed it (`CLIENT TRACKING ... BCAST`: made for
//! caches in clients, and what we keep in mind is "nothing is ready"); so a worker starts at once for a job that a Python
//! program has pushed, and whoever waits for results hears of one that a Python worker has written. What our steps have to say besides goes through the channel `P:rw:news`, and the commands that people give
//! to workers come through rq's `P:pubsub:<worker>`.
//!
//! A word lost costs time and never a job: whoever waits, looks again after its own time limit. When the connection breaks, all
//! numbers change once it is made again. A silent one is asked for a sign of life every [`ALIVE_EVERY`].

use crate::broker::{Command, Topic};
use crate::job::JobId;
use crate::rq::keys::Keys;
use redis::{Client, Connection, PushKind, Value};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a silent connection is asked whether it is alive. Twice as long is the limit.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How often the thread looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it says "look" where the server does not allow `CLIENT TRACKING`.
const WITHOUT_TRACKING: Duration = Duration::from_millis(200);
/// How long somebody waits for the first connection.
const FIRST_MAX: Duration = Duration::from_secs(2);

/// A command that came through rq's channel.
pub(super) enum Heard {
    /// Stop this job.
    StopJob(String),
}

#[derive(Default)]
struct State {
    numbers: [u64; 3],
    /// It listens, or has tried to.
    tried: bool,
}

/// Whose results have changed.
#[derive(Default)]
struct Ends {
    heard: Vec<String>,
    told: VecDeque<JobId>,
}

/// A connection that listens.
struct Line {
    connection: Connection,
    /// Redis says when a queue changes.
    tracks: bool,
    /// And when results do.
    hears_ends: bool,
}

/// How many of each are kept in mind. Whoever waits looks again after a while.
const ENDS_MAX: usize = 20_000;

/// How many commands wait for their workers, at most.
const COMMANDS_MAX: usize = 1_000;

/// What the thread and the others share.
pub(super) struct Board {
    state: Mutex<State>,
    rung: Condvar,
    closed: AtomicBool,
    started: AtomicBool,
    /// Somebody waits for ends, so results are listened to as well.
    wants_ends: AtomicBool,
    /// Jobs whose results have changed, whoever changed them; and those that were told of by our own list lately.
    ends: Mutex<Ends>,
    /// The workers of this process.
    workers: Mutex<HashSet<String>>,
    /// Commands that nobody has taken yet.
    heard: Mutex<Vec<Heard>>,
    /// The same, of those that a worker obeys itself.
    commands: Mutex<Vec<(String, Command)>>,
    /// The channel of this board alone.
    own: String,
}

impl Board {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            state: Mutex::default(),
            rung: Condvar::new(),
            closed: AtomicBool::new(false),
            started: AtomicBool::new(false),
            wants_ends: AtomicBool::new(false),
            ends: Mutex::default(),
            workers: Mutex::default(),
            heard: Mutex::default(),
            commands: Mutex::default(),
            own: format!("{}:rw:news:{:016x}", keys.prefix(), fastrand::u64(..)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of this topic. The first look makes the thread listen, and waits until it does.
    pub(super) fn news(self: &Arc<Self>, topic: Topic, client: &Client, keys: &Keys) -> u64 {
        if topic == Topic::Ended {
            self.wants_ends.store(true, Ordering::Release);
        }
        if !self.started.swap(true, Ordering::AcqRel) {
            let (board, client, keys) = (Arc::clone(self), client.clone(), keys.clone());
            let listen = std::thread::Builder::new().name("ropewalk-jobs-listen".to_owned());
            // Without the thread everybody looks again at their own time limits.
            if listen.spawn(move || board.listen(&client, &keys)).is_err() {
                self.started.store(false, Ordering::Release);
                self.state().tried = true;
            }
        }
        let until = Instant::now() + FIRST_MAX;
        let mut state = self.state();
        while !state.tried {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.numbers[topic as usize]
    }

    pub(super) fn wait(&self, topic: Topic, seen: u64, timeout: Duration) {
        // None: longer than any clock goes.
        let until = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while state.numbers[topic as usize] == seen {
            let left = until.map_or(Some(Duration::MAX), |until| until.checked_duration_since(Instant::now()));
            let Some(left) = left else { return };
            state = self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn ring(&self, topic: Topic) {
        self.state().numbers[topic as usize] += 1;
        self.rung.notify_all();
    }

    fn ring_all(&self) {
        [Topic::Work, Topic::Ended, Topic::Stop].into_iter().for_each(|topic| self.ring(topic));
    }

    /// Commands to this worker are for us.
    pub(super) fn serves(&self, worker: &str) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if !workers.contains(worker) {
            workers.insert(worker.to_owned());
        }
    }

    /// This worker has ended: nothing more comes for it, and what came is for nobody.
    pub(super) fn serves_no_more(&self, worker: &str) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.remove(worker);
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| of != worker);
    }

    pub(super) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What this worker was told.
    pub(super) fn take_commands(&self, worker: &str) -> Vec<Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.extract_if(.., |(of, _)| of == worker).map(|(_, command)| command).collect()
    }

    /// Those that could not be obeyed now. They come before what was heard meanwhile.
    pub(super) fn put_heard_back(&self, back: impl Iterator<Item = Heard>) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).splice(0..0, back);
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs whose results have changed since the last call. To be asked for before the list of ends is read: what is on
    /// both is told of by the list, and by [`elsewhere`](Self::elsewhere) no more.
    pub(super) fn take_ends(&self) -> Vec<String> {
        std::mem::take(&mut self.ends().heard)
    }

    /// What was taken and could not be told of.
    pub(super) fn put_ends_back(&self, back: Vec<String>) {
        self.ends().heard.splice(0..0, back);
    }

    /// Those of `heard` that the list, which said `listed`, has not told of: they ended elsewhere.
    pub(super) fn elsewhere(&self, heard: Vec<String>, listed: &[JobId]) -> Vec<JobId> {
        let mut ends = self.ends();
        ends.told.extend(listed.iter().cloned());
        let known: HashSet<&str> = ends.told.iter().map(JobId::as_str).collect();
        let mut seen = HashSet::new();
        let new = heard.iter().filter(|id| !known.contains(id.as_str()) && seen.insert(id.as_str()));
        let new = new.filter_map(|id| id.parse().ok()).collect();
        let over = ends.told.len().saturating_sub(ENDS_MAX);
        ends.told.drain(..over);
        new
    }

    /// Keys have changed.
    fn changed(&self, keys: &Keys, changed: Option<&Value>) {
        let results = keys.results("");
        let mut work = false;
        let mut heard = Vec::new();
        for key in changed.into_iter().flat_map(|changed| match changed {
            Value::Array(keys) => &keys[..],
            _ => &[],
        }) {
            let Value::BulkString(key) = key else { continue };
            match std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&results)) {
                Some(id) => heard.push(id.to_owned()),
                None => work = true,
            }
        }
        if !heard.is_empty() {
            let mut ends = self.ends();
            let room = ENDS_MAX.saturating_sub(ends.heard.len());
            ends.heard.extend(heard.into_iter().take(room));
            drop(ends);
            self.ring(Topic::Ended);
        }
        if work {
            self.ring(Topic::Work);
        }
    }

    /// The thread ends within [`LOOK_EVERY`].
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.rung.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn listen(&self, client: &Client, keys: &Keys) {
        let mut pause = Duration::from_millis(20);
        while !self.is_closed() {
            let listened = self.connect(client, keys).map(|line| {
                // What happened in between was not heard. Before anybody is told that we listen, so that nobody takes it for news.
                self.ring_all();
                self.state().tried = true;
                self.rung.notify_all();
                pause = Duration::from_millis(20);
                self.hear(line, keys);
            });
            self.state().tried = true;
            self.rung.notify_all();
            if listened.is_err() {
                pause = (pause * 2).min(super::wire::PAUSE_MAX);
            }
            let until = Instant::now() + pause;
            while !self.is_closed() && Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// A connection that listens.
    fn connect(&self, client: &Client, keys: &Keys) -> redis::RedisResult<Line> {
        let mut connection = client.get_connection_with_timeout(super::wire::CONNECT_MAX)?;
        connection.set_read_timeout(Some(super::wire::CONNECT_MAX))?;
        let prefix = keys.prefix();
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        let hears_ends = self.wants_ends.load(Ordering::Acquire);
        let ends = hears_ends.then(|| keys.results(""));
        for key in [format!("{prefix}:queue:"), keys.suspended()].into_iter().chain(ends) {
            track.arg("PREFIX").arg(key);
        }
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(format!("{prefix}:rw:news")).arg(&self.own);
        let packed: Vec<u8> =
            [track, subscribe, redis::cmd("PING")].iter().flat_map(redis::Cmd::get_packed_command).collect();
        connection.send_packed_command(&packed)?;
        let mut tracks = true;
        loop {
            match connection.recv_response()? {
                Value::ServerError(error) if error.code() == "NOPERM" || error.code() == "ERR" => tracks = false,
                Value::SimpleString(pong) if pong == "PONG" => break,
                Value::ServerError(error) => return Err(error.into()),
                _ => {}
            }
        }
        connection.set_read_timeout(Some(if tracks { LOOK_EVERY } else { WITHOUT_TRACKING }))?;
        Ok(Line { connection, tracks, hears_ends })
    }

    /// Until the connection breaks, or nobody wants to hear any more.
    fn hear(&self, line: Line, keys: &Keys) {
        let Line { mut connection, tracks, mut hears_ends } = line;
        let (mut heard, mut asked) = (Instant::now(), Instant::now());
        let mut subscribed: HashSet<String> = HashSet::new();
        while !self.is_closed() {
            // No pattern: a user whom an ACL allows some channels may not listen by one.
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let come = workers.difference(&subscribed).map(|worker| ("SUBSCRIBE", worker));
            let gone = subscribed.difference(&workers).map(|worker| ("UNSUBSCRIBE", worker));
            for (word, worker) in come.chain(gone) {
                let command = redis::cmd(word).arg(keys.pubsub(worker)).get_packed_command();
                if connection.send_packed_command(&command).is_err() {
                    return;
                }
            }
            subscribed = workers;
            if tracks && !hears_ends && self.wants_ends.load(Ordering::Acquire) {
                hears_ends = true;
                let track = redis::cmd("CLIENT")
                    .arg("TRACKING")
                    .arg("ON")
                    .arg("BCAST")
                    .arg("PREFIX")
                    .arg(keys.results(""))
                    .get_packed_command();
                if connection.send_packed_command(&track).is_err() {
                    return;
                }
            }
            match connection.recv_response() {
                Ok(Value::Push { kind, data }) => {
                    heard = Instant::now();
                    match kind {
                        PushKind::Invalidate => self.changed(keys, data.first()),
                        PushKind::Message => self.message(data.first(), data.get(1), keys),
                        PushKind::Disconnection => return,
                        _ => {}
                    }
                }
                Ok(_) => {}
                Err(error) if error.is_timeout() => {
                    if !tracks {
                        self.ring(Topic::Work);
                    }
                    if heard.elapsed() >= ALIVE_EVERY * 2 {
                        return;
                    }
                    if heard.elapsed() >= ALIVE_EVERY && asked.elapsed() >= ALIVE_EVERY / 2 {
                        asked = Instant::now();
                        let alive = redis::cmd("PUBLISH").arg(&self.own).arg("alive").get_packed_command();
                        if connection.send_packed_command(&alive).is_err() {
                            return;
                        }
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn message(&self, channel: Option<&Value>, said: Option<&Value>, keys: &Keys) {
        if let (Some(Value::BulkString(channel)), Some(Value::BulkString(said))) = (channel, said)
            && let Some(worker) = channel.strip_prefix(keys.pubsub("").as_bytes())
        {
            self.command(&String::from_utf8_lossy(worker), said);
            return;
        }
        match said {
            Some(Value::BulkString(word)) if word == b"work" => self.ring(Topic::Work),
            Some(Value::BulkString(word)) if word == b"ended" => self.ring(Topic::Ended),
            Some(Value::BulkString(word)) if word == b"stop" => self.ring(Topic::Stop),
            _ => {}
        }
    }

    /// A command to a worker of ours, through rq's channel.
    fn command(&self, worker: &str, said: &[u8]) {
        let Ok(command) = serde_json::from_slice::<serde_json::Value>(said) else { return };
        let keep = |command| {
            // Before the commands, as when a worker ends: one that has ended takes none.
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            if workers.contains(worker) && commands.len() < COMMANDS_MAX {
                commands.push((worker.to_owned(), command));
            }
        };
        match (command["command"].as_str(), command["job_id"].as_str()) {
            (Some("stop-job" | "stop-execution"), Some(id)) => {
                self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(Heard::StopJob(id.to_owned()));
            }
            (Some("shutdown"), _) => keep(Command::End),
            (Some("kill-horse"), _) => keep(Command::Kill),
            _ => return,
        }
        // Whoever beats for these workers takes it from here.
        self.ring(Topic::Stop);
    }
}
