//! Verdicts over recordings made by hand: what would drown the truth if threads' time were added up, what must not be
//! predicted, and what a prediction must keep to. No clock is read here.

mod made;

use made::Does::{Ready, Run, Wait};
use made::{file, futex, net, pipe, poll, process, recording, thread};
use ropewalk_profile::judge;
use ropewalk_profile::recording::{Busy, Call, Function, Mode, Noted, Process, Ran, Recording, Totals, Verb, Watched};
use ropewalk_profile::states::Kind;
use ropewalk_profile::verdict::{Class, Language, Sure};

fn class(r: &Recording) -> Class {
    judge(r).finding.class
}

fn one(exe: &str, ms: u64, does: &[made::Does]) -> Recording {
    let mut r = recording(ms);
    process(&mut r, 100, 1, exe);
    thread(&mut r, 100, 100, does);
    r
}

#[test]
fn requests_one_after_another_are_network_bound_and_name_the_peer() {
    let r = one("/usr/bin/python3", 4000, &[Run(4), Wait(46, net("127.0.0.1:5432"))]);
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Network);
    assert!(j.finding.sentence.contains("PostgreSQL (127.0.0.1:5432) 92 %"), "{}", j.finding.sentence);
    assert!(j.finding.sentence.contains("one request at a time"), "{}", j.finding.sentence);
    assert!(j.advice.code.join("\n").contains("ThreadPoolExecutor(max_workers="));
}

#[test]
fn predicted_ranges_are_narrow_ordered_and_stop_at_the_processor() {
    let r = one("/usr/bin/python3", 4000, &[Run(10), Wait(40, net("127.0.0.1:5432"))]);
    let p = judge(&r).prediction;
    assert!(!p.ranges.is_empty() && p.refused.is_empty());
    for r in &p.ranges {
        assert!(r.low_s < r.high_s && r.high_s <= r.low_s * 1.3 / 0.7 + 1e-9, "{r:?}");
        // Ten of fifty milliseconds are computed, and one thread computes at a time.
        assert!(r.high_s > 0.8, "{r:?} is less than all the computing takes");
    }
    assert!(p.ranges.windows(2).all(|w| w[0].in_flight < w[1].in_flight));
    let two = p.ranges.iter().find(|r| r.in_flight == 2).expect("two are asked about");
    assert!((two.low_s..=two.high_s).contains(&2.05), "{two:?}");
    assert!(p.at_best().is_some());
}

#[test]
fn computing_on_one_of_two_processors() {
    let j = judge(&one("/opt/program", 3000, &[Run(10)]));
    assert_eq!(j.finding.class, Class::CpuSerial);
    let best = j.prediction.at_best().expect("it divides");
    assert!(best.in_flight == 2 && best.low_s < 1.55 && best.high_s > 1.5, "{best:?}");
    let mut lonely = one("/opt/program", 3000, &[Run(10)]);
    lonely.machine.cores = 1;
    lonely.machine.effective_cores = 1.0;
    assert!(judge(&lonely).prediction.ranges.is_empty(), "nothing to divide among");
}

#[test]
fn idle_workers_and_a_join_do_not_drown_the_one_that_computes() {
    let mut r = one("/opt/program", 3000, &[Wait(3000, Call::Join { tid: 101 })]);
    thread(&mut r, 100, 101, &[Run(10)]);
    for tid in 102..110 {
        thread(&mut r, 100, tid, &[Wait(3000, futex(0x1000))]);
    }
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::CpuSerial, "{}", j.finding.sentence);
    assert_eq!(j.states.lanes.iter().filter(|l| l.rests).count(), 8);
}

#[test]
fn workers_waiting_for_work_are_not_blamed_for_what_the_producer_waits_for() {
    let mut r = one("/opt/program", 3000, &[Run(2), Wait(18, net("10.0.0.7:80"))]);
    for tid in 101..105 {
        thread(&mut r, 100, tid, &[Run(1), Wait(79, futex(0x2000))]);
    }
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Network, "{}", j.finding.sentence);
}

