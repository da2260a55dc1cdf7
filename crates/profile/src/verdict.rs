//! What holds a program up, in words.
//!
//! Pure functions over a recording and its [`States`]. The rules are tried in order, the first that fits decides; each carries
//! the figure it rests on into the sentence. The figures are shares of the wall, not of the threads' time added up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::recording::{Call, Mode, Process, Recording, Status};
use crate::states::thread::Lane;
use crate::states::wall::Line;
use crate::states::{Cause, Kind, States};
use crate::timeline::human;

/// Seconds, and looks, below which nothing can be said.
const TOO_SHORT_S: f64 = 0.2;
const TOO_SHORT_LOOKS: usize = 8;
/// Shares of the wall.
const MOSTLY: f64 = 0.5;
const CPU_MIN: f64 = 0.7;
const NETWORK_MIN: f64 = 0.4;
const DISK_MIN: f64 = 0.3;
const LOCK_MIN: f64 = 0.25;
const MIXED_MIN: f64 = 0.25;
/// Threads standing in the line of one lock, on average, while its process computes: then only one runs at a time.
const STANDING_MIN: f64 = 0.7;
/// Times a second those that stand in line get on: fewer are workers waiting for work.
const WAKES_MIN: f64 = 10.0;
/// Processors used by a process that one lock lets run one thread at a time; a little more is the kernel's part.
const ONE_RUNNER_MAX: f64 = 1.2;
/// Share of ready time in all time that threads wanted a processor.
const READY_MIN: f64 = 0.25;
/// Processor time between two waits from which an event loop is blocked, not busy.
const BURST_MIN_S: f64 = 0.005;
/// A wait shorter than this is a round trip, not somebody thinking.
const ROUND_TRIP_S: f64 = 0.001;
/// Processors that other programs used, from which they may be what kept this one waiting.
const OTHERS_MIN: f64 = 0.25;
/// Processors that were stolen, or went to interrupts, from which that is worth a word.
const STOLEN_MIN: f64 = 0.1;
/// Programs too short to see that are named, and the share of their time from which one is.
const BRIEF_MAX: usize = 3;
const BRIEF_MIN: f64 = 0.05;
/// Causes that are listed.
const CAUSES_MAX: usize = 6;

/// What holds a program up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// One thread computes at a time, and no lock forces it to.
    CpuSerial,
    /// All processors compute.
    CpuAllCores,
    /// More threads want processors than there are.
    CpuOversubscribed,
    /// Other programs have the processors.
    CpuStarved,
    /// Another machine or service is waited for.
    Network,
    /// Files are waited for.
    Disk,
    /// A lock is waited for.
    Lock,
    /// One lock lets one thread of a runtime compute at a time.
    SingleRunner,
    /// An event loop computes instead of looking after its connections.
    EventLoop,
    /// Stages wait for the slowest of them.
    Pipeline,
    /// It computes and waits, one after the other.
    Mixed,
    /// Processes that it started are waited for.
    Child,
    /// A person is waited for.
    Person,
    /// A timer is waited for.
    Sleeping,
    /// A server with hardly anything to do.
    Idle,
    /// Too little was seen.
    TooShort,
    /// Nothing stands out.
    Unclear,
}

impl Class {
    /// As a person calls it.
    pub fn title(self) -> &'static str {
        match self {
            Class::CpuSerial => "CPU-bound, one thread at a time",
            Class::CpuAllCores => "CPU-bound, on all processors",
            Class::CpuOversubscribed => "CPU-bound, more threads than processors",
            Class::CpuStarved => "short of processors that others use",
            Class::Network => "network-bound",
            Class::Disk => "disk-bound",
            Class::Lock => "lock-bound",
            Class::SingleRunner => "bound by one global lock",
            Class::EventLoop => "event loop blocked by computing",
            Class::Pipeline => "pipeline, bound by its slowest stage",
            Class::Mixed => "half computing, half waiting",
            Class::Child => "waiting for child processes",
            Class::Person => "waiting for a person",
            Class::Sleeping => "sleeping",
            Class::Idle => "idle",
            Class::TooShort => "too short to say",
            Class::Unclear => "no single bottleneck",
        }
    }
}

