//! One thread's greenlets: the run queue, the slots, and the turn in which they run.
//!
//! # Life
//!
//! A hub record is adopted by a thread, runs greenlets in turns, and is released when none is left; the next thread
//! that needs a hub adopts it, with its slots and their memory. Records are never freed, so a waker may hold on to one.
//!
//! # Who touches what
//!
//! `inbox`, `switches` and `current` are for anybody. [`Local`] belongs to the thread that has adopted the record; it is
//! entered for a few instructions at a time, never over a switch, and nothing of a user's runs meanwhile.

use super::inbox::{Inbox, Parcel};
use super::run_queue::RunQueue;
use super::slot::{After, HOOKED, Life, Slot, Start, Tenant};
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
use super::stack::Place;
use super::stack::{self, STACK_CLASS_DEFAULT, STACK_SIZES, Slab, StackError};
use super::{ahead, hook};
use crate::model::cell::UnsafeCell;
use crate::model::time::Instant;
use crate::model::unchecked::{Ordering, PlainPtr, PlainU64, PlainUsize};
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
use crate::park::leaf::Leaf;
use crate::park::{self, ExecutionId, Pause, Suspend};
use crate::task::TaskError;
use crate::task::harness::drop_quietly;
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Waker};

/// Switches between two looks at the clock and the inbox: a look costs about 25 ns, a switch 5.
const SWITCHES_PER_LOOK: u32 = 32;
/// Free slots of a class that keep the memory their last greenlets touched.
const WARM_SLOTS: usize = 4096;
/// Slots that an idle hub trims before it sleeps; about 1 µs each.
const TRIMMED_AT_ONCE: usize = 32;

/// What is in the run queue: a slot to resume, or the turn of the next greenlet in `starts`. (Eight bytes instead of 32.)
type Entry = Option<&'static Slot>;

