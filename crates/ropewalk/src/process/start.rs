//! How a program becomes its own worker: the program is started once more, and finds in `init()` that it is one.
//!
//! # Who starts whom
//!
//! The pool starts the image that runs (`/proc/self/exe`) with a socket as its standard input, and a variable in its environment
//! that names that socket. `init()`, first in `main`, sees both, and never returns: it reads on the socket what it is to be.
//!
//! * *A worker* ([`Start::Exec`]), or a process for one call: it gets the descriptors of one and serves.
//! * *A zygote* ([`Start::Zygote`]): it has one thread, runs the preload function, and forks a *blank* whenever it is asked to: a
//!   child of the pool's process, a sibling, that waits to be told what it is to be. A fork of a small process with one thread
//!   takes a tenth of a millisecond, however large the pool's process is, and is sound. The next one is forked when a blank is
//!   taken, so that nobody waits for it, but for starts in a row.
//!
//! The first thing on the socket is the build-id of the parent's image. One that is not ours ends it: no function of another
//! image is ever called.
//!
//! A process that inherits the variable from a worker does not have that socket, so it is no worker; one whose parent has died
//! meanwhile does, finds nobody at the other end, and ends.

use super::image;
use super::single;
use super::system::{self, Packet, can_clone, packets, receive, send};
use super::worker::{self, Ends, Parent, Setup};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// In the environment of a worker: the number of the socket that is its standard input.
const SOCKET: &str = "ROPEWALK_WORKER_SOCKET";
/// A process that was started and says nothing for so long is given up.
const ANSWER_MAX: Duration = Duration::from_secs(20);

static INITIALISED: AtomicBool = AtomicBool::new(false);
/// The test that a worker of a test program runs.
static WORKER_TEST: OnceLock<String> = OnceLock::new();

/// How workers are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Forked from a process that is kept for that, always one ahead: as fast in a large program as in a small one. In tests, whose
    /// harness has threads, as with `Exec`.
    #[default]
    Zygote,
    /// Each from the program's file: slower, and nothing is shared between them, not even the seeds of hash maps.
    Exec,
}

/// What a process that was started is to be.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    build_id: Vec<u8>,
    /// A worker at once; None for a zygote.
    worker: Option<Setup>,
    /// The preload function of a zygote, as an offset.
    preload: Option<u64>,
}

/// Makes it possible for this program to be its own worker. Call it first in `main`; `#[ropewalk::main]` does.
///
/// In a process that was started as a worker this does not return. Otherwise it does nothing, at once.
///
/// # Examples
///
/// ```
/// ropewalk::init();
/// // The rest of `main`.
/// ```
pub fn init() {
    // For a worker too, whose tasks may have pools of their own.
    INITIALISED.store(true, Ordering::Relaxed);
    if is_worker() {
        // Its end is the end of the process.
        worker::end(serve());
    }
}

fn is_worker() -> bool {
    let named = std::env::var(SOCKET).ok().and_then(|socket| socket.parse::<u64>().ok());
    named.is_some() && named == socket_number(io::stdin().as_fd())
}

/// Which socket of the system's it is; None of another descriptor.
fn socket_number(descriptor: BorrowedFd<'_>) -> Option<u64> {
    let about = rustix::fs::fstat(descriptor).ok()?;
    (rustix::fs::FileType::from_raw_mode(about.st_mode) == rustix::fs::FileType::Socket).then_some(about.st_ino)
}

/// Says which test of this program is to be run as a worker; behind `test_support!`.
pub fn has_worker_test(name: &str) {
    // Tests have the name of their crate in their module path, and not in the harness.
    let name = name.split_once("::").map_or(name, |(_, path)| path);
    let _ = WORKER_TEST.set(name.to_owned());
}

/// The body of that test.
pub fn worker_test() {
    if is_worker() {
        worker::end(serve());
    }
}

/// Whether this program can be started as a worker.
pub(super) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed) || WORKER_TEST.get().is_some()
}

