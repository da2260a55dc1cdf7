//! What the command says of itself, to people who do not know it yet.

mod common;

use std::process::{Command, Output};

fn ropewalk(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ropewalk")).args(arguments).output().expect("the binary was built with the tests")
}

fn help(command: &str) -> String {
    let output = ropewalk(&[command, "--help"]);
    assert!(output.status.success(), "{command}: {}", common::complaint(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_command_shows_examples() {
    let commands = [
        "lab",
        #[cfg(target_os = "linux")]
        "profile",
        #[cfg(all(unix, feature = "jobs"))]
        "enqueue",
        #[cfg(all(unix, feature = "jobs"))]
        "worker",
        #[cfg(all(unix, feature = "jobs"))]
        "jobs",
    ];
    for command in commands {
        let text = help(command);
        assert!(text.contains("Examples:") && text.contains(&format!("ropewalk {command} ")), "{text}");
    }
}

#[test]
fn help_of_the_lab_fits_the_terminal_and_keeps_what_is_for_tests_to_itself() {
    let text = help("lab");
    assert!(text.contains("--with python") && text.contains("--url") && !text.contains("--fault"));
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn who_asks_for_nothing_gets_the_help_and_no_error() {
    let bare = ropewalk(&[]);
    let text = common::complaint(&bare);
    assert_eq!(bare.status.code(), Some(2));
    assert!(text.starts_with("Find the bottleneck") && text.contains("Exit codes:"), "{text}");
    assert!(bare.stdout.is_empty());
}

#[test]
fn command_that_was_not_built_in_names_its_feature() {
    let unknown = ropewalk(&["warp"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(!common::complaint(&unknown).contains("--features"));
    #[cfg(not(feature = "jobs"))]
    for command in ["worker", "enqueue", "jobs"] {
        let text = common::complaint(&ropewalk(&[command]));
        assert!(text.contains("--features jobs"), "{text}");
    }
    #[cfg(all(feature = "jobs", not(feature = "redis")))]
    {
        let text = common::complaint(&ropewalk(&["jobs", "audit"]));
        assert!(text.contains("--features redis"), "{text}");
    }
}
