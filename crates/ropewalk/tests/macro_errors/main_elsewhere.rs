//! The attribute belongs on `main`.

#[ropewalk::main]
fn serve() {}

fn main() {}
