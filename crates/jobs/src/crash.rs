//! Named places where a test makes its process die or stop. They do nothing in a program that ships.
//!
//! `ROPEWALK_CRASH=place:kill` kills the process the first time it passes that place, `place:stop:3` stops it the third time.

/// Passes a named place.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(all(unix, feature = "__crash_points"))]
        $crate::crash::pass($name);
    };
}
pub(crate) use crash_point;

#[cfg(all(unix, feature = "__crash_points"))]
pub(crate) fn pass(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, Signal, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("ROPEWALK_CRASH").ok()?;
        let mut parts = text.split(':');
        let (place, how) = (parts.next()?.to_owned(), parts.next()?);
        let signal = match how {
            "kill" => Signal::KILL,
            "stop" => Signal::STOP,
            other => panic!("ROPEWALK_CRASH knows kill and stop, not {other}"),
        };
        Some((place, signal, parts.next().map_or(1, |n| n.parse().expect("a count"))))
    });
    if let Some((place, signal, at)) = plan
        && place == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *at
    {
        eprintln!("crash point {name}");
        kill_process(getpid(), *signal).expect("a process may signal itself");
    }
}
