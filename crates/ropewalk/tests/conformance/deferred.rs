//! Hazards of executors whose jobs may have to wait for their turn.

use crate::subject::Queues;
use crate::support::{HANG, eventually, ignore, joined};
use ropewalk::sync::Event;
use ropewalk::task::TaskGroup;
use ropewalk::{Executor, ReturnWhen, Shutdown, Submit, TaskError, TaskHandle, as_completed, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The only thread of an executor is held up in a wait that nobody but this knows of, until this is dropped.
struct Occupied {
    _lets_go: mpsc::Sender<()>,
    handle: Option<TaskHandle<u64>>,
}

impl Occupied {
    fn new<S: Queues>(executor: &S::Executor) -> Self {
        let (lets_go, held) = mpsc::channel::<()>();
        let handle = executor.submit(S::job(move || u64::from(held.recv().is_err())));
        eventually("the worker is busy", || handle.is_running());
        Self { _lets_go: lets_go, handle: Some(handle) }
    }

    fn release(mut self) -> TaskHandle<u64> {
        self.handle.take().expect("released once")
    }
}

fn counts<S: Queues>(ran: &Arc<AtomicUsize>) -> S::Job {
    let ran = Arc::clone(ran);
    S::job(move || ran.fetch_add(1, Ordering::Relaxed) as u64)
}

/// A job that waits for ever.
fn never<S: Queues>() -> S::Job {
    S::after(Arc::new(Event::new()), || 0)
}

pub(crate) fn cancelled_in_the_queue_never_runs<S: Queues>() {
    let (executor, ran) = (S::new(1), Arc::default());
    let occupied = Occupied::new::<S>(&executor);
    let handles: Vec<_> = (0..5).map(|_| executor.submit(counts::<S>(&ran))).collect();
    assert!(handles.iter().all(TaskHandle::cancel), "all were pending");
    assert!(handles.iter().all(|handle| handle.is_finished() && handle.is_cancelled()), "at once");
    assert_eq!(joined(occupied.release()), 1);
    assert!(handles.into_iter().all(|handle| matches!(handle.join(), Err(TaskError::Cancelled))));
    executor.shutdown(Shutdown::Wait);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

pub(crate) fn cancelled_while_it_waits<S: Queues>() {
    let executor = S::new(1);
    let handle = executor.submit(never::<S>());
    eventually("it has begun", || handle.is_running());
    assert!(!handle.cancel(), "it had started");
    assert!(matches!(handle.join(), Err(TaskError::Cancelled)));
    assert_eq!(joined(executor.submit(S::job(|| 2))), 2);
}

pub(crate) fn shutdown_cancels_what_is_pending<S: Queues>() {
    let (executor, ran) = (S::new(1), Arc::default());
    let occupied = Occupied::new::<S>(&executor);
    let handles: Vec<_> = (0..5).map(|_| executor.submit(counts::<S>(&ran))).collect();
    thread::scope(|scope| {
        let shutter = scope.spawn(|| executor.shutdown(Shutdown::CancelPending));
        eventually("the others cancelled", || handles.iter().all(TaskHandle::is_cancelled));
        assert!(!shutter.is_finished(), "one still runs");
        assert_eq!(joined(occupied.release()), 1);
    });
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

pub(crate) fn shutdown_that_kills_ends_waits<S: Queues>() {
    let executor = S::new(2);
    let handles: Vec<_> = (0..10).map(|_| executor.submit(never::<S>())).collect();
    eventually("one has begun", || handles.iter().any(TaskHandle::is_running));
    executor.shutdown(Shutdown::Kill);
    assert!(handles.into_iter().all(|handle| matches!(handle.join(), Err(TaskError::Cancelled))));
}

pub(crate) fn detached_jobs_are_finished<S: Queues>() {
    let (executor, gate, ran) = (S::new(1), Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..5)
        .map(|_| {
            let ran = Arc::clone(&ran);
            executor.submit(S::after(Arc::clone(&gate), move || ran.fetch_add(1, Ordering::Relaxed) as u64))
        })
        .collect();
    executor.shutdown(Shutdown::Detach);
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    gate.set();
    handles.into_iter().for_each(|handle| ignore(joined(handle)));
    assert_eq!(ran.load(Ordering::Relaxed), 5);
}

pub(crate) fn deadline_passes_in_the_queue<S: Queues>() {
    let (executor, ran) = (S::new(1), Arc::default());
    let occupied = Occupied::new::<S>(&executor);
    let limit = Duration::from_millis(5);
    let handle = executor.timeout(limit).submit(counts::<S>(&ran));
    let start = Instant::now();
    eventually("its time is over", || start.elapsed() > limit);
    assert_eq!(joined(occupied.release()), 1);
    assert!(matches!(handle.join(), Err(TaskError::TimedOut)));
    executor.shutdown(Shutdown::Wait);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

pub(crate) fn as_completed_in_the_order_of_ends<S: Queues>() {
    let executor = S::new(2);
    let gates: Vec<_> = (0..4).map(|_| Arc::new(Event::new())).collect();
    let handles: Vec<_> =
        (0..4).zip(&gates).map(|(n, gate)| executor.submit(S::after(Arc::clone(gate), move || n))).collect();
    let mut completed = as_completed(handles);
    for n in [2, 0, 3, 1] {
        gates[n].set();
        assert_eq!(completed.next().expect("one more").join().unwrap(), n as u64);
    }
    assert!(completed.next().is_none() && !completed.timed_out());

    let mut completed = as_completed([executor.submit(never::<S>())]).timeout(Duration::from_millis(5));
    assert!(completed.next().is_none() && completed.timed_out());
    completed.into_remaining().iter().for_each(|handle| ignore(handle.cancel()));
}

pub(crate) fn wait_ends_with_the_first<S: Queues>() {
    let executor = S::new(2);
    let gate = Arc::new(Event::new());
    let handles = [
        executor.submit(never::<S>()),
        executor.submit(S::after(Arc::clone(&gate), || panic!("the first failure"))),
        executor.submit(S::job(|| 2)),
    ];
    assert_eq!(wait(&handles, ReturnWhen::FirstCompleted, Some(HANG)).done, [2]);
    let waited = wait(&handles, ReturnWhen::FirstFailure, Some(Duration::from_millis(5)));
    assert_eq!((waited.done, waited.not_done), (vec![2], vec![0, 1]));
    gate.set();
    assert_eq!(wait(&handles, ReturnWhen::FirstFailure, Some(HANG)).not_done, [0]);
    handles[0].cancel();
    assert_eq!(wait(&handles, ReturnWhen::AllCompleted, Some(HANG)).done, [0, 1, 2]);
}

pub(crate) fn group_cancels_the_others<S: Queues>() {
    let executor = S::new(2);
    let mut group = TaskGroup::new();
    (0..5).for_each(|_| group.add(executor.submit(never::<S>())));
    let gate = Arc::new(Event::new());
    group.add(executor.submit(S::after(Arc::clone(&gate), || panic!("the first failure"))));
    gate.set();
    match group.join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "the first failure"),
        other => panic!("not the first failure: {other:?}"),
    }
}
