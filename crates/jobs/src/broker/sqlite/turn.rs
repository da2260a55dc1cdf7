//! Whose turn it is to write, among the processes that share a file.
//!
//! SQLite lets one process write at a time, and the others try again after pauses; so a busy process keeps it to itself. Two file
//! locks make a queue of that. To write is to take the *door*, then the *room*, then to give the door back:
//!
//! ```text
//! A  [door][room ------------ work ------------]   [door ...
//! B         [door ......................... room --- work ---]
//! ```
//!
//! Whoever holds the door is the only one who waits for the room, so it gets it next; whoever has just worked queues at the
//! door again. Both locks end with their process, however that ends.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;

pub(super) struct Turns {
    door: File,
    room: File,
}

/// The right to write, until it is dropped.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    pub(super) fn new(door: File, room: File) -> Self {
        Self { door, room }
    }

    pub(super) fn take(&self) -> io::Result<Turn<'_>> {
        lock(&self.door, FlockOperation::LockExclusive)?;
        let room = lock(&self.room, FlockOperation::LockExclusive);
        // Also when the room could not be had.
        lock(&self.door, FlockOperation::Unlock)?;
        room.map(|()| Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked when the file is closed.
        let _ = lock(&self.0.room, FlockOperation::Unlock);
    }
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}
