//! The verdict for a closure, from inside its program.

use std::sync::mpsc;

use crate::collect::{self, Settings};
use crate::recording::Recording;
use crate::{Judgement, judge};

/// What [`measure`] found.
#[derive(Debug, Clone)]
pub struct Measured<T> {
    /// What the closure returned.
    pub value: T,
    /// What was seen, to be kept or judged again.
    pub recording: Recording,
    /// What it means.
    pub judgement: Judgement,
}

/// Runs `work` and says what this process waited for meanwhile.
///
/// All threads of the process are watched, by a thread that this starts and ends; what they did before is left out. A closure
/// shorter than a fifth of a second is too short to say anything about: call it in a loop.
///
/// # Panics
/// When no thread can be started. A panic of `work` goes on after the watching thread has ended.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let measured = ropewalk_profile::measure(|| std::thread::sleep(Duration::from_millis(400)));
/// println!("{}", measured.judgement.finding.sentence);
/// assert_eq!(measured.judgement.finding.class, ropewalk_profile::verdict::Class::Sleeping);
/// ```
pub fn measure<T>(work: impl FnOnce() -> T) -> Measured<T> {
    let (stop, stopped) = mpsc::channel();
    let (ready, begun) = mpsc::channel();
    let (value, recording) = std::thread::scope(|s| {
        let watcher = std::thread::Builder::new()
            .name("ropewalk-profile".to_owned())
            .spawn_scoped(s, move || {
                let _ = ready.send(());
                collect::inside(&stopped, &Settings::default())
            })
            .unwrap_or_else(|e| panic!("measure: cannot start the thread that watches: {e}"));
        // An error means that it has ended, which the join below explains.
        let _ = begun.recv();
        // Dropped, also by a panic of `work`, it stops the watcher, for which the scope waits.
        let stop = stop;
        let value = work();
        drop(stop);
        (value, watcher.join())
    });
    let recording = recording.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let judgement = judge(&recording);
    Measured { value, recording, judgement }
}
