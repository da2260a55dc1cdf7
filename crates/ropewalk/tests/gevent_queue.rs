//! gevent's `test__queue`, case by case, in our words: queues and channels between greenlets.
//!
//! gevent's `Queue` is [`Queue`] here, its `SimpleQueue` a [`channel`] with a buffer, its `Channel` one without. What has no
//! counterpart is listed with its reason in `gevent/known_differences.md`.
#![cfg(all(unix, feature = "greenlet"))]

#[path = "support/greenlets.rs"]
mod greenlet_support;
mod support;

use greenlet_support::{Log, ends_at_its_limit, greenlets, log, outer_limit_is_not_lost, settle, within};
use ropewalk::greenlet::{AsyncResult, join_all, spawn, spawn_later, spawn_local};
use ropewalk::sync::queue::{GetTimeoutError, PutTimeoutError, TryGetError, TryPutError};
use ropewalk::sync::{Interrupted, LifoQueue, PriorityQueue, Queue, channel};
use ropewalk::{TaskError, TaskHandle};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use support::{SHORT, joined};

/// How a try, or a wait with a limit, ended.
type Ended<T> = Result<T, Interrupted>;

/// What all kinds of queue have in common, told in one type: an error of a try is None.
trait Way: Send + Sync + 'static {
    fn new(capacity: Option<usize>) -> Self;
    fn put(&self, item: u32);
    fn put_within(&self, item: u32, limit: Duration) -> Ended<()>;
    fn try_put(&self, item: u32) -> Option<()>;
    fn get(&self) -> u32;
    fn get_within(&self, limit: Duration) -> Ended<u32>;
    fn try_get(&self) -> Option<u32>;
    fn len(&self) -> usize;
}

macro_rules! way_of_a_queue {
    ($($queue:ident)*) => { $(
        impl Way for $queue<u32> {
            fn new(capacity: Option<usize>) -> Self {
                capacity.map_or_else(Self::unbounded, Self::bounded)
            }
            fn put(&self, item: u32) {
                self.put(item).unwrap();
            }
            fn put_within(&self, item: u32, limit: Duration) -> Ended<()> {
                self.put_timeout(item, limit).map_err(|error| match error {
                    PutTimeoutError::TimedOut(_) => Interrupted::TimedOut,
                    PutTimeoutError::Cancelled(_) => Interrupted::Cancelled,
                    PutTimeoutError::Shutdown(_) => panic!("it is open"),
                })
            }
            fn try_put(&self, item: u32) -> Option<()> {
                self.try_put(item).ok()
            }
            fn get(&self) -> u32 {
                self.get().unwrap()
            }
            fn get_within(&self, limit: Duration) -> Ended<u32> {
                self.get_timeout(limit).map_err(|error| match error {
                    GetTimeoutError::TimedOut => Interrupted::TimedOut,
                    GetTimeoutError::Cancelled => Interrupted::Cancelled,
                    GetTimeoutError::Shutdown => panic!("it is open"),
                })
            }
            fn try_get(&self) -> Option<u32> {
                self.try_get().ok()
            }
            fn len(&self) -> usize {
                self.len()
            }
        }
    )* };
}

way_of_a_queue!(Queue LifoQueue PriorityQueue);

/// Both ends of a channel.
struct Channel<const BUFFERED: bool>(channel::Sender<u32>, channel::Receiver<u32>);

/// gevent's `SimpleQueue`.
type Simple = Channel<true>;
/// gevent's `Channel`.
type Rendezvous = Channel<false>;

