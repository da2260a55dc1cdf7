//! What is known about the strand that runs: who it is, how it suspends, what can interrupt it.
//!
//! Each strand has one [`Record`]. A thread keeps its own in a thread-local; a greenlet keeps its own beside its stack,
//! and its hub names it in the thread-local while the greenlet runs, which is one store a switch. Nothing in a record
//! is reached from another thread, and no borrow of it is held while a strand is suspended.

use super::{Cancelled, Interrupt, Reason};
use crate::model::time::Instant;
use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::ptr::NonNull;
use std::task::Waker;

/// How a strand that is not a plain thread gives up its processor. Implemented by a hub for its greenlets.
pub trait Suspend {
    /// What wakes this strand; may be called from any thread.
    fn waker(&self) -> Waker;
    /// Returns when woken or at the deadline, and may return early for no reason.
    fn suspend(&self, pause: &Pause);
    /// Lets other strands run.
    fn yield_now(&self);
    /// Whether it may be suspended at this moment. A wait on which memory depends stops the whole thread where it may not.
    fn may_suspend(&self) -> bool {
        true
    }
    /// The strand is about to wait for the task at this address. Whoever would run it next in any case may do so now; returns
    /// when it has ended or waits, or at once.
    fn run_first(&self, task: usize) {
        let _ = task;
    }
}

/// What is known about one suspension.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// The latest time to come back.
    pub until: Option<Instant>,
    /// What has to happen; None when only time has to pass.
    pub ends_by: Option<EndsBy>,
    /// What is waited for: the name of a type, from [`std::any::type_name`].
    pub on: &'static str,
    /// Whether a cancel ends it.
    pub cancellable: bool,
    /// Where the program waits.
    pub at: &'static Location<'static>,
}

/// What is waited for and where: "Event at src/main.rs:1:2".
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // From the name of the future that waits: `ropewalk_core::sync::event::EventFuture<'_>` is "Event".
        let name = self.on.split('<').next().unwrap_or(self.on).trim_end_matches("::{{closure}}");
        let name = name.rsplit("::").next().unwrap_or(name);
        let name = match name.strip_suffix("Future").unwrap_or(name) {
            "RawLock" => "Mutex",
            name => name,
        };
        write!(f, "{name} at {}", self.at)
    }
}

/// What has to happen for a wait to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndsBy {
    /// Some other task does something: finishes, sets an event, puts an item. It may not have started yet.
    Others,
    /// Whoever holds something lets go of it. As a rule no further task has to start for that.
    Release,
}

