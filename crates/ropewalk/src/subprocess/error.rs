//! What went wrong with a program: which, where, after how long, and what it said last.

use super::{Output, ReturnCode};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Lines of standard error that are shown with an error.
const STDERR_LINES_SHOWN: usize = 20;
/// Bytes of standard error that are shown with an error.
const STDERR_BYTES_SHOWN: usize = 4 * 1024;

/// A program could not be run, or not to a good end.
#[doc(alias = "CalledProcessError")]
#[doc(alias = "TimeoutExpired")]
pub struct Error(Box<Inner>);

struct Inner {
    reason: Reason,
    argv: Vec<Vec<OsString>>,
    current_dir: Option<PathBuf>,
    elapsed: Duration,
    output: Output,
}

/// Why.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There is no such program.
    ProgramNotFound {
        /// The name that was looked for.
        program: OsString,
        /// The `PATH` that was searched; None if the name is a path itself.
        searched: Option<OsString>,
    },
    /// The directory that the child was to start in is not there.
    CurrentDirNotFound,
    /// The system could not start it.
    Start(io::Error),
    /// It ended badly.
    Exit(ExitStatus),
    /// Its time limit passed.
    TimedOut(Duration),
    /// It wrote more than it may, which is this many bytes.
    TooMuchOutput(usize),
    /// Its output is no UTF-8.
    NotUtf8,
    /// Reading or writing failed.
    Io(io::Error),
}

/// What an error is told of the command.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) argv: Vec<Vec<OsString>>,
    pub(super) current_dir: Option<PathBuf>,
}

impl Error {
    #[cold]
    pub(super) fn new(reason: Reason, about: &About, elapsed: Duration, output: Output) -> Self {
        let About { argv, current_dir } = about.clone();
        Self(Box::new(Inner { reason, argv, current_dir, elapsed, output }))
    }

    #[cold]
    pub(super) fn starting(error: io::Error, command: &std::process::Command, about: &About) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound if about.current_dir.as_ref().is_some_and(|dir| !dir.is_dir()) => {
                Reason::CurrentDirNotFound
            }
            io::ErrorKind::NotFound => {
                let program = command.get_program().to_owned();
                let of_child = command.get_envs().find(|(name, _)| *name == OsStr::new("PATH")).map(|(_, value)| value);
                let path = || of_child.map_or_else(|| std::env::var_os("PATH"), |path| path.map(OsStr::to_owned));
                let searched = (!program.as_encoded_bytes().contains(&b'/')).then(|| path().unwrap_or_default());
                Reason::ProgramNotFound { program, searched }
            }
            _ => Reason::Start(error),
        };
        Self::new(reason, about, Duration::ZERO, Output::default())
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The status it ended with, where that is what went wrong.
    pub fn status(&self) -> Option<ExitStatus> {
        match self.0.reason {
            Reason::Exit(status) => Some(status),
            _ => None,
        }
    }

    /// Whether a time limit had passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.reason, Reason::TimedOut(_))
    }

    /// What it had written until then, as far as it was captured.
    pub fn output(&self) -> &Output {
        &self.0.output
    }

    /// What it had written until then.
    pub fn into_output(self) -> Output {
        self.0.output
    }

    /// How long it had run.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { reason, argv, current_dir, elapsed, output } = &*self.0;
        for (number, argv) in argv.iter().enumerate() {
            f.write_str(if number == 0 { "`" } else { " | " })?;
            for (number, argument) in argv.iter().enumerate() {
                let space = if number == 0 { "" } else { " " };
                write!(f, "{space}{}", Quoted(argument))?;
            }
        }
        f.write_str("`")?;
        if let Some(dir) = current_dir {
            write!(f, " in {}", dir.display())?;
        }
        let seconds = elapsed.as_secs_f64();
        match reason {
            Reason::ProgramNotFound { program, searched: Some(path) } => write!(
                f,
                ": there is no program {} in PATH ({}); install it, or name it by its path",
                Quoted(program),
                path.display()
            ),
            Reason::ProgramNotFound { program, searched: None } => {
                write!(f, ": there is no program at {}", Quoted(program))
            }
            Reason::CurrentDirNotFound => f.write_str(": there is no such directory to start it in"),
            Reason::Start(error) => write!(f, " could not be started: {error}"),
            Reason::Exit(status) => write!(f, " ended with {status} after {seconds:.1} s"),
            Reason::TimedOut(limit) => write!(f, " was stopped after its time limit of {} s", limit.as_secs_f64()),
            Reason::TooMuchOutput(limit) => {
                write!(f, " was stopped after {seconds:.1} s: it wrote more than {limit} bytes, see `output_limit`")
            }
            Reason::NotUtf8 => f.write_str(" wrote something that is not UTF-8; `output` gives the bytes"),
            Reason::Io(error) => write!(f, ": its pipes failed after {seconds:.1} s: {error}"),
        }?;
        let tail = tail(&output.stderr);
        if !tail.is_empty() {
            write!(f, "\n{tail}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.reason {
            Reason::Start(error) | Reason::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.0.reason {
            Reason::ProgramNotFound { .. } | Reason::CurrentDirNotFound => io::ErrorKind::NotFound,
            Reason::TimedOut(_) => io::ErrorKind::TimedOut,
            Reason::NotUtf8 => io::ErrorKind::InvalidData,
            Reason::Start(error) | Reason::Io(error) => error.kind(),
            Reason::Exit(_) | Reason::TooMuchOutput(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// An argument as one would type it.
struct Quoted<'a>(&'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let is_plain = |character: char| character.is_alphanumeric() || "-_./=:,+@%".contains(character);
        if !text.is_empty() && text.chars().all(is_plain) {
            f.write_str(&text)
        } else {
            write!(f, "'{}'", text.escape_debug())
        }
    }
}

/// The last lines of standard error.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(&stderr[stderr.len().saturating_sub(STDERR_BYTES_SHOWN)..]);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(STDERR_LINES_SHOWN)..].join("\n")
}

impl ReturnCode for ExitStatus {
    fn returncode(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.code().unwrap_or_else(|| -self.signal().unwrap_or_default())
    }
}
