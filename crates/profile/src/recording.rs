//! What was seen of a program: facts without an opinion, as `ropewalk profile --record` writes them.
//!
//! A [`Recording`] holds, for each thread, the kernel's own counters (time on a processor, time ready for one) at the moments
//! at which they changed, and the call in which the thread sat then, resolved to what it is about: the peer of the socket,
//! the path of the file, the word of the lock. Judging it is the matter of [`states`](crate::states) and
//! [`verdict`](crate::verdict), again and elsewhere if need be.
//!
//! All times are nanoseconds since the recording began.

use std::fmt;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

/// The form that is written; grows when a key changes its meaning or goes.
pub const VERSION: u32 = 1;

/// One run of a program, or a while of it. See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// [`VERSION`] of whoever wrote it.
    pub version: u32,
    /// What was run: program and arguments.
    pub command: Vec<String>,
    /// How it was watched.
    pub mode: Mode,
    /// From the first look to the last.
    pub wall_ns: u64,
    /// The moments at which all threads were looked at.
    pub ticks: Vec<u64>,
    /// Where it ran.
    pub machine: Machine,
    /// Every process that was seen.
    pub processes: Vec<Process>,
    /// Every thread that was seen.
    pub threads: Vec<Thread>,
    /// What threads sat in; [`Sample::call`] points here.
    pub calls: Vec<Call>,
    /// Who holds which end of a pipe or of an unnamed socket.
    pub ends: Vec<End>,
    /// Totals that the kernel kept, short-lived processes included; `None` when only attached to a running program.
    pub totals: Option<Totals>,
    /// How the program ended; `None` while it still runs.
    pub status: Option<Status>,
    /// Whether it ended after the watcher, who had seen enough, asked it to.
    #[serde(default)]
    pub asked_to_end: bool,
    /// What could not be seen, and what would make it visible.
    pub missing: Vec<String>,
    /// Processor time of the watcher itself.
    pub own_cpu_ns: u64,
    /// What the kernel noted by itself, where it does.
    #[serde(default)]
    pub noted: Option<Noted>,
    /// Why it noted nothing; empty when it did, or was not asked to.
    #[serde(default)]
    pub not_noted: String,
    /// Where the busiest thread computed, the function it was met in most first.
    #[serde(default)]
    pub functions: Vec<Function>,
}

/// What the kernel noted of every start, end and switch of a program's threads: also of those that no look met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Until when: to the end, unless there was too much to note.
    pub until_ns: u64,
    /// Notes that were lost because they came faster than they were fetched.
    pub lost: u64,
    /// Nanoseconds on a processor, of all that was noted.
    pub run_ns: u64,
    /// What ran, the longest first.
    pub programs: Vec<Ran>,
    /// How long anything ran, in one stretch after another.
    pub busy: Vec<Busy>,
}

impl Noted {
    /// Whether nothing was lost, and nothing left out, in a run of this length.
    pub fn is_whole(&self, wall_ns: u64) -> bool {
        self.lost == 0 && self.until_ns >= wall_ns
    }
}

/// All processes that ran one program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its name, as the kernel shortens it; empty for several.
    pub name: String,
    /// So many processes ended as this program, or were it at the end.
    pub count: u64,
    /// Their nanoseconds on a processor.
    pub run_ns: u64,
}

/// A stretch of time, from the end of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Its end.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// Nanoseconds in which some thread was on a processor, pushed from one, or without one since it began.
    #[serde(rename = "a")]
    pub any_ns: u64,
    /// In which one was, and no other.
    #[serde(rename = "o")]
    pub alone_ns: u64,
}

/// A function of a program, in which a thread was met computing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name as a person writes it; empty when the file does not tell.
    pub name: String,
    /// The file that it is in; empty for code that was made while the program ran.
    pub file: String,
    /// Share of the times that the thread was met computing.
    pub share: f64,
}

/// How a program was watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Started by the watcher and watched to its end.
    #[default]
    Launched,
    /// Ran already, and was watched for a while.
    Attached,
    /// Part of the watcher's own process.
    Inside,
}

/// Where a program ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that the program may use, by affinity and quota.
    pub cores: usize,
    /// Processors that were measured to be had.
    pub effective_cores: f64,
    /// Processors that other programs kept busy meanwhile.
    pub others: f64,
    /// Processors that interrupts took, which no thread is charged for.
    #[serde(default)]
    pub interrupts: f64,
    /// Processors that this machine was promised and did not get, as a guest of another.
    #[serde(default)]
    pub stolen: f64,
    /// Instruction set.
    pub arch: String,
}

