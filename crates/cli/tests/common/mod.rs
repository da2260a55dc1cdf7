//! What the tests of the lab share: running it, waiting for something to become true, looking at processes.
#![allow(dead_code, reason = "each test program uses a part of it")]

#[cfg(target_os = "linux")]
pub(crate) mod processes;
pub(crate) mod profile;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that must come; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `ropewalk lab` with these arguments, all of its pipes ours.
pub(crate) fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
    command.arg("lab").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    lab(arguments).output().expect("the binary was built with the tests")
}

/// What it wrote on stderr.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An empty directory of this test's own.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

/// Waits until `ready` says something.
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        #[expect(clippy::disallowed_methods, reason = "between two looks; nothing depends on how long")]
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a usable python is here. A machine without one skips what needs it, and says so.
pub(crate) fn has_python() -> bool {
    let found = Command::new("python3").args(["-c", "pass"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|s| s.success());
    if !found {
        eprintln!("skipped: there is no python3 here");
    }
    found
}
