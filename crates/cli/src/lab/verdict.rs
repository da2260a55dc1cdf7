//! What the figures say, in words: a sentence per experiment, and what became of the claims that every concurrency course
//! makes. Pure functions over rows; every sentence carries the figure it rests on.

use std::time::Duration;

use ropewalk_profile::picture::human;
use serde::Serialize;

use super::python;
use super::row::Row;

/// A gain below this is noise.
const GAIN_MIN: f64 = 1.25;

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// The figures of this run agree with it.
    Here,
    /// They do not.
    NotHere,
    /// They cannot say.
    NotMeasured,
}

impl Held {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Held::Here => "held here",
            Held::NotHere => "not here",
            Held::NotMeasured => "not measured",
        }
    }
}

/// A sentence of the course, and what this machine says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What became of it.
    pub held: Held,
    /// The claim and its figure.
    pub text: String,
}

/// The rows of both experiments, as far as they ran.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Of the I/O-bound experiment.
    pub io: Option<&'a [Row]>,
    /// Of the CPU-bound experiment.
    pub cpu: Option<&'a [Row]>,
    /// Processors that this machine gave.
    pub effective_cores: f64,
}

/// The sentence to remember about the experiment called `name`, whose ideal speedup is `ideal`.
pub fn sentence(name: &str, rows: &[Row], ideal: f64) -> String {
    let lost: usize = rows.iter().map(|r| r.figures.lost).sum();
    if lost > 0 {
        return format!("No verdict: {lost} results were wrong or lost.");
    }
    let (Some(reference), Some(best)) = (rows.first(), best(rows.iter().filter(|r| is_ours(r)))) else {
        return "No verdict: nothing ran.".to_owned();
    };
    let (from, to) = (wall(reference), wall(best));
    let f = &best.figures;
    if name == "io-bound" {
        if f.speedup < GAIN_MIN {
            return format!(
                "Overlapping the waits did not help: {from} one after another, {to} at best ({}).",
                f.model
            );
        }
        return format!(
            "Overlap the waits: {from} one after another, {to} with {} in flight ({}), {:.0}x shorter of {ideal:.0}x \
             possible. More cores are not what it needs: {} of a processor was enough.",
            f.peak_in_flight,
            f.model,
            f.speedup,
            share(f.cpu_percent),
        );
    }
    if name == "mixed" {
        if f.speedup < GAIN_MIN {
            return format!(
                "Neither overlapping the waits nor more cores helped: {from} one after another, {to} at best ({}).",
                f.model
            );
        }
        let mut text = format!(
            "Do both: {from} one after another, {to} at best ({}), {:.1}x of {ideal:.1}x possible.",
            f.model, f.speedup
        );
        // Each half alone, where it was measured.
        if let Some(row) = find(rows, "threads-per-core") {
            text += &format!(" A thread per core leaves its core idle while it waits: {:.1}x.", row.figures.speedup);
        }
        if let Some(row) = find(rows, "greenlets") {
            text += &format!(" Greenlets of one thread overlap the waits on one core: {:.1}x.", row.figures.speedup);
        }
        return text;
    }
    if ideal < GAIN_MIN {
        return "Nothing to gain here: hardly more than one processor was to be had, and more threads do not change that."
            .to_owned();
    }
    if f.speedup < GAIN_MIN {
        return format!(
            "More threads did not help: {from} on one, {to} at best ({}), on {ideal:.2} processors.",
            f.model
        );
    }
    format!(
        "Use the cores: {from} on one, {to} at best ({}), {:.2}x where {ideal:.2} processors were measured. More threads \
         than cores add nothing.",
        f.model, f.speedup,
    )
}

/// The claims, judged.
pub fn claims(seen: Seen<'_>) -> Vec<Claim> {
    vec![one_processor(seen), overlap(seen), cores(seen), processes(seen)]
}