/// A process, as far as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// That of its parent when it was first seen.
    pub parent: u32,
    /// Its name, after the last `exec` that was seen.
    pub name: String,
    /// The file it runs.
    pub exe: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Made by rustc, when that was looked for.
    #[serde(default)]
    pub rust: bool,
    /// First seen.
    pub start_ns: u64,
    /// Last seen.
    pub end_ns: u64,
    /// What its epoll sets hold, the fullest there was.
    #[serde(default)]
    pub watched: Watched,
}

/// What an epoll set, or a call of poll, holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watched {
    /// Connected sockets.
    pub sockets: usize,
    /// Of those, the ones that somebody else connected.
    #[serde(default)]
    pub accepted: usize,
    /// Sockets that listen.
    pub listening: usize,
    /// Anything else.
    pub others: usize,
    /// Where the sockets lead, each once, a few of them.
    pub peers: Vec<String>,
}

/// A thread, as far as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it began while it was watched: then what its counters said at first belongs to the recording.
    pub born: bool,
    /// In order of time.
    pub samples: Vec<Sample>,
}

/// What was read of a thread at a moment. The counters count from the thread's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// Until when every later look read the same; equal to `at_ns` when the next look differed.
    #[serde(rename = "u")]
    pub until_ns: u64,
    /// Nanoseconds on a processor.
    #[serde(rename = "r")]
    pub run_ns: u64,
    /// Nanoseconds ready for one and without it.
    #[serde(rename = "d")]
    pub delay_ns: u64,
    /// Times it was given a processor.
    #[serde(rename = "n")]
    pub slices: u64,
    /// Index of the call in which it sat; `None` when it ran or was ready.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
}

/// What a thread sat in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// A socket with a peer: reading, writing or connecting.
    Socket {
        /// `address:port`, or a path for a Unix socket; empty when unknown.
        peer: String,
        /// What was asked of it.
        verb: Verb,
    },
    /// Accepting connections.
    Accept,
    /// epoll, poll or select.
    Poll {
        /// What it waits for.
        on: Watched,
        /// With a time limit.
        timed: bool,
    },
    /// A file.
    File {
        /// Its path.
        path: String,
        /// What was asked of it.
        verb: Verb,
    },
    /// A pipe, or an unnamed socket between two processes.
    Pipe {
        /// The inode that both ends share.
        inode: u64,
        /// Reading, or writing.
        verb: Verb,
    },
    /// A word of memory that another thread will change: a lock, a condition, a queue.
    Futex {
        /// Its address, rounded down to a cache line.
        line: u64,
        /// With a time limit.
        timed: bool,
    },
    /// A lock on a file, a semaphore of the system.
    SystemLock {
        /// The path or kind.
        of: String,
    },
    /// The end of another thread.
    Join {
        /// Its id.
        tid: u32,
    },
    /// A timer.
    Sleep,
    /// The end of a child process.
    Child,
    /// A terminal.
    Terminal,
    /// Memory that has to come from a disk.
    Fault,
    /// Another call, by its number.
    Other {
        /// The number.
        number: i64,
        /// Its name where it was recorded, if that is known.
        #[serde(default)]
        name: String,
    },
    /// Not to be seen; with the kernel's own word for it where there is one.
    Hidden {
        /// The kernel's function.
        function: String,
    },
}

/// What was asked of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// To connect.
    Connect,
    /// To read.
    Read,
    /// To write.
    Write,
    /// To be on disk.
    Sync,
    /// Something about its name: open, stat, unlink.
    Name,
}

/// A process that holds an end of a pipe or of an unnamed socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct End {
    /// The inode.
    pub inode: u64,
    /// The process.
    pub pid: u32,
    /// Whether this end can be read.
    pub reads: bool,
    /// Whether this end can be written.
    pub writes: bool,
}

