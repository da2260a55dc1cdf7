//! The life of a task, the same under every executor.
//!
//! A *task* is work with an outcome, a [`TaskHandle`] to wait for it and a way to be cancelled. An executor makes one
//! with [`harness::new_task`], keeps the runnable half and gives the handle to whoever submitted the work.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `state` | the one word that says where a task is, and its transitions |
//! | [`harness`] | the memory of a task: job, outcome, who waits for it |
//! | `handle` | what the submitter holds |
//! | `outcome` | how a task can end: [`TaskError`] |
//! | `cancel` | [`CancelToken`]: cancelling a region, with deadlines |
//! | `group` | [`TaskGroup`]: tasks that end together |
//! | [`promise`] | tasks whose work is done elsewhere, futures among them |
//! | `call` | [`Call`]: arguments plus which function; [`Task`]: what is known of that function |
//! | `context` | [`JobContext`], [`State`]: what a task can ask for besides its arguments |
//! | `crew` | how many workers of a pool may run: its counts, for the pool and for the checkers |

mod call;
mod cancel;
mod context;
#[doc(hidden)]
pub mod crew;
#[cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) mod crew_rehearsal;
mod group;
mod handle;
pub mod harness;
mod outcome;
pub mod promise;
mod state;

pub use crate::park::{Cancelled, Interrupted, check_cancelled, is_cancelled};
pub use call::{Call, Task};
pub use cancel::CancelToken;
pub use context::{JobContext, Listener, State, States, TaskOptions};
pub use group::TaskGroup;
pub use handle::{Finished, TaskHandle};
pub use outcome::{Outcome, Panic, TaskError, into_outcome};
pub use state::TaskId;

/// What an executor does with the work it has when it is shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Finish everything that was submitted, and wait for it.
    #[default]
    Wait,
    /// Cancel what has not started, finish what runs, and wait for that.
    #[doc(alias = "cancel_futures")]
    CancelPending,
    /// Take nothing more, finish everything, and do not wait.
    Detach,
    /// Cancel what has not started and ask what runs to stop; wait for that.
    ///
    /// A thread cannot be killed: a running task ends at its next wait, or where it looks at
    /// [`is_cancelled`]. A process executor ends its workers.
    Kill,
}
