//! Recordings made by hand: threads that do one thing after another, sampled as the watcher would.
#![allow(dead_code, reason = "each test program uses a part of it")]

use ropewalk_profile::recording::{
    Call, End, Machine, Mode, Process, Recording, Sample, Thread, Totals, VERSION, Watched,
};

/// What a thread does for so many milliseconds.
#[derive(Clone)]
pub(crate) enum Does {
    /// On a processor.
    Run(u64),
    /// Ready for one.
    Ready(u64),
    /// In a call.
    Wait(u64, Call),
}

/// A recording of so many milliseconds on two processors, without a thread yet.
pub(crate) fn recording(ms: u64) -> Recording {
    Recording {
        version: VERSION,
        command: vec!["program".into()],
        mode: Mode::Launched,
        wall_ns: ms * 1_000_000,
        // Off the beat, as the watcher's are.
        ticks: (1..=ms / 10).map(|t| t * 10_000_000 - t * 2_654_435_761 % 4_000_000).collect(),
        machine: Machine { cores: 2, effective_cores: 2.0, arch: "x86_64".into(), ..Machine::default() },
        ..Recording::default()
    }
}

pub(crate) fn process(r: &mut Recording, pid: u32, parent: u32, exe: &str) {
    r.processes.push(Process {
        pid,
        parent,
        name: exe.rsplit('/').next().unwrap_or_default().into(),
        exe: exe.into(),
        argv: vec![exe.into()],
        end_ns: r.wall_ns,
        ..Process::default()
    });
}

/// A thread that repeats `does` until the recording ends.
pub(crate) fn thread(r: &mut Recording, pid: u32, tid: u32, does: &[Does]) {
    let (mut run, mut delay, mut slices) = (0u64, 0u64, 0u64);
    let mut samples: Vec<Sample> = Vec::new();
    let mut at = 0u64;
    let mut steps = does.iter().cycle();
    let mut step = steps.next().cloned().expect("it does something");
    let mut left = length(&step);
    for tick in r.ticks.clone() {
        while at < tick {
            let take = left.min(tick - at);
            match step {
                Does::Run(_) => run += take,
                Does::Ready(_) => delay += take,
                Does::Wait(..) => {}
            }
            at += take;
            left -= take;
            if left == 0 {
                step = steps.next().cloned().expect("it goes on");
                slices += u64::from(matches!(step, Does::Run(_)));
                left = length(&step);
            }
        }
        let call = match &step {
            Does::Wait(_, call) => Some(intern(r, call)),
            _ => None,
        };
        match samples.last_mut() {
            Some(last) if call.is_some() && last.call == call && last.run_ns == run && last.delay_ns == delay => {
                last.until_ns = tick
            }
            _ => samples.push(Sample { at_ns: tick, until_ns: tick, run_ns: run, delay_ns: delay, slices, call }),
        }
    }
    let name = r.processes.iter().find(|p| p.pid == pid).map_or_else(String::new, |p| p.name.clone());
    r.threads.push(Thread { tid, pid, name, born: true, samples });
    let totals = r.totals.get_or_insert(Totals::default());
    totals.user_ns += run;
}

fn length(does: &Does) -> u64 {
    let (Does::Run(ms) | Does::Ready(ms) | Does::Wait(ms, _)) = does;
    ms * 1_000_000
}

fn intern(r: &mut Recording, call: &Call) -> u32 {
    let at = r.calls.iter().position(|c| c == call).unwrap_or_else(|| {
        r.calls.push(call.clone());
        r.calls.len() - 1
    });
    u32::try_from(at).expect("few")
}

pub(crate) fn net(peer: &str) -> Call {
    Call::Socket { peer: peer.into(), verb: ropewalk_profile::recording::Verb::Read }
}

pub(crate) fn futex(line: u64) -> Call {
    Call::Futex { line, timed: false }
}

pub(crate) fn file(path: &str) -> Call {
    Call::File { path: path.into(), verb: ropewalk_profile::recording::Verb::Sync }
}

pub(crate) fn poll(sockets: usize, peers: &[&str]) -> Call {
    let peers = peers.iter().map(|p| (*p).to_owned()).collect();
    Call::Poll { on: Watched { sockets, peers, ..Watched::default() }, timed: false }
}

/// Both ends of a pipe.
pub(crate) fn pipe(r: &mut Recording, inode: u64, reader: u32, writer: u32) {
    r.ends.push(End { inode, pid: reader, reads: true, writes: false });
    r.ends.push(End { inode, pid: writer, reads: false, writes: true });
}
