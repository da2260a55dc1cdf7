//! Greenlets: cooperative strands with stacks of their own, in gevent's spirit.
//!
//! A greenlet is a function that runs on a small stack of its own and gives up its thread whenever it waits: for an
//! event, a queue, a socket of [`net`](crate::net), a sleep, or any future through [`block_on`](crate::block_on). Code
//! reads as if it blocked; a thread runs as many greenlets as there is memory, a page each.
//!
//! ```
//! use ropewalk::{greenlet, sync::Queue};
//!
//! ropewalk::run(|| {
//!     let queue = std::sync::Arc::new(Queue::bounded(2));
//!     let producer = greenlet::spawn({
//!         let queue = queue.clone();
//!         move || (1..=3).for_each(|n| queue.put(n).unwrap())
//!     });
//!     let consumer = greenlet::spawn(move || (0..3).map(|_| queue.get().unwrap()).sum::<i32>());
//!     producer.join().unwrap();
//!     assert_eq!(consumer.join().unwrap(), 6);
//! });
//! ```
//!
//! # The contract
//!
//! *Pinned.* A greenlet never leaves the thread on which it started. What it holds over a wait may be anything: an `Rc`,
//! a `RefCell` (borrowed by two greenlets it panics, as always), the address of a thread-local.
//!
//! *Cooperative.* A greenlet that computes for long, or calls something that blocks the thread (a lock of std's, a
//! blocking client of another crate, [`std::thread::sleep`]), stops the other greenlets of its hub. Compute and block in
//! [`offload`] or on a pool.
//!
//! *The one hole.* A library may keep a pointer to a stack frame in a thread-local while a closure of yours runs, and
//! put the old one back afterwards, as `scoped-tls` does. Two greenlets of one hub that wait inside such closures put
//! them back in the wrong order, and the pointer leads to a frame that is gone. That is memory-unsafe without a line of
//! `unsafe` on your side, every stackful coroutine in Rust has it today, and it is why we say *pinned* and not *sound*.
//! Wrap such closures in [`no_switch`]: inside it a wait panics instead of switching; or, where you can get at the pointer,
//! in [`with_switch_hook`], which puts it away while the greenlet is not there.
//!
//! *Unwinding.* A greenlet that is cancelled unwinds from the wait it is in and runs its destructors. Where panics abort
//! it cannot: a wait there goes on as if nobody had asked, the `_timeout` verbs say
//! [`Cancelled`](crate::Interrupted::Cancelled), and [`is_cancelled`](crate::task::is_cancelled) tells who asks; a hub
//! waits at its end for those who wait. A frame of C between the wait and the beginning of the greenlet (a callback that is
//! an `extern "C" fn`) cannot be unwound anywhere: Rust ends the process there. Catch the unwind inside such a callback;
//! the greenlet meets it again at its next wait. While a greenlet unwinds it does not switch: what its
//! destructors wait for, they wait for as the whole thread.

mod async_result;
mod asynchronous;
#[cfg(target_os = "linux")]
mod backtrace;
mod executor;
mod group;
mod hub;
mod local;
mod scope;
mod wait;
mod watch;

pub use crate::io::TokioHandle;
pub use async_result::{AlreadySet, AsyncResult};
pub use asynchronous::AsyncExecutor;
pub use executor::{Builder as ExecutorBuilder, GreenletExecutor};
pub use group::{Group, Pool};
pub use hub::run;
pub use local::LocalKey;
pub use ropewalk_core::strand::{StackError, SwitchHook, in_greenlet, no_switch, with_switch_hook};
pub use scope::{Scope, scope};
pub use wait::{Handles, Sequence, Tuple, gather, iwait, join_all, kill_all, wait_any};

pub(crate) use watch::dump;
pub use watch::{dump_on_sigquit, set_reports};

use crate::executor::{Submit, ThreadPoolExecutor};
use crate::task::{CancelToken, Interrupted, TaskHandle};
use ropewalk_core::strand::{self, Extra};
use std::panic::Location;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Starts a greenlet on this thread's hub and returns the handle to its result.
///
/// It begins when the caller next waits or ends, after those spawned before it.
///
/// # Panics
///
/// On a thread that is no hub.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet;
///
/// let answer = ropewalk::run(|| greenlet::spawn(|| 6 * 7).join().unwrap());
/// assert_eq!(answer, 42);
/// ```
#[doc(alias = "go")]
#[track_caller]
pub fn spawn<F, T>(job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    hub::spawn_with(None, job)
}

/// [`spawn`] for a job, or a result, that may not be sent to another thread. The handle stays on this thread if the
/// result must.
///
/// [`cancel`](TaskHandle::cancel) on such a handle answers false also before the greenlet has started: it ends when its
/// hub comes to it.
///
/// # Panics
///
/// On a thread that is no hub.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet;
/// use std::{cell::Cell, rc::Rc};
///
/// ropewalk::run(|| {
///     let count = Rc::new(Cell::new(0));
///     let handles: Vec<_> = (0..3)
///         .map(|_| {
///             let count = Rc::clone(&count);
///             greenlet::spawn_local(move || count.set(count.get() + 1))
///         })
///         .collect();
///     greenlet::join_all(handles).unwrap();
///     assert_eq!(count.get(), 3);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F, T>(job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    hub::spawn_local_with(None, job)
}