/// What only the hub's thread touches.
struct Local {
    queue: RunQueue<Entry>,
    starts: VecDeque<Start>,
    /// Last used first.
    free: [Vec<&'static Slot>; STACK_SIZES.len()],
    /// How many of `free`, from its beginning, have given their memory back.
    trimmed: [usize; STACK_SIZES.len()],
    slots: Vec<&'static Slot>,
    /// The last slab of a class, and how many of its places have slots.
    slabs: [Option<(&'static Slab, usize)>; STACK_SIZES.len()],
    live: usize,
    /// How many were put into the queue by a wake, less one for each switch since: about as many as are in it still, if
    /// nobody comes into it otherwise.
    woken: usize,
    /// How often the record was adopted.
    adoption: u64,
    suspend: Option<&'static dyn Suspend>,
    /// Switches until the turn looks at the clock and the inbox again.
    until_look: u32,
    /// The clock as of the last look.
    now: Option<Instant>,
    /// In a turn: nobody has to be told of a local wake.
    turning: bool,
}

/// One thread's greenlets.
pub struct Hub {
    inbox: Inbox,
    local: UnsafeCell<Local>,
    /// For watchers: how often a greenlet was resumed, and which one it is.
    switches: PlainU64,
    current: PlainPtr<Slot>,
    /// For watchers: greenlets that have not ended, started or not.
    population: PlainUsize,
}

// SAFETY: the table above.
unsafe impl Sync for Hub {}
// SAFETY: as above; a record changes its thread through the lock of `RELEASED`.
unsafe impl Send for Hub {}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("switches", &self.switches()).finish_non_exhaustive()
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Every greenlet waits.
    Idle,
    /// The time is over; more are ready.
    More,
}

crate::model::thread_local! {
    /// The hub of this thread; null when it has none.
    static HERE: Cell<*const Hub> = const { Cell::new(std::ptr::null()) };
}

#[inline]
fn here() -> Option<&'static Hub> {
    // SAFETY: records are never freed.
    HERE.with(|here| unsafe { here.get().as_ref() })
}

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
static RELEASED: Leaf<Vec<&'static Hub>> = Leaf::new(Vec::new());

impl Hub {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            inbox: Inbox::new(),
            local: UnsafeCell::new(Local {
                queue: RunQueue::new(),
                starts: VecDeque::new(),
                free: [const { Vec::new() }; STACK_SIZES.len()],
                trimmed: [0; STACK_SIZES.len()],
                slots: Vec::new(),
                slabs: [None; STACK_SIZES.len()],
                live: 0,
                woken: 0,
                adoption: 0,
                suspend: None,
                until_look: 0,
                now: None,
                turning: false,
            }),
            switches: PlainU64::new(0),
            current: PlainPtr::new(std::ptr::null_mut()),
            population: PlainUsize::new(0),
        }))
    }

    /// Makes this thread a hub, whose greenlets wait through `suspend`.
    ///
    /// # Panics
    ///
    /// When it is one already.
    pub fn adopt(suspend: &'static dyn Suspend) -> Adopted {
        #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
        let released = RELEASED.lock().pop();
        #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
        let released = None;
        Self::adopt_record(released.unwrap_or_else(Self::new), suspend)
    }

    /// [`adopt`](Self::adopt) with a record that was released before: for models.
    pub(crate) fn adopt_record(hub: &'static Self, suspend: &'static dyn Suspend) -> Adopted {
        assert!(here().is_none(), "this thread runs a hub already");
        hub.with_local(|local| {
            local.adoption += 1;
            local.suspend = Some(suspend);
        });
        HERE.with(|here| here.set(hub));
        Adopted { hub }
    }

    /// The hub of the calling thread.
    pub fn current() -> Option<&'static Self> {
        here()
    }

    #[inline(always)]
    fn with_local<R>(&self, with: impl FnOnce(&mut Local) -> R) -> R {
        // SAFETY: the callers are on the thread that has adopted this record, and `with` is a few instructions of ours.
        self.local.with_mut(|local| with(unsafe { &mut *local }))
    }

    fn is_here(&self) -> bool {
        here().is_some_and(|here| std::ptr::eq(here, self))
    }

    /// Takes over a greenlet that has not started, from any thread.
    pub fn start(&'static self, start: Start) {
        if self.is_here() {
            if !self.with_local(|local| self.enqueue(local, start)) {
                self.inbox.ring();
            }
        } else {
            self.inbox.put(Parcel::Start(start));
        }
    }

    /// Has `call` made on the hub's thread, outside greenlets; from any thread.
    pub fn call(&self, call: Box<dyn FnOnce() + Send>) {
        self.inbox.put(Parcel::Call(call));
    }

    /// Wakes the hub if it sleeps, so that it looks for work elsewhere; whether it did. From any thread.
    pub fn ring(&self) -> bool {
        self.inbox.ring()
    }

    /// How often a greenlet was resumed; from any thread.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Where the greenlet was spawned that runs now, or that ran when its slot was used last; from any thread.
    pub fn running(&self) -> Option<&'static Location<'static>> {
        // SAFETY: slots are never freed.
        unsafe { self.current.load(Ordering::Relaxed).as_ref() }?.spawned_at.get()
    }

    /// How many greenlets of this hub have not ended, started or not, as of a moment ago; from any thread.
    pub fn population(&self) -> usize {
        self.population.load(Ordering::Relaxed)
    }

    /// Queues a greenlet that has not started. False when somebody must be told.
    fn enqueue(&self, local: &mut Local, start: Start) -> bool {
        local.starts.push_back(start);
        local.queue.push_back(None);
        self.publish_population(local);
        local.turning
    }

    fn publish_population(&self, local: &Local) {
        self.population.store(local.live + local.starts.len(), Ordering::Relaxed);
    }

    /// How many greenlets have started and not ended, and how many entries wait in the run queue. On the hub's thread.
    pub fn load(&self) -> (usize, usize) {
        self.with_local(|local| (local.live, local.queue.len()))
    }

    /// Runs what is ready until nothing is, or until `enough` says so, which is asked after the first switch and then every 32.
    pub fn turn(&'static self, mut enough: impl FnMut() -> bool) -> Turn {
        self.with_local(|local| local.turning = true);
        self.empty_inbox();
        // SAFETY: names the hub's own record, which is the thread's, for the end of the turn.
        let own_record = unsafe { park::run_as(std::ptr::null()) };
        // The first look comes after the first greenlet: what that did while it was alone is told apart.
        self.with_local(|local| local.until_look = 1);
        let mut crowd = false;
        let turn = loop {
            match self.with_local(|local| local.queue.pop_front()) {
                Some(Some(slot)) if slot.life.get() == Life::Lives => {
                    if crowd {
                        self.with_local(|local| ahead::look(&local.queue));
                    }
                    self.resume(slot);
                }
                Some(Some(slot)) => self.release_or_attend(slot),
                Some(None) => {
                    self.leave();
                    let start = self.with_local(|local| local.starts.pop_front());
                    if let Some(slot) = self.begin(start.expect("each empty entry stands for one")) {
                        self.resume(slot);
                    }
                }
                None => {
                    self.leave();
                    if self.inbox.is_empty() {
                        break Turn::Idle;
                    }
                    self.empty_inbox();
                    continue;
                }
            }
            let looks = self.with_local(|local| {
                local.until_look -= 1;
                local.until_look == 0
            });
            if looks {
                crowd = self.with_local(|local| {
                    local.until_look = SWITCHES_PER_LOOK;
                    local.woken = local.woken.min(local.queue.len()).saturating_sub(SWITCHES_PER_LOOK as usize);
                    local.woken >= ahead::CROWD
                });
                self.leave();
                self.empty_inbox();
                if enough() {
                    break Turn::More;
                }
            }
        };
        // SAFETY: the one from before.
        unsafe { park::run_as(own_record) };
        self.with_local(|local| local.turning = false);
        turn
    }

    /// What runs from here on is this greenlet.
    #[inline(always)]
    fn enter(&self, slot: &'static Slot) {
        self.current.store(std::ptr::from_ref(slot).cast_mut(), Ordering::Relaxed);
        // SAFETY: the record lives as long as the slot, which is for ever.
        unsafe { park::run_as(&raw const slot.record) };
    }

    /// What runs from here on is no greenlet. (Left out between two greenlets that only switch.)
    fn leave(&self) {
        self.current.store(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: null is the thread's own record.
        unsafe { park::run_as(std::ptr::null()) };
    }

    /// Sets the clock that waits are dated with.
    pub fn set_now(&self, now: Instant) {
        self.with_local(|local| local.now = Some(now));
    }

    /// Nothing is ready: `context` is woken when that changes. False when something is ready after all.
    pub fn sleep(&self, context: &Context<'_>) -> bool {
        self.inbox.arm(context.waker()) && self.with_local(|local| local.queue.is_empty())
    }

    #[inline]
    fn empty_inbox(&'static self) {
        if !self.inbox.is_empty() {
            self.empty_full_inbox();
        }
    }

    #[cold]
    fn empty_full_inbox(&'static self) {
        self.inbox.take_woken(|slot| self.wake_here(slot));
        for parcel in self.inbox.take_parcels() {
            match parcel {
                Parcel::Start(start) => {
                    self.with_local(|local| self.enqueue(local, start));
                }
                Parcel::Call(call) => {
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
                        drop_quietly(payload);
                    }
                }
            }
        }
    }

    /// Puts a slot of this hub into the run queue, on its thread.
    #[inline]
    fn wake_here(&self, slot: &'static Slot) {
        // A free slot is woken by a waker that outlived its greenlet.
        if slot.is_live() && !slot.queued.replace(true) {
            let turning = self.with_local(|local| {
                local.queue.push_back(Some(slot));
                local.woken += 1;
                local.turning
            });
            if !turning {
                self.inbox.ring();
            }
        }
    }

    /// Gives a greenlet a slot, for it to be resumed. (Not resumed in here: see [`try_yield`] for what a frame costs.)
    fn begin(&'static self, start: Start) -> Option<&'static Slot> {
        if !start.task.is_pending() {
            self.with_local(|local| self.publish_population(local));
            drop_quietly(start);
            return None;
        }
        let class = start.extra.as_ref().and_then(|extra| extra.stack_class).unwrap_or(STACK_CLASS_DEFAULT);
        let slot = match self.with_local(|local| local.free[class].pop()) {
            Some(slot) => slot,
            None => match self.grow(class) {
                Ok(slot) => slot,
                Err(error) => {
                    start.task.cancel(TaskError::Failed {
                        type_name: std::any::type_name::<StackError>().to_owned(),
                        message: error.to_string(),
                        chain: Vec::new(),
                    });
                    self.with_local(|local| self.publish_population(local));
                    return None;
                }
            },
        };
        let tenant = Tenant { task: start.task, place: start.place, name: start.extra.and_then(|extra| extra.name) };
        // SAFETY: the slot is free: nobody looks.
        unsafe { *slot.tenant.get() = Some(tenant) };
        slot.spawned_at.set(Some(start.place));
        slot.record.renew();
        slot.life.set(Life::Lives);
        let adoption = self.with_local(|local| {
            local.live += 1;
            self.publish_population(local);
            local.adoption
        });
        if slot.made_in.replace(adoption) != adoption {
            // SAFETY: the slot is free and its place guarded; the header is above the top that `grow` left to the stack.
            unsafe { slot.coroutine.make(slot.place, slot, body) };
        }
        Some(slot)
    }

    /// Makes a slot.
    #[cold]
    fn grow(&'static self, class: usize) -> Result<&'static Slot, StackError> {
        let (suspend, slab) = self.with_local(|local| (local.suspend, local.slabs[class]));
        let suspend = suspend.expect("an adopted record has a hook");
        let (slab, used) = match slab {
            Some((slab, used)) if used < slab.count => (slab, used),
            before => (Slab::map(class, before.map_or(0, |(slab, _)| 2 * slab.count))?, 0),
        };
        // SAFETY: `used` grows with each place.
        let slot = unsafe { slab.put(used, |place| Slot::new(self, suspend, place, class)) };
        self.with_local(|local| {
            local.slabs[class] = Some((slab, used + 1));
            local.slots.push(slot);
        });
        Ok(slot)
    }

    #[inline(always)]
    fn resume(&'static self, slot: &'static Slot) {
        slot.queued.set(false);
        self.enter(slot);
        self.count_switch();
        // SAFETY: on the hub's thread and stack; `begin` made the coroutine.
        unsafe { slot.coroutine.resume() };
        if !matches!(slot.after.get(), After::Park) {
            self.attend(slot);
        }
    }

    /// Runs the next greenlet of the queue, if it has this task and has not started, on behalf of `waiter`, which is about to
    /// wait for it: on a stack of its own as always, but switched to from the waiter's. If it ends without waiting, as the
    /// short ones do, the waiter need neither queue nor be woken, and two switches are saved.
    fn run_first(&'static self, waiter: &'static Slot, task: usize) {
        let start = self.with_local(|local| {
            // The looks of the turn come as often as without.
            let starts_next = matches!(local.queue.get(0), Some(None)) && local.starts.front()?.task.address() == task;
            if !starts_next || local.until_look <= 1 {
                return None;
            }
            local.until_look -= 1;
            local.queue.pop_front();
            local.starts.pop_front()
        });
        let Some(start) = start else { return };
        // Outside greenlets: what cannot start is dropped.
        self.leave();
        let Some(slot) = self.begin(start) else { return self.enter(waiter) };
        self.enter(slot);
        self.count_switch();
        // SAFETY: on the hub's thread, on a stack that stays until this call has returned: `waiter` waits in it. `begin` made
        // the coroutine.
        unsafe { slot.coroutine.resume() };
        match slot.after.get() {
            After::Park => {}
            After::End => {
                slot.after.set(After::Park);
                self.end(slot);
            }
            // It is in a region that nobody else may have a turn in: at once, though it is on the waiter's stack.
            After::Call(_) if slot.holds.get() != 0 => self.attend(slot),
            // Not on this stack: the turn attends to it.
            After::Call(_) => {
                slot.life.set(Life::Wishes);
                slot.queued.set(true);
                self.with_local(|local| local.queue.push_back(Some(slot)));
            }
        }
        self.enter(waiter);
    }

    /// One writer, so no read-modify-write.
    #[inline(always)]
    fn count_switch(&self) {
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A greenlet has come back with a wish.
    fn attend(&'static self, slot: &'static Slot) {
        loop {
            self.leave();
            match slot.after.replace(After::Park) {
                After::Park => return,
                After::End => return self.end(slot),
                // SAFETY: `on_hub` keeps it until the greenlet is resumed.
                After::Call(mut call) => (unsafe { call.as_mut() })(),
            }
            self.enter(slot);
            // SAFETY: as in `resume`.
            unsafe { slot.coroutine.resume() };
        }
    }

    fn end(&self, slot: &'static Slot) {
        slot.life.set(Life::Free);
        self.with_local(|local| {
            local.live -= 1;
            self.publish_population(local);
        });
        // It was woken while it ran: its entry in the run queue must not find the next greenlet, nor nobody.
        if !slot.queued.get() {
            self.release(slot);
        }
    }

    /// Lets the next greenlet have the slot of one that has ended, now that it is not in the run queue.
    fn release(&self, slot: &'static Slot) {
        slot.queued.set(false);
        self.with_local(|local| local.free[slot.class].push(slot));
    }

    /// Whoever is in the run queue and is not to be resumed has ended, or wished for something while it ran inside a join.
    #[cold]
    fn release_or_attend(&'static self, slot: &'static Slot) {
        if !slot.is_live() {
            return self.release(slot);
        }
        slot.queued.set(false);
        slot.life.set(Life::Lives);
        self.attend(slot);
    }

    /// Gives memory of free slots back, a little at a time: for a hub that has nothing to do.
    pub fn trim(&self) {
        let mut places = [None; TRIMMED_AT_ONCE];
        self.with_local(|local| {
            for (free, trimmed) in local.free.iter().zip(&mut local.trimmed) {
                // The first of the list were used least lately. Who was taken off the list since is warm again.
                *trimmed = (*trimmed).min(free.len());
                let cold = free.len().saturating_sub(WARM_SLOTS);
                for (place, slot) in
                    places.iter_mut().filter(|place| place.is_none()).zip(free.iter().take(cold).skip(*trimmed))
                {
                    *place = Some(slot.place);
                    *trimmed += 1;
                }
            }
        });
        places.into_iter().flatten().for_each(stack::give_back);
    }

    /// Asks every greenlet to stop, and drops those that have not started. On the hub's thread, outside greenlets.
    pub fn cancel_all(&'static self) {
        self.empty_inbox();
        let starts = self.with_local(|local| {
            local.queue.retain(Option::is_some);
            std::mem::take(&mut local.starts)
        });
        for start in starts {
            start.task.cancel(TaskError::Cancelled);
            drop_quietly(start);
        }
        let slots = self.with_local(|local| local.slots.clone());
        for slot in slots.iter().filter(|slot| slot.is_live()) {
            // SAFETY: on the hub's thread, between two switches.
            if let Some(tenant) = unsafe { slot.tenant() } {
                let task = Arc::clone(&tenant.task);
                task.interrupt();
            }
        }
    }

    /// What each greenlet does. On the hub's thread, outside greenlets.
    pub fn look(&self) -> Vec<Seen> {
        let slots = self.with_local(|local| local.slots.clone());
        slots
            .iter()
            .filter(|slot| slot.is_live())
            .filter_map(|slot| {
                // SAFETY: on the hub's thread, between two switches.
                let tenant = unsafe { slot.tenant() }?;
                Some(Seen {
                    id: slot.id(),
                    name: tenant.name.clone(),
                    spawned_at: tenant.place,
                    ready: slot.queued.get(),
                    // SAFETY: on the stack of a greenlet that is parked.
                    waits: unsafe { slot.pause.get().as_ref() }.copied(),
                    since: slot.since.get(),
                })
            })
            .collect()
    }
}

/// What a greenlet does at the moment.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its id.
    pub id: ExecutionId,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Whether it is in the run queue.
    pub ready: bool,
    /// What it waits for.
    pub waits: Option<Pause>,
    /// Since when, to within a turn of the hub.
    pub since: Option<Instant>,
}

/// A record that this thread has adopted.
#[derive(Debug)]
pub struct Adopted {
    hub: &'static Hub,
}

impl Adopted {
    /// The record.
    pub fn hub(&self) -> &'static Hub {
        self.hub
    }
}