/// Totals of all processes that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Processor time in user mode.
    pub user_ns: u64,
    /// Processor time in the kernel.
    pub system_ns: u64,
    /// The greatest resident size of one process.
    pub peak_rss_kib: u64,
    /// Processes that were started meanwhile on the whole machine.
    pub forks: u64,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why a recording cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be read at all, or is no recording.
    Unreadable(serde_json::Error),
    /// It was written in another form.
    Version {
        /// The form that it has.
        found: u32,
    },
    /// It contradicts itself.
    Contradictory(&'static str),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unreadable(e) => write!(f, "is no recording of ropewalk profile: {e}"),
            ReadError::Version { found } => write!(
                f,
                "is a recording of form {found}, and this ropewalk reads form {VERSION}; record it again, or judge it with the \
                 ropewalk that wrote it"
            ),
            ReadError::Contradictory(what) => write!(f, "is a damaged recording: {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl Recording {
    /// Reads one, and checks what judging relies on.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(from: impl Read) -> Result<Recording, ReadError> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let value: serde_json::Value = serde_json::from_reader(from).map_err(ReadError::Unreadable)?;
        let form = Form::deserialize(&value).map_err(ReadError::Unreadable)?;
        if form.version != VERSION {
            return Err(ReadError::Version { found: form.version });
        }
        let recording = Recording::deserialize(value).map_err(ReadError::Unreadable)?;
        recording.check()?;
        Ok(recording)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub fn write(&self, to: impl Write) -> std::io::Result<()> {
        serde_json::to_writer(to, self).map_err(std::io::Error::from)
    }

    fn check(&self) -> Result<(), ReadError> {
        if !self.ticks.is_sorted() || self.ticks.last().is_some_and(|last| *last > self.wall_ns) {
            return Err(ReadError::Contradictory("its looks are not in order"));
        }
        if self.noted.as_ref().is_some_and(|n| !n.busy.is_sorted_by_key(|b| b.at_ns)) {
            return Err(ReadError::Contradictory("the kernel's notes are not in order"));
        }
        for thread in &self.threads {
            let ordered = thread
                .samples
                .windows(2)
                .all(|w| w[0].until_ns <= w[1].at_ns && w[0].run_ns <= w[1].run_ns && w[0].delay_ns <= w[1].delay_ns);
            if !ordered || thread.samples.iter().any(|s| s.until_ns < s.at_ns || s.until_ns > self.wall_ns) {
                return Err(ReadError::Contradictory("the samples of a thread are not in order"));
            }
            if thread.samples.iter().filter_map(|s| s.call).any(|c| c as usize >= self.calls.len()) {
                return Err(ReadError::Contradictory("a sample names a call that is not listed"));
            }
        }
        Ok(())
    }

    /// Takes out what should not leave the house: arguments, paths, addresses, names. What kinds of things were waited for,
    /// and for how long, stays.
    pub fn redact(&mut self) {
        let mut seen: Vec<String> = Vec::new();
        let mut alias = |text: &mut String, kind: &str| {
            if !text.is_empty() {
                let number = seen.iter().position(|s| s == text).unwrap_or_else(|| {
                    seen.push(text.clone());
                    seen.len() - 1
                });
                *text = format!("{kind}-{}", number + 1);
            }
        };
        // The port says which service it is, and nothing about whose.
        // Sockets with a path may have a colon in it.
        let mut peer = |text: &mut String| match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) if !host.starts_with(['/', '@']) => *text = format!("host:{port}"),
            _ => alias(text, "socket"),
        };
        for process in &mut self.processes {
            process.watched.peers.iter_mut().for_each(&mut peer);
        }
        for call in &mut self.calls {
            match call {
                Call::Socket { peer: p, .. } => peer(p),
                Call::Poll { on, .. } => on.peers.iter_mut().for_each(&mut peer),
                _ => {}
            }
        }
        for call in &mut self.calls {
            match call {
                Call::File { path, .. } => alias(path, "file"),
                Call::SystemLock { of } => alias(of, "lock"),
                _ => {}
            }
        }
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        for process in &mut self.processes {
            process.exe = base(&process.exe);
            // What a process calls itself may be a whole sentence, over its arguments. Its file is not.
            let name = if process.exe.is_empty() { "program" } else { &process.exe };
            process.argv = vec![name.to_owned()];
            for thread in self.threads.iter_mut().filter(|t| t.tid == process.pid) {
                thread.name = name.to_owned();
            }
            process.name = name.to_owned();
        }
        // Names of functions are the program's inside.
        self.functions.clear();
        for (number, ran) in self.noted.iter_mut().flat_map(|n| &mut n.programs).enumerate() {
            // An `exec` names a program by its file, which is among those above, or lived too short for that.
            if !self.processes.iter().any(|p| p.exe.starts_with(&ran.name)) && !ran.name.is_empty() {
                ran.name = format!("program-{}", number + 1);
            }
        }
        self.command.truncate(1);
        if let Some(command) = self.command.first_mut() {
            let own = self.processes.first().and_then(|p| p.argv.first()).filter(|_| self.mode != Mode::Launched);
            *command = own.cloned().unwrap_or_else(|| base(command));
        }
    }
}
