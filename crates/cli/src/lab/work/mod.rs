//! What the experiments are made of: a [`Unit`] says what to do, [`Done`] what came of it. Plain data, so that any model
//! can run it, in this process, in another one, or in another language.

pub mod cpu;
pub mod files;
pub mod io;
mod tasks;
mod transport;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ropewalk_profile::timeline;
use serde::{Deserialize, Serialize};

use super::usage;

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Which one; counts from zero within an experiment.
    pub id: u64,
    /// What to do.
    pub task: Task,
}

/// What a unit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Fetch a URL; the answer is the SHA-256 of the body.
    Get {
        /// From where.
        url: String,
    },
    /// Sum the squares below a bound; the answer is the sum.
    Sum {
        /// How many squares.
        bound: u64,
    },
    /// Fetch a URL, and then sum; the answer is that of the one and that of the other.
    Both {
        /// From where.
        url: String,
        /// How many squares.
        bound: u64,
    },
    /// Hash a file; the answer is the SHA-256 of its content.
    Hash {
        /// Which file.
        path: PathBuf,
    },
    /// Crash, with the process that this runs in.
    Crash,
}

/// What a unit reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When, on which thread, and its waits, from the monotonic clock.
    pub timing: timeline::Unit,
    /// What it found out, or why it could not.
    pub answer: Result<String, String>,
}

/// Units finished in this process so far, for the progress bar.
static FINISHED: AtomicU64 = AtomicU64::new(0);

/// How many units have finished in this process.
pub fn finished() -> u64 {
    // Relaxed: a count for the eye.
    FINISHED.load(Ordering::Relaxed)
}

/// A unit has finished in another process.
#[cfg(target_os = "linux")]
pub fn finished_elsewhere() {
    FINISHED.fetch_add(1, Ordering::Relaxed);
}

impl Unit {
    /// Does the work on the calling thread, blocking it while there is something to wait for.
    pub fn perform(&self) -> Done {
        let start = usage::clock();
        let mut waits = Vec::new();
        let answer = match &self.task {
            Task::Get { url } => io::get(url, &mut waits),
            Task::Sum { bound } => Ok(cpu::sum_of_squares(*bound).to_string()),
            Task::Both { url, bound } => io::get(url, &mut waits).map(|hash| both(&hash, cpu::sum_of_squares(*bound))),
            Task::Hash { path } => files::hash(path, &mut waits),
            Task::Crash => crash(),
        };
        self.report(start, waits, answer)
    }

    /// Does the work as an async task: what it waits for lets other tasks run.
    pub async fn perform_async(&self) -> Done {
        let start = usage::clock();
        let mut waits = Vec::new();
        let answer = match &self.task {
            Task::Get { url } => tasks::get(url, &mut waits).await,
            Task::Sum { .. } | Task::Crash => return self.perform(),
            Task::Both { url, bound } => {
                let hash = tasks::get(url, &mut waits).await;
                hash.map(|hash| both(&hash, cpu::sum_of_squares(*bound)))
            }
            Task::Hash { .. } => {
                // No system offers files to async tasks: a thread reads.
                let unit = self.clone();
                return tokio::task::spawn_blocking(move || unit.perform()).await.unwrap_or_else(|_| self.perform());
            }
        };
        self.report(start, waits, answer)
    }

    fn report(&self, start: Duration, waits: Vec<timeline::Wait>, answer: Result<String, String>) -> Done {
        let end = usage::clock();
        FINISHED.fetch_add(1, Ordering::Relaxed);
        Done { timing: timeline::Unit { id: self.id, thread: usage::thread_id(), start, end, waits }, answer }
    }
}

/// Ends this process as a wild pointer would.
fn crash() -> ! {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, setrlimit};
        use nix::sys::signal::{Signal, raise};
        // Many of these would fill a disk.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        // The handler of the standard library, which looks for overflows, lets the first one pass.
        for _ in 0..2 {
            let _ = raise(Signal::SIGSEGV);
        }
    }
    std::process::abort()
}

/// The answer of a unit that fetches and sums.
pub fn both(hash: &str, sum: u64) -> String {
    format!("{hash} {sum}")
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}
