//! Jobs that wait for others, and jobs that keep others out.

use crate::subject::{LEASE, Subject, broken, id, job};
use ropewalk_jobs::broker::ErrorKind;
use ropewalk_jobs::job::{End, FailureKind, Lease, Limit, Outcome};
use ropewalk_jobs::state::Settled;
use ropewalk_jobs::{Enqueued, Need, NewJob, State, Unique, When};
use std::time::Duration;

fn after(name: &str, needs: &[(&str, When)]) -> NewJob {
    let needs = needs.iter().map(|(on, when)| Need { id: id(on), when: *when }).collect();
    NewJob { needs, ..job(name) }
}

pub(crate) fn needs_are_met_in_one_step(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b"), after("c", &[("a", When::Done), ("b", When::Done)])]);
    assert_eq!((subject.state("c"), subject.job("c").waits_for), (State::Waiting, 2));
    let leases = subject.claim(10);
    subject.settle(&leases[0], End::Done("1".into()));
    assert_eq!(subject.job("c").waits_for, 1);
    subject.ready(&[]);
    subject.settle(&leases[1], End::Done("1".into()));
    subject.ready(&["c"]);
}

pub(crate) fn broken_need_cancels_all_that_hang_on_it(subject: &Subject) {
    subject.enqueue(&[
        job("a"),
        after("b", &[("a", When::Done)]),
        after("c", &[("b", When::Done)]),
        after("d", &[("c", When::Ended)]),
    ]);
    let lease = subject.claim_one();
    subject.settle(&lease, End::Failed(broken()));
    assert_eq!(["b", "c"].map(|name| subject.state(name)), [State::Canceled; 2]);
    assert_eq!(subject.job("c").failure.unwrap().kind, FailureKind::Dependency);
    // This one wanted an end of whichever kind.
    subject.ready(&["d"]);
}

/// Backwards, so that what is released together keeps its order; and of two ends of one execution the last counts.
pub(crate) fn ends_of_a_batch_are_told_in_their_turn(subject: &Subject) {
    subject.enqueue(&[
        job("a"),
        job("b"),
        job("c"),
        after("after-a", &[("a", When::Done)]),
        after("after-b", &[("b", When::Done)]),
        after("torn", &[("a", When::Failed), ("c", When::Done)]),
    ]);
    let leases = subject.claim(3);
    let end = |lease: &Lease, end| Outcome { id: lease.id.clone(), exec: lease.exec, end };
    let done = |lease| end(lease, End::Done("1".into()));
    let failed = |lease| end(lease, End::Failed(broken()));
    let said = subject.broker.settle(&[done(&leases[0]), done(&leases[1]), failed(&leases[2])]).unwrap();
    assert_eq!(said, [Settled::Recorded; 3]);
    let torn = subject.job("torn").failure.unwrap();
    assert!(torn.message.starts_with("job c, "), "{torn:?}");
    subject.ready(&["after-b", "after-a"]);
    subject.enqueue(&[job("d")]);
    let lease = subject.claim_one();
    let said = subject.broker.settle(&[done(&lease), failed(&lease)]).unwrap();
    assert_eq!((said[1], subject.state(lease.id.as_str())), (Settled::Recorded, State::Failed));
}

pub(crate) fn diamond_fires_once(subject: &Subject) {
    subject.enqueue(&[
        job("a"),
        after("b", &[("a", When::Done)]),
        after("c", &[("a", When::Done)]),
        after("d", &[("b", When::Done), ("c", When::Done)]),
    ]);
    subject.run_one();
    let leases = subject.claim(10);
    assert_eq!(leases.len(), 2);
    leases.iter().for_each(|lease| assert_eq!(subject.settled(lease, End::Done("1".into())), Settled::Recorded));
    // Said twice, fired once.
    let _ = subject.settled(&leases[1], End::Done("1".into()));
    subject.ready(&["d"]);
    subject.ready(&[]);
}

pub(crate) fn need_that_ended_before(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    subject.run_one();
    subject.enqueue(&[after("b", &[("a", When::Done)]), after("c", &[("a", When::Failed)])]);
    assert_eq!((subject.state("b"), subject.state("c")), (State::Ready, State::Canceled));
}

pub(crate) fn need_and_time_both(subject: &Subject) {
    let due = subject.broker.now() + Duration::from_secs(60);
    subject.enqueue(&[job("a"), NewJob { due: Some(due), ..after("b", &[("a", When::Done)]) }]);
    subject.run_one();
    assert_eq!(subject.state("b"), State::Scheduled);
    subject.later(Duration::from_secs(60));
    subject.ready(&["b"]);
}

