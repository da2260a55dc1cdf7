//! The suites, each a list of works.

mod greenlet;
mod pool;
#[cfg(feature = "ours")]
mod process;
mod sizing;
mod subprocess;
mod sync;

use crate::harness::Work;

pub use greenlet::{answer_for, load};
#[cfg(feature = "ours")]
pub use sizing::curves;

/// The suites that exist.
pub const NAMES: [&str; 6] = ["sync", "pool", "sizing", "greenlet", "process", "subprocess"];

/// The works of a suite.
pub fn works(suite: &str) -> Vec<Work> {
    match suite {
        "sync" => sync::works(),
        "pool" => pool::works(),
        "sizing" => sizing::works(),
        "greenlet" => greenlet::works(),
        #[cfg(feature = "ours")]
        "process" => process::works(),
        "subprocess" => subprocess::works(),
        _ => Vec::new(),
    }
}
