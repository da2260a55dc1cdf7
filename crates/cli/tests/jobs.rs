//! The commands of the job queue, as a person meets them.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn ropewalk(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
    let broker = format!("sqlite:{}", directory.join("jobs.db").display());
    command.args(&arguments[..1]).args(["--broker", &broker]).args(&arguments[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(directory: &Path, arguments: &[&str]) -> Output {
    ropewalk(directory, arguments).output().expect("the binary was built with the tests")
}

/// What it printed, when it went well.
#[track_caller]
fn said(directory: &Path, arguments: &[&str]) -> String {
    let output = output(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", common::complaint(&output));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_command_goes_through_the_queue() {
    let directory = common::directory("jobs-through");
    let id = said(&directory, &["enqueue", "--", "echo", "a b", "$HOME"]);
    assert!(said(&directory, &["jobs", "list"]).contains("ready"));
    assert_eq!(
        said(&directory, &["worker", "--burst", "--allow-commands"]),
        "1 done, 0 failed, 0 to be tried again, 0 stopped, 0 given back, 0 lost to others"
    );
    let result: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "result", &id])).unwrap();
    // No shell has seen it.
    assert_eq!(result, serde_json::json!({ "exit": 0, "stdout": "a b $HOME\n", "stderr": "" }));
    let shown = said(&directory, &["jobs", "--json", "show", &id]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["state"], &shown["task"]), (&"done".into(), &"ropewalk::command".into()));
    let queues: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "queues", "--json"])).unwrap();
    let jobs = queues[0]["jobs"].as_object().expect("a count for each state");
    assert_eq!((jobs.len(), &jobs["done"], &jobs["ready"]), (8, &1.into(), &0.into()));
}

#[test]
fn commands_run_only_where_they_are_allowed() {
    let directory = common::directory("jobs-allowed");
    said(&directory, &["enqueue", "--", "touch", "never"]);
    let refused = output(&directory, &["worker", "--burst"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(common::complaint(&refused).contains("add `--allow-commands`"));
    assert!(said(&directory, &["jobs", "list"]).contains("ready"));
}

#[test]
fn failing_commands_say_why() {
    let directory = common::directory("jobs-failing");
    let fails = said(&directory, &["enqueue", "--", "sh", "-c", "echo no rope >&2; exit 3"]);
    let missing = said(&directory, &["enqueue", "--", "no-such-program-here"]);
    said(&directory, &["worker", "--burst", "--allow-commands", "--concurrency", "2"]);
    let refused = output(&directory, &["jobs", "result", &fails]);
    assert_eq!(refused.status.code(), Some(11));
    assert!(
        common::complaint(&refused).contains("`sh` ended with exit code 3: no rope"),
        "{}",
        common::complaint(&refused)
    );
    assert!(said(&directory, &["jobs", "show", &missing]).contains("cannot be started on this worker"));
}

/// What left the group keeps the pipes for as long as it likes.
#[test]
fn a_command_that_leaves_a_daemon_ends() {
    let directory = common::directory("jobs-daemon");
    let mark = directory.join("mark").display().to_string();
    let daemon = format!("setsid sh -c 'touch {mark}; exec sleep 60' & echo $!");
    let script = format!("echo before; {daemon}; until test -e {mark}; do sleep 0.01; done");
    let id = said(&directory, &["enqueue", "--", "sh", "-c", &script]);
    let begun = std::time::Instant::now();
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(40), "it waited for the daemon");
    let result: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "result", &id])).unwrap();
    let mut lines = result["stdout"].as_str().unwrap().lines();
    assert_eq!(lines.next(), Some("before"));
    let _ = Command::new("kill").arg(lines.next().unwrap()).status();
}

#[test]
fn a_command_that_writes_nothing_but_nul_fits() {
    let directory = common::directory("jobs-nul");
    let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
    let id = said(&directory, &["enqueue", "--", "sh", "-c", script]);
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    let result: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "result", &id])).unwrap();
    assert!(result["stdout"].as_str().is_some_and(|text| text.len() > 1000 && text.bytes().all(|byte| byte == 0)));
}

#[test]
fn a_command_over_its_timeout_is_killed_with_its_children() {
    let directory = common::directory("jobs-timeout");
    let mark = directory.join("mark").display().to_string();
    let script = format!("(sleep 1000 & echo $! > {mark}; wait)");
    let id = said(&directory, &["enqueue", "--timeout", "500ms", "--", "sh", "-c", &script]);
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    assert!(said(&directory, &["jobs", "show", &id]).contains("timed-out"));
    let pid = std::fs::read_to_string(&mark).expect("the child has begun");
    common::until("its child is gone", || (!Path::new("/proc").join(pid.trim()).join("exe").exists()).then_some(()));
}

