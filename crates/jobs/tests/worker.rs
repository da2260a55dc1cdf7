//! What a worker does with the jobs it takes: on each model, and when they misbehave.

#![cfg(unix)]

use ropewalk::sync::Event;
use ropewalk::{JobContext, State, Submit as _, TaskError};
use ropewalk_jobs::broker::Control;
use ropewalk_jobs::job::{CRASHES_MAX, RESULT_BYTES_MAX};
use ropewalk_jobs::worker::Notice;
use ropewalk_jobs::{
    Broker, Enqueue, FailureKind, JobBuilder, JobHandle, JobQueue, MemoryBroker, Model, NewJob, Retry, RunningWorker,
    Worker,
};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the tasks of one test share with it.
#[derive(Default)]
struct Bench {
    begun: Event,
    gate: Event,
    runs: AtomicU32,
    at_once: AtomicU32,
    most: AtomicU32,
    give_up: AtomicBool,
}

type Shared = Arc<Bench>;

#[ropewalk::task(queue = "sums")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[ropewalk::task]
fn nothing() {}

#[ropewalk::task]
fn attempts(bench: State<Shared>, job: &JobContext, fail_until: u32) -> Result<u32, std::fmt::Error> {
    bench.runs.fetch_add(1, Ordering::SeqCst);
    if job.attempt() < fail_until { Err(std::fmt::Error) } else { Ok(job.attempt()) }
}

#[ropewalk::task]
fn waits(bench: State<Shared>) -> u32 {
    bench.runs.fetch_add(1, Ordering::SeqCst);
    let now = bench.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    bench.most.fetch_max(now, Ordering::SeqCst);
    bench.begun.set();
    bench.gate.wait();
    bench.at_once.fetch_sub(1, Ordering::SeqCst);
    7
}

