//! A method cannot be a task.

struct Shop;

impl Shop {
    #[ropewalk::task]
    fn sell(&self, price: u32) -> u32 {
        price
    }
}

fn main() {
    let _ = Shop.sell(3);
}
