//! Negative controls: each load-bearing ordering can be weakened by name, under the checkers only.
//!
//! A model that passes proves little until it is seen to fail. Each ordering that carries an argument is written
//! `weaken::ordering("site", Release)`: on the machine that is the constant, under a checker a test may name the site
//! and must then see its model fail. [`recheck`](self::keep) does the same for a line that must not be deleted.

use super::sync::atomic::Ordering;

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
std::thread_local! {
    static WEAKENED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Weakens one site for the checker runs on this OS thread (a checker runs all its threads on one).
#[cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) fn weaken(site: &'static str) {
    WEAKENED.with(|weakened| weakened.set(site));
}

/// The ordering of a named site: what is written, unless a negative control weakens it to `Relaxed`.
#[inline(always)]
pub(crate) fn ordering(site: &'static str, written: Ordering) -> Ordering {
    if keep(site) { written } else { Ordering::Relaxed }
}

/// Whether a named line is kept: always, unless a negative control deletes it.
#[inline(always)]
pub(crate) fn keep(site: &'static str) -> bool {
    #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
    return WEAKENED.with(|weakened| weakened.get() != site);
    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    {
        let _ = site;
        true
    }
}
