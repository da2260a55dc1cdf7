//! Greenlets on every core: hubs on threads of their own that share what has not started.
//!
//! # How work spreads
//!
//! A submitted job lies in one queue until a hub takes it; from then on it stays on that hub. A hub takes its share when
//! it has its turn, and wakes the next sleeping hub if it left some. Whoever submits wakes one sleeping hub. A hub that has
//! more greenlets than its share leaves the rest to the others for a while: they may be waking up just now, and what has
//! started stays where it is for ever, also when it waits today and computes tomorrow.
//!
//! A hub that is about to sleep arms its inbox first and looks into the queue afterwards, and whoever submits puts the job
//! into the queue first and looks for an armed hub afterwards, with a fence on either side: one of them sees the other.

use super::hub::{self, Supply};
use crate::executor::roster::{Member, Refused, Roster};
use crate::executor::scope::{Home, Place};
use crate::executor::verbs::{self, own_maps, own_scope, own_verbs};
use crate::executor::{Executor, Submit, TrySubmitError};
use crate::io::watch_for_async;
use crate::spans::{self, On};
use crate::task::{Call, Shutdown, TaskError, TaskHandle};
use crate::thread::{self, Close, close_at_exit};
use ropewalk_core::park;
use ropewalk_core::strand::{Hub, Start};
use ropewalk_core::task::harness::{self, Runnable, drop_quietly};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The most a hub takes at once: the rest is left to hubs that wake up.
const SHARE_MAX: usize = 64;
/// For how long a busy hub leaves to the others what would be beyond its share. They wake up within that, unless one of
/// their greenlets blocks or computes.
const BUSY_LEAVES_FOR: Duration = Duration::from_millis(5);
/// The same for a hub that has nothing else to do: some ten times as long as it takes a thread to wake up.
const IDLE_LEAVES_FOR: Duration = Duration::from_micros(500);

/// Runs closures as greenlets on several cores, one hub a core by default.
///
/// A job may go to any hub, so it must be `Send`; where it has started it stays. For work that waits: many thousands of
/// jobs at once cost a page each. Jobs that compute belong on a [`ThreadPoolExecutor`](crate::ThreadPoolExecutor).
///
/// Dropping it waits for its jobs, as [`Shutdown::Wait`].
///
/// # Examples
///
/// ```
/// use ropewalk::{Submit, greenlet::GreenletExecutor};
/// use std::time::Duration;
///
/// let executor = GreenletExecutor::new(2);
/// let handles: Vec<_> = (0..1000)
///     .map(|n: u64| executor.submit(move || { ropewalk::sleep(Duration::from_millis(5)); n }))
///     .collect();
/// let sum: u64 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
/// assert_eq!(sum, 499_500);
/// ```
///
/// A job that cannot be sent is refused by the compiler:
///
/// ```compile_fail,E0277
/// use ropewalk::{Submit, greenlet::GreenletExecutor};
/// use std::rc::Rc;
///
/// let shared = Rc::new(1);
/// GreenletExecutor::new(1).submit(move || *shared);
/// ```
pub struct GreenletExecutor {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<VecDeque<Start>>,
    /// The length of `queue`, for a look without its lock.
    queued: AtomicUsize,
    hubs: Vec<OnceLock<&'static Hub>>,
    /// Where the search for a sleeping hub begins.
    next: AtomicUsize,
    roster: Arc<Roster>,
    over: AtomicBool,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Shared {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Start>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, start: Start) {
        {
            let mut queue = self.queue();
            queue.push_back(start);
            self.queued.store(queue.len(), Ordering::Relaxed);
        }
        self.ring_one();
    }

    /// Wakes a sleeping hub, if there is one. (The fence is in `ring`; a hub that has not begun yet will look anyway.)
    fn ring_one(&self) {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for step in 0..self.hubs.len() {
            let hub = self.hubs[(first + step) % self.hubs.len()].get();
            if hub.is_some_and(|hub| hub.ring()) {
                return;
            }
        }
    }

    /// Whether this thread is one of the hubs: it cannot wait for its own end.
    fn is_hub_of_this(&self) -> bool {
        let here = Hub::current();
        here.is_some_and(|here| self.hubs.iter().filter_map(OnceLock::get).any(|hub| std::ptr::eq(*hub, here)))
    }

    fn shutdown(&self, how: Shutdown) {
        self.roster.close();
        match how {
            Shutdown::CancelPending => self.roster.cancel(false),
            Shutdown::Kill => self.roster.cancel(true),
            _ => {}
        }
    }

    /// Waits for the jobs, then ends the hubs.
    fn finish(&self) {
        self.roster.join();
        self.over.store(true, Ordering::Relaxed);
        for hub in self.hubs.iter().filter_map(OnceLock::get) {
            hub.ring();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // They end by themselves now; a greenlet waits for that on another thread than the hub's.
            if park::in_async_context() || ropewalk_core::strand::in_greenlet() {
                drop(thread);
            } else {
                let _ = thread.join();
            }
        }
    }
}

