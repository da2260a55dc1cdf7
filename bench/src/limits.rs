//! The limits that the project has set itself, and how a figure is held against them.
//!
//! A limit is missed only beyond ten percent: a ratio of two medians on a shared machine is not sharper than that.

use crate::harness::{Better, Row};

const TOLERANCE: f64 = 1.10;
/// Sizes whose figures differ by less than this do equally well.
const AS_GOOD: f64 = 1.05;

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
    /// At least this many times the best of these peers.
    AtLeastTimesBestOf(f64, &'static [&'static str]),
    /// At most this many times the best fixed size of ours; the best is the smallest whose figure in the row named here is
    /// within [`AS_GOOD`] of the best figure.
    TimesBestSize(f64, &'static str),
    /// At least this figure.
    AtLeast(f64),
    /// At most this figure.
    AtMost(f64),
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

const fn at_most(work: &'static str, ours: &'static str, value: f64) -> Limit {
    Limit { work, ours, rule: Rule::AtMost(value) }
}

const fn size_of_best(work: &'static str, times: f64, by: &'static str) -> Limit {
    Limit { work, ours: "ropewalk", rule: Rule::TimesBestSize(times, by) }
}

const fn at_least_best_of(work: &'static str, ours: &'static str, times: f64, peers: &'static [&'static str]) -> Limit {
    Limit { work, ours, rule: Rule::AtLeastTimesBestOf(times, peers) }
}

const LOCKS: &[&str] = &["std", "parking_lot"];
/// Pools that give a handle for each task.
const HANDLES: &[&str] = &["rusty_pool", "tokio", "tokio:spawn", "tokio:joinset"];
/// Has none: its results go to slots that the caller keeps.
const RAYON_SCOPES: &[&str] = &["rayon", "rayon:in-place"];
const CROSSBEAM: &[&str] = &["crossbeam"];
/// Ours with a number, the best of which a pool without one is held against.
const FIXED: &[&str] = &[
    "ropewalk:fixed-2",
    "ropewalk:fixed-4",
    "ropewalk:fixed-8",
    "ropewalk:fixed-10",
    "ropewalk:fixed-16",
    "ropewalk:fixed-32",
    "ropewalk:fixed-64",
    "ropewalk:fixed-160",
    "ropewalk:fixed-512",
    "ropewalk:fixed-1024",
];
/// With a processor a core, as it is installed, and with one, as a hub has.
const GO: &[&str] = &["go", "go:1p"];
const MAY: &[&str] = &["may", "may:1w"];
/// Yields of several threads happen at the same time: a hub is held against one worker, a hub a core against a worker a core.
const MAY_ONE: &[&str] = &["may:1w"];
const MAY_ALL: &[&str] = &["may"];
const TOKIO: &[&str] = &["tokio-ct"];
const GEVENT: &[&str] = &["gevent"];
/// Claim and finish on SQLite and nothing else, and python-rq's faster worker.
const BARE: &[&str] = &["bare"];
const RQ: &[&str] = &["rq-simple"];
/// Its default worker, which forks for each job.
const RQ_FORK: &[&str] = &["rq-fork"];
const BULLMQ: &[&str] = &["bullmq"];
/// Where servers are measured, all of Go is on one core.
const GO_SERVER: &[&str] = &["go"];
/// Our echo server: on our own sockets once there are any.
const SERVER: &str = if cfg!(feature = "net") { "ropewalk" } else { "ropewalk:block_on" };

