//! The lines that `profile` recommends to a Rust program compile against ropewalk and do the work. (Those for other languages
//! are run by the profile's own tests; it never imports what it measures.)
#![cfg(target_os = "linux")]
// The recommended lines stand here as they are printed, imports included.
#![allow(clippy::items_after_statements)]

use ropewalk_profile::advice::{divide, off_the_loop, overlap};
use ropewalk_profile::verdict::Language;

fn work(n: u64) -> u64 {
    n * n
}

/// The recommendation, line by line, is part of this file.
fn stands_here(code: &str) {
    let here: Vec<&str> = include_str!("profile_advice.rs").lines().map(str::trim).collect();
    for line in code.lines().map(str::trim).filter(|l| !l.is_empty()) {
        assert!(here.contains(&line), "`{line}` is recommended and not compiled here");
    }
}

#[test]
fn overlapping_waits() {
    stands_here(&overlap(Language::Rust, 8));
    let items = 0..20;
    use ropewalk::ThreadPoolExecutor;

    let pool = ThreadPoolExecutor::new(8);
    let results: Vec<_> = pool.map(work, items).collect();
    drop(pool);
    assert_eq!(results.len(), 20);
}

#[test]
fn dividing_computing() {
    stands_here(&divide(Language::Rust, 2));
    let items = 0..20;
    use ropewalk::ThreadPoolExecutor;

    let pool = ThreadPoolExecutor::new(2);
    let results: Vec<_> = pool.map(work, items).collect();
    drop(pool);
    assert_eq!(results.len(), 20);
}

#[test]
fn computing_beside_a_loop() {
    stands_here(&off_the_loop(Language::Rust, 2));
    async fn answer(item: u64) -> Result<u64, tokio::task::JoinError> {
        let result = tokio::task::spawn_blocking(move || work(item)).await?;
        Ok(result)
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(answer(5)).expect("no panic"), 25);
}
