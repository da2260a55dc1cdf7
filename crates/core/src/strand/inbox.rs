//! How other threads reach a hub: woken slots, greenlets to start, calls to make.
//!
//! # The handshake
//!
//! A hub with nothing to do leaves the waker of whatever drives it, *arms* the inbox, and looks into it once more; who
//! puts something in looks afterwards whether it is armed. Either the hub's look finds the thing, or the other one
//! finds the inbox armed and wakes: both put a `fence(SeqCst)` between their store and their load.
//!
//! Woken slots are a stack that is taken whole (Treiber's, without its problem of reuse, since nobody pops one); each
//! slot is in it at most once, guarded by its `remote` flag. The rest comes rarely and lies behind a leaf lock.

use super::slot::{Slot, Start};
use crate::model::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};
use crate::model::weaken;
use crate::park::leaf::Leaf;
use std::task::Waker;

/// What comes from other threads beside wakes.
pub(super) enum Parcel {
    /// A greenlet to start.
    Start(Start),
    /// To be called on the hub's thread, outside greenlets.
    Call(Box<dyn FnOnce() + Send>),
}

/// The inbox of a hub.
pub(super) struct Inbox {
    /// The slots that were woken, last first.
    woken: AtomicPtr<Slot>,
    parcels: Leaf<Vec<Parcel>>,
    /// There are parcels; a hint for a hub that is in a hurry, exact once the fence was passed.
    some_parcels: AtomicBool,
    armed: AtomicBool,
    waker: Leaf<Option<Waker>>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            woken: AtomicPtr::new(std::ptr::null_mut()),
            parcels: Leaf::new(Vec::new()),
            some_parcels: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            waker: Leaf::new(None),
        }
    }

    /// Wakes a slot, from any thread but the hub's.
    pub(super) fn wake(&self, slot: &'static Slot) {
        if !slot.claim_remote() {
            return;
        }
        let pointer = std::ptr::from_ref(slot).cast_mut();
        let mut head = self.woken.load(Ordering::Relaxed);
        loop {
            slot.set_next(head);
            // Release: pairs with the Acquire in `take_woken`; publishes `next`.
            let release = weaken::ordering("inbox.push", Ordering::Release);
            match self.woken.compare_exchange_weak(head, pointer, release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.ring();
    }

    /// Leaves something for the hub, from any thread.
    pub(super) fn put(&self, parcel: Parcel) {
        {
            let mut parcels = self.parcels.lock();
            parcels.push(parcel);
            self.some_parcels.store(true, Ordering::Relaxed);
        }
        self.ring();
    }

    /// Wakes the hub if it sleeps; whether it did.
    pub(super) fn ring(&self) -> bool {
        // Pairs with the fence in `arm`.
        if weaken::keep("inbox.ring") {
            fence(Ordering::SeqCst);
        }
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
            return true;
        }
        false
    }

    /// Whether there is something. Cheap, and may be wrong for a moment unless the inbox was armed before.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.woken.load(Ordering::Relaxed).is_null() && !self.some_parcels.load(Ordering::Relaxed)
    }

    /// Calls `each` with every slot that was woken, in the order of waking.
    pub(super) fn take_woken(&self, mut each: impl FnMut(&'static Slot)) {
        if self.woken.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Acquire: pairs with the Release in `wake`.
        let mut last = self.woken.swap(std::ptr::null_mut(), weaken::ordering("inbox.take", Ordering::Acquire));
        let mut first = std::ptr::null_mut();
        // SAFETY: slots are never freed; the links are ours until the flag of each is cleared below.
        while let Some(slot) = unsafe { last.as_ref() } {
            let before = slot.next();
            slot.set_next(first);
            first = last;
            last = before;
        }
        // SAFETY: as above.
        while let Some(slot) = unsafe { first.as_ref() } {
            first = slot.next();
            slot.clear_remote();
            each(slot);
        }
    }

    /// The parcels, in the order of coming.
    pub(super) fn take_parcels(&self) -> Vec<Parcel> {
        if !self.some_parcels.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut parcels = self.parcels.lock();
        self.some_parcels.store(false, Ordering::Relaxed);
        std::mem::take(&mut *parcels)
    }

    /// The hub is about to sleep; `waker` wakes it. False when something is there already.
    pub(super) fn arm(&self, waker: &Waker) -> bool {
        let old = {
            let mut place = self.waker.lock();
            if place.as_ref().is_some_and(|left| left.will_wake(waker)) { None } else { place.replace(waker.clone()) }
        };
        drop(old);
        // Changed by read-modify-write only, so that its values have one order for everybody.
        self.armed.swap(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        if weaken::keep("inbox.arm") {
            fence(Ordering::SeqCst);
        }
        if self.is_empty() {
            return true;
        }
        self.armed.swap(false, Ordering::Relaxed);
        false
    }

    /// The hub goes away: nobody is to be woken.
    pub(super) fn disarm(&self) {
        self.armed.swap(false, Ordering::Relaxed);
        let old = self.waker.lock().take();
        drop(old);
    }
}
