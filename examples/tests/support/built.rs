//! The examples as programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A file of the examples' directory.
pub(crate) fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Where the examples lie: beside this test's own directory. Cargo builds them with the tests of a package, but not when
/// it is asked for one test (`--test examples`), and then old ones may lie there; so they are built here, mostly for nothing.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("this test has a path");
        let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/examples-1234");
        let target = profile.parent().expect("target/PROFILE");
        let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // As the gate builds everything, so that it is not built anew.
        let whole = std::env::var("ROPEWALK_WHOLE");
        let what = whole.as_deref().unwrap_or("--package ropewalk-examples");
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--examples"])
            .args(what.split(' '))
            .arg("--profile")
            .arg(if name == "debug" { "dev" } else { name })
            .arg("--manifest-path")
            .arg(here("Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the examples do not build");
        profile.join("examples")
    })
}
