//! Suite `profile`: what watching a program costs it, what the watcher uses itself, and whether what it says is so.
//!
//! The programs are this binary again (`target`); the watcher is, too, since `launch` waits for all children of its process.
//! A sample of `overhead` is a few pairs: the program bare and the program watched, in turn; the figure is by how much longer it
//! took, the median of the pairs. `….upper` is the upper end of the 95 % interval of the median of all pairs of all rounds, by
//! resampling them. The peers are
//! `perf sched record` (as root; it traces the whole machine) and `strace -c -f`, where they are installed. Neither has a
//! verdict, and py-spy, which knows Python alone, watches none of these programs.

mod target;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::Spent;
use target::Truth;

pub use target::run as run_target;

/// Resamples of the pairs for their interval.
const RESAMPLES: usize = 1_000;
/// Pairs in a sample: a machine that others use too is not the same for a second, and many short pairs say more than one long one.
const PAIRS: usize = 3;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    vec![
        overhead("overhead.10threads", "crowd10"),
        overhead("overhead.1000threads", "crowd1000"),
        own_cpu(),
        share_error(),
        verdicts(),
    ]
}

/// Watches the program with these words, and prints what it found as one line of JSON.
pub fn watch(words: &[&str]) -> Result<(), String> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let settings = ropewalk_profile::collect::Settings { stdout_to_stderr: true, ..Default::default() };
    let recording = ropewalk_profile::collect::launch(&words, &settings).map_err(|error| error.to_string())?;
    let judgement = ropewalk_profile::judge(&recording);
    let line = serde_json::to_string(&judgement.summary(&recording)).map_err(|error| error.to_string())?;
    println!("{line}");
    Ok(())
}

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watcher {
    Nobody,
    Ours,
    PerfSched,
    Strace,
}

/// What a run of a program left.
struct Run {
    truth: Truth,
    /// Of the program and whoever watched it.
    cpu: f64,
    wall: Duration,
    stdout: String,
    scratch: Scratch,
}

