//! What is lost of what was answered, when the server is lost: the figures behind what is and what is not promised.
//!
//! Eight threads enqueue one job after the other, at some moment the server is gone, and what was acknowledged is looked for on what
//! is there then:
//!
//! | how | what is there then |
//! | --- | --- |
//! | `always` | the same server after SIGKILL, which writes to the disk before it answers |
//! | `everysec` | the same, which waits for the disk once a second: what was handed to the kernel survives the end of a process, and not that of the machine |
//! | `failover` | a replica, which was made the primary by hand when the primary was killed |
//!
//! `always` may lose nothing: that is a promise. The others are measured and told.
//!
//! A power cut takes what the disk did not have ([`measure_power_cuts`]): there the disk is a file of its own, and a copy of that file is
//! what there is after the cut. This needs root, for `mount -o loop`.
//!
//! And what python-rq itself loses ([`measure_pops`]): a worker of it that serves several queues pops a job and only then writes down
//! that it has it.

use super::network::{self, ALWAYS};
use super::redis_server::Server;
use super::{CALM_MAX, Place, WORK, open, peer, prefix_of, redis_url, wait_until};
use ropewalk_jobs::broker::Filter;
use ropewalk_jobs::{Broker as _, JobId, NewJob, RedisBroker, State};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const PRODUCERS: usize = 8;
pub(super) const EVERYSEC: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Always,
    Everysec,
    Failover,
}

/// What was lost, over some kills.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Losses {
    pub(super) kills: usize,
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    /// In one kill.
    pub(super) worst: usize,
}

/// So many kills.
pub(super) fn measure(how: How, kills: usize, seed: u64) -> Losses {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut losses = Losses::default();
    for n in 0..kills {
        let place = Place::new(&format!("losses-{how:?}-{n}"));
        let (acknowledged, lost) = once(&place, how, Duration::from_millis(rng.u64(150..400)));
        losses.kills += 1;
        losses.acknowledged += acknowledged;
        losses.lost += lost;
        losses.worst = losses.worst.max(lost);
    }
    assert!(losses.acknowledged > kills * 10, "nothing was tried: {losses:?}");
    losses
}

/// So many workers of python-rq on two queues that are killed in the middle of their work: how many jobs are in no list any more,
/// and nobody runs them.
pub(super) fn measure_pops(kills: usize, seed: u64) -> Losses {
    const JOBS: usize = 400;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut losses = Losses::default();
    let python = peer::venv(network::RQ);
    for n in 0..kills {
        let place = Place::new(&format!("pops-{n}"));
        let url = redis_url(&place.0);
        let socket = url.trim_start_matches("redis+unix://").trim_end_matches('?').to_owned();
        let broker = open(&place.0);
        let jobs: Vec<NewJob> = (0..JOBS).map(|_| NewJob::new(WORK, "[0, 0]")).collect();
        broker.enqueue(&jobs).expect("room for jobs");
        let worker = network::beside(&python, &place.0, "simple", Path::new(&socket), &["default", "other"]);
        wait_until("it works", CALM_MAX, || !place.lines("runs").is_empty()).expect("a worker of python-rq");
        thread::sleep(Duration::from_micros(rng.u64(..300_000)));
        drop(worker);
        let list: HashSet<String> = redis::Client::open(url)
            .and_then(|client| client.get_connection())
            .and_then(|mut raw| {
                let list = format!("{}:queue:default", prefix_of(&place.0));
                redis::cmd("LRANGE").arg(list).arg(0).arg(-1).query(&mut raw)
            })
            .expect("a server that answers");
        let is_lost = |job: &&NewJob| {
            let state = broker.job(&job.id).expect("a look").expect("a job that was acknowledged").state;
            state == State::Ready && !list.contains(job.id.as_str())
        };
        let lost = jobs.iter().filter(is_lost).count();
        losses.kills += 1;
        losses.acknowledged += JOBS;
        losses.lost += lost;
        losses.worst = losses.worst.max(lost);
    }
    losses
}

