//! Plain data in memory that processes share.
//!
//! # Why this is safe
//!
//! Others may write at any time, so nothing here is ever borrowed: an element is read and written by copies, word by word with
//! relaxed atomic operations of one size, that of its alignment. So a copy that meets a write is mixed of old and new words,
//! which are the values of plain data all the same, and no data race. An element that is one word is never mixed.

use super::memory::{Holds, Memory};
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering,
};

/// A slice of plain data that several processes see. Clones are the same memory.
///
/// Elements are copied in and out. One of the size of an integer is always whole; a larger one that is written meanwhile may be
/// mixed of old and new, so keep such behind a [`Mutex`](super::Mutex). Slices of integers can be used
/// [as atomics](Self::as_atomics).
///
/// # Examples
///
/// ```
/// use ropewalk::process::{Process, ipc::SharedSlice};
///
/// fn fills(squares: SharedSlice<u64>) {
///     (0..squares.len()).for_each(|n| squares.set(n, (n * n) as u64));
/// }
///
/// ropewalk::init();
/// let squares = SharedSlice::new(5)?;
/// Process::spawn(fills, squares.clone())?.join()?;
/// assert_eq!(squares.to_vec(), [0, 1, 4, 9, 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Array")]
#[doc(alias = "SharedMemory")]
pub struct SharedSlice<T> {
    memory: Arc<Memory>,
    length: usize,
    of: PhantomData<fn() -> T>,
}

impl<T: Pod> SharedSlice<T> {
    /// So many zeroes.
    ///
    /// # Errors
    ///
    /// When the system has no memory, or no descriptor, for it.
    pub fn new(length: usize) -> io::Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        const { assert!(align_of::<T>() <= 4096, "a mapping begins at a page") };
        Ok(Self { memory: Arc::new(Memory::new(Holds::Elements(size_of::<T>()), bytes)?), length, of: PhantomData })
    }

    /// A copy of these.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_slice(values: &[T]) -> io::Result<Self> {
        let slice = Self::new(values.len())?;
        slice.copy_from_slice(values);
        Ok(slice)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The element at a place.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn get(&self, place: usize) -> T {
        load(self.element(place))
    }

    /// Sets the element at a place.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn set(&self, place: usize, value: T) {
        store(self.element(place), value);
    }

    /// A copy of all.
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.length).map(|place| self.get(place)).collect()
    }

    /// Sets all.
    ///
    /// # Panics
    ///
    /// When these are more or fewer.
    #[track_caller]
    pub fn copy_from_slice(&self, values: &[T]) {
        assert_eq!(values.len(), self.length, "as many values as there are elements");
        values.iter().enumerate().for_each(|(place, value)| self.set(place, *value));
    }

    /// The memory itself, for those who see to it by other means that nobody writes meanwhile.
    ///
    /// # Safety
    ///
    /// For as long as the slice is used no process writes to it.
    pub unsafe fn as_slice(&self) -> &[T] {
        let start = self.memory.at(0).cast::<T>();
        // SAFETY: so many elements lie there, aligned, and every bit pattern is a value. Nobody writes, says the caller.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.length) }
    }

    #[track_caller]
    fn element(&self, place: usize) -> NonNull<T> {
        assert!(place < self.length, "there is no element {place}: the slice has {}", self.length);
        self.memory.at(place * size_of::<T>()).cast()
    }
}

/// A value of plain data that several processes see; see [`SharedSlice`] for what may be in it and how it is copied.
///
/// # Examples
///
/// ```
/// use ropewalk::process::{Process, ipc::SharedValue};
/// use std::sync::atomic::Ordering;
///
/// fn counts(counter: SharedValue<u64>) {
///     for _ in 0..1000 {
///         counter.as_atomic().fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// ropewalk::init();
/// let counter = SharedValue::new(0_u64)?;
/// let processes = [Process::spawn(counts, counter.clone())?, Process::spawn(counts, counter.clone())?];
/// processes.into_iter().for_each(|process| process.join().unwrap());
/// assert_eq!(counter.get(), 2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Value")]
pub struct SharedValue<T>(SharedSlice<T>);

impl<T: Pod> SharedValue<T> {
    /// This value.
    ///
    /// # Errors
    ///
    /// When the system has no memory, or no descriptor, for it.
    pub fn new(value: T) -> io::Result<Self> {
        SharedSlice::from_slice(&[value]).map(Self)
    }

    /// A copy of what it is now.
    pub fn get(&self) -> T {
        self.0.get(0)
    }

    /// Sets it.
    pub fn set(&self, value: T) {
        self.0.set(0, value);
    }
}

macro_rules! atomics {
    ($($integer:ty: $atomic:ty),* $(,)?) => {$(
        impl SharedSlice<$integer> {
            /// The elements as atomics.
            pub fn as_atomics(&self) -> &[$atomic] {
                let start = self.memory.at(0).cast::<$atomic>();
                // SAFETY: so many aligned integers lie there, which nobody reaches but by atomic operations of this size.
                unsafe { std::slice::from_raw_parts(start.as_ptr(), self.length) }
            }
        }

        impl SharedValue<$integer> {
            /// The value as an atomic.
            pub fn as_atomic(&self) -> &$atomic {
                &self.0.as_atomics()[0]
            }
        }
    )*};
}

atomics! {
    u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64, usize: AtomicUsize,
    i8: AtomicI8, i16: AtomicI16, i32: AtomicI32, i64: AtomicI64, isize: AtomicIsize,
}

