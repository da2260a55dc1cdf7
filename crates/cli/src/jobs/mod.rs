//! The commands of the job queue: `enqueue`, `worker` and `jobs`.
//!
//! All of them speak to one broker, `--broker sqlite:PATH` or (feature `redis`) `redis://HOST:PORT/DB`; without it to the Redis
//! that rq's `RQ_REDIS_URL` names or, without that too, to a file in the user's state directory. Which one is then said on stderr.
//! (`audit` is about python-rq, so it looks at no file.)

#[cfg(feature = "redis")]
pub mod audit;
pub mod command;
pub mod enqueue;
pub mod manage;
pub mod worker;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ropewalk_jobs::broker::{Broker, BrokerError};
use ropewalk_jobs::{JobId, SqliteBroker};

use crate::arguments::redis_url;
use crate::exit::{self, Expected};

/// Which queue is meant.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Where the jobs are kept: sqlite:PATH, redis://HOST:PORT/DB, rediss://…
    ///
    /// If not given, the Redis that RQ_REDIS_URL names, which keeps a password
    /// out of the command line; else ropewalk/jobs.db in $XDG_STATE_HOME or
    /// ~/.local/state. On Redis, RQ_KEY_PREFIX is what its keys begin with, as
    /// in rq 3. Redis needs a build with the feature `redis`.
    #[arg(long, value_name = "BROKER", global = true, verbatim_doc_comment)]
    pub broker: Option<String>,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// What is to be opened.
enum Place {
    Redis(String),
    File(PathBuf),
}

impl Which {
    /// Opens it; a file that is not there is made.
    ///
    /// # Errors
    /// When it cannot be opened, and when `--broker` names something that is no broker.
    pub fn open(&self) -> Result<Arc<dyn Broker>, Expected> {
        match self.place()? {
            Place::Redis(url) => open_redis(&url),
            Place::File(path) => {
                if let (None, Some(directory)) = (&self.broker, path.parent()) {
                    std::fs::create_dir_all(directory)
                        .map_err(|e| Expected::Unwritable(format!("{} cannot be made: {e}", directory.display())))?;
                }
                Ok(Arc::new(SqliteBroker::open(path).map_err(refused)?))
            }
        }
    }

    /// Opens what is there already: a name that was mistyped is no empty queue.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when there is no such file.
    pub fn open_existing(&self) -> Result<Arc<dyn Broker>, Expected> {
        match self.place()? {
            Place::File(path) => match path.metadata() {
                Ok(file) if file.len() > 0 => Ok(Arc::new(SqliteBroker::open(path).map_err(refused)?)),
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    Err(Expected::Queue(format!("the job queue at {} cannot be looked at: {e}", path.display())))
                }
                // Not there, or an empty file.
                _ => Err(Expected::Queue(format!(
                    "there is no job queue at {}: `ropewalk enqueue` and `ropewalk worker` make one; see `--broker`",
                    path.display()
                ))),
            },
            Place::Redis(url) => open_redis(&url),
        }
    }

    fn place(&self) -> Result<Place, Expected> {
        match &self.broker {
            Some(text) if is_redis(text) => Ok(Place::Redis(text.clone())),
            Some(text) => match text.split_once(':') {
                Some(("sqlite", path)) if !path.is_empty() => Ok(Place::File(PathBuf::from(path))),
                // What it is instead is not repeated: it may hold a password.
                _ => Err(Expected::Usage(
                    "what `--broker` names is no broker: write `--broker sqlite:PATH`, as in `--broker sqlite:./jobs.db`, or \
                     `--broker redis://HOST:PORT/DB`"
                        .to_owned(),
                )),
            },
            None => {
                if let Some(url) = redis_url() {
                    return Ok(Place::Redis(url));
                }
                let path = default_path()?;
                exit::say(&format_args!("jobs are kept in {}", path.display()));
                Ok(Place::File(path))
            }
        }
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
        exit::say(&format_args!(
            "the clock of this machine and that of Redis differ by {} s: jobs go by that of Redis, and other programs here may \
             not",
            skew.as_secs()
        ));
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
    let state = state.ok_or_else(|| {
        Expected::Usage("no home directory is known: say where with `--broker sqlite:PATH`".to_owned())
    })?;
    Ok(state.join("ropewalk/jobs.db"))
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