#[test]
fn a_convoy_behind_a_sleeping_holder_is_the_locks_fault() {
    let mut r = one("/opt/program", 3000, &[Wait(3000, Call::Join { tid: 101 })]);
    for i in 0..8u32 {
        // Each sleeps ten milliseconds with the lock, in turn.
        let before = Wait(10 * u64::from(i) + 1, futex(0x3000));
        let after = Wait(79 - 10 * u64::from(i), futex(0x3000));
        thread(&mut r, 100, 101 + i, &[before, Run(1), Wait(9, Call::Sleep), after]);
    }
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Lock, "{}", j.finding.sentence);
    assert!(j.finding.sentence.contains("0x3000") && j.finding.sentence.contains("sleeps"), "{}", j.finding.sentence);
    assert!(j.prediction.ranges.is_empty(), "nobody can know what the lock lets through");
}

fn taking_turns(exe: &str) -> Recording {
    let mut r = one(exe, 3000, &[Wait(3000, Call::Join { tid: 101 })]);
    for i in 0..4u64 {
        let line = || Call::Futex { line: 0x4000, timed: true };
        thread(
            &mut r,
            100,
            101 + u32::try_from(i).expect("few"),
            &[Wait(5 * i + 1, line()), Run(5), Wait(20 - 5 * (i + 1) + 1, line())],
        );
    }
    r
}

#[test]
fn one_runner_at_a_time_is_the_gil_in_python_and_a_lock_elsewhere() {
    let python = judge(&taking_turns("/usr/bin/python3.11"));
    assert_eq!(python.finding.class, Class::SingleRunner, "{}", python.finding.sentence);
    assert!(python.finding.sentence.contains("the GIL"));
    assert!(python.advice.code.join("\n").contains("ProcessPoolExecutor"));
    // A lock of the program's own is waited for without a limit.
    let mut own = taking_turns("/usr/bin/python3.11");
    for call in &mut own.calls {
        if let Call::Futex { timed, .. } = call {
            *timed = false;
        }
    }
    let own = judge(&own);
    assert_eq!(own.finding.class, Class::Lock, "{}", own.finding.sentence);
    let native = judge(&taking_turns("/opt/program"));
    assert_eq!(native.finding.class, Class::Lock, "{}", native.finding.sentence);
    assert!(native.finding.sentence.contains("computes"));
}

#[test]
fn more_threads_than_processors_and_other_programs_are_told_apart() {
    let mut many = recording(3000);
    process(&mut many, 100, 1, "/opt/program");
    for tid in 101..105 {
        thread(&mut many, 100, tid, &[Run(10), Ready(10)]);
    }
    assert_eq!(class(&many), Class::CpuOversubscribed);
    let mut starved = one("/opt/program", 3000, &[Run(10), Ready(10)]);
    let quota = judge(&starved);
    assert_eq!(quota.finding.class, Class::CpuStarved);
    assert!(quota.finding.sentence.contains("a CPU quota"), "nobody else is blamed: {}", quota.finding.sentence);
    starved.machine.others = 1.9;
    assert_eq!(class(&starved), Class::CpuStarved);
    assert_ne!(judge(&starved).finding.confidence.level, Sure::High, "a busy machine is worth a word");
    let mut both = recording(3000);
    process(&mut both, 100, 1, "/opt/program");
    thread(&mut both, 100, 101, &[Run(10)]);
    thread(&mut both, 100, 102, &[Run(10)]);
    assert_eq!(class(&both), Class::CpuAllCores);
}

#[test]
fn a_disk_is_named_and_never_predicted() {
    let j = judge(&one("/opt/program", 3000, &[Run(2), Wait(8, file("/var/lib/data"))]));
    assert_eq!(j.finding.class, Class::Disk);
    assert!(j.finding.sentence.contains("fsync of /var/lib/data"), "{}", j.finding.sentence);
    assert!(j.prediction.ranges.is_empty() && !j.prediction.refused.is_empty());
}

#[test]
fn computing_and_waiting_in_turn_is_mixed() {
    let j = judge(&one("/usr/bin/python3", 4000, &[Run(40), Wait(60, net("127.0.0.1:80"))]));
    assert_eq!(j.finding.class, Class::Mixed);
    assert!(!j.prediction.ranges.is_empty());
}

#[test]
fn short_round_trips_are_to_be_batched_not_overlapped() {
    // Twenty round trips in what one look sees.
    let mut r = one("/usr/bin/python3", 2000, &[Run(4), Wait(6, net("127.0.0.1:6379"))]);
    for sample in &mut r.threads[0].samples {
        sample.slices *= 50;
    }
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Network, "{}", j.finding.sentence);
    assert!(j.prediction.ranges.is_empty() && j.prediction.refused.contains("round trips"));
}

