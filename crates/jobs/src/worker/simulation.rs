//! The real loops, policies and state machine on a virtual clock, single-threaded, with everything that can go wrong: workers that
//! crash or stand still for a while, answers that are lost after the step has happened, steps that are refused, a wall clock
//! that jumps, people who stop, cancel and requeue.
//!
//! A run is decided by its seed. One that fails prints it; it is kept in `tests/seeds.txt`, and those are tried before
//! all others. `ROPEWALK_SIM_SEEDS` says how many seeds there are (ci/job-faults.sh: 200), `ROPEWALK_SIM_SEED` picks one.
//!
//! On the reference, and on a Redis of its own, where a step is a round trip: fewer seeds, of fewer hours
//! (`ROPEWALK_SIM_REDIS_SEEDS`).
//!
//! [`Watched`] stands between the loops and the broker and holds each step against what must be true of it.

use super::dispatcher::Dispatcher;
use super::heartbeater::Heartbeater;
use super::order::Order;
use super::verdict::{self, Asked, Run};
use super::{LEASE, keeper};
use crate::broker::{
    Beat, Broker, BrokerError, Claim, Control, Enqueued, ErrorKind, Fault, Held, MemoryBroker, Running, Settling,
    Ticked, Topic, VirtualClock,
};
use crate::dependency::{Need, When};
use crate::job::{
    CRASHES_MAX, ExecId, Failure, FailureKind, Job, JobId, Lease, Limit, NewJob, Outcome, Progress, Time, WorkerId,
};
use crate::state::{Settled, State};
use crate::{Retry, Unique};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START: Time = Time::of_millis(1_800_000_000_000);
const HOURS: u64 = 10;
const WORKERS: usize = 3;

#[cfg(all(unix, feature = "redis"))]
#[allow(dead_code, reason = "what other tests use of it")]
#[path = "../../tests/brokers/redis.rs"]
mod redis_server;

/// A kind of broker to simulate on.
struct On {
    name: &'static str,
    hours: u64,
    open: fn(&Arc<VirtualClock>) -> Box<dyn Broker>,
}

const MEMORY: On =
    On { name: "simulated", hours: HOURS, open: |clock| Box::new(MemoryBroker::with_clock(Arc::clone(clock))) };

#[cfg(all(unix, feature = "redis"))]
const REDIS: On = On {
    name: "simulated-redis",
    hours: 2,
    open: |clock| {
        let at = crate::RedisBroker::at(redis_server::server().url(redis_server::USER));
        Box::new(at.prefix(redis_server::prefix()).clock(Arc::clone(clock)).open().expect("a server"))
    },
};

/// What is known of a job from outside.
struct Known {
    new: NewJob,
    /// How often it was begun, and by which executions that did not count.
    claims: u32,
    requeues: u32,
    ends: u32,
}

/// The broker, watched.
struct Watched {
    broker: Box<dyn Broker>,
    /// What goes wrong with the next steps, above whatever the broker is.
    wrong: Mutex<VecDeque<Fault>>,
    known: Mutex<BTreeMap<JobId, Known>>,
    /// Those that had not ended when somebody looked last.
    open: Mutex<BTreeSet<JobId>>,
    /// The latest that a step can have seen on the wall: a job that was due when it was enqueued needs no tick.
    latest: Mutex<Time>,
    faults: Mutex<u64>,
    /// The next settle beside a claim fails, and the claim does not.
    fails_beside: Mutex<bool>,
    /// What was claimed beside settles that failed.
    claimed_beside: Mutex<u64>,
    /// How often a claim and a settle were asked for as one.
    asked: Mutex<u64>,
}

impl Watched {
    fn seen(&self, id: &JobId) -> Option<Job> {
        self.broker.job(id).unwrap()
    }

