//! What people ask for, and what they see.

use crate::subject::{LEASE, Subject, broken, id, job};
use ropewalk_jobs::broker::{Beat, Control, ErrorKind, Filter, Running};
use ropewalk_jobs::job::{End, FAILURE_TTL, Progress, RESULT_TTL, WorkerId};
use ropewalk_jobs::{Need, NewJob, State, Unique, When};
use std::time::Duration;

pub(crate) fn wrong_state_is_said(subject: &Subject) {
    let say = |control: Control| subject.broker.control(&control).unwrap_err();
    let error = say(Control::Cancel(id("nobody")));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    subject.enqueue(&[job("a")]);
    assert_eq!(say(Control::Stop(id("a"))).to_string(), "job a is ready and cannot be stopped: cancel it instead");
    assert_eq!(say(Control::Requeue(id("a"))).to_string(), "job a is ready and cannot be requeued: it has not ended");
    let lease = subject.claim_one();
    assert_eq!(say(Control::Cancel(id("a"))).to_string(), "job a is leased and cannot be cancelled: stop it instead");
    assert_eq!(say(Control::Delete(id("a"))).to_string(), "job a is leased and cannot be deleted: stop it first");
    subject.settle(&lease, End::Done("1".into()));
    assert_eq!(say(Control::End(id("a"))).to_string(), "job a is done and cannot be ended");
    assert_eq!(say(Control::Requeue(id("a"))).to_string(), "job a is done and cannot be requeued: enqueue a new one");
    assert_eq!(say(Control::Stop(id("a"))).kind(), ErrorKind::Refused);
}

pub(crate) fn requeue_gives_all_tries_again(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    for _ in 0..3 {
        subject.claim_one();
        subject.later(LEASE);
    }
    assert_eq!(subject.state("a"), State::Failed);
    subject.broker.control(&Control::Requeue(id("a"))).unwrap();
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.crashes, seen.failure, seen.ended, seen.expires), (State::Ready, 0, None, None, None));
    let lease = subject.claim_one();
    assert_eq!(lease.attempt(), 1);
    subject.settle(&lease, End::Done("1".into()));
    assert_eq!(subject.state("a"), State::Done);
}

pub(crate) fn requeue_against_a_taken_key(subject: &Subject) {
    let with_key = |name: &str| NewJob { unique: Some(Unique::key("k")), ..job(name) };
    subject.enqueue(&[with_key("a")]);
    let lease = subject.claim_one();
    subject.settle(&lease, End::Failed(broken()));
    subject.enqueue(&[with_key("b")]);
    let error = subject.broker.control(&Control::Requeue(id("a"))).unwrap_err();
    assert!(error.to_string().contains("its unique key `k` is taken by job b"), "{error}");
    subject.run_one();
    subject.broker.control(&Control::Requeue(id("a"))).unwrap();
    assert_eq!(subject.broker.enqueue(&[with_key("c")]).unwrap()[0].id(), &id("a"));
}

pub(crate) fn deleted_is_gone_and_breaks_its_dependents(subject: &Subject) {
    let waits = NewJob { needs: vec![Need { id: id("a"), when: When::Done }], ..job("b") };
    subject.enqueue(&[job("a"), waits]);
    subject.broker.control(&Control::Delete(id("a"))).unwrap();
    assert_eq!(subject.broker.job(&id("a")), Ok(None));
    assert_eq!(subject.state("b"), State::Canceled);
    subject.ready(&[]);
    subject.enqueue(&[job("a")]);
    subject.ready(&["a"]);
}

pub(crate) fn emptied_queue(subject: &Subject) {
    let due = Some(subject.broker.now() + Duration::from_secs(60));
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    let elsewhere = NewJob { queue: "other".into(), ..job("d") };
    let waits = NewJob { needs: vec![Need { id: id("b"), when: When::Done }], ..job("e") };
    subject.enqueue(&[job("b"), NewJob { due, ..job("c") }, elsewhere, waits]);
    assert_eq!(subject.broker.control(&Control::Empty("default".into())), Ok(2));
    assert_eq!(["b", "c", "e"].map(|name| subject.state(name)), [State::Canceled; 3]);
    assert_eq!((subject.state("a"), subject.state("d")), (State::Leased, State::Ready));
    let _ = subject.settled(&lease, End::Done("1".into()));
}

