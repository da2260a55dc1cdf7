//! A task is a function.

#[ropewalk::task]
struct Thumb {
    size: u32,
}

fn main() {
    let _ = Thumb { size: 3 }.size;
}
