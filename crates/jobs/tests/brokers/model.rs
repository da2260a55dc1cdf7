//! Random sequences of steps on a broker and on the reference, compared after each: answers, and all that is seen of all jobs.
//!
//! And what must hold of the reference itself, whatever the steps were: every move is in the table, an execution that lost
//! its lease never counts, nothing runs early.

use crate::subject::{LEASE, START, Subject, broken, memory, sqlite};
use ropewalk_jobs::broker::{self, Beat, Claim, Control, Enqueued, Filter, Held, Passed, Running, Slot, Ticked};
use ropewalk_jobs::job::{End, ExecId, Lease, Limit, Outcome, WorkerId};
use ropewalk_jobs::state::{Settled, TABLE};
use ropewalk_jobs::{Job, JobId, Need, NewJob, State, Unique, When};
use std::collections::HashMap;
use std::time::Duration;

/// One step, in words that mean the same for both: an execution is the n-th that was given out.
#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<NewJob>),
    Claim(Vec<String>, usize),
    Settle(Vec<(usize, End)>),
    /// A claim and, behind it, a settle; asked for as one where that is one.
    Both(Vec<String>, usize, Vec<(usize, End)>),
    Beat(Vec<usize>),
    Control(Control),
    Pass(Duration),
    Jump(i64),
    Tick,
    /// What executions say of themselves.
    Say(Vec<(usize, String)>),
    Slot(Slot),
}

/// What a step said, in the same words.
#[derive(Debug, PartialEq)]
enum Said {
    Enqueued(Result<Vec<Enqueued>, String>),
    Claimed(Vec<(JobId, u32)>),
    Settled(Vec<Settled>),
    Both(Vec<(JobId, u32)>, Vec<Settled>),
    Beat(Vec<Held>),
    Controlled(Result<usize, String>),
    Ticked(Ticked),
    /// The logs of the jobs of those who spoke.
    Logs(Vec<Option<String>>),
    Passed(Result<Passed, String>),
    Nothing,
}

/// A broker and the executions it gave out.
struct Side {
    subject: Subject,
    /// One that others are compared with has to claim first, as they do.
    is_reference: bool,
    given: Vec<(JobId, ExecId)>,
}

impl Side {
    fn step(&mut self, step: &Step) -> Said {
        let broker = &*self.subject.broker;
        match step {
            Step::Enqueue(jobs) => Said::Enqueued(broker.enqueue(jobs).map_err(|error| error.to_string())),
            Step::Claim(queues, max) => {
                let leases = broker.claim(&claim(queues, *max)).unwrap();
                Said::Claimed(self.take(&leases))
            }
            Step::Settle(ends) => Said::Settled(broker.settle(&self.outcomes(ends)).unwrap()),
            Step::Both(queues, max, ends) => {
                let (claim, outcomes) = (claim(queues, *max), self.outcomes(ends));
                let (leases, settled) = if self.is_reference {
                    (broker.claim(&claim), broker.settle(&outcomes))
                } else {
                    let (leases, settling) = broker.claim_and_settle(&claim, &outcomes);
                    (leases, settling.answer())
                };
                Said::Both(self.take(&leases.unwrap()), settled.unwrap())
            }
            Step::Beat(given) => {
                let running = given
                    .iter()
                    .map(|n| Running { id: self.given[*n].0.clone(), exec: self.given[*n].1, progress: None })
                    .collect();
                let beat = Beat {
                    worker: WorkerId::of("w"),
                    queues: vec![],
                    concurrency: 1,
                    running,
                    lease: LEASE,
                    leaving: false,
                };
                Said::Beat(broker.heartbeat(&beat).unwrap())
            }
            Step::Control(control) => Said::Controlled(broker.control(control).map_err(|error| error.to_string())),
            Step::Pass(by) => {
                self.subject.clock.advance(*by);
                Said::Nothing
            }
            Step::Jump(by) => {
                let now = broker.now().millis();
                self.subject.clock.set_wall(ropewalk_jobs::Time::of_millis(now.saturating_add_signed(*by)));
                Said::Nothing
            }
            Step::Tick => Said::Ticked(broker.tick().unwrap()),
            Step::Say(words) => {
                let said = words.iter().map(|(n, text)| {
                    let (id, exec) = self.given[*n].clone();
                    broker::Said { id, exec, text: text.clone() }
                });
                broker.log(&said.collect::<Vec<_>>()).unwrap();
                // Whatever waits for its answer comes behind it.
                broker.tick().unwrap();
                Said::Logs(words.iter().map(|(n, _)| broker.logs(&self.given[*n].0).unwrap()).collect())
            }
            Step::Slot(slot) => Said::Passed(broker.pass_slot(slot).map_err(|error| error.to_string())),
        }
    }

    fn take(&mut self, leases: &[Lease]) -> Vec<(JobId, u32)> {
        self.given.extend(leases.iter().map(|lease| (lease.id.clone(), lease.exec)));
        leases.iter().map(|lease| (lease.id.clone(), lease.attempt())).collect()
    }

