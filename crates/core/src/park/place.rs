//! A place in the program that one strand names and others look at.

use crate::model::unchecked::{Ordering, PlainPtr};
use std::fmt;
use std::panic::Location;
use std::ptr;

/// A place in the program, or none, that may change while others look; for reports and dumps.
///
/// It orders nothing: what else is known about the place may be older or newer.
pub struct AtomicPlace(PlainPtr<Location<'static>>);

impl AtomicPlace {
    /// No place.
    pub const fn nowhere() -> Self {
        Self(PlainPtr::new(ptr::null_mut()))
    }

    /// Names a place, or none.
    #[inline]
    pub fn set(&self, place: Option<&'static Location<'static>>) {
        self.0.store(place.map_or(ptr::null_mut(), |place| ptr::from_ref(place).cast_mut()), Ordering::Relaxed);
    }

    /// The place as of a moment ago.
    pub fn get(&self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from a reference to what is there for ever and never changes.
        unsafe { self.0.load(Ordering::Relaxed).as_ref() }
    }
}

impl fmt::Debug for AtomicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtomicPlace").field(&self.get()).finish()
    }
}