#[test]
fn an_event_loop_that_computes_is_not_just_computing() {
    let mut r = one("/usr/bin/python3", 3000, &[Run(90), Wait(10, poll(4, &[]))]);
    r.processes[0].watched.sockets = 4;
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::EventLoop, "{}", j.finding.sentence);
    assert!(j.finding.sentence.contains("4 connections"));
    assert!(j.advice.code.join("\n").contains("run_in_executor"));
}

#[test]
fn many_connections_of_one_loop_count_as_in_flight() {
    let j = judge(&one("/usr/bin/python3", 3000, &[Run(2), Wait(48, poll(10, &["127.0.0.1:80"]))]));
    assert_eq!(j.finding.class, Class::Network);
    assert!(j.finding.sentence.contains("up to 10 connections"), "{}", j.finding.sentence);
    // Any of them may be idle, so nothing is known of one request.
    assert!(j.prediction.ranges.is_empty() && j.prediction.refused.contains("connections"), "{:?}", j.prediction);
}

#[test]
fn an_idle_server_with_a_pool_of_connections_waits_for_clients() {
    for (listening, accepted) in [(1, 0), (0, 3)] {
        let on =
            Watched { sockets: 10 + accepted, accepted, listening, peers: vec!["10.0.0.1:5432".into()], others: 0 };
        let mut r = one("/opt/server", 3000, &[Run(1), Wait(299, Call::Poll { on, timed: false })]);
        r.mode = Mode::Attached;
        let j = judge(&r);
        assert_eq!(j.finding.class, Class::Idle, "{}", j.finding.sentence);
        assert!(j.finding.sentence.contains("or 10 connections to PostgreSQL"), "{}", j.finding.sentence);
        assert!(!j.finding.sentence.contains("in flight") && j.prediction.ranges.is_empty());
    }
}

#[test]
fn a_program_whose_end_was_not_seen_is_given_no_seconds() {
    let mut r = one("/usr/bin/python3", 3000, &[Run(1), Wait(49, net("127.0.0.1:80"))]);
    assert!(!judge(&r).prediction.ranges.is_empty());
    r.mode = Mode::Attached;
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Network);
    assert!(
        j.prediction.ranges.is_empty() && j.prediction.refused.contains("watched for a while"),
        "{:?}",
        j.prediction
    );
}

#[test]
fn languages_are_told_by_whole_names() {
    let of = |exe: &str| Language::of(&Process { exe: exe.into(), ..Process::default() });
    assert_eq!((of("/usr/bin/node"), of("/usr/bin/nodejs")), (Language::Node, Language::Node));
    assert_eq!(of("/usr/bin/node_exporter"), Language::Native);
}

#[test]
fn the_slowest_stage_of_a_pipeline_is_named() {
    let mut r = recording(3000);
    process(&mut r, 100, 1, "/bin/sh");
    thread(&mut r, 100, 100, &[Wait(3000, Call::Child)]);
    for (pid, exe) in [(101, "/bin/cat"), (102, "/bin/gzip"), (103, "/bin/wc")] {
        process(&mut r, pid, 100, exe);
    }
    pipe(&mut r, 1, 102, 101);
    pipe(&mut r, 2, 103, 102);
    thread(&mut r, 101, 101, &[Run(1), Wait(19, Call::Pipe { inode: 1, verb: Verb::Write })]);
    thread(&mut r, 102, 102, &[Run(10)]);
    thread(&mut r, 103, 103, &[Run(1), Wait(19, Call::Pipe { inode: 2, verb: Verb::Read })]);
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::Pipeline, "{}", j.finding.sentence);
    assert!(j.finding.sentence.contains("`gzip` computes"), "{}", j.finding.sentence);
}

#[test]
fn a_pool_of_processes_is_no_pipeline() {
    let mut r = recording(3000);
    process(&mut r, 100, 1, "/usr/bin/python3");
    thread(&mut r, 100, 100, &[Wait(3000, Call::Pipe { inode: 2, verb: Verb::Read })]);
    for pid in [101, 102] {
        process(&mut r, pid, 100, "/usr/bin/python3");
        pipe(&mut r, 1, pid, 100);
        pipe(&mut r, 2, 100, pid);
        thread(&mut r, pid, pid, &[Run(10)]);
    }
    assert_eq!(class(&r), Class::CpuAllCores);
}

