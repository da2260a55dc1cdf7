//! A pool of processes: what goes over, what comes back, and what a death costs.

#[path = "support/children.rs"]
mod children;
#[path = "support/mod.rs"]
mod support;

use children::{children_of_ours, play, play_with, scenario};
use ropewalk::process::{BuildError, Bytes, Limits, Output, Start};
use ropewalk::subprocess::Command;
use ropewalk::{AsyncExecutor, CancelToken, ProcessPoolExecutor, Shutdown, Submit, TaskError, TaskHandle, greenlet};
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{HANG, SHORT, eventually, joined};

fn pool(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::new(workers).expect("a pool")
}

#[track_caller]
fn death(handle: TaskHandle<u32>) -> String {
    match handle.join() {
        Err(error @ TaskError::WorkerDied { .. }) => error.to_string(),
        other => panic!("not a death: {other:?}"),
    }
}

fn id(_: ()) -> u32 {
    std::process::id()
}

fn kill_myself(signal: i32) -> u32 {
    // std's handler of SIGSEGV, which looks for overflows, lets the first one pass.
    for _ in 0..2 {
        kill_process(getpid(), Signal::from_named_raw(signal).unwrap()).unwrap();
    }
    ropewalk::sleep(HANG);
    0
}

fn overflow(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 1000]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + block[depth as usize % 1000] }
}

fn spin(_: ()) -> u32 {
    loop {
        std::hint::spin_loop();
    }
}

#[ropewalk::task]
fn weigh(rope: Rope, factor: f64) -> Result<f64, String> {
    if factor < 0.0 { Err(format!("no {} is lighter than nothing", rope.name)) } else { Ok(rope.metres * factor) }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rope {
    name: String,
    metres: f64,
    strands: BTreeMap<String, Option<u32>>,
}

fn rope() -> Rope {
    Rope { name: "hemp".into(), metres: 2.5, strands: [("a".into(), None), ("b".into(), Some(7))].into() }
}

fn values_go_over_and_come_back() {
    let pool = pool(2);
    assert_eq!(joined(pool.spawn(|rope: Rope| rope, rope())), rope());
    assert_eq!(joined(pool.submit(weigh::call(rope(), 2.0))), 5.0);
    match pool.submit(weigh::call(rope(), -1.0)).join() {
        Err(TaskError::Failed { message, .. }) => assert_eq!(message, "no hemp is lighter than nothing"),
        other => panic!("{other:?}"),
    }
    assert_ne!(joined(pool.spawn(id, ())), std::process::id());
    assert_eq!(joined(pool.spawn(|(): ()| (), ())), ());
    match pool.spawn(|text: String| -> u32 { panic!("no {text}") }, "hemp".into()).join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "no hemp"),
        other => panic!("{other:?}"),
    }
}

fn maps_are_ordered_lazy_and_give_each_error_its_place() {
    let pool = pool(2);
    let squares: Vec<u64> = pool.map(|n: u64| n * n, 0..50_000).collect();
    assert!(squares.into_iter().enumerate().all(|(n, square)| square == (n * n) as u64));
    let endless: Vec<u64> = pool.map(|n: u64| n + 1, 0..).take(10).collect();
    assert_eq!(endless, (1..11).collect::<Vec<_>>());
    let odd = |n: u32| if n % 2 == 1 { n } else { panic!("{n} is even") };
    for (n, result) in pool.try_map(odd, 0..100).enumerate() {
        assert_eq!(result.is_ok(), n % 2 == 1);
        if let Err(error) = result {
            assert_eq!(error.to_string(), format!("task panicked: {n} is even"));
        }
    }
    let mut all: Vec<u32> = pool.map(|n: u32| n, 0..1000).unordered().collect();
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    // One item a chunk: a death costs that item.
    let survivors = pool.try_map(|n: u32| if n == 7 { std::process::abort() } else { n }, 0..20).chunk(1);
    let survivors: Vec<Option<u32>> = survivors.map(Result::ok).collect();
    assert_eq!(survivors, (0..20).map(|n| (n != 7).then_some(n)).collect::<Vec<_>>());
}

