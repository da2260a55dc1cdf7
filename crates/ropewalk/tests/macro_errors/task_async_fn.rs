//! An `async fn` cannot be a task.

#[ropewalk::task]
async fn fetch(url: String) -> u64 {
    url.len() as u64
}

fn main() {}
