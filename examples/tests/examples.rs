//! Runs every example as a user does and checks what it prints: the content, the order where one is promised, and that
//! `examples/README.md` shows it.
//!
//! Nothing here depends on how long a thing takes, except where an example is about that; then the margin is wide. What
//! processors are worth is not asserted (`cpu_bound`): a busy machine gives a second thread nothing. The lab measures that.

#[path = "support/built.rs"]
mod built;

use built::{built, here};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EXAMPLES: [&str; 24] = [
    "thread_join",
    "daemon_thread",
    "thread_pool_map",
    "word_count",
    "pipeline_thumbnails",
    "auto_sizing",
    "fake_database",
    "producer_consumer",
    "events",
    "greenlet_spawn",
    "greenlet_events",
    "mixed_strands",
    "async_gather",
    "one_task_every_model",
    "crawl_urls",
    "chat_server",
    "process_pool_map",
    "crash_isolation",
    "shared_counter",
    "subprocess_communicate",
    "subprocess_pipeline",
    "jobs_quickstart",
    "jobs_workflow",
    "io_bound",
    "cpu_bound",
];

/// No example takes longer, on a slow machine and without optimisation.
const RUN_MAX: Duration = Duration::from_secs(50);

fn text_of(name: &str) -> String {
    fs::read_to_string(here(name)).unwrap_or_else(|error| panic!("examples/{name}: {error}"))
}

/// Runs an example to its end and returns the lines that it printed, without the empty ones.
#[track_caller]
fn run(name: &str) -> Vec<String> {
    let program = built().join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let started = Instant::now();
    // What an example prints fits into the pipe, so nobody has to read before the end.
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > RUN_MAX {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("{name} did not end within {} s", RUN_MAX.as_secs());
        }
        ropewalk::sleep(Duration::from_millis(5));
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().expect("is piped").read_to_string(&mut out).expect("prints text");
    child.stderr.take().expect("is piped").read_to_string(&mut err).expect("prints text");
    assert!(status.success(), "{name} ended with {status}\n{out}\n{err}");
    // One example panics on purpose, and is told of it.
    assert!(name == "thread_join" || err.is_empty(), "{name} complains:\n{err}");
    let lines: Vec<String> = out.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    readme_shows(name, &lines);
    lines
}

/// The place of a line, which must be there once.
#[track_caller]
fn place(lines: &[String], wanted: &str) -> usize {
    let places: Vec<usize> = (0..lines.len()).filter(|i| lines[*i] == wanted).collect();
    assert!(places.len() == 1, "{wanted:?} was printed {} times in\n{}", places.len(), lines.join("\n"));
    places[0]
}

#[track_caller]
fn in_order(lines: &[String], wanted: &[&str]) {
    let places: Vec<usize> = wanted.iter().map(|line| place(lines, line)).collect();
    assert!(places.is_sorted(), "the order is not {wanted:?} in\n{}", lines.join("\n"));
}

/// The last number in front of `unit`, as in `  0.41 s  4.9x`.
#[track_caller]
fn figure(line: &str, unit: &str) -> f64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let found = words.iter().enumerate().rev().find_map(|(i, word)| {
        if *word == unit && i > 0 { words[i - 1].parse().ok() } else { word.strip_suffix(unit)?.parse().ok() }
    });
    found.unwrap_or_else(|| panic!("no figure in {unit:?}: {line:?}"))
}

#[test]
fn thread_join_waits_and_gets_results_and_panics() {
    let lines = run("thread_join");
    in_order(
        &lines,
        &[
            "Main    : before creating thread",
            "Thread 1: starting",
            "Thread 1: finishing",
            "Main    : all done, thread 1 returned 10",
        ],
    );
    let results = place(&lines, "Main    : threads 2, 3 and 4 returned [20, 30, 40]");
    for name in 2..5 {
        let (start, end) = (format!("Thread {name}: starting"), format!("Thread {name}: finishing"));
        in_order(&lines, &["Main    : all done, thread 1 returned 10", &start, &end]);
        assert!(place(&lines, &end) < results, "joined before the end");
    }
    assert_eq!(lines.last().map(String::as_str), Some("Main    : the thread panicked: no hemp left"));
}

