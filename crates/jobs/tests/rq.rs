//! python-rq beside us, in both directions: a real Redis, rq of two versions, both serializers, and what jobs can go through.
//!
//! A cell is one thing that can happen to a job, enqueued by one side and run by the other. What cannot be is in the table with
//! its reason, and the table is committed: `rq/matrix.md`. Set `ROPEWALK_WRITE_MATRIX` to write it anew.
//!
//! What rq sends for the common things is committed too, `rq/transcripts`: a version that sends something else is noticed there before it
//! is noticed by a job. Set `ROPEWALK_WRITE_TRANSCRIPTS` to write them anew.
//!
//! rq is installed by the test, into the build directory: it needs `python3` with `venv`, and PyPI once.

#![cfg(unix)]

#[path = "rq/agree.rs"]
mod agree;
#[path = "rq/cells.rs"]
mod cells;
#[path = "rq/peer.rs"]
mod peer;
#[path = "brokers/redis.rs"]
#[allow(dead_code, reason = "of the suite of the brokers, which uses all of it")]
mod redis_server;

use cells::{CELLS, Cell, Direction, House};
use peer::{VERSIONS, venv};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

/// The table as it is committed.
fn table(rows: &[(String, Vec<String>)], heads: &[String]) -> String {
    let mut text = String::from(
        "# Jobs between python-rq and ropewalk\n\nMade by `ROPEWALK_WRITE_MATRIX=1 ci/rq.sh`, and held by it: each `ok` is a test that ran \
         against a real Redis and rq from PyPI.\n\n",
    );
    let mut reasons: Vec<String> = Vec::new();
    let _ = writeln!(text, "| | {} |", heads.join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(heads.len()));
    for (name, cells) in rows {
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| {
                if cell == "ok" {
                    return cell.clone();
                }
                let at = reasons.iter().position(|reason| reason == cell).unwrap_or_else(|| {
                    reasons.push(cell.clone());
                    reasons.len() - 1
                });
                format!("no ({})", at + 1)
            })
            .collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text.push('\n');
    for (at, reason) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}", at + 1);
    }
    text
}

fn every() -> impl Iterator<Item = (Direction, &'static Cell)> {
    [Direction::ToRust, Direction::ToPython]
        .into_iter()
        .flat_map(|direction| CELLS.iter().map(move |cell| (direction, cell)))
        .filter(|(direction, cell)| cell.run(*direction).is_some())
}

/// What one version of rq and one serializer gave.
struct Column {
    cells: Vec<String>,
    failed: Vec<String>,
}

fn column(python: &Path, version: &str, serializer: &str) -> Column {
    let begun = Instant::now();
    let house = House::open(python, version, serializer);
    let mut failed = Vec::new();
    let cells = every()
        .map(|(direction, cell)| {
            match cell.reason(direction, version, serializer).map_or_else(|| run(&house, cell, direction), Ok) {
                Ok(said) => said.to_owned(),
                Err(why) => {
                    failed.push(format!("rq {version}, {serializer}, {}, {}: {why}", direction.words(), cell.name));
                    "FAILED".to_owned()
                }
            }
        })
        .collect();
    if failed.is_empty() {
        house.agree();
    }
    println!("rq {version}, {serializer}: {:.1} s", begun.elapsed().as_secs_f64());
    Column { cells, failed }
}

#[test]
fn every_cell_is_green_or_has_its_reason() {
    // Each pair has a Redis, a Python and a worker of its own, so they go side by side.
    let pairs: Vec<(&str, &str)> =
        VERSIONS.into_iter().flat_map(|version| [(version, "pickle"), (version, "json")]).collect();
    let columns: Vec<Column> = std::thread::scope(|scope| {
        let threads: Vec<_> = pairs
            .iter()
            .map(|(version, serializer)| {
                let python = venv(version);
                scope.spawn(move || column(&python, version, serializer))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let heads: Vec<String> = pairs.iter().map(|(version, serializer)| format!("rq {version}, {serializer}")).collect();
    let rows: Vec<(String, Vec<String>)> = every()
        .enumerate()
        .map(|(row, (direction, cell))| {
            let cells = columns.iter().map(|column| column.cells[row].clone()).collect();
            (format!("{}: {}", direction.words(), cell.name), cells)
        })
        .collect();
    let failed: Vec<&str> = columns.iter().flat_map(|column| &column.failed).map(String::as_str).collect();
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
    let green = rows.iter().flat_map(|row| &row.1).filter(|cell| *cell == "ok").count();
    println!("matrix: {green} green of {}", rows.len() * heads.len());
    let made = table(&rows, &heads);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rq/matrix.md");
    if std::env::var_os("ROPEWALK_WRITE_MATRIX").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(made, committed, "the table is not what ran: look at it, then write it with ROPEWALK_WRITE_MATRIX=1");
}

/// The alarm: our scripts are written after these commands.
#[test]
fn commands_of_rq_are_those_that_were_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rq");
    let write = std::env::var_os("ROPEWALK_WRITE_TRANSCRIPTS").is_some();
    for version in VERSIONS {
        let directory = std::env::temp_dir().join(format!("ropewalk-transcript-{}-{version}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let server = redis_server::Server::start(&directory, &[]);
        let output = std::process::Command::new(venv(version))
            .arg(here.join("transcript.py"))
            .arg(&server.socket)
            .arg(here.join(format!("transcripts/rq-{version}.txt")))
            .args(write.then_some("write"))
            .env("PYTHONPATH", &here)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        drop(server);
        let _ = std::fs::remove_dir_all(&directory);
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(
            output.status.success(),
            "rq {version} sends other commands than the scripts were written after. Look at what changed, at the scripts in \
             src/broker/redis, then write it with ROPEWALK_WRITE_TRANSCRIPTS=1:\n{}",
            said.join("\n")
        );
    }
}

fn run(house: &House, cell: &Cell, direction: Direction) -> Result<&'static str, String> {
    let run = cell.run(direction).expect("only those that are");
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(house).map(|()| "ok"))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}
