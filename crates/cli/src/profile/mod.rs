//! `ropewalk profile`: what a program waits for, and what would help.
//!
//! Collecting and judging are the matter of `ropewalk_profile`; here is what a person sees of it. The report goes to stderr
//! when the program's own output has stdout, and the command ends as the program did.

mod compare;
mod confirm;
mod text;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ropewalk_profile::collect::{self, CollectError, Settings};
use ropewalk_profile::picture::{report, trace};
use ropewalk_profile::recording::{Recording, Status};
use ropewalk_profile::{Judgement, Summary, judge};
use serde::Serialize;

use crate::arguments::duration;
use crate::exit::{self, Expected};
use crate::output::file::{self, Readers};
use crate::output::{Out, wrap};
use confirm::Confirmed;

/// Find out what a program waits for, and what would help.
///
/// Works on any program, in any language, without privileges and without
/// changing it. Linux only.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXAMPLES, verbatim_doc_comment)]
pub struct Options {
    /// Judge a recording that --record wrote, or `compare BEFORE AFTER`
    #[arg(value_name = "FILE", conflicts_with_all = ["pid", "program", "duration", "hz"], num_args = 1..=3)]
    pub file: Vec<PathBuf>,

    /// Watch a process that runs already, and what it has started
    #[arg(long, value_name = "PID", conflicts_with = "program", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// How long to watch: 10, 500ms, 5m; 10 s with --pid, else until it ends
    ///
    /// A program that was started here is asked to end then (SIGTERM). That it
    /// does so is no failure, whatever its status; it is killed if it does not.
    #[arg(long, value_name = "TIME", value_parser = watch_for, verbatim_doc_comment)]
    pub duration: Option<Duration>,

    /// Looks a second, or `auto`: as many as are cheap, up to 100
    #[arg(long, value_name = "HZ", default_value = "auto", value_parser = rate)]
    pub hz: Rate,

    /// Print one JSON object instead of text
    ///
    /// On stdout; the program's own stdout goes to stderr then.
    #[arg(long, verbatim_doc_comment)]
    pub json: bool,

    /// Run the program again, alone and then two of it at once
    ///
    /// Shows whether more of it at once is possible at all. Only for programs
    /// that may run three times; without input, their output is thrown away.
    #[arg(long, requires = "program", verbatim_doc_comment)]
    pub confirm: bool,

    /// Write verdict, lanes and prediction as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write the lanes as trace events, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Write what was seen, to be judged again with `ropewalk profile FILE`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Leave arguments, paths and addresses out of everything written
    #[arg(long)]
    pub redact: bool,

    /// The program and its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

const EXAMPLES: &str = "\
The environment of a program, where secrets are, is never read. Arguments are,
and are written into what --record, --html and --json write; not with --redact.

Examples:
  ropewalk profile -- ./anything --its --arguments
  ropewalk profile --pid 4711 --duration 30
  ropewalk profile --confirm -- python3 crawl.py
  ropewalk profile --json -- python3 crawl.py | jq .verdict.class
  ropewalk profile --record crawl.rwp -- python3 crawl.py
  ropewalk profile crawl.rwp               judge it again, anywhere
  ropewalk profile crawl.rwp --html crawl.html --trace crawl.json
  ropewalk profile compare before.rwp after.rwp";

/// How often to look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Rate {
    /// As often as is cheap.
    #[default]
    Auto,
    /// So many times a second.
    Hz(f64),
}

fn rate(text: &str) -> Result<Rate, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Rate::Auto),
        Ok(hz) if (1.0..=1000.0).contains(&hz) => Ok(Rate::Hz(hz)),
        _ => Err("a number from 1 to 1000, or `auto`".to_owned()),
    }
}

/// Nothing is seen in less.
const DURATION_MIN: Duration = Duration::from_millis(10);
/// What was seen in more would not be held.
const DURATION_MAX: Duration = Duration::from_secs(10 * 86_400);

fn watch_for(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        long if long < DURATION_MIN => Err("shorter than 10ms, in which nothing is seen".to_owned()),
        long if long > DURATION_MAX => Err("longer than ten days".to_owned()),
        long => Ok(long),
    }
}

/// Watching without a limit would be a command that never answers.
const ATTACHED_FOR: Duration = Duration::from_secs(10);

