//! Sleeping on Linux: the futex system call on the word itself.

use super::Sleep;
use crate::model::sync::atomic::AtomicU32;
use crate::model::time::Instant;

/// Nothing is needed beside the word.
#[derive(Debug)]
pub(crate) struct Bed;

impl Bed {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Sleep for Bed {
    fn sleep(&self, word: &AtomicU32, while_equal: u32, until: Option<Instant>) {
        futex_wait(word, while_equal, until);
    }

    fn wake(&self, word: &AtomicU32) {
        futex_wake_one(word);
    }
}

/// Sleeps while the word holds `expected`, at the longest until `until`; may return for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, until: Option<Instant>) {
    let timeout = until.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        libc::timespec {
            // A time past what the kernel takes is as good as for ever: the caller looks at its deadline again.
            tv_sec: left.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: left.subsec_nanos() as libc::c_long,
        }
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word is a live, aligned u32 for the whole call and the timespec outlives it; FUTEX_WAIT reads both.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, timeout);
    }
}

/// Wakes one thread that sleeps on the word.
pub(crate) fn futex_wake_one(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE only uses the address as a key; should the word be gone by now, nobody sleeps on it and the
    // kernel answers with an error that says just that.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1_i32);
    }
}

/// How many cores the machine has that are in use.
pub(crate) fn online_cores() -> i64 {
    static CORES: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| {
        // SAFETY: `sysconf` takes a number and has no other precondition.
        unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }
    })
}
