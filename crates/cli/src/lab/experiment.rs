//! The experiments: what their units are, what every answer must be, and what the ideal is.

use std::path::PathBuf;

use super::child::{self, Child, Role};
use super::work::cpu::{self, Calibration};
use super::work::{self, Task, Unit, files, io};
use super::{Only, Options, model};
use super::{python, server};
use crate::exit::Expected;

/// Milliseconds after which the lab's own server answers.
const DELAY_MS: u64 = 50;
/// GETs of the I/O-bound experiment, and of its quick form.
const GETS: u64 = 160;
const GETS_QUICK: u64 = 24;
/// Sums of the CPU-bound experiment.
const SUMS: u64 = 20;
/// Milliseconds that one sum shall take, so that the sequential row takes 2 s, or a fifth of that.
const SUM_MS: u64 = 100;
const SUM_MS_QUICK: u64 = 20;
/// Units of the mixed experiment, and of its quick form. Each waits for half as long as one sum of the CPU-bound experiment
/// takes, and then sums for as long.
const MIXED: u64 = 40;
const MIXED_QUICK: u64 = 12;

/// What is measured: the same for every row.
#[derive(Debug)]
pub struct Experiment {
    /// Its name in JSON and in file names.
    pub name: &'static str,
    /// Its name in headings.
    pub title: &'static str,
    /// What its units are, as a person reads it.
    pub unit_of_work: String,
    /// What to run.
    pub units: Vec<Unit>,
    /// What the answers must be, by id; `None` where any will do.
    pub expected: Vec<Option<String>>,
    /// The same for python, where the same amount would take minutes.
    pub for_python: Option<(Vec<Unit>, Vec<Option<String>>)>,
    /// Remarks about how it was measured.
    pub notes: Vec<String>,
    /// Dropped, and so killed, with the experiment.
    server: Option<Child>,
}

/// The user's own work, looked at before anything is measured.
#[derive(Debug, Default)]
pub struct Inputs {
    urls: Vec<(String, Option<String>)>,
    files: Vec<(PathBuf, String)>,
}

impl Inputs {
    /// Fetches each URL and reads each file once.
    ///
    /// # Errors
    /// Names the first that fails, and says why.
    pub fn check(options: &Options) -> Result<Inputs, Expected> {
        let urls = options.url.iter().cloned().zip(io::survey(&options.url)?).collect();
        let mut all = Vec::new();
        if let Some(directory) = &options.files {
            for path in files::list(directory)? {
                let hash = files::hash(&path, &mut Vec::new()).map_err(|why| {
                    Expected::Unreadable(format!("--files: {why}; make it readable or name another directory"))
                })?;
                all.push((path, hash));
            }
        }
        Ok(Inputs { urls, files: all })
    }
}

impl Experiment {
    /// The experiment called `which`.
    ///
    /// # Errors
    /// When what it needs cannot be started.
    pub fn new(
        which: Only,
        options: &Options,
        inputs: &Inputs,
        calibration: Calibration,
        python: Option<&python::Python>,
    ) -> Result<Experiment, Expected> {
        match which {
            Only::Io => Experiment::io_bound(options, inputs),
            Only::Cpu => Experiment::cpu_bound(options, inputs, calibration, python),
            Only::Mixed => Experiment::mixed(options, calibration, python),
        }
    }

