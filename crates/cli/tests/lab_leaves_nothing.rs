//! However the lab ends, no process and no socket of it stays.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};

use common::processes::{Process, below, command_line, is_gone, pid};
use common::{has_python, lab, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Inodes of the sockets that these processes hold.
fn sockets(processes: &[Process]) -> BTreeSet<String> {
    processes
        .iter()
        .filter_map(|p| std::fs::read_dir(format!("/proc/{}/fd", p.pid)).ok())
        .flat_map(|fds| fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()))
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// Inodes of all TCP sockets of this machine.
fn tcp() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    text.lines().skip(1).filter_map(|l| l.split_whitespace().nth(9).map(str::to_owned)).collect()
}

/// A lab in the middle of its I/O-bound rows: the server serves and a row fetches.
fn in_the_middle() -> (Child, Vec<Process>, BTreeSet<String>) {
    let lab = lab(&["--only", "io"]).stdout(Stdio::null()).spawn().expect("started");
    let (processes, sockets) = until("a row fetches from the server", || {
        let processes = below(pid(&lab));
        let runs = |role: &str| processes.iter().any(|p| command_line(p.pid).contains(&format!("__lab-child {role}")));
        let sockets = sockets(&processes);
        // Listening, and both ends of a connection.
        (runs("server") && runs("row") && sockets.intersection(&tcp()).count() >= 3).then_some((processes, sockets))
    });
    (lab, processes, sockets)
}

fn nothing_stays(processes: &[Process], sockets: &BTreeSet<String>) {
    until("every process has gone", || processes.iter().all(is_gone).then_some(()));
    until("every socket has gone", || sockets.is_disjoint(&tcp()).then_some(()));
}

#[test]
fn ctrl_c_in_the_middle() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (lab, processes, sockets) = in_the_middle();
        kill(Pid::from_raw(pid(&lab)), signal).expect("it runs");
        let output = lab.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{signal}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error: interrupted\n");
        assert!(processes.iter().all(is_gone), "it ended before its children");
        nothing_stays(&processes, &sockets);
    }
}

#[test]
fn kill_9_of_the_parent() {
    let (mut lab, processes, sockets) = in_the_middle();
    lab.kill().expect("it runs");
    let status = lab.wait().expect("it ends");
    assert_eq!(status.signal(), Some(9));
    nothing_stays(&processes, &sockets);
}

#[test]
fn kill_9_of_the_parent_while_python_has_workers() {
    if !has_python() {
        return;
    }
    let arguments = ["--only", "io", "--quick", "--with", "python"];
    let mut lab = lab(&arguments).stdout(Stdio::null()).spawn().expect("started");
    let processes = until("python has workers", || {
        let processes = below(pid(&lab));
        // The row and those that it forked have the same command line.
        let python = processes.iter().filter(|p| command_line(p.pid).contains(" -I -c "));
        (python.count() >= 2).then_some(processes)
    });
    let sockets = sockets(&processes);
    lab.kill().expect("it runs");
    lab.wait().expect("it ends");
    nothing_stays(&processes, &sockets);
}

#[test]
fn death_of_a_row_is_told_and_ends_the_others() {
    let (lab, processes, sockets) = in_the_middle();
    let row = processes.iter().find(|p| command_line(p.pid).contains("__lab-child row")).expect("it was seen");
    kill(Pid::from_raw(row.pid), Signal::SIGKILL).expect("it runs");
    let output = lab.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("sequential") && text.contains("signal: 9"), "{text}");
    nothing_stays(&processes, &sockets);
}

#[test]
fn reader_that_goes_away_takes_no_file_along() {
    let here = common::directory("reader-gone");
    let (page, svg) = (here.join("lab.html"), here.join("svg"));
    let (page, svg) = (page.to_string_lossy(), svg.to_string_lossy());
    for what in [&["--only", "cpu", "--html", &page, "--svg", &svg][..], &["--explain-sizing", "--svg", &svg]] {
        let mut lab = lab(&[&["--quick"], what].concat()).spawn().expect("started");
        drop(lab.stdout.take());
        let output = lab.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{what:?}: {}", common::complaint(&output));
    }
    let whole = |name: &str| std::fs::read_to_string(here.join(name)).is_ok_and(|text| text.contains("</svg>"));
    for name in ["lab.html", "svg/cpu-bound.svg", "svg/sizing-io-bound.svg", "svg/sizing-cpu-bound.svg"] {
        assert!(whole(name), "{name}");
    }
    // Nor does it make wrong results right.
    let mut lab = lab(&["--quick", "--only", "cpu", "--fault", "wrong-sum", "--html", &page]).spawn().expect("started");
    drop(lab.stdout.take());
    assert_eq!(lab.wait().expect("it ends").code(), Some(6));
}

#[test]
fn reader_that_goes_away() {
    for arguments in [&["--help"][..], &["--quick", "--only", "cpu"], &["--quick", "--only", "cpu", "--json"]] {
        let mut lab = lab(arguments).spawn().expect("started");
        drop(lab.stdout.take());
        let output = lab.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