impl Home for Arc<Shared> {
    fn on(&self) -> On {
        On::Greenlet
    }

    fn enter(&self) -> Option<Place> {
        // There is no limit to wait for.
        self.roster.try_enter(usize::MAX).ok().map(Place::with)
    }

    fn launch(&self, task: Arc<dyn Runnable>, place: &'static Location<'static>) {
        self.roster.list(&task);
        self.put(Start { task, place, extra: None });
    }
}

impl Close for Shared {
    fn close(&self) {
        self.shutdown(Shutdown::Wait);
        self.finish();
    }
}

/// One hub's view of the queue.
struct Share {
    shared: Arc<Shared>,
    /// Since when jobs have been lying there beyond this hub's share. Once it has waited for the others in vain, it does not
    /// wait again for each job, until they have taken their share.
    leaves_since: Cell<Option<Instant>>,
}

impl Share {
    /// How many of `queued` jobs are for a hub with `live` greenlets, `ready` of them to run at once.
    fn fair(&self, queued: usize, live: usize, ready: usize, now: Instant) -> usize {
        let hubs = &self.shared.hubs;
        let all: usize = hubs.iter().filter_map(OnceLock::get).map(|hub| hub.population()).sum();
        let fair = (all + queued).div_ceil(hubs.len()).saturating_sub(live);
        if fair == 0 && queued > 0 {
            let since = self.leaves_since.get().unwrap_or(now);
            self.leaves_since.set(Some(since));
            if now - since < if ready > 0 { BUSY_LEAVES_FOR } else { IDLE_LEAVES_FOR } {
                return 0;
            }
        } else {
            self.leaves_since.set(None);
        }
        fair.max(queued.div_ceil(hubs.len())).min(queued).min(SHARE_MAX)
    }
}

impl Supply for Share {
    fn take(&self, live: usize, ready: usize, now: Instant) -> Vec<Start> {
        let mut queue = self.shared.queue();
        let share = self.fair(queue.len(), live, ready, now);
        let taken = queue.drain(..share).collect();
        self.shared.queued.store(queue.len(), Ordering::Relaxed);
        let left = !queue.is_empty();
        drop(queue);
        if left {
            self.shared.ring_one();
            if share == 0 && ready == 0 {
                // It comes back at once; the others may need this processor to wake up.
                std::thread::yield_now();
            }
        }
        taken
    }

    fn is_empty(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) == 0
    }
}

impl GreenletExecutor {
    /// An executor with `hubs` hubs, each on a thread of its own.
    ///
    /// # Panics
    ///
    /// When `hubs` is 0, or the system cannot start a thread; [`Builder::build`] returns that as an error.
    #[track_caller]
    pub fn new(hubs: usize) -> Self {
        Self::builder().hubs(hubs).build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// An executor with one hub a core unless something else is said.
    pub fn builder() -> Builder {
        Builder { hubs: None, thread_name_prefix: "ropewalk-hub".to_owned() }
    }

    #[track_caller]
    fn start<F, T>(&self, member: Member, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        let (task, handle) = harness::new_guarded_task(0, job, member);
        self.shared.roster.list(&task);
        self.shared.put(Start { task, place: Location::caller(), extra: None });
        handle
    }

    #[track_caller]
    fn submit_job<F, T>(&self, job: F) -> TaskHandle<T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
        T: Send + 'static,
    {
        // There is no limit to wait for.
        match self.shared.roster.try_enter(usize::MAX) {
            Ok(member) => self.start(member, job),
            Err(_) => verbs::refused(),
        }
    }

    own_verbs!("GreenletExecutor::new(2)", "(0..3).map(|n| move || 10 * n)");
    own_maps!("GreenletExecutor::new(2)");
    own_scope!("GreenletExecutor::new(2)", this => Box::new(Arc::clone(&this.shared)));

    /// Takes no more jobs and ends the executor; waits as `how` says.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) {
        Executor::shutdown(self, how);
    }
}

impl<F, T> Submit<F> for GreenletExecutor
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    #[track_caller]
    fn submit(&self, job: F) -> TaskHandle<T> {
        self.submit_job(spans::closure(On::Greenlet, job))
    }

    #[track_caller]
    fn try_submit(&self, job: F) -> Result<TaskHandle<T>, TrySubmitError<F>> {
        match self.shared.roster.try_enter(usize::MAX) {
            Ok(member) => Ok(self.start(member, spans::closure(On::Greenlet, job))),
            Err(Refused::Full | Refused::Closed) => Err(TrySubmitError::Shutdown(job)),
        }
    }

    async fn submit_async(&self, job: F) -> TaskHandle<T> {
        self.submit(job)
    }
}

