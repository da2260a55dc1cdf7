//! Pools that size themselves, on the eight jobs that pull them in different directions. What counts here is the structure:
//! how many threads there were at most, what the number settled at, and that it comes back to the floor. Times are the
//! benchmarks' (`bench`, suite `sizing`); here they only tell a pool that grows from one that does not.

mod support;

use ropewalk::executor::{SizingReason, Stats};
use ropewalk::sync::{Mutex, Semaphore};
use ropewalk::{Submit, TaskHandle, ThreadPoolExecutor, Workers};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use support::{HANG, eventually, joined};

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Computes for about so long on a free processor.
fn compute(millis: u64) {
    let mut sum = 1_u64;
    for i in 0..millis * 200_000 {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
    }
}

/// What was seen of a pool while it did a job.
struct Seen {
    wall: Duration,
    peak: usize,
    end: Stats,
    pool: Arc<ThreadPoolExecutor>,
}

impl Seen {
    fn log(&self) -> String {
        self.pool.sizing_log().iter().map(|decision| format!("\n  {:?} {decision}", decision.at)).collect()
    }

    /// Waits until no more threads are left than the floor.
    #[track_caller]
    fn comes_to_rest(&self) {
        let start = Instant::now();
        while self.pool.stats().workers > cores() {
            assert!(start.elapsed() < HANG, "not back at its floor: {:?}{}", self.pool.stats(), self.log());
            sleep(ms(1));
        }
        assert_eq!(self.pool.stats().target, cores());
    }
}

/// Runs `count` times `job` on a pool about which nothing is said.
fn run(count: usize, job: impl Fn() + Send + Sync + 'static) -> Seen {
    run_on(ThreadPoolExecutor::default(), count, job)
}

fn run_on(pool: ThreadPoolExecutor, count: usize, job: impl Fn() + Send + Sync + 'static) -> Seen {
    let (pool, job) = (Arc::new(pool), Arc::new(job));
    let over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let watches = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Relaxed) {
                peak = peak.max(pool.stats().workers);
                sleep(ms(1));
            }
            peak
        });
        let handles: Vec<TaskHandle<()>> = (0..count)
            .map(|_| {
                let job = Arc::clone(&job);
                pool.submit(move || job())
            })
            .collect();
        handles.into_iter().for_each(joined);
        let (wall, end) = (start.elapsed(), pool.stats());
        over.store(true, Relaxed);
        Seen { wall, peak: watches.join().unwrap().max(end.workers), end, pool: Arc::clone(&pool) }
    })
}

/// One after another on each core, these would take 2 s of a test's time; and the pool must not be slower than ten workers.
#[cfg(target_os = "linux")]
#[test]
fn blocking_jobs_get_many_workers_and_let_them_go() {
    let seen = run(160, || sleep(ms(50)));
    assert!((40..=320).contains(&seen.peak), "{} workers{}", seen.peak, seen.log());
    assert!(seen.wall < ms(50) * 160 / 10, "{:?}{}", seen.wall, seen.log());
    assert!(seen.pool.sizing_log().iter().any(|decision| matches!(decision.reason, SizingReason::Waits { .. })));
    seen.comes_to_rest();
}

#[cfg(target_os = "linux")]
#[test]
fn many_blocking_jobs_stop_at_the_ceiling() {
    let seen = run(1_600, || sleep(ms(50)));
    assert!((100..=1_024).contains(&seen.peak), "{} workers{}", seen.peak, seen.log());
    seen.comes_to_rest();
}

#[test]
fn computing_jobs_get_a_worker_a_core() {
    let seen = run(60, || compute(5));
    assert!(seen.peak <= cores() + 1, "{} workers{}", seen.peak, seen.log());
    seen.comes_to_rest();
}

/// Half of the time each, and one tenth against nine.
#[test]
fn mixed_jobs_get_some_more() {
    for (computes, sleeps, most) in [(2, 2, 16), (1, 9, 64)] {
        let seen = run(200, move || {
            compute(computes);
            sleep(ms(sleeps));
        });
        assert!(seen.peak <= most * cores().max(2) / 2, "{} workers{}", seen.peak, seen.log());
    }
}

#[test]
fn ten_permits_are_not_flooded() {
    let permits = Arc::new(Semaphore::new(10));
    let seen = run(1_000, move || {
        let _permit = permits.acquire();
        sleep(ms(4));
    });
    assert!(seen.peak <= 24.max(2 * cores()), "{} workers{}", seen.peak, seen.log());
    assert!(seen.end.target <= 24.max(cores()), "settled at {}{}", seen.end.target, seen.log());
    seen.comes_to_rest();
}

/// Ours announces its waits; std's is only seen in the system.
#[test]
fn one_mutex_gets_few() {
    let ours = Mutex::new(());
    let theirs = std::sync::Mutex::new(());
    let jobs: [Box<dyn Fn() + Send + Sync>; 2] = [
        Box::new(move || {
            let _guard = ours.lock();
            compute(1);
        }),
        Box::new(move || {
            let _guard = theirs.lock().unwrap();
            compute(1);
        }),
    ];
    for job in jobs {
        let seen = run(300, job);
        assert!(seen.peak <= 8.max(cores() + 2), "{} workers{}", seen.peak, seen.log());
    }
}

