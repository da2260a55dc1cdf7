//! Processes for one call, and what processes share: what comes back, who waits how, and what a death leaves behind.

#[path = "support/children.rs"]
mod children;
#[path = "support/mod.rs"]
mod support;

use children::{play, scenario};
use ropewalk::ipc::{self, RecvError, SendError, SharedSlice, SharedValue};
use ropewalk::process::{Bytes, Limits, Output, Process, ProcessPoolExecutor, Start, returncode};
use ropewalk::{TaskError, greenlet};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use support::{HANG, SHORT, eventually};

fn spawn<A: ropewalk::process::Travels, R: ropewalk::process::Travels>(
    function: fn(A) -> R,
    argument: A,
) -> Process<R> {
    Process::spawn(function, argument).expect("a process")
}

fn is_there(process: u32) -> bool {
    test_kill_process(Pid::from_raw(process as i32).unwrap()).is_ok()
}

#[ropewalk::task]
fn weigh(name: String, factor: f64) -> Result<f64, String> {
    if factor < 0.0 { Err(format!("no {name} is lighter than nothing")) } else { Ok(name.len() as f64 * factor) }
}

fn naps(_: ()) -> u32 {
    ropewalk::sleep(HANG);
    0
}

fn spins(_: ()) -> u32 {
    loop {
        std::hint::spin_loop();
    }
}

fn call_gives_its_result_and_the_process_is_gone() {
    for start in [Start::Zygote, Start::Exec] {
        let process = Process::builder().start(start).spawn(|n: u64| (n, std::process::id()), 7).expect("a process");
        let id = process.id();
        assert_ne!(id, std::process::id());
        assert_eq!(process.join().expect("a result"), (7, id));
        assert!(!is_there(id), "it is reaped before its end is told");
    }
    assert_eq!(
        Process::spawn_call(weigh::call("hemp".to_owned(), 2.0)).expect("a process").join().expect("a result"),
        8.0
    );
    let long = Bytes::from(vec![7; 3 << 20]);
    assert_eq!(spawn(|bytes: Bytes| bytes, long.clone()).join().expect("a result"), long);
}

fn statuses_are_those_of_the_processes() {
    let ended = |process: &Process<u32>| returncode(process.wait());
    let returned = spawn(|n: u32| n, 1);
    assert_eq!((ended(&returned), returned.is_running()), (Some(0), false));
    let panicked = spawn(|_: ()| -> u32 { panic!("torn") }, ());
    assert_eq!(ended(&panicked), Some(1));
    assert!(matches!(panicked.join(), Err(TaskError::Panicked(panic)) if panic.message() == "torn"));
    let exited = spawn(|code: i32| -> u32 { std::process::exit(code) }, 3);
    assert_eq!(ended(&exited), Some(3));
    match exited.join() {
        Err(TaskError::WorkerDied { status: Some(status), likely_oom: false, .. }) => {
            assert_eq!(status.code(), Some(3))
        }
        other => panic!("{other:?}"),
    }
    let aborted = spawn(|_: ()| -> u32 { std::process::abort() }, ());
    assert_eq!(ended(&aborted), Some(-6));
    let failed = Process::spawn_call(weigh::call("jute".to_owned(), -1.0)).expect("a process");
    assert!(matches!(failed.join(), Err(TaskError::Failed { message, .. }) if message.contains("jute")));
}

fn terminate_and_kill() {
    let process = spawn(naps, ());
    assert_eq!((process.exit_status(), process.is_running()), (None, true));
    assert!(matches!(process.wait_timeout(SHORT), Err(TaskError::TimedOut)));
    process.terminate();
    assert_eq!(returncode(process.wait()), Some(-15));
    process.terminate();
    process.kill();
    let process = spawn(spins, ());
    process.kill();
    assert_eq!(returncode(process.wait()), Some(-9));
    assert!(matches!(process.join(), Err(TaskError::WorkerDied { status: Some(_), .. })));
}

