//! Who was in which state when, of a program that was profiled: a lane for each thread, under its process.
//!
//! States differ in colour *and* in letter (`N` network, `D` disk, `L` lock, `P` pipe, `S` timer, ..), so that the lanes
//! survive grey paper, a terminal without colours and a colour-blind reader. Threads that only waited for work are folded into
//! one line that counts them.

use std::fmt::Write as _;
use std::time::Duration;

use super::svg::text;
use super::{escape, human, ticks};
use crate::recording::Recording;
use crate::states::thread::Lane;
use crate::states::{Cause, Kind, States};

/// Parts into which a lane is divided.
const CELLS: usize = 320;
/// Lanes that are drawn; the others are counted.
const LANES_MAX: usize = 48;
/// Characters of a name.
const NAME_MAX: usize = 22;

/// How a moment looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Look {
    /// On a processor.
    Run,
    /// Ready for one.
    Ready,
    /// Waiting.
    Wait(Kind),
}

impl Look {
    /// The letter in pictures.
    pub fn letter(self) -> char {
        match self {
            Look::Run => 'R',
            Look::Ready => 'r',
            Look::Wait(kind) => kind.letter(),
        }
    }

    /// In words.
    pub fn word(self) -> String {
        match self {
            Look::Run => "computing".to_owned(),
            Look::Ready => "ready, without a processor".to_owned(),
            Look::Wait(Kind::Lock) => "waiting: lock or queue".to_owned(),
            Look::Wait(kind) => format!("waiting: {kind}"),
        }
    }

    /// Fill in light and in dark, and the colour of a letter on each.
    pub(super) fn colours(self) -> [&'static str; 4] {
        match self {
            Look::Run => ["#0b5394", "#7cc4ff", "#ffffff", "#08121c"],
            Look::Ready => ["#b0413e", "#ff9d98", "#ffffff", "#1c0808"],
            Look::Wait(Kind::Network) => ["#fae3b6", "#4a3717", "#5c3d00", "#ffd98a"],
            Look::Wait(Kind::Disk) => ["#d5e8c8", "#2b4020", "#27451a", "#c4eaa8"],
            Look::Wait(Kind::Lock) => ["#efc9dc", "#52273d", "#611f41", "#ffc4de"],
            Look::Wait(Kind::Pipe) => ["#d9d2ec", "#352b57", "#37256f", "#d6c9ff"],
            Look::Wait(Kind::Sleep) => ["#dfe7ee", "#2a3947", "#3a4a59", "#c2d2e0"],
            Look::Wait(_) => ["#eceff2", "#1d2833", "#55616e", "#9aa8b8"],
        }
    }

    fn class(self) -> String {
        match self {
            Look::Run => "rw-l-run".to_owned(),
            Look::Ready => "rw-l-ready".to_owned(),
            Look::Wait(kind) => format!("rw-l-{}", if kind == Kind::Unknown { 'q' } else { kind.letter() }),
        }
    }
}

/// A stretch of one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Seconds since the recording began.
    pub start: f64,
    /// Seconds since the recording began.
    pub end: f64,
    /// How it looks.
    pub look: Look,
    /// What was waited for, as a person reads it.
    pub what: String,
}

/// A line of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is written beside it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// In order.
    pub segments: Vec<Segment>,
}

/// All lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lanes {
    /// Seconds.
    pub length: f64,
    /// A line each, those of one process together.
    pub rows: Vec<Row>,
    /// Threads that only waited for work.
    pub resting: usize,
    /// Threads for which there was no room.
    pub left_out: usize,
}

impl Lanes {
    /// Of a recording whose time is divided.
    pub fn of(recording: &Recording, states: &States) -> Lanes {
        Lanes::with_cells(recording, states, CELLS)
    }

    /// The same with as many parts as there were looks.
    pub fn finest(recording: &Recording, states: &States) -> Lanes {
        Lanes::with_cells(recording, states, recording.ticks.len().max(CELLS))
    }

    fn with_cells(recording: &Recording, states: &States, cells: usize) -> Lanes {
        let causes: Vec<Cause> = recording.calls.iter().map(Cause::of).collect();
        let mut lanes: Vec<&Lane> = states.lanes.iter().filter(|l| l.length() > 0.0).collect();
        let resting = lanes.iter().filter(|l| l.rests).count();
        lanes.retain(|l| !l.rests);
        // Those that did most, and then in the order in which they came, process by process.
        let mut busiest = lanes.clone();
        busiest.sort_by(|a, b| (b.run + 0.01 * b.length()).total_cmp(&(a.run + 0.01 * a.length())));
        busiest.truncate(LANES_MAX);
        let left_out = lanes.len() - busiest.len();
        lanes.retain(|l| busiest.iter().any(|b| b.tid == l.tid));
        let order = |pid: u32| recording.processes.iter().position(|p| p.pid == pid);
        lanes.sort_by_key(|l| order(l.pid));
        let length = states.wall.length;
        let several = recording.processes.len() > 1;
        let rows = lanes
            .into_iter()
            .map(|lane| {
                let process = recording.processes.iter().find(|p| p.pid == lane.pid);
                let process = process.map_or("", |p| p.name.as_str());
                // Threads inherit the name of their process; some are given one of their own.
                let own = if lane.name == process { "thread" } else { lane.name.as_str() };
                let name = match (lane.tid == lane.pid, several) {
                    (true, _) => format!("{process} {}", lane.pid),
                    (false, true) => format!("  {own} {}", lane.tid),
                    (false, false) => format!("{own} {}", lane.tid),
                };
                Row {
                    name: name.chars().take(NAME_MAX).collect(),
                    pid: lane.pid,
                    tid: lane.tid,
                    segments: segments(lane, &causes, length, cells),
                }
            })
            .collect();
        Lanes { length, rows, resting, left_out }
    }

