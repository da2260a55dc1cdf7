//! What a worker tells of its jobs while they run and when it ends: logs, progress, health and counts.

#![cfg(unix)]

use ropewalk::JobContext;
use ropewalk::State;
use ropewalk::sync::Event;
use ropewalk_jobs::broker::{BrokerError, Fault, Filter, Said};
use ropewalk_jobs::{Broker, Enqueue as _, JobQueue, MemoryBroker, Retry, State as Life, Worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Gates {
    begun: Event,
    gate: Event,
}

#[ropewalk::task]
fn talks(gates: State<Arc<Gates>>, job: &JobContext, fail_until: u32) -> Result<u32, std::fmt::Error> {
    job.log(format_args!("attempt {}", job.attempt()));
    job.progress(0.25, "a quarter");
    gates.begun.set();
    gates.gate.wait();
    job.log("and out\n");
    if job.attempt() < fail_until { Err(std::fmt::Error) } else { Ok(job.attempt()) }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn place() -> (MemoryBroker, JobQueue, Arc<Gates>, Worker) {
    let (broker, gates) = (MemoryBroker::new(), Arc::new(Gates::default()));
    let worker = Worker::new(broker.clone()).register::<talks>().state(Arc::clone(&gates)).on_notice(|_| {});
    (broker.clone(), JobQueue::new(broker), gates, worker)
}

/// Long before the next sign of life would be due, which is ten seconds.
#[test]
fn what_a_job_says_is_seen_while_it_runs() {
    let (broker, queue, gates, worker) = place();
    let handle = talks::call(0).enqueue(&queue).unwrap();
    let worker = worker.start().unwrap();
    let began = Instant::now();
    until("its line", || broker.logs(handle.id()).unwrap().is_some_and(|log| log.ends_with("Z attempt 1\n")));
    until("its progress", || handle.job().unwrap().unwrap().progress.is_some_and(|at| at.message == "a quarter"));
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    gates.gate.set();
    let id = handle.id().clone();
    handle.join().unwrap();
    // With the end of a run comes all that it has said.
    assert!(broker.logs(&id).unwrap().unwrap().ends_with("Z and out\n"));
    drop(worker);
}

#[test]
fn log_of_every_attempt_is_kept() {
    let (broker, queue, gates, worker) = place();
    gates.gate.set();
    let retry = Retry::times(2).base(Duration::from_millis(1));
    let handle = talks::call(3).job().retry(retry).enqueue(&queue).unwrap();
    let id = handle.id().clone();
    let worker = worker.start().unwrap();
    assert_eq!(handle.join().unwrap(), 3);
    let log = broker.logs(&id).unwrap().unwrap();
    let said: Vec<&str> = log.lines().filter_map(|line| line.split_once(' ').map(|(_, said)| said)).collect();
    assert_eq!(said, ["attempt 1", "and out", "attempt 2", "and out", "attempt 3", "and out"]);
    drop(worker);
}

/// The pause after a refused step is no reason to keep what is to go back.
#[test]
fn worker_that_ends_in_a_pause_gives_back_what_runs() {
    let (broker, queue, gates, worker) = place();
    let handle = talks::call(0).enqueue(&queue).unwrap();
    let worker = worker.start().unwrap();
    gates.begun.wait();
    // More than any of its loops will say before it ends.
    (0..40).for_each(|_| broker.fail_next(Fault::Refuse));
    worker.stop();
    worker.stop();
    until("its job", || handle.job().unwrap().unwrap().state == Life::Ready);
    let job = handle.job().unwrap().unwrap();
    assert_eq!((job.failures, job.crashes), (0, 0));
}

/// A broker that takes its time over the first lines that it is sent.
struct SlowToHear {
    broker: MemoryBroker,
    hears: Event,
    heard: AtomicBool,
}

impl Broker for SlowToHear {
    fn log(&self, said: &[Said]) -> Result<(), BrokerError> {
        if !self.heard.swap(true, Ordering::AcqRel) {
            self.hears.set();
            // Long enough for the run to end, and for its end to be settled if nothing holds that back.
            std::thread::sleep(Duration::from_millis(500));
        }
        self.broker.log(said)
    }

    ropewalk_jobs::__pass_on!(|this| this.broker; now, enqueue, claim, heartbeat, settle, tick, control, job, jobs, queues, workers,
        ended_since, news, wait, ring);
}

/// One thread of the worker has its first line in its hands when another is told of its end.
#[test]
fn end_of_a_run_overtakes_none_of_its_lines() {
    let (broker, gates) = (MemoryBroker::new(), Arc::new(Gates::default()));
    let slow = Arc::new(SlowToHear { broker: broker.clone(), hears: Event::default(), heard: AtomicBool::default() });
    let worker = Worker::new(Arc::clone(&slow)).register::<talks>().state(Arc::clone(&gates)).on_notice(|_| {});
    let handle = talks::call(0).enqueue(&JobQueue::new(broker.clone())).unwrap();
    let id = handle.id().clone();
    let worker = worker.start().unwrap();
    slow.hears.wait();
    gates.gate.set();
    handle.join().unwrap();
    let log = broker.logs(&id).unwrap().expect("it has said something");
    let said: Vec<&str> = log.lines().filter_map(|line| line.split_once(' ').map(|(_, said)| said)).collect();
    assert_eq!(said, ["attempt 1", "and out"]);
    drop(worker);
}

#[cfg(feature = "metrics")]
mod metrics {
    use super::*;
    use ropewalk_jobs::RunningWorker;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    /// A worker that tells, at a port that is free, and where.
    fn telling(worker: Worker) -> (RunningWorker, SocketAddr) {
        let worker = worker.serve_metrics("127.0.0.1:0").unwrap().start().unwrap();
        let at = worker.metrics_addr().expect("it tells");
        (worker, at)
    }

    fn ask(at: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(at: SocketAddr, path: &str) -> String {
        ask(at, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"))
    }

    #[test]
    fn counts_and_health_are_told_while_jobs_run() {
        let (_, queue, gates, worker) = place();
        let (worker, at) = telling(worker);
        let handle = talks::call(0).enqueue(&queue).unwrap();
        gates.begun.wait();
        let health = get(at, "/health");
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.contains("\"ok\":true"), "{health}");
        until("its count", || get(at, "/metrics").contains("\nropewalk_jobs_taken_total 1\n"));
        for line in [
            "# TYPE ropewalk_jobs_settled_total counter",
            "ropewalk_jobs_running 1",
            "ropewalk_workers 1",
            "ropewalk_queue_jobs{queue=\"default\",state=\"leased\"} 1",
        ] {
            until(line, || get(at, "/metrics").lines().any(|told| told == line));
        }
        gates.gate.set();
        handle.join().unwrap();
        until("the end", || get(at, "/metrics").contains("ropewalk_jobs_settled_total{outcome=\"done\"} 1\n"));
        drop(worker);
        assert!(TcpStream::connect(at).is_err(), "it still listens");
    }

    /// Each word comes in time, and the whole never does.
    #[test]
    fn question_that_never_ends_keeps_no_worker_from_its_end() {
        let (_, _, _, worker) = place();
        let (worker, at) = telling(worker);
        let mut slow = TcpStream::connect(at).unwrap();
        let drip = std::thread::spawn(move || {
            while slow.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let began = Instant::now();
        drop(worker);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        drip.join().unwrap();
    }

    #[test]
    fn foreign_questions_harm_nobody() {
        let (_, queue, gates, worker) = place();
        let (worker, at) = telling(worker);
        assert!(get(at, "/passwd").starts_with("HTTP/1.1 404 "));
        assert!(ask(at, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(at, &"x".repeat(8 << 10)).starts_with("HTTP/1.1 405 "));
        // Somebody who connects and says nothing keeps no job waiting.
        let _silent = TcpStream::connect(at).unwrap();
        gates.gate.set();
        assert_eq!(talks::call(0).enqueue(&queue).unwrap().join().unwrap(), 1);
        assert!(get(at, "/health").starts_with("HTTP/1.1 200 OK"));
        drop(worker);
    }
}

#[cfg(feature = "cron")]
mod schedules {
    use super::*;
    use ropewalk_jobs::Schedule;
    use ropewalk_jobs::worker::Notice;

    #[ropewalk::task]
    fn tick(which: u32) -> u32 {
        which
    }

    #[test]
    fn two_workers_run_each_slot_once() {
        let broker = MemoryBroker::new();
        let doubled = Arc::new(AtomicBool::default());
        let worker = || {
            let doubled = Arc::clone(&doubled);
            // A slot that both pass would be told of: its second job has the id of the first.
            let notice = move |notice: &Notice| {
                if matches!(notice, Notice::Doubled(..)) {
                    doubled.store(true, Ordering::Release);
                }
            };
            let every_second = Schedule::new("tick", "* * * * * *", tick::call(7).job()).unwrap();
            Worker::new(broker.clone()).register::<tick>().schedule(every_second).on_notice(notice).start().unwrap()
        };
        let workers = [worker(), worker()];
        let ended = |least: usize| {
            let filter = Filter { state: Some(Life::Done), limit: 100, ..Filter::default() };
            broker.jobs(&filter).unwrap().len() >= least
        };
        until("three slots", || ended(3));
        drop(workers);
        assert!(!doubled.load(Ordering::Acquire), "a slot was passed twice");
        let mut slots: Vec<u64> = broker
            .jobs(&Filter { limit: 100, ..Filter::default() })
            .unwrap()
            .iter()
            .map(|job| job.options.meta.as_ref().unwrap()["slot"].as_u64().unwrap())
            .collect();
        slots.sort_unstable();
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1] && pair[0] % 1_000 == 0), "{slots:?}");
    }

    #[test]
    fn second_schedule_of_one_name_is_refused() {
        let named = |pattern| Schedule::new("tick", pattern, tick::call(7).job()).unwrap();
        let worker = Worker::new(MemoryBroker::new()).register::<tick>();
        let error =
            worker.schedule(named("0 1 * * *")).schedule(named("0 2 * * *")).start().expect_err("two of a name");
        assert!(error.to_string().contains("two schedules are called tick"), "{error}");
    }
}
