//! Jobs in processes of their own: what each end of a process means for its job.

#![cfg(all(target_os = "linux", feature = "process"))]

use ropewalk::process::Limits;
use ropewalk::{JobContext, State, TaskError};
use ropewalk_jobs::broker::Control;
use ropewalk_jobs::job::RESULT_BYTES_MAX;
use ropewalk_jobs::worker::Notice;
use ropewalk_jobs::{
    Broker, Enqueue as _, FailureKind, Job, JobBuilder, JobHandle, JobQueue, MemoryBroker, NewJob, Retry,
    RunningWorker, State as Life, Worker,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

ropewalk::test_support!();

#[ropewalk::task]
fn where_am_i(a: u64, b: u64) -> (u32, u64) {
    (std::process::id(), a + b)
}

/// Neither waits through ropewalk nor asks whether it is cancelled, and says where it runs.
#[ropewalk::task]
fn hangs(note: PathBuf) {
    std::fs::write(&note, std::process::id().to_string()).expect("a note");
    loop {
        std::hint::spin_loop();
    }
}

/// As [`hangs`], and leaves the processor to others.
#[ropewalk::task]
fn sleeps_on(note: PathBuf) {
    std::fs::write(&note, std::process::id().to_string()).expect("a note");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[ropewalk::task]
fn eats(bytes: usize) -> usize {
    vec![1_u8; bytes].iter().map(|byte| usize::from(*byte)).sum()
}

/// Has so much memory for a moment, and does not touch it.
#[ropewalk::task]
fn reserves(bytes: usize) -> usize {
    std::hint::black_box(Vec::<u8>::with_capacity(bytes)).capacity()
}

#[ropewalk::task]
fn long_result(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[ropewalk::task]
fn panics() {
    panic!("a knot in the rope");
}

#[ropewalk::task]
fn aborts(note: PathBuf, times: u32) -> u32 {
    let before: u32 = std::fs::read_to_string(&note).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::fs::write(&note, (before + 1).to_string()).expect("a note");
    if before < times {
        std::process::abort();
    }
    before
}

#[ropewalk::task]
fn talks(job: &JobContext) -> u32 {
    for line in 0..100 {
        job.log(format_args!("line {line}"));
    }
    job.progress(0.5, "half way");
    job.attempt()
}

struct Motto(String);

#[ropewalk::task]
fn motto(motto: State<Motto>) -> String {
    motto.0.clone()
}

fn lend_motto(text: String) {
    ropewalk_jobs::lend(Motto(text));
}

struct Place {
    broker: MemoryBroker,
    queue: JobQueue,
    worker: RunningWorker,
    scratch: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

fn place(name: &str) -> Place {
    let broker = MemoryBroker::new();
    let scratch = std::env::temp_dir().join(format!("ropewalk-isolated-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a directory for notes");
    let worker = Worker::new(broker.clone())
        .register::<where_am_i>()
        .register::<hangs>()
        .register::<eats>()
        .register::<reserves>()
        .register::<long_result>()
        .register::<panics>()
        .register::<aborts>()
        .register::<talks>()
        .register::<motto>()
        .on_notice(|_| {})
        .processes(|pool| {
            // As much as a process of tests has anyway, and some.
            pool.limits(Limits::new().address_space(4 << 30).core_bytes(0))
                .initializer(lend_motto, "hold fast".to_owned())
        });
    let worker = worker.start().expect("a pool of one process");
    Place { queue: JobQueue::new(broker.clone()), broker, worker, scratch }
}

impl Place {
    fn job<R>(&self, handle: &JobHandle<R>) -> Job
    where
        R: serde::de::DeserializeOwned + Send + 'static,
    {
        handle.job().unwrap().expect("it is kept")
    }

    /// The number of the process that wrote it.
    fn process_of(&self, note: &PathBuf) -> u32 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(pid) = std::fs::read_to_string(note).ok().and_then(|text| text.parse().ok()) {
                return pid;
            }
            assert!(Instant::now() < until, "the job never began");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_alive(pid: u32) -> bool {
    // A zombie has no command line any more.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn job_runs_in_another_process() {
    let place = place("other");
    let (pid, sum) = where_am_i::call(3, 4).enqueue(&place.queue).unwrap().join().unwrap();
    assert_eq!(sum, 7);
    assert_ne!(pid, std::process::id());
}

#[test]
fn computation_over_its_timeout_is_killed() {
    let place = place("timeout");
    let note = place.scratch.join("note");
    let handle = hangs::call(note.clone()).job().timeout(Duration::from_millis(1_500)).enqueue(&place.queue).unwrap();
    let pid = place.process_of(&note);
    let mut handle = handle;
    assert!(matches!(handle.join_timeout(Duration::from_secs(60)), Err(TaskError::TimedOut)));
    let job = place.job(&handle);
    assert_eq!((job.state, job.failure.unwrap().kind), (Life::Failed, FailureKind::TimedOut));
    assert!(!is_alive(pid), "it goes on");
    // And its worker, too.
    assert_eq!(where_am_i::call(1, 1).enqueue(&place.queue).unwrap().join().unwrap().1, 2);
}

#[test]
fn computation_that_is_stopped_is_killed() {
    let place = place("stop");
    let note = place.scratch.join("note");
    let handle = hangs::call(note.clone()).enqueue(&place.queue).unwrap();
    let pid = place.process_of(&note);
    place.broker.control(&Control::Stop(handle.id().clone())).unwrap();
    let id = handle.id().clone();
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    assert_eq!(place.broker.job(&id).unwrap().unwrap().state, Life::Stopped);
    assert!(!is_alive(pid), "it goes on");
}

#[test]
fn job_that_wants_too_much_memory_fails_alone() {
    let place = place("memory");
    let handle = eats::call(6 << 30).enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert!(matches!(handle.join(), Err(TaskError::WorkerDied { .. })));
    let job = place.broker.job(&id).unwrap().unwrap();
    assert_eq!((job.state, job.failure.unwrap().kind, job.crashes), (Life::Failed, FailureKind::Crash, 0));
    assert_eq!(eats::call(1 << 20).enqueue(&place.queue).unwrap().join().unwrap(), 1 << 20);
}

/// The limit is that of the job: the same process may have more for the next one.
#[test]
fn job_over_its_own_memory_limit_fails_and_the_next_has_more() {
    let place = place("memory-of-one");
    let limited = |bytes| eats::call(bytes).job().memory_max(3 << 30).enqueue(&place.queue).unwrap();
    let pid = || where_am_i::call(1, 1).enqueue(&place.queue).unwrap().join().unwrap().0;
    let before = pid();
    assert_eq!(limited(1 << 20).join().unwrap(), 1 << 20);
    // More than a limited one may have in all, less than the pool allows.
    let much = 3 << 30;
    assert_eq!(reserves::call(much).enqueue(&place.queue).unwrap().join().unwrap(), much);
    assert_eq!(pid(), before);
    let handle = reserves::call(much).job().memory_max(3 << 30).enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert!(matches!(handle.join(), Err(TaskError::WorkerDied { .. })));
    let job = place.broker.job(&id).unwrap().unwrap();
    assert_eq!((job.state, job.failure.unwrap().kind), (Life::Failed, FailureKind::Crash));
}

#[test]
fn crash_is_tried_again_as_a_failure_is() {
    let place = place("crash");
    let retry = Retry::times(2).base(Duration::from_millis(1));
    let note = |name: &str| place.scratch.join(name);
    let twice = aborts::call(note("twice"), 2).job().retry(retry).enqueue(&place.queue).unwrap();
    assert_eq!(twice.join().unwrap(), 2);
    let thrice = aborts::call(note("thrice"), 3).job().retry(retry).enqueue(&place.queue).unwrap();
    let id = thrice.id().clone();
    assert!(matches!(thrice.join(), Err(TaskError::WorkerDied { .. })));
    let job = place.broker.job(&id).unwrap().unwrap();
    assert_eq!((job.state, job.failures, job.failure.unwrap().kind), (Life::Failed, 3, FailureKind::Crash));
}

#[test]
fn result_over_the_cap_fails() {
    let place = place("result");
    let handle = long_result::call(RESULT_BYTES_MAX).enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert!(handle.join().is_err());
    let failure = place.broker.job(&id).unwrap().unwrap().failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Result);
    assert!(failure.message.contains("1048576 is the limit"), "{failure}");
    // With its quotes it is as long as it may be.
    let longest = long_result::call(RESULT_BYTES_MAX - 2).enqueue(&place.queue).unwrap();
    assert_eq!(longest.join().unwrap().len(), RESULT_BYTES_MAX - 2);
}

#[test]
fn panicking_job_fails_and_its_process_goes_on() {
    let place = place("panic");
    let before = where_am_i::call(1, 1).enqueue(&place.queue).unwrap().join().unwrap().0;
    let Err(TaskError::Panicked(panic)) = panics::call().enqueue(&place.queue).unwrap().join() else {
        panic!("it did not panic");
    };
    assert_eq!(panic.message(), "a knot in the rope");
    assert_eq!(where_am_i::call(1, 1).enqueue(&place.queue).unwrap().join().unwrap().0, before);
}

#[test]
fn payload_that_does_not_fit_fails_at_once() {
    let place = place("payload");
    let task = place.job(&where_am_i::call(1, 1).enqueue(&place.queue).unwrap()).task;
    let mut job = NewJob::new(task, "[\"seven\", 4]");
    job.options.retry = Retry::times(5);
    let handle = JobBuilder::<()>::of_data(job).enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert!(handle.join().is_err());
    let job = place.broker.job(&id).unwrap().unwrap();
    assert_eq!((job.state, job.failures, job.failure.unwrap().kind), (Life::Failed, 1, FailureKind::Payload));
}

#[test]
fn what_it_says_is_heard_before_its_end() {
    let place = place("talk");
    let handle = talks::call().enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert_eq!(handle.join().unwrap(), 1);
    let log = place.broker.logs(&id).unwrap().expect("it has said something");
    // On a busy machine some may be lost; then their number stands in their place.
    let mut next = 0;
    for line in log.lines() {
        let said = line.split_once("Z ").expect("a time, and what was said").1;
        match said.strip_prefix("(lines lost: ").and_then(|lost| lost.strip_suffix(')')) {
            Some(lost) => next += lost.parse::<u32>().unwrap(),
            None => {
                assert_eq!(said, format!("line {next}"), "{log}");
                next += 1;
            }
        }
    }
    assert_eq!(next, 100, "{log}");
}

#[test]
fn state_is_lent_by_the_initializer_of_the_pool() {
    let place = place("state");
    assert_eq!(motto::call().enqueue(&place.queue).unwrap().join().unwrap(), "hold fast");
}

#[test]
fn handler_that_is_no_function_is_refused() {
    let captured = 7;
    let worker = Worker::new(MemoryBroker::new())
        .register_handler("app::seven", std::sync::Arc::new(move |_, _| Ok(captured.to_string())))
        .processes(|pool| pool);
    let error = worker.start().expect_err("it cannot be sent");
    assert!(error.to_string().contains("app::seven cannot run in a process of its own"), "{error}");
}

#[test]
fn worker_that_ends_gives_back_what_hangs() {
    let place = place("shutdown");
    let note = place.scratch.join("note");
    let handle = hangs::call(note.clone()).enqueue(&place.queue).unwrap();
    let pid = place.process_of(&note);
    // The second word is: at once.
    place.worker.stop();
    place.worker.stop();
    let until = Instant::now() + Duration::from_secs(60);
    while place.job(&handle).state != Life::Ready {
        assert!(Instant::now() < until, "it is not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    let job = place.job(&handle);
    assert_eq!((job.failures, job.crashes), (0, 0));
    assert!(!is_alive(pid), "it goes on");
}

/// A pool that waits a minute for what was asked to end; the worker does not.
#[test]
fn worker_that_ends_gives_back_nothing_that_runs_on() {
    let scratch = std::env::temp_dir().join(format!("ropewalk-isolated-{}-grace", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a directory for notes");
    let broker = MemoryBroker::new();
    let worker = Worker::new(broker.clone())
        .register::<hangs>()
        .on_notice(|_| {})
        .processes(|pool| pool.grace(Duration::from_secs(60)));
    let worker = worker.start().expect("a pool of one process");
    let place = Place { queue: JobQueue::new(broker.clone()), broker, worker, scratch };
    let note = place.scratch.join("note");
    let handle = hangs::call(note.clone()).enqueue(&place.queue).unwrap();
    let pid = place.process_of(&note);
    place.worker.stop();
    place.worker.stop();
    let until = Instant::now() + Duration::from_secs(30);
    while place.job(&handle).state != Life::Ready {
        assert!(Instant::now() < until, "it is not given back");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!is_alive(pid), "it runs here, and may run elsewhere");
    let job = place.job(&handle);
    assert_eq!((job.failures, job.crashes), (0, 0));
}

/// Longer than a thread would have before its job is settled without it.
#[test]
fn job_over_its_timeout_is_no_one_elses_before_its_process_is_gone() {
    let scratch = std::env::temp_dir().join(format!("ropewalk-isolated-{}-late", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a directory for notes");
    let broker = MemoryBroker::new();
    let worker = Worker::new(broker.clone())
        .register::<sleeps_on>()
        .on_notice(|_| {})
        .processes(|pool| pool.grace(Duration::from_secs(7)));
    let worker = worker.start().expect("a pool of one process");
    let place = Place { queue: JobQueue::new(broker.clone()), broker, worker, scratch };
    let note = place.scratch.join("note");
    let handle = sleeps_on::call(note.clone()).job().timeout(Duration::from_secs(1)).enqueue(&place.queue).unwrap();
    let pid = place.process_of(&note);
    let until = Instant::now() + Duration::from_secs(60);
    while place.job(&handle).state == Life::Leased {
        assert!(Instant::now() < until, "it never ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!is_alive(pid), "it was settled while it ran");
    assert_eq!(place.job(&handle).failure.unwrap().kind, FailureKind::TimedOut);
}

/// An argument that no process can be sent.
#[derive(serde::Deserialize)]
struct Stubborn;

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it stays here"))
    }
}

#[test]
fn worker_without_processes_takes_no_job_until_there_are_some() {
    let broker = MemoryBroker::new();
    let (tries, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (build, count) = (Arc::clone(&tries), Arc::clone(&failed));
    let worker = Worker::new(broker.clone())
        .register::<where_am_i>()
        .on_notice(move |notice| {
            if matches!(notice, Notice::Failed(..)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .processes(move |pool| match build.fetch_add(1, Ordering::Relaxed) {
            // One that gives up, and two that cannot be had.
            0 => pool.initializer(|(): ()| panic!("no rope"), ()),
            1 | 2 => pool.initializer(drop::<Stubborn>, Stubborn),
            _ => pool,
        });
    let queue = JobQueue::new(broker.clone());
    let jobs: Vec<_> = (0..5).map(|n| where_am_i::call(n, 1).enqueue(&queue).unwrap()).collect();
    let worker = worker.start().expect("a pool of one process");
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.join().unwrap().1, n as u64 + 1);
    }
    assert_eq!((tries.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (4, 0));
    drop(worker);
}