/// What a process that was started does until its end.
fn serve() -> Result<(), String> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let null = std::fs::File::open("/dev/null").map_err(|error| error.to_string())?;
    rustix::stdio::dup2_stdin(null).map_err(|error| error.to_string())?;
    let Some((bytes, descriptors)) = hear(&socket)? else { return Ok(()) };
    let answered = postcard::from_bytes::<Hello>(&bytes).map_err(|_| {
        "this program is not the one that started it: its file was replaced, and /proc/self/exe is not there".to_owned()
    });
    let hello = answered.and_then(|hello| match image::build_id() {
        Ok(own) if own == hello.build_id => Ok(hello),
        Ok(_) => Err("the image of the program is another one than that of its parent".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    let ready = hello.and_then(|hello| match &hello.worker {
        Some(_) => Ok(hello),
        None => can_clone().and_then(|()| preload(hello.preload)).map(|()| hello),
    });
    let answer = ready.as_ref().err().cloned().unwrap_or_default();
    // One byte more, so that no answer is empty.
    if !reply(&socket, format!("={answer}").as_bytes(), &[])? {
        return Ok(());
    }
    let hello = ready?;
    if let Some(setup) = hello.worker {
        drop(socket);
        return run(descriptors, &setup);
    }
    let parent = Parent::behind(&socket);
    // The other end may be held by a process that was forked from the parent, and runs no other program.
    while parent.is_there(&socket) && hear(&socket)?.is_some() {
        let (ours, theirs) = packets().map_err(|error| error.to_string())?;
        // SAFETY: `can_clone` was asked, and the preload function has started no thread: it was asked after that.
        let answered = match unsafe { system::clone_as_sibling() } {
            Ok(None) => {
                drop((socket, theirs));
                return wait_as_blank(ours, parent);
            }
            Ok(Some(pid)) => reply(&socket, &pid.as_raw_nonzero().get().to_le_bytes(), &[theirs.as_fd()]),
            Err(error) => reply(&socket, &(-error.raw_os_error().unwrap_or(1)).to_le_bytes(), &[]),
        };
        if !answered? {
            break;
        }
    }
    Ok(())
}

/// Waits to be told what to be, or for the end of the pool's process.
fn wait_as_blank(told: OwnedFd, parent: Parent) -> Result<(), String> {
    if !parent.is_there(&told) {
        return Ok(());
    }
    let Some((bytes, descriptors)) = hear(&told)? else { return Ok(()) };
    drop((told, parent));
    run(descriptors, &postcard::from_bytes(&bytes).map_err(|error| error.to_string())?)
}

/// What the pool's process says; None when it has died, which nobody is left to hear of.
fn hear(socket: &OwnedFd) -> Result<Option<Packet>, String> {
    match receive(socket) {
        Ok(packet) => Ok(Some(packet).filter(|(bytes, _)| !bytes.is_empty())),
        // It had not taken what it was answered.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// False when whoever asked has died meanwhile, which nobody is left to hear of.
fn reply(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool, String> {
    match send(socket, bytes, descriptors) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// What the setup says: a worker of a pool, or a process for one call.
fn run(descriptors: Vec<OwnedFd>, setup: &Setup) -> Result<(), String> {
    const MISSING: &str = "descriptors are missing";
    match setup.is_single {
        true => single::run(single::Ends::from_descriptors(descriptors).ok_or(MISSING)?, setup),
        false => worker::run(Ends::from_descriptors(descriptors).ok_or(MISSING)?, setup),
    }
}

/// Runs the preload function, which must leave the zygote with one thread.
fn preload(function: Option<u64>) -> Result<(), String> {
    let Some(function) = function else { return Ok(()) };
    let address = image::Offset(function).address().ok_or("the preload function is not in the image")?;
    // SAFETY: the offset was made of a `fn()`, and the build-id says that it is the same image.
    let function = unsafe { image::function::<fn()>(address) };
    std::panic::catch_unwind(function).map_err(|_| "the preload function panicked".to_owned())?;
    can_clone()
}

/// A process of a pool: a worker or a zygote. It is a child of this process, and nobody else reaps it.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    end: OwnedFd,
}

impl Running {
    fn of(pid: Pid) -> io::Result<Self> {
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(end) => Ok(Self { pid, end }),
            Err(error) => {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(error.into())
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Readable once it has ended.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Kills it, and what it has started. Nothing happens if it was reaped, by whomever: then its group may be somebody else's.
    pub(super) fn kill(&self) {
        if self.look().is_ok() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        // It may not have made its group yet.
        let _ = rustix::process::pidfd_send_signal(&self.end, Signal::KILL);
    }

    /// Sends it a signal; nothing happens if it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.end, signal);
    }

    /// How it has ended, if it has; an error if it is no child of this process. Not reaped.
    fn look(&self) -> rustix::io::Result<Option<rustix::process::WaitIdStatus>> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(self.end()), look)
    }

    /// Whether it has ended; not reaped yet.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.look(), Ok(None))
    }

    /// [`reap`](Self::reap) for one whose group has children of ours that nobody else knows: they are reaped too.
    fn reap_group(&self) {
        self.reap();
        // Killed with it, and no others: a process that was taken has a group of its own.
        let group = WaitId::Pgid(Some(self.pid));
        while rustix::io::retry_on_intr(|| rustix::process::waitid(group.clone(), WaitIdOptions::EXITED)).is_ok() {}
    }

    /// Waits for its end and reaps it, with what is left of its group. None if that was done before.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let wait = |options| rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(self.end()), options));
        // Its group is its own for as long as it is a zombie.
        wait(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok()?;
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let status = wait(WaitIdOptions::EXITED).ok()??;
        let raw = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code << 8,
            (None, signal) => signal.unwrap_or_default() | if status.dumped() { 0x80 } else { 0 },
        };
        Some(ExitStatus::from_raw(raw))
    }
}

/// Starts the program once more and says what it is to be.
fn exec(hello: &Hello, descriptors: &[BorrowedFd<'_>]) -> io::Result<(Running, OwnedFd)> {
    let (ours, theirs) = packets()?;
    let number = socket_number(theirs.as_fd()).ok_or_else(|| io::Error::other("a socket has no number"))?;
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    if let Some(test) = WORKER_TEST.get().filter(|_| !INITIALISED.load(Ordering::Relaxed)) {
        command.args([test, "--exact", "--nocapture", "--test-threads=1", "--quiet"]);
    } else {
        // A program that looks at its arguments before `init()` sees what it knows.
        command.args(std::env::args_os().skip(1).collect::<Vec<OsString>>());
    }
    command
        .env(SOCKET, number.to_string())
        .stdin(Stdio::from(theirs))
        // A harness that it is started in may say something first. A worker is given its own streams later.
        .stdout(Stdio::null())
        .process_group(0);
    let child = command.spawn()?;
    drop(command);
    let process = Running::of(Pid::from_child(&child))?;
    let hello = postcard::to_extend(hello, Vec::new()).map_err(io::Error::other)?;
    let sent = send(&ours, &hello, descriptors).and_then(|()| {
        rustix::net::sockopt::set_socket_timeout(&ours, rustix::net::sockopt::Timeout::Recv, Some(ANSWER_MAX))?;
        receive(&ours)
    });
    let failed = match sent {
        Ok((answer, _)) if answer == b"=" => return Ok((process, ours)),
        Ok((answer, _)) if !answer.is_empty() => String::from_utf8_lossy(&answer[1..]).into_owned(),
        Ok(_) => "it ended before it came to `ropewalk::init()`, which belongs first in `main`".to_owned(),
        Err(error) => format!("it does not answer ({error}): `ropewalk::init()` belongs first in `main`"),
    };
    process.kill();
    process.reap();
    Err(io::Error::other(format!("the program was started as a worker, and {failed}")))
}

/// Where workers come from.
#[derive(Debug)]
pub(super) struct Starter {
    start: Start,
    preload: Option<u64>,
    zygote: Option<Zygote>,
}

/// A process that forks blanks.
#[derive(Debug)]
struct Zygote {
    process: Running,
    socket: OwnedFd,
    /// It was asked for a blank that was not taken yet.
    is_asked: bool,
}

/// A process that waits to be told what to be.
#[derive(Debug)]
struct Blank {
    process: Running,
    socket: OwnedFd,
}

impl Starter {
    pub(super) fn new(start: Start, preload: Option<u64>) -> Self {
        // The harness of tests has threads.
        let start = if INITIALISED.load(Ordering::Relaxed) { start } else { Start::Exec };
        Self { start, preload, zygote: None }
    }

    /// Starts a process with these descriptors.
    pub(super) fn start(&mut self, setup: &Setup, descriptors: &[BorrowedFd<'_>]) -> io::Result<Running> {
        if self.start == Start::Exec {
            let hello = Hello { build_id: own_build_id()?, worker: Some(setup.clone()), preload: self.preload };
            return exec(&hello, descriptors).map(|(process, _)| process);
        }
        let packet = postcard::to_extend(setup, Vec::new()).map_err(io::Error::other)?;
        // What was forked ahead, or could not be, may be long ago; what is forked now says how it stands.
        let was_ahead = self.zygote.as_ref().is_some_and(|zygote| zygote.is_asked);
        match self.start_blank(&packet, descriptors) {
            Err(_) if was_ahead => self.start_blank(&packet, descriptors),
            started => started,
        }
    }

    fn start_blank(&mut self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Running> {
        // One that has ended is replaced.
        if self.zygote.as_ref().is_some_and(|zygote| zygote.process.has_ended()) {
            self.end_zygote();
        }
        let zygote = match &mut self.zygote {
            Some(zygote) => zygote,
            none => {
                let hello = Hello { build_id: own_build_id()?, worker: None, preload: self.preload };
                let (process, socket) = exec(&hello, &[])?;
                none.insert(Zygote { process, socket, is_asked: false })
            }
        };
        match zygote.blank() {
            Ok(Blank { process, socket }) => {
                if let Err(error) = send(&socket, packet, descriptors) {
                    process.kill();
                    process.reap();
                    return Err(error);
                }
                // The next one is forked while this one begins. If that fails, the next start finds out.
                let _ = zygote.ask();
                Ok(process)
            }
            Err(error) => {
                // It may have forked one before it fell silent.
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.end_zygote();
                }
                Err(error)
            }
        }
    }

    /// Ends it, and what it has forked that nobody has taken.
    fn end_zygote(&mut self) {
        if let Some(Zygote { process, socket, .. }) = self.zygote.take() {
            process.kill();
            drop(socket);
            process.reap_group();
        }
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.end_zygote();
    }
}

impl Zygote {
    fn ask(&mut self) -> io::Result<()> {
        if !self.is_asked {
            send(&self.socket, &[0], &[])?;
            self.is_asked = true;
        }
        Ok(())
    }

    /// A blank, forked ahead or now. An error of the kind `BrokenPipe` says that the zygote does not answer.
    fn blank(&mut self) -> io::Result<Blank> {
        let silent = |why: &dyn std::fmt::Display| {
            let text = format!("the process that workers are forked from does not answer ({why})");
            io::Error::new(io::ErrorKind::BrokenPipe, text)
        };
        self.ask().map_err(|error| silent(&error))?;
        let answered = receive(&self.socket);
        self.is_asked = false;
        let (answer, mut descriptors) = match answered {
            Ok(packet) => packet,
            // This process has no place for the descriptor. The blank finds that it is nobody's, and is reaped with the zygote.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err(error) => return Err(silent(&error)),
        };
        let answer = <[u8; 4]>::try_from(&answer[..]).map(i32::from_le_bytes).map_err(|_| silent(&"it has ended"))?;
        if answer <= 0 {
            return Err(io::Error::from_raw_os_error(-answer));
        }
        let process = Running::of(Pid::from_raw(answer).expect("it is more than 0"))?;
        // It may have been forked long ago. If it died, and somebody else has reaped it, its number may be a stranger's now.
        if process.look().is_err() {
            return Err(io::Error::other(
                "the process that was forked ahead has ended, and was reaped by somebody else",
            ));
        }
        // From here on it is not the zygote's, and does not end with it.
        let apart = rustix::process::setpgid(Some(process.pid), Some(process.pid));
        match (apart, descriptors.pop()) {
            (Ok(()), Some(socket)) => Ok(Blank { process, socket }),
            (apart, _) => {
                process.kill();
                process.reap();
                Err(apart.map_or_else(|error| error.into(), |()| silent(&"a descriptor is missing")))
            }
        }
    }
}

fn own_build_id() -> io::Result<Vec<u8>> {
    image::build_id().map(<[u8]>::to_vec).map_err(|error| io::Error::other(error.to_string()))
}