fn cancel_asks_and_then_kills() {
    let asked = spawn(naps, ());
    eventually("it runs", || is_there(asked.id()));
    asked.cancel();
    assert!(matches!(asked.join(), Err(TaskError::Cancelled)));
    let started = Instant::now();
    let deaf = Process::builder().grace(Duration::from_millis(50)).spawn(spins, ()).expect("a process");
    deaf.cancel();
    assert!(matches!(deaf.join(), Err(TaskError::Cancelled)));
    assert!(started.elapsed() < HANG);
}

fn handle_waits_with_a_limit_in_a_greenlet_and_in_async_code() {
    let mut process = spawn(naps, ());
    assert!(matches!(process.join_timeout(SHORT), Err(TaskError::TimedOut)));
    process.kill();
    assert!(process.join().is_err());
    let ticks = ropewalk::run(|| {
        let process = spawn(
            |n: u32| {
                ropewalk::sleep(4 * SHORT);
                n
            },
            5,
        );
        let ticks = greenlet::spawn(|| (0..3).inspect(|_| ropewalk::sleep(SHORT / 10)).count());
        let ticks = ticks.join().expect("the hub is not stopped by the wait");
        assert_eq!(process.join().expect("a result"), 5);
        ticks
    });
    assert_eq!(ticks, 3);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let process = spawn(|n: u32| n, 6);
    assert_eq!(runtime.block_on(process).expect("a result"), 6);
}

fn lines_and_the_tail_of_what_it_said() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listens = Arc::clone(&told);
    let output = Output::lines(move |line| listens.lock().unwrap().push((line.process, line.text.to_owned())));
    let says = |_: ()| -> u32 {
        println!("spinning");
        eprintln!("the strand is thin");
        std::process::abort()
    };
    let process =
        Process::builder().output(output).limits(Limits::new().core_bytes(0)).spawn(says, ()).expect("a process");
    let id = process.id();
    match process.join() {
        Err(TaskError::WorkerDied { stderr, .. }) => assert_eq!(stderr, "the strand is thin"),
        other => panic!("{other:?}"),
    }
    let mut told = told.lock().unwrap().clone();
    told.sort();
    assert_eq!(told, [(id, "spinning".to_owned()), (id, "the strand is thin".to_owned())]);
}

fn channel_carries_every_size_and_both_ends_end() {
    let (to, numbers) = ipc::channel::<Vec<u8>>().unwrap();
    let (lengths, from) = ipc::channel::<usize>().unwrap();
    let echo = |(numbers, lengths): (ipc::Receiver<Vec<u8>>, ipc::Sender<usize>)| -> usize {
        numbers.iter().map(|bytes| lengths.send(bytes.len()).expect("somebody listens")).count()
    };
    let process = spawn(echo, (numbers, lengths));
    let sizes = [0, 1, 1000, 32 * 1024 - 1, 32 * 1024, 1 << 20];
    for size in sizes {
        to.send(vec![1; size]).expect("somebody listens");
        assert_eq!(from.recv_timeout(HANG), Ok(size));
    }
    assert_eq!((from.try_recv(), from.recv_timeout(SHORT)), (Err(RecvError::Empty), Err(RecvError::TimedOut)));
    drop(to);
    assert_eq!(process.join().expect("a result"), sizes.len());
    assert_eq!(from.recv(), Err(RecvError::Disconnected));
    // The other way round: the receiver dies.
    let (to, numbers) = ipc::channel::<u64>().unwrap();
    let process = spawn(|numbers: ipc::Receiver<u64>| numbers.recv().unwrap(), numbers);
    to.send(1).unwrap();
    assert_eq!(process.join().expect("a result"), 1);
    assert_eq!(to.send(2), Err(SendError::Disconnected(2)));
}

