//! Waiting for a descriptor, from wherever the caller runs.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `source` | a descriptor and its registrations with the reactors of hubs |
//! | `reactor` | which reactor is that of the calling thread |
//! | `operation` | work on several descriptors at once, driven from a thread, a greenlet or async code |
//! | `poll` | how a thread waits |
//! | `system` | the system calls that nothing we stand on wraps |

#[cfg(feature = "subprocess")]
mod operation;
mod poll;
mod reactor;
mod source;
mod system;

#[cfg(feature = "subprocess")]
pub(crate) use operation::{Operation, Step, drive, drive_async};
pub(crate) use reactor::Reactor;
pub(crate) use source::{Moved, Source};
#[cfg(feature = "net")]
pub(crate) use system::lengthen_backlog;

/// What is waited for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something can be read or accepted, or the other side has ended.
    Read,
    /// Something can be written, or a connection stands.
    Write,
}

impl From<Interest> for tokio::io::Interest {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Read => Self::READABLE,
            Interest::Write => Self::WRITABLE,
        }
    }
}
