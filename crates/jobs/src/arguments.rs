//! The arguments of a job as text, and how they find the parameters of a task: pure.
//!
//! A payload is JSON in one of three forms:
//!
//! | form | means |
//! | --- | --- |
//! | `[7, 200]` | by position |
//! | `{"args": [7], "kwargs": {"size": 200}}` | by position, then by name; each half may be missing |
//! | `{"unreadable": "why"}` | there are arguments, and they cannot be told in JSON |
//!
//! The values stay text until the task reads them, so a number keeps all its digits.
//!
//! What does not fit is said in Python's words, because that is where such calls come from: *missing*, *unexpected*, *multiple
//! values*. A parameter that takes `null` (an `Option`) may be left out.

use crate::job::Problem;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// The arguments of a call, by position and by name.
#[derive(Default, Debug)]
pub(crate) struct Arguments<'a> {
    pub(crate) args: Vec<&'a RawValue>,
    pub(crate) kwargs: Vec<(String, &'a RawValue)>,
}

/// The second and third form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow, default)]
    args: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    kwargs: Pairs<'a>,
    #[serde(default)]
    unreadable: Option<String>,
}

/// An object in its own order.
#[derive(Default)]
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of arguments by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs<'de>, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'a> Arguments<'a> {
    /// The arguments of a payload.
    ///
    /// # Errors
    ///
    /// When it has none of the forms, or says itself that it cannot be read.
    pub(crate) fn parse(payload: &'a str) -> Result<Self, Problem> {
        let text = payload.trim_start();
        if text.starts_with('[') {
            let args = serde_json::from_str(text).map_err(|error| no_form(&error))?;
            return Ok(Self { args, kwargs: Vec::new() });
        }
        let written: Written<'a> = serde_json::from_str(text).map_err(|error| no_form(&error))?;
        match written.unreadable {
            Some(why) => Err(Problem::new(why)),
            None => Ok(Self { args: written.args, kwargs: written.kwargs.0 }),
        }
    }

    /// As a payload again: the first form if it can be.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn to_payload(&self) -> String {
        let args = joined(self.args.iter().map(|value| value.get().to_owned()));
        if self.kwargs.is_empty() {
            return format!("[{args}]");
        }
        format!("{{\"args\":[{args}],\"kwargs\":{}}}", self.kwargs_text())
    }

    /// The arguments by name as an object.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn kwargs_text(&self) -> String {
        let named = |(name, value): &(String, &RawValue)| format!("{}:{}", quoted(name), value.get());
        format!("{{{}}}", joined(self.kwargs.iter().map(named)))
    }

    /// One value for each parameter, in their order; nothing for one that was left out.
    fn matched(&self, task: &str, parameters: &[&str]) -> Result<Vec<Option<&'a RawValue>>, Problem> {
        let call = format!("{task}({})", parameters.join(", "));
        if self.args.len() > parameters.len() {
            return Err(Problem::new(format!(
                "{call} takes {} but {} given",
                counted(parameters.len(), "positional argument"),
                match self.args.len() {
                    1 => "1 was".to_owned(),
                    given => format!("{given} were"),
                }
            )));
        }
        let mut values: Vec<Option<&RawValue>> = self.args.iter().copied().map(Some).collect();
        values.resize(parameters.len(), None);
        for (name, value) in &self.kwargs {
            let place = parameters
                .iter()
                .position(|parameter| parameter == name)
                .ok_or_else(|| Problem::new(format!("{call} got an unexpected keyword argument '{}'", shown(name))))?;
            if values[place].replace(value).is_some() {
                return Err(Problem::new(format!("{call} got multiple values for argument '{name}'")));
            }
        }
        Ok(values)
    }
}

/// What stands for arguments that cannot be told in JSON.
#[cfg(feature = "redis")]
pub(crate) fn unreadable(why: &str) -> String {
    format!("{{\"unreadable\":{}}}", quoted(why))
}