impl<const BUFFERED: bool> Way for Channel<BUFFERED> {
    fn new(capacity: Option<usize>) -> Self {
        let (sender, receiver) = match capacity {
            _ if !BUFFERED => channel::rendezvous(),
            Some(capacity) => channel::bounded(capacity),
            None => channel::unbounded(),
        };
        Self(sender, receiver)
    }
    fn put(&self, item: u32) {
        self.0.send(item).unwrap();
    }
    fn put_within(&self, item: u32, limit: Duration) -> Ended<()> {
        self.0.send_timeout(item, limit).map_err(|error| match error {
            channel::SendTimeoutError::TimedOut(_) => Interrupted::TimedOut,
            channel::SendTimeoutError::Cancelled(_) => Interrupted::Cancelled,
            other => panic!("{other:?}"),
        })
    }
    fn try_put(&self, item: u32) -> Option<()> {
        self.0.try_send(item).ok()
    }
    fn get(&self) -> u32 {
        self.1.recv().unwrap()
    }
    fn get_within(&self, limit: Duration) -> Ended<u32> {
        self.1.recv_timeout(limit).map_err(|error| match error {
            channel::RecvTimeoutError::TimedOut => Interrupted::TimedOut,
            channel::RecvTimeoutError::Cancelled => Interrupted::Cancelled,
            other => panic!("{other:?}"),
        })
    }
    fn try_get(&self) -> Option<u32> {
        self.1.try_recv().ok()
    }
    fn len(&self) -> usize {
        self.1.len()
    }
}

fn unbounded<W: Way>() -> Arc<W> {
    Arc::new(W::new(None))
}

fn bounded<W: Way>(capacity: usize) -> Arc<W> {
    Arc::new(W::new(Some(capacity)))
}

/// A greenlet that puts.
fn putter<W: Way>(queue: &Arc<W>, item: u32) -> TaskHandle<()> {
    let queue = Arc::clone(queue);
    spawn(move || queue.put(item))
}

/// A greenlet that gets.
fn getter<W: Way>(queue: &Arc<W>) -> TaskHandle<u32> {
    let queue = Arc::clone(queue);
    spawn(move || queue.get())
}

/// Calls `verb` outside greenlets, where nothing may wait: in a future, which the hub polls on its own stack.
fn on_the_hub<R>(verb: impl FnOnce() -> R) -> R {
    ropewalk::block_on(async { verb() })
}

/// gevent: test__queue.Test{SimpleQueue,Queue,Channel}.test_put_nowait_simple
#[test]
fn try_put_where_nothing_may_wait() {
    fn fills<W: Way>(room: usize) {
        greenlets(|| {
            let queue = W::new(Some(1));
            let puts = on_the_hub(|| [queue.try_put(2), queue.try_put(3)]);
            assert_eq!(puts.iter().flatten().count(), room);
        });
    }
    fills::<Simple>(1);
    fills::<Queue<u32>>(1);
    fills::<Rendezvous>(0);
}

/// gevent: test__queue.Test{SimpleQueue,Queue,Channel}.test_put_nowait_unlock
#[test]
fn try_put_wakes_a_getter() {
    fn wakes<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            let get = getter(&queue);
            settle();
            assert_eq!((queue.len(), get.is_finished()), (0, false));
            on_the_hub(|| queue.try_put(10)).expect("somebody waits for it");
            assert!(!get.is_finished(), "the putter goes on first");
            settle();
            assert!(get.is_finished());
            assert_eq!((queue.len(), joined(get)), (0, 10));
        });
    }
    wakes::<Simple>();
    wakes::<Queue<u32>>();
    wakes::<Rendezvous>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue,Channel}.test_send_last
#[test]
fn getter_comes_first() {
    fn comes<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            let gets = Arc::clone(&queue);
            let get = spawn(move || gets.get_within(support::HANG));
            settle();
            queue.put(2);
            settle();
            assert!(get.is_finished());
            assert_eq!(joined(get), Ok(2));
        });
    }
    comes::<Simple>();
    comes::<Queue<u32>>();
    comes::<Rendezvous>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_get_nowait_simple
