//! `ropewalk-bench`: ropewalk beside its peers, in one run, round by round.
//!
//! | file | role |
//! | --- | --- |
//! | `main` | the command line |
//! | `harness` | rounds, and which samples count |
//! | `measure` | clocks, pinned threads, calibrated work |
//! | `suites/` | one file a work or a family of works; `ours.rs` holds our side, the other files the peers |
//! | `peer` | systems that run as a process of their own, and how they are asked |
//! | `external`, `install` | peers in other languages |
//! | `limits` | what we promised |
//! | `report` | JSON lines, tables, Markdown |
//! | `watchdog` | ends a run that hangs |
//!
//! Exit status: 0 when everything was measured (lost rows too), 2 for a wrong command line or a missing language,
//! 3 for a sample that hung, 101 for a system that gave a wrong result.

mod external;
mod harness;
mod install;
mod limits;
mod measure;
mod peer;
mod report;
mod suites;
mod watchdog;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use external::Language;
use harness::{Effort, Row, Work, is_of, names};
use watchdog::Watchdog;

/// The exit status of a run in which a system gave a wrong result.
const EXIT_WRONG: i32 = 101;
const ROUNDS_FULL: usize = 9;
const ROUNDS_QUICK: usize = 5;

const USAGE: &str = "\
usage: ropewalk-bench SUITE… [options]

suites: sync pool sizing greenlet process subprocess jobs profile

  --json             one JSON object a line instead of tables
  --work NAME        only this work, this row of one (`echo.50.p99`), or this family (`queue`); may be repeated
  --rounds N         rounds to take the median of (9; with --quick 5)
  --quick            short samples: every work in a few seconds, wider spread
  --with LIST        peers in other languages: go,python,node (redis has no peer in these suites). Go and, for works
                     among greenlets, gevent and uvloop, and for jobs rq are installed from PyPI, and BullMQ for jobs from
                     npm, beside this program when they are missing. Those for jobs need a redis-server
  --systems LIST     only these systems, e.g. ropewalk,std,kanal
  --markdown FILE    also rewrite the marked section of each suite in FILE (whole suites only)
  --svg DIR          with suite sizing alone: instead of measuring, runs each of its eight jobs once on a pool that sizes itself
                     and draws into DIR how it found its size
  --list             the names of all works and systems

for scripts (instructions.sh):
  --strands SYSTEM                     answers `WORK quick|full|COUNT` on its input, for systems of suite greenlet
  --load PORT CONNECTIONS REQUESTS     the client of the echo works, until it has that many answers
  --job-worker ADDRESS N burst|serve   a worker of suite jobs, when it is told to begin
  --profiled KIND AMOUNT FILE          a program of suite profile, which writes what its own clocks say
  --profile PROGRAM ARGUMENT ..        watches a program, and prints what was found as JSON";

#[derive(Debug, Default)]
struct Args {
    suites: Vec<String>,
    json: bool,
    works: Vec<String>,
    rounds: Option<usize>,
    quick: bool,
    with: Vec<Language>,
    systems: Vec<String>,
    markdown: Option<PathBuf>,
    svg: Option<PathBuf>,
    list: bool,
}

fn main() -> ExitCode {
    // The workers of ours and of a peer are this binary, started once more.
    #[cfg(feature = "ours")]
    ropewalk::init();
    procspawn::init();
    end_at_the_first_panic();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--strands", system] => suites::answer_for(system),
        ["--load", port, connections, requests] => suites::load(port, connections, requests),
        #[cfg(feature = "ours")]
        ["--job-worker", address, concurrency, how] => suites::work_as_told(address, concurrency, how),
        #[cfg(all(feature = "ours", target_os = "linux"))]
        ["--profiled", kind, amount, file] => suites::run_target(kind, amount, file),
        #[cfg(all(feature = "ours", target_os = "linux"))]
        ["--profile", ref program @ ..] => suites::watch(program),
        _ => measure_all(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ropewalk-bench: {message}");
            ExitCode::from(2)
        }
    }
}

fn measure_all(words: &[&str]) -> Result<(), String> {
    match parse(words.iter().map(|&word| word.to_owned()))? {
        Some(Args { svg: Some(directory), .. }) => draw(&directory),
        Some(args) => run(&args),
        None => Ok(()),
    }
}

/// A wrong result ends the run at once: the thread that found it has a partner that would wait for it for ever.
fn end_at_the_first_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(EXIT_WRONG);
    }));
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => args.json = true,
            "--quick" => args.quick = true,
            "--list" => args.list = true,
            "--work" => args.works.push(value()?),
            "--rounds" => {
                let text = value()?;
                let rounds = text.parse().ok().filter(|&rounds| rounds > 0);
                args.rounds = Some(rounds.ok_or_else(|| format!("--rounds wants a count above 0, not {text:?}"))?);
            }
            "--with" => {
                for name in value()?.split(',') {
                    let language = Language::parse(name);
                    args.with.push(
                        language.ok_or_else(|| format!("--with knows go, python, node and redis, not {name:?}"))?,
                    );
                }
            }
            "--systems" => args.systems.extend(value()?.split(',').map(str::to_owned)),
            "--markdown" => args.markdown = Some(value()?.into()),
            "--svg" => args.svg = Some(value()?.into()),
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            suite if suites::NAMES.contains(&suite) => args.suites.push(word),
            _ => {
                return Err(format!("{word:?} is neither a suite nor an option\n\n{USAGE}"));
            }
        }
    }
    if args.suites.is_empty() && !args.list {
        return Err(format!("which suite?\n\n{USAGE}"));
    }
    if args.markdown.is_some() && !(args.works.is_empty() && args.systems.is_empty()) {
        return Err("--markdown writes whole suites, so that no lost row is left out: drop --work and --systems".into());
    }
    if args.svg.is_some() && args.suites != ["sizing"] {
        return Err("--svg draws the jobs of suite sizing: name that suite, and no other".into());
    }
    Ok(Some(args))
}

