//! The steps by which a job comes and ends, inside a transaction of the writer.
//!
//! A row is read, the pure rules say where it goes, and one of three statements writes it back: to a lease, to an end, or back
//! among the open ones. Each names only the columns that change there, because every column that an index has costs.
//!
//! The end that nearly all jobs have (they return, and have nothing unusual about them) is one statement, which reads and writes: its
//! condition is the fence, and a row that it does not match goes the long way.
//!
//! A state that a partial index has in its condition is written out in a statement, and is no parameter: SQLite would plan the
//! statement anew with every value.

use super::row::{self, Small};
use crate::broker::{BrokerError, Enqueued, Topic};
use crate::crash::crash_point;
use crate::dependency::When;
use crate::job::{End, Failure, JobId, NewJob, Options, Outcome, Time};
use crate::state::{self, Event, Settled, State};
use crate::unique;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use super::writer::Said;

/// One transaction under way.
pub(super) struct Tx<'c> {
    pub(super) db: &'c Connection,
    pub(super) now: Time,
    /// By the clock of leases, in milliseconds.
    pub(super) steady: i64,
    /// Numbers given out to those that become ready, and those that end; read when the first is needed.
    counter: Option<i64>,
    /// Whether any job needs another; looked at when it is first asked.
    needs: Option<bool>,
    /// Something became ready, or may be due sooner.
    pub(super) work: bool,
    /// Something ended.
    pub(super) ended: bool,
    /// Something is to stop.
    pub(super) stop: bool,
}

pub(super) fn sql_time(time: Time) -> i64 {
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}

impl<'c> Tx<'c> {
    pub(super) fn new(db: &'c Connection, now: Time, steady: Duration) -> Self {
        let steady = i64::try_from(steady.as_millis()).unwrap_or(i64::MAX);
        Self { db, now, steady, counter: None, needs: None, work: false, ended: false, stop: false }
    }

