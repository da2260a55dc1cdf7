//! What the end of a run means for its job: pure.

use crate::job::{End, Failure, FailureKind, Lease, RESULT_BYTES_MAX};
use std::time::Duration;

/// Why a run was asked to end, if it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Somebody stops the job.
    Stop,
    /// The worker ends.
    Shutdown,
    /// Somebody breaks off what the worker runs.
    Kill,
    /// The lease was lost: the outcome does not count.
    Lost,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Run {
    /// It returned.
    Returned(Result<String, Failure>),
    /// It was ended in one of its waits, or before it began.
    Cancelled,
    /// It was unwound otherwise.
    Unwound(Failure),
}

/// The outcome to settle; none if the lease was lost.
pub(crate) fn of(lease: &Lease, run: Run, asked: Option<Asked>, dice: f64) -> Option<End> {
    if asked == Some(Asked::Lost) {
        return None;
    }
    let run = match run {
        Run::Returned(Ok(result)) if result.len() > RESULT_BYTES_MAX => {
            Run::Unwound(Failure::result_too_long(result.len()))
        }
        run => run,
    };
    Some(match (run, asked) {
        // Whoever finished has finished, however often they were asked not to.
        (Run::Returned(Ok(result)), _) => End::Done(result),
        (_, Some(Asked::Stop)) => End::Stopped,
        // An error is how a run gives up that was asked to, and no fault of its own.
        (Run::Cancelled | Run::Returned(Err(_)), Some(Asked::Shutdown)) => End::Release,
        (_, Some(Asked::Kill)) => after_failure(
            lease,
            Failure::new(FailureKind::Crash, "its worker was told to break off what it runs"),
            dice,
        ),
        (Run::Returned(Err(failure)) | Run::Unwound(failure), _) => after_failure(lease, failure, dice),
        (Run::Cancelled, _) => {
            after_failure(lease, Failure::new(FailureKind::Error, "the run was cancelled from inside"), dice)
        }
    })
}

/// Another try, or none.
pub(crate) fn after_failure(lease: &Lease, failure: Failure, dice: f64) -> End {
    match lease.options.retry.after(lease.failures.saturating_add(1), dice) {
        // Another try would be given the same arguments.
        Some(_) if failure.kind == FailureKind::Payload => End::Failed(failure),
        Some(after) => End::Retry { after, failure },
        None => End::Failed(failure),
    }
}

/// Nobody here knows the task: another worker may.
pub(crate) fn unknown(lease: &Lease, known: &[&str]) -> End {
    /// How long another worker has to take it.
    const AFTER: Duration = Duration::from_secs(5);
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    End::Snooze {
        after: AFTER,
        failure: Failure::new(
            FailureKind::UnknownTask,
            format!(
                "no worker that took it knows the task `{}`: register it there (the last knows {known})",
                lease.task
            ),
        ),
    }
}
