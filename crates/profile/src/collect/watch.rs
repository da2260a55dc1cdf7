//! The processes and threads that are watched, and one look at all of them.
//!
//! A look reads one small file of each thread, its counters. Only of a thread whose counters moved, or that did not wait, is
//! the second file read: the call it sits in. So a thousand sleeping threads cost a thousand short reads and no more.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::calls::Resolver;
use super::events::{Events, clock_ns};
use super::proc::{self, Kept, Link, Syscall};
use super::symbols::{self, Mapping};
use crate::recording::{Call, End, Process, Recording, Sample, Thread, Watched};

/// Threads of one process up to which each is asked for its children at every scan; of more, only the first is, and all of
/// them now and then.
const ASKED_MAX: usize = 32;
const ASK_ALL_EVERY: u64 = 16;
/// How long a process is young: its name, which an `exec` changes, is read at every scan.
const YOUNG: Duration = Duration::from_secs(1);
/// How often the descriptors of a process are listed after that.
const DESCRIPTORS_EVERY: Duration = Duration::from_secs(1);
/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 2048;
/// How old a process is when it is first looked at what it may execute, and how often that is looked at then.
const MAPPED_AFTER: Duration = Duration::from_millis(50);
const MAPPED_EVERY: Duration = Duration::from_secs(1);
/// Processes of which it is kept.
const MAPPED_MAX: usize = 64;
/// How many calls are told apart; further ones are counted as this call without its details.
const CALLS_MAX: usize = 20_000;

/// What is watched, and what was seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    pub(super) seen: Recording,
    processes: HashMap<u32, Live>,
    threads: Vec<Eye>,
    known: HashSet<u32>,
    index: HashMap<Call, u32>,
    resolver: Resolver,
    pipes: HashSet<u64>,
    ends: HashSet<End>,
    scans: u64,
    /// Descriptors that may still be kept open.
    spare: usize,
    /// What is not to be watched: the watcher's own thread.
    not: Option<u32>,
    /// What the kernel notes by itself, and the beginning on its clock.
    events: Option<Events>,
    begun_clock: u64,
    mapped: HashMap<u32, Vec<Mapping>>,
}

/// A process that lives.
#[derive(Debug)]
struct Live {
    index: usize,
    born: bool,
    first: Instant,
    listed: Option<Instant>,
    pipes_known: usize,
    mapped: Option<Instant>,
}

/// A thread that is looked at.
#[derive(Debug)]
struct Eye {
    tid: u32,
    pid: u32,
    index: usize,
    counters: Kept,
    call: Kept,
    last: String,
    waits: bool,
}

impl Watch {
    /// Watches nothing yet. `spare` descriptors may be kept open.
    pub(super) fn new(spare: usize, not: Option<u32>) -> Watch {
        Watch {
            begun: Instant::now(),
            seen: Recording { version: crate::recording::VERSION, ..Recording::default() },
            processes: HashMap::new(),
            threads: Vec::new(),
            known: HashSet::new(),
            index: HashMap::new(),
            resolver: Resolver::default(),
            pipes: HashSet::new(),
            ends: HashSet::new(),
            scans: 0,
            spare,
            not,
            events: None,
            begun_clock: clock_ns(),
            mapped: HashMap::new(),
        }
    }

    /// Takes what the kernel notes as well.
    pub(super) fn note(&mut self, events: Events) {
        // Each ring is a descriptor.
        self.spare = self.spare.saturating_sub(events.rings());
        self.events = Some(events);
    }

    /// Ends the recording: what was seen, with what the kernel noted.
    pub(super) fn finish(mut self) -> Recording {
        self.seen.wall_ns = self.now_ns();
        let Some(events) = self.events.take() else { return self.seen };
        let (noted, places) = events.finish(self.begun_clock);
        self.seen.noted = Some(noted);
        let run = |t: &Thread| t.samples.last().map_or(0, |s| s.run_ns);
        let busiest = self.seen.threads.iter().max_by_key(|t| run(t)).map(|t| (t.pid, t.tid));
        if let Some((pid, tid)) = busiest
            && let (Some(places), Some(mapped)) = (places.get(&tid), self.mapped.get(&pid))
        {
            self.seen.functions = symbols::functions(pid, tid, places, mapped);
        }
        self.seen
    }

    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether anything that is watched still lives.
    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// The processes that are watched and live.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    /// Watches a process, and from the next scan on what it starts. `born`: it began after the recording.
    pub(super) fn add(&mut self, pid: u32, parent: u32, born: bool) {
        if self.processes.contains_key(&pid) {
            return;
        }
        let now = self.now_ns();
        let mut process = Process { pid, parent, start_ns: now, end_ns: now, ..Process::default() };
        identify(&mut process);
        self.seen.processes.push(process);
        let index = self.seen.processes.len() - 1;
        self.processes
            .insert(pid, Live { index, born, first: Instant::now(), listed: None, pipes_known: 0, mapped: None });
        self.find_threads(pid);
    }

