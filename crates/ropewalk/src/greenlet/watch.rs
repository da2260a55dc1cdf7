//! Seeing what happens: who has not switched for long, who waits for what, and that nothing can go on.
//!
//! One thread looks at all hubs of the process every [`TICK`] while one of them works, and sleeps while all are idle. It
//! reads two words of each hub, which pays for it with two stores a switch that it makes anyway; and of a hub that is in a
//! greenlet it asks the system what the thread does ([`Doing`]): a clock alone cannot tell a thread that is blocked from one
//! that a busy machine, or the machine below a virtual one, does not let run. What a greenlet waits for is asked of its hub,
//! which answers between two switches.

#[cfg(target_os = "linux")]
use super::backtrace::Asked;
use super::hub::hub_has_tasks;
use crate::executor;
use ropewalk_core::park::Pause;
use ropewalk_core::strand::{Hub, Seen};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How often hubs are looked at.
const TICK: Duration = Duration::from_millis(20);
/// A greenlet that has not switched for this long is named.
const STUCK: Duration = Duration::from_millis(100);
/// A stretch between two looks at the clock that others who are ready notice.
const LONG_STRETCH: Duration = Duration::from_millis(10);
/// The share of its life that a hub may be blocked before it says so, and the time: less is not worth a word.
const BLOCKED_SHARE: u32 = 10;
const BLOCKED: Duration = Duration::from_millis(100);
/// How long a hub may take to answer a question.
const ANSWER: Duration = Duration::from_secs(1);

/// A hub as the watcher knows it.
pub(super) struct Watched {
    hub: &'static Hub,
    thread: String,
    /// Where the system says what the thread does; none where it does not.
    stat: Option<File>,
    #[cfg(target_os = "linux")]
    asked: Asked,
    began: Instant,
    /// It sleeps: no greenlet is ready.
    idle: AtomicBool,
    /// Time in turns while others were ready and a stretch was long, in nanoseconds.
    stretched: AtomicU64,
    deadlocked: AtomicBool,
    /// Where the greenlets were spawned in which the watcher found the thread asleep, and how often.
    blocked_in: Mutex<HashMap<&'static Location<'static>, u32>>,
}

static HUBS: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());
static WATCHER: OnceLock<Thread> = OnceLock::new();
/// The watcher sleeps until a hub wakes it.
static ASLEEP: AtomicBool = AtomicBool::new(false);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that looks; without it nothing is reported.
fn start_watcher() {
    static START: Once = Once::new();
    START.call_once(|| {
        if let Ok(thread) = std::thread::Builder::new().name("ropewalk-watch".to_owned()).spawn(watch) {
            let _ = WATCHER.set(thread.thread().clone());
        }
    });
}

/// A hub's own view of its record: begun with the hub, ended by its drop.
pub(super) struct Watch {
    watched: Arc<Watched>,
    looked: Cell<Instant>,
    others_ready: Cell<bool>,
}

impl Watch {
    pub(super) fn begin(hub: &'static Hub) -> Self {
        start_watcher();
        let now = Instant::now();
        let watched = Arc::new(Watched {
            hub,
            thread: std::thread::current().name().unwrap_or("unnamed").to_owned(),
            stat: File::open("/proc/thread-self/stat").ok(),
            #[cfg(target_os = "linux")]
            asked: Asked::this_thread(),
            began: now,
            idle: AtomicBool::new(false),
            stretched: AtomicU64::new(0),
            deadlocked: AtomicBool::new(false),
            blocked_in: Mutex::default(),
        });
        lock(&HUBS).push(Arc::clone(&watched));
        Self { watched, looked: Cell::new(now), others_ready: Cell::new(false) }
    }

