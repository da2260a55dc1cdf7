//! Threads, greenlets and async tasks share one lock and one queue, and at the end every count is exact.
//!
//! The lock and the queue are those of `ropewalk::sync`, made once. Who waits for them may be of any kind: threads and
//! greenlets call `lock` and `put`, tasks await `lock_async` and `put_async`.
//!
//! ```text
//! cargo run --release --example mixed_strands
//! ```

use ropewalk::sync::queue::PutError;
use ropewalk::sync::{Mutex, Queue};
use ropewalk::{AsyncExecutor, Submit, greenlet};
use std::error::Error;
use std::sync::Arc;

const STRANDS: usize = 4;
const ITEMS: usize = 1_000;

struct Shared {
    count: Mutex<usize>,
    /// Sixteen places: whoever is too fast waits.
    queue: Queue<usize>,
}

fn produce(shared: &Shared) -> Result<(), PutError<usize>> {
    for item in 0..ITEMS {
        *shared.count.lock() += 1;
        shared.queue.put(item)?;
    }
    Ok(())
}

async fn produce_async(shared: Arc<Shared>) -> Result<(), PutError<usize>> {
    for item in 0..ITEMS {
        *shared.count.lock_async().await += 1;
        shared.queue.put_async(item).await?;
    }
    Ok(())
}

/// Gets items until the queue is shut down; returns how many, and their sum.
fn consume(shared: &Shared) -> (usize, usize) {
    shared.queue.iter().fold((0, 0), |(items, sum), item| (items + 1, sum + item))
}

async fn consume_async(shared: Arc<Shared>) -> (usize, usize) {
    let (mut items, mut sum) = (0, 0);
    while let Ok(item) = shared.queue.get_async().await {
        (items, sum) = (items + 1, sum + item);
    }
    (items, sum)
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn Error>> {
    let shared = Arc::new(Shared { count: Mutex::new(0), queue: Queue::bounded(16) });
    let again = || Arc::clone(&shared);
    let executor = AsyncExecutor::new(2);

    // One consumer of each kind. Whatever runs a strand, its handle is the same type.
    let (a, b, c) = (again(), again(), again());
    let consumers = [
        ("thread", ropewalk::thread::spawn(move || consume(&a))),
        ("greenlet", greenlet::spawn(move || consume(&b))),
        ("task", executor.submit(consume_async(c))),
    ];
    let mut producers = Vec::new();
    for _ in 0..STRANDS {
        let (a, b, c) = (again(), again(), again());
        producers.push(ropewalk::thread::spawn(move || produce(&a)));
        producers.push(greenlet::spawn(move || produce(&b)));
        producers.push(executor.submit(produce_async(c)));
    }
    let number = producers.len();
    println!("{number} producers of three kinds, {ITEMS} items each");

    for producer in producers {
        producer.join()??;
    }
    shared.queue.shutdown(); // what is inside can still be got
    let (mut items, mut sum) = (0, 0);
    for (kind, consumer) in consumers {
        let (its_items, its_sum) = consumer.join()?;
        println!("the consumer on a {kind:<8} got {its_items:>5}");
        (items, sum) = (items + its_items, sum + its_sum);
    }
    println!("count {} of {}", *shared.count.lock(), number * ITEMS);
    println!("items {items} of {}, sum {sum} of {}", number * ITEMS, number * (ITEMS - 1) * ITEMS / 2);
    Ok(())
}
