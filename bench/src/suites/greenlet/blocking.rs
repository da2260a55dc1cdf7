//! The works for strands that have stacks and block.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::super::sync::event::Flag;
use super::{BATCH, Counted, Parked, Run, VICTIMS, amount, others_ran, round_trips, sum_below, turn, yielded};
use crate::harness::{Effort, Sample};
use crate::measure::{Crew, Place, Spent, crew, resident_bytes, timed};

/// Strands of one kind.
pub trait Strands: 'static {
    /// Whether all run on one thread, by turns.
    const ONE_THREAD: bool;
    /// What part of the others' spawns is enough, for those that need many times as long.
    const SPAWNS_DIVIDED_BY: u64 = 1;
    /// Waits for the result of a strand.
    type Handle<T: Send + 'static>;
    /// What strands wait for in pairs.
    type Flag: Flag + 'static;
    /// What many strands wait for at once.
    type Gate: Gate;
    /// A queue that holds one value.
    type Queue: One;

    /// Calls `main` in the first strand; there will be about `at_once` others at a time.
    fn enter<R: Send + 'static>(at_once: u64, main: impl FnOnce() -> R + Send + 'static) -> R;
    /// Starts a strand.
    fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T>;
    /// Waits for it.
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T;
    /// Ends it where it waits; true when it ended by that.
    fn kill<T: Send + 'static>(handle: Self::Handle<T>) -> bool;
    /// Lets the others run.
    fn yield_now();
}

/// A flag for many who wait, set once.
pub trait Gate: Send + Sync + 'static {
    /// A closed one.
    fn new() -> Self;
    /// Opens it.
    fn open(&self);
    /// Waits until it is open.
    fn wait(&self);
}

/// A queue that holds one value.
pub trait One {
    /// The end that puts.
    type Sender: Send + 'static;
    /// The end that gets.
    type Receiver: Send + 'static;
    /// An empty one.
    fn open() -> (Self::Sender, Self::Receiver);
    /// Waits until there is room.
    fn put(end: &Self::Sender, value: u64);
    /// Waits until there is a value.
    fn get(end: &Self::Receiver) -> u64;
}

/// How such strands do a work.
pub fn run<S: Strands>(work: &str) -> Option<Run> {
    Some(match work {
        "yield.1" => yields::<S, 1>,
        "yield.2" => yields::<S, 2>,
        "yield.1000" => yields::<S, 1000>,
        "spawn-join" => spawn_join::<S>,
        "park.100k" => |effort| park::<S>(amount::parked("park.100k", effort)),
        "park.1m" => |effort| park::<S>(amount::parked("park.1m", effort)),
        "queue.pingpong" => ping_pong::<S>,
        "kill" => kill::<S>,
        "event.greenlet-greenlet" => event_between_strands::<S>,
        "event.thread-greenlet" => event_with_thread::<S>,
        _ => return None,
    })
}

/// Strands assemble here and wait to be let go.
struct Muster<S: Strands> {
    wanted: u64,
    arrived: AtomicU64,
    all_here: S::Flag,
    gate: S::Gate,
}

impl<S: Strands> Muster<S> {
    fn of(wanted: u64) -> Arc<Self> {
        Arc::new(Self { wanted, arrived: AtomicU64::new(0), all_here: S::Flag::new(), gate: S::Gate::new() })
    }

    /// Arrives, and waits to be let go.
    fn wait(&self) {
        if self.arrived.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.all_here.set();
        }
        self.gate.wait();
    }

    /// Waits until all have arrived.
    fn assembled(&self) {
        self.all_here.wait_and_clear();
    }
}

