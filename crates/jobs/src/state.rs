//! The states of a job and how it moves between them: one table, and nothing that does I/O.
//!
//! ```text
//!                      met                     due                claim            succeed
//!   waiting ──────────────────┐  scheduled ─────────► ready ──────────► leased ───────────► done
//!      │      (or scheduled)  └──────────────────────► ▲ │ ▲              │ │ fail, poison
//!      │ broken, cancel         cancel                 │ │ └── release ───┤ ├───────────► failed
//!      ▼                                               │ │     expire     │ │ stop
//!   canceled ◄─────────────────────────────────────────┼─┘ cancel         │ └───────────► stopped
//!                                                      │                  │ retry, snooze
//!                        failed, stopped, canceled ────┘ requeue          └───────────► scheduled
//! ```
//!
//! [`TABLE`] is that picture as data. The brokers ask [`next`]; the CHECK and the trigger of the SQLite schema, the diagram of
//! the guide and the model test are made from the table, so none of them can disagree with it.
//!
//! Whether a *settle* may move a job at all is a second question, [`fence`]: only the execution that holds the lease may.

use crate::job::ExecId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// For jobs that must end first.
    Waiting,
    /// For its time.
    Scheduled,
    /// For a worker.
    Ready,
    /// An execution holds its lease.
    Leased,
    /// It ended well.
    Done,
    /// It ended badly: the dead letters.
    Failed,
    /// It was stopped while it ran.
    Stopped,
    /// It was cancelled before it ran.
    Canceled,
}

impl State {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Scheduled,
        Self::Ready,
        Self::Leased,
        Self::Done,
        Self::Failed,
        Self::Stopped,
        Self::Canceled,
    ];

    /// The number under which it is stored; its place in [`ALL`](Self::ALL).
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// The state of a stored number.
    pub fn of_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|at| Self::ALL.get(at).copied())
    }

    /// Whether the job has an outcome. It can still be requeued, unless it is done.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Stopped | Self::Canceled)
    }

    /// As it is written everywhere: in tables, JSON and errors.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|state| state.word()).collect();
            format!("`{word}` is no state of a job: use one of {}", all.join(", "))
        })
    }
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// All jobs it needs have ended as needed.
    Met,
    /// The same, and its time has not come yet.
    MetEarly,
    /// A job it needs has ended otherwise.
    Broken,
    /// Its time has come.
    Due,
    /// A worker takes it.
    Claim,
    /// Its execution returned.
    Succeed,
    /// Its execution failed and no try is left.
    Fail,
    /// Its execution failed and it is tried again later.
    Retry,
    /// Its worker gives it back; the attempt does not count.
    Release,
    /// Its worker does not know its task and puts it back for later; the attempt does not count.
    Snooze,
    /// Its lease ran out: the worker crashed or hangs.
    Expire,
    /// The same, once too often.
    Poison,
    /// Its execution ended because somebody asked it to.
    Stop,
    /// Somebody cancels it before it runs.
    Cancel,
    /// Somebody puts it back after it ended.
    Requeue,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Met,
        Self::MetEarly,
        Self::Broken,
        Self::Due,
        Self::Claim,
        Self::Succeed,
        Self::Fail,
        Self::Retry,
        Self::Release,
        Self::Snooze,
        Self::Expire,
        Self::Poison,
        Self::Stop,
        Self::Cancel,
        Self::Requeue,
    ];
}

/// Every move that there is.
pub const TABLE: &[(State, Event, State)] = &[
    (State::Waiting, Event::Met, State::Ready),
    (State::Waiting, Event::MetEarly, State::Scheduled),
    (State::Waiting, Event::Broken, State::Canceled),
    (State::Waiting, Event::Cancel, State::Canceled),
    (State::Scheduled, Event::Due, State::Ready),
    (State::Scheduled, Event::Cancel, State::Canceled),
    (State::Ready, Event::Claim, State::Leased),
    (State::Ready, Event::Cancel, State::Canceled),
    (State::Leased, Event::Succeed, State::Done),
    (State::Leased, Event::Fail, State::Failed),
    (State::Leased, Event::Retry, State::Scheduled),
    (State::Leased, Event::Release, State::Ready),
    (State::Leased, Event::Snooze, State::Scheduled),
    (State::Leased, Event::Expire, State::Ready),
    (State::Leased, Event::Poison, State::Failed),
    (State::Leased, Event::Stop, State::Stopped),
    (State::Failed, Event::Requeue, State::Ready),
    (State::Stopped, Event::Requeue, State::Ready),
    (State::Canceled, Event::Requeue, State::Ready),
];

