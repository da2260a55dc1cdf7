//! Where a future of block_on is polled.
//!
//! In a greenlet: on the hub's stack, so that no switch can happen inside a poll, and in the hub's runtime, where it is
//! anyway. On a plain thread: inside the context of a runtime that one thread of ours drives, entered for the poll and
//! left before the thread parks, unless the thread has a runtime's context already.

use ropewalk_core::{park, strand};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use tokio::runtime::{Builder, Handle};

pub(super) fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    if strand::in_greenlet() {
        return strand::on_hub(|| future.poll(context));
    }
    // A wait of ours inside the poll would park this thread in the middle of a future.
    let poll = || park::polling_tasks(|| future.poll(context));
    if Handle::try_current().is_ok() {
        return poll();
    }
    let _entered = driver().enter();
    poll()
}

/// The future with a reactor at hand in each poll: that of the runtime which polls it, if there is one, or else ours.
#[cfg(feature = "subprocess")]
pub(crate) async fn with_reactor<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| poll(future.as_mut(), context)).await
}

/// The runtime of plain threads; its thread lives as long as the process and is a daemon.
fn driver() -> &'static Handle {
    static DRIVER: OnceLock<Handle> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("the system gave no reactor");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("ropewalk-io".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("the system could not start the thread that drives I/O");
        handle
    })
}