/// Told when a thread is about to sleep in one of our waits, and when it runs again. A pool decides by that whether it
/// needs a replacement.
///
/// A wait inside these calls is not told again.
pub trait Blocked {
    /// The thread will not run until the wait is over.
    fn blocked(&self, pause: &Pause);
    /// The thread runs again.
    fn unblocked(&self, pause: &Pause);
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
pub(super) struct Scope {
    pub(super) interrupt: *const Interrupt,
    pub(super) deadline: Option<Instant>,
    /// The strand has left its waker in the interrupt, and need not again: the waker of a strand stays the same, and an
    /// interrupt that took it is raised for ever.
    pub(super) left_waker: Cell<bool>,
    outer: *const Scope,
}

impl Scope {
    fn new(interrupt: &Interrupt, deadline: Option<Instant>, outer: *const Self) -> Self {
        Self { interrupt: std::ptr::from_ref(interrupt), deadline, left_waker: Cell::new(false), outer }
    }
}

/// What is known about one strand.
#[repr(C)]
pub struct Record {
    /// The innermost scope. First: every switch looks at it.
    pub(super) scope: Cell<*const Scope>,
    pub(super) suspend: Cell<Option<NonNull<dyn Suspend>>>,
    pub(super) id: Cell<Option<ExecutionId>>,
    pub(super) blocked: Cell<Option<NonNull<dyn Blocked>>>,
    /// The scope of the worker, which reaches into every task it runs.
    base: Cell<*const Scope>,
    /// The executor whose worker this is, by address; 0 for none.
    executor: Cell<usize>,
    /// How deep in nested waits.
    pub(super) depth: Cell<u32>,
    /// How deep in tasks that run inside the wait for them.
    inline: Cell<u32>,
    /// The scope of the task that runs; null where something besides the task may end its waits.
    task: Cell<*const Scope>,
    /// The deadline of the tasks that are made here.
    deadline: Cell<Option<Instant>>,
    pub(super) polling_tasks: Cell<bool>,
}

impl Record {
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
            deadline: Cell::new(None),
            polling_tasks: Cell::new(false),
        }
    }

    /// The record of a strand that waits through `suspend`.
    pub fn new(suspend: &'static dyn Suspend) -> Self {
        let record = Self::plain_thread();
        record.suspend.set(Some(NonNull::from(suspend)));
        record
    }

    /// The id of the strand; made when it is first asked for.
    pub fn id(&self) -> ExecutionId {
        self.id.get().unwrap_or_else(|| {
            let id = ExecutionId::next();
            self.id.set(Some(id));
            id
        })
    }

    /// Makes this the record of another strand, which waits the same way and is not known yet.
    pub fn renew(&self) {
        self.id.set(None);
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a thread knows: its own record, and whose it is running at the moment.
struct Here {
    /// Null for the thread's own.
    strand: Cell<*const Record>,
    thread: Record,
}

crate::model::thread_local! {
    // Nothing in it is dropped, so it is there until the very end of its thread.
    static HERE: Here = const { Here { strand: Cell::new(std::ptr::null()), thread: Record::plain_thread() } };
}

/// Shows the record of the strand that calls. Not across a suspend: `look` is a few instructions.
#[inline]
pub(super) fn me<R>(look: impl FnOnce(&Record) -> R) -> R {
    HERE.with(|here| {
        // SAFETY: whoever named the record keeps it alive for as long as it is named (`run_as`).
        match unsafe { here.strand.get().as_ref() } {
            None => look(&here.thread),
            Some(record) => look(record),
        }
    })
}

/// Makes `record` that of the strand which runs on this thread from here on; null is the thread's own. Returns whose it
/// was before.
///
/// # Safety
///
/// The record must live until another one is named. Whoever runs between the two calls is that strand.
#[inline]
pub unsafe fn run_as(record: *const Record) -> *const Record {
    HERE.with(|here| here.strand.replace(record))
}

/// A field of the record that has another value until this is dropped.
pub(super) struct Swapped<T: Copy + 'static> {
    field: fn(&Record) -> &Cell<T>,
    before: T,
}

impl<T: Copy> Swapped<T> {
    pub(super) fn new(field: fn(&Record) -> &Cell<T>, value: T) -> Self {
        Self { field, before: me(|me| field(me).replace(value)) }
    }
}

impl<T: Copy> Drop for Swapped<T> {
    fn drop(&mut self) {
        me(|me| (self.field)(me).set(self.before));
    }
}

/// The id of the strand that calls.
pub fn execution_id() -> ExecutionId {
    me(Record::id)
}

/// Runs `body` as a strand that waits through `suspend`: for tests and for strands that live as long as one call.
pub fn with_suspend<R>(id: ExecutionId, suspend: &dyn Suspend, body: impl FnOnce() -> R) -> R {
    struct Back(*const Record);
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: it was named when this call began, and still lives.
            unsafe { run_as(self.0) };
        }
    }
    let record = Record::plain_thread();
    record.id.set(Some(id));
    record.suspend.set(Some(erase_suspend(suspend)));
    // SAFETY: `Back` names the one before while `record` is still there.
    let _back = Back(unsafe { run_as(&raw const record) });
    body()
}

/// Runs `body` as a worker of the executor at address `executor`: `hook` is told when this thread sleeps in a wait, and
/// `interrupt` reaches into every task that the worker runs.
pub fn with_worker<R>(hook: &dyn Blocked, interrupt: &Interrupt, executor: usize, body: impl FnOnce() -> R) -> R {
    let scope = Scope::new(interrupt, None, std::ptr::null());
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
    let outer = me(|me| me.scope.get());
    let scope = Scope::new(interrupt, deadline, outer);
    let _scope = Swapped::new(|me| &me.scope, &raw const scope);
    body()
}

/// On whose strand a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Its executor's. Scopes further out do not reach in, except for that of the worker.
    Apart,
    /// That of somebody who waits for it, which [`inline_depth`] counts. The same scopes reach in.
    InWait,
    /// That of whoever submitted it, whose scopes reach in: there is nobody else who could go on.
    Here,
    /// Both: that of the scope it belongs to, in the wait for all of it.
    HereInWait,
}

