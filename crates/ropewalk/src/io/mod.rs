//! Who drives I/O. Today: a plain thread waits for any future by parking.

mod context;

pub(crate) use context::watch_for_async;

/// Waits for a future, of any crate, from a plain thread.
///
/// The thread parks between polls. A future that needs a runtime (a tokio socket, a tokio timer) must be woken by one
/// that runs elsewhere; ropewalk's own futures and channels need none.
///
/// # Panics
///
/// In async code: `.await` the future there.
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
    ropewalk_core::park::wait_for(future)
}
