//! A task outlives its caller: it cannot borrow its arguments.

use std::borrow::Cow;
use std::path::Path;

#[ropewalk::task]
fn thumb(path: &Path, name: &str, sizes: &[u32], log: &mut Vec<String>) -> u64 {
    log.push(format!("{path:?} {name}"));
    sizes.len() as u64
}

#[ropewalk::task]
fn greet(name: Cow<'_, str>) -> usize {
    name.len()
}

#[ropewalk::task]
fn longest<'a>(first: &'a str) -> &'a str {
    first
}

fn main() {}
