//! Guarded stacks, mapped in slabs.
//!
//! A slab is one mapping of equal places, each `guard | stack`; a stack grows down towards its guard. Guards are marked
//! with `MADV_GUARD_INSTALL` (Linux 6.13), which needs no mapping of its own, in one call a slab; where the kernel does
//! not know that, `mprotect` makes them, which costs two mappings a stack and is refused before the process runs into
//! `vm.max_map_count`. A stack without a guard is never handed out.
//!
//! Slabs are never unmapped: the header of a slot lies at the top of its stack, and a waker may look at it at any time
//! (see `slot`). What is given back to the system is the memory behind them.

use crate::model::unchecked::{Ordering, PlainPtr, PlainUsize};
use std::fmt;
use std::io;
use std::ptr::NonNull;

/// Bytes below each stack that must not be touched. One page stops Rust, which probes each page; C that was compiled
/// without such probes may jump over one, hardly over four, and they cost address space only.
const GUARD_BYTES: usize = 4 * PAGE;
/// The unit of guards. (Larger pages exist on other machines; a multiple of this is asked for there.)
const PAGE: usize = 4096;
/// Places in the first slab of a class and the most in one slab; each slab is twice the one before.
const SLOTS_FIRST: usize = 32;
const SLOTS_MAX: usize = 1024;

/// Where the header of a place begins differs by this, in this many steps: the hot lines of places that all begin alike would
/// share a few sets of the caches.
const COLOUR_BYTES: usize = 64;
const COLOURS: usize = 16;
/// As many in the slabs that come before those of full size, some thousand places together. So few fit into the second cache
/// if they spread over all of it (a tenth of the time of a thousand switches), and it does not matter that the stack of
/// some begins so low that they take a second page.
const COLOURS_OF_FEW: usize = 40;

/// The sizes of stacks, in bytes of address space; only pages that were touched take memory. A request is rounded up.
pub const STACK_SIZES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 8 << 20];
/// The class whose size a greenlet gets if nothing is said: 256 KiB. A smaller one would save page tables only, and TLS,
/// JSON or `getaddrinfo` are known to need more than 64 KiB.
pub const STACK_CLASS_DEFAULT: usize = 1;

/// Which of [`STACK_SIZES`] holds `bytes`.
///
/// # Errors
///
/// When even the largest is too small.
pub fn stack_class(bytes: usize) -> Result<usize, StackError> {
    STACK_SIZES.iter().position(|size| bytes <= *size).ok_or(StackError::TooLarge { bytes })
}

/// Why there is no stack for a greenlet.
#[derive(Debug)]
#[non_exhaustive]
pub enum StackError {
    /// The system refused the memory.
    Map(io::Error),
    /// The system refused the guard pages.
    Guard(io::Error),
    /// The kernel needs two mappings a stack and allows no more.
    TooMany {
        /// Stacks that exist.
        stacks: usize,
        /// `vm.max_map_count`.
        limit: usize,
    },
    /// More was asked for than the largest class has.
    TooLarge {
        /// What was asked for.
        bytes: usize,
    },
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "no memory for greenlet stacks: {error}"),
            Self::Guard(error) => write!(f, "greenlet stacks cannot be guarded: {error}"),
            Self::TooMany { stacks, limit } => write!(
                f,
                "no more greenlet stacks after {stacks}: this kernel needs two mappings each and allows {limit} in all; \
                 raise it with `sysctl vm.max_map_count=…`, or use Linux 6.13"
            ),
            Self::TooLarge { bytes } => write!(
                f,
                "a greenlet stack of {bytes} bytes is more than the largest there is ({}); use a thread",
                STACK_SIZES[STACK_SIZES.len() - 1]
            ),
        }
    }
}

impl std::error::Error for StackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Map(error) | Self::Guard(error) => Some(error),
            _ => None,
        }
    }
}

/// One mapping of equal places. In a list that only grows, so that a signal handler can walk it.
#[derive(Debug)]
pub(super) struct Slab {
    start: usize,
    pub(super) count: usize,
    size: usize,
    colours: usize,
    next: *const Slab,
}

