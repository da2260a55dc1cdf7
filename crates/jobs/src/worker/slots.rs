//! What a worker runs at this moment, for all of its threads: to beat for it, to stop it, to look at its clock.

use super::verdict::Asked;
use crate::broker::Running;
use crate::job::{ExecId, JobId, Progress};
use ropewalk::TaskHandle;
use ropewalk::task::Listener;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One run.
struct Slot {
    id: JobId,
    progress: Arc<Latest>,
    /// There once it was given to the executor.
    handle: Option<TaskHandle<()>>,
    asked: Option<Asked>,
    /// When it counts as hanging.
    overdue: Option<Instant>,
}

/// The last word of a run about itself that was not sent yet.
#[derive(Default)]
pub(crate) struct Latest(Mutex<Option<Progress>>);

impl Listener for Latest {
    fn progress(&self, done: f64, message: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Progress { done, message: message.to_owned() });
    }
}

#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<ExecId, Slot>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<ExecId, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run that is about to be given to the executor.
    pub(crate) fn open(&self, exec: ExecId, id: JobId, overdue: Option<Instant>) -> Arc<Latest> {
        let progress = Arc::new(Latest::default());
        let slot = Slot { id, progress: Arc::clone(&progress), handle: None, asked: None, overdue };
        self.lock().insert(exec, slot);
        progress
    }

    /// Its handle; the run may have ended meanwhile, or may have been asked to.
    pub(crate) fn begun(&self, exec: ExecId, handle: TaskHandle<()>) {
        let asked = match self.lock().get_mut(&exec) {
            Some(slot) => {
                slot.handle = Some(handle);
                slot.asked
            }
            None => return,
        };
        if let Some(asked) = asked {
            self.ask(exec, asked);
        }
    }

    /// Asks a run to end. The first reason is the reason.
    pub(crate) fn ask(&self, exec: ExecId, why: Asked) {
        let handle = {
            let mut slots = self.lock();
            let Some(slot) = slots.get_mut(&exec) else { return };
            slot.asked.get_or_insert(why);
            slot.handle.take()
        };
        // Outside of the lock: a run that has not begun ends here, and its end comes back to these slots.
        if let Some(handle) = handle {
            handle.cancel();
        }
    }

    pub(crate) fn ask_all(&self, why: Asked) {
        let all: Vec<ExecId> = self.lock().keys().copied().collect();
        all.into_iter().for_each(|exec| self.ask(exec, why));
    }

    /// Why it was asked to end, if it was.
    pub(crate) fn asked(&self, exec: ExecId) -> Option<Asked> {
        self.lock().get(&exec).and_then(|slot| slot.asked)
    }

    /// The run is over.
    pub(crate) fn close(&self, exec: ExecId) {
        // The handle is dropped outside of the lock.
        let _slot = self.lock().remove(&exec);
    }

    /// Those that go on, for a beat.
    pub(crate) fn running(&self) -> Vec<Running> {
        let latest = |slot: &Slot| slot.progress.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.lock()
            .iter()
            .map(|(exec, slot)| Running { id: slot.id.clone(), exec: *exec, progress: latest(slot) })
            .collect()
    }

    /// Those that hang since before now; each is named once.
    pub(crate) fn overdue(&self) -> Vec<ExecId> {
        let now = Instant::now();
        let mut found = Vec::new();
        for (exec, slot) in self.lock().iter_mut() {
            if slot.overdue.is_some_and(|limit| limit <= now) {
                slot.overdue = None;
                found.push(*exec);
            }
        }
        found
    }

    /// When the next one counts as hanging.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        self.lock().values().filter_map(|slot| slot.overdue).min()
    }
}