fn channel_that_is_full_makes_its_sender_wait() {
    let (to, from) = ipc::channel::<u64>().unwrap();
    let mut sent = 0;
    while to.send_timeout(sent, SHORT / 10).is_ok() {
        sent += 1;
    }
    assert!(matches!(to.send_timeout(sent, SHORT / 10), Err(SendError::TimedOut(value)) if value == sent));
    let sum = spawn(|from: ipc::Receiver<u64>| from.iter().sum::<u64>(), from);
    (sent..2 * sent).for_each(|n| to.send(n).unwrap());
    drop(to);
    assert_eq!(sum.join().expect("a result"), (0..2 * sent).sum::<u64>());
}

fn channels_go_through_channels() {
    let (to, from) = ipc::channel::<ipc::Sender<u32>>().unwrap();
    let process =
        spawn(|from: ipc::Receiver<ipc::Sender<u32>>| from.iter().for_each(|back| back.send(9).unwrap()), from);
    for _ in 0..3 {
        let (back, answers) = ipc::channel().unwrap();
        to.send(back).unwrap();
        assert_eq!(answers.recv_timeout(HANG), Ok(9));
    }
    drop(to);
    process.join().expect("it ends");
    // And what a process returns may be one.
    let answers = spawn(
        |n: u32| {
            let (to, from) = ipc::channel().unwrap();
            to.send(n).unwrap();
            from
        },
        4,
    );
    assert_eq!(answers.join().expect("a channel").recv(), Ok(4));
}

fn many_senders_and_receivers_lose_nothing() {
    const EACH: u64 = 2_000;
    let (numbers, to_sum) = ipc::channel::<u64>().unwrap();
    let send = |(numbers, from): (ipc::Sender<u64>, u64)| (from..from + EACH).for_each(|n| numbers.send(n).unwrap());
    let senders: Vec<_> = (0..3).map(|n| spawn(send, (numbers.clone(), n * EACH))).collect();
    let sum = |numbers: ipc::Receiver<u64>| numbers.iter().fold((0, 0), |(count, sum), n| (count + 1, sum + n));
    let receivers: Vec<_> = (0..2).map(|_| spawn(sum, to_sum.clone())).collect();
    drop((numbers, to_sum));
    senders.into_iter().for_each(|sender| sender.join().expect("it ends"));
    let sums = receivers.into_iter().map(|receiver| receiver.join().expect("a sum"));
    let (count, sum) = sums.fold((0, 0), |all, one: (u64, u64)| (all.0 + one.0, all.1 + one.1));
    assert_eq!((count, sum), (3 * EACH, (0..3 * EACH).sum()));
}

fn sender_that_is_killed_harms_nobody() {
    let (to, from) = ipc::channel::<Vec<u8>>().unwrap();
    let floods = |to: ipc::Sender<Vec<u8>>| -> u32 {
        loop {
            to.send(vec![5; 20_000]).unwrap();
        }
    };
    for _ in 0..5 {
        let process = spawn(floods, to.clone());
        for _ in 0..20 {
            assert_eq!(from.recv_timeout(HANG).unwrap().len(), 20_000);
        }
        process.kill();
        process.wait();
    }
    drop(to);
    assert!(from.iter().all(|bytes| bytes == [5; 20_000]), "whole or not at all");
}

fn waits_for_a_channel_in_a_greenlet_and_in_async_code() {
    let later = |(to, event): (ipc::Sender<u32>, ipc::Event)| {
        ropewalk::sleep(2 * SHORT);
        to.send(8).unwrap();
        event.set();
    };
    let (to, from) = ipc::channel().unwrap();
    let event = ipc::Event::new().unwrap();
    let process = spawn(later, (to, event.clone()));
    ropewalk::run(move || {
        let ticks = greenlet::spawn(|| (0..5).for_each(|_| ropewalk::sleep(SHORT / 10)));
        let (gets, waits) = (greenlet::spawn(move || from.recv()), greenlet::spawn(move || event.wait()));
        ticks.join().expect("the hub is not stopped by the waits");
        assert!(!gets.is_finished() && !waits.is_finished());
        assert_eq!(gets.join().unwrap(), Ok(8));
        waits.join().unwrap();
    });
    process.join().expect("it ends");
    let (to, from) = ipc::channel().unwrap();
    let event = ipc::Event::new().unwrap();
    let process = spawn(later, (to, event.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(from.recv_async().await, Ok(8));
        event.wait_async().await;
    });
    process.join().expect("it ends");
}

