//! A job again and again: two workers have the same schedule, and each slot of it is run once.
//!
//! ```text
//! cargo run --release --example jobs_cron
//! ```

use ropewalk::{JobContext, State};
use ropewalk_jobs::{Enqueue, MemoryBroker, Missed, Schedule, Worker};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// The ids of the jobs that have run.
type Seen = Arc<Mutex<Vec<String>>>;

#[ropewalk::task]
fn water_the_plants(seen: State<Seen>, job: &JobContext, litres: u32) -> u32 {
    // `cron-plants-` and the time of the slot: the same for whichever worker enqueued it.
    seen.lock().unwrap().push(job.id().expect("a worker runs it").to_owned());
    litres
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = MemoryBroker::new();
    let seen = Seen::default();
    let worker = || -> Result<_, Box<dyn std::error::Error>> {
        // Six fields begin with the second: this is each of them. `30 8 * * mon-fri` is half past eight on weekdays.
        let plants = Schedule::new("plants", "* * * * * *", water_the_plants::call(2).job())?
            .zone("Europe/Berlin")?
            .missed(Missed::Once);
        let worker = Worker::new(broker.clone()).state(Arc::clone(&seen)).register::<water_the_plants>();
        Ok(worker.schedule(plants).start()?)
    };
    let workers = [worker()?, worker()?];
    while seen.lock().unwrap().len() < 3 {
        ropewalk::sleep(std::time::Duration::from_millis(20));
    }
    for worker in workers {
        worker.stop();
        worker.join();
    }
    let seen = seen.lock().unwrap();
    let once: BTreeSet<&String> = seen.iter().collect();
    println!("{} slots of the schedule were run by two workers", once.len().min(3));
    println!("none twice: {}", once.len() == seen.len());
    Ok(())
}
