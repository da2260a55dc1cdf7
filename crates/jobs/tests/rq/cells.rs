//! What can happen to a job, enqueued by one side and run by the other.
//!
//! In the direction to Rust one worker of ours runs for the whole house, on the queue `rust`; in the other, Python runs what is on
//! `python` when it is told to. Every wait has an end.

use crate::peer::Peer;
use crate::redis_server::Server;
use ropewalk_jobs::broker::{Broker, Control, Passed, Slot};
use ropewalk_jobs::rq::data::Serializer;
use ropewalk_jobs::{
    BrokerError, Enqueued, Group, JobBuilder, JobHandle, JobId, JobQueue, RedisBroker, Registry, Remote, Retry,
    RunningWorker, State, Time, Unique, Worker,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToRust,
    ToPython,
}

impl Direction {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::ToRust => "Python to Rust",
            Self::ToPython => "Rust to Python",
        }
    }
}

pub(crate) type Run = fn(&House) -> Result<(), String>;

pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) to_rust: Run,
    /// None if it is nothing that a Rust program enqueues.
    pub(crate) to_python: Option<Run>,
}

pub(crate) const CELLS: &[Cell] = &[
    Cell { name: "success", to_rust: to_rust::success, to_python: Some(to_python::success) },
    Cell { name: "failure, with its traceback", to_rust: to_rust::failure, to_python: Some(to_python::failure) },
    Cell { name: "retry after an interval", to_rust: to_rust::retry, to_python: Some(to_python::retry) },
    Cell { name: "schedule", to_rust: to_rust::schedule, to_python: Some(to_python::schedule) },
    Cell { name: "dependency", to_rust: to_rust::dependency, to_python: Some(to_python::dependency) },
    Cell { name: "stop", to_rust: to_rust::stop, to_python: Some(to_python::stop) },
    Cell { name: "cancel", to_rust: to_rust::cancel, to_python: Some(to_python::cancel) },
    Cell { name: "requeue", to_rust: to_rust::requeue, to_python: Some(to_python::requeue) },
    Cell { name: "repeat", to_rust: to_rust::repeat, to_python: Some(to_python::repeat) },
    Cell { name: "group", to_rust: to_rust::group, to_python: Some(to_python::group) },
    Cell { name: "unique", to_rust: to_rust::unique, to_python: Some(to_python::unique) },
    Cell { name: "rate limit", to_rust: to_rust::rate_limit, to_python: Some(to_python::rate_limit) },
    Cell { name: "cron", to_rust: to_rust::cron, to_python: Some(to_python::cron) },
    Cell { name: "callback", to_rust: to_rust::callback, to_python: Some(to_python::callback) },
    Cell { name: "callback of a failure and of a stop", to_rust: to_rust::callback_otherwise, to_python: None },
    Cell { name: "webhook", to_rust: to_rust::webhook, to_python: None },
    Cell { name: "command to break off", to_rust: to_rust::kill, to_python: None },
    Cell { name: "command to end the worker", to_rust: to_rust::shutdown, to_python: None },
];

impl Cell {
    pub(crate) fn run(&self, direction: Direction) -> Option<Run> {
        match direction {
            Direction::ToRust => Some(self.to_rust),
            Direction::ToPython => self.to_python,
        }
    }

