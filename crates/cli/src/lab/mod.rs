//! `ropewalk lab`: the two experiments of every concurrency course, and one that is half of each, on real work, on this
//! machine.
//!
//! [`experiment`] says what the work is and what its results must be, [`model`] how it can be run, [`row`] runs one model
//! in a process of its own and checks every result, [`verdict`] puts the figures into words, [`report`] shows them. The
//! units themselves report start, end, waits and thread ([`work`]); nothing else is believed about time.

pub mod child;
pub mod cores;
pub mod crash;
pub mod experiment;
pub mod model;
pub mod python;
pub mod report;
pub mod row;
pub mod server;
pub mod sizing;
pub mod usage;
pub mod verdict;
pub mod work;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::exit::Expected;
use crate::output::Out;
use crate::output::file::{self, Readers};
use child::Role;
use cores::Spin;
use experiment::{Experiment, Inputs};
use model::Switching;
use report::{Machine, Report, Section};
use row::{Request, Row};

/// Run I/O-bound and CPU-bound work on each model, and compare.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Fetch these URLs instead of the lab's own server
    ///
    /// 160 GETs spread over them. Each is fetched twice beforehand: later
    /// answers must be a success, complete, and equal to the first two if
    /// these were equal. https:// needs a build with the feature `tls`.
    #[arg(long, value_name = "URL", num_args = 1.., verbatim_doc_comment)]
    pub url: Vec<String>,

    /// Hash each file in DIR (SHA-256) instead of summing squares
    #[arg(long, value_name = "DIR")]
    pub files: Option<PathBuf>,

    /// Add rows of another language's own models
    ///
    /// python: sequential, threading, asyncio and multiprocessing, with the
    /// standard library only, of the python3 on the search path. Their
    /// speedup is against python's own sequential row.
    #[arg(long, value_name = "WHOM", value_enum, value_delimiter = ',', verbatim_doc_comment)]
    pub with: Vec<With>,

    /// Add the row jobs-redis: a job for each unit, on this Redis
    ///
    /// redis://HOST:PORT/DB or rediss://…, as for `ropewalk worker`; without
    /// an address the one in RQ_REDIS_URL, which keeps a password out of the
    /// command line. All keys of it begin with rq:trial- and are removed
    /// afterwards, if the user of the address may SCAN and UNLINK. Needs a
    /// build with the feature `redis`.
    #[arg(long, value_name = "BROKER", num_args = 0..=1, default_missing_value = "", verbatim_doc_comment)]
    pub broker: Option<String>,

    /// Add a third experiment: work that waits half of its time
    #[arg(long)]
    pub mixed: bool,

    /// Run one of the experiments
    #[arg(long, value_name = "WHICH", value_enum)]
    pub only: Option<Only>,

    /// Less work: end in under 10 seconds, with a wider spread
    #[arg(long)]
    pub quick: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// Write everything as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write io-bound.svg, cpu-bound.svg ..: what each worker did when
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,

    /// Show how a pool sizes itself, and why, instead of the comparison
    ///
    /// Runs the experiments on a pool about which nothing is said and prints
    /// each change of its size with the reason; with --svg DIR the curves as
    /// sizing-io-bound.svg and sizing-cpu-bound.svg, with --json as numbers.
    #[arg(long, conflicts_with_all = ["with", "html", "broker"], verbatim_doc_comment)]
    pub explain_sizing: bool,

    /// Show how many results each model loses to crashes, instead
    ///
    /// Runs 100 sums on every model, two of which end their process by a
    /// segmentation fault.
    #[arg(long, conflicts_with_all = ["with", "html", "svg", "mixed", "only", "url", "files", "explain_sizing", "broker"], verbatim_doc_comment)]
    pub crash: bool,

    /// Make one result wrong, to prove that the lab notices
    #[arg(long, value_enum, hide = true)]
    pub fault: Option<Fault>,
}

const EXAMPLES: &str = "\
Columns: switch = who decides to switch; procs = processors kept busy at once;
ideal = share of the best speedup there can be; flight = most units in flight at
once; MiB = peak memory of the row's own process (or processes).

Examples:
  ropewalk lab                             the whole tour, about 25 seconds
  ropewalk lab --quick --with python       beside CPython, in a few seconds
  ropewalk lab --svg . --html lab.html     pictures of who did what when
  ropewalk lab --mixed                     and work that is half of each
  ropewalk lab --explain-sizing --svg .    how a pool finds its size
  ropewalk lab --crash                     what a crash costs each model
  ropewalk lab --only io --url http://intranet/status
  ropewalk lab --only cpu --files ~/photos
  ropewalk lab --json | jq '.experiments[].rows[] | {model, speedup}'";

/// Whose rows `--with` adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum With {
    /// CPython.
    Python,
}

