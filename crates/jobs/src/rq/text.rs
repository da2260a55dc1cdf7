//! Times and tracebacks as rq writes them.
//!
//! | where | form |
//! | --- | --- |
//! | hashes | `2026-11-22T10:57:46.866905Z`: UTC, six digits; read with one to six, or none |
//! | executions and results | seconds since 1970 with a fraction, `1795345066.866905` |
//! | scores of the registries | whole seconds since 1970 |
//! | `exc_string` | base64 of text as zlib packs it, or wraps it where it is short |

use super::data::{self, Blob};
use crate::job::{Failure, Problem, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt::Write as _;

/// A time in a hash.
pub fn time(time: Time) -> String {
    let text = time.to_string();
    // Python reads no other number of digits as surely as six.
    format!("{}000Z", text.trim_end_matches('Z'))
}

/// The time in a hash; nothing when the text is none (rq writes an empty text for none).
pub fn read_time(text: &str) -> Option<Time> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(digits);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let fine = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61
        && fraction.len() <= 9;
    if !fine {
        return None;
    }
    digits(fraction)?;
    let millis = digits(&format!("{fraction:0<3}")[..3])?;
    Some(Time::of_millis((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis))
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The days from 1970 on to this date, in the Gregorian calendar: years from March on, in eras of 400.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let in_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// A time in an execution or a result.
pub fn seconds(time: Time) -> String {
    format!("{}.{:03}000", time.millis() / 1_000, time.millis() % 1_000)
}

/// The time in an execution or a result.
pub fn read_seconds(text: &str) -> Option<Time> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..1e12).contains(&seconds).then(|| Time::of_millis((seconds * 1e3).round() as u64))
}

/// A time as a score: rounded up when something must not happen before it.
pub fn score(time: Time) -> u64 {
    time.millis().div_ceil(1_000)
}

/// The text of a failure as Python would print it. What lists failures shows the last line as the title.
pub fn traceback(task: &str, failure: &Failure) -> String {
    let kind = if failure.type_name.is_empty() {
        format!("ropewalk.{}", failure.kind.word())
    } else {
        failure.type_name.clone()
    };
    let mut text = String::from("Traceback (most recent call last):\n");
    let _ = writeln!(text, "  File \"<rust>\", in {task}");
    for cause in failure.chain.iter().rev() {
        let _ = writeln!(text, "    caused by: {}", cause.replace('\n', "\n    "));
    }
    // One line at the end, whatever the message is.
    let (first, rest) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
    if !rest.is_empty() {
        let _ = writeln!(text, "    {}", rest.replace('\n', "\n    "));
    }
    let _ = writeln!(text, "{kind}: {first}");
    text
}

/// The type of the error and its message, from the last line of a traceback of Python.
pub fn title(traceback: &str) -> (String, String) {
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == ':' || c == '-')
    };
    // A message may have several lines: it begins at the last line that is not indented and names a type.
    let lines: Vec<&str> = traceback.lines().collect();
    let frames_end = lines.iter().rposition(|line| line.starts_with("  ")).map_or(0, |at| at + 1);
    let Some(first) = lines.get(frames_end..).and_then(|rest| rest.first()).or(lines.last()) else {
        return (String::new(), "it failed, and nothing says why".to_owned());
    };
    let rest = lines.get(frames_end + 1..).unwrap_or_default().join("\n");
    let (name, message) = first.split_once(": ").unwrap_or((first.trim_end_matches(':'), ""));
    if !is_name(name) {
        return (String::new(), lines.last().map_or_else(String::new, |line| (*line).to_owned()));
    }
    let message = match (message, rest.trim_end()) {
        ("", "") => name.to_owned(),
        (message, "") => message.to_owned(),
        (message, rest) => format!("{message}\n{rest}"),
    };
    (name.to_owned(), message)
}

/// The field `exc_string` of a result.
pub fn exc_string(text: &str) -> String {
    BASE64.encode(data::deflate(text.as_bytes()))
}

/// The text of the field `exc_string`.
///
/// # Errors
///
/// When it is no base64, or grows beyond the limit.
pub fn read_exc_string(field: &[u8]) -> Result<String, Problem> {
    let bytes = BASE64.decode(field).map_err(|error| Problem::new(format!("the traceback is no base64: {error}")))?;
    match data::inflate(&bytes)? {
        Blob::Inflated(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Blob::Plain(text) => Ok(String::from_utf8_lossy(text).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::FailureKind;

    #[test]
    fn times_both_ways() {
        for millis in [0, 951_782_400_000, 1_795_345_066_866, 4_107_542_399_999, 4_107_542_400_000] {
            let it = Time::of_millis(millis);
            assert_eq!(read_time(&time(it)), Some(it));
            assert_eq!(read_seconds(&seconds(it)), Some(it));
        }
        assert_eq!(time(Time::of_millis(1_795_345_066_866)), "2026-11-22T10:57:46.866000Z");
        assert_eq!(read_time("2026-11-22T10:57:46Z"), Some(Time::of_millis(1_795_345_066_000)));
        assert_eq!(read_time("2026-11-22T10:57:46.9Z"), Some(Time::of_millis(1_795_345_066_900)));
        for none in
            ["", "Z", "2026-11-22", "2026-13-22T10:57:46Z", "2026-11-22T10:57:46+00:00", "2026-11-22T10:57:46.-1Z"]
        {
            assert_eq!(read_time(none), None, "{none}");
        }
        for none in ["", "nan", "inf", "-1", "1e300"] {
            assert_eq!(read_seconds(none), None, "{none}");
        }
        assert_eq!((score(Time::of_millis(1_000)), score(Time::of_millis(1_001))), (1, 2));
    }

    #[test]
    fn a_traceback_ends_with_its_title() {
        let mut failure = Failure::new(FailureKind::Error, "disk is full\nsecond line");
        failure.type_name = "std::io::Error".to_owned();
        failure.chain = vec!["no space left".to_owned()];
        let text = traceback("app.tasks.thumb", &failure);
        assert!(
            text.starts_with("Traceback (most recent call last):\n  File \"<rust>\", in app.tasks.thumb\n"),
            "{text}"
        );
        assert!(text.contains("caused by: no space left\n") && text.contains("    second line\n"), "{text}");
        assert!(text.ends_with("\nstd::io::Error: disk is full\n"), "{text}");
        assert_eq!(title(&text), ("std::io::Error".to_owned(), "disk is full".to_owned()));
        assert_eq!(read_exc_string(exc_string(&text).as_bytes()).unwrap(), text);
    }

    #[test]
    fn titles_of_python() {
        let said = |text: &str| {
            let (name, message) = title(text);
            format!("{name} / {message}")
        };
        let frames = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    raise x\n";
        assert_eq!(said(&format!("{frames}ValueError: bad: worse\n")), "ValueError / bad: worse");
        assert_eq!(said(&format!("{frames}KeyboardInterrupt\n")), "KeyboardInterrupt / KeyboardInterrupt");
        assert_eq!(said(&format!("{frames}app.Broken: one\ntwo\n")), "app.Broken / one\ntwo");
        assert_eq!(
            said("Moved to FailedJobRegistry, due to AbandonedJobError, at noon"),
            " / Moved to FailedJobRegistry, due to AbandonedJobError, at noon"
        );
        assert_eq!(said(""), " / it failed, and nothing says why");
    }
}