impl Drop for Adopted {
    /// Releases the record.
    ///
    /// The process ends here when greenlets are left: their stacks may point into this thread's memory.
    fn drop(&mut self) {
        let hub = self.hub;
        if hub.with_local(|local| local.live) > 0 {
            eprintln!("ropewalk: a hub ended while greenlets were suspended on it; this is a bug in ropewalk");
            std::process::abort();
        }
        // Again while the jobs that were dropped have spawned others in their destructors: those would be the next thread's.
        loop {
            hub.cancel_all();
            if hub.with_local(|local| local.starts.is_empty()) {
                break;
            }
        }
        HERE.with(|here| here.set(std::ptr::null()));
        hub.inbox.disarm();
        #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
        hub.with_local(|local| local.slots.iter().for_each(|slot| slot.coroutine.end()));
        #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
        RELEASED.lock().push(hub);
    }
}

/// A destructor of a greenlet-local may make others: they are dropped in turn, so often. As of pthread keys.
const LOCALS_ROUNDS: usize = 5;

/// Runs the tenant of a slot, on its stack, from beginning to end.
fn body(slot: &'static Slot) {
    // SAFETY: the tenant stays until this greenlet has ended.
    if let Some(tenant) = unsafe { slot.tenant() } {
        tenant.task.run();
    }
    for _ in 0..LOCALS_ROUNDS {
        // SAFETY: the greenlet's own; nobody else looks.
        let Some(locals) = (unsafe { (*slot.locals.get()).take() }) else { break };
        drop_quietly(locals);
    }
    // Nobody's after that; but not the next tenant's, who may be of another thread.
    // SAFETY: as above.
    std::mem::forget(unsafe { (*slot.locals.get()).take() });
    // Nothing of the user's is in it any more.
    // SAFETY: nobody looks at the tenant of a slot whose task has ended, and the reference above is gone.
    unsafe { *slot.tenant.get() = None };
    slot.after.set(After::End);
}

