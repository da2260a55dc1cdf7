//! `hubs.2`: what two hubs on two cores do, in percent of the cores there are times what one hub does.
//!
//! A hub spawns a hundred strands, each yields eight times, and all are joined; again and again until the time is over.
//! The cores there are: as many as two spinning threads get right before and after, or as many as the hubs got, whichever
//! is more. One hub counts for the share of its core that it got.

use std::time::{Duration, Instant};

use super::sum_below;
use crate::harness::{Effort, Sample};
use crate::measure::{Place, Spent, crew, effective_cores};

/// Strands in a round.
pub const ROUND_STRANDS: u64 = 100;
/// Yields of each.
pub const ROUND_YIELDS: u64 = 8;
const PROBE: Duration = Duration::from_millis(10);

/// Counts rounds until `over`; each must give the sum of its strands' numbers.
pub fn rounds(over: &dyn Fn() -> bool, mut round: impl FnMut() -> u64) -> u64 {
    let mut count = 0;
    while !over() {
        assert_eq!(round(), sum_below(ROUND_STRANDS), "each strand of a round ended");
        count += 1;
    }
    count
}

/// The sample of hubs that work until they are told that it is over, and count their rounds.
pub fn sample(effort: Effort, hub: fn(&dyn Fn() -> bool) -> u64) -> Sample {
    let run = |hubs: usize| {
        let run = crew(hubs, Place::Spread, |_| {
            let begin = Instant::now();
            hub(&|| begin.elapsed() >= effort.span())
        });
        let strands = run.results.iter().sum::<u64>() * ROUND_STRANDS;
        assert!(run.results.iter().all(|&rounds| rounds > 0), "each hub worked");
        (strands as f64 / run.spent.wall.as_secs_f64(), run.spent)
    };
    let one = run(1);
    let before = effective_cores(PROBE);
    let two = run(2);
    judged(one, two, (before + effective_cores(PROBE)) / 2.0)
}

/// The sample of one worker's strands a second and two workers', on that many cores.
fn judged(one: (f64, Spent), two: (f64, Spent), cores: f64) -> Sample {
    let ideal = one.0 / one.1.cores().min(1.0) * cores.max(two.1.cores());
    Sample::new(100.0 * two.0 / ideal, two.1).and("one", one.0).and("two", two.0)
}
