//! Ends a run that hangs: a lost wake-up in a system under test shows as its name, not as a silent terminal.
//!
//! The thread sleeps on a channel and wakes only when a sample begins or its time is over, so it costs a sample nothing.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// The exit status of a run that was ended.
pub const EXIT_HUNG: i32 = 3;

/// Watches the sample that is being taken.
#[derive(Debug)]
pub struct Watchdog {
    bell: Sender<Option<String>>,
}

impl Watchdog {
    /// Starts watching; nothing is expected yet.
    pub fn start() -> Watchdog {
        let (bell, news) = channel::<Option<String>>();
        std::thread::spawn(move || {
            let mut current: Option<String> = None;
            loop {
                let next = match &current {
                    None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(_) => news.recv_timeout(LIMIT),
                };
                match (next, &current) {
                    (Ok(next), _) => current = next,
                    (Err(RecvTimeoutError::Timeout), Some(what)) => {
                        eprintln!("ropewalk-bench: {what} has not ended within {} s; giving up", LIMIT.as_secs());
                        std::process::exit(EXIT_HUNG);
                    }
                    (Err(_), _) => return,
                }
            }
        });
        Watchdog { bell }
    }

    /// A sample begins.
    pub fn expect(&self, what: String) {
        let _ = self.bell.send(Some(what));
    }

    /// No sample is being taken.
    pub fn rest(&self) {
        let _ = self.bell.send(None);
    }
}
