//! What is particular to Redis: rq's programs beside ours, a server that forgets or dies, a connection that breaks.
//!
//! What a Python program does is done here by the commands that it sends; the programs themselves are in `interop`.

#![cfg(all(unix, feature = "redis"))]

#[path = "redis/batches.rs"]
mod batches;
#[path = "redis/clock.rs"]
mod clock;
#[path = "redis/ends.rs"]
mod ends;
#[path = "redis/popped.rs"]
mod popped;
#[allow(dead_code, reason = "what other tests use of it")]
#[path = "brokers/redis.rs"]
mod redis_server;

use redis_server::{Server, USER, prefix, server};
use ropewalk_jobs::broker::{Beat, Broker, Claim, Control, Enqueued, ErrorKind, Filter, Held, Running, Topic};
use ropewalk_jobs::job::{End, Failure, FailureKind, Lease, Outcome, WorkerId};
use ropewalk_jobs::rq::data::Serializer;
use ropewalk_jobs::state::Settled;
use ropewalk_jobs::{JobId, NewJob, RedisBroker, RunningWorker, State, Worker};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Queues of one test, and a connection as Python programs have one.
struct Place {
    prefix: String,
    broker: RedisBroker,
    raw: redis::Connection,
}

impl Place {
    fn new() -> Self {
        let prefix = prefix();
        let broker = RedisBroker::at(server().url(USER)).prefix(prefix.clone()).open().expect("a server");
        let raw =
            redis::Client::open(server().url("")).and_then(|client| client.get_connection()).expect("a connection");
        Self { prefix, broker, raw }
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    /// What a Python program sends to enqueue a job.
    fn push(&mut self, id: &str, data: &[u8], more: &[(&str, &str)]) {
        let mut hash = redis::cmd("HSET");
        hash.arg(self.key(&format!("job:{id}")))
            .arg("status")
            .arg("queued")
            .arg("data")
            .arg(data)
            .arg("origin")
            .arg("default");
        hash.arg("created_at").arg("2026-11-22T10:57:46.866905Z").arg("timeout").arg("180").arg("worker_name").arg("");
        for (name, value) in more {
            hash.arg(name).arg(value);
        }
        let queue = self.key("queue:default");
        redis::pipe()
            .add_command(hash)
            .cmd("SADD")
            .arg(self.key("queues"))
            .arg(&queue)
            .cmd("RPUSH")
            .arg(&queue)
            .arg(id)
            .exec(&mut self.raw)
            .expect("commands of rq");
    }

    fn hash(&mut self, id: &str) -> std::collections::HashMap<String, redis::Value> {
        redis::cmd("HGETALL").arg(self.key(&format!("job:{id}"))).query(&mut self.raw).expect("a hash")
    }

    fn text(&mut self, command: &[&str]) -> String {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(self.key(command[1]));
        for part in &command[2..] {
            cmd.arg(part);
        }
        cmd.query::<Option<String>>(&mut self.raw).expect("an answer").unwrap_or_default()
    }

    fn claim(&self, tasks: &[&str]) -> Vec<Lease> {
        self.broker.claim(&claim(Some(tasks), 10)).expect("a claim")
    }

    fn settle(&self, lease: &Lease, end: End) -> Settled {
        self.broker.settle(&[Outcome { id: lease.id.clone(), exec: lease.exec, end }]).expect("a settle")[0]
    }
}

fn claim(tasks: Option<&[&str]>, max: usize) -> Claim {
    Claim {
        worker: WorkerId::of("w"),
        queues: vec!["default".into()],
        max,
        lease: Duration::from_secs(30),
        tasks: tasks.map(|tasks| Arc::new(tasks.iter().map(|task| (*task).to_owned()).collect())),
    }
}

fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

const ADD: &[u8] = br#"["app.tasks.add", null, [1], {"b": 2}]"#;

#[test]
fn push_of_a_python_program_wakes_a_worker() {
    let mut place = Place::new();
    let seen = place.broker.news(Topic::Work);
    let broker = place.broker.clone();
    thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            let begun = Instant::now();
            while broker.news(Topic::Work) == seen {
                broker.wait(Topic::Work, seen, LIMIT);
            }
            begun.elapsed()
        });
        place.push("a", ADD, &[]);
        assert!(waiter.join().unwrap() < LIMIT / 2);
    });
}

#[test]
fn result_of_a_python_worker_wakes_whoever_waits_for_it() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("app.tasks.add", "[1]") }]).unwrap();
    let seen = place.broker.news(Topic::Ended);
    let (mark, _) = place.broker.ended_since(None).unwrap();
    // What a Python worker sends at the end.
    redis::pipe()
        .cmd("HSET")
        .arg(place.key("job:a"))
        .arg("status")
        .arg("finished")
        .cmd("XADD")
        .arg(place.key("results:a"))
        .arg("*")
        .arg("type")
        .arg("1")
        .arg("return_value")
        .arg("Mw==")
        .exec(&mut place.raw)
        .unwrap();
    let until = Instant::now() + LIMIT;
    let mut seen = seen;
    // Woken for another reason, it goes on waiting; never heard, it waits for its limit.
    let ended = loop {
        assert!(Instant::now() < until, "nobody heard it");
        place.broker.wait(Topic::Ended, seen, LIMIT);
        seen = place.broker.news(Topic::Ended);
        let (_, ended) = place.broker.ended_since(Some(mark)).unwrap();
        if !ended.is_empty() {
            break ended;
        }
    };
    assert_eq!(ended, [id("a")]);
    assert_eq!(place.broker.job(&id("a")).unwrap().unwrap().result.as_deref(), Some("3"));
}

