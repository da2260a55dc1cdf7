//! A job queue that loses nothing, embedded by default.

#![deny(unsafe_code)]

pub mod broker;
mod crash;
pub mod dependency;
pub mod job;
mod queue;
mod registry;
mod retry;
pub mod state;
mod unique;
pub mod worker;

#[cfg(all(unix, feature = "sqlite"))]
pub use broker::SqliteBroker;
pub use broker::{Broker, BrokerError, Enqueued, MemoryBroker};
pub use dependency::{Need, When};
pub use job::{Failure, FailureKind, Job, JobId, NewJob, Time};
pub use queue::{Enqueue, Group, JobBuilder, JobHandle, JobQueue};
pub use registry::{Handler, Ran, Registry};
pub use retry::Retry;
pub use state::State;
pub use unique::Unique;
pub use worker::{Model, RunningWorker, Worker};
