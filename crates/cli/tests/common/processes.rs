//! Looking at processes through `/proc`.

use std::collections::BTreeSet;
use std::process::Child;

/// A process that is distinguished from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: String,
}

struct Stat {
    state: String,
    parent: i32,
    started: String,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { state: fields[0].to_owned(), parent: fields[1].parse().ok()?, started: fields[19].to_owned() })
}

/// All processes below `root`.
pub(crate) fn below(root: i32) -> Vec<Process> {
    let all: Vec<(i32, Stat)> = std::fs::read_dir("/proc")
        .expect("this is Linux")
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(all.iter().filter(|(_, s)| family.contains(&s.parent)).map(|(pid, _)| *pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|(pid, _)| *pid != root && family.contains(pid))
        .map(|(pid, s)| Process { pid, started: s.started })
        .collect()
}

pub(crate) fn is_gone(process: &Process) -> bool {
    // A zombie has ended; who adopted it has not looked yet.
    stat(process.pid).is_none_or(|s| s.started != process.started || s.state == "Z")
}

pub(crate) fn command_line(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

pub(crate) fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a process number")
}
