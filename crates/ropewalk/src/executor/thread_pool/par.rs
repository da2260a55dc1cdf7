//! Maps over slices and ranges that divide themselves among the workers.
//!
//! A range is halved by [`join`](super::fork::join) down to pieces that take [`PIECE_TIME`], and the halves are shared
//! only with workers that have nothing to do. How many items make such a piece is measured on the way: the first is one
//! item, and the size follows what the last took, growing at most by [`GROWTH`] at once so that a few cheap items in front
//! of dear ones do no harm. A piece that takes longer than it should is divided after all, between two of its items,
//! when somebody has nothing to do.

use super::fork;
use super::pool::Pool;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, needs_drop};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a piece should take that is not divided any more: far more than to divide it costs, far less than anybody
/// waits for.
const PIECE_TIME: Duration = Duration::from_micros(10);
const PIECE_ITEMS_MAX: usize = 1 << 16;
const GROWTH: usize = 8;
/// How often in a piece it is looked whether somebody has nothing to do. While that is so, after each item.
const LOOKS: usize = 64;

/// What can be divided among workers: slices, vectors and arrays by reference, and ranges of integers.
pub trait IntoParts: sealed::Sealed {
    /// What a function is called with.
    type Item;
    #[doc(hidden)]
    type Parts: Parts<Item = Self::Item>;
    #[doc(hidden)]
    fn into_parts(self) -> Self::Parts;
}

/// A stretch of items.
#[doc(hidden)]
pub trait Parts: Send + Sized {
    type Item;
    fn len(&self) -> usize;
    fn split_at(self, middle: usize) -> (Self, Self);
    fn items(self) -> impl Iterator<Item = Self::Item>;
}

mod sealed {
    pub trait Sealed {}
}

impl<'a, T: Sync> Parts for &'a [T] {
    type Item = &'a T;

    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        <[T]>::split_at(self, middle)
    }

    fn items(self) -> impl Iterator<Item = &'a T> {
        self.iter()
    }
}

impl<'a, T: Send> Parts for &'a mut [T] {
    type Item = &'a mut T;

    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        self.split_at_mut(middle)
    }

    fn items(self) -> impl Iterator<Item = &'a mut T> {
        self.iter_mut()
    }
}

/// Two stretches side by side, as long as each other.
struct Zip<A, B>(A, B);

impl<A: Parts, B: Parts> Parts for Zip<A, B> {
    type Item = (A::Item, B::Item);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.split_at(middle), self.1.split_at(middle));
        (Self(a, b), Self(c, d))
    }

    fn items(self) -> impl Iterator<Item = Self::Item> {
        self.0.items().zip(self.1.items())
    }
}

macro_rules! slices {
    ($([$($size:tt)*] $slice:ty),+) => { $(
        impl<T, $($size)*> sealed::Sealed for &$slice {}
        impl<T, $($size)*> sealed::Sealed for &mut $slice {}

        impl<'a, T: Sync, $($size)*> IntoParts for &'a $slice {
            type Item = &'a T;
            type Parts = &'a [T];

            fn into_parts(self) -> &'a [T] {
                self
            }
        }

        impl<'a, T: Send, $($size)*> IntoParts for &'a mut $slice {
            type Item = &'a mut T;
            type Parts = &'a mut [T];

            fn into_parts(self) -> &'a mut [T] {
                self
            }
        }
    )+ };
}

slices!([] [T], [] Vec<T>, [const N: usize] [T; N]);

macro_rules! ranges {
    ($($integer:ty),+) => { $(
        impl sealed::Sealed for Range<$integer> {}

        impl IntoParts for Range<$integer> {
            type Item = $integer;
            type Parts = Self;

            fn into_parts(self) -> Self {
                self
            }
        }

        impl Parts for Range<$integer> {
            type Item = $integer;

            fn len(&self) -> usize {
                // Not `as usize`: on a machine of 32 bits a range may have more items than that.
                if self.is_empty() { 0 } else { self.end.abs_diff(self.start).try_into().unwrap_or(usize::MAX) }
            }

            fn split_at(self, middle: usize) -> (Self, Self) {
                let middle = self.start.wrapping_add(middle as $integer);
                (self.start..middle, middle..self.end)
            }

            fn items(self) -> impl Iterator<Item = $integer> {
                self
            }
        }
    )+ };
}

