//! What a program waits for, from outside, and what would help.
//!
//! Two halves. **Collecting** ([`collect`]) watches any program through `/proc`, without privileges and without changing it, and
//! writes a [`recording`]: facts. **Judging** is pure: [`states`] divides the time of every thread, [`verdict`] says what
//! holds the program up, [`functions`] in which functions it computes, [`predict`] how long it would take otherwise, [`headroom`] how much more a server could do, [`advice`] how to write that; [`judge`] does all of
//! it. So a recording can be judged again, later or elsewhere, and every verdict is testable without a clock.
//!
//! [`measure`](measure()) gives the verdict for a closure. [`timeline`] and [`picture`] draw who was in which state when.
//! This crate never imports what it measures.
#![forbid(unsafe_code)]

pub mod advice;
#[cfg(target_os = "linux")]
pub mod collect;
pub mod functions;
pub mod headroom;
#[cfg(target_os = "linux")]
pub mod measure;
pub mod picture;
pub mod predict;
pub mod recording;
pub mod states;
pub mod timeline;
pub mod verdict;

use std::collections::BTreeMap;

#[cfg(target_os = "linux")]
pub use measure::{Measured, measure};
use serde::Serialize;

/// Everything that can be said about a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// How its time divides.
    pub states: states::States,
    /// What holds it up.
    pub finding: verdict::Finding,
    /// How long it would take instead.
    pub prediction: predict::Prediction,
    /// How much more work would fit, if it serves others.
    pub headroom: Vec<headroom::Room>,
    /// What to do.
    pub advice: advice::Advice,
}

/// Judges a recording. The same recording is always judged in the same way.
pub fn judge(recording: &recording::Recording) -> Judgement {
    let states = states::of(recording);
    let finding = verdict::judge(recording, &states);
    let prediction = predict::predict(recording, &states, &finding);
    let advice = advice::advise(recording, &states, &finding, &prediction);
    let headroom = headroom::rooms(recording, &states);
    Judgement { states, finding, prediction, headroom, advice }
}

/// The form of [`Summary`]; grows when a key changes its meaning or goes.
pub const SUMMARY_VERSION: u32 = 1;

/// A judgement in the form that `ropewalk profile --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary<'a> {
    /// [`SUMMARY_VERSION`].
    pub version: u32,
    /// What was found, what to do and what that would gain.
    pub verdict: Said<'a>,
    /// Program and arguments.
    pub command: &'a [String],
    /// Seconds that it was watched.
    pub wall_s: f64,
    /// Where it ran.
    pub machine: &'a recording::Machine,
    /// The figures behind the verdict.
    pub totals: Figures,
    /// Seconds of all threads added up, by kind of wait, with `cpu` and `ready`.
    pub thread_seconds: BTreeMap<String, f64>,
    /// Where the busiest thread computed, where that could be seen.
    pub functions: &'a [recording::Function],
    /// Every program that ran, processes too short to see included, where the kernel noted that.
    pub programs: Vec<ProgramFigures<'a>>,
    /// Seconds for which the kernel noted every start and switch; all of them, unless it noted nothing, there was too much, or some
    /// were lost, which makes it 0.
    pub noted_s: f64,
    /// Why the kernel noted nothing; empty when it did, or was not asked to.
    pub not_noted: &'a str,
    /// How it ended.
    pub status: Option<recording::Status>,
    /// Threads, those that matter most first.
    pub threads: Vec<ThreadFigures<'a>>,
}

/// The verdict in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said<'a> {
    /// What holds it up.
    pub class: verdict::Class,
    /// The sentence to remember.
    pub sentence: &'a str,
    /// What the wall went to.
    pub causes: &'a [verdict::Part],
    /// How much can be relied on.
    pub confidence: &'a verdict::Confidence,
    /// What to do.
    pub advice: &'a advice::Advice,
    /// How long it would take instead.
    pub predicted: &'a [predict::Range],
    /// The setting from which more helps little.
    pub best: Option<usize>,
    /// What must be true for it.
    pub assumption: &'a str,
    /// Why there is none.
    pub refused: &'a str,
    /// How much more work would fit, if it serves others; the first to be full first.
    pub headroom: &'a [headroom::Room],
    /// What the program is written in.
    pub language: verdict::Language,
}

