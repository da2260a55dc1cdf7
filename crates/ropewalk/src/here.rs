//! The verbs at the root, which act on whoever calls them: a greenlet, or a plain thread.

use crate::task::TaskHandle;
use crate::thread;
use ropewalk_core::park;
#[cfg(all(unix, feature = "greenlet"))]
use ropewalk_core::strand;

pub use ropewalk_core::park::sleep;

/// Runs a program and waits for what it started; behind `#[ropewalk::main]`. With greenlets `main` is one, on a hub.
#[track_caller]
pub fn run_main<R>(program: impl FnOnce() -> R) -> R {
    #[cfg(all(unix, feature = "greenlet"))]
    return thread::run_main(|| crate::greenlet::run(program));
    #[cfg(not(all(unix, feature = "greenlet")))]
    return thread::run_main(program);
}

/// The same for an async program, which its hub polls.
#[cfg(all(unix, feature = "greenlet"))]
#[track_caller]
pub fn run_main_async<F: Future>(program: F) -> F::Output {
    run_main(|| crate::io::block_on(program))
}

/// Starts a strand of the kind that calls, and returns the handle to its result: a greenlet on this thread's hub when a
/// greenlet calls, a thread when a plain thread does.
///
/// Say [`thread::spawn`] or `greenlet::spawn` where only one of them will do.
///
/// # Panics
///
/// When the system cannot start a thread.
///
/// # Examples
///
/// ```
/// let strand = ropewalk::spawn(|| 6 * 7);
/// assert_eq!(strand.join().unwrap(), 42);
///
/// let error = ropewalk::spawn(|| panic!("out of hemp")).join().unwrap_err();
/// assert_eq!(error.to_string(), "task panicked: out of hemp");
/// ```
#[track_caller]
pub fn spawn<F, T>(job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    #[cfg(all(unix, feature = "greenlet"))]
    if strand::in_greenlet() {
        return crate::greenlet::spawn(job);
    }
    thread::spawn(job)
}

/// Lets another strand run: another greenlet of this hub when a greenlet calls, another thread when a plain thread does.
///
/// # Cancel safety
///
/// A greenlet that was cancelled unwinds here.
///
/// # Examples
///
/// ```
/// ropewalk::yield_now();
/// ```
// Inlined, as `try_yield` tells why.
#[inline(always)]
pub fn yield_now() {
    #[cfg(all(unix, feature = "greenlet"))]
    if strand::try_yield() {
        return park::check_cancelled();
    }
    park::yield_now();
}