    /// A step that changes something, unless it is the turn of a fault.
    fn step<T>(&self, act: impl FnOnce(&dyn Broker) -> Result<T, BrokerError>) -> Result<T, BrokerError> {
        let fault = self.wrong.lock().unwrap().pop_front();
        if fault == Some(Fault::Refuse) {
            return Err(BrokerError::new(ErrorKind::Unavailable, "this step is refused"));
        }
        let done = act(&*self.broker);
        if fault == Some(Fault::LoseReply) {
            return Err(BrokerError::uncertain(ErrorKind::Unavailable, "this answer is lost"));
        }
        done
    }

    /// What a claim gave. (That it was ready before is held by the comparison of random steps.)
    fn check_claimed(&self, leases: &[Lease]) {
        for lease in leases {
            let job = self.seen(&lease.id).expect("what is leased is there");
            assert_eq!((job.state, job.exec), (State::Leased, Some(lease.exec)));
            let mut known = self.known.lock().unwrap();
            let entry = known.get_mut(&lease.id).expect("only what was accepted runs");
            entry.claims += 1;
            if entry.requeues == 0 {
                // The wall clock may have been set back since it was due.
                let latest = *self.latest.lock().unwrap();
                assert!(job.due.is_none_or(|due| due <= latest), "ran early, at {latest:?} at the latest: {job:?}");
                let needs = entry.new.needs.clone();
                for need in needs {
                    let on = self.seen(&need.id).expect("kept for longer than this runs");
                    // What it needed may have been requeued since.
                    let again = known[&need.id].requeues > 0;
                    assert!(again || need.when.is_met(on.state) == Some(true), "{} ran without {}", job.id, need.id);
                }
            }
            let Some(limit) = known[&lease.id].new.limit.clone() else { continue };
            let open = self.open.lock().unwrap();
            let runs = |id: &&JobId| {
                known[*id].new.limit.as_ref().is_some_and(|other| other.key == limit.key)
                    && self.seen(id).is_some_and(|job| job.state == State::Leased)
            };
            let running = open.iter().filter(runs).count();
            assert!(running <= limit.at_once as usize, "{running} jobs of `{}` run at once", limit.key);
        }
    }

    /// All jobs that have not ended.
    fn all(&self) -> HashMap<JobId, Job> {
        let open = self.open.lock().unwrap();
        let all = open.iter().filter_map(|id| self.seen(id));
        all.filter(|job| !job.state.is_ended()).map(|job| (job.id.clone(), job)).collect()
    }
}

impl Broker for Watched {
    crate::__pass_on!(|this| this.broker; now, job, jobs, queues, workers, ended_since, news, ring);

    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
        self.step(|broker| broker.enqueue(jobs))
    }

    fn tick(&self) -> Result<Ticked, BrokerError> {
        self.step(|broker| broker.tick())
    }

    fn control(&self, control: &Control) -> Result<usize, BrokerError> {
        self.step(|broker| broker.control(control))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, BrokerError> {
        let leases = self.step(|broker| broker.claim(claim))?;
        assert!(leases.len() <= claim.max);
        self.check_claimed(&leases);
        Ok(leases)
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Vec<Held>, BrokerError> {
        let held: Vec<_> = beat
            .running
            .iter()
            .map(|running| {
                self.seen(&running.id).is_some_and(|job| job.state == State::Leased && job.exec == Some(running.exec))
            })
            .collect();
        let answer = self.step(|broker| broker.heartbeat(beat));
        if let Ok(answers) = &answer {
            for (held, answer) in held.iter().zip(answers) {
                assert_eq!(*held, *answer != Held::Lost, "a beat was told {answer:?}");
            }
        }
        answer
    }

    fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Settled>, BrokerError> {
        let may: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                self.seen(&outcome.id).is_some_and(|job| job.state == State::Leased && job.exec == Some(outcome.exec))
            })
            .collect();
        let answers = self.step(|broker| broker.settle(outcomes));
        if let Ok(answers) = &answers {
            for ((outcome, may), answer) in outcomes.iter().zip(&may).zip(answers) {
                assert_eq!(*may, *answer == Settled::Recorded, "job {} was told {answer:?}", outcome.id);
            }
        }
        answers
    }

    fn wait(&self, _: Topic, _: u64, _: Duration) {
        unreachable!("the simulation never waits");
    }
}

