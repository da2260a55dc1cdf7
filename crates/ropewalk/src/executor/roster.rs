//! Who is alive in a set of tasks: counted, bounded, cancelled and waited for together.

use crate::task::TaskError;
use ropewalk_core::sync::Event;
use ropewalk_core::task::harness::Runnable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A set of tasks that are counted, cancelled and waited for together.
#[derive(Default)]
pub(crate) struct Roster {
    /// Not a mutex of ours, which is refused in async code when it is contended: members leave there too. It is held for a
    /// few instructions, and never over a wait.
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    alive: usize,
    tasks: Vec<Weak<dyn Runnable>>,
    closed: bool,
    /// How many are killing everybody at this moment.
    killers: usize,
    /// Set when a member has left, or the roster was closed; there if somebody waits for that.
    changes: Option<Arc<Event>>,
}

impl Members {
    /// Somebody waits for the next change.
    fn next_change(&mut self) -> Arc<Event> {
        Arc::clone(self.changes.get_or_insert_default())
    }
}

/// Wakes those who wait for a change, without the lock.
fn changed(mut members: MutexGuard<'_, Members>) {
    let changes = members.changes.take();
    drop(members);
    changes.inspect(|changes| changes.set());
}

/// One task's place in a roster, until this is dropped: a guard for its harness.
pub(crate) struct Member(Arc<Roster>);

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.0.members();
        members.alive -= 1;
        changed(members);
    }
}

/// Whoever is listed until this is dropped is cancelled at once.
struct Killing<'a>(&'a Roster);

impl Drop for Killing<'_> {
    fn drop(&mut self) {
        self.0.members().killers -= 1;
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
    fn members(&self) -> MutexGuard<'_, Members> {
        // No code of a user runs under this lock, so a poisoned one cannot hold a half-made change.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, when fewer than `limit` are alive.
    pub(crate) fn try_enter(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        let mut members = self.members();
        match members.closed {
            true => Err(Refused::Closed),
            false if members.alive >= limit => Err(Refused::Full),
            false => Ok(self.take(&mut members)),
        }
    }

    /// Takes a place, and waits for one if it must. Err when the roster is closed.
    #[track_caller]
    pub(crate) fn enter(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        loop {
            match self.enter_or_wait(limit) {
                Ok(entered) => return entered,
                Err(change) => change.wait(),
            }
        }
    }

    /// [`enter`](Self::enter) in async code.
    pub(crate) async fn enter_async(self: &Arc<Self>, limit: usize) -> Result<Member, Refused> {
        loop {
            match self.enter_or_wait(limit) {
                Ok(entered) => return entered,
                Err(change) => change.wait_async().await,
            }
        }
    }

    /// Takes a place or is refused; or else what to wait for.
    fn enter_or_wait(self: &Arc<Self>, limit: usize) -> Result<Result<Member, Refused>, Arc<Event>> {
        let mut members = self.members();
        match members.closed {
            true => Ok(Err(Refused::Closed)),
            false if members.alive >= limit => Err(members.next_change()),
            false => Ok(Ok(self.take(&mut members))),
        }
    }

    fn take(self: &Arc<Self>, members: &mut Members) -> Member {
        members.alive += 1;
        Member(Arc::clone(self))
    }

    /// Makes a member's task one that [`cancel`](Self::cancel) reaches.
    pub(crate) fn list(&self, task: &Arc<dyn Runnable>) {
        let mut members = self.members();
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
        self.members().killers += 1;
        let _killing = Killing(self);
        self.cancel(true);
        self.join();
    }

    /// Drops what has not started, and asks what runs to stop if `running` says so.
    pub(crate) fn cancel(&self, running: bool) {
        let tasks = self.members().tasks.clone();
        for task in tasks.iter().filter_map(Weak::upgrade) {
            if !task.cancel(TaskError::Cancelled) && running {
                task.interrupt();
            }
        }
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        let mut members = self.members();
        members.closed = true;
        changed(members);
    }

    /// How many are alive.
    pub(crate) fn alive(&self) -> usize {
        self.members().alive
    }

    /// What to wait for while somebody is alive.
    fn wait_for_the_last(&self) -> Option<Arc<Event>> {
        let mut members = self.members();
        (members.alive > 0).then(|| members.next_change())
    }

    /// Waits until nobody is alive.
    #[track_caller]
    pub(crate) fn join(&self) {
        while let Some(change) = self.wait_for_the_last() {
            change.wait();
        }
    }

    /// [`join`](Self::join) in async code.
    pub(crate) async fn join_async(&self) {
        while let Some(change) = self.wait_for_the_last() {
            change.wait_async().await;
        }
    }
}
