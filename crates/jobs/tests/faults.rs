//! Processes that die and stop at the worst moments, and a checker outside of them.
//!
//! The test starts itself again as workers and as producers on one SQLite file or, with `ROPEWALK_FAULT_BROKER=redis`, on a Redis of
//! its own that writes everything to its disk before it answers. What it believes are two append-only files
//! that the processes write before and after they do something (`acked`: an enqueue was answered; `runs`: a run begins), and
//! at the end the store itself.
//!
//! - **Directed**: each named crash point of the broker and of the worker ([`POINTS`]) in a worker, and where it is passed there in a producer: killed there, and
//!   stopped there until its leases have run out, then continued. A point that is never passed is a failure of the test.
//! - **Random**: a fleet of four workers and a producer, one of them killed, or stopped for a while, every 5 to 50 ms (less
//!   often once there were as many as were asked for, and only jobs are wanting). In rounds of [`ROUND`], each with a store and a seed of its own, which is printed first.
//!
//! # What is checked
//!
//! 1. Every acknowledged id has ended, and is known.
//! 2. What counts of a job is its last attempt: a settle of an execution that had lost its lease would show an earlier one.
//! 3. A job has run at most once, and once more for each failure and each lost lease that the store has counted: so dependants
//!    fire once.
//! 4. Nothing ran before its time, and nothing before what it needs had ended.
//!
//! Runs with `ci/job-faults.sh`. `ROPEWALK_FAULT_SECONDS` is how long the random part lasts at least; it goes on until there were
//! `ROPEWALK_FAULTS` faults and `ROPEWALK_FAULT_JOBS` jobs.

#![cfg(all(unix, feature = "__crash_points"))]

use ropewalk::JobContext;
use ropewalk_jobs::broker::{Claim, Control, Filter, QueueCounts};
use ropewalk_jobs::job::WorkerId;
use ropewalk_jobs::{Broker, BrokerError, JobId, Need, NewJob, Retry, SqliteBroker, State, Time, When, Worker};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(all(feature = "redis", target_os = "linux"))]
#[path = "faults/fleet.rs"]
mod fleet;
#[cfg(feature = "redis")]
#[path = "faults/losses.rs"]
mod losses;
#[cfg(feature = "redis")]
#[path = "faults/network.rs"]
mod network;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "what other tests use of it")]
#[path = "rq/peer.rs"]
mod peer;
#[cfg(feature = "redis")]
#[path = "faults/proxy.rs"]
mod proxy;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "what other tests use of it")]
#[path = "brokers/redis.rs"]
mod redis_server;

/// The crash points of the SQLite broker: in a worker, and whether a producer passes it too.
const POINTS_SQLITE: &[(&str, bool)] = &[
    ("writer.taken", true),
    ("writer.turn", true),
    ("writer.begun", true),
    ("writer.before_commit", true),
    ("writer.committed", true),
    ("writer.rung", true),
    ("writer.before_answers", true),
    ("writer.passed", true),
    ("enqueue.inserted", true),
    ("control.done", true),
    ("claim.selected", false),
    ("claim.leased", false),
    ("heartbeat.extended", false),
    ("settle.moved", false),
    ("end.moved", false),
    ("needs.told", false),
    ("tick.due", false),
    ("tick.expired", false),
    ("tick.forgotten", false),
];

/// Those of the Redis broker. (Its steps run in the server: what happens to that, and on the way to it, is in `network`.)
const POINTS_REDIS: &[(&str, bool)] = &[("redis.taken", true), ("redis.sent", true), ("redis.answered", true)];

/// Those of a worker on any broker.
const POINTS: &[(&str, bool)] = &[
    ("dispatcher.before_claim", false),
    ("dispatcher.claimed", false),
    ("dispatcher.before_settle", false),
    ("dispatcher.settled", false),
    ("dispatcher.before_both", false),
    ("dispatcher.under_way", false),
    ("dispatcher.heard", false),
    ("heartbeater.before", false),
    ("heartbeater.after", false),
    ("keeper.before", false),
    ("keeper.after", false),
    ("run.before", false),
    ("run.after", false),
];