/// What a dispatcher sees: a broker that claims first, and two times of three answers the settle no sooner than it is asked for.
struct Late(Arc<Watched>);

impl Broker for Late {
    crate::__pass_on!(|this| this.0; now, enqueue, claim, heartbeat, settle, tick, control, job, jobs, queues, workers, ended_since, news, wait, ring);

    fn claim_and_settle(&self, claim: &Claim, outcomes: &[Outcome]) -> (Result<Vec<Lease>, BrokerError>, Settling) {
        let leases = self.0.claim(claim);
        if std::mem::take(&mut *self.0.fails_beside.lock().unwrap()) {
            *self.0.claimed_beside.lock().unwrap() += leases.as_ref().map_or(0, |leases| leases.len() as u64);
            let error = BrokerError::new(ErrorKind::Full, "no space left, for a moment");
            return (leases, Settling::said(Err(error)));
        }
        let mut asked = self.0.asked.lock().unwrap();
        *asked += 1;
        let settling = if !asked.is_multiple_of(3) {
            let (watched, outcomes) = (Arc::clone(&self.0), outcomes.to_vec());
            Settling::awaited(move || watched.settle(&outcomes))
        } else {
            Settling::said(self.0.settle(outcomes))
        };
        (leases, settling)
    }
}

/// One worker process.
struct Process {
    concurrency: usize,
    dispatcher: Dispatcher,
    heartbeater: Heartbeater,
    /// In an order that the seed decides, as it does the executions.
    runs: BTreeMap<ExecId, (Lease, Duration, Option<Asked>)>,
    beat_at: Duration,
    keep_at: Duration,
    asleep_until: Duration,
}

struct World {
    rng: Rng,
    clock: Arc<VirtualClock>,
    watched: Arc<Watched>,
    elapsed: Duration,
    processes: Vec<Process>,
    made: usize,
    mark: u64,
}

impl World {
    fn new(seed: u64, on: &On) -> Self {
        let clock = Arc::new(VirtualClock::at(START));
        let watched = Arc::new(Watched {
            broker: (on.open)(&clock),
            wrong: Mutex::default(),
            known: Mutex::default(),
            open: Mutex::default(),
            latest: Mutex::default(),
            faults: Mutex::default(),
            fails_beside: Mutex::default(),
            claimed_beside: Mutex::default(),
            asked: Mutex::default(),
        });
        let mut world = Self {
            rng: Rng::with_seed(seed),
            clock,
            watched,
            elapsed: Duration::ZERO,
            processes: Vec::new(),
            made: 0,
            mark: 0,
        };
        for _ in 0..WORKERS {
            let process = world.process();
            world.processes.push(process);
        }
        world
    }

    fn process(&mut self) -> Process {
        let worker = WorkerId::of(format!("w{:x}", self.rng.u64(..)));
        let queues: Vec<String> = vec!["high".into(), "default".into()];
        let order = if self.rng.bool() {
            Order::Strict(queues.clone())
        } else {
            Order::Weighted(queues.iter().cloned().zip([3, 1]).collect())
        };
        let concurrency = self.rng.usize(1..5);
        Process {
            concurrency,
            dispatcher: Dispatcher::new(worker.clone(), order, concurrency, LEASE, Rng::with_seed(self.rng.u64(..))),
            heartbeater: Heartbeater::new(worker, queues, concurrency, LEASE),
            runs: BTreeMap::new(),
            beat_at: self.elapsed,
            keep_at: self.elapsed,
            asleep_until: Duration::ZERO,
        }
    }

