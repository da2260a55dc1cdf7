//! What goes in comes out, once, in order, not before its time.

use crate::subject::{Subject, id, job};
use ropewalk_jobs::broker::{BATCH_JOBS_MAX, ErrorKind, Topic};
use ropewalk_jobs::job::{End, PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX};
use ropewalk_jobs::{Enqueued, NewJob, State};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn batch_is_all_or_nothing(subject: &Subject) {
    let bad = NewJob { queue: String::new(), ..job("b") };
    let error = subject.broker.enqueue(&[job("a"), bad, job("c")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("is no queue"), "{error}");
    subject.ready(&[]);
    assert_eq!(subject.broker.job(&id("a")), Ok(None));
}

pub(crate) fn the_same_id_twice_is_one_job(subject: &Subject) {
    let answers = subject.broker.enqueue(&[job("a"), job("a"), job("b")]).unwrap();
    assert_eq!(answers, [Enqueued::Accepted(id("a")), Enqueued::Duplicate(id("a")), Enqueued::Accepted(id("b"))]);
    assert_eq!(subject.broker.enqueue(&[job("a")]).unwrap(), [Enqueued::Duplicate(id("a"))]);
    subject.ready(&["a", "b"]);
}

pub(crate) fn priority_then_arrival(subject: &Subject) {
    let with = |name: &str, priority| NewJob { priority, ..job(name) };
    subject.enqueue(&[with("a", 0), with("b", -1), with("c", 5), with("d", 0)]);
    subject.enqueue(&[with("e", 5)]);
    subject.ready(&["c", "e", "a", "d", "b"]);
}

pub(crate) fn queues_in_the_order_asked(subject: &Subject) {
    let on = |name: &str, queue: &str| NewJob { queue: queue.into(), ..job(name) };
    subject.enqueue(&[on("a", "low"), on("b", "high"), on("c", "high"), on("d", "other")]);
    let ids: Vec<_> = subject.claim_from(&["high", "low"], 10).into_iter().map(|lease| lease.id.to_string()).collect();
    assert_eq!(ids, ["b", "c", "a"]);
    assert!(subject.claim_from(&["high", "low"], 10).is_empty());
}

pub(crate) fn nothing_is_claimed_twice(subject: &Subject) {
    let jobs: Vec<_> = (0..300).map(|n| job(&format!("j{n}"))).collect();
    subject.enqueue(&jobs);
    let claimed = thread::scope(|scope| {
        let workers: Vec<_> = [&subject.broker, &subject.other, &subject.broker, &subject.other]
            .map(|broker| {
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    loop {
                        let claim = ropewalk_jobs::broker::Claim {
                            worker: ropewalk_jobs::job::WorkerId::random(),
                            queues: vec!["default".into()],
                            max: 7,
                            lease: Duration::from_secs(30),
                            tasks: None,
                        };
                        let leases = broker.claim(&claim).unwrap();
                        if leases.is_empty() {
                            return mine;
                        }
                        mine.extend(leases.into_iter().map(|lease| lease.id));
                    }
                })
            })
            .into();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let mut ids: Vec<_> = claimed.iter().collect();
    ids.sort();
    ids.dedup();
    assert_eq!((claimed.len(), ids.len()), (300, 300));
}

pub(crate) fn never_before_its_time(subject: &Subject) {
    let due = subject.broker.now() + Duration::from_secs(60);
    subject.enqueue(&[NewJob { due: Some(due), ..job("a") }]);
    assert_eq!(subject.state("a"), State::Scheduled);
    let ticked = subject.later(Duration::from_millis(59_999));
    assert_eq!((ticked.due, ticked.next_due), (0, Some(due)));
    subject.ready(&[]);
    let ticked = subject.later(Duration::from_millis(1));
    assert_eq!((ticked.due, ticked.next_due), (1, None));
    subject.ready(&["a"]);
    // What is due already begins as ready.
    subject.enqueue(&[NewJob { due: Some(due), ..job("b") }]);
    subject.ready(&["b"]);
}

/// A worker that names its tasks leaves the others where they are, in their order.
pub(crate) fn only_what_is_wanted(subject: &Subject) {
    let of = |name: &str, task: &str| NewJob { task: task.into(), ..job(name) };
    subject.enqueue(&[
        of("a", "app::other"),
        of("b", "app::work"),
        of("c", "app::other"),
        of("d", "app::work"),
        of("e", "app::work"),
    ]);
    let claim = |tasks: &[&str], max| {
        let claim = ropewalk_jobs::broker::Claim {
            worker: ropewalk_jobs::job::WorkerId::of("w"),
            queues: vec!["default".into()],
            max,
            lease: Duration::from_secs(30),
            tasks: Some(std::sync::Arc::new(tasks.iter().map(|task| (*task).to_owned()).collect())),
        };
        subject.broker.claim(&claim).unwrap().into_iter().map(|lease| lease.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(claim(&["app::work"], 2), ["b", "d"]);
    assert!(claim(&["app::nobody"], 10).is_empty() && claim(&[], 10).is_empty());
    assert_eq!(claim(&["app::work", "app::more"], 10), ["e"]);
    subject.ready(&["a", "c"]);
}

pub(crate) fn larger_than_the_limits(subject: &Subject) {
    let long = NewJob { payload: "x".repeat(PAYLOAD_BYTES_MAX + 1), ..job("a") };
    assert!(subject.broker.enqueue(&[long]).unwrap_err().to_string().contains("pass where they are"));
    let many = vec![job("a"); BATCH_JOBS_MAX + 1];
    assert!(subject.broker.enqueue(&many).unwrap_err().to_string().contains("several batches"));
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    let outcome = ropewalk_jobs::job::Outcome {
        id: lease.id.clone(),
        exec: lease.exec,
        end: End::Done("x".repeat(RESULT_BYTES_MAX + 1)),
    };
    assert_eq!(subject.broker.settle(&[outcome]).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(subject.state("a"), State::Leased);
}

pub(crate) fn each_end_is_told_once(subject: &Subject) {
    let (start, none) = subject.broker.ended_since(None).unwrap();
    assert!(none.is_empty());
    subject.enqueue(&[job("a"), job("b"), job("c")]);
    let leases = subject.claim(3);
    subject.settle(&leases[1], End::Done("1".into()));
    subject.settle(&leases[0], End::Stopped);
    let (mark, ended) = subject.other.ended_since(Some(start)).unwrap();
    assert_eq!(ended, [id("b"), id("a")]);
    assert_eq!(subject.broker.ended_since(Some(mark)).unwrap(), (mark, vec![]));
    subject.settle(&leases[2], End::Done("2".into()));
    assert_eq!(subject.broker.ended_since(Some(mark)).unwrap().1, [id("c")]);
}

pub(crate) fn a_waiter_is_woken(subject: &Subject) {
    let seen = subject.other.news(Topic::Work);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let begun = Instant::now();
            // A wait may return early; it must not last until its limit.
            while subject.other.news(Topic::Work) == seen {
                subject.other.wait(Topic::Work, seen, Duration::from_secs(60));
            }
            begun.elapsed()
        });
        subject.enqueue(&[job("a")]);
        assert!(waiter.join().unwrap() < Duration::from_secs(50));
    });
}

pub(crate) fn another_handle_sees_it_all(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    subject.settle(&lease, End::Done("[1]".into()));
    let seen = subject.other.job(&id("a")).unwrap().unwrap();
    assert_eq!(seen, subject.job("a"));
    assert_eq!((seen.state, seen.result.as_deref(), seen.exec), (State::Done, Some("[1]"), Some(lease.exec)));
    assert_eq!(subject.other.queues(), subject.broker.queues());
    assert_eq!(subject.other.queues().unwrap()[0].of(State::Done), 1);
}
