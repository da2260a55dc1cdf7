//! On what a worker runs its jobs.
//!
//! A new model is one variant here: something that starts a closure and gives a handle. Jobs on a process of their own, which
//! can be killed, come in this place once there are isolated processes to run them.

use ropewalk::executor::ThreadPoolExecutor;
use ropewalk::{Shutdown, Submit as _, TaskHandle};
use ropewalk_core::park;
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
}

/// The model at work.
pub(super) enum Runs {
    Threads(ThreadPoolExecutor),
    #[cfg(unix)]
    Greenlets(ropewalk::GreenletExecutor),
    #[cfg(unix)]
    Async(ropewalk::AsyncExecutor),
}

impl Runs {
    pub(super) fn new(model: Model, concurrency: usize) -> Self {
        #[cfg(unix)]
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match model {
            Model::Threads => {
                let pool = ThreadPoolExecutor::builder().max_workers(concurrency).daemon(true).build();
                Self::Threads(pool.expect("a pool of at least one thread"))
            }
            #[cfg(unix)]
            Model::Greenlets => Self::Greenlets(ropewalk::GreenletExecutor::new(cores().min(concurrency))),
            #[cfg(unix)]
            Model::Async => Self::Async(ropewalk::AsyncExecutor::new(cores().min(concurrency))),
        }
    }

    /// Starts a run, whose waits end at `deadline`.
    pub(super) fn start(&self, deadline: Option<Instant>, run: impl FnOnce() + Send + 'static) -> TaskHandle<()> {
        let submit = || match self {
            Self::Threads(pool) => pool.submit(run),
            #[cfg(unix)]
            Self::Greenlets(hubs) => hubs.submit(run),
            #[cfg(unix)]
            Self::Async(runtime) => runtime.spawn_blocking(run),
        };
        match deadline {
            Some(deadline) => park::with_task_deadline(deadline, submit),
            None => submit(),
        }
    }

    /// Leaves it to those runs that did not end when they were asked to: whoever waits for them may wait for ever. Its
    /// threads end with the process.
    pub(super) fn let_go(self) {
        match &self {
            Self::Threads(pool) => pool.shutdown(Shutdown::Detach),
            #[cfg(unix)]
            Self::Greenlets(hubs) => hubs.shutdown(Shutdown::Detach),
            #[cfg(unix)]
            Self::Async(runtime) => runtime.shutdown(Shutdown::Detach),
        }
        std::mem::forget(self);
    }
}
