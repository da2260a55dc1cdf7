//! Watching a program from outside: `/proc` in, a [`Recording`] out. Facts only; what they mean is decided elsewhere.
//!
//! No privilege is needed for one's own programs, nothing is stopped, traced or changed in them. [`launch`] starts a program
//! and watches it and all it starts; [`attach`] watches one that runs. How often they look adapts: what the watcher uses of a
//! processor is bounded (`LOOKS_SHARE`, `SCANS_SHARE`), so a thousand threads are looked at less often than ten.
//!
//! # The end of a program
//! The watcher is the reaper of all descendants. It waits for signals on a descriptor, so that the end of the program
//! (SIGCHLD) and a Ctrl-C are seen at once, whatever the rate. Counters of a process are read once more between its end and
//! its being waited for, when they are final.

mod calls;
mod events;
mod numbers;
mod proc;
mod symbols;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, Usage, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::recording::{Machine, Mode, Recording, Status, Totals};
use events::Events;
use proc::MachineStat;
use watch::Watch;

/// How often threads are looked at when that is cheap.
pub const HZ: f64 = 100.0;
/// The slowest rate.
const PERIOD_MAX: Duration = Duration::from_millis(500);
/// Share of a processor that looking at threads may use.
const LOOKS_SHARE: f64 = 0.012;
/// Share of a processor that looking for new ones may use.
const SCANS_SHARE: f64 = 0.006;
/// How often new processes are looked for when that is cheap.
const SCAN_PERIOD: Duration = Duration::from_millis(30);
/// Looks after which the rate halves, so that a recording of a day stays a file that can be opened.
const LOOKS_MAX: usize = 30_000;
/// How long all processors compute, to see how many there really are.
const SPIN: Duration = Duration::from_millis(25);
/// How often they do, unless they got nearly all.
const SPINS_MAX: usize = 4;
const SPIN_ENOUGH: f64 = 0.9;
/// How long a program that was asked to end at its limit of time is given.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a program's file that are searched for the mark of its compiler.
const SEARCHED_MAX: u64 = 64 << 20;
/// Programs of one recording that are.
const SEARCHED_FILES_MAX: usize = 3;

/// How to watch.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Looks a second; `None` for as many as are cheap, up to [`HZ`].
    pub hz: Option<f64>,
    /// How long to watch at most.
    pub duration: Option<Duration>,
    /// Lets the program's standard output go to our standard error, when ours is wanted for something else.
    pub stdout_to_stderr: bool,
}

/// Why nothing was recorded.
#[derive(Debug)]
#[non_exhaustive]
pub enum CollectError {
    /// The program cannot be started.
    Start(String, std::io::Error),
    /// There is no such process.
    NoProcess(u32),
    /// The process may not be looked at.
    Forbidden(u32),
    /// The kernel refused something that watching needs.
    System(&'static str, std::io::Error),
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CollectError::Start(program, e) if e.kind() == std::io::ErrorKind::NotFound => {
                write!(f, "cannot start {program}: no such program; check its name and the search path")
            }
            CollectError::Start(program, e) => write!(f, "cannot start {program}: {e}"),
            CollectError::NoProcess(pid) => {
                write!(
                    f,
                    "there is no process {pid}, or /proc hides it (mounted with hidepid): check `ps -p {pid}`, or run as root"
                )
            }
            CollectError::Forbidden(pid) => write!(
                f,
                "process {pid} may not be looked at: it belongs to somebody else; run ropewalk as the same user, or as root"
            ),
            CollectError::System(what, e) => write!(f, "cannot {what}: {e}"),
        }
    }
}

impl std::error::Error for CollectError {}

fn system<E: Into<std::io::Error>>(what: &'static str) -> impl Fn(E) -> CollectError {
    move |e| CollectError::System(what, e.into())
}

