//! Holds the list of CPython's cases to the letter: each is answered by a test or listed as a difference, never both, and
//! nothing is named that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn words_of(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| known.contains(*word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_case_is_answered() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let list = fs::read_to_string(tests.join("cpython/cases.txt")).expect("the list");
    let cases: BTreeSet<String> = list.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert!(cases.len() > 190, "the list is complete");

    let mut answered = BTreeSet::new();
    let mut sources = vec![tests.join("thread_exit.rs")];
    sources
        .extend(fs::read_dir(tests.join("cpython")).expect("the folder").map(|entry| entry.expect("an entry").path()));
    for path in sources {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file");
        let mut lines = source.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(case) = line.trim().strip_prefix("/// CPython: ") else { continue };
            assert!(cases.contains(case), "{}: no such case: {case}", path.display());
            answered.insert(case.to_owned());
            let next = lines.peek().copied().unwrap_or_default();
            assert!(
                ["/// CPython: ", "#[test]", "fn "].iter().any(|start| next.starts_with(start)),
                "{}: {case} names no test",
                path.display()
            );
        }
    }

    let differences = fs::read_to_string(tests.join("cpython/known_differences.md")).expect("the differences");
    let listed = words_of(&differences, &cases);
    assert_eq!(answered.intersection(&listed).collect::<Vec<_>>(), [""; 0], "answered and listed");
    let missing: Vec<_> = cases.iter().filter(|case| !answered.contains(*case) && !listed.contains(*case)).collect();
    assert_eq!(missing, [""; 0], "neither answered nor listed");
    println!("{} cases: {} answered, {} listed", cases.len(), answered.len(), listed.len());
}
