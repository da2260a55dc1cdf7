//! x
#![cfg(all(test, ropewalk_loom))]