/// Where `event` takes a job that is in `from`; `None` when that cannot happen there.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::state::{Event, State, next};
///
/// assert_eq!(next(State::Ready, Event::Claim), Some(State::Leased));
/// assert_eq!(next(State::Done, Event::Claim), None);
/// ```
pub fn next(from: State, event: Event) -> Option<State> {
    TABLE.iter().find(|row| row.0 == from && row.1 == event).map(|row| row.2)
}

/// What became of a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an execution that lost its lease must not act as if its outcome counted"]
pub enum Settled {
    /// The outcome is the job's outcome.
    Recorded,
    /// This execution had settled before: its reply was lost, and nothing changed now.
    Repeated,
    /// This execution does not hold the lease any more; its outcome was not recorded.
    Lost,
}

/// Whether the execution `exec` may settle a job that is in `state` and was last leased to `holder`.
///
/// [`Recorded`](Settled::Recorded) means that it may. The holder is forgotten when a lease is taken away, and only then; so a
/// settle whose reply was lost is known again, and one that comes after its lease is refused.
pub fn fence(state: State, holder: Option<ExecId>, exec: ExecId) -> Settled {
    match (state, holder == Some(exec)) {
        (State::Leased, true) => Settled::Recorded,
        (_, true) => Settled::Repeated,
        (_, false) => Settled::Lost,
    }
}

/// What the end of an execution does to a job that somebody may have asked to stop: then it is not tried again.
pub fn ended(end: Event, stop: bool) -> Event {
    match end {
        Event::Fail | Event::Retry | Event::Release | Event::Snooze if stop => Event::Stop,
        other => other,
    }
}

/// The counts of failures and crashes after `event`. A release and a snooze change none, so those attempts do not count.
pub fn counted(event: Event, failures: u32, crashes: u32) -> (u32, u32) {
    match event {
        Event::Fail | Event::Retry => (failures.saturating_add(1), crashes),
        Event::Expire | Event::Poison => (failures, crashes.saturating_add(1)),
        Event::Requeue => (0, 0),
        _ => (failures, crashes),
    }
}

/// What an expired lease means for a job that crashed its worker so often before.
pub fn expired(crashes: u32, crashes_max: u32, stop: bool) -> Event {
    if stop {
        Event::Stop
    } else if crashes.saturating_add(1) >= crashes_max {
        Event::Poison
    } else {
        Event::Expire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_in_the_list() {
        for (place, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(State::of_code(place as i64), Some(state));
            assert_eq!((state.code(), state.word().parse()), (place as i64, Ok(state)));
        }
        assert_eq!((State::of_code(-1), State::of_code(8)), (None, None));
    }

    #[test]
    fn a_move_has_one_end() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| (other.0, other.1) != (row.0, row.1)), "{row:?} is there twice");
        }
        assert!(Event::ALL.into_iter().all(|event| TABLE.iter().any(|row| row.1 == event)));
    }

    /// Only a lease leads to an outcome that was run, and whoever is done stays done.
    #[test]
    fn what_ran_was_leased_and_done_is_final() {
        for (from, event, to) in TABLE {
            if matches!(to, State::Done | State::Failed | State::Stopped) {
                assert_eq!(*from, State::Leased, "{event:?}");
            }
            assert_ne!(*from, State::Done);
            assert!(!from.is_ended() || *event == Event::Requeue);
        }
    }

    #[test]
    fn a_settle_is_fenced() {
        let (mine, other) = (ExecId(1), ExecId(2));
        assert_eq!(fence(State::Leased, Some(mine), mine), Settled::Recorded);
        assert_eq!(fence(State::Leased, Some(other), mine), Settled::Lost);
        assert_eq!(fence(State::Ready, None, mine), Settled::Lost);
        assert_eq!(fence(State::Done, Some(mine), mine), Settled::Repeated);
        assert_eq!(fence(State::Scheduled, Some(mine), mine), Settled::Repeated);
        assert_eq!(fence(State::Done, Some(other), mine), Settled::Lost);
    }

    #[test]
    fn the_third_crash_is_poison() {
        assert_eq!(
            [0, 1, 2, 3].map(|before| expired(before, 3, false)),
            [Event::Expire, Event::Expire, Event::Poison, Event::Poison]
        );
        assert_eq!((expired(0, 0, false), expired(2, 3, true)), (Event::Poison, Event::Stop));
    }
}
