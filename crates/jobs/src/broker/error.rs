//! What goes wrong with a store: what happened, to what, what to do next.

use super::Control;
use crate::job::{JobId, Problem};
use crate::state::State;
use std::fmt;

/// The kinds of trouble, each with its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for cannot be done, and asking again will not help.
    Refused,
    /// There is no job with this id.
    NotFound,
    /// The store has no space left. Nothing was changed.
    Full,
    /// The store may not be written.
    ReadOnly,
    /// The store is damaged, or is no store of ours.
    Corrupt,
    /// Others kept the store for too long.
    Busy,
    /// The store cannot be reached.
    Unavailable,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError {
    kind: ErrorKind,
    message: String,
    uncertain: bool,
}

impl BrokerError {
    /// A step that did not happen.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), uncertain: false }
    }

    /// A step that may have happened: its answer was lost.
    pub fn uncertain(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { uncertain: true, ..Self::new(kind, message) }
    }

    /// What kind of trouble.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the step may have happened all the same.
    pub fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// Whether the same step may go well a little later.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, ErrorKind::Full | ErrorKind::Busy | ErrorKind::Unavailable)
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.uncertain { f.write_str(" (it may have happened all the same)") } else { Ok(()) }
    }
}

impl std::error::Error for BrokerError {}

impl From<Problem> for BrokerError {
    fn from(problem: Problem) -> Self {
        Self::new(ErrorKind::Refused, problem.to_string())
    }
}

/// What all brokers say in the same words.
impl BrokerError {
    pub(crate) fn not_found(id: &JobId) -> Self {
        Self::new(
            ErrorKind::NotFound,
            format!("there is no job {id}: it never was, or was kept long enough and forgotten"),
        )
    }

    pub(crate) fn unknown_need(id: &JobId, need: &JobId) -> Self {
        Self::new(
            ErrorKind::Refused,
            format!(
                "job {id} needs job {need}, which is not known: enqueue that one first, and keep its result long enough"
            ),
        )
    }

    pub(crate) fn wrong_state(control: &Control, state: State) -> Self {
        let (verb, id, way_out) = match control {
            Control::Cancel(id) => ("cancelled", id, if state.is_ended() { "" } else { ": stop it instead" }),
            Control::Stop(id) => ("stopped", id, if state.is_ended() { "" } else { ": cancel it instead" }),
            Control::Requeue(id) if state == State::Done => ("requeued", id, ": enqueue a new one"),
            Control::Requeue(id) => ("requeued", id, ": it has not ended"),
            Control::Delete(id) => ("deleted", id, ": stop it first"),
            Control::End(id) => ("ended", id, ""),
            Control::Empty(_) | Control::Suspend(_) | Control::Resume(_) => unreachable!("those name no job"),
        };
        Self::new(ErrorKind::Refused, format!("job {id} is {state} and cannot be {verb}{way_out}"))
    }

    pub(crate) fn key_is_taken(id: &JobId, key: &str, holder: &JobId) -> Self {
        Self::new(
            ErrorKind::Refused,
            format!("job {id} cannot be requeued: its unique key `{key}` is taken by job {holder}"),
        )
    }
}
