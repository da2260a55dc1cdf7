//! The suites, each a list of works.

mod pool;
mod sync;

use crate::harness::Work;

/// The suites that exist.
pub const NAMES: [&str; 2] = ["sync", "pool"];

/// The works of a suite.
pub fn works(suite: &str) -> Vec<Work> {
    match suite {
        "sync" => sync::works(),
        "pool" => pool::works(),
        _ => Vec::new(),
    }
}
