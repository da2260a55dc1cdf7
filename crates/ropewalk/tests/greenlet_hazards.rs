//! What would take a whole process with it: overflows, too many stacks, frames that cannot be unwound, scoped thread-locals,
//! and how much memory many greenlets take. Each in a child process.

use ropewalk::greenlet::{self, Builder, no_switch, spawn, spawn_local};
use ropewalk::sync::Event;
use ropewalk::{TaskError, TaskHandle, yield_now};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Output};
use std::sync::Arc;
use std::time::Duration;

#[path = "support/children.rs"]
mod children;

/// Guards without `MADV_GUARD_INSTALL`, as on kernels before 6.13.
const OLD_KERNEL: &[(&str, &str)] = &[("ROPEWALK_TEST_NO_GUARD_INSTALL", "1")];

/// Fills the stack, however large it is.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    // Never so deep, but nobody knows.
    let deeper = if depth == u64::MAX { 0 } else { recurse(depth + 1) };
    deeper.wrapping_add(frame[usize::try_from(deeper % 64).expect("small")])
}

/// Prints when it is dropped.
struct Says(&'static str);

impl Drop for Says {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}

scoped_tls::scoped_thread_local!(static SCOPED: u32);

/// Two greenlets in `SCOPED.set`, one after the other, that leave it in the same order.
fn scoped_by_turns(set: fn(&u32, &dyn Fn())) {
    ropewalk::run(|| {
        let inside = [1, 2].map(|number: u32| {
            spawn_local(move || {
                set(&number, &|| {
                    assert_eq!(SCOPED.with(|seen| *seen), number);
                    yield_now();
                });
            })
        });
        greenlet::join_all(inside).unwrap();
        // Not read: it may lead to a frame that is gone.
        println!("set after both have ended: {}", SCOPED.is_set());
    });
}

/// A callback as a library of C would call it: nothing unwinds through it.
extern "C" fn callback() {
    println!("in the callback");
    ropewalk::sleep(Duration::from_secs(60));
}

/// A callback that lets no unwind into the frame of C.
extern "C" fn careful_callback() {
    let ended = std::panic::catch_unwind(|| ropewalk::sleep(Duration::from_secs(60)));
    println!("caught in the callback: {}", ended.is_err());
}

fn kill_inside(callback: extern "C" fn()) {
    ropewalk::run(|| {
        let handle = spawn(move || {
            let _says = Says("unwound");
            callback();
            yield_now();
        });
        yield_now();
        handle.kill();
        println!("{:?}", handle.join());
    });
}

/// Kilobytes that `/proc` says this process has of something.
fn status_kb(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Memory and page tables, in bytes.
fn resident() -> usize {
    1024 * (status_kb("VmRSS") + status_kb("VmPTE"))
}

fn scenario(name: &str) {
    match name {
        "overflow" => ropewalk::run(|| {
            let deep = Builder::new().name("deep").stack_size(64 << 10).spawn(|| recurse(0));
            drop(deep.unwrap().join());
        }),
        "overflow without a name" => ropewalk::run(|| drop(spawn(|| recurse(0)).join())),
        "overflow of main" => println!("{}", ropewalk::run(|| recurse(0))),
        "overflow with others" => ropewalk::run(|| {
            let never = Arc::new(Event::new());
            for n in 0..2000 {
                let never = Arc::clone(&never);
                drop(spawn(move || if n == 1234 { assert_ne!(recurse(0), 1) } else { never.wait() }));
            }
            never.wait();
        }),
        "overflow of a thread" => ropewalk::run(|| {
            let thread = std::thread::Builder::new().name("plain".to_owned()).spawn(|| recurse(0)).unwrap();
            greenlet::offload(move || drop(thread.join()));
        }),
        "overflow after a hub has ended" => {
            ropewalk::run(|| ());
            std::thread::spawn(|| ropewalk::run(|| ())).join().unwrap();
            recurse(0);
        }
        "deep enough" => ropewalk::run(|| {
            fn fill(kib: usize) -> usize {
                let frame = std::hint::black_box([1_u8; 1024]);
                if kib == 0 { 0 } else { fill(kib - 1) + usize::from(frame[kib % 1024]) }
            }
            let deep = Builder::new().stack_size(8 << 20).spawn(|| fill(2000)).unwrap();
            println!("{}", deep.join().unwrap());
        }),
        "more stacks than maps" => ropewalk::run(|| {
            let never = Arc::new(Event::new());
            let handles: Vec<TaskHandle<()>> = (0..20_000)
                .map(|_| {
                    let never = Arc::clone(&never);
                    spawn(move || never.wait())
                })
                .collect();
            yield_now();
            let refused = handles.iter().filter(|handle| handle.is_finished()).count();
            println!("refused: {}", refused > 0 && refused < 10_000);
            match handles.into_iter().next_back().map(TaskHandle::join) {
                Some(Err(TaskError::Failed { message, .. })) => println!("{message}"),
                other => println!("{other:?}"),
            }
            never.set();
            println!("one more: {:?}", spawn(|| 1).join().ok());
        }),
        "panic of main" => ropewalk::run(|| {
            drop(spawn(|| {
                let _says = Says("unwound");
                ropewalk::sleep(Duration::from_secs(60));
            }));
            yield_now();
            panic!("in main");
        }),
        "kill inside a callback" => kill_inside(callback),
        "kill inside a careful callback" => kill_inside(careful_callback),
        "scoped by turns" => scoped_by_turns(|value, inside| SCOPED.set(value, inside)),
        "scoped by turns and read" if cfg!(feature = "__asan") => {
            scoped_by_turns(|value, inside| SCOPED.set(value, inside));
            println!("{}", SCOPED.with(|gone| *gone));
        }
        "scoped without a switch" => scoped_by_turns(|value, inside| no_switch(|| SCOPED.set(value, inside))),
        "memory" => {
            let many = if std::env::var_os("ROPEWALK_DEEP").is_some() { 1_000_000 } else { 50_000 };
            ropewalk::run(|| {
                let event = Arc::new(Event::new());
                let mut handles = Vec::with_capacity(many);
                let before = resident();
                handles.extend((0..many).map(|_| {
                    let event = Arc::clone(&event);
                    spawn(move || event.wait())
                }));
                yield_now();
                assert!(handles.iter().all(TaskHandle::is_running));
                println!("{}", (resident() - before) / many);
                event.set();
                handles.into_iter().for_each(|handle| handle.join().unwrap());
            });
        }
        other => panic!("no scenario is called {other}"),
    }
    println!("ended");
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The child was aborted, and said this among other things.
#[track_caller]
fn aborted(output: &Output, text: &str) {
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}{}", out(output), err(output));
    assert!(err(output).contains(text), "{}", err(output));
}

/// The child ended well, and said this.
#[track_caller]
fn ended(output: &Output, lines: &[&str]) {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(output), err(output));
    let (out, mut expected) = (out(output), lines.to_vec());
    expected.push("ended");
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

/// What the message of an overflow says, with the place of its spawn.
fn overflow(name: &str, after: &str, kib: usize) -> String {
    // The place is that of the first line after `after` which spawns.
    let source = include_str!("greenlet_hazards.rs");
    let line = 1 + source.lines().position(|line| line.contains(after)).expect("the scenario");
    format!(
        "ropewalk: greenlet {name}spawned at {}:{line} overflowed its stack of {kib} KiB; give it a larger one with \
         greenlet::Builder::stack_size\n",
        file!()
    )
}

fn overflow_names_the_greenlet() {
    for environment in [&[], OLD_KERNEL] {
        let deep = children::play_with("overflow", environment);
        aborted(&deep, &overflow("\"deep\" ", ".name(\"deep\")", 64));
        let unnamed = children::play_with("overflow without a name", environment);
        aborted(&unnamed, &overflow("", "\"overflow without a name\" =>", 256));
        let main = children::play_with("overflow of main", environment);
        aborted(&main, &overflow("\"main\" ", "\"overflow of main\" =>", 8192));
        let one_of_many = children::play_with("overflow with others", environment);
        aborted(&one_of_many, &overflow("", "if n == 1234", 256));
    }
}

/// std's own message, also in a process that has hubs or has had some.
fn overflow_of_a_plain_thread_is_told_by_std() {
    if cfg!(feature = "__asan") {
        return; // The sanitizer tells it first, in its own words.
    }
    for environment in [&[], OLD_KERNEL] {
        let plain = children::play_with("overflow of a thread", environment);
        aborted(&plain, "thread 'plain'");
        aborted(&plain, "has overflowed its stack");
        let main = children::play_with("overflow after a hub has ended", environment);
        aborted(&main, "thread 'main'");
        aborted(&main, "has overflowed its stack");
    }
}

fn stack_size_is_what_was_asked_for() {
    ended(&children::play("deep enough"), &["2000"]);
}

/// Two mappings a stack: the process is left half of what the kernel allows, and whoever comes too late is told.
fn more_stacks_than_the_kernel_allows_are_refused() {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("a limit");
    if limit.trim() != "65530" {
        // Where the limit was raised, there is nothing to refuse.
        return;
    }
    let output = children::play_with("more stacks than maps", OLD_KERNEL);
    let stacks =
        out(&output).lines().nth(1).and_then(|line| line.split(' ').nth(5)?.trim_end_matches(':').parse().ok());
    let stacks: usize = stacks.unwrap_or_else(|| panic!("{}{}", out(&output), err(&output)));
    assert!(stacks <= 65530 / 4, "{stacks}");
    let message = format!(
        "no more greenlet stacks after {stacks}: this kernel needs two mappings each and allows 65530 in all; raise it with \
         `sysctl vm.max_map_count=…`, or use Linux 6.13"
    );
    ended(&output, &["refused: true", &message, "one more: Some(1)"]);
}

fn panic_of_main_ends_the_process_after_the_others() {
    let output = children::play("panic of main");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(101), "unwound\n"));
    assert!(err(&output).contains("in main"), "{}", err(&output));
}

