//! What is particular to Redis: rq's programs beside ours, a server that forgets or dies, a connection that breaks.
//!
//! What a Python program does is done here by the commands that it sends; the programs themselves are in `interop`.

#![cfg(all(unix, feature = "redis"))]

#[allow(dead_code, reason = "what other tests use of it")]
#[path = "brokers/redis.rs"]
mod redis_server;

use redis_server::{Server, USER, prefix, server};
use ropewalk_jobs::broker::{Beat, Broker, Claim, Enqueued, ErrorKind, Filter, Held, Running, Topic};
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

/// What a Python worker that died has left, and what one that lives has ended.
#[test]
fn what_workers_of_python_leave_is_taken_up() {
    let mut place = Place::new();
    let needs = |on: &str, when| vec![ropewalk_jobs::Need { id: id(on), when }];
    let job = |name: &str| NewJob { id: id(name), ..NewJob::new("t", "[]") };
    let (on_a, on_failed) = (needs("a", ropewalk_jobs::When::Ended), needs("a", ropewalk_jobs::When::Failed));
    place
        .broker
        .enqueue(&[job("a"), NewJob { needs: on_a, ..job("b") }, NewJob { needs: on_failed, ..job("c") }, job("d")])
        .unwrap();
    // One was ended by a Python worker, one was begun by another whose lease is over, one was popped and never begun.
    let (queue, wip) = (place.key("queue:default"), place.key("wip:default"));
    let set = |place: &mut Place, id: &str, status: &str| {
        redis::cmd("HSET").arg(place.key(&format!("job:{id}"))).arg("status").arg(status).exec(&mut place.raw).unwrap();
    };
    redis::cmd("DEL").arg(&queue).exec(&mut place.raw).unwrap();
    set(&mut place, "a", "finished");
    set(&mut place, "d", "started");
    redis::cmd("ZADD").arg(&wip).arg(1).arg("d:0123").exec(&mut place.raw).unwrap();
    place.push("e", ADD, &[]);
    redis::cmd("LMOVE")
        .arg(&queue)
        .arg(format!("{queue}:intermediate"))
        .arg("LEFT")
        .arg("RIGHT")
        .exec(&mut place.raw)
        .unwrap();
    redis::cmd("SET").arg(format!("{queue}:intermediate:first_seen:e")).arg("1.5").exec(&mut place.raw).unwrap();
    place.broker.tick().unwrap();
    let state = |name: &str| place.broker.job(&id(name)).unwrap().unwrap().state;
    assert_eq!(["b", "c", "d", "e"].map(state), [State::Ready, State::Canceled, State::Ready, State::Ready]);
    assert_eq!(place.broker.job(&id("d")).unwrap().unwrap().crashes, 1);
    assert_eq!(place.claim(&["t", "app.tasks.add"]).len(), 3);
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
    while place.broker.now() <= due + Duration::from_millis(50) {
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