    /// The looks that occur, in order.
    pub fn looks(&self) -> Vec<Look> {
        let mut all: Vec<Look> = self.rows.iter().flat_map(|r| &r.segments).map(|s| s.look).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is not drawn, in words; empty when everything is.
    pub fn folded(&self) -> String {
        let mut parts = Vec::new();
        if self.resting > 0 {
            parts.push(format!("{} idle worker{}", self.resting, if self.resting == 1 { "" } else { "s" }));
        }
        if self.left_out > 0 {
            parts.push(format!("{} more threads", self.left_out));
        }
        if parts.is_empty() { String::new() } else { format!("and {}", parts.join(", ")) }
    }
}

/// What fills most of each cell, equal neighbours joined.
fn segments(lane: &Lane, causes: &[Cause], length: f64, cells: usize) -> Vec<Segment> {
    let width = length / cells as f64;
    if width <= 0.0 {
        return Vec::new();
    }
    let mut weights: Vec<Vec<(Look, usize, f64)>> = vec![Vec::new(); cells];
    for s in &lane.stretches {
        let span = (s.end - s.start).max(1e-12);
        let first = ((s.start / width) as usize).min(cells - 1);
        let last = ((s.end / width).ceil() as usize).clamp(first + 1, cells);
        let (wait, which) = match s.call {
            Some(call) => (Look::Wait(causes[call as usize].kind), call as usize),
            None => (Look::Wait(Kind::Unknown), usize::MAX),
        };
        for (cell, weights) in weights.iter_mut().enumerate().take(last).skip(first) {
            let low = cell as f64 * width;
            let share = (s.end.min(low + width) - s.start.max(low)).max(0.0) / span;
            for (look, which, amount) in
                [(Look::Run, usize::MAX, s.run), (Look::Ready, usize::MAX, s.ready), (wait, which, s.wait)]
            {
                if amount * share > 0.0 {
                    match weights.iter_mut().find(|w| w.0 == look && w.1 == which) {
                        Some(w) => w.2 += amount * share,
                        None => weights.push((look, which, amount * share)),
                    }
                }
            }
        }
    }
    let mut out: Vec<Segment> = Vec::new();
    let mut last = None;
    for (cell, weights) in weights.iter().enumerate() {
        let top = weights.iter().max_by(|a, b| a.2.total_cmp(&b.2)).map(|w| (w.0, w.1));
        let (start, end) = (cell as f64 * width, (cell + 1) as f64 * width);
        match (top, out.last_mut()) {
            (Some(top), Some(segment)) if last == Some(top) => segment.end = end,
            (Some((look, which)), _) => {
                let what = causes.get(which).map_or(String::new(), |c| c.what.clone());
                out.push(Segment { start, end, look, what });
            }
            (None, _) => {}
        }
        last = top;
    }
    out
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 188.0;
const RIGHT: f64 = 940.0;
const PITCH: f64 = 20.0;
const BAR: f64 = 16.0;

/// Draws the lanes as one SVG, light and dark by the reader's own setting.
pub fn svg(lanes: &Lanes) -> String {
    let looks = lanes.looks();
    let legend_rows = looks.len().div_ceil(4);
    let top = 16.0 + 22.0 * legend_rows as f64;
    let folded = lanes.folded();
    let body = PITCH * lanes.rows.len() as f64 + if folded.is_empty() { 0.0 } else { PITCH };
    let height = top + body + 34.0;
    let (mut light, mut dark) = (String::new(), String::new());
    for look in &looks {
        let [fill, fill_dark, ink, ink_dark] = look.colours();
        let class = look.class();
        let _ = write!(light, ".{class}{{fill:{fill}}}.{class}-t{{fill:{ink}}}");
        let _ = write!(dark, ".{class}{{fill:{fill_dark}}}.{class}-t{{fill:{ink_dark}}}");
    }
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         class=\"rw-text\"><title>What each thread did when</title><style>{}{light}@media (prefers-color-scheme:dark){{{dark}}}</style>",
        super::svg::STYLE
    );
    for (i, look) in looks.iter().enumerate() {
        let (x, y) = (LEFT + 188.0 * (i % 4) as f64, 8.0 + 22.0 * (i / 4) as f64);
        let class = look.class();
        let _ = write!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"18\" height=\"14\" rx=\"2\"/>");
        text(
            &mut out,
            x + 9.0,
            y + 11.5,
            11.0,
            &format!("{class}-t"),
            "text-anchor=\"middle\"",
            &look.letter().to_string(),
        );
        text(&mut out, x + 24.0, y + 12.0, 12.5, "rw-muted", "", &look.word());
    }
    let scale = (RIGHT - LEFT) / lanes.length.max(1e-9);
    for (i, row) in lanes.rows.iter().enumerate() {
        let y = top + PITCH * i as f64;
        let _ = writeln!(out, "<g class=\"rw-lane\">");
        text(&mut out, 8.0, y + 12.5, 12.5, "rw-ink", "", &row.name);
        for s in &row.segments {
            let (x, width) = (LEFT + s.start * scale, (s.end - s.start) * scale);
            let class = s.look.class();
            let what = if s.what.is_empty() { s.look.word() } else { format!("{} ({})", s.look.word(), s.what) };
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{BAR}\"><title>{}, {}</title></rect>",
                escape(&what),
                human(Duration::from_secs_f64((s.end - s.start).max(0.0)))
            );
            if width >= 16.0 {
                let letter = s.look.letter().to_string();
                text(
                    &mut out,
                    x + width / 2.0,
                    y + 12.0,
                    11.0,
                    &format!("{class}-t"),
                    "text-anchor=\"middle\"",
                    &letter,
                );
            }
        }
        out.push_str("</g>\n");
    }
    if !folded.is_empty() {
        let y = top + PITCH * lanes.rows.len() as f64;
        text(&mut out, 8.0, y + 12.5, 12.5, "rw-muted", "", &folded);
    }
    let y = top + body + 4.0;
    let length = Duration::from_secs_f64(lanes.length.max(0.0));
    for tick in ticks(length, 8) {
        let x = LEFT + tick.as_secs_f64() * scale;
        if x <= RIGHT {
            let _ = write!(
                out,
                "<line class=\"rw-axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>",
                y + 5.0
            );
            text(&mut out, x.min(RIGHT - 16.0), y + 19.0, 12.0, "rw-muted", "text-anchor=\"middle\"", &human(tick));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Draws the lanes for a terminal, each line ending in a line feed.
pub fn terminal(lanes: &Lanes, style: super::terminal::Style) -> String {
    let names = lanes.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).min(NAME_MAX);
    let cells = style.width.max(super::terminal::WIDTH_MIN).saturating_sub(names + 1).max(8);
    let mut out = String::new();
    let shown = lanes.rows.len().min(style.lanes.max(1));
    for row in lanes.rows.iter().take(shown) {
        let mut line = format!("{:<names$} ", row.name);
        for cell in 0..cells {
            let middle = (cell as f64 + 0.5) / cells as f64 * lanes.length;
            let look = row.segments.iter().find(|s| s.start <= middle && middle < s.end).map(|s| s.look);
            let Some(look) = look else {
                line.push(' ');
                continue;
            };
            let glyph = glyph(look, style.ascii);
            match (style.colour, ansi(look)) {
                (true, Some(code)) => {
                    let _ = write!(line, "\u{1b}[{code}m{glyph}\u{1b}[0m");
                }
                _ => line.push(glyph),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let hidden = lanes.rows.len() - shown;
    let folded = Lanes { left_out: lanes.left_out + hidden, ..lanes.clone() }.folded();
    if !folded.is_empty() {
        let _ = writeln!(out, "{folded}");
    }
    let word = |look: &Look| {
        let glyph = glyph(*look, style.ascii);
        let word = match look {
            Look::Run => "computing".to_owned(),
            Look::Ready => "ready".to_owned(),
            Look::Wait(kind) => kind.to_string(),
        };
        format!("{glyph} {word}")
    };
    let legend: Vec<String> = lanes.looks().iter().map(word).collect();
    let mut column = 0;
    for part in legend {
        let length = part.chars().count();
        if column > 0 && column + 3 + length > style.width.max(super::terminal::WIDTH_MIN) {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push_str("   ");
            column += 3;
        }
        out.push_str(&part);
        column += length;
    }
    out.push('\n');
    out
}

fn glyph(look: Look, ascii: bool) -> char {
    match (look, ascii) {
        (Look::Run, false) => '\u{2588}',
        (Look::Run, true) => '#',
        (Look::Ready, false) => '\u{2592}',
        (Look::Ready, true) => '=',
        (Look::Wait(kind), _) => kind.letter(),
    }
}

fn ansi(look: Look) -> Option<&'static str> {
    match look {
        Look::Run => Some("34"),
        Look::Ready => Some("31"),
        Look::Wait(Kind::Network) => Some("33"),
        Look::Wait(Kind::Disk) => Some("32"),
        Look::Wait(Kind::Lock) => Some("35"),
        Look::Wait(Kind::Pipe) => Some("36"),
        Look::Wait(_) => Some("2"),
    }
}