/// The arguments of a payload as the tuple of a task.
///
/// # Errors
///
/// What does not fit: in words, with the task and its parameters.
pub(crate) fn tuple<T: DeserializeOwned>(task: &str, parameters: &[&str], payload: &str) -> Result<T, Problem> {
    // To serde a tuple of nothing is null, and to everybody else it is an empty array.
    let text = if parameters.is_empty() && payload.trim() == "[]" { "null" } else { payload };
    if (!parameters.is_empty() || text == "null")
        && let Ok(tuple) = serde_json::from_str(text)
    {
        return Ok(tuple);
    }
    let arguments = Arguments::parse(payload)?;
    let values = arguments.matched(task, parameters)?;
    if parameters.is_empty() {
        return serde_json::from_str("null").map_err(|error| Problem::new(error.to_string()));
    }
    // One line for each parameter, so that the place of an error tells which it was.
    let lines: Vec<String> =
        values.iter().map(|value| value.map_or("null".to_owned(), |value| value.get().replace('\n', " "))).collect();
    serde_json::from_str(&format!("[\n{}\n]", lines.join(",\n"))).map_err(|error| {
        let place = error.line().checked_sub(2).filter(|place| *place < parameters.len());
        let call = format!("{task}({})", parameters.join(", "));
        Problem::new(match place {
            Some(place) if values[place].is_none() => {
                let missing: Vec<_> = parameters
                    .iter()
                    .zip(&values)
                    .filter(|(_, value)| value.is_none())
                    .map(|(name, _)| format!("'{name}'"))
                    .collect();
                format!("{call} missing {}: {}", counted(missing.len(), "required argument"), missing.join(", "))
            }
            Some(place) => {
                // The place within our own text says nothing to anybody.
                let text = error.to_string();
                let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
                format!(
                    "the arguments do not fit {call}: `{}`: {what}. Were they sent by another version of the program?",
                    parameters[place]
                )
            }
            None => {
                format!("the arguments do not fit {call}: {error}. Were they sent by another version of the program?")
            }
        })
    })
}

fn no_form(error: &serde_json::Error) -> Problem {
    Problem::new(format!("the arguments are neither a JSON array nor an object of `args` and `kwargs`: {error}"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(any(test, feature = "redis"))]
fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that came from elsewhere, cut and without control characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Thumb = (u64, u32, Option<String>);
    const PARAMETERS: &[&str] = &["id", "size", "note"];

    fn thumb(payload: &str) -> Result<Thumb, String> {
        tuple("thumb", PARAMETERS, payload).map_err(|problem| problem.to_string())
    }

    #[test]
    fn by_position_by_name_and_both() {
        let whole = Ok((7, 200, Some("n".to_owned())));
        assert_eq!(thumb(r#"[7, 200, "n"]"#), whole);
        assert_eq!(thumb(r#"{"args": [7, 200, "n"]}"#), whole);
        assert_eq!(thumb(r#"{"args": [7], "kwargs": {"note": "n", "size": 200}}"#), whole);
        assert_eq!(thumb(r#"{"kwargs": {"note": "n", "size": 200, "id": 7}}"#), whole);
    }

    #[test]
    fn what_may_be_nothing_may_be_left_out() {
        assert_eq!(thumb("[7, 200]"), Ok((7, 200, None)));
        assert_eq!(thumb(r#"{"args": [7], "kwargs": {"size": 200}}"#), Ok((7, 200, None)));
    }

    #[test]
    fn mistakes_in_the_words_of_python() {
        for (payload, says) in [
            ("[]", "thumb(id, size, note) missing 3 required arguments: 'id', 'size', 'note'"),
            (r#"[7, 200, "n", 1]"#, "thumb(id, size, note) takes 3 positional arguments but 4 were given"),
            (r#"{"args": [7], "kwargs": {"colour": 1}}"#, "got an unexpected keyword argument 'colour'"),
            (r#"{"args": [7], "kwargs": {"id": 1, "size": 2}}"#, "got multiple values for argument 'id'"),
            (r#"{"kwargs": {"id": 1, "id": 2, "size": 2}}"#, "got multiple values for argument 'id'"),
            (r#"[7, "big"]"#, "`size`: invalid type: string \"big\", expected u32. Were"),
            (r#"{"args": 5}"#, "neither a JSON array nor an object"),
            ("7", "neither a JSON array nor an object"),
            ("", "neither a JSON array nor an object"),
            (r#"{"unreadable": "a lock cannot travel"}"#, "a lock cannot travel"),
        ] {
            let said = thumb(payload).unwrap_err();
            assert!(said.contains(says), "{payload}: {said}");
        }
    }

    #[test]
    fn a_task_without_parameters() {
        for fine in ["[]", " [ ] ", "{}", r#"{"args": [], "kwargs": {}}"#] {
            assert_eq!(tuple::<()>("tick", &[], fine), Ok(()), "{fine}");
        }
        let said = tuple::<()>("tick", &[], "[1]").unwrap_err().to_string();
        assert_eq!(said, "tick() takes 0 positional arguments but 1 was given");
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let payload = r#"{"args": [170141183460469231731687303715884105727]}"#;
        assert_eq!(tuple::<(i128,)>("f", &["n"], payload), Ok((i128::MAX,)));
    }

    #[test]
    fn written_again_it_is_the_same() {
        let payload = r#"{"args":[7],"kwargs":{"b":2,"a":"x"}}"#;
        assert_eq!(Arguments::parse(payload).unwrap().to_payload(), payload);
        assert_eq!(Arguments::parse(r#"{"args":[7,8]}"#).unwrap().to_payload(), "[7,8]");
    }
}
