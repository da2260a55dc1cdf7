//! The one reaper: it waits for processes that nobody waits for any more, so that none stays a zombie.
//!
//! Dropping or detaching a child never waits. What has not ended by then goes to one thread, which is started when it is
//! first needed, sleeps in poll(2) until one of its processes has ended or another one comes, and reaps it.

use super::proc::Proc;
use crate::io::descriptor::{Interest, Operation, Step, drive};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Sees to it that a process is reaped when it has ended.
pub(super) fn reap(proc: Arc<Proc>) {
    if proc.try_reap().is_some() {
        return;
    }
    static REAPER: Mutex<(Vec<Arc<Proc>>, Option<Handle>)> = Mutex::new((Vec::new(), None));
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let (waiting, handle) = &mut *reaper;
    waiting.push(proc);
    if handle.is_none() {
        // Where the system has no thread or no descriptor for it, these wait for the next that is dropped.
        *handle = start().ok();
    }
    if let Some(handle) = handle {
        handle.coming.lock().unwrap_or_else(PoisonError::into_inner).append(waiting);
        // If the pipe is full, it rings already.
        let _ = (&handle.rings).write(&[0]);
    }
}

struct Handle {
    coming: Arc<Mutex<Vec<Arc<Proc>>>>,
    rings: PipeWriter,
}

fn start() -> io::Result<Handle> {
    let (hears, rings) = io::pipe()?;
    rustix::io::ioctl_fionbio(&hears, true)?;
    rustix::io::ioctl_fionbio(&rings, true)?;
    let coming = Arc::default();
    let mut reaper = Reaper { hears, coming: Arc::clone(&coming), waited_for: Vec::new() };
    std::thread::Builder::new().name("ropewalk-reaper".to_owned()).spawn(move || {
        // It ends with the process.
        while drive(&mut reaper).is_err() {
            std::thread::yield_now();
        }
    })?;
    Ok(Handle { coming, rings })
}

struct Reaper {
    hears: PipeReader,
    coming: Arc<Mutex<Vec<Arc<Proc>>>>,
    waited_for: Vec<Arc<Proc>>,
}

impl Operation for Reaper {
    type Output = ();

    fn step(&mut self) -> Step<()> {
        while self.hears.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
        self.waited_for.append(&mut self.coming.lock().unwrap_or_else(PoisonError::into_inner));
        self.waited_for.retain(|proc| proc.try_reap().is_none());
        Step::Wait
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.hears.as_fd(), Interest::Read);
        self.waited_for.iter().for_each(|proc| name(proc.end(), Interest::Read));
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