fn every_kind_of_death_costs_the_task_that_died() {
    let pool = pool(2);
    assert!(death(pool.spawn(kill_myself, 11)).contains("SIGSEGV"));
    assert!(death(pool.spawn(kill_myself, 9)).contains("SIGKILL"));
    assert!(death(pool.spawn(|(): ()| std::process::abort(), ())).contains("SIGABRT"));
    assert!(death(pool.spawn(|(): ()| std::process::exit(0), ())).contains("exit status: 0"));
    assert!(death(pool.spawn(|(): ()| std::process::exit(3), ())).contains("exit status: 3"));
    assert!(matches!(pool.spawn(overflow, 0).join(), Err(TaskError::WorkerDied { .. })));
    // From outside, while it runs.
    let naps = pool.spawn(|(): ()| ropewalk::sleep(HANG), ());
    let victim = pool.spawn(id, ()).join().unwrap();
    for worker in pool.worker_ids().into_iter().filter(|worker| *worker != victim) {
        kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL).unwrap();
    }
    assert!(matches!(naps.join(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(joined(pool.spawn(|n: u32| n + 1, 1)), 2);
}

fn tasks_behind_the_one_that_died_go_elsewhere() {
    let pool = pool(1);
    // Short ones first, so that the worker is given several at once.
    let _: Vec<_> = pool.run_all((0..200).map(|_| weigh::call(rope(), 1.0)));
    let handles: Vec<_> =
        (0..300).map(|n: u32| pool.spawn(|n: u32| if n % 50 == 10 { std::process::abort() } else { n }, n)).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(value) => assert_eq!((value as usize, n % 50 != 10), (n, true)),
            Err(TaskError::WorkerDied { .. }) => assert_eq!(n % 50, 10),
            Err(error) => panic!("{n}: {error}"),
        }
    }
}

fn large_values_go_through_small_rings() {
    let pool = pool(2);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let same = pool.spawn(|bytes: Bytes| bytes, Bytes::from(bytes.clone()));
    let slow = pool.spawn(|bytes: Vec<u8>| bytes, bytes[..1_000_000].to_vec());
    assert!(joined(same).into_vec() == bytes && joined(slow) == bytes[..1_000_000]);
    let lengths: Vec<usize> =
        pool.map(|bytes: Bytes| bytes.len(), (0..20).map(|n| Bytes::from(vec![1; n * 100_000]))).collect();
    assert_eq!(lengths, (0..20).map(|n| n * 100_000).collect::<Vec<_>>());
    // Nobody reads a reply while many are on their way.
    let handles: Vec<_> = (0..20).map(|_| pool.spawn(|n: usize| Bytes::from(vec![7; n]), 1_000_000)).collect();
    assert!(handles.into_iter().all(|handle| joined(handle).len() == 1_000_000));
}

/// No clock can add these up, so they are no limits.
fn limits_that_overflow_are_no_limits() {
    let pool =
        ProcessPoolExecutor::builder().max_workers(1).task_timeout(Duration::MAX).grace(Duration::MAX).build().unwrap();
    assert_eq!(pool.spawn(|n: u32| n, 5).join().unwrap(), 5);
    let waits = pool.spawn(|(): ()| ropewalk::sleep(HANG), ());
    eventually("it runs", || waits.is_running());
    waits.cancel();
    assert!(matches!(waits.join(), Err(TaskError::Cancelled)));
}

/// The initializer is no task, and its time none of a task's.
fn initializer_may_take_longer_than_a_task() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .initializer(|(): ()| ropewalk::sleep(20 * SHORT), ())
        .task_timeout(10 * SHORT)
        .grace(SHORT)
        .build()
        .unwrap();
    assert_eq!(joined(pool.spawn(|n: u32| n, 5)), 5);
    assert_eq!(pool.counts().died, 0);
}

fn task_past_its_limit_is_asked_and_then_killed() {
    let pool =
        ProcessPoolExecutor::builder().max_workers(1).task_timeout(10 * SHORT).grace(20 * SHORT).build().unwrap();
    // One that waits stops when it is asked to.
    assert!(matches!(pool.spawn(|(): ()| ropewalk::sleep(HANG), ()).join(), Err(TaskError::TimedOut)));
    assert_eq!(pool.counts().died, 0);
    let started = Instant::now();
    assert!(matches!(pool.spawn(spin, ()).join(), Err(TaskError::TimedOut)));
    assert!(started.elapsed() >= 30 * SHORT && started.elapsed() < HANG);
    assert_eq!(pool.counts().died, 1);
    // What was queued behind it has its own time.
    let (late, next) = (pool.spawn(spin, ()), pool.spawn(|n: u32| n, 5));
    assert!(matches!(late.join(), Err(TaskError::TimedOut)));
    assert_eq!(joined(next), 5);
}

