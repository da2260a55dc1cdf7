//! The one thread of a queue that hears which jobs have ended, and tells the handles.
//!
//! A handle is a promise in a map. The thread follows the broker's list of ends, so what it costs depends on how many jobs end
//! and not on how many are waited for. From time to time it looks whether those that are waited for still exist: a job that
//! was deleted ends no more.

use super::enqueue_surely;
use crate::broker::{Broker, BrokerError, Control, Topic};
use crate::job::{Failure, FailureKind, Job, JobId, NewJob};
use crate::state::State;
use ropewalk::{TaskError, TaskHandle};
use ropewalk_core::task::promise::Promise;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it looks whether what is waited for still exists.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long it sleeps at most.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Tells one handle how its job ended; `None` when nobody will ever know.
type Tell = Box<dyn FnOnce(Option<Result<Job, Failure>>) + Send>;

enum Errand {
    Enqueue(Vec<NewJob>, Promise<Result<JobId, BrokerError>>),
    End(JobId),
    /// It may have ended before anybody waited for it.
    Look(JobId),
}

#[derive(Default)]
struct Desk {
    waiting: HashMap<JobId, Vec<Tell>>,
    errands: VecDeque<Errand>,
    closed: bool,
}

struct Shared {
    broker: Arc<dyn Broker>,
    desk: Mutex<Desk>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, errand: Errand) {
        self.desk().errands.push_back(errand);
        self.broker.ring(Topic::Ended);
    }
}

pub(super) struct Courier {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Courier {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { shared: Arc::new(Shared { broker, desk: Mutex::default() }), thread: Mutex::new(None) }
    }

