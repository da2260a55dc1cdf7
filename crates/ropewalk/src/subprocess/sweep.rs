//! Sweeping up what left its group: a process that was started by a child of ours, made itself a session of its own, and
//! would outlive the kill of the tree.
//!
//! Whoever asks for this makes our process the one that inherits orphans (`PR_SET_CHILD_SUBREAPER`), and gives the tree a
//! mark in its environment. When the tree was killed and its root has ended, orphans with the mark are children of ours:
//! they are killed and reaped, and then those that they leave behind. A process that has cleared its environment is not
//! found.

use super::proc::Proc;
use std::sync::Arc;
use std::time::Duration;

/// How often in a row nobody must be found before the tree counts as swept. A process that is just starting a program has no
/// environment for a moment, and the list of children may leave one out that is just becoming ours.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The variable in the environment of every process of such a tree.
pub(super) const MARK: &str = "ROPEWALK_TREE";

/// A mark that no other tree has.
pub(super) fn new_cookie() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TREES: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), TREES.fetch_add(1, Ordering::Relaxed))
}

/// Makes this process inherit orphans. That holds until it ends.
#[cfg(target_os = "linux")]
pub(super) fn inherit_orphans() -> std::io::Result<()> {
    let me = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(me))?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn inherit_orphans() -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "only Linux lets a process inherit orphans"))
}

/// Kills what is left of a tree whose roots were killed, on a thread of its own.
pub(super) fn start(roots: Vec<Arc<Proc>>, cookie: &str) {
    let cookie = format!("{MARK}={cookie}");
    // Without a thread nothing is swept; whoever asked for it is ending the tree as it is.
    let _ = std::thread::Builder::new().name("ropewalk-sweep".to_owned()).spawn(move || sweep(&roots, &cookie));
}

#[cfg(target_os = "linux")]
fn sweep(roots: &[Arc<Proc>], cookie: &str) {
    use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, waitid};
    for root in roots {
        // To be reaped by whoever holds it.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(root.pid()), look));
    }
    let mut looks = 0;
    while looks < LOOKS {
        let strays: Vec<_> = children()
            .into_iter()
            .filter(|pid| !roots.iter().any(|root| root.pid() == *pid) && has_mark(*pid, cookie))
            .collect();
        if strays.is_empty() {
            looks += 1;
            ropewalk_core::park::sleep(BETWEEN_LOOKS);
            continue;
        }
        looks = 0;
        for pid in strays {
            let _ = kill_process(pid, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn sweep(_roots: &[Arc<Proc>], _cookie: &str) {}

/// The children of every thread of this process.
#[cfg(target_os = "linux")]
fn children() -> Vec<rustix::process::Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>();
    lists.flat_map(pids).filter_map(rustix::process::Pid::from_raw).collect()
}

#[cfg(target_os = "linux")]
fn has_mark(pid: rustix::process::Pid, cookie: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable == cookie.as_bytes()))
}
