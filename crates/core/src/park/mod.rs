//! Waiting: who am I, and how do I wait. The only function that blocks is [`wait_on`].
//!
//! # The seam
//!
//! A primitive is a function that is polled with a [`Waker`]; it knows nothing else about who waits. [`wait_on`] asks
//! "who am I?" at run time, for each wait anew, and has three answers:
//!
//! * a strand with a [`Suspend`] hook (a greenlet) suspends to whoever resumed it;
//! * a thread that is polling async tasks right now must not block: that is a panic at entry which names the way out;
//! * anything else is a plain thread and parks on its own futex word.
//!
//! # The order of endings
//!
//! *Ready* beats *cancelled* beats *deadline*: the state machine is polled first after each wake-up, so a result that
//! is there is never thrown away, and a time limit never ends a wait early.
//!
//! # Nested waits
//!
//! A poll may itself wait (a future that locks one of our mutexes the blocking way). The inner wait shares the strand's
//! one parking place with the outer one and may swallow a wake-up meant for it, so it leaves a notification behind when
//! it ends: the outer wait polls once more for nothing, and misses nothing.
//!
//! # Cancellation
//!
//! Strands carry a chain of [scopes](with_scope), innermost first. A wait ends as [`Interrupted::Cancelled`] when one
//! of them is interrupted; verbs without a time limit turn that into an unwind with the payload [`Cancelled`], which the
//! scope's owner catches. A plain thread has no scope and is never cancelled. While a strand unwinds, nothing of ours
//! starts a second unwind: waits in destructors run to their end.

mod interrupt;
pub(crate) mod leaf;
pub(crate) mod thread;

pub use interrupt::{Interrupt, Reason};

use crate::model::time::{Duration, Instant};
use std::cell::Cell;
use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use thread::Parker;

/// Why a wait ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The time limit of this wait passed.
    TimedOut,
    /// The task or scope around this wait was cancelled.
    Cancelled,
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the time limit passed",
            Self::Cancelled => "cancelled",
        })
    }
}

impl std::error::Error for Interrupted {}

/// The payload with which a cancelled wait unwinds; caught where the scope began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cancelled {
    /// Why.
    pub reason: Reason,
    scope: usize,
}

impl Cancelled {
    /// Whether this unwind was meant for the scope of `interrupt`.
    pub fn is_for(&self, interrupt: &Interrupt) -> bool {
        self.scope == std::ptr::from_ref(interrupt).addr()
    }
}

/// How a strand that is not a plain thread gives up its processor. Implemented by a hub for its greenlets.
pub trait Suspend {
    /// What wakes this strand; may be called from any thread.
    fn waker(&self) -> Waker;
    /// Returns when woken or at the deadline, and may return early for no reason.
    fn suspend(&self, until: Option<Instant>);
}

/// What has to happen for a wait to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndsBy {
    /// Some other task does something: finishes, sets an event, puts an item. It may not have started yet.
    Others,
    /// Whoever holds something lets go of it. As a rule no further task has to start for that.
    Release,
}

/// Told when a thread is about to wait for more than time in one of our waits, and when it runs again. A pool decides
/// by that whether it needs a replacement.
///
/// A wait inside these calls is not told again.
pub trait Blocked {
    /// The thread will not run until the wait `ends_by` that.
    fn blocked(&self, ends_by: EndsBy);
    /// The thread runs again.
    fn unblocked(&self, ends_by: EndsBy);
}

/// Identifies a strand: two waits with the same id are by the same thread or the same greenlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(NonZeroU64);

impl ExecutionId {
    /// A new id, never handed out before in this process.
    pub fn next() -> Self {
        // Unchecked: ids are not part of any protocol, and a checker should not explore them.
        use crate::model::unchecked::{Ordering, PlainU64};
        static LAST: PlainU64 = PlainU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Self(NonZeroU64::new(id).expect("2^64 strands outlast any program"))
    }

