//! Recognises a thread that polls a tokio runtime's tasks, so that nothing of ours blocks it unseen.
//!
//! tokio tells whether a runtime is at hand (also on its threads for blocking work, where blocking is right), but not
//! whether a task is being polled. What tells that is the budget which tokio gives a task for each poll: only inside a
//! poll does it run out. Finding out spends the rest of it, which is no loss to a task that is about to panic. A task
//! that opted out of the budget (`unconstrained`) is not recognised.

#[cfg(feature = "tokio")]
mod tokio_tasks {
    use std::task::{Context, Waker};

    /// More than tokio's budget for one poll (128).
    const POLLS: usize = 256;

    pub(super) fn polls_tasks() -> bool {
        if tokio::runtime::Handle::try_current().is_err() {
            return false;
        }
        let mut context = Context::from_waker(Waker::noop());
        (0..POLLS).any(|_| match tokio::task::coop::poll_proceed(&mut context) {
            std::task::Poll::Ready(spent) => {
                spent.made_progress();
                false
            }
            std::task::Poll::Pending => true,
        })
    }
}

/// Makes every wait of ours look out for tokio's threads. Called wherever something is made that can be waited for.
pub(crate) fn watch_for_async() {
    #[cfg(feature = "tokio")]
    ropewalk_core::park::set_async_probe(tokio_tasks::polls_tasks);
}
