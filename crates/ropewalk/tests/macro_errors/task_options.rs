//! An option that there is not.

#[ropewalk::task(retries = 3, colour = "red")]
fn flaky() {}

fn main() {}
