//! The time of the whole program, as a person at the wall clock sees it.
//!
//! Time is cut into cells. In each, the program computed for as long as any of its threads ran or was ready; the rest is
//! divided among the threads that stood at the end of the chain: whoever waits for another thread, a child or the other end
//! of a pipe that is itself watched only passes on what that one waits for. A lock is blamed when a thread that could hold
//! it, because it stands in the same line at other times, is what everybody waits for; threads in a line for which nobody
//! else ever stands wait for work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::thread::Lane;
use super::{Cause, Kind};
use crate::recording::{Call, Recording};

/// Cells of a recording, and with many threads.
const CELLS_MAX: usize = 1500;
const CELLS_MAX_CROWD: usize = 400;
const CROWD: usize = 100;
/// Share of what was in flight from which its being counted in sets matters.
const IN_SETS_MIN: f64 = 0.1;
/// Share of its life for which a thread must stand in a line to count as one that can hold what the line is for.
const MEMBER_MIN: f64 = 0.03;

/// How the wall divides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wall {
    /// Seconds.
    pub length: f64,
    /// Seconds in which some thread ran or was ready.
    pub cpu: f64,
    /// Seconds in which nothing ran, by what everybody waited for.
    pub waits: BTreeMap<Cause, f64>,
    /// Average of connections, or threads, that waited for the network while any did.
    pub in_flight: f64,
    /// Some of them were counted in sets of several connections, of which any may have had nothing under way.
    pub at_most: bool,
    /// Processor seconds that were seen.
    pub cpu_seen: f64,
    /// Processor seconds of processes too short to see.
    pub cpu_unseen: f64,
    /// Seconds that threads were ready without a processor.
    pub ready: f64,
    /// Average of threads that ran or were ready, while any did.
    pub runnable: f64,
    /// Share of the processor seconds in which one thread was alone in running or being ready.
    pub alone: f64,
    /// Lines of threads that wait for the same word, the longest first.
    pub lines: Vec<Line>,
    /// Cells, for pictures: length, and the shares of what filled them.
    pub cells: Vec<Cell>,
}

/// Threads that wait for the same word of memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Whose process.
    pub pid: u32,
    /// Its cause.
    pub word: String,
    /// Average number of threads standing in it, while its process computed.
    pub standing_busy: f64,
    /// Seconds stood in it by all threads.
    pub stood: f64,
    /// Threads that stand in it at times.
    pub members: usize,
    /// How often a second each of them got a processor.
    pub wakes: f64,
    /// Processor seconds of the members.
    pub members_run: f64,
    /// Seconds that its members waited for other things, by cause.
    pub members_wait: BTreeMap<Cause, f64>,
}

/// A moment of the whole program.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// Seconds since the recording began.
    pub start: f64,
    /// Seconds since the recording began.
    pub end: f64,
    /// Seconds in which some thread ran or was ready.
    pub cpu: f64,
    /// Average of threads that ran or were ready.
    pub runnable: f64,
}

/// What one thread did in a cell.
#[derive(Debug, Clone, Copy)]
struct Part {
    lane: usize,
    busy: f64,
    ready: f64,
    wait: f64,
    call: Option<u32>,
}

