//! What the suites know of a broker.

use ropewalk_jobs::broker::{Beat, Broker, Claim, Held, Running, VirtualClock};
use ropewalk_jobs::job::{End, ExecId, Failure, FailureKind, Lease, Outcome, WorkerId};
use ropewalk_jobs::state::Settled;
use ropewalk_jobs::{Job, JobId, MemoryBroker, NewJob, SqliteBroker, State, Time};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// When the virtual clocks begin.
pub(crate) const START: Time = Time::of_millis(1_800_000_000_000);
/// The lease of all claims here.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Two handles to one store, and the clock of both.
pub(crate) struct Subject {
    pub(crate) broker: Box<dyn Broker>,
    pub(crate) other: Box<dyn Broker>,
    pub(crate) clock: Arc<VirtualClock>,
    _directory: Option<Directory>,
}

/// Gone when it is dropped.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-brokers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // In memory where that can be: nothing here is about the disk, and a commit there takes its time.
        let memory = PathBuf::from("/dev/shm");
        let path = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn memory() -> Subject {
    let clock = Arc::new(VirtualClock::at(START));
    let broker = MemoryBroker::with_clock(Arc::clone(&clock));
    Subject { broker: Box::new(broker.clone()), other: Box::new(broker), clock, _directory: None }
}

/// Two of them on one file, as two processes have.
pub(crate) fn sqlite() -> Subject {
    let clock = Arc::new(VirtualClock::at(START));
    let directory = Directory::new();
    let open = || {
        let broker = SqliteBroker::open_with_clock(directory.0.join("jobs.db"), Arc::clone(&clock));
        Box::new(broker.expect("a fresh file"))
    };
    Subject { broker: open(), other: open(), clock: Arc::clone(&clock), _directory: Some(directory) }
}

/// Two of them on one server, under a prefix of their own.
#[cfg(feature = "redis")]
pub(crate) fn redis() -> Subject {
    use crate::redis_server::{USER, prefix, server};
    let clock = Arc::new(VirtualClock::at(START));
    let prefix = prefix();
    let open = || {
        let opening =
            ropewalk_jobs::RedisBroker::at(server().url(USER)).prefix(prefix.clone()).clock(Arc::clone(&clock));
        Box::new(opening.open().expect("a server"))
    };
    Subject { broker: open(), other: open(), clock: Arc::clone(&clock), _directory: None }
}

/// A job with this id.
pub(crate) fn job(id: &str) -> NewJob {
    NewJob { id: id.parse().unwrap(), ..NewJob::new("app::work", "[7]") }
}

pub(crate) fn id(id: &str) -> JobId {
    id.parse().unwrap()
}

pub(crate) fn broken() -> Failure {
    Failure::new(FailureKind::Error, "no rope")
}

impl Subject {
    pub(crate) fn enqueue(&self, jobs: &[NewJob]) {
        self.broker.enqueue(jobs).expect("good jobs");
    }

    pub(crate) fn claim_from(&self, queues: &[&str], max: usize) -> Vec<Lease> {
        let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
        let claim = Claim { worker: WorkerId::of("w"), queues, max, lease: LEASE, tasks: None };
        self.broker.claim(&claim).expect("a claim")
    }

    pub(crate) fn claim(&self, max: usize) -> Vec<Lease> {
        self.claim_from(&["default"], max)
    }

    /// The only job that is ready.
    #[track_caller]
    pub(crate) fn claim_one(&self) -> Lease {
        let mut leases = self.claim(2);
        assert_eq!(leases.len(), 1, "{leases:?}");
        leases.pop().unwrap()
    }

    #[track_caller]
    pub(crate) fn ready(&self, expected: &[&str]) {
        let leases = self.claim(100);
        let ids: Vec<&str> = leases.iter().map(|lease| lease.id.as_str()).collect();
        assert_eq!(ids, expected);
    }

    /// Ends an execution that holds its lease.
    #[track_caller]
    pub(crate) fn settle(&self, lease: &Lease, end: End) {
        assert_eq!(self.settled(lease, end), Settled::Recorded);
    }

    pub(crate) fn settled(&self, lease: &Lease, end: End) -> Settled {
        self.settle_as(&lease.id, lease.exec, end)
    }

    pub(crate) fn settle_as(&self, id: &JobId, exec: ExecId, end: End) -> Settled {
        let outcome = Outcome { id: id.clone(), exec, end };
        self.broker.settle(&[outcome]).expect("a settle").pop().expect("an answer each")
    }

    /// The one ready job ends well.
    #[track_caller]
    pub(crate) fn run_one(&self) {
        let lease = self.claim_one();
        assert_eq!(self.settled(&lease, End::Done("null".into())), Settled::Recorded);
    }

    pub(crate) fn beat(&self, leases: &[&Lease]) -> Vec<Held> {
        let running =
            leases.iter().map(|lease| Running { id: lease.id.clone(), exec: lease.exec, progress: None }).collect();
        let beat = Beat {
            worker: WorkerId::of("w"),
            queues: vec!["default".into()],
            concurrency: 4,
            running,
            lease: LEASE,
            leaving: false,
        };
        self.broker.heartbeat(&beat).expect("a beat")
    }

    /// Time passes, and a tick sees it.
    pub(crate) fn later(&self, by: Duration) -> ropewalk_jobs::broker::Ticked {
        self.clock.advance(by);
        self.broker.tick().expect("a tick")
    }

    #[track_caller]
    pub(crate) fn job(&self, id: &str) -> Job {
        self.broker.job(&id.parse().unwrap()).expect("a look").expect("the job is there")
    }

    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> State {
        self.job(id).state
    }
}