/// Runs the command.
///
/// # Errors
/// Whatever a user can cause, and the end of the program that was profiled: see [`Expected`].
pub fn run(options: &Options) -> Result<(), Expected> {
    let files = [("--record", &options.record), ("--html", &options.html), ("--trace", &options.trace)];
    let compares = options.file.first().is_some_and(|word| word.as_os_str() == "compare");
    for (option, path) in files.iter().filter_map(|(option, path)| Some((option, path.as_ref()?))) {
        if compares {
            return Err(Expected::Usage(format!("{option} is for one recording: `compare` writes text, or --json")));
        }
        file::promise(option, path, Readers::Owner)?;
    }
    let settings = Settings {
        hz: match options.hz {
            Rate::Auto => None,
            Rate::Hz(hz) => Some(hz),
        },
        duration: options.duration.or(options.pid.map(|_| ATTACHED_FOR)),
        stdout_to_stderr: options.json,
    };
    let launched = !options.program.is_empty();
    let mut recording = match (options.file.as_slice(), options.pid) {
        ([word, before, after], _) if word.as_os_str() == "compare" => {
            let (mut before, mut after) = (read(before)?, read(after)?);
            if options.redact {
                before.redact();
                after.redact();
            }
            return compare::run(&before, &after, options.json, Out::detect());
        }
        ([file], _) => read(file)?,
        ([], Some(pid)) => collect::attach(pid, &settings).map_err(refused)?,
        ([], None) if launched => collect::launch(&options.program, &settings).map_err(refused)?,
        _ => {
            return Err(Expected::Usage(
                "what to profile? `ropewalk profile -- PROGRAM ARGUMENT ..`, `--pid PID`, a recording, or `compare BEFORE AFTER`; see `ropewalk profile --help`"
                    .to_owned(),
            ));
        }
    };
    if options.redact {
        recording.redact();
    }
    let judgement = judge(&recording);
    // That a program does what it was asked to is no failure, however it says so; that it had to be killed is one.
    let as_asked = recording.asked_to_end && recording.status != Some(Status::Signal(SIGKILL));
    let status = recording.status.filter(|_| !as_asked);
    let confirmed = options.confirm.then(|| match recording.status {
        Some(Status::Code(0)) => confirm::run(&options.program, Duration::from_nanos(recording.wall_ns)),
        _ => Err(Expected::Process(
            "--confirm: not run again, since the program did not come to a good end by itself".to_owned(),
        )),
    });
    let out = if launched && !options.json { Out::detect_stderr() } else { Out::detect() };
    // First of all: a disk that is full by now takes neither the report nor the program's code.
    let shown = match show(options, &recording, &judgement, confirmed.as_ref().and_then(|c| c.as_ref().ok()), out) {
        // Whoever reads the report does not change how the program ended.
        Err(Expected::ReaderGone) if launched => Ok(()),
        shown => shown,
    };
    let written = write_files(options, &recording, &judgement, out);
    let confirmed = confirmed.transpose().map(drop);
    match status {
        Some(status) if launched && code(status) != 0 => {
            for failed in [shown, written, confirmed].into_iter().filter_map(Result::err) {
                exit::say(&format_args!("error: {failed}"));
            }
            Err(Expected::Passed(code(status)))
        }
        // A reader that went away comes last: it ends well.
        _ => written.and(confirmed).and(shown),
    }
}

/// Writes the files that were asked for, each whether or not another can be written.
fn write_files(options: &Options, recording: &Recording, judgement: &Judgement, out: Out) -> Result<(), Expected> {
    let record = options
        .record
        .as_ref()
        .map(|path| (path, file::write("--record", path, Readers::Owner, |to| recording.write(to))));
    let html = options.html.as_ref().map(|path| {
        (
            path,
            file::write("--html", path, Readers::Owner, |to| {
                to.write_all(report::page(recording, judgement).as_bytes())
            }),
        )
    });
    let trace = options.trace.as_ref().map(|path| {
        (
            path,
            file::write("--trace", path, Readers::Owner, |to| {
                to.write_all(trace::json(recording, &judgement.states).as_bytes())
            }),
        )
    });
    let mut failed = Vec::new();
    for (path, written) in [record, html, trace].into_iter().flatten() {
        match written {
            Ok(()) if options.json => {}
            // The file is there, whoever reads this.
            Ok(()) => drop(out.text(&format!("wrote {}\n", path.display()))),
            Err(e) => failed.push(e.to_string()),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Expected::Unwritable(failed.join("\n"))) }
}

const SIGKILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;

/// What a shell makes of the end of a program.
fn code(status: Status) -> i32 {
    match status {
        Status::Code(code) => code,
        Status::Signal(number) => 128 + number,
    }
}

/// The summary, with what only this command knows.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<&'a Confirmed>,
}

fn show(
    options: &Options,
    recording: &Recording,
    judgement: &Judgement,
    confirmed: Option<&Confirmed>,
    out: Out,
) -> Result<(), Expected> {
    if options.json {
        let shown = Shown { summary: judgement.summary(recording), confirmed };
        let json = serde_json::to_string_pretty(&shown)
            .map_err(|e| Expected::Unwritable(format!("cannot write JSON: {e}")))?;
        return out.text(&(json + "\n"));
    }
    let mut text = text::report(recording, judgement, out);
    if let Some(confirmed) = confirmed {
        text += &format!("\n{}\n", wrap(&confirmed.sentence(), text::WIDTH, 0));
    }
    out.text(&text)
}

fn refused(e: CollectError) -> Expected {
    match &e {
        CollectError::Start(_, why) if why.kind() == ErrorKind::NotFound => Expected::Start(127, e.to_string()),
        CollectError::Start(..) => Expected::Start(126, e.to_string()),
        _ => Expected::Process(e.to_string()),
    }
}

fn read(path: &Path) -> Result<Recording, Expected> {
    let file = File::open(path).map_err(|e| {
        Expected::Unreadable(format!(
            "cannot read {}: {e}; to profile a program, put `--` before it: `ropewalk profile -- {}`",
            path.display(),
            path.display()
        ))
    })?;
    Recording::read(BufReader::new(file)).map_err(|e| {
        Expected::Unreadable(format!(
            "{} {e}; to profile a program, put `--` before it: `ropewalk profile -- {}`",
            path.display(),
            path.display()
        ))
    })
}
