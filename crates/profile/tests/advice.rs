//! The lines that are recommended run, with the number filled in, and do the work: every item once, in order.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ropewalk_profile::advice::{divide, off_the_loop, overlap};
use ropewalk_profile::verdict::Language;

/// A directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

/// A machine without the language skips it, and says so.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|s| s.success());
    if !found {
        eprintln!("skipped: there is no {program} here");
    }
    found
}

fn run(name: &str, program: &str, file: &str, text: &str, others: &[(&str, &str)]) -> String {
    let directory = directory(name);
    for (file, text) in others.iter().chain([&(file, text)]) {
        std::fs::write(directory.join(file), text).expect("written");
    }
    let output = Command::new(program).arg(file).current_dir(&directory).output().expect("it is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said.trim().to_owned()
}

fn short(code: &str) {
    assert!((1..=6).contains(&code.lines().count()), "six lines at most:\n{code}");
}

const PYTHON: &str = "items = range(20)\n\ndef work(n):\n    return n * n\n\n";
const SQUARES: &str = "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144, 169, 196, 225, 256, 289, 324, 361]";

#[test]
fn python_runs() {
    if !has("python3") {
        return;
    }
    let threads = overlap(Language::Python, 7);
    short(&threads);
    assert_eq!(run("py_overlap", "python3", "a.py", &format!("{PYTHON}{threads}\nprint(results)"), &[]), SQUARES);
    let processes = divide(Language::Python, 2);
    short(&processes);
    let text = format!("{PYTHON}{processes}\n    print(results)");
    assert_eq!(run("py_divide", "python3", "a.py", &text, &[]), SQUARES);
    let beside = off_the_loop(Language::Python, 2);
    short(&beside);
    let body: String = beside.lines().map(|l| format!("    {l}\n")).collect();
    let text = format!(
        "import asyncio\ndef work(n):\n    return n * n\n\nasync def main(item):\n{body}    print(result)\n\nif __name__ == \"__main__\":\n    asyncio.run(main(5))"
    );
    assert_eq!(run("py_loop", "python3", "a.py", &text, &[]), "25");
}

#[test]
fn node_runs() {
    if !has("node") {
        return;
    }
    let around = |code: &str, show: &str| {
        format!(
            "async function main(items, item, work) {{\n{code}\nconsole.log(JSON.stringify({show}));\n}}\nmain([1, 2, 3, 4, 5], 5, async n => n * n);"
        )
    };
    let many = overlap(Language::Node, 3);
    short(&many);
    assert_eq!(run("js_overlap", "node", "a.js", &around(&many, "results"), &[]), "[1,4,9,16,25]");
    let worker = "const { parentPort, workerData } = require(\"node:worker_threads\");\n\
                  parentPort.postMessage([workerData].flat().map(n => n * n));";
    let parts = divide(Language::Node, 2);
    short(&parts);
    let said = run("js_divide", "node", "a.js", &around(&parts, "results"), &[("work.js", worker)]);
    assert_eq!(said, "[[1,9,25],[4,16]]");
    let beside = off_the_loop(Language::Node, 2);
    short(&beside);
    assert_eq!(run("js_loop", "node", "a.js", &around(&beside, "result"), &[("work.js", worker)]), "[25]");
}

#[test]
fn shell_runs() {
    let code = overlap(Language::Shell, 4);
    short(&code);
    let work = "#!/bin/sh\necho $(($1 * $1))\n";
    let text = format!("chmod +x work.sh\n{code} | sort -n | tr '\\n' ' '");
    let said = run("sh_overlap", "sh", "a.sh", &text, &[("work.sh", work), ("items.txt", "1\n2\n3\n4\n")]);
    assert_eq!(said, "1 4 9 16");
}
