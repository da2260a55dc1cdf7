//! Our systems at suite `jobs`: the same library on each place where jobs can be kept.

use std::io::{BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::task::Task as _;
use ropewalk_jobs::{Broker, Enqueue as _, JobQueue, MemoryBroker, NewJob, RedisBroker, SqliteBroker, State, Worker};

use super::server::{self, Server};
use super::{BATCH, PAYLOAD, Scratch, idle_ms, percentiles, rate};
use crate::harness::{Effort, Sample, Work};
use crate::measure::timed;

/// Does nothing with what a small job has.
#[ropewalk::task]
fn noop(_path: String, _width: u64, _height: u64, _options: serde_json::Value) {}

/// Waits, and does nothing else. By the name that it has in Python.
#[ropewalk::task(name = "jobs.nap")]
fn nap(millis: u64) {
    ropewalk::sleep(Duration::from_millis(millis));
}

fn call() -> ropewalk::Call<noop, ()> {
    let (path, width, height, options) = serde_json::from_str(PAYLOAD).expect("the arguments of a noop");
    noop::call(path, width, height, options)
}

/// An empty store.
struct Store {
    broker: Arc<dyn Broker>,
    /// How another process reaches it, if one can.
    address: Option<String>,
    /// The server of it, and our way to that.
    server: Option<(&'static Server, RedisBroker)>,
}

/// Where jobs can be kept.
struct Place {
    system: &'static str,
    open: fn(&Scratch) -> Store,
}

/// One line each. (What `--job-worker` is told is read by [`reach`].)
const PLACES: &[Place] = &[
    Place {
        system: "ropewalk:sqlite",
        open: |scratch| {
            let address = format!("sqlite:{}", scratch.file().display());
            let broker = reach(&address).expect("a file beside this program");
            Store { broker, address: Some(address), server: None }
        },
    },
    Place {
        system: REDIS,
        open: |_| {
            let server = server::shared().expect("takes part where there is one");
            server.empty();
            let broker = RedisBroker::open(&server.address()).expect("a server of ours");
            Store { broker: Arc::new(broker.clone()), address: Some(server.address()), server: Some((server, broker)) }
        },
    },
    Place {
        system: "ropewalk:memory",
        open: |_| Store { broker: Arc::new(MemoryBroker::new()), address: None, server: None },
    },
];

const REDIS: &str = "ropewalk:redis";

/// The store at this address.
fn reach(address: &str) -> Result<Arc<dyn Broker>, String> {
    match address.split_once(':') {
        Some(("sqlite", path)) => Ok(Arc::new(SqliteBroker::open(path).map_err(|error| error.to_string())?)),
        Some(("redis", _)) => Ok(Arc::new(RedisBroker::open(address).map_err(|error| error.to_string())?)),
        _ => Err(format!("no store {address:?}")),
    }
}

/// Lets our systems take part in a work.
pub fn join(mut work: Work) -> Work {
    for place in PLACES {
        if place.system == REDIS && server::shared().is_none() {
            continue;
        }
        match work.name {
            "enqueue.one" => work.add(place.system, |effort| enqueue_one(place, effort)),
            "enqueue.batch" => work.add(place.system, |effort| enqueue_batch(place, effort)),
            "noop.c1" => work.add(place.system, |effort| burst(place, effort.pick(1_500, 200), 1, None)),
            "noop.c50" => work.add(place.system, |effort| burst(place, effort.pick(50_000, 5_000), 50, None)),
            "sleep.5ms" => work.add(place.system, |effort| burst(place, effort.pick(5_000, 500), 50, Some(5))),
            "sleep.200ms" => work.add(place.system, |effort| burst(place, effort.pick(500, 100), 50, Some(200))),
            "noop.4procs" if place.system != "ropewalk:memory" => {
                work.add(place.system, |effort| fleet(place, effort.pick(40_000, 4_000), 4, 50));
            }
            "latency" => work.add(place.system, |effort| latency(place, effort)),
            "idle.cpu" => work.add(place.system, |effort| idle(place, effort)),
            _ => {}
        }
    }
    work
}

fn fill(broker: &dyn Broker, jobs: u64) {
    fill_with(broker, jobs, noop::NAME, PAYLOAD);
}

fn fill_with(broker: &dyn Broker, jobs: u64, task: &str, payload: &str) {
    let mut left = jobs;
    while left > 0 {
        let batch: Vec<NewJob> = (0..left.min(BATCH)).map(|_| NewJob::new(task, payload)).collect();
        left -= batch.len() as u64;
        broker.enqueue(&batch).expect("room for jobs");
    }
}

fn check(broker: &dyn Broker, state: State, jobs: u64) {
    let queues = broker.queues().expect("a store that can be read");
    assert_eq!(queues.iter().map(|queue| queue.of(state)).sum::<u64>(), jobs, "{state}: {queues:?}");
}

fn enqueue_one(place: &Place, effort: Effort) -> Sample {
    let (scratch, jobs) = (Scratch::new(), effort.pick(1_500, 200));
    let Store { broker, .. } = (place.open)(&scratch);
    let queue = JobQueue::new(Arc::clone(&broker));
    let ((), spent) = timed(|| (0..jobs).for_each(|_| drop(call().enqueue(&queue).expect("room for a job"))));
    check(&*broker, State::Ready, jobs);
    rate(jobs, spent)
}

fn enqueue_batch(place: &Place, effort: Effort) -> Sample {
    let (scratch, jobs) = (Scratch::new(), effort.pick(100_000, 10_000));
    let Store { broker, .. } = (place.open)(&scratch);
    let ((), spent) = timed(|| fill(&*broker, jobs));
    check(&*broker, State::Ready, jobs);
    rate(jobs, spent)
}

fn worker(broker: Arc<dyn Broker>, concurrency: usize) -> Worker {
    Worker::new(broker).concurrency(concurrency).register::<noop>().register::<nap>()
}

/// A worker that ends when nothing is left. Jobs sleep for so many milliseconds, or do nothing.
fn burst(place: &Place, jobs: u64, concurrency: usize, sleep: Option<u64>) -> Sample {
    let scratch = Scratch::new();
    let Store { broker, server, .. } = (place.open)(&scratch);
    match sleep {
        Some(millis) => fill_with(&*broker, jobs, nap::NAME, &format!("[{millis}]")),
        None => fill(&*broker, jobs),
    }
    let figures = || server.as_ref().map(|(server, broker)| (server.figures(), broker.traffic().0 as f64));
    let before = figures();
    let (counts, spent) = timed(|| {
        let worker = worker(Arc::clone(&broker), concurrency).burst().start().expect("threads for a worker");
        worker.join()
    });
    let after = figures();
    assert_eq!((counts.done, counts.taken), (jobs, jobs));
    check(&*broker, State::Done, jobs);
    let sample = rate(jobs, spent);
    match (before, after) {
        (Some((before, trips_before)), Some((after, trips))) => sample
            .and("roundtrips", (trips - trips_before) / jobs as f64)
            .and("commands", (after.commands - before.commands) / jobs as f64)
            .and("broker.cpu", (after.cpu_s - before.cpu_s) / jobs as f64 * 1e6),
        _ => sample,
    }
}

/// A worker process, told when to begin.
struct Other {
    child: Child,
    answer: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(address: &str, concurrency: usize, how: &str) -> Other {
        let us = std::env::current_exe().expect("this program");
        let mut child = Command::new(us)
            .args(["--job-worker", address, &concurrency.to_string(), how])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program, once more");
        let mut answer = BufReader::new(child.stdout.take().expect("stdout was piped"));
        assert_eq!(line(&mut answer), "ready");
        Other { child, answer }
    }

    fn tell(&mut self) {
        writeln!(self.child.stdin.as_mut().expect("stdin was piped"), "go").expect("a worker that listens");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // The end of its input is the end of the worker.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

/// `--job-worker ADDRESS CONCURRENCY burst|serve`: says `ready`, works when it is told to, says how many jobs it did.
pub fn work_as_told(address: &str, concurrency: &str, how: &str) -> Result<(), String> {
    let concurrency = concurrency.parse().map_err(|error| format!("{concurrency:?}: {error}"))?;
    let worker = worker(reach(address)?, concurrency);
    println!("ready");
    let mut input = std::io::stdin().lock();
    line(&mut input);
    let counts = if how == "burst" {
        worker.burst().start().map_err(|error| error.to_string())?.join()
    } else {
        let worker = worker.start().map_err(|error| error.to_string())?;
        // Until whoever started it closes the pipe, or ends.
        let _ = std::io::copy(&mut input, &mut std::io::sink());
        worker.stop();
        worker.join()
    };
    println!("{}", counts.done);
    Ok(())
}

fn fleet(place: &Place, jobs: u64, processes: u64, concurrency: usize) -> Sample {
    let scratch = Scratch::new();
    let Store { broker, address, .. } = (place.open)(&scratch);
    let address = address.expect("a store for several processes");
    fill(&*broker, jobs);
    let mut others: Vec<Other> = (0..processes).map(|_| Other::start(&address, concurrency, "burst")).collect();
    let (done, spent) = timed(|| {
        others.iter_mut().for_each(Other::tell);
        others.iter_mut().map(|other| line(&mut other.answer).parse().expect("a count")).collect::<Vec<u64>>()
    });
    assert_eq!(done.iter().sum::<u64>(), jobs);
    check(&*broker, State::Done, jobs);
    let least = done.iter().min().copied().unwrap_or(0);
    rate(jobs, spent).and("fairness", 100.0 * (least * processes) as f64 / jobs as f64)
}

fn latency(place: &Place, effort: Effort) -> Sample {
    let (scratch, jobs) = (Scratch::new(), effort.pick(400, 60));
    let Store { broker, address, .. } = (place.open)(&scratch);
    // Its end is seen to below, whichever of the two it is.
    let (other, here) = match address {
        Some(address) => {
            let mut other = Other::start(&address, 1, "serve");
            other.tell();
            (Some(other), None)
        }
        None => (None, Some(worker(Arc::clone(&broker), 1).start().expect("threads for a worker"))),
    };
    let queue = JobQueue::new(broker);
    let once = || call().enqueue(&queue).expect("room for a job").join().expect("a result");
    // The worker is there, and has done something.
    (0..10).for_each(|_| once());
    let (us, spent) = timed(|| {
        let time = |_| {
            let since = Instant::now();
            once();
            since.elapsed().as_secs_f64() * 1e6
        };
        (0..jobs).map(time).collect()
    });
    drop((other, here));
    percentiles(us, spent)
}

/// The CPU time of this process while its worker has nothing to do, in percent of a core.
fn idle(place: &Place, effort: Effort) -> Sample {
    let scratch = Scratch::new();
    let Store { broker, .. } = (place.open)(&scratch);
    fill(&*broker, 100);
    let worker = worker(broker, 10).start().expect("threads for a worker");
    std::thread::sleep(Duration::from_millis(500));
    let ((), spent) = timed(|| std::thread::sleep(Duration::from_millis(idle_ms(effort))));
    worker.stop();
    assert_eq!(worker.join().done, 100);
    Sample::new(100.0 * spent.cores(), spent)
}
