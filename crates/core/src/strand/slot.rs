//! The place of one greenlet: its header, and its waker.
//!
//! # Why a waker needs no count
//!
//! A slot is made for one hub record and belongs to it for ever; neither is ever freed. So a waker is the address of its
//! slot and nothing else: cloning and dropping it do nothing, and one that outlived its greenlet wakes whoever has the
//! slot now (which polls once more for nothing, as every future must expect), or nobody when the slot is free.
//!
//! # Who touches what
//!
//! | field | touched by |
//! | --- | --- |
//! | `hub`, `place`, `class` | anybody; they never change |
//! | `remote`, `next` | anybody, by the protocol of `inbox` |
//! | `spawned_at` | anybody may look; written by the hub |
//! | the rest | the thread of the hub that has adopted the record: the hub itself, or the greenlet inside |
//!
//! The header lies at the top of the greenlet's stack, in the page which its first frames touch anyway: a parked
//! greenlet takes one page in all.

use super::hook::Hooked;
use super::hub::Hub;
use super::stack::Place;
use super::switch::Coroutine;
use crate::model::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::model::time::Instant;
use crate::model::weaken;
use crate::park::{AtomicPlace, ExecutionId, Pause, Record, Suspend};
use crate::task::harness::Runnable;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A greenlet that has not started: a task and how it is to run. It may start on any hub.
pub struct Start {
    /// What it runs.
    pub task: Arc<dyn Runnable>,
    /// Where it was spawned.
    pub place: &'static Location<'static>,
    /// What most greenlets do not say.
    pub extra: Option<Box<Extra>>,
}

/// What most greenlets do not say.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// For dumps and messages.
    pub name: Option<Arc<str>>,
    /// Index into [`STACK_SIZES`](super::STACK_SIZES).
    pub stack_class: Option<usize>,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("place", &self.place).field("extra", &self.extra).finish_non_exhaustive()
    }
}

/// What the hub does when a greenlet has come back to it.
#[derive(Clone, Copy)]
pub(super) enum After {
    /// Nothing: somebody wakes it.
    Park,
    /// It has ended; its place is free.
    End,
    /// Call this on the hub's stack, then resume.
    Call(NonNull<dyn FnMut()>),
}

/// Whether somebody is in the slot, in one byte that the turn looks at before each switch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Nobody.
    Free,
    /// Somebody, to be resumed when it has its turn.
    Lives,
    /// Somebody who wished for something ([`After`]) while it ran inside a join: to be attended to first.
    Wishes,
}

/// Who is in the slot.
pub(super) struct Tenant {
    pub(super) task: Arc<dyn Runnable>,
    pub(super) place: &'static Location<'static>,
    pub(super) name: Option<Arc<str>>,
}

/// In `Slot::holds`: a region with a hook is around. One word, so that a switch looks once.
pub(super) const HOOKED: u32 = 1 << 31;

/// The header of a greenlet's place. What a switch touches comes first, on two lines of the cache.
#[repr(C)]
pub(super) struct Slot {
    pub(super) coroutine: Coroutine,
    pub(super) after: Cell<After>,
    /// In the run queue.
    pub(super) queued: Cell<bool>,
    pub(super) life: Cell<Life>,
    /// How many `no_switch` it is in, and [`HOOKED`].
    pub(super) holds: Cell<u32>,
    /// Where its stack had got to when it was switched away from; only ever asked for ahead of time.
    pub(super) frame: Cell<*const u8>,
    pub(super) record: Record,
    /// Its wait, while it is parked: on its stack.
    pub(super) pause: Cell<*const Pause>,
    /// When that began, by the hub's coarse clock.
    pub(super) since: Cell<Option<Instant>>,
    pub(super) hub: &'static Hub,
    pub(super) place: Place,
    pub(super) class: usize,
    /// Which adoption of the record its coroutine was made in.
    pub(super) made_in: Cell<u64>,
    /// The innermost region with a hook, on its stack.
    pub(super) hooks: Cell<*const Hooked>,
    pub(super) tenant: UnsafeCell<Option<Tenant>>,
    /// Where the tenant was spawned, for watchers on other threads.
    pub(super) spawned_at: AtomicPlace,
    pub(super) locals: UnsafeCell<Option<Box<dyn Any>>>,
    /// In the inbox.
    remote: AtomicBool,
    /// The next one in the inbox; belongs to whoever set `remote`, then to the hub that takes the inbox.
    next: AtomicPtr<Slot>,
}

// SAFETY: the table above: what is not atomic is touched by one thread at a time, and a record changes its thread through
// a lock.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn new(hub: &'static Hub, suspend: &'static dyn Suspend, place: Place, class: usize) -> Self {
        Self {
            coroutine: Coroutine::empty(),
            record: Record::new(suspend),
            hub,
            place,
            class,
            queued: Cell::new(false),
            life: Cell::new(Life::Free),
            after: Cell::new(After::Park),
            holds: Cell::new(0),
            frame: Cell::new(std::ptr::null()),
            made_in: Cell::new(0),
            hooks: Cell::new(std::ptr::null()),
            tenant: UnsafeCell::new(None),
            spawned_at: AtomicPlace::nowhere(),
            locals: UnsafeCell::new(None),
            pause: Cell::new(std::ptr::null()),
            since: Cell::new(None),
            remote: AtomicBool::new(false),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Who is in it.
    ///
    /// # Safety
    ///
    /// On the hub's thread, and not over a suspend or the end of the greenlet.
    pub(super) unsafe fn tenant(&self) -> Option<&Tenant> {
        // SAFETY: written by the hub only, while nobody looks.
        unsafe { (*self.tenant.get()).as_ref() }
    }

    /// Whether somebody is in it.
    pub(super) fn is_live(&self) -> bool {
        self.life.get() != Life::Free
    }

    /// Its id; that of the strand while it runs.
    pub(super) fn id(&self) -> ExecutionId {
        self.record.id()
    }

    pub(super) fn waker(&'static self) -> Waker {
        let data = std::ptr::from_ref(self).cast();
        // SAFETY: the functions of the table keep the contract of wakers: they may be called from any thread, and the
        // data is never freed.
        unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
    }

    /// Claims the right to put it into the inbox. False when it is there already, so that this wake is seen too.
    pub(super) fn claim_remote(&self) -> bool {
        // Release: what the waker did before is seen by the hub that clears the flag, also when it was set already.
        !self.remote.swap(true, weaken::ordering("slot.claim", Ordering::AcqRel))
    }

    /// Takes the claim back; what was done before each wake is visible now.
    pub(super) fn clear_remote(&self) {
        // A read-modify-write: it reads from the last waker's, so it pairs with all of them. Acquire: as above.
        self.remote.swap(false, weaken::ordering("slot.clear", Ordering::AcqRel));
    }

    /// Relaxed: it is published and taken with the head of the inbox.
    pub(super) fn next(&self) -> *mut Self {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn set_next(&self, next: *mut Self) {
        self.next.store(next, Ordering::Relaxed);
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_waker);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    // SAFETY: `Slot::waker` put a slot there, which is never freed.
    super::hub::wake(unsafe { &*data.cast::<Slot>() });
}

fn drop_waker(_: *const ()) {}