fn cancelled_task_stops_wherever_it_is() {
    let pool = ProcessPoolExecutor::builder().max_workers(1).grace(10 * SHORT).build().unwrap();
    let (waits, queued) = (pool.spawn(|(): ()| ropewalk::sleep(HANG), ()), pool.spawn(id, ()));
    assert!(queued.cancel(), "it has not begun");
    assert!(matches!(queued.join(), Err(TaskError::Cancelled)));
    waits.cancel();
    assert!(matches!(waits.join(), Err(TaskError::Cancelled)));
    assert_eq!(pool.counts().died, 0);
    let spins = pool.spawn(spin, ());
    eventually("it runs", || pool.counts().started >= 1);
    spins.cancel();
    assert!(matches!(spins.join(), Err(TaskError::Cancelled)));
    assert_eq!(joined(pool.spawn(|n: u32| n, 5)), 5);
}

fn deadline_of_the_submitter_holds_in_the_queue_and_in_the_worker() {
    let pool = pool(1);
    let _long = pool.spawn(|(): ()| ropewalk::sleep(Duration::from_millis(400)), ());
    let hurried = pool.timeout(5 * SHORT);
    let started = Instant::now();
    assert!(matches!(hurried.submit(weigh::call(rope(), 1.0)).join(), Err(TaskError::TimedOut)));
    assert!(started.elapsed() < Duration::from_millis(390), "it did not wait for its turn");
}

fn workers_are_replaced_after_their_tasks_or_when_they_grow() {
    let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(3).build().unwrap();
    let ids: Vec<u32> = (0..9).map(|_| joined(pool.spawn(id, ()))).collect();
    assert!(ids.chunks(3).all(|three| three.iter().all(|one| *one == three[0])), "{ids:?}");
    assert!(ids[0] != ids[3] && ids[3] != ids[6]);
    assert_eq!(pool.counts().died, 0);
    let pool = ProcessPoolExecutor::builder().max_workers(1).max_rss(64 << 20).build().unwrap();
    let leak = |n: usize| {
        std::mem::forget(vec![1_u8; n]);
        std::process::id()
    };
    let first = joined(pool.spawn(leak, 100 << 20));
    eventually("it was replaced", || joined(pool.spawn(id, ())) != first);
    assert_eq!(pool.counts().died, 0);
}

fn limits_hold_in_the_worker() {
    let limits = Limits::new().address_space(2 << 30).core_bytes(0).open_files(40);
    let pool = ProcessPoolExecutor::builder().max_workers(1).limits(limits).build().unwrap();
    let reason = death(pool.spawn(|n: usize| std::hint::black_box(vec![1_u8; n]).len() as u32, 4 << 30));
    assert!(reason.contains("SIGABRT"), "{reason}");
    let files = pool.spawn(
        |(): ()| {
            let open: Vec<_> = (0..100).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
            open.len()
        },
        (),
    );
    assert!(joined(files) < 40);
}

fn pool_whose_workers_all_die_gives_up() {
    let pool = pool(2);
    let mut last = String::new();
    for _ in 0..200 {
        last = death(pool.spawn(|(): ()| std::process::abort(), ()));
        if last.contains("gave up") {
            break;
        }
    }
    assert!(last.contains("gave up after"), "{last}");
    assert!(death(pool.spawn(id, ())).contains("gave up"), "submissions fail at once");
    pool.shutdown(Shutdown::Wait);
}

