//! Suite `sizing`: a pool about which nothing is said against pools of fixed sizes, tokio's `spawn_blocking` with its own
//! default, and .NET's rule, on jobs that pull in different directions.
//!
//! `ropewalk` is the pool that sizes itself, `ropewalk:fixed-N` ours with N workers, `dotnet-rule` plain threads whose number
//! is what .NET's sources say (`dotnet/`). The jobs block in std's sleep, which no pool is told of. `.settled` is the number of
//! jobs that may run when the work is nearly over, for the fixed ones their number, for tokio its threads; the asides `.peak`
//! are the most threads that were seen. `--svg` draws the eight jobs on the pool that sizes itself (`curves`).

#[cfg(feature = "ours")]
pub mod curves;
mod dotnet;
#[cfg(feature = "ours")]
mod ours;
#[cfg(not(feature = "ours"))]
#[path = "ours_absent.rs"]
mod ours;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Grain, Spent, timed};

type Job = Arc<dyn Fn() + Send + Sync>;

/// What is done.
enum Load {
    /// So many of one job.
    Flat { count: usize, job: Job },
    /// Jobs that each wait for one more, so many deep.
    Nested { depth: usize },
}

/// What a pool is at one moment.
#[derive(Clone, Copy)]
struct Look {
    threads: usize,
    /// How many jobs may run.
    target: usize,
    running: usize,
    queued: usize,
}

/// A pool, as this suite needs it.
trait Subject: Send + Sync {
    fn run(&self, load: &Load);
    fn look(&self) -> Look;
}

/// One of the eight jobs.
struct Task {
    work: &'static str,
    /// What it is, for people.
    title: &'static str,
    unit: &'static str,
    judge: Judge,
    load: fn(Effort) -> Load,
    figure: Figure,
    /// Sizes among which the best one is.
    fixed: &'static [usize],
}

/// Which figure of a run is the work's own.
#[derive(Clone, Copy, PartialEq)]
enum Figure {
    Wall,
    TimeToHundred,
    Settled,
}

const TASKS: [Task; 8] = [
    Task {
        work: "io160.wall",
        title: "160 waits of 50 ms",
        unit: "ms",
        judge: Judge::AsIs,
        load: |_| waits(160),
        figure: Figure::Wall,
        fixed: &[16, 64, 160, 512],
    },
    Task {
        work: "io.wall",
        title: "1,600 waits of 50 ms",
        unit: "ms",
        judge: Judge::AsIs,
        load: |effort| waits(effort.pick(1_600, 160)),
        figure: Figure::Wall,
        fixed: &[64, 160, 512, 1_024],
    },
    Task {
        work: "cpu.wall",
        title: "400 × 1 ms of computing",
        unit: "ms",
        judge: Judge::TwoCores,
        load: |effort| rounds(effort.pick(400, 100), ms(1), ms(0)),
        figure: Figure::Wall,
        fixed: &[2, 4, 64],
    },
    Task {
        work: "mixed.wall",
        title: "500 × 2 ms of computing and 2 ms of waiting",
        unit: "ms",
        judge: Judge::TwoCores,
        load: |effort| rounds(effort.pick(500, 150), ms(2), ms(2)),
        figure: Figure::Wall,
        fixed: &[2, 4, 8, 64],
    },
    Task {
        work: "mixed9.wall",
        title: "1,000 × 1 ms of computing and 9 ms of waiting",
        unit: "ms",
        judge: Judge::TwoCores,
        load: |effort| rounds(effort.pick(1_000, 200), ms(1), ms(9)),
        figure: Figure::Wall,
        fixed: &[8, 16, 32, 64],
    },
    Task {
        work: "semaphore10.settled",
        title: "2,000 waits of 5 ms under a semaphore of 10",
        unit: "workers",
        judge: Judge::AsIs,
        load: semaphore,
        figure: Figure::Settled,
        fixed: &[10, 64],
    },
    Task {
        work: "mutex.settled",
        title: "500 × 1 ms of computing under one mutex",
        unit: "workers",
        judge: Judge::AsIs,
        load: mutex,
        figure: Figure::Settled,
        fixed: &[2, 64],
    },
    Task {
        work: "nested.wall",
        title: "jobs that submit and join, 200 deep",
        unit: "ms",
        judge: Judge::AsIs,
        load: |_| Load::Nested { depth: 200 },
        figure: Figure::Wall,
        fixed: &[2, 4, 64],
    },
];

const TIME_TO_HUNDRED: Task = Task {
    work: "io.time-to-100",
    title: "400 waits of 50 ms",
    unit: "ms",
    judge: Judge::AsIs,
    load: |_| waits(400),
    figure: Figure::TimeToHundred,
    fixed: &[160],
};

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    let mut works: Vec<Work> = std::iter::once(&TIME_TO_HUNDRED).chain(&TASKS).map(work).collect();
    works.extend(back_to_the_floor());
    works
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn waits(count: u64) -> Load {
    Load::Flat { count: count as usize, job: Arc::new(|| sleep(ms(50))) }
}

fn rounds(count: u64, compute: Duration, wait: Duration) -> Load {
    let grain = Grain::of_ns(compute.as_nanos() as u64);
    let job = move || {
        black_box(grain.work(1));
        if !wait.is_zero() {
            sleep(wait);
        }
    };
    Load::Flat { count: count as usize, job: Arc::new(job) }
}

fn semaphore(effort: Effort) -> Load {
    let permits = ours::Semaphore::new(10);
    let job = move || {
        let _permit = permits.acquire();
        sleep(ms(5));
    };
    Load::Flat { count: effort.pick(2_000, 800) as usize, job: Arc::new(job) }
}

