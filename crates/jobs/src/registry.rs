//! Which tasks a worker knows: from a stable name and text to a run, and back to text.

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
pub struct Registry(
    HashMap<String, Handler>,
    /// Those that can run in a process of their own.
    #[cfg(all(target_os = "linux", feature = "process"))]
    HashMap<String, crate::apart::Apart>,
);

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
        #[cfg_attr(
            not(all(target_os = "linux", feature = "process")),
            expect(unused_mut, reason = "only a process needs more")
        )]
        let mut this = self.with_handler(T::NAME, Arc::new(|payload, job| run::<T>(payload, job)));
        #[cfg(all(target_os = "linux", feature = "process"))]
        this.1.insert(T::NAME.to_owned(), crate::apart::run::<T>);
        this
    }

    /// And one that is not made by the attribute.
    #[must_use]
    pub fn with_handler(mut self, name: impl Into<String>, handler: Handler) -> Self {
        let name = name.into();
        #[cfg(all(target_os = "linux", feature = "process"))]
        self.1.remove(&name);
        self.0.insert(name, handler);
        self
    }

    /// The names of the tasks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Handler> {
        self.0.get(name)
    }

    /// How a task runs in a process of its own.
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub(crate) fn apart(&self, name: &str) -> Option<crate::apart::Apart> {
        self.1.get(name).copied()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Runs a task: from the payload to the result.
pub(crate) fn run<T>(payload: &str, job: &JobContext) -> Ran
where
    T: Task<Output: Serialize>,
    T::Tuple: DeserializeOwned,
{
    // To serde a tuple of nothing is null, and to everybody else it is an empty array.
    let text = if T::PARAMETERS.is_empty() && payload.trim() == "[]" { "null" } else { payload };
    let tuple = serde_json::from_str(text).map_err(|error| {
        let parameters = T::PARAMETERS.join(", ");
        Failure::new(
            FailureKind::Payload,
            format!(
                "the arguments do not fit {}({parameters}): {error}. Were they sent by another version of the program?",
                T::NAME
            ),
        )
    })?;
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
