//! The attribute has no options.

#[ropewalk::main(worker_threads = 4)]
fn main() {}
