//! How numbers went over time, as one self-contained SVG in the style of [`svg`](super::svg): steps, since a number stays what
//! it is until it changes, on one time axis, with marks where something was decided.

use std::fmt::Write as _;
use std::time::Duration;

use super::svg::{STYLE, slug, text};
use super::{escape, human, ticks};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 928.0;
const TOP: f64 = 116.0;
const BOTTOM: f64 = 370.0;
/// How curves differ, not only in hue.
const DASHES: [&str; 4] = ["", "7 4", "2 3", "10 3 2 3"];

/// Curves on one pair of axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// What was done.
    pub title: String,
    /// More about it.
    pub subtitle: String,
    /// Drawn in this order; up to four can be told apart.
    pub curves: Vec<Curve>,
    /// When something was decided, and what.
    pub marks: Vec<(Duration, String)>,
}

/// One number over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// What it counts.
    pub name: String,
    /// Its values, each from its time on, in the order of time.
    pub points: Vec<(Duration, u64)>,
    /// Drawn against the axis at the right, whose scale is that of such curves alone; else against the one at the left.
    pub at_right: bool,
}

/// What a pool of workers was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLook {
    /// When.
    pub at: Duration,
    /// How many jobs might run.
    pub target: usize,
    /// How many ran.
    pub running: usize,
    /// How many had not started.
    pub queued: usize,
}

impl Curves {
    /// How a pool found its size: what was seen of it, in the order of time, and the changes of its size with their reasons.
    pub fn of_pool(title: String, subtitle: String, looks: &[PoolLook], marks: Vec<(Duration, String)>) -> Self {
        let curve = |name: &str, value: fn(&PoolLook) -> usize| Curve {
            name: name.to_owned(),
            points: looks.iter().map(|look| (look.at, value(look) as u64)).collect(),
            at_right: false,
        };
        // A queue of thousands would press a dozen workers onto the axis.
        let queued = Curve { at_right: true, ..curve("jobs queued (right)", |look| look.queued) };
        let curves =
            vec![curve("jobs that may run", |look| look.target), curve("jobs that run", |look| look.running), queued];
        Self { title, subtitle, curves, marks }
    }
}

/// Draws `curves`. The text is a whole SVG document and may be placed into an HTML page as it is.
pub fn draw(curves: &Curves) -> String {
    let points = || curves.curves.iter().flat_map(|curve| &curve.points);
    let longest = points().map(|(at, _)| *at).chain(curves.marks.iter().map(|(at, _)| *at)).max().unwrap_or_default();
    let most = |at_right: bool| {
        let curves = curves.curves.iter().filter(|curve| curve.at_right == at_right);
        curves.flat_map(|curve| &curve.points).map(|(_, value)| *value).max().unwrap_or(0).max(1)
    };
    let x = |at: Duration| match longest.is_zero() {
        true => LEFT,
        false => LEFT + (at.as_secs_f64() / longest.as_secs_f64()).min(1.0) * (RIGHT - LEFT),
    };
    let (at_left, at_right) = (most(false), most(true));
    let y = |value: u64, most: u64| BOTTOM - value as f64 / most as f64 * (BOTTOM - TOP);
    let id = slug(&curves.title);
    let told: Vec<String> = curves.marks.iter().map(|(at, what)| format!("{}: {what}", human(*at))).collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" class=\"rw-text\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n<style>{STYLE}\n\
         .rw-curve{{fill:none;stroke:#0b5394;stroke-width:1.8}}.rw-mark{{fill:#d9982a}}\n\
         @media (prefers-color-scheme:dark){{.rw-curve{{stroke:#7cc4ff}}}}\n</style>\n\
         <rect class=\"rw-bg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n",
        escape(&curves.title),
        escape(&format!("{}. {}", curves.subtitle, told.join("; "))),
    );
    text(&mut out, 32.0, 42.0, 21.0, "rw-ink", "font-weight=\"650\"", &curves.title);
    text(&mut out, 32.0, 66.0, 13.0, "rw-muted", "", &curves.subtitle);
    for tick in ticks(longest, 8).into_iter().filter(|tick| *tick <= longest) {
        let x = x(tick);
        let _ = writeln!(out, "<line class=\"rw-grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/>");
        text(&mut out, x, BOTTOM + 20.0, 12.0, "rw-muted", "text-anchor=\"middle\"", &human(tick));
    }
    for value in [0, at_left.div_ceil(2), at_left] {
        let y = y(value, at_left);
        let _ = writeln!(
            out,
            "<line class=\"rw-axis\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke-width=\".5\"/>"
        );
        text(&mut out, LEFT - 10.0, y + 4.0, 12.0, "rw-muted", "text-anchor=\"end\"", &value.to_string());
    }
    if curves.curves.iter().any(|curve| curve.at_right) {
        for value in [0, at_right.div_ceil(2), at_right] {
            text(&mut out, RIGHT + 3.0, y(value, at_right) + 4.0, 10.0, "rw-muted", "", &value.to_string());
        }
    }
    for (index, curve) in curves.curves.iter().enumerate() {
        let dash = DASHES[index % DASHES.len()];
        let left = LEFT + 180.0 * index as f64;
        let _ = writeln!(
            out,
            "<line class=\"rw-curve\" x1=\"{left}\" y1=\"88\" x2=\"{}\" y2=\"88\" stroke-dasharray=\"{dash}\"/>",
            left + 34.0
        );
        text(&mut out, left + 42.0, 92.0, 12.5, "rw-ink", "", &curve.name);
        let _ = writeln!(
            out,
            "<path class=\"rw-curve\" stroke-dasharray=\"{dash}\" d=\"{}\"/>",
            steps(&curve.points, x, |value| y(value, if curve.at_right { at_right } else { at_left }))
        );
    }
    for (at, what) in &curves.marks {
        let _ = writeln!(
            out,
            "<rect class=\"rw-mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"9\"><title>{}</title></rect>",
            x(*at) - 1.5,
            BOTTOM - 4.5,
            escape(&format!("{}: {what}", human(*at)))
        );
    }
    out.push_str("</svg>\n");
    out
}

/// From each value to the next: first along the time, then up or down. A value that is that of before needs no corner.
fn steps(points: &[(Duration, u64)], x: impl Fn(Duration) -> f64, y: impl Fn(u64) -> f64) -> String {
    let mut path = String::new();
    let mut last = None;
    for (index, (at, value)) in points.iter().enumerate() {
        let (x, ends) = (x(*at), index + 1 == points.len());
        match last {
            None => drop(write!(path, "M{x:.1} {:.1}", y(*value))),
            Some(before) if before == *value && !ends => {}
            Some(before) => drop(write!(path, "L{x:.1} {:.1}L{x:.1} {:.1}", y(before), y(*value))),
        }
        last = Some(*value);
    }
    path
}