/// Calls `each` with the place in the value and the size of every word of it.
fn words<T>(mut each: impl FnMut(usize, usize)) {
    let word = align_of::<T>().min(8);
    (0..size_of::<T>()).step_by(word).for_each(|place| each(place, word));
}

fn load<T: Pod>(element: NonNull<T>) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    let (from, to) = (element.as_ptr().cast::<u8>(), value.as_mut_ptr().cast::<u8>());
    words::<T>(|place, word| {
        // SAFETY: inside the element and the value, aligned as the type is; others reach this word by atomic operations of the
        // same size only.
        unsafe {
            let (from, to) = (from.add(place), to.add(place));
            match word {
                1 => to.write(AtomicU8::from_ptr(from).load(Ordering::Relaxed)),
                2 => to.cast::<u16>().write(AtomicU16::from_ptr(from.cast()).load(Ordering::Relaxed)),
                4 => to.cast::<u32>().write(AtomicU32::from_ptr(from.cast()).load(Ordering::Relaxed)),
                _ => to.cast::<u64>().write(AtomicU64::from_ptr(from.cast()).load(Ordering::Relaxed)),
            }
        }
    });
    // SAFETY: every byte was written, and every bit pattern is a value.
    unsafe { value.assume_init() }
}

fn store<T: Pod>(element: NonNull<T>, value: T) {
    let (to, from) = (element.as_ptr().cast::<u8>(), (&raw const value).cast::<u8>());
    words::<T>(|place, word| {
        // SAFETY: as in `load`; plain data has no byte that is not initialised.
        unsafe {
            let (from, to) = (from.add(place), to.add(place));
            match word {
                1 => AtomicU8::from_ptr(to).store(from.read(), Ordering::Relaxed),
                2 => AtomicU16::from_ptr(to.cast()).store(from.cast::<u16>().read(), Ordering::Relaxed),
                4 => AtomicU32::from_ptr(to.cast()).store(from.cast::<u32>().read(), Ordering::Relaxed),
                _ => AtomicU64::from_ptr(to.cast()).store(from.cast::<u64>().read(), Ordering::Relaxed),
            }
        }
    });
}

impl<T> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        Self { memory: Arc::clone(&self.memory), length: self.length, of: PhantomData }
    }
}

impl<T> Clone for SharedValue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The memory, behind the number of elements.
struct Sent<'a>(&'a Memory);

impl Serialize for Sent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(&self.0.descriptor, serializer)
    }
}

struct Received(std::os::fd::OwnedFd);

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::deserialize(deserializer).map(Self)
    }
}

impl<T> Serialize for SharedSlice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.length as u64, Sent(&self.memory)).serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (length, Received(descriptor)) = <(u64, Received)>::deserialize(deserializer)?;
        let length = usize::try_from(length).map_err(D::Error::custom)?;
        let bytes = length.checked_mul(size_of::<T>()).ok_or_else(|| D::Error::custom("no slice is so long"))?;
        let memory = Memory::of(descriptor, Holds::Elements(size_of::<T>()), bytes).map_err(D::Error::custom)?;
        Ok(Self { memory: Arc::new(memory), length, of: PhantomData })
    }
}

impl<T> Serialize for SharedValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for SharedValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slice = SharedSlice::deserialize(deserializer)?;
        if slice.len() == 1 { Ok(Self(slice)) } else { Err(D::Error::custom("a value is one element")) }
    }
}

impl<T> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSlice").field("len", &self.length).finish_non_exhaustive()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedValue").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alignment_comes_back() {
        let bytes = SharedSlice::from_slice(&[[1_u8, 2, 3], [4, 5, 6]]).unwrap();
        assert_eq!((bytes.get(1), bytes.to_vec()), ([4, 5, 6], vec![[1, 2, 3], [4, 5, 6]]));
        assert_eq!(SharedSlice::from_slice(&[[1_u16; 3]; 3]).unwrap().to_vec(), [[1; 3]; 3]);
        assert_eq!(SharedSlice::from_slice(&[1.5_f32, -2.0]).unwrap().to_vec(), [1.5, -2.0]);
        assert_eq!(SharedValue::new(u128::MAX - 7).unwrap().get(), u128::MAX - 7);
        let empty = SharedSlice::<u64>::new(0).unwrap();
        assert!(empty.is_empty() && empty.to_vec().is_empty() && empty.as_atomics().is_empty());
    }

    #[test]
    fn clones_and_atomics_are_the_same_memory() {
        let value = SharedValue::new(40_i64).unwrap();
        value.clone().as_atomic().fetch_add(2, Ordering::Relaxed);
        assert_eq!(value.get(), 42);
    }

    #[test]
    #[should_panic(expected = "there is no element 3")]
    fn place_outside() {
        SharedSlice::<u8>::new(3).unwrap().get(3);
    }

    #[test]
    fn memory_of_another_size_or_kind_is_refused() {
        let slice = SharedSlice::<u8>::new(144).unwrap();
        let as_it = |holds, bytes| Memory::of(slice.memory.descriptor.try_clone().unwrap(), holds, bytes);
        assert!(as_it(Holds::Elements(1), 144).is_ok() && as_it(Holds::Elements(1), 8192).is_err());
        // Read and written by eights, and as the lock of sixteen bytes.
        assert!(as_it(Holds::Elements(8), 144).is_err() && as_it(Holds::Lock(16), 144).is_err());
        assert!(as_it(Holds::Elements(1), usize::MAX).is_err());
        assert!(Memory::of(std::fs::File::open("/dev/null").unwrap().into(), Holds::Elements(1), 0).is_err());
    }
}