pub(crate) fn callbacks_by_end(subject: &Subject) {
    type Case = (&'static str, When, fn() -> End);
    let ends: [Case; 3] = [
        ("ok", When::Done, || End::Done("1".into())),
        ("bad", When::Failed, || End::Failed(broken())),
        ("stop", When::Stopped, || End::Stopped),
    ];
    for (name, fires, end) in ends {
        let on = |when: When| after(&format!("{name}-{when:?}"), &[(name, when)]);
        subject.enqueue(&[job(name), on(When::Done), on(When::Failed), on(When::Stopped), on(When::Ended)]);
        let lease = subject.claim_one();
        subject.settle(&lease, end());
        subject.ready(&[&format!("{name}-{fires:?}"), &format!("{name}-Ended")]);
    }
}

pub(crate) fn unknown_need_is_refused(subject: &Subject) {
    let error = subject.broker.enqueue(&[job("a"), after("b", &[("nobody", When::Done)])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("enqueue that one first"), "{error}");
    assert!(
        subject.broker.enqueue(&[after("c", &[("c", When::Done)])]).unwrap_err().to_string().contains("needs itself")
    );
    subject.ready(&[]);
}

pub(crate) fn unique_until_it_ends(subject: &Subject) {
    let with_key = |name: &str| NewJob { unique: Some(Unique::key("k")), ..job(name) };
    subject.enqueue(&[with_key("a")]);
    assert_eq!(subject.broker.enqueue(&[with_key("b")]).unwrap(), [Enqueued::Duplicate(id("a"))]);
    let lease = subject.claim_one();
    subject.later(LEASE);
    assert_eq!(subject.broker.enqueue(&[with_key("b")]).unwrap(), [Enqueued::Duplicate(id("a"))]);
    let _ = subject.settled(&lease, End::Done("1".into()));
    subject.run_one();
    assert_eq!(subject.broker.enqueue(&[with_key("b")]).unwrap(), [Enqueued::Accepted(id("b"))]);
    subject.broker.control(&ropewalk_jobs::broker::Control::Cancel(id("b"))).unwrap();
    assert_eq!(subject.broker.enqueue(&[with_key("c")]).unwrap(), [Enqueued::Accepted(id("c"))]);
}

pub(crate) fn unique_for_a_window(subject: &Subject) {
    let with_key = |name: &str| NewJob { unique: Some(Unique::key("k").within(Duration::from_secs(60))), ..job(name) };
    subject.enqueue(&[with_key("a")]);
    subject.run_one();
    subject.later(Duration::from_millis(59_999));
    assert_eq!(subject.broker.enqueue(&[with_key("b")]).unwrap(), [Enqueued::Duplicate(id("a"))]);
    subject.later(Duration::from_millis(1));
    assert_eq!(subject.broker.enqueue(&[with_key("b")]).unwrap(), [Enqueued::Accepted(id("b"))]);
}

pub(crate) fn never_more_than_the_limit(subject: &Subject) {
    let limited = |name: &str| NewJob { limit: Some(Limit { key: "site".into(), at_once: 2 }), ..job(name) };
    subject.enqueue(&[limited("a"), limited("b"), limited("c"), job("d"), limited("e")]);
    let leases = subject.claim(10);
    let ids: Vec<_> = leases.iter().map(|lease| lease.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "d"]);
    subject.ready(&[]);
    subject.settle(&leases[0], End::Done("1".into()));
    subject.ready(&["c"]);
    // A crash gives its place back too: that of `b` and `c`, who are two of those that ran out.
    subject.settle(&leases[2], End::Done("1".into()));
    subject.later(LEASE);
    subject.ready(&["e", "b"]);
}

/// Far more links than a stack has room for calls.
pub(crate) fn long_chain_ends_at_once(subject: &Subject) {
    const LINKS: usize = 10_000;
    let name = |n: usize| format!("link-{n}");
    let links: Vec<NewJob> = (0..LINKS)
        .map(|n| {
            let needs = n.checked_sub(1).map(|before| Need { id: id(&name(before)), when: When::Done });
            NewJob { needs: needs.into_iter().collect(), ..job(&name(n)) }
        })
        .collect();
    links.chunks(500).for_each(|some| subject.enqueue(some));
    let (mark, _) = subject.broker.ended_since(None).unwrap();
    let lease = subject.claim_one();
    subject.settle(&lease, End::Failed(broken()));
    assert_eq!(subject.state(&name(1)), State::Canceled);
    assert_eq!(subject.state(&name(LINKS - 1)), State::Canceled);
    assert_eq!(subject.broker.ended_since(Some(mark)).unwrap().1.len(), LINKS);
}