    /// Why there is nothing to run.
    pub(crate) fn reason(&self, direction: Direction, version: &str, serializer: &str) -> Option<&'static str> {
        match (self.name, direction) {
            ("rate limit", _) if version.starts_with("2.") => Some("rq has rate limits since 3.0"),
            ("cron", Direction::ToRust) if serializer == "json" => Some(
                "rq's cron writes pickles, whatever its queue is written in: our worker runs them, and a queue of JSON is no place for them",
            ),
            _ => None,
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
pub(crate) const RUST: &str = "rust";
pub(crate) const PYTHON: &str = "python";

// The tasks, under the names of the functions in `app/tasks.py`.

#[ropewalk::task(name = "app.tasks.add")]
fn add(a: i64, b: Option<i64>) -> i64 {
    a + b.unwrap_or(0)
}

#[derive(Debug)]
struct ValueError(String);

impl std::fmt::Display for ValueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

#[ropewalk::task]
fn fail(text: String) -> Result<(), ValueError> {
    Err(ValueError(text))
}

/// How often `flaky` was called.
struct Calls {
    made: AtomicU32,
}

#[ropewalk::task(name = "app.tasks.flaky")]
fn flaky(calls: ropewalk::State<Calls>, key: String) -> Result<String, ValueError> {
    if calls.made.fetch_add(1, Ordering::Relaxed) == 0 {
        Err(ValueError("the first time it fails".to_owned()))
    } else {
        Ok(key)
    }
}

#[ropewalk::task(name = "app.tasks.slow")]
fn slow(seconds: f64) -> String {
    ropewalk::sleep(Duration::from_secs_f64(seconds));
    "to its end".to_owned()
}

/// At most how many of them ran at once.
#[derive(Default)]
struct Counts {
    now: AtomicU32,
    most: AtomicU32,
}

type AtOnce = std::sync::Arc<Counts>;

#[ropewalk::task(name = "app.tasks.note")]
fn note(at_once: ropewalk::State<AtOnce>, text: String) -> String {
    at_once.most.fetch_max(at_once.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    ropewalk::sleep(Duration::from_millis(50));
    at_once.now.fetch_sub(1, Ordering::Relaxed);
    text
}

/// One Redis, one process of Python, one worker of ours.
pub(crate) struct House {
    pub(crate) peer: Peer,
    pub(crate) broker: RedisBroker,
    pub(crate) queue: JobQueue,
    pub(crate) worker: Option<RunningWorker>,
    at_once: AtOnce,
    directory: PathBuf,
    server: Server,
}

impl House {
    pub(crate) fn open(python: &Path, version: &str, serializer: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("ropewalk-rq-{}-{version}-{serializer}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let server = Server::start(&directory, &[]);
        let peer = Peer::start(python, &server.socket, serializer);
        let form = if serializer == "json" { Serializer::Json } else { Serializer::Pickle };
        let broker = RedisBroker::at(server.url("")).serializer(form).open().unwrap();
        let queue = JobQueue::new(broker.clone());
        let mut house = Self { peer, broker, queue, worker: None, at_once: AtOnce::default(), directory, server };
        house.worker = Some(house.worker_of([RUST]));
        house
    }

    fn worker_of<const N: usize>(&self, queues: [&str; N]) -> RunningWorker {
        let registry = Registry::new()
            .with::<add>()
            .with_as::<fail>("app.tasks.fail")
            .with::<flaky>()
            .with::<slow>()
            .with::<note>();
        Worker::new(self.broker.clone())
            .queues(queues)
            .concurrency(4)
            .registry(registry)
            .state(Calls { made: AtomicU32::new(0) })
            .state(self.at_once.clone())
            .on_notice(|_| ())
            .start()
            .unwrap()
    }

    /// Python enqueues for us.
    fn theirs(&self, function: &str, args: Value, options: Value) -> Result<String, String> {
        self.peer.id("enqueue", json!([RUST, format!("app.tasks.{function}"), args]), options)
    }

    /// Python sees this of a job once it has this status.
    fn seen(&self, id: &str, status: &str) -> Result<Value, String> {
        eventually(|| {
            let job = self.peer.fetch(id)?;
            if job["status"] == status { Ok(job) } else { Err(format!("Python sees {job}, and not {status}")) }
        })
    }

    /// We enqueue for Python.
    fn ours<R: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        job: JobBuilder<R>,
    ) -> Result<JobHandle<R>, String> {
        job.queue(PYTHON).enqueue(&self.queue).map_err(|error| error.to_string())
    }

    fn work(&self) -> Result<(), String> {
        self.peer.ask("work", json!([PYTHON]), json!({})).map(drop)
    }

    /// Our worker's own tick also moves what is due on Python's queue; this does it now.
    fn tick(&self) -> Result<(), String> {
        self.broker.tick().map(drop).map_err(|error| error.to_string())
    }

    /// What our workers do for each other each half minute; now.
    fn maintain(&self) -> Result<(), String> {
        let mut connection = redis::Client::open(self.server.url(""))
            .and_then(|client| client.get_connection())
            .map_err(|error| error.to_string())?;
        redis::cmd("DEL").arg("rq:rw:maintained").exec(&mut connection).map_err(|error| error.to_string())?;
        let fresh = RedisBroker::at(self.server.url("")).open().map_err(said)?;
        fresh.tick().map(drop).map_err(said)
    }

    fn state(&self, id: &JobId) -> Result<State, String> {
        Ok(self.broker.job(id).map_err(|error| error.to_string())?.ok_or("it is gone")?.state)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.worker.take());
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn eventually<T>(mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Err(why) if Instant::now() > until => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            found => return found,
        }
    }
}

/// The result, within the patience of a test.
fn joined<R: serde::de::DeserializeOwned + Send + 'static>(mut handle: JobHandle<R>) -> Result<R, ropewalk::TaskError> {
    handle.join_timeout(PATIENCE)
}

fn said(error: BrokerError) -> String {
    error.to_string()
}

fn is(found: bool, what: &str, all: impl std::fmt::Debug) -> Result<(), String> {
    if found { Ok(()) } else { Err(format!("{what}: {all:?}")) }
}

mod to_rust {
    use super::*;

