//! Jobs that are command lines: a program and its arguments, never a shell.
//!
//! A command leads a process group of its own. When its job is stopped, too late, or its worker ends, the whole group is killed:
//! the wait below is a wait of ropewalk, which is ended by unwinding, and the guard kills on its way out.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ropewalk::JobContext;
use ropewalk_jobs::{Failure, FailureKind, Handler, Ran};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// The name of the task.
pub const TASK: &str = "ropewalk::command";

/// How much is kept of what a command writes, of each stream, in bytes: its end.
const OUTPUT_BYTES_MAX: usize = 128 << 10;

/// How often a command is looked at; the waits double up to the longest.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its exit code.
    pub exit: i32,
    /// The end of what it wrote.
    pub stdout: String,
    /// The end of what it complained.
    pub stderr: String,
}

/// Runs them; for a worker that may.
pub fn handler() -> Handler {
    Arc::new(run)
}

struct Group(Child);

impl Group {
    fn kill(&self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It is not reaped yet, so the group is still that of our child; one that is empty already is an error.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

fn run(payload: &str, _: &JobContext) -> Ran {
    let words: Vec<String> = serde_json::from_str(payload)
        .map_err(|e| Failure::new(FailureKind::Payload, format!("a command is a list of words: {e}")))?;
    let [program, arguments @ ..] = &words[..] else {
        return Err(Failure::new(FailureKind::Payload, "a command needs at least the name of a program"));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command
        .spawn()
        .map_err(|e| Failure::new(FailureKind::Error, format!("`{program}` cannot be started on this worker: {e}")))?;
    let (stdout, stderr) = (end_of(child.stdout.take()), end_of(child.stderr.take()));
    let mut group = Group(child);
    let status = wait(&mut group)?;
    // Whatever it left running would hold the pipes.
    group.kill();
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if status.success() {
        let finished = Finished { exit: 0, stdout, stderr };
        return serde_json::to_string(&finished).map_err(|e| Failure::new(FailureKind::Result, e.to_string()));
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    };
    let mut failure = Failure::new(FailureKind::Error, format!("`{program}` ended with {how}"));
    if !stderr.trim().is_empty() {
        failure.chain.push(stderr.trim().to_owned());
    }
    Err(failure)
}

fn wait(group: &mut Group) -> Result<ExitStatus, Failure> {
    let mut pause = LOOK_FIRST;
    loop {
        match group.0.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => ropewalk::sleep(pause),
            Err(e) => return Err(Failure::new(FailureKind::Error, format!("the command cannot be waited for: {e}"))),
        }
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

/// Reads a stream to its end on a thread of its own, and keeps the last of it.
fn end_of(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut kept: Vec<u8> = Vec::new();
        let mut some = [0; 8 << 10];
        let Some(mut stream) = stream else { return String::new() };
        while let Ok(n) = stream.read(&mut some)
            && n > 0
        {
            kept.extend_from_slice(&some[..n]);
            if kept.len() > 2 * OUTPUT_BYTES_MAX {
                kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
            }
        }
        let from = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        String::from_utf8_lossy(&kept[from..]).into_owned()
    })
}
