//! Suite `subprocess`: starting a program that does nothing, 256 MiB through a program and back, and three programs in a row.
//!
//! `spawn.1gib` is `spawn` while this process has a gigabyte of memory in use: whoever forks copies its page tables for each
//! child. The variants `:2` do the same work on two threads. Every sample checks what came back.

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::harness::{Effort, Judge, Sample, Work};
use crate::measure::{Place, Spent, crew, timed};

const MIB: usize = 1 << 20;

/// The works, in the order in which they run.
pub fn works() -> Vec<Work> {
    vec![
        spawning(Work::new("subprocess", "spawn", "us", Judge::AsIs), |_| Vec::new()),
        spawning(Work::new("subprocess", "spawn.1gib", "us", Judge::AsIs), |_| vec![1; 1 << 30]),
        communicate(),
        pipeline(),
    ]
}

/// What the children are started beside: memory that is in use.
type Ballast = fn(Effort) -> Vec<u8>;

fn spawning(work: Work, ballast: Ballast) -> Work {
    let one = |start: fn()| move |effort| spawns(effort, 1, ballast, start);
    let two = |start: fn()| move |effort| spawns(effort, 2, ballast, start);
    let std = || assert!(Command::new("/bin/true").status().expect("it starts").success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let work = work
        .by("std", one(std))
        .by("std:2", two(std))
        .by("subprocess", one(|| assert!(subprocess::Exec::cmd("/bin/true").join().expect("it starts").success())))
        .by("duct", one(|| assert!(duct::cmd!("/bin/true").run().expect("it starts").status.success())))
        .by("tokio", move |effort| {
            let ballast = ballast(effort);
            let count = effort.pick(400, 80);
            let ((), spent) = timed(|| {
                runtime.block_on(async {
                    for _ in 0..count {
                        let status = tokio::process::Command::new("/bin/true").status().await;
                        assert!(status.expect("it starts").success());
                    }
                });
            });
            black_box(&ballast);
            each(spent, count)
        });
    #[cfg(feature = "ours")]
    let work = {
        let ours = || {
            let status = ropewalk::subprocess::Command::new("/bin/true").status();
            assert!(status.expect("it starts").success());
        };
        work.by("ropewalk", one(ours)).by("ropewalk:2", two(ours)).by("ropewalk:greenlets", move |effort| {
            let ballast = ballast(effort);
            let count = effort.pick(400, 80);
            let ((), spent) = timed(|| {
                ropewalk::run(|| {
                    let pool = ropewalk::greenlet::Pool::new(8);
                    pool.map(move |_| ours(), 0..count).for_each(drop);
                });
            });
            black_box(&ballast);
            each(spent, count)
        })
    };
    work
}

fn spawns(effort: Effort, threads: usize, ballast: Ballast, start: fn()) -> Sample {
    let ballast = ballast(effort);
    let count = effort.pick(400, 80);
    let crew = crew(threads, Place::Free, |_| (0..count / threads as u64).for_each(|_| start()));
    black_box(&ballast);
    each(crew.spent, count)
}

fn each(spent: Spent, count: u64) -> Sample {
    Sample::new(spent.wall_ns_per(count) / 1e3, spent)
}

fn communicate() -> Work {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let work = Work::new("subprocess", "communicate.256mib", "MiB/s", Judge::AsIs)
        .upwards()
        .by("std", |effort| {
            // With a thread that writes: std has no verb that does both.
            through(effort, |input| {
                let mut child =
                    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
                let mut stdin = child.stdin.take().expect("it was piped");
                std::thread::scope(|scope| {
                    scope.spawn(move || stdin.write_all(&input).expect("it reads"));
                    let mut output = Vec::new();
                    child.stdout.take().expect("it was piped").read_to_end(&mut output).expect("it writes");
                    assert!(child.wait().expect("it ends").success());
                    output
                })
            })
        })
        .by("subprocess", |effort| {
            through(effort, |input| subprocess::Exec::cmd("cat").stdin(input).capture().expect("it ends").stdout)
        })
        .by("duct", |effort| {
            through(effort, |input| {
                duct::cmd!("cat").stdin_bytes(input).stdout_capture().run().expect("it ends").stdout
            })
        })
        .by("tokio", move |effort| {
            use tokio::io::AsyncWriteExt;
            through(effort, |input| {
                runtime.block_on(async {
                    let mut command = tokio::process::Command::new("cat");
                    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
                    let mut stdin = child.stdin.take().expect("it was piped");
                    let write = async move { stdin.write_all(&input).await.expect("it reads") };
                    let (output, ()) = tokio::join!(child.wait_with_output(), write);
                    output.expect("it ends").stdout
                })
            })
        });
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", |effort| {
        through(effort, |input| {
            let command = ropewalk::subprocess::Command::new("cat").input(input).output_limit(512 * MIB);
            command.run().expect("it ends").stdout
        })
    });
    work
}

fn through(effort: Effort, talk: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Sample {
    let length = effort.pick(256, 32) as usize * MIB;
    let input: Vec<u8> = (0..length).map(|at| (at / MIB) as u8).collect();
    let (output, spent) = timed(|| talk(input));
    assert_eq!(output.len(), length);
    assert!(output.iter().step_by(MIB).enumerate().all(|(at, byte)| *byte == at as u8));
    Sample::new((length / MIB) as f64 / spent.wall.as_secs_f64(), spent)
}

fn pipeline() -> Work {
    let work = Work::new("subprocess", "pipeline.3", "us", Judge::AsIs)
        .by("std", |effort| {
            pipelines(effort, || {
                let stage = |name: &str, input: Stdio| {
                    Command::new(name).arg("-").stdin(input).stdout(Stdio::piped()).spawn().expect("it starts")
                };
                let mut first = Command::new("echo").arg("hemp").stdout(Stdio::piped()).spawn().expect("it starts");
                let mut second = stage("cat", first.stdout.take().expect("it was piped").into());
                let third = stage("cat", second.stdout.take().expect("it was piped").into());
                let output = third.wait_with_output().expect("it ends").stdout;
                first.wait().and_then(|_| second.wait()).expect("they end");
                output
            })
        })
        .by("subprocess", |effort| {
            pipelines(effort, || {
                use subprocess::Exec;
                let pipeline = Exec::cmd("echo").arg("hemp") | Exec::cmd("cat").arg("-") | Exec::cmd("cat").arg("-");
                pipeline.capture().expect("it ends").stdout
            })
        })
        .by("duct", |effort| {
            pipelines(effort, || {
                let cat = || duct::cmd!("cat", "-");
                duct::cmd!("echo", "hemp").pipe(cat()).pipe(cat()).stdout_capture().run().expect("it ends").stdout
            })
        });
    #[cfg(feature = "ours")]
    let work = work.by("ropewalk", |effort| {
        pipelines(effort, || {
            let cat = || ropewalk::subprocess::Command::new("cat").arg("-");
            let pipeline = ropewalk::subprocess::Command::new("echo").arg("hemp") | cat() | cat();
            pipeline.pipefail(true).run().expect("it ends").stdout
        })
    });
    work
}

fn pipelines(effort: Effort, run: fn() -> Vec<u8>) -> Sample {
    let count = effort.pick(100, 20);
    let ((), spent) = timed(|| (0..count).for_each(|_| assert_eq!(run(), b"hemp\n")));
    each(spent, count)
}
