//! What a greenlet that ran into its guard says before the process ends.
//!
//! std's handler knows the guards of threads only; for a greenlet it would let the process die without a word. Ours is
//! installed before it in the chain: it looks the address up, writes who it was with `write(2)`, and aborts; every other
//! fault goes on to the handler from before. It allocates nothing and takes no lock.

use super::hub;
use super::stack::Slab;
use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Once;

/// The handlers from before.
struct Before(UnsafeCell<[MaybeUninit<libc::sigaction>; 2]>);

// SAFETY: written once, before our handler is installed; only read afterwards.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new([MaybeUninit::uninit(); 2]));
const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Installs the handler, once for the process.
pub fn report_overflows() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: the actions are plain data, the place is ours, and the handler keeps to what a handler may do.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let before = (*BEFORE.0.get())[index].as_mut_ptr();
                libc::sigaction(signal, std::ptr::null(), before);
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                action.sa_sigaction = handle as *const () as usize;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    });
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives us a valid siginfo for this signal.
    let address = unsafe { (*info).si_addr() }.addr();
    if let Some(place) = Slab::guarding(address) {
        hub::tell_overflow(place, |parts| parts.iter().for_each(|part| write(part)));
        write(b"\n");
        // SAFETY: ends the process.
        unsafe { libc::abort() };
    }
    // SAFETY: written before this handler was installed.
    let before = unsafe { (*BEFORE.0.get())[usize::from(signal == libc::SIGBUS)].assume_init_ref() };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the fault happens again on return, and ends the process as it would have.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says which form the handler has.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: as above.
            let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

fn write(bytes: &[u8]) {
    // SAFETY: writes from a valid slice; a failure has nobody to be told to.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
}

/// The stack on which a thread handles the fault of a full one; std gives one to its own threads and to no others.
#[derive(Debug)]
pub struct SignalStack(Option<*mut libc::c_void>);

/// Bytes of it; more than any processor's saved registers take.
const SIGNAL_STACK_BYTES: usize = 64 << 10;

/// Sees to it that the calling thread has one, until this is dropped.
///
/// # Errors
///
/// When the system refuses the memory.
pub fn signal_stack() -> io::Result<SignalStack> {
    // SAFETY: asks only.
    let disabled = unsafe {
        let mut now: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &raw mut now);
        now.ss_flags & libc::SS_DISABLE != 0
    };
    if !disabled {
        return Ok(SignalStack(None));
    }
    // SAFETY: a new mapping, which the thread uses until the drop below takes it away.
    unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            SIGNAL_STACK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = libc::stack_t { ss_sp: start, ss_flags: 0, ss_size: SIGNAL_STACK_BYTES };
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
        Ok(SignalStack(Some(start)))
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        if let Some(start) = self.0 {
            // SAFETY: made by `signal_stack` on this thread (the pointer keeps it from being sent).
            unsafe {
                let mut none: libc::stack_t = std::mem::zeroed();
                none.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&raw const none, std::ptr::null_mut());
                libc::munmap(start, SIGNAL_STACK_BYTES);
            }
        }
    }
}
