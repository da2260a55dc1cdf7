//! A system that runs as a process of its own: this binary again, or a program in another language.
//!
//! # Protocol
//!
//! A line in, a line out. `works SUITE` is answered by the names it can do; `WORK EFFORT` by `ok VALUE CORES
//! [NAME=VALUE]…` (the value in the work's unit, the CPU per wall of the sample, the figures of its further rows) or by
//! `error TEXT`. The effort is `full`, `quick`, or a number: just that many operations. A work that serves (`echo.N`) is
//! answered by `port N` once it listens. The peer takes its own clocks inside its own process, so starting it costs no
//! sample anything. It ends when its input ends.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::{Effort, Sample};

/// How a peer is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name in the tables.
    pub system: &'static str,
    file: PathBuf,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Program {
    /// A program without arguments.
    pub fn new(system: &'static str, file: impl Into<PathBuf>) -> Program {
        Program { system, file: file.into(), args: Vec::new(), env: Vec::new() }
    }

    /// With an argument more.
    pub fn arg(mut self, arg: impl Into<String>) -> Program {
        self.args.push(arg.into());
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Program {
        self.env.push((name, value.into()));
        self
    }

    /// Starts it.
    pub fn start(&self) -> Result<Peer, String> {
        let mut command = Command::new(&self.file);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {}: {error}", self.system, self.file.display()))?;
        let ask = child.stdin.take();
        let answer = BufReader::new(child.stdout.take().expect("stdout was piped"));
        Ok(Peer { system: self.system, child, ask, answer })
    }

    /// The works of `suite` that it knows.
    pub fn works(&self, suite: &str) -> Result<Vec<String>, String> {
        self.start()?.works(suite)
    }

    /// A sample from a process that is started for it and has ended when this returns.
    pub fn sample(&self, work: &'static str, effort: Effort) -> Sample {
        self.start().and_then(|mut peer| peer.sample(work, effort)).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    /// The name in the tables.
    pub system: &'static str,
    child: Child,
    ask: Option<ChildStdin>,
    answer: BufReader<ChildStdout>,
}

impl Peer {
    /// Sends a line and returns the one that answers.
    pub fn request(&mut self, line: &str) -> Result<String, String> {
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

    /// The works of `suite` that it knows.
    pub fn works(&mut self, suite: &str) -> Result<Vec<String>, String> {
        Ok(self.request(&format!("works {suite}"))?.split_whitespace().map(str::to_owned).collect())
    }

    /// A sample.
    pub fn sample(&mut self, work: &str, effort: Effort) -> Result<Sample, String> {
        let reply = self.request(&format!("{work} {}", word(effort)))?;
        parse(&reply).ok_or_else(|| format!("{} peer at {work}: {reply}", self.system))
    }

    /// The port at which it serves `work`.
    pub fn serve(&mut self, work: &str) -> Result<u16, String> {
        let reply = self.request(&format!("{work} full"))?;
        let port = reply.strip_prefix("port ").and_then(|port| port.parse().ok());
        port.ok_or_else(|| format!("{} peer at {work}: {reply}", self.system))
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}

/// The effort as a word of the protocol.
fn word(effort: Effort) -> String {
    match effort {
        Effort { exactly: Some(count), .. } => count.to_string(),
        Effort { quick: true, .. } => "quick".into(),
        Effort { quick: false, .. } => "full".into(),
    }
}

/// The effort that a word of the protocol means.
pub fn effort(word: &str) -> Option<Effort> {
    match word {
        "full" => Some(Effort::new(false)),
        "quick" => Some(Effort::new(true)),
        count => Some(Effort { exactly: Some(count.parse().ok()?), ..Effort::new(true) }),
    }
}

/// A sample as a line of the protocol.
pub fn reply(sample: &Sample) -> String {
    let extra: String = sample.extra.iter().map(|(name, value)| format!(" {name}={value:.6}")).collect();
    format!("ok {:.6} {:.3}{extra}", sample.value, sample.cores)
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

    #[test]
    fn own_replies_and_efforts_come_back_as_they_were() {
        let sent = Sample { value: 12.25, cores: 1.5, extra: vec![("bytes".into(), 4192.5)] };
        let come = parse(&reply(&sent)).unwrap();
        assert_eq!((come.value, come.cores, come.extra), (sent.value, sent.cores, sent.extra));
        for sent in [Effort::new(true), Effort::new(false), Effort { exactly: Some(7), ..Effort::new(true) }] {
            let come = effort(&word(sent)).unwrap();
            assert_eq!((come.quick, come.exactly), (sent.quick, sent.exactly));
        }
        assert!(effort("slow").is_none());
    }
}
