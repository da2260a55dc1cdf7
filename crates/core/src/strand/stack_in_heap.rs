//! Places without stacks, for checkers: their strands are threads, and a header lies in the heap.

use std::fmt;

/// One size, which nobody uses.
pub const STACK_SIZES: [usize; 1] = [0];
/// The only class.
pub const STACK_CLASS_DEFAULT: usize = 0;

/// Any size will do.
///
/// # Errors
///
/// Never.
pub fn stack_class(_: usize) -> Result<usize, StackError> {
    Ok(0)
}

/// Never happens.
#[derive(Debug)]
pub enum StackError {}

impl fmt::Display for StackError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for StackError {}

/// As many places as are asked for.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) count: usize,
}

/// No place at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place;

impl Slab {
    pub(super) fn map(_: usize, _: usize) -> Result<&'static Self, StackError> {
        Ok(&Self { count: usize::MAX })
    }

    /// Makes a header. It is never freed, as on the machine.
    ///
    /// # Safety
    ///
    /// Nothing to keep here.
    pub(super) unsafe fn put<T>(&self, _: usize, make: impl FnOnce(Place) -> T) -> &'static T {
        Box::leak(Box::new(make(Place)))
    }
}

pub(super) fn give_back(_: Place) {}