#[derive(Debug, Serialize)]
struct OneWay(u32);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => panic!("thirteen"),
            7 => Err(serde::de::Error::custom("seven")),
            n => Ok(Self(n)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

fn values_that_do_not_survive_the_way_end_their_task() {
    let pool = pool(1);
    let there = |n| pool.spawn(|OneWay(n): OneWay| n, OneWay(n)).join();
    let back = |n| pool.spawn(|n: u32| OneWay(n), n).join();
    assert_eq!((there(1).unwrap(), back(1).unwrap().0), (1, 1));
    assert!(there(7).unwrap_err().to_string().contains("deserialized"));
    assert!(there(13).unwrap_err().is_panic());
    assert!(back(7).unwrap_err().to_string().contains("deserialized"));
    assert!(back(13).unwrap_err().is_panic(), "in this process, and harms nobody");
    assert!(pool.spawn(|_: Unwritable| 1_u32, Unwritable).join().unwrap_err().to_string().contains("serialized"));
    assert!(pool.spawn(|(): ()| Unwritable, ()).join().unwrap_err().to_string().contains("serialized"));
    assert_eq!(there(1).unwrap(), 1);
    assert_eq!(pool.counts().died, 0);
}

fn shutdown_in_each_way() {
    let nap = |milliseconds: u64| {
        ropewalk::sleep(Duration::from_millis(milliseconds));
        milliseconds
    };
    let waits = pool(1);
    let handles: Vec<_> = (0..5).map(|_| waits.spawn(nap, 10)).collect();
    waits.shutdown(Shutdown::Wait);
    assert!(handles.iter().all(TaskHandle::is_finished) && waits.worker_ids().is_empty());
    assert!(matches!(waits.spawn(nap, 1).join(), Err(TaskError::Shutdown)));

    let cancels = pool(1);
    let (runs, queued) = (cancels.spawn(nap, 100), cancels.spawn(nap, 100_000));
    eventually("the first runs", || !queued.is_finished() && !cancels.worker_ids().is_empty());
    cancels.shutdown(Shutdown::CancelPending);
    assert!(runs.join().is_ok_and(|n| n == 100), "what runs is finished");
    assert!(matches!(queued.join(), Err(TaskError::Cancelled)));

    let kills = pool(2);
    let spins: Vec<_> = (0..4).map(|_| kills.spawn(spin, ())).collect();
    let started = Instant::now();
    kills.shutdown(Shutdown::Kill);
    assert!(started.elapsed() < HANG / 4);
    assert!(spins.into_iter().all(|spin| matches!(spin.join(), Err(TaskError::Cancelled))));

    let dropped = pool(1);
    let later = dropped.spawn(nap, 20);
    drop(dropped);
    assert!(later.is_finished());
    assert_eq!(joined(later), 20);

    let detached = pool(1);
    let later = detached.spawn(nap, 20);
    detached.shutdown(Shutdown::Detach);
    assert_eq!(joined(later), 20);
}

fn handles_are_waited_for_by_every_strand() {
    let pool = pool(2);
    ropewalk::run(|| {
        let pool = &pool;
        greenlet::scope(|scope| {
            let handles: Vec<_> =
                (0..20).map(|n| scope.spawn(move || pool.spawn(|n: u64| n * 2, n).join().unwrap())).collect();
            let sum: u64 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
            assert_eq!(sum, 380);
        });
    });
    let executor = AsyncExecutor::new(1);
    let handle = pool.spawn(|n: u64| n * 2, 21);
    assert_eq!(executor.submit(async move { handle.await.unwrap() }).join().unwrap(), 42);
    let ended =
        CancelToken::new().with_timeout(5 * SHORT).run(|| pool.spawn(|(): ()| ropewalk::sleep(HANG), ()).join());
    assert!(ended.is_err(), "the wait ends, whatever the task does");
    pool.shutdown(Shutdown::Kill);
}

fn full_queue_holds_back() {
    let pool = ProcessPoolExecutor::builder().max_workers(1).queue_limit(2).build().unwrap();
    let handles: Vec<_> = (0..50).map(|n: u32| pool.spawn(|n| n, n)).collect();
    assert_eq!(handles.into_iter().map(joined).sum::<u32>(), 1225);
    let _two = [pool.spawn(spin, ()), pool.spawn(spin, ())];
    assert!(pool.try_submit(weigh::call(rope(), 1.0)).is_err());
    pool.shutdown(Shutdown::Kill);
}

fn worker_may_have_a_pool_of_its_own() {
    let inner = |n: u64| {
        let pool = ProcessPoolExecutor::new(1).expect("a pool in a worker");
        pool.spawn(|n: u64| n + 1, n).join().expect("a result") * 2
    };
    assert_eq!(joined(pool(1).spawn(inner, 20)), 42);
}

fn program_that_a_worker_starts_is_no_worker() {
    // This program again, with the variables of the worker in its environment.
    let run = |(): ()| {
        let program = std::env::current_exe().expect("the path of this test");
        Command::new(program).env("ROPEWALK_SCENARIO", "hello").read().unwrap_or_else(|error| error.to_string())
    };
    assert_eq!(joined(pool(1).spawn(run, ())), "hello");
}

fn preload_runs_once_and_is_shared() {
    static LOADED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    fn load() {
        LOADED.store(std::process::id(), std::sync::atomic::Ordering::Relaxed);
    }
    let pool = ProcessPoolExecutor::builder().max_workers(2).preload(load).build().unwrap();
    let loaded = |(): ()| (LOADED.load(std::sync::atomic::Ordering::Relaxed), std::process::id());
    let answers: Vec<(u32, u32)> = (0..20).map(|_| joined(pool.spawn(loaded, ()))).collect();
    assert!(answers.iter().all(|(zygote, worker)| *zygote != 0 && zygote == &answers[0].0 && zygote != worker));
    fn leaves_a_thread() {
        std::thread::spawn(std::thread::park);
    }
    let error = ProcessPoolExecutor::builder().preload(leaves_a_thread).build().unwrap_err();
    assert!(error.to_string().contains("must not be forked"), "{error}");
}

/// Counts in each process how often it was made anew there.
#[derive(Serialize)]
struct Table(u32);

static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        u32::deserialize(deserializer).map(Self)
    }
}

