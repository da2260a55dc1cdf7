//! Suite `greenlet`: many strands on one thread, and a TCP server made of them.
//!
//! Every sample is a process of its own, whoever does it: this binary again (`--strands SYSTEM`) or a program in another
//! language. So nobody inherits warm stacks, a grown heap or another system's threads, memory is what the process has,
//! and a pool is configured for its work. Each work is written twice, over a trait: for strands that block
//! ([`blocking`]) and for tasks that await ([`tasks`]).
//!
//! | file | what |
//! | --- | --- |
//! | `blocking` | the works for strands with stacks; `ours` and `may` are such systems |
//! | `tasks` | the works for tokio |
//! | `limit` | a bare switch: the physical limit |
//! | `hubs` | two hubs against one |
//! | `echo` | servers, and the client that measures them |

mod blocking;
mod echo;
mod hubs;
mod limit;
mod may;
#[cfg(feature = "ours")]
mod ours;
mod tasks;

use std::io::BufRead;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::Spent;
use crate::peer::{self, Program};

/// How a system does a work.
type Run = fn(Effort) -> Sample;

/// One of the systems in this binary.
struct System {
    name: &'static str,
    /// How it does a work of that name, if it can.
    run: fn(&str) -> Option<Run>,
    /// An echo server that tells its port and serves for ever, if it has sockets.
    serve: Option<fn()>,
}

const SYSTEMS: &[System] = &[
    #[cfg(feature = "ours")]
    System {
        name: "ropewalk",
        run: ours::run,
        #[cfg(feature = "net")]
        serve: Some(echo::net::serve),
        #[cfg(not(feature = "net"))]
        serve: None,
    },
    #[cfg(feature = "ours")]
    System { name: "ropewalk:local", run: ours::run_local, serve: None },
    #[cfg(feature = "ours")]
    System { name: "ropewalk:hubs", run: ours::run_hubs, serve: None },
    #[cfg(feature = "ours")]
    System { name: "ropewalk:block_on", run: |_| None, serve: Some(echo::servers::block_on) },
    System { name: "may", run: may::run::<{ may::ALL_CORES }>, serve: Some(echo::servers::may) },
    System { name: "may:1w", run: may::run::<1>, serve: None },
    System { name: "tokio-ct", run: tasks::run::<tasks::CurrentThread>, serve: Some(echo::servers::tokio_ct) },
    System { name: "tokio-ct:local", run: tasks::run_local, serve: None },
    System { name: "tokio-ct:self-wake", run: tasks::run_self_wake, serve: None },
    System { name: "tokio-ct:block_on", run: tasks::run_block_on, serve: None },
    System { name: "tokio-mt", run: tasks::run::<tasks::MultiThread>, serve: Some(echo::servers::tokio_mt) },
    System { name: "corosensei", run: limit::run, serve: None },
];

/// Memory that must be free before the works with a million strands run.
const BYTES_FOR_1M: u64 = 6 << 30;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    let lower = Better::Lower;
    let one = |name: &'static str| Work::new("greenlet", name, "ns/op", Judge::OneCore);
    let mut works = vec![
        one("yield.1"),
        one("yield.2"),
        one("yield.1000"),
        one("spawn-join").aside("batch", "ns/op", lower),
        Work::of_rows("greenlet", "park.100k", Judge::OneCore).row("bytes.100k", "bytes", "bytes", lower).row(
            "wake.100k",
            "wake",
            "ns/op",
            lower,
        ),
    ];
    match free_bytes() {
        Some(free) if free < BYTES_FOR_1M => {
            eprintln!(
                "# spawn-park.1m and bytes.1m are left out: they want 6 GiB of free memory, {} MiB are",
                free >> 20
            );
        }
        _ => works.push(
            Work::of_rows("greenlet", "park.1m", Judge::AsIs)
                .row("spawn-park.1m", "spawn", "ns/op", lower)
                .row("bytes.1m", "bytes", "bytes", lower),
        ),
    }
    works.extend([
        one("queue.pingpong"),
        Work::new("greenlet", "kill", "us", Judge::OneCore),
        one("wait.ready"),
        Work::new("greenlet", "hubs.2", "%", Judge::CpuBound).upwards().aside("one", "ops/s", Better::Higher).aside(
            "two",
            "ops/s",
            Better::Higher,
        ),
    ]);
    let mut works: Vec<Work> = works.into_iter().map(|work| by_all(work.driven(Program::sample))).collect();
    works.extend(["echo.50", "echo.1000"].map(|name| {
        let row = |suffix: &str| format!("{name}.{suffix}");
        let work = Work::of_rows("greenlet", name, Judge::Pair)
            .row(row("cpu"), "cpu", "us", lower)
            .row(row("rate"), "rate", "ops/s", Better::Higher)
            .row(row("p50"), "p50", "us", lower)
            .row(row("p99"), "p99", "us", lower)
            .row(row("fairness"), "fairness", "%", Better::Higher);
        by_all(work.driven(echo::sample))
    }));
    works
}

/// The works of suite `sync` between greenlets.
pub fn event_works() -> Vec<Work> {
    let work = |name, judge| {
        let work = Work::new("sync", name, "us", judge).aside("cpu", "us", Better::Lower);
        by_all(work.driven(Program::sample))
    };
    vec![work("event.greenlet-greenlet", Judge::OneCore), work("event.thread-greenlet", Judge::TwoCores)]
}

