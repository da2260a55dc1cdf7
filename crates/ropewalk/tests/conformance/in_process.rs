//! Hazards of executors whose jobs share memory with whoever submits them.

use crate::subject::{Inline, Inner, Local};
use crate::support::{HANG, eventually, joined};
use ropewalk::sync::Event;
use ropewalk::{Executor, Shutdown, Submit, TaskError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A time limit that does not pass in a test.
const AMPLE: Duration = Duration::from_secs(3600);

/// A program of jobs, some of which end badly: how each ended, as text.
fn program<S: Local>() -> Vec<String> {
    let executor = Arc::new(S::new(2));
    let mut ended = Vec::new();
    for n in 0..60_u64 {
        let inner: Arc<S::Executor> = Arc::clone(&executor);
        let job = match n % 4 {
            0 => S::job(move || n),
            1 => S::job(move || panic!("job {n}")),
            2 => S::job(move || std::panic::panic_any(n)),
            _ => {
                let starts: Inner = Box::new(move || (0..n % 5).map(|m| inner.submit(S::job(move || n * m))).collect());
                S::sum(starts)
            }
        };
        let handle = match n % 7 {
            6 => executor.timeout(Duration::ZERO).submit(job),
            _ => executor.submit(job),
        };
        ended.push(format!("{:?}", handle.join()));
    }
    executor.shutdown(Shutdown::Wait);
    ended.push(format!("{:?}", executor.submit(S::job(|| 1)).join()));
    ended
}

pub(crate) fn outcomes_are_those_of_the_reference<S: Local>() {
    let reference = program::<Inline>();
    assert!(reference.iter().any(|ended| ended == "Ok(12)") && reference.iter().any(|ended| ended.contains("job 5")));
    assert_eq!(program::<S>(), reference);
}

pub(crate) fn panic_in_a_callback<S: Local>() {
    let executor = S::new(1);
    let gate = Arc::new(Event::new());
    gate.set();
    let handle = executor.submit(S::after(gate, || 1));
    handle.on_finish(|_| panic!("in a callback"));
    assert_eq!(joined(handle), 1);
    assert_eq!(joined(executor.submit(S::job(|| 2))), 2);
}

struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if !std::thread::panicking() {
            panic!("in a destructor");
        }
    }
}

pub(crate) fn panic_in_a_destructor<S: Local>() {
    let executor = S::new(1);
    let dropped = Arc::new(AtomicUsize::new(0));
    // What the job holds at its end, what the payload of a panic holds, and what a job holds that never runs.
    let bomb = || Bomb(Arc::clone(&dropped));
    let held = bomb();
    assert!(
        executor
            .submit(S::job(move || u64::from(std::hint::black_box(&held).0.load(Ordering::Relaxed) > 9)))
            .join()
            .is_err()
    );
    let thrown = bomb();
    let handle = executor.submit(S::job(move || std::panic::panic_any(thrown)));
    // What a handle holds when it is dropped is its holder's; here nobody's, so it is dropped at the task's end or here.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
    let never = bomb();
    let late = executor.timeout(Duration::ZERO).submit(S::job(move || never.0.load(Ordering::Relaxed) as u64));
    assert!(matches!(late.join(), Err(TaskError::TimedOut)));
    eventually("all have been dropped", || dropped.load(Ordering::Relaxed) == 3);
    assert_eq!(joined(executor.submit(S::job(|| 2))), 2);
}

pub(crate) fn dropped_handle_detaches<S: Local>() {
    let executor = S::new(1);
    let (gate, ran) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (gate, ran) = (Arc::clone(&gate), Arc::clone(&ran));
            let executor = &executor;
            scope.spawn(move || {
                drop(executor.submit(S::after(gate, move || ran.fetch_add(1, Ordering::Relaxed) as u64)))
            });
        }
        gate.set();
    });
    executor.shutdown(Shutdown::Wait);
    assert_eq!(ran.load(Ordering::Relaxed), 3);
}

