//! An argument becomes a field of the call, so it needs a name.

#[ropewalk::task]
fn area((width, height): (u32, u32), _: bool) -> u32 {
    width * height
}

fn main() {}
