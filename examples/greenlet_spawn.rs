//! Starts greenlets in three ways (a function, a closure that gives a number, a builder that gives a name), and joins them.
//!
//! Then a few that share an `Rc`, which no thread could: they never leave the thread they started on.
//!
//! ```text
//! cargo run --release --example greenlet_spawn
//! ```

use ropewalk::greenlet::{self, Builder, join_all};
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

fn foo(message: &str, millis: u64) {
    println!("foo     : starts, and naps for {millis} ms");
    // While one greenlet sleeps, the others run.
    ropewalk::sleep(Duration::from_millis(millis));
    println!("foo     : {message}");
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn Error>> {
    // A function with its arguments; a closure with a result; one with a name, which every report about it shows.
    let hello = greenlet::spawn(|| foo("Hello", 50));
    let alive = greenlet::spawn(|| {
        foo("I live!", 100);
        2 + 1
    });
    let named = Builder::new().name("splicer").stack_size(1 << 20).spawn(|| {
        let me = greenlet::current().expect("a greenlet calls");
        println!("{} : knows its name", me.name().unwrap_or("nobody"));
        me.name().map(str::len)
    })?;
    println!("main    : three are spawned, none has started");

    // Handles of different types in a tuple, results in a tuple.
    let ((), number, length) = join_all((hello, alive, named))?;
    println!("main    : got {number} and {length:?}\n");

    // `spawn` takes what could also go to another thread, `spawn_local` takes anything.
    let rope = Rc::new(RefCell::new(Vec::new()));
    let strands = ["hemp", "jute", "sisal"].map(|strand| {
        let rope = Rc::clone(&rope);
        greenlet::spawn_local(move || {
            rope.borrow_mut().push(strand);
            ropewalk::yield_now(); // the next one's turn
            rope.borrow_mut().push(strand);
        })
    });
    join_all(strands)?;
    println!("main    : the rope is {}", rope.borrow().join(" "));
    Ok(())
}