#[test]
fn daemon_thread_ends_with_the_program_and_the_ordinary_one_does_not() {
    // The daemon would sleep for an hour; `run` would not wait that long.
    let lines = run("daemon_thread");
    in_order(&lines, &["Thread ordinary: starting", "Thread ordinary: finishing"]);
    in_order(&lines, &["Main    : returns", "Thread ordinary: finishing"]);
    assert!(!lines.iter().any(|line| line == "Thread daemon: finishing"), "the program waited for its daemon");
}

#[test]
fn thread_pool_map_gives_results_in_order() {
    let lines = run("thread_pool_map");
    in_order(&lines, &["Main    : map over 0..3", "Main    : got 0", "Main    : got 1", "Main    : got 4"]);
    for name in 0..6 {
        let (start, end) = (format!("Thread {name}: starting"), format!("Thread {name}: finishing"));
        in_order(&lines, &[&start, &end]);
        let before = if name < 3 { "Main    : map over 0..3" } else { "Main    : for_each over 3..6" };
        let after = if name < 3 { "Main    : for_each over 3..6" } else { "Main    : all done" };
        in_order(&lines, &[before, &start, after]);
        in_order(&lines, &[&end, after]);
    }
}

#[test]
fn auto_sizing_grows_for_waits_alone_and_keeps_a_limit() {
    let lines = run("auto_sizing");
    in_order(&lines, &["160 jobs that wait for 50 ms each", "100 jobs that compute"]);
    let line = |part: &str| lines.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}"));
    assert!(figure(line("and came to"), "workers") > 10.0, "it did not grow: {lines:?}");
    assert!(line("all sums equal").ends_with("true"));
    assert!(figure(line("under way"), "queries") <= 20.0);
}

#[test]
fn fake_database_loses_the_update_without_a_lock_and_only_then() {
    let lines = run("fake_database");
    let without = place(&lines, "No lock. Ending value is 1: one update is lost.");
    let with_guard = place(&lines, "Lock with a guard. Ending value is 2.");
    place(&lines, "Lock with acquire and release. Ending value is 2.");
    // Both read before either writes; with a lock one writes before the other reads.
    let kinds = |part: &[String]| -> Vec<bool> {
        part.iter().filter(|line| line.starts_with("Thread")).map(|line| line.contains("wrote")).collect()
    };
    assert_eq!(kinds(&lines[..without]), [false, false, true, true]);
    assert_eq!(kinds(&lines[without..with_guard]), [false, true, false, true]);
    assert_eq!(kinds(&lines[with_guard..]), [false, true, false, true]);
}

