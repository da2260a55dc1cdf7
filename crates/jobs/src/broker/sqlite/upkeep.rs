//! The steps of time and of people, inside a transaction of the writer: ticks and controls.

use super::row::{self, Small};
use super::steps::{Tx, sql_time};
use super::writer::Said;
use crate::broker::{self, BrokerError, Control, Passed, Slot, TICK_JOBS_MAX, Ticked, add_to_log};
use crate::crash::crash_point;
use crate::job::{Failure, JobId};
use crate::state::{self, Event, Settled, State};
use crate::unique;
use rusqlite::{OptionalExtension as _, params};

impl Tx<'_> {
    pub(super) fn tick(&mut self) -> rusqlite::Result<Said<Ticked>> {
        let limit = TICK_JOBS_MAX as i64;
        let mut ticked = Ticked::default();
        let now = sql_time(self.now);
        let due = row::smalls(
            self,
            &format!("state = {} AND due <= ?1 ORDER BY due, seq LIMIT ?2", State::Scheduled.code()),
            params![now, limit],
        )?;
        for job in &due {
            self.reopen(job, Event::Due, None, None)?;
            crash_point!("tick.due");
        }
        let expired = row::smalls(
            self,
            &format!("state = {} AND lease_until <= ?1 ORDER BY lease_until, seq LIMIT ?2", State::Leased.code()),
            params![self.steady, limit],
        )?;
        for job in &expired {
            let event = state::expired(job.crashes, job.options.crashes_max(), job.stop);
            let failure = Failure::crashed(job.worker.as_ref(), event, job.crashes + 1);
            if event == Event::Expire {
                self.reopen(job, event, None, failure.as_ref())?;
                ticked.recovered += 1;
            } else {
                self.end(job, event, None, failure.as_ref())?;
                self.prepare("UPDATE jobs SET exec = NULL WHERE seq = ?1")?.execute([job.seq])?;
                ticked.ended += 1;
            }
            crash_point!("tick.expired");
        }
        let old = row::smalls(self, "expires <= ?1 ORDER BY expires, seq LIMIT ?2", params![now, limit])?;
        for job in &old {
            self.forget(job)?;
            crash_point!("tick.forgotten");
        }
        self.prepare("DELETE FROM workers WHERE until <= ?1")?.execute([self.steady])?;
        self.prepare("DELETE FROM taken WHERE until <= ?1")?.execute([now])?;
        (ticked.due, ticked.forgotten) = (due.len(), old.len());
        ticked.more = [due.len(), expired.len(), old.len()].contains(&TICK_JOBS_MAX);
        ticked.next_due = self
            .prepare(&format!("SELECT min(due) FROM jobs WHERE state = {}", State::Scheduled.code()))?
            .query_row([], |row| row::time(row, 0))?;
        Ok(Ok(ticked))
    }

    pub(super) fn log(&self, said: &[broker::Said]) -> rusqlite::Result<Said<()>> {
        for said in said {
            let Some(job) = row::small(self, &said.id)? else { continue };
            if state::fence(job.state, job.exec, said.exec) != Settled::Recorded {
                continue;
            }
            let kept: Option<String> = self
                .prepare("SELECT text FROM logs WHERE seq = ?1")?
                .query_row([job.seq], |row| row.get(0))
                .optional()?;
            let mut kept = kept.unwrap_or_default();
            add_to_log(&mut kept, &said.text);
            self.prepare("INSERT OR REPLACE INTO logs (seq, text) VALUES (?1, ?2)")?.execute(params![job.seq, kept])?;
        }
        Ok(Ok(()))
    }

    pub(super) fn pass_slot(&mut self, slot: &Slot) -> rusqlite::Result<Said<Passed>> {
        let last = self
            .prepare("SELECT at FROM slots WHERE schedule = ?1")?
            .query_row([&slot.schedule], |row| row::time(row, 0))
            .optional()?
            .flatten();
        if last != slot.after {
            return Ok(Ok(Passed::Elsewhere(last)));
        }
        let enqueued = match self.enqueue(&slot.jobs)? {
            Ok(enqueued) => enqueued,
            Err(error) => return Ok(Err(error)),
        };
        self.prepare("INSERT OR REPLACE INTO slots (schedule, at) VALUES (?1, ?2)")?
            .execute(params![slot.schedule, sql_time(slot.at)])?;
        Ok(Ok(Passed::Here(enqueued)))
    }

    fn forget(&self, job: &Small) -> rusqlite::Result<()> {
        self.prepare("DELETE FROM jobs WHERE seq = ?1")?.execute([job.seq])?;
        // The trigger that does this for others may be off.
        self.prepare("DELETE FROM logs WHERE seq = ?1")?.execute([job.seq])?;
        Ok(())
    }

    pub(super) fn control(&mut self, control: &Control) -> rusqlite::Result<Said<usize>> {
        let done = match control {
            Control::Cancel(id) | Control::Stop(id) | Control::End(id) => self.stop_or_cancel(control, id)?,
            Control::Requeue(id) => self.requeue(control, id)?,
            Control::Delete(id) => self.delete(control, id)?,
            Control::Empty(queue) => Ok(self.empty(queue)?),
            Control::Suspend(queue) => Ok(self
                .prepare("INSERT OR IGNORE INTO suspended (queue) VALUES (?1)")?
                .execute([queue.as_deref().unwrap_or("")])?),
            Control::Resume(queue) => {
                self.work = true;
                Ok(self.prepare("DELETE FROM suspended WHERE queue = ?1")?.execute([queue.as_deref().unwrap_or("")])?)
            }
        };
        crash_point!("control.done");
        Ok(done)
    }

    fn stop_or_cancel(&mut self, control: &Control, id: &JobId) -> rusqlite::Result<Said<usize>> {
        let Some(job) = row::small(self, id)? else { return Ok(Err(BrokerError::not_found(id))) };
        let runs = job.state == State::Leased;
        let wrong = match control {
            Control::Cancel(_) => runs,
            Control::Stop(_) => !runs,
            _ => false,
        };
        if wrong || job.state.is_ended() {
            return Ok(Err(BrokerError::wrong_state(control, job.state)));
        }
        if runs {
            self.prepare("UPDATE jobs SET stop = 1 WHERE seq = ?1")?.execute([job.seq])?;
            self.stop = true;
        } else {
            self.end(&job, Event::Cancel, None, None)?;
        }
        Ok(Ok(1))
    }

    fn requeue(&mut self, control: &Control, id: &JobId) -> rusqlite::Result<Said<usize>> {
        let Some(job) = row::small(self, id)? else { return Ok(Err(BrokerError::not_found(id))) };
        if state::next(job.state, Event::Requeue).is_none() {
            return Ok(Err(BrokerError::wrong_state(control, job.state)));
        }
        if let Some(key) = &job.unique_key {
            if let Some((holder, until)) = self.holder(key)?
                && holder != *id
                && unique::is_taken(until, self.now)
            {
                return Ok(Err(BrokerError::key_is_taken(id, key, &holder)));
            }
            let unique = unique::Unique { key: key.clone(), window_ms: job.unique_window };
            self.take(key, id, unique.until(self.now))?;
        }
        self.reopen(&job, Event::Requeue, None, None)?;
        self.prepare(
            "UPDATE jobs SET failure = NULL, progress = NULL, ended = NULL, ended_seq = NULL, expires = NULL, due = NULL
             WHERE seq = ?1",
        )?
        .execute([job.seq])?;
        Ok(Ok(1))
    }

    fn delete(&mut self, control: &Control, id: &JobId) -> rusqlite::Result<Said<usize>> {
        let Some(job) = row::small(self, id)? else { return Ok(Err(BrokerError::not_found(id))) };
        if job.state == State::Leased {
            return Ok(Err(BrokerError::wrong_state(control, job.state)));
        }
        if !job.state.is_ended() {
            self.end(&job, Event::Cancel, None, None)?;
        }
        self.forget(&job)?;
        Ok(Ok(1))
    }

    fn empty(&mut self, queue: &str) -> rusqlite::Result<usize> {
        let open = [State::Waiting, State::Scheduled, State::Ready].map(State::code);
        let jobs = row::smalls(
            self,
            "queue = ?1 AND state IN (?2, ?3, ?4) ORDER BY seq",
            params![queue, open[0], open[1], open[2]],
        )?;
        let mut emptied = 0;
        for job in jobs {
            // A job before it may have been what it needed.
            let Some(job) = row::small_of_seq(self, job.seq)? else { continue };
            if state::next(job.state, Event::Cancel).is_some() {
                self.end(&job, Event::Cancel, None, None)?;
                emptied += 1;
            }
        }
        Ok(emptied)
    }
}
