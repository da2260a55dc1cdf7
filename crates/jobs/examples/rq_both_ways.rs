//! A Python program with rq and this one on the same Redis, each running what the other enqueued.
//!
//! ```text
//! pip install rq
//! cargo run -p ropewalk-jobs --features redis --example rq_both_ways -- redis://127.0.0.1/ python3
//! ```

use ropewalk_jobs::rq::data::Serializer;
use ropewalk_jobs::{JobQueue, RedisBroker, Remote, Worker};
use std::error::Error;
use std::process::Command;

/// What Python knows as `shop.thumb`: there need be no such module in Python.
#[ropewalk::task(name = "shop.thumb")]
fn thumb(id: u64, size: u32) -> String {
    format!("picture {id} at {size} pixels")
}

/// The other program: enqueues for Rust, by position and by name, and waits for the result.
const ENQUEUE: &str = "
import redis, rq, sys
queue = rq.Queue('thumbs', connection=redis.Redis.from_url(sys.argv[1]))
job = queue.enqueue('shop.thumb', 7, size=200)
print('Python got:', job.latest_result(timeout=30).return_value)
";

/// A worker of rq that ends when nothing is left.
const WORK: &str = "
import redis, rq, sys
connection = redis.Redis.from_url(sys.argv[1])
rq.SimpleWorker(['reports'], connection=connection).work(burst=True, logging_level='ERROR')
";

fn python(interpreter: &str, program: &str, url: &str) -> Result<(), Box<dyn Error>> {
    let status = Command::new(interpreter).args(["-c", program, url]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{interpreter} ended with {status}: is rq installed there?").into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1/".to_owned());
    let interpreter = arguments.next().unwrap_or_else(|| "python3".to_owned());
    // What we enqueue is written as rq's default reads it.
    let broker = RedisBroker::at(&url).serializer(Serializer::Pickle).open()?;

    // Python enqueues, Rust runs.
    let worker = Worker::new(broker.clone()).queues(["thumbs"]).register::<thumb>().start()?;
    python(&interpreter, ENQUEUE, &url)?;
    worker.stop();
    worker.join();

    // Rust enqueues, Python runs: any function that Python can import.
    let queue = JobQueue::new(broker);
    let mean = Remote::new("statistics.mean").arg([1.5, 2.5, 5.0]).job::<f64>().queue("reports").enqueue(&queue)?;
    python(&interpreter, WORK, &url)?;
    println!("Rust got: {}", mean.join()?);
    Ok(())
}
