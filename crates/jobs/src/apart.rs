//! A run in a process of its own: what goes there, what comes back, and what is heard meanwhile.
//!
//! A job is sent to a pool of processes as a call of a plain function, [`run`], which the compiler makes for each task that is
//! registered; so nothing is looked up by name over there, and what cannot be such a function (a handler that captures
//! something) cannot run there.
//!
//! While it runs, it speaks through a datagram socket of the worker's, which lies in a directory for its owner alone: how far it
//! has come, and lines for the log. The end of a run is put into the same socket by the pool's own thread, so whatever
//! was said before it is heard before it. A run waits only shortly for a listener that is busy; lines that were lost by that are
//! counted, and the number stands in their place.

use crate::job::{ExecId, Failure, Progress, RESULT_BYTES_MAX, floor_char};
use crate::registry;
use ropewalk::JobContext;
use ropewalk::task::{Listener, States, Task};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A task as a function that can be sent.
pub(crate) type Apart = fn(Asked) -> Told;

/// The longest line of a log that is sent, in bytes; the rest is cut off.
const LINE_BYTES_MAX: usize = 8 << 10;
/// How long a run waits to say something.
const PATIENCE: Duration = Duration::from_millis(100);

/// What goes there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) exec: u128,
    pub(crate) attempt: u32,
    /// When it is to be over, in milliseconds since 1970.
    pub(crate) due: Option<u64>,
    pub(crate) payload: String,
    /// How much memory the process may have meanwhile.
    pub(crate) memory_max: Option<u64>,
    /// Where it is heard.
    pub(crate) ear: PathBuf,
}

/// What comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The result.
    Done(String),
    /// The failure, as JSON.
    Failed(String),
}

impl Told {
    pub(crate) fn into_ran(self) -> registry::Ran {
        match self {
            Self::Done(result) => Ok(result),
            Self::Failed(failure) => Err(serde_json::from_str(&failure).unwrap_or_else(|error| {
                Failure::new(
                    crate::job::FailureKind::Error,
                    format!("it failed in a way that nobody can read: {error}"),
                )
            })),
        }
    }
}

/// What is heard of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    Progress(Progress),
    Line(String),
    End,
}

/// Runs a task; in a process of the pool.
pub(crate) fn run<T>(asked: Asked) -> Told
where
    T: Task<Output: Serialize>,
    T::Tuple: DeserializeOwned,
{
    let mouth = Arc::new(Mouth::new(asked.exec, asked.ear));
    let due = asked.due.map(|due| -> SystemTime { UNIX_EPOCH + Duration::from_millis(due) });
    let context =
        JobContext::outside().with_states(lent()).of_job(&asked.id, asked.attempt, due, Arc::clone(&mouth) as _);
    let ran = {
        let _limited = asked.memory_max.map(Limited::to);
        registry::run::<T>(T::NAME, &asked.payload, &context)
    };
    mouth.tell_lost(&mut mouth.lost());
    match ran {
        // It need not travel to be refused.
        Ok(result) if result.len() > RESULT_BYTES_MAX => failed(&Failure::result_too_long(result.len())),
        Ok(result) => Told::Done(result),
        Err(failure) => failed(&failure),
    }
}

/// A lower limit of memory, until it is dropped. (A process of a pool runs one job at a time.)
struct Limited(Rlimit);

impl Limited {
    fn to(bytes: u64) -> Self {
        let before = getrlimit(Resource::As);
        // Never more than the pool allows. (None is no limit.)
        let current = [before.current, before.maximum].into_iter().flatten().fold(bytes, u64::min);
        let set = setrlimit(Resource::As, Rlimit { current: Some(current), maximum: before.maximum });
        debug_assert_eq!(set, Ok(()), "a soft limit can be lowered");
        Self(before)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let set = setrlimit(Resource::As, self.0.clone());
        debug_assert_eq!(set, Ok(()), "and raised again to where it was");
    }
}

fn failed(failure: &Failure) -> Told {
    Told::Failed(serde_json::to_string(failure).expect("plain data with text keys"))
}

static LENDING: Mutex<Option<States>> = Mutex::new(None);
static LENT: OnceLock<Arc<States>> = OnceLock::new();

/// Lends this to every task that runs in this process of a pool, as [`Worker::state`](crate::Worker::state) does for those that run
/// in the worker itself. For the function that [`Worker::processes`](crate::Worker::processes) gives to its pool as initializer.
///
/// # Panics
///
/// If a job has begun here already.
pub fn lend<T: Send + Sync + 'static>(state: T) {
    assert!(LENT.get().is_none(), "states are lent before the first job of a process, in the initializer of its pool");
    let mut lending = LENDING.lock().unwrap_or_else(PoisonError::into_inner);
    *lending = Some(lending.take().unwrap_or_default().with(state));
}

fn lent() -> Arc<States> {
    let lending = || LENDING.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    Arc::clone(LENT.get_or_init(|| Arc::new(lending())))
}

fn say(socket: &UnixDatagram, ear: &Path, exec: u128, word: &Word) -> io::Result<()> {
    let text = serde_json::to_string(&(format!("{exec:032x}"), word)).expect("plain data");
    socket.send_to(text.as_bytes(), ear).map(drop)
}

/// With which a run speaks.
struct Mouth {
    exec: u128,
    ear: PathBuf,
    /// None where there are no sockets left: then it is not heard, and runs.
    socket: Option<UnixDatagram>,
    /// Lines that could not be said since the last one that could.
    lost: Mutex<u32>,
}

