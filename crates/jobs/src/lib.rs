//! A job queue that loses nothing, embedded by default: calls that outlive their process.
//!
//! ```
//! use ropewalk_jobs::{Enqueue, JobQueue, SqliteBroker, Worker};
//!
//! #[ropewalk::task(retries = 3)]
//! fn thumb(path: String, size: u32) -> u64 {
//!     path.len() as u64 * u64::from(size)
//! }
//!
//! # let directory = std::env::temp_dir().join(format!("ropewalk-jobs-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let file = directory.join("jobs.db");
//! let broker = SqliteBroker::open(file)?; // one file, any number of processes
//! let queue = JobQueue::new(broker.clone());
//! let handle = thumb::call("a.png".into(), 64).enqueue(&queue)?; // on the disk when this returns
//!
//! let worker = Worker::new(broker).concurrency(4).register::<thumb>().start()?; // `.run()` works until Ctrl-C
//! assert_eq!(handle.join()?, 320);
//! # drop(worker);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | I want | look at |
//! | --- | --- |
//! | make a job of a call, with a delay, an order, a key | [`Enqueue`], [`JobBuilder`] |
//! | a job of a function that is not in this program, in Python for instance | [`Remote`] |
//! | several together, and one when all have ended | [`Group`] |
//! | the queue where any executor fits | [`JobQueue`] |
//! | run jobs | [`Worker`] |
//! | know what a job goes through | [`state`] |
//! | run them in processes that can be killed | `Worker::processes` (feature `process`, on Linux) |
//! | run something every night | `Schedule` (feature `cron`) |
//! | watch a worker from outside | `Worker::serve_metrics` (feature `metrics`) |
//! | keep jobs elsewhere | [`Broker`] |
//!
//! What is delivered, and what is not, is a page of the guide: *Jobs: what is delivered*.
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `sqlite` | yes | [`SqliteBroker`]; SQLite is compiled with it. On Unix |
//! | `redis` | no | `RedisBroker`: many machines, and python-rq's programs beside ours; `rq`: the form in which it keeps jobs |
//! | `process` | yes | jobs in processes of their own. On Linux |
//! | `cron` | no | `Schedule`, and the time zones of the world |
//! | `metrics` | no | `Worker::serve_metrics` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(all(target_os = "linux", feature = "process"))]
mod apart;
mod arguments;
#[cfg(feature = "redis")]
pub mod audit;
pub mod broker;
mod crash;
#[cfg(feature = "cron")]
pub mod cron;
pub mod dependency;
pub mod job;
mod queue;
mod registry;
mod retry;
#[cfg(feature = "redis")]
pub mod rq;
pub mod state;
mod unique;
pub mod worker;

#[cfg(all(target_os = "linux", feature = "process"))]
pub use apart::lend;
#[cfg(feature = "redis")]
pub use broker::RedisBroker;
#[cfg(all(unix, feature = "sqlite"))]
pub use broker::SqliteBroker;
pub use broker::{Broker, BrokerError, Enqueued, MemoryBroker};
#[cfg(feature = "cron")]
pub use cron::{Missed, Schedule};
pub use dependency::{Need, When};
pub use job::{Failure, FailureKind, Job, JobId, NewJob, Time};
pub use queue::{Enqueue, Group, JobBuilder, JobHandle, JobQueue, Remote};
pub use registry::{Handler, Ran, Registry};
pub use retry::Retry;
pub use state::State;
pub use unique::Unique;
pub use worker::{Model, RunningWorker, Worker};
