//! The bottom of ropewalk: something is *waiting*, something *wakes* it.
//!
//! Everything here works for OS threads, greenlets and async tasks alike, because nothing here knows which of them is
//! waiting: a primitive is a state machine that is polled with a [`std::task::Waker`], its blocking face is
//! [`park::wait_on`] around that poll, and its async face is the same future.
//!
//! Rooms, from the bottom up; a room imports only from rooms above it in this list:
//!
//! | room | what lives there |
//! | --- | --- |
//! | `model` | the one place that names std's atomics, threads and clocks, or loom's, or shuttle's |
//! | [`park`] | who am I, and how do I wait: the only function that blocks |
//! | `waitlist` | a FIFO of wakers whose nodes live in the waiting futures |
//! | [`sync`] | one primitive a file |
//! | [`task`] | the life of a task under every executor |
//! | `strand` | the dangerous half of greenlets (feature `strand`, Unix) |
//!
//! What is absent: no runtime, no I/O, no serialization. Applications use the crate `ropewalk`, which re-exports what
//! is public here.

mod model;
pub mod park;
#[cfg(all(unix, feature = "strand"))]
pub mod strand;
pub mod sync;
pub mod task;
mod waitlist;

#[cfg(all(test, ropewalk_loom))]
mod loom_tests;
#[cfg(all(test, ropewalk_shuttle))]
mod shuttle_tests;