    /// The number, for logs and for a word of atomic state.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// A region of a strand whose waits can be interrupted; a list through the stack, innermost first.
struct Scope {
    interrupt: *const Interrupt,
    deadline: Option<Instant>,
    outer: *const Scope,
}

/// What is known about the strand that runs.
struct Me {
    id: Cell<Option<ExecutionId>>,
    suspend: Cell<Option<NonNull<dyn Suspend>>>,
    blocked: Cell<Option<NonNull<dyn Blocked>>>,
    /// The innermost scope.
    scope: Cell<*const Scope>,
    /// The scope of the worker, which reaches into every task it runs.
    base: Cell<*const Scope>,
    /// The executor whose worker this is, by address; 0 for none.
    executor: Cell<usize>,
    /// How deep in nested waits.
    depth: Cell<u32>,
    /// How deep in tasks that run inside the wait for them.
    inline: Cell<u32>,
    /// The scope of the task that runs.
    task: Cell<*const Scope>,
    polling_tasks: Cell<bool>,
}

impl Me {
    const fn plain_thread() -> Self {
        Self {
            id: Cell::new(None),
            suspend: Cell::new(None),
            blocked: Cell::new(None),
            scope: Cell::new(std::ptr::null()),
            base: Cell::new(std::ptr::null()),
            executor: Cell::new(0),
            depth: Cell::new(0),
            inline: Cell::new(0),
            task: Cell::new(std::ptr::null()),
            polling_tasks: Cell::new(false),
        }
    }
}

crate::model::thread_local! {
    // Nothing in it is dropped, so it is there until the very end of its thread.
    static ME: Me = const { Me::plain_thread() };
    static PARKER: Arc<ThreadParker> = Arc::new(ThreadParker(Parker::new()));
}

/// A field of `ME` that has another value until this is dropped.
struct Swapped<T: Copy + 'static> {
    field: fn(&Me) -> &Cell<T>,
    before: T,
}

impl<T: Copy> Swapped<T> {
    fn new(field: fn(&Me) -> &Cell<T>, value: T) -> Self {
        Self { field, before: ME.with(|me| field(me).replace(value)) }
    }
}

impl<T: Copy> Drop for Swapped<T> {
    fn drop(&mut self) {
        ME.with(|me| (self.field)(me).set(self.before));
    }
}

/// The thread's parker as a waker. (A waker needs std's `Arc`, which no checker sees; nothing depends on its order.)
struct ThreadParker(Parker);

impl Wake for ThreadParker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn thread_waker(parker: &Arc<ThreadParker>) -> Waker {
    Waker::from(Arc::clone(parker))
}

/// The id of the strand that calls.
pub fn execution_id() -> ExecutionId {
    ME.with(|me| {
        me.id.get().unwrap_or_else(|| {
            let id = ExecutionId::next();
            me.id.set(Some(id));
            id
        })
    })
}

/// Runs `body` as a strand that waits through `suspend` (seam of greenlets and of scripted tests).
pub fn with_suspend<R>(id: ExecutionId, suspend: &dyn Suspend, body: impl FnOnce() -> R) -> R {
    let _id = Swapped::new(|me| &me.id, Some(id));
    let _suspend = Swapped::new(|me| &me.suspend, Some(erase_suspend(suspend)));
    let _blocked = Swapped::new(|me| &me.blocked, None);
    let _scope = Swapped::new(|me| &me.scope, std::ptr::null());
    let _base = Swapped::new(|me| &me.base, std::ptr::null());
    let _executor = Swapped::new(|me| &me.executor, 0);
    let _depth = Swapped::new(|me| &me.depth, 0);
    let _inline = Swapped::new(|me| &me.inline, 0);
    let _polling = Swapped::new(|me| &me.polling_tasks, false);
    body()
}

