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
mod place;
mod record;
pub(crate) mod thread;

pub use interrupt::{Interrupt, Reason};
pub use place::AtomicPlace;
pub use record::{
    Blocked, EndsBy, ExecutionId, Pause, Record, Runs, Suspend, current_executor, execution_id, inline_depth,
    may_wait_in, only_task_can_cancel, out_of_reach, polling_tasks, run_as, stands_on_worker_of, task_deadline,
    with_scope, with_suspend, with_task, with_task_deadline, with_worker, without_task_deadline,
};

use crate::model::time::{Duration, Instant};
use record::{Swapped, earliest_deadline, me, raised, scopes, undisturbed};
use std::panic::Location;
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
    /// The address of the scope's interrupt.
    scope: usize,
}

impl Cancelled {
    /// For a strand that cannot go on since a part of its work was cancelled: it ends as cancelled too.
    pub fn with_its_part() -> Self {
        Self { reason: Reason::Cancelled, scope: 0 }
    }

    /// Whether this unwind was meant for the scope of `interrupt`.
    pub fn is_for(&self, interrupt: &Interrupt) -> bool {
        self.scope == std::ptr::from_ref(interrupt).addr()
    }
}

crate::model::thread_local! {
    static PARKER: Arc<ThreadParker> = Arc::new(ThreadParker(Parker::new()));
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
/// Whether the task or scope that calls was asked to stop. Long computations look here now and then.
///
/// False on a plain thread, which nobody can cancel.
pub fn is_cancelled() -> bool {
    raised().is_some()
}

/// Whether a wait here could be ended by somebody who cancels it. False on a plain thread, and in an unwind.
pub fn can_be_cancelled() -> bool {
    may_unwind() && me(|me| !me.scope.get().is_null())
}

/// Unwinds with [`Cancelled`] if the task or scope that calls was asked to stop; a cheap point to stop at in a loop.
#[inline]
pub fn check_cancelled() {
    if !undisturbed() {
        unwind_if_cancelled();
    }
}

#[cold]
fn unwind_if_cancelled() {
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
    /// Also in async code, whose other tasks it stops: for those who must not return, or panic, before.
    unconditional: bool,
    /// None when only time has to pass; nobody is told of such a wait.
    ends_by: Option<EndsBy>,
}

impl Wait {
    /// Until ready or cancelled.
    pub const FOREVER: Self =
        Self { deadline: None, cancellable: true, brief: true, unconditional: false, ends_by: Some(EndsBy::Others) };
    /// Until ready, whatever happens: for those who may not go on before.
    pub const SHIELDED: Self = Self { cancellable: false, ..Self::FOREVER };
    /// Until ready, whatever happens and wherever that is: memory depends on it, so it does not even refuse async code.
    pub const UNCONDITIONAL: Self = Self { unconditional: true, ..Self::SHIELDED };
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
    wait_or_cancel(wait, std::any::type_name_of_val(&poll), poll).map_err(|(interrupted, _)| interrupted)
}

/// [`wait_on`] without a time limit: unwinds with [`Cancelled`] when a scope around it is interrupted.
#[track_caller]
pub fn wait_ready<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    ready_or_unwind(Wait::FOREVER, std::any::type_name_of_val(&poll), poll)
}

/// [`wait_on`] that only readiness ends.
#[track_caller]
pub fn wait_shielded<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    ready_or_unwind(Wait::SHIELDED, std::any::type_name_of_val(&poll), poll)
}

