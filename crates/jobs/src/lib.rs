//! A job queue that loses nothing, embedded by default.

#![deny(unsafe_code)]

pub mod broker;
mod crash;
pub mod dependency;
pub mod job;
mod retry;
pub mod state;
mod unique;

#[cfg(all(unix, feature = "sqlite"))]
pub use broker::SqliteBroker;
pub use broker::{Broker, BrokerError, Enqueued, MemoryBroker};
pub use dependency::{Need, When};
pub use job::{Failure, FailureKind, Job, JobId, NewJob, Time};
pub use retry::Retry;
pub use state::State;
pub use unique::Unique;
