//! Rows as jobs, and jobs as columns.

use super::steps::Tx;
use crate::job::{ExecId, Job, JobId, Options, Time, WorkerId};
use crate::state::State;
use rusqlite::types::Type;
use rusqlite::{Error, OptionalExtension as _, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::LazyLock;

/// What the steps need to know of a job to move it.
pub(super) struct Small {
    pub(super) seq: i64,
    pub(super) id: JobId,
    pub(super) state: State,
    pub(super) exec: Option<ExecId>,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    pub(super) stop: bool,
    pub(super) due: Option<Time>,
    pub(super) worker: Option<WorkerId>,
    pub(super) unique_key: Option<String>,
    pub(super) unique_until_end: bool,
    pub(super) unique_window: Option<u64>,
    pub(super) options: Options,
}

const SMALL: &str = "seq, id, state, exec, failures, crashes, stop, due, worker, unique_key, unique_window, options";

fn read_small(row: &Row<'_>) -> rusqlite::Result<Small> {
    let unique_key: Option<String> = row.get(9)?;
    let unique_window: Option<u64> = row.get(10)?;
    Ok(Small {
        seq: row.get(0)?,
        id: id(row, 1)?,
        state: state(row, 2)?,
        exec: exec(row, 3)?,
        failures: row.get(4)?,
        crashes: row.get(5)?,
        stop: row.get(6)?,
        due: time(row, 7)?,
        worker: row.get::<_, Option<String>>(8)?.map(WorkerId::of),
        unique_until_end: unique_key.is_some() && unique_window.is_none(),
        unique_key,
        unique_window,
        options: options(row, 11)?,
    })
}

pub(super) fn small(tx: &Tx<'_>, id: &JobId) -> rusqlite::Result<Option<Small>> {
    tx.prepare(&format!("SELECT {SMALL} FROM jobs WHERE id = ?1"))?.query_row([id.as_str()], read_small).optional()
}

pub(super) fn small_of_seq(tx: &Tx<'_>, seq: i64) -> rusqlite::Result<Option<Small>> {
    tx.prepare(&format!("SELECT {SMALL} FROM jobs WHERE seq = ?1"))?.query_row([seq], read_small).optional()
}

/// The jobs for which `condition` holds.
pub(super) fn smalls(tx: &Tx<'_>, condition: &str, of: impl rusqlite::Params) -> rusqlite::Result<Vec<Small>> {
    tx.prepare(&format!("SELECT {SMALL} FROM jobs WHERE {condition}"))?.query_map(of, read_small)?.collect()
}

/// What [`read_job`] reads.
pub(super) const WHOLE: &str = "id, state, queue, task, payload, priority, due, waits_for, failures, crashes, exec, worker, stop, \
                                enqueued, started, ended, expires, result, failure, progress, options";

/// How many jobs each queue has in each state: from the indexes, so that nobody reads what the jobs are about. (Whoever waits needs
/// something, and has an end only afterwards.)
pub(super) static COUNTS: LazyLock<String> = LazyLock::new(|| {
    let of = |state: State, from: &str, and: &str| {
        let code = state.code();
        format!("SELECT queue, {code}, count(*) FROM jobs {from} WHERE state = {code} {and} GROUP BY queue")
    };
    [
        of(State::Waiting, "", "AND seq IN (SELECT seq FROM needs)"),
        of(State::Scheduled, "INDEXED BY jobs_due", ""),
        of(State::Ready, "INDEXED BY jobs_ready", ""),
        of(State::Leased, "INDEXED BY jobs_leased", ""),
        "SELECT queue, state, count(*) FROM jobs INDEXED BY jobs_ended WHERE ended_seq IS NOT NULL GROUP BY queue, state".to_owned(),
    ]
    .join(" UNION ALL ")
});

pub(super) fn read_job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: id(row, 0)?,
        state: state(row, 1)?,
        queue: row.get(2)?,
        task: row.get(3)?,
        payload: row.get(4)?,
        priority: row.get(5)?,
        due: time(row, 6)?,
        waits_for: row.get(7)?,
        failures: row.get(8)?,
        crashes: row.get(9)?,
        exec: exec(row, 10)?,
        worker: row.get::<_, Option<String>>(11)?.map(WorkerId::of),
        stop: row.get(12)?,
        enqueued: time(row, 13)?.unwrap_or_default(),
        started: time(row, 14)?,
        ended: time(row, 15)?,
        expires: time(row, 16)?,
        result: row.get(17)?,
        failure: of_json(row, 18)?,
        // Only for show: one that says nothing (a NaN is `null` in JSON) must not hide the job.
        progress: of_json(row, 19).unwrap_or(None),
        options: options(row, 20)?,
    })
}

pub(super) fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<JobId> {
    row.get::<_, String>(at)?.parse().map_err(|problem: crate::job::Problem| foreign(at, problem))
}

pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Time>> {
    Ok(row.get::<_, Option<u64>>(at)?.map(Time::of_millis))
}

fn state(row: &Row<'_>, at: usize) -> rusqlite::Result<State> {
    let code: i64 = row.get(at)?;
    State::of_code(code).ok_or_else(|| foreign(at, format!("{code} is no state")))
}

fn exec(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ExecId>> {
    let bytes: Option<[u8; 16]> = row.get(at)?;
    Ok(bytes.map(|bytes| ExecId(u128::from_be_bytes(bytes))))
}

/// The execution of the job in this row that has this random number: 64 bits are enough to tell it from the others of the same row. It
/// names the row, so that its end need not be looked for by the job's name.
pub(super) fn exec_of(seq: i64, random: u64) -> ExecId {
    ExecId(u128::from(seq.cast_unsigned()) << 64 | u128::from(random))
}

/// The row that an execution names; any number, for one that was not made here.
pub(super) fn seq_of(exec: ExecId) -> i64 {
    ((exec.0 >> 64) as u64).cast_signed()
}

pub(super) fn exec_bytes(exec: ExecId) -> [u8; 16] {
    exec.0.to_be_bytes()
}

/// Most jobs have none, and then nothing is written and nothing parsed.
pub(super) fn options_text(options: &Options) -> String {
    if *options == Options::default() { String::new() } else { json(options) }
}

pub(super) fn options(row: &Row<'_>, at: usize) -> rusqlite::Result<Options> {
    let text = row.get_ref(at)?.as_str()?;
    if text.is_empty() {
        return Ok(Options::default());
    }
    serde_json::from_str(text).map_err(|error| foreign(at, error))
}

/// Our own plain data, which can always be written.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys")
}

fn of_json<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get_ref(at)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| foreign(at, error))
}

/// Something in the file that we did not write.
fn foreign(at: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(at, Type::Text, why.into())
}
