//! What happens on the way to Redis and to Redis itself, at each step and at random; with python-rq's workers beside ours.
//!
//! - **Directed**: each step ([`STEPS`]) and each [`Blow`], at a worker or at a producer that has nobody to take its place: it has to
//!   find its way again by itself.
//! - **Random**: four workers and a producer behind the proxy, which strikes at one of forty steps, while one of the processes is
//!   killed, or stopped past its lease, every 5 to 50 ms; and two workers of python-rq on the same queue, which are killed now and then.
//!
//! The server writes to its disk before it answers (`appendfsync always`), and is killed with the others.

use super::proxy::{Blow, STEPS, World};
use super::{CALM_MAX, LEASE, Place, Process, Seen, check, open, peer, prefix_of, true_now, wait_until};
use ropewalk_jobs::broker::Claim;
use ropewalk_jobs::job::WorkerId;
use ropewalk_jobs::{NewJob, Retry};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The file of a place that names its own server.
pub(super) const ADDRESS: &str = "address";
/// What was written before it was answered survives the end of the server.
pub(super) const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
/// The version of rq that stands beside.
pub(super) const RQ: &str = "3.0.0";
/// One of so many steps is struck at.
const ONE_IN: u32 = 40;
/// One of so many faults kills a worker of Python, which needs half a second to start.
const PYTHON_ONE_IN: u32 = 150;
/// The promise: a job of a worker that was killed runs again within this time, with the lease that a worker has by default.
pub(super) const RECOVERED_MAX: Duration = Duration::from_secs(35);

fn world(place: &Path) -> Arc<World> {
    let world = World::start(place, ALWAYS);
    std::fs::write(place.join(ADDRESS), world.direct()).expect("a file of the place");
    world
}

/// A process that reaches Redis through the proxy.
fn through(world: &World, place: &Path, role: &[&str]) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(role).env("FAULTS_REDIS", world.url());
    Process::of(place, command)
}

/// A worker of python-rq.
pub(super) fn beside(python: &Path, place: &Path, worker: &str, socket: &Path, queues: &[&str]) -> Process {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let mut command = Command::new(python);
    command.arg(here.join("beside.py")).arg(worker).arg(socket).args(queues);
    command.env("RQ_KEY_PREFIX", prefix_of(place)).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", here);
    Process::of(place, command)
}

/// What a tick finds: a lease that runs out at once.
fn ghost(place: &Path) {
    let ghost = Claim {
        worker: WorkerId::of("ghost"),
        queues: vec!["default".into()],
        max: 1,
        lease: Duration::ZERO,
        tasks: None,
    };
    open(place).claim(&ghost).expect("a claim");
}

/// One blow at one step, when it comes for this time. Whether it fell.
fn directed(step: &'static str, blow: Blow, producer: bool, nth: u32) -> Result<(bool, Seen), String> {
    let place = Place::new(&format!("{step}-{nth}-{blow:?}"));
    let world = world(&place.0);
    world.strike_at(step, blow, nth);
    let struck = || world.struck() > 0;
    let processes = if producer {
        let worker = Process::start(&place.0, &["worker"], None);
        let mut victim = through(&world, &place.0, &["producer", "p", "0", "24"]);
        wait_until("the producer was answered", CALM_MAX, || victim.has_ended())?;
        [worker, victim]
    } else {
        let mut first = Process::start(&place.0, &["producer", "p", "0", "24"], None);
        wait_until("the jobs are enqueued", CALM_MAX, || first.has_ended())?;
        ghost(&place.0);
        let victim = through(&world, &place.0, &["worker"]);
        // One that never falls is told of below.
        let _ = wait_until("the blow has fallen", Duration::from_secs(15), struck);
        [first, victim]
    };
    let seen = check(&place)?;
    processes.iter().for_each(|process| process.signal(Signal::TERM));
    Ok((struck(), seen))
}

/// Each step and each blow, once; and settles that go out while others may be under way.
pub(super) fn all_directed() -> (usize, Seen) {
    // The first sign of life is given before there is work.
    let steps = STEPS.iter().map(|(step, _, producer)| (*step, *producer, if *step == "heartbeat" { 2 } else { 1 }));
    let steps = steps.chain([("settle", false, 2), ("settle", false, 3)]);
    let cases: Vec<_> =
        steps.flat_map(|(step, producer, nth)| Blow::ALL.map(|blow| (step, blow, producer, nth))).collect();
    let name = |(step, blow, _, nth): &(_, _, bool, u32)| format!("{step} {nth} {blow:?}");
    let seen = super::each(&cases, name, |(step, blow, producer, nth)| directed(step, *blow, *producer, *nth));
    (cases.len(), seen)
}

/// How often each thing happened.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Faults {
    pub(super) processes: usize,
    pub(super) network: usize,
    pub(super) python: usize,
}

impl Faults {
    pub(super) fn add(&mut self, more: Self) {
        self.processes += more.processes;
        self.network += more.network;
        self.python += more.python;
    }

    pub(super) fn all(self) -> usize {
        self.processes + self.network + self.python
    }
}

