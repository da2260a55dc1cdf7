//! The clock of this crate: monotonic.
//!
//! A checker needs every execution to be repeatable, so under one the clock stands still and moves only when a sleep
//! reaches its deadline or a test says so. A sleep with a deadline reaches it at once: the notification that races with
//! it is then explored on both sides, since the other threads may run before and after.

pub(crate) use std::time::Duration;

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) use std::time::Instant;

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
#[allow(unreachable_pub, reason = "stands in for std's in public signatures")]
pub use checked::Instant;
#[cfg(all(test, ropewalk_loom))]
pub(crate) use checked::advance;
#[cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) use checked::reset;
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
pub(crate) use checked::sleep_until;

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
mod checked {
    use super::Duration;
    use std::cell::Cell;

    std::thread_local! {
        // A checker runs all its threads on one OS thread.
        // Not at zero, so that there are time limits too large to be added.
        static NOW: Cell<Duration> = const { Cell::new(START) };
    }

    const START: Duration = Duration::from_secs(1);

    /// A point on the clock of the checkers.
    #[allow(unreachable_pub, reason = "stands in for std's in public signatures")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(Duration);

    impl Instant {
        pub(crate) fn now() -> Self {
            Self(NOW.with(Cell::get))
        }

        pub(crate) fn elapsed(&self) -> Duration {
            Self::now().saturating_duration_since(*self)
        }

        pub(crate) fn checked_add(&self, duration: Duration) -> Option<Self> {
            self.0.checked_add(duration).map(Self)
        }

        pub(crate) fn saturating_duration_since(&self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    /// Sleeps: it is `deadline` now.
    pub(crate) fn sleep_until(deadline: Instant) {
        NOW.with(|now| now.set(now.get().max(deadline.0)));
        #[cfg(ropewalk_shuttle)]
        crate::model::thread::yield_now();
    }

    /// Lets time pass.
    #[cfg(all(test, ropewalk_loom))]
    pub(crate) fn advance(by: Duration) {
        NOW.with(|now| now.set(now.get() + by));
    }

    /// Begins an execution.
    #[cfg(test)]
    pub(crate) fn reset() {
        NOW.with(|now| now.set(START));
    }
}
