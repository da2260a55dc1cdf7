//! What the lab found, as a table and lanes for a terminal, as JSON, as pictures and as a page.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use ropewalk_profile::picture::{Comparison, Strip, html, human, svg, terminal};
use serde::Serialize;

use super::row::{Figures, Row, Seen};
use super::verdict::{Claim, Held};
use super::{cores, usage};
use crate::exit::Expected;
use crate::output::file::{self, Readers};
use crate::output::{Out, table, wrap};

/// Columns that no line of text exceeds.
const WIDTH: usize = 80;

/// The whole report, in the form that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// Version of this form: grows when a key changes its meaning or goes.
    pub version: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// In the order in which they ran.
    pub experiments: Vec<Section<'a>>,
    /// What the course says, and whether it held here.
    pub claims: Vec<Claim>,
}

/// Where it was measured, and with what.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Version of the lab.
    pub ropewalk: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Instruction set.
    pub arch: &'static str,
    /// Name of the processor, where the system tells it.
    pub cpu: String,
    /// Processors that the lab may use.
    pub cores: usize,
    /// Processors that it really got, measured beside the rows.
    pub effective_cores: f64,
    /// Installed memory.
    pub memory_mib: u64,
    /// The python beside it, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn here(effective_cores: f64, python: Option<String>) -> Self {
        let (cpu, memory_mib) = usage::machine();
        Machine {
            ropewalk: env!("CARGO_PKG_VERSION"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu,
            cores: cores::available(),
            effective_cores,
            memory_mib,
            python,
        }
    }

    fn sentence(&self) -> String {
        let mut out = format!("{} {}", self.os, self.arch);
        if !self.cpu.is_empty() {
            out += &format!(", {}", self.cpu);
        }
        out += &format!(", {} processors of which {:.2} were to be had", self.cores, self.effective_cores);
        if let Some(python) = &self.python {
            out += &format!(", {python}");
        }
        out
    }
}

/// One experiment of a [`Report`].
#[derive(Debug, Serialize)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'static str,
    /// What one unit is.
    pub unit_of_work: String,
    /// What perfect overlap, or perfect use of the measured processors, would gain.
    pub ideal_speedup: f64,
    /// The sentence to remember.
    pub verdict: String,
    /// The models, the reference first.
    pub rows: Vec<&'a Figures>,
    /// What the profile said of the reference, and whether the other models held to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<&'a Seen>,
    /// For headings.
    #[serde(skip)]
    pub title: &'static str,
    /// The same rows with all that is known of them.
    #[serde(skip)]
    pub full: &'a [Row],
    /// Remarks about how it was measured.
    pub notes: &'a [String],
}

impl Section<'_> {
    /// Heading, lanes, table, verdict and remarks.
    pub fn text(&self, out: Out) -> String {
        let mut text = wrap(&format!("{}: {}", self.title, self.unit_of_work), WIDTH, 2)
            .lines()
            .map(|l| out.bold(l) + "\n")
            .collect::<String>();
        text.push('\n');
        let style = terminal::Style { width: WIDTH, lanes: 3, colour: out.colour, ascii: out.ascii };
        text += &terminal::draw(&self.comparison(), style);
        text.push('\n');
        text += &table::draw(&HEAD, &self.cells());
        text.push('\n');
        text += &(wrap(&self.verdict, WIDTH, 0) + "\n");
        if let Some(seen) = self.profile {
            text += &(wrap(&profiled(seen), WIDTH, 0) + "\n");
        }
        for note in self.notes {
            for line in wrap(note, WIDTH, 0).lines() {
                text += &(out.dim(line) + "\n");
            }
        }
        text.push('\n');
        text
    }

    fn comparison(&self) -> Comparison {
        let strip = |r: &Row| Strip {
            name: r.figures.model.clone(),
            timeline: r.timeline.clone(),
            speedup: times(r.figures.speedup),
        };
        Comparison {
            title: format!("{} work", self.title),
            subtitle: self.unit_of_work.clone(),
            strips: self.full.iter().map(strip).collect(),
        }
    }

    fn cells(&self) -> Vec<Vec<String>> {
        self.rows
            .iter()
            .map(|f| {
                vec![
                    f.model.clone(),
                    f.switching.word().to_owned(),
                    f.processors.to_string(),
                    human(Duration::from_secs_f64(f.wall_s)),
                    times(f.speedup),
                    format!("{:.0}%", f.of_ideal * 100.0),
                    format!("{:.0}%", f.cpu_percent),
                    f.peak_in_flight.to_string(),
                    format!("{:.1}", f.peak_rss_mib),
                ]
            })
            .collect()
    }
}

