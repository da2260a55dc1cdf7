//! The attribute has no options.

#[ropewalk::task(retries = 3)]
fn flaky() {}

fn main() {}
