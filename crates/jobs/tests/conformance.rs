//! The job queue as an executor: the suites of ropewalk that a remote executor must pass, in memory and in a file.
//!
//! The suites are those of `crates/ropewalk/tests/conformance`, as they stand there.

#![cfg(all(unix, feature = "sqlite"))]
#![allow(dead_code, reason = "what other tiers use of the suites")]

#[path = "../../ropewalk/tests/support/mod.rs"]
mod support;

#[macro_use]
#[path = "../../ropewalk/tests/conformance/list.rs"]
mod list;

#[path = "../../ropewalk/tests/conformance/every.rs"]
mod every;
#[allow(unexpected_cfgs, reason = "features of the crate that it comes from")]
#[path = "../../ropewalk/tests/conformance/subject.rs"]
mod executors;

/// The subjects of this crate, where the suites look for theirs.
mod subject {
    pub(crate) use crate::executors::*;
    pub(crate) use crate::queues::*;
}

#[path = "conformance/queues.rs"]
mod queues;

conforms!(job_queue, JobQueueInMemory: Remote, every);
conforms!(job_queue_in_a_file, JobQueueInAFile: Remote, every);
