//! A [`Comparison`] as lanes of characters, for a terminal.
//!
//! Computing is the full block, waiting the light shade and idle a dot: the picture survives without colour. A strip of
//! many lanes shows some of them, evenly chosen, and says how many there were.

use super::{Comparison, Strip, chosen, human, majority};
use crate::timeline::{Lane, State};

/// Columns below which there is no room for lanes.
pub const WIDTH_MIN: usize = 60;
/// Characters of a name that are shown.
const NAME_MAX: usize = 28;

/// Columns of the legend and the space before it.
const LEGEND: usize = 36;

/// How to draw for this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns that no line exceeds; at least [`WIDTH_MIN`] are used.
    pub width: usize,
    /// Lanes shown of one strip.
    pub lanes: usize,
    /// Whether to add ANSI colours.
    pub colour: bool,
    /// Whether only ASCII may be used.
    pub ascii: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { width: 80, lanes: 4, colour: false, ascii: false }
    }
}

/// Draws `comparison`, without its title, each line ending in a line feed.
pub fn draw(comparison: &Comparison, style: Style) -> String {
    let names = comparison
        .strips
        .iter()
        .flat_map(|s| [s.name.chars().count(), s.workers().chars().count()])
        .max()
        .unwrap_or(0)
        .min(NAME_MAX);
    let beside: Vec<String> =
        comparison.strips.iter().map(|s| format!("{} {}", human(s.timeline.wall()), s.speedup)).collect();
    let figures = beside.iter().map(|b| b.chars().count()).max().unwrap_or(0);
    let cells = style.width.max(WIDTH_MIN).saturating_sub(names + figures + 3).max(8);
    let longest = comparison.longest().as_secs_f64();
    let mut out = String::new();
    for (strip, beside) in comparison.strips.iter().zip(beside) {
        let lanes = chosen(&strip.timeline.lanes, style.lanes.max(1));
        for (i, lane) in lanes.iter().enumerate() {
            let name = match i {
                0 => strip.name.clone(),
                1 => strip.workers(),
                _ => String::new(),
            };
            let name: String = name.chars().take(NAME_MAX).collect();
            let bar = bar(strip, lane, longest, cells, style);
            let figure = if i == 0 { beside.as_str() } else { "" };
            let line = format!("{name:<names$} {bar} {figure}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out.push_str(&legend(names, style));
    out
}

fn glyph(state: State, ascii: bool) -> char {
    match (state, ascii) {
        (State::Computing, false) => '\u{2588}',
        (State::Waiting(_), false) => '\u{2591}',
        (State::Idle, false) => '\u{b7}',
        (State::Computing, true) => '#',
        (State::Waiting(_), true) => '-',
        (State::Idle, true) => '.',
    }
}

fn colour(state: State) -> &'static str {
    match state {
        State::Computing => "\u{1b}[34m",
        State::Waiting(_) => "\u{1b}[33m",
        State::Idle => "\u{1b}[2m",
    }
}

fn bar(strip: &Strip, lane: &Lane, longest: f64, cells: usize, style: Style) -> String {
    let from = strip.timeline.start().as_secs_f64();
    let wall = strip.timeline.wall().as_secs_f64();
    // However short a strip is, one cell says that it was there.
    let own = if longest > 0.0 { ((wall / longest * cells as f64).round() as usize).clamp(1, cells) } else { 1 };
    let states = majority(&lane.spans, from, from + wall, own);
    let mut out = String::new();
    let mut at = 0;
    while at < cells {
        let state = states.get(at).copied().flatten();
        let end = (at..cells).find(|&j| states.get(j).copied().flatten() != state).unwrap_or(cells);
        let (before, after) = match state {
            Some(s) if style.colour => (colour(s), "\u{1b}[0m"),
            _ => ("", ""),
        };
        out.push_str(before);
        out.extend(std::iter::repeat_n(state.map_or(' ', |s| glyph(s, style.ascii)), end - at));
        out.push_str(after);
        at = end;
    }
    out
}

fn legend(names: usize, style: Style) -> String {
    use crate::timeline::Cause;
    let parts = [(State::Computing, "computing"), (State::Waiting(Cause::Unknown), "waiting"), (State::Idle, "idle")];
    let parts: Vec<String> = parts
        .iter()
        .map(|&(state, word)| {
            let two: String = std::iter::repeat_n(glyph(state, style.ascii), 2).collect();
            if style.colour { format!("{}{two}\u{1b}[0m {word}", colour(state)) } else { format!("{two} {word}") }
        })
        .collect();
    // Below the lanes, but never wider than they may be.
    let indent = names.min(WIDTH_MIN - LEGEND);
    format!("{:<indent$} {}\n", "", parts.join("   "))
}