#[test]
fn producer_consumer_holds_the_producer_back_and_loses_nothing() {
    let lines = run("producer_consumer");
    for (who, what) in [("Producer", "put"), ("Consumer", "storing")] {
        let seen: Vec<String> = (1..=6).map(|message| format!("{who}: {what} message {message}")).collect();
        in_order(&lines, &seen.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert!(lines.iter().any(|line| line.starts_with("Producer: queue is full, waits")), "nobody was held back");
    in_order(
        &lines,
        &[
            "Consumer: storing message 6",
            "Consumer: queue is closed and empty, exiting",
            "Main    : the consumer stored 6 of 6 messages",
            "Main    : message 7 came too late",
        ],
    );
    let left = lines.iter().find(|line| line.contains("still in the queue")).expect("main looked into the queue");
    assert!(figure(left, "messages") <= 2.0, "more than the bound: {left}");
}

#[test]
fn events_waiters_go_on_after_the_setter_and_not_before() {
    let lines = run("events");
    let of = |words: &str| -> Vec<f64> {
        lines.iter().filter(|line| line.ends_with(words)).map(|line| figure(line, "s")).collect()
    };
    assert_eq!((of(": waits").len(), of(": goes on").len()), (5, 5));
    assert!(of(": waits").iter().all(|waits| *waits < 2.9), "the waiters came too late to wait");
    assert!(of(": goes on").iter().all(|goes_on| *goes_on >= 3.0), "somebody did not wait");
    assert!(of("time limit passed").iter().all(|gave_up| (1.0..3.0).contains(gave_up)));
    let done = lines.iter().position(|line| line.ends_with("setter  : done")).expect("the setter is done");
    assert!(lines[..done].iter().all(|line| !line.ends_with("goes on")));
    assert!(lines.last().is_some_and(|line| line.ends_with("main    : all done")));
}

#[test]
fn greenlet_spawn_starts_when_main_waits_and_goes_by_turns() {
    let lines = run("greenlet_spawn");
    // Greenlets of one thread have one order, on every machine.
    let expected = [
        "main    : three are spawned, none has started",
        "foo     : starts, and naps for 50 ms",
        "foo     : starts, and naps for 100 ms",
        "splicer : knows its name",
        "foo     : Hello",
        "foo     : I live!",
        "main    : got 3 and Some(7)",
        "main    : the rope is hemp jute sisal hemp jute sisal",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn greenlet_events_wakes_all_in_order_on_one_thread() {
    let lines = run("greenlet_events");
    let seconds: Vec<f64> = lines.iter().map(|line| figure(line.split(':').next().unwrap_or(""), "s")).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line.split_once(" s  ").map_or("", |(_, text)| text)).collect();
    let waiters = |what: &str| (0..5).map(|name| format!("waiter {name}: {what}")).collect::<Vec<_>>();
    let mut expected = vec!["setter  : wait for me, I have something to do".to_owned()];
    expected.extend(waiters("waits"));
    expected.push("setter  : done".to_owned());
    expected.extend(waiters("goes on"));
    expected.push("main    : all done on 1 thread".to_owned());
    assert_eq!(texts, expected);
    assert!(seconds[..6].iter().all(|waits| *waits < 0.45), "the waiters came too late to wait: {seconds:?}");
    assert!(seconds[6..].iter().all(|goes_on| *goes_on >= 0.5), "somebody did not wait: {seconds:?}");
}

#[test]
fn mixed_strands_count_exactly() {
    let lines = run("mixed_strands");
    assert_eq!(lines[0], "12 producers of three kinds, 1000 items each");
    let got = |line: &String| line.split_whitespace().last()?.parse::<u32>().ok();
    assert_eq!(lines[1..4].iter().filter_map(got).sum::<u32>(), 12_000, "{lines:?}");
    assert_eq!(lines[4..], ["count 12000 of 12000", "items 12000 of 12000, sum 5994000 of 5994000"]);
}

#[test]
fn async_gather_keeps_order_cancels_and_gives_back() {
    let lines = run("async_gather");
    let gathered = lines.iter().position(|line| line.starts_with("gather  : [0, 10, 20], ")).expect("it gathered");
    for name in 0..3 {
        let (one, two) = (format!("Task {name}: one"), format!("Task {name}: two"));
        in_order(&lines[..gathered], &[&one, &two]);
    }
    // Three naps of 100 ms, side by side.
    assert!(figure(&lines[gathered], "s") >= 0.1, "{}", lines[gathered]);
    let group = "group   : task failed: invalid digit found in string (core::num::error::ParseIntError)";
    in_order(
        &lines[gathered..],
        &[group, "timeout : task 5 is not finished: true", "timeout : task 5 ended as cancelled: true"],
    );
    // One that was cancelled before its first poll, on a very busy machine, is dropped a little later than it is told.
    in_order(&lines[gathered..], &["Task 3: gave back what it held", "Task 5: gave back what it held"]);
    assert!(lines.last().is_some_and(|line| figure(line, "bytes") > 0.0));
}

#[test]
fn one_task_every_model_says_the_same_on_each() {
    let lines = run("one_task_every_model");
    let models = ["inline   : ", "threads  : ", "greenlets: ", "async    : "];
    assert_eq!(lines.len(), 3 * models.len(), "{lines:#?}");
    for (model, lines) in models.into_iter().zip(lines.chunks(3)) {
        assert!(lines[0].starts_with(&format!("{model}[120, 90, 60, 30], 300 in all, 120 at most; ")), "{}", lines[0]);
        assert_eq!(lines[1].trim(), "task failed: invalid digit found in string (core::num::error::ParseIntError)");
        assert_eq!(lines[2].trim(), "time limit passed before the task was finished");
    }
}

#[test]
fn crawl_urls_gives_up_one_page_and_prints_the_others_in_order() {
    let lines = run("crawl_urls");
    assert_eq!(lines.len(), 21, "{lines:#?}");
    for (page, line) in lines[..20].iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], ["page", &page.to_string()], "{line}");
        match page {
            7 => assert_eq!(words[2..4], ["took", "longer"], "{line}"),
            13 => assert_eq!(words[2], "404", "{line}"),
            _ => assert_eq!(words[2..4], ["200", &(14 * (page + 1)).to_string()], "{line}"),
        }
    }
    assert_eq!(lines[20], "19 pages, 2647 bytes, 1 too late, at most 10 at once");
}

