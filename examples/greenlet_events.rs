//! One greenlet sets an event after a while; five others wait for it. All of them run on one thread.
//!
//! ```text
//! cargo run --release --example greenlet_events
//! ```

use ropewalk::sync::Event;
use ropewalk::{TaskError, greenlet};
use std::collections::HashSet;
use std::thread::{ThreadId, current};
use std::time::{Duration, Instant};

static READY: Event = Event::new();

fn setter(start: Instant) -> ThreadId {
    println!("{:.2} s  setter  : wait for me, I have something to do", start.elapsed().as_secs_f64());
    ropewalk::sleep(Duration::from_millis(500));
    println!("{:.2} s  setter  : done", start.elapsed().as_secs_f64());
    READY.set();
    current().id()
}

fn waiter(name: u32, start: Instant) -> ThreadId {
    println!("{:.2} s  waiter {name}: waits", start.elapsed().as_secs_f64());
    READY.wait();
    println!("{:.2} s  waiter {name}: goes on", start.elapsed().as_secs_f64());
    current().id()
}

#[ropewalk::main]
fn main() -> Result<(), TaskError> {
    let start = Instant::now();
    let mut greenlets = vec![greenlet::spawn(move || setter(start))];
    greenlets.extend((0..5).map(|name| greenlet::spawn(move || waiter(name, start))));

    // They start when this one waits, in the order in which they were spawned, and are woken in the order of their waits.
    let threads: HashSet<ThreadId> = greenlet::join_all(greenlets)?.into_iter().collect();
    println!("{:.2} s  main    : all done on {} thread", start.elapsed().as_secs_f64(), threads.len());
    Ok(())
}
