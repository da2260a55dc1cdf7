//! A process that was started: its end, its signals, and who reaps it.
//!
//! # States
//!
//! *Alive* → *ended* (a zombie; its number and its group are still its own) → *reaped*. Signals go through the descriptor
//! of the process, so none ever meets a stranger with the same number. A group has a number only. It is signalled before its
//! leader is reaped, under the lock of the state, because until then nobody else can get the number.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Proc {
    pid: Pid,
    /// Readable once the process has ended.
    end: End,
    /// The group that is signalled with it.
    group: Option<Pid>,
    state: Mutex<State>,
}

enum End {
    /// The descriptor of the process itself.
    #[cfg(target_os = "linux")]
    Process(OwnedFd),
    /// A pipe that a thread closes.
    Watched(OwnedFd),
}

struct State {
    child: std::process::Child,
    status: Option<ExitStatus>,
    /// Also while it is not reaped.
    has_ended: bool,
}

impl Proc {
    pub(super) fn new(child: std::process::Child, group: Option<Pid>) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match end_of(pid) {
            Ok(end) => Ok(Self { pid, end, group, state: Mutex::new(State { child, status: None, has_ended: false }) }),
            Err(error) => {
                // Nobody could ever wait for it.
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn group(&self) -> Option<Pid> {
        self.group
    }

    /// Readable once the process has ended.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        match &self.end {
            #[cfg(target_os = "linux")]
            End::Process(end) => end.as_fd(),
            End::Watched(end) => end.as_fd(),
        }
    }

    /// Whether it has ended. One with a group is not reaped by this: the group may have to be signalled yet.
    pub(super) fn has_ended(&self) -> bool {
        if self.group.is_none() {
            return self.try_reap().is_some();
        }
        let mut state = self.state();
        if state.status.is_none() && !state.has_ended {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            // An error is that somebody else has reaped it.
            state.has_ended = !matches!(rustix::process::waitid(WaitId::Pid(self.pid), look), Ok(None));
        }
        state.status.is_some() || state.has_ended
    }

    /// Whether it was seen to have ended, by whoever looked last.
    pub(super) fn was_seen_to_end(&self) -> bool {
        let state = self.state();
        state.status.is_some() || state.has_ended
    }

    /// Whether it was reaped: it cannot be signalled any more.
    pub(super) fn is_reaped(&self) -> bool {
        self.state().status.is_some()
    }

    /// Reaps it if it has ended.
    pub(super) fn try_reap(&self) -> Option<ExitStatus> {
        let mut state = self.state();
        if state.status.is_none() {
            state.status = match state.child.try_wait() {
                Ok(status) => status,
                // Somebody else has: a `wait` for any child in this program, or SIGCHLD is ignored. How it ended is lost.
                Err(_) => Some(ExitStatus::from_raw(UNKNOWN_STATUS)),
            };
        }
        state.status
    }

    /// Sends a signal to the process and to its group if it has one. A process that was reaped gets none.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut state = self.state();
        if state.status.is_some() {
            return Ok(());
        }
        // Somebody else may have reaped it, as `try_reap` says: then its group may be a stranger's.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(rustix::process::waitid(WaitId::Pid(self.pid), look), Err(rustix::io::Errno::CHILD)) {
            state.status = Some(ExitStatus::from_raw(UNKNOWN_STATUS));
            return Ok(());
        }
        let to_itself = || match &self.end {
            #[cfg(target_os = "linux")]
            End::Process(end) => rustix::process::pidfd_send_signal(end, signal),
            // Not reaped yet, so the number is still that of this process.
            End::Watched(_) => rustix::process::kill_process(self.pid, signal),
        };
        let sent = match self.group {
            Some(group) => {
                let sent = rustix::process::kill_process_group(group, signal);
                // A stage of a pipeline that has made itself another group is still a child of ours.
                let is_in_it = rustix::process::getpgid(Some(self.pid)).is_ok_and(|its| its == group);
                if is_in_it { sent } else { to_itself() }
            }
            None => to_itself(),
        };
        match sent {
            // It has ended; of a group, every process has.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Of a process whose status somebody else took: exit code 255.
const UNKNOWN_STATUS: i32 = 255 << 8;

#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> io::Result<End> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static HAS_PIDFD: AtomicBool = AtomicBool::new(true);
    if HAS_PIDFD.load(Ordering::Relaxed) {
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(end) => return Ok(End::Process(end)),
            // An old kernel, or a filter that does not know the call.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => HAS_PIDFD.store(false, Ordering::Relaxed),
            Err(error) => return Err(error.into()),
        }
    }
    watched_end_of(pid).map(End::Watched)
}

#[cfg(not(target_os = "linux"))]
fn end_of(pid: Pid) -> io::Result<End> {
    watched_end_of(pid).map(End::Watched)
}

/// Where a process has no descriptor: a thread waits for it, and closes the other end of a pipe.
fn watched_end_of(pid: Pid) -> io::Result<OwnedFd> {
    let (hears, rings) = io::pipe()?;
    std::thread::Builder::new().name("ropewalk-watch".to_owned()).spawn(move || {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), look));
        drop(rings);
    })?;
    Ok(hears.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_of_one_that_somebody_else_has_reaped_gets_no_signal() {
        use std::os::unix::process::CommandExt;
        let ended = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&ended);
        let mut stranger = std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        // As if the number of the group had been given to somebody else meanwhile.
        let proc = Proc::new(ended, Some(Pid::from_child(&stranger))).unwrap();
        rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap();
        proc.signal(Signal::KILL).unwrap();
        assert!(proc.is_reaped());
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn end_is_told_without_pidfd() {
        let child = std::process::Command::new("sleep").arg("0.05").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let end = watched_end_of(pid).unwrap();
        // The pipe ends when the process has ended, and the process is still there to be reaped.
        let mut byte = [0];
        assert_eq!(rustix::io::read(&end, &mut byte).unwrap(), 0);
        let proc = Proc::new(child, None).unwrap();
        assert!(proc.has_ended());
        assert!(proc.try_reap().unwrap().success());
    }
}