    fn any_known(&mut self) -> Option<JobId> {
        let known = self.watched.known.lock().unwrap();
        let late = known.len().saturating_sub(12);
        (!known.is_empty()).then(|| known.keys().nth(self.rng.usize(late..known.len())).cloned()).flatten()
    }

    fn produce(&mut self) {
        let mut jobs = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            let mut job =
                NewJob { id: format!("j{:06}", self.made).parse().unwrap(), ..NewJob::new("app::work", "[]") };
            self.made += 1;
            if self.rng.u8(..3) == 0 {
                job.queue = "high".into();
            }
            job.priority = self.rng.i32(-1..2);
            job.options.retry = Retry::times(self.rng.u32(..4)).base(Duration::from_secs(self.rng.u64(1..60)));
            if self.rng.u8(..5) == 0 {
                job.due = Some(self.watched.now() + Duration::from_secs(self.rng.u64(..1_800)));
            }
            if self.rng.u8(..5) == 0 {
                job.limit = Some(Limit { key: "site".into(), at_once: 2 });
            }
            if self.rng.u8(..10) == 0 {
                let unique = Unique::key(["k1", "k2"][self.rng.usize(..2)]);
                job.unique = Some(if self.rng.bool() { unique } else { unique.within(Duration::from_secs(600)) });
            }
            if self.rng.u8(..4) == 0
                && let Some(id) = self.any_known()
            {
                job.needs.push(Need { id, when: When::ALL[self.rng.usize(..4)] });
            }
            jobs.push(job);
        }
        // Until it is answered, as those who must not lose a job do.
        let enqueued = loop {
            if let Ok(enqueued) = self.watched.enqueue(&jobs) {
                break enqueued;
            }
        };
        let mut known = self.watched.known.lock().unwrap();
        for (job, enqueued) in jobs.into_iter().zip(enqueued) {
            // A duplicate by its own id is one whose first answer was lost.
            if *enqueued.id() == job.id {
                self.watched.open.lock().unwrap().insert(job.id.clone());
                known.insert(job.id.clone(), Known { new: job, claims: 0, requeues: 0, ends: 0 });
            }
        }
    }

    fn go_wrong(&mut self) {
        *self.watched.faults.lock().unwrap() += 1;
        match self.rng.u8(..11) {
            10 => *self.watched.fails_beside.lock().unwrap() = true,
            0 | 1 => {
                let at = self.rng.usize(..WORKERS);
                self.processes[at] = self.process();
                self.processes[at].asleep_until = self.elapsed + Duration::from_secs(self.rng.u64(..60));
            }
            2 => {
                let at = self.rng.usize(..WORKERS);
                self.processes[at].asleep_until = self.elapsed + Duration::from_secs(self.rng.u64(1..120));
            }
            3 => {
                // Ten minutes at most from where it would be.
                let right = START + self.elapsed;
                let off = self.rng.u64(..1_200_000);
                self.clock.set_wall(Time::of_millis(right.millis() + off - 600_000));
            }
            4 | 5 => self.watched.wrong.lock().unwrap().push_back(Fault::Refuse),
            6 | 7 => self.watched.wrong.lock().unwrap().push_back(Fault::LoseReply),
            _ => {
                let Some(id) = self.any_known() else { return };
                let control = match self.rng.u8(..4) {
                    0 => Control::Stop(id.clone()),
                    1 => Control::Cancel(id.clone()),
                    _ => Control::Requeue(id.clone()),
                };
                let ended = self.watched.seen(&id).is_some_and(|job| job.state.is_ended());
                let done = self.watched.control(&control);
                let happened = ended && self.watched.seen(&id).is_some_and(|job| !job.state.is_ended());
                if matches!(control, Control::Requeue(_)) && (done.is_ok() || happened) {
                    self.watched.known.lock().unwrap().get_mut(&id).expect("known").requeues += 1;
                    self.watched.open.lock().unwrap().insert(id);
                }
            }
        }
    }

    fn work(&mut self, at: usize) {
        let Self { rng, watched, elapsed, processes, .. } = self;
        let (process, elapsed) = (&mut processes[at], *elapsed);
        if process.asleep_until > elapsed {
            return;
        }
        let now = watched.now();
        if process.keep_at <= elapsed {
            let (_, again) = keeper::step(now, &**watched);
            process.keep_at = elapsed + again.since(now).min(keeper::TICK_EVERY);
        }
        if process.beat_at <= elapsed {
            let running = process
                .runs
                .iter()
                .map(|(exec, (lease, ..))| Running {
                    id: lease.id.clone(),
                    exec: *exec,
                    progress: Some(Progress { done: 0.5, message: String::new() }),
                })
                .collect();
            let (news, wait) = process.heartbeater.step(&**watched, running, false);
            process.beat_at = elapsed + wait;
            for (exec, held) in news.unwrap_or_default() {
                if let Some((_, until, asked)) = process.runs.get_mut(&exec) {
                    asked.get_or_insert(if held == Held::Stop { Asked::Stop } else { Asked::Lost });
                    // It ends at its next wait.
                    *until = (*until).min(elapsed + Duration::from_millis(rng.u64(..2_000)));
                }
            }
        }
        let over: Vec<ExecId> =
            process.runs.iter().filter(|(_, (_, until, _))| *until <= elapsed).map(|(exec, _)| *exec).collect();
        for exec in over {
            let (lease, _, asked) = process.runs.remove(&exec).expect("just seen");
            let run = match rng.u8(..10) {
                _ if asked.is_some() && rng.bool() => Run::Cancelled,
                0 | 1 => Run::Returned(Err(Failure::new(FailureKind::Error, "no rope"))),
                2 => Run::Unwound(Failure::new(FailureKind::Panic, "a strand broke")),
                _ => Run::Returned(Ok("1".into())),
            };
            let end = verdict::of(&lease, run, asked, rng.f64());
            process.dispatcher.end(end.map(|end| Outcome { id: lease.id, exec, end }).ok_or(exec));
            process.dispatcher.gone(exec);
        }
        if rng.bool() {
            process.dispatcher.wait_for_answers();
        }
        for lease in process.dispatcher.step(now, &Late(Arc::clone(watched))).start {
            let takes = match rng.u8(..20) {
                0 => Duration::from_secs(rng.u64(..300)),
                _ => Duration::from_millis(rng.u64(..20_000)),
            };
            process.runs.insert(lease.exec, (lease, elapsed + takes, None));
        }
        assert!(process.runs.len() <= process.concurrency, "{} runs at once", process.runs.len());
    }

    fn pass(&mut self, by: Duration) {
        self.clock.advance(by);
        self.elapsed += by;
        {
            let mut latest = self.watched.latest.lock().unwrap();
            *latest = (*latest).max(self.watched.now());
        }
        for at in 0..WORKERS {
            self.work(at);
        }
        let (mark, ended) = self.watched.ended_since(Some(self.mark)).unwrap();
        self.mark = mark;
        let mut known = self.watched.known.lock().unwrap();
        for id in ended {
            // Unless it was requeued since.
            if self.watched.seen(&id).is_none_or(|job| job.state.is_ended()) {
                self.watched.open.lock().unwrap().remove(&id);
            }
            let entry = known.get_mut(&id).expect("only what was accepted ends");
            entry.ends += 1;
            assert!(entry.ends <= 1 + entry.requeues, "{id} ended {} times", entry.ends);
        }
    }
}

