//! Which tasks a worker knows: from a stable name and text to a run, and back to text.

use crate::arguments;
use crate::job::{Failure, FailureKind};
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
pub struct Registry(HashMap<String, Handler>);

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
        self.with_handler(T::NAME, Arc::new(|payload, job| run::<T>(payload, job)))
    }

    /// And one that is not made by the attribute.
    #[must_use]
    pub fn with_handler(mut self, name: impl Into<String>, handler: Handler) -> Self {
        self.0.insert(name.into(), handler);
        self
    }

    /// The names of the tasks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Handler> {
        self.0.get(name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn run<T>(payload: &str, job: &JobContext) -> Ran
where
    T: Task<Output: Serialize>,
    T::Tuple: DeserializeOwned,
{
    let tuple = arguments::tuple(T::NAME, T::PARAMETERS, payload)
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