/// Runs `body` as a worker of the executor at address `executor`: `hook` is told when this thread sleeps in a wait, and
/// `interrupt` reaches into every task that the worker runs.
pub fn with_worker<R>(hook: &dyn Blocked, interrupt: &Interrupt, executor: usize, body: impl FnOnce() -> R) -> R {
    let scope = Scope { interrupt: std::ptr::from_ref(interrupt), deadline: None, outer: std::ptr::null() };
    let _blocked = Swapped::new(|me| &me.blocked, Some(erase_blocked(hook)));
    let _executor = Swapped::new(|me| &me.executor, executor);
    let _scope = Swapped::new(|me| &me.scope, &raw const scope);
    let _base = Swapped::new(|me| &me.base, &raw const scope);
    body()
}

/// Runs `body` as code that polls async tasks: blocking waits inside panic at entry.
pub fn polling_tasks<R>(body: impl FnOnce() -> R) -> R {
    let _polling = Swapped::new(|me| &me.polling_tasks, true);
    body()
}

/// Runs `body` in a scope whose waits end when `interrupt` is raised or the deadline passes.
///
/// The caller catches the unwind with [`Cancelled`] where [`Cancelled::is_for`] says it is its own.
pub fn with_scope<R>(interrupt: &Interrupt, deadline: Option<Instant>, body: impl FnOnce() -> R) -> R {
    let outer = ME.with(|me| me.scope.get());
    let scope = Scope { interrupt: std::ptr::from_ref(interrupt), deadline, outer };
    let _scope = Swapped::new(|me| &me.scope, &raw const scope);
    body()
}

/// Runs `body` as a task: its waits end when `interrupt` is raised. Scopes further out do not reach in, except for that
/// of the worker.
///
/// `inline` when the task runs inside the wait for it, which [`inline_depth`] counts.
pub fn with_task<R>(interrupt: &Interrupt, inline: bool, body: impl FnOnce() -> R) -> R {
    let outer = ME.with(|me| me.base.get());
    let scope = Scope { interrupt: std::ptr::from_ref(interrupt), deadline: None, outer };
    let _scope = Swapped::new(|me| &me.scope, &raw const scope);
    let _task = Swapped::new(|me| &me.task, &raw const scope);
    let _inline = inline.then(|| Swapped::new(|me| &me.inline, inline_depth() + 1));
    body()
}

/// Runs `body` out of reach of every scope and task around it: as a plain thread, which nobody cancels.
pub fn out_of_reach<R>(body: impl FnOnce() -> R) -> R {
    let _scope = Swapped::new(|me| &me.scope, std::ptr::null());
    let _base = Swapped::new(|me| &me.base, std::ptr::null());
    body()
}

/// Whether nothing but the task itself can end a wait here: no token with a deadline or a cancel of its own is in force.
pub fn only_task_can_cancel() -> bool {
    ME.with(|me| me.scope.get() == me.task.get())
}

/// How many tasks run inside the wait for them below this point of the stack.
pub fn inline_depth() -> u32 {
    ME.with(|me| me.inline.get())
}

fn erase_suspend(hook: &dyn Suspend) -> NonNull<dyn Suspend> {
    let hook: NonNull<dyn Suspend + '_> = NonNull::from(hook);
    // SAFETY: only the lifetime changes. The pointer is followed while `with_suspend` runs, whose caller lends the hook
    // for that long, and the swap is undone on return and on unwind.
    unsafe { std::mem::transmute::<NonNull<dyn Suspend + '_>, NonNull<dyn Suspend + 'static>>(hook) }
}

fn erase_blocked(hook: &dyn Blocked) -> NonNull<dyn Blocked> {
    let hook: NonNull<dyn Blocked + '_> = NonNull::from(hook);
    // SAFETY: as in `erase_suspend`; `with_worker` takes it away.
    unsafe { std::mem::transmute::<NonNull<dyn Blocked + '_>, NonNull<dyn Blocked + 'static>>(hook) }
}

/// The executor whose worker calls, by address; 0 for none.
pub fn current_executor() -> usize {
    ME.with(|me| me.executor.get())
}

