//! Rules about every file: its head, its length, what was left in it by accident.

use crate::source::{Tree, words};
use crate::{Finding, accepts, holds, reports};

const LINES_MAX: usize = 1_000;

/// Every Rust file begins with a `//!` that says what it is for.
fn heads(tree: &Tree) -> Vec<Finding> {
    let headless = tree.rust.iter().filter(|file| {
        let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
        first.strip_prefix("//!").is_none_or(|rest| rest.trim().is_empty())
    });
    headless.map(|file| Finding::new(&file.path, 1, "begins without a `//!` head: say what this file is for")).collect()
}

#[test]
fn every_rust_file_has_a_head() {
    holds(heads);
}

#[test]
fn every_rust_file_has_a_head_control() {
    reports(heads, "crates/x/src/a.rs", "// no head\nfn a() {}\n", "`//!` head");
    reports(heads, "crates/x/src/a.rs", "//!\nfn a() {}\n", "`//!` head");
    accepts(heads, "crates/x/src/a.rs", "//! What this is for.\n");
}

/// Scripts and the files that tools read say what they are for as well, in a comment at the top.
fn script_heads(tree: &Tree) -> Vec<Finding> {
    let scripts =
        tree.texts.iter().filter(|(path, _)| path.ends_with(".sh") || path.ends_with(".py") || path == ".ci/run");
    let headless = scripts.filter(|(_, text)| {
        let mut lines = text.lines().skip_while(|line| line.starts_with("#!"));
        !lines.next().is_some_and(|line| line.starts_with("# ") || line.starts_with("\"\"\""))
    });
    headless.map(|(path, _)| Finding::new(path, 1, "begins without a comment: say what this script is for")).collect()
}

#[test]
fn every_script_has_a_head() {
    holds(script_heads);
}

#[test]
fn every_script_has_a_head_control() {
    reports(script_heads, "ci/a.sh", "#!/usr/bin/env bash\nset -euo pipefail\n", "what this script is for");
    accepts(script_heads, "ci/a.sh", "#!/usr/bin/env bash\n# Checks it.\nset -euo pipefail\n");
}

/// A longer file has grown a second role.
fn lengths(tree: &Tree) -> Vec<Finding> {
    let counted = tree.rust.iter().map(|file| (file, file.text.lines().count()));
    counted
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            Finding::new(
                &file.path,
                lines,
                format!("has {lines} lines (at most {LINES_MAX}): find its second role, and move it out"),
            )
        })
        .collect()
}

#[test]
fn no_file_is_too_long() {
    holds(lengths);
}

#[test]
fn no_file_is_too_long_control() {
    reports(lengths, "crates/x/src/a.rs", &"\n".repeat(LINES_MAX + 1), "has 1001 lines");
    accepts(lengths, "crates/x/src/a.rs", &"\n".repeat(LINES_MAX));
}

/// What people leave in a file while they work on it.
fn leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        for (index, line) in file.code.lines().enumerate() {
            let tight: String = line.split_whitespace().collect();
            for word in ["todo!", "unimplemented!", "dbg!"] {
                // `my_todo!` is somebody else's macro.
                let found = tight
                    .match_indices(word)
                    .any(|(at, _)| !tight[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
                if found {
                    findings.push(Finding::new(&file.path, index + 1, format!("`{word}` was left here")));
                }
            }
            if tight.contains("#[ignore") {
                findings.push(Finding::new(
                    &file.path,
                    index + 1,
                    "an ignored test tests nothing: delete it or make it fit the gate",
                ));
            }
        }
    }
    findings
}

#[test]
fn nothing_was_left_behind() {
    holds(leftovers);
}

#[test]
fn nothing_was_left_behind_control() {
    reports(leftovers, "crates/x/src/a.rs", "fn a() { todo!() }", "`todo!`");
    reports(leftovers, "crates/x/src/a.rs", "fn a() { unimplemented!(\"b\") }", "`unimplemented!`");
    reports(leftovers, "crates/x/src/a.rs", "fn a() { dbg!(1); }", "`dbg!`");
    reports(leftovers, "crates/x/tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}", "ignored test");
    accepts(leftovers, "crates/x/src/a.rs", "// todo!() and \"dbg!(\"\nfn a() -> &'static str { \"todo!()\" }");
}

/// A path of the machine that something was written on works nowhere else.
fn machine_paths(tree: &Tree) -> Vec<Finding> {
    // Written in halves, or this file would report itself.
    let needles = [
        concat!("/wo", "rk/"),
        concat!("/tm", "p/rw"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let mut findings = Vec::new();
    for (path, text) in tree.all().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (index, line) in text.lines().enumerate() {
            for needle in needles {
                let starts_a_path =
                    |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-~/}".contains(c));
                if line.match_indices(needle).any(|(at, _)| starts_a_path(at)) {
                    findings.push(Finding::new(path, index + 1, format!("a path of one machine: `{needle}..`")));
                }
            }
        }
    }
    findings
}

#[test]
fn no_path_of_a_machine() {
    holds(machine_paths);
}

#[test]
fn no_path_of_a_machine_control() {
    reports(machine_paths, "README.md", concat!("see /ho", "me/me/x"), "path of one machine");
    reports(machine_paths, "crates/x/src/a.rs", concat!("const A: &str = \"/wo", "rk/main\";"), "path of one machine");
    accepts(machine_paths, "README.md", "https://example.org/work/ and a/root/b");
}

/// Crates that need no unsafe code say so to the compiler.
fn forbids(tree: &Tree) -> Vec<Finding> {
    const SAFE: [&str; 3] = ["crates/macros/src/lib.rs", "crates/cli/src/lib.rs", "crates/cli/src/main.rs"];
    let roots = tree.rust.iter().filter(|file| SAFE.contains(&file.path.as_str()));
    roots
        .filter(|file| !file.code.split_whitespace().collect::<String>().contains("#![forbid(unsafe_code)]"))
        .map(|file| Finding::new(&file.path, 1, "this crate has no unsafe code: `#![forbid(unsafe_code)]`"))
        .collect()
}

#[test]
fn safe_crates_forbid_unsafe_code() {
    holds(forbids);
}

#[test]
fn safe_crates_forbid_unsafe_code_control() {
    reports(forbids, "crates/cli/src/lib.rs", "//! Head.\n// #![forbid(unsafe_code)]\n", "forbid(unsafe_code)");
    accepts(forbids, "crates/cli/src/lib.rs", "//! Head.\n#![forbid(unsafe_code)]\n");
}

/// The words of a tree are found at all: every rule stands on this.
#[test]
fn this_repository_is_read() {
    let tree = Tree::of_this_repository();
    assert!(tree.rust.iter().any(|file| file.path == "crates/core/src/lib.rs"), "the tree is not the repository");
    assert!(tree.text("Cargo.toml").is_some());
    let count: usize = tree.rust.iter().map(|file| words(&file.code).count()).sum();
    assert!(count > 1_000, "{count} words");
}
