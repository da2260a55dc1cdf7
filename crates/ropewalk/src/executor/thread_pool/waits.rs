//! How long jobs wait in the queue, from a sample of them.
//!
//! A clock costs as much as a quarter of a submit, so not every job is stamped: all of them until there are [`FEW`], then one of
//! [`ONE_IN`] that a thread submits. The times are counted in classes an eighth of a power of two wide, and the counts are halved
//! when there are many, so that what is long gone weighs little.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// So many jobs are all stamped, so that a pool with little to do has something to say.
const FEW: u32 = 64;
/// Of so many jobs of a thread one is stamped: a prime, or a thread that submits to two pools in turn would always stamp the same.
const ONE_IN: u32 = 61;
/// After so many, all counts are halved.
const MANY: u32 = 4_096;
/// Classes for each power of two; the values below it have a class each.
const FINE: u64 = 8;
/// The last class is for 2^31 microseconds, more than half an hour, and all above.
const CLASSES: usize = (FINE * 30) as usize;

/// When a job was put into the queue, in microseconds since the pool was made; 0 for not stamped.
///
/// Six bytes, so that it fits beside the other small fields of a job in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp([u8; 6]);

impl Stamp {
    pub(super) const NONE: Self = Self([0; 6]);

    fn new(micros: u64) -> Self {
        let [bytes @ .., _, _] = micros.max(1).to_le_bytes();
        Self(bytes)
    }

    fn micros(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// The waits of one pool.
pub(super) struct Waits {
    since: Instant,
    /// How many are in the classes.
    count: AtomicU32,
    classes: [AtomicU32; CLASSES],
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), count: AtomicU32::new(0), classes: [const { AtomicU32::new(0) }; CLASSES] }
    }

    /// The stamp for a job that is about to be put.
    #[inline]
    pub(super) fn stamp(&self) -> Stamp {
        thread_local! {
            static SUBMITTED: Cell<u32> = const { Cell::new(0) };
        }
        let number = SUBMITTED.get();
        SUBMITTED.set(if number + 1 == ONE_IN { 0 } else { number + 1 });
        if number == 0 || self.count.load(Ordering::Relaxed) < FEW { self.now() } else { Stamp::NONE }
    }

    #[cold]
    fn now(&self) -> Stamp {
        Stamp::new(self.since.elapsed().as_micros() as u64)
    }

    /// A job that was stamped was taken from the queue.
    pub(super) fn taken(&self, stamp: Stamp) {
        self.note((self.since.elapsed().as_micros() as u64).saturating_sub(stamp.micros()));
    }

    #[cold]
    fn note(&self, micros: u64) {
        self.classes[class(micros)].fetch_add(1, Ordering::Relaxed);
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
            // Others may count meanwhile; a few jobs more or less do not matter here.
            let halved = |count: &AtomicU32| {
                count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count / 2)).unwrap_or(0) / 2
            };
            let left = self.classes.iter().map(halved).sum();
            self.count.store(left, Ordering::Relaxed);
        }
    }

    /// The waits that these parts of the jobs did not exceed (0.5 is the median), to an eighth.
    pub(super) fn quantiles<const N: usize>(&self, parts: [f64; N]) -> [Duration; N] {
        let counts: Vec<u32> = self.classes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u32 = counts.iter().sum();
        parts.map(|part| {
            let mut left = (f64::from(all) * part).ceil() as u32;
            let found = counts.iter().position(|&count| {
                left = left.saturating_sub(count);
                left == 0
            });
            match found {
                Some(class) if all > 0 => Duration::from_micros(upper(class)),
                _ => Duration::ZERO,
            }
        })
    }
}

/// The class of a wait: its highest bit, and the three that follow.
fn class(micros: u64) -> usize {
    if micros < FINE {
        return micros as usize;
    }
    let power = micros.ilog2() - FINE.ilog2();
    let class = FINE * u64::from(power) + (micros >> power);
    (class as usize).min(CLASSES - 1)
}

/// The longest wait of a class.
fn upper(class: usize) -> u64 {
    let class = class as u64;
    if class < 2 * FINE {
        return class;
    }
    let power = class / FINE - 1;
    ((class % FINE + FINE + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_is_at_most_an_eighth_off() {
        for micros in (0..5_000).chain((13..31).map(|bit| 1 << bit)) {
            assert!(upper(class(micros)) >= micros, "{micros}");
            assert!(upper(class(micros)) <= micros + micros / 8, "{micros} becomes {}", upper(class(micros)));
            assert!(class(micros) <= class(micros + 1), "{micros} is behind a longer one");
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn quantiles_of_what_was_noted() {
        let waits = Waits::new();
        assert_eq!(waits.quantiles([0.5, 0.99]), [Duration::ZERO; 2]);
        for micros in (1..=90).map(|_| 5).chain((0..10).map(|_| 1_000)) {
            waits.note(micros);
        }
        let [median, most] = waits.quantiles([0.5, 0.99]);
        assert_eq!(median, Duration::from_micros(5));
        assert!((1_000..=1_125).contains(&most.as_micros()), "{most:?}");
    }

    #[test]
    fn old_waits_fade() {
        let waits = Waits::new();
        (0..MANY).for_each(|_| waits.note(100));
        (0..2 * MANY).for_each(|_| waits.note(5));
        assert_eq!(waits.quantiles([0.8]), [Duration::from_micros(5)]);
        assert!(waits.count.load(Ordering::Relaxed) < MANY);
    }

    #[test]
    fn stamp_keeps_its_time() {
        for micros in [1, 77, 1 << 40] {
            assert_eq!(Stamp::new(micros).micros(), micros);
        }
        assert_ne!(Stamp::new(0), Stamp::NONE);
    }
}
