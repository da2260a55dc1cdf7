//! The works for tokio's tasks, which await.
//!
//! `tokio-ct` is the current-thread runtime, `tokio-mt` the other one with a worker a core. What a work does runs in a
//! spawned task, where tokio is fastest, never in the root future. `tokio-ct:local` spawns with `spawn_local`,
//! `tokio-ct:self-wake` yields by waking itself (tokio's own `yield_now` looks at the reactor first), and
//! `tokio-ct:block_on` is tokio's bridge from blocking code to a future.

use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;

use super::hubs::{self, ROUND_STRANDS, ROUND_YIELDS};
use super::{BATCH, Counted, Parked, Run, VICTIMS, amount, others_ran, round_trips, sum_below, turn, yielded};
use crate::harness::{Effort, Sample};
use crate::measure::{Place, Spent, cores, crew, resident_bytes, timed, timed_async};

/// A kind of runtime.
pub trait Kind: 'static {
    /// Whether all tasks run on one thread, by turns.
    const ONE_THREAD: bool;
    /// Such a runtime.
    fn build() -> Runtime;
}

/// The current-thread runtime.
pub struct CurrentThread;

impl Kind for CurrentThread {
    const ONE_THREAD: bool = true;
    fn build() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
    }
}

/// The multi-thread runtime, with a worker a core.
pub struct MultiThread;

impl Kind for MultiThread {
    const ONE_THREAD: bool = false;
    fn build() -> Runtime {
        Builder::new_multi_thread().worker_threads(cores()).enable_all().build().expect("a runtime can be built")
    }
}

/// How tasks of such a runtime do a work.
pub fn run<K: Kind>(work: &str) -> Option<Run> {
    Some(match work {
        "yield.1" => |effort| yields::<K, _>(1, amount::yields_slow(effort), yield_now),
        "yield.2" => |effort| yields::<K, _>(2, amount::yields_slow(effort), yield_now),
        "yield.1000" => |effort| yields::<K, _>(1000, amount::yields(effort), yield_now),
        "spawn-join" => {
            |effort| K::build().block_on(async move { tokio::spawn(spawn_join(effort)).await.expect(FINE) })
        }
        "park.100k" => |effort| park::<K>(amount::parked("park.100k", effort)),
        "park.1m" => |effort| park::<K>(amount::parked("park.1m", effort)),
        "queue.pingpong" => ping_pong::<K>,
        "kill" => kill::<K>,
        "wait.ready" if K::ONE_THREAD => wait_ready,
        "hubs.2" if K::ONE_THREAD => |effort| hubs::sample(effort, hub),
        "event.greenlet-greenlet" => event_between_tasks::<K>,
        "event.thread-greenlet" => event_with_thread::<K>,
        _ => return None,
    })
}

/// `spawn_local` on a local runtime.
pub fn run_local(work: &str) -> Option<Run> {
    if work != "spawn-join" {
        return None;
    }
    Some(|effort| {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a runtime can be built");
        runtime.block_on(async move { tokio::task::spawn_local(spawn_join_local(effort)).await.expect(FINE) })
    })
}

/// A yield that wakes its own task.
pub fn run_self_wake(work: &str) -> Option<Run> {
    fn self_wake() -> impl Future<Output = ()> + Send {
        let mut yielded = false;
        poll_fn(move |context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }
    Some(match work {
        "yield.1" => |effort| yields::<CurrentThread, _>(1, amount::yields_slow(effort), self_wake),
        "yield.2" => |effort| yields::<CurrentThread, _>(2, amount::yields_slow(effort), self_wake),
        "yield.1000" => |effort| yields::<CurrentThread, _>(1000, amount::yields(effort), self_wake),
        _ => return None,
    })
}

/// `Runtime::block_on` from blocking code.
pub fn run_block_on(work: &str) -> Option<Run> {
    if work != "wait.ready" {
        return None;
    }
    Some(|effort| {
        let (count, runtime) = (amount::readies(effort), CurrentThread::build());
        let (sum, spent) = timed(|| (0..count).map(|number| runtime.block_on(ready(black_box(number)))).sum::<u64>());
        assert_eq!(sum, sum_below(count), "each future gave its number");
        Sample::new(spent.wall_ns_per(count), spent)
    })
}

const FINE: &str = "no task panics";

fn within<K: Kind, T: Send + 'static>(main: impl Future<Output = T> + Send + 'static) -> T {
    K::build().block_on(async move { tokio::spawn(main).await.expect(FINE) })
}

/// Tasks assemble here and wait to be let go.
struct Muster {
    wanted: u64,
    arrived: AtomicU64,
    all_here: Notify,
    gate: Notify,
}

impl Muster {
    fn of(wanted: u64) -> Arc<Muster> {
        Arc::new(Muster { wanted, arrived: AtomicU64::new(0), all_here: Notify::new(), gate: Notify::new() })
    }