#[test]
fn job_of_python_is_taken_by_whoever_knows_it_and_answered_in_its_form() {
    let mut place = Place::new();
    place.push("a", br#"["app.tasks.other", null, [], {}]"#, &[]);
    place.push("b", ADD, &[]);
    // The pickle of the document: ("tasks.add", None, (1,), {"b": 2}).
    place.push("c", b"\x80\x05(\x8c\x09tasks.addNK\x01\x85}\x8c\x01bK\x02st.", &[]);
    assert_eq!(place.claim(&["nobody"]), []);
    let leases = place.claim(&["app.tasks.add", "tasks.add"]);
    let seen: Vec<_> =
        leases.iter().map(|lease| (lease.id.as_str(), lease.task.as_str(), lease.payload.as_str())).collect();
    let payload = r#"{"args":[1],"kwargs":{"b":2}}"#;
    assert_eq!(seen, [("b", "app.tasks.add", payload), ("c", "tasks.add", payload)]);
    assert_eq!(leases[0].options.timeout_ms, Some(180_000));
    for lease in &leases {
        assert_eq!(place.settle(lease, End::Done("3".into())), Settled::Recorded);
    }
    let value = |place: &mut Place, id: &str| -> String {
        let key = place.key(&format!("results:{id}"));
        let entries: Vec<(String, std::collections::HashMap<String, String>)> =
            redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(&mut place.raw).expect("a stream");
        assert_eq!((entries.len(), entries[0].1["type"].as_str()), (1, "1"));
        entries[0].1["return_value"].clone()
    };
    // base64 of `3`, and of the pickle of 3.
    assert_eq!((value(&mut place, "b"), value(&mut place, "c")), ("Mw==".to_owned(), "gARLAy4=".to_owned()));
    assert_eq!(place.text(&["HGET", "job:b", "status"]), "finished");
    assert_eq!(place.text(&["TTL", "job:b"]), "500");
    assert_eq!(place.broker.job(&id("c")).unwrap().unwrap().result.as_deref(), Some("3"));
    // The other one is as Python left it.
    let other = place.hash("a");
    assert!(other.keys().all(|field| !field.starts_with("rw_")), "{other:?}");
    assert_eq!(place.text(&["LINDEX", "queue:default", "0"]), "a");
}

#[test]
fn retries_of_python_are_by_its_own_rule() {
    let mut place = Place::new();
    place.push("a", ADD, &[("retries_left", "2"), ("retry_intervals", "[60, 0]")]);
    let failure = || End::Failed(Failure::new(FailureKind::Error, "no rope"));
    let fail = |place: &Place| place.settle(&place.claim(&["app.tasks.add"])[0], failure());
    assert_eq!(fail(&place), Settled::Recorded);
    assert_eq!(
        (place.text(&["HGET", "job:a", "status"]), place.text(&["HGET", "job:a", "retries_left"])),
        ("scheduled".into(), "1".into())
    );
    // Its time comes.
    redis::cmd("ZADD").arg(place.key("scheduled:default")).arg(1).arg("a").exec(&mut place.raw).unwrap();
    assert_eq!(place.broker.tick().unwrap().due, 1);
    assert_eq!(fail(&place), Settled::Recorded);
    assert_eq!(place.text(&["HGET", "job:a", "status"]), "queued");
    assert_eq!(fail(&place), Settled::Recorded);
    let job = place.broker.job(&id("a")).unwrap().unwrap();
    assert_eq!((job.state, job.failure.unwrap().message.as_str()), (State::Failed, "no rope"));
}

/// While one of rq's schedulers holds the lock of a queue, what is due there is its business.
#[test]
fn scheduler_of_python_is_not_run_over() {
    let mut place = Place::new();
    let due = place.broker.now() + Duration::from_millis(500);
    redis::cmd("SET").arg(place.key("scheduler-lock:default")).arg("python").exec(&mut place.raw).unwrap();
    place.broker.enqueue(&[NewJob { id: id("a"), due: Some(due), ..NewJob::new("t", "[]") }]).unwrap();
    let until = Instant::now() + LIMIT;
    assert_eq!(place.broker.job(&id("a")).unwrap().unwrap().state, State::Scheduled);
    // The server's own clock may be a little behind what is known of it.
    while place.server_ms() <= due.millis() {
        assert!(Instant::now() < until);
        thread::yield_now();
    }
    assert_eq!(place.broker.tick().unwrap().due, 0);
    redis::cmd("DEL").arg(place.key("scheduler-lock:default")).exec(&mut place.raw).unwrap();
    assert_eq!(place.broker.tick().unwrap().due, 1);
}

#[test]
fn stop_by_the_channel_of_rq_reaches_the_execution() {
    let mut place = Place::new();
    place.push("a", ADD, &[]);
    let lease = place.claim(&["app.tasks.add"]).remove(0);
    let beat = Beat {
        worker: WorkerId::of("w"),
        queues: vec!["default".into()],
        concurrency: 1,
        running: vec![Running { id: lease.id.clone(), exec: lease.exec, progress: None }],
        lease: Duration::from_secs(30),
        leaving: false,
    };
    let until = Instant::now() + LIMIT;
    let mut seen = place.broker.news(Topic::Stop);
    while place.broker.heartbeat(&beat).unwrap() != [Held::Stop] {
        assert!(Instant::now() < until, "nobody heard it");
        // rq says it once; whoever has just begun may not listen yet.
        redis::cmd("PUBLISH")
            .arg(place.key("pubsub:w"))
            .arg(r#"{"command": "stop-job", "job_id": "a"}"#)
            .exec(&mut place.raw)
            .unwrap();
        place.broker.wait(Topic::Stop, seen, Duration::from_millis(200));
        seen = place.broker.news(Topic::Stop);
    }
    assert_eq!(place.settle(&lease, End::Stopped), Settled::Recorded);
    assert_eq!(place.text(&["HGET", "job:a", "status"]), "stopped");
}

#[test]
fn flushed_scripts_and_killed_connections_change_nothing() {
    let mut place = Place::new();
    let jobs: Vec<NewJob> = (0..20).map(|n| NewJob { id: id(&format!("j{n}")), ..NewJob::new("t", "[]") }).collect();
    for job in &jobs {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut place.raw).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("USER").arg("ropewalk").exec(&mut place.raw).unwrap();
        let mut answer = place.broker.enqueue(std::slice::from_ref(job));
        if let Err(error) = &answer {
            assert!(error.is_uncertain(), "{error}");
            answer = place.broker.enqueue(std::slice::from_ref(job));
        }
        assert!(matches!(&answer.unwrap()[0], Enqueued::Accepted(id) if *id == job.id));
    }
    for _ in 0..jobs.len() {
        let lease = loop {
            redis::cmd("SCRIPT").arg("FLUSH").exec(&mut place.raw).unwrap();
            match place.broker.claim(&claim(None, 1)) {
                Ok(mut leases) => break leases.remove(0),
                Err(error) => assert!(error.is_passing(), "{error}"),
            }
        };
        redis::cmd("CLIENT").arg("KILL").arg("USER").arg("ropewalk").exec(&mut place.raw).unwrap();
        // A settle may be said again, and is.
        assert_eq!(place.settle(&lease, End::Done("1".into())), Settled::Recorded);
    }
    let done = Filter { state: Some(State::Done), limit: 100, queue: None };
    assert_eq!(place.broker.jobs(&done).unwrap().len(), jobs.len());
}

#[test]
fn wrong_addresses_are_said_without_their_passwords() {
    let refused = |url: &str| RedisBroker::open(url).unwrap_err();
    let error = refused(&server().url("user=ropewalk&pass=sesame"));
    assert!(!error.to_string().contains("sesame"), "{error}");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    let error = refused("redis://:sesame@127.0.0.1:1/");
    assert!(error.kind() == ErrorKind::Unavailable && !error.to_string().contains("sesame"), "{error}");
    assert!(refused("rediss://127.0.0.1/#insecure").to_string().contains("protects nobody"));
    assert!(refused("http://127.0.0.1/").to_string().contains("redis://HOST:PORT/DB"));
    assert!(RedisBroker::at(server().url(USER)).prefix("a b").open().is_err());
}

#[test]
fn pickles_are_written_where_the_queue_wants_them() {
    let mut place = Place::new();
    let broker =
        RedisBroker::at(server().url(USER)).prefix(place.prefix.clone()).serializer(Serializer::Pickle).open().unwrap();
    let payload = r#"{"args":[1],"kwargs":{"b":2}}"#;
    broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("tasks.add", payload) }]).unwrap();
    let job = place.broker.job(&id("a")).unwrap().unwrap();
    assert_eq!((job.task.as_str(), job.payload.as_str()), ("tasks.add", payload));
    assert_eq!(place.text(&["HGET", "job:a", "description"]), "tasks.add(1, b=2)");
    let lease = place.claim(&["tasks.add"]).remove(0);
    // By a broker that does not know in which form it was asked.
    let outcome = Outcome { id: lease.id.clone(), exec: lease.exec, end: End::Done("3".into()) };
    assert_eq!(broker.settle(&[outcome]).unwrap(), [Settled::Recorded]);
    assert_eq!(place.broker.job(&id("a")).unwrap().unwrap().result.as_deref(), Some("3"));
}

