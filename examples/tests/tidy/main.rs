//! Tidy: the rules of this repository that a reviewer would otherwise have to remember, as a test.
//!
//! It lives beside the examples, and not in a crate that is published: it reads the whole repository, which a published
//! crate does not contain. It needs nothing but the standard library: `cargo test -p ropewalk-examples --test tidy`.
//!
//! - [`source`]: a tree of files; Rust without its comments, literals and test-only items; paths with their `use` groups unfolded
//! - [`style`]: heads, lengths, leftovers, paths of a machine
//! - [`rooms`]: who may import whom (the table of ARCHITECTURE.md)
//! - [`lists`]: things that only listed files may do: `unsafe`, `process::exit`, `SeqCst`, unstable flags
//! - [`promises`]: GUARANTEES.md names tests that exist; every page of the guide is compiled
//!
//! A rule is a function from a tree to findings. Each has two tests: one that it holds for this repository, and one that it
//! reports a bad sample, because a check that cannot fail says nothing.

mod lists;
mod promises;
mod rooms;
mod source;
mod style;

use source::Tree;

/// One broken rule at one place.
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1; 0 when the finding is about the file as a whole.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

/// A rule: what it finds in a tree.
pub(crate) type Rule = fn(&Tree) -> Vec<Finding>;

/// Fails with all findings of a rule in this repository.
#[track_caller]
pub(crate) fn holds(rule: Rule) {
    let findings = rule(&Tree::of_this_repository());
    let list: String = findings
        .iter()
        .map(|f| {
            if f.line == 0 {
                format!("\n  {}: {}", f.path, f.what)
            } else {
                format!("\n  {}:{}: {}", f.path, f.line, f.what)
            }
        })
        .collect();
    assert!(findings.is_empty(), "{} finding(s):{list}\n", findings.len());
}

/// The negative control: the rule must find something in this file, and say so in these words.
#[track_caller]
pub(crate) fn reports(rule: Rule, path: &str, text: &str, words: &str) {
    let findings = rule(&Tree::of(&[(path, text)]));
    assert!(!findings.is_empty(), "the rule accepts this bad sample: {text}");
    assert!(
        findings.iter().any(|f| f.what.contains(words)),
        "no finding says {words:?}: {:?}",
        findings.iter().map(|f| &f.what).collect::<Vec<_>>()
    );
}

/// The other side of the control: the rule has nothing against this file.
#[track_caller]
pub(crate) fn accepts(rule: Rule, path: &str, text: &str) {
    let findings = rule(&Tree::of(&[(path, text)]));
    assert!(
        findings.is_empty(),
        "a good sample is reported: {:?}",
        findings.iter().map(|f| &f.what).collect::<Vec<_>>()
    );
}
