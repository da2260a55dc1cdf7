//! What happens to threads that are still running when `main` returns.
//!
//! `#[ropewalk::main]` waits for ordinary threads and ends daemon threads with the program, as Python does. Without the
//! attribute a Rust program ends all its threads as soon as `main` returns.
//!
//! ```text
//! cargo run --release --example daemon_thread
//! ```

use std::io;
use std::time::Duration;

fn thread_function(name: &str, time: Duration) {
    println!("Thread {name}: starting");
    ropewalk::sleep(time);
    println!("Thread {name}: finishing");
}

#[ropewalk::main]
fn main() -> io::Result<()> {
    // A daemon: nobody waits for it. This one would go on for an hour.
    let daemon = ropewalk::thread::Builder::new()
        .name("daemon")
        .daemon(true)
        .spawn(|| thread_function("daemon", Duration::from_secs(3600)))?;

    // An ordinary thread: the program waits for it.
    let ordinary = ropewalk::thread::Builder::new()
        .name("ordinary")
        .spawn(|| thread_function("ordinary", Duration::from_millis(500)))?;

    // Nobody joins. A handle that is dropped lets its thread go on by itself.
    drop((daemon, ordinary));
    println!("Main    : returns");
    Ok(())
}