#[test]
fn what_a_command_is_can_be_read_later() {
    let directory = common::directory("jobs-logs");
    let id = said(&directory, &["enqueue", "--", "true"]);
    assert_eq!(said(&directory, &["jobs", "logs", &id]), "");
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    // With --watch it ends with the job, which has ended.
    let log = said(&directory, &["jobs", "logs", &id, "--watch"]);
    assert!(log.contains("Z `true` runs as process "), "{log}");
    let json: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "logs", &id, "--json"])).unwrap();
    assert_eq!((json["state"].as_str(), json["log"].as_str().map(str::trim)), (Some("done"), Some(&*log)));
    let refused = output(&directory, &["jobs", "cancel", &id, "--watch"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn watch_looks_again_until_nobody_reads() {
    let directory = common::directory("jobs-watch");
    let id = said(&directory, &["enqueue", "--", "true"]);
    let mut watch = ropewalk(&directory, &["jobs", "list", "--watch"]).spawn().expect("it was built");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().expect("piped")));
    let mut until = |state: &str| {
        lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(&id) && line.contains(state))
    };
    assert!(until("ready").is_some());
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    assert!(until("done").is_some());
    drop(lines);
    common::until("it ends", || watch.try_wait().expect("a child"));
}

#[cfg(target_os = "linux")]
#[test]
fn commands_are_no_functions_to_send_to_a_process() {
    let directory = common::directory("jobs-processes");
    let refused = output(&directory, &["worker", "--burst", "--allow-commands", "--on", "processes"]);
    assert!(!refused.status.success());
    assert!(
        common::complaint(&refused).contains("cannot run in a process of its own"),
        "{}",
        common::complaint(&refused)
    );
}

#[test]
fn metrics_are_told_on_loopback() {
    use std::io::{Read as _, Write as _};
    let directory = common::directory("jobs-metrics");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let arguments = ["worker", "--allow-commands", "--metrics", &port.to_string()];
    let mut worker = ropewalk(&directory, &arguments).spawn().expect("it was built");
    let mut stream = common::until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("ropewalk_worker_concurrency 1"), "{answer}");
    let _ = Command::new("kill").arg(worker.id().to_string()).status();
    common::until("it ends", || worker.try_wait().expect("a child"));
}

#[test]
fn people_change_their_minds() {
    let directory = common::directory("jobs-people");
    let id = said(&directory, &["enqueue", "--in", "1h", "--queue", "later", "--", "true"]);
    assert!(said(&directory, &["jobs", "list", "--state", "scheduled"]).contains(&id));
    assert_eq!(said(&directory, &["jobs", "cancel", &id]), "1 changed");
    let refused = output(&directory, &["jobs", "cancel", &id]);
    assert_eq!(refused.status.code(), Some(9));
    assert!(common::complaint(&refused).contains("is canceled and cannot be cancelled"));
    said(&directory, &["jobs", "requeue", &id]);
    said(&directory, &["jobs", "suspend", "later"]);
    assert!(said(&directory, &["worker", "later", "--burst", "--allow-commands"]).starts_with("0 done"));
    said(&directory, &["jobs", "resume", "later"]);
    assert!(said(&directory, &["worker", "later", "--burst", "--allow-commands"]).starts_with("1 done"));
    said(&directory, &["jobs", "delete", &id]);
    assert!(common::complaint(&output(&directory, &["jobs", "show", &id])).contains("there is no job"));
}