/// Divides the wall of a recording whose threads are divided.
pub fn divide(recording: &Recording, lanes: &[Lane]) -> Wall {
    let length = recording.wall_ns as f64 / 1e9;
    let limit = if lanes.len() > CROWD { CELLS_MAX_CROWD } else { CELLS_MAX };
    let count = recording.ticks.len().clamp(1, limit);
    let width = length / count as f64;
    let mut wall = Wall { length, ..Wall::default() };
    if width <= 0.0 {
        return wall;
    }
    let mut cells: Vec<Vec<Part>> = vec![Vec::new(); count];
    for (index, lane) in lanes.iter().enumerate() {
        for s in &lane.stretches {
            let span = (s.end - s.start).max(1e-12);
            let first = ((s.start / width) as usize).min(count - 1);
            let last = ((s.end / width).ceil() as usize).clamp(first + 1, count);
            for (cell, parts) in cells.iter_mut().enumerate().take(last).skip(first) {
                let low = cell as f64 * width;
                let share = (s.end.min(low + width) - s.start.max(low)).max(0.0) / span;
                if share > 0.0 {
                    parts.push(Part {
                        lane: index,
                        busy: (s.run + s.ready) * share,
                        ready: s.ready * share,
                        wait: s.wait * share,
                        call: s.call,
                    });
                }
            }
        }
    }
    let facts = Facts::of(recording, lanes);
    let noted = noted(recording, lanes, count, width);
    let mix = if noted.is_some() { 1.0 } else { union(recording, &cells, width) };
    let (mut busy_all, mut busy_alone, mut cpu_time) = (0.0, 0.0, 0.0);
    let (mut flights, mut flying, mut in_sets) = (0.0, 0.0, 0.0);
    for (i, parts) in cells.iter().enumerate() {
        let busy: f64 = parts.iter().map(|p| p.busy).sum();
        let top = top_busy(parts);
        let (cpu, alone) = match &noted {
            Some(cells) => cells[i].with_ready(parts, width),
            None => {
                let cpu = (top + (busy.min(width) - top).max(0.0) * mix).min(width);
                // More than one ran or was ready for as long as the others together did.
                (cpu, (2.0 * cpu - busy).clamp(0.0, cpu))
            }
        };
        wall.cpu += cpu;
        cpu_time += cpu;
        busy_all += busy;
        busy_alone += alone;
        let start = i as f64 * width;
        wall.cells.push(Cell { start, end: start + width, cpu, runnable: busy / width });
        blame(recording, &facts, parts, width - cpu, &mut wall.waits);
        let mut flight = 0.0;
        for part in parts {
            let Some(call) = part.call.filter(|_| part.wait > 0.0) else { continue };
            if facts.causes[call as usize].kind == Kind::Network {
                let many = match &recording.calls[call as usize] {
                    Call::Poll { on, .. } => on.sockets.max(1) as f64,
                    _ => 1.0,
                };
                flight += many * part.wait / width;
                if many > 1.0 {
                    in_sets += many * part.wait;
                }
            }
        }
        if flight > 0.0 {
            let weight = flight.min(1.0);
            flights += flight * width;
            flying += weight * width;
        }
    }
    wall.in_flight = if flying > 0.0 { flights / flying } else { 0.0 };
    wall.at_most = in_sets > IN_SETS_MIN * flights;
    wall.runnable = if cpu_time > 0.0 { busy_all / cpu_time } else { 0.0 };
    wall.alone = if cpu_time > 0.0 { busy_alone / cpu_time } else { 0.0 };
    wall.cpu_seen = lanes.iter().map(|l| l.run).sum();
    wall.ready = lanes.iter().map(|l| l.ready).sum();
    if let Some(totals) = recording.totals {
        let all = (totals.user_ns + totals.system_ns) as f64 / 1e9;
        wall.cpu_unseen = (all - wall.cpu_seen).max(0.0);
    }
    wall.lines = lines(recording, lanes, &facts, &cells, width);
    // Processes too short to see ran while nothing that was seen did; one after another, for all that is known.
    // The kernel's notes have them where they were.
    let waited: f64 = wall.waits.values().sum();
    let hidden = if noted.is_some() { 0.0 } else { wall.cpu_unseen.min(waited) };
    if waited > 0.0 && hidden > 0.0 {
        wall.waits.values_mut().for_each(|w| *w *= 1.0 - hidden / waited);
        wall.cpu += hidden;
    }
    wall
}

fn top_busy(parts: &[Part]) -> f64 {
    let mut of: HashMap<usize, f64> = HashMap::new();
    for part in parts {
        *of.entry(part.lane).or_default() += part.busy;
    }
    of.values().copied().fold(0.0, f64::max)
}

/// What the kernel noted of a cell, in seconds: that any thread was on a processor or pushed from one, and that one was alone.
#[derive(Debug, Clone, Copy, Default)]
struct NotedCell {
    any: f64,
    alone: f64,
}

impl NotedCell {
    /// With the time that a thread was ready and had not got a processor yet, which is not noted; and the time alone.
    fn with_ready(self, parts: &[Part], width: f64) -> (f64, f64) {
        let mut of: HashMap<usize, (f64, f64)> = HashMap::new();
        for part in parts {
            let lane = of.entry(part.lane).or_default();
            lane.0 += part.busy;
            lane.1 += part.ready;
        }
        let more = of.into_values().map(|(busy, ready)| (busy - self.any).clamp(0.0, ready)).fold(0.0, f64::max);
        let cpu = (self.any + more).min(width);
        (cpu, (self.alone + more).min(cpu))
    }
}

/// Less of the time on processors that was seen, or accounted for at the end, than this, and what the kernel noted was not all:
/// it leaves a program alone that runs with the rights of another user.
const NOTED_MIN: f64 = 0.9;

