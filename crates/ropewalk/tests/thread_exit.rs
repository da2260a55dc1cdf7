//! What happens at the end of a program: `#[ropewalk::main]` in child processes of this test.

use ropewalk::sync::Event;
use ropewalk::{Shutdown, Submit, TaskError, ThreadPoolExecutor, thread};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[path = "support/children.rs"]
mod children;

/// Set when `main` has ended: by the last destructor of its body.
struct MainEnded(Arc<Event>);

impl Drop for MainEnded {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl MainEnded {
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Something that happens when `main` has ended, and takes a while then.
    fn then(&self, text: &'static str) -> impl FnOnce() + Send + 'static {
        let ended = Arc::clone(&self.0);
        move || {
            ended.wait();
            ropewalk::sleep(Duration::from_millis(30));
            println!("{text}");
        }
    }
}

fn never() {
    Event::new().wait();
}

fn scenario(name: &str) {
    let main = MainEnded::new();
    match name {
        "threads" => {
            let nested = main.then("nested");
            let first = main.then("first");
            drop(ropewalk::thread::spawn(move || {
                first();
                drop(ropewalk::thread::spawn(nested));
            }));
        }
        "daemons" => {
            let (started, up) = (Arc::new(Event::new()), Arc::new(Event::new()));
            let (start, is_up) = (Arc::clone(&started), Arc::clone(&up));
            let daemon = thread::Builder::new().daemon(true).spawn(move || {
                // What a daemon starts is one too, unless it says otherwise.
                drop(ropewalk::thread::spawn(move || {
                    println!("inherited: {}", thread::current_is_daemon());
                    start.set();
                    never();
                }));
                let own = thread::Builder::new().daemon(false).spawn(thread::current_is_daemon).expect("a thread");
                println!("own: {}", own.join().expect("no panic"));
                is_up.set();
                never();
            });
            drop(daemon.expect("a thread"));
            started.wait();
            up.wait();
        }
        "open_pool" => {
            let pool = ThreadPoolExecutor::new(5);
            drop(pool.submit(main.then("apple")));
            std::mem::forget(pool);
        }
        "detached_pool" => {
            let pool = ThreadPoolExecutor::new(3);
            drop(pool.submit(main.then("apple")));
            pool.shutdown(Shutdown::Detach);
            std::mem::forget(pool);
        }
        "cancelled_and_detached_pool" => {
            let pool = ThreadPoolExecutor::new(1);
            let handles = [pool.submit(main.then("first")), pool.submit(never)];
            // The second one may have started (the first waits): it is asked to stop then.
            handles[1].cancel();
            pool.shutdown(Shutdown::Detach);
            std::mem::forget((pool, handles));
        }
        "daemon_pool" => {
            let pool = ThreadPoolExecutor::builder().daemon(true).build().expect("a pool");
            drop(pool.submit(never));
            std::mem::forget(pool);
        }
        "submit_at_the_end" => {
            let closed_first = Arc::new(ThreadPoolExecutor::new(1));
            let other = ThreadPoolExecutor::new(1);
            let pool = Arc::clone(&closed_first);
            drop(other.submit(move || {
                loop {
                    match pool.submit(|| ()).join() {
                        Ok(()) => ropewalk::yield_now(),
                        Err(TaskError::Shutdown) => return println!("refused"),
                        Err(other) => return println!("{other}"),
                    }
                }
            }));
            std::mem::forget((closed_first, other));
        }
        "panic" => {
            drop(ropewalk::thread::spawn(main.then("after the panic")));
            panic!("in main");
        }
        other => panic!("no such scenario: {other}"),
    }
    println!("main");
}

/// Runs a scenario in a child process: whether it ended well, and the lines that it printed.
#[track_caller]
fn run(name: &str) -> (bool, Vec<String>) {
    let output = children::play(name);
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.success(), text.lines().map(str::to_owned).collect())
}

fn non_daemon_threads_are_waited_for() {
    assert_eq!(run("threads"), (true, ["main", "first", "nested"].map(str::to_owned).to_vec()));
}

fn daemon_threads_end_with_the_program() {
    let (well, mut lines) = run("daemons");
    lines.sort();
    assert_eq!((well, lines), (true, ["inherited: true", "main", "own: false"].map(str::to_owned).to_vec()));
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_interpreter_shutdown
fn open_pool_is_finished() {
    assert_eq!(run("open_pool"), (true, ["main", "apple"].map(str::to_owned).to_vec()));
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_hang_gh83386
fn detached_pool_is_finished() {
    assert_eq!(run("detached_pool"), (true, ["main", "apple"].map(str::to_owned).to_vec()));
}

/// CPython: test_concurrent_futures.test_shutdown.ThreadPoolShutdownTest.test_cancel_futures_wait_false
fn cancelled_jobs_do_not_hold_up_the_end() {
    assert_eq!(run("cancelled_and_detached_pool"), (true, ["main", "first"].map(str::to_owned).to_vec()));
}

fn daemon_pool_ends_with_the_program() {
    assert_eq!(run("daemon_pool"), (true, vec!["main".to_owned()]));
}

/// CPython: test_concurrent_futures.test_shutdown.ExecutorShutdownTest.test_submit_after_interpreter_shutdown
fn submit_to_a_pool_that_was_closed_at_the_end() {
    assert_eq!(run("submit_at_the_end"), (true, ["main", "refused"].map(str::to_owned).to_vec()));
}

fn threads_are_waited_for_when_main_panics() {
    assert_eq!(run("panic"), (false, vec!["after the panic".to_owned()]));
}

#[ropewalk::main]
fn main() -> ExitCode {
    if let Some(name) = children::scenario() {
        scenario(&name);
        return ExitCode::SUCCESS;
    }
    children::run(&tests! {
        non_daemon_threads_are_waited_for
        daemon_threads_end_with_the_program
        open_pool_is_finished
        detached_pool_is_finished
        cancelled_jobs_do_not_hold_up_the_end
        daemon_pool_ends_with_the_program
        submit_to_a_pool_that_was_closed_at_the_end
        threads_are_waited_for_when_main_panics
    })
}
