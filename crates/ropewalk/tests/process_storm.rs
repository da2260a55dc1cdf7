//! Deaths by the thousand: of workers, each of which costs the one task that it ran, and of whole programs, none of which leaves
//! a process behind. And what is there afterwards: no descriptor, no zombie, no memory file.
//!
//! `ROPEWALK_STORM` sets the number of tasks, `ROPEWALK_PARENTS` that of programs; the defaults are those of the gate.

#[path = "support/children.rs"]
mod children;
#[path = "support/mod.rs"]
mod support;

use children::{children_of_ours, scenario};
use ropewalk::process::{Bytes, Output};
use ropewalk::subprocess::{Command, Stdio};
use ropewalk::{ProcessPoolExecutor, Shutdown, TaskError};
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process, kill_process_group};
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{HANG, eventually};

/// A generator that needs no crate.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// What a task does, told by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Innocent,
    Segfault,
    Abort,
    Exit,
    Hang,
}

fn fate(n: u64) -> Fate {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..8 {
        random(&mut state);
    }
    match random(&mut state) % 1000 {
        0..32 => Fate::Segfault,
        32..64 => Fate::Abort,
        64..96 => Fate::Exit,
        // Each takes its whole time limit.
        96..98 => Fate::Hang,
        _ => Fate::Innocent,
    }
}

fn suffer(n: u64) -> u64 {
    match fate(n) {
        Fate::Innocent => n * 3,
        Fate::Segfault => loop {
            let _ = kill_process(getpid(), Signal::SEGV);
        },
        Fate::Abort => std::process::abort(),
        Fate::Exit => std::process::exit(n as i32 % 2),
        Fate::Hang => loop {
            std::hint::spin_loop();
        },
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn storm(tasks: u64, shot: u64) {
    let limits = ropewalk::process::Limits::new().core_bytes(0);
    let pool = ProcessPoolExecutor::builder()
        .max_workers(3)
        .limits(limits)
        .output(Output::Null)
        // Far longer than an innocent task takes on the busiest machine.
        .task_timeout(Duration::from_millis(1500))
        .grace(Duration::from_millis(10))
        .build()
        .expect("a pool");
    let (over, shots) = (AtomicBool::new(false), AtomicBool::new(true));
    let (mut wrong, mut unlucky) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        // Somebody who kills workers from outside, whatever they do.
        scope.spawn(|| {
            let mut state = 42;
            for _ in 0..shot {
                while !over.load(Ordering::Relaxed) && !shots.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                let workers = pool.worker_ids();
                if !workers.is_empty() {
                    let victim = workers[random(&mut state) as usize % workers.len()];
                    let _ = kill_process(Pid::from_raw(victim as i32).expect("a process"), Signal::KILL);
                }
                shots.store(false, Ordering::Relaxed);
            }
        });
        let each = (tasks / shot.max(1)).max(1);
        let window: Vec<_> = (0..tasks).map(|n| (n, pool.spawn(suffer, n))).collect();
        for (n, mut handle) in window {
            if n % each == 0 {
                shots.store(true, Ordering::Relaxed);
            }
            match (fate(n), handle.join_timeout(2 * HANG)) {
                (Fate::Innocent, Ok(value)) if value == n * 3 => {}
                // The bullet was for somebody; at most one task a bullet.
                (Fate::Innocent | Fate::Hang, Err(TaskError::WorkerDied { reason, .. }))
                    if reason.contains("SIGKILL") =>
                {
                    unlucky += 1
                }
                (Fate::Segfault | Fate::Abort | Fate::Exit, Err(TaskError::WorkerDied { .. })) => {}
                (Fate::Hang, Err(TaskError::TimedOut)) => {}
                // A busy machine may keep a task from its end for as long as its limit.
                (Fate::Segfault | Fate::Abort | Fate::Exit, Err(TaskError::TimedOut)) => {}
                (fate, outcome) => wrong.push((n, fate, outcome.map_err(|error| error.to_string()))),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(unlucky <= shot, "{unlucky} died of {shot} bullets");
    assert_eq!(pool.counts().settled, tasks);
    pool.shutdown(Shutdown::Wait);
}

fn every_task_of_a_storm_has_the_outcome_it_deserves_and_nothing_is_left() {
    storm(100, 5);
    let before = descriptors();
    let tasks = count("ROPEWALK_STORM", 10_000);
    storm(tasks, 40);
    assert_eq!(children_of_ours(), [0; 0], "zombies");
    eventually("every descriptor is closed", || descriptors() <= before);
}

fn frames_that_were_begun_when_the_worker_died_do_no_harm() {
    // Results that do not fit into a ring, whose writers are shot.
    let pool = ProcessPoolExecutor::builder().max_workers(2).output(Output::Null).build().expect("a pool");
    for round in 0..30_u64 {
        let large = pool.spawn(|n: u64| Bytes::from(vec![n as u8; 3_000_000]), round);
        let mut state = round + 1;
        (0..random(&mut state) % 3000).for_each(|_| std::hint::spin_loop());
        for worker in pool.worker_ids() {
            let _ = kill_process(Pid::from_raw(worker as i32).expect("a process"), Signal::KILL);
        }
        match large.join() {
            Ok(bytes) => assert!(bytes.len() == 3_000_000 && bytes.iter().all(|byte| *byte == round as u8)),
            Err(error) => assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}"),
        }
    }
    assert_eq!(pool.spawn(|n: u64| n, 1).join().unwrap(), 1);
}

fn program_that_is_killed_takes_its_workers_along() {
    let program = std::env::current_exe().expect("the path of this test");
    for round in 0..count("ROPEWALK_PARENTS", 50) {
        let command = Command::new(&program).env("ROPEWALK_SCENARIO", "parent").stdout(Stdio::piped());
        let mut child = { command }.spawn().expect("this program");
        let line = child.stdout.take().expect("it was piped").lines().next().expect("a line").expect("text");
        assert_eq!(line.split(' ').count(), 4, "{line}");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let killed = Instant::now();
        eventually("nobody is left", || {
            line.split(' ').all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists())
        });
        assert!(killed.elapsed() < Duration::from_secs(5), "round {round}: {:?}", killed.elapsed());
    }
}

/// What a terminal sends, it sends to the program's group.
fn interrupt_of_the_terminal_reaches_the_program_and_not_its_workers() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let program = std::env::current_exe().expect("the path of this test");
    let mut command = std::process::Command::new(program);
    command.env("ROPEWALK_SCENARIO", "parent").stdout(std::process::Stdio::piped()).process_group(0);
    let mut child = command.spawn().expect("this program");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it was piped")).read_line(&mut line).expect("a line");
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().expect("a number")).collect();
    let pid = |number: i32| Pid::from_raw(number).expect("a process");
    let group = pid(child.id() as i32);
    assert!(pids.iter().all(|worker| getpgid(Some(pid(*worker))).expect("it is there") != group), "{line}");
    kill_process_group(group, Signal::INT).expect("it is ours");
    assert_eq!(child.wait().expect("it is ours").signal(), Some(2));
    eventually("nobody is left", || pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()));
}

