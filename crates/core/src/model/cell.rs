//! A cell whose accesses loom can see.
//!
//! On the machine this is `std::cell::UnsafeCell` with closures around its pointer; under loom the same calls let the
//! checker report two threads in the cell at once.

/// An unchecked cell; who may enter it is the caller's protocol.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T: ?Sized>(Inner<T>);

#[cfg(not(ropewalk_loom))]
type Inner<T> = std::cell::UnsafeCell<T>;
#[cfg(ropewalk_loom)]
type Inner<T> = loom::cell::UnsafeCell<T>;

impl<T> UnsafeCell<T> {
    #[cfg(not(ropewalk_loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    #[cfg(ropewalk_loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    /// Reads through the pointer; no writer may be inside at the same time.
    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(ropewalk_loom))]
        return read(self.0.get());
        #[cfg(ropewalk_loom)]
        return self.0.with(read);
    }

    /// Writes through the pointer; nobody else may be inside at the same time.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(ropewalk_loom))]
        return write(self.0.get());
        #[cfg(ropewalk_loom)]
        return self.0.with_mut(write);
    }

    /// The raw pointer, for guards that share the value over a longer time. To a checker this is the moment of reading.
    #[inline(always)]
    pub(crate) fn get_shared_ptr(&self) -> *const T {
        #[cfg(not(ropewalk_loom))]
        return self.0.get();
        #[cfg(ropewalk_loom)]
        return self.0.with(|pointer| pointer);
    }

    /// The raw pointer, for guards that have the value alone over a longer time. To a checker this is the moment of
    /// writing.
    #[inline(always)]
    pub(crate) fn get_ptr(&self) -> *mut T {
        #[cfg(not(ropewalk_loom))]
        return self.0.get();
        #[cfg(ropewalk_loom)]
        return self.0.with_mut(|pointer| pointer);
    }
}
