//! Processes of the lab: everything measured runs in one of its own, and none outlives the lab.
//!
//! A child is this executable again (or python), with pipes for stdin and stdout. It gets one line of JSON and answers
//! with lines of JSON. Nothing of it stays behind:
//! - It watches its stdin and ends when that closes, so even a lab that was killed leaves nothing.
//! - It leads a process group of its own: a Ctrl-C reaches the lab alone, which then kills the groups.
//! - Dropping a [`Child`] kills its group and waits for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{cores, row, server, sizing, work::cpu};
use crate::exit::{self, Expected};

/// The hidden command with which the executable is started again.
pub const SUBCOMMAND: &str = "__lab-child";

/// What a child of this executable does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Runs one model.
    Row,
    /// Runs the units on a pool that sizes itself.
    Sizing,
    /// Serves the I/O-bound work.
    Server,
    /// Finds the bound of the CPU-bound work.
    Calibrate,
    /// Measures how many processors there really are.
    Spin,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Row => "row",
            Role::Sizing => "sizing",
            Role::Server => "server",
            Role::Calibrate => "calibrate",
            Role::Spin => "spin",
        }
    }

    /// The command that starts this executable in this role.
    ///
    /// # Errors
    /// When the operating system cannot tell where the executable is.
    pub fn command(self) -> Result<Command, Expected> {
        // The link stays right when the file was replaced meanwhile, by a build for instance.
        let own = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
        let mut command = Command::new(
            own.map_err(|e| Expected::Process(format!("cannot find this executable, to start it again: {e}")))?,
        );
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(&mut command, "ropewalk");
        command.args([SUBCOMMAND, self.word()]);
        Ok(command)
    }
}

/// A line that a child writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message<T> {
    /// So many units are finished.
    Progress(u64),
    /// The answer.
    Done(T),
    /// Why there is none.
    Failed(String),
}

/// Process groups that are alive. Killing and waiting happen under this lock: a group in the list has not been waited
/// for, so its number belongs to nobody else.
static LIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn live() -> MutexGuard<'static, Vec<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C, SIGTERM and SIGHUP end the lab in good order: the children die, and whoever waits for one of them gets
/// [`Expected::Interrupted`].
///
/// # Errors
/// When the handler cannot be installed.
pub fn watch_for_interrupts() -> Result<(), Expected> {
    ctrlc::set_handler(|| {
        // SeqCst: a signal is rare, and nothing else orders the flag.
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            exit::now(Expected::Interrupted.code());
        }
        kill_all();
    })
    .map_err(|e| Expected::Process(format!("cannot watch for Ctrl-C: {e}")))
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Kills every child that is alive.
fn kill_all() {
    for group in live().iter() {
        kill(*group);
    }
}