#[test]
fn nested_200_deep_needs_no_growth() {
    fn nest(pool: &Arc<ThreadPoolExecutor>, depth: u32) -> u32 {
        let below = Arc::clone(pool);
        match depth {
            0 => 0,
            _ => 1 + joined(pool.submit(move || nest(&below, depth - 1))),
        }
    }
    let pool = Arc::new(ThreadPoolExecutor::default());
    assert_eq!(nest(&pool, 200), 200);
    eventually("the pool back at its floor", || pool.stats().workers <= cores());
}

/// The monitor sees that all are stuck, and one more comes: each of these jobs holds a lock that a later one lets go.
#[test]
fn locks_released_by_later_jobs() {
    let pool = ThreadPoolExecutor::builder().max_workers(Workers::Between { min: 1, max: 1 }).build().unwrap();
    let handles: Vec<_> = (0..5)
        .flat_map(|_| {
            let mutex = Arc::new(Mutex::new(()));
            mutex.acquire();
            let other = Arc::clone(&mutex);
            [pool.submit(move || mutex.acquire()), pool.submit(move || other.release())]
        })
        .collect();
    handles.into_iter().for_each(joined);
}

/// Waits in our own sleep are announced, and read as waits for something outside.
#[cfg(target_os = "linux")]
#[test]
fn our_own_sleep_counts_as_waiting_outside() {
    let seen = run(100, || ropewalk::sleep(ms(50)));
    assert!(seen.peak >= 30, "{} workers{}", seen.peak, seen.log());
    assert!(
        seen.pool.sizing_log().iter().any(|decision| decision.to_string().ends_with("the rest in sleep")),
        "{}",
        seen.log()
    );
}

#[test]
fn limits_are_kept() {
    let between = |min, max| ThreadPoolExecutor::builder().max_workers(Workers::Between { min, max }).build().unwrap();
    let seen = run_on(between(3, 7), 200, || sleep(ms(5)));
    assert!(seen.peak <= 7, "{} workers{}", seen.peak, seen.log());
    assert!(seen.pool.sizing_log().iter().all(|decision| (3..=7).contains(&decision.to)), "{}", seen.log());
    eventually("the pool back at its floor", || seen.pool.stats().workers <= 3);
    // A fixed pool stays as it is, whatever its jobs do.
    let seen = run_on(ThreadPoolExecutor::new(4), 100, || sleep(ms(5)));
    assert_eq!((seen.peak, seen.end.target, seen.log().as_str()), (4, 4, ""));
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let error = |min, max| {
        let workers = Workers::Between { min, max };
        ThreadPoolExecutor::builder().max_workers(workers).build().unwrap_err().to_string()
    };
    assert_eq!(error(8, 4), "max_workers is between 8 and 4: min must not be greater than max");
    assert!(error(0, 4).starts_with("max_workers is between 0 and 4: min must be at least 1"));
    assert!(error(1, 1 << 20).contains("at most"));
}

/// Two pools at once, one that computes and one that waits, are told apart.
#[cfg(target_os = "linux")]
#[test]
fn pools_are_sized_apart() {
    let computes = std::thread::spawn(|| run(60, || compute(5)).peak);
    let waits = run(100, || sleep(ms(50)));
    assert!(computes.join().unwrap() <= cores() + 1);
    assert!(waits.peak >= 20, "{} workers{}", waits.peak, waits.log());
}

/// A pool that has been at rest is looked at again when there is work.
#[cfg(target_os = "linux")]
#[test]
fn grows_again_after_a_rest() {
    let first = run(80, || sleep(ms(30)));
    first.comes_to_rest();
    let grown = |pool: &ThreadPoolExecutor| {
        let growths = pool.sizing_log();
        growths.iter().filter(|decision| matches!(decision.reason, SizingReason::Waits { .. })).count()
    };
    let before = grown(&first.pool);
    let handles: Vec<_> = (0..80).map(|_| first.pool.submit(|| sleep(ms(30)))).collect();
    handles.into_iter().for_each(joined);
    assert!(grown(&first.pool) > before, "{}", first.log());
}

#[test]
fn shutdown_while_the_pool_grows() {
    for _ in 0..20 {
        let pool = ThreadPoolExecutor::default();
        let handles: Vec<_> = (0..200).map(|_| pool.submit(|| sleep(ms(1)))).collect();
        sleep(ms(4));
        drop(pool);
        handles.into_iter().for_each(joined);
    }
}

#[test]
fn queue_wait_is_measured() {
    let pool = ThreadPoolExecutor::new(1);
    assert_eq!(pool.stats().queue_wait_p50, Duration::ZERO);
    let handles: Vec<_> = (0..20).map(|_| pool.submit(|| sleep(ms(2)))).collect();
    handles.into_iter().for_each(joined);
    let stats = pool.stats();
    // The one in the middle waits for nine others at least, and the last one for nineteen.
    assert!(stats.queue_wait_p50 >= ms(16), "{stats:?}");
    assert!(stats.queue_wait_p99 >= ms(36), "{stats:?}");
    assert!(stats.queue_wait_p99 < Duration::from_secs(30), "{stats:?}");
}
