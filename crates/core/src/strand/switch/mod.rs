//! The switch between a hub and a strand, behind one small face: on the machine corosensei's few instructions, under a
//! checker (which sees threads only) a thread for each strand and a baton that says whose turn it is.

#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
mod corosensei;
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub(super) use self::corosensei::Coroutine;

#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
mod baton;
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
pub(super) use baton::Coroutine;
