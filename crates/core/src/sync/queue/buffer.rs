//! In which order things leave a queue.
//!
//! The heap is one of our own because of panics: it makes all comparisons of a step before it moves anything, so a
//! comparison that panics leaves it as it was. (std's heap keeps or loses an item then.)

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The payload of a comparison that panicked.
pub(super) type Panicked = Box<dyn Any + Send>;

/// The order of a queue. Implemented by [`Fifo`], [`Lifo`] and [`Priority`]; sealed.
pub trait Buffer: sealed::Sealed + Default {
    /// What is queued.
    type Item;
    /// Adds an item.
    ///
    /// # Errors
    ///
    /// A comparison panicked and nothing has changed; the item comes back.
    fn push(&mut self, item: Self::Item) -> Result<(), (Self::Item, Panicked)>;
    /// Takes the next item.
    ///
    /// # Errors
    ///
    /// A comparison panicked and nothing has changed.
    fn pop(&mut self) -> Result<Option<Self::Item>, Panicked>;
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes room for so many, so that a bounded queue allocates once.
    fn reserve(&mut self, items: usize);
}

mod sealed {
    pub trait Sealed {}
}

/// First in, first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// Last in, first out.
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The smallest first; equal ones in no particular order. A binary heap: no item is larger than those at `2i+1`, `2i+2`.
#[derive(Debug)]
pub struct Priority<T: Ord>(Vec<T>);

impl<T: Ord> Priority<T> {
    /// Where an item belongs that comes in at the end.
    fn place_of(&self, item: &T) -> usize {
        let mut place = self.0.len();
        while place > 0 && item.cmp(&self.0[(place - 1) / 2]).is_lt() {
            place = (place - 1) / 2;
        }
        place
    }

    /// The way down, from the root, of the last item when it takes the root's place; and its length.
    fn way_down(&self) -> ([usize; usize::BITS as usize], usize) {
        let last = self.0.len() - 1;
        let (mut way, mut steps) = ([0; usize::BITS as usize], 0);
        loop {
            let mut child = 2 * way[steps] + 1;
            if child + 1 < last && self.0[child + 1].cmp(&self.0[child]).is_lt() {
                child += 1;
            }
            if child >= last || self.0[child].cmp(&self.0[last]).is_ge() {
                return (way, steps);
            }
            steps += 1;
            way[steps] = child;
        }
    }
}

impl<T: Ord> sealed::Sealed for Priority<T> {}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Buffer for Priority<T> {
    type Item = T;

    fn push(&mut self, item: T) -> Result<(), (T, Panicked)> {
        let place = match catch_unwind(AssertUnwindSafe(|| self.place_of(&item))) {
            Ok(place) => place,
            Err(panicked) => return Err((item, panicked)),
        };
        let mut at = self.0.len();
        self.0.push(item);
        while at > place {
            self.0.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<T>, Panicked> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (way, steps) = catch_unwind(AssertUnwindSafe(|| self.way_down()))?;
        let item = self.0.swap_remove(0);
        for step in 0..steps {
            self.0.swap(way[step], way[step + 1]);
        }
        Ok(Some(item))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn reserve(&mut self, items: usize) {
        self.0.reserve(items);
    }
}

macro_rules! buffer {
    ($name:ident, $push:ident, $pop:ident) => {
        impl<T> sealed::Sealed for $name<T> {}

        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self(Default::default())
            }
        }

        impl<T> Buffer for $name<T> {
            type Item = T;

            #[inline]
            fn push(&mut self, item: T) -> Result<(), (T, Panicked)> {
                self.0.$push(item);
                Ok(())
            }

            #[inline]
            fn pop(&mut self) -> Result<Option<T>, Panicked> {
                Ok(self.0.$pop())
            }

            #[inline]
            fn len(&self) -> usize {
                self.0.len()
            }

            fn reserve(&mut self, items: usize) {
                self.0.reserve(items);
            }
        }
    };
}

buffer!(Fifo, push_back, pop_front);
buffer!(Lifo, push, pop);
