//! `--svg`: each of the eight jobs once on a pool that sizes itself, as a picture of how it found its size.

use std::path::Path;
use std::time::Duration;

use ropewalk_profile::picture::curves::{self, Curves, PoolLook};

use super::{Load, TASKS, ours, watched};
use crate::harness::Effort;

/// How often the pool is looked at: nested jobs take a millisecond in all.
const LOOK_EVERY: Duration = Duration::from_micros(500);
const LOOK_EVERY_NESTED: Duration = Duration::from_micros(50);

/// Draws into `directory`, and says which files those are.
///
/// # Errors
/// Where a file cannot be written.
pub fn draw(directory: &Path) -> Result<(), String> {
    let told = |path: &Path, error| format!("--svg: cannot write to {}: {error}", path.display());
    std::fs::create_dir_all(directory).map_err(|error| told(directory, error))?;
    for task in &TASKS {
        let (pool, load) = (ours::Pool::sizes_itself(), (task.load)(Effort::new(false)));
        let every = if matches!(load, Load::Nested { .. }) { LOOK_EVERY_NESTED } else { LOOK_EVERY };
        let mut looks = Vec::new();
        watched(&pool, &load, every, |at, look| {
            looks.push(PoolLook { at, target: look.target, running: look.running, queued: look.queued });
        });
        let marks = pool.0.sizing_log().into_iter().map(|decision| (decision.at, decision.to_string())).collect();
        let title = format!("How a pool finds its size: {}", task.title);
        let name = task.work.split('.').next().unwrap_or(task.work);
        let path = directory.join(format!("sizing-{name}.svg"));
        let subtitle = format!("nothing is said about the pool; {} cores", crate::measure::cores());
        let picture = curves::draw(&Curves::of_pool(title, subtitle, &looks, marks));
        std::fs::write(&path, picture).map_err(|error| told(&path, error))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
