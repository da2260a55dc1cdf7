//! A file that a command writes: tried before the work, so that a bad name does not fail after all of it, and gone again when
//! nothing came of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::exit::{self, Expected};

/// Who may read a file that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Whoever the system lets.
    AsUsual,
    /// Its owner: arguments of programs are in it.
    Owner,
}

/// Finds out whether `path` can be written, for the option that names it. What is in it stays until [`write()`].
///
/// # Errors
/// When it cannot.
pub fn promise(option: &str, path: &Path, readers: Readers) -> Result<(), Expected> {
    // Of a link to nothing what is made is elsewhere.
    let is_new = path.symlink_metadata().is_err();
    open(path, readers).map_err(|error| refused(option, path, &error))?;
    if is_new {
        exit::remove_if_empty(path.to_owned());
    }
    Ok(())
}

/// Writes it.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    option: &str,
    path: &Path,
    readers: Readers,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Expected> {
    let written = || {
        let file = open(path, readers)?;
        if file.metadata().is_ok_and(|m| m.is_file()) {
            file.set_len(0)?;
        }
        let mut to = BufWriter::new(file);
        content(&mut to)?;
        to.flush()
    };
    written().map_err(|error| refused(option, path, &error))
}

fn open(path: &Path, readers: Readers) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = readers;
    options.open(path)
}

/// The error of a place that cannot be written.
pub fn refused(option: &str, path: &Path, error: &io::Error) -> Expected {
    Expected::Unwritable(format!(
        "{option}: cannot write {}: {error}; name a place that can be written",
        path.display()
    ))
}