#[test]
fn try_get_where_nothing_may_wait() {
    fn empties<W: Way>() {
        greenlets(|| {
            let queue = W::new(Some(1));
            queue.put(4);
            assert_eq!(on_the_hub(|| [queue.try_get(), queue.try_get()]), [Some(4), None]);
        });
    }
    empties::<Simple>();
    empties::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_get_nowait_unlock
#[test]
fn try_get_wakes_a_putter() {
    fn wakes<W: Way>() {
        greenlets(|| {
            let queue = bounded::<W>(1);
            let puts = [putter(&queue, 5), putter(&queue, 6)];
            settle();
            assert_eq!((queue.len(), puts[0].is_finished(), puts[1].is_finished()), (1, true, false));
            assert_eq!(on_the_hub(|| queue.try_get()), Some(5));
            settle();
            assert!(puts[1].is_finished());
            assert_eq!(queue.try_get(), Some(6));
        });
    }
    wakes::<Simple>();
    wakes::<Queue<u32>>();
}

/// gevent: test__queue.TestChannel.test_get_nowait_unlock_channel
#[test]
fn try_get_takes_from_a_putter_that_waits() {
    greenlets(|| {
        let queue = unbounded::<Rendezvous>();
        let put = putter(&queue, 5);
        settle();
        assert!(!put.is_finished());
        assert_eq!(queue.len(), 0, "nothing lies in between");
        assert_eq!(on_the_hub(|| queue.try_get()), Some(5));
        settle();
        assert!(put.is_finished());
        assert_eq!((queue.len(), queue.try_get()), (0, None));
    });
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_send_first
#[test]
fn putter_comes_first() {
    fn comes<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            queue.put(1);
            assert_eq!(queue.get(), 1);
        });
    }
    comes::<Simple>();
    comes::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_max_size
#[test]
fn putter_waits_while_it_is_full() {
    fn waits<W: Way>() {
        greenlets(|| {
            let (queue, order) = (bounded::<W>(2), log());
            let (puts, notes) = (Arc::clone(&queue), Rc::clone(&order));
            let put = spawn_local(move || {
                for item in [1, 2, 3] {
                    puts.put(item);
                    notes.borrow_mut().push(item);
                }
            });
            settle();
            assert_eq!(*order.borrow(), [1, 2]);
            assert_eq!(queue.get(), 1);
            settle();
            assert_eq!(*order.borrow(), [1, 2, 3]);
            assert_eq!((queue.get(), queue.get()), (2, 3));
            assert!(put.is_finished());
        });
    }
    waits::<Simple>();
    waits::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_multiple_waiters
#[test]
fn each_of_several_getters_gets_one() {
    fn get<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            let gets: Vec<_> = (0..4).map(|_| getter(&queue)).collect();
            settle();
            let finished = || gets.iter().filter(|get| get.is_finished()).count();
            queue.put(1);
            settle();
            assert_eq!(finished(), 1);
            queue.put(2);
            settle();
            assert_eq!(finished(), 2);
            queue.put(3);
            queue.put(4);
            settle();
            assert_eq!(finished(), 4);
            let mut got = join_all(gets).unwrap();
            got.sort_unstable();
            assert_eq!(got, [1, 2, 3, 4]);
        });
    }
    get::<Simple>();
    get::<Queue<u32>>();
}

/// A getter whose limit has passed before it begins.
fn too_late<W: Way>(queue: &Arc<W>) -> TaskHandle<Ended<u32>> {
    let queue = Arc::clone(queue);
    spawn(move || within(Duration::ZERO, || queue.get()))
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_waiters_that_cancel
#[test]
fn getter_that_gave_up_gets_nothing() {
    fn gives_up<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            assert_eq!(joined(too_late(&queue)), Err(Interrupted::TimedOut));
            queue.put(1);
            assert_eq!(queue.get(), 1);
        });
    }
    gives_up::<Simple>();
    gives_up::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_senders_that_die
#[test]
fn item_outlives_its_putter() {
    fn outlives<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            drop(putter(&queue, 1));
            assert_eq!(queue.get(), 1);
        });
    }
    outlives::<Simple>();
    outlives::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_two_waiters_one_dies
#[test]
fn getter_that_gave_up_leaves_the_item_to_the_other() {
    fn leaves<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            let (dies, waits) = (too_late(&queue), getter(&queue));
            ropewalk::sleep(SHORT);
            queue.put(1);
            assert_eq!(joined(dies), Err(Interrupted::TimedOut));
            assert_eq!(joined(waits), 1);
        });
    }
    leaves::<Simple>();
    leaves::<Queue<u32>>();
}

/// gevent: test__queue.Test{SimpleQueue,Queue}.test_two_bogus_waiters
#[test]
fn getters_that_gave_up_leave_the_item_there() {
    fn leave<W: Way>() {
        greenlets(|| {
            let queue = unbounded::<W>();
            let bogus = [too_late(&queue), too_late(&queue)];
            ropewalk::sleep(SHORT);
            queue.put(1);
            for getter in bogus {
                assert_eq!(joined(getter), Err(Interrupted::TimedOut));
            }
            assert_eq!(queue.get(), 1);
        });
    }
    leave::<Simple>();
    leave::<Queue<u32>>();
}

