//! The bare loop: what any queue on SQLite has to do, and nothing else.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Place, per_second};
use crate::harness::Sample;
use crate::measure::timed;

const BUSY: i64 = 1;

fn open(place: &Place) -> Connection {
    let db = Connection::open(place.file()).expect("a fresh file");
    db.pragma_update(None, "journal_mode", "WAL").expect("a WAL");
    db.pragma_update(None, "synchronous", "FULL").expect("full durability");
    db.execute_batch(
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, payload TEXT NOT NULL, result TEXT);
         CREATE INDEX ready ON jobs (id) WHERE state = 0;",
    )
    .expect("a table");
    db
}

fn fill(db: &mut Connection, batch: usize, jobs: u64) {
    let mut left = jobs as usize;
    while left > 0 {
        let some = batch.min(left);
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate).expect("a transaction");
        for _ in 0..some {
            step.prepare_cached("INSERT INTO jobs (state, payload) VALUES (0, '[]')")
                .and_then(|mut insert| insert.execute([]))
                .expect("a row");
        }
        step.commit().expect("on the disk");
        left -= some;
    }
}

pub(super) fn enqueue(batch: usize, jobs: u64) -> Sample {
    let place = Place::new();
    let mut db = open(&place);
    let ((), spent) = timed(|| fill(&mut db, batch, jobs));
    Sample::new(per_second(jobs, spent.wall), spent)
}

pub(super) fn run(at_once: usize, jobs: u64) -> Sample {
    let place = Place::new();
    let mut db = open(&place);
    fill(&mut db, 1_000, jobs);
    let (done, spent) = timed(|| {
        let mut done = 0;
        loop {
            let step = db.transaction_with_behavior(TransactionBehavior::Immediate).expect("a transaction");
            let claimed: Vec<i64> = step
                .prepare_cached(
                    "UPDATE jobs SET state = ?1 WHERE id IN (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT ?2)
                     RETURNING id",
                )
                .expect("a statement")
                .query_map(params![BUSY, at_once as i64], |row| row.get(0))
                .and_then(Iterator::collect)
                .expect("rows");
            step.commit().expect("on the disk");
            if claimed.is_empty() {
                return done;
            }
            let step = db.transaction_with_behavior(TransactionBehavior::Immediate).expect("a transaction");
            for id in &claimed {
                step.prepare_cached("UPDATE jobs SET state = 2, result = 'null' WHERE id = ?1")
                    .and_then(|mut update| update.execute([id]))
                    .expect("a row");
            }
            step.commit().expect("on the disk");
            done += claimed.len() as u64;
        }
    });
    assert_eq!(done, jobs, "each job was finished once");
    Sample::new(per_second(jobs, spent.wall), spent)
}
