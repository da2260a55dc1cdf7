//! A call: arguments plus which function. What `#[ropewalk::task]` makes, and what every executor can run.

use super::{JobContext, TaskError, TaskOptions};
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

    /// The name, the arguments, and the plain function that runs them.
    ///
    /// For whoever carries a call elsewhere: a name means the same in every build, the address of the function only in
    /// this one.
    #[expect(clippy::type_complexity, reason = "a triple of what `new` takes")]
    pub fn into_parts(self) -> (&'static str, A, fn(A) -> Result<R, TaskError>) {
        (self.name, self.args, self.run)
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

/// What `#[ropewalk::task]` says of a function, on the struct of its arguments: all that a call needs to travel.
///
/// Arguments travel as a tuple, which can be serialized whenever each of them can: a task that stays in its process makes no
/// demand on their types.
///
/// # Examples
///
/// ```
/// # mod ropewalk { pub use ropewalk_core::task::{self, Call, TaskError}; }
/// use ropewalk::task::{Task, TaskError};
///
/// // What the attribute makes of `fn double(n: u64) -> u64`:
/// #[allow(non_camel_case_types)]
/// struct double {
///     n: u64,
/// }
///
/// impl Task for double {
///     type Tuple = (u64,);
///     type Output = u64;
///     const NAME: &'static str = "app::double";
///     const PARAMETERS: &'static [&'static str] = &["n"];
///
///     fn into_tuple(self) -> (u64,) {
///         (self.n,)
///     }
///     fn from_tuple((n,): (u64,)) -> Self {
///         double { n }
///     }
///     fn run(self) -> Result<u64, TaskError> {
///         Ok(2 * self.n)
///     }
/// }
///
/// let travelled = double::from_tuple((double { n: 21 }).into_tuple());
/// assert_eq!((double::NAME, travelled.run().unwrap()), ("app::double", 42));
/// ```
pub trait Task: Sized + Send + 'static {
    /// The arguments in the order of the parameters; of one argument `(A,)`.
    type Tuple;
    /// What the function returns; of a function that returns `Result<T, E>`, `T`.
    type Output: Send + 'static;
    /// The stable name of the function: its module path and name.
    const NAME: &'static str;
    /// The names of the parameters, in order.
    const PARAMETERS: &'static [&'static str];
    /// What the attribute says about jobs of this task.
    const OPTIONS: TaskOptions = TaskOptions::new();

    /// The arguments as a tuple.
    fn into_tuple(self) -> Self::Tuple;

    /// The arguments of a tuple.
    fn from_tuple(tuple: Self::Tuple) -> Self;

    /// Calls the function here and now.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] when the function returned an error.
    fn run(self) -> Result<Self::Output, TaskError>;

    /// [`run`](Self::run) in the context that a worker gives. A task that takes nothing of it is run as it is.
    ///
    /// # Errors
    ///
    /// As `run`; also when the worker lacks a state that the task takes.
    fn run_in(self, job: &JobContext) -> Result<Self::Output, TaskError> {
        let _ = job;
        self.run()
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
