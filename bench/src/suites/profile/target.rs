//! The programs that are profiled: this binary again, told what to do. Each keeps its own clocks, and writes what they say into
//! a file, so that whoever watches it can be held against that.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::measure::{cores, process_cpu, thread_cpu};

/// What a program knows of itself, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth {
    /// From its first line to its last.
    pub wall: f64,
    /// On processors.
    pub cpu: f64,
    /// In sleeps of its only thread.
    pub slept: f64,
}

impl Truth {
    /// What a program wrote.
    pub fn read(file: &Path) -> Truth {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [wall, cpu, slept] = numbers[..] else { panic!("{text:?} is not what a program writes") };
        Truth { wall, cpu, slept }
    }
}

/// Rounds of one thread of a crowd, and its pause between two.
const ROUNDS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(2);

/// Does what is told, `KIND AMOUNT FILE`: millions of steps, or rounds.
pub fn run(kind: &str, amount: &str, file: &str) -> Result<(), String> {
    let amount: u64 = amount.parse().map_err(|_| format!("--profiled wants an amount, not {amount:?}"))?;
    let begun = Instant::now();
    let mut slept = Duration::ZERO;
    match kind {
        "crowd10" => crowd(10, amount),
        "crowd100" => crowd(100, amount),
        "crowd1000" => crowd(1000, amount),
        "halves" => slept = halves(amount),
        "computes" => steps(amount * 1_000_000),
        "computes-everywhere" => together(cores(), |_| steps(amount * 1_000_000)),
        "sleeps" => std::thread::sleep(Duration::from_millis(10 * amount)),
        "convoy" => convoy(amount),
        "asks" => asks(amount),
        _ => return Err(format!("--profiled knows no {kind:?}")),
    }
    let line = format!("{} {} {}", begun.elapsed().as_secs_f64(), process_cpu().as_secs_f64(), slept.as_secs_f64());
    std::fs::write(file, line).map_err(|error| format!("{file}: {error}"))
}

fn steps(count: u64) {
    let mut x = 88_172_645_463_325_252u64;
    for _ in 0..count {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}

fn together(threads: usize, body: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for index in 0..threads {
            let body = &body;
            scope.spawn(move || body(index));
        }
    });
}

/// All compute the same amount together, however many they are, and pause in between.
fn crowd(threads: u64, millions: u64) {
    together(threads as usize, |_| {
        for _ in 0..ROUNDS {
            steps(millions * 1_000_000 / threads / ROUNDS);
            std::thread::sleep(PAUSE);
        }
    });
}

/// Five milliseconds of computing and five of sleep, in turn; the time asleep by its own clocks.
fn halves(rounds: u64) -> Duration {
    let half = Duration::from_millis(5);
    let mut slept = Duration::ZERO;
    for _ in 0..rounds {
        let until = thread_cpu() + half;
        while thread_cpu() < until {
            steps(10_000);
        }
        let (wall, cpu) = (Instant::now(), thread_cpu());
        std::thread::sleep(half);
        slept += wall.elapsed().saturating_sub(thread_cpu() - cpu);
    }
    slept
}

/// Four threads and one lock, held for a sleep.
fn convoy(rounds: u64) {
    let gate = Mutex::new(0u64);
    together(4, |_| {
        for _ in 0..rounds / 4 {
            let mut held = gate.lock().expect("nobody panics");
            std::thread::sleep(Duration::from_millis(10));
            *held += 1;
        }
    });
}

/// Requests in turn of a server in a process of its own, which thinks for ten milliseconds about each.
fn asks(rounds: u64) {
    let server = std::env::var("ROPEWALK_BENCH_SERVER").expect("the suite starts one");
    let mut stream = TcpStream::connect(server).expect("it listens");
    for _ in 0..rounds {
        stream.write_all(b"?").expect("it reads");
        stream.read_exact(&mut [0]).expect("it answers");
    }
}

/// The server of `asks`, for as long as this process lives; its address.
pub fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut client = client;
                while client.read_exact(&mut [0]).is_ok() {
                    std::thread::sleep(Duration::from_millis(10));
                    if client.write_all(b"!").is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}