/// What a Python program sends to run a job that it has popped, as far as others look at it.
fn begin_in_python(place: &mut Place, id: &str, exec: &str, lease: &str) {
    redis::pipe()
        .cmd("LREM")
        .arg(place.key("queue:default"))
        .arg(1)
        .arg(id)
        .cmd("ZADD")
        .arg(place.key("wip:default"))
        .arg(lease)
        .arg(format!("{id}:{exec}"))
        .cmd("ZADD")
        .arg(place.key(&format!("executions:{id}")))
        .arg(lease)
        .arg(exec)
        .cmd("HSET")
        .arg(place.key(&format!("job:{id}")))
        .arg("status")
        .arg("started")
        .arg("worker_name")
        .arg("python")
        .exec(&mut place.raw)
        .expect("commands of rq");
}

impl Place {
    /// Sends a command whose second word is a key.
    fn send(&mut self, command: &[&str]) {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(self.key(command[1]));
        for part in &command[2..] {
            cmd.arg(part);
        }
        cmd.exec(&mut self.raw).expect("a command");
    }

    fn status(&mut self, id: &str) -> String {
        self.text(&["HGET", &format!("job:{id}"), "status"])
    }

    fn state(&self, name: &str) -> State {
        self.broker.job(&id(name)).expect("an answer").expect("a job").state
    }

    /// Maintenance of this moment, whenever the last one was.
    fn maintain(&mut self) {
        self.send(&["DEL", "rw:maintained"]);
        let fresh = RedisBroker::at(server().url(USER)).prefix(self.prefix.clone()).open().expect("a server");
        fresh.tick().expect("a tick");
    }

    fn list(&mut self) -> Vec<String> {
        let key = self.key("queue:default");
        redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query(&mut self.raw).expect("a list")
    }
}

