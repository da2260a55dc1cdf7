//! What processes of one program share: channels, events, locks, and memory for plain data.
//!
//! | file | what it is |
//! | --- | --- |
//! | `channel` | [`channel`]: values from any process to any other, in order |
//! | `event` | [`Event`]: a flag that can be waited for |
//! | `mutex` | [`Mutex`]: a lock with plain data in it, whose owner may die |
//! | `shared` | [`SharedValue`], [`SharedSlice`]: plain data that all see |
//! | `message` | packets of any size, with descriptors in them |
//! | `memory` | the mappings |
//!
//! All of it is anonymous: known by its descriptors only, so that it is gone when the last process that has one is, and nothing
//! has to be unlinked. Each of these is *sent* to another process: in the arguments of a [`Process`](super::Process), in the
//! argument of a pool's [`initializer`](super::Builder::initializer), or through a channel. A task of a pool cannot carry one,
//! as in Python.
//!
//! Waits suspend a greenlet and block a thread; async code has methods of its own.

mod channel;
mod event;
mod memory;
pub(super) mod message;
mod mutex;
mod shared;

pub use bytemuck::{Pod, Zeroable};
pub use channel::{Iter, Receiver, RecvError, SendError, Sender, channel};
pub use event::Event;
pub use mutex::{Mutex, MutexGuard, OwnerDied};
pub use shared::{SharedSlice, SharedValue};

use super::carry;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::os::fd::{AsFd, OwnedFd};

/// Sends a descriptor with a value that is serialized.
fn serialize<S: Serializer>(descriptor: impl AsFd, serializer: S) -> Result<S::Ok, S::Error> {
    let number = carry::put_descriptor(descriptor).map_err(S::Error::custom)?;
    number.serialize(serializer)
}

/// Takes the descriptor that came with a value.
fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OwnedFd, D::Error> {
    carry::take_descriptor(u32::deserialize(deserializer)?).map_err(D::Error::custom)
}
