//! A hub as the models drive it: greenlets whose hook knows no I/O, and a driver that sleeps as a thread.

use super::{Hub, Start, Turn};
use crate::park::{self, Pause, Suspend, Wait};
use crate::task::TaskHandle;
use crate::task::harness;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

pub(crate) struct Greenlets;

impl Suspend for Greenlets {
    fn waker(&self) -> Waker {
        super::waker()
    }

    fn suspend(&self, pause: &Pause) {
        super::suspend(pause);
    }

    fn yield_now(&self) {
        super::try_yield();
    }

    fn may_suspend(&self) -> bool {
        super::may_suspend()
    }

    fn run_first(&self, task: usize) {
        super::run_first(task);
    }
}

/// Starts a greenlet of the hub, from any thread.
#[track_caller]
pub(crate) fn spawn(hub: &'static Hub, job: impl FnOnce() + Send + 'static) -> TaskHandle<()> {
    let (task, handle) = harness::new_task(0, move || {
        job();
        Ok(())
    });
    hub.start(Start { task, place: Location::caller(), extra: None });
    handle
}

/// Runs the hub until `over`.
pub(crate) fn drive(hub: &'static Hub, over: impl Fn() -> bool) {
    loop {
        assert_eq!(hub.turn(|| false), Turn::Idle);
        if over() {
            return;
        }
        // Ready when there is something after all.
        let sleep = |context: &mut Context<'_>| if hub.sleep(context) { Poll::Pending } else { Poll::Ready(()) };
        park::wait_on(Wait::SHIELDED, sleep).expect("it has no limit");
    }
}
