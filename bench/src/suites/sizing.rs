//! Suite `sizing`: a pool about which nothing is said against pools of fixed sizes, and tokio's `spawn_blocking` with its
//! own default, on jobs that pull in different directions.
//!
//! `ropewalk` is the pool that sizes itself, `ropewalk:fixed-N` ours with N workers. The jobs block in std's sleep, which no
//! pool is told of. `.settled` is the number of jobs that may run when the work is nearly over, for the fixed ones their number,
//! for tokio its threads; the asides `.peak` are the most threads that were seen.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Grain, timed};

type Job = Arc<dyn Fn() + Send + Sync>;

/// What is done: how many jobs, and which.
struct Load {
    count: usize,
    job: Job,
}

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    vec![
        wall(
            Work::new("sizing", "io.time-to-100", "ms", Judge::AsIs),
            |_| Load { count: 400, job: Arc::new(|| sleep(ms(50))) },
            Figure::TimeToHundred,
            &[160],
        ),
        wall(Work::new("sizing", "io.wall", "ms", Judge::AsIs), io, Figure::Wall, &[2, 16, 64, 160, 512]),
        wall(Work::new("sizing", "cpu.wall", "ms", Judge::TwoCores), cpu, Figure::Wall, &[2, 4, 64]),
        wall(Work::new("sizing", "mixed.wall", "ms", Judge::TwoCores), mixed, Figure::Wall, &[2, 4, 8, 64]),
        wall(Work::new("sizing", "semaphore10.settled", "workers", Judge::AsIs), semaphore, Figure::Settled, &[10, 64]),
        wall(Work::new("sizing", "mutex.settled", "workers", Judge::AsIs), mutex, Figure::Settled, &[2, 64]),
        nested(),
    ]
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn io(effort: Effort) -> Load {
    Load { count: effort.pick(1_600, 160) as usize, job: Arc::new(|| sleep(ms(50))) }
}

fn cpu(effort: Effort) -> Load {
    let grain = Grain::of_ns(1_000_000);
    let job = move || {
        black_box(grain.work(1));
    };
    Load { count: effort.pick(400, 100) as usize, job: Arc::new(job) }
}

fn mixed(effort: Effort) -> Load {
    let grain = Grain::of_ns(2_000_000);
    let job = move || {
        black_box(grain.work(1));
        sleep(ms(2));
    };
    Load { count: effort.pick(500, 150) as usize, job: Arc::new(job) }
}

fn semaphore(effort: Effort) -> Load {
    let permits = ours::Semaphore::new(10);
    let job = move || {
        let _permit = permits.acquire();
        sleep(ms(5));
    };
    Load { count: effort.pick(2_000, 800) as usize, job: Arc::new(job) }
}

fn mutex(effort: Effort) -> Load {
    let (lock, grain) = (ours::Mutex::new(()), Grain::of_ns(1_000_000));
    let job = move || {
        let _guard = lock.lock();
        black_box(grain.work(1));
    };
    Load { count: effort.pick(500, 200) as usize, job: Arc::new(job) }
}

/// Which figure of a run is the work's own.
#[derive(Clone, Copy)]
enum Figure {
    Wall,
    TimeToHundred,
    Settled,
}

/// A pool, as this suite needs it.
trait Subject: Send + Sync {
    fn run(&self, load: &Load);
    /// Threads, jobs that may run, jobs queued.
    fn look(&self) -> (usize, usize, usize);
}

fn wall(work: Work, load: fn(Effort) -> Load, figure: Figure, fixed: &'static [usize]) -> Work {
    let mut work = work.aside("peak", "threads", Better::Lower);
    if matches!(figure, Figure::Settled) {
        work = work.aside("wall", "ms", Better::Lower);
    }
    work.add("tokio", move |effort| run(&Tokio::open(), &load(effort), figure));
    #[cfg(feature = "ours")]
    {
        work.add("ropewalk", move |effort| run(&ours::Pool::sizes_itself(), &load(effort), figure));
        for &workers in fixed {
            work.add(ours::name(workers), move |effort| run(&ours::Pool::fixed(workers), &load(effort), figure));
        }
    }
    work
}

fn run(pool: &dyn Subject, load: &Load, figure: Figure) -> Sample {
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let ((peak, hundred, settled), spent) = std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let (mut peak, mut hundred, mut settled) = (0, None, 0);
            while !over.load(Relaxed) {
                let (threads, target, queued) = pool.look();
                peak = peak.max(threads);
                if threads >= 100 {
                    hundred.get_or_insert_with(|| start.elapsed());
                }
                if queued > 0 {
                    settled = target;
                }
                sleep(ms(1));
            }
            (peak, hundred, settled)
        });
        let ((), spent) = timed(|| pool.run(load));
        over.store(true, Relaxed);
        (looks.join().expect("it only looks"), spent)
    });
    let wall = spent.wall.as_secs_f64() * 1e3;
    let value = match figure {
        Figure::Wall => wall,
        // One that never comes there took as long as the work.
        Figure::TimeToHundred => hundred.map_or(wall, |hundred| hundred.as_secs_f64() * 1e3),
        Figure::Settled => settled as f64,
    };
    Sample::new(value, spent).and("peak", peak as f64).and("wall", wall)
}

