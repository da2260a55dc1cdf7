//! Sockets of one machine, named by paths.

mod datagram;
mod listener;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use stream::UnixStream;

use ropewalk_core::park;
use std::io;
use std::time::{Duration, Instant};

const FIRST_NAP: Duration = Duration::from_millis(1);
const LONGEST_NAP: Duration = Duration::from_millis(16);

/// Performs `operation` until it does not fail with `WouldBlock` any more, with naps in between: for what the system
/// refuses for the moment without an event that says when to try again.
#[track_caller]
fn persist<R>(timeout: Option<Duration>, mut operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut nap = FIRST_NAP;
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            ended => return ended,
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        park::sleep(left.map_or(nap, |left| left.min(nap)));
        nap = LONGEST_NAP.min(2 * nap);
    }
}
