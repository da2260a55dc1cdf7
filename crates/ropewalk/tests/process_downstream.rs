//! The test story of a user's own crate: pools in its unit tests, its integration tests and the examples of its documentation, under
//! `cargo test` and under nextest. The crate is made here, in a workspace of its own.
#![cfg(all(target_os = "linux", feature = "process", feature = "macros"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate beside this file, put together.
fn make() -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let krate = Path::new(env!("CARGO_TARGET_TMPDIR")).join("process_downstream");
    ["src", "tests"].iter().for_each(|folder| fs::create_dir_all(krate.join(folder)).expect("a folder"));
    let manifest = format!(
        "[package]\nname = \"downstream\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n\
         [dependencies]\nropewalk = {{ path = {library:?}, features = [\"process\"] }}\n\n\
         [profile.dev]\ndebug = false\nincremental = false\n"
    );
    fs::write(krate.join("Cargo.toml"), manifest).expect("a manifest");
    for (from, to) in [("lib.rs", "src/lib.rs"), ("pools.rs", "tests/pools.rs")] {
        fs::copy(library.join("tests/process_downstream").join(from), krate.join(to)).expect("a file");
    }
    // The versions that everything else here is built with; they are on this machine.
    let lock = library.join("../../Cargo.lock");
    if lock.exists() {
        fs::copy(lock, krate.join("Cargo.lock")).expect("a lock file");
    }
    krate
}

/// Runs cargo there and gives what it said, on both streams.
#[track_caller]
fn cargo(krate: &Path, arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What nextest says to the test that this is, it does not say to those of the crate.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEXTEST")) {
        command.env_remove(name);
    }
    let ran = command
        .args(arguments)
        .arg("--offline")
        .current_dir(krate)
        .env("CARGO_TARGET_DIR", krate.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo");
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ran.status.success(), "cargo {arguments:?} in {}:\n{said}", krate.display());
    said
}

#[test]
fn crate_of_a_user_tests_its_pools() {
    let krate = make();
    let said = cargo(&krate, &["test"]);
    // The unit tests, the integration tests and the documentation; each test program has the entry of its workers in it.
    for passed in ["3 passed", "4 passed", "1 passed"] {
        assert!(said.contains(&format!("test result: ok. {passed}; 0 failed")), "{passed}:\n{said}");
    }
    // One process a test, as nextest runs them: also without it.
    for test in ["spawned_and_shared", "a_death_is_one_task"] {
        cargo(&krate, &["test", "--test", "pools", test]);
    }
    let has_nextest = Command::new("cargo-nextest").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if has_nextest {
        let said = cargo(&krate, &["nextest", "run"]);
        assert!(said.contains("7 passed"), "{said}");
    }
}
