//! The lines of a child's output, one at a time, as they come.

use super::child::{ChildStderr, ChildStdout};
use std::io::{self, Read};

/// A line that is longer than this many bytes is an error: it would fill the memory.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
const READ_BYTES: usize = 8 * 1024;

/// The lines of a pipe, without their ends. Made by `lines`.
///
/// As an iterator it suspends a greenlet and blocks a thread; in async code there is [`next_async`](Self::next_async). The
/// last line needs no end. A line that is no UTF-8 is an error, and the next one comes after it.
#[derive(Debug)]
pub struct Lines<P> {
    pipe: P,
    read: Vec<u8>,
    /// Where the lines begin that were not given yet.
    given: usize,
    /// Up to here there is no end of a line.
    looked: usize,
    at_end: bool,
}

impl<P> Lines<P> {
    pub(super) fn new(pipe: P) -> Self {
        Self { pipe, read: Vec::new(), given: 0, looked: 0, at_end: false }
    }

    /// The next line of what was read, if there is one.
    fn line(&mut self) -> Option<io::Result<String>> {
        let end = self.read[self.looked..].iter().position(|byte| *byte == b'\n').map(|at| self.looked + at);
        let (end, next) = match end {
            Some(end) => (end, end + 1),
            None if self.at_end && self.given < self.read.len() => (self.read.len(), self.read.len()),
            None if self.read.len() - self.given > LINE_BYTES_MAX => {
                self.at_end = true;
                self.read.clear();
                (self.given, self.looked) = (0, 0);
                let text = format!("a line is longer than {LINE_BYTES_MAX} bytes; read the pipe itself");
                return Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            None => {
                self.looked = self.read.len();
                return None;
            }
        };
        let bytes = &self.read[self.given..end];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let line = String::from_utf8(bytes.to_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a line of the output is not UTF-8"));
        (self.given, self.looked) = (next, next);
        Some(line)
    }

    fn took(&mut self, room: &[u8], read: io::Result<usize>) -> io::Result<()> {
        let bytes = read?;
        self.at_end = bytes == 0;
        self.read.drain(..self.given);
        self.looked -= self.given;
        self.given = 0;
        self.read.extend_from_slice(&room[..bytes]);
        Ok(())
    }
}

impl<P: Read> Iterator for Lines<P> {
    type Item = io::Result<String>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<String>> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            if self.at_end {
                return None;
            }
            let mut room = [0; READ_BYTES];
            // Into a buffer of its own: a wait that is cancelled unwinds from here.
            let read = self.pipe.read(&mut room);
            if let Err(error) = self.took(&room, read) {
                return Some(Err(error));
            }
        }
    }
}

macro_rules! next_async {
    ($($type:ident)*) => {
        $(impl Lines<$type> {
            /// The next line, in async code. Dropped before it is ready, it has read nothing.
            ///
            /// # Errors
            ///
            /// Whatever the system says, and `InvalidData` for a line that is no UTF-8.
            pub async fn next_async(&mut self) -> Option<io::Result<String>> {
                loop {
                    if let Some(line) = self.line() {
                        return Some(line);
                    }
                    if self.at_end {
                        return None;
                    }
                    let mut room = [0; READ_BYTES];
                    let read = self.pipe.read_async(&mut room).await;
                    if let Err(error) = self.took(&room, read) {
                        return Some(Err(error));
                    }
                }
            }
        })*
    };
}
next_async!(ChildStdout ChildStderr);
