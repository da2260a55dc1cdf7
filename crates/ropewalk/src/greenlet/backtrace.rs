//! Where a hub's thread is at this moment, as a backtrace.
//!
//! The thread is interrupted by a signal whose handler notes the return addresses and nothing else; their names are looked up
//! afterwards, on the thread that asked. The signal is SIGURG, as in Go's runtime and for its reasons: nobody minds a spurious
//! one, and nobody's debugger stops at it. Calls of the system that it interrupts are begun again, except for those that the
//! system never begins again (sleeps and polls), which std and every careful library begin again themselves.

use ropewalk_core::strand;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Frames that are noted at most.
const FRAMES_MAX: usize = 64;
/// Frames that are shown at most.
const FRAMES_SHOWN: usize = 24;
/// What the handler may need of the greenlet's stack, in bytes; with less left it notes nothing.
const STACK_MIN: usize = 32 << 10;
/// How long a thread may take to answer. One that sleeps in the kernel for good does not answer.
const ANSWER: Duration = Duration::from_millis(500);
const NOT_YET: usize = usize::MAX;

/// The thread that is to note where it is; 0 for none.
static ASKED: AtomicI32 = AtomicI32::new(0);
static ADDRESSES: [AtomicUsize; FRAMES_MAX] = [const { AtomicUsize::new(0) }; FRAMES_MAX];
static NOTED: AtomicUsize = AtomicUsize::new(NOT_YET);
/// The handler of somebody else for the same signal.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static BEFORE_TAKES_INFO: AtomicI32 = AtomicI32::new(0);

/// A thread that can be asked.
pub(super) struct Asked(i32);

impl Asked {
    pub(super) fn this_thread() -> Self {
        // SAFETY: asks only.
        Self(unsafe { libc::gettid() })
    }

    /// Where the greenlet is that runs on it, one frame or place a line; None when it does not answer.
    pub(super) fn backtrace(&self) -> Option<String> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        install();
        NOTED.store(NOT_YET, Ordering::Relaxed);
        // Release: the handler that takes it sees the store above.
        ASKED.store(self.0, Ordering::Release);
        // SAFETY: names a thread of this process, or one that has ended, which is an error and nothing more.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, libc::SIGURG) };
        let deadline = Instant::now() + ANSWER;
        loop {
            // Acquire: pairs with the Release of the handler; the addresses are there.
            let noted = NOTED.load(Ordering::Acquire);
            if noted != NOT_YET {
                return show(noted);
            }
            if sent != 0 || Instant::now() > deadline {
                // A handler that comes later is not meant any more. One that has begun and hangs is left behind.
                let _ = ASKED.compare_exchange(self.0, 0, Ordering::Relaxed, Ordering::Relaxed);
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Sees to the handler, once.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler does what a handler may. Without `SA_ONSTACK`: the stack that std gives its threads for
        // signals is too small for an unwinder, and the greenlet's own is looked at first.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGURG, std::ptr::null(), &raw mut before);
            BEFORE_TAKES_INFO.store(before.sa_flags & libc::SA_SIGINFO, Ordering::Relaxed);
            BEFORE.store(before.sa_sigaction, Ordering::Relaxed);
            libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut());
        }
    });
}

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: asks only.
    let this = unsafe { libc::gettid() };
    // Acquire: pairs with the store in `backtrace`.
    if ASKED.compare_exchange(this, 0, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return pass_on(signal, info, context);
    }
    let mut noted = 0;
    if strand::stack_left().is_some_and(|bytes| bytes >= STACK_MIN) {
        // SAFETY: the other users of the library's state look up names, which this does not, and one thread notes at a time.
        // The unwinder takes no lock (glibc finds its tables without one since 2.35) that its own thread could hold here.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                ADDRESSES[noted].store(frame.ip().addr(), Ordering::Relaxed);
                noted += 1;
                noted < FRAMES_MAX
            });
        }
    }
    // Release: pairs with the load in `backtrace`.
    NOTED.store(noted, Ordering::Release);
}

/// It was meant for whoever handled the signal before.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.load(Ordering::Relaxed);
    if before == libc::SIG_DFL || before == libc::SIG_IGN {
        return; // by default it is ignored
    }
    // SAFETY: the system gave us this address as that of a handler of one of the two kinds, and says which.
    unsafe {
        if BEFORE_TAKES_INFO.load(Ordering::Relaxed) == 0 {
            std::mem::transmute::<usize, extern "C" fn(i32)>(before)(signal);
        } else {
            let before = std::mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void)>(before);
            before(signal, info, context);
        }
    }
}

/// Where the greenlet's own frames end; how much of that is inlined is the compiler's choice.
const OURS: [&str; 4] = [
    "ropewalk::greenlet::hub::spawn_",
    "ropewalk_core::park::record::with_task",
    "ropewalk_core::task::harness",
    "ropewalk_core::strand::hub::body",
];

/// The frames between the handler and the beginning of the greenlet.
fn show(noted: usize) -> Option<String> {
    let mut shown = Vec::new();
    for address in &ADDRESSES[..noted] {
        let address = address.load(Ordering::Relaxed);
        // A return address is behind its call.
        let call = std::ptr::without_provenance_mut(address.saturating_sub(1));
        let mut lines = Vec::new();
        backtrace::resolve(call, |symbol| {
            let name = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
            let place = symbol.filename().zip(symbol.lineno());
            lines.push((name, place.map(|(file, line)| format!("{}:{line}", file.display()))));
        });
        let named = |part: &str| lines.iter().any(|(name, _)| name.contains(part));
        if named("__restore_rt") || named("greenlet::backtrace::note") {
            // Below is what was interrupted.
            shown.clear();
            continue;
        }
        if OURS.into_iter().any(named) {
            break;
        }
        shown.append(&mut lines);
    }
    let mut text = String::new();
    for (number, (name, place)) in shown.iter().take(FRAMES_SHOWN).enumerate() {
        let _ = writeln!(text, "  {number:>2}: {name}");
        if let Some(place) = place {
            let _ = writeln!(text, "        at {place}");
        }
    }
    (!text.is_empty()).then_some(text)
}
