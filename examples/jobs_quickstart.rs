//! Enqueue and work: jobs that survive their process, on a queue in one file, and a state that all of them share.
//!
//! ```text
//! cargo run --release --example jobs_quickstart
//! ```

use ropewalk::State;
use ropewalk_jobs::{Enqueue, JobQueue, SqliteBroker, Worker};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Stands for a pool of connections to a database.
type Accounts = Arc<Mutex<BTreeMap<String, i64>>>;

/// Tried again if it fails, twice at most. The state is lent by the worker; the arguments travel.
#[ropewalk::task(queue = "money", retries = 2, timeout = "10s")]
fn pay_in(accounts: State<Accounts>, name: String, amount: i64) -> Result<i64, String> {
    if amount <= 0 {
        return Err(format!("{amount} is nothing to pay in"));
    }
    let mut accounts = accounts.lock().unwrap();
    let balance = accounts.entry(name).or_default();
    *balance += amount;
    Ok(*balance)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("jobs-quickstart-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let broker = SqliteBroker::open(directory.join("jobs.db"))?;
    let queue = JobQueue::new(broker.clone());

    // On the disk when this returns, although nobody works yet.
    let first = pay_in::call("ada".into(), 40).enqueue(&queue)?;
    let second = pay_in::call("ada".into(), 2).job().after(first.id()).enqueue(&queue)?;

    let accounts = Accounts::default();
    // `.run()` works until Ctrl-C or SIGTERM; `.start()` does so on a thread of its own.
    let worker = Worker::new(broker).queues(["money"]).concurrency(4).state(accounts).register::<pay_in>().start()?;

    println!("after the first: {}", first.join()?);
    println!("after the second: {}", second.join()?);
    worker.stop();
    println!("done: {}", worker.join().done);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
