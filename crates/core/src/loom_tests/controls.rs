//! Negative controls: a model that passes proves little until it is seen to fail. For each site of `model::weaken` a named
//! model must fail when the ordering is relaxed or the line deleted, and fail for the reason that is given.
//!
//! A failing model unwinds through destructors that use the dead checker and may end its process, so each control runs its
//! model in a process of its own: this test binary once more, with the site named in the environment.
#![cfg(all(test, ropewalk_loom))]

use crate::model::weaken;
use std::path::Path;
use std::process::Command;

/// Nobody is ever woken: all threads of the model are blocked.
const HANG: &str = "deadlock; threads =";
/// Two strands in one cell at once.
const RACE: &str = "Causality violation";
/// An assertion of the model.
const WRONG: &str = "panicked at crates/core/src/loom_tests";

macro_rules! controls {
    ($($test:ident: $site:literal fails $model:literal by $reason:ident;)+) => {
        const SITES: &[&str] = &[$($site),+];
        $(
            #[test]
            fn $test() {
                control($site, $model, $reason);
            }
        )+
    };
}

controls! {
    barrier_leaver_breaks: "barrier.leaver_breaks" fails "barrier::timeout_races_with_notify" by WRONG;
    cancel_cancel: "cancel.cancel" fails "interrupt::what_the_canceller_did_is_visible" by WRONG;
    cancel_inherit: "cancel.inherit" fails "interrupt::notify_before_wait" by HANG;
    cancel_inherit_acquire: "cancel.inherit_acquire" fails "interrupt::what_the_canceller_did_is_visible" by WRONG;
    cancel_reason: "cancel.reason" fails "interrupt::what_the_canceller_did_is_visible" by WRONG;
    cancel_recheck: "cancel.recheck" fails "interrupt::notify_between_check_and_park" by HANG;
    condvar_hand_on: "condvar.hand_on" fails "condvar::dropped_waiter_hands_on" by HANG;
    crew_all_stuck: "crew.all_stuck" fails "crew::all_stuck_adds_one" by WRONG;
    crew_blocks: "crew.blocks" fails "crew::dropped_waiter_hands_on" by WRONG;
    crew_busy_took: "crew.busy_took" fails "crew::two_waiters_one_notification" by WRONG;
    crew_hires: "crew.hires" fails "crew::owner_drop_races_with_wait" by WRONG;
    crew_idle_took: "crew.idle_took" fails "crew::notify_between_check_and_park" by WRONG;
    crew_idles: "crew.idles" fails "crew::replacement_steps_down" by WRONG;
    crew_idles_fence: "crew.idles_fence" fails "crew::replacement_steps_down" by WRONG;
    crew_looks: "crew.looks" fails "crew::grows_while_a_job_comes" by WRONG;
    crew_sends_home_fence: "crew.sends_home_fence" fails "crew::shrinks_while_one_becomes_idle" by WRONG;
    crew_spare_expires: "crew.spare_expires" fails "crew::timeout_races_with_notify" by WRONG;
    crew_spare_looks: "crew.spare_looks" fails "crew::stuck_while_another_steps_down" by WRONG;
    crew_step: "crew.step" fails "crew::replacement_steps_down" by WRONG;
    crew_unblocks: "crew.unblocks" fails "crew::idle_replacement_is_sent_home" by WRONG;
    crew_unblocks_fence: "crew.unblocks_fence" fails "crew::replacement_steps_down" by WRONG;
    event_enlist: "event.enlist" fails "event::notify_between_check_and_park" by WRONG;
    event_is_set: "event.is_set" fails "event::notify_between_check_and_park" by WRONG;
    event_recheck: "event.recheck" fails "event::notify_between_check_and_park" by HANG;
    event_set: "event.set" fails "event::notify_between_check_and_park" by WRONG;
    inbox_arm: "inbox.arm" fails "strand::wake_between_look_and_sleep" by HANG;
    inbox_push: "inbox.push" fails "strand::two_slots_in_the_inbox" by HANG;
    inbox_ring: "inbox.ring" fails "strand::wake_between_look_and_sleep" by HANG;
    inbox_take: "inbox.take" fails "strand::two_slots_in_the_inbox" by HANG;
    interrupt_leave_waker: "interrupt.leave_waker" fails "interrupt::notify_between_check_and_park" by HANG;
    interrupt_raise: "interrupt.raise" fails "interrupt::what_the_canceller_did_is_visible" by WRONG;
    interrupt_reason: "interrupt.reason" fails "interrupt::what_the_canceller_did_is_visible" by WRONG;
    mutex_hand_on: "mutex.hand_on" fails "mutex::dropped_waiter_hands_on" by HANG;
    mutex_lock: "mutex.lock" fails "mutex::notify_between_check_and_park" by RACE;
    mutex_lock_queued: "mutex.lock_queued" fails "mutex::notify_between_check_and_park" by RACE;
    mutex_no_longer_woken: "mutex.no_longer_woken" fails "mutex::two_waiters_one_notification" by HANG;
    mutex_unlock: "mutex.unlock" fails "mutex::notify_between_check_and_park" by RACE;
    mutex_unlock_waking: "mutex.unlock_waking" fails "mutex::barging_sees_the_data" by RACE;
    mutex_unlock_woken: "mutex.unlock_woken" fails "mutex::two_waiters_one_notification" by RACE;
    once_begin: "once.begin" fails "once::failure_lets_the_next_try" by WRONG;
    once_fail: "once.fail" fails "once::failure_lets_the_next_try" by WRONG;
    once_finish: "once.finish" fails "once::notify_between_check_and_park" by RACE;
    once_get: "once.get" fails "once::notify_between_check_and_park" by RACE;
    once_hand_on: "once.hand_on" fails "once::dropped_waiter_hands_on" by HANG;
    parker_late: "parker.late" fails "parker::notify_between_check_and_park" by WRONG;
    parker_park: "parker.park" fails "parker::notify_between_check_and_park" by WRONG;
    parker_take: "parker.take" fails "parker::notify_between_check_and_park" by WRONG;
    parker_unpark: "parker.unpark" fails "parker::notify_between_check_and_park" by WRONG;
    queue_get_hand_on: "queue.get.hand_on" fails "queue::dropped_waiter_hands_on" by HANG;
    queue_put_hand_on: "queue.put.hand_on" fails "queue::dropped_waiter_hands_on" by HANG;
    rendezvous_recv_hand_on: "rendezvous.recv.hand_on" fails "rendezvous::dropped_waiter_hands_on" by HANG;
    rendezvous_watch_hand_on: "rendezvous.watch.hand_on" fails "select::dropped_watcher_hands_on" by HANG;
    semaphore_acquire: "semaphore.acquire" fails "semaphore::notify_between_check_and_park" by WRONG;
    semaphore_first_left: "semaphore.first_left" fails "rwlock::dropped_waiter_hands_on" by HANG;
    semaphore_hand_on: "semaphore.hand_on" fails "semaphore::dropped_waiter_hands_on" by HANG;
    semaphore_release: "semaphore.release" fails "semaphore::notify_between_check_and_park" by WRONG;
    semaphore_serve: "semaphore.serve" fails "semaphore::permits_of_others_bring_their_data" by WRONG;
    semaphore_take: "semaphore.take" fails "semaphore::notify_between_check_and_park" by WRONG;
    slot_claim: "slot.claim" fails "strand::merged_wake_brings_its_data" by HANG;
    slot_clear: "slot.clear" fails "strand::merged_wake_brings_its_data" by HANG;
    task_add_callback: "task.add_callback" fails "task::late_callback_sees_the_outcome" by RACE;
    task_detach: "task.detach" fails "task::dropped_waiter_hands_on" by RACE;
    task_finish: "task.finish" fails "task::notify_between_check_and_park" by RACE;
    task_phase: "task.phase" fails "task::notify_between_check_and_park" by RACE;
    task_wait: "task.wait" fails "task::notify_between_check_and_park" by RACE;
    waitlist_let_go: "waitlist.let_go" fails "task::timeout_races_with_notify" by RACE;
}

