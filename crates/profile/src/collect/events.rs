//! What the kernel notes by itself of a program that is started here: every start, end and switch of its threads, and now and
//! then where one computes. No look misses a process that lives for a millisecond this way.
//!
//! One event for each processor, opened on this thread without being enabled: whatever is started from it inherits the event,
//! and an `exec` enables it. So only the program and its descendants are noted, from their first instruction on, and no
//! privilege is needed where `kernel.perf_event_paranoid` is 2 or less. Where the kernel refuses, everything else goes on.
//!
//! The notes come in rings, one for each processor, each in order of time. [`Events`] merges them, and [`Tally`], which is
//! pure, adds them up. What is kept of programs, threads and places has limits; the first ones that come have them.

use std::collections::HashMap;
use std::io;

use nix::time::{ClockId, clock_gettime};
use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

use crate::recording::{Busy, Noted, Ran};

/// Pages of one ring, and of all of them together.
const RING_PAGES: usize = 128;
const RINGS_PAGES: usize = 2048;
/// With less room than this notes would be lost all the time.
const RING_PAGES_MIN: usize = 4;
/// Nanoseconds of computing between two notes of where.
const COMPUTES_EVERY: u64 = 10_000_000;
/// More switches a second than this would cost the program more than a note is worth: then no more are taken.
const NOTES_RATE_MAX: f64 = 20_000.0;
/// The same of threads that live at once: each carries the events with it.
const LIVING_MAX: usize = 256;
/// The shortest time over which their rate is taken.
const RATE_OVER_NS: u64 = 200_000_000;
/// Notes younger than this are left for the next time: an older one from another ring may still come.
const SETTLED_NS: u64 = 2_000_000;
/// Names of programs that are told apart, threads of which it is kept where they compute, and places of one thread.
const NAMES_MAX: usize = 256;
const THREADS_MAX: usize = 256;
const PLACES_MAX: usize = 4096;
/// Programs that a recording lists.
const LISTED_MAX: usize = 64;

/// The kinds of records, as the kernel numbers them, and bits that go with them.
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const SWITCH: u32 = 14;
const OUT: u16 = 1 << 13;
const PREEMPTED: u16 = 1 << 14;
const EXEC: u16 = 1 << 13;

/// The rings, and what came out of them so far.
pub(super) struct Events {
    rings: Vec<Sampler>,
    waiting: Vec<Note>,
    tally: Tally,
    /// Notes since then, to see how many a second there are.
    came: usize,
    counted_from: u64,
    lost: u64,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("rings", &self.rings.len()).finish_non_exhaustive()
    }
}

/// Nanoseconds of the clock that notes are stamped with.
pub(super) fn clock_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Events {
    /// For what this thread starts from now on.
    ///
    /// # Errors
    /// Where the kernel allows no such events, or no memory for them.
    pub(super) fn open() -> io::Result<Events> {
        let processors = online(&std::fs::read_to_string("/sys/devices/system/cpu/online")?);
        let pages = (RINGS_PAGES / processors.len().max(1)).min(RING_PAGES);
        // The kernel grants a power of two.
        let mut pages = if pages.is_power_of_two() { pages } else { pages.next_power_of_two() / 2 };
        let rings = loop {
            let rings: io::Result<Vec<Sampler>> = processors.iter().map(|cpu| ring(*cpu, pages)).collect();
            match rings {
                Ok(rings) if !rings.is_empty() => break rings,
                // Others of this user may hold what it may lock.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && pages > RING_PAGES_MIN => pages /= 2,
                Ok(_) => return Err(io::Error::other("no processor is online")),
                Err(e) => return Err(e),
            }
        };
        let now = clock_ns();
        Ok(Events { rings, waiting: Vec::new(), tally: Tally::new(now), came: 0, counted_from: now, lost: 0 })
    }

    /// How many rings there are.
    pub(super) fn rings(&self) -> usize {
        self.rings.len()
    }

    /// Takes what has come. `last` says that nothing comes any more.
    pub(super) fn fetch(&mut self, last: bool) {
        if self.rings.is_empty() {
            return;
        }
        let now = clock_ns();
        let before = self.waiting.len();
        for ring in &mut self.rings {
            while let Some(record) = ring.next_record() {
                match read(record.ty(), record.misc(), &record.to_contiguous()) {
                    Some(Read::Note(note)) => self.waiting.push(note),
                    Some(Read::Lost(count)) => self.lost += count,
                    None => {}
                }
            }
        }
        self.came += self.waiting.len() - before;
        let span = now.saturating_sub(self.counted_from);
        let mut too_many = false;
        if span >= RATE_OVER_NS {
            too_many = self.came as f64 * 1e9 / span as f64 > NOTES_RATE_MAX;
            (self.came, self.counted_from) = (0, now);
        }
        too_many |= self.tally.threads.len() > LIVING_MAX;
        self.waiting.sort_by_key(|note| note.at_ns);
        let until = if last || too_many { now } else { now.saturating_sub(SETTLED_NS) };
        let settled = self.waiting.partition_point(|note| note.at_ns <= until);
        for note in self.waiting.drain(..settled) {
            self.tally.note(note);
        }
        self.tally.pass(until);
        if too_many {
            // Closed, they cost the program nothing.
            self.rings.clear();
            self.waiting.clear();
        }
    }

    /// What was noted, in a recording that began at `begun` of [`clock_ns`], and where threads computed.
    pub(super) fn finish(mut self, begun: u64) -> (Noted, Places) {
        self.fetch(true);
        let lost = self.lost;
        self.tally.finish(begun, lost)
    }
}

