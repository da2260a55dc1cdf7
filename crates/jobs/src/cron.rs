//! Schedules: when a job is to be enqueued again and again. Pure; the loop that does it is `worker/scheduler`.
//!
//! A *slot* is a point in time that a pattern names, in a time zone. Where the clock is put forward, a job with a fixed time that
//! falls into the gap is due at the first moment after it; where it is put back, a fixed time is due once, and one that comes
//! at an interval goes on at its interval.

use crate::broker::{BrokerError, ErrorKind};
use crate::job::{JobId, NewJob, Time};
use crate::queue::JobBuilder;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use std::fmt;
use std::time::Duration;

/// How late a slot may be run that is no missed one.
pub const LATE_MAX: Duration = Duration::from_secs(20);
/// How many missed slots are run at most, the latest of them.
pub const MISSED_RUN_MAX: usize = 100;

/// What happens to slots that passed while nobody looked: no worker ran, or the machine was off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are not run.
    Skip,
    /// The latest of them is run.
    #[default]
    Once,
    /// Each of them is run, the latest [`MISSED_RUN_MAX`].
    All,
}

/// When a job is to be enqueued again and again.
///
/// Give it to any number of workers ([`Worker::schedule`](crate::Worker::schedule)): the broker keeps which slot was the last, so each
/// is run once. Whoever sees the schedule first begins it; what was before that is not missed. The name is what it is known by: the same
/// name with another pattern goes on from the last slot that was run.
///
/// A wall clock that is set back repeats no slot: the schedule is silent until the clock has caught up.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{Enqueue, MemoryBroker, Missed, Schedule, Worker};
///
/// #[ropewalk::task(queue = "reports", retries = 3)]
/// fn report(of: String) -> usize {
///     of.len()
/// }
///
/// let mornings = Schedule::new("mornings", "30 8 * * mon-fri", report::call("sales".into()).job())?
///     .zone("Europe/Berlin")?
///     .missed(Missed::Once);
/// let worker = Worker::new(MemoryBroker::new()).queues(["reports"]).register::<report>().schedule(mornings);
/// # drop(worker);
/// # Ok::<(), ropewalk_jobs::BrokerError>(())
/// ```
#[derive(Clone)]
pub struct Schedule {
    name: String,
    cron: Cron,
    zone: Tz,
    missed: Missed,
    job: NewJob,
}

/// Slots whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Those that are run.
    pub(crate) run: Vec<Time>,
    /// How many are not.
    pub(crate) missed: usize,
    /// The latest of all.
    pub(crate) passed: Time,
}

fn refused(text: String) -> BrokerError {
    BrokerError::new(ErrorKind::Refused, text)
}

impl Schedule {
    /// Enqueues this job at each time that the pattern names, in UTC.
    ///
    /// The pattern has five fields (minute, hour, day of the month, month, day of the week), or six with the second in front. A name is
    /// letters, digits, `-` and `_`.
    ///
    /// # Errors
    ///
    /// When the name or the pattern makes no sense, and when the job cannot be kept or brings callbacks along: those are for one
    /// job, and this is many.
    pub fn new<R>(name: impl Into<String>, pattern: &str, job: JobBuilder<R>) -> Result<Self, BrokerError> {
        let name = name.into();
        id_of(&name, Time::default())?;
        let cron = pattern.parse::<Cron>().map_err(|error| {
            refused(format!(
                "`{pattern}` is no pattern of a schedule: {error}. Write minute, hour, day, month and day of the week, as in `30 8 * * mon-fri`"
            ))
        })?;
        let mut jobs = job.into_jobs()?;
        let (Some(job), true) = (jobs.pop(), jobs.is_empty()) else {
            return Err(refused(format!("the job of schedule {name} has callbacks: let the job enqueue them")));
        };
        job.check()?;
        if !job.needs.is_empty() || job.due.is_some() {
            return Err(refused(format!("the job of schedule {name} has a time or needs of its own: leave them out")));
        }
        Ok(Self { name, cron, zone: Tz::UTC, missed: Missed::default(), job })
    }

    /// The pattern is meant in this time zone, as in `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// When there is no such time zone.
    pub fn zone(self, name: &str) -> Result<Self, BrokerError> {
        let zone = name.parse().map_err(|_| {
            refused(format!(
                "`{name}` is no time zone: use a name of the IANA database, as in `Europe/Berlin` or `UTC`"
            ))
        })?;
        Ok(Self { zone, ..self })
    }

    /// What happens to slots that passed while nobody looked. Said nothing, the latest of them is run.
    #[must_use]
    pub fn missed(self, missed: Missed) -> Self {
        Self { missed, ..self }
    }

    /// What it is known by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first slot after this time; none if there is no other.
    pub fn next_after(&self, time: Time) -> Option<Time> {
        let millis = i64::try_from(time.millis()).ok()?;
        let from = DateTime::<Utc>::from_timestamp_millis(millis)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        let next = Time::of_millis(u64::try_from(next.timestamp_millis()).ok()?);
        // Never the same one again, whatever a zone does to its clocks.
        (next > time).then_some(next)
    }