    pub(super) fn success(house: &House) -> Result<(), String> {
        for (args, options) in
            [(json!([40, 2]), json!({})), (json!([42]), json!({})), (json!([40]), json!({"kwargs": {"b": 2}}))]
        {
            let id = house.theirs("add", args, options)?;
            let job = house.seen(&id, "finished")?;
            is(
                job["value"] == 42 && job["type"] == 1 && job["started"] == true && job["ended"] == true,
                "the result",
                &job,
            )?;
        }
        Ok(())
    }

    pub(super) fn failure(house: &House) -> Result<(), String> {
        let id = house.theirs("fail", json!(["disk is full"]), json!({}))?;
        let job = house.seen(&id, "failed")?;
        let traceback = job["traceback"].as_str().unwrap_or_default();
        let fine = traceback.starts_with("Traceback (most recent call last):\n")
            && traceback.contains("app.tasks.fail")
            && traceback.trim_end().lines().last().is_some_and(|last| last.ends_with("ValueError: disk is full"));
        is(fine && job["type"] == 2, "the traceback", &job)?;
        // Arguments that do not fit are a failure in words, and no second try.
        let id = house.theirs("add", json!([1]), json!({"kwargs": {"c": 2}, "retry": {"max": 3}}))?;
        let job = house.seen(&id, "failed")?;
        is(
            job["traceback"].as_str().is_some_and(|text| text.contains("unexpected keyword argument 'c'")),
            "the misfit",
            &job,
        )
    }

    pub(super) fn retry(house: &House) -> Result<(), String> {
        let begun = Instant::now();
        let id = house.theirs("flaky", json!(["k"]), json!({"retry": {"max": 2, "interval": [2]}}))?;
        let job = house.seen(&id, "finished")?;
        is(job["value"] == "k" && job["retries_left"] == 1, "one try was used", &job)?;
        // rq counts from the beginning of the second.
        is(begun.elapsed() >= Duration::from_millis(900), "not before its interval", begun.elapsed())
    }

    pub(super) fn schedule(house: &House) -> Result<(), String> {
        let begun = Instant::now();
        let id = house.theirs("add", json!([1, 1]), json!({"seconds": 2}))?;
        is(house.peer.fetch(&id)?["status"] == "scheduled", "it is scheduled", &id)?;
        let job = house.seen(&id, "finished")?;
        // rq keeps whole seconds, rounded down.
        is(job["value"] == 2 && begun.elapsed() >= Duration::from_millis(900), "not before its time", begun.elapsed())
    }

    pub(super) fn dependency(house: &House) -> Result<(), String> {
        let first = house.theirs("slow", json!([0.3]), json!({}))?;
        let second = house.theirs("add", json!([1, 2]), json!({"after": first}))?;
        is(house.peer.fetch(&second)?["status"] == "deferred", "it waits", &second)?;
        let job = house.seen(&second, "finished")?;
        is(house.peer.fetch(&first)?["status"] == "finished" && job["value"] == 3, "in their order", &job)
    }

    pub(super) fn stop(house: &House) -> Result<(), String> {
        let id = house.theirs("slow", json!([60]), json!({}))?;
        house.seen(&id, "started")?;
        house.peer.ask("stop", json!([id]), json!({}))?;
        house.seen(&id, "stopped").map(drop)
    }