#[track_caller]
fn ready_or_unwind<T>(wait: Wait, on: &'static str, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let wait = Wait { cancellable: wait.cancellable && may_unwind(), ..wait };
    match wait_or_cancel(wait, on, poll) {
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

/// [`wait_ready`] at the longest until the deadline of `wait`: None when that passed. Unwinds with [`Cancelled`], deadline
/// or not.
///
/// A thread suspends through `hook` if there is one, and not in its parker: in a system call that looks out for something
/// besides our wakers. Nobody is told of such a wait ([`Blocked`]). `on` names what is waited for, see [`Pause`].
#[track_caller]
pub fn wait_until_ready<T>(
    wait: Wait,
    on: &'static str,
    hook: Option<&dyn Suspend>,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let wait = Wait { cancellable: wait.cancellable && may_unwind(), ..wait };
    let strand = hook.map_or_else(Strand::current, Strand::Through);
    match wait_as(&strand, wait, on, poll) {
        Ok(value) => Some(value),
        Err((_, Some(cancelled))) => std::panic::resume_unwind(Box::new(cancelled)),
        Err((_, None)) => None,
    }
}

/// Waits for a future under the conditions of `wait`, which has no deadline; unwinds with [`Cancelled`] if it may.
#[track_caller]
pub fn wait_for_ready<F: Future>(wait: Wait, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    ready_or_unwind(wait, std::any::type_name::<F>(), |context| future.as_mut().poll(context))
}

/// [`wait_on`] for a future, which is dropped when the wait is interrupted.
///
/// # Errors
///
/// As [`wait_on`].
#[track_caller]
pub fn wait_for_with<F: Future>(wait: Wait, future: F) -> Result<F::Output, Interrupted> {
    let mut future = std::pin::pin!(future);
    let on = std::any::type_name::<F>();
    wait_or_cancel(wait, on, |context| future.as_mut().poll(context)).map_err(|(interrupted, _)| interrupted)
}

/// Has the task at this address run right now, if this strand is a greenlet whose hub would run it next in any case. For those who
/// are about to wait for it.
#[inline]
pub(crate) fn run_first(task: usize) {
    // Whoever was asked to stop, or may be by the time, is not kept from it by what the task does.
    if let Strand::Greenlet(hook) = Strand::current()
        && undisturbed()
    {
        // SAFETY: as in `Strand::waker`.
        unsafe { hook.as_ref() }.run_first(task);
    }
}

/// Spins for about a microsecond until `ready`, where this strand may spin at all and spinning has paid lately.
///
/// For primitives that can see without a lock that a wait is over; cheaper for both sides than to queue and be woken.
pub(crate) fn spin_until(ready: impl Fn() -> bool) -> bool {
    me(|me| me.suspend.get().is_none()) && PARKER.try_with(|parker| parker.0.spin_until(ready)).unwrap_or(false)
}

/// [`spin_until`] for a lock: looks less often, so that whoever holds it is left alone.
pub(crate) fn spin_for_lock(try_lock: impl Fn() -> bool) -> bool {
    me(|me| me.suspend.get().is_none()) && PARKER.try_with(|parker| parker.0.spin_for_lock(try_lock)).unwrap_or(false)
}

#[track_caller]
fn wait_or_cancel<T>(
    wait: Wait,
    on: &'static str,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, (Interrupted, Option<Cancelled>)> {
    let strand = Strand::current();
    wait_as(&if wait.unconditional { strand.that_may_wait() } else { strand }, wait, on, poll)
}

#[track_caller]
fn wait_as<T>(
    strand: &Strand<'_>,
    wait: Wait,
    on: &'static str,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, (Interrupted, Option<Cancelled>)> {
    if !wait.unconditional {
        refuse_in_async();
    }
    let waker = strand.waker();
    let _depth = Depth::enter(&waker);
    let mut context = Context::from_waker(&waker);
    let scoped = wait.cancellable && me(|me| !me.scope.get().is_null());
    let wake_at = if scoped { earliest_deadline(wait.deadline) } else { wait.deadline };
    let pause =
        Pause { until: wake_at, ends_by: wait.ends_by, on, cancellable: wait.cancellable, at: Location::caller() };
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return Ok(value);
        }
        if scoped {
            // A strand's waker stays the same, except where it sleeps elsewhere: through a hook, or, of a greenlet that unwinds, as
            // the whole thread.
            let stays = match strand {
                Strand::Greenlet(_) => true,
                Strand::Through(_) => false,
                Strand::Thread(_) => me(|me| me.suspend.get().is_none()),
            };
            for scope in scopes().filter(|scope| !scope.left_waker.replace(stays) || !stays) {
                // SAFETY: the interrupt is borrowed for as long as the scope is listed.
                unsafe { &*scope.interrupt }.leave_waker(&waker);
            }
            if !undisturbed()
                && let Some(cancelled) = raised()
            {
                return Err((Interrupted::Cancelled, Some(cancelled)));
            }
        }
        if wait.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err((Interrupted::TimedOut, None));
        }
        strand.suspend(&pause, wait.brief);
    }
}

/// The strand that waits, and how.
enum Strand<'hook> {
    Thread(Arc<ThreadParker>),
    Greenlet(NonNull<dyn Suspend>),
    /// A thread that sleeps elsewhere than in its parker.
    Through(&'hook dyn Suspend),
}

