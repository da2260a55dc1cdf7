//! Work that may crash, in processes: a crash costs the task that crashed, and nobody else notices.
//!
//! ```text
//! cargo run --release --example crash_isolation
//! ```

use ropewalk::process::{Limits, Output};
use ropewalk::{ProcessPoolExecutor, TaskError};
use std::time::{Duration, Instant};

/// A library that does not always come back.
fn parse(document: u32) -> usize {
    match document % 10 {
        3 => std::process::abort(),
        5 => std::process::exit(0),
        7 => panic!("document {document} is torn"),
        _ => document as usize * 100,
    }
}

fn spins(_: ()) -> u32 {
    loop {
        std::hint::spin_loop();
    }
}

// Workers are this program, started once more: the attribute sees to it.
#[ropewalk::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(2)
        .limits(Limits::new().address_space(4 << 30).core_bytes(0))
        .grace(Duration::from_millis(100))
        .output(Output::Null)
        .build()?;

    // One document a chunk: a crash costs that document.
    let (mut parsed, mut torn, mut dead) = (0, 0, 0);
    for outcome in pool.try_map(parse, 0..40).chunk(1) {
        match outcome {
            Ok(_) => parsed += 1,
            Err(TaskError::Panicked(_)) => torn += 1,
            Err(TaskError::WorkerDied { .. }) => dead += 1,
            Err(other) => return Err(other.into()),
        }
    }
    println!("documents: {parsed} parsed, {torn} panicked, {dead} took their worker along");

    // The death says how it was.
    let error = pool.spawn(parse, 3).join().expect_err("it aborts");
    println!("abort    : the text names the signal: {}", error.to_string().contains("SIGABRT"));

    // One that never ends, and does not listen, is ended with its worker.
    let started = Instant::now();
    let endless = pool.spawn(spins, ());
    endless.cancel();
    println!("endless  : {}", endless.join().expect_err("it was cancelled"));
    println!("endless  : ended in time: {}", started.elapsed() < Duration::from_secs(10));

    // The pool goes on.
    println!("pool     : {}", pool.spawn(parse, 4).join()?);
    Ok(())
}
