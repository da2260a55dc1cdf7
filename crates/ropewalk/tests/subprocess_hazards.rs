//! What goes wrong with other programs: full pipes, grandchildren that hold them, programs that do not end, or do not exist.

#![cfg(all(unix, feature = "subprocess"))]

#[path = "support/everywhere.rs"]
mod everywhere;
mod support;

use everywhere::{bare, everywhere};
use ropewalk::subprocess::{Command, OUTPUT_BYTES_MAX, Reason, ReturnCode, Stdio};
use ropewalk::{AsyncExecutor, CancelToken, Submit, greenlet};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use support::{HANG, eventually};

/// A time limit that is meant to pass, long enough for a program to start on a busy machine.
const LIMIT: Duration = Duration::from_millis(300);

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

fn is_alive(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

/// A zombie is still a child of ours.
fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn megabytes(n: usize) -> Vec<u8> {
    (0..n << 20).map(|n| (n % 251) as u8).collect()
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{communicate_pipe_buf,writes_before_communicate,communicate_stdin,check_output_input_arg}
/// CPython subprocess: test_subprocess.RunFuncTestCase.test_check_output_input_arg
/// CPython subprocess: test_subprocess.ContextManagerTests.test_communicate_stdin
#[test]
fn more_than_any_pipe_holds_both_ways() {
    everywhere(|| {
        let input = megabytes(3);
        let output = Command::new("cat").input(input.clone()).run().unwrap();
        assert!(output.stdout == input);
    });
    bare(async {
        let input = megabytes(3);
        let output = Command::new("cat").input(input.clone()).run_async().await.unwrap();
        assert!(output.stdout == input);
    });
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{communicate,communicate_returns,communicate_stdout,communicate_stderr}
#[test]
fn child_fills_both_pipes_before_it_reads() {
    let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; cat >/dev/null; echo end";
    everywhere(move || {
        let output = sh(script).input(megabytes(1)).run().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (1_000_004, 1_000_000));
    });
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{communicate_epipe,communicate_epipe_only_stdin}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{communicate_BrokenPipeError_stdin_close,communicate_BrokenPipeError_stdin_close_with_timeout,communicate_BrokenPipeError_stdin_write,communicate_BrokenPipeError_stdin_flush}
/// CPython subprocess: test_subprocess.ContextManagerTests.test_broken_pipe_cleanup
#[test]
fn child_that_does_not_read_its_input() {
    everywhere(|| assert_eq!(sh("echo done").input(megabytes(4)).read().unwrap(), "done"));
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{check_output_timeout,call_timeout}
/// CPython subprocess: test_subprocess.RunFuncTestCase.test_{check_output_timeout,timeout,run_with_shell_timeout_and_capture_output}
#[test]
fn limit_bounds_the_call_though_a_grandchild_holds_the_pipe() {
    everywhere(|| {
        let started = Instant::now();
        let error = sh("sleep 60 & echo $!").timeout(LIMIT).run().unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(LIMIT <= started.elapsed() && started.elapsed() < HANG / 2);
        let grandchild = String::from_utf8(error.output().stdout.clone()).unwrap();
        eventually("the grandchild is gone", || !is_alive(grandchild.trim()));
    });
    let error = bare(sh("sleep 60 & echo $!").timeout(LIMIT).run_async()).unwrap_err();
    let grandchild = String::from_utf8(error.output().stdout.clone()).unwrap();
    eventually("the grandchild is gone", || !is_alive(grandchild.trim()));
}

#[test]
fn limit_passes_for_one_that_ignores_sigterm() {
    everywhere(|| {
        let started = Instant::now();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let error = sh(script).timeout(LIMIT).grace(LIMIT / 3).run().unwrap_err();
        assert!(error.is_timeout());
        assert!(started.elapsed() >= LIMIT + LIMIT / 3);
        assert_eq!(error.output().stdout, b"ready\n");
        assert_eq!(error.output().status.returncode(), -9);
    });
}

#[test]
fn end_is_not_that_of_the_pipe_where_a_drain_is_set() {
    everywhere(|| {
        let started = Instant::now();
        let text = sh("sleep 5 & echo $!").drain(LIMIT / 10).read().unwrap();
        assert!(started.elapsed() < Duration::from_secs(5), "it waited for the grandchild");
        // It was let go on.
        assert!(is_alive(text.trim()));
        Command::new("kill").arg(text).run().unwrap();
    });
}

#[test]
fn limit_that_does_not_pass_leaves_background_processes_alone() {
    let pid = sh("sleep 5 >/dev/null 2>&1 & echo $!").timeout(HANG).read().unwrap();
    assert!(is_alive(&pid));
    Command::new("kill").arg(pid).run().unwrap();
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_communicate_timeout_large_output
#[test]
fn too_much_output_ends_the_program() {
    everywhere(|| {
        let error = Command::new("yes").output_limit(10_000).run().unwrap_err();
        assert!(matches!(error.reason(), Reason::TooMuchOutput(10_000)), "{error}");
        assert_eq!(error.output().stdout.len(), 10_000);
        assert!(error.to_string().contains("more than 10000 bytes"), "{error}");
    });
    const { assert!(OUTPUT_BYTES_MAX >= 1 << 20) };
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{file_not_found_includes_filename,nonexisting_with_pipes,issue8780}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{exception_bad_executable,exception_bad_args_0,surrogates_error_message}
#[test]
fn program_that_does_not_exist_is_named_with_the_path_that_was_searched() {
    let error = Command::new("no-such-program").env("PATH", "/no/where:/no/place").run().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no-such-program") && text.contains("/no/where:/no/place"), "{text}");
    assert!(matches!(error.reason(), Reason::ProgramNotFound { searched: Some(_), .. }));
    let error = Command::new("no-such-program").run().unwrap_err();
    assert!(error.to_string().contains(&std::env::var("PATH").unwrap()), "{error}");
    let error = Command::new("./no-such-program").spawn().unwrap_err();
    assert!(matches!(error.reason(), Reason::ProgramNotFound { searched: None, .. }));
    let error: std::io::Error = error.into();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_file_not_found_with_bad_cwd
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_exception_cwd
#[test]
fn directory_that_does_not_exist_is_not_mistaken_for_the_program() {
    let error = Command::new("true").current_dir("/no/such/dir").run().unwrap_err();
    assert!(matches!(error.reason(), Reason::CurrentDirNotFound));
    assert!(error.to_string().contains("/no/such/dir"), "{error}");
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_exception_errpipe_normal
#[test]
fn file_that_is_no_program() {
    let error = Command::new("/etc/passwd").run().unwrap_err();
    assert!(matches!(error.reason(), Reason::Start(_)), "{error}");
    assert!(error.to_string().contains("/etc/passwd"));
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{check_call_nonzero,check_call_zero,check_output_nonzero,call_seq,cwd,cwd_with_pathlike}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{CalledProcessError_str_non_zero,CalledProcessError_str_signal}
/// CPython subprocess: test_subprocess.RunFuncTestCase.test_{check,check_zero,returncode}
/// CPython subprocess: test_subprocess.ContextManagerTests.test_returncode
#[test]
fn error_tells_what_was_run_where_and_what_it_said_last() {
    let script = "for n in $(seq 100); do echo line $n >&2; done; exit 3";
    let error = sh(script).current_dir("/tmp").run().unwrap_err();
    let text = error.to_string();
    assert_eq!(error.status().unwrap().returncode(), 3);
    assert!(text.contains("`sh -c ") && text.contains(" in /tmp") && text.contains("exit status: 3"), "{text}");
    assert!(text.ends_with("line 100") && text.contains("line 81\n") && !text.contains("line 80\n"), "{text}");
    assert_eq!(sh("exit 3").output().unwrap().status.code(), Some(3));
    assert_eq!(sh("exit 3").status().unwrap().returncode(), 3);
    assert_eq!(sh("kill -9 $$").status().unwrap().returncode(), -9);
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_universal_newlines_communicate
#[test]
fn output_that_is_no_text() {
    let error = sh("printf '\\377'").read().unwrap_err();
    assert!(matches!(error.reason(), Reason::NotUtf8));
    assert_eq!(error.into_output().stdout, [255]);
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{zombie_fast_process_del,leak_fast_process_del_killed}
/// CPython subprocess: test_subprocess.ContextManagerTests.test_pipe
#[test]
fn dropped_child_is_ended_and_reaped() {
    everywhere(|| {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        drop(child);
        eventually("the child is reaped", || !is_there(pid));
    });
}

#[test]
fn dropped_child_takes_its_tree_along() {
    let mut child = sh("sleep 60 & echo $!; wait").kill_tree(true).stdout(Stdio::piped()).spawn().unwrap();
    let grandchild = child.stdout.take().unwrap().lines().next().unwrap().unwrap();
    drop(child);
    eventually("the grandchild is gone", || !is_alive(&grandchild));
}

#[test]
fn leader_that_has_ended_does_not_hide_its_group() {
    let mut child = sh("sleep 60 & echo $!").kill_tree(true).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = child.stdout.take().unwrap().lines();
    let grandchild = lines.next().unwrap().unwrap();
    let pid = child.id().to_string();
    eventually("the leader has ended", || !is_alive(&pid));
    drop(child);
    eventually("the grandchild is gone", || !is_alive(&grandchild));
}

#[test]
fn detached_child_goes_on_and_is_reaped() {
    let mut child = sh("read line; exit 0").stdin(Stdio::piped()).spawn().unwrap();
    let (pid, stdin) = (child.id(), child.stdin.take());
    child.detach();
    assert!(is_alive(&pid.to_string()));
    drop(stdin);
    eventually("the child is reaped", || !is_there(pid));
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_communicate_timeout
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_communicate_repeated_call_after_stdout_close
#[test]
fn communicate_takes_up_where_its_limit_ended_it() {
    everywhere(|| {
        let mut child = sh("echo one; read word; sleep 0.6; echo two $word")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let error = child.communicate("hemp\n", LIMIT).unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.output().stdout, b"one\n");
        assert!(child.communicate("again", None).is_err(), "its input was given");
        let output = child.communicate("", None).unwrap();
        assert_eq!(output.stdout, b"one\ntwo hemp\n");
        assert!(output.status.success());
    });
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{poll,wait,wait_timeout}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{kill,kill_dead,send_signal_dead,terminate_dead,send_signal_race,send_signal_race2}
#[test]
fn wait_that_times_out_leaves_the_child() {
    everywhere(|| {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(child.try_wait(), None);
        assert_eq!(child.wait_timeout(Duration::from_millis(10)).unwrap(), None);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().returncode(), -9);
        // Signals to one that was reaped reach nobody.
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().returncode(), -9);
    });
}

/// It reads what the pipe held, and then waits for the end of it.
#[test]
fn wait_after_a_communicate_that_was_given_up_closes_the_input() {
    let mut child = sh("sleep 0.3; cat >/dev/null").stdin(Stdio::piped()).spawn().unwrap();
    let given_up = child.communicate(vec![0; 300_000], Duration::from_millis(50)).unwrap_err();
    assert!(given_up.is_timeout());
    assert!(child.wait_timeout(HANG).unwrap().expect("it waits for its input").success());
}

#[test]
fn stop_takes_along_what_ignores_sigterm() {
    let mut child =
        sh("(trap '' TERM; exec sleep 600) & echo $!; wait").stdout(Stdio::piped()).kill_tree(true).spawn().unwrap();
    let mut lines = child.stdout.take().unwrap().lines();
    let sleeper = lines.next().unwrap().unwrap();
    assert!(is_alive(&sleeper));
    child.stop(Duration::from_secs(5)).unwrap();
    eventually("the tree is gone", || !is_alive(&sleeper));
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{terminate,send_signal}
#[test]
fn stop_is_gentle_first() {
    let child = sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done");
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0; 16]).unwrap(), 6);
    assert_eq!(child.stop(HANG).unwrap().code(), Some(7));
    let mut child =
        sh("trap '' TERM; echo ready; while :; do sleep 0.02; done").stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0; 16]).unwrap(), 6);
    assert_eq!(child.stop(LIMIT / 10).unwrap().returncode(), -9);
    assert_eq!(child.signal(0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{stdin_pipe,stdout_pipe,io_unbuffered_works}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_select_unbuffered
#[test]
fn lines_come_while_the_child_runs() {
    everywhere(|| {
        let mut child = sh("while read word; do echo got $word; done; printf 'no end'")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = child.stdout.take().unwrap().lines();
        for word in ["hemp", "jute"] {
            writeln!(stdin, "{word}").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), format!("got {word}"));
        }
        drop(stdin);
        assert_eq!(lines.next().unwrap().unwrap(), "no end");
        assert!(lines.next().is_none());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn lines_in_async_code() {
    bare(async {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = child.stdout.take().unwrap().lines();
        for word in ["hemp\r\n", "jute\n"] {
            assert_eq!(stdin.write_async(word.as_bytes()).await.unwrap(), word.len());
            assert_eq!(lines.next_async().await.unwrap().unwrap(), word.trim_end());
        }
        drop(stdin);
        assert!(lines.next_async().await.is_none());
        assert!(child.wait_async().await.unwrap().success());
    });
}

#[test]
fn line_that_is_no_text_does_not_end_the_others() {
    let mut child = sh("printf 'a\\n\\377\\nb\\n'").stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> = child.stdout.take().unwrap().lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].is_err());
    assert_eq!(lines[2].as_ref().unwrap(), "b");
}

#[test]
fn pipeline_gives_each_stage_what_the_one_before_wrote() {
    everywhere(|| {
        let pipeline = Command::new("cat") | Command::new("tr").args(["a-z", "A-Z"]) | Command::new("rev");
        assert_eq!(pipeline.input("hemp\n").read().unwrap(), "PMEH");
    });
    let pipeline = Command::new("cat") | Command::new("wc").arg("-c");
    assert_eq!(bare(pipeline.input(megabytes(2)).read_async()).unwrap().trim(), (2 << 20).to_string());
}

/// A stage that is no leader makes itself a session where it is: still a child of ours, and out of the group.
#[test]
fn pipeline_stage_that_left_the_group_is_ended_with_the_others() {
    let limit = Duration::from_millis(300);
    let stages = sh("sleep 60") | Command::new("setsid").args(["sleep", "61"]);
    let started = Instant::now();
    assert!(stages.timeout(limit).grace(limit / 10).run().is_err());
    assert!(started.elapsed() < HANG / 2);
    let is_it = |process: std::fs::DirEntry| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let parent = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let ours = format!(") S {} ", std::process::id());
        line == b"sleep\x0061\0" && parent.contains(&ours)
    };
    eventually("it is gone", || !std::fs::read_dir("/proc").unwrap().flatten().any(is_it));
}

#[test]
fn pipeline_status_is_that_of_the_last_stage_or_of_the_one_that_failed() {
    let pipeline = || sh("echo from the first >&2; exit 3") | Command::new("cat");
    let output = pipeline().output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stages.iter().map(ReturnCode::returncode).collect::<Vec<_>>(), [3, 0]);
    let error = pipeline().pipefail(true).run().unwrap_err();
    assert_eq!(error.status().unwrap().code(), Some(3));
    let text = error.to_string();
    assert!(text.contains(" | cat`") && text.ends_with("from the first"), "{text}");
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{restore_signals,pipe_cloexec,pipe_cloexec_real_tools}
#[test]
fn pipeline_whose_reader_stops_early() {
    let pipeline = Command::new("yes") | Command::new("head").args(["-n", "2"]);
    let output = pipeline.timeout(HANG).output().unwrap();
    assert_eq!(output.stdout, b"y\ny\n");
    assert_eq!(output.stages[0].returncode(), -13, "SIGPIPE");
}

#[test]
fn pipeline_with_a_missing_stage_leaves_nobody() {
    let pipeline = sh("echo $$ >&2; exec sleep 60") | Command::new("no-such-program");
    let error = pipeline.run().unwrap_err();
    assert!(matches!(error.reason(), Reason::ProgramNotFound { .. }), "{error}");
}

#[test]
fn pipeline_past_its_limit_is_ended_as_one() {
    let pipeline = sh("sleep 60 & echo $! >&2; wait") | sh("sleep 60 & echo $! >&2; wait");
    let error = pipeline.timeout(LIMIT).run().unwrap_err();
    assert!(error.is_timeout());
    let sleepers = String::from_utf8(error.output().stderr.clone()).unwrap();
    assert_eq!(sleepers.lines().count(), 2, "{error}");
    eventually("all are gone", || !sleepers.lines().any(is_alive));
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{stdout_stderr_pipe,check_output_stderr,stderr_devnull,stdout_devnull,stderr_redirect_with_no_stdout_redirect}
#[test]
fn merged_streams_keep_their_order() {
    let script = "echo one; echo two >&2; echo three";
    let output = sh(script).stderr(Stdio::merged()).run().unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"one\ntwo\nthree\n"[..], &b""[..]));
    let null = sh(script).stdout(Stdio::null()).stderr(Stdio::merged()).run().unwrap();
    assert_eq!(null.stdout, b"");
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{stdin_fileobj,stdin_filedes,stdout_fileobj,stdout_filedes,stderr_fileobj,stderr_filedes,stdout_stderr_file,check_output_stdin_arg}
/// CPython subprocess: test_subprocess.RunFuncTestCase.test_check_output_stdin_arg
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_stdout_stderr_are_single_inout_fd
#[test]
fn streams_lead_to_files() {
    let path = std::env::temp_dir().join(format!("ropewalk-subprocess-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let mut command = sh("echo hemp; echo jute >&2").stdout(file).stderr(Stdio::merged());
    // Twice: the command keeps the file.
    assert!(command.spawn().unwrap().wait().unwrap().success());
    assert!(command.spawn().unwrap().wait().unwrap().success());
    let text = Command::new("sort").stdin(std::fs::File::open(&path).unwrap()).read().unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(text, "hemp\nhemp\njute\njute");
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{env,empty_env,executable_without_cwd}
/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_args_string
/// CPython subprocess: test_subprocess.CommandsWithSpaces.test_noshell_sequence_with_spaces
#[test]
fn environment_and_arguments_reach_the_program_as_they_are() {
    let text = Command::new("printf").args(["%s|", "a b", "$HOME", "'", "*"]).read().unwrap();
    assert_eq!(text, "a b|$HOME|'|*|");
    let command = || Command::new("/usr/bin/env").env_clear().env("ROPE", "hemp").envs([("A", "1"), ("B", "2")]);
    assert_eq!(command().env_remove("A").read().unwrap(), "B=2\nROPE=hemp");
    let error = command().input("x").spawn().unwrap_err();
    assert!(error.to_string().contains("communicate"), "{error}");
}

#[test]
fn cancelled_wait_ends_the_program() {
    everywhere(|| {
        let path = std::env::temp_dir().join(format!("ropewalk-cancel-{:?}", std::thread::current().id()));
        let script = format!("echo $$ > '{}'; exec sleep 60", path.display());
        let ended = CancelToken::new().with_timeout(LIMIT).run(|| sh(&script).run());
        assert!(ended.is_err());
        let pid = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        eventually("the program is gone", || !is_alive(pid.trim()));
    });
}

#[test]
fn dropped_future_ends_the_program() {
    let path = std::env::temp_dir().join(format!("ropewalk-drop-{}", std::process::id()));
    let script = format!("echo $$ > {}; exec sleep 60", path.display());
    let executor = AsyncExecutor::new(1);
    let handle = executor.submit(async move { sh(&script).run_async().await });
    let pid = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("the program runs", || pid().ends_with('\n'));
    handle.cancel();
    eventually("the program is gone", || !is_alive(pid().trim()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn many_greenlets_wait_for_programs_at_once() {
    ropewalk::run(|| {
        let started = Instant::now();
        let handles: Vec<_> =
            (0..40).map(|n| greenlet::spawn(move || sh(&format!("sleep 0.3; echo {n}")).read().unwrap())).collect();
        let texts: Vec<String> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert!(texts.iter().enumerate().all(|(n, text)| *text == n.to_string()));
        // One after another they would take 12 s.
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    });
}

#[test]
fn two_strands_of_one_hub_wait_for_the_same_kind_of_thing() {
    let executor = AsyncExecutor::new(2);
    let handles: Vec<_> = (0..30)
        .map(|n| executor.submit(async move { sh(&format!("echo {n}; sleep 0.05")).read_async().await.unwrap() }))
        .collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), n.to_string());
    }
}

#[test]
fn blocking_verb_in_async_code_is_refused() {
    let executor = AsyncExecutor::new(1);
    let error = executor.submit(async { Command::new("true").run().map(|_| ()) }).join().unwrap_err();
    assert!(error.is_panic(), "{error}");
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{stdin_none,stdout_none,stderr_none,stdin_devnull,stderr_pipe,check_output}
/// CPython subprocess: test_subprocess.RunFuncTestCase.test_{capture_output,capture_stdout,capture_stderr}
#[test]
fn every_stream_that_nothing_is_said_of() {
    // Captured, and nothing to read, with the verbs that capture.
    let output = sh("cat; echo out; echo err >&2").run().unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    // Those of this process otherwise.
    let mine = std::fs::read_link("/proc/self/fd/0").unwrap();
    let same = format!("test \"$(readlink /proc/$$/fd/0)\" = '{}'", mine.display());
    assert!(sh(&same).status().unwrap().success());
    let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    assert!(child.stdout.is_none() && child.stderr.is_none() && child.stdin.is_none());
    assert!(child.wait().unwrap().success());
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_process_group_0
#[test]
fn child_in_a_group_of_its_own() {
    let group = |command: Command| command.args(["-c", "cut -d' ' -f5 /proc/$$/stat; echo $$"]).read().unwrap();
    let of = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let own = of(group(Command::new("sh").kill_tree(true)));
    assert_eq!(own[0], own[1]);
    // Not where nobody asked for it: Ctrl-C reaches it with us.
    let ours = of(group(Command::new("sh")));
    assert_ne!(ours[0], ours[1]);
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_{cwd_with_relative_executable,cwd_with_relative_arg,cwd_with_absolute_arg,executable_with_cwd,pathlike_executable}
#[test]
fn program_is_found_beside_its_directory() {
    let folder = std::env::temp_dir().join(format!("ropewalk-program-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("hemp");
    std::fs::write(&program, "#!/bin/sh\npwd\n").unwrap();
    Command::new("chmod").arg("+x").arg(&program).run().unwrap();
    let here = std::fs::canonicalize(&folder).unwrap();
    assert_eq!(Command::new(&program).current_dir(&folder).read().unwrap(), here.display().to_string());
    assert_eq!(Command::new("./hemp").current_dir(&folder).read().unwrap(), here.display().to_string());
    std::fs::remove_dir_all(folder).unwrap();
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_{close_fds,close_fds_when_max_fd_is_lowered}
/// CPython subprocess: test_subprocess.ProcessTestCase.test_double_close_on_error
#[test]
fn child_gets_no_descriptor_but_its_streams() {
    let _open = std::fs::File::open("/dev/null").unwrap();
    let (_reads, _writes) = std::io::pipe().unwrap();
    for command in [sh("ls /proc/$$/fd"), sh("ls /proc/$$/fd").stderr(Stdio::merged()).timeout(HANG)] {
        let list = command.read().unwrap();
        // A shell may keep its script's descriptor high up.
        let low: Vec<u32> =
            list.lines().filter_map(|number| number.parse().ok()).filter(|number| *number < 10).collect();
        assert_eq!(low, [0, 1, 2]);
    }
}

/// CPython subprocess: test_subprocess.POSIXProcessTestCase.test_run_abort
#[test]
fn aborted_child_says_so() {
    let error = sh("kill -ABRT $$").run().unwrap_err();
    assert_eq!(error.status().unwrap().returncode(), -6);
    assert!(error.to_string().contains("SIGABRT"), "{error}");
}

/// CPython subprocess: test_subprocess.ProcessTestCase.test_repr
#[test]
fn debug_text_has_the_command() {
    assert!(format!("{:?}", sh("true")).contains("\"sh\" \"-c\" \"true\""));
    assert_eq!(format!("{:?}", Command::new("a") | Command::new("b")), r#"["a", "b"]"#);
    let child = Command::new("true").spawn().unwrap();
    assert!(format!("{child:?}").contains(&child.id().to_string()));
}
