//! Names of things, checked where they come in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is wrong with a name or a job, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// Letters, digits, `-` and `_`; at most 128 of them. The same alphabet as python-rq's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 128;

impl JobId {
    /// A fresh one. Ids made later sort later, so that a store keeps neighbours together.
    pub fn random() -> Self {
        // The layout of a UUID of version 7: milliseconds, then random bits.
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let random = fastrand::u128(..);
        let bits =
            (millis << 80) | (0x7 << 76) | ((random >> 50) & 0xfff) << 64 | (0b10 << 62) | (random & ((1 << 62) - 1));
        let hex = format!("{bits:032x}");
        Self(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(is_fine) {
            let shown: String = text.chars().take(40).collect();
            return Err(Problem(format!(
                "`{shown}` is no id of a job: use 1 to {ID_BYTES_MAX} letters, digits, `-` and `_`"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for JobId {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One execution of a job: what fences its settle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecId(pub u128);

impl ExecId {
    /// A fresh one.
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ExecId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A worker: one start of one process, never configured, so that two can never share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// A fresh one, which tells the process.
    pub fn random() -> Self {
        Self(format!("{}-{:08x}", std::process::id(), fastrand::u32(..)))
    }

    /// One with this text; for brokers and tests.
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a name of this kind can be stored and shown.
pub(crate) fn check_name(kind: &str, name: &str) -> Result<(), Problem> {
    let bad = name.is_empty() || name.len() > super::NAME_BYTES_MAX || name.chars().any(char::is_control);
    if bad {
        let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
        return Err(Problem(format!(
            "`{shown}` is no {kind}: use 1 to {} bytes of text without control characters",
            super::NAME_BYTES_MAX
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_valid_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| JobId::random()).collect();
        assert_eq!(ids.len(), 1_000);
        for id in ids {
            assert_eq!((id.as_str().parse::<JobId>().as_ref(), id.as_str().as_bytes()[14]), (Ok(&id), b'7'));
        }
    }

    #[test]
    fn ids_that_a_store_could_not_keep() {
        for bad in ["", "a b", "a/b", "ü", "a:b", &"a".repeat(ID_BYTES_MAX + 1)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
        assert!(check_name("queue", "ü high").is_ok());
        assert!(check_name("queue", "a\nb").unwrap_err().to_string().contains(r"`a\nb` is no queue"));
    }
}