fn by_all(mut work: Work) -> Work {
    let (name, drive) = (work.name, work.drive.expect("its samples are processes of their own"));
    for system in SYSTEMS {
        let can = if name.starts_with("echo.") { system.serve.is_some() } else { (system.run)(name).is_some() };
        if can {
            let us = std::env::current_exe().expect("this program has a path");
            let program = Program::new(system.name, us).arg("--strands").arg(system.name);
            work.add(system.name, move |effort| drive(&program, name, effort));
        }
    }
    work
}

fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Is the process of a system: answers the one line that comes on the input. Ends when the input does.
pub fn answer_for(system: &str) -> Result<(), String> {
    let Some(system) = SYSTEMS.iter().find(|known| known.name == system) else {
        let known: Vec<&str> = SYSTEMS.iter().map(|system| system.name).collect();
        return Err(format!("no system {system:?} of strands; there are: {}", known.join(" ")));
    };
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    let Some((work, effort)) = line.trim_end().split_once(' ') else {
        return Err(format!("a work and an effort are wanted, not {line:?}"));
    };
    // Who asked may have been ended while the sample runs.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        exit(0);
    });
    if let (true, Some(serve)) = (work.starts_with("echo"), system.serve) {
        serve();
        return Ok(());
    }
    let effort = peer::effort(effort).ok_or_else(|| format!("no effort {effort:?}"))?;
    let run = (system.run)(work).ok_or_else(|| format!("{} does not do {work:?}", system.name))?;
    println!("{}", peer::reply(&run(effort)));
    Ok(())
}

/// The client of the echo works, as a program.
pub fn load(port: &str, connections: &str, requests: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let port = u16::try_from(number(port)?).map_err(|error| error.to_string())?;
    let answered = echo::client::requests(port, number(connections)? as usize, number(requests)?);
    println!("{answered} requests were answered");
    Ok(())
}

// What both ways of writing a work share.

/// How many operations a sample has.
mod amount {
    use crate::harness::Effort;

    pub fn yields(effort: Effort) -> u64 {
        effort.pick(4_000_000, 500_000)
    }

    /// Where a yield is a turn of the reactor.
    pub fn yields_slow(effort: Effort) -> u64 {
        effort.pick(1_000_000, 200_000)
    }

    pub fn spawns(effort: Effort) -> u64 {
        effort.pick(1_000_000, 200_000)
    }

    pub fn trips(effort: Effort) -> u64 {
        effort.pick(500_000, 100_000)
    }

    pub fn kills(effort: Effort) -> u64 {
        effort.pick(20_000, 5_000)
    }

    pub fn readies(effort: Effort) -> u64 {
        effort.pick(4_000_000, 1_000_000)
    }

    pub fn parked(work: &str, effort: Effort) -> u64 {
        match work {
            "park.1m" => effort.pick(1_000_000, 200_000),
            _ => effort.pick(100_000, 100_000),
        }
    }
}

/// Strands of `spawn-join.batch` that are started before the first is joined.
const BATCH: u64 = 1_000;
/// Strands that wait to be killed at the same time.
const VICTIMS: u64 = 1_000;

/// Yields of all strands so far, on systems of one thread.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// Notes a yield; the count with it. One thread writes, so it is no read-modify-write.
#[inline(always)]
fn turn() -> u64 {
    let turn = TURNS.load(Ordering::Relaxed) + 1;
    TURNS.store(turn, Ordering::Relaxed);
    turn
}

/// Whether another strand has yielded since `turn`.
#[inline(always)]
fn others_ran(turn: u64) -> bool {
    TURNS.load(Ordering::Relaxed) != turn
}

/// The sample of `total` yields among `strands`, of which `switched` saw another strand run meanwhile. None where many
/// threads yield at once.
fn yielded(total: u64, strands: u64, switched: Option<u64>, spent: Spent) -> Sample {
    if let (Some(switched), 2..) = (switched, strands) {
        // Turns are not always taken in order: of two tasks that yield, tokio wakes the later first, so that half of the
        // yields come back to the task that made them.
        assert!(switched >= total / 5 * 2, "only {switched} of {total} yields let another strand run");
    }
    Sample::new(spent.wall_ns_per(total), spent)
}

/// The sum of the numbers below `count`.
fn sum_below(count: u64) -> u64 {
    count * count.saturating_sub(1) / 2
}

/// The sample of a round trip that ran `count` times.
fn round_trips(count: u64, spent: Spent) -> Sample {
    Sample::new(spent.wall_ns_per(count) / 1e3, spent).and("cpu", spent.cpu_ns_per(count) / 1e3)
}

/// What is known at the end of a `park` work.
struct Parked {
    count: u64,
    spawning: Spent,
    bytes: u64,
    waking: Spent,
}

impl Parked {
    fn sample(&self) -> Sample {
        Sample::of_rows(Spent { wall: self.spawning.wall + self.waking.wall, cpu: self.spawning.cpu + self.waking.cpu })
            .and("spawn", self.spawning.wall_ns_per(self.count))
            .and("bytes", self.bytes as f64 / self.count as f64)
            .and("wake", self.waking.wall_ns_per(self.count))
    }
}

/// Counts its drop: the proof that a killed strand gave up what it had.
struct Counted(&'static AtomicU64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
