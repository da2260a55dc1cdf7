//! Sleeping anywhere: a mutex and a condition variable beside the word. The checkers run on this one.

use super::Sleep;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::sync::{Condvar, Mutex};
use crate::model::time::Instant;

/// The lock orders "the word is still PARKED" before "wake up".
#[derive(Debug)]
pub(crate) struct Bed {
    lock: Mutex<()>,
    wake: Condvar,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self { lock: Mutex::new(()), wake: Condvar::new() }
    }
}

impl Sleep for Bed {
    fn sleep(&self, word: &AtomicU32, while_equal: u32, until: Option<Instant>) {
        let Ok(mut asleep) = self.lock.lock() else { return };
        while word.load(Ordering::Relaxed) == while_equal {
            match until {
                None => match self.wake.wait(asleep) {
                    Ok(guard) => asleep = guard,
                    Err(_) => return,
                },
                #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
                Some(deadline) => {
                    drop(asleep);
                    return crate::model::time::sleep_until(deadline);
                }
                #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    match self.wake.wait_timeout(asleep, left) {
                        Ok((guard, _)) => asleep = guard,
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn wake(&self, _word: &AtomicU32) {
        // The word was changed before this lock is taken: the sleeper either sees that or is inside the wait by now.
        drop(self.lock.lock());
        self.wake.notify_one();
    }
}

#[cfg(all(test, not(any(ropewalk_loom, ropewalk_shuttle))))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_ends_the_sleep_and_never_early() {
        let (bed, word) = (Bed::new(), AtomicU32::new(2));
        let start = Instant::now();
        bed.sleep(&word, 2, Some(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn wake_between_change_and_sleep_is_not_lost() {
        for _ in 0..1_000 {
            let (bed, word) = (Bed::new(), AtomicU32::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    word.store(1, Ordering::Release);
                    bed.wake(&word);
                });
                bed.sleep(&word, 2, None);
            });
        }
    }
}
