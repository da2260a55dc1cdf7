//! Pictures of timelines: [`svg`] for a page or a README, [`html`] to hand on, [`terminal`] to look at once. And [`curves`]:
//! how numbers went over the same time.
//!
//! Of a program that was profiled, [`lanes`] draws what each thread did, [`band`] how long it would take instead, [`report`] puts
//! both on a page, and [`trace`] hands the lanes to Perfetto.
//!
//! The first three draw the same thing, a [`Comparison`]: the same work done in several ways, one [`Strip`] of lanes for each,
//! all on one time scale, so that what is shorter in time is shorter on paper. Waiting and computing differ in lightness
//! and in texture, not only in hue: the pictures keep their meaning in grey and for colour-blind readers.

pub mod band;
pub mod curves;
pub mod html;
pub mod lanes;
pub mod report;
pub mod svg;
pub mod terminal;
pub mod trace;

use std::time::Duration;

pub use crate::timeline::human;
use crate::timeline::{Lane, Span, State, Timeline};

/// The same work done in several ways, drawn one below the other on one time scale.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// What was done.
    pub title: String,
    /// What one unit of it is.
    pub subtitle: String,
    /// One per way of doing it, drawn in this order.
    pub strips: Vec<Strip>,
}

/// One way of doing the work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strip {
    /// What this way is called.
    pub name: String,
    /// Who was in which state when.
    pub timeline: Timeline,
    /// Written beside the lanes after the wall time: how much shorter than the reference, for example `4.9x`.
    pub speedup: String,
}

impl Comparison {
    /// The longest wall time: what the time axis has to span.
    fn longest(&self) -> Duration {
        self.strips.iter().map(|s| s.timeline.wall()).max().unwrap_or_default()
    }
}

impl Strip {
    fn workers(&self) -> String {
        match self.timeline.lanes.len() {
            1 => "1 worker".to_owned(),
            // An event loop: its lanes are tasks, not threads.
            n if n > 1 && self.timeline.threads() == 1 => format!("{n} tasks, 1 thread"),
            n => format!("{n} workers"),
        }
    }
}

/// Steps of 1, 2 or 5 times a power of ten, about `wanted` of them from zero to `longest`.
fn ticks(longest: Duration, wanted: u32) -> Vec<Duration> {
    let span = longest.as_secs_f64();
    if span <= 0.0 {
        return vec![Duration::ZERO];
    }
    let rough = span / f64::from(wanted.max(1));
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let mut all = Vec::new();
    let mut at = 0.0;
    while at <= span * 1.0001 {
        all.push(Duration::from_secs_f64(at));
        at += step;
    }
    all
}

/// At most `limit` lanes, evenly chosen, the first and the last among them.
fn chosen(lanes: &[Lane], limit: usize) -> Vec<&Lane> {
    if lanes.len() <= limit {
        return lanes.iter().collect();
    }
    if limit < 2 {
        return lanes.iter().take(limit).collect();
    }
    (0..limit).map(|i| &lanes[i * (lanes.len() - 1) / (limit - 1)]).collect()
}

/// The state that fills most of each of `cells` equal parts of `from..to`; `None` where the lane has nothing.
fn majority(spans: &[Span], from: f64, to: f64, cells: usize) -> Vec<Option<State>> {
    let mut weight = vec![[0.0f64; 3]; cells];
    let mut cause = vec![None; cells];
    let width = (to - from) / cells.max(1) as f64;
    if width <= 0.0 {
        return vec![None; cells];
    }
    for span in spans {
        let (start, end) = (span.start.as_secs_f64(), span.end.as_secs_f64());
        let first = (((start - from) / width).floor().max(0.0)) as usize;
        let last = (((end - from) / width).ceil().max(0.0) as usize).min(cells);
        for cell in first..last {
            let low = from + cell as f64 * width;
            let shared = end.min(low + width) - start.max(low);
            if shared > 0.0 {
                let kind = match span.state {
                    State::Computing => 0,
                    State::Waiting(_) => {
                        cause[cell] = Some(span.state);
                        1
                    }
                    State::Idle => 2,
                };
                weight[cell][kind] += shared;
            }
        }
    }
    weight
        .iter()
        .zip(cause)
        .map(|(w, cause)| {
            if w.iter().sum::<f64>() <= 0.0 {
                None
            } else if w[0] >= w[1] && w[0] >= w[2] {
                Some(State::Computing)
            } else if w[1] >= w[2] {
                cause
            } else {
                Some(State::Idle)
            }
        })
        .collect()
}

/// Text as XML content or attribute value. Characters that XML cannot hold are dropped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c as u32, 0xFFFE | 0xFFFF) => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Cause, Unit, Wait};

    #[test]
    fn ticks_stay_few_and_inside_for_any_length() {
        for exponent in -6..6 {
            for factor in [1.0, 1.3, 2.1, 4.9, 7.7, 9.99] {
                let longest = Duration::from_secs_f64(factor * 10f64.powi(exponent));
                let t = ticks(longest, 6);
                assert!((3..=8).contains(&t.len()), "{longest:?} has {} ticks", t.len());
                assert!(t.iter().all(|t| *t <= longest.mul_f64(1.001)));
            }
        }
        assert_eq!(ticks(Duration::ZERO, 6).len(), 1);
    }

    #[test]
    fn choosing_lanes_keeps_the_first_and_the_last() {
        let lanes: Vec<Lane> = (0..160).map(|thread| Lane { thread, spans: Vec::new() }).collect();
        for limit in [2, 3, 7, 159] {
            let some = chosen(&lanes, limit);
            assert_eq!(some.len(), limit);
            assert_eq!((some[0].thread, some[limit - 1].thread), (0, 159));
        }
        assert_eq!(chosen(&lanes, 1).len(), 1);
        assert_eq!(chosen(&lanes, 500).len(), 160);
    }

    #[test]
    fn a_cell_shows_what_fills_most_of_it() {
        let ms = Duration::from_millis;
        let wait = Wait { start: ms(1), end: ms(9), cause: Cause::Network };
        let unit = Unit { id: 0, thread: 1, start: ms(0), end: ms(20), waits: vec![wait] };
        let t = Timeline::from_units(&[unit]).expect("good");
        let cells = majority(&t.lanes[0].spans, 0.0, 0.040, 4);
        assert_eq!(cells, [Some(State::Waiting(Cause::Network)), Some(State::Computing), None, None]);
    }

    #[test]
    fn text_that_xml_cannot_hold_is_escaped_or_dropped() {
        assert_eq!(escape("a<b> & \"c\" '\u{1}d"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d");
    }
}
