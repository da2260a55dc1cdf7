//! Programs that a profiler could spoil, or be spoiled by: their exit status, input and output stay their own, and whatever
//! happens there is a report or a message that says what to do.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, Command, Output, Stdio};

use common::processes::{below, pid};
use common::profile::{json, profile, run};
use common::{complaint, directory, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn class(output: &Output) -> String {
    json(output)["verdict"]["class"].as_str().expect("a class").to_owned()
}

#[test]
fn the_programs_exit_status_is_ours() {
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let output = run(&["--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", complaint(&output));
        assert!(complaint(&output).contains("Sure: "), "a report even so: {}", complaint(&output));
    }
    let output = run(&["--json", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(json(&output)["status"]["signal"], 9);
}

#[test]
fn what_cannot_be_started_is_said_as_a_shell_would() {
    let output = run(&["--", "./no-such-program"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(complaint(&output).contains("no such program"), "{}", complaint(&output));
    let output = run(&["--", "/etc/passwd"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(complaint(&output).contains("/etc/passwd"), "{}", complaint(&output));
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("ropewalk profile -- PROGRAM"), "{}", complaint(&output));
}

#[test]
fn what_cannot_be_written_or_does_not_apply_is_said_and_leaves_no_file() {
    let here = directory("profile-leaves");
    let page = here.join("page.html");
    let page = page.to_str().expect("text");
    let refused = |arguments: &[&str], code: i32, needed: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", complaint(&output));
        assert!(complaint(&output).contains(needed), "{}", complaint(&output));
        assert_eq!(std::fs::read_dir(&here).expect("readable").count(), 0, "{arguments:?} left a file");
    };
    for option in ["--html", "--trace", "--record"] {
        refused(&[option, page, "--", "./no-such-program"], 127, "no such program");
        refused(&["compare", "a.rwp", "b.rwp", option, page], 2, option);
    }
    refused(&["a.rwp", "--duration", "5"], 2, "--duration");
    refused(&["a.rwp", "--hz", "5"], 2, "--hz");
    refused(&["--duration", "1ms", "--", "true"], 2, "shorter than 10ms");
}

#[test]
fn what_was_not_confirmed_is_said_with_its_reason() {
    let output = run(&["--confirm", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(complaint(&output).contains("--confirm: not run again"), "{}", complaint(&output));
}

#[test]
fn ends_at_once() {
    for _ in 0..10 {
        let output = run(&["--json", "--", "true"]);
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        assert_eq!(json(&output)["version"], 1);
    }
}

#[test]
fn binary_output_passes_unchanged_and_the_report_does_not_mix_with_it() {
    let output = run(&["--", "head", "-c", "1000000", "/dev/zero"]);
    assert!(output.stdout.len() == 1_000_000 && output.stdout.iter().all(|b| *b == 0));
    assert_eq!(output.status.code(), Some(0));
    assert!(complaint(&output).contains("Sure: "), "{}", complaint(&output));
    // With --json our own answer has stdout, and the program's goes to stderr.
    let output = run(&["--json", "--", "echo", "hello"]);
    assert_eq!(json(&output)["version"], 1);
    assert!(complaint(&output).contains("hello"));
}

#[test]
fn first_keys_of_the_json_are_those_that_scripts_rely_on() {
    let output = run(&["--json", "--", "sleep", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = |key: &str| text.find(&format!("\"{key}\"")).unwrap_or_else(|| panic!("no {key} in {text}"));
    let keys = ["version", "verdict", "class", "sentence", "causes", "confidence", "advice", "predicted"];
    assert!(keys.windows(2).all(|w| at(w[0]) < at(w[1])), "{text}");
    assert_eq!(class(&output), "sleeping");
}

#[test]
fn standard_input_is_the_programs() {
    let mut child = profile(&["--", "wc", "-c"]).stdin(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(&[7; 5000]).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "5000");
}

#[test]
fn reads_from_a_terminal_and_waits_for_a_person() {
    let pty = nix::pty::openpty(None, None).expect("there are pseudo terminals");
    let mut child = profile(&["--json", "--", "head", "-n", "1"]).stdin(pty.slave).spawn().expect("started");
    something_to_report();
    std::fs::File::from(pty.master.try_clone().expect("a copy")).write_all(b"typed\n").expect("a terminal");
    let _ = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    drop(pty.master);
    assert_eq!(class(&output), "person", "{}", complaint(&output));
    assert!(complaint(&output).contains("typed"));
}

/// Lets a program be watched, so that there is a verdict about it.
fn something_to_report() {
    #[expect(clippy::disallowed_methods, reason = "time is what is watched; nothing else depends on how long")]
    std::thread::sleep(std::time::Duration::from_secs(2));
}

/// Started, and with the program under it running.
fn started(command: &mut Command, name: &str) -> Child {
    let child = command.spawn().expect("started");
    until("the program runs", || {
        below(pid(&child)).iter().any(|p| common::processes::command_line(p.pid).starts_with(name)).then_some(())
    });
    child
}

/// Reads until the program says that it is ready, and gives back the rest.
fn ready(from: impl Read) -> impl BufRead {
    let mut from = BufReader::new(from);
    let mut line = String::new();
    while line.trim_end() != "ready" {
        line.clear();
        assert!(from.read_line(&mut line).expect("text") > 0, "it ended before it was ready");
    }
    from
}

/// A set of signals in `/proc/PID/status`, and whether a signal is in it.
fn has(pid: i32, set: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix(set)).expect("the kernel lists it");
    let bits = u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number");
    bits >> (signal as u32 - 1) & 1 == 1
}

/// Sends a signal to us alone, when we look at signals, and waits until we have.
fn send(to: &Child, signal: Signal) {
    let to = pid(to);
    // All are blocked for a moment while a program is started.
    until("signals are looked at", || (has(to, "SigBlk", signal) && !has(to, "SigBlk", Signal::SIGUSR1)).then_some(()));
    kill(Pid::from_raw(to), signal).expect("it runs");
    until("the signal was seen", || (!has(to, "ShdPnd", signal)).then_some(()));
}

#[test]
fn an_interrupt_ends_the_program_and_gives_the_report_so_far() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let child = started(&mut profile(&["--", "sleep", "60"]), "sleep");
        something_to_report();
        let below = below(pid(&child));
        // To us alone: it is passed on.
        send(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{}", complaint(&output));
        assert!(complaint(&output).contains("Asleep"), "{}", complaint(&output));
        assert!(below.iter().all(common::processes::is_gone), "the program stayed");
    }
}

/// Runs until it is interrupted, and a while longer; ends with how many interrupts it got.
const COUNTS: &str = "n=0; i=0; trap 'n=$((n+1))' INT; echo ready;
    while [ $n = 0 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done;
    for i in 1 2 3 4 5; do sleep 0.1; done; exit $n";

#[test]
fn an_interrupt_sent_to_us_reaches_the_program_once() {
    let mut child = profile(&["--", "sh", "-c", COUNTS]).spawn().expect("started");
    let _rest = ready(child.stdout.take().expect("a pipe"));
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
}

#[test]
fn ctrl_c_at_a_terminal_reaches_the_program_once() {
    let pty = nix::pty::openpty(None, None).expect("there are pseudo terminals");
    // The terminal becomes ours, so that the key is a signal to all of us.
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(env!("CARGO_BIN_EXE_ropewalk")).args(["profile", "--json", "--", "sh", "-c", COUNTS]);
    let mut child =
        command.stdin(pty.slave).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("there is setsid");
    // With --json its words come on stderr.
    let mut rest = ready(child.stderr.take().expect("a pipe"));
    until("signals are looked at", || {
        let blocks = |signal| has(pid(&child), "SigBlk", signal);
        (blocks(Signal::SIGINT) && !blocks(Signal::SIGUSR1)).then_some(())
    });
    std::fs::File::from(pty.master.try_clone().expect("a copy")).write_all(b"\x03").expect("a terminal");
    let output = child.wait_with_output().expect("it ends");
    drop(pty.master);
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn a_second_interrupt_kills_what_ignores_the_first() {
    // It would end by itself, with another code, so that nothing here waits for ever.
    let script = "trap '' INT; echo ready; i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done";
    let mut child = profile(&["--", "sh", "-c", script]).spawn().expect("started");
    let _rest = ready(child.stdout.take().expect("a pipe"));
    let group = below(pid(&child));
    send(&child, Signal::SIGINT);
    kill(Pid::from_raw(pid(&child)), Signal::SIGINT).expect("it still runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(137), "{}", complaint(&output));
    until("nothing of it stays", || group.iter().all(common::processes::is_gone).then_some(()));
}

#[test]
fn orphans_are_watched_and_reaped() {
    // The first child ends at once; what it left behind computes, and the program waits for that by a pipe.
    let script = "(sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done' &) | cat >/dev/null";
    let output = run(&["--json", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let said = json(&output);
    assert!(said["totals"]["cpu_s"].as_f64().expect("seconds") > 0.05, "{said}");
}

#[test]
fn recorded_and_judged_again_says_the_same() {
    let directory = directory("profile_again");
    let file = directory.join("a.rwp");
    let path = file.to_str().expect("UTF-8");
    let first = run(&["--json", "--record", path, "--", "sleep", "2"]);
    let again = run(&["--json", path]);
    assert_eq!(again.status.code(), Some(0), "{}", complaint(&again));
    assert_eq!(json(&first), json(&again));
    // A recording is judged, not run.
    let text = run(&[path]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("Asleep"), "{}", complaint(&text));
}

#[test]
fn a_change_is_held_against_its_prediction() {
    let directory = directory("profile_compare");
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let (long, short) = (path("long.rwp"), path("short.rwp"));
    run(&["--record", &long, "--", "sleep", "4"]);
    run(&["--record", &short, "--", "sleep", "0.8"]);
    let output = run(&["compare", &long, &short]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("x shorter") && text.contains("Nothing was predicted"), "{text}{}", complaint(&output));
    let said = json(&run(&["--json", "compare", &short, &long]));
    assert!(said["speedup"].as_f64().expect("a number") < 0.7 && said["held"].is_null(), "{said}");
    // Three words that are no comparison are no recordings either.
    assert_eq!(run(&[&long, &short, &long]).status.code(), Some(2));
}

#[test]
fn files_that_are_no_recordings_are_refused_with_the_way_to_run_them() {
    let output = run(&["/bin/sh"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(complaint(&output).contains("ropewalk profile -- /bin/sh"), "{}", complaint(&output));
    let output = run(&["/no/such/file"]);
    assert_eq!(output.status.code(), Some(4));
    let output = run(&["--record", "/no/such/directory/x", "--", "touch", "/tmp/must-not-run"]);
    assert_eq!(output.status.code(), Some(8), "said before the program runs");
}

#[test]
fn a_running_process_is_watched_and_left_alone() {
    let mut target = Command::new("sh").args(["-c", "while :; do sleep 0.3; done"]).spawn().expect("there is a shell");
    let number = target.id().to_string();
    let output = run(&["--json", "--pid", &number, "--duration", "2"]);
    let alive = target.try_wait().expect("ours").is_none();
    target.kill().expect("it runs");
    target.wait().expect("it ends");
    assert!(alive, "it was ended");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    // The shell starts a process for each pause, which takes its time on a busy machine.
    let right = ["sleeping", "child"].contains(&class(&output).as_str());
    assert!(right, "{}", json(&output)["verdict"]["sentence"]);
    let gone = run(&["--pid", &number]);
    assert_eq!(gone.status.code(), Some(7));
    assert!(complaint(&gone).contains(&format!("no process {number}")), "{}", complaint(&gone));
}

#[test]
fn a_limit_of_time_ends_what_was_started() {
    let output = run(&["--json", "--duration", "2", "--", "sleep", "60"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert_eq!(class(&output), "sleeping");
    // However it says that it did.
    let output =
        run(&["--json", "--duration", "0.5", "--", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    // The same end that nobody asked for is the program's.
    let output = run(&["--json", "--duration", "60", "--", "sh", "-c", "kill -15 $$"]);
    assert_eq!(output.status.code(), Some(143), "{}", complaint(&output));
    // One that does not listen is not waited for for ever.
    let output = run(&["--json", "--duration", "0.3", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]);
    assert_eq!(output.status.code(), Some(137), "{}", complaint(&output));
}

#[test]
fn pages_and_traces_are_whole() {
    let directory = directory("profile_pages");
    let (page, trace) = (directory.join("a.html"), directory.join("a.json"));
    let output = run(&[
        "--html",
        page.to_str().expect("UTF-8"),
        "--trace",
        trace.to_str().expect("UTF-8"),
        "--",
        "sh",
        "-c",
        "sleep 0.3; sleep 0.3",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let html = std::fs::read_to_string(page).expect("written");
    assert!(html.contains("class=\"rw-lane\"") && html.ends_with("</html>\n"));
    for (start, _) in html.match_indices("<svg") {
        let end = html[start..].find("</svg>").expect("it ends") + 6;
        roxmltree::Document::parse(&html[start..start + end]).expect("well-formed");
    }
    assert!(!html.contains("http://") || html.matches("http://").count() == html.matches("http://www.w3.org/").count());
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).expect("written")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    assert!(events.iter().any(|e| e["ph"] == "X" && e["dur"].as_f64() > Some(0.0)));
    assert!(events.iter().any(|e| e["ph"] == "M" && e["name"] == "thread_name"));
}

#[test]
fn a_reader_of_the_report_that_went_away_changes_nothing() {
    let mut child = profile(&["--", "sh", "-c", "exit 5"]).spawn().expect("started");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
}

#[test]
fn as_an_ordinary_user_and_of_somebody_elses_process() {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").map_or(1, |m| m.uid()) != 0 {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    // Where nobody may read it.
    let copy = std::env::temp_dir().join(format!("ropewalk-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_ropewalk"), &copy).expect("room for a copy");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("profile").args(arguments).current_dir("/").uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
        command.output().expect("it may be run")
    };
    let own = as_nobody(&["--json", "--", "sleep", "2"]);
    let mut target = Command::new("sleep").arg("30").spawn().expect("there is sleep");
    let theirs = as_nobody(&["--json", "--pid", &target.id().to_string(), "--duration", "0.6"]);
    target.kill().expect("it runs");
    target.wait().expect("it ends");
    std::fs::remove_file(&copy).expect("ours");
    assert_eq!(class(&own), "sleeping", "{}", complaint(&own));
    assert_eq!(theirs.status.code(), Some(0), "{}", complaint(&theirs));
    let missing = json(&theirs)["verdict"]["confidence"]["missing"].to_string();
    assert!(missing.contains("hidden by the kernel"), "{missing}");
}

#[test]
fn redacted_output_names_no_arguments() {
    let directory = directory("profile_redact");
    let file = directory.join("a.rwp");
    let path = file.to_str().expect("UTF-8");
    let script = "sleep 0.4 # password=hunter2";
    let output = run(&["--redact", "--json", "--record", path, "--", "sh", "-c", script]);
    let written = std::fs::read_to_string(file).expect("written");
    for text in [String::from_utf8_lossy(&output.stdout).into_owned(), written] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn redacted_comparisons_name_no_addresses() {
    let directory = directory("profile_redact_compare");
    let file = directory.join("a.rwp");
    let path = file.to_str().expect("UTF-8");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    // Accepted by the kernel, and never answered.
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -t 2 line <&3; exit 0");
    let output = run(&["--record", path, "--", "bash", "-c", &script]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let said = |more: &[&str]| {
        let output = run(&[&["compare", path, path], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(said(&[]).contains("127.0.0.1"), "{}", said(&[]));
    for more in [&["--redact"][..], &["--redact", "--json"]] {
        assert!(!said(more).contains("127.0.0.1"), "{}", said(more));
    }
}

#[test]
fn files_that_hold_arguments_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory("profile_mode");
    let (record, page) = (directory.join("a.rwp"), directory.join("a.html"));
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    run(&["--record", &text(&record), "--html", &text(&page), "--", "true"]);
    for path in [record, page] {
        let mode = std::fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

#[test]
fn a_parent_that_ignores_the_end_of_children_takes_no_status_away() {
    let mut command = Command::new("env");
    command.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_ropewalk"), "profile", "--", "sh", "-c", "exit 3"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("there is env");
    let status = until("it ends", || child.try_wait().expect("ours"));
    assert_eq!(status.code(), Some(3));
}

#[test]
fn a_full_disk_takes_neither_the_report_nor_the_exit_status() {
    for (script, code) in [("exit 5", 5), ("exit 0", 8)] {
        let output = run(&["--record", "/dev/full", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{}", complaint(&output));
        let said = complaint(&output);
        assert!(said.contains("Sure: ") && said.contains("--record: cannot write /dev/full"), "{said}");
    }
}
