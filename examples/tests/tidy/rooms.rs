//! Who may import whom: the table of rooms, and the few words that some rooms must never say.
//!
//! A new room is added to [`ROOMS`]; what it may import is decided in ARCHITECTURE.md, not here.

use crate::source::{Source, Tree, is_below, paths, words};
use crate::{Finding, accepts, holds, reports};

/// `(crate, room, what it may import of the same crate)`. A room may always import itself. Files that are no room (`lib.rs`,
/// `main.rs`) may import everything: they only put the rooms together.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("core", "model", &[]),
    ("core", "park", &["model"]),
    ("core", "waitlist", &["model", "park"]),
    ("core", "sync", &["model", "park", "waitlist"]),
    ("core", "task", &["model", "park", "waitlist", "sync"]),
    ("core", "strand", &["model", "park", "task"]),
    // Models of all rooms for the checkers; compiled for them only.
    ("core", "loom_tests", &["model", "park", "waitlist", "sync", "task", "strand"]),
    ("core", "shuttle_tests", &["model", "park", "waitlist", "sync", "task", "strand"]),
    // `sync` and `task` are core's rooms, re-exported at the root of the library.
    // Only `io` may name tokio, so whoever must know whether this is an async thread asks `io`.
    ("ropewalk", "io", &["sync", "task"]),
    ("ropewalk", "spans", &["task"]),
    ("ropewalk", "thread", &["sync", "task", "io", "spans"]),
    ("ropewalk", "executor", &["sync", "task", "io", "thread", "spans"]),
    ("ropewalk", "greenlet", &["sync", "task", "io", "thread", "executor", "spans"]),
    ("ropewalk", "net", &["sync", "task", "io", "greenlet"]),
    ("ropewalk", "subprocess", &["sync", "task", "io"]),
    ("ropewalk", "process", &["sync", "task", "io", "thread", "executor"]),
    // The verbs at the root, which act on whoever calls them; and the beginning of `main`.
    ("ropewalk", "here", &["sync", "task", "io", "thread", "executor", "greenlet", "process"]),
    ("jobs", "state", &["job"]),
    ("jobs", "job", &["state", "dependency", "retry", "unique"]),
    ("jobs", "retry", &["job"]),
    ("jobs", "dependency", &["job", "state"]),
    ("jobs", "unique", &["job"]),
    ("jobs", "crash", &[]),
    ("jobs", "broker", &["job", "state", "retry", "dependency", "unique", "crash", "rq"]),
    ("jobs", "arguments", &["job"]),
    ("jobs", "rq", &["job", "arguments"]),
    ("jobs", "registry", &["job", "arguments", "apart"]),
    ("jobs", "apart", &["job", "registry"]),
    ("jobs", "audit", &["job", "broker", "registry", "rq"]),
    ("jobs", "cron", &["job", "broker", "queue"]),
    ("jobs", "queue", &["job", "state", "retry", "dependency", "unique", "broker", "registry", "arguments"]),
    (
        "jobs",
        "worker",
        &["job", "state", "retry", "dependency", "unique", "broker", "registry", "apart", "cron", "crash"],
    ),
    ("profile", "timeline", &[]),
    ("profile", "recording", &[]),
    ("profile", "collect", &["recording"]),
    // Judging is pure: none of these knows how a recording was made.
    ("profile", "states", &["recording"]),
    ("profile", "verdict", &["timeline", "recording", "states"]),
    ("profile", "functions", &["recording", "verdict"]),
    ("profile", "predict", &["recording", "states", "verdict"]),
    ("profile", "headroom", &["recording", "states", "verdict"]),
    ("profile", "advice", &["recording", "states", "verdict", "predict"]),
    ("profile", "picture", &["timeline", "recording", "states", "verdict", "functions", "predict", "headroom"]),
    ("profile", "measure", &["collect", "recording"]),
    ("cli", "exit", &[]),
    ("cli", "arguments", &["exit"]),
    ("cli", "output", &["exit"]),
    ("cli", "lab", &["arguments", "exit", "output"]),
    ("cli", "profile", &["arguments", "exit", "output"]),
    ("cli", "jobs", &["arguments", "exit", "output"]),
];

/// Which of our crates a crate may depend on (an arrow points down).
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("macros", &[]),
    ("profile", &[]),
    ("ropewalk", &["ropewalk-core", "ropewalk-macros"]),
    ("jobs", &["ropewalk", "ropewalk-core"]),
    ("cli", &["ropewalk", "ropewalk-core", "ropewalk-jobs", "ropewalk-profile"]),
];

