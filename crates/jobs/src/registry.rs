//! Which tasks a worker knows: from a stable name and text to a run, and back to text.

use crate::arguments;
use crate::job::{Failure, FailureKind, Problem};
use ropewalk::JobContext;
use ropewalk::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How a run ended that was not unwound.
pub type Ran = Result<String, Failure>;

/// Runs jobs of one task: from the payload to the result, both JSON.
pub type Handler = Arc<dyn Fn(&str, &JobContext) -> Ran + Send + Sync>;

/// The tasks that a worker knows, by their stable names. Nothing is collected behind one's back: each is registered by hand.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::Registry;
///
/// #[ropewalk::task]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
///
/// let registry = Registry::new().with::<double>();
/// assert!(registry.names().next().unwrap().ends_with("::double"));
/// ```
#[derive(Clone, Default)]
pub struct Registry(HashMap<String, Entry>);

/// From the name and the arguments to what does not fit.
type Takes = fn(&str, &str) -> Result<(), Problem>;

#[derive(Clone)]
struct Entry {
    handler: Handler,
    /// Whether the task takes these arguments; nothing for one that only its handler knows.
    takes: Option<Takes>,
    /// How it runs in a process of its own, if it can.
    #[cfg(all(target_os = "linux", feature = "process"))]
    apart: Option<crate::apart::Apart>,
}

impl Registry {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this one: the struct that `#[ropewalk::task]` put beside the function.
    #[must_use]
    pub fn with<T>(self) -> Self
    where
        T: Task<Output: Serialize>,
        T::Tuple: DeserializeOwned,
    {
        self.with_as::<T>(T::NAME)
    }

    /// And this one, under a name that others have for it: `with_as::<thumb>("app.tasks.thumb")` runs the jobs that a Python
    /// program enqueues for its own function of that name. Arguments by name find the parameters of the same name.
    ///
    /// ```
    /// # use ropewalk_jobs::Registry;
    /// #[ropewalk::task]
    /// fn thumb(id: u64, size: u32) -> u64 {
    ///     id * u64::from(size)
    /// }
    ///
    /// let registry = Registry::new().with_as::<thumb>("app.tasks.thumb");
    /// let takes = |payload| registry.takes("app.tasks.thumb", payload).unwrap();
    /// assert!(takes(r#"{"args": [7], "kwargs": {"size": 200}}"#).is_ok());
    /// assert_eq!(takes("[7]").unwrap_err().to_string(), "app.tasks.thumb(id, size) missing 1 required argument: 'size'");
    /// ```
    #[must_use]
    pub fn with_as<T>(mut self, name: impl Into<String>) -> Self
    where
        T: Task<Output: Serialize>,
        T::Tuple: DeserializeOwned,
    {
        let name = name.into();
        let own = name.clone();
        let handler: Handler = Arc::new(move |payload, job| run::<T>(&own, payload, job));
        let entry = Entry {
            handler,
            takes: Some(takes::<T>),
            #[cfg(all(target_os = "linux", feature = "process"))]
            apart: Some(crate::apart::run::<T>),
        };
        self.0.insert(name, entry);
        self
    }

    /// And one that is not made by the attribute.
    #[must_use]
    pub fn with_handler(mut self, name: impl Into<String>, handler: Handler) -> Self {
        let entry = Entry {
            handler,
            takes: None,
            #[cfg(all(target_os = "linux", feature = "process"))]
            apart: None,
        };
        self.0.insert(name.into(), entry);
        self
    }

    /// The names of the tasks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Handler> {
        self.0.get(name).map(|entry| &entry.handler)
    }

    /// Whether the task of this name takes these arguments; nothing if there is none, or only its handler knows.
    ///
    /// # Errors
    ///
    /// What does not fit, as the job would say it.
    pub fn takes(&self, name: &str, payload: &str) -> Option<Result<(), Problem>> {
        let takes = self.0.get(name)?.takes?;
        Some(takes(name, payload))
    }

    /// How a task runs in a process of its own.
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub(crate) fn apart(&self, name: &str) -> Option<crate::apart::Apart> {
        self.0.get(name)?.apart
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn takes<T: Task<Tuple: DeserializeOwned>>(name: &str, payload: &str) -> Result<(), Problem> {
    arguments::tuple::<T::Tuple>(name, T::PARAMETERS, payload).map(drop)
}

/// Runs a task: from the payload to the result.
pub(crate) fn run<T>(name: &str, payload: &str, job: &JobContext) -> Ran
where
    T: Task<Output: Serialize>,
    T::Tuple: DeserializeOwned,
{
    let tuple = arguments::tuple(name, T::PARAMETERS, payload)
        .map_err(|problem| Failure::new(FailureKind::Payload, problem.to_string()))?;
    let output = T::from_tuple(tuple).run_in(job).map_err(|error| Failure::of_task(&error))?;
    serde_json::to_string(&output)
        .map_err(|error| Failure::new(FailureKind::Result, format!("the result cannot be written as JSON: {error}")))
}

/// The arguments of a call as a payload.
///
/// # Errors
///
/// When they cannot be written as JSON.
pub(crate) fn payload<T: Task<Tuple: Serialize>>(arguments: T) -> Result<String, serde_json::Error> {
    if T::PARAMETERS.is_empty() {
        return Ok("[]".to_owned());
    }
    serde_json::to_string(&arguments.into_tuple())
}
