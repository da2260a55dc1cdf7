//! Several machines: workers and producers in two network namespaces whose clocks are two minutes wrong, one ahead and one behind,
//! a Redis in a third whose clock is right, and the links between them cut and healed under load.
//!
//! `ci/fleet.sh` makes the namespaces and starts this in a fourth place, from where it reaches all of them: by `nsenter`, and through
//! the files and the socket that they share. A namespace cannot have a time of day of its own, so the processes there are told a
//! wrong one by a library that is loaded before libc's (`ci/fleet/skew.c`). What they note of themselves they ask of the kernel.
//!
//! Checked is what `check` checks (nothing lost, nothing twice without a reason, nothing before its time, by the right clock), and
//! that the clocks were as wrong as wanted. Printed is how long it took until a side that was cut off worked again,
//! and until its jobs were run by the other one.

use super::network::{ADDRESS, ALWAYS};
use super::redis_server::Server;
use super::{CALM_MAX, Place, Process, check, true_now, wait_until};
use ropewalk_jobs::Time;
use rustix::process::Signal;
use std::collections::HashMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

/// How long a lease holds here, in seconds: shorter than most cuts.
const LEASE_S: u64 = 1;
/// Between two batches of twelve jobs.
const PACE_MS: u64 = 40;
/// How far a clock may be from where it is wanted.
const SKEW_ERROR_MAX: i128 = 1_000;

/// One machine.
struct Machine {
    name: &'static str,
    /// A process that holds its network.
    pid: String,
    skew_s: i64,
    /// The address of Redis from there.
    redis: &'static str,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) jobs: usize,
    pub(super) runs: usize,
    pub(super) again: usize,
    pub(super) cuts: usize,
    /// From the heal to the first run, in milliseconds.
    pub(super) healed: Vec<u64>,
    /// From the cut to the second run of a job that ran on the side that was cut off.
    pub(super) taken_over: Vec<u64>,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by ci/fleet.sh, which starts this"))
}

impl Machine {
    fn start(&self, place: &Place, role: &[&str]) -> Process {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid, "-n"]).arg(std::env::current_exe().expect("this test")).args(role);
        command
            .env("FAULTS_REDIS", self.redis)
            .env("FAULTS_SIDE", self.name)
            .env("FAULTS_PACE_MS", PACE_MS.to_string())
            .env("LD_PRELOAD", variable("FLEET_SKEW"))
            .env("FLEET_SKEW_S", self.skew_s.to_string());
        Process::of(&place.0, command)
    }

    /// Its link: what is sent while it is cut is gone. Pulled out, both ends see that. Otherwise nobody does: the other end does
    /// not answer to its address any more.
    fn link(&self, up: bool, pulled: bool) {
        let network = format!("{}/24", self.redis.trim_start_matches("redis://").trim_end_matches('/'));
        let words: &[&str] = match (pulled, up) {
            (true, true) => &["link", "set", self.name, "up"],
            (true, false) => &["link", "set", self.name, "down"],
            (false, true) => &["addr", "add", &network, "dev", self.name],
            (false, false) => &["addr", "del", &network, "dev", self.name],
        };
        let status = Command::new("nsenter").args(["-t", &variable("FLEET_MIDDLE"), "-n", "ip"]).args(words).status();
        assert!(status.is_ok_and(|status| status.success()), "ip {}: the link to {}", words.join(" "), self.name);
    }
}

/// Notes how wrong the clock of this process is.
pub(super) fn note_the_clock() {
    if let Ok(side) = std::env::var("FAULTS_SIDE") {
        let told = Time::from(SystemTime::now()).millis();
        super::note("clocks", &format!("{side} {}", i128::from(told) - i128::from(true_now().millis())));
    }
}