#[test]
fn chat_server_reaches_everybody_and_leaves_no_descriptor() {
    let lines = run("chat_server");
    let said: Vec<usize> = lines[0].split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(said[..], [10, clients, heard] if clients >= 10 && heard == 10 * clients), "{}", lines[0]);
    let open: Vec<&str> = lines[1].split_whitespace().rev().take(2).collect();
    assert_eq!(open[0], open[1], "{}", lines[1]);
}

#[test]
fn io_bound_threads_overlap_their_waits() {
    let lines = run("io_bound");
    let row = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no row {name}"));
    let (sequential, five, pool) = (row("one after another"), row("5 threads"), row("pool of 40 threads"));
    // 40 waits of 50 ms, one after another: not less than 2 s, whatever the machine.
    assert!(figure(sequential, "s") >= 2.0, "{sequential}");
    assert!(figure(five, "s") >= 0.4 && figure(pool, "s") >= 0.05, "waits were skipped\n{five}\n{pool}");
    assert!(figure(five, "x") > 1.5, "{five}");
    assert!(figure(pool, "x") > figure(five, "x"), "{five}\n{pool}");
    let bytes = figure(sequential, "bytes");
    assert!(bytes > 0.0);
    assert_eq!((figure(five, "bytes"), figure(pool, "bytes")), (bytes, bytes), "an answer is missing");
}

#[test]
fn cpu_bound_gets_the_same_sums_on_all_cores() {
    let lines = run("cpu_bound");
    assert!(lines[0].starts_with("20 sums of 10 million squares, "));
    assert!(figure(&lines[1], "s") > 0.0 && figure(&lines[2], "s") > 0.0, "the compiler skipped the work");
    assert_eq!(lines[3], "same sums: true");
}

#[test]
fn word_count_adds_up_what_the_files_have() {
    let lines = run("word_count");
    // Files of 1 to 60 lines with 12 words each, of which 10 are different.
    assert_eq!(lines[0], "60 files, 21960 words, 10 different ones");
    let words: Vec<&str> = lines[1..].iter().map(|line| line.trim()).collect();
    assert_eq!(words, ["3660 rope", "3660 the", "1830 a", "1830 and", "1830 are"]);
}

#[test]
fn pipeline_thumbnails_are_small_and_in_order() {
    let lines = run("pipeline_thumbnails");
    let side = |number: u32| (200 + 100 * number, 400);
    let expected = (0..12).map(|number| {
        let (width, height) = side(number);
        let scale = 64.0 / f64::from(width.max(height));
        let pixels = |side: u32| (f64::from(side) * scale).round().max(1.0);
        format!("{number:02}.thumbnail.png {} x {}", pixels(width), pixels(height))
    });
    assert_eq!(lines, expected.collect::<Vec<_>>());
}

#[test]
fn jobs_quickstart_runs_both_in_order() {
    assert_eq!(run("jobs_quickstart"), ["after the first: 40", "after the second: 42", "done: 2"]);
}

#[test]
fn jobs_workflow_reports_when_all_are_done() {
    let mut lines = run("jobs_workflow");
    // The callback runs on a thread of the worker, and so says its line whenever it gets to it.
    let called = lines.iter().position(|line| line == "the report is there").expect("the callback ran");
    lines.remove(called);
    assert_eq!(lines, ["counted 3", "counted 3", "counted 5", "ropes 3, walks 3, yarns 5, together 11"]);
}

/// A line without its figures: what stays the same from run to run.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let mut last = ' ';
        for c in word.chars() {
            let c = if c.is_ascii_digit() || (c == '.' && last == '#') { '#' } else { c };
            if c != '#' || last != '#' {
                shape.push(c);
            }
            last = c;
        }
        shape.push(' ');
    }
    shape
}

fn shapes<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    lines.into_iter().filter(|line| !line.is_empty()).map(shape).collect()
}