const LEASE: Duration = Duration::from_millis(400);
/// How long nothing may happen once nothing goes wrong any more.
const CALM_MAX: Duration = Duration::from_secs(60);
/// How long it is from one random fault to the next, in milliseconds; and when there were enough, and only jobs are wanted, which
/// hardly get anywhere between so many.
const PAUSES_MS: RangeInclusive<u64> = 5..=50;
const CALM_PAUSES_MS: RangeInclusive<u64> = 200..=1_000;
/// A producer waits while so many jobs have not ended.
const BACKLOG_MAX: u64 = 2_000;
/// A victim that has not passed its point by then never will. (It says that it is done, or is dead, long before.)
const FATE_MAX: Duration = Duration::from_secs(15);
/// Most of a case is a wait for leases to run out.
const CASES_AT_ONCE: usize = 12;
/// How long faults happen to one store.
const ROUND: Duration = Duration::from_secs(60);
/// A shorter round could not show that anything was tried.
const ROUND_MIN: Duration = Duration::from_secs(10);
/// How many jobs a producer enqueues at once.
const BATCH: usize = 12;

#[ropewalk::task]
fn work(job: &JobContext, millis: u64, fail_until: u32) -> Result<u32, std::fmt::Error> {
    let id = job.id().expect("a job");
    let side = std::env::var("FAULTS_SIDE").unwrap_or_else(|_| HERE.to_owned());
    note("runs", &format!("{id} {} {} {side}", job.attempt(), true_now().millis()));
    // Off the clock of ropewalk on purpose: as foreign code does.
    thread::sleep(Duration::from_millis(millis));
    if job.attempt() < fail_until { Err(std::fmt::Error) } else { Ok(job.attempt()) }
}

/// Where a run was that says nothing else, and one of python-rq's (`faults/beside.py`).
const HERE: &str = "here";
const PYTHON: &str = "python";
/// The name of [`work`] in every language.
const WORK: &str = "beside.work";
/// How long after its enqueue a job of that sort is due.
const DELAY: Duration = Duration::from_millis(300);

/// The time of day of this machine, also in a process that is told another one (`fleet`): asked of the kernel itself. Rounded up
/// as the brokers' clock is, or what is later could be less.
fn true_now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time::of_millis(now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs().div_ceil(1_000_000))
}

/// Appends a line in one write, so that processes never mix theirs.
fn note(file: &str, line: &str) {
    let place = PathBuf::from(std::env::var_os("FAULTS_PLACE").expect("set by the test"));
    let mut file = OpenOptions::new().append(true).create(true).open(place.join(file)).expect("a history");
    file.write_all(format!("{line}\n").as_bytes()).expect("a line of history");
}

fn is_on_redis() -> bool {
    std::env::var("ROPEWALK_FAULT_BROKER").is_ok_and(|broker| broker == "redis")
}

/// The server of this place, or of this test: started by it, and named to the processes that it starts.
#[cfg(feature = "redis")]
fn redis_url(place: &Path) -> String {
    use std::sync::OnceLock;
    static SERVER: OnceLock<(redis_server::Server, Place)> = OnceLock::new();
    let own = || std::fs::read_to_string(place.join(network::ADDRESS));
    std::env::var("FAULTS_REDIS").or_else(|_| own()).unwrap_or_else(|_| {
        let (server, _) = SERVER.get_or_init(|| {
            let place = Place::new("redis");
            (redis_server::Server::start(&place.0, &["--appendonly", "yes", "--appendfsync", "always"]), place)
        });
        server.url("")
    })
}

#[cfg(feature = "redis")]
fn prefix_of(place: &Path) -> String {
    format!("rq:{}", place.file_name().expect("a directory").to_string_lossy())
}

