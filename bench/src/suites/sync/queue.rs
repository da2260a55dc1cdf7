//! Queues and channels: unbounded, bounded to 64, and rendezvous.
//!
//! `1x1` is one producer and one consumer, one a core; `4x4` is four of each, placed by the scheduler. A sample moves a
//! fixed count of distinct numbers; the consumers' sums and counts must be the producers', and with one producer and one
//! consumer the order too. Peers that have one consumer only (std, tokio) have no `4x4` row; those without a
//! capacity of 0 have no rendezvous.

use std::sync::Mutex;

use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{Place, crew};

/// How much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As much as there is.
    Unbounded,
    /// 64.
    Bounded,
    /// Nothing: a sender meets a receiver.
    Rendezvous,
}

/// The bound of [`Kind::Bounded`].
pub const BOUND: usize = 64;

/// A queue with its two ends.
pub trait Chan: 'static {
    /// The end that a producer holds.
    type Sender: Send;
    /// The end that a consumer holds.
    type Receiver: Send;
    /// A fresh one.
    fn open(kind: Kind) -> (Self::Sender, Self::Receiver);
    /// Sends, waiting for room.
    fn send(end: &mut Self::Sender, value: u64);
    /// Receives, waiting for a value.
    fn recv(end: &mut Self::Receiver) -> u64;
}

/// The works.
pub fn works() -> Vec<Work> {
    vec![
        one_to_one("queue.unbounded.1x1", Kind::Unbounded),
        four_to_four("queue.unbounded.4x4", Kind::Unbounded),
        one_to_one("queue.bounded64.1x1", Kind::Bounded),
        four_to_four("queue.bounded64.4x4", Kind::Bounded),
        one_to_one("queue.rendezvous", Kind::Rendezvous),
    ]
}

fn one_to_one(name: &'static str, kind: Kind) -> Work {
    let mut work = Work::new("sync", name, "ns/op", Judge::TwoCores)
        .by("crossbeam", move |effort| single::<Crossbeam>(kind, effort))
        .by("kanal", move |effort| single::<Kanal>(kind, effort))
        .by("flume", move |effort| single::<Flume>(kind, effort));
    if kind == Kind::Unbounded {
        work.add("std", move |effort| single::<Std>(kind, effort));
        work.add("tokio", move |effort| single::<TokioUnbounded>(kind, effort));
    } else {
        work.add("std", move |effort| single::<StdSync>(kind, effort));
    }
    if kind == Kind::Bounded {
        work.add("tokio", move |effort| single::<Tokio>(kind, effort));
    }
    if kind != Kind::Rendezvous {
        work.add("async-channel", move |effort| single::<AsyncChannel>(kind, effort));
    }
    #[cfg(feature = "ours")]
    {
        work.add("ropewalk:channel", move |effort| single::<super::ours::Channel>(kind, effort));
        if kind != Kind::Rendezvous {
            work.add("ropewalk:queue", move |effort| single::<super::ours::Queue>(kind, effort));
        }
    }
    work
}

fn four_to_four(name: &'static str, kind: Kind) -> Work {
    let work = Work::new("sync", name, "ns/op", Judge::TwoCores)
        .by("crossbeam", move |effort| many::<Crossbeam>(kind, effort))
        .by("kanal", move |effort| many::<Kanal>(kind, effort))
        .by("flume", move |effort| many::<Flume>(kind, effort))
        .by("async-channel", move |effort| many::<AsyncChannel>(kind, effort));
    #[cfg(feature = "ours")]
    let work = work
        .by("ropewalk:channel", move |effort| many::<super::ours::Channel>(kind, effort))
        .by("ropewalk:queue", move |effort| many::<super::ours::Queue>(kind, effort));
    work
}

fn messages(kind: Kind, effort: Effort) -> u64 {
    match kind {
        Kind::Unbounded => effort.pick(1_000_000, 200_000),
        Kind::Bounded => effort.pick(400_000, 80_000),
        Kind::Rendezvous => effort.pick(20_000, 4_000),
    }
}

fn single<C: Chan>(kind: Kind, effort: Effort) -> Sample {
    let (sender, receiver) = C::open(kind);
    run::<C>(vec![sender], vec![receiver], Place::Spread, messages(kind, effort))
}

fn many<C: Chan<Sender: Clone, Receiver: Clone>>(kind: Kind, effort: Effort) -> Sample {
    const LANES: usize = 4;
    let (sender, receiver) = C::open(kind);
    let senders = std::iter::repeat_n(sender, LANES).collect();
    let receivers = std::iter::repeat_n(receiver, LANES).collect();
    run::<C>(senders, receivers, Place::Free, messages(kind, effort))
}