    fn outcomes(&self, ends: &[(usize, End)]) -> Vec<Outcome> {
        let given = ends.iter().map(|(n, end)| (self.given[*n].clone(), end.clone()));
        given.map(|((id, exec), end)| Outcome { id, exec, end }).collect()
    }

    /// All jobs as they are seen, executions counted in the order in which they were given out.
    fn seen(&self) -> Vec<(Job, Option<usize>)> {
        let jobs = self.subject.broker.jobs(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
        jobs.into_iter()
            .map(|job| {
                let exec = job.exec.and_then(|exec| self.given.iter().position(|(_, given)| *given == exec));
                (Job { exec: None, ..job }, exec)
            })
            .collect()
    }
}

fn claim(queues: &[String], max: usize) -> Claim {
    Claim { worker: WorkerId::of("w"), queues: queues.to_vec(), max, lease: LEASE, tasks: None }
}

struct Dice {
    rng: fastrand::Rng,
    made: usize,
}

impl Dice {
    fn id(&self, n: usize) -> JobId {
        format!("j{n:05}").parse().unwrap()
    }

    fn any_id(&mut self) -> JobId {
        // Sometimes one that is not there.
        let n = self.rng.usize(..self.made + 2);
        self.id(n)
    }

    fn new_job(&mut self) -> NewJob {
        let id = if self.made > 0 && self.rng.u8(..12) == 0 { self.any_id() } else { self.id(self.made) };
        self.made += 1;
        let mut job = NewJob { id, ..NewJob::new("app::work", "[]") };
        if self.rng.bool() {
            job.queue = "other".into();
        }
        job.priority = self.rng.i32(-1..2);
        if self.rng.u8(..4) == 0 {
            job.due = Some(START + Duration::from_secs(self.rng.u64(..4_000)));
        }
        if self.made > 1 && self.rng.u8(..4) == 0 {
            for _ in 0..self.rng.usize(1..4) {
                let n = self.rng.usize(self.made.saturating_sub(6)..self.made - 1);
                job.needs.push(Need { id: self.id(n), when: When::ALL[self.rng.usize(..4)] });
            }
        }
        if self.rng.u8(..6) == 0 {
            let unique = Unique::key(["k1", "k2"][self.rng.usize(..2)]);
            job.unique =
                Some(if self.rng.bool() { unique } else { unique.within(Duration::from_secs(self.rng.u64(..500))) });
        }
        if self.rng.u8(..5) == 0 {
            job.limit = Some(Limit { key: "l".into(), at_once: self.rng.u32(1..3) });
        }
        if self.rng.u8(..5) == 0 {
            job.options.result_ttl_ms = Some(self.rng.u64(..100_000));
            job.options.failure_ttl_ms = Some(self.rng.u64(..100_000));
        }
        job
    }

    fn end(&mut self) -> End {
        let after = Duration::from_millis(self.rng.u64(..50_000));
        match self.rng.u8(..8) {
            0 => End::Failed(broken()),
            1 | 2 => End::Retry { after, failure: broken() },
            3 => End::Release,
            4 => End::Snooze { after, failure: broken() },
            5 => End::Stopped,
            _ => End::Done("1".into()),
        }
    }

    fn some_given(&mut self, given: usize) -> Vec<usize> {
        // Mostly late ones: they are likely to be alive.
        let from = if self.rng.u8(..4) == 0 { 0 } else { given.saturating_sub(8) };
        let mut some: Vec<_> = (from..given).filter(|_| self.rng.u8(..3) == 0).collect();
        self.rng.shuffle(&mut some);
        some
    }

    fn ends(&mut self, given: usize) -> Vec<(usize, End)> {
        let some = self.some_given(given);
        some.into_iter().map(|n| (n, self.end())).collect()
    }