fn event_is_seen_by_all_and_cleared_by_any() {
    let (go, done) = (ipc::Event::new().unwrap(), ipc::Event::new().unwrap());
    let waits = |(go, done): (ipc::Event, ipc::Event)| {
        go.wait();
        done.set();
        go.is_set()
    };
    assert!(!go.wait_timeout(SHORT / 10));
    let processes: Vec<_> = (0..2).map(|_| spawn(waits, (go.clone(), done.clone()))).collect();
    assert!(!done.wait_timeout(SHORT));
    go.set();
    go.set();
    assert!(processes.into_iter().all(|process| process.join().expect("a result")) && done.is_set());
    spawn(|go: ipc::Event| go.clear(), go.clone()).join().expect("it ends");
    assert!(!go.is_set());
}

fn counters_and_slices_are_one_memory() {
    let (counter, slice) = (SharedValue::new(0_u64).unwrap(), SharedSlice::<u32>::new(4).unwrap());
    let counts = |(counter, slice, place): (SharedValue<u64>, SharedSlice<u32>, usize)| {
        for _ in 0..10_000 {
            counter.as_atomic().fetch_add(1, Ordering::Relaxed);
        }
        slice.set(place, 1 + place as u32);
    };
    let processes: Vec<_> = (0..4).map(|n| spawn(counts, (counter.clone(), slice.clone(), n))).collect();
    processes.into_iter().for_each(|process| process.join().expect("it ends"));
    assert_eq!((counter.get(), slice.to_vec()), (40_000, vec![1, 2, 3, 4]));
}

fn lock_excludes_processes_threads_and_greenlets() {
    const EACH: u64 = 3_000;
    // Two words that are equal whenever nobody is inside.
    fn adds(total: &ipc::Mutex<[u64; 2]>) {
        for _ in 0..EACH {
            let mut total = total.lock().expect("nobody died");
            assert_eq!(total[0], total[1]);
            total[0] += 1;
            std::hint::black_box(&mut *total);
            total[1] += 1;
        }
    }
    let total = ipc::Mutex::new([0_u64; 2]).unwrap();
    let processes: Vec<_> = (0..2).map(|_| spawn(|total: ipc::Mutex<[u64; 2]>| adds(&total), total.clone())).collect();
    let threads: Vec<_> = (0..2).map(|_| total.clone()).map(|total| std::thread::spawn(move || adds(&total))).collect();
    let greenlets = total.clone();
    ropewalk::run(move || {
        let both: Vec<_> =
            (0..2).map(|_| greenlets.clone()).map(|total| greenlet::spawn(move || adds(&total))).collect();
        both.into_iter().for_each(|one| one.join().expect("it ends"));
    });
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    processes.into_iter().for_each(|process| process.join().expect("it ends"));
    assert_eq!(*total.lock().expect("nobody died"), [6 * EACH; 2]);
}

fn holds((lock, held): (ipc::Mutex<u64>, ipc::Event)) -> u32 {
    let mut guard = lock.lock().unwrap_or_else(|died| died.repair());
    *guard += 1;
    held.set();
    ropewalk::sleep(HANG);
    0
}

