//! A descriptor that any strand may read and write, wherever it runs.
//!
//! # The way of an operation
//!
//! The descriptor is non-blocking. An operation is the system call itself; when that says `WouldBlock`, the strand waits
//! until the descriptor is ready and tries again. Who waits where:
//!
//! * a greenlet by a registration with the reactor of its hub;
//! * a thread in poll(2), see `poll`;
//! * a greenlet that unwinds, which must not switch, as the thread it runs on.
//!
//! # Registrations
//!
//! A registration is made when a greenlet of a hub first has to wait, and kept with the descriptor, so a second wait costs
//! no system call of its own. Reactors do not know of each other: each is told of every event and has its own idea of
//! whether the descriptor is ready. That idea is only ever too hopeful, because it is withdrawn by those alone who
//! found the descriptor exhausted *after* they had read it: the registration notices an event that comes in between and
//! then ignores the withdrawal. So a greenlet that reads "not ready" may wait without a system call, which is what makes a
//! request cost one read, one write and a share of an epoll_wait, as in a task of tokio's.
//!
//! The first hub has a place of its own, which is found without a lock: most descriptors never meet a second one. A
//! registration of a later hub that has ended is dropped when the next one is made. One is deregistered from
//! whatever thread drops it; a reactor outlives its hub for as long as registrations with it are left.

use super::{Interest, poll, reactor};
use ropewalk_core::park::{self, Wait};
use std::fmt;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// What an operation brought, and whether it found the end of what there was: then the next one would have to wait.
pub(crate) struct Moved<R> {
    /// What it brought.
    pub(crate) what: R,
    /// A hint that must not be given in doubt: a strand that was told so waits for the next event.
    pub(crate) exhausted: bool,
}

impl<R> Moved<R> {
    /// Nothing is known of what is left.
    pub(crate) fn some(what: R) -> Self {
        Self { what, exhausted: false }
    }
}

/// A non-blocking descriptor and its registrations.
pub(crate) struct Source<S> {
    // The order matters: fields are dropped as they are declared, and no registration may outlive the descriptor.
    first: OnceLock<Registration>,
    others: Mutex<Vec<Arc<Registration>>>,
    io: S,
}

/// The descriptor is known to one reactor.
struct Registration {
    reactor: NonZeroU64,
    descriptor: AsyncFd<Descriptor>,
}

/// The number of a descriptor that somebody else owns.
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

// A panic inside an operation leaves nothing half done here.
impl<S> UnwindSafe for Source<S> {}
impl<S> RefUnwindSafe for Source<S> {}

impl<S: AsFd> Source<S> {
    /// Takes over a descriptor, which must be non-blocking.
    pub(crate) fn new(io: S) -> Self {
        crate::io::watch_for_async();
        Self { first: OnceLock::new(), others: Mutex::new(Vec::new()), io }
    }

    /// What it was made of.
    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    /// Takes it apart. No reactor knows of the descriptor afterwards.
    pub(crate) fn into_inner(self) -> S {
        let Self { first, others, io } = self;
        drop((first, others));
        io
    }

    /// Performs `operation`; waits for `interest` as long as it would block, at the longest for `timeout`.
    ///
    /// Unwinds when the greenlet or task around the wait is cancelled; then nothing was done.
    #[track_caller]
    pub(crate) fn perform<R>(
        &self,
        interest: Interest,
        timeout: Option<Duration>,
        mut operation: impl FnMut(&S) -> io::Result<Moved<R>>,
    ) -> io::Result<R> {
        park::refuse_in_async();
        reactor::begin();
        let mut deadline = None;
        loop {
            match self.attempt(interest, &mut operation) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The clock is looked at when there is something to wait for.
                    self.wait(interest, *deadline.get_or_insert_with(|| after(timeout)))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                ended => return ended,
            }
        }
    }

    /// Waits for `interest`, at the longest for `timeout`. Others may be faster: the operation may still have to wait.
    #[cfg(feature = "net")]
    #[track_caller]
    pub(crate) fn ready(&self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        park::refuse_in_async();
        self.wait(interest, after(timeout))
    }

    fn attempt<R>(&self, interest: Interest, operation: &mut impl FnMut(&S) -> io::Result<Moved<R>>) -> io::Result<R> {
        let Some(registration) = reactor::current().and_then(|reactor| self.registration(reactor)) else {
            return operation(&self.io).map(|moved| moved.what);
        };
        let mut done = None;
        let tried = registration.descriptor.try_io(interest.into(), |_| {
            let Moved { what, exhausted } = operation(&self.io)?;
            done = Some(what);
            // Tells tokio to wait for the next event; it is for its ears only.
            if exhausted { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (done, tried) {
            (Some(what), _) => Ok(what),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => unreachable!("an operation without an error has brought something"),
        }
    }

    #[track_caller]
    fn wait(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        reactor::waits();
        let Some(reactor) = reactor::current() else {
            return poll::ready(self.io.as_fd(), interest, deadline);
        };
        let registration = match self.registration(reactor) {
            Some(registration) => registration,
            None => self.register(reactor)?,
        };
        let mut ready = pin!(registration.descriptor.ready(interest.into()));
        let wait = deadline.map_or(Wait::FOREVER, |deadline| Wait::FOREVER.until(deadline));
        // Each strand that waits is a node of its own in tokio's list, so any number may wait for the same thing. What is
        // polled here is tokio's and short: no switch can happen inside.
        let on = std::any::type_name::<S>();
        match park::wait_until_ready(wait, on, None, |context| ready.as_mut().poll(context)) {
            Some(Ok(mut guard)) => {
                // The operation that is tried next finds out whether it still holds.
                guard.retain_ready();
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// The registration with this reactor, which is that of the calling thread.
    fn registration(&self, reactor: NonZeroU64) -> Option<Held<'_>> {
        let first = self.first.get()?;
        if first.reactor == reactor {
            return Some(Held::First(first));
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.iter().find(|other| other.reactor == reactor).map(|other| Held::Other(Arc::clone(other)))
    }

    /// Makes the registration with this thread's reactor. Nobody else does at the same time: reactors have one thread.
    #[cold]
    fn register(&self, reactor: NonZeroU64) -> io::Result<Held<'_>> {
        let descriptor = Descriptor(self.io.as_fd().as_raw_fd());
        // SAFETY: `io` owns the descriptor, does not change it, and is dropped or given away only after all registrations
        // of this source: they are its fields before `io`, and those that `Held` shares are held within calls that
        // borrow the source.
        let descriptor = unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)?;
        let registration = match self.first.set(Registration { reactor, descriptor }) {
            Ok(()) => return Ok(Held::First(self.first.get().expect("it was set"))),
            Err(registration) => Arc::new(registration),
        };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = reactor::retain_live(&mut others, |other| other.reactor);
        others.push(Arc::clone(&registration));
        drop(others);
        drop(dead);
        Ok(Held::Other(registration))
    }
}

/// `timeout` from now. One that the clock cannot add up is no limit.
fn after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// A registration that is being used.
enum Held<'source> {
    First(&'source Registration),
    Other(Arc<Registration>),
}

impl Deref for Held<'_> {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        match self {
            Self::First(registration) => registration,
            Self::Other(registration) => registration,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}