/// The figures in a [`Summary`], in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// On a processor, all threads.
    pub cpu_s: f64,
    /// Of that, in processes too short to see.
    pub cpu_unseen_s: f64,
    /// Ready for a processor, all threads.
    pub ready_s: f64,
    /// Average of requests in flight while there was any.
    pub in_flight: f64,
    /// Looks at the program.
    pub looks: usize,
    /// Processor time of the watcher.
    pub own_cpu_s: f64,
}

/// All processes that ran one program, in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramFigures<'a> {
    /// Its name.
    pub name: &'a str,
    /// So many processes ended as it.
    pub count: u64,
    /// Their seconds on a processor.
    pub cpu_s: f64,
}

/// A thread in a [`Summary`], in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadFigures<'a> {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub name: &'a str,
    /// From its beginning to its end.
    pub wall_s: f64,
    /// On a processor.
    pub run_s: f64,
    /// Ready for one.
    pub ready_s: f64,
    /// Waiting, by cause.
    pub waits: Vec<verdict::Part>,
}

/// Threads that a summary lists.
const THREADS_MAX: usize = 64;

impl Judgement {
    fn thread_seconds(&self) -> BTreeMap<String, f64> {
        let wall = &self.states.wall;
        let mut all =
            BTreeMap::from([("cpu".to_owned(), wall.cpu_seen + wall.cpu_unseen), ("ready".to_owned(), wall.ready)]);
        for part in self.states.lanes.iter().flat_map(verdict::parts_of) {
            *all.entry(part.kind).or_default() += part.seconds;
        }
        all
    }

    /// The form for machines.
    pub fn summary<'a>(&'a self, recording: &'a recording::Recording) -> Summary<'a> {
        let wall = &self.states.wall;
        let mut lanes: Vec<&states::thread::Lane> = self.states.lanes.iter().collect();
        lanes.sort_by(|a, b| {
            (a.rests, b.length()).partial_cmp(&(b.rests, a.length())).unwrap_or(std::cmp::Ordering::Equal)
        });
        let threads = lanes.into_iter().take(THREADS_MAX).map(|lane| ThreadFigures {
            pid: lane.pid,
            tid: lane.tid,
            name: &lane.name,
            wall_s: lane.length(),
            run_s: lane.run,
            ready_s: lane.ready,
            waits: verdict::parts_of(lane),
        });
        Summary {
            version: SUMMARY_VERSION,
            verdict: Said {
                class: self.finding.class,
                sentence: &self.finding.sentence,
                causes: &self.finding.causes,
                confidence: &self.finding.confidence,
                advice: &self.advice,
                predicted: &self.prediction.ranges,
                best: self.prediction.best,
                assumption: &self.prediction.assumption,
                refused: &self.prediction.refused,
                headroom: &self.headroom,
                language: self.finding.language,
            },
            command: &recording.command,
            wall_s: wall.length,
            machine: &recording.machine,
            totals: Figures {
                cpu_s: wall.cpu_seen + wall.cpu_unseen,
                cpu_unseen_s: wall.cpu_unseen,
                ready_s: wall.ready,
                in_flight: wall.in_flight,
                looks: recording.ticks.len(),
                own_cpu_s: recording.own_cpu_ns as f64 / 1e9,
            },
            thread_seconds: self.thread_seconds(),
            functions: &recording.functions,
            programs: recording
                .noted
                .iter()
                .flat_map(|noted| &noted.programs)
                .map(|ran| ProgramFigures { name: &ran.name, count: ran.count, cpu_s: ran.run_ns as f64 / 1e9 })
                .collect(),
            noted_s: recording
                .noted
                .as_ref()
                .filter(|noted| noted.lost == 0)
                .map_or(0.0, |noted| noted.until_ns.min(recording.wall_ns) as f64 / 1e9),
            not_noted: &recording.not_noted,
            status: recording.status,
            threads: threads.collect(),
        }
    }
}
