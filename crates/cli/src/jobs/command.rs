//! Jobs that are command lines: a program and its arguments, never a shell.
//!
//! A command leads a process group of its own. When its job is stopped, too late, or its worker ends, the whole group is killed:
//! the wait below is a wait of ropewalk, which is ended by unwinding, and the guard kills on its way out.
//!
//! What has left the group (a daemon, by `setsid`) is not ours to kill. It may hold the pipes for as long as it likes, so their
//! readers are waited for only a moment; one that is left behind ends when the pipe does.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::JobContext;
use ropewalk_jobs::job::RESULT_BYTES_MAX;
use ropewalk_jobs::{Failure, FailureKind, Handler, Ran};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// The name of the task.
pub const TASK: &str = "ropewalk::command";

/// How much is kept of what a command writes, of each stream, in bytes: its end.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

// A byte is six in JSON at worst (`\u0000`), there are two streams, and around them a little.
const _: () =
    assert!(2 * 6 * OUTPUT_BYTES_MAX + 1024 <= RESULT_BYTES_MAX, "the output of a command fits into a result");

/// How long the readers have after the command has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

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

fn run(payload: &str, job: &JobContext) -> Ran {
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
    job.log(format_args!("`{program}` runs as process {}", child.id()));
    let (stdout, stderr) = (end_of(child.stdout.take()), end_of(child.stderr.take()));
    let mut group = Group(child);
    let status = wait(&mut group)?;
    // Whatever it left running would hold the pipes.
    group.kill();
    let until = Instant::now() + LAST_OUTPUT;
    let (stdout, stderr) = (stdout.kept(until), stderr.kept(until));
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

/// A thread that reads a stream, and the last of what it has read so far.
struct Reader {
    thread: thread::JoinHandle<()>,
    last: Arc<Mutex<Vec<u8>>>,
}

/// Reads a stream to its end on a thread of its own, and keeps the last of it.
fn end_of(stream: Option<impl Read + Send + 'static>) -> Reader {
    let last = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&last);
    let thread = thread::spawn(move || {
        let mut some = [0; 8 << 10];
        let Some(mut stream) = stream else { return };
        while let Ok(n) = stream.read(&mut some)
            && n > 0
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&some[..n]);
            if kept.len() > 2 * OUTPUT_BYTES_MAX {
                let more = kept.len() - OUTPUT_BYTES_MAX;
                kept.drain(..more);
            }
        }
    });
    Reader { thread, last }
}

impl Reader {
    /// What was read to the end of the stream, or until then.
    fn kept(self, until: Instant) -> String {
        let mut pause = LOOK_FIRST;
        while !self.thread.is_finished() && Instant::now() < until {
            ropewalk::sleep(pause);
            pause = (pause * 2).min(LOOK_EVERY);
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&last[last.len().saturating_sub(OUTPUT_BYTES_MAX)..]).into_owned()
    }
}