/// Every limit, by suite.
pub const LIMITS: &[(&str, &[Limit])] = &[
    (
        "sync",
        &[
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
        ],
    ),
    (
        "pool",
        &[
            best_of("submit-join.1m", "ropewalk", 0.4, &["tokio"]),
            best_of("submit-join.1m", "ropewalk", 0.75, HANDLES),
            best_of("submit-join.1m", "ropewalk", 1.0, RAYON_SCOPES),
            best_of("par-map.10m-small", "ropewalk", 1.0, &["rayon"]),
            best_of("par-map.into-slice", "ropewalk", 1.2, &["paralight"]),
            best_of("map.10k-50us", "ropewalk", 1.02, &["rayon"]),
            best_of("map.ordered-lazy", "ropewalk", 0.35, &["pariter"]),
            best_of("join.fib30", "ropewalk", 0.6, &["rayon"]),
        ],
    ),
    (
        "sizing",
        &[
            at_most("io.time-to-100", "ropewalk", 150.0),
            best_of("io160.wall", "ropewalk", 1.6, FIXED),
            size_of_best("io160.wall.peak", 2.0, "io160.wall"),
            best_of("io.wall", "ropewalk", 1.6, FIXED),
            size_of_best("io.wall.peak", 2.0, "io.wall"),
            best_of("cpu.wall", "ropewalk", 1.2, FIXED),
            size_of_best("cpu.wall.peak", 2.0, "cpu.wall"),
            best_of("mixed.wall", "ropewalk", 1.6, FIXED),
            size_of_best("mixed.wall.peak", 2.0, "mixed.wall"),
            best_of("mixed9.wall", "ropewalk", 1.6, FIXED),
            size_of_best("mixed9.wall.peak", 2.0, "mixed9.wall"),
            best_of("semaphore10.settled.wall", "ropewalk", 1.6, FIXED),
            at_most("semaphore10.settled.peak", "ropewalk", 24.0),
            best_of("mutex.settled.wall", "ropewalk", 1.6, FIXED),
            at_most("mutex.settled.peak", "ropewalk", 8.0),
            best_of("nested.wall", "ropewalk", 1.6, FIXED),
            // A worker for each core is what a pool keeps; the machines that measure have two.
            at_most("idle.threads", "ropewalk", 2.0),
        ],
    ),
    (
        "greenlet",
        &[
            best_of("yield.2", "ropewalk", 0.2, GO),
            best_of("yield.2", "ropewalk", 0.45, TOKIO),
            best_of("yield.2", "ropewalk", 0.4, MAY_ONE),
            best_of("yield.2", "ropewalk:hubs", 0.4, MAY_ALL),
            best_of("yield.2", "ropewalk", 0.01, GEVENT),
            best_of("yield.1000", "ropewalk", 0.2, GO),
            best_of("yield.1000", "ropewalk", 0.45, TOKIO),
            best_of("yield.1000", "ropewalk", 0.4, MAY_ONE),
            best_of("yield.1000", "ropewalk:hubs", 0.4, MAY_ALL),
            best_of("yield.1000", "ropewalk", 0.01, GEVENT),
            best_of("spawn-join", "ropewalk", 0.35, GO),
            best_of("spawn-join", "ropewalk", 0.6, TOKIO),
            best_of("spawn-join", "ropewalk", 0.15, MAY),
            best_of("wake.100k", "ropewalk", 1.0, TOKIO),
            best_of("wake.100k", "ropewalk", 1.0, GO),
            at_most("bytes.1m", "ropewalk", 5_000.0),
            at_least("hubs.2", "ropewalk", 80.0),
            best_of("echo.50.cpu", SERVER, 1.25, TOKIO),
            at_least_best_of("echo.50.rate", SERVER, 0.95, TOKIO),
            at_least_best_of("echo.50.rate", SERVER, 1.1, GO_SERVER),
            at_least_best_of("echo.50.rate", SERVER, 3.0, GEVENT),
            best_of("echo.50.p99", SERVER, 1.2, TOKIO),
            best_of("echo.1000.cpu", SERVER, 1.25, TOKIO),
            at_least_best_of("echo.1000.rate", SERVER, 0.95, TOKIO),
            at_least_best_of("echo.1000.rate", SERVER, 1.1, GO_SERVER),
            at_least_best_of("echo.1000.rate", SERVER, 3.0, GEVENT),
            best_of("echo.1000.p99", SERVER, 1.2, TOKIO),
        ],
    ),
    (
        "process",
        &[
            best_of("roundtrip", "ropewalk", 0.3, &["cpython"]),
            best_of("map.tiny", "ropewalk", 0.01, &["cpython"]),
            best_of("map.tiny", "ropewalk", 0.034, &["procspawn"]),
            best_of("map.tiny.chunk100", "ropewalk", 0.66, &["cpython"]),
            at_least_best_of("payload.1mib", "ropewalk", 8.0, &["cpython"]),
            at_least_best_of("payload.1mib", "ropewalk:vec", 1.0, &["cpython"]),
            best_of("start.small", "ropewalk", 0.35, &["ropewalk:exec"]),
            best_of("start.1gib", "ropewalk", 0.35, &["ropewalk:exec"]),
        ],
    ),
    (
        "subprocess",
        &[
            best_of("spawn", "ropewalk", 1.1, &["std"]),
            best_of("spawn.1gib", "ropewalk", 1.1, &["std"]),
            best_of("spawn", "ropewalk:2", 1.1, &["std:2"]),
            at_least_best_of("communicate.256mib", "ropewalk", 1.3, &["cpython"]),
        ],
    ),
    (
        "jobs",
        &[
            at_least_best_of("noop.c1", "ropewalk:sqlite", 0.6, BARE),
            at_least_best_of("noop.c50", "ropewalk:sqlite", 0.6, BARE),
            at_least_best_of("noop.c50", "ropewalk:sqlite", 30.0, RQ),
            best_of("latency.p50", "ropewalk:sqlite", 0.35, RQ),
            at_most("idle.cpu", "ropewalk:sqlite", 0.5),
            at_least_best_of("enqueue.batch", "ropewalk:redis", 4.0, RQ),
            at_least_best_of("noop.c50", "ropewalk:redis", 20.0, RQ),
            at_least_best_of("noop.c50", "ropewalk:redis", 100.0, RQ_FORK),
            at_least_best_of("noop.c50", "ropewalk:redis", 0.8, BULLMQ),
            best_of("latency.p50", "ropewalk:redis", 0.35, RQ),
            at_most("roundtrips", "ropewalk:redis", 3.0),
            at_most("idle.cpu", "ropewalk:redis", 0.5),
        ],
    ),
    (
        "profile",
        &[
            at_most("overhead.10threads.upper", "ropewalk", 3.0),
            at_most("overhead.1000threads.upper", "ropewalk", 3.0),
            at_most("own-cpu.100threads", "ropewalk", 2.5),
            at_most("share-error", "ropewalk", 2.0),
            at_least("verdicts", "ropewalk", 90.0),
        ],
    ),
];

