//! A round trip between two threads: each sets the other's event and waits for its own.
//!
//! | row | threads |
//! | --- | --- |
//! | `event.thread-thread` | one a core |
//! | `event.thread-thread.cpu` | the CPU time of both threads for a round trip, in the same samples |
//! | `event.thread-thread.one-core` | both on one core: who spins there spins in vain |
//! | `event.thread-thread.free` | wherever the scheduler puts them |
//!
//! A sample lasts a fixed time, so a fast event does not get a shorter one. std, parking_lot and usync have no event;
//! theirs is a flag under a mutex with a condition variable, notified after unlocking. A channel's event is a channel of
//! one; tokio's is `Notify`, awaited under a current-thread runtime on each thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Better, Effort, Judge, Sample, Work};
use crate::measure::{Crew, Place, crew};

/// An event that one thread sets and one waits for.
pub trait Flag: Send + Sync {
    /// A fresh one, not set.
    fn new() -> Self;
    /// Sets it.
    fn set(&self);
    /// Waits until it is set, then clears it.
    fn wait_and_clear(&self);
}

/// The works.
pub fn works() -> Vec<Work> {
    vec![
        round_trip("event.thread-thread", Place::Spread, Judge::TwoCores),
        round_trip("event.thread-thread.one-core", Place::OneCore, Judge::AsIs),
        round_trip("event.thread-thread.free", Place::Free, Judge::AsIs),
    ]
}

fn round_trip(name: &'static str, place: Place, judge: Judge) -> Work {
    let work = Work::new("sync", name, "us", judge).aside("cpu", "us", Better::Lower);
    let work = work
        .by("std", move |effort| ping_pong::<UnderMutex>(place, effort))
        .by("parking_lot", move |effort| ping_pong::<UnderParkingLot>(place, effort))
        .by("usync", move |effort| ping_pong::<UnderUsync>(place, effort))
        .by("crossbeam", move |effort| ping_pong::<OfCrossbeam>(place, effort))
        .by("kanal", move |effort| ping_pong::<OfKanal>(place, effort))
        .by("flume", move |effort| ping_pong::<OfFlume>(place, effort))
        .by("async-channel", move |effort| ping_pong::<OfAsyncChannel>(place, effort))
        .by("tokio", move |effort| ping_pong_notify(place, effort));
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", move |effort| ping_pong::<super::ours::Event>(place, effort));
    work
}

/// Round trips between looks at the clock.
const BATCH: u64 = 16;

fn ping_pong<F: Flag>(place: Place, effort: Effort) -> Sample {
    let (ping, pong) = (F::new(), F::new());
    let over = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    let run = crew(2, place, |side| {
        let mut count = 0;
        if side == 0 {
            let begin = Instant::now();
            while begin.elapsed() < effort.span() {
                for _ in 0..BATCH {
                    ping.set();
                    pong.wait_and_clear();
                }
                count += BATCH;
                assert_eq!(answered.load(Ordering::Relaxed), count, "a wait ended before its event was set");
            }
            over.store(true, Ordering::Release);
            ping.set();
        } else {
            loop {
                ping.wait_and_clear();
                if over.load(Ordering::Acquire) {
                    break;
                }
                count += 1;
                answered.store(count, Ordering::Relaxed);
                pong.set();
            }
        }
        count
    });
    sample(&run)
}

fn ping_pong_notify(place: Place, effort: Effort) -> Sample {
    let (ping, pong) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let over = AtomicBool::new(false);
    let run = crew(2, place, |side| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
        runtime.block_on(async {
            let mut count = 0;
            if side == 0 {
                let begin = Instant::now();
                while begin.elapsed() < effort.span() {
                    for _ in 0..BATCH {
                        ping.notify_one();
                        pong.notified().await;
                    }
                    count += BATCH;
                }
                over.store(true, Ordering::Release);
                ping.notify_one();
            } else {
                loop {
                    ping.notified().await;
                    if over.load(Ordering::Acquire) {
                        break;
                    }
                    count += 1;
                    pong.notify_one();
                }
            }
            count
        })
    });
    sample(&run)
}

/// The sample of a ping-pong whose two sides counted their round trips.
pub fn sample(run: &Crew<u64>) -> Sample {
    let count = run.results[0];
    assert_eq!(count, run.results[1], "both sides count the same round trips");
    let wall = Duration::as_secs_f64(&run.spent.wall) * 1e6 / count as f64;
    let cpu = Duration::as_secs_f64(&run.spent.cpu) * 1e6 / count as f64;
    Sample::new(wall, run.spent).and("cpu", cpu)
}

struct UnderMutex {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Flag for UnderMutex {
    fn new() -> Self {
        Self { set: Mutex::new(false), changed: Condvar::new() }
    }
    fn set(&self) {
        *self.set.lock().expect("nobody panics here") = true;
        self.changed.notify_one();
    }
    fn wait_and_clear(&self) {
        let set = self.set.lock().expect("nobody panics here");
        let mut set = self.changed.wait_while(set, |set| !*set).expect("nobody panics here");
        *set = false;
    }
}

struct UnderParkingLot {
    set: parking_lot::Mutex<bool>,
    changed: parking_lot::Condvar,
}

impl Flag for UnderParkingLot {
    fn new() -> Self {
        Self { set: parking_lot::Mutex::new(false), changed: parking_lot::Condvar::new() }
    }
    fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_one();
    }
    fn wait_and_clear(&self) {
        let mut set = self.set.lock();
        self.changed.wait_while(&mut set, |set| !*set);
        *set = false;
    }
}

struct UnderUsync {
    set: usync::Mutex<bool>,
    changed: usync::Condvar,
}

impl Flag for UnderUsync {
    fn new() -> Self {
        Self { set: usync::Mutex::new(false), changed: usync::Condvar::new() }
    }
    fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_one();
    }
    fn wait_and_clear(&self) {
        let mut set = self.set.lock();
        while !*set {
            self.changed.wait(&mut set);
        }
        *set = false;
    }
}

/// An event made of a channel of one.
macro_rules! flag_of_channel {
    ($name:ident, $bounded:path, $sender:ty, $receiver:ty, $send:ident, $recv:ident) => {
        struct $name($sender, $receiver);

        impl Flag for $name {
            fn new() -> Self {
                let (sender, receiver) = $bounded(1);
                Self(sender, receiver)
            }
            fn set(&self) {
                self.0.$send(()).expect("both ends live as long as the event");
            }
            fn wait_and_clear(&self) {
                self.1.$recv().expect("both ends live as long as the event");
            }
        }
    };
}

flag_of_channel!(
    OfCrossbeam,
    crossbeam_channel::bounded,
    crossbeam_channel::Sender<()>,
    crossbeam_channel::Receiver<()>,
    send,
    recv
);
flag_of_channel!(OfKanal, kanal::bounded, kanal::Sender<()>, kanal::Receiver<()>, send, recv);
flag_of_channel!(OfFlume, flume::bounded, flume::Sender<()>, flume::Receiver<()>, send, recv);
flag_of_channel!(
    OfAsyncChannel,
    async_channel::bounded,
    async_channel::Sender<()>,
    async_channel::Receiver<()>,
    send_blocking,
    recv_blocking
);
