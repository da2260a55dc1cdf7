//! What jobs say of themselves, schedules, and two steps in one go.

use crate::subject::{LEASE, START, Subject, id, job};
use ropewalk_jobs::broker::{Claim, Control, ErrorKind, LOG_BYTES_MAX, Passed, Said, Slot};
use ropewalk_jobs::job::{End, ExecId, Lease, Outcome, RESULT_BYTES_MAX, WorkerId};
use ropewalk_jobs::state::Settled;
use ropewalk_jobs::{State, Time};
use std::time::Duration;

fn says(subject: &Subject, lease: &Lease, text: &str) {
    let said = Said { id: lease.id.clone(), exec: lease.exec, text: text.to_owned() };
    subject.broker.log(&[said]).expect("a log");
    // Whatever waits for its answer comes behind it.
    subject.broker.tick().expect("a tick");
}

fn log(subject: &Subject) -> Option<String> {
    subject.other.logs(&id("a")).expect("a look")
}

pub(crate) fn only_whoever_holds_the_lease_is_heard(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    assert_eq!(log(subject), None);
    let first = subject.claim_one();
    says(subject, &first, "one\n");
    subject.later(LEASE);
    let second = subject.claim_one();
    says(subject, &first, "from the grave\n");
    says(subject, &second, "two\n");
    says(subject, &Lease { exec: ExecId(7), ..second.clone() }, "a stranger\n");
    subject.settle(&second, End::Done("1".into()));
    says(subject, &second, "too late\n");
    assert_eq!(log(subject).as_deref(), Some("one\ntwo\n"));
}

pub(crate) fn end_of_a_long_log_is_kept(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    let line = format!("{}ö\n", "x".repeat(997));
    for _ in 0..100 {
        says(subject, &lease, &line);
    }
    says(subject, &lease, "last\n");
    let log = log(subject).unwrap();
    assert!(log.len() <= LOG_BYTES_MAX && log.len() > LOG_BYTES_MAX - 2 * line.len(), "{}", log.len());
    assert!(log.ends_with("\nlast\n") && log.starts_with(&line));
}

pub(crate) fn log_is_forgotten_with_its_job(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    says(subject, &lease, "one\n");
    subject.settle(&lease, End::Done("1".into()));
    subject.broker.control(&Control::Delete(id("a"))).unwrap();
    subject.enqueue(&[job("a")]);
    assert_eq!(log(subject), None);
}

fn slot(after: Option<Time>, at: Time, name: &str) -> Slot {
    Slot { schedule: "s".into(), after, at, jobs: vec![job(name)] }
}

pub(crate) fn slot_is_passed_once(subject: &Subject) {
    let at = |minutes: u64| START + Duration::from_secs(60 * minutes);
    let pass = |slot: &Slot| subject.broker.pass_slot(slot).unwrap();
    assert!(matches!(pass(&slot(None, at(1), "a")), Passed::Here(jobs) if jobs.len() == 1));
    // The same again, from another process, and one that comes too late.
    assert_eq!(subject.other.pass_slot(&slot(None, at(1), "b")).unwrap(), Passed::Elsewhere(Some(at(1))));
    assert!(matches!(pass(&slot(Some(at(1)), at(2), "c")), Passed::Here(_)));
    assert_eq!(pass(&slot(Some(at(1)), at(3), "d")), Passed::Elsewhere(Some(at(2))));
    let other = Slot { schedule: "t".into(), ..slot(None, at(1), "e") };
    assert!(matches!(pass(&other), Passed::Here(_)));
    subject.ready(&["a", "c", "e"]);
}

pub(crate) fn slot_whose_job_is_refused_is_not_passed(subject: &Subject) {
    let mut bad = slot(None, START, "a");
    bad.jobs[0].queue = String::new();
    assert!(subject.broker.pass_slot(&bad).is_err());
    assert!(matches!(subject.broker.pass_slot(&slot(None, START, "a")).unwrap(), Passed::Here(_)));
}

fn one() -> Claim {
    Claim { worker: WorkerId::of("w"), queues: vec!["default".into()], max: 1, lease: LEASE, tasks: None }
}

fn ends(lease: &Lease, result: String) -> Outcome {
    Outcome { id: lease.id.clone(), exec: lease.exec, end: End::Done(result) }
}

pub(crate) fn claimed_and_settled_in_one_go(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b"), job("c")]);
    let mut lease = subject.claim(1).remove(0);
    for next in ["b", "c"] {
        let (leases, settling) = subject.broker.claim_and_settle(&one(), &[ends(&lease, "1".into())]);
        let leases = leases.unwrap();
        assert_eq!(settling.answer(), Ok(vec![Settled::Recorded]));
        assert_eq!(leases.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), [next]);
        lease = leases[0].clone();
        assert_eq!(subject.state(next), State::Leased);
    }
    assert_eq!((subject.state("a"), subject.state("b")), (State::Done, State::Done));
}

/// Whether it is claimed or not, the other job is lost to nobody.
pub(crate) fn settle_that_is_refused_beside_a_claim(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b")]);
    let lease = subject.claim(1).remove(0);
    let too_long = "1".repeat(RESULT_BYTES_MAX + 1);
    let (leases, settling) = subject.broker.claim_and_settle(&one(), &[ends(&lease, too_long)]);
    assert_eq!(settling.answer().unwrap_err().kind(), ErrorKind::Refused);
    let other = leases.unwrap().pop().unwrap_or_else(|| subject.claim_one());
    assert_eq!(other.id.as_str(), "b");
    subject.settle(&lease, End::Done("1".into()));
    assert_eq!((subject.state("a"), subject.state("b")), (State::Done, State::Leased));
}

pub(crate) fn settle_that_nobody_hears_happens(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b")]);
    let lease = subject.claim(1).remove(0);
    let (leases, settling) = subject.broker.claim_and_settle(&one(), &[ends(&lease, "1".into())]);
    drop(settling);
    // It waits for its answer, and comes behind it.
    subject.enqueue(&[job("c")]);
    assert_eq!((leases.unwrap().len(), subject.state("a")), (1, State::Done));
}
