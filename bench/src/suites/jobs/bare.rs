//! What SQLite and the disk can do: the least that a queue in a file has to, and `fdatasync`.
//!
//! The table has what a lease needs (a state, who holds it, until when), one partial index, and durability as ours has: a WAL with
//! `synchronous=FULL`. A claim is a transaction, and to finish is another.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use rusqlite::{Connection, params};

use super::{PAYLOAD, Scratch, rate};
use crate::harness::{Effort, Sample};
use crate::measure::timed;

/// One small append after the other, each on the disk before the next.
pub fn syncs(effort: Effort) -> Sample {
    let (scratch, count) = (Scratch::new(), effort.pick(1_500, 200));
    let mut file = File::create(scratch.file()).expect("a file");
    let ((), spent) = timed(|| {
        for _ in 0..count {
            file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("a disk");
        }
    });
    rate(count, spent)
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.pragma_update(None, "journal_mode", "WAL").expect("a WAL");
    db.pragma_update(None, "synchronous", "FULL").expect("a setting");
    db.execute_batch(
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, exec INTEGER, until INTEGER, payload TEXT NOT NULL,
             result TEXT) STRICT;
         CREATE INDEX ready ON jobs (id) WHERE state = 0;",
    )
    .expect("a table");
    db
}

fn insert(db: &mut Connection, jobs: u64, batch: u64) {
    let mut left = jobs;
    while left > 0 {
        let step = db.transaction().expect("a transaction");
        let now = left.min(batch);
        for _ in 0..now {
            let mut insert =
                step.prepare_cached("INSERT INTO jobs (state, payload) VALUES (0, ?1)").expect("a statement");
            insert.execute([PAYLOAD]).expect("a row");
        }
        step.commit().expect("a commit");
        left -= now;
    }
}

/// So many rows, so many in a transaction.
pub fn enqueue(jobs: u64, batch: u64) -> Sample {
    let scratch = Scratch::new();
    let mut db = open(&scratch.file());
    let ((), spent) = timed(|| insert(&mut db, jobs, batch));
    let count: u64 = db.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).expect("a count");
    assert_eq!(count, jobs);
    rate(jobs, spent)
}

/// Claims and finishes, `batch` at a time.
pub fn work(jobs: u64, batch: u64) -> Sample {
    let scratch = Scratch::new();
    let mut db = open(&scratch.file());
    insert(&mut db, jobs, jobs.min(1_000));
    let (done, spent) = timed(|| {
        let mut done = 0;
        loop {
            let step = db.transaction().expect("a transaction");
            let claimed: Vec<(i64, String)> = step
                .prepare_cached(
                    "UPDATE jobs SET state = 1, exec = ?1, until = ?2 WHERE id IN
                         (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT ?3) RETURNING id, payload",
                )
                .and_then(|mut claim| {
                    claim.query_map(params![done, 30_000, batch], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
                })
                .expect("a claim");
            step.commit().expect("a commit");
            if claimed.is_empty() {
                return done;
            }
            let step = db.transaction().expect("a transaction");
            for (id, payload) in claimed {
                let mut finish = step
                    .prepare_cached("UPDATE jobs SET state = 2, result = ?2 WHERE id = ?1 AND state = 1")
                    .expect("a statement");
                assert_eq!(finish.execute(params![id, "null"]).expect("a row"), 1);
                assert_eq!(payload, PAYLOAD);
                done += 1;
            }
            step.commit().expect("a commit");
        }
    });
    let finished: u64 =
        db.query_row("SELECT count(*) FROM jobs WHERE state = 2", [], |row| row.get(0)).expect("a count");
    assert_eq!((done, finished), (jobs, jobs));
    rate(jobs, spent)
}