impl Run {
    fn said(&self) -> Value {
        serde_json::from_str(self.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    fn spent(&self) -> Spent {
        Spent { wall: self.wall, cpu: Duration::from_secs_f64(self.cpu.max(0.0)) }
    }
}

/// A directory that goes with its run.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ropewalk-bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory of ours");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program of ours to its end, under a shell that says what all of it used.
fn run(watcher: Watcher, kind: &str, amount: u64, server: &str) -> Run {
    let scratch = Scratch::new();
    let (truth, trace) = (scratch.0.join("truth"), scratch.0.join("trace"));
    let me = std::env::current_exe().expect("this file").display().to_string();
    let mut words: Vec<String> = match watcher {
        Watcher::Nobody => Vec::new(),
        Watcher::Ours => vec![me.clone(), "--profile".into()],
        Watcher::PerfSched => ["perf", "sched", "record", "-q", "-o"].map(str::to_owned).into(),
        Watcher::Strace => ["strace", "-c", "-w", "-f", "-o"].map(str::to_owned).into(),
    };
    match watcher {
        Watcher::PerfSched => words.extend([trace.display().to_string(), "--".into()]),
        Watcher::Strace => words.push(trace.display().to_string()),
        Watcher::Nobody | Watcher::Ours => {}
    }
    words.extend([me, "--profiled".into(), kind.into(), amount.to_string(), truth.display().to_string()]);
    let begun = Instant::now();
    let output = Command::new("sh")
        .args(["-c", "\"$@\" || exit 1; times >&2", "sh"])
        .args(&words)
        .env("ROPEWALK_BENCH_SERVER", server)
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    let wall = begun.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {stderr}");
    let cpu = stderr.lines().last().and_then(times).unwrap_or_else(|| panic!("{stderr:?} says no times"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Run { truth: Truth::read(&truth), cpu, wall, stdout, scratch }
}

/// Seconds in a line of the shell's `times`: `0m1.230s 0m0.040s`.
fn times(line: &str) -> Option<f64> {
    let one = |word: &str| {
        let (minutes, seconds) = word.strip_suffix('s')?.split_once('m')?;
        Some(60.0 * minutes.parse::<f64>().ok()? + seconds.parse::<f64>().ok()?)
    };
    line.split_whitespace().map(one).sum()
}

/// The peers that are here and may do it.
fn peers() -> Vec<(&'static str, Watcher)> {
    let works = |words: &[&str]| {
        let scratch = Scratch::new();
        let file = scratch.0.join("trace");
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(file)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let mut peers = Vec::new();
    for (system, watcher, words, how) in [
        (
            "perf-sched",
            Watcher::PerfSched,
            &["perf", "sched", "record", "-q", "-o"][..],
            "apt-get install linux-perf, as root",
        ),
        ("strace", Watcher::Strace, &["strace", "-c", "-f", "-o"][..], "apt-get install strace"),
    ] {
        if works(words) {
            peers.push((system, watcher));
        } else {
            eprintln!("# suite profile goes without {system}, which is not here or not allowed: {how}");
        }
    }
    peers
}

fn with_peers(mut work: Work, sample: impl Fn(Watcher) -> Box<dyn FnMut(Effort) -> Sample>) -> Work {
    for (system, watcher) in [("ropewalk", Watcher::Ours)].into_iter().chain(peers()) {
        work.add(system, sample(watcher));
    }
    work
}

fn overhead(name: &'static str, kind: &'static str) -> Work {
    let work = Work::new("profile", name, "%", Judge::AsIs).conclusion("upper", "%", Better::Lower);
    with_peers(work, |watcher| {
        let (mut all, mut warm): (Vec<f64>, bool) = (Vec::new(), false);
        Box::new(move |effort| {
            let amount = effort.pick(1_400, 300);
            let mut spent = None;
            let mut wall = |watcher| {
                let run = run(watcher, kind, amount, "");
                if watcher != Watcher::Nobody {
                    spent = Some(run.spent().after(spent));
                }
                run.truth.wall
            };
            let pairs = [(); PAIRS].map(|()| {
                let (bare, watched) = if all.len().is_multiple_of(2) {
                    let bare = wall(Watcher::Nobody);
                    (bare, wall(watcher))
                } else {
                    let watched = wall(watcher);
                    (wall(Watcher::Nobody), watched)
                };
                all.push(100.0 * (watched / bare - 1.0));
                all[all.len() - 1]
            });
            // The first round warms up.
            if !std::mem::replace(&mut warm, true) {
                all.clear();
            }
            let upper = upper(if all.is_empty() { &pairs } else { &all });
            Sample::new(middle(&mut pairs.to_vec()), spent.expect("a run")).and("upper", upper)
        })
    })
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// The upper end of the one-sided 95 % interval of the median.
fn upper(pairs: &[f64]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % limit
    };
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| middle(&mut (0..pairs.len()).map(|_| pairs[below(pairs.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_by(f64::total_cmp);
    medians[RESAMPLES * 95 / 100]
}

/// What the watcher itself uses of a processor, while the program runs.
fn own_cpu() -> Work {
    let work = Work::new("profile", "own-cpu.100threads", "%", Judge::AsIs);
    with_peers(work, |watcher| {
        Box::new(move |effort| {
            let run = run(watcher, "crowd100", effort.pick(1_400, 300), "");
            let own = match watcher {
                // Starting, judging and printing is no part of watching; it says itself what watching took.
                Watcher::Ours => run.said()["totals"]["own_cpu_s"].as_f64().expect("seconds"),
                _ => run.cpu - run.truth.cpu,
            };
            Sample::new(100.0 * own.max(0.0) / run.truth.wall, run.spent())
        })
    })
}

/// By how many points of a hundred the share of the time that a program slept is missed.
fn share_error() -> Work {
    let mut work = Work::new("profile", "share-error", "%", Judge::AsIs);
    for (system, watcher) in [("ropewalk", Watcher::Ours)].into_iter().chain(peers()) {
        // Which thread ran when is all that a trace of the scheduler has.
        if watcher == Watcher::PerfSched {
            continue;
        }
        work.add(system, move |effort| {
            let run = run(watcher, "halves", effort.pick(150, 40), "");
            // A program's own clocks cannot tell the end of a sleep from being ready without a processor after it.
            let (slept, ready) = match watcher {
                Watcher::Ours => {
                    let said = run.said();
                    let seconds = |kind: &str| said["thread_seconds"][kind].as_f64().unwrap_or_default();
                    (seconds("sleep"), seconds("ready"))
                }
                _ => (in_sleep(&run.scratch.0.join("trace")), 0.0),
            };
            let off = (slept - run.truth.slept).max(run.truth.slept - slept - ready).max(0.0);
            Sample::new(100.0 * off / run.truth.wall, run.spent())
        });
    }
    work
}

/// Seconds of sleep in a table of `strace -c -w`.
fn in_sleep(table: &Path) -> f64 {
    let text = std::fs::read_to_string(table).unwrap_or_else(|error| panic!("{}: {error}", table.display()));
    let row = text.lines().find(|line| line.ends_with("nanosleep"));
    row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}

/// Processors that others use from which a verdict is also about them, and how often it is asked for then.
const OTHERS_MAX: f64 = 0.4;
const TRIES_MAX: usize = 4;
/// Programs, and the verdicts that are right.
const VERDICTS: [(&str, u64, &[&str]); 5] = [
    ("computes", 500, &["cpu-serial"]),
    ("computes-everywhere", 400, &["cpu-all-cores", "cpu-oversubscribed"]),
    ("sleeps", 100, &["sleeping"]),
    ("convoy", 100, &["lock"]),
    ("asks", 100, &["network"]),
];

/// How many of a hundred verdicts are right. One that others kept from its processors is judged again.
fn verdicts() -> Work {
    let server: Rc<RefCell<Option<String>>> = Rc::default();
    Work::new("profile", "verdicts", "%", Judge::AsIs).upwards().by("ropewalk", move |effort| {
        let server = server.borrow_mut().get_or_insert_with(target::serve).clone();
        let (mut right, mut last) = (0, None);
        for (kind, amount, classes) in VERDICTS {
            let mut tries = 0;
            right += loop {
                tries += 1;
                let run = run(Watcher::Ours, kind, effort.pick(amount, amount / 2), &server);
                let said = run.said();
                last = Some(run.spent());
                let is_right = classes.iter().any(|class| said["verdict"]["class"] == *class);
                // What others do with the processors is true, and no verdict about the program.
                let others = said["machine"]["others"].as_f64().expect("processors");
                if is_right || others < OTHERS_MAX || tries == TRIES_MAX {
                    break usize::from(is_right);
                }
            };
        }
        let spent = last.expect("there are some");
        Sample::new(100.0 * right as f64 / VERDICTS.len() as f64, spent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_shell() {
        assert_eq!(times("1m2.500s 0m0.250s"), Some(62.75));
        assert_eq!(times("nonsense"), None);
    }

    #[test]
    fn the_upper_end_is_above_the_median_and_below_the_largest() {
        let pairs = [1.0, -1.0, 0.5, 2.0, 0.0, 1.5, -0.5, 9.0, 0.8];
        let upper = upper(&pairs);
        assert!(upper > 0.8 && upper < 9.0, "{upper}");
        assert_eq!(super::upper(&[3.0]), 3.0);
    }
}
