//! The attribute has no options.

#[ropewalk::task(retries = 3, colour = "red")]
fn flaky() {}

fn main() {}
