//! Killing what has left its group. In a binary of its own: this process becomes the heir of orphans.

#![cfg(all(target_os = "linux", feature = "subprocess"))]

mod support;

use ropewalk::subprocess::{Command, Stdio};
use std::time::Duration;
use support::eventually;

/// A grandchild that makes itself a session of its own, and a child of that in yet another one.
const ESCAPES: &str = "setsid sh -c 'setsid sleep 60 & echo $!; echo $$; wait' & sleep 60";

fn are_gone(pids: &[String]) -> bool {
    // Not even zombies: those would be children of ours.
    pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
}

#[test]
fn process_that_left_the_group_is_swept_up_past_the_limit() {
    let limit = Duration::from_millis(400);
    let command = Command::new("sh").args(["-c", ESCAPES]).sweep(true).timeout(limit).grace(limit / 10);
    let error = command.run().unwrap_err();
    let pids: Vec<String> = String::from_utf8(error.into_output().stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    eventually("the strays are gone", || are_gone(&pids));
}

#[test]
fn process_that_left_the_group_is_swept_up_with_a_dropped_child() {
    let mut child = Command::new("sh").args(["-c", ESCAPES]).sweep(true).stdout(Stdio::piped()).spawn().unwrap();
    let pids: Vec<String> = child.stdout.take().unwrap().lines().take(2).map(Result::unwrap).collect();
    drop(child);
    eventually("the strays are gone", || are_gone(&pids));
}

#[test]
fn tree_without_a_sweep_keeps_its_strays() {
    let limit = Duration::from_millis(400);
    let command = Command::new("sh").args(["-c", ESCAPES]).timeout(limit).grace(limit / 10);
    let error = command.run().unwrap_err();
    let text = String::from_utf8(error.into_output().stdout).unwrap();
    let pids: Vec<&str> = text.lines().collect();
    assert!(!are_gone(&[pids[0].to_owned()]), "without a sweep it is let go");
    Command::new("kill").arg("-9").args(pids).run().unwrap();
}
