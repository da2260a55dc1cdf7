//! Tests that look at whole programs: each starts its own binary again with the name of a scenario in the environment, and
//! looks at what the child wrote and how it ended. The binary has a `main` of its own, and so only as much of a test
//! harness as `cargo test` and nextest ask for.

use std::panic::catch_unwind;
use std::process::{Command, ExitCode, Output};

const SCENARIO: &str = "ROPEWALK_SCENARIO";

/// The scenario that this process is to play, if it is a child.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn scenario() -> Option<String> {
    std::env::var(SCENARIO).ok()
}

/// The processes that this one has started and not reaped.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn children_of_ours() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().map(|child| child.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Plays a scenario in a child process.
#[track_caller]
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn play(scenario: &str) -> Output {
    play_with(scenario, &[])
}

/// Plays a scenario in a child process with these variables in its environment.
#[track_caller]
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn play_with(scenario: &str, environment: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("the path of this test");
    let environment = environment.iter().copied().chain([(SCENARIO, scenario)]);
    Command::new(program).envs(environment).output().expect("a child process")
}

/// What the tests of a binary are called, and the tests.
#[macro_export]
macro_rules! tests {
    ($($test:ident)*) => { [$((stringify!($test), $test as fn())),*] };
}

/// Runs those of the tests that the command line chooses.
pub(crate) fn run(tests: &[(&str, fn())]) -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| options.iter().any(|given| given == option);
    let filter = options.iter().find(|given| !given.starts_with("--") && *given != "terse");
    let chosen =
        |name: &str| filter.is_none_or(|filter| if has("--exact") { name == filter } else { name.contains(filter) });
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
        if has("--list") {
            if !has("--ignored") {
                println!("{name}: test");
            }
            continue;
        }
        let ended = catch_unwind(*test);
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        if ended.is_ok() { passed += 1 } else { failed += 1 }
    }
    if !has("--list") {
        println!("\ntest result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    }
    ExitCode::from(u8::from(failed > 0))
}
