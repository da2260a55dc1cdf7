//! Integration tests of that crate.

use ropewalk::process::Process;
use ropewalk::{ProcessPoolExecutor, TaskError, ipc};

ropewalk::test_support!();

#[test]
fn through_the_crate() {
    assert_eq!(downstream::squares(2, 1..=3), 14);
}

#[test]
fn a_death_is_one_task() {
    let pool = ProcessPoolExecutor::new(1).expect("a pool");
    let dies = pool.spawn(|_: u8| -> u8 { std::process::abort() }, 0);
    assert!(matches!(dies.join(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(pool.spawn(|n: u8| n, 7).join().expect("the next one"), 7);
}

#[test]
fn spawned_and_shared() {
    let total = ipc::SharedValue::new(40_u64).expect("memory");
    let adds = |total: ipc::SharedValue<u64>| total.set(total.get() + 2);
    Process::spawn(adds, total.clone()).expect("a process").join().expect("it ends");
    assert_eq!(total.get(), 42);
}
