//! A way to Redis on which things happen, at the steps where they hurt.
//!
//! It listens on TCP and knows enough of the protocol to see where a command ends and which of our scripts it calls. So it can
//! strike at a named step: before the step has happened, in the middle of its words, or after it has happened and before anybody
//! is told. For the last it lets a word of its own follow (`ECHO`), and keeps all answers until that one is back.

use super::redis_server::Server;
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The steps, by the ends of their scripts, and whether a producer takes them.
pub(super) const STEPS: &[(&str, &str, bool)] = &[
    ("enqueue", include_str!("../../src/broker/redis/enqueue.lua"), true),
    ("control", include_str!("../../src/broker/redis/control.lua"), true),
    ("claim", include_str!("../../src/broker/redis/claim.lua"), false),
    ("heartbeat", include_str!("../../src/broker/redis/heartbeat.lua"), false),
    ("settle", include_str!("../../src/broker/redis/settle.lua"), false),
    ("tick", include_str!("../../src/broker/redis/tick.lua"), false),
    ("maintain", include_str!("../../src/broker/redis/maintain.lua"), false),
];

/// What can happen at a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blow {
    /// The connection is cut before the step.
    Before,
    /// In the middle of its words.
    Half,
    /// When it has happened, before the answer.
    After,
    /// The answer comes when the leases have run out.
    Late,
    /// The server forgets its scripts just before.
    Flush,
    /// All its clients lose their connections, at that moment.
    Clients,
    /// The server is killed at that moment.
    Server,
    /// When the step has happened, before the answer.
    ServerAfter,
}

impl Blow {
    pub(super) const ALL: [Self; 8] = [
        Self::Before,
        Self::Half,
        Self::After,
        Self::Late,
        Self::Flush,
        Self::Clients,
        Self::Server,
        Self::ServerAfter,
    ];
}

/// How long an answer is held back: as long as a lease and a half.
const LATE: Duration = Duration::from_millis(super::LEASE.as_millis() as u64 * 3 / 2);
/// How long a step may take before its answer is there.
const STEP_MAX: Duration = Duration::from_secs(10);