/// Starts a program and watches it, and everything it starts, to its end. Standard input, output and error are passed on.
///
/// A Ctrl-C at the terminal reaches the program as well as us; SIGINT, SIGTERM and SIGHUP that are sent to us alone are passed
/// on. The recording of what was seen until the program's end is returned in any case. A second such signal kills what
/// the program left running.
///
/// For a process with one thread and no other children: this waits for *all* children, and blocks signals meanwhile.
///
/// # Errors
/// When the program cannot be started.
pub fn launch(command: &[OsString], settings: &Settings) -> Result<Recording, CollectError> {
    nix::sys::prctl::set_child_subreaper(true).map_err(system("become the parent of orphans"))?;
    let [program, arguments @ ..] = command else {
        return Err(CollectError::Start(String::new(), std::io::Error::from(std::io::ErrorKind::NotFound)));
    };
    let mut starting = Command::new(program);
    starting.args(arguments);
    if settings.stdout_to_stderr {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(system("pass on standard error"))?;
        starting.stdout(Stdio::from(stderr));
    }
    let (before, machine) = (usage(), proc::machine_stat());
    // Whoever started us may have let SIGCHLD be ignored: then children vanish without a status. With anything that handles
    // it they do not, and what is started begins with the default.
    let heard = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(Signal::SIGCHLD as i32, heard).map_err(system("listen for the end of children"))?;
    // Inherited by what is started.
    let events = Events::open();
    let mut child = starting.spawn().map_err(|e| CollectError::Start(program.to_string_lossy().into_owned(), e))?;
    // Not before: the program would inherit the mask. Whatever came until now did to us what it does to anybody.
    let signals = Signals::block().inspect_err(|_| {
        // Without them its end would not be seen: better none than one left to itself. An error means that it has ended.
        let _ = child.kill().and_then(|()| child.wait());
    })?;
    let main = child.id();
    let me = std::process::id();
    let mut watch = Watch::new(descriptors(true), None);
    watch.seen.mode = Mode::Launched;
    watch.seen.command = command.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    match events {
        Ok(events) => watch.note(events),
        Err(e) => watch.seen.not_noted = not_noted(&e),
    }
    watch.add(main, me, true);

    let mut pace = Pace::new(settings);
    let mut asked_to_end = 0;
    let mut told_to_stop: Option<Instant> = None;
    let status = loop {
        pace.turn(&mut watch, Some(me));
        match reap(&mut watch, main) {
            Some(status) => break status,
            None => match (told_to_stop, settings.duration) {
                // Watched for long enough: what was started is ended, not left behind.
                (None, Some(limit)) if pace.begun.elapsed() >= limit => {
                    told_to_stop = Some(Instant::now());
                    signal(main, Signal::SIGTERM);
                }
                (Some(when), _) if when.elapsed() >= GRACE => {
                    watch.pids().into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
                }
                _ => {}
            },
        }
        for (signal_seen, from_terminal) in signals.wait(pace.rest()) {
            asked_to_end += 1;
            if asked_to_end > 1 {
                watch.pids().into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
            } else if !from_terminal {
                signal(main, signal_seen);
            }
        }
    };
    let mut seen = finish(watch, machine);
    let (user, system) = cpu_between(&before, &usage());
    let forks = proc::machine_stat().zip(machine).map_or(0, |(after, before)| after.forks.saturating_sub(before.forks));
    let peak_rss_kib = u64::try_from(usage().max_rss()).unwrap_or_default();
    seen.totals = Some(Totals { user_ns: user, system_ns: system, peak_rss_kib, forks });
    seen.status = status;
    seen.asked_to_end = told_to_stop.is_some();
    seen.machine.effective_cores = effective(seen.machine.cores);
    Ok(seen)
}

/// Watches a process that runs, and everything it has started and starts, for `settings.duration` or until it ends.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn attach(pid: u32, settings: &Settings) -> Result<Recording, CollectError> {
    let signals = Signals::block()?;
    let machine = proc::machine_stat();
    if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
        return Err(CollectError::NoProcess(pid));
    }
    let mut watch = Watch::new(descriptors(true), None);
    watch.seen.mode = Mode::Attached;
    watch.add(pid, 0, false);
    if watch.seen.threads.is_empty() {
        return Err(CollectError::Forbidden(pid));
    }
    // The tree that exists already: each scan finds one generation.
    loop {
        let before = watch.seen.processes.len();
        watch.scan_existing();
        if watch.seen.processes.len() == before {
            break;
        }
    }
    watch.seen.command = watch.seen.processes.first().map(|p| p.argv.clone()).unwrap_or_default();
    let mut pace = Pace::new(settings);
    loop {
        pace.turn(&mut watch, None);
        let enough = settings.duration.is_some_and(|d| pace.begun.elapsed() >= d);
        if enough || watch.is_empty() || !signals.wait(pace.rest()).is_empty() {
            break;
        }
    }
    let mut seen = finish(watch, machine);
    seen.machine.effective_cores = left(&seen.machine);
    Ok(seen)
}

/// Watches this process itself until told to stop; see [`measure`](crate::measure()).
pub(crate) fn inside(stop: &std::sync::mpsc::Receiver<()>, settings: &Settings) -> Recording {
    let machine = proc::machine_stat();
    let own = u32::try_from(nix::unistd::gettid().as_raw()).ok();
    let mut watch = Watch::new(descriptors(false), own);
    watch.seen.mode = Mode::Inside;
    watch.add(std::process::id(), 0, false);
    watch.seen.command = watch.seen.processes.first().map(|p| p.argv.clone()).unwrap_or_default();
    let mut pace = Pace::new(settings);
    loop {
        pace.turn(&mut watch, None);
        if stop.recv_timeout(pace.rest()) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            break;
        }
    }
    watch.look();
    let mut seen = finish(watch, machine);
    seen.machine.effective_cores = left(&seen.machine);
    seen
}

