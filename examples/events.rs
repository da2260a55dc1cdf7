//! One thread sets an event after three seconds; five others wait for it and go on together.
//!
//! ```text
//! cargo run --release --example events
//! ```

use ropewalk::TaskError;
use ropewalk::sync::Event;
use std::time::{Duration, Instant};

static READY: Event = Event::new();

fn setter(start: Instant) {
    println!("{:.2} s  setter  : wait for me, I have something to do", start.elapsed().as_secs_f64());
    ropewalk::sleep(Duration::from_secs(3));
    println!("{:.2} s  setter  : done", start.elapsed().as_secs_f64());
    READY.set();
}

fn waiter(name: u32, start: Instant) {
    println!("{:.2} s  waiter {name}: waits", start.elapsed().as_secs_f64());
    // No loop and no polling: the thread sleeps until the event is set.
    READY.wait();
    println!("{:.2} s  waiter {name}: goes on", start.elapsed().as_secs_f64());
}

fn main() -> Result<(), TaskError> {
    let start = Instant::now();
    let mut threads = vec![ropewalk::thread::spawn(move || setter(start))];
    for name in 0..5 {
        threads.push(ropewalk::thread::spawn(move || waiter(name, start)));
    }

    // A wait with a time limit does not wait longer than that.
    if let Err(interrupted) = READY.wait_timeout(Duration::from_secs(1)) {
        println!("{:.2} s  main    : looked in, {interrupted}", start.elapsed().as_secs_f64());
    }

    for thread in threads {
        thread.join()?;
    }

    // Once set, an event stays set: waiting for it takes no time.
    READY.wait();
    println!("{:.2} s  main    : all done", start.elapsed().as_secs_f64());
    Ok(())
}
