//! Models of the way into a hub from other threads: the inbox, and wakers that outlive what they woke.
//!
//! Strands are threads with a baton here, so a model has at most two of them.
#![cfg(all(test, ropewalk_loom))]

use super::{Number, model};
use crate::model::sync::atomic::{AtomicBool, Ordering};
use crate::model::thread;
use crate::park::Pause;
use crate::strand::rehearsal::{Greenlets, drive, spawn};
use crate::strand::{self, Hub, Turn};
use crate::sync::Event;
use crate::task::TaskHandle;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::task::Waker;

/// Suspends the calling greenlet, once, leaving its waker where others find it.
fn suspend_until(ready: impl Fn() -> bool, wakers: &Mutex<Vec<Waker>>) {
    wakers.lock().unwrap().push(strand::waker());
    let pause = Pause { until: None, ends_by: None, on: "model", cancellable: false, at: Location::caller() };
    while !ready() {
        strand::suspend(&pause);
    }
}

#[test]
fn wake_between_look_and_sleep() {
    model("strand: wake_between_look_and_sleep", || {
        let event = Arc::new(Event::new());
        let setter = {
            let event = Arc::clone(&event);
            thread::spawn(move || event.set())
        };
        let adopted = Hub::adopt(&Greenlets);
        let handle = spawn(adopted.hub(), move || event.wait());
        drive(adopted.hub(), || handle.is_finished());
        setter.join().unwrap();
    });
}

#[test]
fn parcel_between_look_and_sleep() {
    model("strand: parcel_between_look_and_sleep", || {
        let adopted = Hub::adopt(&Greenlets);
        let hub = adopted.hub();
        let ran = Arc::new(AtomicBool::new(false));
        let other = {
            let ran = Arc::clone(&ran);
            thread::spawn(move || drop(spawn(hub, move || ran.store(true, Ordering::Relaxed))))
        };
        drive(hub, || ran.load(Ordering::Relaxed));
        other.join().unwrap();
    });
}

/// The second of two wakes finds the slot in the inbox already: what came before it is seen all the same.
#[test]
fn merged_wake_brings_its_data() {
    model("strand: merged_wake_brings_its_data", || {
        let adopted = Hub::adopt(&Greenlets);
        let hub = adopted.hub();
        let (wakers, number) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Number::new()));
        let handle = spawn(hub, {
            let (wakers, number) = (Arc::clone(&wakers), Arc::clone(&number));
            move || suspend_until(|| number.get() == 1, &wakers)
        });
        assert_eq!(hub.turn(|| false), Turn::Idle);
        let waker = wakers.lock().unwrap().pop().expect("the greenlet has left it");
        let first = {
            let waker = waker.clone();
            thread::spawn(move || waker.wake())
        };
        let second = thread::spawn(move || {
            number.set(1);
            waker.wake();
        });
        drive(hub, || handle.is_finished());
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// Two slots in the inbox at once: neither is lost.
#[test]
fn two_slots_in_the_inbox() {
    model("strand: two_slots_in_the_inbox", || {
        let adopted = Hub::adopt(&Greenlets);
        let hub = adopted.hub();
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let flags = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let handles: Vec<_> = flags
            .iter()
            .map(|flag| {
                let (wakers, flag) = (Arc::clone(&wakers), Arc::clone(flag));
                spawn(hub, move || suspend_until(|| flag.load(Ordering::Relaxed), &wakers))
            })
            .collect();
        assert_eq!(hub.turn(|| false), Turn::Idle);
        let wakers = std::mem::take(&mut *wakers.lock().unwrap());
        let other = thread::spawn(move || {
            for (flag, waker) in flags.iter().zip(wakers) {
                flag.store(true, Ordering::Relaxed);
                waker.wake();
            }
        });
        drive(hub, || handles.iter().all(TaskHandle::is_finished));
        other.join().unwrap();
    });
}

/// A waker that outlived its greenlet, its hub's life even, wakes nobody and breaks nothing.
#[test]
fn stale_waker_after_adoption() {
    model("strand: stale_waker_after_adoption", || {
        let adopted = Hub::adopt(&Greenlets);
        let hub = adopted.hub();
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let handle = spawn(hub, {
            let wakers = Arc::clone(&wakers);
            move || suspend_until(|| true, &wakers)
        });
        drive(hub, || handle.is_finished());
        let waker = wakers.lock().unwrap().pop().expect("the greenlet has left it");
        let other = thread::spawn(move || waker.wake());
        drop(adopted);
        let again = Hub::adopt_record(hub, &Greenlets);
        let second = spawn(hub, || ());
        drive(hub, || second.is_finished());
        other.join().unwrap();
        drop(again);
    });
}
