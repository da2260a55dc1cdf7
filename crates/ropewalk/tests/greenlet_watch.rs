//! What a program is told of its greenlets: deadlocks, hubs that are blocked, greenlets that do not switch.

use ropewalk::Submit;
use ropewalk::greenlet::{self, Builder};
use ropewalk::sync::{Event, Mutex};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

#[path = "support/children.rs"]
mod children;

/// For how long this thread has run: on a busy machine the clock says little about that.
fn has_run() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

#[inline(never)]
fn never_switches() {
    let start = has_run();
    while has_run() - start < Duration::from_millis(400) {
        (0..1000).for_each(|_| std::hint::spin_loop());
    }
}

/// Waits until every other thread of the process has slept for a while; at most two minutes.
fn wait_until_all_sleep() {
    let sleeps = |task: &std::io::Result<std::fs::DirEntry>| {
        let path = task.as_ref().map_or_else(|_| "".into(), |task| task.path().join("stat"));
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('S'))
    };
    let mut looks = 0;
    for _ in 0..2400 {
        ropewalk::sleep(Duration::from_millis(50));
        let awake = std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.filter(|task| !sleeps(task)).count());
        // This one looks.
        looks = if awake <= 1 { looks + 1 } else { 0 };
        if looks == 20 {
            return;
        }
    }
}