/// Something happens to somebody all the time.
pub(super) fn random(length: Duration, seed: u64) -> (Faults, Seen, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = Place::new(&format!("network-{seed}"));
    let world = world(&place.0);
    let socket = place.0.join("redis.sock");
    let python = peer::venv(RQ);
    world.strike_one_in(ONE_IN);
    let producer = || {
        let done = place.lines("progress").last().map_or("0".to_owned(), Clone::clone);
        through(&world, &place.0, &["producer", "r", &done, "999996"])
    };
    let worker = || through(&world, &place.0, &["worker"]);
    let rq = |which: usize| beside(&python, &place.0, ["simple", "fork"][which], &socket, &["default"]);
    let mut fleet: Vec<Process> = (0..4).map(|_| worker()).collect();
    fleet.push(producer());
    let mut theirs = [rq(0), rq(1)];
    let mut stopped: Vec<(usize, Instant)> = Vec::new();
    let mut faults = Faults::default();
    let until = Instant::now() + length;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(rng.u64(5..=50)));
        stopped.retain(|(at, until)| {
            let over = *until <= Instant::now();
            if over {
                fleet[*at].signal(Signal::CONT);
            }
            !over
        });
        for (which, process) in theirs.iter_mut().enumerate() {
            // What happens to its connection may end it; what is killed with it is a worker's process for one job.
            let killed = rng.u32(..2 * PYTHON_ONE_IN) == 0;
            if killed {
                faults.python += 1;
            }
            if killed || process.has_ended() {
                *process = rq(which);
            }
        }
        let at = rng.usize(..fleet.len());
        if stopped.iter().any(|(other, _)| *other == at) {
            continue;
        }
        faults.processes += 1;
        if rng.u8(..6) == 0 {
            fleet[at].signal(Signal::STOP);
            stopped.push((at, Instant::now() + LEASE.mul_f64(rng.f64() * 3.0)));
        } else if at == 4 {
            // Its last word is read when it is dead.
            fleet[at].signal(Signal::KILL);
            let _ = wait_until("the producer is dead", CALM_MAX, || fleet[at].has_ended());
            fleet[at] = producer();
        } else {
            fleet[at] = worker();
        }
    }
    world.strike_one_in(0);
    faults.network = world.struck();
    fleet.pop();
    fleet.iter().for_each(|process| process.signal(Signal::CONT));
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let hurrying = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                hurry(&place.0, &world);
                for (which, process) in theirs.iter_mut().enumerate() {
                    if process.has_ended() {
                        *process = rq(which);
                    }
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        let seen = check(&place);
        over.store(true, Ordering::Release);
        hurrying.join().expect("a server that answers");
        seen
    });
    let seen = seen.unwrap_or_else(|why| panic!("seed {seed}: {why} (kept in {})", place.0.display()));
    fleet.iter().for_each(|process| process.signal(Signal::TERM));
    let by_python = place.lines("runs").iter().filter(|line| line.ends_with(super::PYTHON)).count();
    (faults, seen, by_python)
}

/// What rq's workers left is looked for twice a minute, and what they popped is given a minute: both are shortened here, so that
/// the end can be waited for.
fn hurry(place: &Path, world: &World) {
    const POPPED_MAX: Duration = Duration::from_secs(2);
    let prefix = prefix_of(place);
    let Ok(mut raw) = redis::Client::open(world.direct()).and_then(|client| client.get_connection()) else { return };
    let list = format!("{prefix}:queue:default:intermediate");
    let popped: Vec<String> = redis::cmd("LRANGE").arg(&list).arg(0).arg(-1).query(&mut raw).unwrap_or_default();
    for id in popped {
        let key = format!("{list}:first_seen:{id}");
        let first: Option<String> = redis::cmd("GET").arg(&key).query(&mut raw).unwrap_or_default();
        let first = first.and_then(|text| text.parse::<f64>().ok());
        if first.is_some_and(|first| true_now().millis() as f64 / 1e3 - first > POPPED_MAX.as_secs_f64()) {
            let _ = redis::cmd("SET").arg(&key).arg("1.0").exec(&mut raw);
        }
    }
    let _ = redis::cmd("DEL").arg(format!("{prefix}:rw:maintained")).exec(&mut raw);
    // Its first tick looks whether it is time.
    let _ = open(place).tick();
}

/// How long a job waits whose worker is killed, with this lease (in whole seconds).
pub(super) fn recovery(lease_s: u64) -> Duration {
    let place = Place::new(&format!("recovery-{lease_s}"));
    let broker = open(&place.0);
    let lease = lease_s.to_string();
    let mut job = NewJob { id: "long".parse().expect("an id"), ..NewJob::new(super::WORK, "[100000, 0]") };
    job.options.retry = Retry::times(0);
    broker.enqueue(&[job]).expect("room for a job");
    let runs = |count| move |place: &Place| place.lines("runs").len() >= count;
    let first = Process::start(&place.0, &["worker", &lease], None);
    wait_until("it runs", CALM_MAX, || runs(1)(&place)).expect("a worker");
    let second = Process::start(&place.0, &["worker", &lease], None);
    first.signal(Signal::KILL);
    let killed = Instant::now();
    wait_until("it runs again", Duration::from_secs(lease_s) + CALM_MAX, || runs(2)(&place)).expect("another worker");
    let recovered = killed.elapsed();
    second.signal(Signal::KILL);
    recovered
}