    /// The thread is there once somebody waits.
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            // From here on, ends are heard of: what is registered after this misses none.
            let mark = self.shared.broker.ended_since(None).map(|(mark, _)| mark);
            let shared = Arc::clone(&self.shared);
            let name = "ropewalk-jobs-courier".to_owned();
            let spawned = std::thread::Builder::new().name(name).spawn(move || run(&shared, mark.ok()));
            *thread = Some(spawned.expect("waiting for jobs needs a thread"));
        }
    }

    /// A handle to a job that is in the queue, and may have ended already.
    pub(super) fn wait_for<R: DeserializeOwned + Send + 'static>(&self, id: &JobId) -> TaskHandle<R> {
        self.start();
        let (mut promise, handle) = Promise::<R>::new();
        // From here on a cancel is a request to the broker, which knows whether the job has begun.
        promise.begin();
        let asker = Asker { shared: Arc::clone(&self.shared), id: id.clone() };
        promise.interrupt().leave_waker(&Waker::from(Arc::new(asker)));
        let tell: Tell = Box::new(move |ended| match ended {
            Some(ended) => promise.complete(ended.map_err(Failure::into_task_error).and_then(result_of)),
            None => promise.complete(Err(TaskError::Shutdown)),
        });
        self.shared.desk().waiting.entry(id.clone()).or_default().push(tell);
        self.shared.send(Errand::Look(id.clone()));
        handle
    }

    /// How many are waited for.
    pub(super) fn waiting(&self) -> usize {
        self.shared.desk().waiting.len()
    }

    pub(super) fn end_all(&self) {
        let ids: Vec<JobId> = self.shared.desk().waiting.keys().cloned().collect();
        ids.into_iter().for_each(|id| self.shared.send(Errand::End(id)));
    }

    /// Enqueues on the courier's thread, for those who may not wait here; the id that the first of them has.
    pub(super) fn enqueue(&self, jobs: Vec<NewJob>) -> TaskHandle<Result<JobId, BrokerError>> {
        self.start();
        let (mut promise, handle) = Promise::new();
        promise.begin();
        self.shared.send(Errand::Enqueue(jobs, promise));
        handle
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let left = {
            let mut desk = self.shared.desk();
            desk.closed = true;
            std::mem::take(&mut desk.waiting)
        };
        left.into_values().flatten().for_each(|tell| tell(None));
        self.shared.broker.ring(Topic::Ended);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Whoever cancels a handle asks the broker to end the job.
struct Asker {
    shared: Arc<Shared>,
    id: JobId,
}

impl Wake for Asker {
    fn wake(self: Arc<Self>) {
        self.shared.send(Errand::End(self.id.clone()));
    }
}

fn gone(id: &JobId) -> Failure {
    Failure::new(FailureKind::Error, format!("job {id} is not known any more: it was deleted, or kept long enough"))
}

/// What the handle of an ended job says.
fn result_of<R: DeserializeOwned>(job: Job) -> Result<R, TaskError> {
    match (job.state, job.failure) {
        (State::Done, _) => {
            let text = job.result.as_deref().unwrap_or("null");
            serde_json::from_str(text).map_err(|error| {
                let message = format!("the result of job {} is not of the type asked for: {error}", job.id);
                Failure::new(FailureKind::Result, message).into_task_error()
            })
        }
        (State::Failed, Some(failure)) => Err(failure.into_task_error()),
        // Cancelled because what it needed ended otherwise: that is worth saying.
        (State::Canceled, Some(failure)) => Err(failure.into_task_error()),
        _ => Err(TaskError::Cancelled),
    }
}

fn tell(shared: &Shared, id: &JobId, ended: &Result<Job, Failure>) {
    let tells = shared.desk().waiting.remove(id).unwrap_or_default();
    tells.into_iter().for_each(|tell| tell(Some(ended.clone())));
}

fn run(shared: &Shared, mut mark: Option<u64>) {
    let mut looked = Instant::now();
    let mut look_again = false;
    loop {
        let seen = shared.broker.news(Topic::Ended);
        let (errands, is_closed) = {
            let mut desk = shared.desk();
            (std::mem::take(&mut desk.errands), desk.closed)
        };
        if is_closed {
            // Nobody listens any more; but who asked for an end means the job.
            for errand in errands {
                if let Errand::End(id) = errand {
                    drop(shared.broker.control(&Control::End(id)));
                }
            }
            return;
        }
        let mut look_at: Vec<JobId> = Vec::new();
        for errand in errands {
            match errand {
                Errand::Enqueue(jobs, promise) => {
                    let enqueued = enqueue_surely(&*shared.broker, &jobs)
                        .map(|enqueued| enqueued.first().expect("an answer for each job").id().clone());
                    promise.complete(Ok(enqueued));
                }
                Errand::End(id) => match shared.broker.control(&Control::End(id.clone())) {
                    Err(error) if error.is_passing() => {
                        shared.desk().errands.push_back(Errand::End(id));
                    }
                    // It may have ended meanwhile, and then there is nothing to end.
                    _ => {}
                },
                Errand::Look(id) => look_at.push(id),
            }
        }
        match shared.broker.ended_since(mark) {
            Ok((next, ids)) => {
                // Without a mark there was no list to follow: look at all of them once.
                if mark.is_none() {
                    look_at.extend(shared.desk().waiting.keys().cloned());
                }
                mark = Some(next);
                let desk = shared.desk();
                look_at.extend(ids.into_iter().filter(|id| desk.waiting.contains_key(id)));
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
        if looked.elapsed() >= LOOK_EVERY || look_again {
            (looked, look_again) = (Instant::now(), false);
            look_at.extend(shared.desk().waiting.keys().cloned());
        }
        for id in look_at {
            match shared.broker.job(&id) {
                Ok(Some(job)) if job.state.is_ended() => tell(shared, &id, &Ok(job)),
                Ok(Some(_)) => {}
                Ok(None) => tell(shared, &id, &Err(gone(&id))),
                Err(_) => look_again = true,
            }
        }
        shared.broker.wait(Topic::Ended, seen, SLEEP_MAX);
    }
}