/// The limits on this row's work, each with its outcome in these rows, which may be of other works too.
pub fn judge<'a>(row: &'a Row, rows: &'a [Row]) -> impl Iterator<Item = Verdict> + 'a {
    let suite = LIMITS.iter().filter(move |(suite, _)| *suite == row.suite);
    let limits = suite.flat_map(|(_, limits)| *limits).filter(move |limit| limit.work == row.work);
    // Names are unique in a suite only.
    let rows: Vec<&Row> = rows.iter().filter(|other| other.suite == row.suite).collect();
    limits.map(move |limit| limit.judge(&rows))
}

impl Limit {
    fn judge(&self, rows: &[&Row]) -> Verdict {
        let find = |system: &str| rows.iter().find(|row| row.work == self.work && row.system == system).copied();
        let ours = find(self.ours);
        match self.rule {
            Rule::AtLeast(wanted) => self.against_figure(ours, "≥", wanted, |ours| wanted / ours.max(1e-9)),
            Rule::AtMost(wanted) => self.against_figure(ours, "≤", wanted, |ours| ours / wanted),
            Rule::TimesBestOf(times, peers) => {
                self.against_peers(ours, peers.iter().filter_map(|peer| find(peer)), false, times, peers)
            }
            Rule::TimesBestSize(times, by) => self.against_best_size(ours, rows, times, by),
            Rule::AtLeastTimesBestOf(times, peers) => {
                self.against_peers(ours, peers.iter().filter_map(|peer| find(peer)), true, times, peers)
            }
        }
    }

    fn against_figure(&self, ours: Option<&Row>, sign: &str, wanted: f64, share: impl Fn(f64) -> f64) -> Verdict {
        let rule = format!("{} {sign} {wanted}", self.ours);
        match ours {
            Some(ours) => {
                let text = format!("{rule} {}: {:.1} {}", ours.unit, ours.median, ours.unit);
                grade(share(ours.median), text)
            }
            None => Verdict::Open(rule),
        }
    }

    fn against_best_size(&self, ours: Option<&Row>, rows: &[&Row], times: f64, by: &str) -> Verdict {
        let rule = format!("{} ≤ {times} × the best fixed size", self.ours);
        let row = |system: &&str| rows.iter().find(|row| row.work == by && row.system == *system).copied();
        // They are named by size, smallest first.
        let fixed: Vec<&Row> = FIXED.iter().filter_map(row).collect();
        let best = fixed.iter().map(|row| row.median).fold(f64::INFINITY, f64::min);
        let smallest = fixed.iter().find(|row| row.median <= best * AS_GOOD);
        let size = smallest.and_then(|row| row.system.rsplit('-').next()?.parse::<f64>().ok());
        let (Some(ours), Some(size)) = (ours, size) else {
            return Verdict::Open(rule);
        };
        grade(ours.median / size / times, format!("{rule} ({size}): {:.3} ×", ours.median / size))
    }

