//! Where the standard streams of workers lead, and who listens to them.

use std::collections::VecDeque;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes of what a process wrote to standard error that are told with its death.
const STDERR_BYTES_KEPT: usize = 8 * 1024;
/// How often in a row a stream is read from: 64 KiB in all.
const READS_MAX: usize = 16;
/// A line that is longer is told in parts.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Where standard output and error of the workers lead.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// Where those of this process do.
    #[default]
    Inherited,
    /// Nowhere.
    Null,
    /// Standard output nowhere; the last of standard error is told with the death of a worker.
    Tail,
    /// To this function, line by line; the last of standard error is told with the death of a worker, too.
    Lines(OnLine),
}

impl Output {
    /// Has `listener` called with each line that a worker writes, to standard output or error.
    ///
    /// It runs on the thread that looks after the workers, which waits for it meanwhile. A line comes before the end of the task
    /// that wrote it is told, if the task wrote it to the end. Standard output of a program that is no terminal's may be
    /// held back by whoever writes it; Rust's own is not.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ropewalk::ProcessPoolExecutor;
    /// use ropewalk::process::Output;
    ///
    /// let output = Output::lines(|line| eprintln!("[{}] {}", line.process, line.text));
    /// let pool = ProcessPoolExecutor::builder().output(output).build();
    /// ```
    pub fn lines(listener: impl Fn(Line<'_>) + Send + Sync + 'static) -> Self {
        Self::Lines(OnLine(Arc::new(listener)))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherited => "Inherited",
            Self::Null => "Null",
            Self::Tail => "Tail",
            Self::Lines(_) => "Lines",
        })
    }
}

/// A line that a worker wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the process.
    pub process: u32,
    /// To which of its streams.
    pub stream: Stream,
    /// Without its end. What is no UTF-8 is replaced.
    pub text: &'a str,
}

/// A stream of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// Whoever is told the lines; see [`Output::lines`].
#[derive(Clone)]
pub struct OnLine(Arc<dyn Fn(Line<'_>) + Send + Sync>);

impl fmt::Debug for OnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnLine").finish_non_exhaustive()
    }
}

/// A line that is still to be told, when no lock is held.
pub(super) struct Heard {
    listener: OnLine,
    process: u32,
    stream: Stream,
    text: String,
}

impl Heard {
    pub(super) fn tell(&self) {
        let line = Line { process: self.process, stream: self.stream, text: &self.text };
        // Its panic is its own: the pool goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.listener.0)(line)));
    }
}

/// One stream of a process, as it is listened to.
pub(super) struct Said {
    pub(super) pipe: Arc<io::PipeReader>,
    stream: Stream,
    listener: Option<OnLine>,
    /// Nobody writes to it any more.
    pub(super) is_over: bool,
    /// The end of what it said so far.
    tail: VecDeque<u8>,
    /// A line that is not at its end.
    begun: Vec<u8>,
}

impl Said {
    /// Takes what there is. No more than a pipe holds at a time: whoever writes for ever must not keep the others waiting.
    pub(super) fn listen(&mut self, process: u32, heard: &mut Vec<Heard>) {
        let mut bytes = [0; 4096];
        for _ in 0..READS_MAX {
            match (&*self.pipe).read(&mut bytes) {
                Ok(0) => {
                    self.is_over = true;
                    self.end(process, heard);
                    return;
                }
                Ok(count) => self.take(&bytes[..count], process, heard),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], process: u32, heard: &mut Vec<Heard>) {
        if self.stream == Stream::Stderr {
            self.tail.extend(bytes);
            let too_many = self.tail.len().saturating_sub(STDERR_BYTES_KEPT);
            self.tail.drain(..too_many);
        }
        if self.listener.is_none() {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend(piece);
            if self.begun.ends_with(b"\n") || self.begun.len() >= LINE_BYTES_MAX {
                self.end(process, heard);
            }
        }
    }

    /// Tells what there is of a line: no more of it will come.
    pub(super) fn end(&mut self, process: u32, heard: &mut Vec<Heard>) {
        let Some(listener) = self.listener.clone().filter(|_| !self.begun.is_empty()) else { return };
        let bytes = std::mem::take(&mut self.begun);
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        heard.push(Heard { listener, process, stream: self.stream, text: String::from_utf8_lossy(line).into_owned() });
    }

    /// The last that it said on standard error.
    pub(super) fn tail(&mut self) -> String {
        String::from_utf8_lossy(self.tail.make_contiguous()).trim_end().to_owned()
    }
}

/// What a process is given as its standard output and error, and how they are listened to.
pub(super) struct Streams {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) said: Vec<Said>,
}

impl Output {
    pub(super) fn streams(&self) -> io::Result<Streams> {
        let mut said = Vec::new();
        let stdout = self.stream(Stream::Stdout, &mut said)?;
        let stderr = self.stream(Stream::Stderr, &mut said)?;
        Ok(Streams { stdout, stderr, said })
    }

    fn stream(&self, stream: Stream, said: &mut Vec<Said>) -> io::Result<OwnedFd> {
        let listener = match (self, stream) {
            (Self::Inherited, Stream::Stdout) => return io::stdout().as_fd().try_clone_to_owned(),
            (Self::Inherited, Stream::Stderr) => return io::stderr().as_fd().try_clone_to_owned(),
            (Self::Null, _) | (Self::Tail, Stream::Stdout) => {
                return OpenOptions::new().write(true).open("/dev/null").map(OwnedFd::from);
            }
            (Self::Tail, Stream::Stderr) => None,
            (Self::Lines(listener), _) => Some(listener.clone()),
        };
        let (reads, writes) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reads, true)?;
        said.push(Said {
            pipe: Arc::new(reads),
            stream,
            listener,
            is_over: false,
            tail: VecDeque::new(),
            begun: Vec::new(),
        });
        Ok(writes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    #[test]
    fn lines_are_whole_whatever_the_pieces_and_the_last_needs_no_end() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listens = Arc::clone(&told);
        let output = Output::lines(move |line| listens.lock().unwrap().push((line.stream, line.text.to_owned())));
        let Streams { stdout, stderr, mut said } = output.streams().unwrap();
        let mut writes = std::fs::File::from(stdout);
        let mut heard = Vec::new();
        for piece in ["on", "e\ntwo\r\n", "", "\nlast"] {
            writes.write_all(piece.as_bytes()).unwrap();
            said[0].listen(7, &mut heard);
        }
        drop(writes);
        std::fs::File::from(stderr).write_all(b"oh\n").unwrap();
        said.iter_mut().for_each(|said| said.listen(7, &mut heard));
        heard.iter().for_each(Heard::tell);
        let told: Vec<_> = told.lock().unwrap().iter().map(|(stream, text)| (*stream, text.clone())).collect();
        let line = |stream, text: &str| (stream, text.to_owned());
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(told, [line(out, "one"), line(out, "two"), line(out, ""), line(out, "last"), line(err, "oh")]);
        assert!(said.iter().all(|said| said.is_over) && said[1].tail() == "oh");
    }
}
