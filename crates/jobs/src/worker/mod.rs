//! The worker: takes jobs from a broker and runs them.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `dispatcher` | the loop that settles and claims |
//! | `heartbeater` | the loop that says "alive" |
//! | `keeper` | the loop that lets time pass for the store |
//! | `verdict`, `order` | what the end of a run means; which queue comes first: pure |
//! | `crew`, `slots` | the threads that call the loops, and what they share |
//! | `model` | on what jobs run; `relay`: on threads, without a wake-up for each |
//! | `scheduler` | the loop that runs schedules (feature `cron`) |
//! | `metrics` | what a worker tells over HTTP (feature `metrics`) |

mod crew;
pub(crate) mod dispatcher;
pub(crate) mod heartbeater;
pub(crate) mod keeper;
#[cfg(feature = "metrics")]
mod metrics;
mod model;
pub(crate) mod order;
mod relay;
#[cfg(feature = "cron")]
pub(crate) mod scheduler;
#[cfg(test)]
mod simulation;
mod slots;
pub(crate) mod verdict;

pub use dispatcher::Counts;
pub use model::Model;

use crate::broker::{Broker, BrokerError, Command};
use crate::job::{DEFAULT_QUEUE, Failure, JobId, WorkerId};
use crate::registry::{Handler, Registry};
use crew::{Crew, Shared};
use order::Order;
use ropewalk::task::{States, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a lease holds without a sign of life, unless the worker says otherwise.
pub const LEASE: Duration = Duration::from_secs(30);
/// The shortest lease.
pub const LEASE_MIN: Duration = Duration::from_millis(300);
/// How long running jobs may go on after a worker was told to stop, unless it says otherwise.
pub const GRACE: Duration = Duration::from_secs(25);

/// What a worker has to say while it works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A run failed: the job, its task, why. It may be tried again.
    Failed(JobId, String, Failure),
    /// Nobody here knows the task of a job; it went back for others.
    Unknown(JobId, String),
    /// A run goes on long after its time limit, and holds its thread.
    Hangs(JobId, String),
    /// So many jobs of workers that ended or hung were taken back.
    Recovered(usize),
    /// So many slots of a schedule had passed when it was looked at, and are not run: what it says about missed ones.
    Missed(String, usize),
    /// A slot of a schedule enqueued nothing, because this job is the same work: it has its unique key, and has not ended.
    Doubled(String, JobId),
    /// The processes of this worker died again and again without a job done; it goes on with new ones, or tries to: why.
    Processes(String),
    /// Somebody told it what to do, through the broker.
    Told(Command),
    /// The broker refused a step; it is tried again.
    Trouble(BrokerError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(id, task, failure) => write!(f, "job {id} of {task} failed: {failure}"),
            Self::Unknown(id, task) => {
                write!(
                    f,
                    "job {id} went back: this worker does not know the task {task}; register it, or let others serve its queue"
                )
            }
            Self::Hangs(id, task) => write!(f, "job {id} of {task} goes on after its time limit and holds its thread"),
            Self::Missed(schedule, slots) => {
                write!(f, "{slots} slot(s) of the schedule {schedule} had passed while nobody looked, and are not run")
            }
            Self::Doubled(schedule, id) => {
                write!(f, "a slot of the schedule {schedule} enqueued nothing: job {id} is the same work")
            }
            Self::Processes(why) => write!(f, "the processes that run jobs died again and again: {why}"),
            Self::Told(Command::End) => f.write_str("told to end, by a command"),
            Self::Told(Command::Kill) => f.write_str("told to break off what it runs, by a command"),
            Self::Recovered(jobs) => write!(f, "{jobs} job(s) of workers that ended or hung were taken back"),
            Self::Trouble(error) => write!(f, "the broker refused a step, which is tried again: {error}"),
        }
    }
}

type Tell = Arc<dyn Fn(&Notice) + Send + Sync>;

/// What a worker was told before it began.
#[derive(Clone)]
pub(crate) struct Config {
    worker: WorkerId,
    order: Order,
    concurrency: usize,
    lease: Duration,
    grace: Duration,
    burst: bool,
    model: Model,
    registry: Registry,
    states: Arc<States>,
    notice: Option<Tell>,
    /// What there is to say about the pool of processes.
    #[cfg(all(target_os = "linux", feature = "process"))]
    processes: Option<BuildPool>,
    #[cfg(feature = "cron")]
    schedules: Vec<crate::cron::Schedule>,
    /// Where health and counts are told.
    #[cfg(feature = "metrics")]
    metrics: Option<Arc<std::net::TcpListener>>,
}

/// Adds to the builder of a pool of processes.
#[cfg(all(target_os = "linux", feature = "process"))]
type BuildPool = Arc<dyn Fn(ropewalk::process::Builder) -> ropewalk::process::Builder + Send + Sync>;

/// Takes jobs from a broker and runs them. See the crate's first page for an example.
#[must_use = "a worker does nothing until it is run or started"]
pub struct Worker {
    broker: Arc<dyn Broker>,
    config: Config,
    states: States,
}

