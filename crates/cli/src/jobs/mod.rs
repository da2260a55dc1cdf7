//! The commands of the job queue: `enqueue`, `worker` and `jobs`.
//!
//! All of them speak to one broker, `--broker sqlite:PATH` or (feature `redis`) `redis://HOST:PORT/DB`; without it to the Redis
//! that rq's `RQ_REDIS_URL` names or, without that too, to a file in the user's state directory. Which one is then said on stderr.

#[cfg(feature = "redis")]
pub mod audit;
pub mod command;
pub mod enqueue;
pub mod manage;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ropewalk_jobs::broker::{Broker, BrokerError};
use ropewalk_jobs::{JobId, SqliteBroker};

use crate::exit::Expected;

/// Which queue is meant.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Where the jobs are kept: sqlite:PATH, redis://HOST:PORT/DB, rediss://…
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
    pub fn open(&self) -> Result<Arc<dyn Broker>, Expected> {
        let path = match &self.broker {
            Some(text) if is_redis(text) => return open_redis(text),
            Some(text) => match text.split_once(':') {
                Some(("sqlite", path)) if !path.is_empty() => PathBuf::from(path),
                _ => {
                    // Not the whole text: it may be an address with a password.
                    let scheme = text.split("//").next().unwrap_or_default();
                    return Err(Expected::Usage(format!(
                        "`{scheme}` is no broker: write `--broker sqlite:PATH`, as in `--broker sqlite:./jobs.db`, or \
                         `--broker redis://HOST:PORT/DB`"
                    )));
                }
            },
            None => {
                #[cfg(feature = "redis")]
                if let Ok(url) = std::env::var("RQ_REDIS_URL") {
                    eprintln!("jobs are kept in the Redis that RQ_REDIS_URL names");
                    return open_redis(&url);
                }
                let path = default_path()?;
                eprintln!("jobs are kept in {}", path.display());
                path
            }
        };
        Ok(Arc::new(SqliteBroker::open(path).map_err(refused)?))
    }
}

fn is_redis(text: &str) -> bool {
    ["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| text.starts_with(scheme))
}

#[cfg(feature = "redis")]
fn open_redis(url: &str) -> Result<Arc<dyn Broker>, Expected> {
    let opening = ropewalk_jobs::RedisBroker::at(url);
    let opening = match key_prefix() {
        Some(prefix) => opening.prefix(prefix),
        None => opening,
    };
    let broker = opening.open().map_err(refused)?;
    let skew = broker.skew();
    if skew > ropewalk_jobs::broker::redis::SKEW_MAX {
        eprintln!(
            "the clock of this machine and that of Redis differ by {} s: jobs go by that of Redis, and other programs here may \
             not",
            skew.as_secs()
        );
    }
    Ok(Arc::new(broker))
}

/// The prefix of the keys, from where rq 3 takes it.
#[cfg(feature = "redis")]
fn key_prefix() -> Option<String> {
    std::env::var("RQ_KEY_PREFIX").ok().filter(|prefix| !prefix.is_empty())
}

#[cfg(not(feature = "redis"))]
fn open_redis(_: &str) -> Result<Arc<dyn Broker>, Expected> {
    Err(Expected::Usage(
        "this program was built without Redis: build it with `--features redis`, as in \
         `cargo build --release -p ropewalk-cli --features redis`"
            .to_owned(),
    ))
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
