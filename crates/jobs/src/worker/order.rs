//! In which order a worker asks its queues.

use fastrand::Rng;

/// Which queue comes first.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Always the same: a later one has its turn when those before it are empty.
    Strict(Vec<String>),
    /// By chance, in proportion to the weights: none starves.
    Weighted(Vec<(String, u32)>),
}

impl Order {
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Strict(queues) => queues.clone(),
            Self::Weighted(queues) => queues.iter().map(|(queue, _)| queue.clone()).collect(),
        }
    }

    /// The order of one claim.
    pub(crate) fn draw(&self, dice: &mut Rng) -> Vec<String> {
        match self {
            Self::Strict(queues) => queues.clone(),
            Self::Weighted(queues) => {
                let mut left: Vec<&(String, u32)> = queues.iter().collect();
                let mut order = Vec::with_capacity(left.len());
                while !left.is_empty() {
                    let total: u64 = left.iter().map(|(_, weight)| u64::from(*weight)).sum();
                    let mut drawn = dice.u64(..total.max(1));
                    let at = left.iter().position(|(_, weight)| {
                        let hit = drawn < u64::from(*weight);
                        drawn = drawn.saturating_sub(u64::from(*weight));
                        hit
                    });
                    order.push(left.remove(at.unwrap_or(0)).0.clone());
                }
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_of_the_first_place() {
        let order = Order::Weighted(vec![("a".into(), 3), ("b".into(), 1), ("c".into(), 0)]);
        let mut dice = Rng::with_seed(7);
        let draws: Vec<_> = (0..4_000).map(|_| order.draw(&mut dice)).collect();
        let first = |name: &str| draws.iter().filter(|draw| draw[0] == name).count();
        assert!(
            (2_800..3_200).contains(&first("a")) && first("b") > 800 && first("c") == 0,
            "{} {}",
            first("a"),
            first("b")
        );
        assert!(draws.iter().all(|draw| draw.len() == 3));
    }
}