    pub(super) fn cancel(house: &House) -> Result<(), String> {
        let id = house.theirs("add", json!([1, 1]), json!({"seconds": 1}))?;
        house.peer.ask("cancel", json!([id]), json!({}))?;
        // When one that was due later has run, it has not.
        let later = house.theirs("add", json!([1, 1]), json!({"seconds": 2}))?;
        house.seen(&later, "finished")?;
        is(house.peer.fetch(&id)?["status"] == "canceled", "it stays cancelled", &id)
    }

    pub(super) fn requeue(house: &House) -> Result<(), String> {
        let id = house.theirs("fail", json!(["once"]), json!({}))?;
        house.seen(&id, "failed")?;
        let before = house.broker.job(&id.parse().map_err(|_| "an id")?).map_err(said)?.ok_or("it is there")?.exec;
        house.peer.ask("requeue", json!([id]), json!({}))?;
        eventually(|| {
            let job = house.broker.job(&id.parse().map_err(|_| "an id")?).map_err(said)?.ok_or("it is there")?;
            is(job.state == State::Failed && job.exec != before, "it ran again", &job)
        })
    }

    pub(super) fn repeat(house: &House) -> Result<(), String> {
        let id = house.theirs("add", json!([1, 1]), json!({"repeat": {"times": 2, "interval": 0}}))?;
        eventually(|| {
            let job = house.seen(&id, "finished")?;
            is(job["results"] == 3, "it ran three times", &job)
        })
    }

    /// rq's own cron: what it enqueues is a job as any other.
    pub(super) fn cron(house: &House) -> Result<(), String> {
        let id = house.peer.id("cron", json!([RUST]), json!({}))?;
        let job = house.seen(&id, "finished")?;
        is(job["value"] == 42, "its value", &job)
    }

    /// The small jobs are Python's, on the queue of the job they belong to: only Python's worker takes them from there.
    fn notes(house: &House, wanted: &[String]) -> Result<(), String> {
        let mut notes: Vec<Value> = Vec::new();
        eventually(|| {
            house.peer.ask("work", json!([RUST]), json!({}))?;
            notes.extend(house.peer.ask("notes", json!([]), json!({}))?.as_array().cloned().unwrap_or_default());
            is(wanted.iter().all(|note| notes.contains(&json!(note))), "all were called", (&notes, wanted))
        })?;
        is(notes.len() == wanted.len(), "each once", &notes)
    }

    /// A worker of rq's in burst mode takes all that is there, so what is for ours has to be gone first.
    pub(super) fn callback(house: &House) -> Result<(), String> {
        let of = |word: &str| json!({"callbacks": {"on_success": format!("app.tasks.{word}"), "on_failure": "app.tasks.on_failure"}});
        let well = house.theirs("add", json!([40, 2]), of("on_success"))?;
        // One whose result is not kept is kept for its callback.
        let mut options = of("on_success");
        options["result_ttl"] = json!(0);
        let unkept = house.theirs("add", json!([40, 2]), options)?;
        for id in [&well, &unkept] {
            house.seen(id, "finished")?;
        }
        notes(house, &[well, unkept].map(|id| format!("success of {id}: 42")))
    }

    pub(super) fn callback_otherwise(house: &House) -> Result<(), String> {
        let options =
            json!({"callbacks": {"on_failure": "app.tasks.on_failure", "on_stopped": "app.tasks.on_stopped"}});
        let badly = house.theirs("fail", json!(["no rope"]), options.clone())?;
        house.seen(&badly, "failed")?;
        // rq calls it after each try.
        let mut again = options.clone();
        again["retry"] = json!({"max": 1, "interval": [0]});
        let twice = house.theirs("fail", json!(["again"]), again)?;
        house.seen(&twice, "failed")?;
        let stopped = house.theirs("slow", json!([60]), options)?;
        house.seen(&stopped, "started")?;
        house.peer.ask("stop", json!([stopped]), json!({}))?;
        house.seen(&stopped, "stopped")?;
        let of_a_failure = |id: &str, why: &str| format!("failure of {id}: ValueError: {why}");
        let wanted = [
            of_a_failure(&badly, "no rope"),
            of_a_failure(&twice, "again"),
            of_a_failure(&twice, "again"),
            format!("stop of {stopped}"),
        ];
        notes(house, &wanted)
    }