/// Processors in the kernel's form: `0-3,8`.
fn online(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn ring(cpu: usize, pages: usize) -> io::Result<Sampler> {
    let mut event = Builder::new(Software::CPU_CLOCK);
    event
        .observe_self()
        .one_cpu(cpu)
        .inherit(true)
        .enabled(false)
        .enable_on_exec(true)
        .exclude_kernel(true)
        .exclude_hv(true)
        .task(true)
        .comm(true)
        .comm_exec(true)
        .context_switch(true)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .sample_period(COMPUTES_EVERY)
        .sample(SampleFlag::IP | SampleFlag::TID | SampleFlag::TIME);
    event.build()?.sampled(pages * page_bytes())
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Something that a thread did, or that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    at_ns: u64,
    pid: u32,
    tid: u32,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Began, by a fork or as a further thread.
    Began { parent: u32 },
    /// Got a processor.
    On,
    /// Lost it, to others or because it waits.
    Off { preempted: bool },
    /// Computes at this address.
    At(u64),
    /// Became this program.
    Exec(String),
    /// Ended.
    Ended,
}

enum Read {
    Note(Note),
    /// So many were dropped because a ring was full.
    Lost(u64),
}

/// One record of a ring, without its head.
fn read(kind: u32, misc: u16, data: &[u8]) -> Option<Read> {
    let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?));
    // Whose and when stands at the end of whatever is no sample.
    let end = data.len().checked_sub(16)?;
    let note = |at_ns, pid, tid, what| Some(Read::Note(Note { at_ns, pid, tid, what }));
    match kind {
        LOST => Some(Read::Lost(long(8)?)),
        COMM if misc & EXEC != 0 => {
            let name = data.get(8..end)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            note(long(end + 8)?, word(0)?, word(4)?, What::Exec(String::from_utf8_lossy(name).into_owned()))
        }
        FORK => note(long(16)?, word(0)?, word(8)?, What::Began { parent: word(4)? }),
        EXIT => note(long(16)?, word(0)?, word(8)?, What::Ended),
        SAMPLE => note(long(16)?, word(8)?, word(12)?, What::At(long(0)?)),
        SWITCH => {
            let what = if misc & OUT == 0 { What::On } else { What::Off { preempted: misc & PREEMPTED != 0 } };
            note(long(end + 8)?, word(end)?, word(end + 4)?, what)
        }
        _ => None,
    }
}

/// Where threads computed: how often at which address, by thread.
pub(super) type Places = HashMap<u32, HashMap<u64, u32>>;

/// Adds notes up, which come in order of time.
#[derive(Debug, Default)]
struct Tally {
    threads: HashMap<u32, Task>,
    processes: HashMap<u32, Running>,
    ran: HashMap<String, Ran>,
    places: Places,
    /// Threads on a processor, pushed from one, or without one since they began.
    busy: usize,
    now: u64,
    any: u64,
    alone: u64,
    stretches: Vec<Busy>,
}

