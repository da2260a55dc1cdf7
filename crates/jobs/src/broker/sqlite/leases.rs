//! The steps by which leases begin and go on, inside a transaction of the writer: claims and signs of life.

use super::row;
use super::steps::{Tx, moved, sql_time};
use super::writer::Said;
use crate::broker::{Beat, Claim, Held};
use crate::crash::crash_point;
use crate::job::{Lease, millis_up};
use crate::state::{Event, State};
use rusqlite::{OptionalExtension as _, params};
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

/// A lease that begins now and holds for so long, by the clock of leases. Rounded up, so that none ends early.
fn lease_until(steady: i64, lease: Duration) -> i64 {
    steady.saturating_add(i64::try_from(millis_up(lease)).unwrap_or(i64::MAX))
}

impl Tx<'_> {
    pub(super) fn claim(&mut self, claim: &Claim) -> rusqlite::Result<Said<Vec<Lease>>> {
        let mut leases = Vec::new();
        if self.is_suspended("")? {
            return Ok(Ok(leases));
        }
        let mut running: HashMap<String, u32> = HashMap::new();
        for queue in &claim.queues {
            if leases.len() >= claim.max || self.is_suspended(queue)? {
                continue;
            }
            let random = fastrand::u64(..);
            let found = self.candidates(queue, claim, claim.max - leases.len(), &mut running, random)?;
            crash_point!("claim.selected");
            if found.is_empty() {
                continue;
            }
            let until = lease_until(self.steady, claim.lease);
            // All at once: most of what a statement costs, it costs once.
            let changed = self.prepare(&LEASE)?.execute(params![
                row::json(&found.iter().map(|job| row::seq_of(job.exec)).collect::<Vec<_>>()),
                format!("{random:016x}"),
                claim.worker.as_str(),
                until,
                sql_time(self.now)
            ])?;
            debug_assert_eq!(changed, found.len());
            crash_point!("claim.leased");
            leases.extend(found);
        }
        Ok(Ok(leases))
    }

    fn is_suspended(&self, queue: &str) -> rusqlite::Result<bool> {
        self.prepare("SELECT 1 FROM suspended WHERE queue = ?1")?.exists([queue])
    }

    /// The first ready jobs of a queue that no limit forbids, in executions of this number.
    fn candidates(
        &self,
        queue: &str,
        claim: &Claim,
        max: usize,
        running: &mut HashMap<String, u32>,
        random: u64,
    ) -> rusqlite::Result<Vec<Lease>> {
        let mut found = Vec::new();
        let mut select = self.prepare(&CANDIDATES)?;
        let mut rows = select.query([queue])?;
        while found.len() < max
            && let Some(row) = rows.next()?
        {
            if !claim.wants(row.get_ref(2)?.as_str()?) {
                continue;
            }
            if let Some(key) = row.get_ref(7)?.as_str_or_null()? {
                let at_once: u32 = row.get(8)?;
                let count = match running.get_mut(key) {
                    Some(count) => count,
                    None => {
                        let count = self.prepare(&RUNNING)?.query_row([key], |row| row.get(0))?;
                        running.entry(key.to_owned()).or_insert(count)
                    }
                };
                if *count >= at_once {
                    continue;
                }
                *count += 1;
            }
            found.push(Lease {
                id: row::id(row, 1)?,
                exec: row::exec_of(row.get(0)?, random),
                queue: queue.to_owned(),
                task: row.get(2)?,
                payload: row.get(3)?,
                failures: row.get(4)?,
                crashes: row.get(5)?,
                options: row::options(row, 6)?,
            });
        }
        Ok(found)
    }

    pub(super) fn heartbeat(&mut self, beat: &Beat) -> rusqlite::Result<Said<Vec<Held>>> {
        let until = lease_until(self.steady, beat.lease);
        if beat.leaving {
            self.prepare("DELETE FROM workers WHERE id = ?1")?.execute([beat.worker.as_str()])?;
        } else {
            let info = crate::broker::WorkerInfo {
                id: beat.worker.clone(),
                queues: beat.queues.clone(),
                concurrency: beat.concurrency,
                running: beat.running.len(),
                seen: self.now,
            };
            self.prepare("INSERT OR REPLACE INTO workers (id, until, info) VALUES (?1, ?2, ?3)")?.execute(params![
                beat.worker.as_str(),
                until,
                row::json(&info)
            ])?;
        }
        let mut held = Vec::with_capacity(beat.running.len());
        let mut extend = self.prepare(&EXTEND)?;
        for running in &beat.running {
            let stop: Option<bool> = extend
                .query_row(
                    params![
                        running.id.as_str(),
                        row::exec_bytes(running.exec),
                        until,
                        running.progress.as_ref().map(row::json),
                    ],
                    |row| row.get(0),
                )
                .optional()?;
            held.push(match stop {
                None => Held::Lost,
                Some(true) => Held::Stop,
                Some(false) => Held::Held,
            });
            crash_point!("heartbeat.extended");
        }
        Ok(Ok(held))
    }
}

/// The rows of a list become leases, in executions as [`row::exec_of`] makes them.
static LEASE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE jobs SET state = {}, exec = unhex(format('%016llx%s', seq, ?2)), worker = ?3, lease_until = ?4, started = ?5,
             progress = NULL
         WHERE seq IN (SELECT value FROM json_each(?1))",
        moved(State::Ready, Event::Claim).code()
    )
});

/// How many jobs of a limit run.
static RUNNING: LazyLock<String> =
    LazyLock::new(|| format!("SELECT count(*) FROM jobs WHERE limit_key = ?1 AND state = {}", State::Leased.code()));

/// A sign of life.
static EXTEND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE jobs SET lease_until = ?3, progress = coalesce(?4, progress)
         WHERE id = ?1 AND exec = ?2 AND state = {} RETURNING stop",
        State::Leased.code()
    )
});

/// The ready jobs of a queue, the first first.
static CANDIDATES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT seq, id, task, payload, failures, crashes, options, limit_key, limit_max FROM jobs
         WHERE state = {} AND queue = ?1 ORDER BY priority DESC, place",
        State::Ready.code()
    )
});
