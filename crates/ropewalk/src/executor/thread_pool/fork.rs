//! Fork and join: `join` runs two branches, on two workers when one has nothing to do.
//!
//! # How branches are shared
//!
//! `join(a, b)` notes `b` on its own stack, runs `a` and then `b`: a few stores, a look at the pool, and nothing that another
//! thread can reach. Only when somebody is without work is a branch *lent*: the oldest one, which as a
//! rule has the most work behind it, becomes a task of the pool. So the number of tasks follows the number of idle
//! workers and not the number of joins, as long as the branches compute. (Lazy task creation: Mohr, Kranz and Halstead 1990; splitting when others are
//! idle instead of by a grain size: Tzannes, Caragea, Barua and Vishkin, "Lazy binary splitting", 2010.)
//!
//! Who comes back to a branch that was lent and that nobody has begun runs it after all. If somebody has, it waits, and
//! runs meanwhile what *that* worker lends while it is at the branch, and nothing else (leapfrogging: Wagner and Calder
//! 1993). Such a piece is a part of the branch it waits for: it needs no lock that the branch could have without it, the
//! stack grows no deeper than the recursion, and nobody's unrelated job runs in the middle of another.
//!
//! All are lent when this strand waits for something (the worker's blocked hook): what it waits for may be in one of them. One
//! that its join takes back is still an entry in the pool's queue until a worker comes across it.
//!
//! # What is shared with whom
//!
//! A [`Fork`] is touched by the strand alone that made it. To lend it moves the job out of it into a task of its own;
//! the handle stays. Whatever the job borrows outlives the `join`, which does not return, and does not unwind, before
//! that task has ended: the waits for that refuse nothing and are ended by nobody.

use super::pool::Pool;
use crate::executor::scope;
use crate::task::harness::{self, Runnable, drop_quietly};
use crate::task::{Cancelled, TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::sync::Queue;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The least time between two branches that a worker lends. To lend one costs about a microsecond, and whoever takes it
/// some more to wake up; where the pieces are smaller than that they had better stay.
const LEND_PAUSE: Duration = Duration::from_micros(10);

/// What a worker that runs a lent branch lends in turn to the one who waits for that branch.
struct Help {
    /// Shut down when the branch has ended.
    lent: Queue<Arc<dyn Runnable>>,
    /// Whoever waits for the branch has nothing to do. A hint.
    hungry: AtomicBool,
}

/// A branch that has been lent.
struct Lent<T> {
    task: Arc<dyn Runnable>,
    handle: TaskHandle<T>,
    help: Arc<Help>,
}

/// What does not depend on the types of a [`Fork`].
struct Link {
    older: *const Link,
    is_lent: Cell<bool>,
    /// Lends the fork that this is the head of.
    lend: unsafe fn(*const Link, &Arc<Pool>, Where<'_>, &'static Location<'static>),
}

/// Whom a branch is lent to.
#[derive(Clone, Copy)]
enum Where<'a> {
    /// Whichever worker is idle.
    Pool,
    /// The one who waits for what runs here.
    Waiter(&'a Help),
}

/// A branch that has not begun, on the stack of its `join`.
#[repr(C)]
struct Fork<B, T> {
    /// First, so that a pointer to it is one to the fork.
    link: Link,
    /// There until it is lent: that one word says which of the two there is, for the way that is taken a million times.
    job: Cell<MaybeUninit<B>>,
    /// There from then on.
    lent: Cell<MaybeUninit<Lent<T>>>,
}

impl<B, T> Fork<B, T> {
    /// The job, for whoever calls it, lends it or drops it.
    ///
    /// # Safety
    ///
    /// It was not lent, and has not been asked for before.
    #[inline]
    unsafe fn take_job(&self) -> B {
        debug_assert!(!self.link.is_lent.get(), "it is with a task already");
        // SAFETY: the caller's promise; `join` put it there.
        unsafe { self.job.replace(MaybeUninit::uninit()).assume_init() }
    }

    /// What became of the job.
    ///
    /// # Safety
    ///
    /// It was lent, and this has not been asked before.
    unsafe fn take_lent(&self) -> Lent<T> {
        debug_assert!(self.link.is_lent.get(), "nobody has it but the fork");
        // SAFETY: the caller's promise; `lend` put it there.
        unsafe { self.lent.replace(MaybeUninit::uninit()).assume_init() }
    }
}

/// The forks of the strand that runs on this thread: those since the innermost lent branch began.
struct Forks {
    newest: Cell<*const Link>,
    /// The branch that runs here was lent, and this goes to whoever waits for it.
    help: Cell<*const Help>,
    /// [`park::inline_depth`] of that branch. What runs in one of its waits may be a stranger's job, so whoever waits for the
    /// branch gets nothing of that. (Nor of jobs in a scope of the branch, which it could have.)
    depth: Cell<u32>,
    /// When somebody was last found to have nothing to do.
    last: Cell<Option<Instant>>,
}

thread_local! {
    static FORKS: Forks = const {
        Forks {
            newest: Cell::new(ptr::null()),
            help: Cell::new(ptr::null()),
            depth: Cell::new(0),
            last: Cell::new(None),
        }
    };
}

/// Runs both, and returns both results.
///
/// Always a part of its caller, though it is long: there is one of it for each pair of closures anyway, and as a function of
/// its own it made the naive Fibonacci number twice as slow, a call and a frame for each of theirs (3.1 and 6.2 ns a join).
#[inline(always)]
#[track_caller]
pub(super) fn join<A, B, RA, RB>(pool: &Arc<Pool>, a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    if !park::may_wait_in(pool.identity()) {
        return inside(pool, || join(pool, a, b));
    }
    let forks = Forks::here();
    let fork = Fork {
        link: Link { older: forks.newest.get(), is_lent: Cell::new(false), lend: lend::<B, RB> },
        job: Cell::new(MaybeUninit::new(b)),
        lent: Cell::new(MaybeUninit::uninit()),
    };
    // Of the whole fork, which `lend` gets back from it.
    forks.newest.set((&raw const fork).cast());
    let unwinds = Unwinds { fork: &fork, forks };
    forks.look(pool, Location::caller());
    let a = a();
    std::mem::forget(unwinds);
    forks.newest.set(fork.link.older);
    let b = if fork.link.is_lent.get() {
        // SAFETY: it was lent, and the fork is off the list now: nobody else asks.
        unsafe { come_back(&fork) }
    } else {
        // SAFETY: it was not, and never will be.
        let b = unsafe { fork.take_job() };
        b()
    };
    (a, b)
}

/// Runs `body` on a worker of the pool and waits for it.
#[cold]
#[track_caller]
pub(super) fn inside<R: Send>(pool: &Arc<Pool>, body: impl FnOnce() -> R + Send) -> R {
    if park::may_wait_in(pool.identity()) {
        return body();
    }
    park::refuse_in_async();
    let home = Box::new(Arc::clone(pool));
    scope::run(home, |scope| scope.submit(body).join().unwrap_or_else(|error| error.resume()))
}

/// Takes a fork off the list when its other branch unwinds.
struct Unwinds<'a, B, T> {
    fork: &'a Fork<B, T>,
    forks: &'a Forks,
}

impl<B, T> Drop for Unwinds<'_, B, T> {
    #[cold]
    fn drop(&mut self) {
        self.forks.newest.set(self.fork.link.older);
        if self.fork.link.is_lent.get() {
            // SAFETY: it was lent, and the fork is off the list now: nobody else asks.
            let lent = unsafe { self.fork.take_lent() };
            lent.give_up();
        } else {
            // SAFETY: it was not, and never will be.
            drop(unsafe { self.fork.take_job() });
        }
    }
}

