//! One thread's greenlets inside a tokio runtime: the runtime brings sockets and timers, core's strands bring the rest.
//!
//! # Shape
//!
//! ```text
//! thread ── LocalRuntime (reactor, timers) ── Driver, a local task ── core's Hub ── greenlets
//! ```
//!
//! The driver is an ordinary local task, and other tasks (a connection of hyper's) take turns with it. One poll runs
//! greenlets until none is ready or [`TURN`] is over. It opts out of tokio's budget, which is made for one task and would
//! have to do for all greenlets of the hub together (measured: 96 ns instead of 18 for a message that is there).

use super::watch::{Watch, Watched};
use crate::io::watch_for_async;
use crate::spans::{self, On};
use ropewalk_core::park::{self, EndsBy, Pause, Suspend};
use ropewalk_core::strand::{self, Extra, Hub, Start, Turn};
use ropewalk_core::task::harness::{self, drop_quietly};
use ropewalk_core::task::{TaskError, TaskHandle};
use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};

/// How long greenlets run at least, if there is so much to do, before tokio's other tasks, and then its reactor, have their
/// turn.
const TURN: Duration = Duration::from_micros(50);
/// How long at most: within this, who was ready when the turn began runs in it. The reactor has brought fifty connections at
/// once, and is not asked again before all have been served.
const TURN_MAX: Duration = Duration::from_micros(500);
/// Polls of local tasks between two looks at the reactor; a look is a system call of about 0.5 µs.
const POLLS_PER_REACTOR_TURN: u32 = 4;
/// How often a hub whose life is over looks for greenlets that were started since it cancelled all; a look at many
/// greenlets takes longer than a turn.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);
/// The stack of the first greenlet, which runs a whole `main`: as large as a main thread's.
const MAIN_STACK_BYTES: usize = 8 << 20;

/// How greenlets wait.
struct Greenlets;

impl Suspend for Greenlets {
    fn waker(&self) -> Waker {
        strand::waker()
    }

    fn suspend(&self, pause: &Pause) {
        let Some(until) = pause.until else {
            return strand::suspend(pause);
        };
        let mut timer = pin!(tokio::time::sleep_until(until.into()));
        let waker = strand::waker();
        if timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            strand::suspend(pause);
        }
    }

    fn yield_now(&self) {
        strand::try_yield();
    }

    fn may_suspend(&self) -> bool {
        strand::may_suspend()
    }

    fn run_first(&self, task: usize) {
        strand::run_first(task);
    }
}

/// Whether the runtime of the hub that calls has other tasks than the hub's own driver.
pub(super) fn hub_has_tasks() -> bool {
    tokio::runtime::Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_alive_tasks() > 1)
}

/// More greenlets for a hub that has room: what [`GreenletExecutor`](super::GreenletExecutor)'s hubs share.
pub(super) trait Supply {
    /// The next greenlets for a hub that has `live`, `ready` of them to run at once, if there are any for it at `now`.
    fn take(&self, live: usize, ready: usize, now: Instant) -> Vec<Start>;
    /// Whether there are any; exact after a fence.
    fn is_empty(&self) -> bool;
}

/// Nothing beyond what is spawned on the hub itself.
pub(super) struct Nothing;

impl Supply for Nothing {
    fn take(&self, _: usize, _: usize, _: Instant) -> Vec<Start> {
        Vec::new()
    }

    fn is_empty(&self) -> bool {
        true
    }
}

/// Runs `main` as the first greenlet of a hub on this thread, and returns its result.
///
/// Greenlets are strands of blocking-style code that share this thread: where one waits, another runs. The hub ends when
/// `main` has returned: greenlets that are left are cancelled then and end by unwinding. Join those whose work you want.
///
/// # Panics
///
/// When `main` does; inside another `run` on the same thread; in async code; when the system gives no reactor.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let sum: u32 = ropewalk::run(|| {
///     let naps: Vec<_> = (1..=100)
///         .map(|n| {
///             greenlet::spawn(move || {
///                 ropewalk::sleep(Duration::from_millis(20));
///                 n
///             })
///         })
///         .collect();
///     greenlet::join_all(naps).unwrap().into_iter().sum()
/// });
/// assert_eq!(sum, 5050);
/// assert!(start.elapsed() < Duration::from_secs(2)); // not 100 × 20 ms
/// ```
#[track_caller]
pub fn run<F, R>(main: F) -> R
where
    F: FnOnce() -> R,
{
    park::refuse_in_async();
    assert!(
        Hub::current().is_none(),
        "this thread runs a hub already: `ropewalk::run` (and `#[ropewalk::main]`) cannot be nested; call the function"
    );
    let place = Location::caller();
    let extra = Extra {
        name: Some("main".into()),
        stack_class: Some(strand::stack_class(MAIN_STACK_BYTES).expect("the largest class holds it")),
    };
    // SAFETY: `live` runs or cancels it on this thread before it returns, and the handle is joined here.
    let (task, handle) = unsafe { harness::new_pinned_task(|| Ok(main()), ()) };
    let over = Arc::new(AtomicBool::new(false));
    handle.on_finish({
        let over = Arc::clone(&over);
        move |_| over.store(true, Ordering::Relaxed)
    });
    let start = Start { task, place, extra: Some(Box::new(extra)) };
    let watched = live(Rc::new(Nothing), |hub| hub.start(start), move || over.load(Ordering::Relaxed));
    handle.join().unwrap_or_else(|error| match error {
        TaskError::Cancelled if watched.is_deadlocked() => {
            panic!("deadlock: every greenlet waited for something that nothing could bring; see the report above")
        }
        error => error.resume(),
    })
}