/// A server of one's own, with the way to it.
pub(super) struct World {
    place: PathBuf,
    options: Vec<&'static str>,
    socket: PathBuf,
    server: Mutex<Server>,
    port: u16,
    /// The one blow of a directed case: at which step, and the how manieth time.
    plan: Mutex<Option<(&'static str, Blow, u32)>>,
    /// Otherwise one of so many steps gets one; 0 is none.
    one_in: AtomicU32,
    struck: AtomicUsize,
    /// Scripts by their hashes, as they were given to the server.
    names: Mutex<HashMap<String, &'static str>>,
    over: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Starts both. `options` are the server's.
    pub(super) fn start(place: &Path, options: &[&'static str]) -> Arc<Self> {
        let server = Server::start(place, options);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let world = Arc::new(Self {
            place: place.to_owned(),
            options: options.to_vec(),
            socket: server.socket.clone(),
            server: Mutex::new(server),
            port: listener.local_addr().expect("a port").port(),
            plan: Mutex::default(),
            one_in: AtomicU32::new(0),
            struck: AtomicUsize::new(0),
            names: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let its = Arc::clone(&world);
        thread::spawn(move || its.listen(&listener));
        world
    }

    /// The address of the proxy.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// That of the server itself.
    pub(super) fn direct(&self) -> String {
        lock(&self.server).url("")
    }

    pub(super) fn strike_at(&self, step: &'static str, blow: Blow, at: u32) {
        *lock(&self.plan) = Some((step, blow, at));
    }

    pub(super) fn strike_one_in(&self, steps: u32) {
        self.one_in.store(steps, Ordering::Relaxed);
    }

    /// How many blows there were.
    pub(super) fn struck(&self) -> usize {
        self.struck.load(Ordering::Acquire)
    }

    /// Kills the server as a power cut does, and starts it again on what it has left.
    pub(super) fn restart(&self) {
        let mut server = lock(&self.server);
        server.kill();
        *server = Server::start(&self.place, &self.options);
    }

    /// Says something to the server itself. What it answers, and whether it is there at all, does not matter.
    pub(super) fn say(&self, commands: &str) {
        if let Ok(mut server) = UnixStream::connect(&self.socket) {
            let _ = server.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = server.write_all(commands.as_bytes());
            let _ = server.read(&mut [0; 256]);
        }
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        let mut seed = u64::from(self.port);
        for client in listener.incoming() {
            if self.over.load(Ordering::Acquire) {
                return;
            }
            // While there is no server, its clients see that.
            let (Ok(client), Ok(server)) = (client, UnixStream::connect(&self.socket)) else { continue };
            let _ = client.set_nodelay(true);
            let pair = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
            let Some((their_client, their_server)) = pair() else { continue };
            let answers = Arc::new(Answers::default());
            let back = Arc::clone(&answers);
            thread::spawn(move || back.pass(their_server, their_client));
            let (its, rng) = (Arc::clone(self), fastrand::Rng::with_seed(seed));
            thread::spawn(move || {
                let mut way = Way { world: &its, server, answers: &answers, rng };
                let _ = way.pass(&client);
                let _ = client.shutdown(Shutdown::Both);
                let _ = way.server.shutdown(Shutdown::Both);
            });
            seed += 1;
        }
    }

    /// Which step this command is.
    fn step_of(&self, words: &[&[u8]]) -> Option<&'static str> {
        let by_text = |text: &[u8]| {
            let named = STEPS.iter().find(|(_, script, _)| text.ends_with(script.as_bytes()));
            named.map(|(name, ..)| *name)
        };
        match words {
            [b"SCRIPT", b"LOAD", text, ..] => {
                if let (Some(name), Ok(text)) = (by_text(text), std::str::from_utf8(text)) {
                    let hash = redis::Script::new(text).get_hash().to_owned();
                    lock(&self.names).insert(hash, name);
                }
                None
            }
            [b"EVALSHA", hash, ..] => lock(&self.names).get(std::str::from_utf8(hash).ok()?).copied(),
            [b"EVAL", text, ..] => by_text(text),
            _ => None,
        }
    }

    /// What happens at this step, if anything.
    fn blow_at(&self, step: &str, rng: &mut fastrand::Rng) -> Option<Blow> {
        let mut plan = lock(&self.plan);
        if let Some((planned, blow, left)) = &mut *plan
            && *planned == step
        {
            *left -= 1;
            let (blow, left) = (*blow, *left);
            if left == 0 {
                *plan = None;
                return Some(blow);
            }
        }
        drop(plan);
        let one_in = self.one_in.load(Ordering::Relaxed);
        if one_in == 0 || rng.u32(..one_in) > 0 {
            return None;
        }
        // A server needs longer to come back than a connection.
        Some(match rng.u8(..40) {
            0 => Blow::Server,
            1 => Blow::ServerAfter,
            2..=5 => Blow::Late,
            6..=10 => Blow::Clients,
            11..=15 => Blow::Flush,
            16..=24 => Blow::Before,
            25..=30 => Blow::Half,
            _ => Blow::After,
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread that listens.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The way to the server of one connection.
struct Way<'a> {
    world: &'a World,
    server: UnixStream,
    answers: &'a Answers,
    rng: fastrand::Rng,
}

impl Way<'_> {
    /// Until the connection ends, or is cut.
    fn pass(&mut self, mut client: &TcpStream) -> io::Result<()> {
        let (mut kept, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = client.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            kept.extend_from_slice(&chunk[..read]);
            // Commands up to `sent` have been sent, those up to `seen` may be.
            let (mut sent, mut seen) = (0, 0);
            while let Some((length, words)) = command(&kept[seen..]) {
                let step = self.world.step_of(&words);
                if let Some(blow) = step.and_then(|step| self.world.blow_at(step, &mut self.rng)) {
                    self.server.write_all(&kept[sent..seen])?;
                    self.strike(blow, &kept[seen..seen + length])?;
                    sent = seen + length;
                }
                seen += length;
            }
            self.server.write_all(&kept[sent..seen])?;
            kept.drain(..seen);
        }
    }

    /// An error cuts the connection.
    fn strike(&mut self, blow: Blow, step: &[u8]) -> io::Result<()> {
        let cut = || Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        let world = self.world;
        let struck = match blow {
            Blow::Before => cut(),
            Blow::Half => {
                self.server.write_all(&step[..step.len() / 2])?;
                cut()
            }
            Blow::After => {
                self.let_it_happen(step)?;
                cut()
            }
            Blow::Late => {
                self.answers.hold(LATE);
                self.server.write_all(step)
            }
            Blow::Flush => {
                world.say("SCRIPT FLUSH\r\n");
                self.server.write_all(step)
            }
            Blow::Clients => {
                self.server.write_all(step)?;
                world.say("CLIENT KILL TYPE pubsub\r\nCLIENT KILL TYPE normal SKIPME yes\r\n");
                Ok(())
            }
            Blow::Server => {
                self.server.write_all(step)?;
                world.restart();
                cut()
            }
            Blow::ServerAfter => {
                self.let_it_happen(step)?;
                world.restart();
                cut()
            }
        };
        world.struck.fetch_add(1, Ordering::AcqRel);
        struck
    }

    /// Sends the step, and returns when the server has answered it, and nobody has heard that.
    fn let_it_happen(&mut self, step: &[u8]) -> io::Result<()> {
        let word = format!("after-{:032x}", self.rng.u128(..));
        self.answers.keep_until(&word);
        let echo = format!("*2\r\n$4\r\nECHO\r\n${}\r\n{word}\r\n", word.len());
        self.server.write_all(&[step, echo.as_bytes()].concat())?;
        self.answers.wait()
    }
}

/// The answers of one connection.
#[derive(Default)]
struct Answers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next answers come so much later.
    late: Option<Duration>,
    /// Nothing is passed on any more; this word is waited for.
    word: Option<String>,
    kept: Vec<u8>,
    is_there: bool,
    over: bool,
}

impl Answers {
    fn hold(&self, late: Duration) {
        lock(&self.state).late = Some(late);
    }

    fn keep_until(&self, word: &str) {
        lock(&self.state).word = Some(word.to_owned());
    }

    /// Until the word is there.
    fn wait(&self) -> io::Result<()> {
        let until = Instant::now() + STEP_MAX;
        let mut state = lock(&self.state);
        while !state.is_there {
            let left = until.saturating_duration_since(Instant::now());
            if state.over || left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn pass(&self, mut server: UnixStream, mut client: TcpStream) {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(read @ 1..) = server.read(&mut chunk) {
            let late = lock(&self.state).late.take();
            if let Some(late) = late {
                thread::sleep(late);
            }
            let mut state = lock(&self.state);
            let State { word: Some(word), kept, .. } = &mut *state else {
                drop(state);
                if client.write_all(&chunk[..read]).is_err() {
                    break;
                }
                continue;
            };
            kept.extend_from_slice(&chunk[..read]);
            if kept.windows(word.len()).any(|window| window == word.as_bytes()) {
                state.is_there = true;
                self.changed.notify_all();
            }
        }
        lock(&self.state).over = true;
        self.changed.notify_all();
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// The first command in these bytes, if all of it is there: its length, and its words.
fn command(bytes: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (count, mut at) = number(bytes, b'*', 0)?;
    let mut words = Vec::with_capacity(count.min(16));
    for _ in 0..count {
        let (length, from) = number(bytes, b'$', at)?;
        at = from + length + 2;
        if bytes.len() < at {
            return None;
        }
        words.push(&bytes[from..from + length]);
    }
    Some((at, words))
}

/// The number in the line that begins there, and where the next line begins.
fn number(bytes: &[u8], sign: u8, at: usize) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(line[0], sign, "a client of ours sends commands as arrays");
    Some((std::str::from_utf8(&line[1..end]).ok()?.parse().ok()?, at + end + 2))
}