#[cfg(feature = "ours")]
fn draw(directory: &Path) -> Result<(), String> {
    suites::curves::draw(directory)
}

#[cfg(not(feature = "ours"))]
fn draw(_: &Path) -> Result<(), String> {
    Err("--svg draws a pool of ours, which this build is without: build with feature ours".into())
}

fn run(args: &Args) -> Result<(), String> {
    let chosen = if args.suites.is_empty() { suites::NAMES.map(str::to_owned).to_vec() } else { args.suites.clone() };
    let mut works: Vec<Work> = chosen.iter().flat_map(|suite| suites::works(suite)).collect();
    let there_are: Vec<&str> = works.iter().flat_map(Work::heads).collect();
    for wanted in &args.works {
        let means = |work: &Work| is_of(work.name, wanted) || work.rows().any(|row| is_of(row, wanted));
        if !works.iter().any(means) {
            return Err(format!("no work {wanted:?} here; there are: {}", there_are.join(" ")));
        }
    }
    let mut known: Vec<&str> = works.iter().flat_map(|work| work.systems()).collect();
    if !args.works.is_empty() {
        works.retain_mut(|work| work.keep_rows(&args.works));
    }
    for &language in &args.with {
        if !external::join(language, &mut works)? {
            eprintln!("# {language:?} has no peer in these suites");
        }
    }
    if !args.systems.is_empty() {
        known.extend(works.iter().flat_map(|work| work.systems()));
        known.sort_unstable();
        known.dedup();
        if let Some(wanted) = args.systems.iter().find(|wanted| !known.iter().any(|name| names(name, wanted))) {
            return Err(format!("no system {wanted:?} in these suites; there are: {}", known.join(" ")));
        }
        works.iter_mut().for_each(|work| work.keep(&args.systems));
    }
    works.retain(|work| !work.systems().is_empty());
    if args.list {
        for work in &works {
            for head in work.heads() {
                println!("{} {head}: {}", work.suite, work.systems().join(" "));
            }
        }
        return Ok(());
    }

    let rounds = args.rounds.unwrap_or(if args.quick { ROUNDS_QUICK } else { ROUNDS_FULL });
    let conditions = conditions(rounds, args.quick);
    eprintln!("# {conditions}");
    let watchdog = Watchdog::start();
    let mut all: Vec<Row> = Vec::new();
    for work in works {
        let rows = work.measure(rounds, Effort::new(args.quick), &watchdog);
        let mut text = String::new();
        if args.json {
            for row in &rows {
                let _ = writeln!(text, "{}", report::json(row));
            }
        } else {
            text = report::table(&rows);
        }
        // A closed pipe (`| head`) is no error of ours, but there is nobody left to measure for.
        if std::io::stdout().write_all(text.as_bytes()).is_err() && args.markdown.is_none() {
            return Ok(());
        }
        all.extend(rows);
    }
    if let Some(file) = &args.markdown {
        report::rewrite_markdown(file, &all, &conditions).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// When, on what machine and how.
fn conditions(rounds: usize, quick: bool) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let system = rustix::system::uname();
    format!(
        "{}, {} cores ({:.2} effective at the start), {}, {} {}; {rounds} rounds{}",
        today(),
        measure::cores(),
        measure::effective_cores(Duration::from_millis(100)),
        cpu.unwrap_or_else(|| "unknown CPU".into()),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        if quick { ", quick" } else { "" }
    )
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The date of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        parse(line.split_whitespace().map(str::to_owned)).map(|args| args.expect("not --help"))
    }

    #[test]
    fn line_with_everything() {
        let args = parsed("sync pool --json --work queue --rounds 3 --quick --with go,python --systems a,b").unwrap();
        assert_eq!(args.suites, ["sync", "pool"]);
        assert!(args.json && args.quick);
        assert_eq!((args.works, args.rounds), (vec!["queue".to_owned()], Some(3)));
        assert_eq!(args.with, [Language::Go, Language::Python]);
        assert_eq!(args.systems, ["a", "b"]);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "synk",
            "sync --rounds 0",
            "sync --with cobol",
            "sync --work",
            "pool --markdown F --work x",
            "pool --svg D",
        ] {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_514), (2026, 3, 2));
    }

    #[test]
    fn every_limit_names_a_row_that_exists() {
        for (suite, limits) in limits::LIMITS {
            let works = suites::works(suite);
            for limit in *limits {
                assert!(works.iter().any(|work| work.rows().any(|row| row == limit.work)), "{suite}: {}", limit.work);
            }
        }
    }
}