fn yields<S: Strands, const STRANDS: u64>(effort: Effort) -> Sample {
    let each = amount::yields(effort) / STRANDS;
    let (switched, spent) = S::enter(STRANDS, move || {
        let muster = Muster::<S>::of(STRANDS);
        let strand = |_| {
            let muster = Arc::clone(&muster);
            S::spawn(move || {
                muster.wait();
                yield_for::<S>(each)
            })
        };
        let strands: Vec<_> = (0..STRANDS).map(strand).collect();
        muster.assembled();
        timed(|| {
            muster.gate.open();
            strands.into_iter().map(S::join).sum::<u64>()
        })
    });
    yielded(each * STRANDS, STRANDS, S::ONE_THREAD.then_some(switched), spent)
}

/// Yields; how often another strand ran meanwhile.
fn yield_for<S: Strands>(count: u64) -> u64 {
    let mut switched = 0;
    for _ in 0..count {
        if S::ONE_THREAD {
            let mine = turn();
            S::yield_now();
            switched += u64::from(others_ran(mine));
        } else {
            S::yield_now();
        }
    }
    switched
}

/// A number back, and an address on the stack of whoever computed it.
fn echo(number: u64) -> (u64, usize) {
    let here = 0_u8;
    (black_box(number), std::ptr::from_ref(black_box(&here)).addr())
}

/// Nearer than this, two frames are on the same stack. (Stacks here are larger, and have guards.)
const SAME_STACK_BYTES: usize = 8 << 10;

fn spawn_join<S: Strands>(effort: Effort) -> Sample {
    let count = amount::spawns(effort) / S::SPAWNS_DIVIDED_BY;
    let (one_by_one, batched) = S::enter(BATCH, move || {
        let own = echo(0).1;
        let check = |(number, place): (u64, usize)| {
            assert!(place.abs_diff(own) > SAME_STACK_BYTES, "a strand ran on the stack of the one that joined it");
            number
        };
        for number in 0..BATCH {
            check(S::join(S::spawn(move || echo(number))));
        }
        let one_by_one = timed(|| (0..count).map(|number| check(S::join(S::spawn(move || echo(number))))).sum::<u64>());
        let batched = timed(|| {
            let mut sum = 0;
            for first in (0..count).step_by(BATCH as usize) {
                let batch: Vec<_> =
                    (first..count.min(first + BATCH)).map(|number| S::spawn(move || echo(number))).collect();
                sum += batch.into_iter().map(|strand| check(S::join(strand))).sum::<u64>();
            }
            sum
        });
        (one_by_one, batched)
    });
    assert_eq!((one_by_one.0, batched.0), (sum_below(count), sum_below(count)), "each strand gave its number back");
    Sample::new(one_by_one.1.wall_ns_per(count), one_by_one.1).and("batch", batched.1.wall_ns_per(count))
}

/// Spawns strands that wait for one event, looks at the memory, wakes them all and joins them.
fn park<S: Strands>(count: u64) -> Sample {
    let (sum, parked) = S::enter(count, move || {
        let muster = Muster::<S>::of(count);
        let mut strands = Vec::with_capacity(count as usize);
        let before = resident_bytes();
        let ((), spawning) = timed(|| {
            for number in 0..count {
                let muster = Arc::clone(&muster);
                strands.push(S::spawn(move || {
                    muster.wait();
                    number
                }));
            }
            muster.assembled();
        });
        let bytes = resident_bytes().saturating_sub(before);
        let (sum, waking) = timed(|| {
            muster.gate.open();
            strands.into_iter().map(S::join).sum::<u64>()
        });
        (sum, Parked { count, spawning, bytes, waking })
    });
    assert_eq!(sum, sum_below(count), "each strand ended");
    parked.sample()
}

fn ping_pong<S: Strands>(effort: Effort) -> Sample {
    let count = amount::trips(effort);
    let (sum, spent) = S::enter(2, move || {
        let ((there, come), (back, again)) = (S::Queue::open(), S::Queue::open());
        let answering = S::spawn(move || (0..count).for_each(|_| S::Queue::put(&back, S::Queue::get(&come) + 1)));
        let asking = S::spawn(move || {
            timed(|| {
                let trip = |number| {
                    S::Queue::put(&there, number);
                    S::Queue::get(&again)
                };
                (0..count).map(trip).sum::<u64>()
            })
        });
        S::join(answering);
        S::join(asking)
    });
    assert_eq!(sum, sum_below(count) + count, "each number came back, with one added");
    Sample::new(spent.wall_ns_per(count), spent)
}