/// Which experiment `--only` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// The one that waits.
    Io,
    /// The one that computes.
    Cpu,
    /// The one that does both.
    Mixed,
}

/// What the hidden `--fault` makes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A byte of one body.
    WrongBody,
    /// One sum.
    WrongSum,
}

impl Options {
    /// What was asked for.
    fn experiments(&self) -> impl Iterator<Item = Only> + use<> {
        let (only, mixed) = (self.only, self.mixed);
        let asked = move |which: &Only| only.map_or(mixed || *which != Only::Mixed, |only| only == *which);
        [Only::Io, Only::Cpu, Only::Mixed].into_iter().filter(asked)
    }
}

/// Runs the lab.
///
/// # Errors
/// Whatever a user can cause: see [`Expected`]. A wrong result is printed with all others, and is an error nevertheless.
pub fn run(options: &Options) -> Result<(), Expected> {
    check(options)?;
    let broker = options.broker.as_deref().map(find_broker).transpose()?;
    child::watch_for_interrupts()?;
    let inputs = Inputs::check(options)?;
    let python = match options.with.contains(&With::Python) {
        true => Some(python::Python::find()?),
        false => None,
    };
    let out = Out::detect();
    let calibration = experiment::calibrate(options.quick)?;
    if options.explain_sizing {
        return sizing::run(options, &inputs, calibration, out);
    }
    if options.crash {
        return crash::run(options, calibration, out);
    }
    let mut spins = Spins { bound: calibration.bound / 2, seen: Vec::new() };

    let mut reader = Ok(());
    let mut ran: Vec<(Experiment, Vec<Row>, f64)> = Vec::new();
    for which in options.experiments() {
        let mut experiment = Experiment::new(which, options, &inputs, calibration, python.as_ref())?;
        let mut rows = measure(&experiment, broker.as_deref(), python.as_ref(), &mut spins)?;
        experiment.close();
        let ideal = experiment.ideal(cores::median(&spins.seen));
        compare(&mut rows, ideal);
        if !options.json && reader.is_ok() {
            reader = out.text(&section(&experiment, &rows, ideal).text(out));
            // Files are for somebody else.
            if options.html.is_none() && options.svg.is_none() {
                reader.clone()?;
            }
        }
        ran.push((experiment, rows, ideal));
    }
    if spins.seen.is_empty() {
        for _ in 0..3 {
            spins.measure()?;
        }
    }

    let effective_cores = cores::median(&spins.seen);
    let rows_of = |name| ran.iter().find(|(e, ..)| e.name == name).map(|(_, rows, _)| rows.as_slice());
    let report = Report {
        version: 1,
        machine: Machine::here(effective_cores, python.map(|p| p.version)),
        experiments: ran.iter().map(|(experiment, rows, ideal)| section(experiment, rows, *ideal)).collect(),
        claims: verdict::claims(verdict::Seen { io: rows_of("io-bound"), cpu: rows_of("cpu-bound"), effective_cores }),
    };
    let written = write_files(options, &report);
    // Last of all, so that neither a lost file nor a wrong result ends as well as a reader that went away.
    let presented = written.and_then(|written| reader.and_then(|()| present(options, &report, &written, out)));

    let failures: Vec<&str> =
        ran.iter().flat_map(|(_, rows, _)| rows).flat_map(|r| &r.failures).map(String::as_str).collect();
    match failures.as_slice() {
        [] => presented,
        all => Err(Expected::Wrong(format!(
            "results were wrong or lost, so no figure above can be trusted:\n  {}",
            all.join("\n  ")
        ))),
    }
}

/// What can be said before anything takes time.
fn check(options: &Options) -> Result<(), Expected> {
    let for_one = [
        ("--url is for the I/O-bound experiment", !options.url.is_empty(), Only::Io),
        ("--files is for the CPU-bound experiment", options.files.is_some(), Only::Cpu),
        ("--mixed adds an experiment", options.mixed, Only::Mixed),
    ];
    for (what, given, which) in for_one {
        if let Some(only) = options.only.filter(|only| given && *only != which) {
            let only = only.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            return Err(Expected::Usage(format!(
                "{what}, and --only {only} leaves it out; leave one of them away, or see `ropewalk lab --help`"
            )));
        }
    }
    if let Some(directory) = &options.svg {
        std::fs::create_dir_all(directory).map_err(|e| file::refused("--svg", directory, &e))?;
    }
    if let Some(page) = &options.html {
        file::promise("--html", page, Readers::AsUsual)?;
    }
    Ok(())
}