/// The language a program is written in, as far as it can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Language {
    /// Run by CPython or one of its kin.
    Python,
    /// Run by Node.js.
    Node,
    /// Run by Ruby.
    Ruby,
    /// Compiled by rustc.
    Rust,
    /// A script of a shell.
    Shell,
    /// Anything else that is compiled.
    Native,
}

impl Language {
    /// Of one process.
    pub fn of(process: &Process) -> Language {
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let exe = base(&process.exe);
        let name = if exe.is_empty() { base(process.argv.first().map_or("", String::as_str)) } else { exe };
        match name.as_str() {
            n if n.starts_with("python") || n.starts_with("pypy") => Language::Python,
            "node" | "nodejs" | "deno" | "bun" => Language::Node,
            n if n.starts_with("ruby") => Language::Ruby,
            "sh" | "bash" | "dash" | "zsh" | "busybox" | "ksh" | "xargs" | "make" => Language::Shell,
            _ if process.rust => Language::Rust,
            _ => Language::Native,
        }
    }

    /// What its runtime calls the lock that lets one thread run at a time, where it has one.
    pub fn global_lock(self) -> Option<&'static str> {
        match self {
            Language::Python => Some("the GIL"),
            Language::Ruby => Some("the GVL"),
            _ => None,
        }
    }
}

/// How much can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sure {
    /// Look again.
    Low,
    /// The class, rather than the figures.
    Medium,
    /// Class and figures.
    High,
}

impl fmt::Display for Sure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sure::Low => "low",
            Sure::Medium => "medium",
            Sure::High => "high",
        })
    }
}

/// A part of the wall and what it went to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// `cpu`, or the kind of thing that was waited for.
    pub kind: String,
    /// Which one; empty when there is no more to say.
    pub what: String,
    /// Share of the wall.
    pub share: f64,
    /// Seconds of the wall.
    pub seconds: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What holds it up.
    pub class: Class,
    /// The sentence to remember.
    pub sentence: String,
    /// What the wall went to, the greatest part first.
    pub causes: Vec<Part>,
    /// How much can be relied on, and why not more.
    pub confidence: Confidence,
    /// The process that matters.
    pub process: Option<u32>,
    /// What it is written in.
    pub language: Language,
}

/// How much can be relied on, and why not more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confidence {
    /// In a word.
    pub level: Sure,
    /// How many looks it rests on.
    pub looks: usize,
    /// Share of the wall whose cause is unknown.
    pub unexplained: f64,
    /// What was not visible, and what would make it so.
    pub missing: Vec<String>,
}

/// Judges a recording whose time is divided.
pub fn judge(recording: &Recording, states: &States) -> Finding {
    let seen = Seen::of(recording, states);
    let (class, sentence) = seen.decide();
    Finding {
        class,
        sentence,
        causes: seen.parts(),
        confidence: seen.confidence(),
        process: seen.main.map(|p| p.pid),
        language: seen.main.map_or(Language::Native, Language::of),
    }
}

/// The figures that the rules look at.
struct Seen<'a> {
    recording: &'a Recording,
    states: &'a States,
    wall: f64,
    cpu: f64,
    cores_used: f64,
    cores: f64,
    main: Option<&'a Process>,
}

impl<'a> Seen<'a> {
    fn of(recording: &'a Recording, states: &'a States) -> Self {
        let wall = states.wall.length;
        let used = (states.wall.cpu_seen + states.wall.cpu_unseen) / wall.max(1e-9);
        Seen {
            recording,
            states,
            wall,
            cpu: states.wall.cpu / wall.max(1e-9),
            cores_used: used,
            cores: recording.machine.cores.max(1) as f64,
            main: main_process(recording, states),
        }
    }

    fn share(&self, kind: Kind) -> f64 {
        let of_kind = self.states.wall.waits.iter().filter(|(c, _)| c.kind == kind);
        of_kind.fold(0.0, |sum, (_, s)| sum + s) / self.wall.max(1e-9)
    }

