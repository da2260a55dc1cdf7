//! Jobs as Redis keeps them: rq's hash with fields of ours beside it, which rq ignores and leaves alone.
//!
//! | field | what |
//! | --- | --- |
//! | `rw_seq`, `rw_task` | its number among all; the name of its task. Only jobs that were made here have them |
//! | `rw_priority`, `rw_due`, `rw_needs`, `rw_unique`, `rw_window`, `rw_limit`, `rw_at_once`, `rw_options` | as in [`NewJob`] |
//! | `rw_kept_done`, `rw_kept`, `rw_crashes_max` | limits that the scripts look at |
//! | `rw_failures`, `rw_crashes`, `rw_failure`, `rw_progress`, `rw_stop` | as in [`Job`] |
//! | `rw_exec`, `rw_settled`, `rw_started` | the last execution; whether it has settled; when it began, in milliseconds |

use crate::broker::{BrokerError, ErrorKind};
use crate::job::{ExecId, Failure, FailureKind, Job, JobId, Lease, NewJob, Options, Problem, Time, WorkerId};
use crate::rq::data::{self, Data, Serializer};
use crate::rq::text;
use crate::state::State;
use redis::Value;
use std::collections::HashMap;
use std::time::Duration;

/// rq's limit for a job that names none; -1 is no limit.
const NO_TIMEOUT: &str = "-1";
/// The waits that are written out for Python's workers, at most.
const INTERVALS_MAX: u32 = 100;

/// Text of a value, if it has any.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn number_of(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => text_of(value)?.parse().ok(),
    }
}

pub(super) fn items_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => Vec::new(),
    }
}

pub(super) fn exec_of(text: &str) -> Option<ExecId> {
    u128::from_str_radix(text, 16).ok().map(ExecId)
}

fn seconds_up(millis: u64) -> u64 {
    millis.div_ceil(1_000).max(1)
}

/// The fields of a new job, with their values.
pub(super) fn fields(job: &NewJob, serializer: Serializer) -> Result<Vec<(&'static str, Vec<u8>)>, Problem> {
    let options = &job.options;
    let kept = |state| u64::try_from(options.kept(state).as_millis()).unwrap_or(u64::MAX);
    let (done, other) = (kept(State::Done), kept(State::Failed));
    let mut fields: Vec<(&'static str, Vec<u8>)> = vec![
        ("origin", job.queue.clone().into()),
        ("data", data::write(serializer, &job.task, &job.payload)?),
        ("description", data::description(&job.task, &job.payload).into()),
        ("timeout", options.timeout_ms.map_or_else(|| NO_TIMEOUT.into(), |limit| seconds_up(limit).to_string().into())),
        ("result_ttl", seconds_up(done).to_string().into()),
        ("failure_ttl", seconds_up(other).to_string().into()),
        ("rw_task", job.task.clone().into()),
    ];
    for always in [
        "success_callback_name",
        "failure_callback_name",
        "stopped_callback_name",
        "started_at",
        "ended_at",
        "last_heartbeat",
        "worker_name",
    ] {
        fields.push((always, Vec::new()));
    }
    fields.push(("group_id", options.rq.group.clone().unwrap_or_default().into()));
    let mut add = |name, value: String| fields.push((name, value.into()));
    if done % 1_000 != 0 || done == 0 {
        add("rw_kept_done", done.to_string());
    }
    if other % 1_000 != 0 || other == 0 {
        add("rw_kept", other.to_string());
    }
    if job.priority != 0 {
        add("rw_priority", job.priority.to_string());
    }
    if let Some(due) = job.due {
        add("rw_due", due.millis().to_string());
    }
    if let Some(unique) = &job.unique {
        add("rw_unique", unique.key.clone());
        if let Some(window) = unique.window_ms {
            add("rw_window", window.to_string());
        }
    }
    if let Some(limit) = &job.limit {
        add("rw_limit", limit.key.clone());
        add("rw_at_once", limit.at_once.to_string());
    }
    if let Some(crashes) = options.crashes_max {
        add("rw_crashes_max", crashes.to_string());
    }
    if *options != Options::default() {
        add("rw_options", serde_json::to_string(options).expect("options are plain data"));
    }
    if options.retry.retries > 0 {
        // For a worker of Python's: the waits are drawn here, as ours draw them at each failure.
        let waits: Vec<u64> = (1..=options.retry.retries.min(INTERVALS_MAX))
            .filter_map(|failure| options.retry.after(failure, fastrand::f64()))
            .map(|wait| wait.as_secs_f64().ceil() as u64)
            .collect();
        add("retries_left", options.retry.retries.to_string());
        add("retry_intervals", serde_json::to_string(&waits).expect("numbers"));
    }
    if let Some((times, intervals)) = &options.rq.repeat {
        add("repeats_left", times.to_string());
        add("repeat_intervals", serde_json::to_string(intervals).expect("numbers"));
    }
    if let Some(limit) = &options.rq.rate_limit {
        add("rate_limit_key", limit.key.clone());
        add("rate_limit_concurrency", limit.at_once.to_string());
    }
    if let Some(meta) = options.meta.as_ref().filter(|meta| meta.as_object().is_some_and(|meta| !meta.is_empty())) {
        fields.push(("meta", data::write_value(serializer, &meta.to_string())?));
    }
    Ok(fields)
}

