//! The tables, and how they came to be: one step a version, never changed once it was published.
//!
//! The states in the CHECK and the moves in the trigger are written from [`state::TABLE`], so the database itself refuses a
//! move that the table does not have, whoever tries it. The one exception is our own writer in a release build: its moves are made
//! by the same table ([`state::next`]) a moment before, and a trigger makes each a third dearer. In a debug build, as the tests are,
//! the trigger watches the writer too.

use super::error::translate;
use crate::broker::{BrokerError, Clock, ErrorKind};
use crate::state::{State, TABLE};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Marks the file as ours: "rope".
const APPLICATION_ID: i32 = 0x726f_7065;

/// How long the journal gets before its pages are brought into the database, in pages (of 4 KiB): SQLite's own 1,000 would have one
/// step in a few dozen wait for the disk three times instead of once.
const JOURNAL_PAGES: u32 = 4_000;

/// The steps, oldest first.
const MIGRATIONS: &[fn() -> String] = &[first, second, third];

fn first() -> String {
    let code = State::code;
    let mut moves = String::new();
    for (at, (from, _, to)) in TABLE.iter().enumerate() {
        let _ = write!(moves, "{}({}, {})", if at == 0 { "" } else { ", " }, from.code(), to.code());
    }
    let (ready, scheduled, leased) = (code(State::Ready), code(State::Scheduled), code(State::Leased));
    let last = State::ALL.len() - 1;
    format!(
        "
        CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            state INTEGER NOT NULL CHECK (state BETWEEN 0 AND {last}),
            queue TEXT NOT NULL,
            priority INTEGER NOT NULL,
            place INTEGER NOT NULL,            -- among the ready of its queue and priority
            due INTEGER,                       -- ms since 1970
            waits_for INTEGER NOT NULL,
            failures INTEGER NOT NULL DEFAULT 0,
            crashes INTEGER NOT NULL DEFAULT 0,
            exec BLOB,
            worker TEXT,
            lease_until INTEGER,               -- ms since the boot that `meta` names
            stop INTEGER NOT NULL DEFAULT 0,
            enqueued INTEGER NOT NULL,
            started INTEGER,
            ended INTEGER,
            ended_seq INTEGER,
            expires INTEGER,
            task TEXT NOT NULL,
            options TEXT NOT NULL,             -- JSON, or nothing
            unique_key TEXT,
            unique_window INTEGER,
            limit_key TEXT,
            limit_max INTEGER,
            failure TEXT,
            progress TEXT,
            result TEXT,
            payload TEXT NOT NULL,
            CHECK (state <> {leased} OR (exec IS NOT NULL AND lease_until IS NOT NULL))
        ) STRICT;
        CREATE INDEX jobs_ready ON jobs (queue, priority DESC, place) WHERE state = {ready};
        CREATE INDEX jobs_due ON jobs (due) WHERE state = {scheduled};
        CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = {leased};
        CREATE INDEX jobs_limited ON jobs (limit_key) WHERE state = {leased} AND limit_key IS NOT NULL;
        CREATE INDEX jobs_kept ON jobs (expires) WHERE expires IS NOT NULL;
        CREATE INDEX jobs_ended ON jobs (ended_seq) WHERE ended_seq IS NOT NULL;
        CREATE TRIGGER jobs_move BEFORE UPDATE OF state ON jobs
            WHEN OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES {moves})
            BEGIN SELECT RAISE(ABORT, 'a job cannot move like this'); END;
        CREATE TABLE needs (
            on_id TEXT NOT NULL, seq INTEGER NOT NULL, on_when INTEGER NOT NULL,
            PRIMARY KEY (on_id, seq, on_when)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX needs_of ON needs (seq);
        CREATE TABLE taken (key TEXT PRIMARY KEY, id TEXT NOT NULL, until INTEGER) STRICT, WITHOUT ROWID;
        CREATE TABLE suspended (queue TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        CREATE TABLE workers (
            id TEXT PRIMARY KEY, until INTEGER NOT NULL, info TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
        INSERT INTO meta VALUES ('counter', 0);
        "
    )
}

/// The moves as the bits of a number, one for each pair of states: a list in a trigger is made anew for each row that moves.
fn moves() -> i64 {
    const _: () = assert!(State::ALL.len() <= 8, "a pair of states is a bit of 64");
    let bit = |from: State, to: State| 1_u64 << (8 * from.code() + to.code());
    let moves = TABLE.iter().fold(0, |moves, (from, _, to)| moves | bit(*from, *to));
    moves.cast_signed()
}

/// What jobs say of themselves, and the last slot that was passed of each schedule; the moves, faster.
fn second() -> String {
    let moves = moves();
    format!(
        "
    DROP TRIGGER jobs_move;
    CREATE TRIGGER jobs_move BEFORE UPDATE OF state ON jobs
        WHEN OLD.state <> NEW.state AND (({moves}) >> (8 * OLD.state + NEW.state)) & 1 = 0
        BEGIN SELECT RAISE(ABORT, 'a job cannot move like this'); END;
    CREATE TABLE logs (seq INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    CREATE TRIGGER logs_forgotten AFTER DELETE ON jobs
        WHEN EXISTS (SELECT 1 FROM logs WHERE seq = OLD.seq)
        BEGIN DELETE FROM logs WHERE seq = OLD.seq; END;
    CREATE TABLE slots (schedule TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    "
    )
}

/// Jobs that have ended are counted from their index alone.
fn third() -> String {
    "
    DROP INDEX jobs_ended;
    CREATE INDEX jobs_ended ON jobs (ended_seq, queue, state) WHERE ended_seq IS NOT NULL;
    "
    .to_owned()
}

/// Looks whether the file is a queue that we can read, and writes nothing: it may be the database of another program.
pub(super) fn look(db: &Connection, path: &Path) -> Result<(), BrokerError> {
    let read = || {
        db.busy_timeout(super::BUSY_MAX)?;
        // One transaction, for one moment: another process may be making the tables.
        let step = db.unchecked_transaction()?;
        let version = step.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let application = step.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = step.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        Ok((version, application, tables))
    };
    let (version, application, tables) = read().map_err(|error| translate(path, error))?;
    check(path, version, application, tables)
}

/// Whether these are the marks of a queue of ours, or of an empty file.
fn check(path: &Path, version: i64, application: i32, tables: usize) -> Result<(), BrokerError> {
    if application != APPLICATION_ID && (tables > 0 || application != 0 || version != 0) {
        return Err(BrokerError::new(
            ErrorKind::Corrupt,
            format!("{} is the database of another program: name a file of its own for the queue", path.display()),
        ));
    }
    if usize::try_from(version).map_or(true, |version| version > MIGRATIONS.len()) {
        return Err(BrokerError::new(
            ErrorKind::Corrupt,
            format!(
                "{} was written by a newer ropewalk (version {version} of the tables, and this one knows {}): use that one",
                path.display(),
                MIGRATIONS.len()
            ),
        ));
    }
    Ok(())
}

/// Makes the journal a WAL. SQLite does not wait here while others `look`, so we do.
fn write_ahead(db: &Connection) -> rusqlite::Result<()> {
    /// Between two tries; whoever looks is done in a moment.
    const AGAIN: Duration = Duration::from_millis(2);
    let until = Instant::now() + super::BUSY_MAX;
    loop {
        match db.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until => {
                ropewalk::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

/// Settings of every connection.
pub(super) fn settle_in(db: &Connection, path: &Path) -> Result<(), BrokerError> {
    let set = || {
        write_ahead(db)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "wal_autocheckpoint", JOURNAL_PAGES)?;
        db.set_prepared_statement_cache_capacity(64);
        // Processes that are killed (ci/job-faults.sh) do it as programs that ship.
        let watched = cfg!(debug_assertions) && !cfg!(feature = "__crash_points");
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, watched)?;
        Ok(())
    };
    set().map_err(|error| translate(path, error))
}

/// Brings the file to today's form, and ends the leases of an earlier boot.
pub(super) fn migrate(db: &mut Connection, path: &Path, clock: &dyn Clock) -> Result<(), BrokerError> {
    let here = |error| translate(path, error);
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(here)?;
    let version: i64 = step.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(here)?;
    let application: i32 = step.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(here)?;
    let tables: usize = step.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(here)?;
    // Another program may have been there since `look`.
    check(path, version, application, tables)?;
    let version = usize::try_from(version).unwrap_or(0);
    if version < MIGRATIONS.len() {
        for migration in &MIGRATIONS[version..] {
            step.execute_batch(&migration()).map_err(here)?;
        }
        step.pragma_update(None, "application_id", APPLICATION_ID).map_err(here)?;
        step.pragma_update(None, "user_version", MIGRATIONS.len()).map_err(here)?;
    }
    let boot = clock.boot();
    let known: Option<String> = match step.query_row("SELECT value FROM meta WHERE key = 'boot'", [], |row| row.get(0))
    {
        Ok(known) => Some(known),
        Err(rusqlite::Error::QueryReturnedNoRows) => None,
        Err(error) => return Err(here(error)),
    };
    // What is empty is not known, and two that are not known need not be the same.
    let known = known.filter(|known| !known.is_empty());
    if !boot.is_empty() && known.as_ref() != Some(&boot) {
        step.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?1)", [&boot]).map_err(here)?;
        if known.is_some() {
            let leased = State::Leased.code();
            step.execute("UPDATE jobs SET lease_until = 0 WHERE state = ?1", [leased]).map_err(here)?;
            step.execute("UPDATE workers SET until = 0", []).map_err(here)?;
        }
    }
    step.commit().map_err(here)
}