/// Weakens a site and expects the model to fail for this reason.
fn control(site: &str, model: &str, reason: &str) {
    let run = Command::new(std::env::current_exe().expect("a test knows its binary"))
        .args(["--exact", &format!("loom_tests::{model}"), "--nocapture"])
        .env(weaken::VARIABLE, site)
        .output()
        .expect("the test binary runs");
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("running 1 test"), "there is no model `{model}`:\n{said}");
    assert!(!run.status.success(), "`{model}` does not notice that `{site}` is weak:\n{said}");
    assert!(said.contains(reason), "`{model}` without `{site}` fails for another reason than `{reason}`:\n{said}");
    println!("control={site}");
}

/// The sites in the sources, without those of the modules that only tests contain.
fn sites(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("a directory entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !["loom_tests", "shuttle_tests", "model"].contains(&name) {
                sites(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            for call in ["weaken::ordering(", "weaken::keep("] {
                for (at, _) in text.match_indices(call) {
                    let argument = text[at + call.len()..].trim_start();
                    let site = argument.strip_prefix('"').and_then(|argument| argument.split_once('"'));
                    found.push(site.expect("a site is named by a literal").0.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_site_has_its_control() {
    let mut found = Vec::new();
    sites(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, SITES, "sites in the sources (left) and controls in this file (right), both in order");
}
