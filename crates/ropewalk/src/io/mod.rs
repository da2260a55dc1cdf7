//! Who drives I/O: a hub its own reactor; for a future on a plain thread, the one driver thread that all plain threads
//! share. A thread that waits for a descriptor asks the system itself.

mod context;
#[cfg(all(unix, any(feature = "net", feature = "subprocess")))]
pub(crate) mod descriptor;
#[cfg(all(unix, feature = "greenlet"))]
mod driver;
#[cfg(all(unix, feature = "net"))]
pub(crate) mod handover;
#[cfg(all(unix, feature = "greenlet"))]
mod runtime;

#[cfg(all(unix, feature = "subprocess"))]
pub(crate) use driver::with_reactor;
#[cfg(all(unix, feature = "greenlet"))]
pub use runtime::TokioHandle;
#[cfg(all(unix, feature = "greenlet"))]
pub(crate) use runtime::{ManyThreads, polled_at};

pub(crate) use context::watch_for_async;

/// Waits for a future, of any crate, from a greenlet or a plain thread.
///
/// A greenlet suspends, and its hub polls the future on its own stack and in its own tokio runtime. A plain thread parks
/// between polls; sockets and timers of tokio that the future makes are driven by a thread that is started when the
/// first future needs it. So `block_on(async { reqwest::get(url).await })` works from either. What needs a runtime when
/// it is *made* belongs inside the `async` block.
///
/// # Cancel safety
///
/// When the greenlet or task that waits is cancelled, the future is dropped and the wait unwinds.
///
/// # Panics
///
/// In async code: `.await` the future there. That includes a future which itself calls something of ropewalk's that
/// blocks.
///
/// # Examples
///
/// ```
/// use ropewalk::sync::Mutex;
///
/// let mutex = Mutex::new(1);
/// let guard = ropewalk::block_on(mutex.lock_async());
/// assert_eq!(*guard, 1);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    watch_for_async();
    ropewalk_core::park::refuse_in_async();
    let mut future = std::pin::pin!(future);
    ropewalk_core::park::wait_for(std::future::poll_fn(|context| {
        #[cfg(all(unix, feature = "greenlet"))]
        return driver::poll(future.as_mut(), context);
        #[cfg(not(all(unix, feature = "greenlet")))]
        return future.as_mut().poll(context);
    }))
}