#[test]
fn a_server_without_work_is_idle_and_a_person_is_not_a_bottleneck() {
    let mut server = one("/opt/server", 3000, &[Run(1), Wait(199, Call::Accept)]);
    server.mode = Mode::Attached;
    server.totals = None;
    assert_eq!(class(&server), Class::Idle);
    assert_eq!(class(&one("/bin/cat", 3000, &[Run(1), Wait(299, Call::Terminal)])), Class::Person);
    assert_eq!(class(&one("/bin/sleep", 3000, &[Wait(3000, Call::Sleep)])), Class::Sleeping);
}

#[test]
fn too_little_is_said_to_be_too_little() {
    let j = judge(&one("/bin/true", 40, &[Run(10)]));
    assert_eq!(j.finding.class, Class::TooShort);
    assert_eq!(j.finding.confidence.level, Sure::Low);
    // Nothing seen at all is no reason to fall over.
    assert_eq!(class(&Recording { version: 1, ..Recording::default() }), Class::TooShort);
}

#[test]
fn processor_time_of_processes_too_short_to_see_is_not_lost() {
    let mut r = one("/bin/sh", 3000, &[Run(1), Wait(9, Call::Child)]);
    r.totals.as_mut().expect("made").user_ns += 2_600_000_000;
    let j = judge(&r);
    assert!(j.states.wall.cpu_unseen > 2.5, "{}", j.states.wall.cpu_unseen);
    assert!(matches!(j.finding.class, Class::CpuSerial | Class::CpuAllCores), "{}", j.finding.sentence);
    assert!(j.finding.sentence.contains("too short to see"), "{}", j.finding.sentence);
    // Nor is it when it is asked how much sooner it could be done: on two processors at most twice as soon.
    r.machine.cores = 2;
    r.machine.effective_cores = 2.0;
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::CpuSerial, "{}", j.finding.sentence);
    let best = j.prediction.at_best().expect("computing that one thread does can be divided");
    assert!(best.low_s >= j.states.wall.length / 2.0, "{best:?} of {}", j.states.wall.length);
    assert!(best.high_s <= j.states.wall.length, "{best:?}");
}

#[test]
fn every_second_of_a_thread_has_one_state_and_the_wall_adds_up() {
    for r in [taking_turns("/opt/program"), one("/x", 3000, &[Run(3), Ready(4), Wait(13, net("a:1"))])] {
        let j = judge(&r);
        for lane in &j.states.lanes {
            let all = lane.run + lane.ready + lane.waits.values().sum::<f64>();
            assert!((all - lane.length()).abs() < 0.02 * lane.length(), "{all} of {}", lane.length());
            assert!(lane.stretches.windows(2).all(|w| (w[0].end - w[1].start).abs() < 1e-6), "gaps");
        }
        let wall = &j.states.wall;
        let all = wall.cpu + wall.waits.values().sum::<f64>();
        assert!((all - wall.length).abs() < 0.02 * wall.length, "{all} of {}", wall.length);
    }
    let j = judge(&one("/x", 4000, &[Run(3), Ready(4), Wait(13, net("a:1"))]));
    let lane = &j.states.lanes[0];
    assert!((lane.run - 0.6).abs() < 0.01 && (lane.ready - 0.8).abs() < 0.01, "{} {}", lane.run, lane.ready);
    assert!((lane.waiting(Kind::Network) - 2.6).abs() < 0.03);
}

#[test]
fn the_same_recording_is_judged_the_same_after_it_was_written_and_read() {
    let r = taking_turns("/usr/bin/python3");
    let mut bytes = Vec::new();
    r.write(&mut bytes).expect("memory");
    let again = Recording::read(bytes.as_slice()).expect("what was written is read");
    assert_eq!(again, r);
    assert_eq!(judge(&again), judge(&r));
}

