//! The one place that names std, loom or shuttle.
//!
//! Every other file of this crate takes its atomics, cells, threads and clocks from here, so that the same code runs on
//! the machine, under loom's exhaustive checker (`--cfg ropewalk_loom`) and under shuttle's random one
//! (`--cfg ropewalk_shuttle`). The configuration names are private on purpose: a plain `--cfg loom` is seen by every
//! dependency and breaks some of them.
//!
//! Two facts about the checkers decide how the rest of the crate is written:
//!
//! * loom 0.7 reports false violations for store→load handshakes written with SeqCst *operations*, and judges
//!   `fence(SeqCst)` correctly, so every such handshake here is written with [`sync::atomic::fence`];
//! * shuttle treats every atomic as sequentially consistent, so it says nothing about orderings: loom judges those,
//!   shuttle judges size.

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
mod imp {
    pub(crate) mod sync {
        #[allow(unused_imports, reason = "the leaf lock of Linux needs no guard of std's")]
        pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
    }
    pub(crate) use std::{hint, thread, thread_local};
}

#[cfg(ropewalk_loom)]
mod imp {
    pub(crate) mod sync {
        pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
    }
    pub(crate) use loom::{hint, thread, thread_local as checked_thread_local};
}

#[cfg(ropewalk_shuttle)]
mod imp {
    pub(crate) mod sync {
        pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
    }
    pub(crate) use shuttle::{hint, thread, thread_local as checked_thread_local};
}

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) use imp::thread_local;
pub(crate) use imp::{hint, sync, thread};

pub(crate) mod cell;
pub(crate) mod time;
pub(crate) mod weaken;

/// What no checker should see: it takes part in no protocol, or it asks about the machine.
pub(crate) mod unchecked {
    #[cfg(feature = "strand")]
    pub(crate) use std::sync::atomic::AtomicUsize as PlainUsize;
    pub(crate) use std::sync::atomic::{AtomicPtr as PlainPtr, AtomicU64 as PlainU64, Ordering};

    /// Whether a test asks, through the environment, for the way of another machine.
    #[cfg(all(feature = "strand", not(any(ropewalk_loom, ropewalk_shuttle))))]
    pub(crate) fn test_switch(name: &str) -> bool {
        std::env::var_os(name).is_some()
    }

    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    pub(crate) use std::thread::panicking;

    /// A checker runs all its threads on one OS thread, whose answer could be about another one.
    #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
    pub(crate) fn panicking() -> bool {
        false
    }
    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    pub(crate) use std::thread::yield_now;

    /// Sleeps without waiting for anything, for a lock whose holder has lost its core.
    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    pub(crate) fn nap(duration: std::time::Duration) {
        #[expect(clippy::disallowed_methods, reason = "this is below `park`, whose sleep stands on this lock")]
        std::thread::sleep(duration);
    }
}

/// The `thread_local` of a checker, which knows no `const { .. }`.
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
macro_rules! each_thread_local {
    () => {};
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block; $($rest:tt)*) => {
        crate::model::checked_thread_local! { $(#[$attribute])* static $name: $type = $init; }
        crate::model::thread_local! { $($rest)* }
    };
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $init:expr; $($rest:tt)*) => {
        crate::model::checked_thread_local! { $(#[$attribute])* static $name: $type = $init; }
        crate::model::thread_local! { $($rest)* }
    };
}
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
pub(crate) use {each_thread_local as thread_local, imp::checked_thread_local};

/// Declares a function that is `const` on the machine and plain under a checker, whose cells cannot be built in a const.
macro_rules! maybe_const {
    ($(#[$attribute:meta])* $visibility:vis const fn $($rest:tt)*) => {
        $(#[$attribute])*
        #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
        $visibility const fn $($rest)*
        $(#[$attribute])*
        #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
        $visibility fn $($rest)*
    };
}
pub(crate) use maybe_const;