fn kill<S: Strands>(effort: Effort) -> Sample {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    let rounds = (amount::kills(effort) / VICTIMS).max(1);
    let (killed, spent) = S::enter(VICTIMS, move || {
        let mut killed = 0;
        let mut total = None;
        for _ in 0..rounds {
            let muster = Muster::<S>::of(VICTIMS);
            let victim = |_| {
                let muster = Arc::clone(&muster);
                S::spawn(move || {
                    let _counted = Counted(&DROPPED);
                    muster.wait();
                })
            };
            let victims: Vec<_> = (0..VICTIMS).map(victim).collect();
            muster.assembled();
            let (ended, spent) = timed(|| victims.into_iter().map(|victim| u64::from(S::kill(victim))).sum::<u64>());
            killed += ended;
            total = Some(spent.after(total));
        }
        (killed, total.expect("there was a round"))
    });
    let count = rounds * VICTIMS;
    assert_eq!((killed, DROPPED.load(Ordering::Relaxed)), (count, count), "each was killed and dropped what it had");
    Sample::new(spent.wall_ns_per(count) / 1e3, spent)
}

fn event_between_strands<S: Strands>(effort: Effort) -> Sample {
    let count = amount::trips(effort);
    let (answered, spent) = S::enter(2, move || {
        let flags = Arc::new((S::Flag::new(), S::Flag::new()));
        let answered = Arc::new(AtomicU64::new(0));
        let answering = {
            let (flags, answered) = (Arc::clone(&flags), Arc::clone(&answered));
            S::spawn(move || {
                for trip in 1..=count {
                    flags.0.wait_and_clear();
                    answered.store(trip, Ordering::Relaxed);
                    flags.1.set();
                }
            })
        };
        let asking = {
            let answered = Arc::clone(&answered);
            S::spawn(move || {
                let ((), spent) = timed(|| {
                    for trip in 1..=count {
                        flags.0.set();
                        flags.1.wait_and_clear();
                        assert_eq!(answered.load(Ordering::Relaxed), trip, "a wait ended before its event was set");
                    }
                });
                spent
            })
        };
        let spent = S::join(asking);
        S::join(answering);
        (answered.load(Ordering::Relaxed), spent)
    });
    assert_eq!(answered, count, "both sides count the same round trips");
    round_trips(count, spent)
}

/// Round trips between looks at the clock.
const TRIPS_PER_LOOK: u64 = 16;

fn event_with_thread<S: Strands>(effort: Effort) -> Sample {
    let flags = Arc::new((S::Flag::new(), S::Flag::new()));
    let over = Arc::new(AtomicBool::new(false));
    // A system may have threads of its own: the CPU time is the whole process's.
    let (run, whole): (Crew<u64>, _) = timed(|| {
        crew(2, Place::Spread, |side| {
            if side == 0 {
                let (begin, mut count) = (Instant::now(), 0);
                while begin.elapsed() < effort.span() {
                    for _ in 0..TRIPS_PER_LOOK {
                        flags.0.set();
                        flags.1.wait_and_clear();
                    }
                    count += TRIPS_PER_LOOK;
                }
                over.store(true, Ordering::Release);
                flags.0.set();
                count
            } else {
                let (flags, over) = (Arc::clone(&flags), Arc::clone(&over));
                S::enter(1, move || {
                    let mut count = 0;
                    loop {
                        flags.0.wait_and_clear();
                        if over.load(Ordering::Acquire) {
                            return count;
                        }
                        count += 1;
                        flags.1.set();
                    }
                })
            }
        })
    });
    assert_eq!(run.results[0], run.results[1], "both sides count the same round trips");
    round_trips(run.results[0], Spent { wall: run.spent.wall, cpu: whole.cpu })
}