fn mutex(effort: Effort) -> Load {
    let (lock, grain) = (ours::Mutex::new(()), Grain::of_ns(1_000_000));
    let job = move || {
        let _guard = lock.lock();
        black_box(grain.work(1));
    };
    Load::Flat { count: effort.pick(500, 200) as usize, job: Arc::new(job) }
}

fn work(task: &Task) -> Work {
    let (load, figure) = (task.load, task.figure);
    let mut work = Work::new("sizing", task.work, task.unit, task.judge).aside("peak", "threads", Better::Lower);
    if figure == Figure::Settled {
        work = work.aside("wall", "ms", Better::Lower);
    }
    work.add("tokio", move |effort| run(&Tokio::open(), &load(effort), figure));
    if !matches!(load(Effort::new(true)), Load::Nested { .. }) {
        work.add("dotnet-rule", move |effort| run(&dotnet::Pool::open(), &load(effort), figure));
    }
    #[cfg(feature = "ours")]
    {
        work.add("ropewalk", move |effort| run(&ours::Pool::sizes_itself(), &load(effort), figure));
        for &workers in task.fixed {
            work.add(ours::name(workers), move |effort| run(&ours::Pool::fixed(workers), &load(effort), figure));
        }
    }
    work
}

/// Runs `load`, looking at the pool `every` so often, and once when it is over.
fn watched(pool: &dyn Subject, load: &Load, every: Duration, mut see: impl FnMut(Duration, Look) + Send) -> Spent {
    let over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            loop {
                let last = over.load(Relaxed);
                see(start.elapsed(), pool.look());
                if last {
                    return;
                }
                sleep(every);
            }
        });
        let ((), spent) = timed(|| pool.run(load));
        over.store(true, Relaxed);
        spent
    })
}

fn run(pool: &dyn Subject, load: &Load, figure: Figure) -> Sample {
    let (mut peak, mut hundred, mut settled) = (0, None, 0);
    let spent = watched(pool, load, ms(1), |at, look| {
        peak = peak.max(look.threads);
        if look.threads >= 100 {
            hundred.get_or_insert(at);
        }
        if look.queued > 0 {
            settled = look.target;
        }
    });
    let wall = spent.wall.as_secs_f64() * 1e3;
    let value = match figure {
        Figure::Wall => wall,
        // One that never comes there took as long as the work.
        Figure::TimeToHundred => hundred.map_or(wall, |hundred: Duration| hundred.as_secs_f64() * 1e3),
        Figure::Settled => settled as f64,
    };
    Sample::new(value, spent).and("peak", peak as f64).and("wall", wall)
}

/// How many threads are left of the pools that did the eight jobs, when they have had nothing to do for a while: the pool with
/// the most counts.
fn back_to_the_floor() -> Option<Work> {
    /// A pool takes its time to let go, so that a pause does not cost it what it has learned.
    const IDLE: Duration = Duration::from_secs(6);
    #[cfg(feature = "ours")]
    return Some(Work::new("sizing", "idle.threads", "threads", Judge::AsIs).by("ropewalk", |_| {
        let pools: Vec<ours::Pool> = TASKS
            .iter()
            .map(|task| {
                let pool = ours::Pool::sizes_itself();
                pool.run(&(task.load)(Effort::new(true)));
                pool
            })
            .collect();
        let ((), spent) = timed(|| sleep(IDLE));
        let left = pools.iter().map(|pool| pool.look().threads).max().expect("there are jobs");
        Sample::new(left as f64, spent)
    }));
    #[cfg(not(feature = "ours"))]
    None
}

/// `spawn_blocking` with the number of threads that tokio chooses.
struct Tokio {
    runtime: tokio::runtime::Runtime,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    running: AtomicUsize,
    peak: AtomicUsize,
    left: AtomicUsize,
}

impl Seen {
    fn job<T>(&self, job: impl FnOnce() -> T) -> T {
        self.left.fetch_sub(1, Relaxed);
        self.peak.fetch_max(self.running.fetch_add(1, Relaxed) + 1, Relaxed);
        let result = job();
        self.running.fetch_sub(1, Relaxed);
        result
    }
}

impl Tokio {
    fn open() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime can be built");
        Self { runtime, seen: Arc::default() }
    }
}

impl Subject for Tokio {
    fn run(&self, load: &Load) {
        fn nest(runtime: &tokio::runtime::Handle, seen: &Arc<Seen>, depth: usize) -> usize {
            if depth == 0 {
                return 0;
            }
            let (below, of_below) = (runtime.clone(), Arc::clone(seen));
            seen.left.fetch_add(1, Relaxed);
            let handle = runtime.spawn_blocking(move || of_below.job(|| nest(&below, &of_below, depth - 1)));
            1 + runtime.block_on(handle).expect("no job panics")
        }
        match load {
            Load::Flat { count, job } => {
                self.seen.left.store(*count, Relaxed);
                let spawn = |_| {
                    let (job, seen) = (Arc::clone(job), Arc::clone(&self.seen));
                    self.runtime.spawn_blocking(move || seen.job(|| job()))
                };
                let handles: Vec<_> = (0..*count).map(spawn).collect();
                self.runtime.block_on(async {
                    for handle in handles {
                        handle.await.expect("no job panics");
                    }
                });
            }
            Load::Nested { depth } => assert_eq!(nest(self.runtime.handle(), &self.seen, *depth), *depth),
        }
    }

    fn look(&self) -> Look {
        let running = self.seen.running.load(Relaxed);
        Look { threads: self.seen.peak.load(Relaxed), target: running, running, queued: self.seen.left.load(Relaxed) }
    }
}
