//! The async faces that stand on other faces: each is waited for by a thread while another thread does what ends the wait.

use ropewalk_core::park::wait_for;
use ropewalk_core::sync::channel::{self, Select};
use ropewalk_core::sync::{Condvar, Mutex, OnceCell};

#[test]
fn condvar_waits_while_the_condition_holds() {
    let (number, changed) = (Mutex::new(0), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                *number.lock() += 1;
                changed.notify_all();
            }
        });
        let seen = wait_for(async {
            let guard = number.lock_async().await;
            *changed.wait_while_async(guard, |number| *number < 3).await
        });
        assert_eq!(seen, 3);
    });
}

#[test]
fn once_cell_stays_empty_after_an_error() {
    let cell = OnceCell::new();
    assert_eq!(wait_for(cell.get_or_try_init_async(async || Err::<u8, _>("no"))), Err("no"));
    assert_eq!(cell.get(), None);
    assert_eq!(wait_for(cell.get_or_try_init_async(async || Ok::<_, &str>(1))), Ok(&1));
    assert_eq!(wait_for(cell.get_or_init_async(async || 2)), &1);
}

#[test]
fn mutex_is_acquired_and_released() {
    let lock = Mutex::new(());
    lock.acquire();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(lock.acquire_async());
            lock.release();
        });
        lock.release(); // any thread may
    });
    assert!(lock.try_acquire());
}

#[test]
fn select_sees_what_is_ready_now_and_what_comes() {
    let (sender, receiver) = channel::bounded(1);
    let (_quiet, never) = channel::unbounded::<u8>();
    let mut select = Select::new();
    let (_, some) = (select.recv(&never), select.recv(&receiver));
    assert_eq!(select.try_ready(), None);
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(7).unwrap());
        assert_eq!(wait_for(select.ready_async()), some);
    });
    assert_eq!(select.try_ready(), Some(some));
    assert_eq!(receiver.try_recv(), Ok(7));
}