fn failed() -> End {
    End::Failed(Failure::new(FailureKind::Error, "no rope"))
}

const FAR: &str = "99999999999";

#[test]
fn dependants_of_a_job_that_is_not_kept_run() {
    let mut place = Place::new();
    place.push("a", ADD, &[("result_ttl", "0")]);
    place.push("f", ADD, &[("failure_ttl", "0")]);
    for (child, parent, more) in [("b", "a", "0"), ("g", "f", "1")] {
        place.push(child, ADD, &[("allow_dependency_failures", more)]);
        place.send(&["LREM", "queue:default", "0", child]);
        place.send(&["HSET", &format!("job:{child}"), "status", "deferred"]);
        place.send(&["ZADD", "deferred:default", "1", child]);
        place.send(&["SADD", &format!("job:{parent}:dependents"), child]);
        place.send(&["SADD", &format!("job::{child}:dependencies"), parent]);
    }
    let leases = place.claim(&["app.tasks.add"]);
    assert_eq!(place.settle(&leases[0], End::Done("3".into())), Settled::Recorded);
    assert_eq!(place.settle(&leases[1], failed()), Settled::Recorded);
    assert_eq!(place.list(), ["b", "g"]);
    for gone in ["job:a", "job:f", "results:a", "results:f", "finished:default", "failed:default"] {
        assert_eq!(place.text(&["EXISTS", gone]), "0", "{gone}");
    }
}

#[test]
fn job_of_ours_that_python_tries_again_later_is_moved() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    begin_in_python(&mut place, "a", "e1", FAR);
    place.send(&["DEL", "wip:default"]);
    place.send(&["HSET", "job:a", "status", "scheduled"]);
    place.send(&["ZADD", "scheduled:default", FAR, "a"]);
    assert_eq!(place.broker.tick().unwrap().due, 0);
    place.send(&["ZADD", "scheduled:default", "1", "a"]);
    assert_eq!(place.broker.tick().unwrap().due, 1);
    assert_eq!((place.list(), place.state("a")), (vec!["a".to_owned()], State::Ready));
}

#[test]
fn job_that_python_put_back_is_not_forgotten() {
    let mut place = Place::new();
    let mut job = NewJob { id: id("a"), ..NewJob::new("t", "[]") };
    job.options.failure_ttl_ms = Some(20);
    place.broker.enqueue(&[job]).unwrap();
    let lease = place.claim(&["t"]).remove(0);
    assert_eq!(place.settle(&lease, failed()), Settled::Recorded);
    // rq's requeue: its time to live stays.
    place.send(&["ZREM", "failed:default", "a"]);
    place.send(&["HSET", "job:a", "status", "queued"]);
    place.send(&["RPUSH", "queue:default", "a"]);
    let until = place.broker.now() + Duration::from_millis(100);
    while place.broker.now() < until {
        thread::yield_now();
    }
    assert_eq!(place.broker.tick().unwrap().forgotten, 0);
    assert_eq!(place.state("a"), State::Ready);
    assert_eq!(place.claim(&["t"]).len(), 1);
    assert_eq!(place.text(&["TTL", "job:a"]), "-1");
}

#[test]
fn job_that_python_took_over_is_left_to_it() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    let lease = place.claim(&["t"]).remove(0);
    // Our lease is over by both books; rq's maintenance was first, and another worker has begun.
    let member = format!("a:{}", lease.exec);
    place.send(&["ZADD", "rw:leases", "1", &member]);
    place.send(&["ZREM", "wip:default", &member]);
    begin_in_python(&mut place, "a", "e2", FAR);
    assert_eq!(place.broker.tick().unwrap().recovered, 0);
    // And what an execution before has left takes nothing from the one that runs.
    place.send(&["ZADD", "wip:default", "1", "a:e1"]);
    place.maintain();
    assert_eq!(place.state("a"), State::Leased);
    assert_eq!(place.text(&["ZSCORE", "wip:default", "a:e2"]), FAR);
    assert_eq!(place.text(&["ZSCORE", "wip:default", "a:e1"]), "");
    assert_eq!(place.settle(&lease, End::Done("1".into())), Settled::Lost);
}