/// What one run saw, for the figures.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    jobs: usize,
    claims: u64,
    faults: u64,
    again: u64,
    beside: u64,
}

fn simulate(seed: u64, on: &On) -> Tally {
    // What executions are called is drawn from this thread's own.
    fastrand::seed(seed);
    let mut world = World::new(seed, on);
    let end = Duration::from_secs(on.hours * 3600);
    while world.elapsed < end {
        if world.rng.u8(..4) == 0 {
            world.produce();
        }
        if world.rng.u8(..8) == 0 {
            world.go_wrong();
        }
        let by = Duration::from_millis(world.rng.u64(1..12_000));
        world.pass(by);
    }
    // Nothing goes wrong any more: everything that was accepted must end.
    let limit = world.elapsed + Duration::from_secs(24 * 3600);
    world.clock.set_wall(START + world.elapsed);
    while !world.watched.all().is_empty() {
        assert!(world.elapsed < limit, "{:?} never ended", world.watched.all().keys().take(3).collect::<Vec<_>>());
        world.pass(Duration::from_secs(7));
    }
    let known = world.watched.known.lock().unwrap();
    let mut tally = Tally { jobs: known.len(), faults: *world.watched.faults.lock().unwrap(), ..Tally::default() };
    tally.beside = *world.watched.claimed_beside.lock().unwrap();
    for (id, entry) in known.iter() {
        let job = world.watched.seen(id).expect("kept for longer than this runs");
        assert_eq!(entry.ends, 1 + entry.requeues, "{id} did not end once each time: {job:?}");
        assert!(job.crashes <= CRASHES_MAX);
        if job.state == State::Done {
            assert!(entry.claims > 0, "{id} is done and never ran");
        }
        tally.claims += u64::from(entry.claims);
        tally.again += u64::from(entry.claims.saturating_sub(1));
        // A server is one for all seeds. Nothing is refused any more, unless it was ordered before.
        let delete = Control::Delete(id.clone());
        world.watched.broker.control(&delete).unwrap_or_else(|error| panic!("{id} ended and stays: {error}"));
    }
    tally
}

