//! In which order things leave a queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The order of a queue. Implemented by [`Fifo`], [`Lifo`] and [`Priority`]; sealed.
pub trait Buffer: sealed::Sealed + Default {
    /// What is queued.
    type Item;
    /// Adds an item.
    fn push(&mut self, item: Self::Item);
    /// Takes the next item.
    fn pop(&mut self) -> Option<Self::Item>;
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

/// The smallest first; equal ones in no particular order.
#[derive(Debug)]
pub struct Priority<T: Ord>(BinaryHeap<Reverse<T>>);

macro_rules! buffer {
    ($name:ident<T $(: $bound:ident)?>, $push:ident($wrap:expr), $pop:ident, $unwrap:expr) => {
        impl<T $(: $bound)?> sealed::Sealed for $name<T> {}

        impl<T $(: $bound)?> Default for $name<T> {
            fn default() -> Self {
                Self(Default::default())
            }
        }

        impl<T $(: $bound)?> Buffer for $name<T> {
            type Item = T;

            #[inline]
            fn push(&mut self, item: T) {
                self.0.$push($wrap(item));
            }

            #[inline]
            fn pop(&mut self) -> Option<T> {
                self.0.$pop().map($unwrap)
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

buffer!(Fifo<T>, push_back(std::convert::identity), pop_front, std::convert::identity);
buffer!(Lifo<T>, push(std::convert::identity), pop, std::convert::identity);
buffer!(Priority<T: Ord>, push(Reverse), pop, |Reverse(item)| item);
