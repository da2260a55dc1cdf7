//! Asking for the memory of those who run soon.
//!
//! Every greenlet lies on a page of its own, so that the first look at each of many is a miss in the caches and in the
//! translations of addresses at once, some hundred nanoseconds on a virtual machine. The run queue knows who is next: what
//! is asked for a few switches early is there in time. Waking 100,000 greenlets takes two thirds of the time by that.
//!
//! It pays for those who have waited, far up their stacks and for long. Those who only yield touch a few lines at a time,
//! which a second cache holds for thousands, and which all that is asked for here would drive out of it (a third of the
//! time of a thousand switches). So only who was woken counts.

use super::run_queue::RunQueue;
use super::slot::Slot;
use std::sync::Arc;

/// The memory of fewer greenlets than this, woken at about the same time, is mostly in the second cache, and asking would cost
/// more than it saves.
pub(super) const CROWD: usize = 256;
/// How far ahead in the queue a header is asked for, and what that leads to.
const HEADERS: usize = 8;
const STACKS: usize = 4;
/// What a greenlet touches on its way up from a wait: lines from the frame of `suspend` on.
const LINES: usize = 12;
const LINE_BYTES: usize = 64;

/// Asks for the memory of those who are next in the queue.
#[inline(never)]
pub(super) fn look(queue: &RunQueue<Option<&'static Slot>>) {
    if let Some(Some(slot)) = queue.get(HEADERS) {
        (0..size_of::<Slot>().div_ceil(LINE_BYTES)).for_each(|line| ask(std::ptr::from_ref(slot).cast(), line));
    }
    if let Some(Some(slot)) = queue.get(STACKS) {
        (0..LINES).for_each(|line| ask(slot.frame.get(), line));
        // SAFETY: on the hub's thread, between two switches.
        if let Some(tenant) = unsafe { slot.tenant() } {
            (0..2).for_each(|line| ask(Arc::as_ptr(&tenant.task).cast(), line));
        }
    }
}

/// Asks for a line of the cache.
#[inline(always)]
fn ask(start: *const u8, line: usize) {
    let at = start.wrapping_add(line * LINE_BYTES);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which may name any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
