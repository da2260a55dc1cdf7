//! Things that only listed files may do. The list is short on purpose: whoever makes it longer says why in the same change.

use crate::source::{Tree, is_below, paths, words};
use crate::{Finding, accepts, holds, reports};

/// The files with unsafe code. Every entry has some, and every `unsafe` of the repository is in one of them.
///
/// To add one: first look for the file here that already keeps such a promise (a cell, a slot, a futex word). If it is a
/// new promise, write at the head of the new file why it is safe, add the file here and to ARCHITECTURE.md.
const UNSAFE: &[&str] = &[
    // may's spawn is unsafe to call.
    "bench/src/suites/greenlet/may.rs",
    "crates/core/src/park/leaf.rs",
    "crates/core/src/park/mod.rs",
    "crates/core/src/park/place.rs",
    "crates/core/src/park/record.rs",
    "crates/core/src/park/thread/linux.rs",
    "crates/core/src/strand/ahead.rs",
    "crates/core/src/strand/hook.rs",
    "crates/core/src/strand/hub.rs",
    "crates/core/src/strand/inbox.rs",
    "crates/core/src/strand/overflow.rs",
    "crates/core/src/strand/run_queue.rs",
    "crates/core/src/strand/slot.rs",
    "crates/core/src/strand/stack.rs",
    "crates/core/src/strand/stack_in_heap.rs",
    "crates/core/src/strand/switch/baton.rs",
    "crates/core/src/strand/switch/corosensei.rs",
    "crates/core/src/sync/barrier.rs",
    "crates/core/src/sync/condvar.rs",
    "crates/core/src/sync/event.rs",
    "crates/core/src/sync/mutex.rs",
    "crates/core/src/sync/once.rs",
    "crates/core/src/sync/queue/buffered.rs",
    "crates/core/src/sync/queue/channel.rs",
    "crates/core/src/sync/queue/rendezvous.rs",
    "crates/core/src/sync/reentrant.rs",
    "crates/core/src/sync/rwlock.rs",
    "crates/core/src/sync/semaphore.rs",
    "crates/core/src/task/handle.rs",
    "crates/core/src/task/harness.rs",
    "crates/core/src/task/outcome.rs",
    "crates/core/src/waitlist.rs",
    "crates/jobs/src/broker/sqlite/bell.rs",
    "crates/ropewalk/src/executor/scope.rs",
    "crates/ropewalk/src/executor/thread_pool/fork.rs",
    "crates/ropewalk/src/executor/thread_pool/par.rs",
    "crates/core/src/task/promise.rs",
    "crates/ropewalk/src/greenlet/backtrace.rs",
    "crates/ropewalk/src/greenlet/hub.rs",
    "crates/ropewalk/src/greenlet/scope.rs",
    "crates/ropewalk/src/greenlet/watch.rs",
    "crates/ropewalk/src/io/descriptor/operation.rs",
    "crates/ropewalk/src/io/descriptor/source.rs",
    "crates/ropewalk/src/io/descriptor/system.rs",
    "crates/ropewalk/src/process/call.rs",
    "crates/ropewalk/src/process/image.rs",
    "crates/ropewalk/src/process/ipc/memory.rs",
    "crates/ropewalk/src/process/ipc/mutex.rs",
    "crates/ropewalk/src/process/ipc/shared.rs",
    // The macro for tests: one static in a section of its own.
    "crates/ropewalk/src/process/mod.rs",
    "crates/ropewalk/src/process/ring.rs",
    "crates/ropewalk/src/process/single.rs",
    "crates/ropewalk/src/process/start.rs",
    "crates/ropewalk/src/process/system.rs",
    "crates/ropewalk/src/process/worker.rs",
];

/// The only ways out of a process that skip destructors: the end of the command, that of `#[ropewalk::main]`, and that of a
/// worker process, whose `main` must not go on.
const MAY_EXIT: &[&str] = &[
    "crates/cli/src/exit.rs",
    "crates/ropewalk/src/process/worker.rs",
    // Tasks that exit: one of the deaths that a pool of processes survives.
    "crates/ropewalk/tests/process_deadlock.rs",
    "crates/ropewalk/tests/process_pool.rs",
    "crates/ropewalk/tests/process_sharing.rs",
    "crates/ropewalk/tests/process_storm.rs",
];

