//! What goes through the pipes of a child: input until it is written, output until its end, all of them at once.
//!
//! A program that reads its input slowly while it writes, or fills one pipe while somebody waits for the other, is why this
//! is one state machine: no step waits for a single pipe.

use crate::io::descriptor::Interest;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes that one read asks for.
const READ_BYTES: usize = 64 * 1024;
/// What a pipe is made to hold once it has been found full, in bytes; the system's default is 64 KiB.
const PIPE_BYTES_WIDE: usize = 1024 * 1024;
/// Reads and writes in one step, after which others may run.
const STEP_MAX: usize = 64;

/// A pipe to a child.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pipe: Option<OwnedFd>,
    input: Vec<u8>,
    written: usize,
    is_wide: bool,
}

/// A pipe from a child, and what came out of it.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    is_wide: bool,
}

/// The pipes of one child, or those at the ends of a pipeline.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) stdin: Feed,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
    /// How many bytes may come out of each.
    pub(super) limit: usize,
}

/// How a step of the exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Every pipe is at its end.
    Ended,
    /// Each pipe that is left was found exhausted.
    Exhausted,
    /// There is more.
    More,
    /// More came out than may.
    TooMuch,
}

impl Feed {
    /// A pipe that is closed when the input is written; without input, at once.
    pub(super) fn new(pipe: Option<OwnedFd>, input: Vec<u8>) -> io::Result<Self> {
        let pipe = if input.is_empty() { None } else { pipe };
        set_nonblocking(pipe.as_ref())?;
        Ok(Self { pipe, input, written: 0, is_wide: false })
    }

    fn step(&mut self) -> io::Result<Moved> {
        for _ in 0..STEP_MAX {
            let Some(pipe) = &self.pipe else { return Ok(Moved::Ended) };
            let rest = &self.input[self.written..];
            match rustix::io::write(pipe, rest) {
                Ok(bytes) => {
                    self.written += bytes;
                    if rest.len() - bytes > PIPE_BYTES_WIDE && !self.is_wide {
                        self.is_wide = true;
                        widen(pipe);
                    }
                }
                Err(Errno::AGAIN) => return Ok(Moved::Exhausted),
                Err(Errno::INTR) => {}
                // The child wants no more of it, which is its own affair.
                Err(Errno::PIPE) => self.written = self.input.len(),
                Err(error) => return Err(error.into()),
            }
            if self.written == self.input.len() {
                *self = Self::default();
            }
        }
        Ok(Moved::More)
    }
}

impl Capture {
    pub(super) fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        set_nonblocking(pipe.as_ref())?;
        Ok(Self { pipe, bytes: Vec::new(), is_wide: false })
    }

    fn step(&mut self, limit: usize) -> io::Result<Moved> {
        for _ in 0..STEP_MAX {
            let Some(pipe) = &self.pipe else { return Ok(Moved::Ended) };
            self.bytes.reserve(READ_BYTES);
            match rustix::io::read(pipe, spare_capacity(&mut self.bytes)) {
                Ok(0) => self.pipe = None,
                Ok(_) if self.bytes.len() > limit => {
                    self.bytes.truncate(limit);
                    return Ok(Moved::TooMuch);
                }
                Ok(bytes) if bytes >= READ_BYTES && !self.is_wide => {
                    self.is_wide = true;
                    widen(pipe);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Moved::Exhausted),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Moved::More)
    }

    /// What came until now; what comes later is captured anew.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn so_far(&self) -> &[u8] {
        &self.bytes
    }
}

impl Exchange {
    /// Moves what can be moved now.
    pub(super) fn step(&mut self) -> io::Result<Moved> {
        let moved = [self.stdin.step()?, self.stdout.step(self.limit)?, self.stderr.step(self.limit)?];
        let any = |what| moved.contains(&what);
        Ok(match () {
            () if any(Moved::TooMuch) => Moved::TooMuch,
            () if any(Moved::More) => Moved::More,
            () if any(Moved::Exhausted) => Moved::Exhausted,
            () => Moved::Ended,
        })
    }

    pub(super) fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        self.stdin.pipe.iter().for_each(|pipe| name(pipe.as_fd(), Interest::Write));
        for capture in [&self.stdout, &self.stderr] {
            capture.pipe.iter().for_each(|pipe| name(pipe.as_fd(), Interest::Read));
        }
    }

    /// Gives the pipes up.
    pub(super) fn close(&mut self) {
        self.stdin.pipe = None;
        self.stdout.pipe = None;
        self.stderr.pipe = None;
    }
}

/// Makes a pipe hold more, where the system can.
fn widen(pipe: &OwnedFd) {
    // It may have none to spare; then it goes on as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES_WIDE);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

pub(super) fn set_nonblocking(pipe: Option<&OwnedFd>) -> io::Result<()> {
    pipe.map_or(Ok(()), |pipe| Ok(rustix::io::ioctl_fionbio(pipe, true)?))
}
