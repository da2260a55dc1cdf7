//! Where panics abort, a kill cannot unwind: it is told to whoever asks, and waits go on. A program built so says it.
#![cfg(all(unix, feature = "greenlet"))]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Builds the program beside this file in a workspace of its own, since a profile belongs to one.
fn build() -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panic_abort");
    fs::create_dir_all(program.join("src")).expect("a folder");
    let manifest = format!(
        "[package]\nname = \"panic_abort\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n\
         [dependencies]\nropewalk = {{ path = {library:?}, default-features = false, features = [\"greenlet\"] }}\n\n\
         [profile.dev]\npanic = \"abort\"\ndebug = false\n"
    );
    fs::write(program.join("Cargo.toml"), manifest).expect("a manifest");
    fs::copy(library.join("tests/panic_abort/program.rs"), program.join("src/main.rs")).expect("the program");
    // The versions that everything else here is built with; they are on this machine.
    let lock = library.join("../../Cargo.lock");
    if lock.exists() {
        fs::copy(lock, program.join("Cargo.lock")).expect("a lock file");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = program.join("target");
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline"])
        .current_dir(&program)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/panic_abort")
}

fn run(program: &Path, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(program).args(arguments).output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn kill_is_a_question_where_panics_abort() {
    let program = build();
    let (output, text) = run(&program, &[]);
    let expected = [
        "computation: Some(\"asked\")",
        "wait with a limit: true",
        "wait goes on: true",
        "wait: Some(())",
        "sleep lasts: Some(true)",
        "not started: true",
        "region: Ok(())",
        "asked at the end",
        "ended",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));

    let (output, _) = run(&program, &["panic"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("in a greenlet"), "{text}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "a panic ends the process");
}
