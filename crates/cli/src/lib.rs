//! The `ropewalk` command as a library: it reads the arguments and hands over to the command they name.
//!
//! One command a file or folder ([`lab`], [`profile`], those of the job queue with the feature `jobs`); what a person reads goes through [`output`]; only [`exit`] ends the process.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod exit;
#[cfg(all(unix, feature = "jobs"))]
pub mod jobs;
pub mod lab;
pub mod output;
#[cfg(target_os = "linux")]
pub mod profile;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use exit::Expected;

/// Find the bottleneck, and see what concurrency is worth on this machine.
#[derive(Debug, Parser)]
#[command(name = "ropewalk", version, arg_required_else_help = true, disable_help_subcommand = true, after_help = exit::CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Lab(lab::Options),
    #[cfg(all(unix, feature = "jobs"))]
    Enqueue(jobs::enqueue::Options),
    #[cfg(all(unix, feature = "jobs"))]
    Worker(jobs::worker::Options),
    #[cfg(all(unix, feature = "jobs"))]
    Jobs(jobs::manage::Options),
    #[cfg(target_os = "linux")]
    Profile(profile::Options),
    /// What the lab starts for each row, for its server and for its measurements.
    #[command(name = lab::child::SUBCOMMAND, hide = true)]
    Child {
        role: lab::child::Role,
    },
}

/// Does what the arguments say; the first of them is the program's own name.
///
/// The lab starts the current executable again, with a hidden command, for everything that it measures: a program other
/// than `ropewalk` that calls this must pass its own arguments on unchanged.
///
/// # Errors
/// Whatever a user can cause; [`exit::with`] turns it into a message and an exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Expected> {
    run_with(
        arguments,
        #[cfg(all(unix, feature = "jobs"))]
        ropewalk_jobs::Registry::new(),
    )
}

/// The whole command as the `main` of a program of your own, whose worker knows these tasks.
///
/// ```no_run
/// #[ropewalk::task]
/// fn thumb(path: String) -> u64 {
///     path.len() as u64
/// }
///
/// fn main() {
///     ropewalk_cli::main(ropewalk_jobs::Registry::new().with::<thumb>()) // `mine worker`, `mine jobs list` ..
/// }
/// ```
#[cfg(all(unix, feature = "jobs"))]
pub fn main(registry: ropewalk_jobs::Registry) -> ! {
    exit::with(run_with(std::env::args_os(), registry))
}

fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    #[cfg(all(unix, feature = "jobs"))] registry: ropewalk_jobs::Registry,
) -> Result<(), Expected> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // `--help` and `--version` are errors to clap, and answers to whoever asked.
        Err(e) if !e.use_stderr() => return output::Out::detect().text(&e.render().to_string()),
        Err(e) => return Err(misunderstood(&e)),
    };
    // Not those that run jobs: a job that panics is no bug of ours.
    if !arguments.command.runs_work_of_others() {
        exit::on_panic();
    }
    match arguments.command {
        Command::Lab(options) => lab::run(&options),
        #[cfg(all(unix, feature = "jobs"))]
        Command::Enqueue(options) => jobs::enqueue::run(&options),
        #[cfg(all(unix, feature = "jobs"))]
        Command::Worker(options) => jobs::worker::run(&options, registry),
        #[cfg(all(unix, feature = "jobs"))]
        Command::Jobs(options) => jobs::manage::run(&options, &registry),
        #[cfg(target_os = "linux")]
        Command::Profile(options) => profile::run(&options),
        Command::Child { role } => lab::child::play(role),
    }
}

impl Command {
    fn runs_work_of_others(&self) -> bool {
        match self {
            Command::Child { .. } => true,
            #[cfg(all(unix, feature = "jobs"))]
            Command::Worker(_) => true,
            _ => false,
        }
    }
}

/// What clap says, and what it cannot know.
fn misunderstood(error: &clap::Error) -> Expected {
    let text = error.render().to_string().trim_end().to_owned();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Expected::Help(text);
    }
    let feature = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => match name.as_str() {
            "enqueue" | "worker" | "jobs" if cfg!(all(unix, not(feature = "jobs"))) => Some("jobs"),
            "audit" if cfg!(all(feature = "jobs", not(feature = "redis"))) && text.contains("ropewalk jobs") => {
                Some("redis")
            }
            _ => None,
        },
        _ => None,
    };
    Expected::Usage(match feature {
        Some(feature) => format!(
            "{text}\n\nThis program was built without it; it needs the feature `{feature}` of ropewalk-cli, as in `cargo build \
             --release -p ropewalk-cli --features {feature}`"
        ),
        None => text,
    })
}
