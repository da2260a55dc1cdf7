//! A call of a function that this program does not have: its name, and arguments by position and by name.

use super::{JobBuilder, JobHandle, JobQueue};
use crate::arguments::quoted;
use crate::broker::BrokerError;
use crate::job::{Limit, NewJob, RqOptions, millis_up};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A call of a function that only its name tells: of another program, or of Python.
///
/// Its result is read as what the call of `enqueue` names.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{JobQueue, MemoryBroker, Remote};
///
/// # let broker = MemoryBroker::new();
/// let queue = JobQueue::new(broker); // one in Redis, where `rq worker` runs it
/// let handle = Remote::new("app.tasks.report").arg(1).kwarg("k", 2).enqueue::<String>(&queue)?;
/// assert_eq!(handle.job()?.unwrap().payload, r#"{"args":[1],"kwargs":{"k":2}}"#);
/// // handle.join()?: a thread blocks, a greenlet lets others run; in async code, `handle.await?`
/// # Ok::<(), ropewalk_jobs::BrokerError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is enqueued"]
pub struct Remote {
    function: String,
    args: Vec<String>,
    kwargs: Vec<(String, String)>,
    rq: RqOptions,
    /// An argument that could not be written.
    broken: Option<String>,
}

impl Remote {
    /// A call of the function of this name: the dotted path of a function in Python, the stable name of a task here.
    pub fn new(function: impl Into<String>) -> Self {
        Self { function: function.into(), args: Vec::new(), kwargs: Vec::new(), rq: RqOptions::default(), broken: None }
    }

    /// With one more argument by position.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        if let Some(text) = self.written(&value) {
            self.args.push(text);
        }
        self
    }

    /// With an argument by name. The same name again takes the place of the first.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        if let Some(text) = self.written(&value) {
            self.kwargs.retain(|(known, _)| *known != name);
            self.kwargs.push((name, text));
        }
        self
    }

    /// Runs again after each end that was good, `times` more, each time after one of these waits (whole seconds, rounded up): the last
    /// counts for the rest, and without one it is at once. That is python-rq's `Repeat`. It is one job: its handle waits for the last run.
    ///
    /// By rq's rules, on a broker in its form; others refuse it. For something that goes on for ever there is `Schedule`.
    pub fn repeat(mut self, times: u32, waits: impl IntoIterator<Item = Duration>) -> Self {
        let mut waits: Vec<u64> = waits.into_iter().map(|wait| millis_up(wait).div_ceil(1_000)).collect();
        if waits.is_empty() {
            waits.push(0);
        }
        self.rq.repeat = (times > 0).then_some((times, waits));
        self
    }

    /// At most so many with this key are in their queue or run at once: python-rq's `RateLimit`, which its own workers keep as well, from
    /// version 3 on. (Older ones cannot read a job that such a limit holds back.)
    ///
    /// By rq's rules, on a broker in its form; others refuse it. [`JobBuilder::limit`] is kept by our workers alone.
    pub fn rate_limit(mut self, key: impl Into<String>, at_once: u32) -> Self {
        self.rq.rate_limit = Some(Limit { key: key.into(), at_once });
        self
    }

    /// In this group of python-rq's, where `rq.group.Group.fetch` finds it. (A [`Group`](crate::Group) of ours is enqueued in one step, and
    /// can have a last job; its members can be in one of rq's.)
    ///
    /// On a broker in rq's form; others refuse it.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.rq.group = Some(name.into());
        self
    }

    fn written(&mut self, value: &impl Serialize) -> Option<String> {
        serde_json::to_string(value).map_err(|error| self.broken = Some(error.to_string())).ok()
    }

    /// A job that can be configured further.
    pub fn job<R>(self) -> JobBuilder<R> {
        let args = format!("[{}]", self.args.join(","));
        let payload = if self.kwargs.is_empty() {
            args
        } else {
            let named: Vec<_> = self.kwargs.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            format!("{{\"args\":{args},\"kwargs\":{{{}}}}}", named.join(","))
        };
        let broken =
            self.broken.map(|why| format!("an argument of {} cannot be written as JSON: {why}", self.function));
        let mut job = NewJob::new(self.function, payload);
        job.options.rq = self.rq;
        JobBuilder::of_data(job).broken(broken)
    }

    /// Enqueues it, to the default queue; its result is read as an `R`.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::enqueue`].
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn enqueue<R: DeserializeOwned + Send + 'static>(self, queue: &JobQueue) -> Result<JobHandle<R>, BrokerError> {
        self.job().enqueue(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryBroker;

    #[test]
    fn arguments_by_position_and_by_name() {
        let payload = |remote: Remote| remote.job::<()>().into_jobs().unwrap().remove(0).payload;
        assert_eq!(payload(Remote::new("f")), "[]");
        assert_eq!(payload(Remote::new("f").arg(1).arg("a")), r#"[1,"a"]"#);
        assert_eq!(payload(Remote::new("f").kwarg("k", 1).kwarg("k", 2)), r#"{"args":[],"kwargs":{"k":2}}"#);
    }

    #[test]
    fn what_only_rq_has_a_rule_for_is_refused_where_nobody_keeps_it() {
        let queue = JobQueue::new(MemoryBroker::new());
        let again = Remote::new("app.f").repeat(2, [Duration::from_millis(1_001)]);
        assert_eq!(again.clone().job::<()>().into_jobs().unwrap()[0].options.rq.repeat, Some((2, vec![2])));
        for remote in [again, Remote::new("app.f").rate_limit("k", 1), Remote::new("app.f").group("g")] {
            let refused = remote.enqueue::<()>(&queue).unwrap_err();
            assert!(refused.to_string().ends_with("enqueue it to a broker on Redis"), "{refused}");
        }
        assert!(Remote::new("app.f").repeat(0, []).enqueue::<()>(&queue).is_ok());
    }

    #[test]
    fn an_argument_that_is_no_json_is_refused_where_it_is_enqueued() {
        let unsaid = std::collections::HashMap::from([((1, 2), 3)]);
        let refused = Remote::new("app.f").arg(unsaid).enqueue::<()>(&JobQueue::new(MemoryBroker::new())).unwrap_err();
        assert!(refused.to_string().starts_with("an argument of app.f cannot be written as JSON"), "{refused}");
    }
}
