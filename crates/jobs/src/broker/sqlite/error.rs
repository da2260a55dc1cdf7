//! What SQLite says, in the words of a broker.

use crate::broker::{BrokerError, ErrorKind};
use rusqlite::{Error, ErrorCode};
use std::path::Path;

/// A step that SQLite refused; it did not happen.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn translate(path: &Path, error: Error) -> BrokerError {
    let (kind, text) = explain(path, &error);
    BrokerError::new(kind, text)
}

/// A commit that failed: some of it may have reached the disk.
pub(super) fn translate_commit(path: &Path, error: &Error) -> BrokerError {
    let (kind, text) = explain(path, error);
    match kind {
        ErrorKind::Full | ErrorKind::Busy => BrokerError::new(kind, text),
        _ => BrokerError::uncertain(kind, text),
    }
}

fn explain(path: &Path, error: &Error) -> (ErrorKind, String) {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Full,
            format!("no space is left for {file}: make room; nothing was changed, and the jobs in it are safe"),
        ),
        Some(ErrorCode::ReadOnly) => (
            ErrorKind::ReadOnly,
            format!("{file} may not be written: check the permissions of the file and of its directory"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            ErrorKind::Corrupt,
            format!(
                "{file} is damaged ({error}): put it aside, and save what can be read with `sqlite3 {file} .recover`"
            ),
        ),
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, format!("{file} is no database: name another file, or put this one aside"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Busy, format!("another program keeps {file} locked: end it, or try again later"))
        }
        Some(ErrorCode::CannotOpen) => (
            ErrorKind::Unavailable,
            format!("{file} cannot be opened ({error}): check that its directory is there and yours"),
        ),
        _ => (ErrorKind::Unavailable, format!("{file}: {error}")),
    }
}