#[test]
fn a_broker_that_is_none() {
    for (broker, says) in [
        ("kafka://x", "is no broker"),
        ("redis://127.0.0.1:1/", if cfg!(feature = "redis") { "127.0.0.1:1" } else { "built without Redis" }),
        ("sqlite:", "is no broker"),
        ("sqlite:/proc/nothing/jobs.db", "nothing/jobs.db"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ropewalk"))
            .args(["jobs", "list", "--broker", broker])
            .output()
            .expect("the binary was built with the tests");
        assert!(!output.status.success());
        assert!(common::complaint(&output).contains(says), "{}", common::complaint(&output));
    }
}

#[test]
fn a_worker_to_whom_nobody_listens_goes_on() {
    let directory = common::directory("jobs-unheard");
    said(&directory, &["enqueue", "--", "false"]);
    let id = said(&directory, &["enqueue", "--", "true"]);
    let mut worker = ropewalk(&directory, &["worker", "--burst", "--allow-commands"]).spawn().expect("a worker");
    drop(worker.stderr.take());
    assert!(worker.wait().expect("its end").success());
    assert!(said(&directory, &["jobs", "show", &id]).contains("done"));
}

#[test]
fn a_worker_ends_at_a_signal() {
    let directory = common::directory("jobs-signal");
    let id = said(&directory, &["enqueue", "--", "sleep", "1000"]);
    let mut worker = ropewalk(&directory, &["worker", "--allow-commands", "--grace", "10m"]).spawn().expect("a worker");
    common::until("it runs", || said(&directory, &["jobs", "list"]).contains("leased").then_some(()));
    let signal = |pid: u32| {
        let pid = i32::try_from(pid).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    };
    // Two that meet are one, so it is said until it is heard twice.
    let pid = worker.id();
    common::until("it has ended", || {
        signal(pid);
        worker.try_wait().unwrap()
    });
    let shown: serde_json::Value = serde_json::from_str(&said(&directory, &["jobs", "show", "--json", &id])).unwrap();
    assert_eq!((&shown["state"], &shown["crashes"]), (&"ready".into(), &0.into()));
}

#[test]
fn result_says_to_a_script_what_became_of_the_job() {
    let directory = common::directory("jobs-result");
    let [done, fails] = [["true"], ["false"]].map(|command| said(&directory, &["enqueue", "--", command[0]]));
    let asked = |id: &str, more: &[&str]| {
        let output = output(&directory, &[&["jobs", "result", id, "--json"], more].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), json)
    };
    let (code, json) = asked(&done, &[]);
    assert_eq!((code, &json["state"], &json["result"]), (10, &"ready".into(), &serde_json::Value::Null));
    // Nobody works: the wait ends by itself.
    assert_eq!(asked(&done, &["--wait", "--timeout", "100ms"]).0, 10);
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    let (code, json) = asked(&done, &["--wait", "--timeout", "1m"]);
    assert_eq!((code, &json["state"], &json["result"]["exit"]), (0, &"done".into(), &0.into()));
    let (code, json) = asked(&fails, &["--wait"]);
    assert_eq!((code, &json["state"]), (11, &"failed".into()));
    assert!(json["failure"]["message"].as_str().is_some_and(|message| message.contains("exit code 1")), "{json}");
    assert_eq!(asked("no-such-job", &[]).0, 9);
}

#[test]
fn log_that_is_watched_says_each_line_once_and_how_the_job_ended() {
    let directory = common::directory("jobs-watched");
    let id = said(&directory, &["enqueue", "--", "sleep", "2.5"]);
    let watch = ropewalk(&directory, &["jobs", "logs", &id, "--json", "--watch"]).spawn().expect("a watcher");
    said(&directory, &["worker", "--burst", "--allow-commands"]);
    let text = String::from_utf8(watch.wait_with_output().expect("it ends by itself").stdout).unwrap();
    let said: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: String = said.iter().filter_map(|said| said["log"].as_str()).collect();
    assert_eq!(lines.matches("runs as process").count(), 1, "{text}");
    assert!(said.iter().rev().skip(1).all(|said| said["log"] != ""), "{text}");
    assert_eq!(said.last().unwrap()["state"], "done", "{text}");
}

#[test]
fn looking_at_a_queue_that_is_not_there_makes_none() {
    let directory = common::directory("jobs-nowhere");
    for look in [&["jobs", "list"][..], &["jobs", "queues", "--json"], &["jobs", "cancel", "x"], &["jobs", "logs", "x"]]
    {
        let refused = output(&directory, look);
        assert_eq!(refused.status.code(), Some(9), "{look:?}");
        assert!(common::complaint(&refused).contains("there is no job queue at "), "{}", common::complaint(&refused));
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "it made something");
    // A file that is not one yet.
    std::fs::write(directory.join("jobs.db"), "").unwrap();
    assert_eq!(output(&directory, &["jobs", "list"]).status.code(), Some(9));
    assert_eq!(std::fs::read(directory.join("jobs.db")).unwrap(), b"");
}

#[test]
fn password_in_what_is_no_broker_is_not_repeated() {
    for broker in [":s3cret@redis:6379/0", "redis:/:s3cret@host/0", "s3cret", "http://u:s3cret@host/"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
        let refused = command.args(["jobs", "list", "--broker", broker]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let text = common::complaint(&refused);
        assert!(text.contains("is no broker") && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn stderr_that_nobody_reads_takes_no_answer_away() {
    let directory = common::directory("jobs-stderr");
    let closed = || {
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        writes
    };
    // Without `--broker` it says on stderr where the jobs are.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
    command.env("XDG_STATE_HOME", &directory).env_remove("RQ_REDIS_URL").stderr(closed());
    let output = command.args(["enqueue", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!output.stdout.is_empty(), "the id of the job");
}
