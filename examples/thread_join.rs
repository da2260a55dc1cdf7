//! Starts a thread, goes on with other work, and joins the thread to get its result.
//!
//! Then three threads at once, and what a joiner is told when a thread panics.
//!
//! ```text
//! cargo run --release --example thread_join
//! ```

use ropewalk::TaskError;
use std::time::Duration;

/// Stands for some work; its result goes to whoever joins.
fn thread_function(name: u32) -> u32 {
    println!("Thread {name}: starting");
    ropewalk::sleep(Duration::from_millis(300));
    println!("Thread {name}: finishing");
    name * 10
}

fn main() -> Result<(), TaskError> {
    println!("Main    : before creating thread");
    let thread = ropewalk::thread::spawn(|| thread_function(1));

    println!("Main    : wait for the thread to finish");
    let result = thread.join()?;
    println!("Main    : all done, thread 1 returned {result}");

    // Many threads: start them all, then join them all. They sleep at the same time.
    println!();
    let threads: Vec<_> = (2..5).map(|name| ropewalk::thread::spawn(move || thread_function(name))).collect();
    let mut results = Vec::new();
    for thread in threads {
        results.push(thread.join()?);
    }
    println!("Main    : threads 2, 3 and 4 returned {results:?}");

    // A panic ends its own thread and nothing else. Whoever joins is told.
    println!();
    let broken = ropewalk::thread::spawn(|| -> u32 { panic!("no hemp left") });
    match broken.join() {
        Ok(result) => println!("Main    : the thread returned {result}"),
        Err(TaskError::Panicked(panic)) => println!("Main    : the thread panicked: {}", panic.message()),
        Err(other) => return Err(other),
    }
    Ok(())
}
