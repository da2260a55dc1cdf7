//! Clocks, threads and calibrated work: what every suite measures with.
//!
//! Wall time is the monotonic clock. CPU time is the kernel's own account of a thread or of the process (the counters
//! behind `getrusage`, read through `clock_gettime` for their nanoseconds). A crew's clocks run from the first of its
//! threads that starts to the last that ends, so starting and joining the threads is outside the figure.

use std::hint::black_box;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Where the threads of a crew run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever the scheduler puts them.
    Free,
    /// Thread `i` stays on the `i`-th core this process may use, round about.
    Spread,
    /// All on the first core.
    OneCore,
}

/// The time a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Elapsed time.
    pub wall: Duration,
    /// CPU time of the threads that did it.
    pub cpu: Duration,
}

impl Spent {
    /// How many cores worked, on average.
    pub fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-12)
    }

    /// Both together.
    pub fn after(self, earlier: Option<Spent>) -> Spent {
        earlier.map_or(self, |earlier| Spent { wall: earlier.wall + self.wall, cpu: earlier.cpu + self.cpu })
    }

    /// Elapsed nanoseconds for each of `count` operations.
    pub fn wall_ns_per(&self, count: u64) -> f64 {
        self.wall.as_nanos() as f64 / count.max(1) as f64
    }

    /// CPU nanoseconds for each of `count` operations.
    pub fn cpu_ns_per(&self, count: u64) -> f64 {
        self.cpu.as_nanos() as f64 / count.max(1) as f64
    }
}

/// What the threads of a crew gave back, and their time.
#[derive(Debug)]
pub struct Crew<T> {
    /// One result a thread, in order.
    pub results: Vec<T>,
    /// From the first start to the last end; the CPU time of these threads alone.
    pub spent: Spent,
}

/// Runs `body(0) .. body(count - 1)`, each on a thread of its own, all let go together.
pub fn crew<T: Send>(count: usize, place: Place, body: impl Fn(usize) -> T + Sync) -> Crew<T> {
    let start = Barrier::new(count);
    let lanes: Vec<(T, Instant, Instant, Duration)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (start, body) = (&start, &body);
                scope.spawn(move || {
                    pin(place, index);
                    start.wait();
                    let (cpu, begin) = (thread_cpu(), Instant::now());
                    let result = body(index);
                    let end = Instant::now();
                    (result, begin, end, thread_cpu() - cpu)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let begin = lanes.iter().map(|lane| lane.1).min().expect("a crew has a thread");
    let end = lanes.iter().map(|lane| lane.2).max().expect("a crew has a thread");
    let cpu = lanes.iter().map(|lane| lane.3).sum();
    Crew { results: lanes.into_iter().map(|lane| lane.0).collect(), spent: Spent { wall: end - begin, cpu } }
}

/// The time of `body` on this thread, with the CPU time of the whole process: for pools, whose workers are not ours to ask.
pub fn timed<T>(body: impl FnOnce() -> T) -> (T, Spent) {
    let (cpu, begin) = (process_cpu(), Instant::now());
    let result = body();
    let wall = begin.elapsed();
    (result, Spent { wall, cpu: process_cpu() - cpu })
}

/// [`timed`] for what awaits.
pub async fn timed_async<T>(body: impl Future<Output = T>) -> (T, Spent) {
    let (cpu, begin) = (process_cpu(), Instant::now());
    let result = body.await;
    let wall = begin.elapsed();
    (result, Spent { wall, cpu: process_cpu() - cpu })
}

/// The cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many cores two spinning threads really get at this moment: 2.0 on a quiet machine.
pub fn effective_cores(length: Duration) -> f64 {
    crew(2, Place::Spread, |_| {
        let begin = Instant::now();
        while begin.elapsed() < length {
            std::hint::spin_loop();
        }
    })
    .spent
    .cores()
}

/// A stretch of work that no compiler folds and no two threads share.
#[derive(Clone, Copy, Debug)]
pub struct Grain {
    steps: u64,
}

impl Grain {
    /// Work of about `ns` nanoseconds on this machine; measured once in a run.
    pub fn of_ns(ns: u64) -> Grain {
        static STEPS_PER_US: OnceLock<f64> = OnceLock::new();
        let per_us = STEPS_PER_US.get_or_init(|| {
            let probe = Grain { steps: 100_000 };
            // The fastest of many short tries: a try that was interrupted is slower, never faster.
            let best = (0..50)
                .map(|seed| {
                    let begin = Instant::now();
                    black_box(probe.work(seed));
                    begin.elapsed()
                })
                .min()
                .expect("there were tries");
            probe.steps as f64 * 1e3 / best.as_nanos() as f64
        });
        Grain { steps: ((per_us * ns as f64) / 1e3).round().max(1.0) as u64 }
    }

    /// Does the work. Each step needs the one before.
    #[inline]
    pub fn work(self, seed: u64) -> u64 {
        let mut x = seed;
        for _ in 0..self.steps {
            x = x.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) ^ 0x5555;
        }
        x
    }
}

/// The small item of the parallel maps: four instructions.
#[inline]
pub fn small_hash(x: u64) -> u64 {
    let x = (x ^ (x >> 31)).wrapping_mul(0x7FB5_D329_728E_A185);
    x ^ (x >> 27)
}

fn pin(place: Place, index: usize) {
    match place {
        Place::Free => {}
        Place::Spread => std::mem::forget(pinned(index)),
        Place::OneCore => std::mem::forget(pinned(0)),
    }
}

/// A thread that stays on one core.
#[derive(Debug)]
pub struct Pinned {
    before: Option<CpuSet>,
}

/// Keeps this thread, and the processes that it starts, on the `index`-th core that it may use, round about, until the
/// result is dropped.
pub fn pinned(index: usize) -> Pinned {
    let Ok(allowed) = sched_getaffinity(None) else {
        return Pinned { before: None };
    };
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let mut only = CpuSet::new();
    only.set(usable[index % usable.len()]);
    // Where pinning is forbidden the work still runs, only less steadily.
    Pinned { before: sched_setaffinity(None, &only).ok().map(|()| allowed) }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(None, before);
        }
    }
}

/// The bytes of memory that this process has, with those of its page tables.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells the memory of a process");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no {name} in /proc/self/status"))
    };
    1024 * (kib("VmRSS:") + kib("VmPTE:"))
}

/// The CPU time that the living threads of another process have had.
pub fn cpu_of(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let ns = tasks.flatten().filter_map(|task| {
        // A thread that has just ended has no file any more.
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ns.sum())
}

/// The CPU time that this thread has had.
pub fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

/// The CPU time that this process has had.
pub fn process_cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