fn one_processor(seen: Seen<'_>) -> Claim {
    let claim = "Threads use one processor";
    let Some(ours) = seen.cpu.and_then(|rows| find(rows, "threads-per-core")) else {
        return not_measured(claim, "the CPU-bound rows were left out");
    };
    let used = |r: &Row| r.figures.cpu_percent / 100.0;
    let rust = format!("Rust's used {:.1} of {:.1}", used(ours), seen.effective_cores);
    let python = seen.cpu.and_then(|rows| find(rows, "python-threading"));
    if seen.effective_cores < GAIN_MIN {
        return not_measured(claim, &format!("this machine gave {:.1} processors to everybody", seen.effective_cores));
    }
    let held = if used(ours) < GAIN_MIN { Held::Here } else { Held::NotHere };
    let text = match python {
        // An interpreter without the lock has threads like Rust's.
        Some(p) if used(p) < GAIN_MIN => {
            format!("{claim}: {rust}; python's used {:.1}, since one lock guards its interpreter", used(p))
        }
        Some(p) => {
            format!("{claim}: {rust}; this python's used {:.1}, so it runs without the interpreter lock", used(p))
        }
        None => format!("{claim}: {rust}; add --with python to see Python's"),
    };
    Claim { held, text }
}

fn overlap(seen: Seen<'_>) -> Claim {
    let claim = "Overlapping waits wins for I/O";
    let Some(rows) = seen.io else {
        return not_measured(claim, "the I/O-bound rows were left out");
    };
    let Some(ours) = best(rows.iter().filter(|r| is_ours(r))) else {
        return not_measured(claim, "no row ran");
    };
    let mut text = format!("{claim}: {:.1}x with {} in flight", ours.figures.speedup, ours.figures.peak_in_flight);
    if let Some(p) = best(rows.iter().filter(|r| !is_ours(r))) {
        text += &format!("; {:.1}x in {}", p.figures.speedup, p.figures.model);
    }
    Claim { held: if ours.figures.speedup >= GAIN_MIN { Held::Here } else { Held::NotHere }, text }
}

fn cores(seen: Seen<'_>) -> Claim {
    let claim = "Cores win for CPU";
    let Some(ours) = seen.cpu.and_then(|rows| find(rows, "threads-per-core")) else {
        return not_measured(claim, "the CPU-bound rows were left out");
    };
    if seen.effective_cores < GAIN_MIN {
        return not_measured(claim, &format!("this machine gave {:.2} processors", seen.effective_cores));
    }
    let mut text = format!(
        "{claim}: {:.2}x with one thread per core on {:.2} processors",
        ours.figures.speedup, seen.effective_cores
    );
    let of = |name| seen.cpu.and_then(|rows| find(rows, name)).map(|r| r.figures.speedup);
    if let (Some(threads), Some(processes)) = (of("python-threading"), of("python-multiprocessing")) {
        text += &format!("; python {threads:.2}x with threads, {processes:.2}x with processes");
    }
    Claim { held: if ours.figures.speedup >= GAIN_MIN { Held::Here } else { Held::NotHere }, text }
}

fn processes(seen: Seen<'_>) -> Claim {
    let claim = "Processes cost more memory";
    let mib = |many, one| {
        let pair = |rows: &[Row]| Some((find(rows, many)?.figures.peak_rss_mib, find(rows, one)?.figures.peak_rss_mib));
        seen.cpu.and_then(pair).or_else(|| seen.io.and_then(pair))
    };
    // What the same number of workers takes as threads.
    let ours = mib("processes", "threads-per-core");
    let pythons = mib("python-multiprocessing", "python-sequential");
    let Some((many, single)) = ours.or(pythons) else {
        return not_measured(claim, "no row here runs in several processes; add --with python");
    };
    // A tenth more is what one allocation more or less makes.
    let held = if many > 1.1 * single { Held::Here } else { Held::NotHere };
    let told = [
        ours.map(|(many, single)| format!("{many:.1} MiB in processes, {single:.1} MiB in threads")),
        pythons.map(|(many, single)| format!("{many:.0} MiB in python's processes, {single:.0} MiB in one")),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    Claim { held, text: format!("{claim}: {}", told.join("; ")) }
}

fn not_measured(claim: &str, why: &str) -> Claim {
    Claim { held: Held::NotMeasured, text: format!("{claim}: not measured here: {why}") }
}

fn find<'a>(rows: &'a [Row], model: &str) -> Option<&'a Row> {
    rows.iter().find(|r| r.figures.model == model && r.figures.lost == 0)
}