/// The scopes around this point, innermost first.
fn scopes() -> impl Iterator<Item = &'static Scope> {
    let mut next = ME.with(|me| me.scope.get());
    std::iter::from_fn(move || {
        // SAFETY: a scope lives on the stack of the function below us that entered it, which has not returned while
        // `ME` names it. None of the callers keeps one for longer than it runs itself.
        let scope = unsafe { next.as_ref() }?;
        next = scope.outer;
        Some(scope)
    })
}

/// The interrupt that ends waits here, if one was raised: the outermost, since it takes the inner ones with it.
fn raised() -> Option<Cancelled> {
    let now = Instant::now;
    scopes()
        .filter_map(|scope| {
            // SAFETY: `with_scope` borrows the interrupt for as long as the scope is listed.
            let interrupt = unsafe { &*scope.interrupt };
            if scope.deadline.is_some_and(|deadline| deadline <= now()) {
                interrupt.raise(Reason::Deadline);
            }
            let reason = interrupt.reason()?;
            Some(Cancelled { reason, scope: scope.interrupt.addr() })
        })
        .last()
}

/// Whether the task or scope that calls was asked to stop. Long computations look here now and then.
///
/// False on a plain thread, which nobody can cancel.
pub fn is_cancelled() -> bool {
    raised().is_some()
}

/// Unwinds with [`Cancelled`] if the task or scope that calls was asked to stop; a cheap point to stop at in a loop.
pub fn check_cancelled() {
    if let Some(cancelled) = raised()
        && may_unwind()
    {
        std::panic::resume_unwind(Box::new(cancelled));
    }
}

/// Whether a cancelled wait may unwind here: not from a destructor that runs in an unwind, and not where panics abort.
fn may_unwind() -> bool {
    cfg!(panic = "unwind") && !crate::model::unchecked::panicking()
}

/// The conditions of one wait.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    deadline: Option<Instant>,
    cancellable: bool,
    brief: bool,
    /// None when only time has to pass; nobody is told of such a wait.
    ends_by: Option<EndsBy>,
}

impl Wait {
    /// Until ready or cancelled.
    pub const FOREVER: Self = Self { deadline: None, cancellable: true, brief: true, ends_by: Some(EndsBy::Others) };
    /// Until ready, whatever happens: for those who may not go on before.
    pub const SHIELDED: Self = Self { cancellable: false, ..Self::FOREVER };
    /// Until a lock is had, which must be re-acquired even by a strand that is cancelled.
    pub const LOCK: Self = Self { ends_by: Some(EndsBy::Release), ..Self::SHIELDED };
    /// Until something limited is had, or cancelled.
    pub const PERMIT: Self = Self { ends_by: Some(EndsBy::Release), ..Self::FOREVER };

    /// The same wait, at the longest until `deadline`.
    pub const fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The same wait, at the longest for `timeout`. A timeout that the clock cannot add up is no limit.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(timeout), ..self }
    }

    /// The same wait, known to last longer than a spin would.
    const fn long(self) -> Self {
        Self { brief: false, ..self }
    }
}

/// Polls until ready, suspending the calling strand in between. Every blocking verb of ropewalk is this function.
///
/// # Errors
///
/// [`Interrupted::TimedOut`] after the deadline of `wait`, [`Interrupted::Cancelled`] when a scope around it was
/// interrupted. The caller drops what it polled, which hands on whatever it had been given.
///
/// # Panics
///
/// When called while this thread polls async tasks: that would stop all of them.
#[track_caller]
pub fn wait_on<T>(wait: Wait, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, Interrupted> {
    wait_or_cancel(wait, poll).map_err(|(interrupted, _)| interrupted)
}

/// [`wait_on`] without a time limit: unwinds with [`Cancelled`] when a scope around it is interrupted.
#[track_caller]
pub fn wait_ready<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    ready_or_unwind(Wait::FOREVER, poll)
}

/// [`wait_on`] that only readiness ends.
#[track_caller]
pub fn wait_shielded<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    ready_or_unwind(Wait::SHIELDED, poll)
}