#[test]
fn damaged_and_foreign_recordings_are_refused_with_a_reason() {
    let read = |r: &Recording| {
        let mut bytes = Vec::new();
        r.write(&mut bytes).expect("memory");
        Recording::read(bytes.as_slice()).expect_err("it must be refused").to_string()
    };
    let good = taking_turns("/x");
    assert!(read(&Recording { version: 2, ..good.clone() }).contains("form 2"));
    let mut call = good.clone();
    call.threads[0].samples[0].call = Some(999);
    assert!(read(&call).contains("not listed"));
    let mut order = good.clone();
    order.threads[1].samples.reverse();
    assert!(read(&order).contains("not in order"));
    let mut late = good;
    late.wall_ns = 5;
    assert!(read(&late).contains("not in order"));
    assert!(Recording::read(&b"\x7fELF"[..]).expect_err("no recording").to_string().contains("no recording"));
    assert!(Recording::read(&b"{}"[..]).is_err());
}

#[test]
fn a_redacted_recording_says_the_same_and_names_nothing() {
    let mut r = one(
        "/srv/ada/bin/secret-tool",
        3000,
        &[Run(4), Wait(40, net("db.internal:5432")), Wait(6, file("/srv/ada/ledger"))],
    );
    r.command = vec!["/srv/ada/bin/secret-tool".into(), "--password=hunter2".into()];
    r.processes[0].argv = r.command.clone();
    r.processes[0].watched.peers = vec!["db.internal:5432".into()];
    let before = judge(&r);
    r.redact();
    let after = judge(&r);
    assert_eq!(before.finding.class, after.finding.class);
    let mut bytes = Vec::new();
    r.write(&mut bytes).expect("memory");
    let text = String::from_utf8(bytes).expect("JSON");
    for word in ["ada", "hunter2", "internal", "ledger"] {
        assert!(!text.contains(word), "{word} is still there");
    }
    assert!(text.contains("5432"), "the port says which service it is");
}

#[test]
fn redacted_recordings_hold_no_titles_and_no_paths_of_sockets() {
    for mode in [Mode::Launched, Mode::Attached] {
        let mut r = one("/usr/bin/python3", 3000, &[Wait(3000, net("/run/hunter2:8080"))]);
        r.mode = mode;
        // As programs do that write over their arguments to tell what they are at.
        r.processes[0].argv = vec!["worker: user=hunter2 /x y".into(), "hunter2".into()];
        r.processes[0].name = "hunter2".into();
        r.threads[0].name = "hunter2".into();
        r.command = if mode == Mode::Launched { vec!["/opt/hunter2/run".into()] } else { r.processes[0].argv.clone() };
        r.redact();
        let mut bytes = Vec::new();
        r.write(&mut bytes).expect("memory");
        let text = String::from_utf8(bytes).expect("JSON");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(r.processes[0].argv, ["python3"]);
    }
    let mut r = one("/x", 3000, &[Wait(3000, net("10.1.2.3:5432"))]);
    r.redact();
    assert_eq!(r.calls, [net("host:5432")], "the port says which service it is");
}

/// What fills up first is named, with the work that would fill it; a program that serves nobody has no such figure.
#[test]
fn a_server_is_told_how_much_more_would_fit() {
    let clients =
        || Call::Poll { on: Watched { sockets: 9, accepted: 9, listening: 1, ..Watched::default() }, timed: false };
    let mut native = one("/opt/server", 4000, &[Run(10), Wait(30, clients())]);
    native.mode = Mode::Attached;
    let j = judge(&native);
    let first = &j.headroom[0];
    assert!(first.of.starts_with("thread `server`"), "{first:?}");
    assert!((first.used - 0.25).abs() < 0.03 && (first.times - 4.0).abs() < 0.5, "{first:?}");
    assert!(
        j.headroom.iter().any(|r| r.of.contains("processors") && (r.used - 0.125).abs() < 0.02),
        "{:?}",
        j.headroom
    );

    // Two threads of CPython that compute in turn have one processor between them.
    let mut python = recording(4000);
    process(&mut python, 100, 1, "/usr/bin/python3.11");
    for tid in [100, 101] {
        thread(&mut python, 100, tid, &[Run(10), Wait(30, clients())]);
    }
    python.mode = Mode::Attached;
    let j = judge(&python);
    assert!(j.headroom[0].of.starts_with("the GIL"), "{:?}", j.headroom);
    assert!((j.headroom[0].times - 2.0).abs() < 0.3, "{:?}", j.headroom);

    assert!(judge(&one("/usr/bin/python3", 3000, &[Run(1), Wait(49, net("127.0.0.1:80"))])).headroom.is_empty());
}