    /// A turn begins with so many entries in the run queue.
    pub(super) fn enter_turn(&self, now: Instant, ready: usize) {
        self.looked.set(now);
        self.others_ready.set(ready > 1);
        self.watched.idle.store(false, Ordering::Relaxed);
        if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::Relaxed) {
            WATCHER.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// The hub has looked at the clock inside a turn.
    pub(super) fn look(&self, now: Instant, ready: usize) {
        let stretch = now.saturating_duration_since(self.looked.replace(now));
        if stretch > LONG_STRETCH && self.others_ready.get() {
            add(&self.watched.stretched, stretch);
        }
        // One of them is the next to run.
        self.others_ready.set(ready > 1);
    }

    pub(super) fn leave_turn(&self, now: Instant, idle: bool) {
        self.look(now, 0);
        self.watched.idle.store(idle, Ordering::Relaxed);
    }

    /// Whether the watcher has found that nothing can go on.
    pub(super) fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

impl Watched {
    pub(super) fn is_deadlocked(&self) -> bool {
        self.deadlocked.load(Ordering::Relaxed)
    }
}

/// One writer, so no read-modify-write.
fn add(total: &AtomicU64, time: Duration) {
    total.store(total.load(Ordering::Relaxed) + time.as_nanos() as u64, Ordering::Relaxed);
}

impl Drop for Watch {
    /// Takes the hub off the list, and says if it was blocked for much of its life.
    fn drop(&mut self) {
        let watched = &self.watched;
        lock(&HUBS).retain(|other| !Arc::ptr_eq(other, watched));
        let life = watched.began.elapsed();
        let stretched = Duration::from_nanos(watched.stretched.load(Ordering::Relaxed));
        let blocked_in = lock(&watched.blocked_in);
        let blocked = (TICK * blocked_in.values().sum::<u32>()).min(stretched);
        if REPORTS.load(Ordering::Relaxed) && blocked >= BLOCKED && blocked > life / BLOCKED_SHARE {
            let mut text = format!(
                "ropewalk: the hub on thread \"{}\" was blocked inside greenlets for {:.1} s of its {:.1} s while others \
                 were ready",
                watched.thread,
                blocked.as_secs_f64(),
                life.as_secs_f64()
            );
            if let Some((place, _)) = blocked_in.iter().max_by_key(|(_, times)| **times) {
                let _ = write!(text, ", mostly in one spawned at {place}");
            }
            eprintln!("{text}; use ropewalk::net, block_on or greenlet::offload for what blocks");
        }
    }
}

/// What a thread does, as the system says.
#[derive(Clone, Copy)]
struct Doing {
    /// It sleeps in a call of the system.
    asleep: bool,
    /// What it has computed so far.
    computed: Duration,
}

/// Linux alone says it. Elsewhere no hub is reported as blocked, and stuck is who does not switch, by the clock.
fn doing(stat: &File) -> Option<Doing> {
    /// Of the system's figures, on every architecture of Linux.
    const TICKS_A_SECOND: u64 = 100;
    let mut line = [0; 512];
    let length = stat.read_at(&mut line, 0).ok()?;
    let line = String::from_utf8_lossy(line.get(..length)?);
    // The name before it, in brackets, may hold anything.
    let mut words = line.get(line.rfind(')')? + 1..)?.split_whitespace();
    let state = words.next()?;
    let mut ticks = words.skip(10).map(|word| word.parse::<u64>().unwrap_or(0));
    let ticks = ticks.next()? + ticks.next()?;
    Some(Doing { asleep: matches!(state, "S" | "D"), computed: Duration::from_millis(ticks * 1000 / TICKS_A_SECOND) })
}

/// Whether greenlets that do not switch, and hubs that were blocked, are reported.
static REPORTS: AtomicBool = AtomicBool::new(true);

/// Switches the reports about greenlets that do not switch, and about hubs that were blocked, off or on again; for programs
/// that know. A deadlock is always reported.
///
/// On Linux the report about a greenlet that does not switch says where it is. The thread is interrupted for that, once for each
/// place where such greenlets are spawned, by SIGURG; see signal(7) for which calls of the system that ends early.
///
/// # Examples
///
/// ```
/// ropewalk::greenlet::set_reports(false);
/// ```
pub fn set_reports(on: bool) {
    REPORTS.store(on, Ordering::Relaxed);
}

/// SIGQUIT has come; and whether it is listened to.
static DUMP_ASKED: AtomicBool = AtomicBool::new(false);
static DUMPS: AtomicBool = AtomicBool::new(false);
/// How soon a watcher that sleeps notices a signal: a handler may not wake it.
const NOTICE: Duration = Duration::from_millis(200);

/// Makes the process write [`ropewalk::dump`](crate::dump) to its standard error on SIGQUIT (Ctrl-\\ on a terminal), instead of ending.
///
/// # Errors
///
/// When the system refuses the handler.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// ropewalk::dump_on_sigquit()?;
/// # Ok(())
/// # }
/// ```
pub fn dump_on_sigquit() -> io::Result<()> {
    extern "C" fn asked(_: i32) {
        DUMP_ASKED.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler stores to one atomic.
    let before = unsafe { libc::signal(libc::SIGQUIT, asked as *const () as usize) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    DUMPS.store(true, Ordering::Relaxed);
    start_watcher();
    WATCHER.get().into_iter().for_each(Thread::unpark);
    Ok(())
}

/// What the watcher remembers of a hub: since when it is in one and the same greenlet.
struct Before {
    switches: u64,
    since: Instant,
    /// What its thread had computed then, and how often it was found asleep since.
    computed: Option<Duration>,
    asleep: u32,
}

/// The watcher's life.
fn watch() {
    let mut before: HashMap<usize, Before> = HashMap::new();
    // A place is named once: what is spawned there a thousand times is one piece of news.
    let mut named: HashSet<&'static Location<'static>> = HashSet::new();
    let mut settled = Vec::new();
    loop {
        std::thread::park_timeout(TICK);
        if DUMP_ASKED.swap(false, Ordering::Relaxed) {
            let mut text = String::new();
            dump(&mut text);
            executor::dump(&mut text);
            eprint!("{text}");
        }
        let hubs: Vec<_> = lock(&HUBS).clone();
        before.retain(|key, _| hubs.iter().any(|watched| Arc::as_ptr(watched).addr() == *key));
        for watched in &hubs {
            let key = Arc::as_ptr(watched).addr();
            let (now, switches) = (Instant::now(), watched.hub.switches());
            let running = watched.hub.running();
            let known = before.entry(key).or_insert(Before { switches, since: now, computed: None, asleep: 0 });
            if known.switches != switches || running.is_none() {
                *known = Before { switches, since: now, computed: None, asleep: 0 };
            }
            let doing = watched.stat.as_ref().and_then(doing);
            let (Some(place), true) = (running, watched.hub.switches() == switches) else { continue };
            let held = match doing {
                Some(doing) => {
                    if doing.asleep {
                        known.asleep += 1;
                        *lock(&watched.blocked_in).entry(place).or_insert(0) += 1;
                    }
                    let computed = doing.computed.saturating_sub(*known.computed.get_or_insert(doing.computed));
                    // Who was not let run is not to blame.
                    (TICK * known.asleep + computed).min(now - known.since)
                }
                None => now - known.since,
            };
            // Alone, it keeps nobody from anything.
            let stuck = held >= STUCK && watched.hub.population() > 1;
            if stuck && REPORTS.load(Ordering::Relaxed) && named.insert(place) {
                eprintln!(
                    "ropewalk: a greenlet spawned at {place} has not switched for {} ms: it stops the others of thread \
                     \"{}\"; compute and block in greenlet::offload",
                    (now - known.since).as_millis(),
                    watched.thread
                );
                #[cfg(target_os = "linux")]
                if let Some(backtrace) = watched.asked.backtrace() {
                    eprint!("{backtrace}");
                }
            }
        }
        let idle = |watched: &Arc<Watched>| watched.idle.load(Ordering::Relaxed);
        if !hubs.iter().all(idle) {
            settled.clear();
            continue;
        }
        // All sleep. If nothing has changed since the last look, this is a state and not a moment.
        let state: Vec<_> = hubs.iter().map(|watched| (Arc::as_ptr(watched).addr(), watched.hub.switches())).collect();
        if state != settled {
            settled = state;
            continue;
        }
        if !hubs.is_empty() {
            look_for_deadlock(&hubs);
            // The question itself has woken the hubs: what they are now is settled, unless they go on.
            settled = hubs.iter().map(|watched| (Arc::as_ptr(watched).addr(), watched.hub.switches())).collect();
        }
        ASLEEP.store(true, Ordering::Relaxed);
        // Pairs with the hub's store of `idle`; a hub that is missed here is seen when it wakes the next time.
        fence(Ordering::SeqCst);
        while ASLEEP.load(Ordering::Relaxed) && !DUMP_ASKED.load(Ordering::Relaxed) {
            if DUMPS.load(Ordering::Relaxed) { std::thread::park_timeout(NOTICE) } else { std::thread::park() }
        }
    }
}

/// What a hub answers.
struct Answer {
    greenlets: Vec<Seen>,
    /// Whether its runtime has other tasks than the hub itself: they may wake a greenlet.
    has_tasks: bool,
}

/// Asks a hub what its greenlets do.
fn ask(watched: &Watched) -> Receiver<Answer> {
    let (sender, answer) = channel();
    let hub = watched.hub;
    hub.call(Box::new(move || {
        let _ = sender.send(Answer { greenlets: hub.look(), has_tasks: hub_has_tasks() });
    }));
    answer
}

/// Whether only another strand of ours can end a wait: it is on one of our primitives, and without a time limit.
fn waits_for_strands(pause: &Pause) -> bool {
    pause.until.is_none() && pause.ends_by.is_some() && pause.on.starts_with("ropewalk_core::")
}

/// Says so, and ends what can be ended, when every greenlet waits for another strand and there is no other strand.
fn look_for_deadlock(hubs: &[Arc<Watched>]) {
    // The hubs and this thread are all there is?
    if threads_of_process() != Some(hubs.len() + 1) {
        return;
    }
    let answers: Vec<_> = hubs.iter().map(|watched| ask(watched)).collect();
    let Ok(seen) = answers.iter().map(|answer| answer.recv_timeout(ANSWER)).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let stuck = |seen: &Seen| !seen.ready && seen.waits.as_ref().is_some_and(waits_for_strands);
    let all: Vec<&Seen> = seen.iter().flat_map(|answer| &answer.greenlets).collect();
    if seen.iter().any(|answer| answer.has_tasks)
        || all.is_empty()
        || !all.iter().all(|seen| stuck(seen))
        || threads_of_process() != Some(hubs.len() + 1)
    {
        return;
    }
    let mut text =
        format!("ropewalk: deadlock: {} greenlets wait, and nothing is left that could wake them\n", all.len());
    all.iter().for_each(|seen| line(&mut text, seen));
    let shielded = all.iter().any(|seen| seen.waits.is_some_and(|pause| !pause.cancellable));
    if shielded {
        eprintln!("{text}ropewalk: a wait for a lock cannot be cancelled, so the process ends here");
        std::process::abort();
    }
    eprint!("{text}");
    for watched in hubs {
        watched.deadlocked.store(true, Ordering::Relaxed);
        let hub = watched.hub;
        hub.call(Box::new(move || hub.cancel_all()));
    }
}

fn threads_of_process() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// One greenlet in a dump.
fn line(text: &mut String, seen: &Seen) {
    let _ = write!(text, "  greenlet {}", seen.id.get());
    if let Some(name) = &seen.name {
        let _ = write!(text, " \"{name}\"");
    }
    let _ = write!(text, " (spawned at {})", seen.spawned_at);
    match &seen.waits {
        _ if seen.ready => text.push_str(" is ready"),
        None => text.push_str(" runs"),
        Some(pause) => {
            let _ = write!(text, " waits on {pause}");
            if let Some(since) = seen.since {
                let _ = write!(text, " for {:.1} s", since.elapsed().as_secs_f64());
            }
        }
    }
    text.push('\n');
}

/// What every greenlet of the process does at this moment, one a line, by hub.
pub(crate) fn dump(text: &mut String) {
    let hubs: Vec<_> = lock(&HUBS).clone();
    let here = Hub::current();
    for watched in &hubs {
        let _ = writeln!(text, "hub on thread \"{}\", {} switches", watched.thread, watched.hub.switches());
        let seen = if here.is_some_and(|here| std::ptr::eq(here, watched.hub)) {
            Ok(Answer { greenlets: watched.hub.look(), has_tasks: false })
        } else {
            ask(watched).recv_timeout(ANSWER)
        };
        match seen {
            Ok(answer) => answer.greenlets.iter().for_each(|seen| line(text, seen)),
            Err(_) => {
                let _ = writeln!(text, "  does not answer: it is blocked in a greenlet");
                if let Some(place) = watched.hub.running() {
                    let _ = writeln!(text, "  (spawned at {place})");
                }
            }
        }
    }
}
