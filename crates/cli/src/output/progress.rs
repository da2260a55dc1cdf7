//! A progress bar on stderr, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of one row; it disappears when dropped, however that comes about.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `units` pieces of the work called `label`.
    pub fn new(label: &str, units: u64) -> Self {
        // indicatif draws nothing when stderr is not a terminal.
        let bar = ProgressBar::with_draw_target(Some(units), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {msg:<32} {bar:24} {pos:>3}/{len} {elapsed:>4}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(bar)
    }

    /// So many are done.
    pub fn at(&self, finished: u64) {
        self.0.set_position(finished);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