impl Mouth {
    fn new(exec: u128, ear: PathBuf) -> Self {
        let socket = UnixDatagram::unbound().ok().filter(|socket| socket.set_write_timeout(Some(PATIENCE)).is_ok());
        Self { exec, ear, socket, lost: Mutex::default() }
    }

    /// False where nobody listened in time, as nobody has to.
    fn say(&self, word: &Word) -> bool {
        self.socket.as_ref().is_some_and(|socket| say(socket, &self.ear, self.exec, word).is_ok())
    }

    fn lost(&self) -> MutexGuard<'_, u32> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many lines are missing here. False if that could not be said either.
    fn tell_lost(&self, lost: &mut u32) -> bool {
        if *lost > 0 && self.say(&Word::Line(format!("(lines lost: {lost})"))) {
            *lost = 0;
        }
        *lost == 0
    }
}

impl Listener for Mouth {
    fn progress(&self, done: f64, message: &str) {
        let message = cut(message).to_owned();
        self.say(&Word::Progress(Progress { done, message }));
    }

    fn log(&self, line: &str) {
        let mut lost = self.lost();
        if !self.tell_lost(&mut lost) || !self.say(&Word::Line(cut(line).to_owned())) {
            *lost += 1;
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..floor_char(text, LINE_BYTES_MAX)]
}

/// Where runs are heard: a socket, and a thread that listens.
pub(crate) struct Ear {
    place: PathBuf,
    back: UnixDatagram,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    pub(crate) fn new(heard: impl Fn(ExecId, Word) + Send + 'static) -> io::Result<Self> {
        let place = std::env::temp_dir().join(format!("ropewalk-jobs-{:016x}", fastrand::u64(..)));
        DirBuilder::new().mode(0o700).create(&place)?;
        let over = Arc::new(AtomicBool::new(false));
        let listen = |over: Arc<AtomicBool>| -> io::Result<_> {
            let socket = UnixDatagram::bind(place.join("ear"))?;
            let back = UnixDatagram::unbound()?;
            back.set_write_timeout(Some(PATIENCE))?;
            let thread = std::thread::Builder::new().name("ropewalk-jobs-ear".to_owned()).spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count) = socket.recv(&mut bytes) {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    // What makes no sense is none of ours.
                    let Ok((exec, word)) = serde_json::from_slice::<(String, Word)>(&bytes[..count]) else { continue };
                    let Ok(exec) = u128::from_str_radix(&exec, 16) else { continue };
                    heard(ExecId(exec), word);
                }
            })?;
            Ok((back, thread))
        };
        match listen(Arc::clone(&over)) {
            Ok((back, thread)) => Ok(Self { place, back, over, thread: Some(thread) }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&place);
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.join("ear")
    }

    /// Says that a run has ended, behind all that it said itself. False if that could not be said here.
    pub(crate) fn end(&self, exec: ExecId) -> bool {
        say(&self.back, &self.path(), exec.0, &Word::End).is_ok()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the thread, which the datagram wakes.
        self.over.store(true, Ordering::Release);
        let woken = self.back.send_to(b"over", self.path()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_end_is_heard_behind_what_was_said() {
        let (send, heard) = mpsc::channel();
        let ear = Ear::new(move |exec, word| drop(send.send((exec, word)))).unwrap();
        let mouth = Mouth::new(7, ear.path());
        mouth.progress(0.5, "half");
        mouth.log(&"x".repeat(2 * LINE_BYTES_MAX));
        UnixDatagram::unbound().unwrap().send_to(b"nonsense", ear.path()).unwrap();
        assert!(ear.end(ExecId(7)));
        let all: Vec<_> = heard.iter().take(3).collect();
        assert!(all.iter().all(|(exec, _)| *exec == ExecId(7)));
        assert!(matches!(&all[0].1, Word::Progress(at) if at.done == 0.5 && at.message == "half"));
        assert!(matches!(&all[1].1, Word::Line(line) if line.len() == LINE_BYTES_MAX));
        assert!(matches!(all[2].1, Word::End));
        let place = ear.place.clone();
        drop(ear);
        assert!(!place.exists());
        mouth.log("to nobody");
    }

    #[test]
    fn lines_that_nobody_heard_are_counted_in_their_place() {
        const LINES_MAX: usize = 10_000;
        let (send, heard) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let ear = Ear::new(move |_, word| {
            let _ = gate.recv();
            drop(send.send(word));
        });
        let ear = ear.unwrap();
        let mouth = Mouth::new(7, ear.path());
        let mut said = 0;
        while *mouth.lost() < 2 {
            assert!(said < LINES_MAX, "the socket never fills up");
            mouth.log(&"x".repeat(LINE_BYTES_MAX));
            said += 1;
        }
        drop(open);
        // There may still be no room yet.
        while !mouth.tell_lost(&mut mouth.lost()) {}
        mouth.log("and on");
        let (mut lines, mut lost) = (0, 0);
        loop {
            let Word::Line(line) = heard.recv().unwrap() else { panic!("only lines were said") };
            if line == "and on" {
                break;
            }
            match line.strip_prefix("(lines lost: ").and_then(|lost| lost.strip_suffix(')')) {
                Some(count) => lost += count.parse::<usize>().unwrap(),
                None => lines += 1,
            }
        }
        assert!(lost >= 2);
        assert_eq!(lines + lost, said);
    }
}
