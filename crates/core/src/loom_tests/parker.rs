//! Models of the thread parker: one thread sleeps, any thread wakes it.
#![cfg(all(test, ropewalk_loom))]

use super::{A_WHILE, Number, model, race};
use crate::model::sync::Mutex;
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::time::Instant;
use crate::park::thread::Parker;
use crate::park::{self, Wait};
use std::task::{Poll, Waker};

#[test]
fn notify_before_wait() {
    model("parker: notify_before_wait", || {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        parker.park(None, true, || panic!("it need not sleep"));
    });
}

#[test]
fn notify_between_check_and_park() {
    model("parker: notify_between_check_and_park", || {
        race(
            (Parker::new(), Number::new()),
            &[|(parker, number)| {
                number.set(1);
                parker.unpark();
            }],
            |(parker, number)| {
                parker.park(None, true, || ());
                assert_eq!(number.get(), 1, "what the waker wrote is not visible");
            },
        );
    });
}

/// The other way round: one waiter, two notifications, of which one may be merged into the other but not lost.
#[test]
fn two_notifications_one_waiter() {
    model("parker: two_notifications_one_waiter", || {
        race(
            (Parker::new(), AtomicU32::new(0)),
            &[
                |(parker, count)| {
                    count.fetch_add(1, Ordering::Relaxed);
                    parker.unpark();
                },
                |(parker, count)| {
                    count.fetch_add(1, Ordering::Relaxed);
                    parker.unpark();
                },
            ],
            |(parker, count)| {
                while count.load(Ordering::Relaxed) < 2 {
                    parker.park(None, true, || ());
                }
            },
        );
    });
}

#[test]
fn timeout_races_with_notify() {
    model("parker: timeout_races_with_notify", || {
        race(
            (Parker::new(), Number::new()),
            &[|(parker, number)| {
                number.set(1);
                parker.unpark();
            }],
            |(parker, number)| {
                parker.park(Instant::now().checked_add(A_WHILE), true, || ());
                // The notification was taken with what it says, or it is still to come.
                while number.get() == 0 {
                    parker.park(None, true, || ());
                }
            },
        );
    });
}

/// A waker that is fired when the wait is over and the thread is gone.
#[test]
fn owner_drop_races_with_wait() {
    model("parker: owner_drop_races_with_wait", || {
        race(
            Mutex::new(None::<Waker>),
            &[|left| {
                let _ = park::wait_on(Wait::FOREVER.timeout(A_WHILE), |context| {
                    *left.lock().unwrap() = Some(context.waker().clone());
                    Poll::<()>::Pending
                });
            }],
            |left| {
                let waker = left.lock().unwrap().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            },
        );
    });
}

/// A poll that waits itself shares the thread's parking place, and leaves the outer wait its notification.
#[test]
fn nested_wait_keeps_the_outer_notification() {
    model("parker: nested_wait_keeps_the_outer_notification", || {
        race(
            (Mutex::new((false, None::<Waker>)), crate::sync::Event::new()),
            &[|(outer, inner)| {
                inner.set();
                let mut outer = outer.lock().unwrap();
                outer.0 = true;
                let waker = outer.1.take();
                drop(outer);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }],
            |(outer, inner)| {
                park::wait_shielded(|context| {
                    {
                        let mut outer = outer.lock().unwrap();
                        if outer.0 {
                            return Poll::Ready(());
                        }
                        outer.1 = Some(context.waker().clone());
                    }
                    inner.wait();
                    Poll::Pending
                });
            },
        );
    });
}
