//! Greenlets that are waited for, or stopped, together; and the pool that bounds how many there are.

use super::hub;
use crate::executor::{Executor, Map, Submit, TryMap, TrySubmitError, verbs};
use crate::task::{Shutdown, TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::strand::Start;
use ropewalk_core::sync::{Condvar, Mutex};
use ropewalk_core::task::harness::{self, Runnable};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};

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
    state: Arc<State>,
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
    state: Arc<State>,
    size: usize,
}

#[derive(Default)]
struct State {
    members: Mutex<Members>,
    left: Condvar,
}

#[derive(Default)]
struct Members {
    alive: usize,
    tasks: Vec<Weak<dyn Runnable>>,
    closed: bool,
}

/// One greenlet's place, until this is dropped.
struct Member(Arc<State>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.lock().alive -= 1;
        self.0.left.notify_all();
    }
}

impl State {
    /// Takes a place when fewer than `limit` are alive; waits for one if it may. Err: there is none, or it is closed.
    fn enter(self: &Arc<Self>, limit: usize, may_wait: bool) -> Result<Member, Refused> {
        let mut members = self.members.lock();
        while members.alive >= limit && !members.closed {
            if !may_wait {
                return Err(Refused::Full);
            }
            members = self.left.wait(members);
        }
        if members.closed {
            return Err(Refused::Closed);
        }
        members.alive += 1;
        Ok(Member(Arc::clone(self)))
    }

    fn start<F, T>(&self, member: Member, place: &'static Location<'static>, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let (task, handle) = harness::new_guarded_task(0, job, member);
        {
            let mut members = self.members.lock();
            if members.tasks.len() == members.tasks.capacity() {
                members.tasks.retain(|task| task.strong_count() > 0);
            }
            members.tasks.push(Arc::downgrade(&task));
        }
        hub::start_here(Start { task, place, extra: None });
        handle
    }

    fn join(&self) {
        let mut members = self.members.lock();
        while members.alive > 0 {
            members = self.left.wait(members);
        }
    }

    /// Drops what has not started; asks what runs to stop, if it is to be `running` too.
    fn cancel(&self, running: bool) {
        let tasks = self.members.lock().tasks.clone();
        for task in tasks.iter().filter_map(Weak::upgrade) {
            if !task.cancel(TaskError::Cancelled) && running {
                task.interrupt();
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Full,
    Closed,
}

impl Group {
    /// A group without greenlets.
    pub fn new() -> Self {
        Self { state: Arc::new(State::default()) }
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
        let member = self.state.enter(usize::MAX, false).expect("a group is never full and never closed");
        self.state.start(member, Location::caller(), move || Ok(job()))
    }

    /// Waits until no greenlet of the group is left.
    pub fn join(&self) {
        self.state.join();
    }

    /// Cancels the greenlets of the group and waits until they have ended.
    pub fn kill(&self) {
        self.state.cancel(true);
        self.state.join();
    }

    /// How many greenlets have not ended.
    pub fn len(&self) -> usize {
        self.state.members.lock().alive
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
        Self { state: Arc::new(State::default()), size }
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
        self.state.members.lock().alive
    }

    /// Whether all greenlets have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no greenlet of the pool is left.
    pub fn join(&self) {
        self.state.join();
    }

    /// Cancels the greenlets of the pool and waits until they have ended. The pool can be used on.
    pub fn kill(&self) {
        self.state.cancel(true);
        self.state.join();
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
        verbs::map(self, function, items)
    }

    /// [`map`](Self::map) that gives a panic as an error at its place and goes on.
    pub fn try_map<F, I, R>(&self, function: F, items: I) -> TryMap<'_, Self, F, I::IntoIter, R>
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
    {
        verbs::try_map(self, function, items)
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
        verbs::for_each(self, function, items);
    }

    fn place<J>(&self, may_wait: bool, job: J) -> Result<(Member, J), TrySubmitError<J>> {
        match self.state.enter(self.size, may_wait) {
            Ok(member) => Ok((member, job)),
            Err(Refused::Full) => Err(TrySubmitError::Full(job)),
            Err(Refused::Closed) => Err(TrySubmitError::Shutdown(job)),
        }
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
        match self.place(true, job) {
            Ok((member, job)) => self.state.start(member, Location::caller(), move || Ok(job())),
            Err(_) => verbs::refused(),
        }
    }

    #[track_caller]
    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        let (member, job) = self.place(false, job)?;
        Ok(self.state.start(member, Location::caller(), move || Ok(job())))
    }

    async fn submit_async(&self, job: F) -> TaskHandle<T> {
        let mut members = self.state.members.lock_async().await;
        while members.alive >= self.size && !members.closed {
            members = self.state.left.wait_async(members).await;
        }
        drop(members);
        self.submit(job)
    }
}

impl Executor for Pool {
    fn shutdown(&self, how: Shutdown) {
        self.state.members.lock().closed = true;
        self.state.left.notify_all();
        match how {
            Shutdown::CancelPending => self.state.cancel(false),
            Shutdown::Kill => self.state.cancel(true),
            _ => {}
        }
        if how != Shutdown::Detach {
            self.state.join();
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
