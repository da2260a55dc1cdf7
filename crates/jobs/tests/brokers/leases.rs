//! Who holds a job, and what counts of what they say.

use crate::subject::{LEASE, Subject, broken, id, job};
use ropewalk_jobs::broker::{Control, Held};
use ropewalk_jobs::job::{End, FailureKind};
use ropewalk_jobs::state::Settled;
use ropewalk_jobs::{State, Time};
use std::time::Duration;

fn done() -> End {
    End::Done("1".into())
}

pub(crate) fn settle_after_the_lease_is_lost(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let first = subject.claim_one();
    assert_eq!(subject.later(LEASE).recovered, 1);
    // Nobody has it now, and it is not the first one's any more.
    assert_eq!(subject.settled(&first, done()), Settled::Lost);
    let second = subject.claim_one();
    assert_eq!(
        (subject.settled(&first, done()), subject.beat(&[&first, &second])),
        (Settled::Lost, vec![Held::Lost, Held::Held])
    );
    assert_eq!(subject.state("a"), State::Leased);
    assert_eq!(subject.settled(&second, End::Done("2".into())), Settled::Recorded);
    assert_eq!(subject.settled(&first, done()), Settled::Lost);
    assert_eq!(subject.job("a").result.as_deref(), Some("2"));
    assert_eq!(subject.settle_as(&id("nobody"), first.exec, done()), Settled::Lost);
}

pub(crate) fn settle_said_twice(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b")]);
    let leases = subject.claim(2);
    assert_eq!(subject.settled(&leases[0], done()), Settled::Recorded);
    assert_eq!(subject.settled(&leases[0], End::Failed(broken())), Settled::Repeated);
    assert_eq!(subject.state("a"), State::Done);
    let retry = || End::Retry { after: Duration::from_secs(5), failure: broken() };
    assert_eq!(subject.settled(&leases[1], retry()), Settled::Recorded);
    assert_eq!(subject.settled(&leases[1], retry()), Settled::Repeated);
    assert_eq!(subject.job("b").failures, 1);
}

pub(crate) fn released_keeps_its_place_uncounted(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b"), job("c"), job("d")]);
    let leases = subject.claim(3);
    let release =
        |n: usize| ropewalk_jobs::job::Outcome { id: leases[n].id.clone(), exec: leases[n].exec, end: End::Release };
    assert_eq!(subject.broker.settle(&[release(0), release(1), release(2)]).unwrap(), [Settled::Recorded; 3]);
    let again = subject.claim(4);
    let ids: Vec<_> = again.iter().map(|lease| lease.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert!(again.iter().all(|lease| lease.attempt() == 1));
}

pub(crate) fn failure_comes_back_later(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    subject.settle(&lease, End::Retry { after: Duration::from_secs(10), failure: broken() });
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.failures, seen.failure), (State::Scheduled, 1, Some(broken())));
    subject.later(Duration::from_millis(9_999));
    subject.ready(&[]);
    subject.later(Duration::from_millis(1));
    let lease = subject.claim_one();
    assert_eq!((lease.attempt(), lease.failures, lease.crashes), (2, 1, 0));
    subject.settle(&lease, End::Failed(broken()));
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.failures, seen.failure), (State::Failed, 2, Some(broken())));
}

pub(crate) fn lease_ends_on_time_and_a_beat_extends_it(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    let almost = LEASE - Duration::from_millis(1);
    for _ in 0..5 {
        assert_eq!(subject.later(almost).recovered, 0);
        assert_eq!(subject.beat(&[&lease]), [Held::Held]);
    }
    assert_eq!(subject.later(almost).recovered, 0);
    assert_eq!(subject.later(Duration::from_millis(1)).recovered, 1);
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.crashes, seen.failure.unwrap().kind), (State::Ready, 1, FailureKind::Crash));
    assert_eq!(subject.beat(&[&lease]), [Held::Lost]);
}

pub(crate) fn third_crash_is_poison(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    for crash in 1..=2 {
        assert_eq!(subject.claim_one().attempt(), crash);
        assert_eq!(subject.later(LEASE).recovered, 1);
    }
    let last = subject.claim_one();
    let ticked = subject.later(LEASE);
    assert_eq!((ticked.recovered, ticked.ended), (0, 1));
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.crashes, seen.failure.unwrap().kind), (State::Failed, 3, FailureKind::Poison));
    assert_eq!(subject.settled(&last, done()), Settled::Lost);
}

pub(crate) fn stop_reaches_the_execution(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    assert_eq!(subject.broker.control(&Control::Stop(id("a"))), Ok(1));
    assert_eq!(subject.beat(&[&lease]), [Held::Stop]);
    assert_eq!(subject.settled(&lease, End::Stopped), Settled::Recorded);
    assert_eq!(subject.state("a"), State::Stopped);
}

pub(crate) fn stop_wins_over_retry_and_crash(subject: &Subject) {
    subject.enqueue(&[job("a"), job("b"), job("c")]);
    let leases = subject.claim(3);
    for name in ["a", "b", "c"] {
        subject.broker.control(&Control::End(id(name))).unwrap();
    }
    subject.settle(&leases[0], End::Retry { after: Duration::ZERO, failure: broken() });
    subject.settle(&leases[1], End::Release);
    assert_eq!(subject.later(LEASE).ended, 1);
    assert_eq!(["a", "b", "c"].map(|name| subject.state(name)), [State::Stopped; 3]);
    subject.ready(&[]);
}

pub(crate) fn success_wins_over_stop(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    subject.broker.control(&Control::Stop(id("a"))).unwrap();
    subject.settle(&lease, done());
    assert_eq!((subject.state("a"), subject.job("a").stop), (State::Done, false));
}

/// The wall clock is set ten minutes ahead and back: no lease ends, and what is due follows the wall.
pub(crate) fn jumping_wall_clock(subject: &Subject) {
    let start = subject.broker.now();
    let due = start + Duration::from_secs(300);
    subject.enqueue(&[job("a"), ropewalk_jobs::NewJob { due: Some(due), ..job("b") }]);
    let lease = subject.claim_one();
    subject.clock.set_wall(start + Duration::from_secs(600));
    let ticked = subject.later(LEASE - Duration::from_millis(1));
    assert_eq!((ticked.recovered, ticked.due), (0, 1));
    subject.clock.set_wall(Time::of_millis(start.millis() - 600_000));
    assert_eq!(subject.beat(&[&lease]), [Held::Held]);
    assert_eq!(subject.later(LEASE - Duration::from_millis(1)).recovered, 0);
    assert_eq!(subject.later(Duration::from_millis(1)).recovered, 1);
}

pub(crate) fn unknown_task_goes_back_uncounted(subject: &Subject) {
    subject.enqueue(&[job("a")]);
    let lease = subject.claim_one();
    subject.settle(&lease, End::Snooze { after: Duration::from_secs(5), failure: broken() });
    let seen = subject.job("a");
    assert_eq!((seen.state, seen.failures, seen.failure), (State::Scheduled, 0, Some(broken())));
    subject.later(Duration::from_secs(5));
    assert_eq!(subject.claim_one().attempt(), 1);
}