// SAFETY: it is never changed once it is in the list, and what it points to is in the list too.
unsafe impl Sync for Slab {}
// SAFETY: as above.
unsafe impl Send for Slab {}

static SLABS: PlainPtr<Slab> = PlainPtr::new(std::ptr::null_mut());
/// Stacks in all slabs.
static STACKS: PlainUsize = PlainUsize::new(0);

/// A place in a slab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The lowest address that may be touched.
    pub(super) bottom: usize,
    /// The address behind the highest.
    pub(super) top: usize,
}

impl Slab {
    /// Maps the next slab for a hub that has `existing` stacks of this class, and guards it.
    pub(super) fn map(class: usize, existing: usize) -> Result<&'static Self, StackError> {
        let size = STACK_SIZES[class];
        // Eight megabytes times a thousand would be a large claim for one greenlet that asked.
        let most = SLOTS_MAX.min((512 << 20) / size);
        let count = existing.clamp(SLOTS_FIRST.min(most), most);
        let colours = if count < most { COLOURS_OF_FEW } else { COLOURS };
        let mapped = map(count * (GUARD_BYTES + size))?;
        let start = mapped.as_ptr().expose_provenance();
        let mut slab = Box::new(Self { start, count, size, colours, next: std::ptr::null() });
        if let Err(error) = slab.guard() {
            unmap(mapped, slab.bytes());
            return Err(error);
        }
        STACKS.fetch_add(count, Ordering::Relaxed);
        let mut head = SLABS.load(Ordering::Relaxed);
        let slab = loop {
            slab.next = head;
            let raw = Box::into_raw(slab);
            // Release: the handler that finds it sees its fields.
            match SLABS.compare_exchange(head, raw, Ordering::Release, Ordering::Relaxed) {
                // SAFETY: it is in the list, for ever and unchanged.
                Ok(_) => break unsafe { &*raw },
                Err(now) => {
                    head = now;
                    // SAFETY: it did not get into the list, so it is still ours alone.
                    slab = unsafe { Box::from_raw(raw) };
                }
            }
        };
        Ok(slab)
    }

    fn stride(&self) -> usize {
        GUARD_BYTES + self.size
    }

    fn bytes(&self) -> usize {
        self.count * self.stride()
    }

    fn place(&self, index: usize) -> Place {
        let guard = self.start + index * self.stride();
        Place { bottom: guard + GUARD_BYTES, top: guard + self.stride() }
    }

    /// Makes the header of a place, at its top; the stack is what is below it.
    ///
    /// # Safety
    ///
    /// Once for each place.
    pub(super) unsafe fn put<T>(&self, index: usize, make: impl FnOnce(Place) -> T) -> &'static T {
        let place = self.place(index);
        let colour = index % self.colours * COLOUR_BYTES;
        let header = (place.top - colour - size_of::<T>()) & !(COLOUR_BYTES - 1);
        const { assert!(align_of::<T>() <= COLOUR_BYTES && size_of::<T>() + COLOURS_OF_FEW * COLOUR_BYTES < PAGE) };
        let pointer: *mut T = std::ptr::with_exposed_provenance_mut(header);
        // SAFETY: inside our mapping, aligned, and nobody else's, says the caller.
        unsafe {
            pointer.write(make(Place { top: header, ..place }));
            &*pointer
        }
    }

    /// Marks the guard of each place.
    fn guard(&self) -> Result<(), StackError> {
        let guards: Vec<libc::iovec> = (0..self.count)
            .map(|index| libc::iovec {
                iov_base: std::ptr::with_exposed_provenance_mut(self.start + index * self.stride()),
                iov_len: GUARD_BYTES,
            })
            .collect();
        if install_guards(&guards) {
            return Ok(());
        }
        let (stacks, limit) = (STACKS.load(Ordering::Relaxed), max_map_count());
        // Half of the mappings are left to the rest of the process.
        if 2 * (stacks + self.count) > limit / 2 {
            return Err(StackError::TooMany { stacks, limit });
        }
        for guard in &guards {
            // SAFETY: the range is inside our own fresh mapping.
            if unsafe { libc::mprotect(guard.iov_base, guard.iov_len, libc::PROT_NONE) } != 0 {
                return Err(StackError::Guard(io::Error::last_os_error()));
            }
        }
        Ok(())
    }

    /// The place whose guard contains `address`, in any slab. For signal handlers: no lock, no allocation.
    pub(super) fn guarding(address: usize) -> Option<Place> {
        // Acquire: pairs with the Release in `map`.
        let mut slab: *const Self = SLABS.load(Ordering::Acquire);
        // SAFETY: what is in the list stays, unchanged.
        while let Some(here) = unsafe { slab.as_ref() } {
            if let Some(offset) = address.checked_sub(here.start).filter(|offset| *offset < here.bytes()) {
                let (index, inside) = (offset / here.stride(), offset % here.stride());
                return (inside < GUARD_BYTES).then(|| here.place(index));
            }
            slab = here.next;
        }
        None
    }
}