fn finish(watch: Watch, before: Option<MachineStat>) -> Recording {
    // Before the files of programs are searched, which is no part of watching.
    let own = own_cpu();
    let mut seen = watch.finish();
    let used: u64 = seen
        .threads
        .iter()
        .filter_map(|t| Some(t.samples.last()?.run_ns.saturating_sub(t.samples.first()?.run_ns)))
        .sum();
    seen.machine.cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    seen.machine.arch = std::env::consts::ARCH.to_owned();
    if let Some((after, before)) = proc::machine_stat().zip(before) {
        let ticks = |of: fn(&MachineStat) -> u64| of(&after).saturating_sub(of(&before)) as f64;
        let (busy, interrupts, stolen) = (ticks(|m| m.busy), ticks(|m| m.interrupts), ticks(|m| m.stolen));
        // Processors, of so many ticks of all of them.
        let processors = after.cores as f64 / (busy + interrupts + stolen + ticks(|m| m.idle)).max(1.0);
        let own = used as f64 / seen.wall_ns.max(1) as f64;
        seen.machine.others = (busy * processors - own).max(0.0);
        seen.machine.interrupts = interrupts * processors;
        seen.machine.stolen = stolen * processors;
    }
    seen.own_cpu_ns = own.as_nanos() as u64;
    mark_rust(&mut seen);
    seen
}

/// Why the kernel notes nothing by itself, with what would change that.
fn not_noted(error: &std::io::Error) -> String {
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let hint = match paranoid.trim().parse::<i32>() {
        Ok(level) if level > 2 => format!("kernel.perf_event_paranoid is {level}, and 2 or less allows it"),
        Ok(_) => "a filter of system calls forbids it, as in many containers, or others that watch have used up what \
                  kernel.perf_event_mlock_kb leaves"
            .to_owned(),
        Err(_) => "this kernel is without it".to_owned(),
    };
    let why = match error.kind() {
        std::io::ErrorKind::PermissionDenied => hint,
        _ => error.to_string(),
    };
    format!("starts and switches are not noted by the kernel: {why}")
}

/// Processors that are to be had while others use theirs.
fn left(machine: &Machine) -> f64 {
    (machine.cores as f64 - machine.others - machine.interrupts - machine.stolen).max(1.0)
}

/// When to look, so that looking stays cheap.
struct Pace {
    begun: Instant,
    own_cpu: Duration,
    period: Duration,
    asked: Duration,
    adapts: bool,
    scanned: Option<Instant>,
    scan_period: Duration,
    next: Instant,
    random: u64,
}

impl Pace {
    fn new(settings: &Settings) -> Pace {
        let asked = Duration::from_secs_f64(1.0 / settings.hz.unwrap_or(HZ).clamp(0.5, 1000.0));
        Pace {
            begun: Instant::now(),
            own_cpu: own_cpu(),
            period: asked,
            asked,
            adapts: settings.hz.is_none(),
            scanned: None,
            scan_period: Duration::ZERO,
            next: Instant::now(),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Looks when it is time to, and for new processes when it is time for that.
    fn turn(&mut self, watch: &mut Watch, own: Option<u32>) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.own_cpu = own_cpu();
        if self.scanned.is_none_or(|when| when.elapsed() >= self.scan_period) {
            watch.scan(own);
            self.scanned = Some(Instant::now());
            self.scan_period = self.spent().div_f64(SCANS_SHARE).max(SCAN_PERIOD).min(2 * PERIOD_MAX);
        }
        watch.look();
        let spent = self.spent();
        if self.adapts {
            let doublings = u32::try_from(watch.seen.ticks.len() / LOOKS_MAX).unwrap_or(u32::MAX).min(6);
            let wanted = spent.div_f64(LOOKS_SHARE).max(self.asked * 2u32.pow(doublings)).min(PERIOD_MAX);
            // One slow look, a page fault of ours for instance, is not the new price.
            self.period = (self.period * 7 + wanted) / 8;
        }
        // Off the beat, or a program that works in the same rhythm would always be met in the same state.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = 0.85 + 0.3 * (self.random >> 11) as f64 / (1u64 << 53) as f64;
        self.next = now + self.period.mul_f64(jitter);
    }

    /// Processor time since this was asked last.
    fn spent(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.own_cpu, own_cpu());
        self.own_cpu.saturating_sub(before)
    }

