//! Functions of this program as offsets in its image, which mean the same in every process that runs the same image.
//!
//! # Why this is safe
//!
//! The address of a function differs from process to process, its distance from the base of the image does not. A worker
//! turns an offset back into a function pointer, which is right only if all of these hold:
//!
//! * *The same image.* Workers are started from `/proc/self/exe`, the file that runs, whatever lies at its path by now; and a
//!   worker compares its build-id, which the linker makes of the contents, with that of its parent before it takes anything
//!   else. An image without a build-id is refused.
//! * *A function of the image.* An offset is made only of an address inside the executable segment that this very code is in, and
//!   checked against it once more before it is used. A function of another shared object is refused.
//! * *The same type.* The bytes say two functions: what was asked for, and a shim that was made for its type by the compiler
//!   where it was submitted. Only the shim turns the other one into a pointer, with the type it was made with.
//! * *Bytes of ours.* They come through memory that nobody but the parent writes to (the worker could, and does not); the
//!   parent follows no offset that a worker wrote.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

/// A function, as its distance from the base of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset(pub(super) u64);

/// Runs what a frame asks for: the function at an address, with arguments from bytes, into a result as bytes.
pub(super) type Shim = fn(function: usize, arguments: super::wire::Body, job: &mut super::call::Job);

#[derive(Debug)]
struct Image {
    base: usize,
    /// The executable segment with this code in it.
    code: Range<usize>,
    build_id: Vec<u8>,
}

/// Why functions of this program cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    NoBuildId,
    /// The function is not in the image of the program.
    Elsewhere,
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBuildId => {
                "this program has no build-id, by which a worker knows that it runs the same image; link it with \
                 `-Clink-arg=-Wl,--build-id` in RUSTFLAGS"
            }
            Self::Elsewhere => {
                "the function is not in the image of this program but in another shared object, which a worker may have \
                 elsewhere"
            }
        })
    }
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut image = Image { base: 0, code: 0..0, build_id: Vec::new() };
        // SAFETY: the callback gets the pointer to `image`, which outlives the call, and does not unwind.
        unsafe { libc::dl_iterate_phdr(Some(look_at_object), (&raw mut image).cast()) };
        image
    })
}

/// Fills the image if this object is the one that this code is in.
extern "C" fn look_at_object(object: *mut libc::dl_phdr_info, _size: usize, image: *mut c_void) -> c_int {
    // SAFETY: the loader passes a description that lives through the call.
    let object = unsafe { &*object };
    let base = object.dlpi_addr as usize;
    // SAFETY: so many headers lie there, says the loader.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let here = look_at_object as *const () as usize;
    let range = |header: &libc::Elf64_Phdr| {
        let start = base + header.p_vaddr as usize;
        start..start + header.p_memsz as usize
    };
    let code = headers.iter().find(|header| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 && range(header).contains(&here)
    });
    let Some(code) = code else { return 0 };
    // SAFETY: it is the `image` of our caller, which nobody else touches during the call.
    let image = unsafe { &mut *image.cast::<Image>() };
    image.base = base;
    image.code = range(code);
    for notes in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
        let notes = range(notes);
        // SAFETY: a note segment of a loaded object is mapped and readable, and never written.
        let notes = unsafe { std::slice::from_raw_parts(notes.start as *const u8, notes.len()) };
        if let Some(id) = build_id_in(notes) {
            image.build_id = id.to_vec();
        }
    }
    1
}

/// The build-id among the notes of a segment.
fn build_id_in(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    while notes.len() >= 12 {
        let (name, data, kind) = (word(notes, 0)? as usize, word(notes, 4)? as usize, word(notes, 8)?);
        let data_at = 12 + name.checked_next_multiple_of(4)?;
        let id = notes.get(data_at..data_at.checked_add(data)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(id);
        }
        notes = notes.get(data_at + data.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// What tells this image from every other one.
pub(super) fn build_id() -> Result<&'static [u8], Unsendable> {
    match &image().build_id[..] {
        [] => Err(Unsendable::NoBuildId),
        id => Ok(id),
    }
}

impl Offset {
    /// Of a function at this address.
    pub(super) fn of(address: usize) -> Result<Self, Unsendable> {
        let image = image();
        if !image.code.contains(&address) {
            return Err(Unsendable::Elsewhere);
        }
        Ok(Self((address - image.base) as u64))
    }

    /// The address in this process.
    pub(super) fn address(self) -> Option<usize> {
        let image = image();
        let address = image.base.checked_add(usize::try_from(self.0).ok()?)?;
        image.code.contains(&address).then_some(address)
    }
}

/// The function at an address that came through [`Offset::address`].
///
/// # Safety
///
/// `F` is the type of the function pointer whose [`Offset`] was sent, from the same image.
pub(super) unsafe fn function<F: Copy>(address: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    // SAFETY: the caller's promise: the bytes are those of such a pointer.
    unsafe { std::mem::transmute_copy::<usize, F>(&address) }
}

/// The shim at an address that came through [`Offset::address`].
///
/// # Safety
///
/// The offset is one of a [`Shim`], from the same image.
pub(super) unsafe fn shim(address: usize) -> Shim {
    // SAFETY: the caller's promise.
    unsafe { function::<Shim>(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plus_one(n: u32) -> u32 {
        n + 1
    }

    #[test]
    fn function_comes_back_from_its_offset() {
        let offset = Offset::of(plus_one as fn(u32) -> u32 as usize).unwrap();
        // SAFETY: it is of that type.
        let again = unsafe { function::<fn(u32) -> u32>(offset.address().unwrap()) };
        assert_eq!(again(1), 2);
    }

    #[test]
    fn what_is_no_code_of_the_image_is_refused() {
        let data: &'static str = "hemp";
        assert_eq!(Offset::of(data.as_ptr() as usize), Err(Unsendable::Elsewhere));
        assert_eq!(Offset::of(libc::abs as *const () as usize), Err(Unsendable::Elsewhere));
        assert_eq!(Offset(u64::MAX).address(), None);
        assert_eq!(Offset(0).address(), None);
    }

    #[test]
    fn build_id_is_found_and_broken_notes_are_not() {
        assert!(build_id().unwrap().len() >= 8);
        let note = [4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 7, 8, 0, 0];
        assert_eq!(build_id_in(&note), Some(&[7, 8][..]));
        for length in 0..note.len() - 2 {
            assert_eq!(build_id_in(&note[..length]), None);
        }
        assert_eq!(build_id_in(&[255; 64]), None);
    }
}