/// A hash as it was answered.
pub(super) struct Row(HashMap<String, Vec<u8>>);

impl Row {
    pub(super) fn of(value: Value) -> Self {
        let pairs: Vec<(Value, Value)> = match value {
            Value::Map(pairs) => pairs,
            other => {
                let mut items = items_of(other).into_iter();
                let mut pairs = Vec::new();
                while let (Some(name), Some(value)) = (items.next(), items.next()) {
                    pairs.push((name, value));
                }
                pairs
            }
        };
        let fields = pairs.into_iter().filter_map(|(name, value)| {
            let value = match value {
                Value::BulkString(bytes) => bytes,
                other => text_of(&other)?.into_bytes(),
            };
            Some((text_of(&name)?, value))
        });
        Self(fields.collect())
    }

    /// The fields that were asked for, by name.
    pub(super) fn of_some(names: &[&str], values: &[Value]) -> Self {
        let fields =
            names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), bytes_of(value)?.to_vec())));
        Self(fields.collect())
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice).filter(|bytes| !bytes.is_empty())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<Time> {
        text::read_time(self.text(name)?)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.bytes("rw_task").is_some()
    }

    fn options(&self) -> Options {
        if let Some(options) = self.text("rw_options") {
            return serde_json::from_str(options).unwrap_or_default();
        }
        if self.is_ours() {
            return Options::default();
        }
        // What rq says about a job of its own. Its retries are rq's too, in the step that settles it.
        const FOR_EVER: u64 = u64::MAX / 4_000 * 1_000;
        // Python's numbers have no end.
        let millis = |seconds: i64| seconds.unsigned_abs().saturating_mul(1_000).min(FOR_EVER);
        let ttl = |name, default: u64| match self.number::<i64>(name) {
            Some(seconds) if seconds < 0 => Some(FOR_EVER),
            Some(seconds) => Some(millis(seconds)),
            None => Some(default * 1_000),
        };
        Options {
            timeout_ms: self.number::<i64>("timeout").map_or(Some(180_000), |limit| (limit > 0).then(|| millis(limit))),
            result_ttl_ms: ttl("result_ttl", 500),
            failure_ttl_ms: ttl("failure_ttl", 31_536_000),
            ..Options::default()
        }
    }

    /// What is to be run, whatever became of the data: the name of a task, its arguments, and in what form it wants its answer.
    pub(super) fn call(&self) -> Data {
        let read = data::read(self.bytes("data").unwrap_or_default());
        match (read, self.text("rw_task")) {
            (Ok(data), _) => data,
            (Err(why), ours) => Data {
                serializer: Serializer::default(),
                function: ours.unwrap_or("?").to_owned(),
                arguments: Err(why),
            },
        }
    }

    /// The lease of a job that was just taken, and in what form it wants its answer.
    pub(super) fn lease(&self, id: JobId, exec: ExecId, queue: String) -> (Lease, Serializer) {
        let call = self.call();
        let lease = Lease {
            id,
            exec,
            queue,
            payload: call.payload(),
            task: call.function,
            failures: self.number("rw_failures").unwrap_or(0),
            crashes: self.number("rw_crashes").unwrap_or(0),
            options: self.options(),
        };
        (lease, call.serializer)
    }

    pub(super) fn state(&self) -> Option<State> {
        Some(match self.text("status")? {
            "created" | "deferred" | "ready_to_enqueue" => State::Waiting,
            "scheduled" => State::Scheduled,
            "started" => State::Leased,
            "finished" => State::Done,
            "failed" => State::Failed,
            "stopped" => State::Stopped,
            "canceled" => State::Canceled,
            // And `rate_limited`: nothing but its turn is missing.
            _ => State::Ready,
        })
    }

    /// Everything that is known of a job; `latest` is the newest record of its results.
    pub(super) fn job(&self, id: JobId, latest: Option<&Row>) -> Option<Job> {
        self.bytes("data")?;
        let (state, call, options) = (self.state()?, self.call(), self.options());
        let ended = self.time("ended_at").filter(|_| state.is_ended());
        let failure = match self.text("rw_failure") {
            Some(failure) => serde_json::from_str(failure).ok(),
            None if matches!(state, State::Failed | State::Stopped) && !self.is_ours() => latest.map(failure_of),
            None if state == State::Failed => latest.map(failure_of),
            None => None,
        };
        let result = (state == State::Done).then(|| {
            let value = latest.and_then(|latest| latest.bytes("return_value"));
            // What JSON cannot say is told as the text of why.
            data::read_return_value(call.serializer, value)
                .unwrap_or_else(|why| serde_json::Value::String(format!("unreadable: {why}")).to_string())
        });
        Some(Job {
            id,
            state,
            queue: self.text("origin").unwrap_or("default").to_owned(),
            payload: call.payload(),
            task: call.function,
            priority: self.number("rw_priority").unwrap_or(0),
            due: self.number("rw_due").map(Time::of_millis),
            waits_for: if state == State::Waiting {
                self.text("rw_needs").map_or(0, |needs| needs.split(' ').count() as u32)
            } else {
                0
            },
            failures: self.number("rw_failures").unwrap_or(0),
            crashes: self.number("rw_crashes").unwrap_or(0),
            exec: self.text("rw_exec").and_then(exec_of),
            worker: self.text("worker_name").map(WorkerId::of),
            stop: self.text("rw_stop") == Some("1") && state == State::Leased,
            enqueued: self.time("created_at").or_else(|| self.time("enqueued_at")).unwrap_or_default(),
            started: self.number("rw_started").map(Time::of_millis).or_else(|| self.time("started_at")),
            ended,
            expires: ended.map(|ended| ended + options.kept(state)),
            result,
            failure,
            progress: self.text("rw_progress").and_then(|progress| serde_json::from_str(progress).ok()),
            options,
        })
    }
}

/// What a record of rq's says about a failure.
fn failure_of(record: &Row) -> Failure {
    let said = record
        .bytes("exc_string")
        .map_or_else(String::new, |packed| text::read_exc_string(packed).unwrap_or_else(|why| why.to_string()));
    let (type_name, message) = text::title(&said);
    let kind = if message.contains("AbandonedJobError") { FailureKind::Crash } else { FailureKind::Error };
    Failure { type_name, ..Failure::new(kind, message) }
}

/// An id that a script answered.
pub(super) fn id_of(text: &str) -> Result<JobId, BrokerError> {
    text.parse().map_err(|problem: Problem| BrokerError::new(ErrorKind::Corrupt, problem.to_string()))
}

/// A duration in whole milliseconds as an argument.
pub(super) fn millis(duration: Duration) -> u64 {
    crate::job::millis_up(duration)
}
