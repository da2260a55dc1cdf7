//! A flag that processes can wait for.
//!
//! It is a counter of the system's, and set when that is not 0. So there is no word in shared memory, no state that a
//! process could leave half changed when it dies, and a wait is one for a descriptor: every strand knows how.

use crate::io::descriptor::{Interest, Moved, Operation, Source, Step, drive_async};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A flag that is set and cleared by any process, and that any strand of any process can wait for. Clones are the same flag.
///
/// # Examples
///
/// ```
/// use ropewalk::process::{Process, ipc};
///
/// fn waits(go: ipc::Event) {
///     go.wait();
/// }
///
/// ropewalk::init();
/// let go = ipc::Event::new()?;
/// let process = Process::spawn(waits, go.clone())?;
/// go.set();
/// process.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Event {
    end: Arc<Source<OwnedFd>>,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { end: Arc::new(Source::new(end)) })
    }

    /// Sets it, and wakes everybody who waits for it.
    pub fn set(&self) {
        // If its count is full, it is set already.
        let _ = rustix::io::write(self.end.io(), &1_u64.to_ne_bytes());
    }

    /// Clears it.
    pub fn clear(&self) {
        // If its count is 0, it is cleared already.
        let _ = rustix::io::read(self.end.io(), &mut [0; 8]);
    }

    /// Whether it is set.
    #[doc(alias = "isSet")]
    pub fn is_set(&self) -> bool {
        is_set(self.end.io())
    }

    /// Waits until it is set.
    ///
    /// # Cancel safety
    ///
    /// A wait that is cancelled unwinds.
    ///
    /// # Panics
    ///
    /// In async code: see [`wait_async`](Self::wait_async). When the system has no memory for the wait.
    #[track_caller]
    pub fn wait(&self) {
        self.wait_for(None).expect("the system can wait for an event");
    }

    /// [`wait`](Self::wait) for so long at most; false if it was not set until then.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        match self.wait_for(Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::TimedOut => false,
            ended => ended.is_ok_and(|()| true),
        }
    }

    #[track_caller]
    fn wait_for(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.end.perform(Interest::Read, timeout, |end| match is_set(end) {
            true => Ok(Moved::some(())),
            false => Err(ErrorKind::WouldBlock.into()),
        })
    }

    /// [`wait`](Self::wait) for async code.
    ///
    /// # Panics
    ///
    /// When the system has no memory for the wait.
    pub async fn wait_async(&self) {
        drive_async(&mut Waiting(self.end.io())).await.expect("the system can wait for an event");
    }
}

fn is_set(end: &OwnedFd) -> bool {
    let mut look = [PollFd::new(end, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut look, Some(&at_once))).is_ok_and(|ready| ready > 0)
}

struct Waiting<'a>(&'a OwnedFd);

impl Operation for Waiting<'_> {
    type Output = ();

    fn step(&mut self) -> Step<()> {
        if is_set(self.0) { Step::Done(()) } else { Step::Wait }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.0.as_fd(), Interest::Read);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(self.end.io(), serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: Arc::new(Source::new(super::deserialize(deserializer)?)) })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish()
    }
}