enum End<C: Chan> {
    Sender(C::Sender),
    Receiver(C::Receiver),
}

fn run<C: Chan>(senders: Vec<C::Sender>, receivers: Vec<C::Receiver>, place: Place, count: u64) -> Sample {
    let lanes = senders.len() as u64;
    let (each, ordered) = (count / lanes, lanes == 1);
    let senders = senders.into_iter().map(End::<C>::Sender);
    let ends = senders.chain(receivers.into_iter().map(End::Receiver));
    let ends: Vec<Mutex<Option<End<C>>>> = ends.map(|end| Mutex::new(Some(end))).collect();
    let run = crew(ends.len(), place, |index| {
        let end = ends[index].lock().expect("nobody panics here").take();
        match end.expect("each thread takes its own end") {
            End::Sender(mut sender) => {
                let first = index as u64 * each;
                (first..first + each).for_each(|value| C::send(&mut sender, value));
                0
            }
            End::Receiver(mut receiver) => {
                let mut sum = 0_u64;
                for expected in 0..each {
                    let value = C::recv(&mut receiver);
                    assert!(!ordered || value == expected, "out of order: {value} came in place of {expected}");
                    sum += value;
                }
                sum
            }
        }
    });
    let sent = each * lanes;
    assert_eq!(run.results.iter().sum::<u64>(), sent * (sent - 1) / 2, "a value was lost or came twice");
    Sample::new(run.spent.wall_ns_per(sent), run.spent)
}

const LIVE: &str = "both ends live";

struct Std;

impl Chan for Std {
    type Sender = std::sync::mpsc::Sender<u64>;
    type Receiver = std::sync::mpsc::Receiver<u64>;
    fn open(_: Kind) -> (Self::Sender, Self::Receiver) {
        std::sync::mpsc::channel()
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.send(value).expect(LIVE);
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.recv().expect(LIVE)
    }
}

struct StdSync;

impl Chan for StdSync {
    type Sender = std::sync::mpsc::SyncSender<u64>;
    type Receiver = std::sync::mpsc::Receiver<u64>;
    fn open(kind: Kind) -> (Self::Sender, Self::Receiver) {
        std::sync::mpsc::sync_channel(if kind == Kind::Rendezvous { 0 } else { BOUND })
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.send(value).expect(LIVE);
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.recv().expect(LIVE)
    }
}

struct Tokio;

impl Chan for Tokio {
    type Sender = tokio::sync::mpsc::Sender<u64>;
    type Receiver = tokio::sync::mpsc::Receiver<u64>;
    fn open(_: Kind) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(BOUND)
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.blocking_send(value).expect(LIVE);
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.blocking_recv().expect(LIVE)
    }
}

struct TokioUnbounded;

impl Chan for TokioUnbounded {
    type Sender = tokio::sync::mpsc::UnboundedSender<u64>;
    type Receiver = tokio::sync::mpsc::UnboundedReceiver<u64>;
    fn open(_: Kind) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::unbounded_channel()
    }
    #[inline]
    fn send(end: &mut Self::Sender, value: u64) {
        end.send(value).expect(LIVE);
    }
    #[inline]
    fn recv(end: &mut Self::Receiver) -> u64 {
        end.blocking_recv().expect(LIVE)
    }
}

/// A channel crate with `bounded` and `unbounded` and two ends that can be cloned.
macro_rules! chan_of {
    ($name:ident, $krate:ident, $send:ident, $recv:ident) => {
        struct $name;

        impl Chan for $name {
            type Sender = $krate::Sender<u64>;
            type Receiver = $krate::Receiver<u64>;
            fn open(kind: Kind) -> (Self::Sender, Self::Receiver) {
                match kind {
                    Kind::Unbounded => $krate::unbounded(),
                    Kind::Bounded => $krate::bounded(BOUND),
                    Kind::Rendezvous => $krate::bounded(0),
                }
            }
            #[inline]
            fn send(end: &mut Self::Sender, value: u64) {
                end.$send(value).expect(LIVE);
            }
            #[inline]
            fn recv(end: &mut Self::Receiver) -> u64 {
                end.$recv().expect(LIVE)
            }
        }
    };
}

chan_of!(Crossbeam, crossbeam_channel, send, recv);
chan_of!(Kanal, kanal, send, recv);
chan_of!(Flume, flume, send, recv);
chan_of!(AsyncChannel, async_channel, send_blocking, recv_blocking);
