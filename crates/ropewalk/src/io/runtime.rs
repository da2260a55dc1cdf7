//! The runtime of the async executor: tokio's, with threads of its own.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
pub use tokio::runtime::Handle as TokioHandle;
use tokio::runtime::{Builder, Runtime};

/// A runtime that is begun with its threads and ended once.
pub(crate) struct ManyThreads {
    handle: TokioHandle,
    runtime: Mutex<Option<Runtime>>,
}

impl ManyThreads {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(threads).thread_name("ropewalk-async").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    pub(crate) fn handle(&self) -> &TokioHandle {
        &self.handle
    }

    /// Ends it without waiting: its threads end by themselves, and what it still has is dropped.
    pub(crate) fn end(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

/// A future that is polled when `at` has come, if it has not ended before; in a runtime of tokio's.
pub(crate) async fn polled_at<F: Future>(at: Instant, future: F) -> F::Output {
    let (mut future, mut alarm) = (pin!(future), pin!(tokio::time::sleep_until(at.into())));
    let mut rang = false;
    poll_fn(|context| {
        rang = rang || alarm.as_mut().poll(context).is_ready();
        future.as_mut().poll(context)
    })
    .await
}