    /// Arrives, and waits to be let go.
    async fn wait(&self) {
        // The notice goes to those who are on its list.
        let mut notice = pin!(self.gate.notified());
        notice.as_mut().enable();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.wanted {
            self.all_here.notify_one();
        }
        notice.await;
    }
}

fn yields<K: Kind, F>(strands: u64, total: u64, step: fn() -> F) -> Sample
where
    F: Future<Output = ()> + Send + 'static,
{
    let each = total / strands;
    let (switched, spent) = within::<K, _>(async move {
        let muster = Muster::of(strands);
        let task = |_| {
            let muster = Arc::clone(&muster);
            tokio::spawn(async move {
                muster.wait().await;
                yield_for::<K, F>(each, step).await
            })
        };
        let tasks: Vec<_> = (0..strands).map(task).collect();
        muster.all_here.notified().await;
        timed_async(async {
            muster.gate.notify_waiters();
            let mut switched = 0;
            for task in tasks {
                switched += task.await.expect(FINE);
            }
            switched
        })
        .await
    });
    yielded(each * strands, strands, K::ONE_THREAD.then_some(switched), spent)
}

async fn yield_for<K: Kind, F: Future<Output = ()>>(count: u64, step: fn() -> F) -> u64 {
    let mut switched = 0;
    for _ in 0..count {
        if K::ONE_THREAD {
            let mine = turn();
            step().await;
            switched += u64::from(others_ran(mine));
        } else {
            step().await;
        }
    }
    switched
}

/// The body of `spawn-join`, with one of tokio's ways to spawn.
macro_rules! spawn_join {
    ($name:ident, $spawn:path) => {
        async fn $name(effort: Effort) -> Sample {
            let count = amount::spawns(effort);
            for number in 0..BATCH {
                assert_eq!($spawn(async move { black_box(number) }).await.expect(FINE), number);
            }
            let (sum, one_by_one) = timed_async(async {
                let mut sum = 0;
                for number in 0..count {
                    sum += $spawn(async move { black_box(number) }).await.expect(FINE);
                }
                sum
            })
            .await;
            let (batches, batched) = timed_async(async {
                let mut sum = 0;
                for first in (0..count).step_by(BATCH as usize) {
                    let batch: Vec<_> = (first..count.min(first + BATCH))
                        .map(|number| $spawn(async move { black_box(number) }))
                        .collect();
                    for task in batch {
                        sum += task.await.expect(FINE);
                    }
                }
                sum
            })
            .await;
            assert_eq!((sum, batches), (sum_below(count), sum_below(count)), "each task gave its number back");
            Sample::new(one_by_one.wall_ns_per(count), one_by_one).and("batch", batched.wall_ns_per(count))
        }
    };
}

spawn_join!(spawn_join, tokio::spawn);
spawn_join!(spawn_join_local, tokio::task::spawn_local);

fn park<K: Kind>(count: u64) -> Sample {
    let (sum, parked) = within::<K, _>(async move {
        let muster = Muster::of(count);
        let mut tasks = Vec::with_capacity(count as usize);
        let before = resident_bytes();
        let ((), spawning) = timed_async(async {
            for number in 0..count {
                let muster = Arc::clone(&muster);
                tasks.push(tokio::spawn(async move {
                    muster.wait().await;
                    number
                }));
            }
            muster.all_here.notified().await;
        })
        .await;
        let bytes = resident_bytes().saturating_sub(before);
        let (sum, waking) = timed_async(async {
            muster.gate.notify_waiters();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.expect(FINE);
            }
            sum
        })
        .await;
        (sum, Parked { count, spawning, bytes, waking })
    });
    assert_eq!(sum, sum_below(count), "each task ended");
    parked.sample()
}

fn ping_pong<K: Kind>(effort: Effort) -> Sample {
    let count = amount::trips(effort);
    let (sum, spent) = within::<K, _>(async move {
        let ((there, mut come), (back, mut again)) = (mpsc::channel(1), mpsc::channel(1));
        let answering = tokio::spawn(async move {
            for _ in 0..count {
                let number: u64 = come.recv().await.expect("both ends live");
                back.send(number + 1).await.expect("both ends live");
            }
        });
        let asking = tokio::spawn(timed_async(async move {
            let mut sum = 0;
            for number in 0..count {
                there.send(number).await.expect("both ends live");
                sum += again.recv().await.expect("both ends live");
            }
            sum
        }));
        answering.await.expect(FINE);
        asking.await.expect(FINE)
    });
    assert_eq!(sum, sum_below(count) + count, "each number came back, with one added");
    Sample::new(spent.wall_ns_per(count), spent)
}

