//! Jobs that must not be there twice: by a key, until the job ends or for a window of time.

use crate::job::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Keeps a second job with the same key out.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::Unique;
/// use std::time::Duration;
///
/// let while_it_lives = Unique::key("sync-account-7");
/// let once_an_hour = Unique::key("report").within(Duration::from_secs(3600));
/// # let _ = (while_it_lives, once_an_hour);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// What is compared, over all queues.
    pub key: String,
    /// How long the key is taken, in milliseconds from the enqueue on; `None` means until the job ends.
    pub window_ms: Option<u64>,
}

impl Unique {
    /// Until the job with this key has ended.
    pub fn key(key: impl Into<String>) -> Self {
        Self { key: key.into(), window_ms: None }
    }

    /// For this long from the enqueue on, whether the job has ended or not.
    pub fn within(self, window: Duration) -> Self {
        Self { window_ms: Some(crate::job::millis_up(window)), ..self }
    }

    /// Until when the key is taken if it is taken now; `None` means until the job ends.
    pub fn until(&self, now: Time) -> Option<Time> {
        self.window_ms.map(|window| now + Duration::from_millis(window))
    }
}

/// Whether a key that was taken until then (`None`: until its job ends, which gives it back) is still taken.
pub(crate) fn is_taken(until: Option<Time>, now: Time) -> bool {
    until.is_none_or(|until| now < until)
}
