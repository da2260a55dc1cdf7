//! A worker as its pool knows it: the ends of its rings, the tasks that it has, and what is known of its process.

use super::call::Context;
use super::output::{Heard, Said};
use super::pool::{Pending, Queued, Settled};
use super::ring::{self, Reader, Writer};
use super::start::Running;
use super::wire::{self, Asked, Incoming, Outgoing};
use super::worker::{CONTEXTS_MAX, stop_message};
use crate::task::TaskError;
use ropewalk_core::park::Reason;
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a worker is ended whose initializer did not come to a good end.
pub(super) const INITIALIZER: &str = "its initializer failed";
/// Why a worker is ended that has done, or grown, enough.
pub(super) const DONE_ENOUGH: &str = "it has done enough";
/// Why a worker is ended that does not even look at what it was sent.
pub(super) const DEAF: &str = "it took nothing out of its ring";
const NONSENSE: &str = "it wrote what makes no sense into its ring";

/// What a worker was sent, or will be.
pub(super) struct Sent {
    pub(super) entry: Box<dyn Pending>,
    pub(super) asked: Asked,
    pub(super) context: Option<Context>,
    pub(super) frame: Outgoing,
}

impl Sent {
    /// For another worker.
    pub(super) fn into_queued(self) -> Queued {
        let Self { entry, asked, context, frame } = self;
        Queued { entry, asked, context, body: frame.into_body() }
    }
}

/// A frame that is with a worker.
pub(super) struct UnderWay {
    pub(super) number: u64,
    /// Gone when the task was taken back: the worker has still to say that it has skipped the frame.
    pub(super) sent: Option<Sent>,
    /// Which frame of the ring it is, once it is begun to be written.
    pub(super) nth: Option<u64>,
    pub(super) is_written: bool,
    /// It was told to stop, and so it ends if its worker has to be killed.
    pub(super) stop: Option<Reason>,
    /// When its worker is killed.
    pub(super) kill_at: Option<Instant>,
}

pub(super) struct Worker {
    /// What it says, where that is listened to.
    pub(super) said: Vec<Said>,
    pub(super) process: Arc<Running>,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) incoming: Incoming,
    pub(super) lifeline: UnixStream,
    /// The contexts that it has, the last one last.
    pub(super) contexts: VecDeque<u64>,
    pub(super) under_way: VecDeque<UnderWay>,
    /// Frames that were begun to be written.
    pub(super) frames: u64,
    /// Since when the task at the front may run: since it was sent, or since the one before it has ended.
    pub(super) since: Instant,
    pub(super) done: u64,
    pub(super) tasks_max: u64,
    /// It has grown too large: it goes when it has done what it has.
    pub(super) is_leaving: bool,
    pub(super) looked_at_memory: Instant,
    /// Its ring is corrupt, or it was told to go: it gets nothing more.
    pub(super) condemned: Option<&'static str>,
}

impl Worker {
    /// Whether it is given one more.
    pub(super) fn takes(&self, window: usize) -> bool {
        let count = self.under_way.len();
        self.condemned.is_none() && count < window && self.done + (count as u64) < self.tasks_max && !self.is_leaving
    }

    /// Whether its ring was too full for what it has.
    pub(super) fn has_unwritten(&self) -> bool {
        self.under_way.back().is_some_and(|task| !task.is_written)
    }

    /// Writes what the ring has room for.
    pub(super) fn write(&mut self) {
        for task in self.under_way.iter_mut().filter(|task| !task.is_written) {
            let Some(sent) = &mut task.sent else { continue };
            if task.nth.is_none() {
                self.reader.offer(self.frames, task.number);
                task.nth = Some(self.frames);
                self.frames += 1;
            }
            match sent.frame.write(&mut self.writer) {
                Ok(all) => task.is_written = all,
                Err(ring::Corrupt) => self.condemned = Some(NONSENSE),
            }
            if !task.is_written {
                break;
            }
        }
        self.writer.wake_reader();
    }