fn context_goes_to_each_worker_once() {
    let pool = pool(2);
    let made =
        |table: &Table, n: u32| (table.0 + n, std::process::id(), MADE.load(std::sync::atomic::Ordering::Relaxed));
    let known = pool.with(&Table(100)).unwrap();
    for (n, (sum, _, times)) in known.map(made, 0..200).chunk(1).enumerate() {
        assert_eq!((sum, times), (100 + n as u32, 1));
    }
    assert_eq!(joined(known.spawn(made, 7)).0, 107);
    // Whoever comes in the place of one that died is sent it again.
    let dies = |_: &Table, (): ()| -> u32 { std::process::abort() };
    assert!(matches!(known.spawn(dies, ()).join(), Err(TaskError::WorkerDied { .. })));
    assert!(known.map(made, 0..50).chunk(1).all(|(_, _, times)| times == 1));
    // More of them than a worker keeps, by turns.
    let many: Vec<_> = (0..7).map(|n| pool.with(&Table(1000 * n)).unwrap()).collect();
    let handles: Vec<_> = (0..210).map(|n| many[n % 7].spawn(made, n as u32)).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(joined(handle).0, (1000 * (n % 7) + n) as u32);
    }
    // One that panics while it is made ends the call and not the pool.
    let torn = pool.with(&Torn).unwrap();
    assert!(matches!(torn.spawn(|_: &Torn, n: u32| n, 1).join(), Err(TaskError::Panicked(_))));
    assert_eq!(joined(pool.spawn(|n: u32| n, 2)), 2);
}

#[derive(Serialize)]
struct Torn;

impl<'de> Deserialize<'de> for Torn {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        panic!("torn")
    }
}

fn lines_of_workers_come_before_the_ends_of_their_tasks() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listens = std::sync::Arc::clone(&told);
    let output = Output::lines(move |line| {
        listens.lock().unwrap().push((line.process, line.text.to_owned()));
        assert!(!line.text.contains("panic"), "what a listener does wrong is its own affair");
    });
    let pool = ProcessPoolExecutor::builder().max_workers(1).output(output).build().unwrap();
    for n in 0..20 {
        let says = |n: u32| {
            println!("line {n}");
            std::process::id()
        };
        let process = joined(pool.spawn(says, n));
        assert_eq!(told.lock().unwrap().last(), Some(&(process, format!("line {n}"))));
    }
    joined(pool.spawn(|(): ()| println!("panic"), ()));
    assert_eq!(joined(pool.spawn(|n: u32| n, 1)), 1);
    match pool
        .spawn(
            |(): ()| -> u32 {
                eprintln!("it is torn");
                std::process::abort()
            },
            (),
        )
        .join()
    {
        Err(TaskError::WorkerDied { status: Some(status), stderr, likely_oom, .. }) => {
            assert!(!status.success() && stderr.ends_with("it is torn") && !likely_oom);
        }
        other => panic!("{other:?}"),
    }
}

