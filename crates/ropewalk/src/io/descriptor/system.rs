//! System calls that nothing we stand on wraps. Each takes borrowed descriptors, which are open, and memory of its own.

use super::Interest;
use std::io::{self, ErrorKind};
#[cfg(feature = "net")]
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// So many descriptors are polled without an allocation.
const FEW: usize = 8;

/// Connections that may wait to be accepted; the system has a limit of its own, which is 4096 on Linux.
#[cfg(feature = "net")]
const BACKLOG: libc::c_int = 4096;

/// Which of the descriptors are ready, if any is before `until`; may return early for no reason. An error of a descriptor
/// makes it ready: the operation that is tried next reports it.
pub(super) fn poll(descriptors: &[(BorrowedFd<'_>, Interest)], until: Option<Instant>) -> io::Result<Ready> {
    let polled = |&(descriptor, interest): &(BorrowedFd<'_>, Interest)| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        },
        revents: 0,
    };
    let mut few = [const { libc::pollfd { fd: -1, events: 0, revents: 0 } }; FEW];
    let mut many;
    let polled = match few.get_mut(..descriptors.len()) {
        Some(few) => {
            few.iter_mut().zip(descriptors).for_each(|(place, descriptor)| *place = polled(descriptor));
            few
        }
        None => {
            many = descriptors.iter().map(polled).collect::<Vec<_>>();
            &mut many[..]
        }
    };
    let timeout = until.map_or(-1, |until| milliseconds(until.saturating_duration_since(Instant::now())));
    // SAFETY: the array is as long as we say and lives through the call.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == ErrorKind::Interrupted { Ok(Ready::default()) } else { Err(error) };
    }
    Ok(Ready {
        any: count > 0,
        last: polled.last().is_some_and(|last| last.revents != 0),
        before_last: polled.iter().rev().skip(1).any(|one| one.revents != 0),
    })
}

/// What poll(2) found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) any: bool,
    /// The last of the descriptors.
    pub(super) last: bool,
    /// One of those before it.
    pub(super) before_last: bool,
}

/// Rounded up, so that no time limit ends a wait early.
fn milliseconds(duration: Duration) -> libc::c_int {
    libc::c_int::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

/// Lets many connections wait at a listener that listens already.
#[cfg(feature = "net")]
pub(crate) fn lengthen_backlog(listener: &impl AsFd) -> io::Result<()> {
    // SAFETY: passes two numbers.
    match unsafe { libc::listen(listener.as_fd().as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