    /// Takes the replies that there are, and says how many.
    pub(super) fn read(&mut self, average: &mut Duration, settled: &mut Vec<Settled>) -> usize {
        let before = settled.len();
        loop {
            match self.incoming.next(&mut self.reader) {
                Ok(Some((head, body))) => {
                    let is_next = self.under_way.front().is_some_and(|task| task.number == head.task);
                    let Some(task) = is_next.then(|| self.under_way.pop_front()).flatten() else {
                        self.condemned = Some("it replied to a task that it does not have");
                        break;
                    };
                    let Some(Sent { entry, .. }) = task.sent else {
                        // The one behind it, if any, may run from now on.
                        self.since = Instant::now();
                        continue;
                    };
                    if task.number == 0 {
                        // Whoever begins badly never gets a task.
                        if head.a != wire::DONE {
                            self.condemned = Some(INITIALIZER);
                        }
                        self.since = Instant::now();
                        continue;
                    }
                    let outcome = match head.a {
                        wire::DONE => Ok(body),
                        wire::SKIPPED => {
                            self.condemned = Some("it skipped a task that was its own");
                            Err(TaskError::worker_died("its worker did not begin it"))
                        }
                        // A wait that its end has reached, or one that was cancelled otherwise, is told by the worker.
                        _ => Err(wire::error_of(body)),
                    };
                    // Seven eighths of what was known before.
                    *average = (*average * 7 + Duration::from_nanos(head.b)) / 8;
                    settled.push((entry, outcome));
                    self.since = Instant::now();
                    self.done += 1;
                }
                Ok(None) => break,
                Err(ring::Corrupt) => {
                    self.condemned = Some(NONSENSE);
                    break;
                }
            }
        }
        self.reader.wake_writer();
        settled.len() - before
    }

    /// Takes a task back that has not begun. What is half in the ring stays, and so does the initializer.
    pub(super) fn take_back(&mut self, place: usize) -> Option<Sent> {
        let task = &mut self.under_way[place];
        if task.number == 0 {
            return None;
        }
        match task.nth {
            // Nothing of it is in the ring. A context that it brings is counted on by those behind it.
            None if task.sent.as_ref()?.frame.brings_context() => None,
            None => self.under_way.remove(place)?.sent,
            Some(nth) if task.is_written && task.sent.is_some() && self.reader.take_back(nth, task.number) => {
                task.sent.take()
            }
            Some(_) => None,
        }
    }

    /// Whether its worker has begun the task at the front.
    pub(super) fn has_begun(&self) -> bool {
        let begun = |task: &UnderWay| task.nth.is_some_and(|nth| self.reader.has_begun(nth, task.number));
        self.under_way.front().is_some_and(begun)
    }

    /// Tells a task under way to stop, once.
    pub(super) fn stop(&mut self, place: usize, reason: Reason, grace: Duration) {
        let task = &mut self.under_way[place];
        if task.stop.is_none() {
            task.stop = Some(reason);
            // A full socket is one that nobody listens to: then the grace passes.
            let _ = self.lifeline.write(&stop_message(task.number, reason));
        }
        // What it may still do counts from when it may run.
        if place == 0 && task.kill_at.is_none() {
            task.kill_at = Instant::now().checked_add(grace);
        }
    }

    /// Whether it has to be sent this context. From then on it has it: it keeps them in the same order.
    pub(super) fn lacks(&mut self, context: &Context) -> bool {
        if self.contexts.contains(&context.number) {
            return false;
        }
        self.contexts.push_back(context.number);
        if self.contexts.len() > CONTEXTS_MAX {
            self.contexts.pop_front();
        }
        true
    }

    /// Takes what it has said.
    pub(super) fn listen(&mut self, heard: &mut Vec<Heard>) {
        let process = self.process.pid();
        self.said.iter_mut().for_each(|said| said.listen(process, heard));
    }

    pub(super) fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.process.pid())).unwrap_or_default();
        let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }
}
