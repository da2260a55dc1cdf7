//! Suite `pool`: tasks with handles, parallel maps, fork-join, scopes, and what an idle pool costs.
//!
//! Every pool has as many workers as there are cores, is built and warmed before the clock starts, and is closed after it
//! stops. Tasks say where they ran: a task that ran on the submitting thread fails the run. rayon's `scope` moves its
//! body to a worker, which then submits and works by turns, as its documentation says; `rayon:in-place` keeps the body
//! outside.

mod fork_join;
mod idle;
mod long_map;
mod mapped;
#[cfg(feature = "ours")]
mod ours;
mod pools;
mod scope;
mod submit_join;

use std::cell::Cell;
use std::hint::black_box;

use crate::harness::Work;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    SUBMITTER.set(true);
    let mut works = vec![submit_join::work()];
    works.extend(mapped::works());
    works.extend(long_map::works());
    works.push(fork_join::work());
    works.push(scope::work());
    works.push(idle::work());
    works
}

thread_local! {
    static SUBMITTER: Cell<bool> = const { Cell::new(false) };
}

/// The empty task: whether it runs on another thread than the one that submits.
#[inline]
fn on_worker() -> bool {
    black_box(!SUBMITTER.get())
}