    /// Looks for new processes and threads, and at what their descriptors are. With `own`, what became a child of that
    /// process is watched as well.
    pub(super) fn scan(&mut self, own: Option<u32>) {
        self.scan_for(own, true);
    }

    /// Finds what was there before the recording.
    pub(super) fn scan_existing(&mut self) {
        self.scan_for(None, false);
    }

    fn scan_for(&mut self, own: Option<u32>, born: bool) {
        self.scans += 1;
        let mut pids: Vec<u32> = self.processes.keys().copied().collect();
        pids.sort_unstable();
        let mut children: Vec<(u32, u32)> = Vec::new();
        if let Some(own) = own {
            // Children whose parent ended have become ours.
            children.extend(children_of(own, own).into_iter().map(|child| (child, own)));
        }
        for pid in pids {
            let Some(tids) = self.find_threads(pid) else {
                self.gone(pid);
                continue;
            };
            let all = tids.len() <= ASKED_MAX || self.scans.is_multiple_of(ASK_ALL_EVERY);
            for tid in tids.into_iter().filter(|tid| all || *tid == pid) {
                children.extend(children_of(pid, tid).into_iter().map(|child| (child, pid)));
            }
            self.describe(pid);
        }
        for (child, parent) in children {
            self.add(child, parent, born);
        }
    }