ranges!(usize, u32, u64, i32, i64);

/// How many items a piece has.
struct Grain(AtomicUsize);

impl Grain {
    fn new() -> Self {
        Self(AtomicUsize::new(1))
    }

    fn items(&self) -> usize {
        // Relaxed: an estimate.
        self.0.load(Ordering::Relaxed)
    }

    /// So many items took so long.
    fn learn(&self, items: usize, took: Duration) {
        let wanted = PIECE_TIME.as_nanos() * items as u128 / took.as_nanos().max(1);
        let grown = items.max(self.items()).saturating_mul(GROWTH).min(PIECE_ITEMS_MAX);
        self.0.store(usize::try_from(wanted).unwrap_or(grown).clamp(1, grown), Ordering::Relaxed);
    }
}

/// Items, what is done with a stretch of them, and how what two neighbours gave is put together.
struct Division<'a, F, M> {
    pool: &'a Arc<Pool>,
    grain: Grain,
    run: F,
    together: M,
}

impl<F, M> Division<'_, F, M> {
    fn divide<P: Parts, R: Send>(&self, parts: P) -> R
    where
        F: Fn(P) -> R + Sync,
        M: Fn(R, R) -> R + Sync,
    {
        let len = parts.len();
        if len <= self.grain.items() {
            return self.piece(parts);
        }
        let (left, right) = parts.split_at(len / 2);
        let (left, right) = fork::join(self.pool, || self.divide(left), || self.divide(right));
        (self.together)(left, right)
    }

    /// Runs a stretch that should not take long.
    fn piece<P: Parts, R: Send>(&self, parts: P) -> R
    where
        F: Fn(P) -> R + Sync,
        M: Fn(R, R) -> R + Sync,
    {
        let start = Instant::now();
        let len = parts.len();
        let (first, mut rest) = parts.split_at(self.step(len).min(len));
        let mut done = (self.run)(first);
        while rest.len() > 0 {
            let step = self.step(len).min(rest.len());
            if step == 1 {
                let took = start.elapsed();
                if took > PIECE_TIME {
                    self.grain.learn(len - rest.len(), took);
                    return (self.together)(done, self.divide(rest));
                }
            }
            let (next, later) = rest.split_at(step);
            done = (self.together)(done, (self.run)(next));
            rest = later;
        }
        self.grain.learn(len, start.elapsed());
        done
    }

    /// How many items of a piece to run without a look.
    fn step(&self, piece: usize) -> usize {
        if self.pool.has_room() { 1 } else { (piece / LOOKS).max(1) }
    }
}

/// Divides the items among workers, calls `run` with stretches of them, and puts what two neighbours gave together.
#[track_caller]
fn divide<P: Parts, R: Send>(
    pool: &Arc<Pool>,
    parts: P,
    run: impl Fn(P) -> R + Sync,
    together: impl Fn(R, R) -> R + Sync,
) -> R {
    let division = Division { pool, grain: Grain::new(), run, together };
    fork::inside(pool, || division.divide(parts))
}

/// Calls `function` for each item.
#[track_caller]
pub(super) fn for_each<P: Parts>(pool: &Arc<Pool>, function: impl Fn(P::Item) + Sync, parts: P) {
    divide(pool, parts, |parts: P| parts.items().for_each(&function), |(), ()| ());
}

/// Calls `function` for each item and writes what it returns to the same place of `results`.
#[track_caller]
pub(super) fn map_into<P: Parts, R: Send>(
    pool: &Arc<Pool>,
    function: impl Fn(P::Item) -> R + Sync,
    parts: P,
    results: &mut [R],
) {
    let (items, places) = (parts.len(), results.len());
    assert!(items == places, "{items} items do not fit {places} places: both must have the same length");
    for_each(pool, |(item, place): (P::Item, &mut R)| *place = function(item), Zip(parts, results));
}

