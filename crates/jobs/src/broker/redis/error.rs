//! What Redis says, in the words of a broker.

use crate::broker::{BrokerError, ErrorKind};
use redis::{RedisError, ServerError};

/// A connection that could not be made: nothing was sent.
pub(super) fn unreachable(server: &str, error: &RedisError) -> BrokerError {
    let kind = match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => ErrorKind::ReadOnly,
        Some("LOADING" | "BUSY") => ErrorKind::Busy,
        _ => ErrorKind::Unavailable,
    };
    BrokerError::new(kind, format!("Redis at {server} cannot be reached: {error}: check that it runs, and the address"))
}

/// A connection that broke after something was sent.
pub(super) fn broken(server: &str, error: &RedisError) -> BrokerError {
    BrokerError::uncertain(ErrorKind::Unavailable, format!("the connection to Redis at {server} broke: {error}"))
}

/// An answer that is an error.
pub(super) fn refused(server: &str, error: &ServerError) -> BrokerError {
    let said = error.details().unwrap_or_default();
    // A script that has caught an error and goes on with it in the end puts a code of its own before it.
    let code = match error.code() {
        "ERR" if said.starts_with("WRONGTYPE ") => "WRONGTYPE",
        code => code,
    };
    let (kind, text) = match code {
        "OOM" => (
            ErrorKind::Full,
            format!(
                "Redis at {server} has no memory left: raise `maxmemory`, or remove what is not needed; nothing was changed"
            ),
        ),
        "MISCONF" => {
            (ErrorKind::Full, format!("Redis at {server} cannot save to its disk and takes no changes: {said}"))
        }
        "READONLY" => (
            ErrorKind::Unavailable,
            format!(
                "Redis at {server} is a replica and takes no changes: name the primary, or wait for the end of the failover"
            ),
        ),
        "NOPERM" | "NOAUTH" | "WRONGPASS" => (
            ErrorKind::ReadOnly,
            format!(
                "Redis at {server} does not allow it: {said}; the guide's page on Redis has the `ACL SETUSER` line that is needed"
            ),
        ),
        "LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" => {
            (ErrorKind::Busy, format!("Redis at {server} is not ready: {said}"))
        }
        "MOVED" | "ASK" | "CROSSSLOT" => (
            ErrorKind::Refused,
            format!(
                "Redis at {server} is a cluster and the keys are spread over it: use a prefix in braces, as in `{{rq}}`"
            ),
        ),
        "WRONGTYPE" => {
            return BrokerError::uncertain(
                ErrorKind::Corrupt,
                format!("a key at {server} is of another kind than rq's: does another program use the same prefix?"),
            );
        }
        // Whatever else a script says, it may have said in the middle.
        code => return BrokerError::uncertain(ErrorKind::Unavailable, format!("Redis at {server}: {code} {said}")),
    };
    BrokerError::new(kind, text)
}

/// An answer of a form that nobody expects: another program answers there, or another version of the scripts.
pub(super) fn strange(server: &str, what: &str) -> BrokerError {
    BrokerError::uncertain(ErrorKind::Corrupt, format!("Redis at {server} gave an answer that is no {what}"))
}