impl Worker {
    /// A worker for the queue `default`, which runs one job at a time.
    pub fn new(broker: impl Broker + 'static) -> Self {
        let config = Config {
            worker: WorkerId::random(),
            order: Order::Strict(vec![DEFAULT_QUEUE.to_owned()]),
            concurrency: 1,
            lease: LEASE,
            grace: GRACE,
            burst: false,
            model: Model::Threads,
            registry: Registry::new(),
            states: Arc::default(),
            notice: Some(Arc::new(|notice| {
                // Nobody may listen there any more, and jobs go on all the same.
                let _ = writeln!(io::stderr(), "ropewalk worker: {notice}");
            })),
            #[cfg(all(target_os = "linux", feature = "process"))]
            processes: None,
            #[cfg(feature = "cron")]
            schedules: Vec::new(),
            #[cfg(feature = "metrics")]
            metrics: None,
        };
        Self { broker: Arc::new(broker), config, states: States::new() }
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut this = self;
        change(&mut this.config);
        this
    }

    /// Serves these queues. A later one has its turn when those before it have nothing ready.
    pub fn queues<Q: Into<String>>(self, queues: impl IntoIterator<Item = Q>) -> Self {
        let queues = queues.into_iter().map(Into::into).collect();
        self.with(|config| config.order = Order::Strict(queues))
    }

    /// Serves these queues, each first in proportion to its weight: none starves.
    pub fn weighted_queues<Q: Into<String>>(self, queues: impl IntoIterator<Item = (Q, u32)>) -> Self {
        let queues = queues.into_iter().map(|(queue, weight)| (queue.into(), weight)).collect();
        self.with(|config| config.order = Order::Weighted(queues))
    }

    /// Runs so many jobs at once. It takes no more from the queue than it can run.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn concurrency(self, jobs: usize) -> Self {
        assert!(jobs > 0, "a worker runs at least one job at a time");
        self.with(|config| config.concurrency = jobs)
    }

    /// Runs them on this model.
    pub fn model(self, model: Model) -> Self {
        self.with(|config| config.model = model)
    }

    /// Runs each job in a process of its own ([`Model::Processes`]): a pool of as many as run at once, about which `build` may say
    /// more, as its limits, after how many jobs a process is replaced, and its initializer, which can [`lend`](crate::lend) states.
    ///
    /// What is stopped is asked to end, and killed half a second later (the pool's *grace*), and so is what is over its timeout. The
    /// end of the worker waits for no grace longer than two seconds. A
    /// process that dies, by a signal, by `exit` or because it may have no more memory, has failed its job with kind
    /// [`Crash`](crate::FailureKind::Crash), which is tried again as any failure is.
    ///
    /// ```no_run
    /// use ropewalk::process::Limits;
    /// use ropewalk_jobs::{MemoryBroker, Worker};
    ///
    /// # fn open_database(_: String) {}
    /// # #[ropewalk::task] fn convert(_path: String) {}
    /// #[ropewalk::main]
    /// fn main() -> std::io::Result<()> {
    ///     let worker = Worker::new(MemoryBroker::new()).concurrency(4).register::<convert>().processes(|pool| {
    ///         let limits = Limits::new().address_space(1 << 30);
    ///         pool.limits(limits).max_tasks_per_worker(1_000).initializer(open_database, "app.db".to_owned())
    ///     });
    ///     worker.run().map(drop)
    /// }
    /// ```
    #[cfg(all(target_os = "linux", feature = "process"))]
    pub fn processes(
        self,
        build: impl Fn(ropewalk::process::Builder) -> ropewalk::process::Builder + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| {
            config.model = Model::Processes;
            config.processes = Some(Arc::new(build));
        })
    }

    /// Enqueues the jobs of this schedule when their time comes, beside its other work. Any number of workers may have the same
    /// one: each slot is run once. Two of one worker with the same name would eat each other's slots; it does not start with them.
    #[cfg(feature = "cron")]
    pub fn schedule(self, schedule: crate::cron::Schedule) -> Self {
        self.with(|config| config.schedules.push(schedule))
    }

    /// Tells whoever asks there over HTTP how it does: `/health` (200 while its broker has taken a sign of life within a lease, 503 after that) and
    /// `/metrics`, in Prometheus' text format. It says which queues there are and how full, and has no password: keep it on
    /// loopback, as in `127.0.0.1:9901`, or in a network of your own.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    #[cfg(feature = "metrics")]
    pub fn serve_metrics(self, at: impl std::net::ToSocketAddrs) -> io::Result<Self> {
        let listener = Arc::new(std::net::TcpListener::bind(at)?);
        Ok(self.with(|config| config.metrics = Some(listener)))
    }

    /// Lends this to every task that takes a `State` of its type.
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> Self {
        Self { states: self.states.with(state), ..self }
    }

    /// Knows this task: the struct that `#[ropewalk::task]` put beside the function, as in `register::<thumb>()`.
    pub fn register<T>(self) -> Self
    where
        T: Task<Output: Serialize>,
        T::Tuple: DeserializeOwned,
    {
        self.with(|config| config.registry = std::mem::take(&mut config.registry).with::<T>())
    }

    /// Knows this task under a name that others have for it, as in `register_as::<thumb>("app.tasks.thumb")`: see
    /// [`Registry::with_as`].
    pub fn register_as<T>(self, name: impl Into<String>) -> Self
    where
        T: Task<Output: Serialize>,
        T::Tuple: DeserializeOwned,
    {
        self.with(|config| config.registry = std::mem::take(&mut config.registry).with_as::<T>(name))
    }

    /// Knows a task that is not made by the attribute.
    pub fn register_handler(self, name: impl Into<String>, handler: Handler) -> Self {
        self.with(|config| config.registry = std::mem::take(&mut config.registry).with_handler(name, handler))
    }

    /// Knows all of these tasks, and no others.
    pub fn registry(self, registry: Registry) -> Self {
        self.with(|config| config.registry = registry)
    }

    /// How long a job is kept for this worker without a sign of life. When the worker dies, its jobs run again after at most
    /// this long (and half a second). At least [`LEASE_MIN`]; signs of life are given three times as often.
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|config| config.lease = lease.max(LEASE_MIN))
    }

    /// How long running jobs may go on after it was told to stop.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|config| config.grace = grace)
    }

    /// Ends when nothing is ready in its queues and nothing runs.
    pub fn burst(self) -> Self {
        self.with(|config| config.burst = true)
    }

    /// Tells this what there is to say, instead of writing it to standard error. If it panics, that word is lost and the worker
    /// goes on.
    pub fn on_notice(self, tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.with(|config| config.notice = Some(Arc::new(tell)))
    }

    fn crew(self) -> io::Result<Crew> {
        let mut config = self.config;
        config.states = Arc::new(self.states);
        #[cfg(feature = "cron")]
        refuse_doubles(&config.schedules)?;
        Crew::new(self.broker, config)
    }

    /// Works until SIGTERM or SIGINT (Ctrl-C): then it takes no more jobs, and waits for those that run for as long as its
    /// grace. A second signal ends them at once; what has not ended goes back to its queue.
    ///
    /// # Errors
    ///
    /// When the signals cannot be listened to, when what its jobs run on cannot be had, and when two schedules have one name.
    pub fn run(self) -> io::Result<Counts> {
        let crew = self.crew()?;
        let signals = signals(crew.shared())?;
        let counts = crew.run();
        signals();
        counts
    }

    /// Works on a thread of its own, until it is told to stop.
    ///
    /// # Errors
    ///
    /// When there is no thread for it, when what its jobs run on cannot be had, and when two schedules have one name.
    pub fn start(self) -> io::Result<RunningWorker> {
        let crew = self.crew()?;
        let shared = Arc::clone(crew.shared());
        let thread = thread::Builder::new().name("ropewalk-jobs-worker".to_owned()).spawn(move || crew.run())?;
        Ok(RunningWorker { shared, thread: Some(thread) })
    }
}