    pub(super) fn webhook(house: &House) -> Result<(), String> {
        let address = house.peer.id("listen", json!([]), json!({}))?;
        let hook = |status: &str, method: &str| json!({"url": address, "job_status": status, "method": method});
        let hooks = json!({"webhooks": [hook("finished", "POST"), hook("failed", "POST")]});
        let well = house.theirs("add", json!([1, 1]), hooks.clone())?;
        let badly = house.theirs("fail", json!(["no rope"]), hooks)?;
        house.seen(&well, "finished")?;
        house.seen(&badly, "failed")?;
        let mut requests: Vec<Value> = Vec::new();
        eventually(|| {
            house.peer.ask("work", json!([RUST]), json!({}))?;
            requests.extend(house.peer.ask("requests", json!([]), json!({}))?.as_array().cloned().unwrap_or_default());
            is(requests.len() >= 2, "both were sent", &requests)
        })?;
        let found = |id: &str, status: &str| {
            requests.iter().find(|request| request["job_id"] == id && request["status"] == status)
        };
        let said = found(&badly, "failed").and_then(|request| request["exc_info"].as_str()).unwrap_or_default();
        is(
            requests.len() == 2 && found(&well, "finished").is_some() && said.ends_with("ValueError: no rope\n"),
            "one each",
            &requests,
        )
    }

    /// rq's `kill-horse`: what the worker runs has failed, and is tried again if it may be.
    pub(super) fn kill(house: &House) -> Result<(), String> {
        let id = house.theirs("slow", json!([60]), json!({}))?;
        let job = house.seen(&id, "started")?;
        let worker = job["worker"].as_str().ok_or("it has a worker")?.to_owned();
        house.peer.ask("command", json!([worker, "kill-horse"]), json!({}))?;
        let job = house.seen(&id, "failed")?;
        let why = job["traceback"].as_str().unwrap_or_default();
        is(why.contains("was told to break off what it runs"), "it says why", &job)?;
        // The worker goes on.
        let next = house.theirs("add", json!([1, 1]), json!({}))?;
        let job = house.seen(&next, "finished")?;
        is(job["worker"] == worker.as_str(), "by the same worker", &job)
    }

    /// rq's `shutdown`, to a worker that runs a job: it takes no other, and ends when that one has.
    pub(super) fn shutdown(house: &House) -> Result<(), String> {
        let worker = house.worker_of(["last"]);
        let place = |function: &str, args: Value| {
            house.peer.id("enqueue", json!(["last", format!("app.tasks.{function}"), args]), json!({}))
        };
        let runs = place("slow", json!([1.5]))?;
        let name = house.seen(&runs, "started")?["worker"].as_str().ok_or("it has a worker")?.to_owned();
        house.peer.ask("command", json!([name, "shutdown"]), json!({}))?;
        let gone = eventually(|| is(worker.is_finished(), "it ends", &name));
        // Nobody takes this one any more.
        let late = place("add", json!([1, 1]))?;
        let job = house.seen(&runs, "finished")?;
        is(job["value"] == "to its end", "what ran had its time", &job)?;
        gone?;
        let workers = house.broker.workers().map_err(said)?;
        is(workers.iter().all(|worker| worker.id.as_str() != name), "it has left", &workers)?;
        is(house.peer.fetch(&late)?["status"] == "queued", "it took no other", &late)?;
        drop(worker);
        house.broker.control(&Control::Empty("last".to_owned())).map(drop).map_err(said)
    }

    pub(super) fn group(house: &House) -> Result<(), String> {
        let ids = house.peer.ask("group", json!([RUST, "g", "app.tasks.add", [1, 2, 3]]), json!({}))?;
        for id in ids.as_array().ok_or("ids")? {
            house.seen(id.as_str().unwrap_or_default(), "finished")?;
        }
        let states = house.peer.ask("group_states", json!(["g"]), json!({}))?;
        is(states == json!(["finished", "finished", "finished"]), "all of them", &states)
    }

