//! Threads of one's own, and what threads leave behind.

mod support;

use ropewalk::sync::Event;
use ropewalk::{CancelToken, Interrupted, Submit, TaskError, ThreadPoolExecutor, thread};
use std::sync::Arc;
use support::{SHORT, eventually, joined};

/// The threads of this process whose name begins so. (By name, because a test harness has threads that come and go.)
#[cfg(target_os = "linux")]
fn threads(prefix: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .map(|task| task.expect("an entry").path().display().to_string())
        .filter(|task| std::fs::read_to_string(format!("{task}/comm")).is_ok_and(|name| name.starts_with(prefix)))
        .collect()
}

#[test]
fn spawn_and_join() {
    assert_eq!(joined(ropewalk::thread::spawn(|| 6 * 7)), 42);
    match ropewalk::thread::spawn(|| panic!("out of hemp")).join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "out of hemp"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn name_and_stack_size() {
    let name = thread::Builder::new().name("counter").spawn(|| std::thread::current().name().map(str::to_owned));
    assert_eq!(joined(name.unwrap()).as_deref(), Some("counter"));
    let big = thread::Builder::new().stack_size(16 << 20).spawn(|| std::hint::black_box([0_u8; 4 << 20])[7]);
    assert_eq!(joined(big.unwrap()), 0);
    assert!(thread::Builder::new().name("a\0b").spawn(|| ()).is_err());
    assert!(thread::Builder::new().stack_size(1 << 60).spawn(|| ()).is_err());
}

#[test]
fn daemons_are_inherited() {
    assert!(!thread::current_is_daemon());
    for daemon in [true, false] {
        let nested = move || {
            let inherits = joined(ropewalk::thread::spawn(thread::current_is_daemon));
            let opposite = thread::Builder::new().daemon(!daemon).spawn(thread::current_is_daemon).unwrap();
            (thread::current_is_daemon(), inherits, joined(opposite))
        };
        let handle = thread::Builder::new().daemon(daemon).spawn(nested).unwrap();
        assert_eq!(joined(handle), (daemon, daemon, !daemon));
    }
}

/// What the handle of a thread can cancel is a thread that has not started; one that runs asks for that itself.
#[test]
fn running_thread_is_not_cancelled() {
    let (started, cancelled) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (starts, waits) = (Arc::clone(&started), Arc::clone(&cancelled));
    let handle = ropewalk::thread::spawn(move || {
        starts.set();
        waits.wait();
        let never = Event::new();
        let own = CancelToken::new();
        own.cancel();
        (ropewalk::task::is_cancelled(), never.wait_timeout(SHORT), own.run(|| never.wait()))
    });
    started.wait();
    assert!(!handle.cancel());
    cancelled.set();
    assert_eq!(joined(handle), (false, Err(Interrupted::TimedOut), Err(Interrupted::Cancelled)));
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left_behind() {
    let gone = || eventually("no thread to be left", || threads("left").is_empty());
    for _ in 0..5 {
        let pool =
            ThreadPoolExecutor::builder().max_workers(4).daemon(true).thread_name_prefix("left").build().unwrap();
        let go = Arc::new(Event::new());
        let waits: Vec<_> = (0..12)
            .map(|_| {
                let go = Arc::clone(&go);
                pool.submit(move || go.wait())
            })
            .collect();
        eventually("all to wait", || pool.stats().blocked == 12);
        assert!(threads("left").len() >= 12);
        go.set();
        waits.into_iter().for_each(joined);
        pool.shutdown(ropewalk::Shutdown::Wait); // spares too
        gone();
    }
    for n in 0..10 {
        drop(thread::Builder::new().name("left").spawn(move || n).unwrap());
    }
    gone();
}

/// How often a thread was switched, and how long it ran.
#[cfg(target_os = "linux")]
fn activity(of: &[String]) -> Vec<(u64, u64)> {
    let number = |text: &str| text.split_whitespace().next_back().and_then(|word| word.parse().ok()).unwrap_or(0);
    of.iter()
        .map(|task| {
            let status = std::fs::read_to_string(format!("{task}/status")).unwrap_or_default();
            let switches = status.lines().filter(|line| line.contains("ctxt_switches")).map(number).sum();
            let runtime = std::fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
            (switches, runtime.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
        })
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn idle_pool_uses_no_processor() {
    let pool = ThreadPoolExecutor::builder().max_workers(4).thread_name_prefix("rests").build().unwrap();
    pool.run_all((0..100).map(|n| move || n));
    let workers = pool.stats().workers;
    eventually("all to be idle", || pool.stats().idle == workers);
    let own = threads("rests");
    assert_eq!(own.len(), workers);
    // They may still be on their way to sleep; then nothing moves any more.
    let mut last = activity(&own);
    eventually("rest", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = activity(&own);
        std::mem::replace(&mut last, now.clone()) == now
    });
    std::thread::sleep(std::time::Duration::from_millis(300)); // a rest in which nothing may happen
    assert_eq!(activity(&own), last);
}
