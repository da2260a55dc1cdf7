//! A [`Comparison`] as one self-contained SVG: no font, script or file from elsewhere, light and dark by the reader's
//! own setting.
//!
//! The lanes of all strips share one time axis. A strip too short to show its inside (160 workers that finish in a
//! hundredth of the time) is drawn a second time, magnified, in the room that it leaves free.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Comparison, Strip, chosen, escape, human, majority, ticks};
use crate::timeline::{Lane, State};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 32.0;
/// Where time zero is at least: right of the names.
const PLOT_LEFT_MIN: f64 = 164.0;
/// Room for one character of a name. No font is known here; this fits wide ones.
const NAME_CHAR: f64 = 8.8;
/// Where the longest strip ends: left of the room for its figures.
const PLOT_RIGHT: f64 = 800.0;
const TOP: f64 = 104.0;
/// Space between two strips.
const GAP: f64 = 26.0;
/// No strip is taller; with more lanes than this many pixels, evenly chosen ones are drawn.
const STRIP_MAX: usize = 168;
/// A strip narrower than this shows nothing of its inside and is magnified.
const MAGNIFY_BELOW: f64 = 70.0;
/// Room for wall time and speedup right of the lanes.
const FIGURES: f64 = 104.0;

/// Units narrower than this flow together.
const UNIT_MIN: f64 = 3.0;
/// Empty ground between two units.
const UNIT_GAP: f64 = 0.8;

