//! may: coroutines that any of its workers may run.
//!
//! `may` has a worker a core, each pinned to its own, which is its default; `may:1w` has one, where it likes, to compare
//! with what has one thread. Stacks are of its default size (32 KiB). `set_pool_capacity` is told how many coroutines the
//! work has at a time, so that their stacks exist before the clock starts.
//!
//! It has no row where 100,000 strands or more wait: each of its stacks takes two mappings, and `vm.max_map_count` ends
//! that near 32,000. It cannot wait for a future either.

// may's own verbs are unsafe functions; its macro `go!` only hides that.
#![expect(unsafe_code, reason = "may has no safe way to start or cancel a coroutine")]

use may::coroutine::{self, JoinHandle};
use may::sync::{Semphore, SyncFlag, mpsc};

use super::super::sync::event::Flag;
use super::Run;
use super::blocking::{self, Gate, One, Strands};
use crate::measure::cores;

/// As many workers as there are cores.
pub const ALL_CORES: usize = 0;

/// Coroutines beyond those that a work has at a time.
const POOL_SPARE: u64 = 64;
/// For the coroutine that runs `main`, in words.
const MAIN_STACK_WORDS: usize = 0x8000;

/// How may does a work, with so many workers.
pub fn run<const WORKERS: usize>(work: &str) -> Option<Run> {
    if work.starts_with("park.") { None } else { blocking::run::<May<WORKERS>>(work) }
}

/// Configures it; before its first coroutine.
pub fn configure(workers: usize, at_once: u64) {
    let config = may::config();
    config.set_workers(if workers == ALL_CORES { cores() } else { workers });
    config.set_pool_capacity((at_once + POOL_SPARE) as usize);
    if workers != ALL_CORES {
        config.set_worker_pin(false);
    }
}

/// Coroutines of may.
struct May<const WORKERS: usize>;

impl<const WORKERS: usize> Strands for May<WORKERS> {
    const ONE_THREAD: bool = WORKERS == 1;
    const SPAWNS_DIVIDED_BY: u64 = 10;
    type Handle<T: Send + 'static> = JoinHandle<T>;
    type Flag = Semphore;
    type Gate = SyncFlag;
    type Queue = Channel;

    fn enter<R: Send + 'static>(at_once: u64, main: impl FnOnce() -> R + Send + 'static) -> R {
        configure(WORKERS, at_once);
        let builder = coroutine::Builder::new().stack_size(MAIN_STACK_WORDS);
        // SAFETY: it keeps nothing in thread-locals over a switch, and its frames are small.
        let main = unsafe { builder.spawn(main) }.expect("a coroutine can be started");
        main.join().expect("no coroutine fails")
    }
    #[inline]
    fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        // SAFETY: as above.
        unsafe { coroutine::spawn(job) }
    }
    #[inline]
    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().expect("no coroutine fails")
    }
    fn kill<T: Send + 'static>(handle: JoinHandle<T>) -> bool {
        // SAFETY: what the coroutine has is made to be dropped.
        unsafe { handle.coroutine().cancel() };
        handle.join().is_err()
    }
    #[inline(always)]
    fn yield_now() {
        coroutine::yield_now();
    }
}

/// may has no event that can be cleared; its semaphore is one that a wait takes.
impl Flag for Semphore {
    fn new() -> Self {
        Self::new(0)
    }
    fn set(&self) {
        self.post();
    }
    fn wait_and_clear(&self) {
        self.wait();
    }
}

impl Gate for SyncFlag {
    fn new() -> Self {
        Self::new()
    }
    fn open(&self) {
        self.fire();
    }
    fn wait(&self) {
        self.wait();
    }
}

/// may has no bounded channel; in a ping-pong none ever holds more than one value.
struct Channel;

impl One for Channel {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    fn open() -> (Self::Sender, Self::Receiver) {
        mpsc::channel()
    }
    fn put(end: &Self::Sender, value: u64) {
        end.send(value).expect("both ends live");
    }
    fn get(end: &Self::Receiver) -> u64 {
        end.recv().expect("both ends live")
    }
}
