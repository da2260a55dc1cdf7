//! Kills where panics abort: a program of its own, built by `../panic_abort.rs`.

use ropewalk::sync::{Event, Interrupted};
use ropewalk::task::is_cancelled;
use ropewalk::{CancelToken, TaskError, greenlet::spawn, sleep, yield_now};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(30);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("panic") {
        return ropewalk::run(|| drop(spawn(|| panic!("in a greenlet")).join()));
    }
    ropewalk::run(|| {
        let asks = spawn(|| {
            while !is_cancelled() {
                yield_now();
            }
            "asked"
        });
        yield_now();
        asks.kill();
        println!("computation: {:?}", asks.join().ok());

        let timed = spawn(|| Event::new().wait_timeout(Duration::from_secs(60)));
        yield_now();
        timed.kill();
        println!("wait with a limit: {:?}", timed.join().ok() == Some(Err(Interrupted::Cancelled)));

        let event = Arc::new(Event::new());
        let waits = spawn({
            let event = Arc::clone(&event);
            move || event.wait()
        });
        yield_now();
        waits.cancel();
        (0..10).for_each(|_| yield_now());
        println!("wait goes on: {}", waits.is_running());
        event.set();
        println!("wait: {:?}", waits.join().ok());

        let naps = spawn(|| {
            let started = Instant::now();
            sleep(NAP);
            started.elapsed() >= NAP
        });
        yield_now();
        naps.kill();
        println!("sleep lasts: {:?}", naps.join().ok());

        let late = spawn(|| println!("never"));
        println!("not started: {}", late.cancel() && matches!(late.join(), Err(TaskError::Cancelled)));

        let token = CancelToken::new().with_timeout(Duration::ZERO);
        println!("region: {:?}", token.run(|| sleep(NAP)));

        // At the end of the hub it is asked too, and waited for.
        drop(spawn(|| {
            while !is_cancelled() {
                yield_now();
            }
            println!("asked at the end");
        }));
        yield_now();
    });
    println!("ended");
}