#[track_caller]
fn ready_or_unwind<T>(wait: Wait, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let wait = Wait { cancellable: wait.cancellable && may_unwind(), ..wait };
    match wait_or_cancel(wait, poll) {
        Ok(value) => value,
        Err((_, Some(cancelled))) => std::panic::resume_unwind(Box::new(cancelled)),
        Err((_, None)) => unreachable!("a wait without a deadline timed out"),
    }
}

/// [`wait_ready`] for a future: the blocking face of an async one.
#[track_caller]
pub fn wait_for<F: Future>(future: F) -> F::Output {
    wait_for_ready(Wait::FOREVER, future)
}

/// [`wait_shielded`] for a future.
#[track_caller]
pub fn wait_for_shielded<F: Future>(future: F) -> F::Output {
    wait_for_ready(Wait::SHIELDED, future)
}

/// Waits for a future under the conditions of `wait`, which has no deadline; unwinds with [`Cancelled`] if it may.
#[track_caller]
pub fn wait_for_ready<F: Future>(wait: Wait, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    ready_or_unwind(wait, |context| future.as_mut().poll(context))
}

/// [`wait_on`] for a future, which is dropped when the wait is interrupted.
///
/// # Errors
///
/// As [`wait_on`].
#[track_caller]
pub fn wait_for_with<F: Future>(wait: Wait, future: F) -> Result<F::Output, Interrupted> {
    let mut future = std::pin::pin!(future);
    wait_on(wait, |context| future.as_mut().poll(context))
}

/// Spins for about a microsecond until `ready`, where this strand may spin at all and spinning has paid lately.
///
/// For primitives that can see without a lock that a wait is over; cheaper for both sides than to queue and be woken.
pub(crate) fn spin_until(ready: impl Fn() -> bool) -> bool {
    ME.with(|me| me.suspend.get().is_none()) && PARKER.try_with(|parker| parker.0.spin_until(ready)).unwrap_or(false)
}

/// [`spin_until`] for a lock: looks less often, so that whoever holds it is left alone.
pub(crate) fn spin_for_lock(try_lock: impl Fn() -> bool) -> bool {
    ME.with(|me| me.suspend.get().is_none())
        && PARKER.try_with(|parker| parker.0.spin_for_lock(try_lock)).unwrap_or(false)
}

#[track_caller]
fn wait_or_cancel<T>(
    wait: Wait,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, (Interrupted, Option<Cancelled>)> {
    refuse_in_async();
    let strand = Strand::current();
    let waker = strand.waker();
    let _depth = Depth::enter(&waker);
    let mut context = Context::from_waker(&waker);
    let scoped = wait.cancellable && ME.with(|me| !me.scope.get().is_null());
    let wake_at =
        if scoped { scopes().filter_map(|scope| scope.deadline).chain(wait.deadline).min() } else { wait.deadline };
    let mut left_waker = false;
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return Ok(value);
        }
        if scoped {
            if !left_waker {
                left_waker = true;
                for scope in scopes() {
                    // SAFETY: the interrupt is borrowed for as long as the scope is listed.
                    unsafe { &*scope.interrupt }.leave_waker(&waker);
                }
            }
            if let Some(cancelled) = raised() {
                return Err((Interrupted::Cancelled, Some(cancelled)));
            }
        }
        if wait.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err((Interrupted::TimedOut, None));
        }
        strand.suspend(wake_at, wait);
    }
}

/// The strand that waits, and how.
enum Strand {
    Thread(Arc<ThreadParker>),
    Greenlet(NonNull<dyn Suspend>),
}

impl Strand {
    fn current() -> Self {
        match ME.with(|me| me.suspend.get()) {
            Some(hook) => Self::Greenlet(hook),
            None => Self::Thread(PARKER.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(ThreadParker(Parker::new())))),
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Thread(parker) => thread_waker(parker),
            // SAFETY: `with_suspend` lends the hook for as long as `ME` names it, and this call is inside.
            Self::Greenlet(hook) => unsafe { hook.as_ref() }.waker(),
        }
    }

    fn suspend(&self, until: Option<Instant>, wait: Wait) {
        match self {
            Self::Thread(parker) => {
                let mut told = None;
                parker.0.park(until, wait.brief, || told = Told::tell(wait.ends_by));
            }
            // SAFETY: as in `waker`. No borrow of a thread-local is held here: the strand may come back much later.
            Self::Greenlet(hook) => unsafe { hook.as_ref() }.suspend(until),
        }
    }
}