    /// The threads of a process, new ones noted; `None` when it has gone.
    fn find_threads(&mut self, pid: u32) -> Option<Vec<u32>> {
        let live = self.processes.get(&pid)?;
        let (born, first_scan) = (live.born, live.listed.is_none());
        let mut tids = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let Some(tid) = entry.ok()?.file_name().to_str().and_then(|t| t.parse::<u32>().ok()) else { continue };
            if Some(tid) == self.not {
                continue;
            }
            tids.push(tid);
            if self.known.insert(tid) {
                // Of a process that ran already, what is there at first was not born now.
                if let Some(eye) = self.open(pid, tid, born || !first_scan) {
                    self.threads.push(eye);
                } else {
                    self.known.remove(&tid);
                }
            }
        }
        Some(tids)
    }

    fn open(&mut self, pid: u32, tid: u32, born: bool) -> Option<Eye> {
        let directory = Path::new("/proc").join(pid.to_string()).join("task").join(tid.to_string());
        let keep = self.spare >= 2;
        let counters = Kept::new(directory.join("schedstat"), keep).ok()?;
        let call = Kept::new(directory.join("syscall"), keep).or_else(|_| Kept::new(directory.join("syscall"), false));
        let name = std::fs::read_to_string(directory.join("comm")).unwrap_or_default().trim_end().to_owned();
        if keep {
            self.spare -= 2;
        }
        self.seen.threads.push(Thread { tid, pid, name, born, samples: Vec::new() });
        let index = self.seen.threads.len() - 1;
        Some(Eye { tid, pid, index, counters, call: call.ok()?, last: String::new(), waits: false })
    }

    /// A process ended: nothing of it is looked at any more.
    pub(super) fn gone(&mut self, pid: u32) {
        if let Some(live) = self.processes.remove(&pid) {
            self.seen.processes[live.index].end_ns = self.now_ns();
        }
        let before = self.threads.len();
        self.threads.retain(|eye| eye.pid != pid);
        self.spare += 2 * (before - self.threads.len());
        let left: HashSet<u32> = self.threads.iter().map(|eye| eye.tid).collect();
        self.known.retain(|tid| left.contains(tid));
    }

    /// Name, arguments and descriptors, as often as they may change.
    fn describe(&mut self, pid: u32) {
        let Some(live) = self.processes.get_mut(&pid) else { return };
        let young = live.first.elapsed() < YOUNG;
        let due =
            live.listed.is_none_or(|when| when.elapsed() > DESCRIPTORS_EVERY) || live.pipes_known < self.pipes.len();
        if young || due {
            let process = &mut self.seen.processes[live.index];
            let before = process.exe.clone();
            identify(process);
            if process.exe != before {
                live.mapped = None;
            }
        }
        let may_map = self.mapped.len() < MAPPED_MAX || self.mapped.contains_key(&pid);
        if self.events.is_some()
            && may_map
            && live.first.elapsed() >= MAPPED_AFTER
            && live.mapped.is_none_or(|when| when.elapsed() >= MAPPED_EVERY)
        {
            live.mapped = Some(Instant::now());
            self.mapped.insert(pid, symbols::mappings(pid));
        }
        if !due {
            return;
        }
        live.listed = Some(Instant::now());
        live.pipes_known = self.pipes.len();
        let index = live.index;
        let Ok(directory) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return };
        // A set that a library holds twice is still one.
        let mut looked_after: HashSet<(u64, u64)> = HashSet::new();
        for entry in directory.flatten().take(DESCRIPTORS_MAX) {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            match proc::link_of(&target.to_string_lossy()) {
                Link::Epoll => {
                    let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok()).unwrap_or_default();
                    looked_after.extend(proc::epoll_set(pid, fd));
                }
                Link::Pipe(inode) if self.pipes.contains(&inode) => {
                    // The mode of the link says what the descriptor may do.
                    use std::os::unix::fs::PermissionsExt as _;
                    let mode = entry.path().symlink_metadata().map_or(0, |m| m.permissions().mode());
                    let end = End { inode, pid, reads: mode & 0o400 != 0, writes: mode & 0o200 != 0 };
                    if self.ends.insert(end) {
                        self.seen.ends.push(end);
                    }
                }
                Link::Anonymous(kind) if kind == "[io_uring]" => {
                    self.miss("a program does I/O through io_uring: that it waits for a ring is seen, and not what for")
                }
                _ => {}
            }
        }
        let mut watched = Watched::default();
        for (fd, inode) in looked_after {
            watched.add(self.resolver.socket(pid, fd, inode));
        }
        let process = &mut self.seen.processes[index];
        if watched.sockets + watched.listening >= process.watched.sockets + process.watched.listening {
            process.watched = watched;
        }
    }

    /// One look at every thread.
    pub(super) fn look(&mut self) {
        if let Some(events) = &mut self.events {
            events.fetch(false);
        }
        let now = self.now_ns();
        self.seen.ticks.push(now);
        let mut threads = std::mem::take(&mut self.threads);
        threads.retain_mut(|eye| {
            let kept = self.look_at(eye, now);
            if !kept {
                self.known.remove(&eye.tid);
                self.spare += 2;
            }
            kept
        });
        self.threads = threads;
        for live in self.processes.values() {
            self.seen.processes[live.index].end_ns = now;
        }
    }

    /// The last look at a process that has ended and is still there to be waited for.
    pub(super) fn last_look(&mut self, pid: u32) {
        let now = self.now_ns();
        let Some(eye) = self.threads.iter().find(|eye| eye.tid == pid) else { return };
        let index = eye.index;
        let mut buffer = proc::buffer();
        if let Some((run_ns, delay_ns, slices)) = eye.counters.read(&mut buffer).ok().and_then(proc::schedstat) {
            self.push(index, Sample { at_ns: now, until_ns: now, run_ns, delay_ns, slices, call: None });
        }
    }

    fn push(&mut self, thread: usize, sample: Sample) {
        let samples = &mut self.seen.threads[thread].samples;
        // A counter that was read on another processor may lag a little.
        let (run, delay) = samples.last().map_or((0, 0), |l| (l.run_ns, l.delay_ns));
        samples.push(Sample { run_ns: sample.run_ns.max(run), delay_ns: sample.delay_ns.max(delay), ..sample });
    }

    /// Whether the thread still lives.
    fn look_at(&mut self, eye: &mut Eye, now: u64) -> bool {
        let mut buffer = proc::buffer();
        let Ok(text) = eye.counters.read(&mut buffer) else { return false };
        if eye.waits && text == eye.last {
            if let Some(sample) = self.seen.threads[eye.index].samples.last_mut() {
                sample.until_ns = now;
            }
            return true;
        }
        let Some((run_ns, delay_ns, slices)) = proc::schedstat(text) else { return false };
        eye.last.clear();
        eye.last.push_str(text);
        let mut ended = false;
        let call = match eye.call.read(&mut buffer).map(proc::syscall) {
            Ok(Some(Syscall::Running)) => None,
            Ok(Some(Syscall::Outside)) => match state(eye) {
                None | Some('Z' | 'X') => {
                    ended = true;
                    None
                }
                Some('R') => None,
                Some('D') => Some(Call::Fault),
                Some('T' | 't') => Some(Call::Hidden { function: "stopped".to_owned() }),
                Some(_) => Some(Call::Hidden { function: String::new() }),
            },
            Ok(Some(Syscall::In { number, arguments })) => {
                let on_disk = || state(eye) == Some('D');
                // Not `known`: it may have begun a moment ago.
                let is_thread = |tid| Path::new(&format!("/proc/{}/task/{tid}", eye.pid)).exists();
                Some(self.resolver.resolve(eye.pid, number, &arguments, on_disk, is_thread))
            }
            // Refused, or this kernel has no such file: what the kernel calls it is better than nothing.
            Err(e) if e.kind() == io::ErrorKind::NotFound && state(eye).is_none() => {
                ended = true;
                None
            }
            Ok(None) | Err(_) => match state(eye) {
                None | Some('Z' | 'X') => {
                    ended = true;
                    None
                }
                Some('R') => None,
                Some(_) => {
                    self.miss(
                        "what threads wait for is hidden by the kernel (it belongs to another user, or is protected against \
                         debuggers): run ropewalk as the same user or as root, or start the program with `ropewalk profile -- ..`; \
                         under Yama `sysctl kernel.yama.ptrace_scope=0` allows --pid",
                    );
                    let function = proc::text(eye.pid, &format!("task/{}/wchan", eye.tid)).unwrap_or_default();
                    Some(Call::Hidden { function: if function == "0" { String::new() } else { function } })
                }
            },
        };
        eye.waits = call.is_some();
        if let Some(Call::Pipe { inode, .. }) = &call {
            self.pipes.insert(*inode);
        }
        let call = call.map(|call| self.intern(call));
        self.push(eye.index, Sample { at_ns: now, until_ns: now, run_ns, delay_ns, slices, call });
        !ended
    }

    fn intern(&mut self, call: Call) -> u32 {
        let call = if self.index.len() >= CALLS_MAX { call.without_details() } else { call };
        let next = u32::try_from(self.seen.calls.len()).unwrap_or(u32::MAX);
        *self.index.entry(call).or_insert_with_key(|call| {
            self.seen.calls.push(call.clone());
            next
        })
    }

    /// Says once what could not be seen.
    pub(super) fn miss(&mut self, what: &str) {
        if !self.seen.missing.iter().any(|m| m == what) {
            self.seen.missing.push(what.to_owned());
        }
    }
}