    /// The thing of this kind that is waited for most, and its share of the wall.
    fn top(&self, kind: Kind) -> (String, f64) {
        let of_kind = self.states.wall.waits.iter().filter(|(c, _)| c.kind == kind);
        let top = of_kind.max_by(|a, b| a.1.total_cmp(b.1));
        top.map_or((String::new(), 0.0), |(c, s)| (c.what.clone(), s / self.wall))
    }

    fn over(&self) -> String {
        format!("of {}", human(Duration::from_secs_f64(self.wall.max(0.0))))
    }

    fn decide(&self) -> (Class, String) {
        let over = self.over();
        if self.wall < TOO_SHORT_S || self.recording.ticks.len() < TOO_SHORT_LOOKS {
            return (
                Class::TooShort,
                format!(
                    "Too short to say: {} looks in {}. Give it more work, and profile it again.",
                    self.recording.ticks.len(),
                    &over[3..]
                ),
            );
        }
        if self.share(Kind::Person) > MOSTLY {
            let share = percent(self.share(Kind::Person));
            return (Class::Person, format!("Waiting for somebody to type, {share} {over}."));
        }
        if let Some(found) = self.pipeline() {
            return found;
        }
        if let Some(found) = self.locks() {
            return found;
        }
        if let Some(found) = self.event_loop() {
            return found;
        }
        self.single_cause()
    }

    /// What is left when nothing joins several threads or processes.
    fn single_cause(&self) -> (Class, String) {
        let over = self.over();
        let network = self.share(Kind::Network);
        let disk = self.share(Kind::Disk);
        let io = network + disk;
        if self.share(Kind::Clients) + self.share(Kind::Wakeup) > MOSTLY {
            let (other, share) = self.top(Kind::Clients);
            let maybe = if !other.is_empty() && share > 0.1 {
                format!(" It waits for clients, {other}: which, a set of connections does not say.")
            } else {
                String::new()
            };
            return (
                Class::Idle,
                format!(
                    "Nothing to do for {} {over}: {:.2} of {:.0} processors used.{maybe}",
                    percent(self.share(Kind::Clients) + self.share(Kind::Wakeup)),
                    self.cores_used,
                    self.cores,
                ),
            );
        }
        let round_trips = in_round_trips(self.states);
        // Copying to the kernel is part of writing, so computing beside a disk says little.
        let disk_bound = disk > network && disk >= DISK_MIN;
        if self.cpu >= MIXED_MIN && io >= MIXED_MIN && !disk_bound && !(round_trips && network >= NETWORK_MIN) {
            let kind = if network > disk { Kind::Network } else { Kind::Disk };
            return (
                Class::Mixed,
                format!(
                    "Computing {} {over} and waiting for {} {}, one after the other.",
                    percent(self.cpu),
                    self.top(kind).0,
                    percent(io)
                ),
            );
        }
        if network >= NETWORK_MIN {
            return (Class::Network, self.network(network, round_trips));
        }
        if disk_bound {
            let (what, _) = self.top(Kind::Disk);
            return (Class::Disk, format!("Waiting for {what} {} {over}; CPU {}.", percent(disk), percent(self.cpu)));
        }
        if self.cpu >= CPU_MIN {
            return self.computing();
        }
        let sleep = self.share(Kind::Sleep);
        if sleep >= MOSTLY {
            return (
                Class::Sleeping,
                format!(
                    "Asleep {} {over}: it waits for a timer, so it is pacing, polling or backing off, not working.",
                    percent(sleep)
                ),
            );
        }
        let child = self.share(Kind::Child);
        if child >= DISK_MIN {
            return (Class::Child, format!("Waiting for child processes {} {over}.", percent(child)));
        }
        let pipe = self.share(Kind::Pipe);
        if pipe >= MOSTLY {
            return (
                Class::Pipeline,
                format!(
                    "Waiting for its input or for whoever reads its output, {} {over}: the other end of its pipe is the slow one, and is not part of what was watched.",
                    percent(pipe)
                ),
            );
        }
        if self.cpu >= MOSTLY {
            return self.computing();
        }
        let parts: Vec<String> =
            self.parts().iter().take(3).map(|p| format!("{} {}", short(p), percent(p.share))).collect();
        (Class::Unclear, format!("No single bottleneck {}: {}.", over.replacen("of", "in", 1), parts.join(", ")))
    }