    fn against_peers<'a>(
        &self,
        ours: Option<&Row>,
        rows: impl Iterator<Item = &'a Row>,
        at_least: bool,
        times: f64,
        peers: &[&str],
    ) -> Verdict {
        let best = rows.min_by(|a, b| {
            let order = a.median.total_cmp(&b.median);
            if a.better == Better::Higher { order.reverse() } else { order }
        });
        let sign = if at_least { "≥" } else { "≤" };
        let whom = match peers {
            [one] => (*one).to_owned(),
            FIXED => "the best fixed size".to_owned(),
            all => format!("the best of {}", all.join(", ")),
        };
        let rule = format!("{} {sign} {times} × {whom}", self.ours);
        let (Some(ours), Some(best)) = (ours, best) else {
            return Verdict::Open(rule);
        };
        let ratio = ours.median / best.median;
        let who = if peers.len() > 1 { format!(" ({})", best.system) } else { String::new() };
        let share = if at_least { times / ratio.max(1e-9) } else { ratio / times };
        grade(share, format!("{rule}{who}: {ratio:.3} ×"))
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
            suite: LIMITS.iter().find(|(_, limits)| limits.iter().any(|limit| limit.work == work)).expect("a limit").0,
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

    fn verdicts(work: &str, rows: &[Row]) -> std::vec::IntoIter<Verdict> {
        let row = rows.iter().find(|row| row.work == work).expect("a row of that work");
        judge(row, rows).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn best_peer_sets_the_limit_and_ten_percent_are_forgiven() {
        let verdict = |ours: f64| {
            let rows = [
                row("mutex.uncontended", "ropewalk", ours),
                row("mutex.uncontended", "std", 10.0),
                row("mutex.uncontended", "parking_lot", 12.0),
            ];
            verdicts("mutex.uncontended", &rows).next().unwrap()
        };
        assert!(matches!(verdict(11.0), Verdict::Ok(_)));
        assert!(matches!(verdict(12.0), Verdict::Near(_)));
        assert!(matches!(verdict(12.2), Verdict::Missed(_)));
    }

    #[test]
    fn missing_peer_leaves_the_limit_open() {
        let rows = [row("submit-join.1m", "ropewalk", 1.0), row("submit-join.1m", "rayon", 2.0)];
        let all: Vec<_> = verdicts("submit-join.1m", &rows).collect();
        assert!(matches!(all[..], [Verdict::Open(_), Verdict::Open(_), Verdict::Ok(_)]));
    }

    #[test]
    fn rate_may_be_higher_than_asked_and_a_size_lower() {
        let rate = |ours: f64| {
            let row = |system, median| Row { better: Better::Higher, ..row("echo.50.rate", system, median) };
            verdicts("echo.50.rate", &[row(SERVER, ours), row("tokio-ct", 100.0)]).next().unwrap()
        };
        assert!(matches!(rate(200.0), Verdict::Ok(_)));
        assert!(matches!(rate(90.0), Verdict::Near(_)));
        assert!(matches!(rate(80.0), Verdict::Missed(_)));
        let size = |ours| verdicts("bytes.1m", &[row("bytes.1m", "ropewalk", ours)]).next().unwrap();
        assert!(matches!(size(4_900.0), Verdict::Ok(_)) && matches!(size(5_600.0), Verdict::Missed(_)));
    }

    #[test]
    fn best_size_is_the_smallest_that_does_as_well() {
        let verdict = |peak: f64| {
            let walls = [("ropewalk:fixed-8", 104.0), ("ropewalk:fixed-64", 100.0), ("ropewalk:fixed-4", 130.0)];
            let mut rows: Vec<Row> = walls.map(|(system, wall)| row("mixed.wall", system, wall)).into();
            rows.push(row("mixed.wall.peak", "ropewalk", peak));
            verdicts("mixed.wall.peak", &rows).next().unwrap()
        };
        assert!(matches!(verdict(16.0), Verdict::Ok(_)));
        assert!(matches!(verdict(18.0), Verdict::Missed(_)));
    }

    #[test]
    fn limit_is_for_the_work_of_its_own_suite() {
        let idle = |suite, system| Row { suite, ..row("idle.cpu", system, 0.1) };
        let rows = [idle("pool", "ropewalk"), idle("jobs", "ropewalk:redis")];
        assert_eq!(judge(&rows[0], &rows).count(), 0);
        let all: Vec<_> = judge(&rows[1], &rows).collect();
        assert!(matches!(all[..], [Verdict::Open(_), Verdict::Ok(_)]));
    }

    #[test]
    fn floor_is_a_floor() {
        let low = [row("mutex.2threads.fairness", "ropewalk", 20.0)];
        assert!(matches!(verdicts("mutex.2threads.fairness", &low).next(), Some(Verdict::Missed(_))));
        let high = [row("mutex.2threads.fairness", "ropewalk", 90.0)];
        assert!(matches!(verdicts("mutex.2threads.fairness", &high).next(), Some(Verdict::Ok(_))));
    }
}
