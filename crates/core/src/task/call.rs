//! A call: arguments plus which function. What `#[ropewalk::task]` makes, and what every executor can run.

use super::TaskError;
use std::fmt;

/// A function of this program with its arguments, not called yet.
///
/// A closure can only run where it was made. A call is data and a name, so it can also travel: to another process, or
/// through a job queue to another machine. `#[ropewalk::task]` makes one with `function::call(arguments)`.
///
/// # Examples
///
/// ```
/// use ropewalk_core::task::Call;
///
/// let call = Call::new("app::double", 21, |n| Ok(2 * n));
/// assert_eq!(call.name(), "app::double");
/// assert_eq!(call.run().unwrap(), 42);
/// ```
#[must_use = "a call does nothing until it is submitted to an executor"]
pub struct Call<A, R> {
    name: &'static str,
    args: A,
    run: fn(A) -> Result<R, TaskError>,
}

impl<A, R> Call<A, R> {
    /// A call of `run` with `args`; `name` is the same in every build of the program.
    pub const fn new(name: &'static str, args: A, run: fn(A) -> Result<R, TaskError>) -> Self {
        Self { name, args, run }
    }

    /// The stable name of the function: its module path and name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The arguments.
    pub fn args(&self) -> &A {
        &self.args
    }

    /// Calls the function here and now.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] when the function returned an error.
    pub fn run(self) -> Result<R, TaskError> {
        (self.run)(self.args)
    }
}

impl<A: Clone, R> Clone for Call<A, R> {
    fn clone(&self) -> Self {
        Self { name: self.name, args: self.args.clone(), run: self.run }
    }
}

impl<A: fmt::Debug, R> fmt::Debug for Call<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("name", &self.name).field("args", &self.args).finish()
    }
}
