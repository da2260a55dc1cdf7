//! What every broker does: one suite of hazards, written once, for each broker that there is.
//!
//! A hazard is a function of a [`Subject`](subject::Subject): two handles to one store, and the clock of both. `model` holds
//! a broker against the reference, step by step, on random sequences of steps.

#![cfg(all(unix, feature = "sqlite"))]

#[path = "brokers/kept.rs"]
mod kept;
#[path = "brokers/leases.rs"]
mod leases;
#[path = "brokers/model.rs"]
mod model;
#[path = "brokers/order.rs"]
mod order;
#[path = "brokers/people.rs"]
mod people;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "what other tests use of it")]
#[path = "brokers/redis.rs"]
mod redis_server;
#[path = "brokers/subject.rs"]
mod subject;
#[path = "brokers/together.rs"]
mod together;

/// Makes a test of each hazard for one kind of broker. The list is here, so that no broker can leave one out.
macro_rules! conforms {
    ($name:ident, $open:path) => {
        mod $name {
            conforms!(@tests $open, order: batch_is_all_or_nothing, the_same_id_twice_is_one_job, priority_then_arrival,
                queues_in_the_order_asked, nothing_is_claimed_twice, never_before_its_time, larger_than_the_limits, only_what_is_wanted,
                each_end_is_told_once, a_waiter_is_woken, another_handle_sees_it_all);
            conforms!(@tests $open, leases: settle_after_the_lease_is_lost, settle_said_twice, released_keeps_its_place_uncounted,
                failure_comes_back_later, lease_ends_on_time_and_a_beat_extends_it, third_crash_is_poison,
                stop_reaches_the_execution, stop_wins_over_retry_and_crash, success_wins_over_stop, jumping_wall_clock,
                unknown_task_goes_back_uncounted);
            conforms!(@tests $open, together: needs_are_met_in_one_step, broken_need_cancels_all_that_hang_on_it, ends_of_a_batch_are_told_in_their_turn, diamond_fires_once, long_chain_ends_at_once,
                need_that_ended_before, need_and_time_both, callbacks_by_end, unknown_need_is_refused,
                unique_until_it_ends, unique_for_a_window, never_more_than_the_limit);
            conforms!(@tests $open, people: wrong_state_is_said, requeue_gives_all_tries_again, requeue_against_a_taken_key,
                deleted_is_gone_and_breaks_its_dependents, emptied_queue, suspended_queue_gives_nothing, results_are_forgotten_in_time,
                workers_come_and_go, progress_is_seen);
            conforms!(@tests $open, kept: only_whoever_holds_the_lease_is_heard, end_of_a_long_log_is_kept,
                log_is_forgotten_with_its_job, slot_is_passed_once, slot_whose_job_is_refused_is_not_passed,
                claimed_and_settled_in_one_go, settle_that_is_refused_beside_a_claim, settle_that_nobody_hears_happens);
        }
    };
    (@tests $open:path, $suite:ident: $($hazard:ident),+) => {
        mod $suite {
            $(#[test]
            fn $hazard() {
                crate::$suite::$hazard(&$open());
            })+
        }
    };
}

conforms!(memory, crate::subject::memory);
conforms!(sqlite, crate::subject::sqlite);
#[cfg(feature = "redis")]
conforms!(redis, crate::subject::redis);