    pub(super) fn unique(house: &House) -> Result<(), String> {
        let options = json!({"unique": "only-one"});
        let id = house.theirs("add", json!([1, 1]), options.clone())?;
        let again = house.theirs("add", json!([1, 1]), options)?;
        is(again == "duplicate", "the second is refused", &again)?;
        house.seen(&id, "finished").map(drop)
    }

    pub(super) fn rate_limit(house: &House) -> Result<(), String> {
        let options = json!({"rate_limit": {"key": "one", "concurrency": 1}});
        let ids: Result<Vec<String>, String> =
            (0..4).map(|at| house.theirs("note", json!([at.to_string()]), options.clone())).collect();
        for id in ids? {
            house.seen(&id, "finished")?;
        }
        // Only this cell uses the task.
        let most = house.at_once.most.load(Ordering::Relaxed);
        is(most == 1, "never two at once", most)
    }
}

mod to_python {
    use super::*;

    fn remote<R>(function: &str) -> impl Fn(Vec<Value>) -> JobBuilder<R> {
        let name = format!("app.tasks.{function}");
        move |args| args.into_iter().fold(Remote::new(&name), |call, value| call.arg(value)).job()
    }

    pub(super) fn success(house: &House) -> Result<(), String> {
        let first = house.ours(remote::<i64>("add")(vec![json!(40), json!(2)]))?;
        let named = house.ours(Remote::new("app.tasks.add").arg(40).kwarg("b", 2).job::<i64>())?;
        let in_rust = house.ours(ropewalk_jobs::Enqueue::job(add::call(42, Some(0))))?;
        house.work()?;
        for handle in [first, named, in_rust] {
            let id = handle.id().to_string();
            let value = joined(handle).map_err(|error| error.to_string())?;
            let job = house.peer.fetch(&id)?;
            is(value == 42 && job["value"] == 42 && job["status"] == "finished", "the result", &job)?;
        }
        Ok(())
    }

    pub(super) fn failure(house: &House) -> Result<(), String> {
        let handle = house.ours(remote::<()>("fail")(vec![json!("disk is full")]))?;
        house.work()?;
        let id = handle.id().clone();
        let error = joined(handle).unwrap_err().to_string();
        is(error.contains("ValueError") && error.contains("disk is full"), "what the handle says", &error)?;
        let job = house.broker.job(&id).map_err(said)?.ok_or("it is there")?;
        is(
            job.state == State::Failed && job.failure.is_some_and(|failure| failure.type_name == "ValueError"),
            "the failure",
            &id,
        )
    }

    pub(super) fn retry(house: &House) -> Result<(), String> {
        let job =
            remote::<String>("flaky")(vec![json!("from-rust")]).retry(Retry::times(2).base(Duration::from_millis(500)));
        let handle = house.ours(job)?;
        eventually(|| {
            house.work()?;
            house.tick()?;
            let _ = house.peer.ask("tick", json!([PYTHON]), json!({}))?;
            is(house.state(handle.id())? == State::Done, "it is done", handle.id())
        })?;
        let value = joined(handle).map_err(|error| error.to_string())?;
        is(value == "from-rust", "its value", value)
    }

    pub(super) fn schedule(house: &House) -> Result<(), String> {
        let begun = Instant::now();
        let handle = house.ours(remote::<i64>("add")(vec![json!(1), json!(1)]).in_(Duration::from_secs(1)))?;
        is(house.peer.fetch(handle.id().as_str())?["status"] == "scheduled", "Python sees it scheduled", handle.id())?;
        eventually(|| {
            house.work()?;
            is(house.state(handle.id())? == State::Done, "it is done", handle.id())
        })?;
        is(begun.elapsed() >= Duration::from_secs(1), "not before its time", begun.elapsed())
    }

    pub(super) fn dependency(house: &House) -> Result<(), String> {
        let first = house.ours(remote::<i64>("add")(vec![json!(1), json!(1)]))?;
        let second = house.ours(remote::<i64>("add")(vec![json!(2), json!(2)]).after(first.id()))?;
        is(house.peer.fetch(second.id().as_str())?["status"] == "deferred", "Python sees that it waits", second.id())?;
        house.work()?;
        let value = joined(second).map_err(|error| error.to_string())?;
        is(value == 4 && house.state(first.id())? == State::Done, "in their order", value)
    }