/// What the kernel noted, by cell; `None` unless it noted everything.
fn noted(recording: &Recording, lanes: &[Lane], count: usize, width: f64) -> Option<Vec<NotedCell>> {
    let noted = recording.noted.as_ref()?;
    let seen: f64 = lanes.iter().map(|l| l.run).sum();
    let used = recording.totals.map_or(0.0, |totals| (totals.user_ns + totals.system_ns) as f64 / 1e9);
    let all = noted.is_whole(recording.wall_ns) && noted.run_ns as f64 / 1e9 >= NOTED_MIN * seen.max(used);
    if !all || noted.busy.is_empty() {
        return None;
    }
    let mut cells = vec![NotedCell::default(); count];
    let mut before = 0;
    for stretch in &noted.busy {
        let (start, end) = (before as f64 / 1e9, stretch.at_ns as f64 / 1e9);
        before = stretch.at_ns;
        let span = end - start;
        if span <= 0.0 {
            continue;
        }
        let first = ((start / width) as usize).min(count - 1);
        let last = ((end / width).ceil() as usize).clamp(first + 1, count);
        for (i, cell) in cells.iter_mut().enumerate().take(last).skip(first) {
            let low = i as f64 * width;
            let share = (end.min(low + width) - start.max(low)).max(0.0) / span;
            cell.any += stretch.any_ns as f64 / 1e9 * share;
            cell.alone += stretch.alone_ns as f64 / 1e9 * share;
        }
    }
    Some(cells)
}

/// Counters say how long each thread was busy, not whether at the same time as another. The truth lies between the busiest
/// alone and the sum of all; where between, is told by how often a look met anybody running.
fn union(recording: &Recording, cells: &[Vec<Part>], width: f64) -> f64 {
    let (mut low, mut high) = (0.0, 0.0);
    for parts in cells {
        low += top_busy(parts).min(width);
        high += parts.iter().map(|p| p.busy).sum::<f64>().min(width);
    }
    if high - low < 1e-9 || recording.ticks.is_empty() {
        return 1.0;
    }
    let met: BTreeSet<u64> =
        recording.threads.iter().flat_map(|t| &t.samples).filter(|s| s.call.is_none()).map(|s| s.at_ns).collect();
    let seen = met.len() as f64 / recording.ticks.len() as f64 * width * cells.len() as f64;
    ((seen - low) / (high - low)).clamp(0.0, 1.0)
}

/// What is looked up again and again.
struct Facts {
    causes: Vec<Cause>,
    /// Lines by (process, word), and the lanes that are members.
    members: HashMap<(u32, u64), Vec<usize>>,
    /// Whose main and other threads a process has.
    lanes_of: HashMap<u32, Vec<usize>>,
    pid_of: Vec<u32>,
    rests: Vec<bool>,
    children: HashMap<u32, Vec<u32>>,
    ends: HashMap<u64, Vec<u32>>,
}

impl Facts {
    fn of(recording: &Recording, lanes: &[Lane]) -> Facts {
        let causes: Vec<Cause> = recording.calls.iter().map(Cause::of).collect();
        let mut stood: HashMap<(u32, u64), BTreeMap<usize, f64>> = HashMap::new();
        let mut lanes_of: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, lane) in lanes.iter().enumerate() {
            lanes_of.entry(lane.pid).or_default().push(index);
            for s in &lane.stretches {
                if let Some(Call::Futex { line, .. }) = s.call.map(|c| &recording.calls[c as usize]) {
                    *stood.entry((lane.pid, *line)).or_default().entry(index).or_default() += s.wait;
                }
            }
        }
        let member = |index: usize, stood: f64| stood > MEMBER_MIN * lanes[index].length();
        let members = stood
            .into_iter()
            .map(|(line, who)| (line, who.into_iter().filter(|(i, s)| member(*i, *s)).map(|(i, _)| i).collect()))
            .collect();
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for process in &recording.processes {
            children.entry(process.parent).or_default().push(process.pid);
        }
        let mut ends: HashMap<u64, Vec<u32>> = HashMap::new();
        for end in &recording.ends {
            ends.entry(end.inode).or_default().push(end.pid);
        }
        Facts {
            causes,
            members,
            lanes_of,
            pid_of: lanes.iter().map(|l| l.pid).collect(),
            rests: lanes.iter().map(|l| l.rests).collect(),
            children,
            ends,
        }
    }
}