#[derive(Debug)]
struct Task {
    pid: u32,
    on_since: Option<u64>,
    /// Wants a processor, and was pushed from one or has not had one yet.
    preempted: bool,
}

#[derive(Debug, Default)]
struct Running {
    name: String,
    threads: usize,
    run_ns: u64,
}

impl Tally {
    fn new(now: u64) -> Tally {
        Tally { now, ..Tally::default() }
    }

    /// Time passes, in which nothing changes.
    fn advance(&mut self, to: u64) {
        let passed = to.saturating_sub(self.now);
        self.now = self.now.max(to);
        if self.busy > 0 {
            self.any += passed;
        }
        if self.busy == 1 {
            self.alone += passed;
        }
    }

    /// The end of a stretch in which all notes are known.
    fn pass(&mut self, until: u64) {
        self.advance(until);
        self.stretches.push(Busy { at_ns: until, any_ns: self.any, alone_ns: self.alone });
        (self.any, self.alone) = (0, 0);
    }

    fn note(&mut self, note: Note) {
        // What ends has no number any more while it is taken from its processor.
        if note.tid == 0 || note.tid == u32::MAX {
            return;
        }
        self.advance(note.at_ns);
        let Note { pid, tid, what, .. } = note;
        match what {
            What::Began { parent } => {
                if !self.processes.contains_key(&pid) {
                    // Until it executes another, it is the same program.
                    let name = self.processes.get(&parent).map(|p| p.name.clone()).unwrap_or_default();
                    self.processes.insert(pid, Running { name, ..Running::default() });
                }
                // It wants a processor from the first moment on.
                let task = self.known(pid, tid);
                if task.on_since.is_none() && !std::mem::replace(&mut task.preempted, true) {
                    self.busy += 1;
                }
            }
            What::On => self.on(pid, tid),
            What::Off { preempted } => self.off(tid, preempted),
            What::Exec(name) => self.exec(pid, tid, name),
            What::At(address) => self.at(tid, address),
            What::Ended => self.ended(pid, tid),
        }
    }

    fn known(&mut self, pid: u32, tid: u32) -> &mut Task {
        self.threads.entry(tid).or_insert_with(|| {
            self.processes.entry(pid).or_default().threads += 1;
            Task { pid, on_since: None, preempted: false }
        })
    }

    fn on(&mut self, pid: u32, tid: u32) {
        let now = self.now;
        let task = self.known(pid, tid);
        if task.on_since.is_none() {
            task.on_since = Some(now);
            let came = !std::mem::take(&mut task.preempted);
            self.busy += usize::from(came);
        }
    }

    fn off(&mut self, tid: u32, preempted: bool) {
        let Some(task) = self.threads.get_mut(&tid) else { return };
        let was_busy = task.on_since.is_some() || task.preempted;
        if let Some(since) = task.on_since.take() {
            self.processes.entry(task.pid).or_default().run_ns += self.now - since;
        }
        task.preempted = preempted && was_busy;
        if was_busy && !preempted {
            self.busy -= 1;
        }
    }

    /// A thread makes its process another program, and is the only thread of that. It runs, from now on if not before.
    fn exec(&mut self, pid: u32, tid: u32, name: String) {
        let others: Vec<u32> = self
            .threads
            .iter()
            .filter(|(other, task)| task.pid == pid && **other != tid)
            .map(|(other, _)| *other)
            .collect();
        for other in others {
            self.off(other, false);
            self.threads.remove(&other);
        }
        self.on(pid, tid);
        // What it has run so far was the program before.
        self.off(tid, true);
        self.on(pid, tid);
        self.places.remove(&tid);
        let process = self.processes.entry(pid).or_default();
        process.threads = 1;
        let (before, run_ns) = (std::mem::replace(&mut process.name, name), std::mem::take(&mut process.run_ns));
        self.add(before, 0, run_ns);
    }

    fn at(&mut self, tid: u32, address: u64) {
        if self.places.len() >= THREADS_MAX && !self.places.contains_key(&tid) {
            return;
        }
        let places = self.places.entry(tid).or_default();
        if places.len() < PLACES_MAX || places.contains_key(&address) {
            *places.entry(address).or_default() += 1;
        }
    }

