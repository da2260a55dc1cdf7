//! What processes share: a counter, a lock whose owner dies, and a channel for the results.
//!
//! ```text
//! cargo run --release --example shared_counter
//! ```

use ropewalk::ipc::{self, SharedValue};
use ropewalk::process::{Limits, Process};
use std::sync::atomic::Ordering;

/// Two sums that are equal whenever nobody has the lock.
type Sums = ipc::Mutex<[u64; 2]>;

fn counts((counter, sums, results): (SharedValue<u64>, Sums, ipc::Sender<u32>)) {
    for _ in 0..1000 {
        // One word needs no lock.
        counter.as_atomic().fetch_add(1, Ordering::Relaxed);
        // Two do.
        let mut sums = sums.lock().expect("nobody has died yet");
        sums[0] += 1;
        sums[1] += 1;
    }
    results.send(std::process::id()).expect("somebody listens");
}

/// Dies between the two.
fn dies(sums: Sums) {
    let mut sums = sums.lock().expect("nobody has died yet");
    sums[0] += 1;
    std::process::abort();
}

// A process is this program, started once more: the attribute sees to it.
#[ropewalk::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (counter, sums) = (SharedValue::new(0_u64)?, Sums::new([0, 0])?);
    let (sender, results) = ipc::channel()?;
    let processes = (0..4)
        .map(|_| Process::spawn(counts, (counter.clone(), sums.clone(), sender.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    // Ours is not one of those that the loop waits for.
    drop(sender);
    println!("processes: {} said that they are done", results.iter().count());
    for process in processes {
        process.join()?;
    }
    println!("counter  : {}", counter.get());
    println!("sums     : {:?}", *sums.lock().expect("nobody has died yet"));

    let crash = Process::builder().limits(Limits::new().core_bytes(0)).spawn(dies, sums.clone())?;
    println!("crash    : {}", ropewalk::process::returncode(crash.wait()).expect("a status"));
    let mut sums = match sums.lock() {
        Ok(_) => return Err("the lock did not tell of the death".into()),
        Err(died) => {
            println!("lock     : {died}");
            died.repair()
        }
    };
    println!("sums     : {:?}", *sums);
    sums[1] = sums[0];
    println!("repaired : {:?}", *sums);
    Ok(())
}