    fn network(&self, share: f64, round_trips: bool) -> String {
        let (peer, top) = self.top(Kind::Network);
        let others = if share - top > 0.1 { " and other peers" } else { "" };
        let flight = self.states.wall.in_flight;
        let how = match flight {
            f if f < 1.5 => "one request at a time".to_owned(),
            f if self.states.wall.at_most => format!("on up to {f:.0} connections at once"),
            f => format!("{f:.0} in flight"),
        };
        let trips = if round_trips {
            format!(
                ", in round trips of {}",
                human(Duration::from_secs_f64(wait_per_cycle(self.states, Kind::Network)))
            )
        } else {
            String::new()
        };
        format!(
            "Waiting for {peer}{others} {} {}, {how}{trips}; CPU {}.",
            percent(share),
            self.over(),
            percent(self.cpu)
        )
    }

    fn computing(&self) -> (Class, String) {
        let over = self.over();
        let w = &self.states.wall;
        let wanted = w.ready + w.cpu_seen;
        let queued = if wanted > 0.0 { w.ready / wanted } else { 0.0 };
        let cores = self.cores;
        let unseen = if w.cpu_unseen > 0.3 * (w.cpu_seen + w.cpu_unseen) {
            format!(" {:.1} s of it in processes too short to see{}.", w.cpu_unseen, brief(self.recording, self.states))
        } else {
            String::new()
        };
        if queued > READY_MIN && w.runnable > cores + 0.5 {
            return (
                Class::CpuOversubscribed,
                format!(
                    "Computing {} {over} with {:.1} threads that want a processor, on {cores:.0}: {:.1} were used.{unseen}",
                    percent(self.cpu),
                    w.runnable,
                    self.cores_used
                ),
            );
        }
        if queued > READY_MIN {
            let others = self.recording.machine.others;
            let who = if others >= OTHERS_MIN {
                format!("other programs kept {others:.1} of {cores:.0} busy")
            } else {
                "no other program had it, so a limit (a CPU quota) or the host of this machine kept it away".to_owned()
            };
            return (
                Class::CpuStarved,
                format!("Ready but without a processor {} of the time it wanted one: {who}.{unseen}", percent(queued)),
            );
        }
        if self.cores_used > 0.8 * cores && cores > 1.0 {
            return (
                Class::CpuAllCores,
                format!(
                    "Computing {} {over}, on {:.1} of {cores:.0} processors.{unseen}",
                    percent(self.cpu),
                    self.cores_used
                ),
            );
        }
        let alone = if w.alone < 0.9 && self.cores_used > 1.1 {
            format!(" For {} of that one thread computes alone.", percent(w.alone))
        } else {
            String::new()
        };
        (
            Class::CpuSerial,
            format!(
                "Computing {} {over}, on {:.1} of {cores:.0} processors.{alone}{unseen}",
                percent(self.cpu),
                self.cores_used
            ),
        )
    }