/// Cuts links for so long; then everything must end.
pub(super) fn drive(length: Duration, seed: u64) -> Report {
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = Place::new("fleet");
    let machines = [
        Machine { name: "left", pid: variable("FLEET_LEFT"), skew_s: 120, redis: "redis://10.77.1.1/" },
        Machine { name: "right", pid: variable("FLEET_RIGHT"), skew_s: -120, redis: "redis://10.77.2.1/" },
    ];
    // In its own network, by the words of ROPEWALK_REDIS_SERVER.
    let options = [ALWAYS, &["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"]].concat();
    let server = Server::start(&place.0, &options);
    std::fs::write(place.0.join(ADDRESS), server.url("")).expect("a file of the place");
    let role = LEASE_S.to_string();
    let workers: Vec<Process> =
        machines.iter().flat_map(|machine| [0, 1].map(|_| machine.start(&place, &["worker", &role]))).collect();
    let mut producers: Vec<Process> =
        machines.iter().map(|machine| machine.start(&place, &["producer", machine.name, "0", "999996"])).collect();
    wait_until("both sides work", CALM_MAX, || {
        let lines = place.lines("runs");
        machines.iter().all(|machine| lines.iter().any(|line| line.ends_with(machine.name)))
    })
    .expect("workers");
    let mut cuts: Vec<(Vec<&str>, u64, u64)> = Vec::new();
    let until = true_now() + length;
    while true_now() < until {
        thread::sleep(Duration::from_millis(rng.u64(800..2_000)));
        // Both at once, now and then.
        let which: Vec<&Machine> = match cuts.len() % 3 {
            2 => machines.iter().collect(),
            n => vec![&machines[n]],
        };
        let (cut, pulled) = (true_now().millis(), cuts.len().is_multiple_of(2));
        which.iter().for_each(|machine| machine.link(false, pulled));
        thread::sleep(Duration::from_millis(rng.u64(500..3_500)));
        which.iter().for_each(|machine| machine.link(true, pulled));
        cuts.push((which.iter().map(|machine| machine.name).collect(), cut, true_now().millis()));
        let healed = true_now().millis();
        wait_until("those that were cut off work again", CALM_MAX, || {
            let lines = place.lines("runs");
            which.iter().all(|machine| runs_of(&lines, machine.name).any(|(_, at)| at >= healed))
        })
        .unwrap_or_else(|why| panic!("seed {seed}: {why} (kept in {})", place.0.display()));
    }
    producers.iter_mut().for_each(|producer| producer.signal(Signal::KILL));
    drop(producers);
    let seen = check(&place).unwrap_or_else(|why| panic!("seed {seed}: {why} (kept in {})", place.0.display()));
    workers.iter().for_each(|worker| worker.signal(Signal::TERM));
    check_the_clocks(&place, &machines);
    let lines = place.lines("runs");
    let mut report = Report {
        jobs: seen.jobs,
        runs: seen.runs,
        again: seen.again,
        cuts: cuts.len(),
        healed: Vec::new(),
        taken_over: Vec::new(),
    };
    for (sides, cut, healed) in &cuts {
        for side in sides {
            report
                .healed
                .extend(runs_of(&lines, side).map(|(_, at)| at).filter(|at| at >= healed).min().map(|at| at - healed));
        }
        if let [side] = sides[..] {
            let began: HashMap<&str, u64> =
                runs_of(&lines, side).filter(|(_, at)| (cut.saturating_sub(1_000)..*cut).contains(at)).collect();
            let others = machines.iter().filter(|machine| machine.name != side);
            let again = others.flat_map(|machine| runs_of(&lines, machine.name));
            let again = again.filter(|(id, at)| began.contains_key(id) && (*cut..*healed).contains(at));
            report.taken_over.extend(again.map(|(_, at)| at - cut));
        }
    }
    report.healed.sort_unstable();
    report.taken_over.sort_unstable();
    report
}

/// The runs of one side, with their times.
fn runs_of<'a>(lines: &'a [String], side: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    lines.iter().filter_map(move |line| {
        let mut words = line.split(' ');
        let (id, _, at) = (words.next()?, words.next()?, words.next()?);
        (words.next()? == side).then_some((id, at.parse().ok()?))
    })
}

fn check_the_clocks(place: &Place, machines: &[Machine]) {
    let lines = place.lines("clocks");
    for machine in machines {
        let wanted = i128::from(machine.skew_s) * 1_000;
        let told: Vec<i128> =
            lines.iter().filter_map(|line| line.strip_prefix(machine.name)?.trim().parse().ok()).collect();
        assert!(
            !told.is_empty() && told.iter().all(|told| (told - wanted).abs() < SKEW_ERROR_MAX),
            "the clocks of {} were wrong by {told:?} ms, and not by {wanted}",
            machine.name
        );
    }
}