/// Calls `function` for each item; the results in order.
#[track_caller]
pub(super) fn map<P: Parts, R: Send>(pool: &Arc<Pool>, function: impl Fn(P::Item) -> R + Sync, parts: P) -> Vec<R> {
    let len = parts.len();
    let mut results: Vec<R> = Vec::with_capacity(len);
    let places = Places { start: results.as_mut_ptr(), len, room: PhantomData };
    let filled = divide(pool, Zip(parts, places), filling(&function), Filled::together);
    assert_eq!(filled.len, len, "each item has its result");
    std::mem::forget(filled);
    // SAFETY: so many places, from the first on, are filled, and nobody else drops what is in them.
    unsafe { results.set_len(len) };
    results
}

/// Places in a row for results, of which there are none yet. Two are neighbours, and never the same: they come from one by
/// [`split_at`](Parts::split_at). By pointer and not by `&mut`, so that neighbours can become one again.
struct Places<'a, R> {
    start: *mut R,
    len: usize,
    room: PhantomData<&'a mut [MaybeUninit<R>]>,
}

// SAFETY: nobody else has these places, and what comes there may be sent.
unsafe impl<R: Send> Send for Places<'_, R> {}

impl<'a, R: Send> Parts for Places<'a, R> {
    type Item = &'a mut MaybeUninit<R>;

    fn len(&self) -> usize {
        self.len
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        assert!(middle <= self.len, "{middle} is beyond {} places", self.len);
        // SAFETY: as asserted, so it stays in the vector's memory, or one past it.
        let right = unsafe { self.start.add(middle) };
        (Self { len: middle, ..self }, Self { start: right, len: self.len - middle, room: PhantomData })
    }

    fn items(self) -> impl Iterator<Item = &'a mut MaybeUninit<R>> {
        // SAFETY: the places are in the vector's memory, which outlives `'a`, and nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<MaybeUninit<R>>(), self.len) }.iter_mut()
    }
}

/// Places in a row that hold results. Dropped, so are they: when another piece panicked.
struct Filled<'a, R> {
    start: *mut R,
    len: usize,
    room: PhantomData<&'a mut [MaybeUninit<R>]>,
}

// SAFETY: it owns the results, as a vector would.
unsafe impl<R: Send> Send for Filled<'_, R> {}

impl<R> Filled<'_, R> {
    /// Two that are neighbours.
    fn together(left: Self, right: Self) -> Self {
        assert!(std::ptr::eq(left.start.wrapping_add(left.len), right.start), "halves of one vector are neighbours");
        let both = Self { start: left.start, len: left.len + right.len, room: PhantomData };
        std::mem::forget((left, right));
        both
    }
}

impl<R> Drop for Filled<'_, R> {
    fn drop(&mut self) {
        // SAFETY: so many places are filled, and this is their only owner. The pointer is the vector's, good for all of it.
        unsafe { std::ptr::slice_from_raw_parts_mut(self.start, self.len).drop_in_place() };
    }
}

/// Fills places with the results of the items beside them.
fn filling<'a, P: Parts, R: Send>(function: &impl Fn(P::Item) -> R) -> impl Fn(Zip<P, Places<'a, R>>) -> Filled<'a, R> {
    move |Zip(parts, places)| {
        let mut filled = Filled { start: places.start, len: 0, room: PhantomData };
        if needs_drop::<R>() {
            for (item, place) in parts.items().zip(places.items()) {
                place.write(function(item));
                filled.len += 1;
            }
        } else {
            // Without the count, which would have to be right at each call, the compiler can do several at a time.
            let len = places.len().min(parts.len());
            parts.items().zip(places.items()).for_each(|(item, place)| {
                place.write(function(item));
            });
            filled.len = len;
        }
        filled
    }
}
