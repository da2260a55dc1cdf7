//! Which of our types may be sent, shared, moved while pinned, and kept across a caught panic: a table.

use ropewalk_core::park::{Cancelled, ExecutionId, Interrupt, Interrupted};
use ropewalk_core::sync::channel::{self, Receiver, Sender};
use ropewalk_core::sync::{
    AcquireFuture, Barrier, BarrierFuture, BarrierWaitResult, BrokenBarrier, Condvar, Event, EventFuture, LifoQueue,
    LockFuture, Mutex, MutexGuard, OnceCell, Permit, PriorityQueue, Queue, ReadFuture, ReentrantLock,
    ReentrantLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, WriteFuture,
};
use ropewalk_core::task::{Call, CancelToken, Panic, TaskError, TaskGroup, TaskHandle, TaskId};
use std::cell::Cell;
use std::rc::Rc;

/// `Type: has these, not those`.
macro_rules! assert_auto {
    ($($type:ty: $($has:ident)* $(; not $($not:ident)+)?,)+) => {
        $(
            const _: fn() = || {
                $({
                    fn has<T: ?Sized + $has>() {}
                    has::<$type>();
                })*
                $($({
                    trait Ambiguous<A> {
                        fn look() {}
                    }
                    struct Both;
                    impl<T: ?Sized> Ambiguous<()> for T {}
                    impl<T: ?Sized + $not> Ambiguous<Both> for T {}
                    let _ = <$type as Ambiguous<_>>::look;
                })+)?
            };
        )+
    };
}

/// May be sent, not shared.
type Sent = Cell<u8>;
/// May be neither.
type Stays = Rc<u8>;

assert_auto! {
    Event: Send Sync Unpin,
    Condvar: Send Sync Unpin,
    Semaphore: Send Sync Unpin,
    Barrier: Send Sync Unpin,
    BarrierWaitResult: Send Sync Unpin,
    BrokenBarrier: Send Sync Unpin,
    Permit<'static>: Send Sync Unpin,
    Mutex<Sent>: Send Sync Unpin,
    Mutex<Stays>: Unpin; not Send Sync,
    MutexGuard<'static, u8>: Send Sync Unpin,
    MutexGuard<'static, Sent>: Send Unpin; not Sync,
    MutexGuard<'static, Stays>: Unpin; not Send Sync,
    ReentrantLock<Sent>: Send Sync Unpin,
    ReentrantLock<Stays>: Unpin; not Send Sync,
    ReentrantLockGuard<'static, u8>: Sync Unpin; not Send,
    RwLock<u8>: Send Sync Unpin,
    RwLock<Sent>: Send Unpin; not Sync,
    RwLock<Stays>: Unpin; not Send Sync,
    RwLockReadGuard<'static, u8>: Send Sync Unpin,
    RwLockReadGuard<'static, Sent>: Unpin; not Send Sync,
    RwLockWriteGuard<'static, u8>: Send Sync Unpin,
    RwLockWriteGuard<'static, Sent>: Unpin; not Sync,
    OnceCell<u8>: Send Sync,
    OnceCell<Sent>: Send; not Sync,
    OnceCell<Stays>: ; not Send Sync,
    Queue<Sent>: Send Sync Unpin,
    Queue<Stays>: Unpin; not Send Sync,
    LifoQueue<Sent>: Send Sync Unpin,
    PriorityQueue<u8>: Send Sync Unpin,
    Sender<Sent>: Send Sync Unpin,
    Receiver<Sent>: Send Sync Unpin,
    Sender<Stays>: Unpin; not Send Sync,
    Receiver<Stays>: Unpin; not Send Sync,
    EventFuture<'static>: Send Sync; not Unpin,
    LockFuture<'static, u8>: Send Sync; not Unpin,
    ReadFuture<'static, u8>: Send Sync; not Unpin,
    WriteFuture<'static, u8>: Send Sync; not Unpin,
    AcquireFuture<'static>: Send Sync; not Unpin,
    BarrierFuture<'static>: Send Sync; not Unpin,
    channel::RecvFuture<'static, u8>: Send Sync; not Unpin,
    channel::SendFuture<'static, u8>: Send; not Unpin,
    TaskHandle<Sent>: Send Sync Unpin,
    TaskError: Send Sync Unpin,
    Panic: Send Sync Unpin,
    TaskId: Send Sync Unpin,
    TaskGroup<u8>: Send Unpin,
    Call<u8, Stays>: Send Sync Unpin,
    Call<Stays, u8>: Unpin; not Send Sync,
    CancelToken: Send Sync Unpin,
    Interrupt: Send Sync Unpin,
    Interrupted: Send Sync Unpin,
    Cancelled: Send Sync Unpin,
    ExecutionId: Send Sync Unpin,
}

/// The table above is checked when this file compiles; this is for the list of tests.
#[test]
fn table_holds() {}
