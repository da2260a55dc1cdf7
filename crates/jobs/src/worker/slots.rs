//! What a worker runs at this moment, for all of its threads: to beat for it, to stop it, to look at its clock.

use super::verdict::Asked;
use crate::broker::{LOG_BYTES_MAX, Running, Said, add_to_log};
use crate::job::{ExecId, JobId, Progress, Time, ceil_char};
use ropewalk::task::Listener;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// Asks a run to end.
pub(crate) type Ender = Box<dyn FnOnce() + Send>;

/// One run.
struct Slot {
    id: JobId,
    progress: Arc<Latest>,
    /// How it is asked to end; there once it was given to the executor.
    ender: Option<Ender>,
    asked: Option<Asked>,
    /// When it counts as hanging.
    overdue: Option<Instant>,
}

/// What a run has said of itself that was not sent yet: how far it has come last, and lines for its log.
#[derive(Default)]
pub(crate) struct Latest(Mutex<News>);

#[derive(Default)]
struct News {
    progress: Option<Progress>,
    log: String,
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_news(&self) -> bool {
        let news = self.lock();
        news.progress.is_some() || !news.log.is_empty()
    }
}

impl Listener for Latest {
    fn progress(&self, done: f64, message: &str) {
        self.lock().progress = Some(Progress { done, message: message.to_owned() });
    }

    fn log(&self, line: &str) {
        let now = Time::from(SystemTime::now());
        // Sent or not, no more is kept than the store keeps.
        let from = ceil_char(line, line.len().saturating_sub(LOG_BYTES_MAX / 2));
        add_to_log(&mut self.lock().log, &format!("{now} {}\n", line[from..].trim_end()));
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
        let slot = Slot { id, progress: Arc::clone(&progress), ender: None, asked: None, overdue };
        self.lock().insert(exec, slot);
        progress
    }

    /// How it can be asked to end; the run may have ended meanwhile, or may have been asked to.
    pub(crate) fn begun(&self, exec: ExecId, ender: Ender) {
        let asked = match self.lock().get_mut(&exec) {
            Some(slot) => {
                slot.ender = Some(ender);
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
        let ender = {
            let mut slots = self.lock();
            let Some(slot) = slots.get_mut(&exec) else { return };
            slot.asked.get_or_insert(why);
            slot.ender.take()
        };
        // Outside of the lock: a run that has not begun ends here, and its end comes back to these slots.
        if let Some(ender) = ender {
            ender();
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
        // Its handle is dropped outside of the lock.
        let _slot = self.lock().remove(&exec);
    }

    /// Those that go on, for a beat.
    pub(crate) fn running(&self) -> Vec<Running> {
        self.lock()
            .iter()
            .map(|(exec, slot)| Running {
                id: slot.id.clone(),
                exec: *exec,
                progress: slot.progress.lock().progress.take(),
            })
            .collect()
    }

    /// A beat that was not taken: what it said of their progress is news still, unless there is newer.
    pub(crate) fn not_sent(&self, running: Vec<Running>) {
        let slots = self.lock();
        for Running { exec, progress, .. } in running {
            if let (Some(slot), Some(progress)) = (slots.get(&exec), progress) {
                slot.progress.lock().progress.get_or_insert(progress);
            }
        }
    }

    /// How many there are.
    #[cfg(feature = "metrics")]
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Whether one has said something that was not sent yet.
    pub(crate) fn is_news(&self) -> bool {
        self.lock().values().any(|slot| slot.progress.is_news())
    }

    /// What they have said for their logs: all, or one.
    pub(crate) fn said(&self, of: Option<ExecId>) -> Vec<Said> {
        fn take(exec: ExecId, slot: &Slot) -> Option<Said> {
            let text = std::mem::take(&mut slot.progress.lock().log);
            (!text.is_empty()).then(|| Said { id: slot.id.clone(), exec, text })
        }
        let slots = self.lock();
        match of {
            Some(exec) => slots.get(&exec).and_then(|slot| take(exec, slot)).into_iter().collect(),
            None => slots.iter().filter_map(|(exec, slot)| take(*exec, slot)).collect(),
        }
    }

    /// Where a run that is elsewhere says how far it has come.
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub(crate) fn listener(&self, exec: ExecId) -> Option<Arc<Latest>> {
        self.lock().get(&exec).map(|slot| Arc::clone(&slot.progress))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_a_beat_that_was_refused_is_said_again() {
        let slots = Slots::default();
        let (exec, other) = (ExecId(1), ExecId(2));
        let said = [exec, other].map(|exec| slots.open(exec, JobId::random(), None));
        said.iter().for_each(|said| said.progress(0.25, "a quarter"));
        let refused = slots.running();
        assert!(!slots.is_news());
        said[1].progress(0.5, "half");
        slots.not_sent(refused);
        for running in slots.running() {
            let wanted = if running.exec == exec { 0.25 } else { 0.5 };
            assert_eq!(running.progress.unwrap().done, wanted);
        }
    }
}
