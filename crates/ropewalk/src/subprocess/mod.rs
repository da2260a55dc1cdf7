//! Running other programs, from threads, greenlets and async code.
//!
//! A [`Command`] says which program and how; its verbs run it to its end, or give a [`Child`]. Three things that every
//! program needs and few get right are the default: all pipes are served at once, so none deadlocks the other; a time limit
//! bounds the *call*, also where a grandchild holds the pipe; and a child that nobody waits for any more is ended and
//! reaped.
//!
//! ```
//! use ropewalk::subprocess::Command;
//! use std::time::Duration;
//!
//! let text = Command::new("cat").input("hemp").timeout(Duration::from_secs(5)).read()?;
//! assert_eq!(text, "hemp");
//! # Ok::<(), ropewalk::subprocess::Error>(())
//! ```
//!
//! | file | what it knows |
//! | --- | --- |
//! | `command`, `pipeline` | what is to be run, and the verbs |
//! | `job` | a pipeline under way: pipes, processes and the time limit as one operation |
//! | `exchange` | what goes through the pipes |
//! | `child`, `lines` | a process for those who talk to it themselves |
//! | `proc` | the end of a process, its signals, and who may reap it |
//! | `reaper`, `sweep` | what becomes of those that nobody waits for |
//! | `error` | what went wrong, told in full |

mod child;
mod command;
mod error;
mod exchange;
mod job;
mod lines;
mod pipeline;
mod proc;
mod reaper;
mod stdio;
mod sweep;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use command::{Command, GRACE, OUTPUT_BYTES_MAX};
pub use error::{Error, Reason};
pub use lines::Lines;
pub use pipeline::Pipeline;
pub use std::process::ExitStatus;
pub use stdio::Stdio;

/// What a program left behind.
#[doc(alias = "CompletedProcess")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended; of a pipeline, what decides.
    pub status: ExitStatus,
    /// What it wrote to standard output, if that was captured.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, if that was captured.
    pub stderr: Vec<u8>,
    /// How each stage of a pipeline ended.
    pub stages: Vec<ExitStatus>,
}

/// The status as Python gives it.
pub trait ReturnCode {
    /// The exit code, or minus the number of the signal that ended it.
    fn returncode(&self) -> i32;
}