    /// GETs whose answers take their time.
    ///
    /// # Errors
    /// When the server cannot be started.
    fn io_bound(options: &Options, inputs: &Inputs) -> Result<Experiment, Expected> {
        let wanted = if options.quick { GETS_QUICK } else { GETS };
        if inputs.urls.is_empty() {
            let wrong = matches!(options.fault, Some(super::Fault::WrongBody)).then_some(wanted / 2);
            let (server, port) = serve(DELAY_MS, wrong)?;
            let get = |id| Unit { id, task: Task::Get { url: server::url(port, id) } };
            return Ok(Experiment {
                name: "io-bound",
                title: "I/O-bound",
                unit_of_work: format!("{wanted} GETs over loopback sockets, each answered after {DELAY_MS} ms"),
                units: (0..wanted).map(get).collect(),
                expected: (0..wanted).map(|id| Some(server::expected(id))).collect(),
                for_python: None,
                notes: Vec::new(),
                server: Some(server),
            });
        }
        let count = usize::try_from(wanted).unwrap_or(usize::MAX).max(inputs.urls.len());
        let chosen: Vec<_> = inputs.urls.iter().cycle().take(count).collect();
        let changing = inputs.urls.iter().filter(|(_, hash)| hash.is_none()).count();
        let mut notes =
            vec!["Every answer must be a success, complete, and equal to what came before measuring.".to_owned()];
        if inputs.urls.iter().any(|(url, _)| io::is_https(url)) {
            let silent: Vec<&str> = model::all().iter().filter(|m| !m.speaks_https()).map(|m| m.name()).collect();
            notes.push(format!("Left out, since its client speaks http:// only: {}.", silent.join(", ")));
        }
        if changing > 0 {
            notes.push(format!(
                "{changing} of the {} URLs answered two things at two times: of these only success and completeness are checked.",
                inputs.urls.len()
            ));
        }
        Ok(Experiment {
            name: "io-bound",
            title: "I/O-bound",
            unit_of_work: match inputs.urls.len() {
                1 => format!("{count} GETs of {}", inputs.urls[0].0),
                n => format!("{count} GETs spread over {n} URLs"),
            },
            units: (0..).zip(&chosen).map(|(id, (url, _))| Unit { id, task: Task::Get { url: url.clone() } }).collect(),
            expected: chosen.iter().map(|(_, hash)| hash.clone()).collect(),
            for_python: None,
            notes,
            server: None,
        })
    }

    /// Computing that no wait interrupts.
    ///
    /// # Errors
    /// When python cannot be calibrated.
    fn cpu_bound(
        options: &Options,
        inputs: &Inputs,
        calibration: Calibration,
        python: Option<&python::Python>,
    ) -> Result<Experiment, Expected> {
        if !inputs.files.is_empty() {
            return Ok(Experiment {
                name: "cpu-bound",
                title: "CPU-bound",
                unit_of_work: format!("SHA-256 of each of {} files", inputs.files.len()),
                units: (0..)
                    .zip(&inputs.files)
                    .map(|(id, (path, _))| Unit { id, task: Task::Hash { path: path.clone() } })
                    .collect(),
                expected: inputs.files.iter().map(|(_, hash)| Some(hash.clone())).collect(),
                for_python: None,
                notes: vec![
                    "Every hash must equal that of a first reading, which also put the files into memory.".to_owned(),
                ],
                server: None,
            });
        }
        let (mut units, expected) = sums(calibration.bound);
        if matches!(options.fault, Some(super::Fault::WrongSum)) {
            units[7].task = Task::Sum { bound: calibration.bound };
        }
        let mut unit_of_work = format!("{SUMS} sums of the squares below {}", grouped(calibration.bound));
        let mut for_python = None;
        if let Some(python) = python {
            let bound = python.calibrate(sum_ms(options.quick))?;
            unit_of_work += &format!(" (python: {})", grouped(bound));
            for_python = Some(sums(bound));
        }
        Ok(Experiment {
            name: "cpu-bound",
            title: "CPU-bound",
            unit_of_work,
            units,
            expected,
            for_python,
            notes: vec![format!(
                "Doubling the bound took {:.2} times as long: the compiler has not shortened the sums.",
                calibration.doubling
            )],
            server: None,
        })
    }

    /// Waits and computing by turns: half of each unit is one, half the other.
    ///
    /// # Errors
    /// When the server cannot be started, or python cannot be calibrated.
    fn mixed(
        options: &Options,
        calibration: Calibration,
        python: Option<&python::Python>,
    ) -> Result<Experiment, Expected> {
        let wanted = if options.quick { MIXED_QUICK } else { MIXED };
        let half_ms = sum_ms(options.quick) / 2;
        let (server, port) = serve(half_ms, None)?;
        let units = |bound: u64| -> (Vec<Unit>, Vec<Option<String>>) {
            let both = |id| Unit { id, task: Task::Both { url: server::url(port, id), bound: bound + id } };
            let sums = cpu::sums(&(0..wanted).map(|id| bound + id).collect::<Vec<_>>());
            let answers = (0..).zip(sums).map(|(id, sum)| Some(work::both(&server::expected(id), sum)));
            ((0..wanted).map(both).collect(), answers.collect())
        };
        let (mine, expected) = units(calibration.bound / 2);
        let for_python = python.map(|python| python.calibrate(half_ms)).transpose()?.map(units);
        Ok(Experiment {
            name: "mixed",
            title: "Mixed",
            unit_of_work: format!(
                "{wanted} GETs, each answered after {half_ms} ms, and after each {half_ms} ms of sums"
            ),
            units: mine,
            expected,
            for_python,
            notes: Vec::new(),
            server: Some(server),
        })
    }

