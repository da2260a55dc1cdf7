//! The one thread of this process that writes, and its group commits.
//!
//! Steps queue up while a commit is on its way to the disk, and are a batch then. So many callers share one `fsync`, and a lone one
//! waits for nobody. Those of a batch that need not wait for the disk have a transaction of their own, before that of the others.
//!
//! A step that SQLite refuses rolls its whole transaction back; the steps of that transaction are then run one at a time, so that a bad
//! neighbour harms nobody.
//!
//! A caller is told after the commit, never before.

use super::error::{translate, translate_commit};
use super::steps::Tx;
use super::turn::Turns;
use super::{Inside, Named};
use crate::broker::{BrokerError, ErrorKind};
use crate::crash::crash_point;
use ropewalk::sync::queue::channel::{Receiver, Sender};
use ropewalk::task::TaskHandle;
use ropewalk_core::task::promise::Promise;
use rusqlite::Connection;
use std::sync::Arc;

/// How many steps a batch takes: no further ones when it has so many.
const STEPS_MAX: usize = 64;

/// What a step says.
pub(super) type Said<T> = Result<T, BrokerError>;

/// What of a step has to outlive the machine's power. All of it outlives every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Everything: what was answered is on the disk.
    Yes,
    /// Nothing: it is about workers, which end with the power too. Their leases have run out then, as have those that the disk
    /// knows nothing of.
    No,
}

/// Steps that are sent as one are in one batch.
pub(super) type Steps = Vec<Box<dyn Step>>;

/// A step that waits for its transaction.
pub(super) trait Step: Send {
    /// Whether it has to wait for the disk.
    fn lasting(&self) -> Lasting;

    /// Does it, and keeps the answer; again if the transaction was rolled back. An error of SQLite's undoes the transaction.
    fn act(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;

    /// Gives the answer: that of `act`, or that it did not happen.
    fn answer(self: Box<Self>, failed: Option<BrokerError>);
}

struct Waiting<T, F> {
    lasting: Lasting,
    act: F,
    said: Option<Said<T>>,
    promise: Promise<Said<T>>,
}

impl<T, F> Step for Waiting<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<Said<T>> + Send,
{
    fn lasting(&self) -> Lasting {
        self.lasting
    }

