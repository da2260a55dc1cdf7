//! News for all processes that share a file: a number for each topic, in a small file that all of them map.
//!
//! Whoever has committed something adds one and wakes those who wait for the number to change (a futex that is not private
//! to a process). So a worker that waits costs nothing and starts at once. Where there is no futex, or the file cannot be
//! mapped, a wait looks again every [`LOOK_EVERY`].
//!
//! # Why this is safe
//!
//! The mapping is made once, of a file that has been given its full length before, lives as long as the [`Bell`], and is touched
//! through atomics only, so other processes may write to it at any time. The number says nothing but "look": a lost or a
//! wrong one costs time, never a job. Whoever shortens the file on purpose, which its owner alone may, makes us end by SIGBUS.

use crate::broker::Topic;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a wait lasts at most where nobody can wake it.
#[cfg(not(target_os = "linux"))]
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The length of the file: one page on any machine, in bytes.
const BYTES: usize = 64 << 10;

pub(super) struct Bell {
    words: *const AtomicU32,
}

// SAFETY: the words are atomics in a mapping that lives as long as this.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

impl Bell {
    /// The bell in this file.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        if file.metadata()?.len() < BYTES as u64 {
            file.set_len(BYTES as u64)?;
        }
        // SAFETY: a fresh mapping, of a file that is long enough; nobody else has its address.
        let start = unsafe {
            mmap(std::ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
        }?;
        Ok(Self { words: start.cast() })
    }

    fn word(&self, topic: Topic) -> &AtomicU32 {
        // SAFETY: the mapping is page-aligned, longer than the number of topics, and lives as long as `self`.
        unsafe { &*self.words.add(topic as usize) }
    }

    pub(super) fn news(&self, topic: Topic) -> u32 {
        // Acquire: pairs with the Release in `ring`; whoever sees the number sees what it was rung for.
        self.word(topic).load(Ordering::Acquire)
    }

    pub(super) fn ring(&self, topic: Topic) {
        // Release: pairs with the Acquire in `news`. (What was committed travels through the file anyway.)
        self.word(topic).fetch_add(1, Ordering::Release);
        #[cfg(target_os = "linux")]
        {
            use rustix::thread::futex;
            // A wake that fails woke nobody; those who wait look again at their time limit.
            let _ = futex::wake(self.word(topic), futex::Flags::empty(), i32::MAX as u32);
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn wait(&self, topic: Topic, seen: u32, timeout: Duration) {
        use rustix::thread::futex;
        let timeout = rustix::fs::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // The kernel compares and sleeps in one step: a ring between the look at `seen` and this call is not lost. Early
        // returns are allowed.
        let _ = futex::wait(self.word(topic), futex::Flags::empty(), seen, Some(&timeout));
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn wait(&self, topic: Topic, seen: u32, timeout: Duration) {
        if self.news(topic) == seen {
            std::thread::park_timeout(timeout.min(LOOK_EVERY));
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // SAFETY: this mapping, which nothing refers to any more.
        let unmapped = unsafe { rustix::mm::munmap(self.words.cast_mut().cast(), BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}
