//! `ropewalk worker`: runs what is on the queues.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ropewalk_jobs::{Model, Registry, Worker};

use super::{Which, command};
use crate::arguments::duration;
use crate::exit::Expected;
use crate::output::Out;

/// On what jobs run.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum On {
    /// A thread each.
    Threads,
    /// A greenlet each.
    Greenlets,
    /// The blocking threads of an async runtime.
    Async,
    /// A process each, which is killed when its job is stopped or too late. Not for command lines, which are processes anyway.
    #[cfg(target_os = "linux")]
    Processes,
}

/// Run the jobs of the queues, the first that has some first
///
/// Ends at SIGTERM or Ctrl-C: takes no more jobs, waits for those that run,
/// and gives back what does not end. A second signal does that at once.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    which: Which,

    /// The queues
    #[arg(default_value = ropewalk_jobs::job::DEFAULT_QUEUE, value_name = "QUEUE")]
    queues: Vec<String>,

    /// Jobs that run at once
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// On what they run
    #[arg(long, value_enum, default_value = "threads")]
    on: On,

    /// Tell health and counts over HTTP there (/health, /metrics), as in 127.0.0.1:9901; a port alone is one of loopback
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    metrics: Option<std::net::SocketAddr>,

    /// End when nothing is ready and nothing runs
    #[arg(long)]
    burst: bool,

    /// Run jobs that are command lines: whoever can write to the queue can run programs here
    #[arg(long)]
    allow_commands: bool,

    /// How long a job is kept for this worker without a sign of life: 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    lease: Duration,

    /// How long running jobs may go on after the first signal: 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "25s")]
    grace: Duration,
}

const EXAMPLES: &str = "\
Which tasks it knows is the program's matter: `ropewalk_cli::main(registry)` is
this command with yours. On its own it knows command lines, if they are allowed.

Examples:
  ropewalk worker --allow-commands                the queue `default`, one job at once
  ropewalk worker high default -c 8 --allow-commands
  ropewalk worker --allow-commands --burst        ends when nothing is left
  ropewalk worker --allow-commands --metrics 9901
  RQ_REDIS_URL=redis://:PASSWORD@host/0 ropewalk worker --allow-commands";

/// For clap: `IP:PORT`, or a port of loopback.
fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(([127, 0, 0, 1], port).into()),
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{text}` is no address: use a port, or an IP and a port as in `127.0.0.1:9901`")),
    }
}

/// Works until it is told to end.
///
/// # Errors
/// When there is nothing it could run, and when the queue cannot be opened.
pub fn run(options: &Options, registry: Registry) -> Result<(), Expected> {
    let registry =
        if options.allow_commands { registry.with_handler(command::TASK, command::handler()) } else { registry };
    if registry.names().next().is_none() {
        return Err(Expected::Usage(
            "this worker knows no task: add `--allow-commands` to run command lines, or use a program of your own that \
             calls `ropewalk_cli::main(registry)`"
                .to_owned(),
        ));
    }
    let worker = Worker::new(options.which.open()?)
        .queues(options.queues.iter().cloned())
        .concurrency(options.concurrency.into())
        .model(match options.on {
            On::Threads => Model::Threads,
            On::Greenlets => Model::Greenlets,
            On::Async => Model::Async,
            #[cfg(target_os = "linux")]
            On::Processes => Model::Processes,
        })
        .lease(options.lease)
        .grace(options.grace)
        .registry(registry);
    let worker = if options.burst { worker.burst() } else { worker };
    let worker = match options.metrics {
        Some(at) => worker.serve_metrics(at).map_err(|e| Expected::Process(format!("{at} cannot be had: {e}")))?,
        None => worker,
    };
    let counts = worker.run().map_err(|e| Expected::Process(format!("the worker cannot work: {e}")))?;
    let out = Out::detect();
    if options.which.json {
        return out.text(&format!(
            "{}\n",
            serde_json::json!({
                "taken": counts.taken, "done": counts.done, "failed": counts.failed, "retried": counts.retried,
                "stopped": counts.stopped, "released": counts.released, "unknown": counts.unknown, "lost": counts.lost,
            })
        ));
    }
    out.text(&format!(
        "{} done, {} failed, {} to be tried again, {} stopped, {} given back, {} lost to others\n",
        counts.done,
        counts.failed,
        counts.retried,
        counts.stopped,
        counts.released + counts.unknown,
        counts.lost
    ))
}
