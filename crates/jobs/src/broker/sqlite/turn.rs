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
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub(super) struct Turns {
    door: File,
    room: File,
}

/// The right to write, until it is dropped.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    pub(super) fn new(door: File, room: File) -> Arc<Self> {
        Arc::new(Self { door, room })
    }

    pub(super) fn take(self: &Arc<Self>) -> io::Result<Turn> {
        lock(&self.door, FlockOperation::LockExclusive)?;
        let room = lock(&self.room, FlockOperation::LockExclusive);
        // Also when the room could not be had.
        lock(&self.door, FlockOperation::Unlock)?;
        room.map(|()| Turn(Arc::clone(self)))
    }

    /// The same, unless it takes longer than this. The kernel's queue knows no time limits, so a thread stands in it; one that
    /// comes too late gives its turn back.
    pub(super) fn take_within(self: &Arc<Self>, limit: Duration) -> io::Result<Option<Turn>> {
        let (turns, (send, taken)) = (Arc::clone(self), mpsc::sync_channel(1));
        std::thread::Builder::new().name("ropewalk-jobs-turn".to_owned()).spawn(move || {
            // Not taken any more, it is dropped here.
            let _ = send.try_send(turns.take());
        })?;
        match taken.recv_timeout(limit) {
            Ok(turn) => turn.map(Some),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Turn {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn turn_that_does_not_come_is_given_up_and_given_back() {
        let place = std::env::temp_dir().join(format!("ropewalk-turn-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let file = |name: &str| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place.join(name)).unwrap()
        };
        // As two processes have them.
        let [one, other] = [(); 2].map(|()| Turns::new(file("door"), file("room")));
        let held = one.take().unwrap();
        assert!(other.take_within(Duration::from_millis(50)).unwrap().is_none());
        drop(held);
        // Whoever came too late has it for a moment, and gives it back.
        drop(one.take_within(Duration::from_secs(60)).unwrap().expect("it is free again"));
        drop(other.take_within(Duration::from_secs(60)).unwrap().expect("it is free again"));
        let _ = std::fs::remove_dir_all(place);
    }
}
