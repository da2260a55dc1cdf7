//! Anonymous memory that several processes have mapped.
//!
//! Its size is fixed by seals before anybody else gets it, and a mapping is made only of memory whose seals and size are as they
//! have to be: so no process can make another one's mapping end early.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

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
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let descriptor = memfd_create("ropewalk-shared", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&descriptor, bytes as u64)?;
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::of(descriptor, bytes)
    }

    /// Memory of so many bytes that somebody else has made.
    pub(super) fn of(descriptor: OwnedFd, bytes: usize) -> io::Result<Self> {
        let is_fixed = fcntl_get_seals(&descriptor)?.contains(SealFlags::SHRINK | SealFlags::GROW);
        if !is_fixed || usize::try_from(fstat(&descriptor)?.st_size) != Ok(bytes) {
            return Err(io::Error::new(ErrorKind::InvalidData, "shared memory is not of the size that was said"));
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