/// Wherever a program is shot while it starts workers, none of them goes on as a program of its own.
fn program_that_is_killed_while_it_starts_workers_leaves_none() {
    let program = std::env::current_exe().expect("the path of this test");
    let mark = format!("storm-{}", std::process::id());
    let marked = || {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let wanted = format!("ROPEWALK_STORM_MARK={mark}");
        let is_one = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
        processes.filter(|process| std::fs::read(process.path().join("environ")).is_ok_and(is_one)).count()
    };
    for round in 0..count("ROPEWALK_PARENTS", 50).div_ceil(2) {
        let command = Command::new(&program)
            .env("ROPEWALK_SCENARIO", "starting")
            .env("ROPEWALK_STORM_MARK", &mark)
            .stdout(Stdio::piped());
        let mut child = { command }.spawn().expect("this program");
        child.stdout.take().expect("it was piped").lines().next().expect("a line").expect("text");
        ropewalk::sleep(Duration::from_micros(400 * round));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        eventually("nobody is left", || marked() == 0);
    }
}

/// A program that starts many workers.
fn starting() {
    println!("go");
    let start = ropewalk::process::Start::Exec;
    let pool = ProcessPoolExecutor::builder().max_workers(6).start(start).build().expect("a pool");
    let _handles: Vec<_> = (0..60_u64).map(|n| pool.spawn(|n: u64| n, n)).collect();
    ropewalk::sleep(HANG);
}

/// A program with two workers, one of which has started a program itself, another of which spins.
fn parent() {
    let pool = ProcessPoolExecutor::new(2).expect("a pool");
    let sleeper = pool.spawn(
        |(): ()| {
            let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
            let pids = (std::process::id(), child.id());
            let _ = child.wait_timeout(Duration::from_millis(1));
            child.detach();
            pids
        },
        (),
    );
    let (worker, sleep) = sleeper.join().expect("two numbers");
    eventually("both workers are there", || pool.worker_ids().len() == 2);
    let workers = pool.worker_ids();
    let _spin = pool.spawn(
        |(): ()| -> u32 {
            loop {
                std::hint::spin_loop()
            }
        },
        (),
    );
    let list: Vec<String> = workers.iter().chain([&worker, &sleep]).map(ToString::to_string).collect();
    println!("{}", list.join(" "));
    ropewalk::sleep(HANG);
}

fn main() -> ExitCode {
    ropewalk::init();
    match scenario() {
        Some(scenario) if scenario == "starting" => starting(),
        Some(_) => parent(),
        None => {
            return children::run(&tests! {
                every_task_of_a_storm_has_the_outcome_it_deserves_and_nothing_is_left
                frames_that_were_begun_when_the_worker_died_do_no_harm
                program_that_is_killed_takes_its_workers_along
                program_that_is_killed_while_it_starts_workers_leaves_none
                interrupt_of_the_terminal_reaches_the_program_and_not_its_workers
            });
        }
    }
    ExitCode::SUCCESS
}