    fn ended(&mut self, pid: u32, tid: u32) {
        self.off(tid, false);
        if self.threads.remove(&tid).is_none() {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.threads = process.threads.saturating_sub(1);
        if process.threads == 0
            && let Some(process) = self.processes.remove(&pid)
        {
            self.add(process.name, 1, process.run_ns);
        }
    }

    fn add(&mut self, name: String, count: u64, run_ns: u64) {
        if count == 0 && run_ns == 0 {
            return;
        }
        let full = self.ran.len() >= NAMES_MAX && !self.ran.contains_key(&name);
        let ran = self.ran.entry(if full { String::new() } else { name }).or_default();
        ran.count += count;
        ran.run_ns += run_ns;
    }

    fn finish(mut self, begun: u64, lost: u64) -> (Noted, Places) {
        // What still runs has run until now.
        let running: Vec<u32> = self.threads.keys().copied().collect();
        running.into_iter().for_each(|tid| self.off(tid, false));
        for process in std::mem::take(&mut self.processes).into_values() {
            self.add(process.name, 1, process.run_ns);
        }
        let mut programs: Vec<Ran> = self.ran.into_iter().map(|(name, ran)| Ran { name, ..ran }).collect();
        programs.sort_by(|a, b| (b.run_ns, &a.name).cmp(&(a.run_ns, &b.name)));
        let run_ns = programs.iter().map(|ran| ran.run_ns).sum();
        programs.truncate(LISTED_MAX);
        let mut busy = self.stretches;
        busy.iter_mut().for_each(|b| b.at_ns = b.at_ns.saturating_sub(begun));
        (Noted { until_ns: self.now.saturating_sub(begun), lost, run_ns, programs, busy }, self.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn tally(notes: &[(u64, u32, u32, What)]) -> Tally {
        let mut tally = Tally::new(0);
        for (ms, pid, tid, what) in notes {
            tally.note(Note { at_ns: ms * MS, pid: *pid, tid: *tid, what: what.clone() });
        }
        tally
    }

    fn exec(name: &str) -> What {
        What::Exec(name.to_owned())
    }

    fn ran(noted: &Noted) -> Vec<(&str, u64, u64)> {
        noted.programs.iter().map(|r| (r.name.as_str(), r.count, r.run_ns / MS)).collect()
    }

    const WAITS: What = What::Off { preempted: false };
    const PUSHED: What = What::Off { preempted: true };

    #[test]
    fn processes_that_no_look_could_meet_are_named_with_their_time() {
        let mut notes = vec![(0, 1, 1, exec("sh"))];
        for i in 0..3u32 {
            let (at, pid) = (10 * u64::from(i) + 1, 100 + i);
            // The shell forks, waits; the child is the shell for a millisecond and gzip for four.
            notes.extend([
                (at, pid, pid, What::Began { parent: 1 }),
                (at, 1, 1, WAITS),
                (at, pid, pid, What::On),
                (at + 1, pid, pid, exec("gzip")),
                (at + 5, pid, pid, What::Ended),
                (at + 5, 1, 1, What::On),
            ]);
        }
        notes.push((30, 1, 1, What::Ended));
        let mut tally = tally(&notes);
        tally.pass(40 * MS);
        let (noted, _) = tally.finish(0, 0);
        assert_eq!(ran(&noted), [("sh", 1, 18), ("gzip", 3, 12)]);
        // Somebody ran all the time until the shell's end, and always alone: the shell waits when its child begins.
        assert_eq!(noted.busy, [Busy { at_ns: 40 * MS, any_ns: 30 * MS, alone_ns: 30 * MS }]);
    }

    #[test]
    fn pushed_from_a_processor_is_busy_and_waiting_is_not() {
        let mut tally = tally(&[
            (0, 1, 1, exec("a")),
            (0, 1, 2, What::Began { parent: 1 }),
            (2, 1, 2, What::On),
            (4, 1, 1, PUSHED),
            (6, 1, 1, What::On),
            (7, 1, 2, WAITS),
            (9, 1, 1, WAITS),
        ]);
        tally.pass(12 * MS);
        let (noted, _) = tally.finish(2 * MS, 0);
        // Two from 0, when the second began, to 7; one until 9.
        assert_eq!(noted.busy, [Busy { at_ns: 10 * MS, any_ns: 9 * MS, alone_ns: 2 * MS }]);
        assert_eq!(ran(&noted), [("a", 1, 12)]);
    }

    #[test]
    fn threads_of_the_program_before_an_exec_are_gone() {
        let mut tally = tally(&[
            (0, 1, 1, exec("a")),
            (0, 1, 2, What::Began { parent: 1 }),
            (0, 1, 2, What::On),
            // By the second thread, which is the first from then on.
            (5, 1, 1, exec("b")),
            (8, 1, 1, What::Ended),
        ]);
        tally.pass(20 * MS);
        assert!(tally.threads.is_empty() && tally.processes.is_empty());
        let (noted, _) = tally.finish(0, 0);
        assert_eq!(ran(&noted), [("a", 0, 10), ("b", 1, 3)]);
        assert_eq!(noted.busy[0].any_ns, 8 * MS);
    }

    #[test]
    fn notes_that_were_lost_do_not_upset_what_comes() {
        // No start, two ends, off without on.
        let mut tally = tally(&[
            (1, 7, 7, WAITS),
            (2, 7, 7, What::On),
            (3, 7, 7, What::On),
            (5, 7, 7, What::Ended),
            (6, 7, 7, What::Ended),
            (7, 9, 9, PUSHED),
            (8, u32::MAX, u32::MAX, What::On),
        ]);
        tally.pass(9 * MS);
        let (noted, _) = tally.finish(0, 3);
        assert_eq!((noted.lost, noted.busy[0].any_ns), (3, 3 * MS));
    }

    #[test]
    fn records_are_read_in_the_kernels_form() {
        fn bytes(words: &[u32]) -> Vec<u8> {
            words.iter().flat_map(|w| w.to_ne_bytes()).collect()
        }
        // A time of one second, in two words of the machine's order.
        let second: [u32; 2] = {
            let b = 1_000_000_000u64.to_ne_bytes();
            [u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), u32::from_ne_bytes([b[4], b[5], b[6], b[7]])]
        };
        let id = [41, 42, second[0], second[1]];
        let note = |kind, misc, words: &[u32]| match read(kind, misc, &bytes(words)) {
            Some(Read::Note(note)) => (note.at_ns / MS, note.pid, note.tid, note.what),
            _ => panic!("a note"),
        };
        assert_eq!(note(SWITCH, 0, &id), (1000, 41, 42, What::On));
        assert_eq!(note(SWITCH, OUT, &id), (1000, 41, 42, WAITS));
        assert_eq!(note(SWITCH, OUT | PREEMPTED, &id), (1000, 41, 42, PUSHED));
        let fork = [50, 41, 51, 42, second[0], second[1], 41, 42, second[0], second[1]];
        assert_eq!(note(FORK, 0, &fork), (1000, 50, 51, What::Began { parent: 41 }));
        assert_eq!(note(EXIT, 0, &fork), (1000, 50, 51, What::Ended));
        let name: [u32; 2] = [u32::from_ne_bytes(*b"gzip"), 0];
        let comm = [41, 42, name[0], name[1], id[0], id[1], id[2], id[3]];
        assert_eq!(note(COMM, EXEC, &comm), (1000, 41, 42, exec("gzip")));
        assert!(read(COMM, 0, &bytes(&comm)).is_none(), "a name that a thread gave itself");
        let sample = [0x1234, 0, 41, 42, second[0], second[1]];
        let address = u64::from_ne_bytes([bytes(&[0x1234]), bytes(&[0])].concat().try_into().expect("eight"));
        assert_eq!(note(SAMPLE, 0, &sample), (1000, 41, 42, What::At(address)));
        assert!(matches!(read(LOST, 0, &bytes(&[0, 0, 5, 0, 0, 0, 0, 0])), Some(Read::Lost(_))));
        // Shorter than it says: nothing, and no panic.
        for kind in [LOST, COMM, FORK, EXIT, SAMPLE, SWITCH] {
            assert!(read(kind, EXEC, &[1, 2, 3]).is_none());
        }
        assert_eq!(online("0-2,5\n"), [0, 1, 2, 5]);
    }
}