/// `crates/core/src/sync/mutex.rs` is `("core", "sync", ["sync", "mutex"])`.
fn room_of(path: &str) -> Option<(&str, &str, Vec<&str>)> {
    let (krate, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let mut modules: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    if modules.len() > 1 && modules.last() == Some(&"mod") {
        modules.pop();
    }
    let room = modules[0];
    (!["lib", "main"].contains(&room)).then_some((krate, room, modules))
}

fn imports(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let Some((krate, room, modules)) = room_of(&file.path) else { continue };
        let rooms_of_crate: Vec<&str> = ROOMS.iter().filter(|row| row.0 == krate).map(|row| row.1).collect();
        if rooms_of_crate.is_empty() {
            continue;
        }
        let Some((_, _, may)) = ROOMS.iter().find(|row| row.0 == krate && row.1 == room) else {
            let what = format!(
                "`{room}` is no room of `{krate}`: add it to ARCHITECTURE.md and to ROOMS in examples/tests/tidy/rooms.rs"
            );
            findings.push(Finding::new(&file.path, 0, what));
            continue;
        };
        for (line, path) in paths(file.shipped()) {
            let Some(target) = room_in(&path, &modules) else { continue };
            if target == room || may.contains(&target) {
                continue;
            }
            if rooms_of_crate.contains(&target) {
                findings.push(Finding::new(&file.path, line, format!("`{room}` may not import `{target}` (`{path}`)")));
            } else if krate == "core" {
                let what = format!("`{path}` hides the room it comes from: import it from that room");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

/// The room that a path leads into, when it is written from the root of the crate (`crate::x`) or upwards (`super::super::x`).
fn room_in<'p>(path: &'p str, modules: &[&str]) -> Option<&'p str> {
    let mut parts = path.split("::").peekable();
    if parts.peek() == Some(&"crate") {
        parts.next();
        return parts.next();
    }
    let mut up = 0;
    while parts.peek() == Some(&"super") {
        parts.next();
        up += 1;
    }
    // Only a path that climbs to the root leaves its room. (Inside an inline module it climbs one less; then the name that
    // follows is a module of the same room, which is no room of the table.)
    if up > 0 && up == modules.len() { parts.next() } else { None }
}

#[test]
fn rooms_import_only_what_lies_below() {
    holds(imports);
}

#[test]
fn rooms_import_only_what_lies_below_control() {
    let event = "crates/core/src/sync/event.rs";
    reports(imports, event, "use crate::task::TaskHandle;", "`sync` may not import `task`");
    reports(imports, event, "use crate::{model, strand::Slot};", "`sync` may not import `strand`");
    reports(imports, event, "fn a() { crate::task::spawn() }", "`sync` may not import `task`");
    reports(imports, event, "use super::super::task::TaskHandle;", "`sync` may not import `task`");
    reports(imports, event, "use crate::Handle;", "hides the room");
    reports(imports, "crates/core/src/attic.rs", "fn a() {}", "`attic` is no room");
    reports(
        imports,
        "crates/ropewalk/src/thread.rs",
        "use crate::executor::Submit;",
        "`thread` may not import `executor`",
    );
    reports(imports, "crates/profile/src/timeline.rs", "use crate::picture::svg;", "may not import `picture`");
    accepts(
        imports,
        event,
        "use crate::waitlist::List; use super::mutex::Mutex; // crate::task\n#[cfg(test)] mod t { use crate::task::X; }",
    );
    accepts(imports, "crates/core/src/lib.rs", "pub use crate::task::TaskHandle;");
}

/// Inside core only `model` names what loom and shuttle replace, and their names.
fn model_is_the_only_door(tree: &Tree) -> Vec<Finding> {
    let doors = [
        "std::sync::atomic",
        "core::sync::atomic",
        "std::thread",
        "std::thread_local",
        "std::time::Instant",
        "loom",
        "shuttle",
    ];
    let mut findings = Vec::new();
    for file in in_core(tree) {
        if room_of(&file.path).is_some_and(|(_, room, _)| room == "model") {
            continue;
        }
        for (line, path) in paths(file.shipped()) {
            // A lone word (a module or a variable that is called `loom`) is no path into the crate.
            let is_import = path.contains("::");
            if is_import && doors.iter().any(|door| is_below(&path, door)) {
                findings.push(Finding::new(&file.path, line, format!("`{path}` is named outside `model`: use `crate::model` (what no checker should see is named there too)")));
            }
            if path == "std::time::*" || path == "std::sync::*" {
                findings.push(Finding::new(
                    &file.path,
                    line,
                    format!("`{path}` hides what is imported: use `crate::model`"),
                ));
            }
        }
    }
    findings
}

fn in_core(tree: &Tree) -> impl Iterator<Item = &Source> {
    tree.rust.iter().filter(|file| file.path.starts_with("crates/core/src/"))
}

#[test]
fn core_names_std_loom_and_shuttle_only_in_model() {
    holds(model_is_the_only_door);
}

#[test]
fn core_names_std_loom_and_shuttle_only_in_model_control() {
    let event = "crates/core/src/sync/event.rs";
    for bad in [
        "use std::sync::atomic::AtomicU32;",
        "use std::{sync::{Arc, atomic}, mem};",
        "fn a() { std::thread::yield_now() }",
        "use std::time::{Duration, Instant};",
        "fn a() { ::core::sync::atomic::fence(x) }",
        "use loom::sync::Arc;",
        "fn a() { shuttle::thread::yield_now() }",
    ] {
        reports(model_is_the_only_door, event, bad, "is named outside `model`");
    }
    accepts(model_is_the_only_door, event, "use std::sync::Arc; use std::time::Duration; use crate::model::thread;");
    accepts(model_is_the_only_door, event, "#[cfg(test)] mod tests { use std::thread; }");
    accepts(model_is_the_only_door, "crates/core/src/model/mod.rs", "pub(crate) use std::thread;");
    accepts(model_is_the_only_door, "crates/core/tests/event.rs", "use std::thread;");
}

/// The primitives do not know who waits.
fn sync_knows_no_strands(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with("crates/core/src/sync")) {
        for (line, word) in words(file.shipped()) {
            let lower = word.to_lowercase();
            if let Some(name) = ["strand", "greenlet"].iter().find(|name| lower.contains(**name)) {
                findings.push(Finding::new(
                    &file.path,
                    line,
                    format!("`sync` does not know that a {name} exists (`{word}`)"),
                ));
            }
        }
    }
    findings
}

#[test]
fn sync_never_names_a_strand() {
    holds(sync_knows_no_strands);
}

#[test]
fn sync_never_names_a_strand_control() {
    let mutex = "crates/core/src/sync/mutex.rs";
    reports(sync_knows_no_strands, mutex, "fn on_greenlet() {}", "a greenlet exists");
    reports(sync_knows_no_strands, mutex, "struct StrandId;", "a strand exists");
    accepts(sync_knows_no_strands, mutex, "/// Threads and greenlets alike.\nfn lock() {}");
}

/// Names that a crate must never say, in code or as a dependency.
fn forbidden_names(tree: &Tree) -> Vec<Finding> {
    const NEVER: &[(&str, &[&str], &str)] = &[
        ("crates/core/", &["tokio", "mio", "serde"], "core knows no runtime and does no I/O"),
        ("crates/profile/", &["ropewalk", "ropewalk_core"], "profile never imports what it measures"),
    ];
    let mut findings = Vec::new();
    for (krate, names, why) in NEVER {
        for file in tree.rust.iter().filter(|file| file.path.starts_with(krate)) {
            for (line, path) in paths(&file.code) {
                let first = path.split("::").next().unwrap_or("");
                let is_import = path.contains("::") || path.starts_with("use ");
                if is_import && names.contains(&first) {
                    findings.push(Finding::new(&file.path, line, format!("`{path}`: {why}")));
                }
            }
        }
        for (path, line, dependency) in dependencies(tree).filter(|(path, ..)| path.starts_with(krate)) {
            if names.contains(&dependency.replace('-', "_").as_str()) {
                findings.push(Finding::new(path, line, format!("depends on `{dependency}`: {why}")));
            }
        }
    }
    findings
}

/// `(manifest, line, name)` of every dependency that ships, target-specific ones included.
fn dependencies(tree: &Tree) -> impl Iterator<Item = (&str, usize, String)> {
    tree.texts.iter().filter(|(path, _)| path.starts_with("crates/") && path.ends_with("Cargo.toml")).flat_map(
        |(path, text)| {
            let mut ships = false;
            let mut found = Vec::new();
            for (index, line) in text.lines().enumerate() {
                let line = line.trim();
                if let Some(section) = line.strip_prefix('[') {
                    let section = section.trim_end_matches(']');
                    ships = section == "dependencies" || section.ends_with(".dependencies");
                    // `[dependencies.name]`
                    if let Some((_, name)) =
                        section.split_once("dependencies.").filter(|(before, _)| !before.ends_with("dev-"))
                    {
                        found.push((path.as_str(), index + 1, name.to_owned()));
                    }
                } else if ships && !line.starts_with('#') {
                    let name: String =
                        line.chars().take_while(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
                    if !name.is_empty() {
                        found.push((path.as_str(), index + 1, name));
                    }
                }
            }
            found
        },
    )
}

#[test]
fn core_and_profile_never_name_what_is_above_them() {
    holds(forbidden_names);
}

#[test]
fn core_and_profile_never_name_what_is_above_them_control() {
    reports(forbidden_names, "crates/core/src/park/mod.rs", "use tokio::runtime::Handle;", "no runtime");
    reports(forbidden_names, "crates/core/Cargo.toml", "[dependencies]\ntokio = \"1\"\n", "depends on `tokio`");
    reports(
        forbidden_names,
        "crates/core/Cargo.toml",
        "[target.'cfg(unix)'.dependencies]\nmio = \"1\"\n",
        "depends on `mio`",
    );
    reports(forbidden_names, "crates/profile/src/timeline.rs", "fn a() { ropewalk::spawn(x) }", "what it measures");
    reports(
        forbidden_names,
        "crates/profile/Cargo.toml",
        "[dependencies]\nropewalk-core.workspace = true\n",
        "what it measures",
    );
    accepts(forbidden_names, "crates/core/Cargo.toml", "[dev-dependencies]\ntokio = \"1\"\n");
    accepts(forbidden_names, "crates/profile/tests/a.rs", "use ropewalk_profile::timeline::Timeline;");
}

/// In the library one room knows tokio, and later the greenlets' hub.
fn tokio_has_one_door(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with("crates/ropewalk/src/")) {
        if ["io", "greenlet/hub"].iter().any(|room| file.path["crates/ropewalk/src/".len()..].starts_with(room)) {
            continue;
        }
        for (line, path) in paths(file.shipped()).into_iter().filter(|(_, path)| path.starts_with("tokio::")) {
            findings.push(Finding::new(&file.path, line, format!("`{path}`: only `io` and `greenlet/hub` name tokio")));
        }
    }
    findings
}

#[test]
fn only_io_names_tokio() {
    holds(tokio_has_one_door);
}

#[test]
fn only_io_names_tokio_control() {
    reports(tokio_has_one_door, "crates/ropewalk/src/thread/mod.rs", "fn a() { tokio::spawn(b) }", "only `io`");
    accepts(tokio_has_one_door, "crates/ropewalk/src/io/mod.rs", "use tokio::runtime::Handle;");
    accepts(tokio_has_one_door, "crates/ropewalk/src/thread/mod.rs", "// tokio::spawn\nfn tokio() {}");
}

/// Between our crates an arrow only points down.
fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, line, dependency) in
        dependencies(tree).filter(|(.., name)| name == "ropewalk" || name.starts_with("ropewalk-"))
    {
        let krate = path.trim_start_matches("crates/").split('/').next().unwrap_or("");
        let may = ARROWS.iter().find(|row| row.0 == krate).map_or(&[][..], |row| row.1);
        if !may.contains(&dependency.as_str()) {
            findings.push(Finding::new(path, line, format!("`{krate}` may not depend on `{dependency}`")));
        }
    }
    findings
}

#[test]
fn crates_depend_only_on_what_lies_below() {
    holds(arrows);
}

#[test]
fn crates_depend_only_on_what_lies_below_control() {
    reports(
        arrows,
        "crates/core/Cargo.toml",
        "[dependencies]\nropewalk.workspace = true\n",
        "`core` may not depend on `ropewalk`",
    );
    reports(arrows, "crates/macros/Cargo.toml", "[dependencies.ropewalk-core]\npath = \"x\"\n", "may not depend");
    accepts(arrows, "crates/macros/Cargo.toml", "[dev-dependencies]\nropewalk = { path = \"../ropewalk\" }\n");
}
