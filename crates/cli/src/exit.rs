//! How the program ends: the only place that calls `process::exit`.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done; also when whoever read our output has gone away |
//! | 2 | the command line cannot be understood |
//! | 3 | a URL does not answer |
//! | 4 | a file cannot be read |
//! | 5 | python is missing or failed |
//! | 6 | a result was wrong or lost |
//! | 7 | a process of the lab died or could not be started |
//! | 8 | a result cannot be written |
//! | 9 | the job queue refuses what was asked, or cannot be reached |
//! | 10 | the job has not ended yet |
//! | 11 | the job ended without a result |
//! | 70 | a bug in ropewalk |
//! | 126, 127 | the program to profile cannot be started, or is not there |
//! | 130 | interrupted |
//!
//! `profile -- PROGRAM` ends as the program does: with its code, or 128 and the number of the signal that ended it; or with 0
//! if it ended because `--duration` had passed.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The table above, for the help of the command.
pub const CODES: &str = "\
Exit codes: 0 done; 2 the command line cannot be understood; 3 a URL does not
answer; 4 a file cannot be read; 5 python is missing or failed; 6 a result was
wrong or lost; 7 a process of the lab died or could not be started; 8 a result
cannot be written; 9 the job queue refuses or cannot be reached; 10 the job has
not ended yet; 11 it ended without a result; 70 a bug; 126, 127 the program to
profile cannot be started; 130 interrupted. `profile -- PROGRAM` ends as the
program does, unless --duration ended it.";

/// What can go wrong without anybody having made a mistake in ropewalk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// Nothing was asked for. Holds the help.
    Help(String),
    /// The command line cannot be understood. Holds the whole text, the way to the help included.
    Usage(String),
    /// A URL does not answer, or not as it must.
    Unreachable(String),
    /// A file or directory cannot be read.
    Unreadable(String),
    /// Python is missing, or its script failed.
    Python(String),
    /// A result was wrong or never came.
    Wrong(String),
    /// A process of the lab died or could not be started.
    Process(String),
    /// A result cannot be written where it was asked for.
    Unwritable(String),
    /// The job queue refuses what was asked, or cannot be reached.
    Queue(String),
    /// The job whose result was asked for has not ended.
    NotEnded(String),
    /// It has, and not well.
    NoResult(String),
    /// The program to profile cannot be started: what a shell answers then, and why.
    Start(i32, String),
    /// The program that was profiled ended with this; it has said why itself.
    Passed(i32),
    /// Ctrl-C, or a request to end.
    Interrupted,
    /// Whoever read our output has gone away; nothing more to say to them.
    ReaderGone,
}

impl Expected {
    /// The exit code.
    pub fn code(&self) -> i32 {
        match self {
            Expected::ReaderGone => 0,
            Expected::Help(_) | Expected::Usage(_) => 2,
            Expected::Unreachable(_) => 3,
            Expected::Unreadable(_) => 4,
            Expected::Python(_) => 5,
            Expected::Wrong(_) => 6,
            Expected::Process(_) => 7,
            Expected::Unwritable(_) => 8,
            Expected::Queue(_) => 9,
            Expected::NotEnded(_) => 10,
            Expected::NoResult(_) => 11,
            Expected::Start(code, _) | Expected::Passed(code) => *code,
            Expected::Interrupted => 130,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // clap's text opens with "error:" itself.
            Expected::Usage(text) => f.write_str(text.strip_prefix("error: ").unwrap_or(text)),
            Expected::Help(text)
            | Expected::Unreachable(text)
            | Expected::Unreadable(text)
            | Expected::Python(text)
            | Expected::Wrong(text)
            | Expected::Process(text)
            | Expected::Unwritable(text)
            | Expected::Queue(text)
            | Expected::NotEnded(text)
            | Expected::NoResult(text)
            | Expected::Start(_, text) => f.write_str(text),
            Expected::Passed(code) => write!(f, "the program ended with {code}"),
            Expected::Interrupted => f.write_str("interrupted"),
            Expected::ReaderGone => f.write_str("whoever read the output has gone away"),
        }
    }
}

impl std::error::Error for Expected {}

/// The exit code of a bug (`EX_SOFTWARE`), against 2..=11 for what a user can cause.
const BUG: i32 = 70;

/// Ends the process with what a command returned.
pub fn with(result: Result<(), Expected>) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(expected) => {
            match expected {
                Expected::ReaderGone | Expected::Passed(_) => {}
                Expected::Help(_) => say(&expected),
                _ => say(&format_args!("error: {expected}")),
            }
            expected.code()
        }
    };
    now(code)
}

/// Writes a line to stderr. Where nobody reads that any more, nobody misses it: not a reason to panic, as `eprintln!` would.
pub fn say(line: &dyn fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Files that were made before the work, and are nothing as long as they are empty.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// When the process ends, `path` is removed if nothing was written into it.
pub fn remove_if_empty(path: PathBuf) {
    MADE.lock().unwrap_or_else(PoisonError::into_inner).push(path);
}

/// Ends the process at once.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now(code: i32) -> ! {
    for path in MADE.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        if path.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = std::fs::remove_file(path);
        }
    }
    std::process::exit(code)
}

/// From here on a panic of this thread or any other ends the process with the exit code of a bug.
///
/// For the process a person started; the lab's children leave panics to the model that they run.
pub fn on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        say(&format_args!(
            "error: this is a bug in ropewalk {}, not in what you did; please report the lines above",
            env!("CARGO_PKG_VERSION")
        ));
        // The lab's children end by themselves when their pipes close.
        now(BUG);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_errors_keep_to_their_exit_codes() {
        let text = || "x".to_owned();
        let all = [
            Expected::Usage(text()),
            Expected::Unreachable(text()),
            Expected::Unreadable(text()),
            Expected::Python(text()),
            Expected::Wrong(text()),
            Expected::Process(text()),
            Expected::Unwritable(text()),
            Expected::Queue(text()),
            Expected::NotEnded(text()),
            Expected::NoResult(text()),
        ];
        for (i, e) in all.iter().enumerate() {
            assert_eq!(usize::try_from(e.code()), Ok(i + 2), "{e:?}");
            assert!(CODES.contains(&format!(" {} ", e.code())), "{e:?}");
        }
        assert_eq!(Expected::ReaderGone.code(), 0);
        assert_eq!(Expected::Interrupted.code(), 130);
    }
}
