//! Async tasks: all of them at once, a group that fails together, a time limit, and work that blocks.
//!
//! ```text
//! cargo run --release --example async_gather
//! ```

use ropewalk::greenlet::gather;
use ropewalk::task::TaskGroup;
use ropewalk::{AsyncExecutor, Submit};
use std::error::Error;
use std::num::ParseIntError;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const NAP: Duration = Duration::from_millis(100);

async fn count(name: u32) -> u32 {
    println!("Task {name}: one");
    sleep(NAP).await;
    println!("Task {name}: two");
    name * 10
}

/// What a task holds is given back when it is cancelled: its future is dropped, and this with it.
struct Slot(u32);

impl Drop for Slot {
    fn drop(&mut self) {
        println!("Task {}: gave back what it held", self.0);
    }
}

async fn long(slot: Slot) -> u32 {
    sleep(Duration::from_secs(3600)).await;
    slot.0
}

/// A function that blocks, or fails, or both: as a task it runs on a thread where blocking is right.
#[ropewalk::task]
fn parse(text: String) -> Result<u32, ParseIntError> {
    ropewalk::sleep(NAP);
    text.parse()
}

async fn program(executor: &AsyncExecutor) -> Result<(), Box<dyn Error>> {
    // A task runs from its `submit` on. `gather` waits for all and keeps their order.
    let start = Instant::now();
    let all = gather((0..3).map(|name| executor.submit(count(name)))).await?;
    println!("gather  : {all:?}, their naps took {:.1} s together\n", start.elapsed().as_secs_f64());

    // In a group the first failure cancels the others, and nothing is left behind.
    let mut group = TaskGroup::new();
    group.add(executor.submit(long(Slot(3))));
    group.add(executor.submit(parse::call("4 strands".to_owned())));
    if let Err(error) = group.join_async().await {
        println!("group   : {error}\n");
    }

    // A time limit ends the wait. To end the task too, cancel it.
    let mut slow = executor.submit(long(Slot(5)));
    if timeout(NAP, &mut slow).await.is_err() {
        println!("timeout : task 5 is not finished: {}", !slow.is_finished());
        slow.cancel();
        let ended = slow.await;
        println!("timeout : task 5 ended as cancelled: {}\n", ended.is_err_and(|error| error.is_cancelled()));
    }

    // What blocks or computes for long would stop other tasks; here it does not.
    let this_program = std::env::current_exe()?;
    let bytes = executor.spawn_blocking(move || std::fs::read(this_program)).await??.len();
    println!("blocking: this program is a file of {bytes} bytes");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let executor = AsyncExecutor::new(2);
    executor.block_on(program(&executor))
} // Dropping the executor waits for its tasks.
