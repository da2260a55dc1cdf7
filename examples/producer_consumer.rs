//! A fast producer and a slow consumer with a short queue between them, and an end that loses nothing.
//!
//! The queue holds two messages. When it is full, the producer waits: it can never run far ahead of the consumer.
//!
//! ```text
//! cargo run --release --example producer_consumer
//! ```

use ropewalk::sync::Queue;
use ropewalk::sync::queue::{PutError, TryPutError};
use ropewalk::{Submit, TaskError, ThreadPoolExecutor};
use std::sync::Arc;
use std::time::Duration;

const MESSAGES: u32 = 6;

/// Puts messages as fast as it can.
fn producer(queue: &Queue<u32>) -> Result<(), PutError<u32>> {
    for message in 1..=MESSAGES {
        match queue.try_put(message) {
            Ok(()) => {}
            // Only to show it: `put` alone does the same.
            Err(TryPutError::Full(message)) => {
                println!("Producer: queue is full, waits with message {message}");
                queue.put(message)?;
            }
            Err(TryPutError::Shutdown(message)) => return Err(PutError(message)),
        }
        println!("Producer: put message {message}");
    }
    Ok(())
}

/// Takes its time for each message, until the queue is shut down *and* empty.
fn consumer(queue: &Queue<u32>) -> u32 {
    let mut stored = 0;
    for message in queue.iter() {
        println!("Consumer: storing message {message}");
        ropewalk::sleep(Duration::from_millis(200));
        stored += 1;
        queue.task_done();
    }
    println!("Consumer: queue is closed and empty, exiting");
    stored
}

fn main() -> Result<(), TaskError> {
    let queue = Arc::new(Queue::bounded(2));
    let executor = ThreadPoolExecutor::new(2);

    let produced = executor.submit({
        let queue = Arc::clone(&queue);
        move || producer(&queue)
    });
    let consumed = executor.submit({
        let queue = Arc::clone(&queue);
        move || consumer(&queue)
    });

    // `flatten` makes an error of the producer the error of its handle.
    produced.flatten().join()?;
    println!("Main    : everything is put, {} messages are still in the queue", queue.len());

    // The clean end: no more messages go in, the consumer takes what is there, and its loop ends.
    queue.shutdown();
    let stored = consumed.join()?;
    println!("Main    : the consumer stored {stored} of {MESSAGES} messages");

    // Whoever comes too late gets the message back.
    if let Err(PutError(message)) = queue.put(7) {
        println!("Main    : message {message} came too late");
    }
    Ok(())
}