/// gevent: test__queue.TestChannel.test_zero_max_size
#[test]
fn rendezvous_sender_waits_for_the_receiver() {
    greenlets(|| {
        let queue = unbounded::<Rendezvous>();
        let sent = Arc::new(AsyncResult::new());
        let (puts, says) = (Arc::clone(&queue), Arc::clone(&sent));
        let sender = spawn(move || {
            puts.put(1);
            says.set("done").unwrap();
        });
        settle();
        assert!(!sent.is_ready());
        let receiver = getter(&queue);
        assert_eq!((joined(receiver), sent.get().unwrap()), (1, "done"));
        within(SHORT, || sender.join().unwrap()).unwrap();
    });
}

fn note(log: &Log<String>, what: impl ToString) {
    log.borrow_mut().push(what.to_string());
}

/// gevent: test__queue.TestChannel.test_send
#[test]
fn rendezvous_from_the_sender_s_side() {
    greenlets(|| {
        let ((sender, receiver), order) = (channel::rendezvous(), log());
        let notes = Rc::clone(&order);
        let other = spawn_local(move || {
            for item in receiver.iter() {
                note(&notes, item);
            }
        });
        note(&order, "sending");
        sender.send("hello").unwrap();
        note(&order, "sent hello");
        sender.send("world").unwrap();
        note(&order, "sent world");
        drop(sender);
        other.join().unwrap();
        assert_eq!(*order.borrow(), ["sending", "hello", "sent hello", "world", "sent world"]);
    });
}

/// gevent: test__queue.TestChannel.test_wait
#[test]
fn rendezvous_from_the_receiver_s_side() {
    greenlets(|| {
        let ((sender, receiver), order) = (channel::rendezvous(), log());
        let notes = Rc::clone(&order);
        let other = spawn_local(move || {
            for item in ["hello", "world"] {
                note(&notes, format!("sending {item}"));
                sender.send(item).unwrap();
            }
            note(&notes, "sent world");
        });
        note(&order, "waiting");
        for _ in 0..2 {
            let item = receiver.recv().unwrap();
            note(&order, item);
        }
        let before = ["waiting", "sending hello", "hello", "sending world", "world"];
        assert_eq!(*order.borrow(), before);
        settle();
        assert_eq!(order.borrow().last().unwrap(), "sent world");
        other.join().unwrap();
    });
}

/// Where gevent puts `StopIteration`, the sender goes away.
///
/// gevent: test__queue.TestChannel.test_iterable
#[test]
fn iteration_ends_with_the_senders() {
    greenlets(|| {
        let (sender, receiver) = channel::rendezvous::<u32>();
        drop(spawn(move || drop(sender)));
        assert_eq!(receiver.iter().count(), 0);
    });
}

/// gevent: test__queue.TestQueue.test_task_done
#[test]
fn item_is_unfinished_until_it_is_said_to_be_done() {
    greenlets(|| {
        let queue = unbounded::<Queue<u32>>();
        drop(putter(&queue, 1));
        assert_eq!(Way::get(&*queue), 1);
        assert_eq!(queue.join_timeout(SHORT), Err(Interrupted::TimedOut));
        queue.task_done();
        assert_eq!(queue.join_timeout(Duration::ZERO), Ok(()));
    });
}

/// gevent: test__queue.TestQueue.test_shutdown_all_methods_in_one_thread
#[test]
fn what_is_inside_outlives_the_shutdown() {
    greenlets(|| {
        let queue = Queue::unbounded();
        queue.put('L').unwrap();
        queue.try_put('O').unwrap();
        queue.shutdown();
        assert!(queue.put('E').is_err());
        assert_eq!(queue.try_put('W'), Err(TryPutError::Shutdown('W')));
        for item in ['L', 'O'] {
            assert_eq!(queue.get(), Ok(item));
            queue.task_done();
        }
        queue.join();
        assert!(queue.get().is_err());
        assert_eq!(queue.try_get(), Err(TryGetError::Shutdown));
        assert_eq!(queue.get_timeout(support::HANG), Err(GetTimeoutError::Shutdown));
    });
}

