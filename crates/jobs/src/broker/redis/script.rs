//! The steps as Lua: their texts, and what the wire needs of them.
//!
//! Redis runs a script as a whole, with nothing in between; so a script is a step. Its text is what it shares with the others
//! (`common.lua`) and its own. Each says in its first lines what it takes and what it answers.

use crate::job::{Failure, JobId, WorkerId};
use crate::rq::text;
use crate::state::Event;
use std::sync::LazyLock;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Enqueue,
    Claim,
    Heartbeat,
    Settle,
    Tick,
    Control,
    Maintain,
    Log,
    Callback,
}

impl Step {
    pub(super) const ALL: [Self; 9] = [
        Self::Enqueue,
        Self::Claim,
        Self::Heartbeat,
        Self::Settle,
        Self::Tick,
        Self::Control,
        Self::Maintain,
        Self::Log,
        Self::Callback,
    ];

    fn own_text(self) -> &'static str {
        match self {
            Self::Enqueue => include_str!("enqueue.lua"),
            Self::Claim => include_str!("claim.lua"),
            Self::Heartbeat => include_str!("heartbeat.lua"),
            Self::Settle => include_str!("settle.lua"),
            Self::Tick => include_str!("tick.lua"),
            Self::Control => include_str!("control.lua"),
            Self::Maintain => include_str!("maintain.lua"),
            Self::Log => include_str!("log.lua"),
            Self::Callback => include_str!("callback.lua"),
        }
    }

    pub(super) fn script(self) -> &'static Script {
        &SCRIPTS[self as usize]
    }
}

/// What the server is given once, and then called by.
pub(super) struct Script {
    pub(super) text: String,
    pub(super) sha: String,
}

/// All scripts, in the order of [`Step::ALL`].
static SCRIPTS: LazyLock<Vec<Script>> = LazyLock::new(|| {
    let before = texts_of_failures();
    let script = |step: Step| {
        let text = format!("{before}\n{}\n{}", include_str!("common.lua"), step.own_text());
        let sha = redis::Script::new(&text).get_hash().to_owned();
        Script { text, sha }
    };
    Step::ALL.into_iter().map(script).collect()
});

/// What the scripts say of failures that they find themselves: in the words of [`Failure`], so that nobody else knows them.
fn texts_of_failures() -> String {
    // These stand where the script puts what it knows.
    let need: JobId = "__NEED__".parse().expect("letters and lines are an id");
    let worker = WorkerId::of("__WORKER__");
    let counted = 987_654_321;
    let crashed = |event| json(&Failure::crashed(Some(&worker), event, counted).expect("those two say something"));
    let quoted = |text: &str| format!("[==[{}]==]", text.replace(&counted.to_string(), "__CRASHES__"));
    let packed = |line: &str| text::exc_string(&format!("{line}\n"));
    format!(
        "local BROKEN = {}\nlocal CRASHED = {}\nlocal POISON = {}\nlocal STOPPED = '{}'\nlocal ABANDONED = '{}'",
        quoted(&json(&Failure::broken_need(&need))),
        quoted(&crashed(Event::Expire)),
        quoted(&crashed(Event::Poison)),
        // rq's own words.
        packed("Job stopped by user, work-horse terminated."),
        packed("Moved to FailedJobRegistry, due to AbandonedJobError: its worker gave no sign of life"),
    )
}

fn json(failure: &Failure) -> String {
    serde_json::to_string(failure).expect("a failure is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words between `start` and the next `}`.
    fn list<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
        let rest = text.split_once(start).expect("a list").1;
        rest.split_once('}').expect("its end").0.split('\'').skip(1).step_by(2).collect()
    }

    /// A field that no list names would be empty without a word. (The jobs of an enqueue are not read, but given.)
    #[test]
    fn every_field_that_a_step_asks_for_is_read() {
        let common = include_str!("common.lua");
        let mut read = list(common, "local NAMES = {");
        read.extend(list(common, "local RARE = {"));
        let known = read.len();
        read.sort_unstable();
        read.dedup();
        assert_eq!(read.len(), known, "named twice");
        let texts = Step::ALL.into_iter().filter(|step| *step != Step::Enqueue).map(Step::own_text).chain([common]);
        let asked = texts.flat_map(|text| text.split("job.").skip(1));
        let asked = asked.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(""));
        let mut count = 0;
        for name in asked.filter(|name| !["id", "is_owed"].contains(name)) {
            count += 1;
            assert!(read.contains(&name), "{name} is in neither list of common.lua");
        }
        assert!(count > 50, "{count} is not all of them");
    }
}