/// Tests *about* sequentially consistent operations: that loom misjudges them is itself a fact worth a test.
const MAY_USE_SEQCST: &[&str] = &[];

fn unsafe_files(tree: &Tree, listed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let first = words(&file.code).find(|(_, word)| *word == "unsafe");
        let is_listed = listed.contains(&file.path.as_str());
        match first {
            Some((line, _)) if !is_listed => findings.push(Finding::new(
                &file.path,
                line,
                "unsafe code in a file that is not listed. Is there a listed file that already does this? If not: say at the head \
                 of this file why it is safe, and add it to UNSAFE in examples/tests/tidy/lists.rs and to ARCHITECTURE.md",
            )),
            None if is_listed => {
                findings.push(Finding::new(&file.path, 0, "is listed in UNSAFE (examples/tests/tidy/lists.rs) and has none: remove it"));
            }
            _ => {}
        }
    }
    findings
}

#[test]
fn unsafe_code_only_in_listed_files() {
    holds(|tree| {
        let mut findings = unsafe_files(tree, UNSAFE);
        for listed in UNSAFE.iter().filter(|listed| !tree.rust.iter().any(|file| file.path == **listed)) {
            findings.push(Finding::new(
                listed,
                0,
                "is listed in UNSAFE (examples/tests/tidy/lists.rs) and does not exist",
            ));
        }
        findings
    });
}

#[test]
fn unsafe_code_only_in_listed_files_control() {
    reports(|tree| unsafe_files(tree, &[]), "crates/x/src/a.rs", "fn a() { unsafe { b() } }", "not listed");
    reports(
        |tree| unsafe_files(tree, &["crates/x/src/a.rs"]),
        "crates/x/src/a.rs",
        "// unsafe\nfn a() {}",
        "remove it",
    );
    accepts(|tree| unsafe_files(tree, &[]), "crates/x/src/a.rs", "#![forbid(unsafe_code)] // unsafe\n");
    accepts(|tree| unsafe_files(tree, &["crates/x/src/a.rs"]), "crates/x/src/a.rs", "unsafe impl Send for A {}");
}

