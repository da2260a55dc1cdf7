//! Two threads add one to the same value: lost without a lock, kept with one.
//!
//! Safe Rust does not let two threads write a plain variable, so the loss is shown with an atomic one: each thread
//! loads, waits until the other has loaded too, and stores. Every single step is sound; the update is lost all the same.
//!
//! ```text
//! cargo run --release --example fake_database
//! ```

use ropewalk::ThreadPoolExecutor;
use ropewalk::sync::{Barrier, Mutex};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct FakeDatabase {
    /// A value beside a lock, as in Python: nothing but discipline makes a thread take the lock.
    value: AtomicU32,
    lock: Mutex<()>,
    /// A value inside a lock, as in Rust: there is no way to it but through the lock.
    guarded: Mutex<u32>,
    both_have_read: Barrier,
}

impl FakeDatabase {
    fn new() -> Self {
        Self { value: AtomicU32::new(0), lock: Mutex::new(()), guarded: Mutex::new(0), both_have_read: Barrier::new(2) }
    }

    fn update(&self, name: u32) {
        let local_copy = self.value.load(Ordering::Relaxed);
        println!("Thread {name}: read {local_copy}");
        // In a real program the bad moment comes now and then. Here it comes every time.
        self.both_have_read.wait().expect("nobody breaks this barrier");
        self.value.store(local_copy + 1, Ordering::Relaxed);
        println!("Thread {name}: wrote {}", local_copy + 1);
    }

    fn locked_update(&self, name: u32) {
        let mut value = self.guarded.lock();
        let local_copy = *value;
        println!("Thread {name}: has the lock, read {local_copy}");
        ropewalk::sleep(Duration::from_millis(100));
        *value = local_copy + 1;
        println!("Thread {name}: wrote {}", local_copy + 1);
        // The guard is dropped here and gives the lock back, also when something above panics.
    }

    fn locked_update_by_hand(&self, name: u32) {
        self.lock.acquire();
        let local_copy = self.value.load(Ordering::Relaxed);
        println!("Thread {name}: has the lock, read {local_copy}");
        ropewalk::sleep(Duration::from_millis(100));
        self.value.store(local_copy + 1, Ordering::Relaxed);
        println!("Thread {name}: wrote {}", local_copy + 1);
        // Forgotten, or skipped by a panic above, the other thread would wait for ever.
        self.lock.release();
    }
}

/// Runs `update` on two threads and waits for both. A scope lets the threads borrow what lives outside.
fn on_two_threads(executor: &ThreadPoolExecutor, update: impl Fn(u32) + Sync) {
    let update = &update;
    executor.scope(|scope| {
        for name in 0..2 {
            drop(scope.submit(move || update(name)));
        }
    });
}

fn main() {
    let executor = ThreadPoolExecutor::new(2);

    println!("No lock. Starting value is 0.");
    let database = FakeDatabase::new();
    on_two_threads(&executor, |name| database.update(name));
    println!("No lock. Ending value is {}: one update is lost.\n", database.value.load(Ordering::Relaxed));

    println!("Lock with a guard. Starting value is 0.");
    let database = FakeDatabase::new();
    on_two_threads(&executor, |name| database.locked_update(name));
    println!("Lock with a guard. Ending value is {}.\n", *database.guarded.lock());

    println!("Lock with acquire and release. Starting value is 0.");
    let database = FakeDatabase::new();
    on_two_threads(&executor, |name| database.locked_update_by_hand(name));
    println!("Lock with acquire and release. Ending value is {}.", database.value.load(Ordering::Relaxed));
}