/// Wakes a slot from any thread.
#[inline]
pub(super) fn wake(slot: &'static Slot) {
    match here() {
        Some(hub) if std::ptr::eq(hub, slot.hub) => hub.wake_here(slot),
        _ => slot.hub.inbox.wake(slot),
    }
}

/// The slot of the greenlet that calls.
#[inline]
pub(super) fn current_slot() -> Option<(&'static Hub, &'static Slot)> {
    let hub = here()?;
    // SAFETY: slots are never freed.
    unsafe { hub.current.load(Ordering::Relaxed).as_ref() }.map(|slot| (hub, slot))
}

#[inline]
#[track_caller]
fn this_slot() -> (&'static Hub, &'static Slot) {
    current_slot().expect("called from a greenlet only")
}

/// Whether a greenlet calls. False in what the hub runs for one on its own stack.
pub fn in_greenlet() -> bool {
    current_slot().is_some()
}

/// What wakes the greenlet that calls.
pub fn waker() -> Waker {
    this_slot().1.waker()
}

/// Suspends the greenlet that calls until it is woken; may return early for no reason.
///
/// # Panics
///
/// Inside [`no_switch`].
#[inline(always)]
pub fn suspend(pause: &Pause) {
    let (hub, slot) = this_slot();
    let _away = (slot.holds.get() != 0).then(|| {
        assert!(
            slot.holds.get() == HOOKED,
            "a greenlet waited inside no_switch, at {}: it would leave the region in the middle",
            pause.at
        );
        hook::Away::leave(slot)
    });
    slot.pause.set(pause);
    let frame = std::mem::MaybeUninit::<u8>::uninit();
    slot.frame.set(frame.as_ptr());
    slot.since.set(hub.with_local(|local| local.now));
    // SAFETY: on this greenlet's own stack.
    unsafe { slot.coroutine.suspend() };
    slot.pause.set(std::ptr::null());
}