fn initializer_runs_first_in_each_worker() {
    static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let seed = |seed: u64| SEED.store(seed, std::sync::atomic::Ordering::Relaxed);
    let pool =
        ProcessPoolExecutor::builder().max_workers(2).max_tasks_per_worker(2).initializer(seed, 7).build().unwrap();
    let seeds: Vec<u64> =
        pool.map(|(): ()| SEED.load(std::sync::atomic::Ordering::Relaxed), [(); 10]).chunk(1).collect();
    assert_eq!(seeds, [7; 10]);
    let fails = |(): ()| panic!("no seed");
    let pool = ProcessPoolExecutor::builder().max_workers(2).initializer(fails, ()).build().unwrap();
    let reason = death(pool.spawn(id, ()));
    assert!(reason.contains("its initializer failed"), "{reason}");
}

fn window_of_one_keeps_the_others_in_the_queue() {
    let pool = ProcessPoolExecutor::builder().max_workers(1).window(1).build().unwrap();
    // So short that the window would be wide.
    let short: Vec<u32> = pool.map(|n: u32| n + 1, 0..1000).chunk(1).collect();
    assert_eq!(short[999], 1000);
    let long = pool.spawn(spin, ());
    let behind = pool.spawn(id, ());
    behind.cancel();
    assert!(matches!(behind.join(), Err(TaskError::Cancelled)));
    assert!(!long.is_finished(), "it lay behind the long one");
    pool.shutdown(Shutdown::Kill);
    assert!(long.join().is_err());
}

/// So many short tasks that windows are wide.
fn widen(pool: &ProcessPoolExecutor) {
    let short: Vec<u32> = pool.map(|n: u32| n + 1, 0..1000).chunk(1).collect();
    assert_eq!(short[999], 1000);
}

fn tasks_behind_a_long_one_go_to_a_worker_that_has_nothing_to_do() {
    let pool = pool(2);
    let context = pool.with(&vec![1_u32, 2, 3]).unwrap();
    for round in 0..5 {
        widen(&pool);
        let long = pool.spawn(|(): ()| ropewalk::sleep(HANG), ());
        // Every second one lies behind it, the first of them with the context for all.
        let short: Vec<_> = (0..20).map(|n| context.spawn(|rope: &Vec<u32>, n: u32| rope[n as usize % 3], n)).collect();
        for (n, short) in (0..).zip(short) {
            assert_eq!(joined(short), n % 3 + 1, "round {round}");
        }
        assert!(!long.is_finished());
        long.cancel();
        assert!(matches!(long.join(), Err(TaskError::Cancelled)));
        // The worker that was held up has skipped what it had no more, and knows the context.
        let both: Vec<u32> = context.map(|rope: &Vec<u32>, n: u32| rope[n as usize % 3], 0..99).chunk(1).collect();
        assert_eq!(both, (0..99).map(|n| n % 3 + 1).collect::<Vec<_>>());
    }
    let counts = pool.counts();
    assert_eq!(counts.died, 0);
    assert!(counts.taken_back > 0, "nothing lay behind it");
}

fn cancelled_task_behind_a_long_one_ends_at_once() {
    let pool = pool(1);
    widen(&pool);
    let long = pool.spawn(spin, ());
    let behind: Vec<_> = (0..10).map(|_| pool.spawn(id, ())).collect();
    for handle in &behind {
        handle.cancel();
    }
    let late = pool.timeout(Duration::from_millis(5)).submit(weigh::call(rope(), 1.0));
    for handle in behind {
        assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    }
    assert!(matches!(late.join(), Err(TaskError::TimedOut)));
    assert!(!long.is_finished(), "they lay behind the long one");
    pool.shutdown(Shutdown::Kill);
    assert!(long.join().is_err());
}

fn stopped_worker_that_takes_nothing_is_replaced() {
    let stopped = |pool: &ProcessPoolExecutor| {
        // It has nothing to do, and so it will begin nothing.
        let worker = joined(pool.spawn(id, ()));
        kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::STOP).unwrap();
        worker
    };
    let pool = ProcessPoolExecutor::builder().max_workers(1).grace(Duration::from_millis(20)).build().unwrap();
    let worker = stopped(&pool);
    let late = pool.timeout(Duration::from_millis(20)).submit(weigh::call(rope(), 1.0));
    assert!(matches!(late.join(), Err(TaskError::TimedOut)));
    assert_ne!(joined(pool.spawn(id, ())), worker);
    // A pool that is killed waits for nobody.
    stopped(&pool);
    let lost = pool.spawn(id, ());
    pool.shutdown(Shutdown::Kill);
    assert!(lost.join().is_err());
}