    fn rest(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

/// Processor time of this thread.
fn own_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn usage() -> Usage {
    // Asked with constants that every Linux knows.
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap_or_else(|e| unreachable!("getrusage of children: {e}"))
}

/// User and system time, in nanoseconds.
fn cpu_between(before: &Usage, after: &Usage) -> (u64, u64) {
    let ns = |t: nix::sys::time::TimeVal| {
        u64::try_from(t.tv_sec() * 1_000_000_000 + t.tv_usec() * 1_000).unwrap_or_default()
    };
    (
        ns(after.user_time()).saturating_sub(ns(before.user_time())),
        ns(after.system_time()).saturating_sub(ns(before.system_time())),
    )
}

/// Waits for every child that ended. `Some` when there is nothing left to watch: with the status of `main` when that is one of
/// them, without when there is no child at all any more, because somebody else has waited for it.
fn reap(watch: &mut Watch, main: u32) -> Option<Option<Status>> {
    let mut status = None;
    loop {
        let ended = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT);
        let pid = match ended {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Err(Errno::ECHILD) => return Some(status),
            _ => return status.map(Some),
        };
        let number = u32::try_from(pid.as_raw()).unwrap_or_default();
        watch.last_look(number);
        watch.gone(number);
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) if number == main => status = Some(Status::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) if number == main => status = Some(Status::Signal(signal as i32)),
            Ok(_) => {}
            Err(_) => return status.map(Some),
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // An error means that it is gone already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Signals as a descriptor; the mask is put back when dropped.
struct Signals {
    descriptor: SignalFd,
    before: SigSet,
}

impl Signals {
    fn block() -> Result<Signals, CollectError> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        let before = SigSet::thread_get_mask().map_err(system("read the mask of signals"))?;
        set.thread_block().map_err(system("block signals"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let descriptor = SignalFd::with_flags(&set, flags).map_err(system("read signals from a descriptor"))?;
        Ok(Signals { descriptor, before })
    }

    /// Waits so long, or until a child ends, or until somebody wants us to end: those signals, and whether each came from
    /// the terminal.
    fn wait(&self, limit: Duration) -> Vec<(Signal, bool)> {
        let mut fds = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a limit of nothing would spin.
        let millis = u16::try_from(limit.as_micros().div_ceil(1_000)).unwrap_or(u16::MAX);
        // An error is an interrupted wait, and only shorter.
        let _ = poll(&mut fds, PollTimeout::from(millis));
        let mut asked = Vec::new();
        while let Ok(Some(info)) = self.descriptor.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(signal) => asked.push((signal, info.ssi_code == SI_KERNEL)),
            }
        }
        asked
    }
}

/// The origin of a signal that a key on the terminal made.
const SI_KERNEL: i32 = 0x80;

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// How many descriptors may be kept open. In a process of our own the limit is raised as far as it goes; somebody else's stays,
/// and half of it is left to them.
fn descriptors(ours: bool) -> usize {
    const RESERVE: u64 = 128;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((256, 256));
    if !ours {
        return usize::try_from((soft / 2).saturating_sub(RESERVE)).unwrap_or_default();
    }
    // Enough for a hundred thousand threads; some systems allow a billion.
    let wanted = hard.min(1 << 18);
    let got = if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    usize::try_from(got.saturating_sub(RESERVE)).unwrap_or_default()
}

/// How many processors are to be had: all of them computing for a moment. A moment in which somebody else has one says
/// nothing about the next, so the best of a few counts.
fn effective(cores: usize) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..SPINS_MAX {
        best = best.max(spin(cores));
        if best >= SPIN_ENOUGH * cores as f64 {
            break;
        }
    }
    best.min(cores as f64)
}

fn spin(cores: usize) -> f64 {
    let begin = Instant::now();
    let used: f64 = std::thread::scope(|s| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                s.spawn(|| {
                    let mut x = 1u64;
                    while begin.elapsed() < SPIN {
                        for _ in 0..1_000 {
                            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                        }
                    }
                    own_cpu().as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_default()).sum()
    });
    used / begin.elapsed().as_secs_f64()
}

/// Notes which of the busiest programs were made by rustc, whose standard library leaves its path in them.
fn mark_rust(seen: &mut Recording) {
    use std::io::Read as _;
    let mut files: Vec<String> = Vec::new();
    for process in &mut seen.processes {
        let interpreted = ["python", "node", "ruby", "bash", "sh", "dash", "perl", "make", "java"];
        let base = process.exe.rsplit('/').next().unwrap_or_default();
        if base.is_empty() || interpreted.iter().any(|i| base.starts_with(i)) {
            continue;
        }
        if !files.contains(&process.exe) {
            if files.len() == SEARCHED_FILES_MAX {
                continue;
            }
            files.push(process.exe.clone());
        }
    }
    for exe in files {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&exe).and_then(|f| f.take(SEARCHED_MAX).read_to_end(&mut bytes));
        let mark = b"/rustc/";
        if read.is_ok() && bytes.windows(mark.len()).any(|w| w == mark) {
            seen.processes.iter_mut().filter(|p| p.exe == exe).for_each(|p| p.rust = true);
        }
    }
}