fn once(place: &Place, how: How, after: Duration) -> (usize, usize) {
    let (first, second) = (place.0.join("first"), place.0.join("second"));
    let _ = [&first, &second].map(|directory| std::fs::create_dir(directory).expect("a directory of the place"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let port = port.to_string();
    let fails_over = how == How::Failover;
    let options: Vec<&str> = match how {
        How::Always => ALWAYS.to_vec(),
        How::Everysec => EVERYSEC.to_vec(),
        // No wait between the first word of a replica and the copy.
        How::Failover => {
            vec!["--port", &port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
        }
    };
    let mut primary = Server::start(&first, &options);
    let replica = fails_over.then(|| Server::start(&second, &["--replicaof", &format!("127.0.0.1 {port}")]));
    if let Some(replica) = &replica {
        let is_up = || info(replica, "master_link_status").as_deref() == Some("up");
        wait_until("the replica has a copy", CALM_MAX, is_up).expect("a replica");
        // What comes after the copy is told a while later, for the first time.
        say(&primary, |raw| redis::cmd("SET").arg("mark").arg(1).exec(raw));
        let follows = || say(replica, |raw| redis::cmd("EXISTS").arg("mark").query::<bool>(raw));
        wait_until("the replica follows", CALM_MAX, follows).expect("a replica");
    }
    let broker = reach(&primary);
    let acknowledged = produce(&broker, after, || primary.kill());
    drop(broker);
    let survivor = match replica {
        Some(replica) => {
            // What had reached its machine is read before that is seen.
            let is_down = || info(&replica, "master_link_status").as_deref() == Some("down");
            wait_until("the replica sees the end", CALM_MAX, is_down).expect("a replica");
            say(&replica, |raw| redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(raw));
            replica
        }
        None => Server::start(&first, &options),
    };
    (acknowledged.len(), missing(&survivor, &acknowledged))
}

/// Enqueues from many threads until something happens, after that time: the jobs whose enqueue was answered.
fn produce(broker: &RedisBroker, after: Duration, happens: impl FnOnce()) -> Vec<JobId> {
    let (acknowledged, over) = (Mutex::new(Vec::<JobId>::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..PRODUCERS {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let job = NewJob::new("t", "[]");
                    match broker.enqueue(std::slice::from_ref(&job)) {
                        Ok(_) => mine.push(job.id),
                        Err(_) => break,
                    }
                }
                acknowledged.lock().unwrap().append(&mut mine);
            });
        }
        thread::sleep(after);
        happens();
        over.store(true, Ordering::Release);
    });
    acknowledged.into_inner().unwrap()
}

/// How many of these a server does not have.
fn missing(server: &Server, acknowledged: &[JobId]) -> usize {
    let all = Filter { limit: usize::MAX, ..Filter::default() };
    let jobs = reach(server).jobs(&all).expect("a look");
    let there: HashSet<JobId> = jobs.into_iter().map(|job| job.id).collect();
    acknowledged.iter().filter(|id| !there.contains(*id)).count()
}

/// A file system in a file.
struct Disk(PathBuf);

impl Disk {
    fn mount(image: &Path, at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).expect("a directory of the place");
        run("mount", &[Path::new("-o"), Path::new("loop"), image, &at]).then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[Path::new("-l"), &self.0]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// So many power cuts, with these options of the server; nothing where a disk cannot be had.
pub(super) fn measure_power_cuts(options: &[&str], cuts: usize, seed: u64) -> Option<Losses> {
    const DISK_BYTES: u64 = 64 << 20;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut losses = Losses::default();
    for n in 0..cuts {
        let place = Place::new(&format!("power-{n}"));
        let (image, after_the_cut) = (place.0.join("disk"), place.0.join("disk-after"));
        std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("a file of the place");
        if !run("mkfs.ext4", &[Path::new("-q"), Path::new("-F"), &image]) {
            return None;
        }
        let disk = Disk::mount(&image, place.0.join("first"))?;
        let mut server = Server::start(&disk.0, options);
        let pid = info(&server, "process_id").and_then(|pid| Pid::from_raw(pid.parse().ok()?)).expect("a process");
        let broker = reach(&server);
        // Longer than a second, in which `everysec` waits for the disk once.
        let acknowledged = produce(&broker, Duration::from_millis(rng.u64(1_200..3_000)), || {
            // It answers nobody any more while its disk is looked at.
            kill_process(pid, Signal::STOP).expect("a process of ours");
            std::fs::copy(&image, &after_the_cut).expect("room for a copy");
            server.kill();
        });
        drop((broker, server, disk));
        let disk = Disk::mount(&after_the_cut, place.0.join("second"))?;
        // Its last words may be half there: what comes after the cut is cut off, as people do it.
        let fix = format!("yes | redis-check-aof --fix {}/appendonlydir/appendonly.aof.manifest", disk.0.display());
        run("sh", &[Path::new("-c"), Path::new(&fix)]);
        let lost = missing(&Server::start(&disk.0, options), &acknowledged);
        losses.kills += 1;
        losses.acknowledged += acknowledged.len();
        losses.lost += lost;
        losses.worst = losses.worst.max(lost);
    }
    Some(losses)
}

/// It may still read what it has kept.
fn reach(server: &Server) -> RedisBroker {
    let mut opened = None;
    wait_until("the server has read what it has kept", CALM_MAX, || {
        opened = RedisBroker::open(&server.url("")).ok();
        opened.is_some()
    })
    .expect("a server");
    opened.expect("waited for")
}

fn say<T>(server: &Server, what: impl FnOnce(&mut redis::Connection) -> redis::RedisResult<T>) -> T {
    redis::Client::open(server.url(""))
        .and_then(|client| client.get_connection())
        .and_then(|mut raw| what(&mut raw))
        .expect("a server that answers")
}

/// A value of `INFO`.
fn info(server: &Server, name: &str) -> Option<String> {
    let text: String = say(server, |raw| redis::cmd("INFO").arg("everything").query(raw));
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