/// Whether the greenlet that calls may be suspended: it is not inside [`no_switch`].
pub fn may_suspend() -> bool {
    matches!(this_slot().1.holds.get(), 0 | HOOKED)
}

/// Has the greenlet with the task at this address run right now, if it would be the next to start; for a greenlet that is about to wait for it.
///
/// Returns when it has ended or waits. A greenlet inside [`no_switch`], or in a region with a hook, waits in the usual way.
pub fn run_first(task: usize) {
    if let Some((hub, slot)) = current_slot()
        && slot.holds.get() == 0
    {
        hub.run_first(slot, task);
    }
}

/// Lets the other greenlets of this hub run, if a greenlet calls; false if not. Does nothing inside [`no_switch`] and in
/// an unwind.
///
/// Inlined to the last instruction of the switch: a processor predicts returns by the calls before them, and each frame
/// between the caller and the switch is a return that it predicts wrongly (about 5 ns each).
#[inline(always)]
pub fn try_yield() -> bool {
    let Some((hub, slot)) = current_slot() else { return false };
    if slot.holds.get() != 0 {
        return yield_from_region(hub, slot);
    }
    yield_to(hub, slot);
    true
}

#[inline(always)]
fn yield_to(hub: &Hub, slot: &'static Slot) {
    if crate::model::unchecked::panicking() {
        return;
    }
    let frame = std::mem::MaybeUninit::<u8>::uninit();
    slot.frame.set(frame.as_ptr());
    if !slot.queued.replace(true) {
        hub.with_local(|local| local.queue.push_back(Some(slot)));
    }
    // SAFETY: on this greenlet's own stack.
    unsafe { slot.coroutine.suspend() };
}

