//! `ropewalk jobs`: looks at jobs, and does something about them.

use clap::{Args, Subcommand};
use ropewalk_jobs::broker::{Broker, Control, Filter, Topic};
use ropewalk_jobs::{Failure, Job, JobId, Registry, State};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::{Which, id, refused};
use crate::arguments::duration;
use crate::exit::Expected;
use crate::output::{Out, table};

/// Look at jobs, and do something about them
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    which: Which,

    /// Look again every second, until Ctrl-C: at list, show, queues, workers and logs
    #[arg(long, short, global = true)]
    watch: bool,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// The newest jobs
    List {
        /// Of this queue
        #[arg(long, short)]
        queue: Option<String>,
        /// In this state: waiting, scheduled, ready, leased (it runs), done, failed, stopped or canceled
        #[arg(long, short)]
        state: Option<State>,
        /// So many
        #[arg(long, short, default_value_t = 20)]
        limit: usize,
    },
    /// Everything about one job
    Show {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// What a job returned
    ///
    /// Ends with 10 if the job has not ended, and with 11 if it has and there
    /// is no result.
    #[command(verbatim_doc_comment)]
    Result {
        #[arg(value_parser = id)]
        id: JobId,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
        /// Wait no longer than this: 500ms, 30s, 5m; for ever if not given
        #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
        timeout: Option<Duration>,
    },
    /// What a job has said while it ran; with --watch also what it says from now on, until it has ended
    ///
    /// With --json and --watch each object has what is new, and the last one
    /// the state in which the job ended.
    #[command(verbatim_doc_comment)]
    Logs {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// How many jobs each queue has
    Queues,
    /// The workers that are alive
    Workers,
    /// A job that has not begun never will
    Cancel {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// A job that runs is asked to stop
    Stop {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// A job that failed, was stopped or cancelled runs again
    Requeue {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// A job that does not run is forgotten
    Delete {
        #[arg(value_parser = id)]
        id: JobId,
    },
    /// All jobs of a queue that have not begun are cancelled
    Empty { queue: String },
    /// No worker takes jobs of this queue; without a name, of any
    Suspend { queue: Option<String> },
    /// Workers take them again
    Resume { queue: Option<String> },
    /// Which jobs of python-rq a program could run; writes nothing
    #[cfg(feature = "redis")]
    Audit,
}

const EXAMPLES: &str = "\
An ID is what `ropewalk enqueue` printed, or the first column of `list`.

Examples:
  ropewalk jobs list --state failed
  ropewalk jobs result ID --wait --timeout 5m
  ropewalk jobs logs ID --watch
  ropewalk jobs queues --json --broker sqlite:./jobs.db";

/// Does what the options say.
///
/// # Errors
/// When the queue refuses it or cannot be reached.
pub fn run(options: &Options, registry: &Registry) -> Result<(), Expected> {
    let changes = !matches!(
        options.what,
        What::List { .. } | What::Show { .. } | What::Queues | What::Workers | What::Logs { .. }
    );
    if options.watch && changes {
        return Err(Expected::Usage(
            "--watch looks again and again: use it with list, show, queues, workers or logs".to_owned(),
        ));
    }
    #[cfg(feature = "redis")]
    if matches!(options.what, What::Audit) {
        return super::audit::run(&options.which, registry);
    }
    #[cfg(not(feature = "redis"))]
    let _ = registry;
    let broker = options.which.open_existing()?;
    if let What::Logs { id } = &options.what {
        return logs(&*broker, id, options);
    }
    // On a terminal each look takes the place of the last one.
    let clear = if options.watch && std::io::stdout().is_terminal() { "\u{1b}[H\u{1b}[2J" } else { "" };
    look(&*broker, options, clear)?;
    if options.watch {
        loop {
            ropewalk::sleep(LOOK_EVERY);
            look(&*broker, options, clear)?;
        }
    }
    Ok(())
}

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a job has said, and says.
fn logs(broker: &dyn Broker, id: &JobId, options: &Options) -> Result<(), Expected> {
    let out = Out::detect();
    let mut seen = String::new();
    loop {
        let job = one(broker, id)?;
        let log = broker.logs(id).map_err(refused)?.unwrap_or_default();
        let (new, is_last) = (news(&seen, &log), !options.watch || job.state.is_ended());
        if !options.which.json {
            out.text(new)?;
        } else if is_last || !new.is_empty() {
            out.text(&format!("{}\n", serde_json::json!({ "id": id, "state": job.state, "log": new })))?;
        }
        if is_last {
            return Ok(());
        }
        seen = log;
        ropewalk::sleep(LOOK_EVERY);
    }
}

/// What has come to a log since it was seen. Its beginning may have been cut off, at the end of a line.
fn news<'log>(seen: &str, log: &'log str) -> &'log str {
    let lines = seen.match_indices('\n').map(|(end, _)| end + 1);
    let kept = std::iter::once(0).chain(lines).map(|from| &seen[from..]);
    // The longest that is still there.
    kept.filter_map(|kept| log.strip_prefix(kept)).next().unwrap_or(log)
}

fn look(broker: &dyn Broker, options: &Options, before: &str) -> Result<(), Expected> {
    let out = Out::detect();
    let show = |value: &dyn ErasedJson, text: &dyn Fn() -> String| {
        out.text(&if options.which.json { format!("{}\n", value.json()) } else { format!("{before}{}", text()) })
    };
    let control = match &options.what {
        What::List { queue, state, limit } => {
            let filter = Filter { queue: queue.clone(), state: *state, limit: *limit };
            let jobs = broker.jobs(&filter).map_err(refused)?;
            return show(&jobs, &|| list(&jobs));
        }
        What::Show { id } => {
            let job = one(broker, id)?;
            return show(&job, &|| details(&job));
        }
        What::Result { id, wait, timeout } => {
            let job = if *wait { ended(broker, id, *timeout)? } else { one(broker, id)? };
            return result(&job, options.which.json, out);
        }
        What::Logs { .. } => unreachable!("shown elsewhere"),
        What::Queues => {
            let queues = broker.queues().map_err(refused)?;
            return show(&queues, &|| {
                let rows: Vec<Vec<String>> = queues
                    .iter()
                    .map(|queue| {
                        let name =
                            if queue.suspended { format!("{} (suspended)", queue.queue) } else { queue.queue.clone() };
                        std::iter::once(name).chain(queue.jobs.iter().map(ToString::to_string)).collect()
                    })
                    .collect();
                let head: Vec<&str> = std::iter::once("queue").chain(State::ALL.map(State::word)).collect();
                table::draw(&head, &rows)
            });
        }
        What::Workers => {
            let workers = broker.workers().map_err(refused)?;
            return show(&workers, &|| {
                let rows: Vec<Vec<String>> = workers
                    .iter()
                    .map(|worker| {
                        let load = format!("{}/{}", worker.running, worker.concurrency);
                        vec![worker.id.to_string(), worker.queues.join(","), load, worker.seen.to_string()]
                    })
                    .collect();
                table::draw(&["worker", "queues", "running", "seen"], &rows)
            });
        }
        What::Cancel { id } => Control::Cancel(id.clone()),
        What::Stop { id } => Control::Stop(id.clone()),
        What::Requeue { id } => Control::Requeue(id.clone()),
        What::Delete { id } => Control::Delete(id.clone()),
        What::Empty { queue } => Control::Empty(queue.clone()),
        What::Suspend { queue } => Control::Suspend(queue.clone()),
        What::Resume { queue } => Control::Resume(queue.clone()),
        #[cfg(feature = "redis")]
        What::Audit => unreachable!("it has returned above"),
    };
    let changed = broker.control(&control).map_err(refused)?;
    let value = serde_json::json!({ "changed": changed });
    show(&value, &|| format!("{changed} changed\n"))
}

/// Something that can be shown as JSON.
trait ErasedJson {
    fn json(&self) -> String;
}

impl<T: Serialize> ErasedJson for T {
    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
    }
}

fn one(broker: &dyn Broker, id: &JobId) -> Result<Job, Expected> {
    let job = broker.job(id).map_err(refused)?;
    job.ok_or_else(|| {
        Expected::Queue(format!("there is no job {id}: it never was, or was kept long enough and forgotten"))
    })
}

/// The job once it has ended, or as it is when the time has passed.
fn ended(broker: &dyn Broker, id: &JobId, timeout: Option<Duration>) -> Result<Job, Expected> {
    let start = Instant::now();
    loop {
        let seen = broker.news(Topic::Ended);
        let job = one(broker, id)?;
        let left = timeout.map_or(LOOK_EVERY, |timeout| timeout.saturating_sub(start.elapsed()));
        if job.state.is_ended() || left.is_zero() {
            return Ok(job);
        }
        broker.wait(Topic::Ended, seen, left.min(LOOK_EVERY));
    }
}

/// What became of a job, as JSON.
#[derive(Serialize)]
struct Became<'a> {
    id: &'a JobId,
    state: State,
    result: Option<&'a RawValue>,
    failure: Option<&'a Failure>,
}

