//! Strands on stacks of their own. The only file that names corosensei.
//!
//! A coroutine runs one strand after another: its body returns when a strand has ended, and the next resume begins the
//! next one on the same stack, which is what makes a pooled stack cheap. It is never dropped: dropping would have to
//! unwind it, and a slot lives for ever.

use crate::strand::slot::Slot;
use crate::strand::stack::Place;
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine as Switch, Yielder};
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;

/// A stack inside a slab.
struct Guarded {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: `Coroutine::make`'s caller promises a guarded place of at least 64 KiB, aligned at both ends.
unsafe impl Stack for Guarded {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// Never dropped: that would unwind whatever is on the stack.
type Immortal = ManuallyDrop<Switch<(), (), (), Guarded>>;

/// The switch to one slot's strand and back.
pub(in crate::strand) struct Coroutine {
    switch: UnsafeCell<Option<Immortal>>,
    yielder: Cell<*const Yielder<(), ()>>,
}

impl Coroutine {
    pub(in crate::strand) const fn empty() -> Self {
        Self { switch: UnsafeCell::new(None), yielder: Cell::new(std::ptr::null()) }
    }

    /// Makes it run `body(slot)` once for each strand.
    ///
    /// # Safety
    ///
    /// `place` ends above with memory that is not this stack's (the slot's header), is guarded below, and nothing else
    /// uses it. No strand is inside.
    pub(in crate::strand) unsafe fn make(&self, place: Place, slot: &'static Slot, body: fn(&'static Slot)) {
        let address = |at| StackPointer::new(at).expect("a mapping does not begin at 0");
        let stack = Guarded { base: address(place.top), limit: address(place.bottom) };
        let switch = Switch::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            slot.coroutine.yielder.set(yielder);
            // No local and no thread-local is kept over `suspend`: the next strand may be on another thread's hub.
            loop {
                body(slot);
                yielder.suspend(());
            }
        });
        // SAFETY: nobody is inside, says the caller, so nobody looks.
        unsafe { *self.switch.get() = Some(ManuallyDrop::new(switch)) };
    }

    /// Runs the strand until it suspends or has ended.
    ///
    /// # Safety
    ///
    /// On the hub's thread and stack; it was made.
    #[inline(always)]
    pub(in crate::strand) unsafe fn resume(&self) {
        // SAFETY: the strand itself never looks in here, so this is the only access while it runs.
        let switch = unsafe { &mut *self.switch.get() };
        // SAFETY: it was made.
        unsafe { switch.as_mut().unwrap_unchecked() }.resume(());
    }

    /// Goes back to the hub.
    ///
    /// # Safety
    ///
    /// On this coroutine's own stack.
    #[inline(always)]
    pub(in crate::strand) unsafe fn suspend(&self) {
        // SAFETY: we run on its stack, so it was begun and the yielder is at the bottom of that.
        unsafe { &*self.yielder.get() }.suspend(());
    }
}