/// Divides `left` seconds, in which nobody ran, among what the ends of the chains waited for.
fn blame(recording: &Recording, facts: &Facts, parts: &[Part], left: f64, waits: &mut BTreeMap<Cause, f64>) {
    if left <= 0.0 {
        return;
    }
    let present: BTreeSet<usize> = parts.iter().map(|p| p.lane).collect();
    let alive = |pid: u32| facts.lanes_of.get(&pid).is_some_and(|lanes| lanes.iter().any(|l| present.contains(l)));
    let mut at_the_end: Vec<(Cause, f64)> = Vec::new();
    let mut standing: Vec<(u32, u64, u32, f64)> = Vec::new();
    let mut patient: Vec<(Cause, f64)> = Vec::new();
    for part in parts.iter().filter(|p| p.wait > 0.0) {
        let Some(index) = part.call else {
            at_the_end.push((Cause::new(Kind::Unknown, ""), part.wait));
            continue;
        };
        let cause = facts.causes[index as usize].clone();
        let pid = facts.pid_of[part.lane];
        let passes_on = match &recording.calls[index as usize] {
            Call::Futex { line, .. } => {
                if !facts.rests[part.lane] {
                    standing.push((pid, *line, index, part.wait));
                }
                true
            }
            Call::Join { .. } => true,
            Call::Child => facts.children.get(&pid).is_some_and(|c| c.iter().any(|c| alive(*c))),
            Call::Pipe { inode, .. } => {
                facts.ends.get(inode).is_some_and(|ends| ends.iter().any(|e| *e != pid && alive(*e)))
                    || facts.rests[part.lane]
            }
            _ => matches!(cause.kind, Kind::Clients | Kind::Wakeup) || facts.rests[part.lane],
        };
        if passes_on { patient.push((cause, part.wait)) } else { at_the_end.push((cause, part.wait)) }
    }
    // Who waits for something outside, or runs, may hold what the others stand in line for.
    let holds = |pid: u32, line: u64| {
        let Some(members) = facts.members.get(&(pid, line)).filter(|m| m.len() > 1) else { return false };
        parts.iter().any(|p| {
            let outside = match p.call {
                Some(c) => !matches!(recording.calls[c as usize], Call::Futex { .. } | Call::Join { .. }),
                None => true,
            };
            outside && members.contains(&p.lane)
        })
    };
    let nobody = at_the_end.is_empty();
    for (pid, line, call, wait) in standing {
        if holds(pid, line) || nobody && facts.members.get(&(pid, line)).is_some_and(|m| m.len() > 1) {
            at_the_end.push((facts.causes[call as usize].clone(), wait));
        }
    }
    if at_the_end.is_empty() {
        at_the_end = patient;
    }
    let weight: f64 = at_the_end.iter().map(|(_, w)| w).sum();
    if weight <= 0.0 {
        *waits.entry(Cause::new(Kind::Unknown, "")).or_default() += left;
        return;
    }
    for (cause, w) in at_the_end {
        *waits.entry(cause).or_default() += left * w / weight;
    }
}

/// The lines of threads, with what their members do when they do not stand in them.
fn lines(recording: &Recording, lanes: &[Lane], facts: &Facts, cells: &[Vec<Part>], width: f64) -> Vec<Line> {
    let mut all: HashMap<(u32, u64), Line> = HashMap::new();
    let mut busy_of: HashMap<u32, f64> = HashMap::new();
    for parts in cells {
        let mut busy: HashMap<u32, f64> = HashMap::new();
        for p in parts {
            *busy.entry(facts.pid_of[p.lane]).or_default() += p.busy;
        }
        for (pid, b) in &busy {
            *busy_of.entry(*pid).or_default() += b.min(width);
        }
        for p in parts {
            let Some(Call::Futex { line, .. }) = p.call.map(|c| &recording.calls[c as usize]) else { continue };
            let pid = facts.pid_of[p.lane];
            let entry = all.entry((pid, *line)).or_default();
            entry.stood += p.wait;
            entry.standing_busy += p.wait * (busy.get(&pid).copied().unwrap_or_default() / width).min(1.0);
        }
    }
    let mut all: Vec<Line> = all
        .into_iter()
        .filter_map(|((pid, word), mut line)| {
            let members = facts.members.get(&(pid, word)).filter(|m| m.len() > 1)?;
            line.pid = pid;
            line.word = format!("{word:#x}");
            line.standing_busy /= busy_of.get(&pid).copied().unwrap_or_default().max(1e-9);
            line.members = members.len();
            line.wakes = members.iter().map(|m| lanes[*m].wakes).sum::<f64>() / members.len() as f64;
            for member in members {
                line.members_run += lanes[*member].run;
                for (cause, s) in lanes[*member].waits.iter().filter(|(c, _)| c.what != line.word) {
                    *line.members_wait.entry(cause.clone()).or_default() += s;
                }
            }
            Some(line)
        })
        .collect();
    all.sort_by(|a, b| b.stood.total_cmp(&a.stood));
    all
}
