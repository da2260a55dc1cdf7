//! Work on several descriptors at once, written without a wait in it, and the three ways to wait between its steps.
//!
//! An [`Operation`] is a state machine. A step does whatever can be done now and ends when each descriptor that the
//! operation is interested in has said `WouldBlock`. Then its driver waits until one of them is ready or the deadline of
//! the operation has come, and asks for the next step. A thread waits in poll(2), a greenlet and an async task by
//! registrations with the reactor they have: the operation does not know.
//!
//! The registrations live as long as the operation is driven and are made with duplicates of the descriptors. So an
//! operation may close a descriptor in a step, and two strands of one hub may drive operations on the same one. What is
//! not asked for any more after a step is given up at once: the duplicate would hold a pipe open.
//!
//! A reactor tells of changes. A registration counts as ready from one change until a step that began later has found the
//! descriptor exhausted; tokio's guard keeps apart what came in between.

use super::{Interest, poll, reactor};
use ropewalk_core::park::{self, Wait};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// What a step came to.
pub(crate) enum Step<T> {
    /// It is over.
    Done(T),
    /// Each descriptor of interest was found exhausted.
    Wait,
    /// There is more to do at once; others may want to run first.
    Again,
}

/// Work on descriptors that are non-blocking.
pub(crate) trait Operation {
    /// What it comes to.
    type Output;

    /// Does what can be done now.
    fn step(&mut self) -> Step<Self::Output>;

    /// Names each descriptor that it would go on with.
    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest));

    /// When it wants to go on, whatever the descriptors say.
    fn deadline(&self) -> Option<Instant>;
}

fn interests_of<O: Operation>(operation: &O) -> Vec<(BorrowedFd<'_>, Interest)> {
    let mut interests = Vec::with_capacity(4);
    operation.interests(&mut |descriptor, interest| interests.push((descriptor, interest)));
    interests
}

/// Drives an operation from a thread or a greenlet. Unwinds when that is cancelled.
#[track_caller]
pub(crate) fn drive<O: Operation>(operation: &mut O) -> io::Result<O::Output> {
    park::refuse_in_async();
    reactor::begin();
    loop {
        match operation.step() {
            Step::Done(output) => return Ok(output),
            Step::Again => park::check_cancelled(),
            Step::Wait => {
                reactor::waits();
                if reactor::current().is_some() {
                    // Polled on the greenlet's stack, where nothing inside switches.
                    let mut rest = pin!(steps(operation));
                    let on = std::any::type_name::<O>();
                    return park::wait_until_ready(Wait::FOREVER, on, None, |context| rest.as_mut().poll(context))
                        .expect("a wait without a deadline timed out");
                }
                poll::any_ready(&interests_of(operation), operation.deadline())?;
            }
        }
    }
}

/// Drives an operation in async code, on whatever runtime.
pub(crate) async fn drive_async<O: Operation>(operation: &mut O) -> io::Result<O::Output> {
    crate::io::with_reactor(steps(operation)).await
}

struct Registration {
    of: (RawFd, Interest),
    descriptor: AsyncFd<OwnedFd>,
}

impl Registration {
    fn new(of: BorrowedFd<'_>, interest: Interest) -> io::Result<Self> {
        let duplicate = of.try_clone_to_owned()?;
        // SAFETY: the registration owns the duplicate: an `OwnedFd` stays the same and open until it is dropped with it.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(duplicate, interest.into()) }.map_err(io::Error::from)?;
        Ok(Self { of: (of.as_raw_fd(), interest), descriptor })
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<AsyncFdReadyGuard<'_, OwnedFd>>> {
        match self.of.1 {
            Interest::Read => self.descriptor.poll_read_ready(context),
            Interest::Write => self.descriptor.poll_write_ready(context),
        }
    }
}

async fn steps<O: Operation>(operation: &mut O) -> io::Result<O::Output> {
    let mut registered: Vec<Registration> = Vec::new();
    loop {
        let ready: Vec<Option<AsyncFdReadyGuard<'_, OwnedFd>>> = match registered.is_empty() {
            true => Vec::new(),
            false => any_ready(&registered, operation.deadline()).await?,
        };
        loop {
            match operation.step() {
                Step::Done(output) => return Ok(output),
                Step::Again => tokio::task::yield_now().await,
                Step::Wait => break,
            }
        }
        let wanted = interests_of(operation);
        let is_wanted = |of: (RawFd, Interest)| wanted.iter().any(|(fd, interest)| of == (fd.as_raw_fd(), *interest));
        for mut guard in ready.into_iter().flatten() {
            guard.clear_ready();
        }
        registered.retain(|registration| is_wanted(registration.of));
        for (descriptor, interest) in wanted {
            if !registered.iter().any(|one| one.of == (descriptor.as_raw_fd(), interest)) {
                registered.push(Registration::new(descriptor, interest)?);
            }
        }
        if registered.is_empty() {
            // Only time has to pass.
            let Some(deadline) = operation.deadline() else {
                unreachable!("an operation waits for nothing");
            };
            tokio::time::sleep_until(deadline.into()).await;
        }
    }
}

/// Waits until one is ready, or for the deadline.
async fn any_ready(
    registered: &[Registration],
    deadline: Option<Instant>,
) -> io::Result<Vec<Option<AsyncFdReadyGuard<'_, OwnedFd>>>> {
    let mut alarm = pin!(deadline.map(|deadline| tokio::time::sleep_until(deadline.into())));
    poll_fn(|context| {
        let mut ready = Vec::with_capacity(registered.len());
        for registration in registered {
            ready.push(match registration.poll_ready(context) {
                Poll::Ready(guard) => Some(guard?),
                Poll::Pending => None,
            });
        }
        let is_time = alarm.as_mut().as_pin_mut().is_some_and(|alarm| alarm.poll(context).is_ready());
        if is_time || ready.iter().any(Option::is_some) { Poll::Ready(Ok(ready)) } else { Poll::Pending }
    })
    .await
}