/// Neither waits through ropewalk nor asks whether it is cancelled.
#[ropewalk::task]
fn hangs(bench: State<Shared>) {
    bench.begun.set();
    while !bench.give_up.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

#[ropewalk::task]
fn panics() -> u32 {
    panic!("a strand broke")
}

#[ropewalk::task]
fn long_result(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[ropewalk::task]
fn tells(job: &JobContext, bench: State<Shared>) -> Option<String> {
    job.progress(0.4, "nearly half");
    [f64::NAN, f64::INFINITY].into_iter().for_each(|done| job.progress(done, "0 of 0"));
    bench.begun.set();
    bench.gate.wait();
    job.id().map(str::to_owned)
}

struct Place {
    queue: JobQueue,
    bench: Shared,
    notices: Arc<Mutex<Vec<String>>>,
    broker: MemoryBroker,
}

impl Place {
    fn new() -> Self {
        let broker = MemoryBroker::new();
        Self { queue: JobQueue::new(broker.clone()), bench: Shared::default(), notices: Arc::default(), broker }
    }

    fn worker(&self) -> Worker {
        let notices = Arc::clone(&self.notices);
        Worker::new(self.broker.clone())
            .queues(["default", "sums"])
            .state(Arc::clone(&self.bench))
            .register::<add>()
            .register::<nothing>()
            .register::<attempts>()
            .register::<waits>()
            .register::<hangs>()
            .register::<panics>()
            .register::<long_result>()
            .register::<tells>()
            .lease(Duration::from_millis(600))
            .on_notice(move |notice: &Notice| notices.lock().unwrap().push(notice.to_string()))
    }

    fn start(&self) -> RunningWorker {
        self.worker().start().unwrap()
    }

    fn failure<R: serde::de::DeserializeOwned + Send + 'static>(&self, job: JobBuilder<R>) -> (FailureKind, String) {
        let handle = job.enqueue(&self.queue).unwrap();
        let id = handle.id().clone();
        assert!(handle.join().is_err());
        let failure = self.queue.job(&id).unwrap().unwrap().failure.unwrap();
        (failure.kind, failure.message)
    }

    fn noticed(&self, what: &str) -> bool {
        self.notices.lock().unwrap().iter().any(|notice| notice.contains(what))
    }
}

#[track_caller]
fn soon(what: &str, is: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_model_runs_jobs_at_once_and_no_more() {
    for model in [Model::Threads, Model::Greenlets, Model::Async] {
        let place = Place::new();
        let worker = place.worker().model(model).concurrency(3).start().unwrap();
        let handles: Vec<_> = (0..6).map(|_| waits::call().enqueue(&place.queue).unwrap()).collect();
        soon("three run", || place.bench.at_once.load(Ordering::SeqCst) == 3);
        place.bench.gate.set();
        assert!(handles.into_iter().all(|handle| handle.join().unwrap() == 7), "{model:?}");
        assert_eq!(place.bench.most.load(Ordering::SeqCst), 3, "{model:?}");
        worker.stop();
        assert_eq!(worker.join().done, 6);
    }
}

#[test]
fn results_and_options_of_the_task() {
    let place = Place::new();
    let _worker = place.start();
    let handle = add::call(2, 3).enqueue(&place.queue).unwrap();
    assert_eq!(handle.job().unwrap().unwrap().queue, "sums");
    assert_eq!(handle.join().unwrap(), 5);
    assert!(nothing::call().enqueue(&place.queue).unwrap().join().is_ok());
    // A job that ended before anybody waited for it.
    let handle = add::call(1, 1).enqueue(&place.queue).unwrap();
    soon("it has ended", || handle.job().unwrap().unwrap().state.is_ended());
    assert_eq!(handle.join().unwrap(), 2);
}

#[test]
fn handles_in_greenlets_and_in_async_code() {
    let place = Place::new();
    let _worker = place.start();
    let queue = place.queue.clone();
    let sum = ropewalk::run(move || {
        let handles: Vec<_> = (0..10)
            .map(|n| {
                let queue = queue.clone();
                ropewalk::greenlet::spawn(move || add::call(n, 1).enqueue(&queue).unwrap().join().unwrap())
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u64>()
    });
    assert_eq!(sum, 55);
    let queue = place.queue.clone();
    let runtime = ropewalk::AsyncExecutor::new(1);
    let result = runtime.block_on(async move { queue.submit_async(add::call(20, 22)).await.await });
    assert_eq!(result.unwrap(), 42);
}

#[test]
fn failures_are_tried_again_as_often_as_said() {
    let place = Place::new();
    let _worker = place.start();
    let retry = Retry::times(3).base(Duration::from_millis(2));
    let handle = attempts::call(3).job().retry(retry).enqueue(&place.queue).unwrap();
    assert_eq!(handle.join().unwrap(), 3);
    let handle = attempts::call(9).job().retry(retry).enqueue(&place.queue).unwrap();
    let id = handle.id().clone();
    assert!(matches!(handle.join(), Err(TaskError::Failed { .. })));
    assert_eq!(place.queue.job(&id).unwrap().unwrap().failures, 4);
    assert_eq!(place.bench.runs.load(Ordering::SeqCst), 3 + 4);
}

#[test]
fn panicking_job_fails_and_its_worker_goes_on() {
    let place = Place::new();
    let _worker = place.start();
    assert_eq!(place.failure(panics::call().job()), (FailureKind::Panic, "a strand broke".to_owned()));
    assert!(place.noticed("failed: panic: a strand broke"));
    assert_eq!(add::call(1, 2).enqueue(&place.queue).unwrap().join().unwrap(), 3);
}

#[test]
fn result_over_the_cap_fails() {
    let place = Place::new();
    let _worker = place.start();
    // With its quotation marks it is as long as may be.
    let fits = long_result::call(RESULT_BYTES_MAX - 2).enqueue(&place.queue).unwrap();
    assert_eq!(fits.join().unwrap().len(), RESULT_BYTES_MAX - 2);
    let (kind, message) = place.failure(long_result::call(RESULT_BYTES_MAX - 1).job());
    assert_eq!(kind, FailureKind::Result);
    assert!(message.contains("return where it is"), "{message}");
}

#[test]
fn result_of_a_handler_over_the_cap_fails() {
    let place = Place::new();
    let handler = Arc::new(|_: &str, _: &JobContext| Ok("1".repeat(RESULT_BYTES_MAX + 1)));
    let worker = place.worker().register_handler("long", handler).concurrency(2).start().unwrap();
    let mut job = NewJob::new("long", "[]");
    job.options.retry = Retry::NEVER;
    place.broker.enqueue(&[job.clone(), NewJob::new("long", "[]")]).unwrap();
    soon("it fails", || place.broker.job(&job.id).unwrap().unwrap().state.word() == "failed");
    assert_eq!(place.broker.job(&job.id).unwrap().unwrap().failure.unwrap().kind, FailureKind::Result);
    worker.stop();
    assert_eq!(worker.join().refused, 0);
}

#[test]
fn panicking_notice_ends_no_thread() {
    let place = Place::new();
    let worker = place.worker().on_notice(|_| panic!("nobody listens")).start().unwrap();
    for _ in 0..2 {
        drop(place.failure(panics::call().job()));
    }
    let handle = add::call(1, 2).enqueue(&place.queue).unwrap();
    assert_eq!(handle.join().unwrap(), 3);
    worker.stop();
    worker.join();
}

/// Gives up with an error when it is asked to end.
#[ropewalk::task]
fn gives_up(bench: State<Shared>, job: &JobContext) -> Result<u32, std::fmt::Error> {
    bench.begun.set();
    while !job.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(std::fmt::Error)
}

#[test]
fn error_of_a_job_whose_worker_ends_is_no_attempt() {
    let place = Place::new();
    let worker = place.worker().register::<gives_up>().grace(Duration::ZERO).start().unwrap();
    let handle = gives_up::call().enqueue(&place.queue).unwrap();
    place.bench.begun.wait();
    worker.stop();
    assert_eq!(worker.join().released, 1);
    let seen = handle.job().unwrap().unwrap();
    assert_eq!((seen.state.word(), seen.failures, seen.failure), ("ready", 0, None));
}

#[test]
fn payload_that_does_not_fit_fails_at_once() {
    let place = Place::new();
    let _worker = place.start();
    let no_form = "neither a JSON array nor an object of `args` and `kwargs`";
    for (payload, says) in [
        ("", no_form),
        ("[1]", "worker::add(a, b) missing 1 required argument: 'b'"),
        ("[1, \"b\"]", "do not fit worker::add(a, b)"),
        ("{\"a\": 1}", no_form),
        ("\u{80}\u{5}pickle", no_form),
    ] {
        let mut job = NewJob::new(<add as ropewalk::task::Task>::NAME, payload);
        job.options.retry = Retry::times(5);
        let (kind, message) = place.failure(JobBuilder::<u64>::of_data(job));
        assert_eq!(kind, FailureKind::Payload);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn missing_state_is_said() {
    let place = Place::new();
    let worker = Worker::new(place.broker.clone()).register::<waits>().on_notice(|_| {}).start().unwrap();
    let (kind, message) = place.failure(waits::call().job());
    assert_eq!(kind, FailureKind::Error);
    assert!(message.contains("run it on a worker with `.state(..)`"), "{message}");
    drop(worker);
}

#[test]
fn unknown_task_goes_to_a_worker_that_knows_it() {
    let place = Place::new();
    let notices = Arc::clone(&place.notices);
    let ignorant = Worker::new(place.broker.clone())
        .queues(["sums"])
        .on_notice(move |notice: &Notice| notices.lock().unwrap().push(notice.to_string()))
        .start()
        .unwrap();
    let handle = add::call(1, 2).enqueue(&place.queue).unwrap();
    soon("it went back", || handle.job().unwrap().unwrap().failure.is_some());
    let seen = handle.job().unwrap().unwrap();
    assert_eq!((seen.failures, seen.failure.unwrap().kind), (0, FailureKind::UnknownTask));
    assert!(place.noticed("does not know the task worker::add"));
    ignorant.stop();
    assert_eq!(ignorant.join().failed, 0);
    let _worker = place.start();
    assert_eq!(handle.join().unwrap(), 3);
}

#[test]
fn wait_over_the_timeout_is_ended() {
    for model in [Model::Threads, Model::Greenlets, Model::Async] {
        let place = Place::new();
        let _worker = place.worker().model(model).start().unwrap();
        let job = waits::call().job().timeout(Duration::from_millis(50));
        assert_eq!(place.failure(job).0, FailureKind::TimedOut, "{model:?}");
        // Its slot is free again.
        assert_eq!(add::call(1, 2).enqueue(&place.queue).unwrap().join().unwrap(), 3);
    }
}

#[test]
fn computation_over_the_timeout_is_settled_without_it() {
    let place = Place::new();
    let _worker = place.worker().concurrency(2).start().unwrap();
    // One that has not begun by then ends in another way.
    let (kind, message) = place.failure(hangs::call().job().timeout(Duration::from_millis(200)));
    assert_eq!(kind, FailureKind::TimedOut);
    assert!(message.contains("a thread cannot be killed"), "{message}");
    assert!(place.noticed("goes on after its time limit"));
    assert_eq!(add::call(1, 2).enqueue(&place.queue).unwrap().join().unwrap(), 3);
    place.bench.give_up.store(true, Ordering::SeqCst);
}

#[test]
fn stopped_job_ends_its_wait() {
    let place = Place::new();
    let _worker = place.start();
    let handle = waits::call().enqueue(&place.queue).unwrap();
    place.bench.begun.wait();
    handle.cancel().unwrap();
    let id = handle.id().clone();
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    assert_eq!(place.queue.job(&id).unwrap().unwrap().state.word(), "stopped");
    // The same through the handle of an executor.
    place.bench.begun.clear();
    let handle = place.queue.submit(waits::call());
    place.bench.begun.wait();
    handle.cancel();
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
}

/// Whoever drops its queue has cancelled all the same; so has who cancels while the broker is not to be reached.
#[test]
fn cancel_reaches_a_job_that_nobody_waits_for() {
    use ropewalk_jobs::broker::{Fault, Filter};
    let place = Place::new();
    let canceled = || {
        let jobs =
            place.broker.jobs(&Filter { queue: None, state: Some(ropewalk_jobs::State::Canceled), limit: 10 }).unwrap();
        jobs.len()
    };
    let handle = place.queue.submit(add::call(1, 2));
    (0..3).for_each(|_| place.broker.fail_next(Fault::Refuse));
    handle.cancel();
    soon("the first is cancelled", || canceled() == 1);
    let queue = JobQueue::new(place.broker.clone());
    let handle = queue.submit(add::call(3, 4));
    handle.cancel();
    drop((handle, queue));
    soon("the second is cancelled", || canceled() == 2);
}

#[test]
fn progress_is_seen_while_it_runs() {
    let place = Place::new();
    let _worker = place.start();
    let handle = tells::call().enqueue(&place.queue).unwrap();
    soon("it is told", || handle.job().unwrap().unwrap().progress.is_some());
    let progress = handle.job().unwrap().unwrap().progress.unwrap();
    assert_eq!((progress.done, progress.message.as_str()), (0.4, "nearly half"));
    place.bench.gate.set();
    let id = handle.id().to_string();
    assert_eq!(handle.join().unwrap(), Some(id));
}

#[test]
fn beats_keep_a_job_that_computes_longer_than_its_lease() {
    let place = Place::new();
    let _worker = place.start();
    let handle: JobHandle<()> = hangs::call().enqueue(&place.queue).unwrap();
    place.bench.begun.wait();
    // Three leases of 600 ms, without a wait or a word of the job's.
    let until = Instant::now() + Duration::from_millis(1_800);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(handle.job().unwrap().unwrap().crashes, 0);
    }
    place.bench.give_up.store(true, Ordering::SeqCst);
    assert!(handle.join().is_ok());
}

#[test]
fn gentle_stop_waits_and_takes_no_more() {
    let place = Place::new();
    let worker = place.start();
    let first = waits::call().enqueue(&place.queue).unwrap();
    let second = waits::call().enqueue(&place.queue).unwrap();
    place.bench.begun.wait();
    worker.stop();
    place.bench.gate.set();
    let counts = worker.join();
    assert_eq!((counts.done, counts.released), (1, 0));
    assert_eq!(first.join().unwrap(), 7);
    let seen = second.job().unwrap().unwrap();
    assert_eq!((seen.state.word(), seen.failures, seen.crashes), ("ready", 0, 0));
}

#[test]
fn second_word_gives_back_uncounted() {
    let place = Place::new();
    let worker = place.worker().concurrency(2).start().unwrap();
    let waiting = waits::call().enqueue(&place.queue).unwrap();
    let computing = hangs::call().enqueue(&place.queue).unwrap();
    soon("both run", || place.bench.runs.load(Ordering::SeqCst) == 1 && place.bench.begun.is_set());
    soon("both are leased", || computing.job().unwrap().unwrap().state.word() == "leased");
    worker.stop();
    worker.stop();
    assert_eq!(worker.join().released, 2);
    for id in [waiting.id(), computing.id()] {
        let seen = place.queue.job(id).unwrap().unwrap();
        assert_eq!((seen.state.word(), seen.failures, seen.crashes), ("ready", 0, 0));
    }
    place.bench.give_up.store(true, Ordering::SeqCst);
}

#[test]
fn grace_is_the_end_of_patience() {
    let place = Place::new();
    let worker = place.worker().grace(Duration::from_millis(100)).start().unwrap();
    let handle = waits::call().enqueue(&place.queue).unwrap();
    place.bench.begun.wait();
    worker.stop();
    assert_eq!(worker.join().released, 1);
    assert_eq!(handle.job().unwrap().unwrap().state.word(), "ready");
}

#[test]
fn burst_ends_when_nothing_is_ready() {
    let place = Place::new();
    for n in 0..50 {
        drop(add::call(n, n).enqueue(&place.queue).unwrap());
    }
    let counts = place.worker().concurrency(4).burst().start().unwrap().join();
    assert_eq!((counts.taken, counts.done), (50, 50));
}

#[test]
fn broker_that_refuses_for_a_while() {
    use ropewalk_jobs::broker::Fault;
    let place = Place::new();
    let worker = place.start();
    for _ in 0..20 {
        place.broker.fail_next(Fault::Refuse);
        place.broker.fail_next(Fault::LoseReply);
    }
    let id = add::call(1, 2).job().id().clone();
    let handle = loop {
        // The same id: whichever answer was lost, it is one job.
        if let Ok(handle) = add::call(1, 2).job().with_id(id.clone()).enqueue(&place.queue) {
            break handle;
        }
    };
    assert_eq!(handle.join().unwrap(), 3);
    worker.stop();
    worker.join();
}

/// A worker that vanishes in the middle of a job, played by a claim without a beat.
#[test]
fn job_of_a_worker_that_vanished_runs_again() {
    let place = Place::new();
    let handle = add::call(1, 2).enqueue(&place.queue).unwrap();
    let claim = ropewalk_jobs::broker::Claim {
        worker: ropewalk_jobs::job::WorkerId::of("gone"),
        queues: vec!["sums".into()],
        max: 1,
        lease: Duration::from_secs(1),
        tasks: None,
    };
    assert_eq!(place.broker.claim(&claim).unwrap().len(), 1);
    let begun = Instant::now();
    let _worker = place.start();
    let id = handle.id().clone();
    assert_eq!(handle.join().unwrap(), 3);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(place.queue.job(&id).unwrap().unwrap().crashes, 1);
    const { assert!(CRASHES_MAX > 1) };
}

#[test]
fn suspended_queue_waits_for_its_resume() {
    let place = Place::new();
    let _worker = place.start();
    place.broker.control(&Control::Suspend(None)).unwrap();
    let mut handle = add::call(1, 2).enqueue(&place.queue).unwrap();
    assert!(matches!(handle.join_timeout(Duration::from_millis(100)), Err(TaskError::TimedOut)));
    place.broker.control(&Control::Resume(None)).unwrap();
    assert_eq!(handle.join().unwrap(), 3);
}
