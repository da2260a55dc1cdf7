//! Who is alive in a set of tasks: counted, bounded, cancelled and waited for together.

use crate::task::TaskError;
use ropewalk_core::sync::{Condvar, Mutex};
use ropewalk_core::task::harness::Runnable;
use std::sync::{Arc, Weak};

/// A set of tasks that are counted, cancelled and waited for together.
#[derive(Default)]
pub(crate) struct Roster {
    members: Mutex<Members>,
    /// A member has left, or the roster was closed.
    changed: Condvar,
}

#[derive(Default)]
struct Members {
    alive: usize,
    tasks: Vec<Weak<dyn Runnable>>,
    closed: bool,
    /// How many are killing everybody at this moment.
    killers: usize,
}

/// One task's place in a roster, until this is dropped: a guard for its harness.
pub(crate) struct Member(Arc<Roster>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.lock().alive -= 1;
        self.0.changed.notify_all();
    }
}

/// Whoever is listed until this is dropped is cancelled at once.
struct Killing<'a>(&'a Roster);

impl Drop for Killing<'_> {
    fn drop(&mut self) {
        self.0.members.lock().killers -= 1;
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many are alive as may be.
    Full,
    /// It takes no more.
    Closed,
}

impl Roster {
    /// Takes a place, when fewer than `limit` are alive.
    pub(crate) fn try_enter(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        let mut members = self.members.lock();
        match members.closed {
            true => Err(Refused::Closed),
            false if members.alive >= limit => Err(Refused::Full),
            false => Ok(self.take(&mut members)),
        }
    }

    /// Takes a place, and waits for one if it must. Err when the roster is closed.
    #[track_caller]
    pub(crate) fn enter(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        let members = self.members.lock();
        let mut members = self.changed.wait_while(members, |members| members.alive >= limit && !members.closed);
        if members.closed { Err(Refused::Closed) } else { Ok(self.take(&mut members)) }
    }

    /// [`enter`](Self::enter) in async code.
    pub(crate) async fn enter_async(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        let members = self.members.lock_async().await;
        let full = |members: &mut Members| members.alive >= limit && !members.closed;
        let mut members = self.changed.wait_while_async(members, full).await;
        if members.closed { Err(Refused::Closed) } else { Ok(self.take(&mut members)) }
    }

    fn take(self: &Arc<Self>, members: &mut Members) -> Member {
        members.alive += 1;
        Member(Arc::clone(self))
    }

    /// Makes a member's task one that [`cancel`](Self::cancel) reaches.
    pub(crate) fn list(&self, task: &Arc<dyn Runnable>) {
        let mut members = self.members.lock();
        if members.tasks.len() == members.tasks.capacity() {
            members.tasks.retain(|task| task.strong_count() > 0);
        }
        members.tasks.push(Arc::downgrade(task));
        let too_late = members.killers > 0;
        drop(members);
        if too_late {
            task.cancel(TaskError::Cancelled);
        }
    }

    /// Cancels everybody, and whoever comes meanwhile (whoever waited for a place takes one that becomes free), and waits
    /// until nobody is alive.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.members.lock().killers += 1;
        let _killing = Killing(self);
        self.cancel(true);
        self.join();
    }

    /// Drops what has not started, and asks what runs to stop if `running` says so.
    pub(crate) fn cancel(&self, running: bool) {
        let tasks = self.members.lock().tasks.clone();
        for task in tasks.iter().filter_map(Weak::upgrade) {
            if !task.cancel(TaskError::Cancelled) && running {
                task.interrupt();
            }
        }
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        self.members.lock().closed = true;
        self.changed.notify_all();
    }

    /// How many are alive.
    pub(crate) fn alive(&self) -> usize {
        self.members.lock().alive
    }

    /// Waits until nobody is alive.
    #[track_caller]
    pub(crate) fn join(&self) {
        drop(self.changed.wait_while(self.members.lock(), |members| members.alive > 0));
    }

    /// [`join`](Self::join) in async code.
    pub(crate) async fn join_async(&self) {
        let members = self.members.lock_async().await;
        drop(self.changed.wait_while_async(members, |members| members.alive > 0).await);
    }
}
