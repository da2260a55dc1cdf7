//! Our side: greenlets on one hub, and on a hub a core.

use std::future::ready;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use ropewalk::sync::{Event, Queue};
use ropewalk::{GreenletExecutor, Submit, TaskHandle, block_on, greenlet};

use super::super::sync::ours::Event as OurFlag;
use super::blocking::{self, Gate, One, Strands};
use super::hubs::{self, ROUND_STRANDS, ROUND_YIELDS};
use super::{Run, amount, sum_below};
use crate::harness::{Effort, Sample};
use crate::measure::{cores, timed};

/// How greenlets do a work.
pub fn run(work: &str) -> Option<Run> {
    match work {
        "wait.ready" => Some(wait_ready),
        "hubs.2" => Some(|effort| hubs::sample(effort, hub)),
        _ => blocking::run::<Greenlets>(work),
    }
}

/// How greenlets of a hub a core do a work: yields, beside those who have a thread a core too.
pub fn run_hubs(work: &str) -> Option<Run> {
    if work.starts_with("yield.") { blocking::run::<HubACore>(work) } else { None }
}

/// How greenlets do a work whose jobs may stay on their thread.
pub fn run_local(work: &str) -> Option<Run> {
    if work == "spawn-join" { blocking::run::<LocalGreenlets>(work) } else { None }
}

/// `greenlet::spawn` under `ropewalk::run`.
struct Greenlets;

impl Strands for Greenlets {
    const ONE_THREAD: bool = true;
    type Handle<T: Send + 'static> = TaskHandle<T>;
    type Flag = OurFlag;
    type Gate = Event;
    type Queue = OurQueue;

    fn enter<R: Send + 'static>(_: u64, main: impl FnOnce() -> R + Send + 'static) -> R {
        ropewalk::run(main)
    }
    #[inline]
    fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
        greenlet::spawn(job)
    }
    #[inline]
    fn join<T: Send + 'static>(handle: TaskHandle<T>) -> T {
        handle.join().expect("no greenlet fails")
    }
    fn kill<T: Send + 'static>(handle: TaskHandle<T>) -> bool {
        handle.kill();
        handle.is_cancelled()
    }
    #[inline(always)]
    fn yield_now() {
        ropewalk::yield_now();
    }
}

/// The same with `greenlet::spawn_local`.
struct LocalGreenlets;

impl Strands for LocalGreenlets {
    const ONE_THREAD: bool = true;
    type Handle<T: Send + 'static> = TaskHandle<T>;
    type Flag = OurFlag;
    type Gate = Event;
    type Queue = OurQueue;

    fn enter<R: Send + 'static>(at_once: u64, main: impl FnOnce() -> R + Send + 'static) -> R {
        Greenlets::enter(at_once, main)
    }
    #[inline]
    fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
        greenlet::spawn_local(job)
    }
    #[inline]
    fn join<T: Send + 'static>(handle: TaskHandle<T>) -> T {
        Greenlets::join(handle)
    }
    fn kill<T: Send + 'static>(handle: TaskHandle<T>) -> bool {
        Greenlets::kill(handle)
    }
    #[inline(always)]
    fn yield_now() {
        Greenlets::yield_now();
    }
}

/// `GreenletExecutor::submit`, a hub a core.
struct HubACore;

impl HubACore {
    fn executor() -> &'static GreenletExecutor {
        static EXECUTOR: OnceLock<GreenletExecutor> = OnceLock::new();
        EXECUTOR.get_or_init(|| GreenletExecutor::new(cores()))
    }
}

impl Strands for HubACore {
    const ONE_THREAD: bool = false;
    type Handle<T: Send + 'static> = TaskHandle<T>;
    type Flag = OurFlag;
    type Gate = Event;
    type Queue = OurQueue;

    fn enter<R: Send + 'static>(_: u64, main: impl FnOnce() -> R + Send + 'static) -> R {
        Self::join(Self::spawn(main))
    }
    fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
        Self::executor().submit(job)
    }
    fn join<T: Send + 'static>(handle: TaskHandle<T>) -> T {
        Greenlets::join(handle)
    }
    fn kill<T: Send + 'static>(handle: TaskHandle<T>) -> bool {
        Greenlets::kill(handle)
    }
    #[inline(always)]
    fn yield_now() {
        Greenlets::yield_now();
    }
}

impl Gate for Event {
    fn new() -> Self {
        Self::new()
    }
    fn open(&self) {
        self.set();
    }
    fn wait(&self) {
        self.wait();
    }
}

/// `Queue::bounded(1)`, shared.
struct OurQueue;

impl One for OurQueue {
    type Sender = Arc<Queue<u64>>;
    type Receiver = Arc<Queue<u64>>;
    fn open() -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(Queue::bounded(1));
        (Arc::clone(&queue), queue)
    }
    fn put(end: &Self::Sender, value: u64) {
        end.put(value).expect("nobody shuts it down");
    }
    fn get(end: &Self::Receiver) -> u64 {
        end.get().expect("nobody shuts it down")
    }
}

/// A future that is ready, through the bridge from greenlets to futures.
fn wait_ready(effort: Effort) -> Sample {
    let count = amount::readies(effort);
    let (sum, spent) =
        ropewalk::run(|| timed(|| (0..count).map(|number| block_on(ready(black_box(number)))).sum::<u64>()));
    assert_eq!(sum, sum_below(count), "each future gave its number");
    Sample::new(spent.wall_ns_per(count), spent)
}

/// A hub that works until `over`.
fn hub(over: &dyn Fn() -> bool) -> u64 {
    ropewalk::run(|| {
        hubs::rounds(over, || {
            let strands = (0..ROUND_STRANDS).map(|number| {
                greenlet::spawn(move || {
                    (0..ROUND_YIELDS).for_each(|_| ropewalk::yield_now());
                    number
                })
            });
            greenlet::join_all(strands.collect::<Vec<_>>()).expect("no greenlet fails").into_iter().sum()
        })
    })
}
