//! The thread part of CPython's `test_concurrent_futures`, case by case, in our words.
//!
//! What has no counterpart here is listed with its reason in `cpython/known_differences.md`.

mod support;

#[path = "cpython/as_completed.rs"]
mod as_completed;
#[path = "cpython/deadlock.rs"]
mod deadlock;
#[path = "cpython/executor.rs"]
mod executor;
#[path = "cpython/future.rs"]
mod future;
#[path = "cpython/shutdown.rs"]
mod shutdown;
#[path = "cpython/wait.rs"]
mod wait;
