//! What the suites know of an executor.

use ropewalk::executor::{Maps, Scope};
use ropewalk::sync::Event;
use ropewalk::{
    AsyncExecutor, Call, Executor, GreenletExecutor, InlineExecutor, Shutdown, Submit, TaskHandle, ThreadPoolExecutor,
    TrySubmitError,
};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Jobs share memory with their submitter.
pub(crate) struct InProcess;
/// Jobs run in other processes, whose workers can be reached.
pub(crate) struct Isolated;
/// Jobs run wherever somebody takes them from a queue.
pub(crate) struct Remote;

#[ropewalk::task]
pub(crate) fn square(n: u64) -> u64 {
    n * n
}

/// An error with a cause.
#[derive(Debug)]
struct Broken(&'static str, Option<Box<Self>>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[ropewalk::task]
pub(crate) fn fails() -> Result<u64, Box<dyn Error + Send + Sync>> {
    Err(Box::new(Broken("no rope", Some(Box::new(Broken("no yarn", Some(Box::new(Broken("no hemp", None)))))))))
}

#[ropewalk::task]
pub(crate) fn panics() -> u64 {
    panic!("a strand broke")
}

/// Waits in a way that can be ended from outside.
#[ropewalk::task]
pub(crate) fn naps(seconds: u64) -> u64 {
    ropewalk::sleep(Duration::from_secs(seconds));
    seconds
}

/// An executor under test.
pub(crate) trait Subject {
    type Tier;
    /// What it takes besides calls; a call again where there is nothing else.
    type Job: Send + 'static;
    type Executor: Executor
        + Submit<Self::Job, Output = u64>
        + Submit<Call<square, u64>, Output = u64>
        + Submit<Call<fails, u64>, Output = u64>
        + Submit<Call<panics, u64>, Output = u64>
        + Submit<Call<naps, u64>, Output = u64>
        + 'static;

    /// One that runs so many jobs at once, or at least so many.
    fn new(at_once: usize) -> Self::Executor;
}

/// What starts the jobs of a job, when it runs.
pub(crate) type Inner = Box<dyn FnOnce() -> Vec<TaskHandle<u64>> + Send>;

/// Its jobs are code of this program, in whichever form.
pub(crate) trait Local: Subject<Tier = InProcess> {
    fn job(work: impl FnOnce() -> u64 + Send + 'static) -> Self::Job;

    /// A job that waits for `gate` in the way of its model first.
    fn after(gate: Arc<Event>, work: impl FnOnce() -> u64 + Send + 'static) -> Self::Job;

    /// A job that waits for others, and gives their sum.
    fn sum(inner: Inner) -> Self::Job;
}

/// Its jobs may have to wait for their turn.
pub(crate) trait Queues: Local {}

/// Its jobs are closures.
pub(crate) trait Closures: Local<Executor: Maps<u64> + Maps<()>, Job = Closure> {
    fn scope<'env, R>(executor: &Self::Executor, body: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R) -> R;
}

pub(crate) type Closure = Box<dyn FnOnce() -> u64 + Send>;
type BoxedFuture = Pin<Box<dyn Future<Output = u64> + Send>>;

pub(crate) struct Inline;
pub(crate) struct Threads;
pub(crate) struct Greenlets;
pub(crate) struct AsyncTasks;

macro_rules! takes_closures {
    ($subject:ident, $executor:ty, $at_once:pat => $new:expr) => {
        impl Subject for $subject {
            type Tier = InProcess;
            type Job = Closure;
            type Executor = $executor;

            fn new($at_once: usize) -> Self::Executor {
                $new
            }
        }

        impl Local for $subject {
            fn job(work: impl FnOnce() -> u64 + Send + 'static) -> Closure {
                Box::new(work)
            }

            fn after(gate: Arc<Event>, work: impl FnOnce() -> u64 + Send + 'static) -> Closure {
                Box::new(move || {
                    gate.wait();
                    work()
                })
            }

            fn sum(inner: Inner) -> Closure {
                Box::new(move || inner().into_iter().map(|handle| handle.join().expect("a result")).sum())
            }
        }

        impl Closures for $subject {
            fn scope<'env, R>(executor: &$executor, body: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R) -> R {
                executor.scope(body)
            }
        }
    };
}

takes_closures!(Inline, InlineExecutor, _ => InlineExecutor::new());
takes_closures!(Threads, ThreadPoolExecutor, at_once => ThreadPoolExecutor::new(at_once));
takes_closures!(Greenlets, GreenletExecutor, at_once => GreenletExecutor::new(at_once));

impl Subject for AsyncTasks {
    type Tier = InProcess;
    type Job = BoxedFuture;
    type Executor = AsyncExecutor;

    fn new(at_once: usize) -> AsyncExecutor {
        AsyncExecutor::new(at_once)
    }
}

impl Local for AsyncTasks {
    fn job(work: impl FnOnce() -> u64 + Send + 'static) -> BoxedFuture {
        Box::pin(async move { work() })
    }

    fn after(gate: Arc<Event>, work: impl FnOnce() -> u64 + Send + 'static) -> BoxedFuture {
        Box::pin(async move {
            gate.wait_async().await;
            work()
        })
    }

    fn sum(inner: Inner) -> BoxedFuture {
        Box::pin(async move {
            let mut sum = 0;
            for handle in inner() {
                sum += handle.await.expect("a result");
            }
            sum
        })
    }
}

/// An executor that takes calls and nothing else. It stands in for those that run elsewhere: what the suites of their tiers
/// ask for beyond a call does not compile.
pub(crate) struct CallsOnly<T> {
    pool: ThreadPoolExecutor,
    tier: PhantomData<fn() -> T>,
}

pub(crate) type Elsewhere = CallsOnly<Isolated>;
pub(crate) type FarAway = CallsOnly<Remote>;

impl<T, A: Send + 'static, R: Send + 'static> Submit<Call<A, R>> for CallsOnly<T> {
    type Output = R;

    fn submit(&self, call: Call<A, R>) -> TaskHandle<R> {
        self.pool.submit(call)
    }

    fn try_submit(&self, call: Call<A, R>) -> Result<TaskHandle<R>, TrySubmitError<Call<A, R>>> {
        self.pool.try_submit(call)
    }

    fn submit_async(&self, call: Call<A, R>) -> impl Future<Output = TaskHandle<R>> {
        self.pool.submit_async(call)
    }
}

impl<T> Executor for CallsOnly<T> {
    fn shutdown(&self, how: Shutdown) {
        self.pool.shutdown(how);
    }

    fn parallelism(&self) -> usize {
        self.pool.parallelism()
    }
}

impl<T: 'static> Subject for CallsOnly<T> {
    type Tier = T;
    type Job = Call<square, u64>;
    type Executor = Self;

    fn new(at_once: usize) -> Self {
        Self { pool: ThreadPoolExecutor::new(at_once), tier: PhantomData }
    }
}

/// Other processes.
#[cfg(all(target_os = "linux", feature = "process"))]
pub(crate) struct Processes;

#[cfg(all(target_os = "linux", feature = "process"))]
impl Subject for Processes {
    type Tier = Isolated;
    type Job = Call<square, u64>;
    type Executor = ropewalk::ProcessPoolExecutor;

    fn new(at_once: usize) -> Self::Executor {
        ropewalk::ProcessPoolExecutor::new(at_once).expect("workers can be started")
    }
}

impl Queues for Threads {}
impl Queues for Greenlets {}
impl Queues for AsyncTasks {}
