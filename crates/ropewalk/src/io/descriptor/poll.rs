//! How a thread waits for descriptors: in poll(2), together with whatever may cancel it.
//!
//! A plain thread, which nobody can cancel, polls the descriptors alone. In a task or a cancel scope the thread polls
//! another one too, one end of a pair that belongs to the thread; its waker writes a byte into the other end. So a
//! cancelled thread wakes in its system call, and no other thread takes part in the wait.

use super::Interest;
use super::system::poll;
use ropewalk_core::park::{self, Pause, Suspend, Wait};
use std::cell::{Cell, OnceCell};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

/// Waits until `descriptor` is ready; Err with `TimedOut` after the deadline. Unwinds when cancelled.
#[track_caller]
pub(super) fn ready(descriptor: BorrowedFd<'_>, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
    match any_ready(&[(descriptor, interest)], deadline) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}

/// Waits until one of the descriptors is ready; false after the deadline. Unwinds when cancelled.
#[track_caller]
pub(super) fn any_ready(descriptors: &[(BorrowedFd<'_>, Interest)], deadline: Option<Instant>) -> io::Result<bool> {
    if !park::can_be_cancelled() {
        loop {
            if poll(descriptors, deadline)?.any {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
        }
    }
    let bell = Bell::of_this_thread()?;
    let with_bell: Vec<_> = descriptors.iter().copied().chain([(bell.hears.as_fd(), Interest::Read)]).collect();
    let hook = Polling { with_bell: &with_bell, bell: Arc::clone(&bell), ended: Cell::new(None) };
    let wait = deadline.map_or(Wait::FOREVER, |deadline| Wait::FOREVER.until(deadline));
    let ended = park::wait_until_ready(wait, "poll", Some(&hook), |_| match hook.ended.take() {
        Some(ended) => Poll::Ready(ended),
        None => Poll::Pending,
    });
    ended.unwrap_or(Ok(false))
}

/// How a thread that can be cancelled sleeps.
struct Polling<'fd> {
    /// The descriptors, and the bell behind them.
    with_bell: &'fd [(BorrowedFd<'fd>, Interest)],
    bell: Arc<Bell>,
    ended: Cell<Option<io::Result<bool>>>,
}

impl Suspend for Polling<'_> {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    fn suspend(&self, pause: &Pause) {
        match poll(self.with_bell, pause.until) {
            Ok(ready) => {
                if ready.last {
                    self.bell.silence();
                }
                if ready.before_last {
                    self.ended.set(Some(Ok(true)));
                }
            }
            Err(error) => self.ended.set(Some(Err(error))),
        }
    }

    fn yield_now(&self) {
        std::thread::yield_now();
    }
}

/// What wakes one thread in poll(2).
struct Bell {
    hears: UnixStream,
    rings: UnixStream,
}

impl Bell {
    /// Made when the thread first needs it, and closed when it has ended.
    fn of_this_thread() -> io::Result<Arc<Self>> {
        thread_local! {
            static BELL: OnceCell<Arc<Bell>> = const { OnceCell::new() };
        }
        let kept = BELL.try_with(|bell| bell.get().cloned()).ok().flatten();
        if let Some(bell) = kept {
            return Ok(bell);
        }
        let (hears, rings) = UnixStream::pair()?;
        hears.set_nonblocking(true)?;
        rings.set_nonblocking(true)?;
        let bell = Arc::new(Self { hears, rings });
        // At the end of a thread there is no place to keep it; then it serves this one wait.
        let _ = BELL.try_with(|kept| kept.set(Arc::clone(&bell)));
        Ok(bell)
    }

    fn silence(&self) {
        while (&self.hears).read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // If it is full, it rings already.
        let _ = (&self.rings).write(&[0]);
    }
}