    /// The slots after `last` whose time has come; none if there is none.
    pub(crate) fn due(&self, last: Time, now: Time) -> Option<Due> {
        /// What is looked at one by one; a schedule that slept for longer wakes up here.
        const SLOTS_MAX: usize = 10_000;
        let mut slots = Vec::new();
        let mut at = last;
        while let Some(next) = self.next_after(at).filter(|next| *next <= now) {
            if slots.len() == SLOTS_MAX {
                // The pattern is dense and the pause was long: the latest are what counts.
                slots.drain(..SLOTS_MAX / 2);
            }
            slots.push(next);
            at = next;
        }
        let passed = *slots.last()?;
        let count = slots.len();
        let run: Vec<Time> = match self.missed {
            Missed::All => slots.split_off(count.saturating_sub(MISSED_RUN_MAX)),
            Missed::Once => vec![passed],
            Missed::Skip => slots.into_iter().filter(|slot| now.since(*slot) <= LATE_MAX).collect(),
        };
        Some(Due { missed: count - run.len(), run, passed })
    }

    /// The job of a slot: its id is made of the name and the slot, and both are in its meta data.
    pub(crate) fn job_of(&self, slot: Time) -> Result<NewJob, BrokerError> {
        let mut job = NewJob { id: id_of(&self.name, slot)?, ..self.job.clone() };
        let meta = serde_json::json!({ "schedule": self.name, "slot": slot.millis() });
        job.options.meta = Some(match job.options.meta.take() {
            Some(serde_json::Value::Object(mut own)) => {
                own.extend(meta.as_object().cloned().unwrap_or_default());
                own.into()
            }
            _ => meta,
        });
        Ok(job)
    }
}

fn id_of(name: &str, slot: Time) -> Result<JobId, BrokerError> {
    format!("cron-{name}-{}", slot.millis()).parse().map_err(|_| {
        refused(format!("`{name}` is no name of a schedule: use letters, digits, `-` and `_`, and no more than 80"))
    })
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("name", &self.name)
            .field("pattern", &self.cron.as_str())
            .field("zone", &self.zone)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pattern: &str, zone: &str) -> Schedule {
        let job = JobBuilder::<()>::of_data(NewJob::new("t", "[]"));
        Schedule::new("s", pattern, job).unwrap().zone(zone).unwrap()
    }

    /// The first slots after a time, in UTC to the minute.
    fn slots(pattern: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = schedule(pattern, zone);
        let mut at = Time::of_millis(from.parse::<DateTime<Utc>>().unwrap().timestamp_millis() as u64);
        let next = |_| {
            at = schedule.next_after(at).unwrap();
            at.to_string()[..16].to_owned()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn zones_have_their_own_days() {
        assert_eq!(
            slots("30 8 * * mon-fri", "UTC", "2026-11-27T09:00:00Z", 2),
            ["2026-11-30T08:30", "2026-12-01T08:30"]
        );
        assert_eq!(slots("30 8 * * *", "Asia/Tokyo", "2026-11-27T00:00:00Z", 1), ["2026-11-27T23:30"]);
    }

    /// Berlin, 2026: from 2:00 to 3:00 on 29 March, from 3:00 back to 2:00 on 25 October.
    #[test]
    fn clock_is_put_forward_and_back() {
        let fixed = |from| slots("30 2 * * *", "Europe/Berlin", from, 3);
        assert_eq!(fixed("2026-03-28T00:00:00Z"), ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
        assert_eq!(fixed("2026-10-24T00:00:00Z"), ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]);
        let hourly = slots("30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 3);
        assert_eq!(hourly, ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_way_out() {
        let job = || JobBuilder::<()>::of_data(NewJob::new("t", "[]"));
        let text = |refused: Result<Schedule, BrokerError>| refused.unwrap_err().to_string();
        assert!(text(Schedule::new("s", "every day", job())).contains("30 8 * * mon-fri"));
        assert!(text(Schedule::new("a b", "* * * * *", job())).contains("letters"));
        assert!(text(Schedule::new("s", "* * * * *", job().on_success(job()))).contains("callbacks"));
        assert!(text(Schedule::new("s", "* * * * *", job().in_(Duration::from_secs(1)))).contains("leave them out"));
        assert!(text(Schedule::new("s", "* * * * *", job()).unwrap().zone("Mars/Base")).contains("Europe/Berlin"));
    }

    #[test]
    fn long_pause_of_a_dense_pattern_ends_at_the_latest_slot() {
        let schedule = schedule("* * * * * *", "UTC").missed(Missed::All);
        let last = Time::of_millis(1_795_901_000_000);
        let due = schedule.due(last, last + Duration::from_secs(25_000)).unwrap();
        assert_eq!((due.run.len(), due.passed), (MISSED_RUN_MAX, last + Duration::from_secs(25_000)));
    }

    #[test]
    fn job_of_a_slot_has_its_name() {
        let job = schedule("* * * * *", "UTC").job_of(Time::of_millis(60_000)).unwrap();
        assert_eq!(job.id.as_str(), "cron-s-60000");
        assert_eq!(job.options.meta.unwrap(), serde_json::json!({ "schedule": "s", "slot": 60_000 }));
    }
}