/// What a job returned; as JSON also what else became of it.
fn result(job: &Job, json: bool, out: Out) -> Result<(), Expected> {
    let (id, state) = (&job.id, job.state);
    if json {
        // As it was written: a parsed number might not be the same any more.
        let returned = job.result.as_deref().map(serde_json::from_str::<&RawValue>).transpose();
        let returned = returned.map_err(|e| Expected::Queue(format!("the result of job {id} is no JSON: {e}")))?;
        let became = Became { id, state, result: returned, failure: job.failure.as_ref() };
        out.text(&format!("{}\n", became.json()))?;
    }
    match (&job.result, &job.failure) {
        (Some(_), _) if state == State::Done && json => Ok(()),
        (Some(result), _) if state == State::Done => out.text(&format!("{result}\n")),
        (_, Some(failure)) if state.is_ended() => Err(Expected::NoResult(format!("job {id} is {state}: {failure}"))),
        _ if state.is_ended() => Err(Expected::NoResult(format!("job {id} has no result: it is {state}"))),
        _ => Err(Expected::NotEnded(format!("job {id} has no result yet: it is {state}"))),
    }
}

fn list(jobs: &[Job]) -> String {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let news = match (&job.progress, &job.failure) {
                (Some(progress), _) if !job.state.is_ended() => {
                    format!("{:.0} % {}", progress.done * 100.0, progress.message)
                }
                (_, Some(failure)) => failure.to_string().lines().next().unwrap_or("").chars().take(60).collect(),
                _ => String::new(),
            };
            vec![job.id.to_string(), job.state.to_string(), job.queue.clone(), job.task.clone(), news]
        })
        .collect();
    table::draw(&["job", "state", "queue", "task", ""], &rows)
}