    pub(super) fn stop(house: &House) -> Result<(), String> {
        house.peer.ask("start_worker", json!([PYTHON]), json!({}))?;
        let handle = house.ours(remote::<String>("slow")(vec![json!(60)]))?;
        let stopped =
            eventually(|| is(house.state(handle.id())? == State::Leased, "it runs", handle.id())).and_then(|()| {
                eventually(|| {
                    // A command that comes before the process of the job is there is lost in rq, so it is said until it is heard.
                    let _ = house.broker.control(&Control::Stop(handle.id().clone()));
                    is(
                        house.state(handle.id())? == State::Stopped,
                        "it was stopped",
                        house.peer.fetch(handle.id().as_str()),
                    )
                })
            });
        house.peer.ask("stop_worker", json!([]), json!({}))?;
        stopped
    }

    pub(super) fn cancel(house: &House) -> Result<(), String> {
        let handle = house.ours(remote::<i64>("add")(vec![json!(1)]))?;
        handle.cancel().map_err(said)?;
        house.work()?;
        let job = house.peer.fetch(handle.id().as_str())?;
        is(job["status"] == "canceled" && job["started"] == false, "it never ran", &job)
    }

    pub(super) fn requeue(house: &House) -> Result<(), String> {
        let handle = house.ours(remote::<String>("flaky")(vec![json!("requeued")]))?;
        house.work()?;
        is(house.state(handle.id())? == State::Failed, "it failed first", handle.id())?;
        house.broker.control(&Control::Requeue(handle.id().clone())).map_err(said)?;
        house.work()?;
        let value = joined(handle).map_err(|error| error.to_string())?;
        is(value == "requeued", "then it did not", value)
    }

    pub(super) fn repeat(house: &House) -> Result<(), String> {
        let twice = Remote::new("app.tasks.add").arg(20).arg(1).repeat(2, []).job::<i64>();
        let handle = house.ours(twice)?;
        house.work()?;
        let id = handle.id().to_string();
        let value = joined(handle).map_err(|error| error.to_string())?;
        let job = house.peer.fetch(&id)?;
        is(value == 21 && job["results"] == 3 && job["status"] == "finished", "it ran three times", &job)?;
        // And by a worker of ours, which keeps the same books.
        let once = Remote::new("app.tasks.add").arg(1).arg(1).repeat(1, []).job::<i64>().queue(RUST);
        let handle = once.enqueue(&house.queue).map_err(said)?;
        let job = eventually(|| {
            let job = house.seen(handle.id().as_str(), "finished")?;
            is(job["results"] == 2, "it ran twice", &job).map(|()| job)
        })?;
        is(job["value"] == 2, "its value", &job)
    }

    /// A slot of a schedule of ours; rq lists what came of it with its own.
    pub(super) fn cron(house: &House) -> Result<(), String> {
        let mut ids = Vec::new();
        for minute in 1..=2 {
            let job = remote::<i64>("add")(vec![json!(minute)]).queue(PYTHON).into_jobs().map_err(said)?;
            ids.push(job[0].id.to_string());
            let at = |minute: u64| Time::of_millis(1_795_901_040_000 + 60_000 * minute);
            let after = (minute > 1).then(|| at(minute - 1));
            let slot = Slot { schedule: "nightly".into(), after, at: at(minute), jobs: job };
            let passed = house.broker.pass_slot(&slot).map_err(said)?;
            is(matches!(passed, Passed::Here(_)), "it is passed", passed)?;
            // rq lists those of one millisecond of the server's in any order. (What is known of its clock here is a round trip off.)
            let later = house.broker.now() + Duration::from_millis(5);
            while house.broker.now() < later {
                std::thread::yield_now();
            }
        }
        house.work()?;
        for (minute, id) in (1..).zip(&ids) {
            let job = house.peer.fetch(id)?;
            is(job["status"] == "finished" && job["value"] == minute, "it ran", &job)?;
        }
        ids.reverse();
        let listed = house.peer.ask("cron_history", json!(["nightly"]), json!({}))?;
        is(listed == json!({"names": ["nightly"], "jobs": ids}), "the newest first", &listed)
    }

