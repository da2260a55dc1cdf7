//! How much more work would fit: for what serves others and so has no end to hasten.
//!
//! Pure functions. Whatever a request uses fills up in proportion to the requests (the utilization law of Denning and Buzen,
//! *The Operational Analysis of Queueing Network Models*, 1978), and the first to be full is the limit. Only what is seen from
//! outside is asked: the processors, a lock of the runtime that lets one thread compute, a thread that looks after all
//! connections. How far the other end of a connection is from full, only that end knows.

use serde::Serialize;

use crate::recording::{Call, Process, Recording};
use crate::states::{Kind, States};
use crate::verdict::Language;

/// More than so many times the work is not said: what happens then has not been seen.
pub const TIMES_MAX: f64 = 100.0;

/// Something that fills up as more work comes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Room {
    /// What it is.
    pub of: String,
    /// The share of it that is used, of 1.
    pub used: f64,
    /// So many times the work would fill it; at most [`TIMES_MAX`].
    pub times: f64,
}

impl Room {
    fn new(of: String, used: f64) -> Self {
        let used = used.clamp(0.0, 1.0);
        Self { of, used, times: (1.0 / used.max(1e-9)).min(TIMES_MAX) }
    }
}

/// What fills up, the first to be full first; nothing for a program that serves nobody.
pub fn rooms(recording: &Recording, states: &States) -> Vec<Room> {
    let watches = |p: &Process| p.watched.listening + p.watched.accepted > 0;
    let accepts = recording.calls.iter().any(|call| {
        matches!(call, Call::Accept) || matches!(call, Call::Poll { on, .. } if on.listening + on.accepted > 0)
    });
    let wall = states.wall.length;
    if wall <= 0.0 || !(accepts || recording.processes.iter().any(watches)) {
        return Vec::new();
    }
    let machine = &recording.machine;
    let cores = if machine.effective_cores > 0.0 { machine.effective_cores } else { machine.cores.max(1) as f64 };
    let cpu = states.wall.cpu_seen + states.wall.cpu_unseen;
    let mut rooms = vec![Room::new(format!("the {cores:.1} processors that are to be had"), cpu / (wall * cores))];
    for process in &recording.processes {
        let lanes: Vec<_> = states.lanes.iter().filter(|lane| lane.pid == process.pid).collect();
        let run: f64 = lanes.iter().map(|lane| lane.run).sum();
        if let Some(lock) = Language::of(process).global_lock() {
            rooms.push(Room::new(format!("{lock} of `{}` ({})", process.name, process.pid), run / wall));
            continue;
        }
        // The only thread that waits for clients does all that is done for them, or hands it on.
        let alone: Vec<_> = lanes.into_iter().filter(|lane| lane.waiting(Kind::Clients) > 0.0).collect();
        if let [lane] = alone[..] {
            rooms.push(Room::new(
                format!("thread `{}` ({}) of `{}`", lane.name, lane.tid, process.name),
                lane.run / wall,
            ));
        }
    }
    rooms.sort_by(|a, b| b.used.total_cmp(&a.used));
    rooms.truncate(ROOMS_MAX);
    rooms
}

/// So many are listed.
const ROOMS_MAX: usize = 4;