/// What `ropewalk profile` said of the sequential row before any other ran, and what came of it.
fn profiled(seen: &Seen) -> String {
    let mut text = format!("The profile of the sequential row: {} {}", capital(&seen.class), seen.sentence);
    let of = |s: f64| human(Duration::from_secs_f64(s));
    let ranges: Vec<String> = seen
        .predicted
        .iter()
        .filter_map(|p| {
            let (measured, held) = (p.measured_s?, p.held()?);
            let held = if held { "held" } else { "missed" };
            Some(format!("{} {} to {}, measured {}: {held}", p.model, of(p.low_s), of(p.high_s), of(measured)))
        })
        .collect();
    if !ranges.is_empty() {
        text += &format!(" It predicted {}.", ranges.join("; "));
    }
    text
}

fn capital(words: &str) -> String {
    let mut characters = words.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + characters.as_str() + ".")
}

/// Who decides to switch, processors used, wall time, speedup, its share of the ideal, processor time, units in flight,
/// memory.
const HEAD: [&str; 9] = ["model", "switch", "procs", "wall", "speedup", "ideal", "cpu", "flight", "MiB"];

fn times(speedup: f64) -> String {
    match speedup {
        s if s >= 99.95 => format!("{s:.0}x"),
        s if s >= 9.995 => format!("{s:.1}x"),
        s => format!("{s:.2}x"),
    }
}

/// The claims, one a paragraph.
pub fn claims_text(claims: &[Claim], out: Out) -> String {
    let mut text = out.bold("What the course says") + "\n";
    for claim in claims {
        let mark = format!("{:<12}", claim.held.word());
        let mark = match claim.held {
            Held::Here => out.good(&mark),
            Held::NotHere => out.notable(&mark),
            Held::NotMeasured => out.dim(&mark),
        };
        let body = wrap(&claim.text, WIDTH - 14, 0).replace('\n', &format!("\n{}", " ".repeat(14)));
        text += &format!("{mark}  {body}\n");
    }
    text
}

impl Report<'_> {
    /// Writes each experiment's picture into `directory`.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write_svgs(&self, directory: &Path) -> Result<Vec<String>, Expected> {
        self.experiments
            .iter()
            .map(|e| {
                let path = directory.join(format!("{}.svg", e.name));
                write("--svg", &path, &svg::draw(&e.comparison()))?;
                Ok(path.display().to_string())
            })
            .collect()
    }

    /// Writes everything as one page to `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_html(&self, path: &Path) -> Result<(), Expected> {
        let mut sections: Vec<html::Section> = self
            .experiments
            .iter()
            .map(|e| html::Section {
                heading: format!("{}: {}", e.title, e.unit_of_work),
                verdict: e.verdict.clone(),
                svg: svg::draw(&e.comparison()),
                table: html::Table { head: PAGE_HEAD.map(str::to_owned).to_vec(), rows: e.cells() },
                claims: (e
                    .profile
                    .map(|seen| html::Claim { mark: "profile".to_owned(), text: profiled(seen) })
                    .into_iter())
                .chain(e.notes.iter().map(|n| html::Claim { mark: "note".to_owned(), text: n.clone() }))
                .collect(),
            })
            .collect();
        sections.push(html::Section {
            heading: "What the course says".to_owned(),
            claims: (self.claims.iter())
                .map(|c| html::Claim { mark: c.held.word().to_owned(), text: c.text.clone() })
                .collect(),
            ..html::Section::default()
        });
        let page = html::Page {
            title: "What concurrency is worth on this machine".to_owned(),
            lead: self.machine.sentence(),
            sections,
            footer: format!(
                "Measured by ropewalk lab {}. Lanes, units in flight and wall times come from what each unit of work \
                 reported about itself.",
                self.machine.ropewalk
            ),
        };
        write("--html", path, &html::draw(&page))
    }

    /// Where and on what, for the last lines of the text.
    pub fn machine_text(&self, out: Out) -> String {
        wrap(&self.machine.sentence(), WIDTH, 0).lines().map(|l| out.dim(l) + "\n").collect()
    }
}

/// The heads of [`HEAD`] where there is room.
const PAGE_HEAD: [&str; 9] =
    ["model", "who switches", "processors", "wall", "speedup", "of ideal", "CPU", "peak in flight", "peak memory, MiB"];

/// Writes `text` to `path`, for the option that asked for it.
fn write(option: &str, path: &Path, text: &str) -> Result<(), Expected> {
    file::write(option, path, Readers::AsUsual, |to| to.write_all(text.as_bytes()))
}