    /// Keeps what the steps left to keep; which news there are.
    pub(super) fn finish(self) -> rusqlite::Result<[(Topic, bool); 3]> {
        if let Some(counter) = self.counter {
            self.prepare("UPDATE meta SET value = ?1 WHERE key = 'counter'")?.execute([counter])?;
        }
        Ok([(Topic::Work, self.work), (Topic::Ended, self.ended), (Topic::Stop, self.stop)])
    }

    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.db.prepare_cached(sql)
    }

    fn count(&mut self) -> rusqlite::Result<i64> {
        let last = match self.counter {
            Some(last) => last,
            None => self.prepare("SELECT value FROM meta WHERE key = 'counter'")?.query_row([], |row| row.get(0))?,
        };
        self.counter = Some(last + 1);
        Ok(last + 1)
    }

    pub(super) fn enqueue(&mut self, jobs: &[NewJob]) -> rusqlite::Result<Said<Vec<Enqueued>>> {
        let mut known: HashSet<&JobId> = HashSet::new();
        for job in jobs {
            for need in job.needs.iter().filter(|need| !known.contains(&need.id)) {
                if row::small(self, &need.id)?.is_none() {
                    return Ok(Err(BrokerError::unknown_need(&job.id, &need.id)));
                }
            }
            // Only a job that somebody may need has to be remembered.
            if jobs.len() > 1 {
                known.insert(&job.id);
            }
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(self.enqueue_one(job)?);
            crash_point!("enqueue.inserted");
        }
        Ok(Ok(answers))
    }

    fn enqueue_one(&mut self, new: &NewJob) -> rusqlite::Result<Enqueued> {
        if self.prepare("SELECT 1 FROM jobs WHERE id = ?1")?.exists([new.id.as_str()])? {
            return Ok(Enqueued::Duplicate(new.id.clone()));
        }
        if let Some(unique) = &new.unique {
            if let Some((holder, until)) = self.holder(&unique.key)?
                && unique::is_taken(until, self.now)
            {
                return Ok(Enqueued::Duplicate(holder));
            }
            self.take(&unique.key, &new.id, unique.until(self.now))?;
        }
        let mut open = Vec::new();
        let mut broken = None;
        for need in &new.needs {
            let on = row::small(self, &need.id)?;
            // A need of a duplicate in the same batch may lead to nothing: then it is as if it had been cancelled.
            match on.map_or(Some(false), |on| need.when.is_met(on.state)) {
                None if open.contains(&need) => {}
                None => open.push(need),
                Some(true) => {}
                Some(false) => broken = broken.or(Some(&need.id)),
            }
        }
        let (state, failure) = if let Some(on) = broken {
            open.clear();
            (state::next(State::Waiting, Event::Broken), Some(Failure::broken_need(on)))
        } else if !open.is_empty() {
            (Some(State::Waiting), None)
        } else {
            let early = new.due.is_some_and(|due| due > self.now);
            (state::next(State::Waiting, if early { Event::MetEarly } else { Event::Met }), None)
        };
        let state = state.expect("a job that comes can go to where it begins");
        let number = self.count()?;
        let ended = state.is_ended();
        self.prepare(
            "INSERT INTO jobs (id, state, queue, priority, place, due, waits_for, enqueued, ended, ended_seq, expires, task,
                 options, unique_key, unique_window, limit_key, limit_max, failure, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            new.id.as_str(),
            state.code(),
            new.queue,
            new.priority,
            number,
            new.due.map(sql_time),
            open.len() as i64,
            sql_time(self.now),
            ended.then(|| sql_time(self.now)),
            ended.then_some(number),
            ended.then(|| sql_time(self.now + new.options.kept(state))),
            new.task,
            row::options_text(&new.options),
            new.unique.as_ref().map(|unique| &unique.key),
            new.unique.as_ref().and_then(|unique| unique.window_ms).map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
            new.limit.as_ref().map(|limit| &limit.key),
            new.limit.as_ref().map(|limit| limit.at_once),
            failure.as_ref().map(row::json),
            new.payload,
        ])?;
        let seq = self.db.last_insert_rowid();
        for need in open {
            self.needs = Some(true);
            self.prepare("INSERT OR IGNORE INTO needs (on_id, seq, on_when) VALUES (?1, ?2, ?3)")?.execute(params![
                need.id.as_str(),
                seq,
                need.when as i64
            ])?;
        }
        if ended {
            self.ended = true;
            self.give_back(&new.id, new.unique.as_ref().filter(|unique| unique.window_ms.is_none()).map(|u| &*u.key))?;
        }
        self.work |= matches!(state, State::Ready | State::Scheduled);
        Ok(Enqueued::Accepted(new.id.clone()))
    }

    pub(super) fn holder(&self, key: &str) -> rusqlite::Result<Option<(JobId, Option<Time>)>> {
        self.prepare("SELECT id, until FROM taken WHERE key = ?1")?
            .query_row([key], |row| Ok((row::id(row, 0)?, row::time(row, 1)?)))
            .optional()
    }

    pub(super) fn take(&self, key: &str, id: &JobId, until: Option<Time>) -> rusqlite::Result<()> {
        self.prepare("INSERT OR REPLACE INTO taken (key, id, until) VALUES (?1, ?2, ?3)")?.execute(params![
            key,
            id.as_str(),
            until.map(sql_time)
        ])?;
        Ok(())
    }

    fn give_back(&self, id: &JobId, key: Option<&str>) -> rusqlite::Result<()> {
        if let Some(key) = key {
            self.prepare("DELETE FROM taken WHERE key = ?1 AND id = ?2")?.execute([key, id.as_str()])?;
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, outcomes: &[Outcome]) -> rusqlite::Result<Said<Vec<Settled>>> {
        let mut answers = vec![Settled::Lost; outcomes.len()];
        // Backwards, so that jobs that are released together keep their order at the front.
        for (answer, outcome) in answers.iter_mut().zip(outcomes).rev() {
            let ended_plainly = match &outcome.end {
                End::Done(result) => self.end_plainly(outcome, result)?,
                _ => false,
            };
            *answer = if ended_plainly { Settled::Recorded } else { self.settle_one(outcome)? };
            crash_point!("settle.moved");
        }
        Ok(Ok(answers))
    }

    /// The end of a job that returned, if it can be said like this; else nothing has changed.
    fn end_plainly(&mut self, outcome: &Outcome, result: &str) -> rusqlite::Result<bool> {
        let to = moved(State::Leased, Event::Succeed);
        let number = self.count()?;
        let mut end = self.prepare(&END_PLAINLY)?;
        // One by one: what `params!` would make of them costs as much as the binding.
        end.raw_bind_parameter(1, row::seq_of(outcome.exec))?;
        end.raw_bind_parameter(2, outcome.id.as_str())?;
        end.raw_bind_parameter(3, row::exec_bytes(outcome.exec))?;
        end.raw_bind_parameter(4, sql_time(self.now))?;
        end.raw_bind_parameter(5, number)?;
        end.raw_bind_parameter(6, sql_time(self.now + Options::default().kept(to)))?;
        end.raw_bind_parameter(7, result)?;
        if end.raw_execute()? == 0 {
            return Ok(false);
        }
        self.ended = true;
        crash_point!("end.moved");
        self.tell_all_who_need(&outcome.id, to)?;
        Ok(true)
    }

    fn settle_one(&mut self, outcome: &Outcome) -> rusqlite::Result<Settled> {
        let Some(job) = row::small(self, &outcome.id)? else { return Ok(Settled::Lost) };
        let fenced = state::fence(job.state, job.exec, outcome.exec);
        if fenced == Settled::Recorded {
            let event = state::ended(outcome.end.event(), job.stop);
            match &outcome.end {
                End::Done(result) => self.end(&job, event, Some(result), None)?,
                End::Failed(failure) => self.end(&job, event, None, Some(failure))?,
                End::Stopped => self.end(&job, event, None, None)?,
                End::Retry { failure, .. } | End::Snooze { failure, .. } if event == Event::Stop => {
                    self.end(&job, event, None, Some(failure))?;
                }
                End::Release if event == Event::Stop => self.end(&job, event, None, None)?,
                End::Retry { after, failure } | End::Snooze { after, failure } => {
                    self.reopen(&job, event, Some(self.now + *after), Some(failure))?;
                }
                End::Release => self.reopen(&job, event, None, None)?,
            }
        }
        Ok(fenced)
    }

    /// Moves a job to an end, and with it those that need it, and those that need these: a list and no recursion, because a
    /// chain can be longer than a stack.
    pub(super) fn end(
        &mut self,
        job: &Small,
        event: Event,
        result: Option<&str>,
        failure: Option<&Failure>,
    ) -> rusqlite::Result<()> {
        let to = self.end_one(job, event, result, failure)?;
        self.tell_all_who_need(&job.id, to)
    }

    fn tell_all_who_need(&mut self, id: &JobId, to: State) -> rusqlite::Result<()> {
        if !self.is_any_needed()? {
            return Ok(());
        }
        let mut ended = VecDeque::from([(id.clone(), to)]);
        while let Some((id, to)) = ended.pop_front() {
            self.tell_those_who_need(&id, to, &mut ended)?;
        }
        Ok(())
    }

    /// Whether any job needs another: in most transactions none does, and then nobody has to be looked for.
    fn is_any_needed(&mut self) -> rusqlite::Result<bool> {
        if self.needs.is_none() {
            self.needs = Some(self.prepare("SELECT 1 FROM needs LIMIT 1")?.exists([])?);
        }
        Ok(self.needs == Some(true))
    }

    fn end_one(
        &mut self,
        job: &Small,
        event: Event,
        result: Option<&str>,
        failure: Option<&Failure>,
    ) -> rusqlite::Result<State> {
        let to = moved(job.state, event);
        let (failures, crashes) = state::counted(event, job.failures, job.crashes);
        let number = self.count()?;
        let keeps_exec = event != Event::Poison;
        if job.state == State::Waiting {
            self.prepare("DELETE FROM needs WHERE seq = ?1")?.execute([job.seq])?;
        }
        // A lease that ran out is forgotten with its holder, so that a late settle is lost and not repeated.
        self.prepare(
            "UPDATE jobs SET state = ?2, failures = ?3, crashes = ?4, ended = ?5, ended_seq = ?6, expires = ?7, stop = 0,
                 waits_for = 0, lease_until = NULL, result = ?8,
                 failure = CASE WHEN ?2 = ?10 THEN NULL ELSE coalesce(?9, failure) END,
                 exec = CASE WHEN ?11 THEN exec END
             WHERE seq = ?1",
        )?
        .execute(params![
            job.seq,
            to.code(),
            failures,
            crashes,
            sql_time(self.now),
            number,
            sql_time(self.now + job.options.kept(to)),
            result,
            failure.map(row::json),
            State::Done.code(),
            keeps_exec,
        ])?;
        self.ended = true;
        if job.unique_until_end {
            self.give_back(&job.id, job.unique_key.as_deref())?;
        }
        crash_point!("end.moved");
        Ok(to)
    }

    /// Moves a job back among the ready, or the scheduled.
    pub(super) fn reopen(
        &mut self,
        job: &Small,
        event: Event,
        due: Option<Time>,
        failure: Option<&Failure>,
    ) -> rusqlite::Result<()> {
        let to = moved(job.state, event);
        let (failures, crashes) = state::counted(event, job.failures, job.crashes);
        let number = self.count()?;
        let place = if event == Event::Release { -number } else { number };
        let keeps_exec = event != Event::Expire && event != Event::Requeue;
        self.prepare(
            "UPDATE jobs SET state = ?2, place = ?3, due = coalesce(?4, due), failures = ?5, crashes = ?6, lease_until = NULL,
                 failure = coalesce(?7, failure), exec = CASE WHEN ?8 THEN exec END
             WHERE seq = ?1",
        )?
        .execute(params![
            job.seq,
            to.code(),
            place,
            due.map(sql_time),
            failures,
            crashes,
            failure.map(row::json),
            keeps_exec,
        ])?;
        self.work = true;
        Ok(())
    }

    /// Those that end by it go onto the list.
    fn tell_those_who_need(
        &mut self,
        id: &JobId,
        ended: State,
        list: &mut VecDeque<(JobId, State)>,
    ) -> rusqlite::Result<()> {
        // A job can need another in two ways at once.
        let mut waiting: BTreeMap<i64, bool> = BTreeMap::new();
        {
            let mut select = self.prepare("SELECT seq, on_when FROM needs WHERE on_id = ?1")?;
            let mut rows = select.query([id.as_str()])?;
            while let Some(row) = rows.next()? {
                let when = row.get::<_, usize>(1).ok().and_then(|at| When::ALL.get(at));
                let kept = when.is_some_and(|when| when.is_met(ended) == Some(true));
                *waiting.entry(row.get(0)?).or_insert(true) &= kept;
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        self.prepare("DELETE FROM needs WHERE on_id = ?1")?.execute([id.as_str()])?;
        for (seq, kept) in waiting {
            let Some(job) = row::small_of_seq(self, seq)?.filter(|job| job.state == State::Waiting) else { continue };
            let left: u32 = self
                .prepare("UPDATE jobs SET waits_for = (SELECT count(*) FROM needs WHERE seq = ?1) WHERE seq = ?1 RETURNING waits_for")?
                .query_row([seq], |row| row.get(0))?;
            if !kept {
                let to = self.end_one(&job, Event::Broken, None, Some(&Failure::broken_need(id)))?;
                list.push_back((job.id, to));
            } else if left == 0 {
                let early = job.due.is_some_and(|due| due > self.now);
                self.reopen(&job, if early { Event::MetEarly } else { Event::Met }, None, None)?;
            }
            crash_point!("needs.told");
        }
        Ok(())
    }
}

/// See [`Tx::end_plainly`]. What [`state::fence`], [`state::ended`] and [`state::counted`] say of a success is written out here: who
/// holds the lease may, a stop comes too late, and no count changes. The row is found by its number, which the execution names.
///
/// One statement for one row: one for sixteen, from a list of VALUES, took a quarter longer, since SQLite then writes what is to change
/// into a table of its own first.
static END_PLAINLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE jobs SET state = {done}, ended = ?4, ended_seq = ?5, expires = ?6, stop = 0, waits_for = 0, lease_until = NULL,
             result = ?7, failure = NULL
         WHERE seq = ?1 AND id = ?2 AND exec = ?3 AND state = {leased} AND options = '' AND unique_key IS NULL",
        done = moved(State::Leased, Event::Succeed).code(),
        leased = State::Leased.code()
    )
});

pub(super) fn moved(from: State, event: Event) -> State {
    state::next(from, event).unwrap_or_else(|| panic!("{event:?} happened to a job that is {from}"))
}