fn best<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.filter(|r| r.figures.lost == 0).max_by(|a, b| a.figures.speedup.total_cmp(&b.figures.speedup))
}

fn is_ours(row: &Row) -> bool {
    !row.figures.model.starts_with(python::PREFIX)
}

fn wall(row: &Row) -> String {
    human(Duration::from_secs_f64(row.figures.wall_s))
}

fn share(cpu_percent: f64) -> String {
    format!("{:.2}", cpu_percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::model::Switching;
    use crate::lab::row::Figures;
    use ropewalk_profile::timeline::Timeline;

    fn row(model: &str, speedup: f64, cpu_percent: f64, peak_rss_mib: f64) -> Row {
        let figures = Figures {
            model: model.to_owned(),
            switching: Switching::Os,
            processors: 1,
            wall_s: 8.0 / speedup,
            speedup,
            of_ideal: 0.0,
            cpu_percent,
            peak_in_flight: 5,
            peak_rss_mib,
            lost: 0,
        };
        Row { figures, timeline: Timeline::default(), failures: Vec::new(), seen: None }
    }

    fn held(seen: Seen<'_>) -> Vec<Held> {
        claims(seen).iter().map(|c| c.held).collect()
    }

    #[test]
    fn a_machine_with_one_processor_judges_no_claim_about_two() {
        let cpu = [row("sequential", 1.0, 99.0, 4.0), row("threads-per-core", 1.0, 99.0, 4.0)];
        let seen = Seen { io: None, cpu: Some(&cpu), effective_cores: 1.05 };
        assert_eq!(held(seen), [Held::NotMeasured; 4]);
        assert!(sentence("cpu-bound", &cpu, 1.05).starts_with("Nothing to gain here"));
    }

    #[test]
    fn claims_about_rows_that_did_not_run_are_not_judged() {
        let seen = Seen { io: None, cpu: None, effective_cores: 2.0 };
        assert_eq!(held(seen), [Held::NotMeasured; 4]);
    }

    #[test]
    fn every_claim_is_judged_by_its_rows() {
        let io = [row("sequential", 1.0, 2.0, 4.0), row("thread-pool-160", 110.0, 50.0, 9.0)];
        let cpu = [
            row("sequential", 1.0, 99.0, 4.0),
            row("threads-per-core", 1.96, 197.0, 4.0),
            row("processes", 1.95, 197.0, 7.5),
            row("python-sequential", 1.0, 99.0, 12.0),
            row("python-threading", 0.98, 101.0, 14.0),
            row("python-multiprocessing", 1.9, 195.0, 30.0),
        ];
        let seen = Seen { io: Some(&io), cpu: Some(&cpu), effective_cores: 1.98 };
        assert_eq!(held(seen), [Held::NotHere, Held::Here, Held::Here, Held::Here]);
        assert!(claims(seen)[0].text.contains("python's used 1.0"));
        assert!(claims(seen)[3].text.contains("7.5 MiB in processes, 4.0 MiB in threads; 30 MiB in python's"));
        let ours_alone = Seen { cpu: Some(&cpu[..3]), ..seen };
        assert!(claims(ours_alone)[3].text.ends_with("7.5 MiB in processes, 4.0 MiB in threads"));
        let pythons_alone = Seen { cpu: Some(&cpu[3..]), ..seen };
        assert!(claims(pythons_alone)[3].text.ends_with("30 MiB in python's processes, 12 MiB in one"));
        let worse = [row("sequential", 1.0, 2.0, 4.0), row("thread-pool-160", 1.1, 50.0, 9.0)];
        assert_eq!(held(Seen { io: Some(&worse), ..seen })[1], Held::NotHere);
    }

    #[test]
    fn lost_units_leave_no_verdict() {
        let mut rows = [row("sequential", 1.0, 2.0, 4.0), row("threads-5", 5.0, 2.0, 4.0)];
        rows[1].figures.lost = 3;
        assert!(sentence("io-bound", &rows, 160.0).contains("3 results were wrong or lost"));
    }
}