    /// What the work would gain if nothing but its waits and its cores mattered: waits overlap without end, and computing
    /// is shared by the cores.
    pub fn ideal(&self, effective_cores: f64) -> f64 {
        let (units, cores) = (self.units.len() as f64, effective_cores.max(1.0));
        match self.name {
            "io-bound" => units,
            // Half of each unit is a wait: the first wait, and then what there is to compute.
            "mixed" => 2.0 * units / (1.0 + units / cores),
            _ => cores,
        }
    }

    /// Whether the rows compute, so that processors are worth measuring beside them.
    pub fn computes(&self) -> bool {
        self.name != "io-bound"
    }

    /// Whether `model` can run it.
    pub fn suits(&self, model: &dyn model::Model) -> bool {
        let fetches_https = |unit: &Unit| matches!(&unit.task, Task::Get { url } if io::is_https(url));
        model.speaks_https() || !self.units.iter().any(fetches_https)
    }

    /// Ends the server; the rows are done.
    pub fn close(&mut self) {
        self.server = None;
    }
}

/// The lab's own server, which answers after `delay_ms`; and its port.
fn serve(delay_ms: u64, wrong: Option<u64>) -> Result<(Child, u16), Expected> {
    let mut server = Child::start(Role::Server.command()?, "the server", &server::Request { delay_ms, wrong })?;
    let port = server.answer::<server::Listening>(|_| {})?.port;
    Ok((server, port))
}

/// How long one sum shall take.
fn sum_ms(quick: bool) -> u64 {
    if quick { SUM_MS_QUICK } else { SUM_MS }
}

/// Finds the bound of the sums, in a process of its own.
///
/// # Errors
/// When that process fails.
pub fn calibrate(quick: bool) -> Result<Calibration, Expected> {
    child::ask(Role::Calibrate, &sum_ms(quick))
}

/// Each sum has a bound of its own, so that no answer passes for another.
fn sums(bound: u64) -> (Vec<Unit>, Vec<Option<String>>) {
    let bounds: Vec<u64> = (0..SUMS).map(|k| bound + k).collect();
    let units = (0..).zip(&bounds).map(|(id, &bound)| Unit { id, task: Task::Sum { bound } }).collect();
    (units, cpu::sums(&bounds).iter().map(|s| Some(s.to_string())).collect())
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn ideal_of_mixed_work_is_its_waits_overlapped_and_its_sums_shared() {
        let unit = Unit { id: 0, task: Task::Sum { bound: 1 } };
        let mixed = Experiment {
            name: "mixed",
            title: "",
            unit_of_work: String::new(),
            units: vec![unit; 40],
            expected: Vec::new(),
            for_python: None,
            notes: Vec::new(),
            server: None,
        };
        // 40 × (1 + 1) one after another; 1 + 40 / 2 at best on two cores.
        assert!((mixed.ideal(2.0) - 80.0 / 21.0).abs() < 1e-9);
    }

    #[test]
    fn row_whose_client_has_no_tls_is_left_out_and_said_so() {
        let experiment = |url: &str| {
            let inputs = Inputs { urls: vec![(url.to_owned(), None)], files: Vec::new() };
            Experiment::io_bound(&Options::default(), &inputs).unwrap()
        };
        let left_out = |experiment: &Experiment| -> Vec<&str> {
            model::all().iter().filter(|model| !experiment.suits(**model)).map(|model| model.name()).collect()
        };
        let secure = experiment("https://example.org/");
        assert_eq!(left_out(&secure), ["async"]);
        assert!(secure.notes.iter().any(|note| note.ends_with("speaks http:// only: async.")), "{:?}", secure.notes);
        let plain = experiment("http://example.org/");
        assert!(left_out(&plain).is_empty() && !plain.notes.iter().any(|note| note.contains("http:// only")));
    }

    #[test]
    fn no_two_sums_share_an_answer() {
        let (units, expected) = sums(10_000);
        let distinct: std::collections::BTreeSet<_> = expected.iter().collect();
        assert_eq!((units.len(), distinct.len()), (20, 20));
    }
}