/// Its clients compute as well, in processes of their own: still it is its loop that they wait for.
#[test]
fn an_event_loop_is_judged_by_its_own_process() {
    let mut r = recording(4000);
    process(&mut r, 100, 1, "/usr/bin/node");
    process(&mut r, 200, 100, "/usr/bin/node");
    let on = Watched { sockets: 4, accepted: 4, listening: 1, ..Watched::default() };
    r.processes[0].watched = on.clone();
    thread(&mut r, 100, 100, &[Run(95), Wait(5, Call::Poll { on, timed: false })]);
    thread(&mut r, 200, 200, &[Run(50), Wait(50, net("127.0.0.1:8000"))]);
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::EventLoop, "{}", j.finding.sentence);
}

/// The kernel's notes of a recording: each stretch of ten milliseconds with so many busy, and so many of one alone.
fn noted(r: &mut Recording, any_ms: u64, alone_ms: u64, programs: &[(&str, u64, u64)]) {
    let (any_ns, alone_ns) = (any_ms * 1_000_000, alone_ms * 1_000_000);
    let busy = (1..=r.wall_ns / 10_000_000).map(|i| Busy { at_ns: i * 10_000_000, any_ns, alone_ns }).collect();
    let programs: Vec<Ran> = programs
        .iter()
        .map(|(name, count, ms)| Ran { name: (*name).to_owned(), count: *count, run_ns: ms * 1_000_000 })
        .collect();
    let run_ns = programs.iter().map(|p| p.run_ns).sum();
    r.noted = Some(Noted { until_ns: r.wall_ns, lost: 0, run_ns, programs, busy });
}

#[test]
fn processes_that_no_look_met_are_named_where_the_kernel_noted_them() {
    // A shell that waits for a child most of the time, and no look meets one.
    let mut r = one("/bin/sh", 3000, &[Wait(9, Call::Child), Run(1)]);
    r.totals = Some(Totals { user_ns: 3_000_000_000, ..Totals::default() });
    let before = judge(&r);
    noted(&mut r, 10, 10, &[("gzip", 250, 2_600), ("sh", 1, 300), ("env", 5, 20)]);
    let after = judge(&r);
    for j in [&before, &after] {
        assert_eq!(j.finding.class, Class::CpuSerial, "{}", j.finding.sentence);
        assert!(j.finding.sentence.contains("in processes too short to see"), "{}", j.finding.sentence);
    }
    assert!(!before.finding.sentence.contains("gzip"));
    assert!(after.finding.sentence.contains(": gzip (250 times)."), "{}", after.finding.sentence);
    let summary = after.summary(&r);
    assert_eq!((summary.programs[0].name, summary.programs[0].count), ("gzip", 250));
    assert!((summary.noted_s - 3.0).abs() < 1e-9);
    // Refused, that is said where it would have told something.
    r.noted = None;
    r.not_noted = "the kernel is asked in vain".to_owned();
    let refused = judge(&r);
    assert!(refused.finding.confidence.missing.iter().any(|m| m.contains("asked in vain")));
    assert_eq!(refused.summary(&r).programs, []);
}

#[test]
fn two_threads_in_turn_are_no_two_at_once_where_the_kernel_noted_it() {
    let turns = || {
        let mut r = recording(3000);
        process(&mut r, 100, 1, "/opt/program");
        thread(&mut r, 100, 101, &[Run(5), Wait(5, Call::Sleep)]);
        thread(&mut r, 100, 102, &[Wait(5, Call::Sleep), Run(5)]);
        r
    };
    let mut r = turns();
    noted(&mut r, 10, 10, &[("program", 1, 3000)]);
    let wall = judge(&r).states.wall;
    assert!((wall.cpu - 3.0).abs() < 0.05 && wall.alone > 0.98, "{} {}", wall.cpu, wall.alone);
    // The same counters, and the kernel says that they ran together.
    noted(&mut r, 5, 0, &[("program", 1, 3000)]);
    let wall = judge(&r).states.wall;
    assert!((wall.cpu - 1.5).abs() < 0.05 && wall.alone < 0.02, "{} {}", wall.cpu, wall.alone);
    // What is not whole is not relied on.
    for spoil in [
        |n: &mut Noted| n.lost = 1,
        |n: &mut Noted| n.until_ns -= 1,
        |n: &mut Noted| n.run_ns /= 2,
        |n: &mut Noted| n.busy.clear(),
    ] {
        let mut spoiled = r.clone();
        spoil(spoiled.noted.as_mut().expect("just noted"));
        assert_eq!(judge(&spoiled).states.wall, judge(&turns()).states.wall);
    }
}