/// Rust ends a process rather than unwind a frame of C. So a callback that waits is one that catches.
fn kill_inside_a_callback_of_c_aborts() {
    let output = children::play("kill inside a callback");
    aborted(&output, "panic in a function that cannot unwind");
    assert_eq!(out(&output), "in the callback\n");
    let careful = children::play("kill inside a careful callback");
    ended(&careful, &["caught in the callback: true", "unwound", "Err(Cancelled)"]);
}

/// The hole that is told at the head of `ropewalk::greenlet`, as it is: the thread-local leads to a frame that has ended.
fn scoped_thread_local_by_turns_is_left_set() {
    ended(&children::play("scoped by turns"), &["set after both have ended: true"]);
}

fn no_switch_closes_the_hole_of_scoped_thread_locals() {
    ended(&children::play("scoped without a switch"), &["set after both have ended: false"]);
}

/// For `ci/asan.sh`: the sanitizer sees what is wrong on the stacks of greenlets, here in safe code. Elsewhere nobody reads.
fn sanitizer_sees_the_hole() {
    if cfg!(feature = "__asan") {
        aborted(&children::play("scoped by turns and read"), "AddressSanitizer: stack-use-after-return");
    }
}

/// 50,000 of them, and a million with `ROPEWALK_DEEP` set (`ci/deep.sh`).
fn deep_parked_greenlet_takes_a_page_and_its_tables() {
    if cfg!(feature = "__asan") {
        return; // The sanitizer keeps each frame elsewhere.
    }
    let output = children::play("memory");
    let each: usize =
        out(&output).lines().next().and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{}", err(&output)));
    println!("{each} bytes each");
    // What is not optimized has larger frames: a second page.
    let most = if cfg!(debug_assertions) { 4096 + 5000 } else { 5000 };
    assert!(each < most, "{each} bytes each");
}

fn main() -> ExitCode {
    if let Some(name) = children::scenario() {
        scenario(&name);
        return ExitCode::SUCCESS;
    }
    children::run(&tests! {
        overflow_names_the_greenlet
        overflow_of_a_plain_thread_is_told_by_std
        stack_size_is_what_was_asked_for
        more_stacks_than_the_kernel_allows_are_refused
        panic_of_main_ends_the_process_after_the_others
        kill_inside_a_callback_of_c_aborts
        scoped_thread_local_by_turns_is_left_set
        no_switch_closes_the_hole_of_scoped_thread_locals
        sanitizer_sees_the_hole
        deep_parked_greenlet_takes_a_page_and_its_tables
    })
}
