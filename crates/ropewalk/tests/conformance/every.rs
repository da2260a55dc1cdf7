//! Hazards of every executor, wherever it runs its jobs: what is submitted is a call.

use crate::subject::{Subject, fails, panics, square};
use crate::support::joined;
use ropewalk::task::TaskGroup;
use ropewalk::{Executor, ReturnWhen, Shutdown, Submit, TaskError, TrySubmitError, as_completed, block_on, wait};
use std::sync::mpsc;

fn submit<S: Subject>(executor: &S::Executor, n: u64) -> ropewalk::TaskHandle<u64> {
    executor.submit(square::call(n))
}

pub(crate) fn call_gives_its_result<S: Subject>() {
    assert_eq!(joined(submit::<S>(&S::new(1), 7)), 49);
}

pub(crate) fn results_have_the_order_of_their_jobs<S: Subject>() {
    let results = S::new(3).run_all((0..40).map(square::call));
    let results: Vec<u64> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, (0..40).map(|n| n * n).collect::<Vec<_>>());
}

pub(crate) fn error_keeps_its_chain<S: Subject>() {
    match S::new(1).submit(fails::call()).join() {
        Err(TaskError::Failed { message, chain, .. }) => {
            assert_eq!((message.as_str(), chain), ("no rope", vec!["no yarn".to_owned(), "no hemp".to_owned()]));
        }
        other => panic!("not a failure: {other:?}"),
    }
}

pub(crate) fn panic_is_told_and_harms_nobody_else<S: Subject>() {
    let executor = S::new(1);
    for n in 0..3 {
        match executor.submit(panics::call()).join() {
            Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "a strand broke"),
            other => panic!("not a panic: {other:?}"),
        }
        assert_eq!(joined(submit::<S>(&executor, n)), n * n);
    }
}

pub(crate) fn jobs_after_shutdown_are_refused_and_given_back<S: Subject>() {
    for how in [Shutdown::Wait, Shutdown::CancelPending, Shutdown::Detach, Shutdown::Kill] {
        let executor = S::new(1);
        assert_eq!(joined(submit::<S>(&executor, 2)), 4);
        executor.shutdown(how);
        assert!(matches!(submit::<S>(&executor, 3).join(), Err(TaskError::Shutdown)), "{how:?}");
        match executor.try_submit(square::call(3)) {
            Err(error @ TrySubmitError::Shutdown(_)) => assert_eq!(error.into_job().run().unwrap(), 9),
            other => panic!("{how:?}: {other:?}"),
        }
        let late = block_on(executor.submit_async(square::call(3)));
        assert!(matches!(late.join(), Err(TaskError::Shutdown)), "{how:?}");
        executor.shutdown(Shutdown::Wait); // again: nothing to do
    }
}

pub(crate) fn three_ways_to_submit<S: Subject>() {
    let executor = S::new(2);
    let handles = [
        submit::<S>(&executor, 2),
        executor.try_submit(square::call(3)).expect("there is room"),
        block_on(executor.submit_async(square::call(4))),
    ];
    assert_eq!(handles.map(joined), [4, 9, 16]);
}

pub(crate) fn as_completed_gives_each_once<S: Subject>() {
    let executor = S::new(2);
    let mut results: Vec<u64> =
        as_completed((0..20).map(|n| submit::<S>(&executor, n))).map(|handle| handle.join().unwrap()).collect();
    results.sort_unstable();
    assert_eq!(results, (0..20).map(|n| n * n).collect::<Vec<_>>());
}

pub(crate) fn wait_in_each_mode<S: Subject>() {
    let executor = S::new(2);
    let handles = [submit::<S>(&executor, 1), executor.submit(fails::call()), submit::<S>(&executor, 2)];
    assert!(!wait(&handles, ReturnWhen::FirstCompleted, None).done.is_empty());
    assert!(wait(&handles, ReturnWhen::FirstFailure, None).done.contains(&1));
    let all = wait(&handles, ReturnWhen::AllCompleted, None);
    assert_eq!((all.done, all.not_done), (vec![0, 1, 2], vec![]));
    assert_eq!(handles.map(|handle| handle.is_failed()), [false, true, false]);
}

pub(crate) fn callbacks_in_their_order<S: Subject>() {
    let executor = S::new(1);
    let (told, hears) = mpsc::channel();
    let handle = executor.submit(fails::call());
    for number in 0..5 {
        let told = told.clone();
        handle.on_finish(move |outcome| told.send((number, outcome.is_err())).expect("somebody listens"));
    }
    drop(told);
    assert!(handle.join().is_err());
    assert_eq!(hears.iter().collect::<Vec<_>>(), (0..5).map(|number| (number, true)).collect::<Vec<_>>());
}

pub(crate) fn dropped_handle_harms_nobody<S: Subject>() {
    let executor = S::new(1);
    for n in 0..10 {
        drop(submit::<S>(&executor, n));
        drop(executor.submit(panics::call()));
    }
    assert_eq!(joined(submit::<S>(&executor, 3)), 9);
}

pub(crate) fn handle_is_a_future<S: Subject>() {
    let executor = S::new(1);
    let handle = submit::<S>(&executor, 5);
    assert_eq!(block_on(handle).unwrap(), 25);
    assert!(block_on(executor.submit(panics::call())).unwrap_err().is_panic());
}

pub(crate) fn group_fails_with_its_first_failure<S: Subject>() {
    let executor = S::new(2);
    let mut group = TaskGroup::new();
    (0..5).for_each(|n| group.add(submit::<S>(&executor, n)));
    assert_eq!(group.join().unwrap(), [0, 1, 4, 9, 16]);

    let mut group = TaskGroup::new();
    group.add(submit::<S>(&executor, 1));
    group.add(executor.submit(fails::call()));
    assert!(matches!(group.join(), Err(TaskError::Failed { .. })));
}

pub(crate) fn shutdown_waits_for_all<S: Subject>() {
    let executor = S::new(2);
    let handles: Vec<_> = (0..50).map(|n| submit::<S>(&executor, n)).collect();
    executor.shutdown(Shutdown::Wait);
    assert!(handles.iter().all(|handle| handle.is_finished()));
    assert_eq!(handles.into_iter().map(joined).sum::<u64>(), (0..50).map(|n| n * n).sum::<u64>());
}
