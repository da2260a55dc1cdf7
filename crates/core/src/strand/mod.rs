//! The dangerous half of greenlets: stacks, the switch, and the queue of what is ready.
//!
//! A greenlet is a task on a stack of its own. It belongs to the [`Hub`] of the thread that started it and **never
//! leaves that thread**, so thread-locals and `Rc`s that it holds over a wait stay what they were. What has not started
//! yet ([`Start`]) may go to any hub.
//!
//! This room knows neither sockets nor timers: whoever drives a hub calls [`Hub::turn`] when it has been woken, and
//! gives the greenlets a [`Suspend`](crate::park::Suspend) hook that knows how to sleep.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `stack` | guarded stacks in slabs (`stack_in_heap` for the checkers) |
//! | `switch` | onto such a stack and back |
//! | `slot` | the header of a stack: who is on it, and the waker without a count |
//! | `inbox` | how other threads reach a hub |
//! | `hub` | the turn |
//! | `run_queue` | who is ready, in order |
//! | `ahead` | the memory of those who run soon |
//! | `hook` | who is told of a switch |
//! | `overflow` | what a greenlet that ran into its guard says before the process ends |
//!
//! # The known hole
//!
//! A crate may keep a pointer to a stack frame in a thread-local while a closure runs, and restore the old one
//! afterwards (`scoped-tls` does). Two greenlets that do so by turns restore in the wrong order, and the thread-local
//! points to a frame that is gone. No stackful coroutine in Rust can prevent that today. [`no_switch`] closes it for a
//! region: a greenlet does not leave it in the middle; and [`with_switch_hook`] for one that can put its pointer away
//! meanwhile.

mod ahead;
mod hook;
mod hub;
mod inbox;
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
mod overflow;
#[cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) mod rehearsal;
mod run_queue;
mod slot;
#[cfg_attr(any(ropewalk_loom, ropewalk_shuttle), path = "stack_in_heap.rs")]
mod stack;
mod switch;

pub use hook::{SwitchHook, with_switch_hook};
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub use hub::stack_left;
pub use hub::{
    Adopted, Hub, Seen, Turn, identity, in_greenlet, may_suspend, no_switch, on_hub, run_first, suspend, try_yield,
    waker, with_locals,
};
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub use overflow::{report_overflows, signal_stack};
pub use slot::{Extra, Start};
pub use stack::{STACK_CLASS_DEFAULT, STACK_SIZES, StackError, stack_class};