fn owner_that_dies_is_told_until_somebody_repairs() {
    let (lock, held) = (ipc::Mutex::new(1_u64).unwrap(), ipc::Event::new().unwrap());
    for start in [Start::Zygote, Start::Exec] {
        let owner = Process::builder().start(start).spawn(holds, (lock.clone(), held.clone())).expect("a process");
        held.wait();
        held.clear();
        assert!(lock.try_lock().is_none() && lock.lock_timeout(SHORT).is_none());
        // Waiting in the system when it dies.
        let waits = lock.clone();
        let waiter = std::thread::spawn(move || waits.lock().is_err());
        kill_process(Pid::from_raw(owner.id() as i32).unwrap(), Signal::KILL).unwrap();
        assert!(waiter.join().unwrap(), "it is told, and leaves it as it is");
        assert!(lock.lock().is_err(), "so is the next one");
        assert!(spawn(|lock: ipc::Mutex<u64>| lock.lock().is_err(), lock.clone()).join().expect("a result"));
        let mut guard = lock.lock().expect_err("and so on").repair();
        *guard += 10;
        drop(guard);
        assert!(lock.lock().is_ok());
        owner.wait();
    }
    assert_eq!(*lock.lock().expect("it is repaired"), 23);
}

fn greenlet_and_future_wait_for_a_lock_of_another_process() {
    let (lock, held) = (ipc::Mutex::new(0_u64).unwrap(), ipc::Event::new().unwrap());
    let owner = spawn(holds, (lock.clone(), held.clone()));
    held.wait();
    let process = owner.id();
    let waits = lock.clone();
    ropewalk::run(move || {
        let gives_up = waits.clone();
        assert!(greenlet::spawn(move || gives_up.lock_timeout(SHORT).is_none()).join().expect("a result"));
        let waiter = greenlet::spawn(move || waits.lock().map(|guard| *guard).map_err(|died| *died.repair()));
        (0..5).for_each(|_| ropewalk::sleep(SHORT / 10));
        assert!(!waiter.is_finished(), "and the hub goes on");
        kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL).unwrap();
        assert_eq!(waiter.join().expect("it ends"), Err(1));
    });
    owner.wait();
    held.clear();
    let owner = spawn(holds, (lock.clone(), held.clone()));
    held.wait();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // One that gives up leaves nothing behind: the lock is had after the owner's death all the same.
        assert!(tokio::time::timeout(SHORT, lock.lock_async()).await.is_err());
        owner.kill();
        assert_eq!(*lock.lock_async().await.expect_err("it died").repair(), 2);
    });
    owner.wait();
    eventually("the lock is free", || lock.try_lock().is_some());
}

static COUNTER: OnceLock<(SharedValue<u64>, ipc::Sender<u32>)> = OnceLock::new();

fn pool_is_given_what_is_shared_by_its_initializer() {
    let counter = SharedValue::new(0_u64).unwrap();
    let (to, from) = ipc::channel().unwrap();
    let keep = |shared: (SharedValue<u64>, ipc::Sender<u32>)| drop(COUNTER.set(shared));
    let pool = ProcessPoolExecutor::builder().max_workers(2).initializer(keep, (counter.clone(), to.clone())).build();
    let pool = pool.expect("a pool");
    let counts = |n: u64| COUNTER.get().expect("it was initialised").0.as_atomic().fetch_add(n, Ordering::Relaxed);
    pool.map(counts, 1..=100).for_each(drop);
    assert_eq!(counter.get(), 5050);
    let dies = pool.spawn(|_: ()| -> u32 { std::process::abort() }, ());
    assert!(dies.join().is_err());
    // Whoever comes in its place has it, too.
    (0..8).for_each(|n| {
        pool.spawn(|n: u32| COUNTER.get().expect("there").1.send(n).unwrap(), n).join().expect("it ends")
    });
    let mut got: Vec<u32> = (0..8).map(|_| from.recv_timeout(HANG).unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
    // A task has no way for it, and says which one there is.
    let error = pool.spawn(|_: SharedValue<u64>| (), counter).join().expect_err("it cannot be sent");
    assert!(error.to_string().contains("initializer"), "{error}");
}

fn nothing_is_left_of_them() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let once = || {
        let (to, from) = ipc::channel::<Vec<u8>>().unwrap();
        let (lock, event) = (ipc::Mutex::new(0_u64).unwrap(), ipc::Event::new().unwrap());
        let slice = SharedSlice::<u64>::new(100).unwrap();
        type All = (ipc::Receiver<Vec<u8>>, ipc::Mutex<u64>, ipc::Event, SharedSlice<u64>);
        let process = spawn(|all: All| drop(all.0.recv()), (from, lock.clone(), event.clone(), slice.clone()));
        to.send(vec![0; 100_000]).unwrap();
        process.join().expect("it ends");
    };
    once();
    let before = descriptors();
    (0..20).for_each(|_| once());
    eventually("all descriptors are closed", || descriptors() <= before);
    // Its memory has no name in any file system.
    let (_lock, _slice) = (ipc::Mutex::new(0_u64).unwrap(), SharedSlice::<u64>::new(100).unwrap());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.matches("memfd:ropewalk-shared (deleted)").count(), 2, "{maps}");
    assert!(!maps.contains("/dev/shm"), "{maps}");
}