/// Seeds that found something once.
const KEPT: &str = include_str!("../../tests/seeds.txt");

/// Or one that failed could not be tried again.
#[test]
fn simulation_is_decided_by_its_seed() {
    assert_eq!(simulate(7, &MEMORY), simulate(7, &MEMORY));
}

#[test]
#[cfg(all(unix, feature = "redis"))]
fn simulation_on_redis_is_decided_by_its_seed() {
    let short = On { hours: 1, ..REDIS };
    assert_eq!(simulate(7, &short), simulate(7, &short));
}

#[test]
fn simulated_hours_lose_nothing() {
    simulate_all(&MEMORY, "ROPEWALK_SIM_SEEDS", 10);
}

#[test]
#[cfg(all(unix, feature = "redis"))]
fn simulated_hours_on_redis_lose_nothing() {
    simulate_all(&REDIS, "ROPEWALK_SIM_REDIS_SEEDS", 2);
}

/// As many seeds as this variable says, after those that are kept.
fn simulate_all(on: &On, variable: &str, unless_said: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let mut seeds: Vec<u64> = KEPT.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    match number("ROPEWALK_SIM_SEED") {
        Some(one) => seeds = vec![one],
        None => seeds.extend(0..number(variable).unwrap_or(unless_said)),
    }
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let some = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Ok(tally) = std::panic::catch_unwind(|| simulate(*seed, on)) else {
                panic!(
                    "{}: seed {seed} failed: try it with ROPEWALK_SIM_SEED={seed}, and keep it in tests/seeds.txt",
                    on.name
                );
            };
            let mut sum = sum.lock().unwrap();
            sum.jobs += tally.jobs;
            sum.claims += tally.claims;
            sum.faults += tally.faults;
            sum.again += tally.again;
            sum.beside += tally.beside;
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(some)));
    });
    let sum = sum.into_inner().unwrap();
    assert!(sum.jobs > seeds.len() * 100 && sum.faults > 0 && sum.again > 0 && sum.beside > 0, "nothing was tried");
    println!(
        "{}: {} seeds, {} hours, {} jobs, {} runs of which {} again, {} faults",
        on.name,
        seeds.len(),
        seeds.len() as u64 * on.hours,
        sum.jobs,
        sum.claims,
        sum.again,
        sum.faults
    );
}
