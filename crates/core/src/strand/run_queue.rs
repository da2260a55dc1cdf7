//! Who is ready, in order: a ring whose size is a power of two.
//!
//! std's `VecDeque` may have any size, which costs each push and each pop a comparison and a choice; between two greenlets
//! that yield to each other that was a tenth of the instructions.

/// The first size of a ring.
const ENTRIES_FIRST: usize = 64;

/// A first-in-first-out queue of small things.
pub(super) struct RunQueue<T> {
    /// A power of two of them, or none.
    ring: Box<[T]>,
    /// Its size less one.
    mask: usize,
    /// Both only grow, and wrap around at the end of `usize`; where they point to in the ring is their remainder.
    head: usize,
    tail: usize,
}

impl<T: Copy + Default> RunQueue<T> {
    pub(super) fn new() -> Self {
        Self { ring: Box::default(), mask: 0, head: 0, tail: 0 }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    #[inline(always)]
    fn at(&self, index: usize) -> usize {
        index & self.mask
    }

    #[inline(always)]
    pub(super) fn push_back(&mut self, entry: T) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let at = self.at(self.tail);
        // SAFETY: the ring is not empty after `grow`, and a remainder by its size is inside.
        *unsafe { self.ring.get_unchecked_mut(at) } = entry;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline(always)]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let at = self.at(self.head);
        self.head = self.head.wrapping_add(1);
        // SAFETY: a ring with an entry is not empty, and a remainder by its size is inside.
        Some(*unsafe { self.ring.get_unchecked(at) })
    }

    /// The entry `ahead` behind the first.
    pub(super) fn get(&self, ahead: usize) -> Option<T> {
        (ahead < self.len()).then(|| self.ring[self.at(self.head.wrapping_add(ahead))])
    }

    /// Keeps the entries that `keep` says, in their order.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for _ in 0..self.len() {
            if let Some(entry) = self.pop_front()
                && keep(&entry)
            {
                self.push_back(entry);
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (2 * self.ring.len()).max(ENTRIES_FIRST);
        let mut ring = Vec::with_capacity(size);
        ring.extend((0..self.len()).filter_map(|ahead| self.get(ahead)));
        (self.head, self.tail) = (0, ring.len());
        ring.resize(size, T::default());
        self.ring = ring.into_boxed_slice();
        self.mask = size - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_FIRST, RunQueue};
    use std::collections::VecDeque;

    /// Against std's: pushes and pops by turns, over several sizes and around the end of `usize`.
    #[test]
    fn order_survives_growth_and_wrapping() {
        let mut queue = RunQueue::new();
        (queue.head, queue.tail) = (usize::MAX - 2, usize::MAX - 2);
        let mut model = VecDeque::new();
        let mut random = 1_u64;
        for number in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // More pushes than pops, until it is time to drain.
            if number % 2_000 < 1_500 && !(random >> 33).is_multiple_of(3) {
                queue.push_back(number);
                model.push_back(number);
            } else {
                assert_eq!(queue.pop_front(), model.pop_front());
            }
            assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(queue.get(3), model.get(3).copied());
        }
        assert!(queue.ring.len() > ENTRIES_FIRST, "it has grown");
        queue.retain(|number| number % 3 == 0);
        model.retain(|number| number % 3 == 0);
        while let Some(number) = model.pop_front() {
            assert_eq!(queue.pop_front(), Some(number));
        }
        assert_eq!((queue.pop_front(), queue.get(0)), (None, None));
    }
}
