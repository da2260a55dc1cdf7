//! What the documents promise, and whether the repository contains it: GUARANTEES.md names tests that exist, and every page
//! of the guide is compiled.

use crate::source::{Tree, words};
use crate::{Finding, accepts, holds, reports};

const GUARANTEES: &str = "GUARANTEES.md";

/// Each promise is a row of a table whose first cell is its number (`G1`), and names at least one test that holds it as
/// `` `crates/core/tests/event.rs::notify_between_check_and_park` ``. A test inside a module is named by its last word, an
/// example in the documentation by the item under which it stands.
fn guarantees(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(GUARANTEES) else {
        return vec![Finding::new(GUARANTEES, 0, "is missing: each promise with the test that holds it")];
    };
    let mut findings = Vec::new();
    let mut promises = 0;
    for (index, row) in text.lines().enumerate() {
        let mut cells = row.trim().strip_prefix('|').unwrap_or("").split('|').map(str::trim);
        let number = cells.next().unwrap_or("").trim_matches(['*', '`']);
        let digits = number.strip_prefix('G').unwrap_or(number);
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
            continue;
        }
        promises += 1;
        let tests: Vec<(&str, &str)> = row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|quoted| quoted.split_once("::"))
            .filter(|(file, _)| file.ends_with(".rs"))
            .collect();
        if tests.is_empty() {
            findings.push(Finding::new(GUARANTEES, index + 1, format!("{number} names no test (`crates/….rs::name`)")));
        }
        for (path, name) in tests {
            let name = name.rsplit("::").next().unwrap_or(name);
            let Some(file) = tree.rust.iter().find(|file| file.path == path) else {
                findings.push(Finding::new(
                    GUARANTEES,
                    index + 1,
                    format!("{number} names `{path}`, which does not exist"),
                ));
                continue;
            };
            if !has_test(&file.code, name) && !has_example(&file.text, name) {
                findings.push(Finding::new(
                    GUARANTEES,
                    index + 1,
                    format!("{number} names the test `{name}`, which is not in {path}"),
                ));
            }
        }
    }
    if promises == 0 {
        findings.push(Finding::new(GUARANTEES, 0, "has no promise: a row begins with its number, `| G1 | ..`"));
    }
    findings
}

/// A function of that name under `#[test]`; or, in a file whose macros write tests, the name given to a macro; or one in the
/// list `tests! { .. }` of a binary that is its own harness.
fn has_test(code: &str, name: &str) -> bool {
    let all: Vec<&str> = words(code).map(|(_, word)| word).collect();
    let function = all.iter().enumerate().any(|(i, word)| {
        *word == name && i > 0 && all[i - 1] == "fn" && all[..i].iter().rev().take(12).any(|before| *before == "test")
    });
    let listed = code.split("tests! {").skip(1).any(|list| {
        let list = list.split('}').next().unwrap_or("");
        words(list).any(|(_, word)| word == name)
    });
    // A test that is a program of its own: what its `main` calls.
    let mut main = all.windows(2).skip_while(|pair| *pair != ["fn", "main"]).skip(2);
    let called = all.windows(2).any(|pair| pair == ["fn", name]) && main.any(|pair| pair[0] == name);
    function || called || listed || (all.contains(&"macro_rules") && all.contains(&name))
}

/// A public item of that name whose documentation has a block of code that is run, or that must not compile.
fn has_example(text: &str, name: &str) -> bool {
    let mut example = false;
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            let fence = doc.trim();
            example |= fence.starts_with("```") && !fence.contains("ignore") && !fence.contains("no_run");
        } else if !line.starts_with("#[") {
            let mut words = words(line).map(|(_, word)| word);
            let is_item = words.next() == Some("pub")
                && ["fn", "struct", "enum", "trait"].contains(&words.next().unwrap_or(""))
                && words.next() == Some(name);
            if is_item && example {
                return true;
            }
            example = false;
        }
    }
    false
}

#[test]
fn every_promise_names_a_test_that_exists() {
    holds(guarantees);
}

#[test]
fn every_promise_names_a_test_that_exists_control() {
    reports(guarantees, GUARANTEES, "# Promises\n", "has no promise");
    reports(guarantees, GUARANTEES, "| G1 | no lost wake-up | some day |\n", "G1 names no test");
    reports(
        guarantees,
        GUARANTEES,
        "| G1 | x | `crates/a/tests/b.rs::c` |\n",
        "`crates/a/tests/b.rs`, which does not exist",
    );
    let both = |test: &str| {
        let tree = Tree::of(&[
            (GUARANTEES, "| **G1** | x | `crates/a/tests/b.rs::tests::c` |\n"),
            ("crates/a/tests/b.rs", test),
        ]);
        guarantees(&tree).into_iter().map(|f| f.what).collect::<Vec<_>>()
    };
    assert!(both("#[test]\n#[should_panic]\nfn c() {}").is_empty());
    assert!(both("macro_rules! hazard { () => {} }\nhazard!(c, 3);").is_empty());
    assert!(both("fn c() {}\nfn main() {\n    run(&tests! {\n        a\n        c\n    });\n}").is_empty());
    assert!(both("fn c() {}\nfn main() {\n    run(&tests! {\n        a\n    });\n}")[0].contains("the test `c`"));
    assert!(both("fn c() {}\nfn main() {\n    c();\n    d();\n}").is_empty());
    assert!(both("fn c() {}\nfn main() {\n    d();\n    e();\n}")[0].contains("the test `c`"));
    assert!(both("/// Does.\n///\n/// ```\n/// c();\n/// ```\n#[inline]\npub fn c() {}").is_empty());
    assert!(both("/// ```no_run\n/// c();\npub fn c() {}")[0].contains("the test `c`"));
    assert!(both("/// ```\n/// d();\n/// ```\npub fn d() {}\n/// Does.\npub fn c() {}")[0].contains("the test `c`"));
    assert!(both("// fn c()\n#[test]\nfn cc() {}")[0].contains("the test `c`, which is not in"));
    assert!(both("fn c() {}")[0].contains("the test `c`, which is not in"));
}

/// The code of the guide and of the README is compiled by `examples/src/lib.rs`, page by page.
fn pages_are_compiled(tree: &Tree) -> Vec<Finding> {
    let includes =
        tree.rust.iter().find(|file| file.path == "examples/src/lib.rs").map_or("", |file| file.text.as_str());
    let pages = tree.texts.iter().map(|(path, _)| path.as_str()).filter(|path| {
        let page = path.strip_prefix("guide/src/").is_some_and(|name| name.ends_with(".md") && name != "SUMMARY.md");
        page || *path == "README.md"
    });
    pages
        .filter(|path| !includes.contains(&format!("include_str!(\"../../{path}\")")))
        .map(|path| Finding::new(path, 0, "is not compiled: include it in examples/src/lib.rs as its neighbours are"))
        .collect()
}

#[test]
fn every_page_is_compiled() {
    holds(pages_are_compiled);
}

#[test]
fn every_page_is_compiled_control() {
    reports(pages_are_compiled, "guide/src/threads.md", "# Threads\n", "is not compiled");
    reports(pages_are_compiled, "README.md", "# ropewalk\n", "is not compiled");
    accepts(pages_are_compiled, "guide/src/SUMMARY.md", "# Summary\n");
}
