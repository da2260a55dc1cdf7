//! `--confirm`: the program once more, and then two of it at once.
//!
//! A prediction assumes that more of the same at once is possible: processors that are free, another end that keeps up. Two
//! copies of the program put that to the test without a change to it. What they cannot show is whether the *parts* of one run
//! depend on each other.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use ropewalk::subprocess::{Child, Command, Stdio};
use ropewalk_profile::picture::human;
use serde::Serialize;

use crate::exit::Expected;

/// A run may take so many times as long as the one that was profiled, and this on top.
const TIMES_MAX: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// Work of two copies, in the time of one, from which there is room for more and up to which there is none.
const ROOM: f64 = 1.6;
const NO_ROOM: f64 = 1.2;

/// What two copies at once showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Confirmed {
    /// Seconds of one copy alone.
    pub(super) one_s: f64,
    /// Seconds until both of two were done.
    pub(super) two_s: f64,
    /// The work that two at once do in the time of one: 2 where nothing that they share is full, 1 where something is.
    pub(super) times: f64,
}

impl Confirmed {
    fn of(one: Duration, two: Duration) -> Self {
        let (one_s, two_s) = (one.as_secs_f64(), two.as_secs_f64());
        Self { one_s, two_s, times: 2.0 * one_s / two_s.max(1e-9) }
    }

    pub(super) fn sentence(&self) -> String {
        let seconds = |s: f64| human(Duration::from_secs_f64(s));
        let meaning = match self.times {
            t if t >= ROOM => "nothing that they share is full, so there is room for more of it at once",
            t if t > NO_ROOM => "something that they share is nearly full, so there is room for a little more at once",
            _ => {
                "something that they share is full (a processor, a disk, the other end), so more of it at once gains nothing"
            }
        };
        format!(
            "Confirmed by running it again: {} alone, {} for two at once, {:.1} times the work in the same time: {meaning}.",
            seconds(self.one_s),
            seconds(self.two_s),
            self.times
        )
    }
}

/// Runs one copy and then two, without input and without their output; `wall` is what the profiled run took.
pub(super) fn run(program: &[OsString], wall: Duration) -> Result<Confirmed, Expected> {
    let limit = wall * TIMES_MAX + PATIENCE;
    Ok(Confirmed::of(copies(program, 1, limit)?, copies(program, 2, limit)?))
}

fn copies(program: &[OsString], count: usize, limit: Duration) -> Result<Duration, Expected> {
    let failed = |why: String| Expected::Process(format!("--confirm: {why}"));
    let [name, arguments @ ..] = program else { return Err(failed("there is no program to run".to_owned())) };
    let begun = Instant::now();
    let start = || {
        Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.to_string()))
    };
    // Dropped on the way out, a copy that still runs is killed.
    let mut running: Vec<Child> = (0..count).map(|_| start()).collect::<Result<_, _>>()?;
    for copy in &mut running {
        let left = limit.saturating_sub(begun.elapsed());
        match copy.wait_timeout(left).map_err(|error| failed(error.to_string()))? {
            Some(status) if status.success() => {}
            Some(status) => {
                let alone = if count == 1 { "" } else { " beside another copy of itself" };
                return Err(failed(format!(
                    "run again{alone}, without its input and output, the program ended with {status}: only a program that \
                     can be run several times can be confirmed"
                )));
            }
            None => return Err(failed(format!("run again, the program was not done after {}", human(limit)))),
        }
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn waits_go_side_by_side_and_a_lock_does_not() {
        let wall = Duration::from_millis(300);
        let sleeps = run(&program(&["sleep", "0.3"]), wall).unwrap();
        assert!(sleeps.times > 1.5 && sleeps.sentence().contains("room for more"), "{sleeps:?}");
        let file = std::env::temp_dir().join(format!("ropewalk-confirm-{}", std::process::id()));
        let turns = run(&program(&["flock", file.to_str().unwrap(), "sleep", "0.3"]), wall).unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(turns.times < 1.2 && turns.sentence().contains("gains nothing"), "{turns:?}");
    }

    #[test]
    fn program_that_fails_the_second_time_is_an_error_that_says_so() {
        let failed = run(&program(&["sh", "-c", "exit 3"]), Duration::from_millis(1)).unwrap_err();
        assert!(failed.to_string().contains("ended with exit status: 3"), "{failed}");
        let missing = run(&program(&["/no/such/program"]), Duration::from_millis(1)).unwrap_err();
        assert!(missing.to_string().contains("/no/such/program"), "{missing}");
    }
}