    fn act(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.said = Some((self.act)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<BrokerError>) {
        let said = match failed {
            Some(error) => Err(error),
            None => self.said.expect("a step that was committed has an answer"),
        };
        self.promise.complete(Ok(said));
    }
}

/// A step, and the handle to what it says.
pub(super) fn step<T, F>(lasting: Lasting, act: F) -> (Box<dyn Step>, TaskHandle<Said<T>>)
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<Said<T>> + Send + 'static,
{
    let (mut promise, handle) = Promise::new();
    // It cannot be taken back: whoever gives up waiting does not know whether it happened.
    promise.begin();
    (Box::new(Waiting { lasting, act, said: None, promise }), handle)
}

/// Writes until every sender is gone.
pub(super) fn run(mut db: Connection, turns: &Arc<Turns>, inside: &Arc<Inside>, steps: &Receiver<Steps>) {
    // As the connection was opened.
    let mut level = Lasting::Yes;
    while let Ok(mut batch) = steps.recv() {
        while batch.len() < STEPS_MAX
            && let Ok(next) = steps.try_recv()
        {
            batch.extend(next);
        }
        crash_point!("writer.taken");
        let turn = match turns.take() {
            Ok(turn) => turn,
            Err(error) => {
                answer(batch, Some(&inside.named.unavailable(&error)));
                continue;
            }
        };
        crash_point!("writer.turn");
        // What need not wait for the disk goes first: whoever asked for it goes on while the rest is brought there. (Logs are among the
        // first, so a log still comes before the settle that follows it.)
        let (lasting, passing): (Steps, Steps) = batch.into_iter().partition(|step| step.lasting() == Lasting::Yes);
        let mut busy = None;
        for steps in [passing, lasting] {
            match &busy {
                // What holds the file holds it for these as well.
                Some(error) => answer(steps, Some(error)),
                None if steps.is_empty() => {}
                None => busy = write(&mut db, &mut level, inside, steps),
            }
            crash_point!("writer.passed");
        }
        drop(turn);
    }
}

/// Answers steps that all have to last, or none of them. That the file is held by another program comes back.
fn write(db: &mut Connection, level: &mut Lasting, inside: &Inside, mut steps: Steps) -> Option<BrokerError> {
    match commit(db, level, inside, &mut steps) {
        Ok(()) => {
            crash_point!("writer.before_answers");
            answer(steps, None);
        }
        Err(error) if error.kind() == ErrorKind::Busy => {
            answer(steps, Some(&error));
            return Some(error);
        }
        Err(error) if steps.len() == 1 || error.is_uncertain() => answer(steps, Some(&error)),
        Err(_) => {
            for mut step in steps {
                let ended = commit(db, level, inside, std::slice::from_mut(&mut step));
                step.answer(ended.err());
            }
        }
    }
    None
}

fn answer(steps: Steps, failed: Option<&BrokerError>) {
    steps.into_iter().for_each(|step| step.answer(failed.cloned()));
}

/// One transaction of steps that all have to last, or none of them.
fn commit(
    db: &mut Connection,
    level: &mut Lasting,
    inside: &Inside,
    steps: &mut [Box<dyn Step>],
) -> Result<(), BrokerError> {
    let path = &inside.named.path;
    let lasting = steps[0].lasting();
    if *level != lasting {
        // Before the transaction: inside of it nothing can be said about it any more. (Nor by a statement that is kept: it is
        // obeyed when it is read.)
        let said = db.execute_batch(match lasting {
            Lasting::Yes => "PRAGMA synchronous = FULL",
            Lasting::No => "PRAGMA synchronous = NORMAL",
        });
        said.map_err(|error| translate(path, error))?;
        *level = lasting;
    }
    let run = |sql| db.prepare_cached(sql)?.execute([]);
    run("BEGIN IMMEDIATE").map_err(|error| translate(path, error))?;
    crash_point!("writer.begun");
    let mut tx = Tx::new(db, inside.clock.wall(), inside.clock.steady());
    let acted = steps.iter_mut().try_for_each(|step| step.act(&mut tx)).and_then(|()| tx.finish());
    match acted {
        Ok(news) => {
            crash_point!("writer.before_commit");
            if let Err(error) = run("COMMIT") {
                let error = translate_commit(path, &error);
                undo(db);
                return Err(error);
            }
            crash_point!("writer.committed");
            for (topic, _) in news.into_iter().filter(|(_, is_news)| *is_news) {
                inside.bell.ring(topic);
            }
            crash_point!("writer.rung");
            Ok(())
        }
        Err(error) => {
            let error = translate(path, error);
            undo(db);
            Err(error)
        }
    }
}

fn undo(db: &Connection) {
    // Some errors have ended the transaction already; then there is nothing to undo.
    if !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
}

/// The way to the writer.
pub(super) fn send(way: &Sender<Steps>, steps: Steps, named: &Named) {
    if let Err(error) = way.send(steps) {
        let gone =
            BrokerError::new(ErrorKind::Unavailable, format!("the writer of {} has ended", named.path.display()));
        error.0.into_iter().for_each(|step| step.answer(Some(gone.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::sqlite::SqliteBroker;
    use crate::broker::{Broker as _, Claim, VirtualClock};
    use crate::job::{End, NewJob, Outcome, Time, WorkerId};
    use crate::state::Settled;
    use ropewalk::sync::Event;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(60);

    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let place = std::env::temp_dir().join(format!("ropewalk-writer-{:016x}", fastrand::u64(..)));
            std::fs::create_dir_all(&place).unwrap();
            Self(place)
        }

        fn open(&self, clock: &Arc<VirtualClock>) -> SqliteBroker {
            SqliteBroker::open_with_clock(self.0.join("jobs.db"), Arc::clone(clock)).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A step under way, until the event is set; a test that fails meanwhile holds nobody up for ever.
    fn held(goes: &Arc<Event>) -> (Box<dyn Step>, TaskHandle<Said<()>>) {
        let goes = Arc::clone(goes);
        step(Lasting::Yes, move |_: &mut Tx<'_>| {
            let _ = goes.wait_timeout(LIMIT);
            Ok(Ok(()))
        })
    }

    #[test]
    fn step_that_waits_for_no_disk_is_answered_before_the_others_of_its_batch() {
        let place = Place::new();
        let broker = place.open(&Arc::new(VirtualClock::at(Time::of_millis(0))));
        let goes = Arc::new(Event::new());
        let (lasting, mut settled) = held(&goes);
        let (passing, mut claimed) = step(Lasting::No, |_: &mut Tx<'_>| Ok(Ok(())));
        broker.send(vec![lasting, passing]);
        claimed.join_timeout(LIMIT).unwrap().unwrap();
        assert!(!settled.is_finished());
        goes.set();
        settled.join_timeout(LIMIT).unwrap().unwrap();
    }

    /// The writer was held up for longer than a lease: the end of the job waits to be written, and a tick behind it.
    #[test]
    fn lease_whose_end_waits_to_be_written_does_not_run_out() {
        let place = Place::new();
        let clock = Arc::new(VirtualClock::at(Time::of_millis(0)));
        let broker = place.open(&clock);
        broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
        let lease = Duration::from_secs(1);
        let claim = Claim { worker: WorkerId::of("w"), queues: vec!["default".into()], max: 1, lease, tasks: None };
        let lease = broker.claim(&claim).unwrap().remove(0);
        let goes = Arc::new(Event::new());
        let (first, mut first_ended) = held(&goes);
        broker.send(vec![first]);
        let waiting = |count| {
            let (way, began) = (broker.outside.steps.as_ref().unwrap(), Instant::now());
            while way.len() != count {
                assert!(began.elapsed() < LIMIT, "{} steps wait, and not {count}", way.len());
                std::thread::yield_now();
            }
        };
        waiting(0);
        let outcome = Outcome { id: lease.id, exec: lease.exec, end: End::Done("1".into()) };
        std::thread::scope(|scope| {
            let settled = scope.spawn(|| broker.settle(std::slice::from_ref(&outcome)));
            waiting(1);
            let ticked = scope.spawn(|| broker.tick());
            waiting(2);
            clock.advance(Duration::from_secs(2));
            goes.set();
            assert_eq!(settled.join().unwrap(), Ok(vec![Settled::Recorded]));
            assert_eq!(ticked.join().unwrap().unwrap().recovered, 0);
        });
        first_ended.join_timeout(LIMIT).unwrap().unwrap();
    }
}
