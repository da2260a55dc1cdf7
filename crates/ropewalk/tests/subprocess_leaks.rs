//! Descriptors and zombies, counted: alone in its binary, where nobody else opens any.

#![cfg(all(target_os = "linux", feature = "subprocess"))]

mod support;

use ropewalk::subprocess::{Command, Stdio};
use std::time::Duration;
use support::eventually;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.map(|list| list.split_whitespace().count()).sum()
}

fn every_end() {
    let sh = |script: &str| Command::new("sh").arg("-c").arg(script);
    sh("echo hemp; cat").input("jute").run().unwrap();
    sh("exit 1").run().unwrap_err();
    sh("sleep 60").timeout(Duration::from_millis(20)).run().unwrap_err();
    Command::new("yes").output_limit(100).run().unwrap_err();
    Command::new("no-such-program").run().unwrap_err();
    (Command::new("cat") | Command::new("no-such-program")).run().unwrap_err();
    (Command::new("cat") | Command::new("cat")).input("hemp").run().unwrap();
    drop(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::merged()).spawn().unwrap());
    Command::new("true").spawn().unwrap().detach();
    ropewalk::block_on(sh("echo hemp; sleep 60").timeout(Duration::from_millis(20)).run_async()).unwrap_err();
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{no_leaking,failed_child_execute_fd_leak,leaking_fds_on_error,communicate_pipe_fd_leak,handles_closed_on_exception}
#[test]
fn every_end_leaves_no_descriptor_and_no_zombie() {
    // Threads and reactors that stay are made by the first round.
    every_end();
    eventually("no child is left", || children() == 0);
    let before = descriptors();
    for _ in 0..20 {
        every_end();
        ropewalk::run(every_end);
    }
    eventually("no child is left", || children() == 0);
    eventually("no descriptor is left", || descriptors() == before);
}
