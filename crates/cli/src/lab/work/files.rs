//! The user's own CPU-bound work: SHA-256 of each file of a directory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ropewalk_profile::timeline::{Cause, Wait};
use sha2::{Digest as _, Sha256};

use super::hex;
use crate::exit::Expected;
use crate::lab::usage;

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The SHA-256 of the file at `path`; the time spent reading it is reported as waiting for the disk.
pub fn hash(path: &Path, waits: &mut Vec<Wait>) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let start = usage::clock();
        let length = file.read(&mut buffer).map_err(failed)?;
        waits.push(Wait { start, end: usage::clock(), cause: Cause::Disk });
        if length == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..length]);
    }
}

/// The files of `directory` and of the directories below it, sorted; links are not followed.
///
/// # Errors
/// Names the first file or directory that cannot be read, and says why.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, Expected> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let failed = |e: std::io::Error| {
            Expected::Unreadable(format!("--files: cannot read the directory {}: {e}", directory.display()))
        };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                // The rows are told its name as text.
                if entry.path().to_str().is_none() {
                    return Err(Expected::Unreadable(format!(
                        "--files: the name {} is no UTF-8; rename it, or name another directory",
                        entry.path().display()
                    )));
                }
                found.push(entry.path());
            }
        }
    }
    if found.is_empty() {
        return Err(Expected::Unreadable(format!(
            "--files: there is no file in {}; name a directory that holds some",
            directory.display()
        )));
    }
    found.sort();
    Ok(found)
}
