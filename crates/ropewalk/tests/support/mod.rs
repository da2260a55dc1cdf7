//! What the tests of this folder share: waiting for a condition with a bound, and strands whose waiting can be seen.
#![allow(dead_code, reason = "each test binary uses its own part")]

use ropewalk::executor::ThreadPoolExecutor;
use ropewalk::{Submit, TaskHandle};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so long, what has not come is taken for lost.
pub(crate) const HANG: Duration = Duration::from_secs(40);

/// A time limit that is meant to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(15);

/// Polls until `condition` holds; one that never does is a panic.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "never came: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The result of a task that is expected to end.
#[track_caller]
pub(crate) fn joined<T: Send>(mut handle: TaskHandle<T>) -> T {
    match handle.join_timeout(HANG) {
        Ok(value) => value,
        Err(error) => panic!("no result: {error}"),
    }
}

/// The text with which `body` panics.
#[track_caller]
pub(crate) fn panic_text<R>(body: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => panic!("a panic was expected"),
        Err(payload) => text_of(&*payload),
    }
}

/// The text of a panic's payload.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "(no text)".to_owned())
}

/// For a result that does not matter, of whichever type.
pub(crate) fn ignore<T>(_result: T) {}

/// Strands that run the same function at the same time. How many of them wait can be seen, so no test has to guess.
pub(crate) struct Bunch<T> {
    pool: ThreadPoolExecutor,
    handles: Vec<TaskHandle<T>>,
}

impl<T: Send + 'static> Bunch<T> {
    /// Starts `n` strands; each is told its number.
    pub(crate) fn start(n: usize, function: impl Fn(usize) -> T + Send + Sync + 'static) -> Self {
        // A daemon, so that a test which fails does not wait for strands which hang.
        let pool = ThreadPoolExecutor::builder().max_workers(n).daemon(true).build().expect("a valid pool");
        let function = Arc::new(function);
        let handles = (0..n)
            .map(|number| {
                let function = Arc::clone(&function);
                pool.submit(move || function(number))
            })
            .collect();
        Self { pool, handles }
    }

    /// How many have ended.
    pub(crate) fn finished(&self) -> usize {
        self.handles.iter().filter(|handle| handle.is_finished()).count()
    }

    /// How many wait at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.pool.stats().blocked
    }

    /// Returns once exactly `n` strands wait.
    #[track_caller]
    pub(crate) fn blocked(&self, n: usize) {
        eventually("the number of strands that wait", || self.waiting() == n);
    }

    /// Returns once every strand waits or has ended.
    #[track_caller]
    pub(crate) fn settled(&self) {
        eventually("all strands at rest", || self.waiting() + self.finished() == self.handles.len());
    }

    /// The results of all.
    #[track_caller]
    pub(crate) fn join(self) -> Vec<T> {
        self.handles.into_iter().map(joined).collect()
    }
}

/// One strand of a [`Bunch`].
pub(crate) fn strand<T: Send + 'static>(function: impl Fn() -> T + Send + Sync + 'static) -> Bunch<T> {
    Bunch::start(1, move |_| function())
}
