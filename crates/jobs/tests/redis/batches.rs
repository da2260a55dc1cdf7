//! Steps for many jobs, whose places in the indexes are written together.

use super::{Directory, LIMIT, Place, Server, claim, id};
use ropewalk_jobs::RedisBroker;
use ropewalk_jobs::broker::{Broker as _, Claim, Enqueued};
use ropewalk_jobs::job::{End, Lease, Outcome};
use ropewalk_jobs::state::Settled;

use ropewalk_jobs::{JobId, NewJob, Unique};
use std::time::{Duration, Instant};

fn job(name: &str) -> NewJob {
    NewJob { id: id(name), ..NewJob::new("t", "[]") }
}

fn done(leases: &[Lease]) -> Vec<Outcome> {
    leases.iter().map(|lease| Outcome { id: lease.id.clone(), exec: lease.exec, end: End::Done("1".into()) }).collect()
}

/// More than one command takes at once, in pairs and one by one.
#[test]
fn batch_longer_than_a_command_keeps_its_order_and_its_books() {
    const JOBS: usize = 2_001;
    let mut place = Place::new();
    let (first, last) = ("j500", "j1500");
    let mut jobs: Vec<NewJob> = (0..JOBS).map(|n| job(&format!("j{n}"))).collect();
    jobs[500].priority = 1;
    jobs[1_500].priority = -1;
    place.broker.enqueue(&jobs).unwrap();
    let mut leases = Vec::new();
    while leases.len() < JOBS {
        let more = place.broker.claim(&claim(None, JOBS)).unwrap();
        assert!(!more.is_empty(), "{} of {JOBS}", leases.len());
        leases.extend(more);
    }
    let between = (0..JOBS).map(|n| format!("j{n}")).filter(|name| name != first && name != last);
    let expected: Vec<JobId> =
        [first.to_owned()].into_iter().chain(between).chain([last.to_owned()]).map(|name| id(&name)).collect();
    assert!(leases.iter().map(|lease| &lease.id).eq(&expected));
    let counts = |place: &mut Place| {
        ["wip:default", "rw:leases", "finished:default", "rw:kept"].map(|key| place.text(&["ZCARD", key]))
    };
    assert_eq!(counts(&mut place), ["2001", "2001", "0", "0"]);
    assert_eq!(place.text(&["SCARD", "worker:w:executions"]), "2001");
    assert_eq!(place.broker.settle(&done(&leases)).unwrap(), vec![Settled::Recorded; JOBS]);
    assert_eq!(counts(&mut place), ["0", "0", "2001", "2001"]);
    assert_eq!(place.text(&["SCARD", "worker:w:executions"]), "0");
}

/// Somebody has put a thing of another kind at one of our keys. Redis undoes nothing: what was claimed before that has its lease.
#[test]
fn claim_that_breaks_off_leaves_leases_that_run_out() {
    let mut place = Place::new();
    place.broker.enqueue(&[job("a"), job("b")]).unwrap();
    place.send(&["SET", "queue:wrong", "no list"]);
    let both =
        Claim { queues: vec!["default".into(), "wrong".into()], lease: Duration::from_millis(1), ..claim(None, 10) };
    assert!(place.broker.claim(&both).is_err());
    let began = Instant::now();
    while place.list() != ["a", "b"] {
        assert!(began.elapsed() < LIMIT, "they are lost");
        place.broker.tick().unwrap();
    }
}

#[test]
fn enqueue_that_breaks_off_can_be_said_again() {
    let mut place = Place::new();
    let jobs = [job("a"), NewJob { unique: Some(Unique::key("k")), ..job("b") }];
    place.send(&["SET", "rw:taken", "no hash"]);
    assert!(place.broker.enqueue(&jobs).is_err());
    place.send(&["DEL", "rw:taken"]);
    assert_eq!(place.broker.enqueue(&jobs).unwrap(), [Enqueued::Duplicate(id("a")), Enqueued::Accepted(id("b"))]);
    assert_eq!(place.list(), ["a", "b"]);
}

#[test]
fn settle_that_breaks_off_leaves_what_had_ended_in_its_books() {
    let mut place = Place::new();
    place.broker.enqueue(&[job("a"), job("b")]).unwrap();
    let leases = place.broker.claim(&claim(None, 2)).unwrap();
    // Batches are settled backwards: this one comes last.
    place.send(&["SET", "job:a:dependents", "no set"]);
    assert!(place.broker.settle(&done(&leases)).is_err());
    for key in ["finished:default", "rw:kept"] {
        assert_ne!(place.text(&["ZSCORE", key, "b"]), "", "{key}");
    }
    assert_eq!(place.text(&["ZCARD", "rw:leases"]), "0");
}

/// Redis answers nothing of what it reads at once before it has done all of it: a claim must not wait for the books behind it.
#[test]
fn settle_is_no_part_of_the_write_that_asks_for_jobs() {
    // One of its own, as it stands still for a while.
    let directory = Directory::new("apart");
    let server = Server::start(&directory.0, &[]);
    let broker = RedisBroker::open(&server.url("")).unwrap();
    let mut raw = redis::Client::open(server.url("")).and_then(|client| client.get_connection()).unwrap();
    broker.enqueue(&[job("a"), job("b")]).unwrap();
    let leases = broker.claim(&claim(None, 1)).unwrap();
    let (writes, requests) = broker.traffic();
    redis::cmd("CLIENT").arg("PAUSE").arg(300).exec(&mut raw).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.job(&id("a")).unwrap());
        let began = Instant::now();
        while broker.traffic().0 == writes {
            assert!(began.elapsed() < LIMIT, "nothing is sent");
            std::thread::yield_now();
        }
        // Behind that, both are there before the line is free.
        let (more, settling) = broker.claim_and_settle(&claim(None, 1), &done(&leases));
        assert_eq!(more.unwrap()[0].id, id("b"));
        assert_eq!(settling.answer().unwrap(), [Settled::Recorded]);
    });
    assert_eq!(broker.traffic(), (writes + 3, requests + 3));
}
