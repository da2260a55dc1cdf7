//! Regions that are told when their greenlet gives up the thread, and when it has it back.

use super::hub::{Hold, current_slot};
use super::slot::{HOOKED, Slot};
use std::cell::Cell;
use std::ptr::NonNull;

/// What a region does when its greenlet is switched away from, and when it is switched back to: for a library that keeps
/// something in a thread-local while a closure runs, such as a pointer to a stack frame or a current context.
///
/// Both are called on the greenlet's own stack and thread. A wait in them panics, as inside [`no_switch`](super::no_switch).
pub trait SwitchHook {
    /// The greenlet is about to give up its thread: puts the thread-local back to what it was before the region.
    fn leave(&self);
    /// The greenlet has its thread back: puts the region's own into the thread-local.
    fn enter(&self);
}

/// A region with a hook; a list through the stack, innermost first.
pub(super) struct Hooked {
    hook: NonNull<dyn SwitchHook>,
    outer: *const Hooked,
}

/// Runs `f` as a region whose `hook` is told of each switch away from the calling greenlet and back to it. Regions nest: the
/// innermost leaves first and enters last. The hook is not called where the region begins and ends; on a plain thread, and
/// in an async task, never.
///
/// # Panics
///
/// When `f` or the hook does.
pub fn with_switch_hook<R>(hook: &dyn SwitchHook, f: impl FnOnce() -> R) -> R {
    struct Back<'a>(&'a Cell<*const Hooked>, *const Hooked, &'a Cell<u32>);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            self.0.set(self.1);
            if self.1.is_null() {
                self.2.set(self.2.get() & !HOOKED);
            }
        }
    }
    let Some((_, slot)) = current_slot() else { return f() };
    let hook: NonNull<dyn SwitchHook + '_> = NonNull::from(hook);
    // SAFETY: only the lifetime changes. The list names it until `Back` is dropped, and the caller lends it until then.
    let hook = unsafe { std::mem::transmute::<NonNull<dyn SwitchHook + '_>, NonNull<dyn SwitchHook + 'static>>(hook) };
    let hooked = Hooked { hook, outer: slot.hooks.get() };
    let _back = Back(&slot.hooks, hooked.outer, &slot.holds);
    slot.hooks.set(&raw const hooked);
    slot.holds.set(slot.holds.get() | HOOKED);
    f()
}

/// The greenlet is away: its hooks have been told, and are told of its return by the drop.
pub(super) struct Away(&'static Slot);

impl Away {
    pub(super) fn leave(slot: &'static Slot) -> Self {
        let _hold = Hold::new(slot);
        hooks(slot.hooks.get()).for_each(|hook| hook.leave());
        Self(slot)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _hold = Hold::new(self.0);
        enter(self.0.hooks.get());
    }
}

/// Outermost first.
fn enter(innermost: *const Hooked) {
    // SAFETY: as in `hooks`.
    if let Some(hooked) = unsafe { innermost.as_ref() } {
        enter(hooked.outer);
        // SAFETY: as in `hooks`.
        unsafe { hooked.hook.as_ref() }.enter();
    }
}

/// Innermost first.
fn hooks(innermost: *const Hooked) -> impl Iterator<Item = &'static dyn SwitchHook> {
    let mut next = innermost;
    std::iter::from_fn(move || {
        // SAFETY: a listed region is on the stack of a call below us that has not returned, and its hook is lent to it.
        let hooked = unsafe { next.as_ref() }?;
        next = hooked.outer;
        // SAFETY: as above.
        Some(unsafe { hooked.hook.as_ref() })
    })
}