fn scenario(name: &str) {
    match name {
        "deadlock_names_every_waiter_and_ends_main" => {
            ropewalk::run(|| {
                let (never, other) = (Arc::new(Event::new()), Arc::new(Event::new()));
                let waits = Builder::new().name("left").spawn({
                    let never = Arc::clone(&never);
                    move || never.wait()
                });
                drop(waits.unwrap());
                other.wait();
            });
        }
        "deadlock_of_locks_ends_the_process" => {
            ropewalk::run(|| {
                let pair = Arc::new((Mutex::new(()), Mutex::new(())));
                let _first = pair.0.lock();
                let other = Arc::clone(&pair);
                drop(greenlet::spawn(move || {
                    let _second = other.1.lock();
                    let _first = other.0.lock();
                }));
                ropewalk::yield_now();
                let _second = pair.1.lock();
            });
        }
        "waits_that_something_can_end_are_no_deadlock" => {
            ropewalk::run(|| {
                let never = Event::new();
                assert!(never.wait_timeout(Duration::from_millis(300)).is_err());
                ropewalk::block_on(tokio::time::sleep(Duration::from_millis(300)));
                let set = Arc::new(Event::new());
                let thread = std::thread::spawn({
                    let set = Arc::clone(&set);
                    move || {
                        let nap = Instant::now();
                        while nap.elapsed() < Duration::from_millis(300) {
                            std::thread::yield_now();
                        }
                        set.set();
                    }
                });
                set.wait();
                thread.join().unwrap();
                // A task of the hub's runtime.
                let told = Arc::new(Event::new());
                let tells = Arc::clone(&told);
                ropewalk::block_on(async {
                    drop(tokio::task::spawn_local(async move {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        tells.set();
                    }));
                });
                told.wait();
            });
        }
        "hub_that_was_blocked_while_others_were_ready_says_so" => {
            ropewalk::run(|| {
                let blocking = || std::thread::sleep(Duration::from_millis(15)); // what a blocking client does
                greenlet::join_all((0..20).map(|_| greenlet::spawn(blocking))).unwrap();
            });
        }
        "executor_whose_hub_cannot_begin_is_an_error" => {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            let limit = rustix::process::Rlimit { current: Some(open + 1), maximum: Some(open + 1) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
            let built = greenlet::GreenletExecutor::builder().hubs(2).build();
            print!("{}", built.err().unwrap());
        }
        "hub_that_offloads_says_nothing" => {
            ropewalk::run(|| {
                let offloaded = || greenlet::offload(|| std::thread::sleep(Duration::from_millis(15)));
                greenlet::join_all((0..20).map(|_| greenlet::spawn(offloaded))).unwrap();
            });
        }
        "greenlet_that_does_not_switch_is_named_once" => {
            ropewalk::run(|| {
                greenlet::join_all((0..2).map(|_| greenlet::spawn(never_switches))).unwrap();
                // The names of the frames are looked up meanwhile; in a test that takes a second, or many.
                wait_until_all_sleep();
            });
        }
        "sigquit_writes_a_dump_and_the_program_goes_on" => {
            ropewalk::dump_on_sigquit().unwrap();
            ropewalk::run(|| {
                let patient = Builder::new().name("patient").spawn(|| ropewalk::sleep(Duration::from_millis(1500)));
                ropewalk::sleep(Duration::from_millis(100));
                let to_us = std::process::id().to_string();
                assert!(std::process::Command::new("kill").args(["-QUIT", &to_us]).status().unwrap().success());
                patient.unwrap().join().unwrap();
            });
        }
        other => panic!("no scenario is called {other}"),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The text with every number replaced, and the lines of the report only.
fn report(output: &Output) -> Vec<String> {
    let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let mut lines: Vec<String> = text(output)
        .lines()
        .filter(|line| line.starts_with("ropewalk:") || line.starts_with("  greenlet"))
        .map(|line| line.chars().map(digits).collect::<String>().replace("###", "#").replace("##", "#"))
        .collect();
    lines.dedup();
    lines
}

fn deadlock_names_every_waiter_and_ends_main() {
    let output = children::play("deadlock_names_every_waiter_and_ends_main");
    let here = "crates/ropewalk/tests/greenlet_watch.rs:#:#";
    let waits = |name: &str| format!("  greenlet # \"{name}\" (spawned at {here}) waits on Event at {here} for #.# s");
    assert_eq!(
        report(&output),
        [
            "ropewalk: deadlock: # greenlets wait, and nothing is left that could wake them".to_owned(),
            waits("main"),
            waits("left"),
        ],
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("deadlock: every greenlet waited for something that nothing could bring"));
    assert_eq!(output.status.code(), Some(101));
}

fn deadlock_of_locks_ends_the_process() {
    let output = children::play("deadlock_of_locks_ends_the_process");
    assert_eq!(report(&output).len(), 4, "{}", text(&output));
    assert!(text(&output).contains("ropewalk: a wait for a lock cannot be cancelled, so the process ends here"));
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}

/// Sleepers, timeouts and other threads can wake somebody: no report.
fn waits_that_something_can_end_are_no_deadlock() {
    let output = children::play("waits_that_something_can_end_are_no_deadlock");
    assert_eq!((report(&output), output.status.code()), (Vec::new(), Some(0)), "{}", text(&output));
}

/// 160 requests with a client that blocks the thread: the hub says so at its end, with the place.
fn hub_that_was_blocked_while_others_were_ready_says_so() {
    let output = children::play("hub_that_was_blocked_while_others_were_ready_says_so");
    // On a busy machine a nap may last so long that the greenlet is named as stuck, too.
    let report: Vec<_> = report(&output).into_iter().filter(|line| line.contains("the hub on thread")).collect();
    assert_eq!((report.len(), output.status.code()), (1, Some(0)), "{}", text(&output));
    let (start, end) =
        ("ropewalk: the hub on thread \"", "use ropewalk::net, block_on or greenlet::offload for what blocks");
    assert!(report[0].starts_with(start) && report[0].ends_with(end), "{}", report[0]);
    assert!(
        report[0]
            .contains("was blocked inside greenlets for #.# s of its #.# s while others were ready, mostly in one")
    );
    assert!(report[0].contains("spawned at crates/ropewalk/tests/greenlet_watch.rs"), "{}", report[0]);
}

/// Not one that never answers: there are no descriptors for a hub's reactor.
fn executor_whose_hub_cannot_begin_is_an_error() {
    let output = children::play("executor_whose_hub_cannot_begin_is_an_error");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("a hub could not begin"), "{}", text(&output));
}

/// Offloaded, the same work blocks nobody.
fn hub_that_offloads_says_nothing() {
    let output = children::play("hub_that_offloads_says_nothing");
    assert_eq!((report(&output), output.status.code()), (Vec::new(), Some(0)), "{}", text(&output));
}

/// Twice the same place: one report, and where it is.
fn greenlet_that_does_not_switch_is_named_once() {
    let output = children::play("greenlet_that_does_not_switch_is_named_once");
    let text = text(&output);
    // Within AddressSanitizer's own code, where the signal may find the greenlet, the stack cannot be walked.
    let has_frames = cfg!(target_os = "linux") && !cfg!(feature = "__asan");
    assert!(!has_frames || text.contains("never_switches\n"), "{text}");
    assert!(!text.contains("harness") && !text.contains("backtrace"), "frames of ours are left out: {text}");
    let report = report(&output);
    assert_eq!((report.len(), output.status.code()), (1, Some(0)), "{text}");
    assert!(
        report[0].starts_with(
            "ropewalk: a greenlet spawned at crates/ropewalk/tests/greenlet_watch.rs:#:# has not switched"
        )
    );
}

fn sigquit_writes_a_dump_and_the_program_goes_on() {
    let output = children::play("sigquit_writes_a_dump_and_the_program_goes_on");
    let text = text(&output);
    assert!(text.contains("\"patient\"") && text.contains("waits on sleep at"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

/// A worker that waits, one that runs and one that is idle.
fn dump_shows_what_each_worker_of_a_pool_does() {
    let pool = ropewalk::ThreadPoolExecutor::builder().max_workers(3).thread_name_prefix("strand").build().unwrap();
    let (event, running) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let waits = pool.submit({
        let event = Arc::clone(&event);
        move || event.wait()
    });
    let runs = pool.submit({
        let (running, stop) = (Arc::clone(&running), Arc::clone(&stop));
        move || {
            running.set();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    });
    running.wait();
    let deadline = Instant::now() + Duration::from_secs(10);
    let text = loop {
        let text = ropewalk::dump();
        if text.contains("waits on Event at") || Instant::now() > deadline {
            break text;
        }
        std::thread::yield_now();
    };
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    event.set();
    let here = "crates/ropewalk/tests/greenlet_watch.rs:";
    let line = |what: &str| {
        text.lines().any(|line| {
            line.starts_with("  worker \"strand-")
                && line.contains(&format!("(job submitted at {here}"))
                && line.contains(what)
        })
    };
    assert!(text.contains("pool \"strand\" of 3 workers, 0 jobs queued"), "{text}");
    assert!(line(&format!(" waits on Event at {here}")) && line(") runs"), "{text}");
    waits.join().unwrap();
    runs.join().unwrap();
    drop(pool);
    assert!(!ropewalk::dump().contains("strand"), "a pool that is gone is not listed");
}

fn dump_shows_name_place_and_wait_of_each_greenlet() {
    let dump = ropewalk::run(|| {
        let event = Arc::new(Event::new());
        let waits = Builder::new().name("patient").spawn({
            let event = Arc::clone(&event);
            move || event.wait()
        });
        ropewalk::yield_now();
        let dump = ropewalk::dump();
        event.set();
        waits.unwrap().join().unwrap();
        dump
    });
    let line = dump.lines().find(|line| line.contains("\"patient\"")).expect("it is listed");
    assert!(line.contains("waits on Event at crates/ropewalk/tests/greenlet_watch.rs:"), "{dump}");
    assert!(dump.lines().any(|line| line.contains("\"main\"") && line.ends_with(" runs")), "{dump}");
}

fn main() -> ExitCode {
    if let Some(name) = children::scenario() {
        scenario(&name);
        return ExitCode::SUCCESS;
    }
    children::run(&tests! {
        deadlock_names_every_waiter_and_ends_main
        deadlock_of_locks_ends_the_process
        waits_that_something_can_end_are_no_deadlock
        hub_that_was_blocked_while_others_were_ready_says_so
        executor_whose_hub_cannot_begin_is_an_error
        hub_that_offloads_says_nothing
        greenlet_that_does_not_switch_is_named_once
        sigquit_writes_a_dump_and_the_program_goes_on
        dump_shows_what_each_worker_of_a_pool_does
        dump_shows_name_place_and_wait_of_each_greenlet
    })
}
