//! What travels beside the bytes of a value and not in them: large pieces of memory, and descriptors.
//!
//! While a value is encoded or decoded by our codec, its thread has a *sack*. [`Bytes`] puts its memory into it as a whole and
//! writes its number there; what processes share (a channel's end, shared memory) does the same with its descriptor. On
//! the other side the number finds it again. Whoever encodes says what the way can carry: where no descriptor can go, a value
//! with one is an error that says where it can.
//!
//! A number from a broken sender finds nothing, or something that was sent with the same value: an error, or wrong bytes.

use super::bytes::Bytes;
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

/// A piece of memory is worth a place of its own from this size on.
pub(super) const APART_BYTES_MIN: usize = 16 * 1024;
/// Pieces of one value at most; further ones go with its other bytes.
pub(super) const APART_MAX: usize = 1024;
/// Descriptors of one value at most: the system takes 253 at once.
pub(super) const DESCRIPTORS_MAX: usize = 240;

/// What the way can carry beside bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing.
    Bytes,
    /// Pieces of memory.
    Pieces,
    /// Descriptors.
    Descriptors,
}

/// What was put beside the bytes of one value.
#[derive(Debug)]
pub(super) struct Sack {
    way: Way,
    pieces: Vec<Option<Bytes>>,
    descriptors: Vec<Option<OwnedFd>>,
    /// Why something could not be put in. The codec keeps no texts of errors.
    refusal: Option<String>,
}

impl Sack {
    /// An empty one, to be filled while a value is encoded.
    pub(super) fn empty(way: Way) -> Self {
        Self { way, pieces: Vec::new(), descriptors: Vec::new(), refusal: None }
    }

    /// A full one, to be emptied while a value is decoded.
    pub(super) fn full(pieces: Vec<Bytes>, descriptors: Vec<OwnedFd>) -> Self {
        let pieces = pieces.into_iter().map(Some).collect();
        let descriptors = descriptors.into_iter().map(Some).collect();
        Self { way: Way::Bytes, pieces, descriptors, refusal: None }
    }

    /// What is in it.
    pub(super) fn into_parts(self) -> (Vec<Bytes>, Vec<OwnedFd>) {
        (self.pieces.into_iter().flatten().collect(), self.descriptors.into_iter().flatten().collect())
    }

    /// Runs `work`, on whose thread this is the sack meanwhile.
    pub(super) fn around<R>(self, work: impl FnOnce() -> R) -> (R, Self) {
        let outer = Outer(SACK.replace(Some(self)));
        let result = work();
        let sack = SACK.take().expect("whoever replaces it puts it back");
        drop(outer);
        (result, sack)
    }
}

thread_local! {
    static SACK: RefCell<Option<Sack>> = const { RefCell::new(None) };
}

/// The sack of what is encoded around this, to be put back, also by a panic.
struct Outer(Option<Sack>);

impl Drop for Outer {
    fn drop(&mut self) {
        SACK.set(self.0.take());
    }
}

/// Whether our codec is at work, which knows of the sack.
pub(super) fn is_ours() -> bool {
    SACK.with_borrow(Option::is_some)
}

/// Puts a piece of memory beside the value; None where it has to go with the other bytes.
pub(super) fn put_piece(bytes: &Bytes) -> Option<u32> {
    SACK.with_borrow_mut(|sack| {
        let sack = sack.as_mut()?;
        if sack.way != Way::Pieces || bytes.len() < APART_BYTES_MIN || sack.pieces.len() >= APART_MAX {
            return None;
        }
        sack.pieces.push(Some(bytes.clone()));
        Some(sack.pieces.len() as u32 - 1)
    })
}

/// Takes the piece with this number.
pub(super) fn take_piece(number: u32) -> Option<Bytes> {
    SACK.with_borrow_mut(|sack| sack.as_mut()?.pieces.get_mut(number as usize)?.take())
}

/// Puts a duplicate of a descriptor beside the value.
pub(super) fn put_descriptor(descriptor: impl AsFd) -> Result<u32, String> {
    const NO_WAY: &str = "what processes share goes to another one in the arguments of a `Process`, in those of a pool's \
        initializer, or through an `ipc::channel`, and not in a task of a pool";
    SACK.with_borrow_mut(|sack| {
        let sack = sack.as_mut().ok_or(NO_WAY)?;
        let put = match sack.way {
            Way::Descriptors if sack.descriptors.len() >= DESCRIPTORS_MAX => {
                Err(format!("more than {DESCRIPTORS_MAX} descriptors cannot go to another process at once"))
            }
            Way::Descriptors => descriptor.as_fd().try_clone_to_owned().map_err(|error| error.to_string()),
            Way::Bytes | Way::Pieces => Err(NO_WAY.to_owned()),
        };
        let put = put.map(|duplicate| sack.descriptors.push(Some(duplicate)));
        sack.refusal = put.as_ref().err().cloned().or(sack.refusal.take());
        put.map(|()| sack.descriptors.len() as u32 - 1)
    })
}

/// Why something could not be put beside the value.
pub(super) fn take_refusal() -> Option<String> {
    SACK.with_borrow_mut(|sack| sack.as_mut()?.refusal.take())
}

/// Takes the descriptor with this number.
pub(super) fn take_descriptor(number: u32) -> Result<OwnedFd, &'static str> {
    SACK.with_borrow_mut(|sack| sack.as_mut()?.descriptors.get_mut(number as usize)?.take())
        .ok_or("its descriptor did not come with it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sack_of_a_value_in_a_value_is_its_own() {
        let large = Bytes::from(vec![1; APART_BYTES_MIN]);
        let (numbers, outer) = Sack::empty(Way::Pieces).around(|| {
            let first = put_piece(&large);
            let (second, inner) = Sack::empty(Way::Pieces).around(|| put_piece(&large));
            assert_eq!(inner.into_parts().0.len(), 1);
            (first, second, put_piece(&large))
        });
        assert_eq!(numbers, (Some(0), Some(0), Some(1)));
        assert_eq!(outer.into_parts().0.len(), 2);
        assert!(!is_ours() && put_piece(&large).is_none());
    }

    #[test]
    fn panic_in_a_value_leaves_no_sack_behind() {
        let caught = std::panic::catch_unwind(|| Sack::empty(Way::Pieces).around(|| panic!("while it is encoded")));
        assert!(caught.is_err() && !is_ours());
    }

    #[test]
    fn numbers_find_what_was_sent_once() {
        let ((), _) = Sack::full(vec![Bytes::from(vec![1])], Vec::new()).around(|| {
            assert!(take_piece(1).is_none() && take_piece(u32::MAX).is_none());
            assert_eq!(take_piece(0).unwrap(), Bytes::from(vec![1]));
            assert!(take_piece(0).is_none() && take_descriptor(0).is_err());
        });
        assert!(put_descriptor(std::io::stdin()).unwrap_err().contains("initializer"));
    }
}