impl Strand<'_> {
    fn current() -> Self {
        match me(|me| me.suspend.get()) {
            // A greenlet that unwinds must not switch: std counts panics by thread, so other greenlets would take its
            // panic for their own and poison their locks. It waits as the thread it runs on.
            Some(hook) if !crate::model::unchecked::panicking() => Self::Greenlet(hook),
            _ => Self::thread(),
        }
    }

    fn thread() -> Self {
        Self::Thread(PARKER.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(ThreadParker(Parker::new()))))
    }

    /// The same, or the whole thread where it may not be suspended.
    fn that_may_wait(self) -> Self {
        match self {
            // SAFETY: as in `waker`.
            Self::Greenlet(hook) if !unsafe { hook.as_ref() }.may_suspend() => Self::thread(),
            it => it,
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Thread(parker) => thread_waker(parker),
            // SAFETY: the record lends the hook for as long as it is named, and this call is inside.
            Self::Greenlet(hook) => unsafe { hook.as_ref() }.waker(),
            Self::Through(hook) => hook.waker(),
        }
    }

    /// Inlined, as all on the way from a wait to the switch should be: see `strand::try_yield`.
    #[inline(always)]
    fn suspend(&self, pause: &Pause, may_spin: bool) {
        match self {
            Self::Thread(parker) => {
                let mut told = None;
                parker.0.park(pause.until, may_spin, || told = Told::tell(pause));
            }
            // SAFETY: as in `waker`. No borrow of a thread-local is held here: the strand may come back much later.
            Self::Greenlet(hook) => unsafe { hook.as_ref() }.suspend(pause),
            Self::Through(hook) => hook.suspend(pause),
        }
    }
}

/// The hook was told that the thread sleeps; dropped, this says that it runs again.
struct Told<'pause>(NonNull<dyn Blocked>, &'pause Pause);

impl<'pause> Told<'pause> {
    fn tell(pause: &'pause Pause) -> Option<Self> {
        let hook = me(|me| me.blocked.get())?;
        let told = Self(hook, pause);
        told.call(|hook| hook.blocked(pause));
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

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.call(|hook| hook.unblocked(self.1));
    }
}

/// Whether somebody is told when this thread sleeps: it is the worker of a pool.
pub fn is_worker() -> bool {
    me(|me| me.blocked.get().is_some())
}

/// Tells whoever wants to know ([`Blocked`]) that this thread is about to sleep elsewhere than in a wait of ours.
/// [`tell_goes_on`] follows, with the same pause.
pub fn tell_sleeps(pause: &Pause) {
    std::mem::forget(Told::tell(pause));
}

/// Tells that this thread runs again; after [`tell_sleeps`].
pub fn tell_goes_on(pause: &Pause) {
    drop(me(|me| me.blocked.get()).map(|hook| Told(hook, pause)));
}

/// One level of nested waits.
struct Depth<'a> {
    waker: &'a Waker,
    nested: bool,
}

impl<'a> Depth<'a> {
    fn enter(waker: &'a Waker) -> Self {
        let depth = me(|me| me.depth.replace(me.depth.get() + 1));
        Self { waker, nested: depth > 0 }
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        me(|me| me.depth.set(me.depth.get() - 1));
        if self.nested {
            // The outer wait's notification may have been taken by this one.
            self.waker.wake_by_ref();
        }
    }
}

/// Suspends the calling strand for `duration`: a thread sleeps, a greenlet lets the others run.
///
/// A time so short that it is over at once, such as none, is a [`yield_now`]: a loop of short sleeps never keeps the other
/// greenlets from running.
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
    let mut looks = 0;
    let look = |_: &mut Context<'_>| {
        looks += 1;
        Poll::Pending
    };
    match wait_or_cancel::<()>(wait, "sleep", look) {
        Err((Interrupted::Cancelled, Some(cancelled))) => std::panic::resume_unwind(Box::new(cancelled)),
        // It was over before it was suspended.
        _ if looks == 1 => yield_now(),
        _ => {}
    }
}

/// Lets another strand run: another thread, or another greenlet of the same hub.
///
/// # Cancel safety
///
/// A greenlet that was cancelled unwinds here.
pub fn yield_now() {
    match Strand::current() {
        Strand::Thread(_) | Strand::Through(_) => crate::model::thread::yield_now(),
        Strand::Greenlet(hook) => {
            // SAFETY: as in `Strand::waker`.
            unsafe { hook.as_ref() }.yield_now();
            check_cancelled();
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
    me(|me| me.suspend.get().is_none() && (me.polling_tasks.get() || ASYNC_PROBE.get().is_some_and(|probe| probe())))
}

/// Whether a wait here would stop those whose end it may be for: in async code, and in a greenlet that unwinds, which
/// waits as the whole thread.
pub fn would_stop_others() -> bool {
    in_async_context() || (crate::model::unchecked::panicking() && me(|me| me.suspend.get().is_some()))
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
