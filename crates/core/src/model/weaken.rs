//! Negative controls: each load-bearing ordering can be weakened by name, under the checkers only.
//!
//! A model that passes proves little until it is seen to fail. Each ordering that carries an argument is written
//! `weaken::ordering("site", Release)`: on the machine that is the constant, under a checker a test may name the site
//! and must then see its model fail. [`keep`] does the same for a line that must not be deleted.
//!
//! The site is named by the environment, `ROPEWALK_WEAKEN=site`, because a model that fails unwinds through destructors
//! that use the dead checker, and may so end its whole process. A control runs its model in a process of its own.

use super::sync::atomic::Ordering;

/// The variable that names the weakened site.
#[cfg(all(test, ropewalk_loom))]
pub(crate) const VARIABLE: &str = "ROPEWALK_WEAKEN";

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
fn weakened() -> &'static str {
    static SITE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    SITE.get_or_init(|| std::env::var("ROPEWALK_WEAKEN").unwrap_or_default())
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
    return weakened() != site;
    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    {
        let _ = site;
        true
    }
}