/// A schedule is known by its name.
#[cfg(feature = "cron")]
fn refuse_doubles(schedules: &[crate::cron::Schedule]) -> io::Result<()> {
    let mut names = std::collections::HashSet::new();
    match schedules.iter().find(|schedule| !names.insert(schedule.name())) {
        Some(double) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "two schedules are called {}, by which the last slot that was run is kept: give each a name of its own",
                double.name()
            ),
        )),
        None => Ok(()),
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.config.worker)
            .field("registry", &self.config.registry)
            .finish_non_exhaustive()
    }
}

/// Tells the worker of signals; what it returns ends that.
#[cfg(unix)]
fn signals(shared: &Arc<Shared>) -> io::Result<impl FnOnce() + use<>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let (end, shared) = (signals.handle(), Arc::clone(shared));
    let thread = thread::Builder::new().name("ropewalk-jobs-signals".to_owned()).spawn(move || {
        signals.forever().for_each(|_| shared.stop());
    })?;
    Ok(move || {
        end.close();
        let _ = thread.join();
    })
}

#[cfg(not(unix))]
fn signals(_: &Arc<Shared>) -> io::Result<impl FnOnce() + use<>> {
    Ok(|| ())
}

/// A worker at work. Dropped, it is told to stop and waited for.
#[must_use = "dropped, it is told to stop and waited for"]
pub struct RunningWorker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Counts>>>,
}

impl RunningWorker {
    /// Takes no more jobs. Said a second time, those that run are asked to end at once.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Whether it has ended, by [`stop`](Self::stop) or because it was told to through its broker.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Where it tells how it does, if it does so: the port that was found where [`serve_metrics`](Worker::serve_metrics) was given 0.
    #[cfg(feature = "metrics")]
    pub fn metrics_addr(&self) -> Option<std::net::SocketAddr> {
        let (_, _, config, _) = self.shared.tells();
        config.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Waits for its end, as a thread does; what it counted.
    ///
    /// # Panics
    ///
    /// If a loop of the worker panicked, with its payload; if it could not have the threads that it needs beside its own.
    pub fn join(mut self) -> Counts {
        let thread = self.thread.take().expect("it is there until joined");
        let ended = thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        ended.unwrap_or_else(|error| panic!("a worker needs a few threads beside its own: {error}"))
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop();
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for RunningWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningWorker").finish_non_exhaustive()
    }
}
