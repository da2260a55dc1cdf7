//! Holds the lists of CPython's and gevent's cases to the letter: each is answered by a test or listed as a difference, never
//! both, and nothing is named that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Somebody else's suite, as it is re-expressed here.
struct Suite {
    /// Whose; a test says which cases it answers in lines `/// <name>: <case>`.
    name: &'static str,
    /// Where `cases.txt` and `known_differences.md` lie.
    folder: &'static str,
    /// No fewer than so many cases make the list.
    cases_min: usize,
}

/// `a{b,c}d` is `abd` and `acd`: cases that differ in one word are named in one line.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let (choices, after) = rest.split_once('}').unwrap_or_else(|| panic!("{pattern}: a brace is not closed"));
    let ends = expand(after);
    choices.split(',').flat_map(|choice| ends.iter().map(move |end| format!("{before}{choice}{end}"))).collect()
}

/// The cases that the code spans of a text name. A span that looks like a case and is none is a mistake, and so is one that
/// names a test of ours (`file.rs::test`) that does not exist.
fn listed_in(text: &str, cases: &BTreeSet<String>, tests: &Path) -> BTreeSet<String> {
    let modules: BTreeSet<&str> = cases.iter().filter_map(|case| case.split('.').next()).collect();
    let mut listed = BTreeSet::new();
    for span in text.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = span.split_once("::").filter(|(file, _)| file.ends_with(".rs")) {
            let source = fs::read_to_string(tests.join(file)).unwrap_or_else(|error| panic!("{span}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "no such test: {span}");
            continue;
        }
        for case in expand(span) {
            let module = case.split('.').next().expect("a split has a first part");
            if cases.contains(&case) {
                assert!(listed.insert(case.clone()), "{case} is listed twice");
            } else {
                assert!(!modules.contains(module) || case == module, "no such case: {case}");
            }
        }
    }
    listed
}

/// The Rust files under `tests` in whose head or folder the suite's name is.
fn sources(tests: &Path, folder: &str) -> Vec<PathBuf> {
    let files =
        |of: &Path| fs::read_dir(of).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    let mut sources: Vec<PathBuf> = files(tests);
    sources.extend::<Vec<PathBuf>>(files(&tests.join(folder)));
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources
}

fn every_case_is_answered_of(suite: &Suite) {
    let Suite { name, folder, .. } = suite;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let list = fs::read_to_string(tests.join(folder).join("cases.txt")).expect("the list");
    let cases: BTreeSet<String> = list.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert!(cases.len() >= suite.cases_min, "the list is complete");

    let mark = format!("/// {name}: ");
    let mut answered = BTreeSet::new();
    for path in sources(&tests, folder) {
        let source = fs::read_to_string(&path).expect("a source file");
        let mut lines = source.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(pattern) = line.trim().strip_prefix(&mark) else { continue };
            for case in expand(pattern) {
                assert!(cases.contains(&case), "{}: no such case: {case}", path.display());
                answered.insert(case);
            }
            let next = lines.peek().copied().unwrap_or_default().trim();
            assert!(
                [mark.as_str(), "#[test]", "fn "].iter().any(|start| next.starts_with(start)),
                "{}: {pattern} names no test",
                path.display()
            );
        }
    }

    let differences = fs::read_to_string(tests.join(folder).join("known_differences.md")).expect("the differences");
    let listed = listed_in(&differences, &cases, &tests);
    assert_eq!(answered.intersection(&listed).collect::<Vec<_>>(), [""; 0], "answered and listed");
    let missing: Vec<_> = cases.iter().filter(|case| !answered.contains(*case) && !listed.contains(*case)).collect();
    assert_eq!(missing, [""; 0], "neither answered nor listed");
    println!("{name}: {} cases: {} answered, {} listed", cases.len(), answered.len(), listed.len());
}

#[test]
fn every_case_is_answered() {
    every_case_is_answered_of(&Suite { name: "CPython", folder: "cpython", cases_min: 190 });
}

#[test]
fn every_case_of_gevent_is_answered() {
    every_case_is_answered_of(&Suite { name: "gevent", folder: "gevent", cases_min: 510 });
}

#[test]
fn every_case_of_subprocess_is_answered() {
    every_case_is_answered_of(&Suite { name: "CPython subprocess", folder: "cpython_subprocess", cases_min: 220 });
}

#[test]
fn braces_name_several_cases() {
    assert_eq!(expand("a.b"), ["a.b"]);
    assert_eq!(expand("T{,2}.test_{x,y}"), ["T.test_x", "T.test_y", "T2.test_x", "T2.test_y"]);
}
