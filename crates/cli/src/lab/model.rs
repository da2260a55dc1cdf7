//! The seam of the lab: a way to run units of work.
//!
//! A new way is one file below `model/` with one [`Model`] in it, and one line in [`all`]. It gets plain data and returns
//! plain data; it reads no clock, counts nothing and prints nothing: the units report about themselves.
//!
//! One that needs something beside this program (a server) is there when the user names that ([`elsewhere`]).

mod greenlets;
#[cfg(all(unix, feature = "jobs"))]
mod jobs;
#[cfg(target_os = "linux")]
mod processes;
mod sequential;
mod tasks;
mod thread_pool;
mod threads;
mod work_stealing;

use ropewalk::Workers;
use serde::Serialize;

use super::work::{Done, Unit};

/// Who decides when another unit continues on a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Switching {
    /// The operating system, at any moment.
    Os,
    /// The program, where it waits.
    Cooperative,
    /// Nobody: one unit after the other.
    None,
}

impl Switching {
    /// As a table says it.
    pub fn word(self) -> &'static str {
        match self {
            Switching::Os => "os",
            Switching::Cooperative => "co-op",
            Switching::None => "none",
        }
    }
}

/// One way to run units of work.
pub trait Model: Sync {
    /// Its name in tables and in JSON.
    fn name(&self) -> &'static str;

    /// Who decides to switch.
    fn switching(&self) -> Switching;

    /// Whether its units can fetch over TLS.
    fn speaks_https(&self) -> bool {
        true
    }

    /// Runs every unit with [`Unit::perform`] and returns what they reported, in any order.
    fn run(&self, units: Vec<Unit>) -> Vec<Done>;
}

/// All models, the reference first.
pub fn all() -> &'static [&'static dyn Model] {
    &[
        &sequential::Sequential,
        &threads::Threads { name: "threads-5", count: || 5 },
        &threads::Threads { name: "threads-per-core", count: super::cores::available },
        &thread_pool::Pool { name: "thread-pool-160", workers: Workers::Fixed(160) },
        &thread_pool::Pool { name: "thread-pool-auto", workers: Workers::Auto },
        &work_stealing::WorkStealing,
        &greenlets::Greenlets,
        &tasks::Tasks,
        #[cfg(target_os = "linux")]
        &processes::Processes,
        #[cfg(all(unix, feature = "jobs"))]
        &jobs::JobsSqlite,
    ]
}

/// The model for a broker that the user names.
#[cfg(all(unix, feature = "redis"))]
pub fn elsewhere(broker: &str) -> Option<Box<dyn Model>> {
    Some(Box::new(jobs::JobsRedis { url: broker.to_owned() }))
}

/// A build without such brokers.
#[cfg(not(all(unix, feature = "redis")))]
pub fn elsewhere(_: &str) -> Option<Box<dyn Model>> {
    None
}

/// The model that every other is compared with.
pub fn reference() -> &'static dyn Model {
    all()[0]
}

/// The model called `name`.
pub fn named(name: &str) -> Option<&'static dyn Model> {
    all().iter().find(|m| m.name() == name).copied()
}
