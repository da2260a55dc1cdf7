//! System calls that nothing we stand on wraps. Each takes borrowed descriptors, which are open, and memory of its own.

use super::Interest;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted; the system has a limit of its own, which is 4096 on Linux.
const BACKLOG: libc::c_int = 4096;

/// Which of the descriptors are ready, if any is before `until`; may return early for no reason. An error of a descriptor
/// makes it ready: the operation that is tried next reports it.
pub(super) fn poll<const N: usize>(
    descriptors: [(BorrowedFd<'_>, Interest); N],
    until: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|(descriptor, interest)| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        },
        revents: 0,
    });
    let timeout = until.map_or(-1, |until| milliseconds(until.saturating_duration_since(Instant::now())));
    // SAFETY: the array is as long as we say and lives through the call.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout) };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok([false; N]);
    }
    Ok(polled.map(|polled| polled.revents != 0))
}

/// Rounded up, so that no time limit ends a wait early.
fn milliseconds(duration: Duration) -> libc::c_int {
    libc::c_int::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

/// Lets many connections wait at a listener that listens already.
pub(crate) fn lengthen_backlog(listener: &impl AsFd) -> io::Result<()> {
    // SAFETY: passes two numbers.
    match unsafe { libc::listen(listener.as_fd().as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