fn death_tells_what_the_worker_said_last() {
    let pool = ProcessPoolExecutor::builder().max_workers(1).output(Output::Tail).build().unwrap();
    let dies = |lines: u32| -> u32 {
        (0..lines).for_each(|n| eprintln!("line {n} of many, and so that it is long enough: hemp hemp hemp hemp"));
        std::process::abort()
    };
    let reason = death(pool.spawn(dies, 10_000));
    assert!(
        reason.ends_with("hemp hemp") && reason.contains("line 9999") && !reason.contains("line 9000 "),
        "{reason}"
    );
    assert!(reason.len() < 10_000);
}

fn workers_started_one_by_one_are_the_same() {
    let pool = ProcessPoolExecutor::builder().max_workers(2).start(Start::Exec).build().unwrap();
    assert_eq!(joined(pool.spawn(|n: u32| n + 1, 1)), 2);
    assert!(death(pool.spawn(kill_myself, 11)).contains("SIGSEGV"));
    assert_eq!(joined(pool.spawn(|n: u32| n + 1, 1)), 2);
}

fn worker_has_the_thread_number_that_the_system_gave_it() {
    // A signal that a thread sends itself arrives, and so a panic that cannot unwind is an abort.
    let pool = pool(1);
    let reason = death(pool.spawn(|(): ()| std::process::abort(), ()));
    assert!(reason.contains("SIGABRT"), "{reason}");
}

fn init_that_comes_too_late_is_told() {
    let output = play("late");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("threads ran when") && text.contains("first in `main`"), "{text}");
    let text = String::from_utf8(play("never").stdout).unwrap();
    assert!(text.contains("ropewalk::init()") && text.contains("test_support!"), "{text}");
}

fn output_of_workers_is_that_of_the_program() {
    let output = play("output");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "from a worker");
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "from a worker too");
}

/// What is forked ahead is nobody's worker yet: its death is nobody's loss, and whoever takes no more leaves no zombie of it.
fn process_that_was_forked_ahead_and_died_costs_nothing() {
    let out = String::from_utf8(play("ahead").stdout).unwrap();
    assert_eq!(out, "0 left\n");
}

