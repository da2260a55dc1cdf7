//! A generic function cannot be a task, however the parameter is written.

#[ropewalk::task]
fn biggest<T: Ord>(items: Vec<T>) -> Option<T> {
    items.into_iter().max()
}

#[ropewalk::task]
fn read_all(mut from: impl std::io::Read) -> std::io::Result<u64> {
    std::io::copy(&mut from, &mut std::io::sink())
}

fn main() {}