#[cfg(feature = "redis")]
fn open_redis(place: &Path) -> Arc<dyn Broker> {
    let until = Instant::now() + CALM_MAX;
    loop {
        match ropewalk_jobs::RedisBroker::at(redis_url(place)).prefix(prefix_of(place)).open() {
            Ok(broker) => return Arc::new(broker),
            // It may be on its way up again, or something may have happened to this connection.
            Err(error) => assert!(error.is_passing() && Instant::now() < until, "the server of the queue: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(not(feature = "redis"))]
fn open_redis(_: &Path) -> Arc<dyn Broker> {
    panic!("built without the feature `redis`")
}

#[cfg(not(feature = "redis"))]
fn redis_url(_: &Path) -> String {
    String::new()
}

fn open(place: &Path) -> Arc<dyn Broker> {
    if is_on_redis() {
        return open_redis(place);
    }
    Arc::new(SqliteBroker::open(place.join("jobs.db")).expect("the file of the queue"))
}

/// A test that is killed leaves nobody behind. False when it is gone already.
fn lives_with_its_parent() -> bool {
    let parent = std::env::var("FAULTS_PARENT").expect("set by the test");
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal that there is");
    rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().to_string() == parent)
}

fn be_a_worker(place: &Path, lease: Duration) {
    #[cfg(all(feature = "redis", target_os = "linux"))]
    fleet::note_the_clock();
    let worker = Worker::new(open(place)).register_as::<work>(WORK).concurrency(4).lease(lease).on_notice(|_| {});
    worker.run().expect("signals");
}

/// Jobs of all sorts, decided by their number.
fn job(name: &str, n: usize, now: Time) -> NewJob {
    let id = |n: usize| -> JobId { format!("{name}-{n:06}").parse().expect("an id") };
    let (millis, fail_until) = match n % 12 {
        3 => (LEASE.as_millis() / 2, 0),
        5 | 6 => (0, 2),
        _ => (0, 0),
    };
    let mut job = NewJob { id: id(n), ..NewJob::new(WORK, format!("[{millis}, {fail_until}]")) };
    job.options.retry = Retry::times(20).base(Duration::from_millis(10));
    // A storm of kills is no fault of the job.
    job.options.crashes_max = Some(1_000_000);
    match n % 12 {
        4 => job.due = Some(now + DELAY),
        7 => job.needs = vec![Need { id: id(n - 1), when: When::Done }],
        8 => job.needs = vec![Need { id: id(n - 1), when: When::Ended }, Need { id: id(n - 5), when: When::Ended }],
        9 => job.options.result_ttl_ms = Some(1),
        _ => {}
    }
    job
}

/// Enqueues batches, each again until it is answered; goes on where the one before it was killed.
fn be_a_producer(place: &Path, name: &str, from: usize, to: usize) {
    let pace = std::env::var("FAULTS_PACE_MS").ok().map(|text| Duration::from_millis(text.parse().expect("a number")));
    let broker = open(place);
    for first in (from..to).step_by(BATCH) {
        let asked = true_now();
        let now = broker.now();
        let jobs: Vec<_> = (first..first + BATCH).map(|n| job(name, n, now)).collect();
        // Each time, so that the checker knows which batches came more than once.
        let enqueue = || {
            note("asked", &format!("{} {}", jobs[4].id, (asked + DELAY).millis()));
            broker.enqueue(&jobs).is_ok()
        };
        while !enqueue() {
            thread::sleep(Duration::from_millis(1));
        }
        let ids: Vec<_> = jobs.iter().map(|job| job.id.as_str()).collect();
        note("acked", &ids.join(" "));
        // Somebody changes their mind: it never begins, or is stopped, or has ended.
        let _ = broker.control(&Control::End(jobs[10].id.clone()));
        note("progress", &(first + BATCH).to_string());
        if let Some(pace) = pace {
            thread::sleep(pace);
        }
        // What stays behind would be worked off when nothing goes wrong any more. An answer that does not come holds nobody up.
        while first % (16 * BATCH) == 0 && open_jobs(&*broker).is_ok_and(|open| open > BACKLOG_MAX) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Process(Child);

impl Process {
    fn start(place: &Path, role: &[&str], crash: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(role);
        if is_on_redis() {
            command.env("FAULTS_REDIS", redis_url(place));
        }
        match crash {
            Some(plan) => command.env("ROPEWALK_CRASH", plan),
            None => command.env_remove("ROPEWALK_CRASH"),
        };
        Self::of(place, command)
    }

    fn of(place: &Path, mut command: Command) -> Self {
        command.env("FAULTS_PARENT", std::process::id().to_string());
        command.env("FAULTS_PLACE", place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("a process"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")).expect("not zero");
        // Not reaped yet, so the pid is ours, also when it has died.
        let _ = kill_process(pid, signal);
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child of ours").is_some()
    }

    /// Whether it was stopped by a signal.
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-faults-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }

    fn lines(&self, file: &str) -> Vec<String> {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The last of the (short) lines.
    fn last_line(&self, file: &str) -> Option<String> {
        let mut file = std::fs::File::open(self.0.join(file)).ok()?;
        let from = file.metadata().ok()?.len().saturating_sub(64);
        let mut end = String::new();
        file.seek(SeekFrom::Start(from)).ok()?;
        file.read_to_string(&mut end).ok()?;
        end.lines().last().map(str::to_owned)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    jobs: usize,
    runs: usize,
    again: usize,
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.jobs += more.jobs;
        self.runs += more.runs;
        self.again += more.again;
    }
}

fn wait_until(what: &str, limit: Duration, mut is: impl FnMut() -> bool) -> Result<(), String> {
    let until = Instant::now() + limit;
    while !is() {
        if Instant::now() >= until {
            return Err(format!("after {limit:?} still not: {what}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// How many jobs have not ended.
fn open_jobs(broker: &dyn Broker) -> Result<u64, BrokerError> {
    let open = |queue: &QueueCounts| -> u64 {
        State::ALL.into_iter().filter(|state| !state.is_ended()).map(|state| queue.of(state)).sum()
    };
    Ok(broker.queues()?.iter().map(open).sum())
}

/// Waits until every job has ended, as long as jobs end.
fn worked_off(broker: &dyn Broker) -> Result<(), String> {
    let (mut fewest, mut since) = (u64::MAX, Instant::now());
    loop {
        match open_jobs(broker).expect("a look") {
            0 => return Ok(()),
            open if open < fewest => (fewest, since) = (open, Instant::now()),
            open if since.elapsed() > CALM_MAX => return Err(format!("{open} jobs have not ended, and none does")),
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The job when it has ended, or after a long while.
fn last_word(broker: &dyn Broker, id: &JobId) -> Option<ropewalk_jobs::Job> {
    let mut job = None;
    let _ = wait_until("it has ended", CALM_MAX, || {
        job = broker.job(id).expect("a look");
        job.as_ref().is_none_or(|job| job.state.is_ended())
    });
    job
}

/// Another job of the same producer.
fn numbered(id: &JobId, number: usize) -> JobId {
    format!("{}-{number:06}", id.as_str().rsplit_once('-').expect("a name").0).parse().expect("an id")
}

/// Everything that was acknowledged has ended, and the histories and the store agree.
fn check(place: &Place) -> Result<Seen, String> {
    let broker = open(&place.0);
    let acked: HashSet<JobId> =
        place.lines("acked").iter().flat_map(|line| line.split(' ')).map(|id| id.parse().expect("an id")).collect();
    worked_off(&*broker)?;
    let mut runs: HashMap<JobId, Vec<(u32, u64)>> = HashMap::new();
    // python-rq has another way to count attempts, and no fence.
    let mut by_python: HashMap<JobId, usize> = HashMap::new();
    // When they were due, and how often they were said.
    let mut asked: HashMap<JobId, (u64, u32)> = HashMap::new();
    for line in place.lines("asked") {
        if let Some((id, due)) = line.split_once(' ')
            && let (Ok(id), Ok(due)) = (id.parse(), due.parse())
        {
            // Said again, it is the first one that counts.
            asked.entry(id).and_modify(|(_, times)| *times += 1).or_insert((due, 1));
        }
    }
    for line in place.lines("runs") {
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or_else(|| format!("a torn line of history: {line}"));
        let (id, attempt, at) = (next()?, next()?, next()?);
        if next()? == PYTHON {
            *by_python.entry(id.parse().map_err(|_| format!("a torn line of history: {line}"))?).or_default() += 1;
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("a torn line of history: {line}"));
        runs.entry(id.parse().map_err(|_| format!("a torn line of history: {line}"))?)
            .or_default()
            .push((number(attempt)? as u32, number(at)?));
    }
    let jobs: HashMap<JobId, ropewalk_jobs::Job> = broker
        .jobs(&Filter { limit: usize::MAX, ..Filter::default() })
        .expect("a look")
        .into_iter()
        .map(|job| (job.id.clone(), job))
        .collect();
    for id in &acked {
        let number: usize = id.as_str().rsplit('-').next().expect("a number").parse().expect("a number");
        let is_soon_forgotten = number % 12 == 9;
        let ran = runs.get(id).map_or(&[][..], Vec::as_slice);
        // A look at all of Redis is no picture of one moment: one that moved meanwhile is looked at by itself.
        let later;
        let job = match jobs.get(id) {
            Some(job) if job.state.is_ended() => Some(job),
            _ => {
                later = last_word(&*broker, id);
                later.as_ref()
            }
        };
        let Some(job) = job else {
            // Its result was kept for a millisecond: then it has run.
            if is_soon_forgotten && !ran.is_empty() {
                continue;
            }
            return Err(format!("{id} was acknowledged and is lost"));
        };
        if !job.state.is_ended() {
            return Err(format!("{id} was acknowledged and is {}", job.state));
        }
        let attempts = job.failures + job.crashes + 1;
        let theirs = by_python.get(id).copied().unwrap_or(0);
        if job.state == State::Done && theirs == 0 {
            let counts: u32 = job.result.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
            if counts != attempts {
                return Err(format!("{id}: attempt {counts} was recorded, and attempt {attempts} held the lease"));
            }
        }
        // One that is enqueued again after it was forgotten is a new one.
        let of_its_batch = || -> JobId { numbered(id, number - 5) };
        let came_again = is_soon_forgotten && asked.get(&of_its_batch()).is_none_or(|(_, times)| *times > 1);
        if !came_again && ran.len() > attempts as usize + theirs {
            return Err(format!(
                "{id} ran {} times with {} failures and {} crashes",
                ran.len(),
                job.failures,
                job.crashes
            ));
        }
        // The due time of the first enqueue counts, and a retry moves it: the first run is the one to look at.
        if let (Some(due), Some((1, at))) = (job.due.filter(|_| job.failures == 0), ran.first())
            && *at < due.millis()
        {
            return Err(format!("{id} ran at {at} and was due at {}", due.millis()));
        }
        if let (Some((due, _)), Some((1, at))) = (asked.get(id), ran.first())
            && at < due
        {
            return Err(format!("{id} ran at {at} and was asked for not before {due}"));
        }
        for on in match number % 12 {
            7 => vec![number - 1],
            8 => vec![number - 1, number - 5],
            _ => vec![],
        } {
            let on = numbered(id, on);
            let ended = jobs.get(&on).and_then(|on| on.ended).map_or(0, Time::millis);
            if let Some((_, at)) = ran.iter().find(|(_, at)| *at < ended) {
                return Err(format!("{id} ran at {at}, and {on} ended at {ended}"));
            }
        }
    }
    let total: usize = runs.values().map(Vec::len).sum();
    Ok(Seen { jobs: acked.len(), runs: total, again: total - runs.len() })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Kill,
    Stop,
}

/// One crash point in one kind of process. Whether the point was passed.
fn directed(point: &str, how: How, producer: bool, at: u32) -> Result<(bool, Seen), String> {
    let place = Place::new(&format!("{point}-{how:?}-{producer}"));
    let plan = format!("{point}:{}:{at}", if how == How::Kill { "kill" } else { "stop" });
    drop(open(&place.0));
    let mut healthy = None;
    let mut victim;
    if producer {
        healthy = Some(Process::start(&place.0, &["worker"], None));
        victim = Process::start(&place.0, &["producer", "p", "0", "24"], Some(&plan));
    } else {
        let mut first = Process::start(&place.0, &["producer", "p", "0", "24"], None);
        wait_until("the jobs are enqueued", CALM_MAX, || first.has_ended())?;
        // For a tick to find: a lease that runs out at once, and jobs that were forgotten.
        let ghost = Claim {
            worker: WorkerId::of("ghost"),
            queues: vec!["default".into()],
            max: 1,
            lease: Duration::ZERO,
            tasks: None,
        };
        open(&place.0).claim(&ghost).expect("a claim");
        victim = Process::start(&place.0, &["worker"], Some(&plan));
    }
    // One that never passes the point is told of below.
    let _ = wait_until("the victim has met its fate", FATE_MAX, || {
        victim.has_ended()
            || victim.is_stopped()
            || (producer && place.lines("progress").iter().any(|line| line == "24"))
    });
    let met = if how == How::Stop { victim.is_stopped() } else { was_killed(&mut victim) };
    if healthy.is_none() {
        healthy = Some(Process::start(&place.0, &["worker"], None));
    }
    if victim.is_stopped() {
        thread::sleep(LEASE * 2);
        victim.signal(Signal::CONT);
    }
    if producer {
        // Somebody who was not answered says it again.
        if how == How::Stop {
            wait_until("the producer goes on", CALM_MAX, || victim.has_ended())?;
        }
        let mut again = Process::start(&place.0, &["producer", "p", "0", "24"], None);
        wait_until("all was said again", CALM_MAX, || again.has_ended())?;
    }
    let seen = check(&place)?;
    for process in [Some(victim), healthy].into_iter().flatten() {
        process.signal(Signal::TERM);
    }
    Ok((met, seen))
}

fn was_killed(process: &mut Process) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    process.0.try_wait().ok().flatten().is_some_and(|status| status.signal() == Some(9))
}

fn all_directed() -> (usize, Seen) {
    let mut cases = Vec::new();
    let own = if is_on_redis() { POINTS_REDIS } else { POINTS_SQLITE };
    for (point, in_producers) in own.iter().chain(POINTS) {
        for how in [How::Kill, How::Stop] {
            // A worker enqueues and controls nothing.
            if !["enqueue.inserted", "control.done"].contains(point) {
                cases.push((*point, how, false));
            }
            if *in_producers {
                cases.push((*point, how, true));
            }
        }
    }
    let name = |(point, how, producer): &(_, _, bool)| {
        format!("{point} {how:?} in a {}", if *producer { "producer" } else { "worker" })
    };
    let seen = each(&cases, name, |(point, how, producer)| directed(point, *how, *producer, 1));
    (cases.len(), seen)
}

/// Runs each case, several at a time: whether it came to what it is for, and what was seen. Panics with all that went wrong.
fn each<C: Sync>(
    cases: &[C],
    name: impl Fn(&C) -> String + Sync,
    run: impl Fn(&C) -> Result<(bool, Seen), String> + Sync,
) -> Seen {
    let (next, seen, bad) = (AtomicUsize::new(0), Mutex::new(Seen::default()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run(case) {
                        Ok((true, case)) => seen.lock().unwrap().add(case),
                        Ok((false, _)) => bad.lock().unwrap().push(format!("{}: never came to it", name(case))),
                        Err(why) => bad.lock().unwrap().push(format!("{}: {why}", name(case))),
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{} of {} cases:\n{}", bad.len(), cases.len(), bad.join("\n"));
    seen.into_inner().unwrap()
}

/// What the random part is to reach.
#[derive(Clone, Copy)]
struct Goal {
    seconds: u64,
    faults: usize,
    jobs: usize,
}

/// Rounds until the goal is reached.
fn random(goal: Goal, seed: u64) -> (usize, Seen) {
    let began = Instant::now();
    let (mut faults, mut sum) = (0, Seen::default());
    for seed in seed.. {
        let left = Duration::from_secs(goal.seconds).saturating_sub(began.elapsed());
        if left.is_zero() && faults >= goal.faults && sum.jobs >= goal.jobs {
            break;
        }
        let length = if left.is_zero() { ROUND } else { left.min(ROUND) };
        let pauses = if left.is_zero() && faults >= goal.faults { CALM_PAUSES_MS } else { PAUSES_MS };
        println!("random: seed {seed} for {length:.0?}");
        let (more, seen) = round(length, seed, pauses);
        faults += more;
        sum.add(seen);
        println!("random: {faults} faults, {sum:?} after {:.0?}", began.elapsed());
    }
    (faults, sum)
}

/// Four workers and a producer, and something happens to one of them all the time, after such pauses.
fn round(length: Duration, seed: u64, pauses: RangeInclusive<u64>) -> (usize, Seen) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = Place::new(&format!("random-{seed}"));
    drop(open(&place.0));
    let producer = |place: &Place| {
        let done = place.last_line("progress").unwrap_or_else(|| "0".to_owned());
        Process::start(&place.0, &["producer", "r", &done, "999996"], None)
    };
    let mut fleet: Vec<Process> = (0..4).map(|_| Process::start(&place.0, &["worker"], None)).collect();
    fleet.push(producer(&place));
    let mut stopped: Vec<(usize, Instant)> = Vec::new();
    let mut faults = 0;
    let until = Instant::now() + length;
    let mut next = Instant::now();
    while next < until {
        // Not counting what it takes to start a process.
        next = Instant::now().max(next + Duration::from_millis(rng.u64(pauses.clone())));
        thread::sleep(next.saturating_duration_since(Instant::now()));
        stopped.retain(|(at, until)| {
            let over = *until <= Instant::now();
            if over {
                fleet[*at].signal(Signal::CONT);
            }
            !over
        });
        let at = rng.usize(..fleet.len());
        if stopped.iter().any(|(other, _)| *other == at) {
            continue;
        }
        faults += 1;
        if rng.u8(..6) == 0 {
            fleet[at].signal(Signal::STOP);
            stopped.push((at, Instant::now() + LEASE.mul_f64(rng.f64() * 3.0)));
        } else {
            fleet[at] = if at == 4 {
                // Its last word is read when it is dead.
                fleet[at].signal(Signal::KILL);
                let _ = fleet[at].0.wait();
                producer(&place)
            } else {
                Process::start(&place.0, &["worker"], None)
            };
        }
    }
    fleet.pop();
    fleet.iter().for_each(|process| process.signal(Signal::CONT));
    let seen = check(&place).unwrap_or_else(|why| panic!("seed {seed}: {why} (kept in {})", place.0.display()));
    fleet.iter().for_each(|process| process.signal(Signal::TERM));
    (faults, seen)
}

/// The checker can fail: each of its rules finds what breaks it.
fn controls() {
    let place = Place::new("controls");
    drop(open(&place.0));
    {
        let worker = Process::start(&place.0, &["worker"], None);
        let mut producer = Process::start(&place.0, &["producer", "p", "0", "12"], None);
        wait_until("the jobs are enqueued", CALM_MAX, || producer.has_ended()).unwrap();
        check(&place).expect("nothing is wrong yet");
        worker.signal(Signal::TERM);
    }
    let finds = |file: &str, line: String, says: &str| {
        let path = place.0.join(file);
        let before = std::fs::read(&path).expect("a history");
        std::fs::write(&path, [&before[..], line.as_bytes(), b"\n"].concat()).expect("a history");
        let found = check(&place).expect_err(says);
        assert!(found.contains(says), "{found}");
        std::fs::write(&path, before).expect("a history");
    };
    finds("acked", "p-000099".into(), "is lost");
    finds("runs", "p-000000 1 9999999999999 here".into(), "ran 2 times");
    let runs = place.lines("runs");
    let kept = runs.iter().filter(|line| !line.starts_with("p-000007") && !line.starts_with("p-000004"));
    std::fs::write(place.0.join("runs"), kept.map(|line| format!("{line}\n")).collect::<String>()).expect("a history");
    finds("runs", "p-000007 1 5 here".into(), "p-000006 ended at");
    finds("runs", "p-000004 1 5 here".into(), "and was due at");
    finds("asked", "p-000000 9999999999999".into(), "was asked for not before");
    let broker = rusqlite::Connection::open(place.0.join("jobs.db")).expect("the file");
    broker.execute("UPDATE jobs SET crashes = 1 WHERE id = 'p-000001'", []).expect("a row");
    drop(broker);
    assert!(check(&place).expect_err("a superseded settle").contains("held the lease"));
}

/// The same on Redis, with what happens to that and on the way to it.
#[cfg(feature = "redis")]
fn on_redis(seconds: u64, faults: u64, seed: u64) {
    let began = Instant::now();
    // It mostly waits.
    let (by_default, shortly) = (thread::spawn(|| network::recovery(30)), thread::spawn(|| network::recovery(1)));
    let (cases, mut sum) = all_directed();
    println!("directed: {cases} cases, {sum:?} after {:.0?}", began.elapsed());
    let (at_steps, seen) = network::all_directed();
    sum.add(seen);
    println!("directed at steps: {at_steps} cases, {seen:?} after {:.0?}", began.elapsed());
    let random = Instant::now();
    let (mut tried, mut by_python) = (network::Faults::default(), 0);
    for seed in seed.. {
        let left = Duration::from_secs(seconds).saturating_sub(random.elapsed());
        let is_tried = tried.processes > 100 && tried.network > 20 && by_python > 0;
        if left.is_zero() && is_tried && tried.all() >= faults as usize {
            break;
        }
        let round = if left.is_zero() { ROUND } else { left.clamp(ROUND_MIN, ROUND) };
        let (faults, seen, python) = network::random(round, seed);
        println!("random: seed {seed}: {faults:?}, {seen:?}, {python} by python-rq after {:.0?}", began.elapsed());
        assert!(seen.jobs > 100, "nothing was tried");
        tried.add(faults);
        by_python += python;
        sum.add(seen);
    }
    tell_losses(number("ROPEWALK_FAULT_KILLS").unwrap_or(2) as usize, seed);
    let recovered = [by_default, shortly].map(|thread| thread.join().expect("a job that ran again"));
    println!(
        "recovered: {:.1?} with the lease there is by default, {:.1?} with one of 1 s",
        recovered[0], recovered[1]
    );
    assert!(recovered[0] <= network::RECOVERED_MAX, "a job waited for {:?}", recovered[0]);
    println!(
        "faults: directed {} random {} jobs {} runs {} again {} python {by_python} violations 0",
        cases + at_steps,
        tried.all(),
        sum.jobs,
        sum.runs,
        sum.again
    );
}

/// What a server and a worker of python-rq take along.
#[cfg(feature = "redis")]
fn tell_losses(kills: usize, seed: u64) {
    for how in [losses::How::Always, losses::How::Everysec, losses::How::Failover] {
        let losses = losses::measure(how, kills, seed);
        println!("losses: {how:?}: {losses:?}");
        assert!(how != losses::How::Always || losses.lost == 0, "what was answered was lost: {losses:?}");
    }
    println!("losses: a worker of python-rq on two queues: {:?}", losses::measure_pops(kills, seed));
}

/// By ci/fleet.sh.
#[cfg(all(feature = "redis", target_os = "linux"))]
fn on_several_machines() {
    let seconds = number("ROPEWALK_FAULT_SECONDS").unwrap_or(15);
    let report = fleet::drive(Duration::from_secs(seconds), number("ROPEWALK_FAULT_SEED").unwrap_or(1));
    let ms = |of: &[u64]| match of {
        [] => "none".to_owned(),
        of => format!("{} ms at best, {} in the middle, {} at worst", of[0], of[of.len() / 2], of[of.len() - 1]),
    };
    println!("worked again after the heal: {}", ms(&report.healed));
    println!("taken over after the cut: {}", ms(&report.taken_over));
    assert!(!report.taken_over.is_empty(), "nobody took over what ran on a side that was cut off");
    println!(
        "fleet: jobs {} runs {} again {} cuts {} healed_ms {} violations 0",
        report.jobs,
        report.runs,
        report.again,
        report.cuts,
        report.healed.last().unwrap_or(&0)
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let place = || PathBuf::from(std::env::var_os("FAULTS_PLACE").expect("set by the test"));
    if matches!(words[..], ["worker" | "producer", ..]) && !lives_with_its_parent() {
        return;
    }
    match words[..] {
        ["worker"] => be_a_worker(&place(), LEASE),
        #[cfg(all(feature = "redis", target_os = "linux"))]
        ["fleet"] => on_several_machines(),
        #[cfg(feature = "redis")]
        ["losses"] => {
            let kills = number("ROPEWALK_FAULT_KILLS").unwrap_or(30) as usize;
            tell_losses(kills, 1);
            for options in [network::ALWAYS, losses::EVERYSEC] {
                let cuts = losses::measure_power_cuts(options, kills, 1);
                println!("losses: power cut, {}: {cuts:?}", options[3]);
                assert!(
                    options != network::ALWAYS || cuts.is_none_or(|cuts| cuts.lost == 0),
                    "what was answered was lost: {cuts:?}"
                );
            }
        }
        ["worker", seconds] => be_a_worker(&place(), Duration::from_secs(seconds.parse().expect("a number"))),
        ["producer", name, from, to] => {
            be_a_producer(&place(), name, from.parse().expect("a number"), to.parse().expect("a number"));
        }
        _ => {
            if !is_on_redis() {
                controls();
            }
            let seconds = number("ROPEWALK_FAULT_SECONDS").unwrap_or(20);
            let seed = number("ROPEWALK_FAULT_SEED").unwrap_or(1);
            #[cfg(feature = "redis")]
            if is_on_redis() {
                return on_redis(seconds, number("ROPEWALK_FAULTS").unwrap_or(0), seed);
            }
            let began = Instant::now();
            let (cases, directed) = all_directed();
            println!("directed: {cases} cases, {directed:?} after {:.0?}", began.elapsed());
            let least = |name: &str| number(name).unwrap_or(0) as usize;
            let goal = Goal { seconds, faults: least("ROPEWALK_FAULTS"), jobs: least("ROPEWALK_FAULT_JOBS") };
            let (faults, random) = random(goal, seed);
            assert!(random.jobs > 100 && faults > 100, "nothing was tried");
            println!(
                "faults: directed {cases} random {faults} jobs {} runs {} again {} violations 0",
                directed.jobs + random.jobs,
                directed.runs + random.runs,
                directed.again + random.again
            );
        }
    }
}
