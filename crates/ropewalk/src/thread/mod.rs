//! Threads of one's own: spawn, join, names, daemons.
//!
//! # What happens when `main` returns
//!
//! Rust ends a process when `main` returns, whatever its threads are doing. With [`#[ropewalk::main]`](macro@crate::main)
//! it is as Python's users know it: the process waits for the threads that were started here, and for the executors that
//! are still open, unless they are *daemons*, which end with the process wherever they are.
//!
//! ```
//! let thread = ropewalk::thread::Builder::new()
//!     .name("counter")
//!     .spawn(|| (1..=10).sum::<u32>())?;
//! assert_eq!(thread.join()?, 55);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod exit;

pub(crate) use exit::{Close, close_at_exit, run_main};

use crate::spans::{self, On};
use ropewalk_core::park;
use ropewalk_core::task::TaskHandle;
use ropewalk_core::task::harness::{self, drop_quietly};
use std::cell::Cell;
use std::io;

pub use ropewalk_core::park::{sleep, yield_now};

thread_local! {
    static DAEMON: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread and returns the handle to its result.
///
/// A panic in it reaches whoever joins. A thread is never cancelled: [`TaskHandle::cancel`] has no effect on its waits
/// unless it asks for that itself with a [`CancelToken`](crate::CancelToken).
///
/// # Panics
///
/// When the system cannot start a thread; [`Builder::spawn`] returns that as an error.
///
/// # Examples
///
/// ```
/// let thread = ropewalk::thread::spawn(|| 6 * 7);
/// assert_eq!(thread.join().unwrap(), 42);
///
/// let error = ropewalk::thread::spawn(|| panic!("out of hemp")).join().unwrap_err();
/// assert_eq!(error.to_string(), "task panicked: out of hemp");
/// ```
#[track_caller]
pub fn spawn<F, T>(job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(job).expect("the system could not start a thread")
}

/// Whether the calling thread is a daemon: one that nothing waits for at the end of the process.
pub fn current_is_daemon() -> bool {
    DAEMON.get()
}

/// Says what the calling thread is, for those that it starts.
pub(crate) fn mark_daemon(daemon: bool) {
    DAEMON.set(daemon);
}

/// How a thread is started: its name, its stack, whether it is a daemon.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    daemon: Option<bool>,
}

impl Builder {
    /// A thread without a name, with the default stack, daemon if its starter is one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the thread; panics and profilers show it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The size of the stack in bytes; 2 MiB if nothing is said.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether the process may end while the thread runs. As in Python, a thread that says nothing is what the thread
    /// was that started it.
    #[must_use]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = Some(daemon);
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system cannot start one: too many threads, too little memory, or a name with a NUL in it.
    pub fn spawn<F, T>(self, job: F) -> io::Result<TaskHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        crate::io::watch_for_async();
        let work = spans::around(On::Thread, std::any::type_name::<F>(), move || Ok(park::out_of_reach(job)));
        let (task, handle) = harness::new_task(0, work);
        let daemon = self.daemon.unwrap_or_else(current_is_daemon);
        let waited_for = (!daemon).then(exit::NonDaemon::enter);
        self.start(move || {
            mark_daemon(daemon);
            task.run();
            drop_quietly(task);
            drop(waited_for);
        })?;
        Ok(handle)
    }

    /// Starts a bare thread: for workers, whose executor keeps count of them.
    pub(crate) fn start(self, body: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
        let mut builder = std::thread::Builder::new();
        if let Some(name) = self.name {
            if name.contains('\0') {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "thread name contains a NUL byte"));
            }
            builder = builder.name(name);
        }
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(body)
    }
}