#[cold]
fn yield_from_region(hub: &Hub, slot: &'static Slot) -> bool {
    if slot.holds.get() == HOOKED {
        let _away = hook::Away::leave(slot);
        yield_to(hub, slot);
    }
    true
}

/// Calls `f` on the hub's stack while the greenlet waits; in place if no greenlet calls. `f` must not block.
///
/// For code that must not meet a switch (the poll of a foreign future) or needs a large stack.
///
/// # Panics
///
/// When `f` does: the panic goes on in the greenlet.
pub fn on_hub<R>(f: impl FnOnce() -> R) -> R {
    let Some((_, slot)) = current_slot().filter(|_| !crate::model::unchecked::panicking()) else {
        return f();
    };
    let mut f = Some(f);
    let mut result = None;
    let mut call = || {
        let f = f.take().expect("it is called once");
        result = Some(catch_unwind(AssertUnwindSafe(f)));
    };
    slot.after.set(After::Call(erase(&mut call)));
    // SAFETY: on this greenlet's own stack. The hub calls before it resumes (at once, or, where this greenlet runs inside a join and
    // in no region, when it has its turn), so `call` outlives its use.
    unsafe { slot.coroutine.suspend() };
    match result.expect("the hub has called") {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

fn erase(call: &mut dyn FnMut()) -> NonNull<dyn FnMut()> {
    let call: NonNull<dyn FnMut() + '_> = NonNull::from(call);
    // SAFETY: only the lifetime changes; `on_hub` does not return before it was used.
    unsafe { std::mem::transmute::<NonNull<dyn FnMut() + '_>, NonNull<dyn FnMut() + 'static>>(call) }
}

/// Runs `f` as a region in which the calling greenlet is not switched away from: for libraries that keep scoped pointers
/// in thread-locals. A wait inside panics, a yield returns at once. On a plain thread it just calls `f`.
///
/// [`with_switch_hook`](super::with_switch_hook) is for those that can be told.
///
/// # Panics
///
/// When a wait inside would suspend.
pub fn no_switch<R>(f: impl FnOnce() -> R) -> R {
    let _hold = current_slot().map(|(_, slot)| Hold::new(slot));
    f()
}

/// While it is there, its greenlet is not switched away from.
pub(super) struct Hold(&'static Slot);

impl Hold {
    pub(super) fn new(slot: &'static Slot) -> Self {
        slot.holds.set(slot.holds.get() + 1);
        Self(slot)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.set(self.0.holds.get() - 1);
    }
}

/// How much of its stack the greenlet that calls has left, in bytes; None when no greenlet calls. In a signal handler too.
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub fn stack_left() -> Option<usize> {
    let (_, slot) = current_slot()?;
    let here = std::mem::MaybeUninit::<u8>::uninit();
    let here = here.as_ptr().addr();
    // In the handler of a signal that has a stack of its own, this is no address of the greenlet's.
    (slot.place.bottom..slot.place.top).contains(&here).then(|| here - slot.place.bottom)
}

/// Shows the place for values that belong to the calling greenlet; None when no greenlet calls.
pub fn with_locals<R>(f: impl FnOnce(&mut Option<Box<dyn Any>>) -> R) -> Option<R> {
    let (_, slot) = current_slot()?;
    // SAFETY: the greenlet's own; `f` is ours and short, and enters no other greenlet.
    Some(f(unsafe { &mut *slot.locals.get() }))
}

/// The greenlet that calls: id, name, and where it was spawned.
pub fn identity() -> Option<(ExecutionId, Option<Arc<str>>, &'static Location<'static>)> {
    let (_, slot) = current_slot()?;
    // SAFETY: on the hub's thread; not kept.
    let tenant = unsafe { slot.tenant() }?;
    Some((slot.id(), tenant.name.clone(), tenant.place))
}

/// Says who overflowed, in pieces. In a signal handler on the thread of the greenlet that did: nothing is allocated.
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub(super) fn tell_overflow(place: Place, write: impl Fn(&[&[u8]])) {
    let slot = current_slot().map(|(_, slot)| slot).filter(|slot| slot.place.bottom == place.bottom);
    write(&[b"\nropewalk: greenlet "]);
    // SAFETY: the greenlet itself was interrupted, so nobody writes.
    match slot.and_then(|slot| unsafe { slot.tenant() }) {
        Some(tenant) => {
            if let Some(name) = &tenant.name {
                write(&[b"\"", name.as_bytes(), b"\" "]);
            }
            let at = tenant.place;
            write(&[b"spawned at ", at.file().as_bytes(), b":", Digits::of(at.line() as usize).bytes()]);
        }
        None => write(&[b"(unknown)"]),
    }
    let size = STACK_SIZES[slot.map_or(STACK_CLASS_DEFAULT, |slot| slot.class)];
    write(&[b" overflowed its stack of ", Digits::of(size >> 10).bytes(), b" KiB; "]);
    write(&[b"give it a larger one with greenlet::Builder::stack_size"]);
}

/// A number in decimal digits, made without allocating.
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
struct Digits([u8; 20], usize);

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
impl Digits {
    fn of(mut number: usize) -> Self {
        let (mut digits, mut at) = ([0; 20], 20);
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self(digits, at);
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

/// A strand's own thread, where strands are threads, begins.
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
pub(super) fn enter_thread_of_strand(slot: &'static Slot) {
    HERE.with(|here| here.set(slot.hub));
    // SAFETY: the record lives as long as the slot.
    unsafe { park::run_as(&raw const slot.record) };
}
