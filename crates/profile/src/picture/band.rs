//! A prediction as a curve with its band: seconds over the number in flight.

use std::fmt::Write as _;
use std::time::Duration;

use super::svg::{STYLE, text};
use super::{human, ticks};
use crate::predict::Prediction;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 920.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 216.0;

/// Draws `prediction` beside the `now` seconds that it takes with `in_flight`, which is so many of `unit`; empty when there is none.
pub fn svg(prediction: &Prediction, now: f64, in_flight: f64, unit: &str) -> String {
    let Some(most) = prediction.ranges.iter().map(|r| r.in_flight).max() else { return String::new() };
    let first = in_flight.max(1.0);
    let span = (most as f64 / first).log2().max(1.0);
    let x = |n: f64| LEFT + (n / first).log2().clamp(0.0, span) / span * (RIGHT - LEFT);
    let longest = now.max(prediction.ranges.iter().map(|r| r.high_s).fold(0.0, f64::max)).max(1e-9);
    let y = |s: f64| BOTTOM - (s / longest).clamp(0.0, 1.0) * (BOTTOM - TOP);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
         class=\"rw-text\"><title>Seconds by number in flight, as a range</title><style>{STYLE}.rw-band{{fill:#0b5394;fill-opacity:.22;\
         stroke:#0b5394}}@media (prefers-color-scheme:dark){{.rw-band{{fill:#7cc4ff;stroke:#7cc4ff}}}}</style>"
    );
    for tick in ticks(Duration::from_secs_f64(longest), 4) {
        let at = y(tick.as_secs_f64());
        let _ = write!(out, "<line class=\"rw-grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        text(&mut out, LEFT - 8.0, at + 4.0, 12.0, "rw-muted", "text-anchor=\"end\"", &human(tick));
    }
    let mut path = format!("M{:.1} {:.1}", x(first), y(now));
    for r in &prediction.ranges {
        let _ = write!(path, "L{:.1} {:.1}", x(r.in_flight as f64), y(r.high_s));
    }
    for r in prediction.ranges.iter().rev() {
        let _ = write!(path, "L{:.1} {:.1}", x(r.in_flight as f64), y(r.low_s));
    }
    let _ = writeln!(out, "<path class=\"rw-band\" d=\"{path}Z\"/>");
    let _ = write!(out, "<circle class=\"rw-compute\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>", x(first), y(now));
    text(&mut out, x(first), BOTTOM + 20.0, 12.0, "rw-muted", "text-anchor=\"middle\"", "now");
    for r in &prediction.ranges {
        let label = if Some(r.in_flight) == prediction.best {
            format!("{} (best)", r.in_flight)
        } else {
            r.in_flight.to_string()
        };
        text(&mut out, x(r.in_flight as f64), BOTTOM + 20.0, 12.0, "rw-ink", "text-anchor=\"middle\"", &label);
    }
    text(&mut out, RIGHT, BOTTOM + 38.0, 12.0, "rw-muted", "text-anchor=\"end\"", unit);
    out.push_str("</svg>\n");
    out
}
