//! Greenlets that are waited for, or stopped, together; and the pool that bounds how many there are.

use super::hub;
use crate::executor::roster::{Member, Refused, Roster};
use crate::executor::{Executor, Map, Submit, TryMap, TrySubmitError, verbs};
use crate::spans::{self, On};
use crate::task::{Shutdown, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::strand::Start;
use ropewalk_core::task::harness;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// A set of greenlets: spawn into it, then join or kill them all.
///
/// A member leaves when it has ended. Dropping the group leaves its greenlets alone.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::Group;
///
/// ropewalk::run(|| {
///     let group = Group::new();
///     let handles: Vec<_> = (0..3).map(|n| group.spawn(move || 10 * n)).collect();
///     group.join();
///     assert!(group.is_empty() && handles.iter().all(|handle| handle.is_finished()));
/// });
/// ```
pub struct Group {
    roster: Arc<Roster>,
}

/// At most so many greenlets at once: [`spawn`](Self::spawn) waits for a place. gevent's `Pool`.
///
/// The greenlets run on the hub of whoever spawns them. It is an [`Executor`], so whatever takes one takes a pool.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::Pool;
/// use std::time::Duration;
///
/// ropewalk::run(|| {
///     let pool = Pool::new(2);
///     let lengths: Vec<_> = pool
///         .map(|word: &str| { ropewalk::sleep(Duration::from_millis(1)); word.len() }, ["hemp", "jute", "sisal"])
///         .collect();
///     assert_eq!(lengths, [4, 4, 5]);
/// });
/// ```
pub struct Pool {
    roster: Arc<Roster>,
    size: usize,
}

/// Starts a greenlet whose harness holds a place in a roster.
#[track_caller]
fn start<F, T>(roster: &Roster, member: Member, job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (task, handle) = harness::new_guarded_task(0, spans::closure(On::Greenlet, job), member);
    roster.list(&task);
    hub::start_here(Start { task, place: Location::caller(), extra: None });
    handle
}

impl Group {
    /// A group without greenlets.
    pub fn new() -> Self {
        Self { roster: Arc::default() }
    }

    /// Starts a greenlet of the group.
    ///
    /// # Panics
    ///
    /// On a thread that is no hub.
    #[track_caller]
    pub fn spawn<F, T>(&self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let member = self.roster.try_enter(usize::MAX).expect("a group is never full and never closed");
        start(&self.roster, member, job)
    }

    /// Waits until no greenlet of the group is left.
    pub fn join(&self) {
        self.roster.join();
    }

    /// Cancels the greenlets of the group, and those that are spawned meanwhile, and waits until they have ended.
    pub fn kill(&self) {
        self.roster.kill();
    }

    /// How many greenlets have not ended.
    pub fn len(&self) -> usize {
        self.roster.alive()
    }

    /// Whether all greenlets have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool for at most `size` greenlets at once.
    ///
    /// # Panics
    ///
    /// When `size` is 0: nothing could ever run.
    #[track_caller]
    pub fn new(size: usize) -> Self {
        assert!(size > 0, "a pool of 0 greenlets could never run anything: give it at least 1");
        Self { roster: Arc::default(), size }
    }

    /// Starts a greenlet; waits for a place first if there is none.
    ///
    /// # Cancel safety
    ///
    /// Cancelled while it waits, nothing is started.
    ///
    /// # Panics
    ///
    /// On a thread that is no hub.
    #[track_caller]
    pub fn spawn<F, T>(&self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit(job)
    }

    /// How many more could start at once.
    #[doc(alias = "free_count")]
    pub fn free(&self) -> usize {
        self.size - self.len()
    }

    /// How many greenlets have not ended.
    pub fn len(&self) -> usize {
        self.roster.alive()
    }

    /// Whether all greenlets have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no greenlet of the pool is left.
    pub fn join(&self) {
        self.roster.join();
    }

    /// Cancels the greenlets of the pool, and those that are spawned meanwhile, and waits until they have ended. The pool
    /// can be used on.
    pub fn kill(&self) {
        self.roster.kill();
    }

    /// Calls `function` for each item, each in a greenlet of its own, and gives the results in order, as they are asked
    /// for. Lazy and bounded as [`ThreadPoolExecutor::map`](crate::ThreadPoolExecutor::map);
    /// [`unordered`](Map::unordered) gives them as they come.
    #[doc(alias = "imap")]
    pub fn map<F, I, R>(&self, function: F, items: I) -> Map<'_, Self, F, I::IntoIter, R>
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        Executor::map(self, function, items)
    }

    /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
    pub fn try_map<F, I, R>(&self, function: F, items: I) -> TryMap<'_, Self, F, I::IntoIter, R>
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        Executor::try_map(self, function, items)
    }

    /// Calls `function` for each item and waits until all are done.
    ///
    /// # Panics
    ///
    /// With the first panic of `function`, after what was under way has ended.
    #[track_caller]
    pub fn for_each<F, I, R>(&self, function: F, items: I)
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
    {
        Executor::for_each(self, function, items);
    }
}

impl<F, T> Submit<F> for Pool
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    #[track_caller]
    fn submit(&self, job: F) -> TaskHandle<T> {
        park::refuse_in_async();
        match self.roster.enter(self.size) {
            Ok(member) => start(&self.roster, member, job),
            Err(_) => verbs::refused(),
        }
    }

    #[track_caller]
    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        match self.roster.try_enter(self.size) {
            Ok(member) => Ok(start(&self.roster, member, job)),
            Err(Refused::Full) => Err(TrySubmitError::Full(job)),
            Err(Refused::Closed) => Err(TrySubmitError::Shutdown(job)),
        }
    }

    async fn submit_async(&self, job: F) -> TaskHandle<T> {
        match self.roster.enter_async(self.size).await {
            Ok(member) => start(&self.roster, member, job),
            Err(_) => verbs::refused(),
        }
    }
}

impl Executor for Pool {
    fn shutdown(&self, how: Shutdown) {
        self.roster.close();
        match how {
            Shutdown::CancelPending => self.roster.cancel(false),
            Shutdown::Kill => self.roster.cancel(true),
            _ => {}
        }
        if how != Shutdown::Detach {
            self.roster.join();
        }
    }

    fn parallelism(&self) -> usize {
        self.size
    }

    fn splits_chunks(&self) -> bool {
        false
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).field("len", &self.len()).finish_non_exhaustive()
    }
}
