//! Calls one function for each of many items on a pool of three worker threads.
//!
//! ```text
//! cargo run --release --example thread_pool_map
//! ```

use ropewalk::ThreadPoolExecutor;
use std::time::Duration;

fn thread_function(name: u32) -> u32 {
    println!("Thread {name}: starting");
    ropewalk::sleep(Duration::from_millis(500));
    println!("Thread {name}: finishing");
    name * name
}

fn main() {
    let executor = ThreadPoolExecutor::new(3);

    // `map` is lazy, like every iterator in Rust: the loop is what asks for the results. They come in the order of the
    // items, whichever thread finishes first.
    println!("Main    : map over 0..3");
    for square in executor.map(thread_function, 0..3) {
        println!("Main    : got {square}");
    }

    // When the results do not matter there is nothing to loop over. `for_each` runs everything and waits.
    println!();
    println!("Main    : for_each over 3..6");
    executor.for_each(
        |name| {
            thread_function(name);
        },
        3..6,
    );
    println!("Main    : all done");
    // Here the executor is dropped, which waits for whatever is still running: Python's `with` block.
}
