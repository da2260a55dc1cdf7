//! What every executor does, and what each tier of executors does: one suite of hazards, written once.
//!
//! A hazard is a function that is generic in its [`Subject`](subject::Subject). What a subject can do is said by its types
//! (its tier, whether its jobs wait for their turn, whether they are closures), and each instance below takes all the hazards
//! of the suites it names, when the tests are compiled: nothing is skipped when they run.
//!
//! | suite | its hazards need | held by |
//! | --- | --- | --- |
//! | `every` | calls of `#[ropewalk::task]` functions | every executor there is |
//! | `isolated` | an executor whose workers can be reached: they can be told to stop | not by a remote queue |
//! | `in_process` | jobs that share memory with their submitter | not by other processes |
//! | `deferred` | the same, and that a job may have to wait for its turn | not by the inline executor |
//! | `closures` | jobs that are closures; also borrowing ones | not by the async executor |
//!
//! The executor of the remote tier, the job queue, is in a crate above this one, which has its own instance of the same suites:
//! `crates/jobs/tests/conformance.rs`.
//!
//! [`InlineExecutor`](ropewalk::InlineExecutor) is the reference: what a program of jobs gives there, it gives everywhere.

#![cfg(all(unix, feature = "macros", feature = "greenlet"))]

mod support;

#[macro_use]
#[path = "conformance/list.rs"]
mod list;

// Workers are this program, started once more.
#[cfg(all(target_os = "linux", feature = "process"))]
ropewalk::test_support!();

#[path = "conformance/closures.rs"]
mod closures;
#[path = "conformance/deferred.rs"]
mod deferred;
#[path = "conformance/every.rs"]
mod every;
#[path = "conformance/in_process.rs"]
mod in_process;
#[path = "conformance/isolated.rs"]
mod isolated;
#[path = "conformance/subject.rs"]
mod subject;

conforms!(inline, Inline: InProcess, every, isolated, in_process, closures);
conforms!(threads, Threads: InProcess, every, isolated, in_process, deferred, closures);
conforms!(greenlets, Greenlets: InProcess, every, isolated, in_process, deferred, closures);
conforms!(async_tasks, AsyncTasks: InProcess, every, isolated, in_process, deferred);
#[cfg(all(target_os = "linux", feature = "process"))]
conforms!(processes, Processes: Isolated, every, isolated);
// Until there is an executor of this tier; and where there are no processes.
conforms!(elsewhere, Elsewhere: Isolated, every, isolated);