impl Forks {
    /// Those of this thread.
    #[inline]
    fn here() -> &'static Self {
        // SAFETY: nothing in it is dropped, so it is there until the very end of its thread; and no caller is, or sends the
        // reference, on another one: it is not `Sync`.
        FORKS.with(|forks| unsafe { &*std::ptr::from_ref(forks) })
    }

    /// Lends a branch if somebody has nothing to do.
    #[inline]
    fn look(&self, pool: &Arc<Pool>, place: &'static Location<'static>) {
        // SAFETY: `Branch::begin` names it for as long as it lives.
        let help = unsafe { self.help.get().as_ref() };
        if help.is_some_and(|help| help.hungry.load(Ordering::Relaxed)) || pool.has_room() {
            self.share(pool, help, place);
        }
    }

    #[cold]
    fn share(&self, pool: &Arc<Pool>, help: Option<&Help>, place: &'static Location<'static>) {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now - last < LEND_PAUSE) {
            return;
        }
        // Also if nothing comes of it: the rest is too dear for each join.
        self.last.set(Some(now));
        let Some(oldest) = self.oldest() else { return };
        // In a runtime of somebody else's no help could be had while it is waited for.
        if park::in_async_context() {
            return;
        }
        let help = help.filter(|_| self.depth.get() == park::inline_depth());
        // The waiter first: it is there already, and may run nothing else.
        let to = match help {
            Some(help) if help.hungry.swap(false, Ordering::Relaxed) => Where::Waiter(help),
            _ if pool.has_room() => Where::Pool,
            _ => return,
        };
        // SAFETY: it is in the list, so it is on this thread's stack, below, in a `join` that has not returned; `oldest` gives
        // none that was lent; and the function is its own.
        unsafe { ((*oldest).lend)(oldest, pool, to, place) };
    }

    /// The oldest branch that was not lent. They are lent from the oldest on, so the walk is as long as the list of
    /// those that are left.
    fn oldest(&self) -> Option<*const Link> {
        let mut oldest = None;
        let mut next = self.newest.get();
        // SAFETY: what is in the list is on this thread's stack, below, in a `join` that has not returned.
        while let Some(link) = unsafe { next.as_ref() }
            && !link.is_lent.get()
        {
            oldest = Some(next);
            next = link.older;
        }
        oldest
    }
}