pub(crate) fn suspended_queue_gives_nothing(subject: &Subject) {
    subject.enqueue(&[job("a"), NewJob { queue: "other".into(), ..job("b") }]);
    assert_eq!(subject.broker.control(&Control::Suspend(Some("default".into()))), Ok(1));
    assert_eq!(subject.broker.control(&Control::Suspend(Some("default".into()))), Ok(0));
    assert_eq!(subject.claim_from(&["default", "other"], 10).len(), 1);
    let suspended: Vec<_> = subject.broker.queues().unwrap().into_iter().map(|queue| queue.suspended).collect();
    assert_eq!(suspended, [true, false]);
    subject.broker.control(&Control::Suspend(None)).unwrap();
    subject.broker.control(&Control::Resume(Some("default".into()))).unwrap();
    subject.ready(&[]);
    subject.broker.control(&Control::Resume(None)).unwrap();
    subject.ready(&["a"]);
}

pub(crate) fn results_are_forgotten_in_time(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b"), job("c")]);
    let leases = subject.claim(3);
    subject.settle(&leases[0], End::Done("1".into()));
    subject.settle(&leases[1], End::Failed(broken()));
    subject.beat(&[&leases[2]]);
    let almost = RESULT_TTL - Duration::from_millis(1);
    assert_eq!(subject.later(almost).forgotten, 0);
    assert_eq!(subject.later(Duration::from_millis(1)).forgotten, 1);
    assert_eq!(subject.broker.job(&id("a")), Ok(None));
    assert_eq!(subject.later(FAILURE_TTL - RESULT_TTL).forgotten, 1);
    // What has no end is not forgotten.
    let left: Vec<_> = subject.broker.jobs(&Filter { limit: 10, ..Filter::default() }).unwrap();
    assert_eq!((left.len(), left[0].id.as_str()), (1, "c"));
}

pub(crate) fn workers_come_and_go(subject: &Subject) {
    subject.beat(&[]);
    let workers = subject.other.workers().unwrap();
    assert_eq!((workers.len(), workers[0].id.as_str(), workers[0].concurrency), (1, "w", 4));
    subject.later(LEASE);
    assert!(subject.broker.workers().unwrap().is_empty());
    subject.beat(&[]);
    let leaving = Beat {
        worker: WorkerId::of("w"),
        queues: vec![],
        concurrency: 4,
        running: vec![],
        lease: LEASE,
        leaving: true,
    };
    assert_eq!(subject.broker.workers().unwrap().len(), 1);
    subject.broker.heartbeat(&leaving).unwrap();
    assert!(subject.broker.workers().unwrap().is_empty());
}

pub(crate) fn progress_is_seen(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    let half = Progress { done: 0.5, message: "half".into() };
    let beat = |progress| Beat {
        worker: WorkerId::of("w"),
        queues: vec!["default".into()],
        concurrency: 1,
        running: vec![Running { id: lease.id.clone(), exec: lease.exec, progress }],
        lease: LEASE,
        leaving: false,
    };
    subject.broker.heartbeat(&beat(Some(half.clone()))).unwrap();
    subject.broker.heartbeat(&beat(None)).unwrap();
    assert_eq!(subject.job("a").progress, Some(half));
    let found = subject.broker.jobs(&Filter { state: Some(State::Leased), limit: 5, ..Filter::default() }).unwrap();
    assert_eq!(found, [subject.job("a")]);
    // What is no number is not worth a job that cannot be read.
    subject.broker.heartbeat(&beat(Some(Progress { done: f64::NAN, message: "0 of 0".into() }))).unwrap();
    assert_eq!(subject.job("a").state, State::Leased);
}