fn kill<K: Kind>(effort: Effort) -> Sample {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    let rounds = (amount::kills(effort) / VICTIMS).max(1);
    let (killed, spent) = within::<K, _>(async move {
        let mut killed = 0;
        let mut total = None;
        for _ in 0..rounds {
            let muster = Muster::of(VICTIMS);
            let victim = |_| {
                let muster = Arc::clone(&muster);
                tokio::spawn(async move {
                    let _counted = Counted(&DROPPED);
                    muster.wait().await;
                })
            };
            let victims: Vec<_> = (0..VICTIMS).map(victim).collect();
            muster.all_here.notified().await;
            let (ended, spent) = timed_async(async {
                let mut ended = 0;
                for victim in victims {
                    victim.abort();
                    ended += u64::from(victim.await.is_err_and(|error| error.is_cancelled()));
                }
                ended
            })
            .await;
            killed += ended;
            total = Some(spent.after(total));
        }
        (killed, total.expect("there was a round"))
    });
    let count = rounds * VICTIMS;
    assert_eq!((killed, DROPPED.load(Ordering::Relaxed)), (count, count), "each was killed and dropped what it had");
    Sample::new(spent.wall_ns_per(count) / 1e3, spent)
}

fn wait_ready(effort: Effort) -> Sample {
    let count = amount::readies(effort);
    let (sum, spent) = within::<CurrentThread, _>(timed_async(async move {
        let mut sum = 0;
        for number in 0..count {
            // Of a type that the compiler cannot see through.
            let mut future = ready(number);
            let future: &mut (dyn Future<Output = u64> + Send + Unpin) = black_box(&mut future);
            sum += future.await;
        }
        sum
    }));
    assert_eq!(sum, sum_below(count), "each future gave its number");
    Sample::new(spent.wall_ns_per(count), spent)
}

fn event_between_tasks<K: Kind>(effort: Effort) -> Sample {
    let count = amount::trips(effort);
    let (answered, spent) = within::<K, _>(async move {
        let flags = Arc::new((Notify::new(), Notify::new()));
        let answered = Arc::new(AtomicU64::new(0));
        let answering = {
            let (flags, answered) = (Arc::clone(&flags), Arc::clone(&answered));
            tokio::spawn(async move {
                for trip in 1..=count {
                    flags.0.notified().await;
                    answered.store(trip, Ordering::Relaxed);
                    flags.1.notify_one();
                }
            })
        };
        let asked = Arc::clone(&answered);
        let asking = tokio::spawn(timed_async(async move {
            for trip in 1..=count {
                flags.0.notify_one();
                flags.1.notified().await;
                assert_eq!(asked.load(Ordering::Relaxed), trip, "a wait ended before its event was set");
            }
        }));
        let ((), spent) = asking.await.expect(FINE);
        answering.await.expect(FINE);
        (answered.load(Ordering::Relaxed), spent)
    });
    assert_eq!(answered, count, "both sides count the same round trips");
    round_trips(count, spent)
}

/// Round trips between looks at the clock.
const TRIPS_PER_LOOK: u64 = 16;

/// Between a thread and a task, as tokio's guide to bridging says: a channel's blocking verbs on the thread.
fn event_with_thread<K: Kind>(effort: Effort) -> Sample {
    let ((ping, pinged), (pong, ponged)) = (mpsc::channel(1), mpsc::channel(1));
    let asking = Mutex::new(Some((ping, ponged)));
    let answering = Mutex::new(Some((pinged, pong)));
    let over = Arc::new(AtomicBool::new(false));
    let (run, whole) = timed(|| {
        crew(2, Place::Spread, |side| {
            if side == 0 {
                let (ping, mut ponged) = asking.lock().expect(FINE).take().expect("one thread asks");
                let (begin, mut count) = (Instant::now(), 0_u64);
                while begin.elapsed() < effort.span() {
                    for _ in 0..TRIPS_PER_LOOK {
                        ping.blocking_send(()).expect("both ends live");
                        let () = ponged.blocking_recv().expect("both ends live");
                    }
                    count += TRIPS_PER_LOOK;
                }
                over.store(true, Ordering::Release);
                ping.blocking_send(()).expect("both ends live");
                count
            } else {
                let (mut pinged, pong) = answering.lock().expect(FINE).take().expect("one thread answers");
                let over = Arc::clone(&over);
                within::<K, _>(async move {
                    let mut count = 0;
                    loop {
                        let () = pinged.recv().await.expect("both ends live");
                        if over.load(Ordering::Acquire) {
                            return count;
                        }
                        count += 1;
                        pong.send(()).await.expect("both ends live");
                    }
                })
            }
        })
    });
    assert_eq!(run.results[0], run.results[1], "both sides count the same round trips");
    round_trips(run.results[0], Spent { wall: run.spent.wall, cpu: whole.cpu })
}

/// A runtime that works until `over`.
fn hub(over: &dyn Fn() -> bool) -> u64 {
    let runtime = CurrentThread::build();
    hubs::rounds(over, || {
        runtime.block_on(async {
            let round = tokio::spawn(async {
                let strands: Vec<_> = (0..ROUND_STRANDS)
                    .map(|number| {
                        tokio::spawn(async move {
                            for _ in 0..ROUND_YIELDS {
                                yield_now().await;
                            }
                            number
                        })
                    })
                    .collect();
                let mut sum = 0;
                for strand in strands {
                    sum += strand.await.expect(FINE);
                }
                sum
            });
            round.await.expect(FINE)
        })
    })
}