/// gevent: test__queue.TestQueue.test_shutdown_immediate_all_methods_in_one_thread
#[test]
fn nothing_outlives_the_immediate_shutdown() {
    greenlets(|| {
        let queue = Queue::unbounded();
        queue.put('L').unwrap();
        queue.try_put('O').unwrap();
        queue.shutdown_now();
        assert!(queue.put('E').is_err());
        assert_eq!(queue.try_put('W'), Err(TryPutError::Shutdown('W')));
        assert!(queue.get().is_err());
        assert_eq!(queue.try_get(), Err(TryGetError::Shutdown));
        assert!(support::panic_text(|| queue.task_done()).contains("more often than items were put"));
        queue.join();
    });
}

/// gevent: test__queue.TestQueue.test_issue_45
#[test]
fn join_of_a_queue_into_which_nothing_was_put() {
    greenlets(|| Queue::<u32>::unbounded().join());
}

macro_rules! all_kinds {
    ($test:ident) => {
        greenlets(|| {
            $test::<Simple>();
            $test::<Queue<u32>>();
            $test::<LifoQueue<u32>>();
            $test::<PriorityQueue<u32>>();
            $test::<Rendezvous>();
        })
    };
}

/// gevent: test__queue.TestGetInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel,SimpleQueue}.test_raises_timeout_number
#[test]
fn get_ends_at_its_limit() {
    fn ends<W: Way>() {
        ends_at_its_limit(|limit| unbounded::<W>().get_within(limit).unwrap_err());
    }
    all_kinds!(ends);
}

/// gevent: test__queue.TestGetInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel,SimpleQueue}.test_raises_timeout_Timeout
#[test]
fn get_under_a_token_with_a_limit() {
    fn ends<W: Way>() {
        ends_at_its_limit(|limit| within(limit, || unbounded::<W>().get()).unwrap_err());
    }
    all_kinds!(ends);
}

/// gevent: test__queue.TestGetInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel,SimpleQueue}.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_get() {
    fn ends<W: Way>() {
        outer_limit_is_not_lost(|limit| unbounded::<W>().get_within(limit).unwrap_err());
    }
    all_kinds!(ends);
}

/// A queue into which nothing more goes without waiting.
fn full<W: Way>() -> W {
    let queue = W::new(Some(1));
    while queue.try_put(1).is_some() {}
    queue
}

/// gevent: test__queue.TestPutInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel}.test_raises_timeout_number
#[test]
fn put_ends_at_its_limit() {
    fn ends<W: Way>() {
        ends_at_its_limit(|limit| full::<W>().put_within(2, limit).unwrap_err());
    }
    all_kinds!(ends);
}

/// gevent: test__queue.TestPutInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel}.test_raises_timeout_Timeout
#[test]
fn put_under_a_token_with_a_limit() {
    fn ends<W: Way>() {
        ends_at_its_limit(|limit| within(limit, || full::<W>().put(2)).unwrap_err());
    }
    all_kinds!(ends);
}

/// gevent: test__queue.TestPutInterrupt{,JoinableQueue,LifoQueue,PriorityQueue,Channel}.test_outer_timeout_is_not_lost
#[test]
fn limit_around_a_put() {
    fn ends<W: Way>() {
        outer_limit_is_not_lost(|limit| full::<W>().put_within(2, limit).unwrap_err());
    }
    all_kinds!(ends);
}

/// A greenlet that is killed in a get, or a put, has taken, or left, nothing.
#[test]
fn killed_in_the_middle_takes_and_leaves_nothing() {
    fn takes<W: Way>() {
        let queue = bounded::<W>(1);
        let get = getter(&queue);
        settle();
        get.kill();
        assert!(matches!(get.join(), Err(TaskError::Cancelled)));
        while queue.try_put(1).is_some() {}
        let put = putter(&queue, 2);
        settle();
        put.kill();
        while let Some(item) = queue.try_get() {
            assert_eq!(item, 1);
        }
        drop(spawn_later(SHORT, {
            let queue = Arc::clone(&queue);
            move || queue.put(3)
        }));
        assert_eq!(queue.get(), 3);
    }
    all_kinds!(takes);
}