    pub(super) fn rate_limit(house: &House) -> Result<(), String> {
        let job = || Remote::new("app.tasks.crowd").arg(0.1).rate_limit("python", 1).job::<i64>();
        // A process each, which could run them at the same time.
        for _ in 0..2 {
            house.peer.ask("start_worker", json!([PYTHON]), json!({}))?;
        }
        let done = (0..5).map(|_| house.ours(job())).collect::<Result<Vec<_>, _>>().and_then(|handles| {
            let held = handles.iter().filter(|handle| {
                house.peer.fetch(handle.id().as_str()).is_ok_and(|job| job["status"] == "rate_limited")
            });
            is(held.count() > 0, "some are held back", handles.len())?;
            handles.into_iter().map(|handle| joined(handle).map_err(|error| error.to_string())).collect()
        });
        for _ in 0..2 {
            house.peer.ask("stop_worker", json!([]), json!({}))?;
        }
        let most: Vec<i64> = done?;
        is(most == [1; 5], "never two at once", most)
    }

    pub(super) fn group(house: &House) -> Result<(), String> {
        let members = (1..=3).map(|at| Remote::new("app.tasks.add").arg(at).arg(at).group("ours").job().queue(PYTHON));
        let last = remote::<i64>("add")(vec![json!(9)]).queue(PYTHON);
        let (members, last) = members.collect::<Group<_>>().when_all_done(last).enqueue(&house.queue).map_err(said)?;
        house.work()?;
        let ids: Vec<JobId> = members.iter().map(|member| member.id().clone()).collect();
        let states = house.peer.ask("group_states", json!(["ours"]), json!({}))?;
        is(states == json!(["finished", "finished", "finished"]), "rq finds them in their group", &states)?;
        let values: Result<Vec<i64>, _> = members.into_iter().map(joined).collect();
        let last = joined(last.ok_or("there is a last one")?).map_err(|error| error.to_string())?;
        is(
            values.as_ref().is_ok_and(|values| *values == [2, 4, 6]) && last == 9,
            "all, then the last",
            (values, last),
        )?;
        // With the last of them the group is gone.
        for id in ids {
            house.broker.control(&Control::Delete(id)).map_err(said)?;
        }
        let gone = house.peer.ask("group_states", json!(["ours"]), json!({})).unwrap_err();
        is(gone.contains("NoSuchGroupError"), "it is gone", gone)
    }

    pub(super) fn unique(house: &House) -> Result<(), String> {
        let job =
            || remote::<i64>("add")(vec![json!(1)]).queue(PYTHON).unique(Unique::key("once")).into_jobs().map_err(said);
        let first = house.queue.enqueue_all(&job()?).map_err(said)?;
        let second = house.queue.enqueue_all(&job()?).map_err(said)?;
        is(
            matches!(second[0], Enqueued::Duplicate(_)) && first[0].id() == second[0].id(),
            "the second is refused",
            &second,
        )?;
        house.work()?;
        eventually(|| {
            house.tick()?;
            let again = house.queue.enqueue_all(&job()?).map_err(said)?;
            is(matches!(again[0], Enqueued::Accepted(_)), "after its end it is not", &again)
        })?;
        house.work()
    }

    pub(super) fn callback(house: &House) -> Result<(), String> {
        let note = |text: &str| remote::<String>("note")(vec![json!(text)]).queue(PYTHON);
        let well = remote::<i64>("add")(vec![json!(1)]).on_success(note("well")).on_failure(note("badly"));
        let badly = remote::<i64>("fail")(vec![json!("x")])
            .on_success(note("well of the second"))
            .on_failure(note("badly of the second"));
        drop(house.ours(well)?);
        drop(house.ours(badly)?);
        let mut notes: Vec<Value> = Vec::new();
        eventually(|| {
            house.work()?;
            // A need that only our side knows is looked at then, when its job was run by Python.
            house.maintain()?;
            notes.extend(house.peer.ask("notes", json!([]), json!({}))?.as_array().cloned().unwrap_or_default());
            is(notes.len() >= 2, "both were called", &notes)
        })?;
        let found = |text: &str| notes.contains(&json!(text));
        is(found("well") && found("badly of the second") && notes.len() == 2, "these two", &notes)
    }
}
