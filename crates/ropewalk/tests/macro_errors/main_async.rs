//! Async main comes with greenlets.

#[ropewalk::main]
async fn main() {
    println!("hello");
}