fn map(bytes: usize) -> Result<NonNull<u8>, StackError> {
    // NORESERVE: the claim is on addresses; only what is touched takes memory.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | NORESERVE;
    // SAFETY: a new mapping, at an address of the system's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(StackError::Map(io::Error::last_os_error()));
    }
    #[cfg(target_os = "linux")]
    // SAFETY: advice about our own mapping. One huge page would back seven stacks at once; refusal does no harm.
    unsafe {
        libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE)
    };
    NonNull::new(start.cast()).ok_or_else(|| StackError::Map(io::Error::other("mapped at address 0")))
}

#[cfg(target_os = "linux")]
const NORESERVE: i32 = libc::MAP_NORESERVE;
#[cfg(not(target_os = "linux"))]
const NORESERVE: i32 = 0;

fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: our own mapping, which nobody has seen yet.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
}

/// Marks guards without mappings of their own. False when the kernel cannot.
#[cfg(target_os = "linux")]
fn install_guards(guards: &[libc::iovec]) -> bool {
    /// Linux 6.13.
    const MADV_GUARD_INSTALL: i32 = 102;
    if crate::model::unchecked::test_switch("ROPEWALK_TEST_NO_GUARD_INSTALL") {
        return false;
    }
    // SAFETY: names this process.
    let this = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    if this >= 0 {
        // SAFETY: the vector describes ranges of our own fresh mapping, which nothing points into.
        let done = unsafe {
            libc::syscall(libc::SYS_process_madvise, this, guards.as_ptr(), guards.len(), MADV_GUARD_INSTALL, 0)
        };
        // SAFETY: our own descriptor.
        unsafe { libc::close(i32::try_from(this).expect("descriptors are small")) };
        if usize::try_from(done) == Ok(guards.iter().map(|guard| guard.iov_len).sum()) {
            return true;
        }
    }
    // A kernel may know the advice and not take it in a vector.
    // SAFETY: as above. Marking a guard twice is the same as once.
    guards.iter().all(|guard| unsafe { libc::madvise(guard.iov_base, guard.iov_len, MADV_GUARD_INSTALL) } == 0)
}

#[cfg(not(target_os = "linux"))]
fn install_guards(_: &[libc::iovec]) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn max_map_count() -> usize {
    /// The kernel's default.
    const MAX_MAP_COUNT: usize = 65_530;
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MAX_MAP_COUNT)
}

#[cfg(not(target_os = "linux"))]
fn max_map_count() -> usize {
    usize::MAX
}

/// Gives the memory of a place back, except for the page at its top. Guards stay.
pub(super) fn give_back(place: Place) {
    let length = (place.top & !(PAGE - 1)) - place.bottom;
    // SAFETY: nothing lives there: the caller's greenlet has ended, and the header is in the page that is kept.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(place.bottom), length, libc::MADV_DONTNEED) };
}
