//! In which functions the busiest thread computes, in a sentence that says as well what cannot be seen.
//!
//! Pure functions over a recording.

use crate::recording::{Function, Recording};
use crate::verdict::{Finding, Language, percent};

/// A thread that ran for less of the wall has no say.
const RUN_MIN: f64 = 0.2;

/// One sentence; empty when nothing is known, or nothing worth a word was computed.
pub fn sentence(recording: &Recording, finding: &Finding) -> String {
    let [first, rest @ ..] = recording.functions.as_slice() else { return String::new() };
    let run =
        recording.threads.iter().find(|t| t.tid == first.tid).and_then(|t| t.samples.last()).map_or(0, |s| s.run_ns);
    if (run as f64) < RUN_MIN * recording.wall_ns as f64 {
        return String::new();
    }
    let process = recording.processes.iter().find(|p| p.pid == first.pid);
    let language = process.map_or(finding.language, Language::of);
    let named: Vec<String> = std::iter::once(first).chain(rest).map(one).collect();
    let thread = recording.threads.iter().find(|t| t.tid == first.tid).map_or("", |t| t.name.as_str());
    let more = match language {
        Language::Python => " That is inside the interpreter: which Python function it is for, `py-spy` shows.",
        Language::Ruby => " That is inside the interpreter: which Ruby method it is for, `rbspy` shows.",
        Language::Node => " Which JavaScript function it is for, `node --prof` shows.",
        _ if named.iter().all(|n| n.starts_with("code without")) => {
            " With its symbols (not stripped) the functions would have names."
        }
        _ => "",
    };
    format!("The busiest thread, `{thread}` ({}), computes in {}.{more}", first.tid, named.join(", "))
}

/// `spin of programs 93 %`.
fn one(function: &Function) -> String {
    let file = function.file.rsplit('/').next().unwrap_or_default();
    let share = percent(function.share);
    match (function.name.as_str(), file) {
        ("", "") => format!("code that was made while it ran {share}"),
        ("", file) => format!("code without a name in {file} {share}"),
        (name, file) => format!("`{name}` of {file} {share}"),
    }
}
