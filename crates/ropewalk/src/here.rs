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
    init();
    #[cfg(all(unix, feature = "greenlet"))]
    return thread::run_main(|| crate::greenlet::run(program));
    #[cfg(not(all(unix, feature = "greenlet")))]
    return thread::run_main(program);
}

/// What comes first in `main`: a process that was started as a worker goes no further.
pub fn init() {
    #[cfg(all(target_os = "linux", feature = "process"))]
    crate::process::init();
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

/// What every greenlet and every pool worker of the process does at this moment, one a line, by hub and by pool: name, where
/// it was spawned or its job submitted, what it waits on, where and since when.
///
/// A hub that does not answer within a second is blocked, and is said to be. A worker that waits elsewhere than in our
/// primitives, in a system call for instance, is one that runs.
///
/// # Examples
///
/// ```
/// # #[cfg(all(unix, feature = "greenlet"))] {
/// let text = ropewalk::run(|| {
///     let nap = ropewalk::spawn(|| ropewalk::sleep(std::time::Duration::from_secs(60)));
///     ropewalk::yield_now();
///     let text = ropewalk::dump();
///     nap.kill();
///     text
/// });
/// assert!(text.contains("waits on sleep at"), "{text}");
/// # }
/// ```
pub fn dump() -> String {
    let mut text = String::new();
    #[cfg(all(unix, feature = "greenlet"))]
    crate::greenlet::dump(&mut text);
    crate::executor::dump(&mut text);
    if text.is_empty() {
        text.push_str("no hub and no pool in this process\n");
    }
    text
}