/// This strand is about to sleep: whatever it has noted for later is lent.
pub(super) fn lend_all(pool: &Arc<Pool>, place: &'static Location<'static>) {
    while let Some(oldest) = Forks::here().oldest() {
        // SAFETY: as in `Forks::share`.
        unsafe { ((*oldest).lend)(oldest, pool, Where::Pool, place) };
    }
}

/// Makes a task of a fork's job and lends it.
///
/// # Safety
///
/// `link` is that of a `Fork<B, T>`, of these two types, in this thread's list, and was not lent.
unsafe fn lend<B, T>(link: *const Link, pool: &Arc<Pool>, to: Where<'_>, place: &'static Location<'static>)
where
    B: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: what is in the list is on this thread's stack, below, in a `join` that has not returned; the link is first in
    // the fork.
    let fork = unsafe { &*link.cast::<Fork<B, T>>() };
    let help = Arc::new(Help { lent: Queue::unbounded(), hungry: AtomicBool::new(false) });
    let branch = Branch::new(Arc::clone(&help));
    let unwinds = MustNot;
    // SAFETY: the caller's promise.
    let job = unsafe { fork.take_job() };
    let job = move || {
        let _branch = branch.begin();
        Ok(job())
    };
    // A deadline that is in force here is that of a task which is being submitted, if this strand waits for a place.
    let (task, handle) = park::without_task_deadline(|| {
        // SAFETY: `join` neither returns nor unwinds before the task has ended, not even in async code; then the job is
        // gone, and the result is taken or dropped with the handle.
        unsafe { harness::new_borrowing_task(pool.identity(), job, ()) }
    });
    // Said before anybody hears of the task, who may call what looks at the list.
    fork.lent.set(MaybeUninit::new(Lent { task: Arc::clone(&task), handle, help }));
    fork.link.is_lent.set(true);
    std::mem::forget(unwinds);
    match to {
        Where::Pool => pool.lend(task, place),
        Where::Waiter(help) => drop(help.lent.put(task)),
    }
}

/// From when a job is taken out of its fork until the fork says so: an unwind between the two would find the job a second time.
/// Nothing there can panic but an allocation, which aborts.
struct MustNot;

impl Drop for MustNot {
    #[cold]
    fn drop(&mut self) {
        eprintln!("ropewalk: a panic while a branch was lent; this cannot go on");
        std::process::abort();
    }
}

/// A lent branch that runs here: the forks below it belong to somebody else's work.
struct Branch {
    help: Arc<Help>,
    before: Option<(*const Link, *const Help, u32)>,
}

// SAFETY: the pointers are there between `begin` and the drop only, which are on one thread.
unsafe impl Send for Branch {}

impl Branch {
    fn new(help: Arc<Help>) -> Self {
        Self { help, before: None }
    }

    fn begin(mut self) -> Self {
        let help = Arc::as_ptr(&self.help);
        let forks = Forks::here();
        let depth = forks.depth.replace(park::inline_depth());
        self.before = Some((forks.newest.replace(ptr::null()), forks.help.replace(help), depth));
        self
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        if let Some((newest, help, depth)) = self.before {
            let forks = Forks::here();
            forks.newest.set(newest);
            forks.help.set(help);
            forks.depth.set(depth);
        }
        // Also if it never began.
        self.help.lent.shutdown();
    }
}

/// The sibling has ended: runs the branch if nobody else does, or waits for it.
///
/// Whatever runs here, the branch itself or a piece of it, is reached by the scopes around the `join`: its waits end with the
/// caller's.
///
/// # Safety
///
/// As of [`Fork::take_lent`].
#[cold]
unsafe fn come_back<B, T>(fork: &Fork<B, T>) -> T {
    // SAFETY: the caller's promise.
    let lent = unsafe { fork.take_lent() };
    lent.task.run_here();
    // In a runtime of somebody else's, where it was lent because a part of its sibling could wait, no help is to be had.
    if !lent.handle.is_finished()
        && !park::in_async_context()
        && let Err(cancelled) = catch_unwind(AssertUnwindSafe(|| lent.help_until_it_ends()))
    {
        lent.give_up();
        resume_unwind(cancelled);
    }
    lent.handle.wait_finished_unconditionally();
    lent.handle.join().unwrap_or_else(|error| {
        // The scope that ended it may be one around this strand too.
        park::check_cancelled();
        match error {
            TaskError::Cancelled => resume_unwind(Box::new(Cancelled::with_its_part())),
            error => error.resume(),
        }
    })
}

impl<T> Lent<T> {
    /// Nobody wants it any more, but it must not outlive what it borrows.
    fn give_up(self) {
        self.handle.cancel();
        self.handle.wait_finished_unconditionally();
        drop_quietly(self.handle);
    }

    fn help_until_it_ends(&self) {
        loop {
            // Before the wait, so that whoever is asked sees it before it could be told that this worker sleeps.
            self.help.hungry.store(true, Ordering::Relaxed);
            match self.help.lent.get() {
                Ok(piece) => piece.run_here(),
                Err(_) => return,
            }
        }
    }
}