impl<A, R> Submit<Call<A, R>> for GreenletExecutor
where
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    #[track_caller]
    fn submit(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.submit_job(spans::call(On::Greenlet, call))
    }

    #[track_caller]
    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        match self.shared.roster.try_enter(usize::MAX) {
            Ok(member) => Ok(self.start(member, spans::call(On::Greenlet, call))),
            Err(Refused::Full | Refused::Closed) => Err(TrySubmitError::Shutdown(call)),
        }
    }

    async fn submit_async(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.submit(call)
    }
}

impl Executor for GreenletExecutor {
    #[track_caller]
    fn shutdown(&self, how: Shutdown) {
        if how == Shutdown::Detach || self.shared.is_hub_of_this() {
            self.shared.shutdown(how);
            let shared = Arc::clone(&self.shared);
            let _ = std::thread::Builder::new().name("ropewalk-detach".to_owned()).spawn(move || shared.finish());
        } else {
            park::refuse_in_async();
            self.shared.shutdown(how);
            self.shared.finish();
        }
    }

    /// Greenlets wait rather than compute, so many more than there are cores run at once.
    fn parallelism(&self) -> usize {
        self.shared.hubs.len() * SHARE_MAX
    }

    fn splits_chunks(&self) -> bool {
        false
    }
}

impl Drop for GreenletExecutor {
    #[track_caller]
    fn drop(&mut self) {
        if self.shared.over.load(Ordering::Relaxed) {
            return;
        }
        if std::thread::panicking() || park::in_async_context() || self.shared.is_hub_of_this() {
            Executor::shutdown(self, Shutdown::Detach);
            assert!(
                std::thread::panicking() || !park::in_async_context(),
                "a GreenletExecutor was dropped in async context, where waiting for its jobs would stop every task of \
                 this thread; shut it down before, with `shutdown(Shutdown::Detach)` if nothing waits for them"
            );
        } else {
            self.shared.close();
        }
    }
}

impl fmt::Debug for GreenletExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GreenletExecutor")
            .field("hubs", &self.shared.hubs.len())
            .field("alive", &self.shared.roster.alive())
            .finish_non_exhaustive()
    }
}

/// How a [`GreenletExecutor`] is made.
#[derive(Clone, Debug)]
pub struct Builder {
    hubs: Option<usize>,
    thread_name_prefix: String,
}

impl Builder {
    /// How many hubs there are, each on a thread of its own; one a core if nothing is said.
    #[must_use]
    pub fn hubs(mut self, hubs: usize) -> Self {
        self.hubs = Some(hubs);
        self
    }

    /// How the threads of the hubs are called, before their number.
    #[must_use]
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = prefix.into();
        self
    }

    /// Starts the hubs.
    ///
    /// # Errors
    ///
    /// When there are to be none, or the system cannot start a thread or give it what a hub needs (descriptors, memory).
    pub fn build(self) -> io::Result<GreenletExecutor> {
        watch_for_async();
        let hubs = match self.hubs {
            Some(0) => {
                let what = "a GreenletExecutor with 0 hubs could never run anything: give it at least 1";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            Some(hubs) => hubs,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            hubs: (0..hubs).map(|_| OnceLock::new()).collect(),
            next: AtomicUsize::new(0),
            roster: Arc::default(),
            over: AtomicBool::new(false),
            threads: Mutex::default(),
        });
        // From here on a drop ends the threads that did start.
        let executor = GreenletExecutor { shared };
        let (says, begun) = channel();
        for index in 0..hubs {
            let says = says.clone();
            let shared = Arc::clone(&executor.shared);
            let builder = thread::Builder::new().name(format!("{}-{index}", self.thread_name_prefix));
            let started = builder.start(move || {
                let over = Arc::clone(&shared);
                let begin = |hub| {
                    shared.hubs[index].set(hub).expect("each hub begins once");
                    // Its own, and gone with this closure: also when the hub cannot begin.
                    let says = says;
                    let _ = says.send(());
                };
                let share = Share { shared: Arc::clone(&shared), leaves_since: Cell::new(None) };
                hub::live(Rc::new(share), begin, move || over.over.load(Ordering::Relaxed));
                // What came after the end of the last hub.
                for start in std::mem::take(&mut *shared.queue()) {
                    start.task.cancel(TaskError::Shutdown);
                    drop_quietly(start);
                }
            })?;
            executor.shared.threads.lock().unwrap_or_else(PoisonError::into_inner).push(started);
        }
        drop(says);
        if begun.iter().take(hubs).count() < hubs {
            return Err(io::Error::other("a hub could not begin: its thread has said why"));
        }
        let weak: Weak<dyn Close> = Arc::downgrade(&(Arc::clone(&executor.shared) as Arc<dyn Close>));
        close_at_exit(weak);
        Ok(executor)
    }
}
