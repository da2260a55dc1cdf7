//! Looks at real pools, as text, and what the controller makes of them: its decisions are tested without a clock.
//!
//! A line is `begins AT`, or `AT QUEUED RUNNABLE IDLE STUCK FINISHED`, and where the system said what threads did then
//! `WORKERS TIME ON-CPU FOR-CPU IN-IO IN-LOCK IN-UNKNOWN NEWBORN CALL`; times in microseconds. To record anew:
//! `ROPEWALK_RECORD=1 cargo test -p ropewalk --lib recording` writes the files of `recordings/`; look at what has changed.

use super::controller::{Controller, Limits, Pace};
use super::sample::{Sample, Seen};
use super::{Sizing, SizingDecision, SizingReason, Workers};
use crate::executor::Submit;
use crate::executor::thread_pool::{Builder, ThreadPoolExecutor};
use crate::sync::{Mutex, Semaphore};
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Something that the controller was told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Begins(Duration),
    Look(Sample),
}

impl Sizing {
    pub(super) fn record(&self, event: Event) {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl Event {
    fn line(&self) -> String {
        let sample = match self {
            Self::Begins(at) => return format!("begins {}", at.as_micros()),
            Self::Look(sample) => sample,
        };
        let Sample { at, queued, runnable, idle, stuck, finished, .. } = sample;
        let mut line = format!("{} {queued} {runnable} {idle} {stuck} {finished}", at.as_micros());
        if let Some(seen) = sample.seen {
            let Seen { workers, time_ns, on_cpu_ns, for_cpu_ns, in_io, in_lock, in_unknown, newborn, call } = seen;
            let times = [time_ns, on_cpu_ns, for_cpu_ns].map(|time| (time / 1_000).to_string()).join(" ");
            let _ = write!(line, " {workers} {times} {in_io} {in_lock} {in_unknown} {newborn} {call}");
        }
        line.trim_end().to_owned()
    }

    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap_or_else(|_| panic!("in the line {line:?}"));
        let count = |index: usize| number(index) as usize;
        if words[0] == "begins" {
            return Self::Begins(Duration::from_micros(number(1)));
        }
        let seen = (words.len() > 6).then(|| Seen {
            workers: count(6),
            time_ns: 1_000 * number(7),
            on_cpu_ns: 1_000 * number(8),
            for_cpu_ns: 1_000 * number(9),
            in_io: count(10),
            in_lock: count(11),
            in_unknown: count(12),
            newborn: count(13),
            call: Box::leak(words[14..].join(" ").into_boxed_str()),
        });
        Self::Look(Sample {
            at: Duration::from_micros(number(0)),
            queued: count(1),
            runnable: count(2),
            idle: count(3),
            stuck: count(4),
            finished: number(5),
            refused: false,
            seen,
        })
    }
}

/// The decisions about what was recorded, on a machine of two cores.
fn judged(events: impl IntoIterator<Item = Event>, limits: Limits) -> Controller {
    let mut controller = Controller::new(limits);
    for event in events {
        match event {
            Event::Begins(at) => controller.begins(at),
            Event::Look(sample) => controller.judge(&sample),
        }
    }
    controller
}

const TWO_CORES: Limits = Limits { cores: 2, min: 2, max: 1_024 };

fn recorded(text: &str) -> Vec<SizingDecision> {
    judged(text.lines().map(Event::parse), TWO_CORES).log()
}

fn peak(decisions: &[SizingDecision]) -> usize {
    decisions.iter().map(|decision| decision.to).max().unwrap_or(2)
}

#[test]
fn waits_outside_grow_to_a_hundred_within_80_ms() {
    let decisions = recorded(include_str!("recordings/io.txt"));
    let hundred = decisions.iter().find(|decision| decision.to >= 100).expect("it grows");
    assert!(hundred.at < Duration::from_millis(80), "{decisions:?}");
    assert!(
        decisions.iter().any(|decision| decision.to_string().contains("the rest in clock_nanosleep")),
        "{decisions:?}"
    );
    assert_eq!(decisions.last().map(|last| (last.to, last.reason)), Some((2, SizingReason::Idle)));
}

#[test]
fn computing_does_not_grow() {
    assert_eq!(recorded(include_str!("recordings/cpu.txt")), []);
}

#[test]
fn half_and_half_grows_a_little() {
    let decisions = recorded(include_str!("recordings/mixed.txt"));
    assert!((4..=16).contains(&peak(&decisions)), "{decisions:?}");
}

#[test]
fn ten_permits_settle_at_about_ten() {
    let decisions = recorded(include_str!("recordings/semaphore10.txt"));
    assert!((10..=24).contains(&peak(&decisions)), "{decisions:?}");
    assert!(decisions.iter().any(|decision| decision.reason == SizingReason::LocksTrial), "{decisions:?}");
    assert!(decisions.iter().any(|decision| matches!(decision.reason, SizingReason::Kept { .. })), "{decisions:?}");
}

/// On a machine that others keep busy: those that would wait for a permit wait for a processor, and for two looks nobody seems to
/// wait for a permit.
#[test]
fn permits_that_seem_free_for_a_moment() {
    let decisions = recorded(include_str!("recordings/semaphore10_busy.txt"));
    assert_eq!(peak(&decisions), 12, "{decisions:?}");
}

#[test]
fn locks_do_not_grow() {
    for recording in [include_str!("recordings/mutex.txt"), include_str!("recordings/std_mutex.txt")] {
        let decisions = recorded(recording);
        assert!(peak(&decisions) <= 4, "{decisions:?}");
    }
}

/// A look in the middle of steady work: two workers, a queue, and what they did in 10 ms each.
fn look(at_ms: u64, seen: Option<Seen>) -> Sample {
    let at = Duration::from_millis(at_ms);
    Sample { at, queued: 100, runnable: 2, finished: 1, seen, ..Sample::default() }
}

fn did(on_cpu_ms: u64, in_io: usize, in_lock: usize) -> Option<Seen> {
    let (time_ns, on_cpu_ns) = (20_000_000, 1_000_000 * on_cpu_ms);
    Some(Seen { workers: 2, time_ns, on_cpu_ns, in_io, in_lock, call: "read", ..Seen::default() })
}

fn after(looks: impl IntoIterator<Item = Sample>) -> usize {
    judged(looks.into_iter().map(Event::Look), TWO_CORES).target()
}

#[test]
fn kind_of_wait_decides() {
    assert_eq!(after([look(10, did(1, 2, 0))]), 4, "in I/O");
    assert_eq!(after([look(10, did(1, 0, 2))]), 2, "in locks");
    assert_eq!(after([look(10, did(1, 1, 1))]), 2, "half of them in locks");
    assert_eq!(after([look(10, did(20, 0, 0))]), 2, "computing");
    let ready = |seen: Option<Seen>| seen.map(|seen| Seen { for_cpu_ns: seen.time_ns, ..seen });
    assert_eq!(after([look(10, ready(did(1, 1, 0)))]), 2, "ready to run, on a machine that others keep busy");
    let newborn = did(1, 2, 0).map(|seen| Seen { workers: 4, newborn: 2, ..seen });
    assert_eq!(after([look(10, newborn)]), 2, "the latest have not begun");
    let stuck = Sample { stuck: 1, ..look(10, did(1, 1, 0)) };
    assert_eq!(after([stuck]), 2, "one waits for a permit of ours");
    let idle = Sample { idle: 1, ..look(10, did(1, 1, 0)) };
    assert_eq!(after([idle]), 2, "one has nothing to do");
}

#[test]
fn growth_is_no_more_than_the_jobs_that_wait() {
    assert_eq!(after([Sample { queued: 1, ..look(10, did(0, 2, 0)) }]), 3);
}

#[test]
fn crowd_is_thinned_out() {
    let many = |at_ms, target, for_cpu_ms: u64| Sample {
        runnable: target,
        seen: did(2, 2, 0).map(|seen| Seen { for_cpu_ns: 1_000_000 * for_cpu_ms, ..seen }),
        ..look(at_ms, None)
    };
    let limits = Limits { cores: 2, min: 2, max: 64 };
    let mut controller = Controller::new(limits);
    for (at_ms, target) in [(10, 2), (20, 4), (30, 8)] {
        controller.judge(&many(at_ms, target, 0));
    }
    assert_eq!(controller.target(), 16);
    // Half of their time they are ready and wait for a processor.
    for at_ms in [100, 110, 120] {
        controller.judge(&many(at_ms, 16, 10));
    }
    let last = *controller.log().last().unwrap();
    assert_eq!((last.from, last.to, last.reason), (16, 14, SizingReason::Crowded));
}

#[test]
fn refused_threads_are_not_asked_for_again() {
    let mut controller = Controller::new(TWO_CORES);
    controller.judge(&look(10, did(0, 2, 0)));
    assert_eq!(controller.target(), 4);
    controller.judge(&Sample { refused: true, runnable: 3, ..look(20, did(0, 2, 0)) });
    assert_eq!(controller.target(), 3);
    controller.judge(&Sample { runnable: 3, ..look(5_000, did(0, 2, 0)) });
    assert_eq!(controller.target(), 3);
}

/// Jobs of 10 ms for which only so many places are free somewhere; the system says nothing.
fn blind(places: usize, seconds: u64) -> Controller {
    let mut controller = Controller::new(TWO_CORES);
    for tick in 1..seconds * 50 {
        let at_once = controller.target().min(places);
        let finished = 2 * at_once as u64;
        let runnable = controller.target();
        controller.judge(&Sample { runnable, finished, ..look(20 * tick, None) });
    }
    controller
}

/// Jobs that wait for something which ends 200 of them a second, whatever their number, once ten are there: with 1,024 workers
/// each takes 5 s. Such a trial needs longer than one of quick jobs, and must not be taken back before.
#[test]
fn slow_jobs_behind_a_limit_come_back_down() {
    let ends_a_second = |workers: usize| (20.0 * workers as f64).min(200.0);
    let mut controller = Controller::new(TWO_CORES);
    let (mut ended, mut lowest) = (0.0, usize::MAX);
    for tick in 1..90 * 50 {
        let runnable = controller.target();
        let before = ended as u64;
        ended += ends_a_second(runnable) / 50.0;
        controller.judge(&Sample { runnable, finished: ended as u64 - before, ..look(20 * tick, did(0, 2, 0)) });
        lowest = if controller.target() == 1_024 { usize::MAX } else { lowest.min(controller.target()) };
    }
    let log = controller.log();
    assert_eq!(peak(&log), 1_024, "it grows at first: nothing tells it of the limit");
    assert!((7..=64).contains(&lowest), "{log:?}");
    assert!(log.iter().all(|decision| decision.reason != SizingReason::NoResult), "{log:?}");
}

/// Everything stops in the middle of a trial: that is neither a rate of 0 nor a reason to stay.
#[test]
fn trial_without_an_end_has_no_result() {
    let mut controller = Controller::new(Limits { min: 1, ..TWO_CORES });
    let mut tick = 0;
    let mut look_on = |controller: &mut Controller, finished| {
        tick += 1;
        let runnable = controller.target();
        controller.judge(&Sample { runnable, finished, ..look(20 * tick, did(20, 0, 0)) });
    };
    while controller.target() != 1 {
        look_on(&mut controller, 4);
        assert!(controller.log().len() < 2, "{:?}", controller.log());
    }
    for _ in 0..120 {
        look_on(&mut controller, 0);
    }
    let last = *controller.log().last().unwrap();
    assert_eq!((last.from, last.to, last.reason), (1, 2, SizingReason::NoResult), "{:?}", controller.log());
    assert_eq!(last.to_string(), "grow 1 -> 2: the trial had no result");
}

#[test]
fn hidden_threads_are_sized_by_trials() {
    let controller = blind(40, 20);
    assert!((30..=60).contains(&controller.target()), "{:?}", controller.log());
    // Where more do not help, the number stays.
    assert_eq!(blind(2, 20).target(), 2);
}

#[test]
fn hidden_threads_that_finish_nothing_get_help() {
    let mut controller = Controller::new(TWO_CORES);
    for tick in 1..100 {
        let runnable = controller.target();
        controller.judge(&Sample { runnable, finished: 0, ..look(20 * tick, None) });
    }
    assert!((4..=7).contains(&controller.target()), "{:?}", controller.log());
    assert!(controller.log().iter().all(|decision| decision.reason == SizingReason::Stalled));
}

#[test]
fn pace_follows_the_work() {
    let mut controller = Controller::new(TWO_CORES);
    controller.judge(&look(10, did(20, 0, 0)));
    assert_eq!(controller.pace(), Pace::Lively);
    controller.judge(&look(500, did(20, 0, 0)));
    assert_eq!(controller.pace(), Pace::Steady);
    controller.judge(&Sample { queued: 0, ..look(600, None) });
    assert_eq!(controller.pace(), Pace::Quiet);
    controller.judge(&Sample { queued: 0, ..look(3_000, None) });
    assert_eq!(controller.pace(), Pace::Over);
    controller.begins(Duration::from_secs(9));
    assert_eq!(controller.pace(), Pace::Lively);
}

#[test]
fn log_is_bounded() {
    let mut controller = Controller::new(TWO_CORES);
    // Work and rest by turns: a growth and a shrinking each time.
    for turn in 1..1_000 {
        controller.judge(&look(10_000 * turn, did(0, 2, 0)));
        controller.judge(&Sample { queued: 0, idle: 2, ..look(10_000 * turn + 5_000, None) });
    }
    assert_eq!(controller.log().len(), 256);
}

/// Computes for about so many milliseconds.
fn compute(millis: u64) {
    let mut sum = 1_u64;
    for i in 0..millis * 300_000 {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
    }
}

fn pool(change: impl FnOnce(&mut Builder)) -> ThreadPoolExecutor {
    let mut builder = ThreadPoolExecutor::builder().max_workers(Workers::Between { min: 2, max: 1_024 });
    change(&mut builder);
    builder.build().unwrap()
}

/// What the monitor saw while a pool did this, and rested afterwards if `rests`.
fn record(count: usize, rests: bool, job: impl Fn() + Send + Sync + 'static) -> Vec<Event> {
    let (pool, job) = (pool(|_| ()), Arc::new(job));
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let job = Arc::clone(&job);
            pool.submit(move || job())
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    while rests && pool.stats().target > 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let sizing = pool.pool.sizing().unwrap();
    let events = sizing.recording.lock().unwrap().clone();
    // Its decisions are those of a controller that was told the same.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let again = judged(events.iter().copied(), Limits { cores, ..TWO_CORES }).log();
    let log = pool.sizing_log();
    let both = log.len().min(again.len());
    assert_eq!(log[..both], again[..both]);
    assert!(log.len().abs_diff(again.len()) <= 2, "only what was decided while this looked may be missing");
    events
}

#[test]
fn recording_played_again_gives_the_same_decisions() {
    let events = record(100, true, || std::thread::sleep(Duration::from_millis(20)));
    for event in &events {
        let line = event.line();
        assert_eq!(Event::parse(&line).line(), line);
    }
    assert!(events.iter().any(|event| matches!(event, Event::Look(Sample { queued: 1.., .. }))));
    if std::env::var_os("ROPEWALK_RECORD").is_some() {
        write_all();
    }
}

fn write_all() {
    let ms = Duration::from_millis;
    let permits = Semaphore::new(10);
    let (ours, theirs) = (Mutex::new(()), std::sync::Mutex::new(()));
    let recordings = [
        ("io", record(160, true, move || std::thread::sleep(ms(50)))),
        ("cpu", record(200, false, || compute(2))),
        (
            "mixed",
            record(150, false, move || {
                compute(2);
                std::thread::sleep(ms(2));
            }),
        ),
        (
            "semaphore10",
            record(1_500, false, move || {
                let _permit = permits.acquire();
                std::thread::sleep(ms(5));
            }),
        ),
        (
            "mutex",
            record(200, false, move || {
                let _guard = ours.lock();
                compute(1);
            }),
        ),
        (
            "std_mutex",
            record(200, false, move || {
                let _guard = theirs.lock().unwrap();
                compute(1);
            }),
        ),
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/executor/thread_pool/sizing/recordings");
    for (name, events) in recordings {
        let lines: String = events.iter().map(|event| event.line() + "\n").collect();
        std::fs::write(directory.join(format!("{name}.txt")), lines).unwrap();
    }
}

/// The directory of the threads does not exist: the pool works, and is sized without it.
#[test]
fn hidden_directory_is_no_failure() {
    let nowhere = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("no-such-directory");
    let pool = pool(|builder| builder.threads_described_in = Some(nowhere));
    let handles: Vec<_> =
        (0..200).map(|n| pool.submit(move || (std::thread::sleep(Duration::from_millis(5)), n).1)).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), n);
    }
    let sizing = pool.pool.sizing().unwrap();
    let events = sizing.recording.lock().unwrap().clone();
    assert!(events.iter().any(|event| matches!(event, Event::Look(Sample { queued: 1.., .. }))), "nobody looked");
    assert!(events.iter().all(|event| !matches!(event, Event::Look(Sample { seen: Some(_), .. }))), "{events:?}");
    let blind = |reason| matches!(reason, SizingReason::Waits { .. } | SizingReason::Crowded);
    assert!(!pool.sizing_log().iter().any(|decision| blind(decision.reason)), "{:?}", pool.sizing_log());
}