pub(crate) fn job_that_waits_for_jobs_of_its_executor<S: Local>() {
    fn down<S: Local>(executor: &Arc<S::Executor>, depth: u64) -> S::Job {
        let inner = Arc::clone(executor);
        S::sum(Box::new(move || match depth {
            0 => vec![inner.submit(S::job(|| 1))],
            _ => (0..2).map(|_| inner.submit(down::<S>(&inner, depth - 1))).collect(),
        }))
    }
    // One thread at once: whoever waits must make room for whom it waits for.
    let executor = Arc::new(S::new(1));
    assert_eq!(joined(executor.submit(down::<S>(&executor, 6))), 64);
}

/// A job cannot wait for its own end, so it does not.
pub(crate) fn shutdown_by_a_job_of_its_own<S: Local>() {
    let executor = Arc::new(S::new(1));
    let inner = Arc::clone(&executor);
    let handle = executor.submit(S::job(move || {
        inner.shutdown(Shutdown::Detach);
        u64::from(inner.submit(S::job(|| 1)).is_failed())
    }));
    assert_eq!(joined(handle), 1);
    executor.shutdown(Shutdown::Wait);
}

pub(crate) fn deadline_that_has_passed<S: Local>() {
    let executor = S::new(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let late = executor.timeout(Duration::ZERO);
    let runs = || {
        let ran = Arc::clone(&ran);
        S::job(move || ran.fetch_add(1, Ordering::Relaxed) as u64)
    };
    let handles =
        [late.submit(runs()), late.try_submit(runs()).expect("room"), ropewalk::block_on(late.submit_async(runs()))];
    for handle in handles {
        assert!(matches!(handle.join(), Err(TaskError::TimedOut)));
    }
    // The earlier of two limits is in force, in whichever order they were set.
    assert!(matches!(late.timeout(AMPLE).submit(runs()).join(), Err(TaskError::TimedOut)));
    let ample = executor.timeout(AMPLE);
    assert!(matches!(ample.timeout(Duration::ZERO).submit(runs()).join(), Err(TaskError::TimedOut)));
    executor.shutdown(Shutdown::Wait);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

pub(crate) fn deadline_ends_a_wait<S: Local>() {
    let executor = S::new(1);
    let never = Arc::new(Event::new());
    let mut handle = executor.timeout(Duration::from_millis(20)).submit(S::after(never, || 1));
    assert!(matches!(handle.join_timeout(HANG), Err(TaskError::TimedOut)) && handle.is_finished());
    assert_eq!(joined(executor.submit(S::job(|| 2))), 2);
}

pub(crate) fn deadline_is_no_limit_for_what_a_job_submits<S: Local>() {
    let executor = Arc::new(S::new(1));
    let (inner, gate) = (Arc::clone(&executor), Arc::new(Event::new()));
    let (opens, waits) = (Arc::clone(&gate), Arc::new(std::sync::Mutex::new(None)));
    let put = Arc::clone(&waits);
    // The job submits another one and waits too long itself. (Inline, that one runs within the first, so it may not wait.)
    let never = Arc::new(Event::new());
    let outer = executor.timeout(Duration::from_millis(20)).submit(S::sum(Box::new(move || {
        opens.set();
        *put.lock().unwrap() = Some(inner.submit(S::after(gate, || 3)));

        vec![inner.submit(S::after(never, || 0))]
    })));
    let outcome = outer.join();
    assert!(matches!(outcome, Err(TaskError::TimedOut | TaskError::Panicked(_))), "{outcome:?}");
    let handle = waits.lock().unwrap().take().expect("it was submitted");
    assert_eq!(joined(handle), 3);
    executor.shutdown(Shutdown::Kill);
}

pub(crate) fn deadline_in_time_changes_nothing<S: Local>() {
    let executor = S::new(1);
    let ample = executor.timeout(AMPLE);
    assert_eq!(joined(ample.submit(S::job(|| 1))), 1);
    assert!(matches!(ample.submit(S::job(|| panic!("within its time"))).join(), Err(TaskError::Panicked(_))));
    // A limit beyond the clock is none.
    assert_eq!(joined(executor.timeout(Duration::MAX).submit(S::job(|| 1))), 1);
}
