//! Anonymous memory that several processes have mapped.
//!
//! Its size is fixed by seals before anybody else gets it, and a mapping is made only of memory whose seals and size are as they
//! have to be: so no process can make another one's mapping end early. What lies in it is a part of its size ([`Holds`]): whoever
//! receives a descriptor cannot take the memory of a slice for a lock, whatever the message around it says.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

/// What lies in memory, with the size of one element or of what the lock guards.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    Elements(usize),
    Lock(usize),
}

const PAGE: usize = 4096;
/// So many sizes are told apart of each kind.
const SIZES: usize = PAGE / 2;

impl Holds {
    /// The size of the file: whole pages for the bytes, and less than one that says what they are.
    fn size_with(self, bytes: usize) -> Option<usize> {
        let mark = match self {
            Self::Elements(size) => size % SIZES,
            Self::Lock(size) => SIZES + size % SIZES,
        };
        bytes.checked_next_multiple_of(PAGE)?.checked_add(mark)
    }
}

/// A mapping. It begins at a page, and is zeroed when it is made.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    pub(super) descriptor: OwnedFd,
}

// SAFETY: it is memory, and whoever reaches into it through the pointer sees to it that nobody is disturbed.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// New memory of so many bytes.
    pub(super) fn new(holds: Holds, bytes: usize) -> io::Result<Self> {
        let size = holds.size_with(bytes).ok_or(ErrorKind::OutOfMemory)?;
        let descriptor = memfd_create("ropewalk-shared", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&descriptor, size as u64)?;
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::of(descriptor, holds, bytes)
    }

    /// Memory of so many bytes that somebody else has made.
    pub(super) fn of(descriptor: OwnedFd, holds: Holds, bytes: usize) -> io::Result<Self> {
        let is_fixed = fcntl_get_seals(&descriptor)?.contains(SealFlags::SHRINK | SealFlags::GROW);
        let size = usize::try_from(fstat(&descriptor)?.st_size).ok();
        if !is_fixed || size.is_none() || size != holds.size_with(bytes) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "shared memory is not of the kind and size that was said",
            ));
        }
        let readable = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place that the system chooses. (None is empty: a mapping cannot be.)
        let start = unsafe { mmap(std::ptr::null_mut(), bytes.max(1), readable, MapFlags::SHARED, &descriptor, 0) }?;
        Ok(Self { start: NonNull::new(start.cast()).expect("a mapping is not at null"), bytes, descriptor })
    }

    /// The byte at a place.
    ///
    /// # Panics
    ///
    /// When it does not lie inside.
    pub(super) fn at(&self, place: usize) -> NonNull<u8> {
        assert!(place <= self.bytes, "inside the mapping");
        // SAFETY: inside, or at the end.
        unsafe { self.start.add(place) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever used it is gone.
        let _ = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.bytes.max(1)) };
    }
}
