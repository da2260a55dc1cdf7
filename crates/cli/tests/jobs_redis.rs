//! The commands of the job queue on Redis, as the user that the guide describes: the same commands, and what only Redis has.

#![cfg(unix)]

mod common;
#[path = "../../jobs/tests/brokers/redis.rs"]
#[allow(dead_code, reason = "of the suite of the brokers, which uses all of it")]
mod redis_server;

use redis_server::{USER, prefix, server};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

/// The queues of one test.
struct Place {
    prefix: String,
}

impl Place {
    fn new() -> Self {
        Self { prefix: prefix() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
        command.args(&arguments[..1]).args(["--broker", &server().url(USER)]).args(&arguments[1..]);
        command.env("RQ_KEY_PREFIX", &self.prefix).env_remove("RQ_REDIS_URL");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary was built with the tests")
    }

    /// What it printed, when it went well.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", common::complaint(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(arguments)).expect("JSON")
    }

    #[track_caller]
    fn complaint(&self, arguments: &[&str], code: i32) -> String {
        let refused = self.output(arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", common::complaint(&refused));
        common::complaint(&refused)
    }

    fn raw(&self) -> redis::Connection {
        redis::Client::open(server().url("")).and_then(|client| client.get_connection()).expect("a connection")
    }
}

const BURST: &[&str] = &["worker", "later", "default", "--burst", "--allow-commands"];

#[test]
fn a_command_goes_through_redis() {
    let place = Place::new();
    let id = place.said(&["enqueue", "--", "echo", "a b", "$HOME"]);
    assert!(place.said(&["jobs", "list"]).contains("ready"));
    assert_eq!(place.said(BURST), "1 done, 0 failed, 0 to be tried again, 0 stopped, 0 given back, 0 lost to others");
    assert_eq!(place.json(&["jobs", "result", &id]), json!({ "exit": 0, "stdout": "a b $HOME\n", "stderr": "" }));
    let shown = place.json(&["jobs", "--json", "show", &id]);
    assert_eq!((&shown["state"], &shown["task"]), (&json!("done"), &json!("ropewalk::command")));
    let jobs = &place.json(&["jobs", "queues", "--json"])[0]["jobs"];
    assert_eq!((&jobs["done"], &jobs["ready"]), (&json!(1), &json!(0)));
    let log = place.said(&["jobs", "logs", &id, "--watch"]);
    assert!(log.contains("`echo` runs as process "), "{log}");
    assert!(place.complaint(&["jobs", "cancel", &id], 9).contains("is done and cannot be cancelled"));
    assert!(place.complaint(&["jobs", "show", "nobody"], 9).contains("there is no job nobody"));
}

#[test]
fn people_change_their_minds_on_redis() {
    let place = Place::new();
    let id = place.said(&["enqueue", "--in", "1h", "--queue", "later", "--", "true"]);
    assert!(place.said(&["jobs", "list", "--state", "scheduled", "--queue", "later"]).contains(&id));
    assert_eq!(place.said(&["jobs", "cancel", &id]), "1 changed");
    assert!(place.complaint(&["jobs", "cancel", &id], 9).contains("is canceled"));
    assert_eq!(place.said(&["jobs", "requeue", &id]), "1 changed");
    place.said(&["jobs", "suspend", "later"]);
    assert!(place.said(BURST).starts_with("0 done"));
    place.said(&["jobs", "resume", "later"]);
    place.said(&["jobs", "suspend"]);
    assert!(place.said(BURST).starts_with("0 done"));
    assert!(place.said(&["jobs", "queues"]).contains("later (suspended)"));
    place.said(&["jobs", "resume"]);
    assert!(place.said(BURST).starts_with("1 done"));
    assert_eq!(place.said(&["jobs", "delete", &id]), "1 changed");
    assert!(place.complaint(&["jobs", "show", &id], 9).contains("there is no job"));
    for _ in 0..3 {
        place.said(&["enqueue", "--queue", "later", "--", "true"]);
    }
    assert_eq!(place.said(&["jobs", "empty", "later"]), "3 changed");
}

#[test]
fn what_was_said_of_a_job_is_kept_on_redis() {
    let place = Place::new();
    let first =
        place.said(&["enqueue", "--unique", "k", "--priority", "5", "--", "sh", "-c", "echo no rope >&2; exit 3"]);
    let double = place.output(&["enqueue", "--unique", "k", "--", "true"]);
    assert!(common::complaint(&double).contains("not enqueued"));
    assert_eq!(String::from_utf8_lossy(&double.stdout).trim(), first);
    let after = place.said(&["enqueue", "--after", &first, "--", "true"]);
    assert!(place.said(&["jobs", "show", &after]).contains("waits for  1 job(s)"));
    let late = place.said(&["enqueue", "--timeout", "300ms", "--", "sleep", "1000"]);
    place.said(BURST);
    assert!(place.complaint(&["jobs", "result", &first], 11).contains("`sh` ended with exit code 3: no rope"));
    assert!(place.said(&["jobs", "show", &after]).contains("canceled"));
    assert!(place.said(&["jobs", "show", &late]).contains("timed-out"));
}

#[test]
fn running_job_is_stopped_and_its_worker_ends_at_a_command_of_rq() {
    let place = Place::new();
    let id = place.said(&["enqueue", "--", "sleep", "1000"]);
    let worker = place.command(&["worker", "--allow-commands", "--concurrency", "3"]).spawn().expect("a worker");
    common::until("it runs", || place.said(&["jobs", "list", "--state", "leased"]).contains(&id).then_some(()));
    let seen = common::until("it is seen", || {
        let workers = place.json(&["jobs", "workers", "--json"]);
        (workers[0]["concurrency"] == 3).then(|| workers[0]["id"].as_str().unwrap_or_default().to_owned())
    });
    assert_eq!(place.said(&["jobs", "stop", &id]), "1 changed");
    common::until("it is stopped", || place.said(&["jobs", "show", &id]).contains("stopped").then_some(()));
    let said = r#"{"command": "shutdown"}"#;
    redis::cmd("PUBLISH").arg(format!("{}:pubsub:{seen}", place.prefix)).arg(said).exec(&mut place.raw()).unwrap();
    let ended = worker.wait_with_output().expect("it was ours");
    assert!(ended.status.success() && common::complaint(&ended).contains("told to end, by a command"), "{ended:?}");
    assert_eq!(place.said(&["jobs", "workers", "--json"]), "[]");
}

#[test]
fn audit_names_functions_and_changes_nothing() {
    let place = Place::new();
    let data: &[u8] = br#"["app.tasks.thumb", null, [7], {}]"#;
    let key = |key: &str| format!("{}:{key}", place.prefix);
    redis::pipe()
        .cmd("HSET")
        .arg(key("job:a"))
        .arg(&[("status", "queued"), ("origin", "high")])
        .cmd("HSET")
        .arg(key("job:a"))
        .arg("data")
        .arg(data)
        .cmd("SADD")
        .arg(key("queues"))
        .arg(key("queue:high"))
        .cmd("RPUSH")
        .arg(key("queue:high"))
        .arg("a")
        .exec(&mut place.raw())
        .unwrap();
    let audit = place.json(&["jobs", "audit", "--json"]);
    assert_eq!(
        (&audit["functions"][0]["name"], &audit["functions"][0]["readable"]),
        (&json!("app.tasks.thumb"), &json!(1))
    );
    let text = place.said(&["jobs", "audit"]);
    assert!(
        text.lines().nth(1).is_some_and(|row| row.starts_with("app.tasks.thumb") && row.ends_with("no task")),
        "{text}"
    );
    // And it is there for whoever looks, as any other job.
    assert!(place.said(&["jobs", "list", "--queue", "high"]).contains("app.tasks.thumb"));
}

/// As rq's own programs take them; and an address with a password is said nowhere.
#[test]
fn where_redis_is_may_stand_in_the_environment() {
    let place = Place::new();
    let run = |url: String, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
        command.args(arguments).env("RQ_REDIS_URL", url).env("RQ_KEY_PREFIX", &place.prefix).stdin(Stdio::null());
        command.output().expect("the binary was built with the tests")
    };
    let enqueued = run(server().url(USER), &["enqueue", "--", "true"]);
    assert!(enqueued.status.success(), "{}", common::complaint(&enqueued));
    assert!(common::complaint(&enqueued).contains("the Redis that RQ_REDIS_URL names"));
    assert!(place.said(&["jobs", "list"]).contains(String::from_utf8_lossy(&enqueued.stdout).trim()));
    let audit = run(server().url(USER), &["jobs", "audit"]);
    assert!(audit.status.success(), "{}", common::complaint(&audit));
    // Empty is not set.
    let none = run(String::new(), &["jobs", "audit"]);
    assert!(none.status.code() == Some(2) && common::complaint(&none).contains("or RQ_REDIS_URL"));
    let refused = run(server().url("user=ropewalk&pass=sesame"), &["jobs", "list"]);
    let said = common::complaint(&refused);
    assert!(
        refused.status.code() == Some(9) && said.contains("cannot be reached") && !said.contains("sesame"),
        "{said}"
    );
}