/// The address of the Redis that `--broker` names, or the environment, and at which there is one.
#[cfg(all(unix, feature = "redis"))]
fn find_broker(named: &str) -> Result<String, Expected> {
    let url = if named.is_empty() { crate::arguments::redis_url() } else { Some(named.to_owned()) };
    let url = url.ok_or_else(|| {
        Expected::Usage("--broker without an address means RQ_REDIS_URL, which is not set".to_owned())
    })?;
    ropewalk_jobs::RedisBroker::open(&url).map_err(|error| Expected::Queue(error.to_string()))?;
    Ok(url)
}

#[cfg(not(all(unix, feature = "redis")))]
fn find_broker(_: &str) -> Result<String, Expected> {
    Err(Expected::Usage(
        "this program was built without Redis: build it with `--features redis`, as in \
         `cargo run --release -p ropewalk-cli --features redis -- lab --broker redis://127.0.0.1/`"
            .to_owned(),
    ))
}

/// How many processors there were, measured again and again beside the rows.
struct Spins {
    bound: u64,
    seen: Vec<Spin>,
}

impl Spins {
    fn measure(&mut self) -> Result<(), Expected> {
        self.seen.push(child::ask(Role::Spin, &self.bound)?);
        Ok(())
    }
}

fn measure(
    experiment: &Experiment,
    broker: Option<&str>,
    python: Option<&python::Python>,
    spins: &mut Spins,
) -> Result<Vec<Row>, Expected> {
    let mut rows = Vec::new();
    let mut beside = || if experiment.computes() { spins.measure() } else { Ok(()) };
    let elsewhere = broker.and_then(model::elsewhere);
    let models = model::all().iter().filter(|model| experiment.suits(**model)).map(|model| (*model, None));
    for (model, broker) in models.chain(elsewhere.as_deref().map(|model| (model, broker.map(str::to_owned)))) {
        beside()?;
        let request = Request { model: model.name().to_owned(), units: experiment.units.clone(), broker };
        let command = Role::Row.command()?;
        rows.push(row::run(command, experiment, model.name(), &request, model.switching(), &experiment.expected)?);
    }
    if let Some(python) = python {
        let own = experiment.for_python.as_ref();
        let (units, expected) = own.map_or((&experiment.units, &experiment.expected), |(u, e)| (u, e));
        for (model, switching) in python::MODELS {
            beside()?;
            let request = Request { model: model.to_owned(), units: units.clone(), broker: None };
            let name = format!("{}{model}", python::PREFIX);
            rows.push(
                row::run(python.command(), experiment, &name, &request, switching, expected).map_err(python::blame)?,
            );
        }
    }
    beside()?;
    Ok(rows)
}

/// Every row against the sequential one of its language.
fn compare(rows: &mut [Row], ideal: f64) {
    let mut reference_s = 0.0;
    for row in rows.iter_mut() {
        if row.figures.switching == Switching::None {
            reference_s = row.figures.wall_s;
        }
        row.compare(reference_s, ideal);
    }
    // What the profile predicted from the reference alone, beside what came of it.
    let walls: Vec<(String, f64)> = rows.iter().map(|r| (r.figures.model.clone(), r.figures.wall_s)).collect();
    for predicted in rows.iter_mut().filter_map(|r| r.seen.as_mut()).flat_map(|seen| &mut seen.predicted) {
        predicted.measured_s = walls.iter().find(|(model, _)| *model == predicted.model).map(|(_, wall)| *wall);
    }
}

fn section<'a>(experiment: &'a Experiment, rows: &'a [Row], ideal: f64) -> Section<'a> {
    Section {
        name: experiment.name,
        unit_of_work: experiment.unit_of_work.clone(),
        ideal_speedup: ideal,
        verdict: verdict::sentence(experiment.name, rows, ideal),
        profile: rows.iter().find_map(|r| r.seen.as_ref()),
        rows: rows.iter().map(|r| &r.figures).collect(),
        title: experiment.title,
        full: rows,
        notes: &experiment.notes,
    }
}

/// Writes what was asked for, each whether or not another can be written; says where.
fn write_files(options: &Options, report: &Report<'_>) -> Result<Vec<String>, Expected> {
    let svgs = options.svg.as_ref().map_or(Ok(Vec::new()), |directory| report.write_svgs(directory));
    let page = options.html.as_ref().map(|file| report.write_html(file).map(|()| file.display().to_string()));
    let mut written = svgs?;
    written.extend(page.transpose()?);
    Ok(written)
}

fn present(options: &Options, report: &Report<'_>, written: &[String], out: Out) -> Result<(), Expected> {
    if options.json {
        let json = serde_json::to_string_pretty(report)
            .map_err(|e| Expected::Unwritable(format!("cannot write JSON: {e}")))?;
        return out.text(&(json + "\n"));
    }
    let mut text = report::claims_text(&report.claims, out) + "\n" + &report.machine_text(out);
    for path in written {
        text += &format!("wrote {path}\n");
    }
    out.text(&text)
}
