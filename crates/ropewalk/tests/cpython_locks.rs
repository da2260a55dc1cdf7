//! CPython's `lock_tests`, case by case, in our words: Lock, RLock, Event, Condition, Semaphore, Barrier.
//!
//! What has no counterpart here is listed with its reason in `cpython/known_differences.md`; the test
//! `every_case_is_answered` in `cpython_cases.rs` holds the list to the letter.

mod support;

#[path = "cpython/barrier.rs"]
mod barrier;
#[path = "cpython/condition.rs"]
mod condition;
#[path = "cpython/event.rs"]
mod event;
#[path = "cpython/lock.rs"]
mod lock;
#[path = "cpython/semaphore.rs"]
mod semaphore;