impl Call {
    /// The same kind of wait, about nothing in particular.
    fn without_details(self) -> Call {
        match self {
            Call::Socket { verb, .. } => Call::Socket { peer: String::new(), verb },
            Call::File { verb, .. } => Call::File { path: String::new(), verb },
            Call::Pipe { verb, .. } => Call::Pipe { inode: 0, verb },
            Call::Futex { timed, .. } => Call::Futex { line: 0, timed },
            Call::Join { .. } => Call::Join { tid: 0 },
            other => other,
        }
    }
}

/// The letter of its state, `None` when it has gone.
fn state(eye: &Eye) -> Option<char> {
    proc::text(eye.pid, &format!("task/{}/stat", eye.tid)).as_deref().and_then(proc::stat).map(|(state, _)| state)
}

/// Name, file and arguments. The environment, where secrets are, is never read.
fn identify(process: &mut Process) {
    let pid = process.pid;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).map(|p| p.to_string_lossy().into_owned());
    let name = proc::text(pid, "comm").map(|n| n.trim_end().to_owned());
    let unchanged = exe.as_ref().is_ok_and(|e| *e == process.exe) && name.as_ref().is_some_and(|n| *n == process.name);
    if unchanged && !process.argv.is_empty() {
        return;
    }
    if let Some(name) = name {
        process.name = name;
    }
    if let Ok(exe) = exe {
        process.exe = exe;
    }
    if let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        let words = line.split(|b| *b == 0).filter(|w| !w.is_empty());
        let argv: Vec<String> = words.map(|w| OsString::from_vec(w.to_vec()).to_string_lossy().into_owned()).collect();
        if !argv.is_empty() {
            process.argv = argv;
        }
    }
}

/// Processes that this thread started and that live.
fn children_of(pid: u32, tid: u32) -> Vec<u32> {
    let text = proc::text(pid, &format!("task/{tid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|c| c.parse().ok()).collect()
}
