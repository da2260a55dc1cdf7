//! A call of a function that this program does not have: its name, and arguments by position and by name.

use super::{JobBuilder, JobHandle, JobQueue};
use crate::arguments::quoted;
use crate::broker::BrokerError;
use crate::job::NewJob;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    /// An argument that could not be written.
    broken: Option<String>,
}

impl Remote {
    /// A call of the function of this name: the dotted path of a function in Python, the stable name of a task here.
    pub fn new(function: impl Into<String>) -> Self {
        Self { function: function.into(), args: Vec::new(), kwargs: Vec::new(), broken: None }
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
        JobBuilder::of_data(NewJob::new(self.function, payload)).broken(broken)
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
    fn an_argument_that_is_no_json_is_refused_where_it_is_enqueued() {
        let unsaid = std::collections::HashMap::from([((1, 2), 3)]);
        let refused = Remote::new("app.f").arg(unsaid).enqueue::<()>(&JobQueue::new(MemoryBroker::new())).unwrap_err();
        assert!(refused.to_string().starts_with("an argument of app.f cannot be written as JSON"), "{refused}");
    }
}