#[test]
fn ids_that_are_none_of_ours_stay_where_they_are() {
    let mut place = Place::new();
    let long = "x".repeat(129);
    place.push(&long, ADD, &[]);
    place.push("a.b", ADD, &[]);
    place.push("a", ADD, &[]);
    let leases = place.claim(&["app.tasks.add"]);
    assert_eq!(leases.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(place.broker.claim(&claim(None, 10)).unwrap(), []);
    assert_eq!(place.list(), [long, "a.b".to_owned()]);
}

/// The answer to a claim may be lost. After a sign of life, rq's own rule holds.
#[test]
fn job_of_python_that_never_began_goes_back() {
    let mut place = Place::new();
    place.push("a", ADD, &[]);
    let lose = |place: &mut Place, beats: bool| {
        let lease = place.claim(&["app.tasks.add"]).remove(0);
        if beats {
            let claimed = place.broker.now() + Duration::from_millis(5);
            while place.broker.now() < claimed {
                thread::yield_now();
            }
            let running = vec![Running { id: lease.id.clone(), exec: lease.exec, progress: None }];
            let beat = Beat {
                worker: WorkerId::of("w"),
                queues: vec!["default".into()],
                concurrency: 1,
                running,
                lease: Duration::from_secs(30),
                leaving: false,
            };
            // After a long silence, too, the execution is whole.
            let execution = format!("execution:a:{}", lease.exec);
            place.send(&["DEL", &execution]);
            assert_eq!(place.broker.heartbeat(&beat).unwrap(), [Held::Held]);
            for field in ["id", "job_id", "created_at", "last_heartbeat", "worker_name"] {
                assert_ne!(place.text(&["HGET", &execution, field]), "", "{field}");
            }
        }
        place.send(&["ZADD", "rw:leases", "1", &format!("a:{}", lease.exec)]);
        place.broker.tick().unwrap();
        place.status("a")
    };
    assert_eq!(lose(&mut place, false), "queued");
    assert_eq!(lose(&mut place, false), "queued");
    assert_eq!(lose(&mut place, true), "failed");
}

#[test]
fn job_with_needs_is_not_run_before_its_time() {
    let mut place = Place::new();
    let due = Some(place.broker.now() + Duration::from_secs(86_400));
    let needs = vec![ropewalk_jobs::Need { id: id("a"), when: ropewalk_jobs::When::Done }];
    let job = |name: &str| NewJob { id: id(name), ..NewJob::new("t", "[]") };
    place.broker.enqueue(&[job("a"), NewJob { needs: needs.clone(), due, ..job("b") }]).unwrap();
    // A worker of rq's lets go what stands here.
    assert_eq!(place.text(&["SCARD", "job:a:dependents"]), "0");
    // One that is there already, from elsewhere: maintenance looks at its time.
    place.broker.enqueue(&[NewJob { due, ..job("c") }]).unwrap();
    place.send(&["ZREM", "scheduled:default", "c"]);
    place.send(&["HSET", "job:c", "status", "ready_to_enqueue"]);
    place.send(&["ZADD", "ready:default", "1", "c"]);
    place.maintain();
    assert_eq!(place.state("c"), State::Scheduled);
    let lease = place.claim(&["t"]).remove(0);
    assert_eq!(place.settle(&lease, End::Done("1".into())), Settled::Recorded);
    assert_eq!(place.state("b"), State::Scheduled);
}

#[test]
fn stop_of_a_run_is_not_one_of_the_next() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    begin_in_python(&mut place, "a", "e1", FAR);
    place.broker.control(&Control::Stop(id("a"))).unwrap();
    place.send(&["DEL", "wip:default"]);
    place.send(&["HSET", "job:a", "status", "queued"]);
    place.send(&["RPUSH", "queue:default", "a"]);
    let lease = place.claim(&["t"]).remove(0);
    assert_eq!(place.settle(&lease, failed()), Settled::Recorded);
    assert_eq!(place.state("a"), State::Failed);
}

#[test]
fn strange_values_of_others_keep_no_job_from_its_end() {
    let mut place = Place::new();
    place.push("a", ADD, &[("retries_left", "1"), ("retry_intervals", "[oops")]);
    place.push("b", ADD, &[("result_ttl", "soon"), ("repeats_left", "many"), ("repeat_intervals", "{}")]);
    place.push("c", ADD, &[("failure_ttl", "1e300"), ("retries_left", "nan")]);
    place.send(&["SET", "results:b", "mine"]);
    let most = i64::MAX.to_string();
    place.push("d", ADD, &[("timeout", "2305843009213693952"), ("result_ttl", &most), ("failure_ttl", &most)]);
    let leases = place.claim(&["app.tasks.add"]);
    assert!(leases[3].options.timeout_ms >= Some(1 << 61), "{:?}", leases[3].options);
    assert!(place.broker.job(&id("d")).unwrap().is_some());
    assert_eq!(place.settle(&leases[3], End::Done("3".into())), Settled::Recorded);
    assert_eq!(place.settle(&leases[0], failed()), Settled::Recorded);
    assert_eq!(place.settle(&leases[1], End::Done("3".into())), Settled::Recorded);
    assert_eq!(place.settle(&leases[2], failed()), Settled::Recorded);
    assert_eq!(["a", "b", "c"].map(|id| place.status(id)), ["queued", "finished", "failed"]);
    assert_eq!(place.broker.job(&id("b")).unwrap().unwrap().result.as_deref(), Some("3"));
}

