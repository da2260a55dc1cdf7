//! From a recording to states: every instant of every thread has one, and those in which it waits have a cause.
//!
//! Pure functions. [`thread`] divides the time of one thread, [`wall`] that of the whole program: the wall clock is what a
//! person waits for, so a worker that has nothing to do, a thread that joins another and the patient end of a pipe must not
//! drown the one that everybody waits for.

pub mod thread;
pub mod wall;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::recording::{Call, Recording, Verb, Watched};
use thread::Lane;
use wall::Wall;

/// What kind of thing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Another end of a connection that this program opened.
    Network,
    /// A file.
    Disk,
    /// A lock, a condition, a queue inside the program.
    Lock,
    /// A pipe or an unnamed socket.
    Pipe,
    /// A timer.
    Sleep,
    /// A child process.
    Child,
    /// A person at a terminal.
    Person,
    /// Clients that have asked for nothing.
    Clients,
    /// The end of another thread.
    Join,
    /// Being woken: the resting place of an event loop or a runtime's helper.
    Wakeup,
    /// Something that could not be told.
    Unknown,
}

impl Kind {
    /// One letter, for pictures without colour.
    pub fn letter(self) -> char {
        match self {
            Kind::Network => 'N',
            Kind::Disk => 'D',
            Kind::Lock => 'L',
            Kind::Pipe => 'P',
            Kind::Sleep => 'S',
            Kind::Child => 'C',
            Kind::Person => 'T',
            Kind::Clients => 'A',
            Kind::Join => 'J',
            Kind::Wakeup => 'W',
            Kind::Unknown => '?',
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Network => "network",
            Kind::Disk => "disk",
            Kind::Lock => "lock",
            Kind::Pipe => "pipe",
            Kind::Sleep => "timer",
            Kind::Child => "child process",
            Kind::Person => "terminal",
            Kind::Clients => "clients",
            Kind::Join => "another thread",
            Kind::Wakeup => "being woken",
            Kind::Unknown => "unknown",
        })
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of thing.
    pub kind: Kind,
    /// Which one, as a person reads it; empty when there is no more to say.
    pub what: String,
}

impl Cause {
    fn new(kind: Kind, what: impl Into<String>) -> Cause {
        Cause { kind, what: what.into() }
    }

    /// Of one call.
    pub fn of(call: &Call) -> Cause {
        match call {
            Call::Socket { peer, .. } if peer.is_empty() => Cause::new(Kind::Network, "a socket without a name"),
            Call::Socket { peer, .. } => Cause::new(Kind::Network, service(peer)),
            Call::Accept => Cause::new(Kind::Clients, ""),
            Call::Poll { on, timed } => polled(on, *timed),
            Call::File { path, verb: Verb::Sync } => Cause::new(Kind::Disk, format!("fsync of {}", named(path))),
            Call::File { path, .. } => Cause::new(Kind::Disk, named(path)),
            Call::Pipe { inode, .. } => Cause::new(Kind::Pipe, format!("pipe {inode}")),
            Call::Futex { line, .. } => Cause::new(Kind::Lock, format!("{line:#x}")),
            Call::SystemLock { of } => Cause::new(Kind::Lock, of.clone()),
            Call::Join { .. } => Cause::new(Kind::Join, ""),
            Call::Sleep => Cause::new(Kind::Sleep, ""),
            Call::Child => Cause::new(Kind::Child, ""),
            Call::Terminal => Cause::new(Kind::Person, ""),
            Call::Fault => Cause::new(Kind::Disk, "memory that is read from a file (page faults)"),
            Call::Other { name, .. } if name == "io_uring_enter" => {
                Cause::new(Kind::Unknown, "io_uring, whose ring does not say what for")
            }
            Call::Other { number, name } if name.is_empty() => {
                Cause::new(Kind::Unknown, format!("system call {number}"))
            }
            Call::Other { name, .. } => Cause::new(Kind::Unknown, format!("system call {name}")),
            Call::Hidden { function } => hidden(function),
        }
    }
}

/// Where several descriptors are watched at once, the first of these that there is: clients, peers, a timer. What serves
/// somebody keeps its connections to others open while nobody asks for anything; which of them it waits for, if for any, a
/// set does not say.
fn polled(on: &Watched, timed: bool) -> Cause {
    match on.peers.as_slice() {
        [peer, ..] if on.listening + on.accepted > 0 => {
            let (ours, peer) = (on.sockets.saturating_sub(on.accepted).max(1), service(peer));
            let plural = if ours == 1 { "" } else { "s" };
            Cause::new(Kind::Clients, format!("or {ours} connection{plural} to {peer}"))
        }
        [] if on.sockets + on.listening > 0 => Cause::new(Kind::Clients, ""),
        [] if timed => Cause::new(Kind::Sleep, ""),
        [] => Cause::new(Kind::Wakeup, ""),
        [peer] => Cause::new(Kind::Network, service(peer)),
        [peer, others @ ..] => Cause::new(Kind::Network, format!("{} and {} others", service(peer), others.len())),
    }
}

/// The kernel's own words are no promise of the kernel's: hints.
fn hidden(function: &str) -> Cause {
    let kind = match function {
        f if f.contains("futex") => Kind::Lock,
        f if f.contains("nanosleep") => Kind::Sleep,
        f if f.contains("pipe") => Kind::Pipe,
        f if f.contains("tcp") || f.contains("sk_wait") || f.contains("unix_stream") => Kind::Network,
        f if f.contains("ep_poll") => Kind::Wakeup,
        f if f.contains("do_wait") => Kind::Child,
        f if f.contains("tty") => Kind::Person,
        f if f.contains("io_schedule") || f.contains("folio") || f.contains("jbd2") => Kind::Disk,
        _ => Kind::Unknown,
    };
    Cause::new(kind, function)
}

fn named(path: &str) -> String {
    if path.is_empty() { "files".to_owned() } else { path.to_owned() }
}

/// A peer, with what usually listens on its port in front.
fn service(peer: &str) -> String {
    let name = match peer.rsplit_once(':').map(|(_, port)| port) {
        Some("22") => "SSH",
        Some("25" | "465" | "587") => "a mail server",
        Some("53") => "DNS",
        Some("80") => "an HTTP server",
        Some("443") => "an HTTPS server",
        Some("1433") => "SQL Server",
        Some("1521") => "Oracle",
        Some("2379") => "etcd",
        Some("3306") => "MySQL",
        Some("4222") => "NATS",
        Some("5432") => "PostgreSQL",
        Some("5672") => "RabbitMQ",
        Some("6379") => "Redis",
        Some("9042") => "Cassandra",
        Some("9092") => "Kafka",
        Some("9200") => "Elasticsearch",
        Some("11211") => "memcached",
        Some("27017") => "MongoDB",
        _ => return peer.to_owned(),
    };
    format!("{name} ({peer})")
}

/// A recording with its time divided.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct States {
    /// One per thread, in the order of the recording.
    pub lanes: Vec<Lane>,
    /// How the wall divides.
    pub wall: Wall,
}

/// Divides the time of a recording.
pub fn of(recording: &Recording) -> States {
    let causes: Vec<Cause> = recording.calls.iter().map(Cause::of).collect();
    let lanes: Vec<Lane> = recording.threads.iter().map(|t| thread::lane(recording, t, &causes)).collect();
    let wall = wall::divide(recording, &lanes);
    States { lanes, wall }
}
