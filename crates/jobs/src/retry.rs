//! When a failed job is tried again: exponential, with full jitter.
//!
//! Jobs that fail together (a service that is down) must not come back together, so the wait is drawn evenly from the whole
//! range up to a bound that doubles, and not from a narrow band around it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often a job is tried again after a failure, and how long is waited before.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::Retry;
/// use std::time::Duration;
///
/// let retry = Retry::times(5).base(Duration::from_secs(2));
/// assert_eq!(retry.bound(1), Duration::from_secs(2));
/// assert_eq!(retry.bound(3), Duration::from_secs(8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first.
    pub retries: u32,
    /// The bound of the first wait, in milliseconds.
    pub base_ms: u64,
    /// What no bound exceeds, in milliseconds.
    pub cap_ms: u64,
}

impl Retry {
    /// No second try.
    pub const NEVER: Self = Self::times(0);

    /// So many tries after the first; the waits begin at up to a second and reach up to an hour.
    pub const fn times(retries: u32) -> Self {
        Self { retries, base_ms: 1_000, cap_ms: 3_600_000 }
    }

    /// The bound of the first wait.
    pub fn base(self, base: Duration) -> Self {
        Self { base_ms: crate::job::millis_up(base), ..self }
    }

    /// What no wait exceeds.
    pub fn cap(self, cap: Duration) -> Self {
        Self { cap_ms: crate::job::millis_up(cap), ..self }
    }

    /// The longest wait after this failure, counted from 1.
    pub fn bound(&self, failure: u32) -> Duration {
        let doublings = failure.saturating_sub(1).min(63);
        Duration::from_millis(self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms))
    }

    /// How long to wait after this failure, counted from 1; `None` when no try is left. `dice` is uniform in `[0, 1)`.
    pub fn after(&self, failure: u32, dice: f64) -> Option<Duration> {
        (failure <= self.retries).then(|| self.bound(failure).mul_f64(dice.clamp(0.0, 1.0)))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_end_and_waits_are_bounded() {
        let retry = Retry::times(3);
        assert_eq!((retry.after(3, 0.5).is_some(), retry.after(4, 0.5)), (true, None));
        assert_eq!(retry.after(2, 0.0), Some(Duration::ZERO));
        assert_eq!(Retry::times(u32::MAX).bound(u32::MAX), Duration::from_secs(3_600));
        assert_eq!(Retry::NEVER.after(1, 0.5), None);
    }
}
