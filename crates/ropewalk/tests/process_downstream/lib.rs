//! A crate of a user's, with pools of processes in each kind of its tests. `process_downstream.rs` puts it together and tests it.

/// The sum of the squares, each computed in another process.
///
/// ```
/// # fn main() {
/// ropewalk::init();
/// assert_eq!(downstream::squares(2, 1..=3), 14);
/// # }
/// ```
///
/// # Panics
///
/// When there is no pool.
pub fn squares(workers: usize, numbers: impl IntoIterator<Item = u64>) -> u64 {
    let pool = ropewalk::ProcessPoolExecutor::new(workers).expect("a pool");
    pool.map(|n: u64| n * n, numbers).sum()
}

#[cfg(test)]
mod tests {
    // In a module as well as at the top.
    ropewalk::test_support!();

    #[test]
    fn squares_of_few() {
        assert_eq!(super::squares(1, [3]), 9);
    }

    #[test]
    fn squares_of_many() {
        assert_eq!(super::squares(2, 1..=100), 338_350);
    }
}
