//! What several commands are told in the same way: how a duration is written, and where the environment says that Redis is.

use std::time::Duration;

#[cfg(feature = "redis")]
use crate::exit;

/// The longest duration that is taken, in seconds: what is added to a time must be a time.
const MAX_S: f64 = 100.0 * 365.0 * 86_400.0;

/// For clap: `500ms`, `30s`, `5m`, `2h`; a number alone is one of seconds, and may have a fraction.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit_s = match &text[digits..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => f64::NAN,
    };
    let seconds = text[..digits].parse().unwrap_or(f64::NAN) * unit_s;
    if seconds.is_nan() {
        return Err(
            "a number with ms, s, m or h is a duration, as in `500ms` or `5m`; one alone is of seconds".to_owned()
        );
    }
    if seconds > MAX_S { Err("longer than a hundred years".to_owned()) } else { Ok(Duration::from_secs_f64(seconds)) }
}

/// The Redis of the environment, from where python-rq takes it; that it is taken is said on stderr. An empty variable is not set.
#[cfg(feature = "redis")]
pub fn redis_url() -> Option<String> {
    let url = std::env::var("RQ_REDIS_URL").ok().filter(|url| !url.is_empty())?;
    // Not which: it may hold a password.
    exit::say(&"the Redis that RQ_REDIS_URL names is meant");
    Some(url)
}

/// A build that could not use one.
#[cfg(not(feature = "redis"))]
pub fn redis_url() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        let read =
            [("500ms", 500), ("30", 30_000), ("30s", 30_000), ("0.5", 500), ("1.5m", 90_000), ("720h", 2_592_000_000)];
        for (text, millis) in read {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "1d", "1e3", "nan", "inf", "1 s", "1.2.3s", "9000000h", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