fn details(job: &Job) -> String {
    let mut rows = vec![
        ("job", job.id.to_string()),
        ("state", job.state.to_string()),
        ("queue", job.queue.clone()),
        ("task", job.task.clone()),
        ("arguments", job.payload.clone()),
        ("enqueued", job.enqueued.to_string()),
    ];
    let mut maybe = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    maybe("due", job.due.map(|time| time.to_string()));
    maybe("waits for", (job.waits_for > 0).then(|| format!("{} job(s)", job.waits_for)));
    maybe("started", job.started.map(|time| time.to_string()));
    maybe("worker", job.worker.as_ref().map(ToString::to_string));
    maybe("ended", job.ended.map(|time| time.to_string()));
    maybe("failures", (job.failures > 0).then(|| job.failures.to_string()));
    maybe("crashes", (job.crashes > 0).then(|| job.crashes.to_string()));
    maybe("progress", job.progress.as_ref().map(|at| format!("{:.0} % {}", at.done * 100.0, at.message)));
    maybe("failure", job.failure.as_ref().map(ToString::to_string));
    maybe("result", job.result.clone());
    maybe("meta", job.options.meta.as_ref().map(ToString::to_string));
    rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_whose_beginning_was_cut_off_only_the_rest_is_news() {
        assert_eq!(news("", "one\n"), "one\n");
        assert_eq!(news("one\n", "one\ntwo\n"), "two\n");
        assert_eq!(news("one\n", "one\n"), "");
        assert_eq!(news("one\ntwo\nthree\n", "two\nthree\nfour\n"), "four\n");
        assert_eq!(news("one\none\n", "one\none\none\n"), "one\n");
        // Nothing of it is left.
        assert_eq!(news("one\ntwo\n", "five\nsix\n"), "five\nsix\n");
    }
}