    fn step(&mut self, given: usize) -> Step {
        let queues = |order: bool| {
            let both = vec!["default".to_owned(), "other".to_owned()];
            if order { both } else { both.into_iter().rev().collect() }
        };
        match self.rng.u8(..29) {
            0..=4 => Step::Enqueue((0..self.rng.usize(1..6)).map(|_| self.new_job()).collect()),
            5..=9 => Step::Claim(queues(self.rng.bool()), self.rng.usize(..6)),
            10..=14 => Step::Settle(self.ends(given)),
            26..=28 => Step::Both(queues(self.rng.bool()), self.rng.usize(1..6), self.ends(given)),
            15 | 16 => Step::Beat(self.some_given(given)),
            17 => Step::Pass(Duration::from_millis(self.rng.u64(..40_000))),
            18 => Step::Jump(self.rng.i64(-20_000..20_000)),
            19 | 20 => Step::Tick,
            24 => {
                let words = self.some_given(given).into_iter();
                let said = words.map(|n| (n, format!("{}\n", "ä".repeat(self.rng.usize(..20_000))))).collect();
                Step::Say(said)
            }
            25 => {
                // Of so few that some know the last one.
                let (after, slot) = (self.rng.u64(..4), self.rng.u64(1..4));
                Step::Slot(Slot {
                    schedule: "s".into(),
                    after: (after > 0).then(|| START + Duration::from_secs(after)),
                    at: START + Duration::from_secs(slot),
                    jobs: (0..self.rng.usize(..3)).map(|_| self.new_job()).collect(),
                })
            }
            _ => {
                let id = self.any_id();
                let queue = Some("other".to_owned()).filter(|_| self.rng.bool());
                Step::Control(match self.rng.u8(..12) {
                    0 | 1 => Control::Cancel(id),
                    2 => Control::Stop(id),
                    3 | 4 => Control::End(id),
                    5..=7 => Control::Requeue(id),
                    8 => Control::Delete(id),
                    9 => Control::Suspend(queue),
                    10 => Control::Resume(queue),
                    _ if self.rng.u8(..4) == 0 => Control::Empty("other".into()),
                    _ => Control::Resume(None),
                })
            }
        }
    }
}

/// The states a job can get to from `from` by any number of moves within one step.
fn reaches(from: State, to: State) -> bool {
    let mut reached = vec![from];
    let mut at = 0;
    while at < reached.len() {
        let next: Vec<_> = TABLE.iter().filter(|row| row.0 == reached[at]).map(|row| row.2).collect();
        reached.extend(next.into_iter().filter(|state| !reached.contains(state)).collect::<Vec<_>>());
        at += 1;
    }
    reached.contains(&to)
}

/// Nothing impossible has happened between two looks.
fn check(step: &Step, said: &Said, before: &[(Job, Option<usize>)], after: &[(Job, Option<usize>)]) {
    let before: HashMap<_, _> = before.iter().map(|(job, exec)| (&job.id, (job, exec))).collect();
    for (job, exec) in after {
        if let Some((was, held)) = before.get(&job.id) {
            assert!(reaches(was.state, job.state), "{} went from {} to {}", job.id, was.state, job.state);
            if was.state == State::Done {
                assert_eq!(*was, job, "what is done has changed");
            }
            if job.state == State::Done && was.state != State::Done {
                assert_eq!((was.state, *held), (State::Leased, exec), "done by another than its holder");
            }
        }
        if job.state == State::Leased && before.get(&job.id).is_none_or(|(was, _)| was.state != State::Leased) {
            assert!(matches!(step, Step::Claim(..) | Step::Both(..)));
        }
    }
    if let Said::Claimed(claimed) | Said::Both(claimed, _) = said {
        for (id, _) in claimed {
            let (was, _) = before[id];
            assert_eq!(was.state, State::Ready, "{id} was claimed");
        }
    }
}

/// One sequence; the seed is in every message.
fn sequence(seed: u64, steps: usize, make: Option<fn() -> Subject>) {
    let mut dice = Dice { rng: fastrand::Rng::with_seed(seed), made: 0 };
    let mut reference = Side { subject: memory(), is_reference: true, given: Vec::new() };
    let mut other = make.map(|make| Side { subject: make(), is_reference: false, given: Vec::new() });
    let mut before = Vec::new();
    for at in 0..steps {
        let step = dice.step(reference.given.len());
        let said = reference.step(&step);
        let after = reference.seen();
        check(&step, &said, &before, &after);
        if let Some(other) = &mut other {
            assert_eq!(other.step(&step), said, "seed {seed}, step {at}: {step:?}");
            let others = other.seen();
            assert_eq!(others.len(), after.len(), "seed {seed}, step {at}: {step:?}");
            let counts = |side: &Side| side.subject.broker.queues().unwrap();
            assert_eq!(counts(other), counts(&reference), "seed {seed}, step {at}: {step:?}");
            for (theirs, ours) in others.iter().zip(&after) {
                assert_eq!(theirs, ours, "seed {seed}, step {at}: {step:?}");
            }
        }
        before = after;
    }
}

fn sequences(of: u64, steps: usize, make: Option<fn() -> Subject>) {
    let of = if std::env::var_os("ROPEWALK_DEEP").is_some() { of * 50 } else { of };
    for seed in 0..of {
        let ended = std::panic::catch_unwind(|| sequence(seed, steps, make));
        assert!(ended.is_ok(), "seed {seed}");
    }
}

#[test]
fn reference_keeps_to_the_table() {
    sequences(60, 150, None);
}

#[test]
fn sqlite_is_as_the_reference() {
    sequences(24, 120, Some(sqlite));
}

#[cfg(feature = "redis")]
#[test]
fn redis_is_as_the_reference() {
    sequences(24, 120, Some(crate::subject::redis));
}

/// The comparison can fail: a broker that forgets to count is found.
#[test]
fn comparison_finds_a_difference() {
    let side = |subject, is_reference| Side { subject, is_reference, given: vec![] };
    let (mut one, mut two) = (side(memory(), true), side(sqlite(), false));
    let enqueue = Step::Enqueue(vec![NewJob { id: "a".parse().unwrap(), ..NewJob::new("t", "[]") }]);
    assert_eq!(one.step(&enqueue), two.step(&enqueue));
    assert_eq!(one.seen(), two.seen());
    two.subject.broker.control(&Control::Cancel("a".parse().unwrap())).unwrap();
    assert_ne!(one.seen(), two.seen());
}
