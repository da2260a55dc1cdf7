//! Schedules: when a job is to be enqueued again and again. Pure; the loop that does it is `worker/scheduler`.
//!
//! A *slot* is a point in time that a pattern names, in a time zone. Where second, minute and hour have neither `*` nor a step,
//! its times are *fixed*: they are what the clock on the wall shows. Where that is put forward, those that fall into the gap are due
//! at the first moment after it, all as one; where it is put back, each is due once, the first time. Other patterns come at
//! an interval, and go on at it.

use crate::broker::{BrokerError, ErrorKind};
use crate::job::{JobId, NewJob, Time};
use crate::queue::JobBuilder;
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
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
    /// The latest of them is run, if none has come within [`LATE_MAX`]: those that have are not missed, and are run.
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
    /// Whether its times are those of a clock on the wall.
    is_fixed: bool,
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
    /// letters, digits, `-` and `_`, at most 109 of them.
    ///
    /// Where second, minute and hour have neither `*` nor a step, as in `30 2,14 * * *` and `0 9-17 * * *`, a clock that is put
    /// forward or back loses and repeats none of these times. Otherwise jobs come at an interval, and it makes no difference to that.
    ///
    /// # Errors
    ///
    /// When the name or the pattern makes no sense, and when the job cannot be kept or brings callbacks along: those are for one
    /// job, and this is many.
    pub fn new<R>(name: impl Into<String>, pattern: &str, job: JobBuilder<R>) -> Result<Self, BrokerError> {
        let name = name.into();
        id_of(&name, SLOT_LATEST)?;
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
        let is_fixed = has_fixed_times(pattern);
        Ok(Self { name, cron, is_fixed, zone: Tz::UTC, missed: Missed::default(), job })
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
        let of = |at: i64| u64::try_from(at).ok().map(Time::of_millis);
        if !self.is_fixed {
            let next = self.cron.find_next_occurrence(&from, false).ok()?;
            // Never the same one again, whatever a zone does to its clocks.
            return of(next.timestamp_millis()).filter(|next| *next > time);
        }
        // What the clock on the wall shows, as if nobody ever set it.
        let mut shown = from.naive_local().and_utc();
        loop {
            shown = self.cron.find_next_occurrence(&shown, false).ok()?;
            let next = of(first_moment(self.zone, shown.naive_utc())?.timestamp_millis())?;
            // In the hour that comes twice, it may have been in the first.
            if next > time {
                return Some(next);
            }
        }
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
            Missed::Once | Missed::Skip => {
                slots.retain(|slot| now.since(*slot) <= LATE_MAX);
                if slots.is_empty() && self.missed == Missed::Once {
                    slots.push(passed);
                }
                slots
            }
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

/// No slot has more digits, until the year 2286.
const SLOT_LATEST: Time = Time::of_millis(9_999_999_999_999);

/// Whether a pattern, which can be read, names times and no interval.
fn has_fixed_times(pattern: &str) -> bool {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    match fields[..] {
        [name] => !name.eq_ignore_ascii_case("@hourly"),
        _ => {
            let times = if fields.len() > 5 { 3 } else { 2 };
            fields.iter().take(times).all(|field| !field.contains(['*', '/', '?']))
        }
    }
}

/// When the clock on the wall of a zone shows this for the first time; where it never does, the first moment after the gap.
fn first_moment(zone: Tz, shown: NaiveDateTime) -> Option<DateTime<Tz>> {
    /// Nobody has left out more than a day.
    const MINUTES_MAX: i64 = 36 * 60;
    if let Some(moment) = zone.from_local_datetime(&shown).earliest() {
        return Some(moment);
    }
    // A gap ends at a whole minute.
    let minute = shown.with_second(0)?.with_nanosecond(0)?;
    (1..MINUTES_MAX).find_map(|later| zone.from_local_datetime(&(minute + TimeDelta::minutes(later))).earliest())
}

fn id_of(name: &str, slot: Time) -> Result<JobId, BrokerError> {
    format!("cron-{name}-{}", slot.millis()).parse().map_err(|_| {
        refused(format!("`{name}` is no name of a schedule: use letters, digits, `-` and `_`, and no more than 109"))
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
    fn each_of_several_fixed_times_is_kept_when_the_clock_is_set() {
        let twice = |from| slots("30 2,14 * * *", "Europe/Berlin", from, 4);
        assert_eq!(
            twice("2026-03-28T20:00:00Z"),
            ["2026-03-29T01:00", "2026-03-29T12:30", "2026-03-30T00:30", "2026-03-30T12:30"]
        );
        assert_eq!(
            twice("2026-10-24T20:00:00Z"),
            ["2026-10-25T00:30", "2026-10-25T13:30", "2026-10-26T01:30", "2026-10-26T13:30"]
        );
        // From within the hour that comes the second time.
        assert_eq!(twice("2026-10-25T01:10:00Z")[0], "2026-10-25T13:30");
        let range = |from| slots("0 1-3 * * *", "Europe/Berlin", from, 3);
        // What would be at two is due at three, as is what is at three.
        assert_eq!(range("2026-03-28T12:00:00Z"), ["2026-03-29T00:00", "2026-03-29T01:00", "2026-03-29T23:00"]);
        assert_eq!(range("2026-10-24T12:00:00Z"), ["2026-10-24T23:00", "2026-10-25T00:00", "2026-10-25T02:00"]);
        // Half an hour of Lord Howe's, and seconds.
        let howe = slots("59 45 1,2 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", 2);
        assert_eq!(howe, ["2026-04-04T14:45", "2026-04-04T16:15"]);
        // A step is an interval: half past two comes twice.
        let steps = slots("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", 3);
        assert_eq!(steps, ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]);
        let names = ["@daily", "@hourly", "0 30 2 * * *", "30 2 1,15 * *", "30 2-4/2 * * *", "* 2 * * *"];
        assert_eq!(names.map(has_fixed_times), [true, false, true, true, false, false]);
    }

    #[test]
    fn what_comes_on_time_is_no_missed_one() {
        let now = Time::of_millis(1_795_901_000_500);
        let schedule = |missed| schedule("* * * * * *", "UTC").missed(missed);
        for missed in [Missed::Skip, Missed::Once] {
            let due = schedule(missed).due(now - Duration::from_secs(3), now).unwrap();
            assert_eq!((due.run.len(), due.missed), (3, 0), "{missed:?}");
        }
        let due = schedule(Missed::Once).due(now - Duration::from_secs(60), now).unwrap();
        assert_eq!((due.run.len(), due.missed), (20, 40));
    }

    #[test]
    fn longest_name_has_room_for_its_slots() {
        let named =
            |length| Schedule::new("n".repeat(length), "* * * * *", JobBuilder::<()>::of_data(NewJob::new("t", "[]")));
        assert!(named(109).unwrap().job_of(Time::of_millis(1_795_901_000_000)).is_ok());
        assert!(named(110).unwrap_err().to_string().contains("no more than 109"));
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