#[test]
fn more_processors_leave_what_one_thread_computes_alone() {
    let mut r = recording(4000);
    process(&mut r, 100, 1, "/opt/program");
    // A fifth alone, the rest on both processors.
    thread(&mut r, 100, 101, &[Run(100)]);
    thread(&mut r, 100, 102, &[Wait(20, Call::Sleep), Run(80)]);
    let j = judge(&r);
    assert_eq!(j.finding.class, Class::CpuAllCores, "{}", j.finding.sentence);
    let p = &j.prediction;
    assert!(p.ranges.iter().all(|r| r.in_flight > 2 && r.low_s > 0.7), "{:?}", p.ranges);
    let four = p.ranges.iter().find(|r| r.in_flight == 4).expect("twice as many are asked about");
    // 0.8 s alone, and a quarter of 6.4 s.
    assert!((four.low_s..=four.high_s).contains(&2.4), "{four:?}");
    assert!(p.ranges.iter().all(|r| r.high_s <= r.low_s * 1.3 / 0.7 + 1e-9));
    assert!(p.assumption.contains("one thread computes alone (20 %)"), "{}", p.assumption);
    // Of a while of it, nothing.
    r.mode = Mode::Attached;
    assert!(judge(&r).prediction.ranges.is_empty());
}

#[test]
fn a_ring_is_named_and_not_guessed_at() {
    let ring = Call::Other { number: 426, name: "io_uring_enter".to_owned() };
    let j = judge(&one("/opt/program", 3000, &[Run(1), Wait(9, ring)]));
    assert_eq!(j.finding.class, Class::Unclear, "{}", j.finding.sentence);
    assert!(j.finding.causes[0].what.contains("io_uring"), "{:?}", j.finding.causes);
    let named = Call::Other { number: 437, name: "some_call".to_owned() };
    let j = judge(&one("/opt/program", 3000, &[Run(1), Wait(9, named)]));
    assert!(j.finding.causes[0].what.contains("system call some_call"), "{:?}", j.finding.causes);
}

#[test]
fn the_function_is_said_with_what_an_interpreter_hides() {
    let of = |exe: &str, name: &str, file: &str| {
        let mut r = one(exe, 3000, &[Run(10)]);
        let function = Function { pid: 100, tid: 100, name: name.to_owned(), file: file.to_owned(), share: 0.93 };
        r.functions = vec![function];
        let j = judge(&r);
        (ropewalk_profile::functions::sentence(&r, &j.finding), r)
    };
    let (native, mut r) = of("/opt/program", "xorshift", "/opt/program");
    assert_eq!(native, "The busiest thread, `program` (100), computes in `xorshift` of program 93 %.");
    let (python, _) = of("/usr/bin/python3", "_PyEval_EvalFrameDefault", "/usr/lib/libpython3.so");
    assert!(python.contains("inside the interpreter") && python.contains("py-spy"), "{python}");
    let (made, _) = of("/usr/bin/node", "", "");
    assert!(made.contains("made while it ran") && made.contains("--prof"), "{made}");
    let (stripped, _) = of("/opt/program", "", "/opt/program");
    assert!(stripped.contains("not stripped"), "{stripped}");
    r.redact();
    assert_eq!(
        ropewalk_profile::functions::sentence(&r, &judge(&r).finding),
        "",
        "the inside of a program stays inside"
    );
    // One that hardly ran has no say.
    let mut waits = one("/opt/program", 3000, &[Run(1), Wait(9, net("10.0.0.1:80"))]);
    waits.functions = vec![Function { pid: 100, tid: 100, name: "f".to_owned(), share: 1.0, ..Function::default() }];
    assert_eq!(ropewalk_profile::functions::sentence(&waits, &judge(&waits).finding), "");
}

#[test]
fn redacted_notes_name_only_what_is_named_anyway() {
    let mut r = one("/usr/bin/python3.11", 3000, &[Run(10)]);
    noted(&mut r, 10, 10, &[("python3", 1, 2990), ("hunter2", 7, 10)]);
    r.redact();
    let names: Vec<&str> = r.noted.iter().flat_map(|n| &n.programs).map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["python3", "program-2"]);
}