fn program_that_is_replaced_while_it_runs() {
    let folder = std::env::temp_dir().join(format!("ropewalk-replaced-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let command = Command::new(&program).env("ROPEWALK_SCENARIO", "replaced").env("ROPEWALK_PROGRAM", &program);
    let text = command.timeout(HANG).read();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(text.unwrap(), "2 3 4");
}

fn main_attribute_makes_workers_of_the_program() {
    let text = String::from_utf8(play("attribute").stdout).unwrap();
    assert_eq!(text.trim(), "42");
}

fn pool_is_ended_with_main() {
    let output = play_with("attribute", &[("ROPEWALK_LEAVE", "1")]);
    assert!(output.status.success());
    let ids = String::from_utf8(output.stdout).unwrap();
    eventually("no worker is left", || {
        ids.split_whitespace().all(|id| !std::path::Path::new(&format!("/proc/{id}")).exists())
    });
}

mod attribute {
    use super::{eventually, joined, pool};

    #[ropewalk::main]
    pub(crate) fn main() {
        let pool = pool(2);
        if std::env::var_os("ROPEWALK_LEAVE").is_some() {
            eventually("both are there", || pool.worker_ids().len() == 2);
            let ids: Vec<String> = pool.worker_ids().iter().map(ToString::to_string).collect();
            println!("{}", ids.join(" "));
            std::mem::forget(pool);
        } else {
            println!("{}", joined(pool.spawn(|n: u32| n + 1, 41)));
        }
    }
}

fn act(scenario: &str) {
    match scenario {
        "late" => {
            std::thread::spawn(std::thread::park);
            ropewalk::init();
            println!("{}", ProcessPoolExecutor::new(1).unwrap_err());
        }
        "never" => match ProcessPoolExecutor::new(1) {
            Err(error @ BuildError::NotInitialised) => println!("{error}"),
            other => println!("{other:?}"),
        },
        "attribute" => attribute::main(),
        "hello" => println!("hello"),
        "output" => {
            ropewalk::init();
            let pool = pool(1);
            joined(pool.spawn(|(): ()| println!("from a worker"), ()));
            joined(pool.spawn(|(): ()| eprintln!("from a worker too"), ()));
            let quiet = ProcessPoolExecutor::builder().max_workers(1).output(Output::Null).build().unwrap();
            joined(quiet.spawn(|(): ()| println!("nobody hears it"), ()));
        }
        "replaced" => {
            ropewalk::init();
            let path = std::env::var("ROPEWALK_PROGRAM").unwrap();
            let zygote = pool(1);
            let exec = ProcessPoolExecutor::builder().max_workers(1).start(Start::Exec).build().unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "#!/bin/sh\necho another program\n").unwrap();
            let _ = exec.spawn(kill_myself, 9).join();
            let _ = zygote.spawn(kill_myself, 9).join();
            let next = |n: u32| n + 1;
            let late = ProcessPoolExecutor::new(1).unwrap();
            println!(
                "{} {} {}",
                joined(exec.spawn(next, 1)),
                joined(zygote.spawn(next, 2)),
                joined(late.spawn(next, 3))
            );
        }
        "ahead" => {
            ropewalk::init();
            let pool = pool(1);
            // One that has ended meanwhile was not to live either.
            let kill = |child: &i32| {
                let _ = kill_process(Pid::from_raw(*child).unwrap(), Signal::KILL);
            };
            for _ in 0..10 {
                joined(pool.spawn(id, ()));
                // It has the group of the process that forked it; that one and the worker have their own.
                let is_ahead =
                    |child: &i32| getpgid(Pid::from_raw(*child)).is_ok_and(|group| Pid::as_raw(Some(group)) != *child);
                eventually("one is forked ahead", || children_of_ours().iter().any(is_ahead));
                children_of_ours().iter().filter(|child| is_ahead(child)).for_each(kill);
                death(pool.spawn(kill_myself, 9));
            }
            // And with it the one that forks.
            joined(pool.spawn(id, ()));
            children_of_ours().iter().for_each(kill);
            eventually("a worker that lives", || pool.spawn(id, ()).join().is_ok());
            pool.shutdown(Shutdown::Wait);
            println!("{} left", children_of_ours().len());
        }
        other => panic!("no scenario {other}"),
    }
}

fn main() -> ExitCode {
    if let Some(scenario) = scenario() {
        act(&scenario);
        return ExitCode::SUCCESS;
    }
    ropewalk::init();
    children::run(&tests! {
        values_go_over_and_come_back maps_are_ordered_lazy_and_give_each_error_its_place
        every_kind_of_death_costs_the_task_that_died tasks_behind_the_one_that_died_go_elsewhere
        limits_that_overflow_are_no_limits initializer_may_take_longer_than_a_task
        large_values_go_through_small_rings task_past_its_limit_is_asked_and_then_killed cancelled_task_stops_wherever_it_is
        deadline_of_the_submitter_holds_in_the_queue_and_in_the_worker
        workers_are_replaced_after_their_tasks_or_when_they_grow limits_hold_in_the_worker
        pool_whose_workers_all_die_gives_up values_that_do_not_survive_the_way_end_their_task shutdown_in_each_way
        handles_are_waited_for_by_every_strand full_queue_holds_back worker_may_have_a_pool_of_its_own
        program_that_a_worker_starts_is_no_worker preload_runs_once_and_is_shared initializer_runs_first_in_each_worker
        context_goes_to_each_worker_once lines_of_workers_come_before_the_ends_of_their_tasks
        window_of_one_keeps_the_others_in_the_queue tasks_behind_a_long_one_go_to_a_worker_that_has_nothing_to_do
        cancelled_task_behind_a_long_one_ends_at_once stopped_worker_that_takes_nothing_is_replaced death_tells_what_the_worker_said_last workers_started_one_by_one_are_the_same
        worker_has_the_thread_number_that_the_system_gave_it init_that_comes_too_late_is_told
        output_of_workers_is_that_of_the_program process_that_was_forked_ahead_and_died_costs_nothing program_that_is_replaced_while_it_runs
        main_attribute_makes_workers_of_the_program pool_is_ended_with_main
    })
}
