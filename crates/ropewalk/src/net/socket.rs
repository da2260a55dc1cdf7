//! What every kind of socket is made of: the source that does the waiting, shared by the handles of one socket, and the
//! settings that std keeps in the kernel.

use crate::io::descriptor::{Interest, Moved, Source};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A handle of a socket. Clones are handles of the same one; it is closed with the last.
pub(super) struct Socket<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    source: Source<S>,
    read_timeout: Timeout,
    write_timeout: Timeout,
    nonblocking: AtomicBool,
}

/// A time limit in nanoseconds; 0 is none. (std's limits are those of the system call, which never waits here.)
#[derive(Debug, Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    /// A limit of more than 584 years becomes that.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a time limit of zero would never let anything pass",
            ));
        }
        let nanoseconds = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanoseconds, Ordering::Relaxed);
        Ok(())
    }
}

impl<S: AsFd> Socket<S> {
    /// The first handle of a socket, which must be non-blocking.
    pub(super) fn new(io: S) -> Self {
        let shared = Shared {
            source: Source::new(io),
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
            nonblocking: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn io(&self) -> &S {
        self.shared.source.io()
    }

    pub(super) fn read_timeout(&self) -> &Timeout {
        &self.shared.read_timeout
    }

    pub(super) fn write_timeout(&self) -> &Timeout {
        &self.shared.write_timeout
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.shared.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.shared.nonblocking.load(Ordering::Relaxed)
    }

    /// Performs an operation that takes something from the socket.
    #[track_caller]
    pub(super) fn take<R>(&self, operation: impl FnMut(&S) -> io::Result<Moved<R>>) -> io::Result<R> {
        self.perform(Interest::Read, &self.shared.read_timeout, operation)
    }

    /// Performs an operation that gives something to the socket.
    #[track_caller]
    pub(super) fn give<R>(&self, operation: impl FnMut(&S) -> io::Result<Moved<R>>) -> io::Result<R> {
        self.perform(Interest::Write, &self.shared.write_timeout, operation)
    }

    #[track_caller]
    fn perform<R>(
        &self,
        interest: Interest,
        timeout: &Timeout,
        mut operation: impl FnMut(&S) -> io::Result<Moved<R>>,
    ) -> io::Result<R> {
        if self.is_nonblocking() {
            return operation(self.io()).map(|moved| moved.what);
        }
        self.shared.source.perform(interest, timeout.get(), operation)
    }

    /// Waits until a connection that was begun stands or has failed.
    #[track_caller]
    pub(super) fn connected(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.source.ready(Interest::Write, timeout)
    }

    /// The descriptor, which no reactor knows any more, if this is the only handle.
    pub(super) fn into_only(self) -> Result<OwnedFd, Self>
    where
        OwnedFd: From<S>,
    {
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => Ok(shared.source.into_inner().into()),
            Err(shared) => Err(Self { shared }),
        }
    }

    /// The descriptor, or a duplicate if there are other handles.
    pub(super) fn into_any(self) -> io::Result<OwnedFd>
    where
        OwnedFd: From<S>,
    {
        self.into_only().or_else(|shared| shared.as_fd().try_clone_to_owned())
    }
}

impl<S> Clone for Socket<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io().as_fd()
    }
}

impl<S: fmt::Debug> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.source.fmt(f)
    }
}

/// What a read of at most `asked` bytes brought.
///
/// A stream of TCP that gave less than it was asked for was empty at that moment, and more will be an event. Not so one
/// of a Unix socket, which stops where somebody has passed descriptors along.
pub(super) fn read(bytes: usize, asked: usize) -> Moved<usize> {
    Moved { what: bytes, exhausted: 0 < bytes && bytes < asked }
}

/// What a write of `offered` bytes brought: a stream that took less was full at that moment.
pub(super) fn written(bytes: usize, offered: usize) -> Moved<usize> {
    Moved { what: bytes, exhausted: 0 < bytes && bytes < offered }
}

/// As many buffers as the system takes in one call (`IOV_MAX`); std leaves the others for the next.
const BUFFERS_MAX: usize = 1_024;

/// The length of many buffers together, as far as one call takes them.
pub(super) fn total<B: Deref<Target = [u8]>>(buffers: &[B]) -> usize {
    buffers.iter().take(BUFFERS_MAX).map(|buffer| buffer.len()).sum()
}
