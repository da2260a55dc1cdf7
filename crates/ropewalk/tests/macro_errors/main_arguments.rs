//! `main` has no arguments.

#[ropewalk::main]
fn main(arguments: Vec<String>) {
    println!("{arguments:?}");
}
