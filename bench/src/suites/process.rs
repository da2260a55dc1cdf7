//! Suite `process`: work in other processes. One worker or two, as the works say; every result is checked.
//!
//! `ropewalk` starts workers from a zygote, `ropewalk:exec` each from the program's file. `ropewalk:vec` sends the payload as a plain
//! `Vec<u8>`, a copy for each item, `ropewalk` as `Bytes`, whose clones share their memory as CPython's `bytes` do. The figures of `start` are those of a pool whose only worker is
//! replaced after each task: its end, the start of the next one, and the first task there. CPython's `map` is measured with
//! a chunk of 1 (`map.tiny`) and of 100 (`map.tiny.chunk100`), ours and procspawn's, which has no map, are the same in both. procspawn takes no part in `payload.1mib`: with several
//! such arguments under way it did not come to an end here.

use std::hint::black_box;

use ropewalk::process::{Bytes, Start};
use ropewalk::{ProcessPoolExecutor, TaskError};

use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::timed;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    vec![
        roundtrip(),
        tiny("map.tiny"),
        tiny("map.tiny.chunk100"),
        payload(),
        start("start.small", |_| Vec::new()),
        start("start.1gib", |_| vec![1; 1 << 30]),
        recover(),
    ]
}

fn pool(workers: usize) -> ProcessPoolExecutor {
    let pool = ProcessPoolExecutor::new(workers).expect("a pool can be built");
    // Both are there, and have done something.
    while pool.worker_ids().len() < workers {
        std::thread::yield_now();
    }
    assert_eq!(pool.map(|n: u64| n, 0..64).chunk(1).sum::<u64>(), 2016);
    pool
}

fn peers(workers: usize) -> procspawn::Pool {
    let pool = procspawn::Pool::new(workers).expect("a pool can be built");
    (0..8).for_each(|n| assert_eq!(procspawn::spawn!(in pool, (n) || n).join().expect("a result"), n));
    pool
}

fn roundtrip() -> Work {
    let count = |effort: Effort| effort.pick(4_000, 600);
    Work::new("process", "roundtrip", "us", Judge::AsIs)
        .by("procspawn", move |effort| {
            let (pool, count) = (peers(1), count(effort));
            let (sum, spent) = timed(|| {
                (0..count).map(|n| procspawn::spawn!(in pool, (n) || n).join().expect("a result")).sum::<u64>()
            });
            assert_eq!(sum, count * (count - 1) / 2);
            Sample::new(spent.wall_ns_per(count) / 1e3, spent)
        })
        .by("ropewalk", move |effort| {
            let (pool, count) = (pool(1), count(effort));
            let (sum, spent) =
                timed(|| (0..count).map(|n| pool.spawn(|n: u64| n, n).join().expect("a result")).sum::<u64>());
            assert_eq!(sum, count * (count - 1) / 2);
            Sample::new(spent.wall_ns_per(count) / 1e3, spent)
        })
}

fn tiny(name: &'static str) -> Work {
    Work::new("process", name, "ns/op", Judge::AsIs)
        .by("procspawn", |effort| {
            let (pool, count) = (peers(2), effort.pick(10_000, 1_500));
            let (sum, spent) = timed(|| {
                let mut window = std::collections::VecDeque::new();
                let mut sum = 0;
                for n in 0..count {
                    if window.len() == 128 {
                        let oldest: procspawn::JoinHandle<u64> = window.pop_front().expect("it is full");
                        sum += oldest.join().expect("a result");
                    }
                    window.push_back(procspawn::spawn!(in pool, (n) || n));
                }
                sum + window.into_iter().map(|handle| handle.join().expect("a result")).sum::<u64>()
            });
            assert_eq!(sum, count * (count - 1) / 2);
            Sample::new(spent.wall_ns_per(count), spent)
        })
        .by("ropewalk", |effort| {
            let (pool, count) = (pool(2), effort.pick(2_000_000, 200_000));
            let (sum, spent) = timed(|| pool.map(|n: u64| n, 0..count).sum::<u64>());
            assert_eq!(sum, count * (count - 1) / 2);
            Sample::new(spent.wall_ns_per(count), spent)
        })
        .by("ropewalk:handles", |effort| {
            let (pool, count) = (pool(2), effort.pick(100_000, 10_000));
            let (sum, spent) = timed(|| {
                let handles: Vec<_> = (0..count).map(|n| pool.spawn(|n: u64| n, n)).collect();
                handles.into_iter().map(|handle| handle.join().expect("a result")).sum::<u64>()
            });
            assert_eq!(sum, count * (count - 1) / 2);
            Sample::new(spent.wall_ns_per(count), spent)
        })
}

