//! `ropewalk enqueue`: puts a command line on a queue.

use std::time::Duration;

use clap::Args;
use ropewalk_jobs::broker::{Broker as _, Enqueued};
use ropewalk_jobs::{JobId, Need, NewJob, Retry, Unique, When};

use super::{Which, command, id, refused};
use crate::arguments::duration;
use crate::exit::{self, Expected};
use crate::output::Out;

/// Put a command line on the job queue
///
/// It runs on a worker that allows commands, as a program with its
/// arguments and never through a shell, once the queue has it on disk.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    which: Which,

    /// The queue
    #[arg(long, short, default_value = ropewalk_jobs::job::DEFAULT_QUEUE)]
    queue: String,

    /// Higher goes first, within its queue
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,

    /// Not before this time has passed: 500ms, 30s, 5m, 2h
    #[arg(long = "in", value_name = "TIME", value_parser = duration)]
    delay: Option<Duration>,

    /// Not before this job has ended well
    #[arg(long, value_name = "ID", value_parser = id)]
    after: Vec<JobId>,

    /// Tries after the first
    #[arg(long, default_value_t = 0)]
    retries: u32,

    /// How long a run may take before it is killed: 30s, 5m; for ever if not given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,

    /// Not while another job with this key has not ended
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Prints the job's id, for `ropewalk jobs result ID --wait`. A worker runs it that
was started with --allow-commands.

Examples:
  ropewalk enqueue -- convert photo.png photo.webp
  ropewalk enqueue --queue mail --retries 3 --timeout 5m -- ./send.sh
  ropewalk enqueue --in 2h --unique nightly -- ./backup
  ropewalk enqueue --broker sqlite:./jobs.db -- make
  ropewalk worker --allow-commands --burst        runs what is there, and ends";

/// Enqueues it and prints its id.
///
/// # Errors
/// When the queue refuses it or cannot be reached.
pub fn run(options: &Options) -> Result<(), Expected> {
    let broker = options.which.open()?;
    let payload = serde_json::to_string(&options.command).map_err(|e| Expected::Usage(e.to_string()))?;
    let mut job = NewJob::new(command::TASK, payload);
    job.queue.clone_from(&options.queue);
    job.priority = options.priority;
    job.due = options.delay.map(|delay| broker.now() + delay);
    job.needs = options.after.iter().map(|id| Need { id: id.clone(), when: When::Done }).collect();
    job.unique = options.unique.as_ref().map(Unique::key);
    job.options.retry = Retry::times(options.retries);
    job.options.timeout_ms = options.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let enqueued = broker.enqueue(&[job]).map_err(refused)?;
    let Some(enqueued) = enqueued.first() else { return Ok(()) };
    let accepted = matches!(enqueued, Enqueued::Accepted(_));
    let out = Out::detect();
    if options.which.json {
        return out.text(&format!("{}\n", serde_json::json!({ "id": enqueued.id(), "accepted": accepted })));
    }
    if !accepted {
        exit::say(&"not enqueued: this job is there already");
    }
    out.text(&format!("{}\n", enqueued.id()))
}