/// The hook was told that the thread sleeps; dropped, this says that it runs again.
struct Told(NonNull<dyn Blocked>, EndsBy);

impl Told {
    fn tell(ends_by: Option<EndsBy>) -> Option<Self> {
        let ends_by = ends_by?;
        let hook = ME.with(|me| me.blocked.get())?;
        let told = Self(hook, ends_by);
        told.call(|hook| hook.blocked(ends_by));
        Some(told)
    }

    fn call(&self, with: impl FnOnce(&dyn Blocked)) {
        // The hook may have to wait for a lock for a moment; it is not told of that.
        let _quiet = Swapped::new(|me| &me.blocked, None);
        // SAFETY: `with_worker` lends the hook for as long as `ME` names it, and it did when this wait began, which is
        // inside.
        with(unsafe { self.0.as_ref() });
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.call(|hook| hook.unblocked(self.1));
    }
}

/// One level of nested waits.
struct Depth<'a> {
    waker: &'a Waker,
    nested: bool,
}

impl<'a> Depth<'a> {
    fn enter(waker: &'a Waker) -> Self {
        let depth = ME.with(|me| me.depth.replace(me.depth.get() + 1));
        Self { waker, nested: depth > 0 }
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        ME.with(|me| me.depth.set(me.depth.get() - 1));
        if self.nested {
            // The outer wait's notification may have been taken by this one.
            self.waker.wake_by_ref();
        }
    }
}

/// Suspends the calling strand for `duration`: a thread sleeps, a greenlet lets the others run.
///
/// # Cancel safety
///
/// Inside a task or a cancel scope the sleep ends early by unwinding when that is cancelled.
///
/// # Panics
///
/// In async code, where it would stop every other task: use the runtime's own timer there.
#[track_caller]
pub fn sleep(duration: Duration) {
    let wait = Wait { cancellable: may_unwind(), ends_by: None, ..Wait::FOREVER }.timeout(duration).long();
    if let Err((Interrupted::Cancelled, Some(cancelled))) = wait_or_cancel::<()>(wait, |_| Poll::Pending) {
        std::panic::resume_unwind(Box::new(cancelled));
    }
}

/// Lets another strand run: another thread, or another greenlet of the same hub.
pub fn yield_now() {
    match Strand::current() {
        Strand::Thread(_) => crate::model::thread::yield_now(),
        strand @ Strand::Greenlet(_) => {
            strand.waker().wake();
            strand.suspend(None, Wait::FOREVER);
        }
    }
}

/// Asks a runtime that ropewalk does not know whether this thread polls its tasks right now.
type AsyncProbe = fn() -> bool;

static ASYNC_PROBE: std::sync::OnceLock<AsyncProbe> = std::sync::OnceLock::new();

/// Installs the probe that recognises a foreign runtime's threads; the first one stays.
pub fn set_async_probe(probe: AsyncProbe) {
    let _ = ASYNC_PROBE.set(probe);
}

/// Whether a blocking wait here would stop async tasks.
pub fn in_async_context() -> bool {
    ME.with(|me| {
        me.suspend.get().is_none() && (me.polling_tasks.get() || ASYNC_PROBE.get().is_some_and(|probe| probe()))
    })
}

/// Panics where a blocking wait would stop async tasks.
///
/// # Panics
///
/// See above; the message names the way out.
#[track_caller]
pub fn refuse_in_async() {
    assert!(
        !in_async_context(),
        "blocking call in async context: it would stop every task of this thread; use `.await` on the handle, or the \
         method's `_async` form"
    );
}