fn payload() -> Work {
    const MIB: usize = 1 << 20;
    let count = |effort: Effort| effort.pick(400, 60);
    Work::new("process", "payload.1mib", "MiB/s", Judge::AsIs)
        .upwards()
        .by("ropewalk", move |effort| {
            let (pool, count) = (pool(2), count(effort));
            let data = Bytes::from(vec![7_u8; MIB]);
            let items = (0..count).map(|_| data.clone());
            let (sum, spent) = timed(|| pool.map(|data: Bytes| data.len(), items).chunk(1).sum::<usize>());
            assert_eq!(sum, count as usize * MIB);
            Sample::new(count as f64 / spent.wall.as_secs_f64(), spent)
        })
        .by("ropewalk:vec", move |effort| {
            let (pool, count) = (pool(2), count(effort).min(100));
            let data = vec![7_u8; MIB];
            let items = (0..count).map(|_| data.clone());
            let (sum, spent) = timed(|| pool.map(|data: Vec<u8>| data.len(), items).chunk(1).sum::<usize>());
            assert_eq!(sum, count as usize * MIB);
            Sample::new(count as f64 / spent.wall.as_secs_f64(), spent)
        })
}

fn start(name: &'static str, ballast: fn(Effort) -> Vec<u8>) -> Work {
    let each = move |start: Start| {
        move |effort: Effort| {
            let ballast = ballast(effort);
            let builder = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1).start(start);
            let pool = builder.build().expect("a pool can be built");
            let count = effort.pick(200, 40);
            assert!(pool.spawn(|n: u64| n, 1).join().is_ok());
            let (sum, spent) =
                timed(|| (0..count).map(|n| pool.spawn(|n: u64| n, n).join().expect("a result")).sum::<u64>());
            assert_eq!(sum, count * (count - 1) / 2);
            black_box(&ballast);
            Sample::new(spent.wall_ns_per(count) / 1e3, spent)
        }
    };
    Work::new("process", name, "us", Judge::AsIs)
        .by("procspawn", move |effort| {
            let ballast = ballast(effort);
            let count = effort.pick(50, 10);
            let (sum, spent) =
                timed(|| (0..count).map(|n| procspawn::spawn!((n) || n).join().expect("a result")).sum::<u64>());
            assert_eq!(sum, count * (count - 1) / 2);
            black_box(&ballast);
            Sample::new(spent.wall_ns_per(count) / 1e3, spent)
        })
        .by("ropewalk:exec", each(Start::Exec))
        .by("ropewalk", each(Start::Zygote))
}

fn recover() -> Work {
    Work::new("process", "recover.sigkill", "us", Judge::AsIs).by("ropewalk", |effort| {
        let (pool, count) = (pool(1), effort.pick(100, 20));
        let ((), spent) = timed(|| {
            for n in 0..count {
                let victim = pool.worker_ids()[0];
                let victim = rustix::process::Pid::from_raw(victim as i32).expect("a process");
                rustix::process::kill_process(victim, rustix::process::Signal::KILL).expect("it is ours");
                // It may be given the task before anybody knows of its death; then that is the task's end.
                while !matches!(pool.spawn(|n: u64| n, n).join(), Ok(value) if value == n) {}
            }
        });
        assert!(!matches!(pool.spawn(|n: u64| n, 1).join(), Err(TaskError::Shutdown)));
        Sample::new(spent.wall_ns_per(count) / 1e3, spent)
    })
}