/// Makes this thread a hub that lives until `over`, and then until its greenlets have been cancelled and have ended.
#[track_caller]
pub(super) fn live(
    supply: Rc<dyn Supply>,
    begin: impl FnOnce(&'static Hub),
    over: impl Fn() -> bool + 'static,
) -> Arc<Watched> {
    watch_for_async();
    strand::report_overflows();
    let _signal_stack = strand::signal_stack().expect("no memory for the signal stack of a hub");
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(POLLS_PER_REACTOR_TURN);
    if park::is_worker() {
        // All its greenlets may wait for jobs of the pool whose worker this is: when the hub sleeps, another takes its place.
        let pause =
            Pause { until: None, ends_by: Some(EndsBy::Others), on: "hub", cancellable: false, at: Location::caller() };
        builder.on_thread_park(move || park::tell_sleeps(&pause)).on_thread_unpark(move || park::tell_goes_on(&pause));
    }
    let runtime = builder.build_local(LocalOptions::default()).expect("the system gave no reactor");
    #[cfg(any(feature = "net", feature = "subprocess"))]
    let _reactor = crate::io::descriptor::Reactor::of_this_thread();
    let adopted = Hub::adopt(&Greenlets);
    let hub = adopted.hub();
    let watch = Rc::new(Watch::begin(hub));
    begin(hub);
    // What the runtime polls are tasks: nothing of ours may block there. Greenlets have records of their own.
    park::polling_tasks(|| {
        let driver = tokio::task::unconstrained(drive(hub, Rc::clone(&watch), supply, over));
        // A local task and not the root future: then the reactor does not have its turn after each poll of it.
        runtime.block_on(async { tokio::task::spawn_local(driver).await }).expect("the driver of a hub does not panic");
        // Tasks that greenlets left in the runtime are dropped here, while wakers still find the hub.
        drop(runtime);
    });
    watch.watched()
}

/// The driver: polls until the hub's life is over and its last greenlet has ended.
async fn drive(hub: &'static Hub, watch: Rc<Watch>, supply: Rc<dyn Supply>, over: impl Fn() -> bool) {
    let mut cancelled: Option<Instant> = None;
    let driver = poll_fn(|context| {
        let started = Instant::now();
        hub.set_now(started);
        let was_over = over();
        if was_over {
            // A greenlet that ends may start others.
            if cancelled.is_none_or(|before| started - before >= CANCEL_AGAIN) {
                cancelled = Some(started);
                hub.cancel_all();
            }
        } else if !supply.is_empty() {
            let (live, ready) = hub.load();
            supply.take(live, ready, started).into_iter().for_each(|start| hub.start(start));
        }
        let ready = hub.load().1;
        let round_ends = hub.switches() + ready as u64;
        watch.enter_turn(started, ready);
        let turn = hub.turn(|| {
            let now = Instant::now();
            hub.set_now(now);
            watch.look(now, hub.load().1);
            now >= started + TURN_MAX || (now >= started + TURN && hub.switches() >= round_ends)
        });
        if over() && hub.load() == (0, 0) {
            return Poll::Ready(());
        }
        let newly_over = over() && !was_over;
        let idle = turn == Turn::Idle && !newly_over;
        if idle {
            hub.trim();
            if was_over {
                // What was started in this turn waits by now, for ever if nobody tells it.
                hub.cancel_all();
            }
        }
        watch.leave_turn(Instant::now(), idle);
        // The last looks come after `sleep` has armed the inbox, through which whoever adds to the supply, or ends the hub's
        // life, wakes it.
        if !idle || !hub.sleep(context) || !supply.is_empty() || (!was_over && over()) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    });
    driver.await;
}

/// Starts a greenlet on this thread's hub.
#[track_caller]
pub(super) fn start_here(start: Start) {
    match Hub::current() {
        Some(hub) => hub.start(start),
        None => {
            start.task.cancel(TaskError::Shutdown);
            drop_quietly(start);
            panic!(
                "no hub runs on this thread: start greenlets inside `ropewalk::run(|| ..)` or under `#[ropewalk::main]`, \
                 or submit to a GreenletExecutor"
            );
        }
    }
}

/// Spawns a greenlet that may be any hub's; here for those who have made it a task.
#[track_caller]
pub(super) fn spawn_with<F, T>(extra: Option<Box<Extra>>, job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (task, handle) = harness::new_task(0, spans::closure(On::Greenlet, job));
    start_here(Start { task, place: Location::caller(), extra });
    handle
}

/// Spawns a greenlet whose job stays on this thread.
#[track_caller]
pub(super) fn spawn_local_with<F, T>(extra: Option<Box<Extra>>, job: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    // SAFETY: `start_here` puts it into the queue of this thread's hub or cancels it here; a hub runs or cancels what is
    // in its queue, on its thread. Nothing is borrowed.
    let (task, handle) = unsafe { harness::new_pinned_task(spans::closure(On::Greenlet, job), ()) };
    start_here(Start { task, place: Location::caller(), extra });
    handle
}