#[cfg(unix)]
fn kill(group: u32) {
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    if let Ok(group) = i32::try_from(group) {
        // An error means that it is gone already.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

#[cfg(not(unix))]
fn kill(_group: u32) {}

/// A running child.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    /// Starts `command`, called `name` in messages, and gives it `request`.
    ///
    /// # Errors
    /// When it cannot be started, or the lab was interrupted.
    pub fn start(mut command: Command, name: &str, request: &impl Serialize) -> Result<Child, Expected> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            Expected::Process(format!("cannot {what} the process of {name}: {e}"))
        };
        let mut process = {
            let mut live = live();
            // Under the lock: from here on either the handler finds the child, or the child is not started.
            if interrupted() {
                return Err(Expected::Interrupted);
            }
            let process = command.spawn().map_err(|e| failed("start", &e))?;
            live.push(process.id());
            process
        };
        let lines = process.stdout.take().map(BufReader::new);
        let Some(lines) = lines else {
            unreachable!("stdout was asked for as a pipe");
        };
        let mut child = Child { name: name.to_owned(), process, lines };
        let line = serde_json::to_string(request).map_err(|e| failed("write a request for", &e))? + "\n";
        let sent = child.process.stdin.as_mut().map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()));
        // A child that died before it read its request is explained by what it did not answer.
        match sent {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(failed("talk to", &e)),
            _ => Ok(child),
        }
    }

    /// Waits for the answer; `progress` hears how many units are finished meanwhile.
    ///
    /// # Errors
    /// When the child ends without an answer, or says why it has none.
    pub fn answer<T: DeserializeOwned>(&mut self, mut progress: impl FnMut(u64)) -> Result<T, Expected> {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            if interrupted() {
                return Err(Expected::Interrupted);
            }
            if !matches!(read, Ok(n) if n > 0) {
                let end = self.end();
                return Err(Expected::Process(format!(
                    "the process of {} ended without a result ({end}); run the lab again, and watch the memory of the machine",
                    self.name,
                )));
            }
            match serde_json::from_str(&line) {
                Ok(Message::Progress(n)) => progress(n),
                Ok(Message::Done(answer)) => return Ok(answer),
                Ok(Message::Failed(why)) => return Err(Expected::Process(format!("{}: {why}", self.name))),
                Err(e) => {
                    return Err(Expected::Process(format!(
                        "the process of {} wrote something else than its result: {e}",
                        self.name
                    )));
                }
            }
        }
    }

    /// Kills what is left of the group and waits; says how the process ended.
    fn end(&mut self) -> String {
        let mut live = live();
        if live.contains(&self.process.id()) {
            kill(self.process.id());
        }
        let status = self.process.wait();
        live.retain(|group| *group != self.process.id());
        status.map_or_else(|e| e.to_string(), |s| s.to_string())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts this executable in `role` and returns its one answer.
///
/// # Errors
/// As [`Child::start`] and [`Child::answer`].
pub fn ask<T: DeserializeOwned>(role: Role, request: &impl Serialize) -> Result<T, Expected> {
    Child::start(role.command()?, role.word(), request)?.answer(|_| {})
}

/// The child's side: plays `role` and ends the process.
///
/// # Errors
/// When the request cannot be read, which means that nobody waits for an answer.
pub fn play(role: Role) -> Result<(), Expected> {
    match role {
        Role::Row => {
            let request = request()?;
            say(&match row::play(request) {
                Ok(played) => Message::Done(played),
                Err(why) => Message::Failed(why),
            });
        }
        Role::Sizing => {
            let units = request()?;
            say(&Message::Done(sizing::play(units)));
        }
        Role::Server => {
            let request = request()?;
            if let Err(e) = server::serve(request, |listening| say(&Message::Done(listening))) {
                say(&Message::<()>::Failed(format!("cannot serve on the loopback interface: {e}")));
            }
        }
        Role::Calibrate => {
            let unit_ms: u64 = request()?;
            say(&Message::Done(cpu::calibrate(Duration::from_millis(unit_ms))));
        }
        Role::Spin => {
            let bound: u64 = request()?;
            say(&Message::Done(cores::spin(bound)));
        }
    }
    Ok(())
}

/// Reads the request and starts to watch stdin: when it closes, nobody waits for this process any more.
fn request<T: DeserializeOwned>() -> Result<T, Expected> {
    let mut line = String::new();
    let unusable = |e: &dyn std::fmt::Display| {
        Expected::Usage(format!("`{SUBCOMMAND}` is what the lab starts by itself; run `ropewalk lab` instead ({e})"))
    };
    std::io::stdin().read_line(&mut line).map_err(|e| unusable(&e))?;
    let request = serde_json::from_str(&line).map_err(|e| unusable(&e))?;
    std::thread::spawn(|| {
        let mut rest = String::new();
        while matches!(std::io::stdin().read_line(&mut rest), Ok(n) if n > 0) {
            rest.clear();
        }
        exit::now(0);
    });
    Ok(request)
}

/// Writes one line. An error means that the lab has gone; stdin says the same, and ends the process.
pub(super) fn say<T: Serialize>(message: &Message<T>) {
    if let Ok(mut line) = serde_json::to_string(message) {
        line.push('\n');
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }
}
