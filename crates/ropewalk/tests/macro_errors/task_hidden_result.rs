//! The output of a task must be visible in its signature.

use std::fmt;

#[ropewalk::task]
fn print() -> fmt::Result {
    Ok(())
}

#[ropewalk::task]
fn numbers() -> impl Iterator<Item = u8> {
    0..3
}

fn main() {}