    /// Processes joined by pipes of which one keeps the others waiting.
    fn pipeline(&self) -> Option<(Class, String)> {
        struct Stage<'p> {
            process: &'p Process,
            length: f64,
            waits: f64,
        }
        let stages: Vec<Stage<'_>> = self
            .recording
            .processes
            .iter()
            .filter_map(|process| {
                let lanes: Vec<_> = self.states.lanes.iter().filter(|l| l.pid == process.pid).collect();
                let main = lanes.iter().find(|l| l.tid == process.pid)?;
                (main.length() > 0.3 * self.wall).then(|| Stage {
                    process,
                    length: main.length(),
                    waits: main.waiting(Kind::Pipe),
                })
            })
            .collect();
        let linked = |a: &Process, b: &Process| {
            let ends = &self.recording.ends;
            ends.iter().filter(|e| e.pid == a.pid).any(|e| ends.iter().any(|o| o.inode == e.inode && o.pid == b.pid))
        };
        // A program that started the other, or is the same program, is no neighbour in a pipeline.
        let neighbours = |a: &Process, b: &Process| {
            a.pid != b.pid && a.parent != b.pid && b.parent != a.pid && a.argv != b.argv && linked(a, b)
        };
        let slowest = stages
            .iter()
            .filter(|s| stages.iter().any(|o| neighbours(s.process, o.process)))
            .min_by(|a, b| (a.waits / a.length).total_cmp(&(b.waits / b.length)))?;
        let kept: Vec<&Stage<'_>> =
            stages.iter().filter(|s| neighbours(s.process, slowest.process) && s.waits > MOSTLY * s.length).collect();
        if slowest.waits > 0.4 * slowest.length || kept.is_empty() {
            return None;
        }
        let lane = self.states.lanes.iter().find(|l| l.tid == slowest.process.pid)?;
        let own: f64 = self.states.lanes.iter().filter(|l| l.pid == slowest.process.pid).map(|l| l.run).sum();
        let does = match lane.waits.iter().filter(|(c, _)| c.kind != Kind::Pipe).max_by(|a, b| a.1.total_cmp(b.1)) {
            Some((cause, s)) if *s > own => format!("waits for {} {}", describe(cause), percent(s / lane.length())),
            _ => format!("computes {}", percent((own / lane.length()).min(1.0))),
        };
        let names: Vec<&str> = kept.iter().map(|s| s.process.name.as_str()).collect();
        Some((
            Class::Pipeline,
            format!(
                "The stage `{}` {does} {}; {} wait{} for it.",
                slowest.process.name,
                self.over(),
                names.join(" and "),
                if names.len() == 1 { "s" } else { "" }
            ),
        ))
    }

    /// Threads in line for one lock.
    fn locks(&self) -> Option<(Class, String)> {
        let over = self.over();
        let busy_line = self.states.wall.lines.iter().find(|l| l.standing_busy >= STANDING_MIN && l.wakes >= WAKES_MIN);
        if let Some(line) = busy_line {
            let run: f64 = self.states.lanes.iter().filter(|l| l.pid == line.pid).map(|l| l.run).sum();
            let cores = run / self.wall;
            if self.cpu >= MOSTLY && cores <= ONE_RUNNER_MAX && run > 0.5 * self.states.wall.cpu_seen {
                let process = self.recording.processes.iter().find(|p| p.pid == line.pid);
                // Such a lock is waited for with a time limit, after which its holder is asked for it. A lock of the program's
                // own is not.
                let asks =
                    self.recording.calls.iter().any(
                        |c| matches!(c, Call::Futex { line: word, timed: true } if format!("{word:#x}") == line.word),
                    );
                let lock = process.map(Language::of).and_then(Language::global_lock).filter(|_| asks);
                return Some(match lock {
                    Some(name) => (
                        Class::SingleRunner,
                        format!(
                            "Bound by {name}: {} threads want to compute and one at a time may; {cores:.2} processors used {over}.",
                            line.members
                        ),
                    ),
                    None => (
                        Class::Lock,
                        format!(
                            "Bound by the lock at {}: {:.1} threads stand in line for it while its holder computes; {cores:.2} processors used {over}.",
                            line.word, line.standing_busy
                        ),
                    ),
                });
            }
        }
        let (what, share) = self.top(Kind::Lock);
        if share < LOCK_MIN {
            return None;
        }
        let line = self.states.wall.lines.iter().find(|l| l.word == what && l.wakes >= 1.0);
        let holder = line.map_or_else(String::new, holder);
        let name = if what.starts_with("0x") { format!("the lock at {what}") } else { format!("the lock on {what}") };
        Some((Class::Lock, format!("Waiting for {name} {} {over}{holder}; CPU {}.", percent(share), percent(self.cpu))))
    }

    /// One thread that looks after connections and computes most of the time.
    fn event_loop(&self) -> Option<(Class, String)> {
        let main = self.main?;
        if main.watched.sockets + main.watched.listening == 0 || self.cpu < MOSTLY {
            return None;
        }
        // Of its process alone: its clients may be watched as well.
        let lanes: Vec<_> = self.states.lanes.iter().filter(|l| l.pid == main.pid).collect();
        let busiest = lanes.iter().max_by(|a, b| a.run.total_cmp(&b.run))?;
        let all: f64 = lanes.iter().map(|l| l.run).sum();
        if all > 1.3 * self.wall {
            return None;
        }
        let burst = busiest.run / (busiest.wakes * busiest.length()).max(1.0);
        let blocked = burst >= BURST_MIN_S || self.cpu > 0.85;
        if busiest.run < 0.7 * all || busiest.run < 0.4 * self.wall || !blocked {
            return None;
        }
        let n = main.watched.sockets;
        let who = match (main.watched.peers.len(), n) {
            (_, 0) => "its connections".to_owned(),
            (_, 1) => "1 connection".to_owned(),
            (_, n) => format!("{n} connections"),
        };
        Some((
            Class::EventLoop,
            format!(
                "The event loop of `{}` computes {} {}, {} at a stretch, while {who} wait for it.",
                main.name,
                percent(busiest.run / self.wall),
                self.over(),
                human(Duration::from_secs_f64(burst))
            ),
        ))
    }

    fn parts(&self) -> Vec<Part> {
        let mut all = waits(&self.states.wall.waits, self.wall);
        let cpu = self.states.wall.cpu;
        all.push(Part { kind: "cpu".to_owned(), what: String::new(), share: cpu / self.wall.max(1e-9), seconds: cpu });
        all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        all.retain(|p| p.share >= 0.005);
        all.truncate(CAUSES_MAX);
        all
    }

    fn confidence(&self) -> Confidence {
        let unexplained = self.share(Kind::Unknown);
        let looks = self.recording.ticks.len();
        let mut missing = self.recording.missing.clone();
        let w = &self.states.wall;
        if w.cpu_unseen > 0.1 * (w.cpu_seen + w.cpu_unseen) && w.cpu_unseen > 0.05 {
            let names = brief(self.recording, self.states);
            let unseen = format!("{:.2} s of processor time went to processes too short to see{names}", w.cpu_unseen);
            missing.push(if names.is_empty() && !self.recording.not_noted.is_empty() {
                format!("{unseen}, and {}", self.recording.not_noted)
            } else {
                unseen
            });
        }
        if self.recording.machine.others > 0.3 && self.recording.mode != Mode::Inside {
            missing.push(format!(
                "other programs kept {:.1} processors busy meanwhile: times would be shorter on a quiet machine",
                self.recording.machine.others
            ));
        }
        if self.recording.machine.stolen > STOLEN_MIN {
            missing.push(format!(
                "the host of this virtual machine kept {:.1} of its processors from it (steal time)",
                self.recording.machine.stolen
            ));
        }
        if self.recording.machine.interrupts > STOLEN_MIN {
            missing.push(format!(
                "interrupts took {:.1} processors, which no thread is charged for",
                self.recording.machine.interrupts
            ));
        }
        if let Some(Status::Signal(n)) = self.recording.status {
            missing.push(format!("the program was ended by signal {n}: this is what was seen until then"));
        }
        let level = match () {
            () if looks < 30 || unexplained > 0.25 || self.wall < TOO_SHORT_S => Sure::Low,
            () if looks < 100 || unexplained > 0.1 || !missing.is_empty() => Sure::Medium,
            () => Sure::High,
        };
        Confidence { level, looks, unexplained, missing }
    }
}

