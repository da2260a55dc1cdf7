//! What the kernel notes by itself: that it names what no look can meet, that a kernel that refuses spoils nothing, and that a
//! program which may not be looked at is said to be one.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use common::complaint;
use common::profile::{json, profile, run};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

/// Of a program with this name: how many processes ended as it.
fn ended_as(said: &Value, name: &str) -> u64 {
    let programs = said["programs"].as_array().expect("a list");
    programs.iter().find(|p| p["name"] == name).map_or(0, |p| p["count"].as_u64().expect("a count"))
}

/// Whether this kernel noted all of it. One that refuses says so, which the report must then contain.
fn noted(said: &Value) -> bool {
    let reason = said["not_noted"].as_str().expect("text");
    let (noted, wall) = (said["noted_s"].as_f64().expect("seconds"), said["wall_s"].as_f64().expect("seconds"));
    if !reason.is_empty() {
        assert!(reason.contains("perf_event_paranoid") || reason.contains("filter") || reason.contains("kernel"));
        eprintln!("skipped: {reason}");
    }
    noted >= wall
}

/// Runs where the kernel refuses to note anything, as many containers do.
fn where_the_kernel_refuses(arguments: &[&str]) -> Output {
    std::thread::scope(|s| {
        let refused = s.spawn(|| {
            // Of this thread, and what it starts.
            let rules = BTreeMap::from([(nix::libc::SYS_perf_event_open, Vec::new())]);
            let refuse = SeccompAction::Errno(nix::libc::EACCES as u32);
            let architecture = std::env::consts::ARCH.try_into().expect("a known architecture");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).expect("a filter");
            apply_filter(&BpfProgram::try_from(filter).expect("it compiles")).expect("filters are allowed");
            run(arguments)
        });
        refused.join().expect("it ran")
    })
}

const COMMANDS: &str = "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; exit 3";

#[test]
fn each_process_too_short_to_see_is_counted_by_name() {
    let output = run(&["--json", "--", "sh", "-c", COMMANDS]);
    assert_eq!(output.status.code(), Some(3), "{}", complaint(&output));
    let said = json(&output);
    if noted(&said) {
        assert_eq!((ended_as(&said, "true"), ended_as(&said, "sh")), (200, 1), "{}", said["programs"]);
    }
}

#[test]
fn a_kernel_that_refuses_to_note_anything_spoils_nothing() {
    let output = where_the_kernel_refuses(&["--json", "--", "sh", "-c", COMMANDS]);
    assert_eq!(output.status.code(), Some(3), "{}", complaint(&output));
    let said = json(&output);
    assert!(said["not_noted"].as_str().expect("text").contains("not noted by the kernel"), "{said}");
    assert_eq!((said["noted_s"].as_f64(), said["programs"].as_array().map(Vec::len)), (Some(0.0), Some(0)));
    assert!(said["totals"]["cpu_s"].as_f64() > Some(0.0));
    let said = json(&where_the_kernel_refuses(&["--json", "--", "sleep", "2"]));
    assert_eq!(said["verdict"]["class"], "sleeping");
    // Nothing is missing from a verdict that needs no notes.
    assert!(!said["verdict"]["confidence"]["missing"].to_string().contains("noted"), "{said}");
}

#[test]
fn ten_thousand_forks_are_counted_and_end_as_the_program_does() {
    let script = "i=0; while [ $i -lt 10000 ]; do (:); i=$((i+1)); done; exit 7";
    let output = run(&["--json", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", complaint(&output));
    let said = json(&output);
    let class = said["verdict"]["class"].as_str().expect("a class").to_owned();
    // A busy machine makes any of these of it; none blames something outside.
    let right = class.starts_with("cpu-") || ["child", "unclear"].contains(&class.as_str());
    assert!(right, "{class}: {}", said["verdict"]["sentence"]);
    if noted(&said) {
        assert_eq!(ended_as(&said, "sh"), 10_001, "{}", said["programs"]);
    }
}

const COMPUTE: &str = "ROPEWALK_TEST_COMPUTES";

#[inline(never)]
fn counts_for_a_while() -> u64 {
    let begun = std::time::Instant::now();
    let mut x = 1u64;
    while begun.elapsed().as_millis() < 1500 {
        for _ in 0..100_000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
    x
}

/// What [`the_function_that_computes_is_named`] profiles: this test program again, with this test alone.
#[test]
fn computes_when_it_is_asked_to() {
    if std::env::var_os(COMPUTE).is_some() {
        assert_ne!(counts_for_a_while(), 0);
    }
}

#[test]
fn the_function_that_computes_is_named() {
    let me = std::env::current_exe().expect("a path");
    let me = me.to_str().expect("UTF-8");
    let arguments = ["--json", "--", me, "--exact", "computes_when_it_is_asked_to"];
    let output = profile(&arguments).env(COMPUTE, "1").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let said = json(&output);
    if noted(&said) {
        // Unoptimized, the loop calls a function of the library for each step: it is among those that are named.
        let names: Vec<&str> =
            said["functions"].as_array().expect("a list").iter().filter_map(|f| f["name"].as_str()).collect();
        assert!(names.iter().any(|n| n.contains("counts_for_a_while") || n.contains("core::")), "{names:?}");
        assert!(names.iter().all(|n| !n.contains("17h")), "as they were written: {names:?}");
    }
}

#[test]
fn a_program_with_the_rights_of_another_user_says_what_is_missing() {
    const NOBODY: u32 = 65_534;
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("there is /proc")) != 0 {
        eprintln!("skipped: only root can give a program away");
        return;
    }
    // Where any user may get at them.
    let place = std::env::temp_dir().join(format!("ropewalk-setuid-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a place of ours");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let (ropewalk, sleep) = (place.join("ropewalk"), place.join("sleep"));
    std::fs::copy(env!("CARGO_BIN_EXE_ropewalk"), &ropewalk).expect("room for a copy");
    std::fs::copy("/bin/sleep", &sleep).expect("there is sleep");
    std::fs::set_permissions(&sleep, std::fs::Permissions::from_mode(0o4755)).expect("ours");
    let mut command = Command::new(&ropewalk);
    command.args(["profile", "--json", "--"]).arg(&sleep).arg("2").current_dir("/").uid(NOBODY).gid(NOBODY);
    let output = command.stdin(Stdio::null()).output().expect("it may be run");
    std::fs::remove_dir_all(&place).expect("ours");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let missing = json(&output)["verdict"]["confidence"]["missing"].to_string();
    assert!(missing.contains("hidden by the kernel"), "{missing}");
}
