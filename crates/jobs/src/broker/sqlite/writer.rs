//! The one thread of this process that writes, and its group commits.
//!
//! Steps queue up while a commit is on its way to the disk; the next transaction takes all of them. So many callers share one
//! `fsync`, and a lone one waits for nobody. Those that need not wait for the disk have a transaction of their own, before it.
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

/// How many steps one transaction takes: no further ones when it has so many.
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

/// Steps that are sent as one go into one transaction.
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
                let error = inside.named.unavailable(&error);
                batch.into_iter().for_each(|step| step.answer(Some(error.clone())));
                continue;
            }
        };
        crash_point!("writer.turn");
        // What need not wait for the disk goes first, in a transaction of its own: whoever asked for it goes on while the rest is
        // brought there. (A caller that waits for no answer, for its log, has its steps in order all the same: those come first.)
        let (lasting, passing): (Steps, Steps) = batch.into_iter().partition(|step| step.lasting() == Lasting::Yes);
        for (which, steps) in [(Lasting::No, passing), (Lasting::Yes, lasting)] {
            if !steps.is_empty() {
                write(&mut db, &mut level, which, inside, steps);
            }
        }
        drop(turn);
    }
}

fn write(db: &mut Connection, level: &mut Lasting, lasting: Lasting, inside: &Inside, mut batch: Steps) {
    match commit(db, level, lasting, inside, &mut batch) {
        Ok(()) => {
            crash_point!("writer.before_answers");
            batch.into_iter().for_each(|step| step.answer(None));
        }
        // What holds the file holds it for each of them.
        Err(error) if batch.len() == 1 || error.is_uncertain() || error.kind() == ErrorKind::Busy => {
            batch.into_iter().for_each(|step| step.answer(Some(error.clone())));
        }
        Err(_) => {
            for mut step in batch {
                let ended = commit(db, level, lasting, inside, std::slice::from_mut(&mut step));
                step.answer(ended.err());
            }
        }
    }
}

/// One transaction.
fn commit(
    db: &mut Connection,
    level: &mut Lasting,
    lasting: Lasting,
    inside: &Inside,
    steps: &mut [Box<dyn Step>],
) -> Result<(), BrokerError> {
    let path = &inside.named.path;
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
