//! The commands of the job queue: `enqueue`, `worker` and `jobs`.
//!
//! All of them speak to one broker, `--broker sqlite:PATH`; without it to a file in the user's state directory, which is
//! named on stderr.

pub mod command;
pub mod enqueue;
pub mod manage;
pub mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ropewalk_jobs::broker::BrokerError;
use ropewalk_jobs::{JobId, SqliteBroker};

use crate::exit::Expected;

/// Which queue is meant.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Where the jobs are kept: sqlite:PATH
    #[arg(long, value_name = "BROKER", global = true)]
    pub broker: Option<String>,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Which {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened, and when `--broker` names something that is no broker.
    pub fn open(&self) -> Result<SqliteBroker, Expected> {
        let path = match &self.broker {
            Some(text) => match text.split_once(':') {
                Some(("sqlite", path)) if !path.is_empty() => PathBuf::from(path),
                _ => {
                    return Err(Expected::Usage(format!(
                        "`{text}` is no broker: write `--broker sqlite:PATH`, as in `--broker sqlite:./jobs.db`"
                    )));
                }
            },
            None => {
                let path = default_path()?;
                eprintln!("jobs are kept in {}", path.display());
                path
            }
        };
        SqliteBroker::open(path).map_err(refused)
    }
}

/// The file of a user who names none.
fn default_path() -> Result<PathBuf, Expected> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let directory = state
        .ok_or_else(|| Expected::Usage("no home directory is known: say where with `--broker sqlite:PATH`".to_owned()))?
        .join("ropewalk");
    std::fs::create_dir_all(&directory)
        .map_err(|e| Expected::Unwritable(format!("{} cannot be made: {e}", directory.display())))?;
    Ok(directory.join("jobs.db"))
}

/// What a broker says, as an error of the command.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub fn refused(error: BrokerError) -> Expected {
    Expected::Queue(error.to_string())
}

/// For clap: an id as it is written.
fn id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|problem: ropewalk_jobs::job::Problem| problem.to_string())
}

/// For clap: a duration as it is written, `500ms`, `30s`, `5m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let says = || format!("`{text}` is no duration: use a number with ms, s, m or h, as in `30s`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(says)?;
    let number: u64 = text[..digits].parse().map_err(|_| says())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(says()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(says)
}
