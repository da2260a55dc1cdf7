//! The limits that the project has set itself, and how a figure is held against them.
//!
//! A limit is missed only beyond ten percent: a ratio of two medians on a shared machine is not sharper than that.

use crate::harness::{Better, Row};

const TOLERANCE: f64 = 1.10;

/// What is promised about one row.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The row's work.
    pub work: &'static str,
    /// Our system.
    pub ours: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// At most this many times the best of these peers.
    TimesBestOf(f64, &'static [&'static str]),
    /// At least this figure.
    AtLeast(f64),
}

/// The outcome of one limit.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Held.
    Ok(String),
    /// Over the limit, but by no more than ten percent.
    Near(String),
    /// Beyond ten percent.
    Missed(String),
    /// A row that it needs was not measured.
    Open(String),
}

impl Verdict {
    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            Verdict::Ok(text) => format!("ok: {text}"),
            Verdict::Near(text) => format!("ok (within 10 %): {text}"),
            Verdict::Missed(text) => format!("MISSED: {text}"),
            Verdict::Open(text) => format!("not judged: {text}"),
        }
    }
}

const fn best_of(work: &'static str, ours: &'static str, times: f64, peers: &'static [&'static str]) -> Limit {
    Limit { work, ours, rule: Rule::TimesBestOf(times, peers) }
}

const fn at_least(work: &'static str, ours: &'static str, value: f64) -> Limit {
    Limit { work, ours, rule: Rule::AtLeast(value) }
}

const LOCKS: &[&str] = &["std", "parking_lot"];
const CROSSBEAM: &[&str] = &["crossbeam"];

/// Every limit.
pub const LIMITS: &[Limit] = &[
    best_of("mutex.uncontended", "ropewalk", 1.1, LOCKS),
    best_of("mutex.2threads", "ropewalk", 1.2, LOCKS),
    best_of("mutex.4threads", "ropewalk", 1.2, LOCKS),
    at_least("mutex.2threads.fairness", "ropewalk", 30.0),
    at_least("mutex.4threads.fairness", "ropewalk", 30.0),
    best_of("event.thread-thread", "ropewalk", 0.25, &["std"]),
    best_of("event.thread-thread.cpu", "ropewalk", 1.2, &["std"]),
    best_of("event.thread-thread.one-core", "ropewalk", 1.0, &["std"]),
    best_of("queue.unbounded.1x1", "ropewalk:channel", 1.0, CROSSBEAM),
    best_of("queue.unbounded.4x4", "ropewalk:channel", 1.0, CROSSBEAM),
    best_of("queue.bounded64.1x1", "ropewalk:channel", 1.0, CROSSBEAM),
    best_of("queue.bounded64.4x4", "ropewalk:channel", 1.0, CROSSBEAM),
    best_of("queue.unbounded.1x1", "ropewalk:queue", 1.5, CROSSBEAM),
    best_of("queue.unbounded.4x4", "ropewalk:queue", 1.5, CROSSBEAM),
    best_of("queue.bounded64.1x1", "ropewalk:queue", 1.5, CROSSBEAM),
    best_of("queue.bounded64.4x4", "ropewalk:queue", 1.5, CROSSBEAM),
    best_of("submit-join.1m", "ropewalk", 0.5, &["tokio"]),
    best_of("submit-join.1m", "ropewalk", 1.0, &["rayon"]),
];

/// The limits on `work`, each with its outcome in these rows.
pub fn judge<'a>(work: &'a str, rows: &'a [Row]) -> impl Iterator<Item = Verdict> + 'a {
    LIMITS.iter().filter(move |limit| limit.work == work).map(move |limit| limit.judge(rows))
}

impl Limit {
    fn judge(&self, rows: &[Row]) -> Verdict {
        let find = |system: &str| rows.iter().find(|row| row.work == self.work && row.system == system);
        let ours = find(self.ours);
        match self.rule {
            Rule::AtLeast(wanted) => {
                let rule = format!("{} ≥ {wanted}", self.ours);
                let Some(ours) = ours else {
                    return Verdict::Open(rule);
                };
                let text = format!("{rule} {}: {:.1} {}", ours.unit, ours.median, ours.unit);
                grade(wanted / ours.median.max(1e-9), text)
            }
            Rule::TimesBestOf(times, peers) => {
                let best = peers.iter().filter_map(|peer| find(peer)).min_by(|a, b| {
                    let order = a.median.total_cmp(&b.median);
                    if a.better == Better::Higher { order.reverse() } else { order }
                });
                let of = if peers.len() > 1 { "the best of " } else { "" };
                let rule = format!("{} ≤ {times} × {of}{}", self.ours, peers.join(", "));
                let (Some(ours), Some(best)) = (ours, best) else {
                    return Verdict::Open(rule);
                };
                let ratio = ours.median / best.median;
                let who = if peers.len() > 1 { format!(" ({})", best.system) } else { String::new() };
                grade(ratio / times, format!("{rule}{who}: {ratio:.2} ×"))
            }
        }
    }
}

fn grade(share_of_limit: f64, text: String) -> Verdict {
    if share_of_limit <= 1.0 {
        Verdict::Ok(text)
    } else if share_of_limit <= TOLERANCE {
        Verdict::Near(text)
    } else {
        Verdict::Missed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(work: &str, system: &'static str, median: f64) -> Row {
        Row {
            suite: "sync",
            work: work.into(),
            system,
            median,
            min: median,
            max: median,
            unit: "ns/op",
            better: Better::Lower,
            rounds: 9,
            cpu_per_wall: 1.0,
            again: 0,
        }
    }

    #[test]
    fn best_peer_sets_the_limit_and_ten_percent_are_forgiven() {
        let verdict = |ours: f64| {
            let rows = [
                row("mutex.uncontended", "ropewalk", ours),
                row("mutex.uncontended", "std", 10.0),
                row("mutex.uncontended", "parking_lot", 12.0),
            ];
            judge("mutex.uncontended", &rows).next().unwrap()
        };
        assert!(matches!(verdict(11.0), Verdict::Ok(_)));
        assert!(matches!(verdict(12.0), Verdict::Near(_)));
        assert!(matches!(verdict(12.2), Verdict::Missed(_)));
    }

    #[test]
    fn missing_peer_leaves_the_limit_open() {
        let rows = [row("submit-join.1m", "ropewalk", 1.0), row("submit-join.1m", "rayon", 2.0)];
        let all: Vec<_> = judge("submit-join.1m", &rows).collect();
        assert!(matches!(all[0], Verdict::Open(_)) && matches!(all[1], Verdict::Ok(_)));
    }

    #[test]
    fn floor_is_a_floor() {
        let low = [row("mutex.2threads.fairness", "ropewalk", 20.0)];
        assert!(matches!(judge("mutex.2threads.fairness", &low).next(), Some(Verdict::Missed(_))));
        let high = [row("mutex.2threads.fairness", "ropewalk", 90.0)];
        assert!(matches!(judge("mutex.2threads.fairness", &high).next(), Some(Verdict::Ok(_))));
    }
}
