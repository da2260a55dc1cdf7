//! What a job needs of others before it may run, as pure rules.
//!
//! Callbacks and groups are the same thing: a callback needs that its job ended in one certain way, the last job of a group
//! needs that all of them ended. So there is one mechanism, and it fires in the same atomic step that ends the job it needs.

use crate::job::JobId;
use crate::state::State;
use serde::{Deserialize, Serialize};

/// How a job must have ended for another to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Well.
    Done,
    /// In whichever way.
    Ended,
    /// Badly: failed, or poison.
    Failed,
    /// By being stopped.
    Stopped,
}

impl When {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Done, Self::Ended, Self::Failed, Self::Stopped];

    /// Whether a job that is in `state` is as needed; `None` when that is still open.
    pub fn is_met(self, state: State) -> Option<bool> {
        state.is_ended().then_some(match self {
            Self::Done => state == State::Done,
            Self::Ended => true,
            Self::Failed => state == State::Failed,
            Self::Stopped => state == State::Stopped,
        })
    }
}

/// One job that another needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The job that must end first.
    pub id: JobId,
    /// In which way.
    pub when: When,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_until_ended() {
        for when in When::ALL {
            for state in State::ALL {
                assert_eq!(when.is_met(state).is_some(), state.is_ended());
            }
        }
        assert_eq!(When::Done.is_met(State::Canceled), Some(false));
        assert_eq!(When::Ended.is_met(State::Canceled), Some(true));
        assert_eq!(When::Failed.is_met(State::Failed), Some(true));
        assert_eq!(When::Stopped.is_met(State::Done), Some(false));
    }
}
