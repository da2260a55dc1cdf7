//! Fan out, fan in: files are counted by as many jobs as there are files, and a report runs when all of them have ended.
//!
//! ```text
//! cargo run --release --example jobs_workflow
//! ```

use ropewalk::State;
use ropewalk_jobs::{Enqueue, Group, JobQueue, MemoryBroker, Worker};
use std::sync::{Arc, Mutex};

/// Where the jobs leave their counts.
type Counts = Arc<Mutex<Vec<(String, usize)>>>;

#[ropewalk::task]
fn count_words(counts: State<Counts>, name: String, text: String) -> usize {
    let words = text.split_whitespace().count();
    counts.lock().unwrap().push((name, words));
    words
}

#[ropewalk::task]
fn report(counts: State<Counts>) -> String {
    let mut counts = counts.lock().unwrap().clone();
    counts.sort();
    let lines: Vec<String> = counts.iter().map(|(name, words)| format!("{name} {words}")).collect();
    let total: usize = counts.iter().map(|(_, words)| words).sum();
    format!("{}, together {total}", lines.join(", "))
}

#[ropewalk::task]
fn celebrate() {
    println!("the report is there");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A queue in memory, to try things out; `SqliteBroker::open(..)` in its place keeps the jobs.
    let broker = MemoryBroker::new();
    let queue = JobQueue::new(broker.clone());
    let texts = [("ropes", "hemp and jute"), ("walks", "a long one"), ("yarns", "spun from the rope walk")];

    let parts: Group<_> =
        texts.iter().map(|(name, text)| count_words::call((*name).into(), (*text).into()).job()).collect();
    let all = parts.when_all_done(report::call().job().on_success(celebrate::call().job()));
    // One step: all of them are in the queue, or none.
    let (counts, report_of_all) = all.enqueue(&queue)?;

    let worker = Worker::new(broker).concurrency(3).state(Counts::default());
    let worker = worker.register::<count_words>().register::<report>().register::<celebrate>().burst().start()?;
    for count in counts {
        println!("counted {}", count.join()?);
    }
    println!("{}", report_of_all.expect("the group has a last job").join()?);
    worker.join();
    Ok(())
}