/// The README's block of output under the heading of this example, compared without figures and order.
#[track_caller]
fn readme_shows(name: &str, lines: &[String]) {
    let readme = text_of("README.md");
    let after = readme.split_once(&format!("## {name}\n")).unwrap_or_else(|| panic!("README.md: no heading {name}")).1;
    let block = after.split("```text\n").nth(1).and_then(|block| block.split("```").next()).unwrap_or("");
    let (shown, printed) = (shapes(block.lines()), shapes(lines.iter().map(String::as_str)));
    let difference: Vec<_> = shown.symmetric_difference(&printed).collect();
    assert!(difference.is_empty(), "README.md shows another output of {name}; different are {difference:#?}");
}

#[test]
fn readme_comparison_sees_words_and_not_figures() {
    assert_eq!(shape("5 threads    0.41 s  4.9x"), shape("5 threads   12.00 s 14.9x"));
    assert_eq!(shape("Ending value is 1."), shape("Ending value is 23."));
    assert_ne!(shape("5 threads  0.41 s"), shape("5 threads  0.41 ms"));
    assert_ne!(shape("it is done"), shape("it is not done"));
}

#[test]
fn every_example_is_declared_short_and_in_the_index() {
    let (manifest, readme) = (text_of("Cargo.toml"), text_of("README.md"));
    let files: BTreeSet<String> = fs::read_dir(here(""))
        .expect("examples/ can be read")
        .map(|entry| entry.expect("examples/ can be read").file_name().to_string_lossy().into_owned())
        .filter_map(|file| file.strip_suffix(".rs").map(str::to_owned))
        .collect();
    assert_eq!(files, EXAMPLES.map(str::to_owned).into(), "each example has a test here, and nothing else has");
    for name in EXAMPLES {
        let command = format!("cargo run --release --example {name}");
        let text = text_of(&format!("{name}.rs"));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not declared in Cargo.toml");
        assert!(text.lines().count() < 100, "{name} is too long for an example");
        assert!(text.contains(&format!("//! {command}")), "the head of {name} does not say how to run it");
        let row = readme.lines().find(|line| line.starts_with(&format!("| [`{name}`]({name}.rs) |")));
        assert!(row.is_some_and(|row| row.contains(&command)), "the index of README.md has no row for {name}");
    }
}

#[test]
fn subprocess_communicate_talks_waits_and_tells_what_went_wrong() {
    let lines = run("subprocess_communicate");
    let expected = [
        "sort    : 3000000 bytes went in and came out",
        "limit   : timed out true, in time true",
        "limit   : it had written \"started\\n\"",
        "greenlet: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19",
        "error   : code 3",
        "error   : out of hemp",
        "error   : `no-such-program`: there is no program no-such-program in PATH (/usr/bin:/bin); install it, or name it by its path",
        "cat     : one",
        "cat     : two",
        "cat     : ended well: true",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn subprocess_pipeline_counts_ends_and_tells_which_stage_failed() {
    let lines = run("subprocess_pipeline");
    let expected = [
        "count   : 3 hemp",
        "count   : 2 jute",
        "count   : 1 sisal",
        "endless : \"hemp\\nhemp\\n\", the stages ended with -13 and 0",
        "broken  : the last stage is content: true",
        "broken  : 1",
        "limit   : `sleep 60 | cat` was stopped after its time limit of 0.2 s",
        "output  : stopped after 1000000 bytes",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn process_pool_map_runs_in_other_processes() {
    let lines = run("process_pool_map");
    let expected = [
        "map     : 20 sums, the first is 333328333350000",
        "submit  : the same in another process: true",
        "workers : at most 2, and none is this process: true",
        "bytes   : 1048576 came back",
        "error   : true",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn crash_isolation_loses_what_crashed_and_nothing_else() {
    let lines = run("crash_isolation");
    let expected = [
        "documents: 28 parsed, 4 panicked, 8 took their worker along",
        "abort    : the text names the signal: true",
        "endless  : task was cancelled",
        "endless  : ended in time: true",
        "pool     : 400",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn shared_counter_is_exact_and_the_lock_tells_of_the_death() {
    let lines = run("shared_counter");
    let expected = [
        "processes: 4 said that they are done",
        "counter  : 4000",
        "sums     : [4000, 4000]",
        "crash    : -6",
        "lock     : a process died while it held the lock, and nobody has repaired the data since",
        "sums     : [4001, 4000]",
        "repaired : [4001, 4001]",
    ];
    assert_eq!(lines, expected);
}