/// Names of the classes start with `rw-` so that the style sheet does no harm in a page that inlines the picture.
pub(super) const STYLE: &str = "
.rw-bg{fill:#ffffff}.rw-ink{fill:#1b2430}.rw-muted{fill:#566272}.rw-grid{stroke:#e1e6ec}.rw-axis{stroke:#8793a1}
.rw-track{fill:#eef1f4}.rw-compute{fill:#0b5394}.rw-wait-base{fill:#fae3b6}.rw-wait-line{stroke:#d9982a}
.rw-glass{fill:none;stroke:#8793a1}.rw-beam{fill:#8793a1;fill-opacity:.10}
.rw-text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',Helvetica,Arial,sans-serif}
@media (prefers-color-scheme:dark){
.rw-bg{fill:#0e151d}.rw-ink{fill:#e8eef5}.rw-muted{fill:#9aa8b8}.rw-grid{stroke:#22303d}.rw-axis{stroke:#6d7c8c}
.rw-track{fill:#18232e}.rw-compute{fill:#7cc4ff}.rw-wait-base{fill:#4a3717}.rw-wait-line{stroke:#bd8b34}
.rw-glass{stroke:#6d7c8c}.rw-beam{fill:#9aa8b8}
}";

/// Draws `comparison`. The text is a whole SVG document and may be placed into an HTML page as it is.
pub fn draw(comparison: &Comparison) -> String {
    let plot = Plot::of(comparison);
    let heights: Vec<f64> = comparison.strips.iter().map(|s| Lanes::of(s).height().max(34.0)).collect();
    let tiny = |s: &Strip| plot.width_of(s) < MAGNIFY_BELOW && !s.timeline.lanes.is_empty();
    let magnified: Vec<bool> = comparison.strips.iter().map(tiny).collect();
    // A magnified strip has an axis of its own below it.
    let below = |i: usize| if magnified[i] { 16.0 } else { 0.0 };
    let body: f64 = (0..heights.len()).map(|i| heights[i] + below(i) + GAP).sum();
    let bottom = TOP + body;
    let height = bottom + 36.0;
    let id = slug(&comparison.title);

    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" class=\"rw-text\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n<style>{STYLE}\n</style>\n\
         <defs><pattern id=\"{id}-wait\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"rw-wait-base\" width=\"5\" height=\"5\"/>\
         <line class=\"rw-wait-line\" x1=\"1\" y1=\"0\" x2=\"1\" y2=\"5\" stroke-width=\"1.3\"/></pattern></defs>\n\
         <rect class=\"rw-bg\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n",
        escape(&comparison.title),
        escape(&describe(comparison)),
    );
    text(&mut out, MARGIN, 42.0, 21.0, "rw-ink", "font-weight=\"650\"", &comparison.title);
    text(&mut out, MARGIN, 66.0, 13.0, "rw-muted", "", &comparison.subtitle);
    legend(&mut out, &id);
    axis(&mut out, &plot, bottom - GAP / 2.0);

    let mut y = TOP;
    for (i, strip) in comparison.strips.iter().enumerate() {
        Drawing { out: &mut out, plot: &plot, id: &id, y, height: heights[i] }.strip(strip, magnified[i]);
        y += heights[i] + below(i) + GAP;
    }
    out.push_str("</svg>\n");
    out
}

/// Where time is on the paper.
struct Plot {
    /// Where zero is.
    left: f64,
    /// What ends at [`PLOT_RIGHT`].
    longest: Duration,
}

impl Plot {
    fn of(comparison: &Comparison) -> Self {
        let characters = comparison.strips.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        let left = (MARGIN + characters as f64 * NAME_CHAR + 14.0).clamp(PLOT_LEFT_MIN, PLOT_RIGHT / 2.0);
        Plot { left: left.round(), longest: comparison.longest() }
    }

    fn x(&self, at: Duration) -> f64 {
        if self.longest.is_zero() {
            return self.left;
        }
        self.left + at.as_secs_f64() / self.longest.as_secs_f64() * (PLOT_RIGHT - self.left)
    }

    fn width_of(&self, strip: &Strip) -> f64 {
        self.x(strip.timeline.wall()) - self.left
    }
}

/// What a reader who cannot see the picture is told.
fn describe(comparison: &Comparison) -> String {
    let rows: Vec<String> = comparison
        .strips
        .iter()
        .map(|s| format!("{}: {}, {}, {}", s.name, s.workers(), human(s.timeline.wall()), s.speedup))
        .collect();
    format!("{}. {}.", comparison.subtitle, rows.join("; "))
}

/// Element ids of several pictures in one page must differ.
pub(super) fn slug(title: &str) -> String {
    let words: String =
        title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    format!("rw-{words}")
}

/// Which lanes of a strip are drawn, and how tall each is.
struct Lanes<'a> {
    lanes: Vec<&'a Lane>,
    /// From the top of one lane to the top of the next; whole pixels, since fractions blur into stripes.
    pitch: f64,
}

impl<'a> Lanes<'a> {
    fn of(strip: &'a Strip) -> Self {
        let lanes = chosen(&strip.timeline.lanes, STRIP_MAX);
        let fits = |pitch: &usize| pitch * lanes.len() <= STRIP_MAX.max(lanes.len());
        let pitch = [18, 14, 11, 9, 7, 6, 5, 4, 3, 2, 1].into_iter().find(fits).unwrap_or(1);
        Lanes { lanes, pitch: pitch as f64 }
    }

    fn height(&self) -> f64 {
        self.lanes.len() as f64 * self.pitch
    }

    /// The empty line between two lanes, where there is room for one.
    fn space(&self) -> f64 {
        match self.pitch {
            p if p >= 9.0 => 2.0,
            p if p >= 3.0 => 1.0,
            _ => 0.0,
        }
    }
}

/// Where the lanes of a strip go, and how many pixels a second takes.
struct Field {
    left: f64,
    top: f64,
    right: f64,
}

struct Drawing<'a> {
    out: &'a mut String,
    plot: &'a Plot,
    id: &'a str,
    y: f64,
    height: f64,
}

impl Drawing<'_> {
    fn strip(&mut self, strip: &Strip, magnify: bool) {
        let lanes = Lanes::of(strip);
        let middle = self.y + self.height / 2.0;
        text(self.out, MARGIN, middle - 2.0, 14.0, "rw-ink", "font-weight=\"600\"", &strip.name);
        let mut workers = strip.workers();
        if lanes.lanes.len() < strip.timeline.lanes.len() {
            let _ = write!(workers, " ({} drawn)", lanes.lanes.len());
        }
        text(self.out, MARGIN, middle + 16.0, 12.0, "rw-muted", "", &workers);

        let right = self.plot.left + self.plot.width_of(strip).max(1.0);
        let top = middle - lanes.height() / 2.0;
        let field = Field { left: self.plot.left, top, right };
        self.lanes(strip, &lanes, &field);

        text(self.out, right + 12.0, middle - 1.0, 19.0, "rw-ink", "font-weight=\"700\"", &strip.speedup);
        text(self.out, right + 12.0, middle + 16.0, 13.0, "rw-muted", "", &human(strip.timeline.wall()));
        if magnify {
            self.glass(strip, &lanes, &field);
        }
    }

    /// The same lanes again, wide enough to see what each worker did.
    fn glass(&mut self, strip: &Strip, lanes: &Lanes<'_>, small: &Field) {
        let left = small.right + FIGURES + 40.0;
        let wide = Field { left, top: small.top, right: PLOT_RIGHT };
        let bottom = small.top + lanes.height();
        let _ = writeln!(
            self.out,
            "<path class=\"rw-beam\" d=\"M{} {}L{} {}V{}L{} {}Z\"/>",
            num(small.right),
            num(small.top),
            num(left - 4.0),
            num(small.top),
            num(bottom),
            num(small.right),
            num(bottom),
        );
        // The beam would cross the figures: paint them again on top of a clean ground.
        let middle = self.y + self.height / 2.0;
        let _ = writeln!(
            self.out,
            "<rect class=\"rw-bg\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>",
            num(small.right + 6.0),
            num(middle - 22.0),
            num(FIGURES - 18.0),
            num(46.0),
        );
        text(self.out, small.right + 12.0, middle - 1.0, 19.0, "rw-ink", "font-weight=\"700\"", &strip.speedup);
        text(self.out, small.right + 12.0, middle + 16.0, 13.0, "rw-muted", "", &human(strip.timeline.wall()));
        let _ = writeln!(
            self.out,
            "<rect class=\"rw-bg\" x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\"/>",
            num(left - 4.0),
            num(small.top - 4.0),
            num(wide.right - left + 8.0),
            num(lanes.height() + 8.0),
        );
        self.lanes(strip, lanes, &wide);
        let _ = writeln!(
            self.out,
            "<rect class=\"rw-glass\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
            num(left - 4.0),
            num(small.top - 4.0),
            num(wide.right - left + 8.0),
            num(lanes.height() + 8.0),
        );
        let wall = strip.timeline.wall();
        let times = (wide.right - left) / self.plot.width_of(strip).max(0.01);
        for tick in ticks(wall, 5) {
            let x = left + tick.as_secs_f64() / wall.as_secs_f64().max(1e-12) * (wide.right - left);
            let _ = writeln!(
                self.out,
                "<line class=\"rw-axis\" x1=\"{0}\" y1=\"{1}\" x2=\"{0}\" y2=\"{2}\"/>",
                num(x),
                num(bottom + 4.0),
                num(bottom + 8.0),
            );
            text(self.out, x, bottom + 20.0, 11.0, "rw-muted", "text-anchor=\"middle\"", &human(tick));
        }
        let label = format!("magnified {times:.0}x");
        text(self.out, wide.right + 14.0, middle + 4.0, 12.0, "rw-muted", "", &label);
    }

    fn lanes(&mut self, strip: &Strip, lanes: &Lanes<'_>, field: &Field) {
        let (from, to) = (strip.timeline.start().as_secs_f64(), strip.timeline.end().as_secs_f64());
        let scale = (field.right - field.left) / (to - from).max(1e-12);
        let thick = lanes.pitch - lanes.space();
        let (mut track, mut wait, mut compute) = (String::new(), String::new(), String::new());
        for (i, lane) in lanes.lanes.iter().enumerate() {
            let y = field.top + i as f64 * lanes.pitch;
            bar(&mut track, field.left, field.right, y, thick);
            let busy = lane.spans.iter().filter(|s| s.state != State::Idle).count();
            if busy as f64 > 1.5 * (field.right - field.left) {
                // More spans than pixels: what fills most of a pixel stands for it.
                let cells = (field.right - field.left).ceil() as usize;
                let states = majority(&lane.spans, from, to, cells);
                let step = (field.right - field.left) / cells as f64;
                let mut at = 0;
                while at < cells {
                    let end = (at..cells).find(|&j| states[j] != states[at]).unwrap_or(cells);
                    let (a, b) = (field.left + at as f64 * step, field.left + end as f64 * step);
                    match states[at] {
                        Some(State::Computing) => bar(&mut compute, a, b, y, thick),
                        Some(State::Waiting(_)) => bar(&mut wait, a, b, y, thick),
                        Some(State::Idle) | None => {}
                    }
                    at = end;
                }
                continue;
            }
            let x = |d: Duration| field.left + (d.as_secs_f64() - from) * scale;
            let mut shown = None;
            let mut edge = field.left;
            for (i, span) in lane.spans.iter().enumerate() {
                let (a, b) = (x(span.start), x(span.end));
                if span.unit != shown {
                    shown = span.unit;
                    // A hair of ground before each unit keeps them countable, where they are wide enough to be told apart.
                    let end = lane.spans[i..].iter().take_while(|s| s.unit == shown).last().map_or(b, |s| x(s.end));
                    edge = if end - a >= UNIT_MIN && a > field.left { a + UNIT_GAP } else { a };
                }
                match span.state {
                    State::Computing => bar(&mut compute, a.max(edge), b, y, thick),
                    State::Waiting(_) => bar(&mut wait, a.max(edge), b, y, thick),
                    State::Idle => {}
                }
            }
        }
        let _ = writeln!(self.out, "<path class=\"rw-track\" d=\"{track}\"/>");
        let _ = writeln!(self.out, "<path fill=\"url(#{}-wait)\" d=\"{wait}\"/>", self.id);
        let _ = writeln!(self.out, "<path class=\"rw-compute\" d=\"{compute}\"/>");
    }
}

/// One rectangle of a path: a strip of 160 lanes stays one element instead of thousands.
fn bar(path: &mut String, left: f64, right: f64, top: f64, height: f64) {
    if right > left {
        let _ = write!(path, "M{} {}H{}v{}H{}z", num(left), num(top), num(right), num(height), num(left));
    }
}

fn legend(out: &mut String, id: &str) {
    let wait = format!("fill=\"url(#{id}-wait)\"");
    let mut x = 634.0;
    for (fill, label, width) in [
        ("class=\"rw-compute\"", "computing", 104.0),
        (wait.as_str(), "waiting", 88.0),
        ("class=\"rw-track\"", "idle", 60.0),
    ] {
        let _ = writeln!(out, "<rect {fill} x=\"{x}\" y=\"30\" width=\"22\" height=\"14\" rx=\"2\"/>");
        text(out, x + 29.0, 42.0, 13.0, "rw-muted", "", label);
        x += width + 8.0;
    }
}

fn axis(out: &mut String, plot: &Plot, y: f64) {
    let span = plot.longest.as_secs_f64().max(1e-12);
    // One unit for the whole axis, chosen by its length.
    let (unit, factor) = if span >= 1.0 { ("seconds", 1.0) } else { ("milliseconds", 1e3) };
    let marks = ticks(plot.longest, 8);
    let step = marks.get(1).map_or(1.0, |d| d.as_secs_f64() * factor);
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    for tick in &marks {
        let x = plot.x(*tick);
        let _ = writeln!(
            out,
            "<line class=\"rw-grid\" x1=\"{0}\" y1=\"{1}\" x2=\"{0}\" y2=\"{2}\"/>",
            num(x),
            num(TOP - 10.0),
            num(y)
        );
        let label = format!("{:.*}", digits, tick.as_secs_f64() * factor);
        text(out, x, y + 20.0, 12.0, "rw-muted", "text-anchor=\"middle\"", &label);
    }
    let _ = writeln!(
        out,
        "<line class=\"rw-axis\" x1=\"{1}\" y1=\"{0}\" x2=\"{PLOT_RIGHT}\" y2=\"{0}\"/>",
        num(y),
        num(plot.left)
    );
    text(out, PLOT_RIGHT + 14.0, y + 20.0, 12.0, "rw-muted", "", unit);
}

pub(super) fn text(out: &mut String, x: f64, y: f64, size: f64, class: &str, more: &str, content: &str) {
    let space = if more.is_empty() { "" } else { " " };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"{size}\" class=\"{class}\"{space}{more}>{}</text>",
        num(x),
        num(y),
        escape(content),
    );
}

/// Two decimals are a hundredth of a pixel; trailing zeros are dropped since there are thousands of these.
fn num(v: f64) -> String {
    let mut s = format!("{v:.2}");
    while s.ends_with('0') {
        s.pop();
    }
    if s.ends_with('.') {
        s.pop();
    }
    s
}