fn end_of_main_waits_for_processes_and_kills_daemons() {
    let started = Instant::now();
    let output = play("leaves");
    assert!(started.elapsed() < HANG, "the daemon is not waited for");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("done"), "{output:?}");
    let daemon: u32 = said.lines().find_map(|line| line.strip_prefix("daemon ")).unwrap().parse().unwrap();
    assert!(!is_there(daemon));
}

fn parent_that_is_killed_takes_its_processes_along() {
    let output = play("killed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let process: u32 = said.trim().parse().expect("the number of a process");
    eventually("it has gone with its parent", || !is_there(process));
}

mod leaves {
    use super::*;

    #[ropewalk::main]
    pub(super) fn main() {
        let daemon = Process::builder().daemon(true).spawn(naps, ()).expect("a process");
        println!("daemon {}", daemon.id());
        drop(daemon);
        // One that goes on until a daemon has ended that was started after it.
        let (sender, receiver) = ipc::channel::<u8>().expect("a channel");
        drop(
            Process::spawn(|receiver: ipc::Receiver<u8>| while receiver.recv().is_ok() {}, receiver)
                .expect("a process"),
        );
        let keeps = |sender: ipc::Sender<u8>| {
            naps(());
            drop(sender);
        };
        drop(Process::builder().daemon(true).spawn(keeps, sender).expect("a process"));
        let says = |(): ()| {
            ropewalk::sleep(4 * SHORT);
            println!("done");
        };
        drop(spawn(says, ()));
    }
}

fn killed() {
    let process = spawn(naps, ());
    println!("{}", process.id());
    kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
}

fn main() -> ExitCode {
    ropewalk::init();
    match scenario().as_deref() {
        Some("leaves") => leaves::main(),
        Some("killed") => killed(),
        Some(other) => panic!("no scenario {other}"),
        None => {
            return children::run(&tests![
                call_gives_its_result_and_the_process_is_gone
                statuses_are_those_of_the_processes
                terminate_and_kill
                cancel_asks_and_then_kills
                handle_waits_with_a_limit_in_a_greenlet_and_in_async_code
                lines_and_the_tail_of_what_it_said
                channel_carries_every_size_and_both_ends_end
                channel_that_is_full_makes_its_sender_wait
                channels_go_through_channels
                many_senders_and_receivers_lose_nothing
                sender_that_is_killed_harms_nobody
                waits_for_a_channel_in_a_greenlet_and_in_async_code
                event_is_seen_by_all_and_cleared_by_any
                counters_and_slices_are_one_memory
                lock_excludes_processes_threads_and_greenlets
                owner_that_dies_is_told_until_somebody_repairs
                greenlet_and_future_wait_for_a_lock_of_another_process
                pool_is_given_what_is_shared_by_its_initializer
                nothing_is_left_of_them
                end_of_main_waits_for_processes_and_kills_daemons
                parent_that_is_killed_takes_its_processes_along
            ]);
        }
    }
    ExitCode::SUCCESS
}