/// Which programs the processes too short to see were, as far as the kernel noted it: `: gzip (25 times), sh (3 times)`.
fn brief(recording: &Recording, states: &States) -> String {
    // A count of a part would be taken for one of all.
    let Some(noted) = recording.noted.as_ref().filter(|noted| noted.is_whole(recording.wall_ns)) else {
        return String::new();
    };
    let seen = |name: &str| -> f64 {
        let of = |pid: u32| recording.processes.iter().any(|p| p.pid == pid && shortened(&p.name) == name);
        states.lanes.iter().filter(|lane| of(lane.pid)).map(|lane| lane.run).sum()
    };
    let mut unseen: Vec<(&str, u64, f64)> = noted
        .programs
        .iter()
        .filter(|ran| !ran.name.is_empty() && ran.count > 0)
        .map(|ran| (ran.name.as_str(), ran.count, ran.run_ns as f64 / 1e9 - seen(&ran.name)))
        .filter(|(.., s)| *s > BRIEF_MIN * states.wall.cpu_unseen)
        .collect();
    unseen.sort_by(|a, b| b.2.total_cmp(&a.2));
    unseen.truncate(BRIEF_MAX);
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let list: Vec<String> = unseen.iter().map(|(name, count, _)| format!("{name} ({})", times(*count))).collect();
    if list.is_empty() { String::new() } else { format!(": {}", list.join(", ")) }
}