/// Runs `body` as a task: its waits end when `interrupt` is raised, or at the deadline.
pub fn with_task<R>(interrupt: &Interrupt, deadline: Option<Instant>, runs: Runs, body: impl FnOnce() -> R) -> R {
    let (base, around, task) = me(|me| (me.base.get(), me.scope.get(), me.task.get()));
    let outer = if matches!(runs, Runs::Here | Runs::HereInWait) { around } else { base };
    let scope = Scope::new(interrupt, deadline, outer);
    // Nothing around it, or a task of which the same is true.
    let only_by_cancel = deadline.is_none() && (outer == base || outer == task);
    let _scope = Swapped::new(|me| &me.scope, &raw const scope);
    let _task = Swapped::new(|me| &me.task, if only_by_cancel { &raw const scope } else { std::ptr::null() });
    let _inline =
        matches!(runs, Runs::InWait | Runs::HereInWait).then(|| Swapped::new(|me| &me.inline, inline_depth() + 1));
    // What the task makes itself has the deadlines that the task gives it.
    without_task_deadline(body)
}

/// Gives the tasks that `body` makes a deadline: they do not start after it, and their waits end at it. An earlier one that
/// is in force stays.
pub fn with_task_deadline<R>(deadline: Instant, body: impl FnOnce() -> R) -> R {
    let deadline = task_deadline().map_or(deadline, |earlier| earlier.min(deadline));
    let _deadline = Swapped::new(|me| &me.deadline, Some(deadline));
    body()
}

/// The deadline of a task that is made here and now.
#[inline]
pub fn task_deadline() -> Option<Instant> {
    me(|me| me.deadline.get())
}

/// Makes no deadline be in force for the tasks that `body` makes.
pub fn without_task_deadline<R>(body: impl FnOnce() -> R) -> R {
    let _deadline = task_deadline().is_some().then(|| Swapped::new(|me| &me.deadline, None));
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
    me(|me| me.scope.get() == me.task.get())
}

/// How many tasks run inside the wait for them below this point of the stack.
pub fn inline_depth() -> u32 {
    me(|me| me.inline.get())
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
#[inline]
pub fn current_executor() -> usize {
    me(|me| me.executor.get())
}

/// Whether a worker of this executor is below on this thread's stack: it calls, or a greenlet of a hub in its job does. Who
/// waits there for the worker to end waits for itself.
pub fn stands_on_worker_of(executor: usize) -> bool {
    current_executor() == executor || HERE.with(|here| here.thread.executor.get() == executor)
}

/// Whether a worker of this executor calls, and polls no async tasks of ropewalk's runtimes at this moment: a part of
/// [`in_async_context`](super::in_async_context) that costs nothing, since it asks no other runtime.
#[inline]
pub fn may_wait_in(executor: usize) -> bool {
    me(|me| me.executor.get() == executor && !me.polling_tasks.get())
}

/// The scopes around this point, innermost first.
pub(super) fn scopes() -> impl Iterator<Item = &'static Scope> {
    let mut next = me(|me| me.scope.get());
    std::iter::from_fn(move || {
        // SAFETY: a scope lives on the stack of the function below us that entered it, which has not returned while
        // the record names it. None of the callers keeps one for longer than it runs itself.
        let scope = unsafe { next.as_ref() }?;
        next = scope.outer;
        Some(scope)
    })
}

/// The earliest of `deadline` and those of the scopes around this point.
#[inline]
pub(super) fn earliest_deadline(deadline: Option<Instant>) -> Option<Instant> {
    let mut earliest = deadline;
    for scope in scopes() {
        if scope.deadline.is_some() && earliest.is_none_or(|before| scope.deadline < Some(before)) {
            earliest = scope.deadline;
        }
    }
    earliest
}

/// Whether no scope here has been interrupted or could be by time: a few loads, for the way of every switch.
#[inline]
pub(super) fn undisturbed() -> bool {
    let mut next = me(|me| me.scope.get());
    // SAFETY: as in `scopes`.
    while let Some(scope) = unsafe { next.as_ref() } {
        // SAFETY: `with_scope` borrows the interrupt for as long as the scope is listed.
        if scope.deadline.is_some() || unsafe { &*scope.interrupt }.is_raised() {
            return false;
        }
        next = scope.outer;
    }
    true
}

/// The interrupt that ends waits here, if one was raised: the outermost, since it takes the inner ones with it.
pub(super) fn raised() -> Option<Cancelled> {
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