/// Starts a greenlet that first sleeps for `delay`. Cancelled before, it never runs `job`.
///
/// # Panics
///
/// On a thread that is no hub.
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    hub::spawn_with(None, move || {
        crate::sleep(delay);
        job()
    })
}

/// Runs `body` for at most `limit`: when that is over, the wait which `body` is in ends, `body` unwinds, and the answer is
/// [`Interrupted::TimedOut`]. On any strand that waits through ropewalk.
///
/// A body that returns is in time, however late it is; one that computes without waiting is not interrupted. Limits nest:
/// the outer one ends the inner body too. It is [`CancelToken::with_timeout`](crate::CancelToken::with_timeout) in one
/// call, and gevent's `with Timeout(..)`.
///
/// # Errors
///
/// [`Interrupted::TimedOut`].
///
/// # Panics
///
/// When `body` does.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::timeout;
/// use std::time::Duration;
///
/// let never = ropewalk::sync::Event::new();
/// assert!(timeout(Duration::from_millis(10), || never.wait()).is_err());
/// assert_eq!(timeout(Duration::from_secs(60), || 6 * 7), Ok(42));
/// ```
#[doc(alias = "with_timeout")]
#[doc(alias = "Timeout")]
pub fn timeout<R>(limit: Duration, body: impl FnOnce() -> R) -> Result<R, Interrupted> {
    CancelToken::new().with_timeout(limit).run(body)
}

/// How a greenlet is started: its name and the size of its stack.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet;
///
/// let name = ropewalk::run(|| {
///     let deep = greenlet::Builder::new().name("parser").stack_size(1 << 20);
///     deep.spawn(|| greenlet::current().unwrap().name().map(str::to_owned)).unwrap().join().unwrap()
/// });
/// assert_eq!(name.as_deref(), Some("parser"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    extra: Extra,
    stack_size: Option<usize>,
}

impl Builder {
    /// A greenlet without a name, with a stack of 256 KiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the greenlet; dumps and reports show it.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.extra.name = Some(name.into());
        self
    }

    /// How deep the stack may grow, in bytes; rounded up to 64 KiB, 256 KiB, 1 MiB or 8 MiB. Memory is taken only as it
    /// is touched.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    fn extra(self) -> Result<Box<Extra>, StackError> {
        let stack_class = self.stack_size.map(strand::stack_class).transpose()?;
        Ok(Box::new(Extra { stack_class, ..self.extra }))
    }

    /// [`spawn`] as this says.
    ///
    /// # Errors
    ///
    /// When no stack is that large.
    ///
    /// # Panics
    ///
    /// On a thread that is no hub.
    #[track_caller]
    pub fn spawn<F, T>(self, job: F) -> Result<TaskHandle<T>, StackError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(hub::spawn_with(Some(self.extra()?), job))
    }

    /// [`spawn_local`] as this says.
    ///
    /// # Errors
    ///
    /// When no stack is that large.
    ///
    /// # Panics
    ///
    /// On a thread that is no hub.
    #[track_caller]
    pub fn spawn_local<F, T>(self, job: F) -> Result<TaskHandle<T>, StackError>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Ok(hub::spawn_local_with(Some(self.extra()?), job))
    }
}

/// The greenlet that calls; None on a plain thread and in an async task.
pub fn current() -> Option<Greenlet> {
    let (id, name, spawned_at) = strand::identity()?;
    Some(Greenlet { id: id.get(), name, spawned_at })
}

/// Who a greenlet is.
#[derive(Clone, Debug)]
pub struct Greenlet {
    id: u64,
    name: Option<Arc<str>>,
    spawned_at: &'static Location<'static>,
}

impl Greenlet {
    /// A number that no other strand of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }
}

/// How many threads [`offload`] runs at once: blocking calls wait, they do not compute.
const OFFLOAD_THREADS: usize = 64;

/// Runs something that blocks or computes for long on a thread pool, while only the calling greenlet waits.
///
/// For what has no cooperative form: files, `getaddrinfo`, a blocking client of another crate, long computations.
///
/// # Cancel safety
///
/// A greenlet that is cancelled stops waiting; the call itself goes on to its end.
///
/// # Panics
///
/// When `job` does: the panic goes on in the greenlet. In async code; use `ropewalk::AsyncExecutor::spawn_blocking` there.
///
/// # Examples
///
/// ```
/// let text = ropewalk::run(|| ropewalk::greenlet::offload(|| std::fs::read_to_string("Cargo.toml")));
/// assert!(text.unwrap().contains("ropewalk"));
/// ```
#[doc(alias = "threadpool")]
#[doc(alias = "spawn_blocking")]
#[track_caller]
pub fn offload<F, T>(job: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    offload_pool().submit(job).join().unwrap_or_else(|error| error.resume())
}

pub(crate) fn offload_pool() -> &'static ThreadPoolExecutor {
    static POOL: OnceLock<ThreadPoolExecutor> = OnceLock::new();
    POOL.get_or_init(|| {
        ThreadPoolExecutor::builder()
            .max_workers(OFFLOAD_THREADS)
            .thread_name_prefix("ropewalk-offload")
            .daemon(true)
            .build()
            .expect("the options are valid")
    })
}