fn exits(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in
        tree.rust.iter().filter(|file| file.path.starts_with("crates/") && !MAY_EXIT.contains(&file.path.as_str()))
    {
        for (line, path) in paths(&file.code) {
            if path.ends_with("process::exit") || path.ends_with("libc::_exit") || path.ends_with("libc::exit") {
                let what =
                    format!("`{path}` skips every destructor: return to `main`, which ends in crates/cli/src/exit.rs");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

#[test]
fn process_exit_only_at_the_end_of_the_command() {
    holds(exits);
}

#[test]
fn process_exit_only_at_the_end_of_the_command_control() {
    reports(exits, "crates/cli/src/lab/mod.rs", "fn a() { std::process::exit(1) }", "skips every destructor");
    reports(exits, "crates/cli/src/lab/mod.rs", "use std::process::{Command, exit};", "skips every destructor");
    reports(
        exits,
        "crates/ropewalk/src/thread.rs",
        "use std::process; fn a() { process::exit(1) }",
        "skips every destructor",
    );
    accepts(exits, "crates/cli/src/exit.rs", "fn a() { std::process::exit(1) }");
    accepts(exits, "crates/cli/src/lab/mod.rs", "use std::process::ExitCode; // process::exit");
}

/// loom 0.7 misjudges sequentially consistent operations and judges the fence rightly, so the fence is the only form. An
/// integration test may use what it likes: no checker reads it.
fn sequential_consistency(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let free = file.path.contains("/tests/");
        if free || !file.path.starts_with("crates/") || MAY_USE_SEQCST.contains(&file.path.as_str()) {
            continue;
        }
        let mut at = 0;
        while let Some(found) = file.code[at..].find("SeqCst").map(|offset| at + offset) {
            let before: String = file.code[..found].split_whitespace().collect();
            let head = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            let statement = file.code[..found].rsplit([';', '}']).next().unwrap_or("");
            // `use Ordering::SeqCst`, also inside a group.
            let imported = words(statement).next().is_some_and(|(_, word)| word == "use" || word == "pub")
                || file.code[..found].rfind("use ").is_some_and(|start| !file.code[start..found].contains([';', '(']));
            if !head.ends_with("fence(") && !imported {
                let line = file.code[..found].lines().count();
                findings.push(Finding::new(
                    &file.path,
                    line,
                    "`SeqCst` on an operation: loom cannot judge it. Write the handshake with `fence(Ordering::SeqCst)`",
                ));
            }
            at = found + "SeqCst".len();
        }
    }
    findings
}

#[test]
fn seqcst_only_as_a_fence() {
    holds(sequential_consistency);
}

#[test]
fn seqcst_only_as_a_fence_control() {
    let file = "crates/core/src/park/mod.rs";
    reports(sequential_consistency, file, "fn a() { x.store(1, Ordering::SeqCst); }", "loom cannot judge it");
    reports(sequential_consistency, file, "fn a() { x.load(SeqCst) }", "loom cannot judge it");
    reports(
        sequential_consistency,
        file,
        "use a::Ordering::SeqCst; fn a() { fence(SeqCst); x.load(SeqCst) }",
        "loom cannot judge it",
    );
    accepts(
        sequential_consistency,
        file,
        "use a::{Ordering::{self, SeqCst}, b}; fn a() { fence(SeqCst); atomic::fence(Ordering::SeqCst); }",
    );
    accepts(sequential_consistency, "crates/ropewalk/tests/pool.rs", "fn a() { x.load(SeqCst) }");
}

/// The switch that makes a stable compiler accept unstable flags is for one test job and for no build of a user.
fn bootstrap(tree: &Tree) -> Vec<Finding> {
    // Written in halves, or this file would report itself.
    let switch = concat!("RUSTC_", "BOOTSTRAP");
    let mut findings = Vec::new();
    for (path, text) in tree.all().filter(|(path, _)| *path != "ci/asan.sh" && !path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains(switch)) {
            let _ = line;
            findings.push(Finding::new(path, index + 1, format!("`{switch}` belongs in ci/asan.sh alone")));
        }
    }
    findings
}

#[test]
fn unstable_flags_only_in_the_asan_job() {
    holds(bootstrap);
}

#[test]
fn unstable_flags_only_in_the_asan_job_control() {
    let line = concat!("export RUSTC_", "BOOTSTRAP=1\n");
    reports(bootstrap, "ci/test.sh", line, "ci/asan.sh alone");
    reports(bootstrap, "crates/x/build.rs", line, "ci/asan.sh alone");
    accepts(bootstrap, "ci/asan.sh", line);
}

/// A library that sleeps does so through the one `sleep`, which knows who waits and can be cancelled. (clippy holds this too;
/// here because a `std` path can be hidden from clippy behind a macro.)
fn sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with("crates/ropewalk/src/")) {
        for (line, path) in paths(file.shipped()).into_iter().filter(|(_, path)| is_below(path, "std::thread::sleep")) {
            findings.push(Finding::new(
                &file.path,
                line,
                format!("`{path}` blocks without saying so: use `crate::sleep`"),
            ));
        }
    }
    findings
}

#[test]
fn library_sleeps_only_through_its_own_sleep() {
    holds(sleeps);
}

#[test]
fn library_sleeps_only_through_its_own_sleep_control() {
    reports(sleeps, "crates/ropewalk/src/thread.rs", "fn a() { std::thread::sleep(d) }", "use `crate::sleep`");
    accepts(sleeps, "crates/ropewalk/src/thread.rs", "#[test] fn a() { std::thread::sleep(d) }");
}
