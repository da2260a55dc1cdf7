//! The suites, each a list of works.

mod greenlet;
mod jobs;
mod pool;
#[cfg(feature = "ours")]
mod process;
#[cfg(all(feature = "ours", target_os = "linux"))]
mod profile;
mod sizing;
mod subprocess;
mod sync;

use crate::harness::Work;

pub use greenlet::{answer_for, load};
pub use jobs::server as redis;
#[cfg(feature = "ours")]
pub use jobs::work_as_told;
#[cfg(all(feature = "ours", target_os = "linux"))]
pub use profile::{run_target, watch};
#[cfg(feature = "ours")]
pub use sizing::curves;

/// The suites that exist.
pub const NAMES: [&str; 8] = ["sync", "pool", "sizing", "greenlet", "process", "subprocess", "jobs", "profile"];

/// The works of a suite.
pub fn works(suite: &str) -> Vec<Work> {
    match suite {
        "sync" => sync::works(),
        "pool" => pool::works(),
        "sizing" => sizing::works(),
        "greenlet" => greenlet::works(),
        #[cfg(feature = "ours")]
        "process" => process::works(),
        #[cfg(all(feature = "ours", target_os = "linux"))]
        "profile" => profile::works(),
        "subprocess" => subprocess::works(),
        "jobs" => jobs::works(),
        _ => Vec::new(),
    }
}
