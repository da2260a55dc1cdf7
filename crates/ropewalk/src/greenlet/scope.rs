//! A scope of greenlets: they borrow, and its end waits for them.

use super::hub;
use crate::executor::borrowed::Jobs;
use crate::spans::{self, On};
use crate::task::TaskHandle;
use ropewalk_core::park;
use ropewalk_core::strand::Start;
use ropewalk_core::task::harness;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// Where greenlets that borrow are spawned; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    jobs: Arc<Jobs>,
    /// Both lifetimes invariant, as in std.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
    /// Its greenlets are those of one thread, and only there they are cancelled.
    here: PhantomData<*const ()>,
}

/// Runs `body`, which may spawn greenlets that borrow from outside, and returns when they have all ended.
///
/// The greenlets run on this thread's hub, so they may share what is not [`Sync`] as well: a [`Cell`](std::cell::Cell), an
/// [`Rc`](std::rc::Rc). [`std::thread::scope`] for greenlets; Trio's nursery.
///
/// # Cancel safety
///
/// Whoever is cancelled in here, in the body or in the wait for the greenlets, kills the greenlets, waits until they have
/// ended, and unwinds then.
///
/// # Panics
///
/// When `body` or a greenlet does: the others are killed, and the panic goes on when they have ended. On a thread that is no
/// hub, as soon as something is spawned. In async code.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet;
/// use std::{cell::Cell, time::Duration};
///
/// ropewalk::run(|| {
///     let words = ["hemp".to_owned(), "jute".to_owned()];
///     let letters = Cell::new(0);
///     greenlet::scope(|scope| {
///         for word in &words {
///             drop(scope.spawn(|| {
///                 ropewalk::sleep(Duration::from_millis(1));
///                 letters.set(letters.get() + word.len());
///             }));
///         }
///     });
///     assert_eq!(letters.get(), 8);
/// });
/// ```
#[doc(alias = "nursery")]
#[track_caller]
pub fn scope<'env, F, R>(body: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    park::refuse_in_async();
    let jobs = Jobs::new();
    let scope = Scope { jobs: Arc::clone(&jobs), scope: PhantomData, env: PhantomData, here: PhantomData };
    jobs.run(|| body(&scope), || ())
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a greenlet that may borrow from outside the scope. The handle may be dropped: the end of the scope waits for
    /// the greenlet all the same.
    ///
    /// A panic of the job kills the other greenlets, also those spawned later, and is re-thrown when the scope ends.
    ///
    /// # Panics
    ///
    /// On a thread that is no hub.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk::greenlet;
    ///
    /// let word = "hemp".to_owned();
    /// let length = ropewalk::run(|| greenlet::scope(|scope| scope.spawn(|| word.len()).join().unwrap()));
    /// assert_eq!(length, 4);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        // SAFETY: `Jobs::run` does not return before the member is dropped, and what the job borrows outlives it; the scope is
        // not `Sync`, so this is the thread of its greenlets, whose hub runs or cancels the task, and of `kill`.
        let (task, handle) = unsafe {
            let work = spans::around(On::Greenlet, std::any::type_name::<F>(), self.jobs.guarded(job));
            harness::new_pinned_task(work, self.jobs.enter())
        };
        self.jobs.list(&task);
        hub::start_here(Start { task, place: Location::caller(), extra: None });
        handle
    }

    /// Kills all greenlets of the scope that have not ended, and those spawned later: what has not started never will,
    /// what waits unwinds.
    pub fn kill(&self) {
        self.jobs.cancel();
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