/// A name as far as the kernel keeps it.
fn shortened(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

fn waits(by: &BTreeMap<Cause, f64>, whole: f64) -> Vec<Part> {
    let kind = |kind: Kind| serde_json::to_value(kind).ok().and_then(|k| k.as_str().map(str::to_owned));
    by.iter()
        .map(|(cause, s)| Part {
            kind: kind(cause.kind).unwrap_or_default(),
            what: cause.what.clone(),
            share: s / whole.max(1e-9),
            seconds: *s,
        })
        .collect()
}

/// What one thread waited for, the longest first.
pub(crate) fn parts_of(lane: &Lane) -> Vec<Part> {
    let mut all = waits(&lane.waits, lane.length());
    all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    all
}

/// Seconds of one wait of this kind, on average, over the threads that spend their time with it.
fn wait_per_cycle(states: &States, kind: Kind) -> f64 {
    let of_kind = states.lanes.iter().filter(|l| l.waiting(kind) > 0.2 * l.length());
    let (mut waited, mut cycles) = (0.0, 0.0);
    for lane in of_kind {
        waited += lane.waiting(kind);
        cycles += lane.wakes * lane.length();
    }
    if cycles > 0.0 { waited / cycles } else { f64::INFINITY }
}

/// Whether the waits for the network are hardly longer than the way there and back.
pub(crate) fn in_round_trips(states: &States) -> bool {
    wait_per_cycle(states, Kind::Network) < ROUND_TRIP_S
}

/// What the holder of a lock does meanwhile.
fn holder(line: &Line) -> String {
    let top = line.members_wait.iter().filter(|(c, _)| c.kind != Kind::Lock && c.kind != Kind::Join);
    match top.max_by(|a, b| a.1.total_cmp(b.1)) {
        Some((cause, s)) if *s > line.members_run => format!(
            ", in a line of {} threads while its holder {}",
            line.members,
            if cause.kind == Kind::Sleep { "sleeps".to_owned() } else { format!("waits for {}", describe(cause)) }
        ),
        _ => format!(", in a line of {} threads while its holder computes", line.members),
    }
}

/// The process on which the wall depends most: computes, or waits for something outside.
fn main_process<'a>(recording: &'a Recording, states: &States) -> Option<&'a Process> {
    let weight = |pid: u32| -> f64 {
        let of = |lane: &Lane| {
            let outside = [Kind::Network, Kind::Disk, Kind::Sleep, Kind::Lock, Kind::Clients];
            // Waiting counts less than computing: a client waits for a server that may be watched as well.
            lane.run + lane.ready + 0.5 * outside.iter().map(|k| lane.waiting(*k)).sum::<f64>().min(lane.length())
        };
        states.lanes.iter().filter(|l| l.pid == pid).map(of).sum()
    };
    recording.processes.iter().max_by(|a, b| weight(a.pid).total_cmp(&weight(b.pid)))
}

/// `92 %`.
pub fn percent(share: f64) -> String {
    // Adding nothing keeps the sign of a negative zero away.
    format!("{:.0} %", (share * 100.0).clamp(0.0, 100.0) + 0.0)
}

fn describe(cause: &Cause) -> String {
    match (cause.kind, cause.what.as_str()) {
        (Kind::Sleep, _) => "a timer".to_owned(),
        (kind, "") => kind.to_string(),
        (_, what) => what.to_owned(),
    }
}

fn short(part: &Part) -> String {
    match (part.kind.as_str(), part.what.as_str()) {
        ("cpu", _) => "CPU".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, what) => format!("{kind} {what}"),
    }
}