/// `spawn_blocking` with the number of threads that tokio chooses.
struct Tokio {
    runtime: tokio::runtime::Runtime,
    running: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Tokio {
    fn open() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime can be built");
        Self { runtime, running: Arc::default(), peak: Arc::default(), left: Arc::default() }
    }
}

impl Subject for Tokio {
    fn run(&self, load: &Load) {
        self.left.store(load.count, Relaxed);
        let spawn = |_| {
            let (job, running) = (Arc::clone(&load.job), Arc::clone(&self.running));
            let (peak, left) = (Arc::clone(&self.peak), Arc::clone(&self.left));
            self.runtime.spawn_blocking(move || {
                left.fetch_sub(1, Relaxed);
                peak.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
                job();
                running.fetch_sub(1, Relaxed);
            })
        };
        let handles: Vec<_> = (0..load.count).map(spawn).collect();
        self.runtime.block_on(async {
            for handle in handles {
                handle.await.expect("no job panics");
            }
        });
    }

    fn look(&self) -> (usize, usize, usize) {
        (self.peak.load(Relaxed), self.running.load(Relaxed), self.left.load(Relaxed))
    }
}

/// Jobs that each wait for one more, 200 deep. (A fixed pool that does not know would hang for ever.)
fn nested() -> Work {
    let work = Work::new("sizing", "nested.wall", "ms", Judge::AsIs);
    #[cfg(feature = "ours")]
    let work = work
        .by("ropewalk", |_| ours::nested(ours::Pool::sizes_itself()))
        .by("ropewalk:fixed-2", |_| ours::nested(ours::Pool::fixed(2)));
    work
}

#[cfg(feature = "ours")]
mod ours {
    //! Our pools.

    use std::sync::Arc;

    use ropewalk::{Submit as _, TaskHandle, ThreadPoolExecutor};

    pub(super) use ropewalk::sync::{Mutex, Semaphore};

    use super::{Load, Subject};
    use crate::harness::Sample;
    use crate::measure::timed;

    /// One of ours.
    pub(super) struct Pool(Arc<ThreadPoolExecutor>);

    /// The name of a fixed one in the tables.
    pub(super) fn name(workers: usize) -> &'static str {
        match workers {
            2 => "ropewalk:fixed-2",
            4 => "ropewalk:fixed-4",
            8 => "ropewalk:fixed-8",
            10 => "ropewalk:fixed-10",
            16 => "ropewalk:fixed-16",
            64 => "ropewalk:fixed-64",
            160 => "ropewalk:fixed-160",
            512 => "ropewalk:fixed-512",
            _ => unreachable!("a size without a name"),
        }
    }

    impl Pool {
        pub(super) fn sizes_itself() -> Self {
            Self(Arc::new(ThreadPoolExecutor::default()))
        }

        pub(super) fn fixed(workers: usize) -> Self {
            Self(Arc::new(ThreadPoolExecutor::new(workers)))
        }
    }

    impl Subject for Pool {
        fn run(&self, load: &Load) {
            let submit = |_| {
                let job = Arc::clone(&load.job);
                self.0.submit(move || job())
            };
            let handles: Vec<TaskHandle<()>> = (0..load.count).map(submit).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("no job panics"));
        }

        fn look(&self) -> (usize, usize, usize) {
            let stats = self.0.stats();
            (stats.workers, stats.target, stats.queued)
        }
    }

    /// Two hundred deep.
    pub(super) fn nested(pool: Pool) -> Sample {
        fn nest(pool: &Arc<ThreadPoolExecutor>, depth: u32) -> u32 {
            let below = Arc::clone(pool);
            if depth == 0 { 0 } else { 1 + pool.submit(move || nest(&below, depth - 1)).join().expect("no job panics") }
        }
        let (depth, spent) = timed(|| nest(&pool.0, 200));
        assert_eq!(depth, 200);
        Sample::new(spent.wall.as_secs_f64() * 1e3, spent)
    }
}

#[cfg(not(feature = "ours"))]
mod ours {
    //! Without our library the locks are std's.

    /// As far as it is needed here.
    pub(super) struct Mutex(std::sync::Mutex<()>);

    impl Mutex {
        pub(super) fn new((): ()) -> Self {
            Self(std::sync::Mutex::new(()))
        }
        pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
            self.0.lock().expect("no job panics")
        }
    }

    /// A channel with as many places.
    pub(super) struct Semaphore(crossbeam_channel::Sender<()>, crossbeam_channel::Receiver<()>);

    impl Semaphore {
        pub(super) fn new(permits: usize) -> Self {
            let (give, take) = crossbeam_channel::bounded(permits);
            (0..permits).for_each(|_| give.send(()).expect("there is room"));
            Self(give, take)
        }
        pub(super) fn acquire(&self) -> Permit<'_> {
            self.1.recv().expect("both ends are here");
            Permit(&self.0)
        }
    }

    /// Given back when it is dropped.
    pub(super) struct Permit<'a>(&'a crossbeam_channel::Sender<()>);

    impl Drop for Permit<'_> {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
}
