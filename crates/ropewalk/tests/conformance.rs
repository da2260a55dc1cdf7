//! What every executor does, and what each tier of executors does: one suite of hazards, written once.
//!
//! A hazard is a function that is generic in its [`Subject`](subject::Subject). What a subject can do is said by its types
//! (its tier, whether its jobs wait for their turn, whether they are closures), and each instance below takes all the hazards
//! of the suites it names, when the tests are compiled: nothing is skipped when they run.
//!
//! | suite | its hazards need | held by |
//! | --- | --- | --- |
//! | `every` | calls of `#[ropewalk::task]` functions | every executor there is |
//! | `isolated` | an executor whose workers can be reached: they can be told to stop | not by a remote queue |
//! | `in_process` | jobs that share memory with their submitter | not by other processes |
//! | `deferred` | the same, and that a job may have to wait for its turn | not by the inline executor |
//! | `closures` | jobs that are closures; also borrowing ones | not by the async executor |
//!
//! [`InlineExecutor`](ropewalk::InlineExecutor) is the reference: what a program of jobs gives there, it gives everywhere.

#![cfg(all(unix, feature = "macros", feature = "greenlet"))]

mod support;

// Workers are this program, started once more.
#[cfg(all(target_os = "linux", feature = "process"))]
ropewalk::test_support!();

#[path = "conformance/closures.rs"]
mod closures;
#[path = "conformance/deferred.rs"]
mod deferred;
#[path = "conformance/every.rs"]
mod every;
#[path = "conformance/in_process.rs"]
mod in_process;
#[path = "conformance/isolated.rs"]
mod isolated;
#[path = "conformance/subject.rs"]
mod subject;

/// Makes a test of each hazard of each suite for one subject. The list of a suite is here, so that no instance can leave
/// one out; a hazard that is in no list is unused code, which the compiler reports.
macro_rules! conforms {
    (@list $subject:ident every) => {
        conforms!(@tests $subject every:
            call_gives_its_result, results_have_the_order_of_their_jobs, error_keeps_its_chain,
            panic_is_told_and_harms_nobody_else, jobs_after_shutdown_are_refused_and_given_back,
            three_ways_to_submit, as_completed_gives_each_once, wait_in_each_mode, callbacks_in_their_order,
            dropped_handle_harms_nobody, handle_is_a_future, group_fails_with_its_first_failure, shutdown_waits_for_all);
    };
    (@list $subject:ident isolated) => {
        conforms!(@tests $subject isolated: kill_ends_a_call_that_waits, deadline_ends_a_call_that_waits);
    };
    (@list $subject:ident in_process) => {
        conforms!(@tests $subject in_process:
            outcomes_are_those_of_the_reference, panic_in_a_callback, panic_in_a_destructor, dropped_handle_detaches,
            job_that_waits_for_jobs_of_its_executor, shutdown_by_a_job_of_its_own, deadline_that_has_passed,
            deadline_ends_a_wait, deadline_is_no_limit_for_what_a_job_submits, deadline_in_time_changes_nothing);
    };
    (@list $subject:ident deferred) => {
        conforms!(@tests $subject deferred:
            cancelled_in_the_queue_never_runs, cancelled_while_it_waits, shutdown_cancels_what_is_pending,
            shutdown_that_kills_ends_waits, detached_jobs_are_finished, deadline_passes_in_the_queue,
            as_completed_in_the_order_of_ends, wait_ends_with_the_first, group_cancels_the_others);
    };
    (@list $subject:ident closures) => {
        conforms!(@tests $subject closures:
            map_has_the_order_of_its_items, map_is_lazy, map_over_an_endless_iterator_is_bounded,
            map_dropped_early_cancels_the_rest, panic_of_an_item_has_its_place, for_each_throws_when_all_is_done,
            unordered_gives_all, map_inside_of_map, map_with_a_deadline_for_each_item, scope_lends_and_waits,
            scope_throws_the_panic_when_all_have_ended, scope_inside_of_scope, scope_after_shutdown_runs_nothing);
    };
    (@tests $subject:ident $suite:ident: $($hazard:ident),+) => {
        mod $suite {
            $(#[test]
            fn $hazard() {
                crate::$suite::$hazard::<crate::subject::$subject>();
            })+
        }
    };
    ($name:ident, $subject:ident: $tier:ident, $($suite:ident),+) => {
        mod $name {
            const _: fn() = || {
                fn has_this_tier<S: crate::subject::Subject<Tier = crate::subject::$tier>>() {}
                has_this_tier::<crate::subject::$subject>();
            };
            $(conforms!(@list $subject $suite);)+
        }
    };
}

conforms!(inline, Inline: InProcess, every, isolated, in_process, closures);
conforms!(threads, Threads: InProcess, every, isolated, in_process, deferred, closures);
conforms!(greenlets, Greenlets: InProcess, every, isolated, in_process, deferred, closures);
conforms!(async_tasks, AsyncTasks: InProcess, every, isolated, in_process, deferred);
#[cfg(all(target_os = "linux", feature = "process"))]
conforms!(processes, Processes: Isolated, every, isolated);
// Until there is an executor of this tier; and where there are no processes.
conforms!(elsewhere, Elsewhere: Isolated, every, isolated);
conforms!(far_away, FarAway: Remote, every);
