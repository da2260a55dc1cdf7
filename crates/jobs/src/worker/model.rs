//! On what a worker runs its jobs.
//!
//! A model is something that starts a closure and gives a handle. Processes are different, because no closure goes there: what
//! they are sent is a function of the program, made for the task when it was registered ([`crate::apart`]).

use super::Config;
use super::relay::Relay;
use ropewalk::executor::ThreadPoolExecutor;
use ropewalk::{Shutdown, Submit as _, TaskHandle};
use ropewalk_core::park;
use std::io;
use std::time::Instant;

/// On what a worker runs its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Model {
    /// A thread for each job that runs at once. For everything.
    #[default]
    Threads,
    /// A greenlet for each, on one hub a core: thousands at once, of jobs that wait through ropewalk. On Unix.
    #[cfg(unix)]
    Greenlets,
    /// The blocking threads of an async runtime, where `ropewalk::block_on` drives futures. On Unix.
    #[cfg(unix)]
    Async,
    /// A process for each job that runs at once: this program, started once more, so `main` begins with `ropewalk::init()`. What is
    /// stopped or too late is killed, and a crash costs one run. [`Worker::processes`](super::Worker::processes) says more about
    /// them. On Linux.
    #[cfg(all(target_os = "linux", feature = "process"))]
    Processes,
}

/// The model at work.
pub(super) enum Runs {
    Threads(Relay),
    #[cfg(unix)]
    Greenlets(ropewalk::GreenletExecutor),
    #[cfg(unix)]
    Async(ropewalk::AsyncExecutor),
    #[cfg(all(target_os = "linux", feature = "process"))]
    Processes(ropewalk::ProcessPoolExecutor),
}

impl Runs {
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let concurrency = config.concurrency;
        #[cfg(unix)]
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(match config.model {
            Model::Threads => {
                let pool = ThreadPoolExecutor::builder().max_workers(concurrency).daemon(true).build();
                Self::Threads(Relay::new(pool.expect("a pool of at least one thread")))
            }
            #[cfg(unix)]
            Model::Greenlets => Self::Greenlets(ropewalk::GreenletExecutor::new(cores().min(concurrency))),
            #[cfg(unix)]
            Model::Async => Self::Async(ropewalk::AsyncExecutor::new(cores().min(concurrency))),
            #[cfg(all(target_os = "linux", feature = "process"))]
            Model::Processes => {
                if let Some(task) = config.registry.names().find(|task| config.registry.apart(task).is_none()) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!(
                            "the task {task} cannot run in a process of its own: its handler is no function of the program. Register \
                             it with `register::<task>()`, or run it on threads"
                        ),
                    ));
                }
                let builder = ropewalk::ProcessPoolExecutor::builder().max_workers(concurrency);
                let builder = match &config.processes {
                    Some(build) => build(builder),
                    None => builder,
                };
                // None lies behind another: there its timeout and its stop would have to wait.
                Self::Processes(builder.window(1).build().map_err(io::Error::other)?)
            }
        })
    }

    /// Starts a run, whose waits end at `deadline`.
    pub(super) fn start(&self, deadline: Option<Instant>, run: impl FnOnce() + Send + 'static) -> TaskHandle<()> {
        match self {
            Self::Threads(relay) => relay.start(deadline, run),
            #[cfg(unix)]
            Self::Greenlets(hubs) => within(deadline, || hubs.submit(run)),
            #[cfg(unix)]
            Self::Async(runtime) => within(deadline, || runtime.spawn_blocking(run)),
            #[cfg(all(target_os = "linux", feature = "process"))]
            Self::Processes(_) => unreachable!("no closure goes to a process"),
        }
    }

    /// The pool of processes, if that is what they run on.
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub(super) fn processes(&self) -> Option<&ropewalk::ProcessPoolExecutor> {
        match self {
            Self::Processes(pool) => Some(pool),
            _ => None,
        }
    }

    /// Leaves it to those runs that did not end when they were asked to: whoever waits for them may wait for ever. Its
    /// threads end with the process.
    pub(super) fn let_go(self) {
        match &self {
            Self::Threads(relay) => relay.let_go(),
            #[cfg(unix)]
            Self::Greenlets(hubs) => hubs.shutdown(Shutdown::Detach),
            #[cfg(unix)]
            Self::Async(runtime) => runtime.shutdown(Shutdown::Detach),
            // These can be ended.
            #[cfg(all(target_os = "linux", feature = "process"))]
            Self::Processes(pool) => return pool.shutdown(Shutdown::Kill),
        }
        std::mem::forget(self);
    }
}

/// Submits something whose time is over at `deadline`.
pub(super) fn within<T>(deadline: Option<Instant>, submit: impl FnOnce() -> T) -> T {
    match deadline {
        Some(deadline) => park::with_task_deadline(deadline, submit),
        None => submit(),
    }
}