/// Whoever has put it there has broken that job, and no other: its neighbours end, and come back when their leases are over.
#[test]
fn key_of_another_kind_keeps_no_neighbour_from_its_turn() {
    let mut place = Place::new();
    ["a", "b", "c"].iter().for_each(|name| place.push(name, ADD, &[]));
    let leases = place.claim(&["app.tasks.add"]);
    let broken = |place: &mut Place| {
        place.send(&["DEL", "job:b"]);
        place.send(&["SET", "job:b", "mine"]);
    };
    // As a worker's loop settles them: together, and then each alone.
    broken(&mut place);
    let outcome = |lease: &Lease| Outcome { id: lease.id.clone(), exec: lease.exec, end: End::Done("3".into()) };
    let error = place.broker.settle(&leases.iter().map(outcome).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(matches!(place.settle(&leases[0], End::Done("3".into())), Settled::Recorded | Settled::Repeated));
    assert!(matches!(place.settle(&leases[2], End::Done("3".into())), Settled::Recorded | Settled::Repeated));

    place.send(&["DEL", "job:b"]);
    ["d", "b", "e"].iter().for_each(|name| place.push(name, ADD, &[]));
    let leases = place.claim(&["app.tasks.add"]);
    assert_eq!(leases.len(), 3);
    broken(&mut place);
    for lease in &leases {
        place.send(&["ZADD", "rw:leases", "1", &format!("{}:{}", lease.id, lease.exec)]);
    }
    assert_eq!(place.broker.tick().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(["d", "e"].map(|id| place.status(id)), ["queued", "queued"]);
    // It is told once, and left alone for a while.
    place.broker.tick().unwrap();
}

/// What was heard before a look at the list that failed is told by the next one.
#[test]
fn end_that_could_not_be_told_is_told_later() {
    let mut place = Place::new();
    let user = place.prefix.replace(':', "-");
    let acl = |place: &mut Place, rules: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg(&user).arg(rules).exec(&mut place.raw).unwrap();
    };
    acl(&mut place, &["on", ">secret", "~*", "&*", "+@all"]);
    let url = server().url(&format!("user={user}&pass=secret"));
    let broker = RedisBroker::at(url).prefix(place.prefix.clone()).open().unwrap();
    let seen = broker.news(Topic::Ended);
    let (mark, _) = broker.ended_since(None).unwrap();
    acl(&mut place, &["-xrange"]);
    place.send(&["XADD", "results:a", "*", "type", "1"]);
    let until = Instant::now() + LIMIT;
    while broker.news(Topic::Ended) == seen {
        assert!(Instant::now() < until, "nobody heard it");
        broker.wait(Topic::Ended, seen, LIMIT);
    }
    broker.ended_since(Some(mark)).unwrap_err();
    acl(&mut place, &["+xrange"]);
    assert_eq!(broker.ended_since(Some(mark)).unwrap(), (mark, vec![id("a")]));
}

/// Against the rule itself: by priority, and by arrival within one.
#[test]
fn places_of_priorities_are_those_of_a_sort() {
    let mut place = Place::new();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut expected: Vec<(i32, String)> = Vec::new();
    for n in 0..3_000 {
        let (name, priority) = (format!("j{n}"), if n < 2_400 { 0 } else { rng.i32(-3..4) });
        let at = expected.iter().position(|(other, _)| *other < priority).unwrap_or(expected.len());
        expected.insert(at, (priority, name));
    }
    let mut jobs: Vec<(usize, NewJob)> = expected
        .iter()
        .map(|(priority, name)| {
            let job = NewJob { id: id(name), priority: *priority, ..NewJob::new("t", "[]") };
            (name[1..].parse().unwrap(), job)
        })
        .collect();
    jobs.sort_by_key(|(n, _)| *n);
    let jobs: Vec<NewJob> = jobs.into_iter().map(|(_, job)| job).collect();
    for some in jobs.chunks(500) {
        place.broker.enqueue(some).unwrap();
    }
    assert!(place.list() == expected.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
    // What is released goes before the others of its priority.
    let first = place.broker.claim(&claim(None, 1)).unwrap().remove(0);
    assert_eq!(place.settle(&first, End::Release), Settled::Recorded);
    assert_eq!(place.list()[0], first.id.as_str());
    assert_eq!(place.broker.control(&Control::Empty("default".into())).unwrap(), 3_000);
    assert_eq!(place.text(&["EXISTS", "rw:priority:default"]), "0");
}

#[test]
fn keeper_rests_while_a_scheduler_of_python_is_at_work() {
    let mut place = Place::new();
    let due = Some(place.broker.now() + Duration::from_secs(3_600));
    place.broker.enqueue(&[NewJob { id: id("a"), due, ..NewJob::new("t", "[]") }]).unwrap();
    place.send(&["SET", "scheduler-lock:default", "python"]);
    place.send(&["ZADD", "rw:due", "1", "a"]);
    place.send(&["ZADD", "scheduled:default", "1", "a"]);
    let ticked = place.broker.tick().unwrap();
    assert_eq!((ticked.due, ticked.more, ticked.next_due), (0, false, None));
}

#[test]
fn jobs_of_others_are_read_once() {
    let mut place = Place::new();
    for n in 0..200 {
        place.push(&format!("p{n}"), br#"["app.tasks.other", null, [], {}]"#, &[]);
    }
    place.push("a", ADD, &[]);
    assert_eq!(place.claim(&["app.tasks.add"]).len(), 1);
    let before = place.broker.traffic().1;
    assert_eq!(place.claim(&["app.tasks.add"]), []);
    assert_eq!(place.broker.traffic().1, before + 1);
    // Another worker need not read them either, and one that knows them takes them.
    let other = RedisBroker::at(server().url(USER)).prefix(place.prefix.clone()).open().unwrap();
    let before = other.traffic().1;
    assert_eq!(other.claim(&claim(Some(&["app.tasks.other"]), 10)).unwrap().len(), 10);
    assert_eq!(other.traffic().1, before + 1);
    // The same id, another job: it is read again.
    place.send(&["HSET", "job:p10", "data", std::str::from_utf8(ADD).unwrap(), "created_at", "2026-11-23T10:57:46Z"]);
    let leases = other.claim(&claim(Some(&["app.tasks.other"]), 1)).unwrap();
    assert_eq!(leases[0].id, id("p11"));
    // What a Python worker takes is not kept for ever.
    place.send(&["DEL", "job:p199"]);
    place.maintain();
    assert_eq!(place.text(&["HEXISTS", "rw:functions", "p199"]), "0");
    assert_eq!(place.text(&["HEXISTS", "rw:functions", "p198"]), "1");
}

/// Books of ours about jobs that ended, or were taken, where nobody knows of them.
#[test]
fn books_of_what_python_did_are_cleared() {
    let mut place = Place::new();
    let unique = |key: &str| Some(ropewalk_jobs::Unique { key: key.into(), window_ms: None });
    let needs = |when| vec![ropewalk_jobs::Need { id: id("a"), when }];
    let job = |name: &str| NewJob { id: id(name), ..NewJob::new("t", "[]") };
    place
        .broker
        .enqueue(&[
            NewJob { unique: unique("k"), priority: 3, ..job("a") },
            NewJob { unique: unique("l"), ..job("x") },
            NewJob { needs: needs(ropewalk_jobs::When::Ended), ..job("b") },
            job("c"),
            job("d"),
        ])
        .unwrap();
    place.broker.control(&Control::Cancel(id("c"))).unwrap();
    place.send(&["DEL", "job:c"]);
    // A need that was deleted is as one that was cancelled.
    let on_d = vec![ropewalk_jobs::Need { id: id("d"), when: ropewalk_jobs::When::Done }];
    place.broker.enqueue(&[NewJob { needs: on_d, ..job("e") }]).unwrap();
    place.send(&["DEL", "job:d"]);
    begin_in_python(&mut place, "a", "e1", FAR);
    place.send(&["DEL", "wip:default"]);
    place.send(&["HSET", "job:a", "status", "finished"]);
    place.maintain();
    for gone in ["rw:priority:default", "rw:needed:a"] {
        assert_eq!(place.text(&["EXISTS", gone]), "0", "{gone}");
    }
    assert_eq!((place.state("b"), place.state("e")), (State::Ready, State::Canceled));
    assert_eq!(place.text(&["HEXISTS", "rw:taken", "k"]), "0");
    assert_eq!(place.text(&["HEXISTS", "rw:taken", "l"]), "1");
    assert_eq!(place.text(&["ZSCORE", "canceled:default", "c"]), "");
}

/// More wait than one maintenance looks at: it goes on where it was.
#[test]
fn maintenance_comes_to_every_job_that_waits() {
    let mut place = Place::new();
    let job = |name: &str| NewJob { id: id(name), ..NewJob::new("t", "[]") };
    let on = |name: &str| vec![ropewalk_jobs::Need { id: id(name), when: ropewalk_jobs::When::Ended }];
    place.broker.enqueue(&[job("a"), job("b")]).unwrap();
    let waiting: Vec<NewJob> = (0..1_000).map(|n| NewJob { needs: on("a"), ..job(&format!("j{n}")) }).collect();
    for some in waiting.chunks(500) {
        place.broker.enqueue(some).unwrap();
    }
    place.broker.enqueue(&[NewJob { needs: on("b"), ..job("z") }]).unwrap();
    place.send(&["ZADD", "deferred:default", FAR, "z"]);
    place.send(&["HSET", "job:b", "status", "finished"]);
    place.maintain();
    assert_eq!(place.state("z"), State::Waiting);
    place.maintain();
    assert_eq!(place.state("z"), State::Ready);
}

#[test]
fn rate_limits_of_python_hold_on_every_way_to_the_queue() {
    let mut place = Place::new();
    let limited = [("rate_limit_key", "k"), ("rate_limit_concurrency", "1")];
    place.push("a", ADD, &[("retries_left", "1"), ("retry_intervals", "[60]"), limited[0], limited[1]]);
    place.push("b", ADD, &limited);
    place.send(&["LREM", "queue:default", "0", "b"]);
    place.send(&["HSET", "job:b", "status", "rate_limited"]);
    place.send(&["SADD", "rl-keys", "k"]);
    place.send(&["HSET", "rl:k", "concurrency", "1"]);
    place.send(&["ZADD", "rl:k:allowed", "1", "a"]);
    place.send(&["ZADD", "rl:k:rate_limited", "1", "b"]);
    let lease = place.claim(&["app.tasks.add"]).remove(0);
    // It waits for its next try, and lets the other one go first.
    assert_eq!(place.settle(&lease, failed()), Settled::Recorded);
    assert_eq!((place.status("a"), place.status("b")), ("scheduled".into(), "queued".into()));
    let lease = place.claim(&["app.tasks.add"]).remove(0);
    place.send(&["ZADD", "scheduled:default", "1", "a"]);
    place.broker.tick().unwrap();
    assert_eq!(place.status("a"), "rate_limited");
    assert_eq!(place.settle(&lease, failed()), Settled::Recorded);
    assert_eq!(place.status("a"), "queued");
    place.broker.control(&Control::Requeue(id("b"))).unwrap();
    assert_eq!(place.status("b"), "rate_limited");
    let lease = place.claim(&["app.tasks.add"]).remove(0);
    assert_eq!(place.settle(&lease, End::Done("3".into())), Settled::Recorded);
    assert_eq!((place.status("a"), place.status("b")), ("finished".into(), "queued".into()));
}

/// A directory of one test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-redis-{}-{name}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How often each job was begun.
type Runs = Arc<Mutex<std::collections::HashMap<JobId, u32>>>;

fn worker(broker: RedisBroker, runs: &Runs) -> RunningWorker {
    let runs = Arc::clone(runs);
    let handler = Arc::new(move |_: &str, job: &ropewalk::JobContext| {
        let id = job.id().expect("a job").parse().expect("an id");
        *runs.lock().unwrap().entry(id).or_insert(0) += 1;
        Ok(job.attempt().to_string())
    });
    let worker = Worker::new(broker).register_handler("t", handler).concurrency(8).lease(Duration::from_millis(500));
    worker.on_notice(|_| {}).start().expect("threads")
}

/// Enqueues until it is answered: which ids were.
fn produce(broker: &RedisBroker, name: &str, batches: std::ops::Range<usize>) -> Vec<JobId> {
    let mut acked = Vec::new();
    for batch in batches {
        let jobs: Vec<NewJob> = (0..10)
            .map(|n| {
                let mut job = NewJob { id: id(&format!("{name}-{batch}-{n}")), ..NewJob::new("t", "[]") };
                job.options.crashes_max = Some(1_000_000);
                job
            })
            .collect();
        let until = Instant::now() + LIMIT;
        while broker.enqueue(&jobs).is_err() {
            assert!(Instant::now() < until, "nobody answers");
        }
        acked.extend(jobs.into_iter().map(|job| job.id));
    }
    acked
}

/// Everything that was answered ends once, and its last attempt is the one that counts.
fn all_end(broker: &RedisBroker, acked: &[JobId], runs: &Runs) {
    let until = Instant::now() + LIMIT;
    for id in acked {
        let job = loop {
            match broker.job(id) {
                Ok(Some(job)) if job.state.is_ended() => break job,
                Ok(None) => panic!("{id} was acknowledged and is lost"),
                Ok(Some(job)) => assert!(Instant::now() < until, "{job:?}"),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(job.state, State::Done, "{job:?}");
        assert_eq!(job.result.as_deref(), Some(&*(job.crashes + 1).to_string()), "{job:?}");
        let ran = runs.lock().unwrap().get(id).copied().unwrap_or(0);
        assert!((1..=job.crashes + 1).contains(&ran), "{id} ran {ran} times: {job:?}");
    }
}

/// `appendfsync always`: what was answered is on the disk, whoever dies.
#[test]
fn server_that_is_killed_loses_nothing_that_it_has_answered() {
    let directory = Directory::new("killed");
    let start = || Server::start(&directory.0, &["--appendonly", "yes", "--appendfsync", "always"]);
    let mut server = start();
    let broker = RedisBroker::open(&server.url("")).unwrap();
    let runs = Runs::default();
    let working = worker(broker.clone(), &runs);
    let batches = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let acked = thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut acked = Vec::new();
            while !over.load(Ordering::Acquire) {
                let batch = batches.load(Ordering::Acquire);
                acked.extend(produce(&broker, "k", batch..batch + 1));
                batches.store(batch + 1, Ordering::Release);
            }
            acked
        });
        for _ in 0..3 {
            // In the middle of the work, wherever that is.
            let target = batches.load(Ordering::Acquire) + 20;
            let until = Instant::now() + LIMIT;
            while batches.load(Ordering::Acquire) < target {
                assert!(Instant::now() < until, "nothing is enqueued");
                thread::yield_now();
            }
            server.kill();
            server = start();
        }
        over.store(true, Ordering::Release);
        producer.join().unwrap()
    });
    assert!(acked.len() > 500, "{}", acked.len());
    all_end(&broker, &acked, &runs);
    working.stop();
    let _ = working.join();
}

/// A connection on the way that delays, cuts, and drops the answer after the step has happened.
struct Proxy {
    socket: PathBuf,
    faults: Arc<AtomicUsize>,
    calm: Arc<AtomicBool>,
}

impl Proxy {
    fn new(directory: &Path, server: &Path, seed: u64) -> Self {
        let socket = directory.join("proxy.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (faults, calm) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (server, its_faults, its_calm) = (server.to_owned(), Arc::clone(&faults), Arc::clone(&calm));
        // Ends with the process.
        thread::spawn(move || {
            for (n, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { return };
                let Ok(upstream) = UnixStream::connect(&server) else { continue };
                let pair = |a: &UnixStream, b: &UnixStream| {
                    (a.try_clone().expect("a socket"), b.try_clone().expect("a socket"))
                };
                for (way, (from, to)) in [pair(&client, &upstream), pair(&upstream, &client)].into_iter().enumerate() {
                    let (faults, calm) = (Arc::clone(&its_faults), Arc::clone(&its_calm));
                    let rng = fastrand::Rng::with_seed(seed ^ ((n as u64) << 1) ^ way as u64);
                    thread::spawn(move || pass(from, to, rng, &faults, &calm));
                }
            }
        });
        Self { socket, faults, calm }
    }
}

/// One way of a connection, until something happens to it.
fn pass(mut from: UnixStream, mut to: UnixStream, mut rng: fastrand::Rng, faults: &AtomicUsize, calm: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let mut send = &bytes[..read];
        let fault = if calm.load(Ordering::Acquire) { u8::MAX } else { rng.u8(..60) };
        match fault {
            // Dropped: for an answer that is after the step, for a request before it.
            0 => send = &[],
            1 => send = &send[..rng.usize(..read)],
            2..=5 => thread::sleep(Duration::from_millis(rng.u64(1..20))),
            _ => {}
        }
        let sent = to.write_all(send);
        if fault <= 1 {
            faults.fetch_add(1, Ordering::Relaxed);
        }
        if sent.is_err() || fault <= 1 {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn connection_that_breaks_anywhere_loses_nothing() {
    let directory = Directory::new("proxy");
    let seed = std::env::var("ROPEWALK_FAULT_SEED").ok().map_or(7, |text| text.parse().expect("a number"));
    let proxy = Proxy::new(&directory.0, &server().socket, seed);
    let prefix = prefix();
    let open = || {
        let until = Instant::now() + LIMIT;
        loop {
            let url = format!("redis+unix://{}?{USER}", proxy.socket.display());
            match RedisBroker::at(url).prefix(prefix.clone()).open() {
                Ok(broker) => return broker,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    };
    let runs = Runs::default();
    let workers = [worker(open(), &runs), worker(open(), &runs)];
    let producer = open();
    let acked = produce(&producer, "p", 0..120);
    proxy.calm.store(true, Ordering::Release);
    all_end(&producer, &acked, &runs);
    assert!(proxy.faults.load(Ordering::Relaxed) > 20, "nothing was tried");
    for worker in workers {
        worker.stop();
        let _ = worker.join();
    }
}
